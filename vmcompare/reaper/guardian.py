"""A small child process that outlives its owner just long enough to clean up after it."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

from vmcompare import storage
from vmcompare.reaper.cleanup import Swept, clear
from vmcompare.reaper.ledger import Ledger, abandon_own, open_own

GUARDIAN_END_S = 20.0
"""Seconds the owner waits for its guardian at an orderly end; 0.05 s when nothing is left."""

_lock = threading.RLock()
_guards = 0


@contextlib.contextmanager
def guard() -> Iterator[None]:
    """While inside, a small child process ends what this process watches, should it die.

    The child's standard input is a pipe from us; it ends with us, however we end. Leaving ends
    what is still watched and closes the session. Guards may be nested: the outermost counts.
    """
    global _guards
    # Python tries the folder with a file of its own at the first use; nothing of ours is begun yet.
    storage.temporary()
    with _lock:
        _guards += 1
        outermost = _guards == 1
        guardian = _start_guardian(open_own()) if outermost else None
    try:
        yield
    finally:
        with _lock:
            _guards -= 1
        if guardian is not None:
            _dismiss(guardian)
            abandon_own()  # the guardian removed its ledger


def _start_guardian(ledger: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "vmcompare.reaper", str(ledger)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C in the owner's terminal is not meant for the guardian
    )


def _dismiss(guardian: subprocess.Popen[bytes]) -> None:
    assert guardian.stdin is not None
    with contextlib.suppress(OSError):
        guardian.stdin.close()
    with contextlib.suppress(subprocess.TimeoutExpired):
        guardian.wait(GUARDIAN_END_S)


def main(argv: list[str]) -> int:
    """The guardian: wait until standard input ends, then clear the ledger named in ``argv``."""
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    while sys.stdin.buffer.read(4096):
        pass
    ledger = Ledger.read(Path(argv[0]))
    if ledger is not None:
        clear(ledger, Swept())
    return 0
