"""Ending what is left: processes, containers, paths, cgroups, and the ledgers that name them."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from vmcompare import paths
from vmcompare.engines.cleanup.containers import remove_containers
from vmcompare.engines.cleanup.ledger import (
    CONTAINERS,
    SESSION,
    Damaged,
    Ledger,
    boot,
    is_named_for,
    not_private,
    sessions_dir,
    user,
)
from vmcompare.engines.cleanup.processes import end_session_processes
from vmcompare.errors import StorageError, printable, short

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
        reason = not_private(status) if stat.S_ISDIR(status.st_mode) else "it is no folder"
        found = sorted(folder.iterdir()) if not reason else []
    except FileNotFoundError:
        return
    except OSError as error:
        swept.refused.append(f"{_shown(folder)} was left alone: {error.strerror}")
        return
    if reason:
        step = "make it yours alone (chmod 700), or remove it"
        swept.refused.append(f"{_shown(folder)} was left alone: {reason}. Next step: {step}")
    for path in found:
        try:
            if not re.fullmatch(rf"{SESSION}\.jsonl", path.name):
                raise Damaged("it is not called as our lists are")
            yield Ledger.read(path)
        except FileNotFoundError:
            continue  # its owner has just ended
        except Damaged as error:
            swept.refused.append(f"{_shown(path)} was left alone: {error}. Next step: remove it")


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
    # With what is in them, which may use the paths. A container whose runtime was killed while it
    # started is in no ledger yet: its first process waits for a word that never comes.
    for name in remove_cgroups(f"vmcompare-{session}*"):
        swept.add("cgroup", name)
    refused = [f"line {number}: it is not understood" for number in ledger.skipped]
    for key in ledger.watched:
        if key != CONTAINERS:
            try:
                if remove_folder(key, session):
                    swept.add("path", key)
            except ValueError as reason:
                refused.append(f"{_shown(key)}: {reason}")
    for entry in refused[:TOLD]:
        swept.refused.append(f"an entry of {ledger.path.name} was left alone, {entry}")
    if len(refused) > TOLD:
        swept.refused.append(f"{len(refused) - TOLD} more of {ledger.path.name} were left alone")
    with contextlib.suppress(OSError):
        ledger.path.unlink(missing_ok=True)


def roots() -> list[Path]:
    """Where folders of ours may lie, and are removed: for temporary files, at run time, derived."""
    named = [os.environ.get("XDG_RUNTIME_DIR", ""), "/tmp", "/var/tmp"]
    places = [Path(name) for name in named if name.startswith("/")]
    with contextlib.suppress(StorageError):
        places.append(paths.temporary())
    return [*places, paths.cache_dir() / "images"]


def remove_folder(text: str, session: str) -> bool:
    """Remove a folder that a ledger of ``session`` names; whether there was one.

    Raises ``ValueError`` with the reason, as a clause, where it is none of that session's, does not
    lie directly in one of our places, or cannot be removed.
    """
    path = Path(text)
    if not path.is_absolute() or not is_named_for(session, path.name):
        raise ValueError("it is not called as our folders are")
    try:
        place = os.path.realpath(path.parent, strict=True)
        known = {os.path.realpath(root) for root in roots()}
    except FileNotFoundError:
        return False
    except (OSError, ValueError) as error:
        raise ValueError("its path cannot be followed") from error
    if place not in known:
        raise ValueError("it does not lie in a folder for temporary files (is TMPDIR another?)")
    try:
        return _remove_in(Path(place, path.name))
    except OSError as error:
        raise ValueError(f"it cannot be removed: {error.strerror}") from error


def _remove_in(path: Path) -> bool:
    try:
        status = path.lstat()
    except FileNotFoundError:
        return False
    if not stat.S_ISDIR(status.st_mode):
        raise ValueError("it is no folder")
    if os.name == "posix" and status.st_uid != user():
        raise ValueError("it belongs to another user")
    if _is_mounted_in(str(path)):
        raise ValueError("something is mounted in it: unmount that first")
    shutil.rmtree(path)  # follows no link, the path itself included
    return True


def _is_mounted_in(path: str) -> bool:
    """Whether a file system is mounted on ``path`` or below; fields as in proc(5)."""
    try:
        table = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    path = path.replace("\\", "\\134").replace(" ", "\\040")
    points = (line.split(" ")[4] for line in table.splitlines())
    return any(point == path or point.startswith(f"{path}/") for point in points)


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
