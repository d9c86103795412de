"""Removes Docker containers and networks that were left behind, known by their labels.

A daemon that is killed leaves its containers running: the shim that serves one holds *both* ends of
the program's standard input, so the end that would stop the program never comes. No daemon then
knows of it, or its labels; it is found by :data:`OWNER` in the environment its engine wrote down
for it, or by its number where its owner still lives (:func:`end_shim`).
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

from vmcompare.engines.cleanup.ledger import (
    LABEL,
    LABEL_BOOT,
    LABEL_PID,
    LABEL_STARTED,
    boot,
    is_same_process,
    labels,
)
from vmcompare.engines.docker_connection import connect, docker_is_named, engine_errors
from vmcompare.errors import Unavailable

if TYPE_CHECKING:
    import psutil
    from docker import APIClient

    from vmcompare.engines.cleanup.ending import Swept

ENGINE_TIMEOUT_S = 10  # for one request of the clean-up; then Docker counts as not there
FOREIGN_AGE_S = 600.0
"""Age in seconds from which a *stopped* container of another boot counts as abandoned; and so does
a network that no container is in."""

NETWORK_END_S = 10.0  # for the last container to leave a dead owner's network; 0.3 s is usual
OWNER = "VMCOMPARE_OWNER"  # a container's variable: session, boot, pid and start of its owner
_SHIM = "containerd-shim"  # begins the name of the program that serves a container (`-id` names it)
_CONFIG_BYTES = 1 << 20  # at most, of a runtime's configuration of a container; 10 kB are usual
_SHIM_END_S = 15.0  # until what was killed must be gone; 0.1 s is usual


def environment() -> dict[str, str]:
    marks = labels()
    return {OWNER: " ".join(marks[key] for key in (LABEL, LABEL_BOOT, LABEL_PID, LABEL_STARTED))}


def end_shim(container: str) -> bool:
    """End the container of that number, and its shim, by force; whether there was one here.

    For a container of ours whose daemon does not answer. Needs the kernel it runs on, and root.
    """
    return any(_end(shim) for shim, number in _shims() if number == container)


def end_orphans(swept: Swept, session: str | None) -> None:
    """End the containers of ``session``, or of every dead owner, that no daemon knows any more."""
    for shim, number in _shims():
        owner = _owner(shim)
        if owner is None or (session is not None and owner[LABEL] != session):
            continue
        # Another boot's process cannot be here; another namespace's owner cannot be judged.
        is_dead = owner[LABEL_BOOT] == boot() and not is_same_process(
            int(owner[LABEL_PID]), owner[LABEL_STARTED]
        )
        if (is_dead or session is not None) and _end(shim):
            swept.add("container", number[:12])


def _shims() -> Iterator[tuple[psutil.Process, str]]:
    """The shims on this kernel (Linux), each with the number of its container."""
    import psutil

    if sys.platform != "linux":
        return

    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            words = process.cmdline()
            if words and PurePath(words[0]).name.startswith(_SHIM) and "-id" in words[:-1]:
                yield process, words[words.index("-id") + 1]


def _owner(shim: psutil.Process) -> dict[str, str] | None:
    """The owner named in a container's ``config.json``, in the folder its shim works in; else
    ``None``.
    """
    import psutil

    path = Path(f"/proc/{shim.pid}/cwd/config.json")
    try:
        # Anybody may call a program like a shim, and put anything where this file is looked for.
        trusted = shim.uids().real in (0, os.geteuid()) and path.is_file()
        if not trusted or path.stat().st_size > _CONFIG_BYTES:
            return None
        variables = json.loads(path.read_text(encoding="utf-8"))["process"]["env"]
        (value,) = (str(v).partition("=")[2] for v in variables if str(v).startswith(f"{OWNER}="))
        session, of_boot, pid, start = value.split(" ")
        return {LABEL: session, LABEL_BOOT: of_boot, LABEL_PID: str(int(pid)), LABEL_STARTED: start}
    except (psutil.Error, OSError, ValueError, LookupError, TypeError, RecursionError):
        return None


def _end(shim: psutil.Process) -> bool:
    """End a shim and all it serves; whether it could be."""
    import psutil

    try:
        served = [*shim.children(recursive=True), shim]
        for process in served:  # the shim last: it would be told of their end
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
    except psutil.Error:
        return False
    return not psutil.wait_procs(served, timeout=_SHIM_END_S)[1]


def remove_containers(swept: Swept, session: str | None) -> None:
    """Remove the containers of ``session``, or with ``None`` those of every dead owner."""
    _ask_the_engine(swept, session)
    end_orphans(swept, session)  # what is left after that, no engine that we reach knows


def _ask_the_engine(swept: Swept, session: str | None) -> None:
    if not docker_is_named():
        return
    with contextlib.suppress(Unavailable, *engine_errors()):
        api = connect(ENGINE_TIMEOUT_S).api
        wanted = LABEL if session is None else f"{LABEL}={session}"
        for found in api.containers(all=True, filters={"label": [wanted, LABEL_PID]}):
            if session is None and not _is_abandoned(found):
                continue
            if _remove_container(api, str(found["Id"])):
                swept.add("container", str((found.get("Names") or [found["Id"]])[0]).lstrip("/"))
        # Whatever was in one has been removed before.
        for found in api.networks(filters={"label": [wanted, LABEL_PID]}):
            if session is None and not _is_abandoned(found, network=True):
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


def _is_abandoned(found: Mapping[str, object], *, network: bool = False) -> bool:
    """Whether the owner named in the labels of a container or a network is dead for certain."""
    marks = found.get("Labels")
    if not isinstance(marks, dict) or not str(marks.get(LABEL_PID, "")).isdigit():
        return False
    if marks.get(LABEL_BOOT) == boot():
        return not is_same_process(int(marks[LABEL_PID]), str(marks.get(LABEL_STARTED)))
    # Before our last restart, or another computer's on a shared engine? A running container has an
    # owner: its standard input is held open. One that never ran or has ended long ago has none, nor
    # has an old network without a container; the engine does not remove one with a container.
    stopped = network or found.get("State") in ("created", "exited", "dead")
    return stopped and _age_s(found.get("Created")) > FOREIGN_AGE_S


def _age_s(created: object) -> float:
    """The age of a container (seconds since 1970) or a network (a date); 0 for anything else."""
    if isinstance(created, int | float):
        return time.time() - created
    try:
        return time.time() - datetime.fromisoformat(str(created)).timestamp()
    except ValueError:
        return 0.0
