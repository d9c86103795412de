"""Ending what is left: processes, containers, paths, cgroups, and the ledgers that name them."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from vmcompare.engines.cleanup.containers import remove_containers
from vmcompare.engines.cleanup.folder import remove
from vmcompare.engines.cleanup.identity import boot
from vmcompare.engines.cleanup.ledger import (
    CONTAINERS,
    SESSION,
    Damaged,
    Ledger,
    not_private,
    sessions_dir,
)
from vmcompare.engines.cleanup.processes import end_session_processes
from vmcompare.errors import printable, short

CGROUP_ROOT = Path("/sys/fs/cgroup")

CGROUP_END_S = 10.0  # for a cgroup to be empty once its processes were killed; 0.01 s is usual


@dataclass(frozen=True, slots=True)
class Ended:
    """One thing a clean-up ended: a process, container, network, path, cgroup or ledger."""

    kind: str
    name: str


@dataclass(slots=True)
class Swept:
    """What a clean-up ended, in order; and what it ``refused`` to obey, in sentences."""

    ended: list[Ended] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)

    def add(self, kind: str, name: str) -> None:
        self.ended.append(Ended(kind, name))

    def __iter__(self) -> Iterator[Ended]:
        return iter(self.ended)

    def __len__(self) -> int:
        return len(self.ended)


TOLD = 3  # refused entries of one ledger that are told one by one; the others are counted


def sweep() -> Swept:
    """End whatever dead sessions left: processes, containers, paths, cgroups, ledgers.

    Never touches what is not ours or whose owner lives. A ledger, or an entry, that is not
    understood is left alone and named in ``refused``.
    """
    swept = Swept()
    living = set()
    for ledger in _ledgers(swept):
        if ledger.owner.lives():
            living.add(ledger.owner.session)
        else:
            clear(ledger, swept)
    remove_containers(swept, session=None)
    _remove_cgroups(swept, living)
    return swept


def _ledgers(swept: Swept) -> Iterator[Ledger]:
    """The ledgers that can be obeyed; the others are named."""
    folder = sessions_dir()
    try:
        held = os.open(folder, os.O_RDONLY | _FOLDER)
    except FileNotFoundError:
        return
    except OSError as error:
        swept.refused.append(f"{_shown(folder)} was left alone: {error.strerror}")
        return
    try:
        if reason := not_private(os.fstat(held)):
            step = "make it yours alone (chmod 700), or remove it"
            swept.refused.append(f"{_shown(folder)} was left alone: {reason}. Next step: {step}")
            return
        for name in sorted(entry.name for entry in os.scandir(held)):
            try:
                if not re.fullmatch(rf"{SESSION}\.jsonl", name):
                    raise Damaged("it is not called as our lists are")
                yield Ledger.read(folder / name, held)
            except FileNotFoundError:
                continue  # its owner has just ended
            except Damaged as error:
                where = _shown(folder / name)
                swept.refused.append(f"{where} was left alone: {error}. Next step: remove it")
    finally:
        os.close(held)


_FOLDER = getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)


def _shown(path: Path | str) -> str:
    """A path fit to be printed: one line, not too long, without the name of its user."""
    return printable(short(Path(path)))


def clear(ledger: Ledger, swept: Swept) -> None:
    """End everything ``ledger`` still watches, then remove it."""
    session = ledger.owner.session
    if ledger.owner.boot == boot():
        for pid in end_session_processes(session):
            swept.add("process", str(pid))
    if CONTAINERS in ledger.watched:
        remove_containers(swept, session=session)
    _remove_cgroups_of(session, swept)  # with what is in them, which may use the paths
    refused = [f"line {number}: it is not understood" for number in ledger.skipped]
    for key in ledger.watched:
        if key != CONTAINERS:
            try:
                if remove(key, session):
                    swept.add("path", key)
            except ValueError as reason:
                refused.append(f"{_shown(key)}: {reason}")
    for entry in refused[:TOLD]:
        swept.refused.append(f"an entry of {ledger.path.name} was left alone, {entry}")
    if len(refused) > TOLD:
        swept.refused.append(f"{len(refused) - TOLD} more of {ledger.path.name} were left alone")
    with contextlib.suppress(OSError):
        ledger.path.unlink(missing_ok=True)


def _remove_cgroups_of(session: str, swept: Swept) -> None:
    """End what is in cgroups called ``vmcompare-SESSION…``, and remove them.

    A container whose runtime was killed while it started is in no ledger yet: its first process
    waits for a word that never comes.
    """
    for path in remove_cgroups(f"vmcompare-{session}*"):
        swept.add("cgroup", path)


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


def _remove_cgroups(swept: Swept, living: set[str]) -> None:
    """Remove empty cgroups called ``vmcompare-SESSION`` whose session is not among ``living``.

    A cgroup that still holds a process refuses to go; that is left to it. One whose session's pid
    is in use waits: another user's ledger is not seen from here.
    """
    import psutil

    for pattern in ("vmcompare-*", "*/vmcompare-*"):
        for path in CGROUP_ROOT.glob(pattern):
            session = path.name.removeprefix("vmcompare-")
            pid = session.partition("-")[0]
            if not re.fullmatch(r"[0-9]{1,10}", pid) or psutil.pid_exists(int(pid)):
                continue
            if session not in living:
                with contextlib.suppress(OSError):
                    path.rmdir()
                    swept.add("cgroup", str(path.relative_to(CGROUP_ROOT)))
