"""Ending what is left: processes, containers, paths, cgroups, and the ledgers that name them."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import stat
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vmcompare import paths
from vmcompare.engines.cleanup.containers import remove_containers
from vmcompare.engines.cleanup.ledger import (
    CONTAINERS,
    MARK,
    SESSION,
    Damaged,
    Ledger,
    boot,
    not_private,
    sessions_dir,
    user,
)
from vmcompare.errors import StorageError, printable, short

if TYPE_CHECKING:
    import psutil  # needed only where somebody is looked for: it takes as long as all the rest

CGROUP_ROOT = Path("/sys/fs/cgroup")

CGROUP_END_S = 10.0  # for a cgroup to be empty once its processes were killed; 0.01 s is usual


SOFT_END_S = 5.0
"""Seconds a process has to end in order before it is killed; QEMU takes about 0.1 s, a recording
that takes down its own instances longer."""

EXEC_S = 1.0  # the longest wait for an exec to be over; 0.001 s is usual
GIVE_UP_S = 15.0  # after which what does not even end when killed is left; 0.01 s is usual


@dataclass(frozen=True, slots=True)
class Ended:
    """One thing a clean-up ended: a process, container, network, path, cgroup or ledger."""

    kind: str
    name: str


class Swept(list[Ended]):
    """What a clean-up ended, in order; and what it ``refused`` to obey, in sentences."""

    def __init__(self) -> None:
        super().__init__()
        self.refused: list[str] = []

    def add(self, kind: str, name: str) -> None:
        self.append(Ended(kind, name))

    def refuse(self, path: Path, why: object) -> None:
        """In one line, not too long, and without the name of the path's user."""
        self.refused.append(f"{printable(short(path))} was left alone: {why}")


def sweep() -> Swept:
    """End whatever dead sessions left: processes, containers, paths, cgroups, ledgers.

    Never touches what is not ours or whose owner lives. A ledger, or an entry, that is not
    understood is left alone and named in ``refused``.
    """
    swept = Swept()
    for ledger in _ledgers(swept):
        if not ledger.owner.lives():
            clear(ledger, swept)
    remove_containers(swept, session=None)
    return swept


def _ledgers(swept: Swept) -> Iterator[Ledger]:
    """The ledgers that can be obeyed; the others are named."""
    folder = sessions_dir()
    try:
        status = folder.lstat()
        if reason := not_private(status) if stat.S_ISDIR(status.st_mode) else "it is no folder":
            raise Damaged(f"{reason}. Next step: make it yours alone (chmod 700), or remove it")
        found = sorted(folder.iterdir())
    except FileNotFoundError:
        return
    except (OSError, Damaged) as error:
        swept.refuse(folder, error)
        return
    for path in found:
        try:
            if not re.fullmatch(rf"{SESSION}\.jsonl", path.name):
                raise Damaged("it is not called as our lists are")
            yield Ledger.read(path)
        except FileNotFoundError:
            continue  # its owner has just ended
        except Damaged as error:
            swept.refuse(path, f"{error}. Next step: remove it")


def clear(ledger: Ledger, swept: Swept) -> None:
    """End everything ``ledger`` still watches, then remove it."""
    session = ledger.owner.session
    if ledger.owner.boot == boot():
        for pid in end_session_processes(session):
            swept.add("process", str(pid))
    if CONTAINERS in ledger.watched:
        remove_containers(swept, session=session)
    # With what is in them, which may use the paths. A container whose runtime was killed while it
    # started is in no ledger yet: its first process waits for a word that never comes.
    for name in remove_cgroups(f"vmcompare-{session}*"):
        swept.add("cgroup", name)
    refused = [f"line {number}: it is not understood" for number in ledger.skipped]
    for key in ledger.watched:
        if key != CONTAINERS:
            try:
                if remove_folder(Path(key), session):
                    swept.add("path", key)
            except ValueError as reason:
                refused.append(f"{printable(short(Path(key)))}: {reason}")
    if refused:
        more = f" (and {len(refused) - 1} more)" if len(refused) > 1 else ""
        swept.refused.append(f"an entry of {ledger.path.name} was left alone{more}, {refused[0]}")
    ledger.remove()


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


def roots() -> list[Path]:
    """Where folders of ours may lie, and are removed: for temporary files, at run time, derived."""
    named = [os.environ.get("XDG_RUNTIME_DIR", ""), "/tmp", "/var/tmp"]
    places = [Path(name) for name in named if name.startswith("/")]
    with contextlib.suppress(StorageError):
        places.append(paths.temporary())
    return [*places, paths.cache_dir() / "images"]


def remove_folder(path: Path, session: str) -> bool:
    """Remove a folder that a ledger of ``session`` names; whether there was one.

    Raises ``ValueError`` with the reason, as a clause, where it is none of that session's, does not
    lie directly in one of our places, or cannot be removed.
    """
    import psutil

    ours = rf"vmcompare-{re.escape(session)}-[0-9a-f]{{8}}"  # as ``ledger.folder`` names them
    if not path.is_absolute() or not re.fullmatch(ours, path.name):
        raise ValueError("it is not called as our folders are")
    try:
        place = path.parent.resolve(strict=True)
        if place not in {root.resolve() for root in roots()}:
            raise ValueError("it lies in no folder for temporary files (is TMPDIR another?)")
        path = place / path.name
        status = path.lstat()
        if not stat.S_ISDIR(status.st_mode):
            raise ValueError("it is no folder")
        if os.name == "posix" and status.st_uid != user():
            raise ValueError("it belongs to another user")
        mounted = (Path(disk.mountpoint) for disk in psutil.disk_partitions(all=True))
        if any(point.is_relative_to(path) for point in mounted):
            raise ValueError("something is mounted in it: unmount that first")
        shutil.rmtree(path)  # follows no link, the path itself included
    except FileNotFoundError:
        return False
    except (OSError, RuntimeError) as error:
        raise ValueError(f"it cannot be removed ({type(error).__name__})") from error
    return True


def remove_cgroups(named: str) -> list[str]:
    """End what is in cgroups of this name (a pattern), and remove them once it has left.

    Returns the places of those that are gone, below the root of all cgroups.
    """
    gone = []
    deadline = time.monotonic() + CGROUP_END_S
    for path in [*CGROUP_ROOT.glob(named), *CGROUP_ROOT.glob(f"*/{named}")]:
        while path.is_dir():  # the same one may be met under two names (cpu, cpuacct)
            _kill_in(path)
            try:
                path.rmdir()
                gone.append(str(path.relative_to(CGROUP_ROOT)))
            except OSError:
                if time.monotonic() > deadline:
                    break
                time.sleep(0.01)
    return gone


def _kill_in(cgroup: Path) -> None:
    with contextlib.suppress(OSError, ValueError):
        for pid in (cgroup / "cgroup.procs").read_text(encoding="ascii").split():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
