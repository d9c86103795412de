"""Containers as Docker starts them: the product a learner knows, over its API.

The request sequence is the one ``docker run --rm -i --init`` makes (create, attach, wait for the
removal, start), so that what is timed is Docker and not this harness. Attaching comes before
starting, or the first byte could pass unseen.

Three things remove a container: leaving its context; the *dead-man switch* (its first program
blocks on the standard input that we hold open, so it ends when we do, and the engine removes it by
itself); and :mod:`vmcompare.reaper`, by label, for one that was created but never started.

The ``docker`` SDK is imported when first used: a notebook that only replays never pays for it.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import os
import platform
import shlex
import struct
import tarfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError, Future
from contextlib import AbstractContextManager
from enum import StrEnum
from pathlib import PurePosixPath
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

import psutil

from vmcompare import reaper
from vmcompare.errors import (
    AbnormalShutdown,
    LaunchFailure,
    Unavailable,
    VmcompareError,
    WaitTimeout,
)
from vmcompare.sandbox import (
    FIRST_BYTE_PROGRAM,
    Availability,
    Completed,
    Confinement,
    Event,
    ImageFacts,
    Launcher,
    OnEvent,
    Phase,
    Platform,
    Sandbox,
    Spec,
    Start,
    Traits,
)
from vmcompare.units import MIB

if TYPE_CHECKING:
    from docker import APIClient, DockerClient

T = TypeVar("T")

PROBE_TIMEOUT_S = 10
"""Seconds an engine has to say who it is; 0.02 s is usual, a hung one never answers."""

REQUEST_TIMEOUT_S = 60
"""Seconds for any other request. Creating takes 0.05 s; a loaded classroom machine 20 × that."""

FIRST_BYTE_TIMEOUT_S = 60.0
"""Seconds from the start to the first byte; 0.1–0.2 s is usual."""

GRACE_S = 2.0
"""Seconds a program has to end once its standard input ended; the first-byte program needs 0.1."""

HARD_STOP_S = 15.0
"""Seconds until a killed container must be gone; 0.2 s is usual."""

CPU_PERIOD_US = 100_000
"""Scheduler period for CPU limits, in microseconds: the kernel's and Docker's default."""

PIDS_LIMIT = 512
"""Processes a container may have: enough for every exercise, too few for a fork bomb to hurt."""

CONSOLE_BYTES = 8192
"""How much of a container's output is kept for error messages."""

REPOSITORY = "vmcompare/alpine"
"""Name of the image made of the shared Alpine root file system; its tag is the digest's start."""

_FRAME = struct.Struct(">BxxxL")
"""Header of a piece of output without a TTY: stream (1 output, 2 errors) and length. Source: the
Docker Engine API, "Attach to a container", section "Stream format"."""

_numbers = itertools.count(1)


# --- the engine: found, or why not ----------------------------------------------------------


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


def _engine_errors(*more: type[Exception]) -> tuple[type[Exception], ...]:
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
    except _engine_errors() as error:
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
        info = _info(connect(timeout_s))
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


def _info(client: DockerClient) -> Mapping[str, Any]:
    try:
        info = client.info()
    except _engine_errors() as error:
        raise unavailable(classify(error), str(error)) from error
    return dict(info)


def _in_hidden_vm(info: Mapping[str, Any]) -> bool:
    """Whether the engine runs under another kernel than ours (Docker Desktop, WSL, remote)."""
    return (
        platform.system() != "Linux"
        or "Docker Desktop" in str(info.get("OperatingSystem", ""))
        or info.get("KernelVersion") != platform.release()
    )


# --- talking to it --------------------------------------------------------------------------


class _Request(Generic[T]):
    """A request in a thread of its own; gives its answer and when it came (host clock).

    Ctrl-C then interrupts the waiting, never the request: a container that is being created
    cannot slip away. A daemon thread, so that a hung engine cannot hold us back. The object exists
    before its thread does, as Ctrl-C may come while that is being started.
    """

    def __init__(self, request: Callable[[], T]) -> None:
        self._request = request
        self._future: Future[tuple[T, int]] = Future()

    def send(self) -> None:
        """Make the request, unless it was cancelled meanwhile."""
        threading.Thread(target=self._call, daemon=True, name="vmcompare docker request").start()

    def cancel(self) -> bool:
        """Whether the request was not made yet, and now never will be."""
        return self._future.cancel()

    def answer(self, timeout_s: float) -> tuple[T, int]:
        """The answer and its stamp. Raises ``TimeoutError`` or what the request raised."""
        return self._future.result(timeout_s)

    def _call(self) -> None:
        if not self._future.set_running_or_notify_cancel():
            return
        try:
            answer = self._request()
            self._future.set_result((answer, time.perf_counter_ns()))
        except _engine_errors(ValueError) as error:
            self._future.set_exception(error)


class _Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


class _Stream:
    """A connection that the engine handed over: our bytes in, its framed output back.

    Read through the buffered file of the HTTP response, not through the socket the SDK returns:
    output that arrived together with the response's header is in that buffer already.
    """

    def __init__(self, raw: Any) -> None:
        response = getattr(raw, "_response", None)
        self._response = response
        self._socket = getattr(raw, "_sock", raw)
        self._file: _Readable = response.raw._fp.fp if response is not None else raw

    def timeout(self, seconds: float | None) -> None:
        """Let reads fail with ``TimeoutError`` after ``seconds``."""
        self._socket.settimeout(seconds)

    def frames(self) -> Iterator[tuple[int, bytes]]:
        """Each piece of output with its stream's number, until the end."""
        while len(header := self._file.read(_FRAME.size)) == _FRAME.size:
            kind, length = _FRAME.unpack(header)
            yield kind, self._file.read(length)

    def end_input(self) -> None:
        """Send the end of the input; output may still come."""
        import socket

        with contextlib.suppress(OSError):
            if hasattr(self._socket, "shutdown"):
                self._socket.shutdown(socket.SHUT_WR)
            else:  # an SSH channel
                self._socket.shutdown_write()

    def close(self) -> None:
        """Close the connection; unblocks a reader."""
        import socket

        with contextlib.suppress(OSError):
            if hasattr(self._socket, "shutdown"):
                self._socket.shutdown(socket.SHUT_RDWR)
        with contextlib.suppress(OSError):
            self._socket.close()


class _Output:
    """Reads a container's output in a thread; stamps its first byte and its end (host clock)."""

    def __init__(self, stream: _Stream) -> None:
        self.first_ns = 0
        self.end_ns = 0
        self.first_or_end = threading.Event()
        self.ended = threading.Event()
        self._tail = bytearray()
        self._stream = stream
        stream.timeout(None)
        threading.Thread(target=self._read, daemon=True, name="vmcompare docker output").start()

    def text(self) -> str:
        """The last of what was printed, errors included."""
        return bytes(self._tail).decode("utf-8", errors="replace")

    def _read(self) -> None:
        try:
            for kind, piece in self._stream.frames():
                if not self.first_ns and kind == 1 and piece:
                    self.first_ns = time.perf_counter_ns()
                    self.first_or_end.set()
                self._tail += piece
                del self._tail[:-CONSOLE_BYTES]
        except (OSError, ValueError):
            pass  # closed by us, or the engine went away: either way this is the end
        finally:
            self.end_ns = time.perf_counter_ns()
            self.ended.set()
            self.first_or_end.set()


def _create_arguments(spec: Spec) -> dict[str, Any]:
    """What ``spec`` means in Docker's terms: the host configuration."""
    memory = spec.memory_mib * MIB
    options: dict[str, Any] = {
        "auto_remove": True,
        "init": True,  # PID 1 ignores signals unless it handles them: leave that to docker-init
        "network_mode": "default" if spec.network else "none",
        "mem_limit": memory,
        "memswap_limit": memory,  # or a container could use as much again in swap
        # update() knows these two but not nano_cpus: the same pair throughout.
        "cpu_period": CPU_PERIOD_US,
        "cpu_quota": spec.vcpus * CPU_PERIOD_US,
        "pids_limit": PIDS_LIMIT,
    }
    if spec.runtime:
        options["runtime"] = spec.runtime
    if spec.confinement is Confinement.NO_CAPABILITIES:
        options["cap_drop"] = ["ALL"]
    elif spec.confinement is Confinement.NO_SECCOMP:
        options["security_opt"] = ["seccomp=unconfined"]
    return options


# --- one container --------------------------------------------------------------------------


class _Container(AbstractContextManager["_Container"]):
    """A container from its creation to its removal; a :class:`vmcompare.sandbox.Sandbox`.

    Attributes:
        name: its name, known before it exists, so that it can always be removed.
        exit_code: how its first program ended; ``None`` until it did, or if nobody could tell.
    """

    def __init__(self, api: APIClient, image: str, spec: Spec, on_event: OnEvent) -> None:
        self.name = f"vmcompare-{reaper.session_id()}-{next(_numbers)}"
        self.exit_code: int | None = None
        self._api, self._image, self._spec, self._on_event = api, image, spec, on_event
        self._creation: _Request[Any] | None = None
        self._removal: _Request[Any] | None = None
        self._stream: _Stream | None = None
        self._output: _Output | None = None
        self._removed_ns = 0
        self._started = False

    # entering

    def __enter__(self) -> _Container:
        reaper.watch_containers()
        try:
            self._launch()
        except BaseException as error:
            self._abandon(error)
            raise
        return self

    def _launch(self) -> None:
        import docker.errors

        prepared = self._spec.start is Start.PRE_CREATED
        opened_ns = time.perf_counter_ns()
        if not prepared:
            self._tell(Phase.OPEN, opened_ns)
        try:
            self._create(tell=not prepared)
            if prepared:
                opened_ns = time.perf_counter_ns()
                self._tell(Phase.OPEN, opened_ns)
            self._start()
        except docker.errors.APIError as error:
            what = f"Docker could not start {self._image}"
            raise LaunchFailure(what, self._request(), str(error.explanation or error)) from error
        except _engine_errors() as error:
            raise AbnormalShutdown("Docker stopped answering during a start", str(error)) from error

    def _create(self, *, tell: bool) -> None:
        api = self._api
        self._creation = _Request(
            lambda: api.create_container(
                self._image,
                list(self._spec.command),
                name=self.name,
                labels=reaper.labels(),
                stdin_open=True,  # and, as we attach: closed for good when we let go
                host_config=api.create_host_config(**_create_arguments(self._spec)),
            )
        )
        self._creation.send()
        _, created_ns = self._creation.answer(REQUEST_TIMEOUT_S)
        if tell:
            self._tell(Phase.CREATE, created_ns)
        attach = {"stdin": 1, "stdout": 1, "stderr": 1, "stream": 1}
        self._stream = _Stream(api.attach_socket(self.name, params=attach))
        attached_ns = time.perf_counter_ns()
        self._output = _Output(self._stream)
        if tell:
            self._tell(Phase.ATTACH, attached_ns)

    def _start(self) -> None:
        assert self._output is not None
        # Before the start, as its answer is the only place an auto-removed container's exit code
        # can be had from. No time limit: it is answered when the container is gone.
        self._removal = _Request(
            lambda: self._api.wait(self.name, timeout=None, condition="removed")
        )
        self._removal.send()
        self._started = True
        self._api.start(self.name)
        started_ns = time.perf_counter_ns()
        if not self._output.first_or_end.wait(FIRST_BYTE_TIMEOUT_S):
            what = f"the first byte of {self._image}"
            raise WaitTimeout(what, FIRST_BYTE_TIMEOUT_S, self._output.text())
        if not self._output.first_ns:
            self._await_removal(GRACE_S)
            what = f"the container ended (exit code {self.exit_code}) before its first byte"
            raise LaunchFailure(what, self._request(), self._output.text())
        # The byte may overtake the answer to the start request: it had started by then.
        self._tell(Phase.START, min(started_ns, self._output.first_ns))
        self._tell(Phase.FIRST_BYTE, self._output.first_ns)

    def _request(self) -> tuple[str, ...]:
        return ("docker", "run", self._image, *self._spec.command)

    def _tell(self, phase: Phase, t_ns: int) -> None:
        self._on_event(Event(phase, t_ns))

    # leaving

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is not None:
            self._abandon(error)
            return
        try:
            self._destroy()
        except BaseException as interruption:
            self._abandon(interruption)
            raise
        assert self._output is not None
        removed_ns = self._removed_ns or time.perf_counter_ns()
        self._tell(Phase.EXIT, min(self._output.end_ns or removed_ns, removed_ns))
        self._tell(Phase.REMOVED, removed_ns)

    def _abandon(self, error: BaseException) -> None:
        """Remove the container while ``error`` is on its way; a failure to do so is added to it."""
        try:
            self._destroy()
        except VmcompareError as failure:
            error.add_note(f"In addition: {failure}")

    def _destroy(self) -> None:
        """End and remove the container, whatever state it is in. May be called again.

        Raises ``AbnormalShutdown`` if the engine does not do it; the ledger then still knows.
        """
        if self._stream is not None:
            self._stream.end_input()
        try:
            gone = self._started and self._await_removal(GRACE_S)
            if not gone:
                self._remove_by_force()
        except _engine_errors() as error:
            what = "Docker stopped while a container was running"
            raise AbnormalShutdown(what, self.console()) from error
        finally:
            if self._stream is not None:
                if self._output is not None:
                    self._output.ended.wait(0.1 if self._removal is None else GRACE_S)
                self._stream.close()
                self._stream = None
        reaper.forget_containers()

    def _await_removal(self, timeout_s: float) -> bool:
        """Whether the engine reported the removal within ``timeout_s`` seconds."""
        if self._removal is None:
            return False
        try:
            answer, self._removed_ns = self._removal.answer(timeout_s)
        except TimeoutError:
            return False
        except _engine_errors() as error:
            return getattr(error, "status_code", 0) == 404  # gone before it could be waited for
        self.exit_code = int(answer["StatusCode"])
        return True

    def _remove_by_force(self) -> None:
        import docker.errors

        if self._creation is None or self._creation.cancel():
            return
        with contextlib.suppress(*_engine_errors(TimeoutError, CancelledError)):
            self._creation.answer(REQUEST_TIMEOUT_S)  # one still on its way could not be removed
        deadline = time.monotonic() + HARD_STOP_S
        while True:
            try:
                self._api.remove_container(self.name, force=True, v=True)
            except docker.errors.NotFound:
                break
            except docker.errors.APIError as error:
                if error.status_code != 409:  # 409: being removed already; ask until it is gone
                    raise
            if time.monotonic() > deadline:
                raise AbnormalShutdown(f"Docker did not remove {self.name}", self.console())
            time.sleep(0.01)
        self._await_removal(GRACE_S)

    # using

    def run(self, argv: Sequence[str], *, timeout_s: float = 60.0) -> Completed:
        """Run a command inside; see :class:`vmcompare.sandbox.Sandbox`.

        After ``WaitTimeout`` the command goes on until the container ends: the engine has no
        request to end it.
        """
        import docker.errors

        deadline = time.monotonic() + timeout_s
        output = bytearray()
        with self._alive():
            try:
                command = self._api.exec_create(self.name, list(argv))["Id"]
                stream = _Stream(self._api.exec_start(command, socket=True))
            except docker.errors.APIError as error:
                # Newer engines refuse a program that does not exist, older ones print the same.
                if error.status_code == 400 and "executable file not found" in str(error):
                    return Completed(str(error.explanation).encode(), 127)
                raise
            try:
                stream.timeout(max(0.001, deadline - time.monotonic()))
                for _, piece in stream.frames():
                    output += piece
                    stream.timeout(max(0.001, deadline - time.monotonic()))
                code = self._exec_exit_code(command, deadline)
            except TimeoutError as error:
                raise WaitTimeout(
                    f"the end of {shlex.join(argv)}", timeout_s, output.decode(errors="replace")
                ) from error
            finally:
                stream.close()
        return Completed(bytes(output), code)

    def _exec_exit_code(self, command: str, deadline: float) -> int:
        """The exit code, which the engine knows a moment after the output ended."""
        while True:
            found = self._api.exec_inspect(command)
            if not found["Running"] and found["ExitCode"] is not None:
                code = int(found["ExitCode"])
                # 137: killed. With the whole container, or alone (out of memory)?
                if code == 137 and self._output is not None and self._output.ended.wait(0.2):
                    raise AbnormalShutdown("the container ended by itself", self.console())
                return code
            if time.monotonic() > deadline:
                raise TimeoutError
            time.sleep(0.002)

    def put(self, path: str, data: bytes) -> None:
        """Write ``data`` to the absolute ``path`` inside, as root, mode 755; makes its folder."""
        import docker.errors

        target = PurePosixPath(path)
        member = tarfile.TarInfo(target.name)
        member.size, member.mode, member.mtime = len(data), 0o755, int(time.time())
        archive = io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w") as tar:
            tar.addfile(member, io.BytesIO(data))
        folder = str(target.parent)
        with self._alive():
            try:
                self._api.put_archive(self.name, folder, archive.getvalue())
            except docker.errors.NotFound:
                self.run(["mkdir", "-p", folder])
                self._api.put_archive(self.name, folder, archive.getvalue())

    @contextlib.contextmanager
    def _alive(self) -> Iterator[None]:
        """Turn what the engine says about a container that is gone into ``AbnormalShutdown``."""
        import docker.errors

        if self._output is None or self._stream is None or self._output.ended.is_set():
            raise AbnormalShutdown("the container has ended", self.console())
        try:
            yield
        except docker.errors.APIError as error:
            if error.status_code in (404, 409):
                raise AbnormalShutdown("the container has ended", self.console()) from error
            raise LaunchFailure(
                "Docker refused a command", self._request(), str(error.explanation or error)
            ) from error
        except _engine_errors() as error:
            what = "Docker stopped while a container was running"
            raise AbnormalShutdown(what, self.console()) from error

    def host_pids(self) -> tuple[int, ...]:
        """The shim and all processes of the container; empty where they cannot be seen.

        An engine in a hidden VM or on another computer reports pids of *its* kernel. So the shim
        is believed only if its command line, which anybody may read, names this container.
        """
        try:
            state = self._api.inspect_container(self.name)
            first = psutil.Process(int(state["State"]["Pid"]))
            shim = first.parent()
            if shim is None or not any(str(state["Id"]) in part for part in shim.cmdline()):
                return ()
            return (shim.pid, *sorted(child.pid for child in shim.children(recursive=True)))
        except _engine_errors(psutil.Error, ValueError):
            return ()

    def console(self) -> str:
        """The last lines it printed."""
        return self._output.text() if self._output is not None else ""


# --- the launcher ---------------------------------------------------------------------------


class DockerLauncher:
    """Opens containers. One client is kept: connecting is not part of any start."""

    def __init__(self) -> None:
        self._client: DockerClient | None = None
        self._facts: Mapping[str, Any] = {}
        self._images: dict[str, tuple[str, ImageFacts]] = {}
        self._lock = threading.Lock()

    def open(self, spec: Spec, on_event: OnEvent) -> AbstractContextManager[Sandbox]:
        """See :class:`vmcompare.sandbox.Launcher`. Warmth: cold or pre-created.

        A pre-created one is created and attached before ``OPEN``; it tells no such phases.
        """
        if spec.start not in (Start.COLD, Start.PRE_CREATED):
            raise Unavailable(
                f"Docker has no {spec.start.value} start", "choose a cold or a pre-created start"
            )
        client = self._connected()
        runtimes = self._facts.get("Runtimes") or {}
        if spec.runtime and spec.runtime not in runtimes:
            raise Unavailable(
                f"Docker has no runtime called {spec.runtime}",
                f"choose from: {', '.join(sorted(runtimes))}",
            )
        image, _ = self._resolved(spec.image)
        return _Container(client.api, image, spec, on_event)

    def image(self, spec: Spec) -> ImageFacts:
        """Make the image if need be and describe it; layers are digests of unpacked tars."""
        return self._resolved(spec.image)[1]

    def traits(self, spec: Spec) -> Traits:
        """A product: ``docker run`` with everything it does, not the bare runtime."""
        if spec.runtime:
            return Traits(layer="product", runtime=spec.runtime)
        self._connected()
        return Traits(layer="product", runtime=str(self._facts.get("DefaultRuntime") or "runc"))

    def _connected(self) -> DockerClient:
        with self._lock:
            if self._client is None:
                client = connect()
                self._facts = _info(client)
                self._client = client
            return self._client

    def _resolved(self, name: str) -> tuple[str, ImageFacts]:
        """The engine's name of an image, and its facts. Looked up once: starts must not pay."""
        client = self._connected()
        with self._lock:
            if name not in self._images:
                reference = _alpine(client.api) if name == "alpine" else name
                self._images[name] = reference, _image_facts(client.api, reference)
            return self._images[name]


def _alpine(api: APIClient) -> str:
    """Import the shared root file system unless it is there; its reference."""
    import docker.errors

    from vmcompare.images import alpine

    digest = alpine.rootfs_digest()
    tag = digest.removeprefix("sha256:")[:12]
    reference = f"{REPOSITORY}:{tag}"
    try:
        _inspect_image(api, reference)
        return reference
    except docker.errors.ImageNotFound:
        pass
    except _engine_errors() as error:
        raise unavailable(classify(error), str(error)) from error
    # A label on an image is passed on to containers made of it by hand. Those lack the owner's
    # labels, by which the clean-up tells that they are the learner's own.
    changes = [f"LABEL {reaper.LABEL}=image", f'CMD ["{FIRST_BYTE_PROGRAM}"]']
    try:
        with alpine.rootfs_tar().open("rb") as tar:
            api.import_image_from_data(tar, repository=REPOSITORY, tag=tag, changes=changes)
    except _engine_errors() as error:
        raise LaunchFailure(
            "Docker could not import the Alpine image", ("docker", "import"), str(error)
        ) from error
    return reference


def _inspect_image(api: APIClient, reference: str) -> Mapping[str, Any]:
    inspect: Callable[[str], Mapping[str, Any]] = api.inspect_image  # untyped in the stubs
    return inspect(reference)


def _image_facts(api: APIClient, reference: str) -> ImageFacts:
    import docker.errors

    try:
        found = _inspect_image(api, reference)
    except docker.errors.ImageNotFound as error:
        raise Unavailable(
            f"the image {reference} is not on this computer", f"run: docker pull {reference}"
        ) from error
    except _engine_errors() as error:
        raise unavailable(classify(error), str(error)) from error
    return ImageFacts(
        digest=str(found["Id"]),
        layers=tuple(map(str, found["RootFS"].get("Layers") or ())),
        size_bytes=int(found["Size"]),
    )


def launchers() -> dict[Platform, Launcher]:
    """The platforms this backend serves."""
    return {Platform.CONTAINER: DockerLauncher()}
