"""Ending what is left: processes, containers, paths, cgroups, and the ledgers that name them."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from vmcompare import data
from vmcompare.reaper.folder import remove
from vmcompare.reaper.identity import boot, is_same_process
from vmcompare.reaper.ledger import (
    CONTAINERS,
    LABEL,
    LABEL_BOOT,
    LABEL_PID,
    LABEL_STARTED,
    SESSION,
    Damaged,
    Ledger,
    not_private,
    own_path,
    sessions_dir,
)
from vmcompare.reaper.mark import end_bearers

if TYPE_CHECKING:
    from docker import APIClient

ENGINE_TIMEOUT_S = 10
"""Seconds Docker has to answer one request of the clean-up before it counts as not there."""

FOREIGN_AGE_S = 600.0
"""Age in seconds from which a *stopped* container of another boot counts as abandoned; and so does
a network that no container is in."""

NETWORK_END_S = 5.0
"""Seconds until the last container must have left a network of a dead owner; 0.3 s is usual."""

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
    """What a clean-up ended, in order.

    Attributes:
        ended: what it ended.
        refused: what a ledger named and the clean-up left alone, in sentences.
    """

    ended: list[Ended] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)

    def add(self, kind: str, name: str) -> None:
        """Note that the ``kind`` called ``name`` was ended."""
        self.ended.append(Ended(kind, name))

    def __iter__(self) -> Iterator[Ended]:
        return iter(self.ended)

    def __len__(self) -> int:
        return len(self.ended)


TOLD = 3
"""So many refused entries of one ledger are told one by one; the others are counted."""


def sweep(all_sessions: bool = False) -> Swept:
    """End whatever dead sessions left: processes, containers, paths, cgroups, ledgers.

    Never touches what is not ours or whose owner lives. With ``all_sessions`` this process's own
    session is cleared as well. A ledger, or an entry, that is not understood is left alone and
    named in ``refused``.
    """
    swept = Swept()
    own = own_path()
    living = set()
    for ledger in _ledgers(swept):
        if ledger.owner.lives() and not (all_sessions and ledger.path == own):
            living.add(ledger.owner.session)
        else:
            clear(ledger, swept)
    _remove_containers(swept, session=None)
    _remove_cgroups(swept, living)
    return swept


def _ledgers(swept: Swept) -> Iterator[Ledger]:
    """The ledgers that can be obeyed; the others are named."""
    folder = sessions_dir()
    others = data.state_dir() / "sessions"
    with contextlib.suppress(OSError):
        if others != folder and any(others.iterdir()):
            swept.refused.append(
                f"{shown(others)} belongs to another user, whose own clean-up it is: "
                "run vmcompare clean as that user"
            )
    try:
        held = os.open(folder, os.O_RDONLY | _FOLDER)
    except FileNotFoundError:
        return
    except OSError as error:
        swept.refused.append(f"{shown(folder)} was left alone: {error.strerror}")
        return
    try:
        if reason := not_private(os.fstat(held)):
            step = "make it yours alone (chmod 700), or remove it"
            swept.refused.append(f"{shown(folder)} was left alone: {reason}. Next step: {step}")
            return
        for name in sorted(entry.name for entry in os.scandir(held)):
            try:
                if not re.fullmatch(rf"{SESSION}\.jsonl", name):
                    raise Damaged("it is not called as our lists are")
                yield Ledger.read(folder / name, held)
            except FileNotFoundError:
                continue  # its owner has just ended
            except Damaged as error:
                where = shown(folder / name)
                swept.refused.append(f"{where} was left alone: {error}. Next step: remove it")
    finally:
        os.close(held)


_FOLDER = getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)


def shown(path: Path | str) -> str:
    """A path fit to be printed: one line, not too long, without the name of its user."""
    text = "".join(c if c.isprintable() else "?" for c in str(path))
    home = os.path.expanduser("~")  # noqa: PTH111 - it never fails
    text = f"~{text.removeprefix(home)}" if home != "/" and text.startswith(f"{home}/") else text
    return text if len(text) <= 200 else f"{text[:200]} …"


def clear(ledger: Ledger, swept: Swept) -> None:
    """End everything ``ledger`` still watches, then remove it."""
    session = ledger.owner.session
    if ledger.owner.boot == boot():
        for pid in end_bearers(session):
            swept.add("process", str(pid))
    if CONTAINERS in ledger.watched:
        _remove_containers(swept, session=session)
    _remove_cgroups_of(session, swept)  # with what is in them, which may use the paths
    refused = [f"line {number}: it is not understood" for number in ledger.skipped]
    for key in ledger.watched:
        if key != CONTAINERS:
            try:
                if remove(key, session):
                    swept.add("path", key)
            except ValueError as reason:
                refused.append(f"{shown(key)}: {reason}")
    for entry in refused[:TOLD]:
        swept.refused.append(f"an entry of {ledger.path.name} was left alone, {entry}")
    if len(refused) > TOLD:
        swept.refused.append(f"{len(refused) - TOLD} more of {ledger.path.name} were left alone")
    with contextlib.suppress(OSError):
        ledger.path.unlink(missing_ok=True)


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
            if not re.fullmatch(r"[0-9]{1,10}", pid) or psutil.pid_exists(int(pid)):
                continue
            if session not in living:
                with contextlib.suppress(OSError):
                    path.rmdir()
                    swept.add("cgroup", str(path.relative_to(CGROUP_ROOT)))


def docker_is_named() -> bool:
    """Whether this computer says it has Docker: a ``docker`` on PATH, or ``DOCKER_HOST``.

    The engine's socket is not looked for by itself: taking ``docker`` off PATH is how a learner,
    a test or a room without Docker hides it. Who uses ``DOCKER_HOST`` or ``docker context`` says
    so in one of these two ways.
    """
    return bool(os.environ.get("DOCKER_HOST")) or shutil.which("docker") is not None


def _remove_containers(swept: Swept, session: str | None) -> None:
    """Remove the containers of ``session``, or with ``None`` those of every dead owner."""
    if not docker_is_named():
        return
    import docker.errors
    import requests

    unreachable = (docker.errors.DockerException, requests.RequestException, OSError)
    with contextlib.suppress(*unreachable):
        api = docker.from_env(timeout=ENGINE_TIMEOUT_S).api
        wanted = LABEL if session is None else f"{LABEL}={session}"
        for found in api.containers(all=True, filters={"label": [wanted, LABEL_PID]}):
            if session is None and not _is_abandoned(found):
                continue
            if _remove_container(api, str(found["Id"])):
                swept.add("container", str((found.get("Names") or [found["Id"]])[0]).lstrip("/"))
        # Each was made for one container, which goes first.
        for found in api.networks(filters={"label": [wanted, LABEL_PID]}):
            if session is None and not _is_abandoned_network(found):
                continue
            if _remove_network(api, str(found["Id"])):
                swept.add("network", str(found["Name"]))


def _remove_container(api: APIClient, container: str) -> bool:
    import docker.errors

    try:
        api.remove_container(container, force=True, v=True)
    except docker.errors.APIError as error:
        if error.status_code in (404, 409):  # gone, or on its way
            return False
        raise
    return True


def _remove_network(api: APIClient, network: str) -> bool:
    """Remove a network, once the container that is being removed has left it."""
    import docker.errors

    deadline = time.monotonic() + NETWORK_END_S
    while True:
        try:
            api.remove_network(network)
            return True
        except docker.errors.APIError as error:
            if error.status_code == 404:
                return False
            if error.status_code not in (403, 409):
                raise
        if time.monotonic() > deadline:
            return False  # whoever is in it has an owner
        time.sleep(0.05)


def _is_abandoned_network(found: Mapping[str, object]) -> bool:
    """Whether the owner named in a network's labels is dead for certain.

    Of another boot, or another computer, that cannot be seen; but an empty one that is old has no
    owner, and the engine refuses to remove one that is not empty.
    """
    marks = found.get("Labels")
    if not isinstance(marks, dict) or not str(marks.get(LABEL_PID, "")).isdigit():
        return False
    if marks.get(LABEL_BOOT) == boot():
        return not is_same_process(int(marks[LABEL_PID]), str(marks.get(LABEL_STARTED)))
    try:
        created = datetime.fromisoformat(str(found.get("Created")))
    except ValueError:
        return False
    return time.time() - created.timestamp() > FOREIGN_AGE_S


def _is_abandoned(found: Mapping[str, object]) -> bool:
    """Whether the owner named in a container's labels is dead for certain."""
    marks = found.get("Labels")
    if not isinstance(marks, dict) or not str(marks.get(LABEL_PID, "")).isdigit():
        return False
    if marks.get(LABEL_BOOT) == boot():
        return not is_same_process(int(marks[LABEL_PID]), str(marks.get(LABEL_STARTED)))
    # Before our last restart, or another computer's on a shared engine? A running one has an
    # owner: its standard input is held open. One that never ran or has ended long ago has none.
    created = found.get("Created")
    age_s = time.time() - created if isinstance(created, int | float) else 0.0
    return found.get("State") in ("created", "exited", "dead") and age_s > FOREIGN_AGE_S
