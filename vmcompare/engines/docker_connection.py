"""Connects to Docker's engine, or says why that failed and what to do next.

The SDK reads a file of settings, a context, certificates and variables, and raises nearly anything
when one of them is not as it expects. Docker then counts as absent, and the rest of the course goes
on; the sentence names the file or the variable.

The ``docker`` SDK is imported when first used: a notebook that only replays never pays for it.
"""

from __future__ import annotations

import contextlib
import os
import platform
import shutil
import threading
import time
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import CancelledError, Future
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vmcompare.engines import log
from vmcompare.errors import Unavailable, printable, short

if TYPE_CHECKING:
    from docker import DockerClient

SETTINGS_BYTES = 1 << 20  # at most, of a file of settings; a kilobyte is usual
INSTALL_URL = "https://docs.docker.com/engine/install/"
REQUEST_TIMEOUT_S = 60  # creating takes 0.05 s, on a loaded classroom computer 20 × that
_LATE_S = 1.0
"""Seconds more for a request's thread than for the request. The SDK's own limit is one of each
wait: an engine that sends a byte now and then, or a name that nobody resolves, never runs into it.
"""

_POOL = 64  # connections kept: a container needs one for its output, one for its removal


class Request:
    """A request in a thread of its own; gives its answer and when it came (host clock).

    Ctrl-C then interrupts the waiting, never the request: a container that is being created cannot
    slip away. The object exists before its thread does, as Ctrl-C may come between the two.
    """

    def __init__(self, request: Callable[[], object]) -> None:
        self._request = request
        self._future: Future[tuple[Any, int]] = Future()

    def send(self) -> None:
        threading.Thread(target=self._call, daemon=True, name="vmcompare docker request").start()

    def ask(self, timeout_s: float) -> tuple[Any, int]:
        """Send it and wait: see :meth:`answer`."""
        self.send()
        return self.answer(timeout_s)

    def was_made(self) -> bool:
        """Whether it was made: then waits for its end. If it was not, it never will be."""
        if self._future.cancel():
            return False
        with contextlib.suppress(*engine_errors(TimeoutError, CancelledError)):
            self.answer(REQUEST_TIMEOUT_S)  # what is still on its way could not be undone
        return True

    def answer(self, timeout_s: float) -> tuple[Any, int]:
        """The answer and its stamp. Raises ``TimeoutError`` or what the request raised."""
        return self._future.result(timeout_s)

    def _call(self) -> None:
        if not self._future.set_running_or_notify_cancel():
            return
        try:
            answer = self._request()
            self._future.set_result((answer, time.perf_counter_ns()))
        except Exception as error:  # noqa: BLE001 - whoever waits for the answer gets it
            self._future.set_exception(error)


class Trouble(StrEnum):
    """Why no engine answers, by root cause."""

    ABSENT = "absent"
    NOT_RUNNING = "not-running"
    PERMISSION = "permission"
    REFUSED = "refused"
    HUNG = "hung"
    API_VERSION = "api-version"
    SETTINGS = "settings"
    OTHER = "other"


class EngineUnavailable(Unavailable):
    def __init__(self, trouble: Trouble, what: str, next_step: str) -> None:
        super().__init__(what, next_step)
        self.trouble = trouble


def docker_is_named() -> bool:
    """Whether this computer says it has Docker: a ``docker`` on PATH, or ``DOCKER_HOST``.

    The engine's socket is not looked for: taking ``docker`` off PATH is how one hides it.
    """
    return bool(os.environ.get("DOCKER_HOST")) or shutil.which("docker") is not None


def connect(timeout_s: int = REQUEST_TIMEOUT_S) -> DockerClient:
    """A client of the engine that ``DOCKER_HOST`` or the current ``docker context`` names.

    ``timeout_s`` is the limit of every later request, in seconds, and about that of this one. The
    API version is negotiated, never pinned. Raises ``EngineUnavailable``; its ``trouble`` says why.
    """
    if not docker_is_named():
        raise unavailable(Trouble.ABSENT)
    import docker

    _named()  # where the SDK cannot follow a context, it silently asks the default engine
    asked = Request(lambda: docker.from_env(timeout=timeout_s, max_pool_size=_POOL))
    try:
        client: DockerClient = asked.ask(timeout_s + _LATE_S)[0]
    except Exception as error:  # while it reads its settings the SDK raises nearly anything
        trouble = classify(error)
        if trouble is Trouble.OTHER and (settings := _settings_in_force()):
            why = f"{settings} cannot be understood"
            raise _settings_error(why, f"correct or remove {settings}") from error
        raise explained(error) from error
    client.api.hooks["response"].append(log.docker_call)
    return client


def engine_info(client: DockerClient) -> Mapping[str, Any]:
    """What the engine tells of itself (``docker info``). Raises ``EngineUnavailable``."""
    try:
        info, _ = Request(client.info).ask(client.api.timeout + _LATE_S)
    except engine_errors(TimeoutError) as error:
        raise explained(error) from error
    if not (isinstance(info, dict) and info.get("ServerVersion")):
        raise unavailable(Trouble.OTHER, "what answers there is not Docker")
    return info


def endpoint() -> str:
    """The address of the engine that is asked; empty for the default, or if unreadable."""
    with contextlib.suppress(EngineUnavailable):
        return _named()[0]
    return ""


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


def removed(remove: Callable[[], object], busy: Collection[int], timeout_s: float) -> bool:
    """Ask for a removal until there is nothing to remove; whether that came in time.

    Raises the engine's errors, but for those whose code is in ``busy``.
    """
    import docker.errors

    deadline = time.monotonic() + timeout_s
    while True:
        try:
            remove()
        except docker.errors.NotFound:
            return True
        except docker.errors.APIError as error:
            if error.status_code not in busy:
                raise
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)


def classify(error: BaseException) -> Trouble:
    """The root cause of an error of the SDK, which wraps it three deep."""
    text = str(error)
    if "too old" in text or "too new" in text or "API versions below" in text:
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


def explained(error: BaseException) -> EngineUnavailable:
    return unavailable(classify(error), printable(str(error)))


def unavailable(trouble: Trouble, detail: str = "") -> EngineUnavailable:
    """The error for ``trouble``: one clause, and the one next step on this kind of computer."""
    named = ""
    with contextlib.suppress(EngineUnavailable):
        named = _named()[1]
    on_linux = platform.system() == "Linux"
    start = "start it: sudo systemctl start docker" if on_linux else "start Docker Desktop"
    restart = "restart Docker"
    if named:
        start = restart = f"check {named}, which names the engine to use"
    nobody = f"no Docker answers where {named} says" if named else ""
    join = "run: sudo usermod -aG docker $USER, then log in again (or set up rootless Docker)"
    texts = {
        Trouble.ABSENT: ("Docker is not installed", f"install it: {INSTALL_URL}"),
        Trouble.NOT_RUNNING: (nobody or "Docker is installed but not running", start),
        Trouble.PERMISSION: ("Docker is running, but you may not use it", join),
        Trouble.REFUSED: (nobody or "Docker left its socket behind but is not running", start),
        Trouble.HUNG: ("Docker accepts connections but does not answer", restart),
        Trouble.API_VERSION: ("this Docker's version does not fit", "update Docker"),
        Trouble.OTHER: (f"Docker cannot be reached ({detail})", restart),
    }
    return EngineUnavailable(trouble, *texts[trouble])


# settings


def _settings_error(why: str, next_step: str) -> EngineUnavailable:
    what = f"Docker cannot be used, because {why}"
    return EngineUnavailable(Trouble.SETTINGS, what, next_step)


def _config() -> Path | None:
    """The file of settings. Raises ``EngineUnavailable`` where reading it would never end."""
    from docker.utils.config import find_config_file

    found = find_config_file()
    path = Path(str(found)) if found else None
    if path is None or path.is_dir() or (path.is_file() and path.stat().st_size <= SETTINGS_BYTES):
        return path
    shown = short(path)
    raise _settings_error(f"{shown} is no file of settings", f"correct or remove {shown}")


def _named() -> tuple[str, str]:
    """The engine's address, and what names it: ``DOCKER_HOST`` or a context; else both are empty.

    Raises ``EngineUnavailable`` for a context that is not there, is damaged, or names no address:
    as with the command ``docker``, the default engine is then not taken in its place.
    """
    from docker.context import ContextAPI
    from docker.context.config import get_current_context_name

    config = _config()
    if named := os.environ.get("DOCKER_HOST"):
        return named, "DOCKER_HOST"
    if name := os.environ.get("DOCKER_CONTEXT", ""):
        by, next_step = "DOCKER_CONTEXT", "correct or remove DOCKER_CONTEXT"
    else:
        name = get_current_context_name()
        by = f"currentContext in {short(config)}" if config else ""
        next_step = "choose another context: docker context use default"
    if not name or name == "default":
        return "", ""
    context = f"the context {printable(str(name))} ({by})"
    try:
        host = ContextAPI.kwargs_from_context(name).get("base_url")
        if isinstance(host, str) and host:
            return host, context
        why = "does not exist, or names no address"
    except Exception as error:  # noqa: BLE001 - anything may stand in a context
        why = f"is damaged ({printable(str(error))})"
    raise _settings_error(f"{context} {why}", next_step)


def _settings_in_force() -> str:
    """All that the SDK reads here beside its defaults; never what stands in it (a password)."""
    tls = [name for name in ("DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH") if os.environ.get(name)]
    config = _config()
    return " or ".join(filter(None, [_named()[1], *tls, short(config) if config else ""]))
