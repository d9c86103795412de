"""Which processes are a session's: they carry its name in their environment.

A number written down after a start comes too late for a ``kill -9`` in between, and says nothing of
what that process has started itself. The environment is there from the first instant, and children
inherit it. What empties its environment is found by its parent, or by the session (of ``setsid``)
it is in.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from vmcompare.engines.cleanup.ledger import session_id, user

if TYPE_CHECKING:
    import psutil  # needed only where somebody is looked for: it takes as long as all the rest

MARK = "VMCOMPARE_SESSION"  # the name of the variable
SPARED = "none"  # its value in what must outlive a session: its guardian, everybody's Docker daemon
SOFT_END_S = 5.0
"""Seconds a process has to end in order before it is killed; QEMU takes about 0.1 s, a recording
that takes down its own instances longer."""

EXEC_S = 1.0  # the longest wait for an exec to be over; 0.001 s is usual
GIVE_UP_S = 15.0  # after which what does not even end when killed is left; 0.01 s is usual


def marked(environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """An environment (our own by default) for a child that must not outlive this session.

    Raises ``StorageError`` if the session cannot be written down; then nothing must be started.
    """
    return {**(os.environ if environment is None else environment), MARK: session_id()}


def spared(environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """An environment for a child that must outlive every session."""
    return {**(os.environ if environment is None else environment), MARK: SPARED}


def session_processes(session: str, also: Mapping[str, str] | None = None) -> list[psutil.Process]:
    """The living processes of ``session``, of this user: never we, nor who started us.

    With ``also``, only those whose environment holds these variables too, and their offspring.
    """
    import psutil

    wanted = {MARK: session, **(also or {})}
    spare = {os.getpid(), *(parent.pid for parent in psutil.Process().parents())}
    found: dict[int, psutil.Process] = {}
    unmarked: list[int] = []
    for pid in set(psutil.pids()) - spare:
        environment = _environment(pid)
        if environment is None:
            continue
        if wanted.items() <= environment.items():
            with contextlib.suppress(psutil.Error):
                process = psutil.Process(pid)  # remembers who it is; is it still the same?
                if _environment(pid) == environment:
                    found[pid] = process
        elif MARK not in environment:
            unmarked.append(pid)
    if found:
        _add_offspring(found, unmarked)
    return list(found.values())


def _add_offspring(found: dict[int, psutil.Process], unmarked: Iterable[int]) -> None:
    """Add what was started by what is ``found``, or is in a session that one of it leads."""
    import psutil

    left: dict[int, tuple[psutil.Process, int, int]] = {}
    for pid in unmarked:
        with contextlib.suppress(psutil.Error):
            process = psutil.Process(pid)
            if process.status() not in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD):
                left[pid] = process, process.ppid(), _leader(pid)
    while more := [pid for pid, (_, *above) in left.items() if not found.keys().isdisjoint(above)]:
        for pid in more:
            found[pid] = left.pop(pid)[0]


def end_session_processes(session: str, also: Mapping[str, str] | None = None) -> list[int]:
    """End the processes of ``session``, softly, then hard; their numbers.

    Searched anew until nobody is found: what is ended may be starting something.
    """
    import psutil

    began = time.monotonic()
    asked: dict[int, float] = {}
    while found := session_processes(session, also):
        now = time.monotonic()
        if now - began > GIVE_UP_S:
            break
        for process in found:
            with contextlib.suppress(psutil.Error):  # psutil knows who it is, not only its number
                if process.pid not in asked:
                    asked[process.pid] = now
                    process.terminate()
                elif now - asked[process.pid] > SOFT_END_S or now - began > 2 * SOFT_END_S:
                    process.kill()
        time.sleep(0.02)  # whose children they are may reap them, not we
    return list(asked)


def _environment(pid: int) -> Mapping[str, str] | None:
    """With what a process of this user was started; ``None`` for others', and for ended ones."""
    import psutil

    try:
        if sys.platform != "linux":
            return psutil.Process(pid).environ()
        # Of a program with rights of its own, these files are root's.
        if Path(f"/proc/{pid}").stat().st_uid not in (user(), 0):
            return None
        text = _environ(pid).decode(errors="surrogateescape")
    except (PermissionError, psutil.AccessDenied):
        # Nobody may look into it: only its parent tells.
        return {} if _is_ours(pid) else None
    except (OSError, psutil.Error):
        return None
    return dict(entry.partition("=")[::2] for entry in text.split("\0") if entry)


def _environ(pid: int) -> bytes:
    """What Linux says of it: nothing yet in the middle of its exec, so look again."""
    folder = Path(f"/proc/{pid}")
    until = time.monotonic() + EXEC_S
    while not (text := (folder / "environ").read_bytes()) and time.monotonic() < until:
        (folder / "exe").readlink()
        env_start = (folder / "stat").read_text(errors="replace").rpartition(")")[2].split()[47]
        if env_start != "0":  # proc(5): the exec is over, and it was started without any
            break
        time.sleep(0.001)
    return text


def _is_ours(pid: int) -> bool:
    import psutil

    try:
        return not hasattr(os, "geteuid") or psutil.Process(pid).uids().real == user()
    except psutil.Error:
        return False


def _leader(pid: int) -> int:
    """The process that leads the session of ``pid``; 0 where that cannot be told."""
    try:
        return os.getsid(pid) if hasattr(os, "getsid") else 0
    except OSError:
        return 0
