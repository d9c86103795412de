"""Removes Docker containers and networks that were left behind, known by their labels.

A daemon that is killed leaves its containers running: the shim that serves one holds *both* ends of
the program's standard input, which never ends then. No daemon knows of it any more; it is found by
:data:`OWNER` in its environment, or by its number where its owner still lives (:func:`end_shim`).
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import re
import sys
import time
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

from vmcompare import paths
from vmcompare.engines.cleanup.ledger import (
    LABEL,
    LABEL_BOOT,
    LABEL_PID,
    LABEL_STARTED,
    boot,
    is_same_process,
    labels,
)
from vmcompare.engines.docker_connection import connect, docker_is_named, engine_errors, removed
from vmcompare.errors import Unavailable

if TYPE_CHECKING:
    import psutil

    from vmcompare.engines.cleanup.ending import Swept

ENGINE_TIMEOUT_S = 10  # for one request of the clean-up; then Docker counts as not there
FOREIGN_AGE_S = 600.0
"""Age in seconds from which a *stopped* container of another boot counts as abandoned; and so does
a network that no container is in."""

GONE_S = 10.0  # for a container or network of a dead owner to be gone; 0.3 s is usual
OWNER = "VMCOMPARE_OWNER"  # a container's variable: its labels, as JSON
_SHIM = "containerd-shim"  # begins the name of the program that serves a container (`-id` names it)
_CONFIG_BYTES = 1 << 20  # at most, of a runtime's configuration of a container; 10 kB are usual
_SHIM_END_S = 15.0  # until what was killed must be gone; 0.1 s is usual


def environment() -> dict[str, str]:
    return {OWNER: json.dumps(labels())}


def end_shim(container: str) -> bool:
    """End the container of that number, and its shim, by force; whether there was one here.

    For a container of ours whose daemon does not answer. Needs the kernel it runs on, and root.
    """
    return any(_end(shim) for shim, number in _shims() if number == container)


def remove_containers(swept: Swept, session: str | None) -> None:
    """Remove the containers of ``session``, or with ``None`` those of every dead owner."""
    if docker_is_named():
        with contextlib.suppress(Unavailable, *engine_errors()):
            _ask_the_engine(swept, session)
    # What is left after that, no engine that we reach knows.
    for shim, number in _shims():
        marks = _marks(shim)
        # Another boot's process cannot be here; another namespace's owner cannot be judged.
        unowned = marks.get(LABEL) == session if session else _owner_lives(marks) is False
        if unowned and _end(shim):
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


def _marks(shim: psutil.Process) -> dict[str, str]:
    """The labels that a container's ``config.json`` names, in the folder its shim works in."""
    import psutil

    path = Path(f"/proc/{shim.pid}/cwd/config.json")
    try:
        # Anybody may call a program like a shim, and put anything where this file is looked for.
        if shim.uids().real not in (0, os.geteuid()):
            return {}
        variables = json.loads(paths.read(path, _CONFIG_BYTES))["process"]["env"]
        (value,) = (str(v).partition("=")[2] for v in variables if str(v).startswith(f"{OWNER}="))
        return {str(key): str(label) for key, label in json.loads(value).items()}
    except (psutil.Error, OSError, ValueError, LookupError, TypeError, AttributeError,
            RecursionError):  # fmt: skip
        return {}


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


def _ask_the_engine(swept: Swept, session: str | None) -> None:
    api = connect(ENGINE_TIMEOUT_S).api
    label = {"label": [LABEL if session is None else f"{LABEL}={session}", LABEL_PID]}
    for found in api.containers(all=True, filters=label):
        remove = functools.partial(api.remove_container, found["Id"], force=True, v=True)
        if (session or _is_abandoned(found)) and removed(remove, {409}, GONE_S):
            swept.add("container", str((found.get("Names") or [found["Id"]])[0]).lstrip("/"))
    # Whatever was in one has been removed before; whoever is in it still, has an owner.
    for found in api.networks(filters=label):
        remove = functools.partial(api.remove_network, found["Id"])
        is_left = session or _is_abandoned(found, network=True)
        if is_left and removed(remove, {403, 409}, GONE_S):
            swept.add("network", str(found["Name"]))


_PID = re.compile("[0-9]{1,10}")  # whoever may use the engine wrote the labels


def _owner_lives(marks: Mapping[str, str]) -> bool | None:
    """Whether the owner that labels name is alive; ``None`` of another boot, or if there is none.

    Another boot: before our last restart, or another computer's on a shared engine.
    """
    pid = str(marks.get(LABEL_PID))
    if marks.get(LABEL_BOOT) != boot() or not _PID.fullmatch(pid):
        return None
    return is_same_process(int(pid), marks.get(LABEL_STARTED, ""))


def _is_abandoned(found: Mapping[str, Any], *, network: bool = False) -> bool:
    """Whether the owner named in the labels of a container or a network is dead for certain."""
    marks = found.get("Labels") or {}
    lives = _owner_lives(marks)
    if lives is not None or not _PID.fullmatch(str(marks.get(LABEL_PID))):
        return lives is False
    # A running container has an owner: its standard input is held open. One that never ran or has
    # ended long ago has none, nor has an old network without a container; the engine does not
    # remove one with a container.
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
