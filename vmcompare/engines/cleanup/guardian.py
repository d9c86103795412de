"""A small child process that outlives its owner just long enough to clean up after it."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

from vmcompare import paths
from vmcompare.engines import child_python
from vmcompare.engines.cleanup.ledger import abandon_own, open_own, session_id
from vmcompare.engines.cleanup.processes import MARK, spared
from vmcompare.errors import Unavailable

GUARDIAN_END_S = 20.0  # for a guardian at an orderly end; 0.05 s when nothing is left
_lock = threading.RLock()
_guards = 0


@contextlib.contextmanager
def guard() -> Iterator[None]:
    """While inside, a small child process ends what this session starts, should we die.

    What is started meanwhile is marked by itself, as children inherit our environment. The
    guardian's standard input is a pipe from us; it ends with us, however we end. Leaving ends what
    is still there and closes the session. Guards may be nested. Raises ``StorageError``,
    ``Unavailable``.
    """
    global _guards
    # Python tries the folder with a file of its own at the first use; nothing of ours is begun yet.
    paths.temporary()
    with _lock:
        guardian = _start_guardian(open_own()) if _guards == 0 else None
        _guards += 1
        before = os.environ.get(MARK)
        os.environ[MARK] = session_id()
    try:
        yield
    finally:
        with _lock:
            _guards -= 1
            if before is None:
                os.environ.pop(MARK, None)
            else:
                os.environ[MARK] = before
        if guardian is not None:
            _dismiss(guardian)
            abandon_own()  # the guardian removed its ledger


def _start_guardian(ledger: Path) -> subprocess.Popen[bytes]:
    places = {"TMPDIR": str(paths.temporary()), "XDG_CACHE_HOME": _absolute("XDG_CACHE_HOME")}
    environment = child_python.environment() | {k: v for k, v in places.items() if v}
    try:
        return subprocess.Popen(
            child_python.command("vmcompare.engines.cleanup", str(ledger.absolute())),
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=Path(sys.executable).anchor or None,  # ours may be deleted, or unmounted
            start_new_session=True,  # Ctrl-C in the owner's terminal is not meant for the guardian
            env=spared(environment),
        )
    except OSError as error:
        raise Unavailable(
            f"no further process can be started here ({error.strerror})",
            "end other programs, or raise the limits of this shell (ulimit -n, ulimit -u)",
        ) from error


def _absolute(variable: str) -> str:
    value = os.environ.get(variable, "")
    return str(Path(value).absolute()) if value else ""


def _dismiss(guardian: subprocess.Popen[bytes]) -> None:
    assert guardian.stdin is not None
    with contextlib.suppress(OSError):
        guardian.stdin.close()
    with contextlib.suppress(subprocess.TimeoutExpired):
        guardian.wait(GUARDIAN_END_S)
