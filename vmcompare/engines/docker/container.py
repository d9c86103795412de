"""One container from its creation to its removal, with what is its own: limits and a network."""

from __future__ import annotations

import contextlib
import itertools
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from vmcompare.engines import cleanup
from vmcompare.engines.cleanup.containers import end_shim, environment
from vmcompare.engines.commands import one_at_a_time
from vmcompare.engines.docker.inside import Inside, Output, Stream, archive, host_pids
from vmcompare.engines.docker_connection import REQUEST_TIMEOUT_S, Request, engine_errors, removed
from vmcompare.engines.images.oci import CPU_PERIOD_US
from vmcompare.errors import AbnormalShutdown, LaunchFailure, VmcompareError, WaitTimeout
from vmcompare.sandbox import (
    Completed,
    Confinement,
    Event,
    Followed,
    OnEvent,
    OnOutput,
    Phase,
    Spec,
    Start,
)

if TYPE_CHECKING:
    from docker import APIClient


FIRST_BYTE_TIMEOUT_S = 60.0  # from the start to the first byte; 0.1–0.2 s is usual
GRACE_S = 2.0  # for a program to end once its standard input ended; 0.1 s is usual
HARD_STOP_S = 15.0  # until a killed container must be gone; 0.2 s is usual
PIDS_LIMIT = 512  # enough for every exercise, too few for a fork bomb to hurt
NETWORK_GONE_S = 15.0  # for a network its container has left; 0.1 s is usual
_MIB = 1024 * 1024
_numbers = itertools.count(1)


@dataclass(eq=False)
class Container:
    """A container from its creation to its removal; a :class:`vmcompare.sandbox.Sandbox`.

    Attributes:
        on_no_image, on_lost: are told that the image, or the engine, is gone.
        joined: a network that somebody else makes and removes, and its own name there.
        name: known before it exists, so that it can always be removed.
        exit_code: how its first program ended; ``None`` until it did, or if nobody could tell.
    """

    api: APIClient
    image: str
    spec: Spec
    on_event: OnEvent
    on_no_image: Callable[[], object] = lambda: None
    on_lost: Callable[[], object] = lambda: None
    joined: tuple[str, str] | None = None
    name: str = field(default_factory=lambda: _new_name(), init=False)
    exit_code: int | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self._creation: Request | None = None
        self._removal: Request | None = None
        own = self.spec.network and self.spec.own_network
        self._network = Network(self.api, self.name) if own else None
        self._stream: Stream | None = None
        self._output: Output | None = None
        self._id = ""
        self._removed_ns = 0
        self._started = False
        self._following = threading.Lock()

    @contextlib.contextmanager
    def opened(self) -> Iterator[Container]:
        """It runs; removed on leaving, whatever happens."""
        cleanup.watch(cleanup.CONTAINERS)
        try:
            self._launch()
            yield self
            self.destroy()
        except BaseException as error:
            try:
                self.destroy()
            except VmcompareError as failure:
                error.add_note(f"In addition: {failure}")
            raise
        assert self._output is not None
        removed_ns = self._removed_ns or time.perf_counter_ns()
        self._tell(Phase.EXIT, min(self._output.end_ns or removed_ns, removed_ns))
        self._tell(Phase.REMOVED, removed_ns)

    # entering

    def _launch(self) -> None:
        """Create and start it, and wait for its first byte. Raises what ``Launcher.open`` does."""
        import docker.errors

        prepared = self.spec.start is Start.PRE_CREATED
        try:
            if self._network is not None:
                self._network.create()  # a command of its own for a user, too: no part of a start
            opened_ns = time.perf_counter_ns()
            if not prepared:
                self._tell(Phase.OPEN, opened_ns)
            self._create(tell=not prepared)
            if prepared:
                self._tell(Phase.OPEN, time.perf_counter_ns())
            self._start()
        except docker.errors.APIError as error:
            if isinstance(error, docker.errors.ImageNotFound):
                self.on_no_image()
            what = f"Docker could not start {self.image}"
            raise LaunchFailure(what, self._request(), str(error.explanation or error)) from error
        except engine_errors() as error:
            raise self._lost("during a start", str(error)) from error

    def _create(self, *, tell: bool) -> None:
        api = self.api
        self._creation = Request(
            lambda: api.create_container(
                self.image,
                list(self.spec.command),
                name=self.name,
                labels=cleanup.labels(),
                environment=environment(),
                stdin_open=True,  # and, as we attach: closed for good when we let go
                host_config=api.create_host_config(**self._options()),
                networking_config=self._aliases(),
            )
        )
        created, created_ns = self._creation.ask(REQUEST_TIMEOUT_S)
        self._id = str(created["Id"])
        if tell:
            self._tell(Phase.CREATE, created_ns)
        attach = {"stdin": 1, "stdout": 1, "stderr": 1, "stream": 1}
        self._stream = Stream(api.attach_socket(self.name, params=attach))
        attached_ns = time.perf_counter_ns()
        self._output = Output(self._stream)
        if tell:
            self._tell(Phase.ATTACH, attached_ns)

    def _options(self) -> dict[str, Any]:
        """The host configuration: what the spec means in Docker's terms."""
        spec, memory = self.spec, self.spec.memory_bytes
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
        if name := self.joined[0] if self.joined else self._network and self._network.name:
            options["network_mode"] = name
        if spec.runtime:
            options["runtime"] = spec.runtime
        if spec.confinement is Confinement.NO_CAPABILITIES:
            options["cap_drop"] = ["ALL"]
        elif spec.confinement is Confinement.NO_SECCOMP:
            options["security_opt"] = ["seccomp=unconfined"]
        if spec.volume:  # without a name: it is removed with its container
            from docker.types import Mount

            labels = cleanup.labels()
            options["mounts"] = [Mount(spec.volume, "", type="volume", labels=labels)]
        return options

    def _aliases(self) -> dict[str, Any] | None:
        """What else it is called on a network that it joins."""
        if self.joined is None:
            return None
        network, name = self.joined
        return {"EndpointsConfig": {network: {"Aliases": [name]}}}

    def _start(self) -> None:
        assert self._output is not None
        # Before the start, as its answer is the only place an auto-removed container's exit code
        # can be had from. No time limit: it is answered when the container is gone.
        self._removal = Request(lambda: self.api.wait(self.name, timeout=None, condition="removed"))
        self._removal.send()
        self._started = True
        self.api.start(self.name)
        started_ns = time.perf_counter_ns()
        if not self._output.first_or_end.wait(FIRST_BYTE_TIMEOUT_S):
            what = f"the first byte of {self.image}"
            raise WaitTimeout(what, FIRST_BYTE_TIMEOUT_S, self._output.text())
        if not self._output.first_ns:
            self._await_removal(GRACE_S)
            what = f"the container ended (exit code {self.exit_code}) before its first byte"
            raise LaunchFailure(what, self._request(), self._output.text())
        # The byte may overtake the answer to the start request: it had started by then.
        self._tell(Phase.START, min(started_ns, self._output.first_ns))
        self._tell(Phase.FIRST_BYTE, self._output.first_ns)

    def _request(self) -> tuple[str, ...]:
        return ("docker", "run", self.image, *self.spec.command)

    def _tell(self, phase: Phase, t_ns: int) -> None:
        self.on_event(Event(phase, t_ns))

    # leaving

    def destroy(self) -> None:
        """End and remove the container, whatever state it is in. May be called again.

        Raises ``AbnormalShutdown`` if the engine does not do it; the ledger then still knows.
        """
        if self._stream is not None:
            self._stream.end_input()
        try:
            gone = self._started and self._await_removal(GRACE_S)
            if not gone:
                self._remove_by_force()
            if self._network is not None:
                self._network.remove()
        except engine_errors() as error:
            if self._id:  # its daemon is gone, and the container lives on without one
                end_shim(self._id)
            raise self._lost("while a container was running", self.console()) from error
        finally:
            if self._stream is not None:
                if self._output is not None:
                    self._output.ended.wait(0.1 if self._removal is None else GRACE_S)
                self._stream.close()
                self._stream = None
        cleanup.forget(cleanup.CONTAINERS)

    def _await_removal(self, timeout_s: float) -> bool:
        """Whether the engine reported the removal within ``timeout_s`` seconds."""
        if self._removal is None:
            return False
        try:
            answer, self._removed_ns = self._removal.answer(timeout_s)
        except TimeoutError:
            return False
        except engine_errors() as error:
            return getattr(error, "status_code", 0) == 404  # gone before it could be waited for
        self.exit_code = int(answer["StatusCode"])
        return True

    def _remove_by_force(self) -> None:
        if self._creation is None or not self._creation.was_made():
            return
        # 409: it is being removed already.
        if not removed(
            lambda: self.api.remove_container(self.name, force=True, v=True), {409}, HARD_STOP_S
        ):
            raise AbnormalShutdown(f"Docker did not remove {self.name}", self.console())
        self._await_removal(GRACE_S)

    # using

    def run(self, argv: Sequence[str], *, timeout_s: float = 60.0) -> Completed:
        """Run a command inside; see :class:`vmcompare.sandbox.Sandbox`.

        After ``WaitTimeout`` the command goes on until the container ends: the engine has no
        request to end it.
        """
        with self._alive() as inside:
            return inside.run(argv, timeout_s)

    @contextlib.contextmanager
    def follow(self, argv: Sequence[str], on_output: OnOutput) -> Iterator[Followed]:
        with one_at_a_time(self._following, argv), contextlib.ExitStack() as followed:
            with self._alive() as inside:
                heard = followed.enter_context(inside.followed(argv, on_output))
            yield heard

    def put(self, path: str, data: bytes) -> None:
        """Write ``data`` to the absolute ``path`` inside, as root, mode 755; makes its folder."""
        with self._alive():
            self.api.put_archive(self.name, "/", archive(path, data))

    @contextlib.contextmanager
    def _alive(self) -> Iterator[Inside]:
        """Turn what the engine says about a container that is gone into ``AbnormalShutdown``."""
        import docker.errors

        if self._output is None or self._stream is None or self._output.ended.is_set():
            raise AbnormalShutdown("the container has ended", self.console())
        try:
            yield Inside(self.api, self.name, self._output)
        except docker.errors.APIError as error:
            why = str(error.explanation or error)
            # While it is being removed, Docker (20.10) answers a start of a command with 500.
            if error.status_code in (404, 409) or "is not running" in why:
                raise AbnormalShutdown("the container has ended", self.console()) from error
            raise LaunchFailure("Docker refused a command", self._request(), why) from error
        except engine_errors() as error:
            raise self._lost("while a container was running", self.console()) from error

    def _lost(self, when: str, said: str) -> AbnormalShutdown:
        self.on_lost()
        return AbnormalShutdown(f"Docker stopped answering {when}", said)

    def resize(self, memory_mib: int) -> int:
        """See :class:`vmcompare.sandbox.Resizable`: ``docker update --memory --memory-swap``."""
        size = memory_mib * _MIB
        with self._alive():
            self.api.update_container(self.name, mem_limit=size, memswap_limit=size)
            return int(self.api.inspect_container(self.name)["HostConfig"]["Memory"]) // _MIB

    def limit_processors(self, cpus: float) -> None:
        """See :class:`vmcompare.sandbox.Resizable`: ``docker update --cpu-period --cpu-quota``."""
        quota_us = round(cpus * CPU_PERIOD_US)
        with self._alive():
            self.api.update_container(self.name, cpu_period=CPU_PERIOD_US, cpu_quota=quota_us)

    def host_pids(self) -> tuple[int, ...]:
        return host_pids(self.api, self.name)

    def written_bytes(self) -> int:
        """See :class:`vmcompare.sandbox.Layered`: the engine's ``SizeRw``."""
        with self._alive():
            found = self.api.containers(all=True, size=True, filters={"name": f"^/{self.name}$"})
            if not found:
                raise AbnormalShutdown("the container has ended", self.console())
            return int(found[0].get("SizeRw") or 0)  # left out where nothing was written

    def console(self) -> str:
        return self._output.text() if self._output is not None else ""


class Network:
    """Made by :meth:`create`, removed by :meth:`remove`; its name is known before it exists.

    An ``internal`` one has no way out.
    """

    def __init__(self, api: APIClient, name: str = "", *, internal: bool = False) -> None:
        self.name = name or _new_name()
        self._api, self._internal = api, internal
        self._creation: Request | None = None

    def create(self) -> None:
        """Make it, with the labels by which the clean-up knows it. Raises the engine's errors."""
        self._creation = Request(
            lambda: self._api.create_network(
                self.name, driver="bridge", labels=cleanup.labels(), internal=self._internal
            )
        )
        self._creation.ask(REQUEST_TIMEOUT_S)

    def remove(self) -> None:
        """Remove it, if there is one; its containers must be gone. May be called again.

        Raises ``AbnormalShutdown`` if the engine does not, or the engine's own errors.
        """
        if self._creation is None or not self._creation.was_made():
            return
        # 403: its container is leaving still.
        if not removed(lambda: self._api.remove_network(self.name), {403, 409}, NETWORK_GONE_S):
            raise AbnormalShutdown(f"Docker did not remove the network {self.name}", "")
        self._creation = None


def _new_name() -> str:
    return f"vmcompare-{cleanup.session_id()}-{next(_numbers)}"
