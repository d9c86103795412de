"""Ending what is left: processes, containers, paths, cgroups, and the ledgers that name them."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from vmcompare import data
from vmcompare.reaper.containers import remove_containers
from vmcompare.reaper.identity import boot, end_process
from vmcompare.reaper.ledger import Ledger, own_path, sessions_dir

CGROUP_ROOT = Path("/sys/fs/cgroup")

CGROUP_END_S = 1.0
"""Seconds until a cgroup must be empty after its last process was killed; 0.01 s is usual."""


@dataclass(frozen=True, slots=True)
class Ended:
    """One thing a clean-up ended.

    ``kind`` is process, container, network, path, cgroup or ledger.
    """

    kind: str
    name: str


@dataclass(slots=True)
class Swept:
    """What a clean-up ended, in order."""

    ended: list[Ended] = field(default_factory=list)

    def add(self, kind: str, name: str) -> None:
        """Note that the ``kind`` called ``name`` was ended."""
        self.ended.append(Ended(kind, name))

    def __iter__(self) -> Iterator[Ended]:
        return iter(self.ended)

    def __len__(self) -> int:
        return len(self.ended)


def sweep(all_sessions: bool = False) -> Swept:
    """End whatever dead sessions left: processes, containers, paths, cgroups, ledgers.

    Never touches what is not ours or whose owner lives. With ``all_sessions`` this process's own
    session is cleared as well.
    """
    swept = Swept()
    own = own_path()
    living = set()
    for path in sorted(sessions_dir().glob("*.jsonl")):
        ledger = Ledger.read(path)
        if ledger is None:
            continue
        if ledger.owner_lives() and not (all_sessions and path == own):
            living.add(str(ledger.owner["session"]))
        else:
            clear(ledger, swept)
    remove_containers(swept, session=None)
    _remove_cgroups(swept, living)
    return swept


def clear(ledger: Ledger, swept: Swept) -> None:
    """End everything ``ledger`` still watches, then remove it."""
    session = str(ledger.owner["session"])
    same_boot = ledger.owner.get("boot") == boot()
    for key, entry in ledger.watched.items():
        if key.startswith("process ") and same_boot:
            pid = int(entry["pid"])
            if end_process(pid, str(entry["started"])):
                swept.add("process", str(pid))
    if "containers" in ledger.watched:
        remove_containers(swept, session=session)
    if same_boot:
        _end_users_of([str(e["path"]) for k, e in ledger.watched.items() if k.startswith("path ")])
    _remove_cgroups_of(session, swept)  # with what is in them, which may use the paths
    for key, entry in ledger.watched.items():
        if key.startswith("path ") and _remove_path(Path(str(entry["path"]))):
            swept.add("path", str(entry["path"]))
    ledger.path.unlink(missing_ok=True)


def _end_users_of(paths: list[str]) -> None:
    """End processes whose command line names one of our own folders, and wait for them.

    A helper that was starting when its owner was killed is in no ledger yet; left alone, it would
    go on to write into a folder that has just been removed.
    """
    import psutil

    ours = [path for path in paths if Path(path).name.startswith("vmcompare-")]
    found = []
    for process in psutil.process_iter() if ours else ():
        with contextlib.suppress(psutil.Error):
            if any(path in word for word in process.cmdline() for path in ours):
                process.kill()
                found.append(process)
    psutil.wait_procs(found, timeout=CGROUP_END_S)


def _remove_path(path: Path) -> bool:
    """Remove a file or a folder; never one that holds the home, working or root directory."""
    holds = (Path.home(), Path.cwd(), data.state_dir(), data.cache_dir())
    if not path.is_absolute() or any(place.is_relative_to(path) for place in holds):
        return False
    try:
        if path.is_dir() and not path.is_symlink():
            if path.is_relative_to(CGROUP_ROOT):
                path.rmdir()
            else:
                shutil.rmtree(path)
        else:
            path.unlink()
    except OSError:
        return False
    return True


def _remove_cgroups_of(session: str, swept: Swept) -> None:
    """End what is in cgroups called ``vmcompare-SESSION…``, and remove them once it has left.

    A container whose runtime was killed while it started is in no ledger yet: its first process
    waits for a word that never comes.
    """
    names = (f"vmcompare-{session}*", f"*/vmcompare-{session}*")
    deadline = time.monotonic() + CGROUP_END_S
    for path in [path for name in names for path in CGROUP_ROOT.glob(name)]:
        while path.is_dir():  # the same one may be met under two names (cpu, cpuacct)
            _kill_in(path)
            try:
                path.rmdir()
                swept.add("cgroup", str(path.relative_to(CGROUP_ROOT)))
            except OSError:
                if time.monotonic() > deadline:
                    break
                time.sleep(0.01)


def _kill_in(cgroup: Path) -> None:
    """Kill the processes of a cgroup; those that have just left it are no error."""
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
            if session not in living and pid.isdigit() and not psutil.pid_exists(int(pid)):
                with contextlib.suppress(OSError):
                    path.rmdir()
                    swept.add("cgroup", str(path.relative_to(CGROUP_ROOT)))
