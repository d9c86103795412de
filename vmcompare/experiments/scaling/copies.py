"""Several instances of one kind, opened at the same moment, each in a thread of its own."""

from __future__ import annotations

import threading
import time

from vmcompare.errors import LaunchFailure
from vmcompare.evidence.units import NS_PER_S
from vmcompare.measuring import memory
from vmcompare.measuring.experiment import FAILURES
from vmcompare.sandbox import Event, Launcher, Phase, Sandbox, Spec

PATIENCE_S = 180.0
"""The longest wait for the others to be prepared; a launcher has shorter limits of its own."""

LEAVE_S = 30.0
"""The longest wait for copies to end. What is left then ends with the run: it is in the ledger."""


class Copy:
    """One instance, opened in a thread and kept there until it is told to leave.

    Attributes:
        box: the instance, once its first byte arrived.
        started_ns, first_byte_ns: when it was let go, and when its first byte came; 0 before.
        error: why there is none.
        arrived: set once it is there, or has failed.
        leave: tells it to leave; ``thread`` ends when it has.
    """

    def __init__(self, launcher: Launcher, spec: Spec, ready: threading.Barrier) -> None:
        self.box: Sandbox | None = None
        self.started_ns = self.first_byte_ns = 0
        self.error = "it did not start"
        self._launcher, self._spec, self._ready = launcher, spec, ready
        self.arrived, self.leave = threading.Event(), threading.Event()
        # A thread that is still opening when the run is stopped must not keep the process alive.
        self.thread = threading.Thread(target=self._live, daemon=True)
        self.thread.start()

    @property
    def start_s(self) -> float:
        """From the common start to its first byte, in seconds."""
        return (self.first_byte_ns - self.started_ns) / NS_PER_S

    def _live(self) -> None:
        try:
            with self._launcher.open(self._spec, self._saw) as self.box:
                self.error = ""
                self.arrived.set()
                self.leave.wait()
        except FAILURES as problem:
            self.error = str(problem)
        except threading.BrokenBarrierError:
            self.error = "not started: another copy could not be prepared"
        finally:
            self.box = None
            if not self.started_ns:
                self._ready.abort()  # the others would wait for this one
            self.arrived.set()

    def _saw(self, event: Event) -> None:
        if event.phase is Phase.OPEN:
            self._ready.wait(PATIENCE_S)
            self.started_ns = time.perf_counter_ns()
        elif event.phase in (Phase.FIRST_BYTE, Phase.RESUMED):
            self.first_byte_ns = event.t_ns


class Copies:
    """The copies of one spec that are there, none at first; left as a context, all are ended."""

    def __init__(self, launcher: Launcher, spec: Spec) -> None:
        self.here: list[Copy] = []
        self._launcher, self._spec = launcher, spec

    def __enter__(self) -> Copies:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def add(self, n: int) -> float:
        """Open ``n`` more at once; seconds from the common start to the last one's first byte.

        Whatever is prepared beforehand (a pre-created container) is prepared for all of them, then
        all are let go together. Raises ``LaunchFailure``: one of them did not start; those that did
        are kept in ``here``.
        """
        ready = threading.Barrier(n)
        new = [Copy(self._launcher, self._spec, ready) for _ in range(n)]
        self.here += new
        for copy in new:
            copy.arrived.wait()
        if failed := [copy for copy in new if copy.error]:
            self.here = [copy for copy in self.here if not copy.error]
            why = failed[0].error
            raise LaunchFailure(f"{len(failed)} of {n} copies did not start: {why}", (), "")
        last_ns = max(copy.first_byte_ns for copy in new)
        return (last_ns - min(copy.started_ns for copy in new)) / NS_PER_S

    def end(self, n: int | None = None) -> None:
        """End ``n`` of them (all by default), and wait until they have gone."""
        leaving = self.here if n is None else self.here[:n]
        self.here = [copy for copy in self.here if copy not in leaving]
        for copy in leaving:
            copy.leave.set()
        deadline = time.monotonic() + LEAVE_S
        for copy in leaving:
            copy.thread.join(max(0.0, deadline - time.monotonic()))

    def heal(self, killed: int) -> float:
        """End some, then start what is missing, as an orchestrator does.

        Seconds from when the loss is noticed until as many are there as before.
        """
        wanted = len(self.here)
        self.end(killed)
        began_s = time.perf_counter()
        self.add(wanted - len(self.here))
        return time.perf_counter() - began_s

    def pids(self) -> tuple[int, ...]:
        """The processes of this host that serve them.

        Raises:
            Unavailable: they cannot be seen from here.
            AbnormalShutdown: one has gone.
        """
        boxes = [copy.box for copy in self.here if copy.box is not None]
        return tuple(pid for box in boxes for pid in memory.serving(box))
