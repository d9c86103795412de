"""The engine: reached, or why not, by root cause and with the next step."""

from __future__ import annotations

import contextlib
import os
import platform
from collections.abc import Mapping
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from vmcompare import reaper
from vmcompare.errors import Unavailable
from vmcompare.sandbox import Availability

if TYPE_CHECKING:
    from docker import DockerClient

PROBE_TIMEOUT_S = 10
"""Seconds an engine has to say who it is; 0.02 s is usual, a hung one never answers."""

REQUEST_TIMEOUT_S = 60
"""Seconds for any other request. Creating takes 0.05 s; a loaded classroom machine 20 × that."""


class Trouble(StrEnum):
    """Why no engine answers, by root cause."""

    ABSENT = "absent"
    NOT_RUNNING = "not-running"
    PERMISSION = "permission"
    REFUSED = "refused"
    HUNG = "hung"
    API_VERSION = "api-version"
    OTHER = "other"


class EngineUnavailable(Unavailable):
    """Docker cannot be used; ``trouble`` says why."""

    def __init__(self, trouble: Trouble, what: str, next_step: str) -> None:
        super().__init__(what, next_step)
        self.trouble = trouble


def classify(error: BaseException) -> Trouble:
    """The root cause of an error of the SDK, which wraps it three deep."""
    text = str(error)
    if "too old" in text or "too new" in text:
        return Trouble.API_VERSION
    root = error
    while (below := root.__cause__ or root.__context__) is not None:
        root = below
    # ConnectionRefusedError and its like are OSErrors: the order matters.
    for kind, trouble in (
        (FileNotFoundError, Trouble.NOT_RUNNING),
        (PermissionError, Trouble.PERMISSION),
        (ConnectionRefusedError, Trouble.REFUSED),
        (TimeoutError, Trouble.HUNG),
    ):
        if isinstance(root, kind):
            return trouble
    return Trouble.OTHER


def unavailable(trouble: Trouble, detail: str = "") -> EngineUnavailable:
    """The error for ``trouble``: one clause, and the one next step on this kind of computer."""
    start = {
        "Linux": "start it: sudo systemctl start docker",
        "Windows": "start Docker Desktop",
        "Darwin": "start Docker Desktop",
    }.get(platform.system(), "start it")
    if os.environ.get("DOCKER_HOST"):
        start = "check DOCKER_HOST, which names the engine to use"
    texts = {
        Trouble.ABSENT: (
            "Docker is not installed",
            "install it: https://docs.docker.com/engine/install/",
        ),
        Trouble.NOT_RUNNING: ("Docker is installed but not running", start),
        Trouble.PERMISSION: (
            "Docker is running, but you may not use it",
            "run: sudo usermod -aG docker $USER, then log in again (or set up rootless Docker)",
        ),
        Trouble.REFUSED: ("Docker left its socket behind but is not running", start),
        Trouble.HUNG: ("Docker accepts connections but does not answer", "restart Docker"),
        Trouble.API_VERSION: ("this Docker's version does not fit", "update Docker"),
        Trouble.OTHER: (f"Docker cannot be reached ({detail[:200]})", start),
    }
    return EngineUnavailable(trouble, *texts[trouble])


def engine_errors(*more: type[Exception]) -> tuple[type[Exception], ...]:
    """What a request to the engine may raise, and ``more``."""
    import docker.errors
    import requests
    import urllib3.exceptions

    return (
        docker.errors.DockerException,
        requests.RequestException,
        urllib3.exceptions.HTTPError,
        OSError,
        *more,
    )


def connect(timeout_s: int = REQUEST_TIMEOUT_S) -> DockerClient:
    """A client of the engine that ``DOCKER_HOST`` or the current ``docker context`` names.

    ``timeout_s`` is the limit of every later request, in seconds. The API version is negotiated,
    never pinned: a pinned one is refused by engines that dropped it.

    Raises:
        EngineUnavailable: there is none, or it does not answer; see ``trouble``.
    """
    if not reaper.docker_is_named():
        raise unavailable(Trouble.ABSENT)
    import docker

    try:
        # One connection waits for each container's removal, one carries its output.
        return docker.from_env(timeout=timeout_s, max_pool_size=64)
    except engine_errors() as error:
        raise unavailable(classify(error), str(error)) from error


def endpoint() -> str:
    """The address of the engine that is asked; empty for this system's default."""
    if named := os.environ.get("DOCKER_HOST"):
        return named
    from docker.context import ContextAPI
    from docker.errors import DockerException

    with contextlib.suppress(DockerException):
        return str(ContextAPI.kwargs_from_context(environment=os.environ).get("base_url") or "")
    return ""


def probe(timeout_s: int = PROBE_TIMEOUT_S) -> Availability:
    """Ask the engine who it is, within ``timeout_s`` seconds. Raises nothing."""
    try:
        info = engine_info(connect(timeout_s))
    except Unavailable as missing:
        return Availability(ok=False, what=missing.what, next_step=missing.next_step)
    security = " ".join(map(str, info.get("SecurityOptions") or ()))
    return Availability(
        ok=True,
        version=str(info.get("ServerVersion", "")),
        details=(
            ("cgroup_version", str(info.get("CgroupVersion", ""))),
            ("cgroup_driver", str(info.get("CgroupDriver", ""))),
            ("storage_driver", str(info.get("Driver", ""))),
            ("rootless", "yes" if "rootless" in security else "no"),
            ("seccomp", "yes" if "seccomp" in security else "no"),
            ("default_runtime", str(info.get("DefaultRuntime", ""))),
            ("hidden_vm", "yes" if _in_hidden_vm(info) else "no"),
        ),
    )


def engine_info(client: DockerClient) -> Mapping[str, Any]:
    """What the engine tells of itself (``docker info``). Raises ``EngineUnavailable``."""
    try:
        info = client.info()
    except engine_errors() as error:
        raise unavailable(classify(error), str(error)) from error
    return dict(info)


def _in_hidden_vm(info: Mapping[str, Any]) -> bool:
    """Whether the engine runs under another kernel than ours (Docker Desktop, WSL, remote)."""
    return (
        platform.system() != "Linux"
        or "Docker Desktop" in str(info.get("OperatingSystem", ""))
        or info.get("KernelVersion") != platform.release()
    )
