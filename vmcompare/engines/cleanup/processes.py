"""Which processes are a session's: they carry its name in their environment.

A number written down after a start comes too late for a ``kill -9`` in between, and says nothing of
what that process has started itself. The environment is there from the first instant, and children
inherit it. What empties its environment is found by its parent, or by the session (of ``setsid``)
it is in.
"""

from __future__ import annotations

import contextlib
import os
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
    unmarked: list[psutil.Process] = []
    for pid in set(psutil.pids()) - spare:
        with contextlib.suppress(psutil.Error, OSError):
            process = psutil.Process(pid)  # remembers who it is, not only its number
            environment = _environment(process)
            if wanted.items() <= environment.items():
                found[pid] = process
            elif MARK not in environment:
                unmarked.append(process)
    if found:
        _add_offspring(found, unmarked)
    return list(found.values())


def _environment(process: psutil.Process) -> Mapping[str, str]:
    """With what it was started. Raises ``psutil.Error`` for others' processes, and ended ones."""
    import psutil

    if hasattr(os, "geteuid") and process.uids().real != user():
        raise psutil.AccessDenied(process.pid)
    until = time.monotonic() + EXEC_S
    try:
        while not (found := process.environ()) and time.monotonic() < until:
            # Linux says nothing yet in the middle of an exec, and never of a thread of its own.
            Path(f"/proc/{process.pid}/exe").readlink()
            stat = Path(f"/proc/{process.pid}/stat").read_text(errors="replace")
            if stat.rpartition(")")[2].split()[47] != "0":  # proc(5), env_start: the exec is over
                break
            time.sleep(0.001)
    except psutil.AccessDenied:
        return {}  # a program with rights of its own: only its parent tells
    return found


def _add_offspring(found: dict[int, psutil.Process], unmarked: Iterable[psutil.Process]) -> None:
    """Add what was started by what is ``found``, or is in a session that one of it leads."""
    import psutil

    left: dict[psutil.Process, tuple[int, int]] = {}
    for process in unmarked:
        with contextlib.suppress(psutil.Error, OSError):
            if process.status() not in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD):
                leader = os.getsid(process.pid) if hasattr(os, "getsid") else 0
                left[process] = process.ppid(), leader
    while more := [one for one, above in left.items() if not found.keys().isdisjoint(above)]:
        for process in more:
            del left[process]
            found[process.pid] = process


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
