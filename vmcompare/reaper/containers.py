"""Ending what is left in Docker: containers and networks, known by their labels."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING

from vmcompare.reaper.identity import boot, is_same_process
from vmcompare.reaper.ledger import LABEL, LABEL_BOOT, LABEL_PID, LABEL_STARTED

if TYPE_CHECKING:
    from docker import APIClient

    from vmcompare.reaper.cleanup import Swept

ENGINE_TIMEOUT_S = 10
"""Seconds Docker has to answer one request of the clean-up before it counts as not there."""

FOREIGN_AGE_S = 600.0
"""Age in seconds from which a *stopped* container of another boot counts as abandoned; and so does
a network that no container is in."""

NETWORK_END_S = 5.0
"""Seconds until the last container must have left a network of a dead owner; 0.3 s is usual."""


def docker_is_named() -> bool:
    """Whether this computer says it has Docker: a ``docker`` on PATH, or ``DOCKER_HOST``.

    The engine's socket is not looked for by itself: taking ``docker`` off PATH is how a learner,
    a test or a room without Docker hides it. Who uses ``DOCKER_HOST`` or ``docker context`` says
    so in one of these two ways.
    """
    return bool(os.environ.get("DOCKER_HOST")) or shutil.which("docker") is not None


def remove_containers(swept: Swept, session: str | None) -> None:
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
