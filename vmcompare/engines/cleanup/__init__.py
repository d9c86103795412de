"""Nothing left behind, even after ``kill -9``: a mark, a ledger on disk, a guardian, a sweep.

Every process we start carries its session's name (:func:`marked`), and whatever else outlives a
crash is written down before it exists (:func:`folder`, :func:`watch`). Two read that: the
*guardian* (:func:`guard`), a child whose standard input ends when its owner dies, and
:func:`sweep`, for ledgers whose owner and guardian are both dead.
"""

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
from vmcompare.engines.cleanup.ending import (
    CGROUP_ROOT,
    Swept,
    end_session_processes,
    remove_cgroups,
    sweep,
)
from vmcompare.engines.cleanup.ledger import (
    CONTAINERS,
    LABEL,
    MARK,
    abandon_own,
    boot,
    folder,
    forget,
    labels,
    marked,
    own,
    session_id,
    spared,
    started,
    watch,
)
from vmcompare.errors import Unavailable

__all__ = [
    "CGROUP_ROOT",
    "CONTAINERS",
    "LABEL",
    "Swept",
    "boot",
    "end_session_processes",
    "folder",
    "forget",
    "guard",
    "labels",
    "marked",
    "remove_cgroups",
    "session_id",
    "spared",
    "started",
    "sweep",
    "watch",
]

GUARDIAN_END_S = 20.0  # for a guardian at an orderly end; 0.05 s when nothing is left
_lock = threading.RLock()
_guards = 0


@contextlib.contextmanager
def guard() -> Iterator[None]:
    """While inside, a small child process ends what this session starts, should we die.

    What is started meanwhile is marked by itself, as children inherit our environment. Leaving ends
    what is still there and closes the session. Guards may be nested. Raises ``StorageError``,
    ``Unavailable``.
    """
    global _guards
    # Python tries the folder with a file of its own at the first use; nothing of ours is begun yet.
    paths.temporary()
    with _lock:
        guardian = _guardian(own().path) if _guards == 0 else None
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
            assert guardian.stdin is not None
            with contextlib.suppress(OSError):
                guardian.stdin.close()
            with contextlib.suppress(subprocess.TimeoutExpired):
                guardian.wait(GUARDIAN_END_S)
            abandon_own()  # the guardian removed its ledger


def _guardian(ledger: Path) -> subprocess.Popen[bytes]:
    # Its working folder is another: ours may be deleted, or unmounted.
    environment = child_python.environment() | {"TMPDIR": str(paths.temporary())}
    if cache := environment.get(paths.CACHE_HOME):
        environment[paths.CACHE_HOME] = str(Path(cache).absolute())
    try:
        return subprocess.Popen(
            child_python.command(__name__, str(ledger.absolute())),
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=Path(sys.executable).anchor or None,
            start_new_session=True,  # Ctrl-C in the owner's terminal is not meant for the guardian
            env=spared(environment),
        )
    except OSError as error:
        raise Unavailable(
            f"no further process can be started here ({error.strerror})",
            "end other programs, or raise the limits of this shell (ulimit -n, ulimit -u)",
        ) from error
