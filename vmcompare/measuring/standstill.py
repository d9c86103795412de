"""Whether this run stood still: a laptop that was closed, a run that was stopped and continued.

A time measured across a standstill looks valid but is not. A thread looks at the clock
now and then; a look that comes far too late means that nothing of this process ran meanwhile.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator

TICK_S = 0.1
"""Seconds between two looks. One takes a few µs of a processor, less than 0.01 % of the run."""

BOUND_S = 1.5
"""Seconds by which a look must be late to count. Tried: with 16 busy processes on 2 processors, and
a main thread that never paused, the latest of 300 looks came 0.52 s late."""

_CLOCK = getattr(time, "CLOCK_BOOTTIME", getattr(time, "CLOCK_MONOTONIC", None))
"""A clock that goes on while the computer is suspended, which Linux's CLOCK_MONOTONIC does not
(clock_gettime(2)); on macOS that one does."""


def now() -> float:
    """Seconds on a clock that goes on while the computer sleeps; its zero means nothing."""
    return time.monotonic() if _CLOCK is None else time.clock_gettime(_CLOCK)


class Standstills:
    """The standstills of a run so far."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._looked = now()
        self._found: list[tuple[float, float]] = []  # (when it ended, seconds)

    def look(self) -> None:
        """Compare the clock with the last look."""
        with self._lock:
            before, self._looked = self._looked, now()
            late = self._looked - before - TICK_S
            if late > BOUND_S:
                self._found.append((self._looked, late))

    def since(self, moment: float) -> float:
        """Seconds of all standstills that ended after ``moment`` (see :func:`now`), until now."""
        self.look()  # the watching thread may not have had its turn since the last one
        return sum(seconds for ended, seconds in self._found if ended > moment)


@contextlib.contextmanager
def watched() -> Iterator[Standstills]:
    """While inside, standstills of this process are noticed."""
    standstills = Standstills()
    over = threading.Event()

    def watch() -> None:
        while not over.wait(TICK_S):
            standstills.look()

    thread = threading.Thread(target=watch, name="vmcompare standstills", daemon=True)
    thread.start()
    try:
        yield standstills
    finally:
        over.set()
