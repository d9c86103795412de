"""``sandbox.Launcher`` for containers, the probe, and the images they are made of and weigh."""

from __future__ import annotations

import contextlib
import functools
import platform
import tarfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vmcompare import paths
from vmcompare.engines import cleanup
from vmcompare.engines.docker import second
from vmcompare.engines.docker.container import Container, Network
from vmcompare.engines.docker_connection import (
    connect,
    engine_errors,
    engine_info,
    explained,
)
from vmcompare.engines.images import alpine, cache, debian, oci, weigh
from vmcompare.engines.images.cache import told
from vmcompare.errors import LaunchFailure, Unavailable, printable
from vmcompare.sandbox import (
    ALPINE,
    DEBIAN,
    FIRST_BYTE_PROGRAM,
    Availability,
    Event,
    FileFact,
    ImageFacts,
    Launcher,
    Moved,
    OnEvent,
    OpenOn,
    Parcel,
    Phase,
    Platform,
    Sandbox,
    Spec,
    Start,
    Traits,
    refuse_what_only_vms_have,
)

if TYPE_CHECKING:
    from docker import APIClient, DockerClient


PROBE_TIMEOUT_S = 10  # for an engine to say who it is; 0.02 s is usual, a hung one never does
RETURN_S = 30.0  # for a lost engine to come back; a service manager restarts it in about 3 s
_ASK_AGAIN_S = 0.2
_IMPORT = "docker-import.lock"  # in the cache: one process makes an image at a time

REPOSITORIES = "vmcompare"  # then our name of the image; the tag is the start of its digest


class DockerLauncher:
    """Opens containers. One client is kept: connecting is not part of any start."""

    def __init__(self) -> None:
        self._client: DockerClient | None = None
        self._facts: Mapping[str, Any] = {}
        self._images: dict[str, tuple[str, ImageFacts]] = {}
        self._lock = threading.Lock()
        self._lost = False
        self._patience_s = RETURN_S

    def open(
        self, spec: Spec, on_event: OnEvent, *, joined: tuple[str, str] | None = None
    ) -> AbstractContextManager[Sandbox]:
        """See :class:`vmcompare.sandbox.Launcher`. Warmth: cold or pre-created.

        A pre-created one is created and attached before ``OPEN``; it tells no such phases.
        """
        refuse_what_only_vms_have(spec)
        if spec.start not in (Start.COLD, Start.PRE_CREATED):
            what = f"Docker has no {spec.start.value} start"
            raise Unavailable(what, "choose a cold or a pre-created start")
        client = self._connected()
        self._await_engine()
        runtimes = self._facts.get("Runtimes") or {}
        if spec.runtime and spec.runtime not in runtimes:
            what = f"Docker has no runtime called {spec.runtime}"
            raise Unavailable(what, f"choose from: {', '.join(sorted(runtimes))}")
        image, _ = self._resolved(spec.image)
        # Images are looked up once; should one vanish meanwhile, the next start looks again.
        forget = functools.partial(self._images.pop, spec.image, None)
        container = Container(
            client.api, image, spec, on_event, forget, on_lost=self._lose, joined=joined
        )
        return container.opened()

    @contextlib.contextmanager
    def network(self) -> Iterator[OpenOn]:
        """See :class:`vmcompare.sandbox.Connects`: ``docker network create --internal``."""
        made = Network(self._connected().api, internal=True)

        def open_on(name: str, spec: Spec, on_event: OnEvent) -> AbstractContextManager[Sandbox]:
            return self.open(spec, on_event, joined=(made.name, name))

        cleanup.watch(cleanup.CONTAINERS)
        try:
            with self._asking("create the network", "network", "create"):
                made.create()
            yield open_on
        finally:
            with self._asking("remove the network", "network", "rm"):
                made.remove()
            cleanup.forget(cleanup.CONTAINERS)

    @contextlib.contextmanager
    def _asking(self, what: str, *command: str) -> Iterator[None]:
        """An error of the engine inside becomes a ``LaunchFailure``."""
        try:
            yield
        except engine_errors() as error:
            self._lose()
            words = ("docker", *command)
            raise LaunchFailure(f"Docker did not {what}", words, str(error)) from error

    def image(self, spec: Spec) -> ImageFacts:
        """Make the image if need be and describe it."""
        return self._resolved(spec.image)[1]

    def contents(self, spec: Spec, added: Mapping[str, bytes]) -> Iterator[FileFact]:
        with tarfile.open(_weighed(spec)) as tar:
            yield from (FileFact(f"/{info.name}", info.size) for info in tar if info.isreg())
        yield from (FileFact(path, len(data)) for path, data in added.items())

    def parcel(self, spec: Spec, added: Mapping[str, bytes]) -> Parcel:
        """See :class:`vmcompare.sandbox.Packer`: both layers; the second alone for whoever has the
        base. A container is asked what files occupy on the file system that the engine uses.
        """
        path = _weighed(spec)
        with tarfile.open(path) as tar:
            virtual = sum(info.size for info in tar if info.isreg())
        with self.open(spec, lambda _: None) as container:
            before = _occupied_bytes(container)
            for name, data in added.items():
                container.put(name, data)
            above = max(0, _occupied_bytes(container) - before)
        base = weigh.piece("base layer", weigh.chunks(path), virtual, before)
        size = sum(map(len, added.values()))
        layer = weigh.piece("layer", (oci.layer(added),), size, above)
        return Parcel((base, layer), (layer,))

    def save(self, spec: Spec) -> bytes:
        """See :class:`vmcompare.sandbox.Saver`."""
        with cleanup.folder() as folder:
            with self._asking("save the image", "save"):
                _save(self._image(spec), folder / "image.tar.gz")
            return (folder / "image.tar.gz").read_bytes()

    def move(self, spec: Spec) -> Moved:
        """See :class:`vmcompare.sandbox.Mover`. The second place is a second, empty engine."""
        image = self._image(spec)
        with (
            cleanup.folder() as folder,
            second.second_engine() as elsewhere,
            self._asking("move the image to a second engine", "load"),
        ):
            return _moved(image, folder / "image.tar.gz", elsewhere, spec)

    def _image(self, spec: Spec) -> Any:
        return self._connected().images.get(self._resolved(spec.image)[0])

    def traits(self, spec: Spec) -> Traits:
        """A product: ``docker run`` with everything it does, not the bare runtime."""
        if spec.runtime:
            return Traits(layer="product", runtime=spec.runtime)
        with contextlib.suppress(Unavailable):  # gone since it was probed: the start will say so
            self._connected()
        return Traits(layer="product", runtime=str(self._facts.get("DefaultRuntime") or "runc"))

    def _connected(self) -> DockerClient:
        with self._lock:
            if self._client is None:
                client = connect()
                self._facts = engine_info(client)
                self._client = client
            return self._client

    def _lose(self) -> None:
        self._lost = True

    def _await_engine(self) -> None:
        """Wait until an engine that was lost in mid-run is back: no part of any start.

        A daemon that is restarted would otherwise cost a run all its starts, as each fails at once.
        One that stays away is waited for once. Raises ``EngineUnavailable``.
        """
        deadline = time.monotonic() + self._patience_s
        while self._lost:
            try:
                connect(PROBE_TIMEOUT_S).close()
                self._lost, self._patience_s = False, RETURN_S
            except Unavailable:
                self._patience_s = max(0.0, deadline - time.monotonic())
                if not self._patience_s:
                    raise
                time.sleep(_ASK_AGAIN_S)

    def _resolved(self, name: str) -> tuple[str, ImageFacts]:
        """The engine's name of an image, and its facts. Looked up once: starts must not pay.

        One that is made here is imported unless it is there.
        """
        client = self._connected()
        with self._lock:
            if name not in self._images:
                maker = {ALPINE: alpine, DEBIAN: debian}.get(name)
                tag = cache.digest(maker.rootfs_tar()).removeprefix("sha256:")[:12] if maker else ""
                reference = f"{REPOSITORIES}/{name}:{tag}" if maker else name
                found = _described(client.api, reference)
                if found is None and maker:
                    found = self._imported(client.api, reference, maker.rootfs_tar())
                if found is None:
                    what = f"the image {reference} is not on this computer"
                    raise Unavailable(what, f"run: docker pull {reference}")
                self._images[name] = reference, found
            return self._images[name]

    def _imported(self, api: APIClient, reference: str, packed: Path) -> ImageFacts | None:
        """Import an image from a tar under this name."""
        # A label on an image is passed on to containers made of it by hand. Those lack the owner's
        # labels, by which the clean-up tells that they are the learner's own.
        changes = [f"LABEL {cleanup.LABEL}=image", f'CMD ["{FIRST_BYTE_PROGRAM}"]']
        repository, _, tag = reference.partition(":")
        with packed.open("rb") as tar, paths.locked(paths.cache_dir() / _IMPORT):
            if found := _described(api, reference):
                return found  # made meanwhile by another process; a second would take its name away
            with (
                self._asking(f"import the image {repository}", "import"),
                told("the container image"),
            ):
                api.import_image_from_data(tar, repository=repository, tag=tag, changes=changes)
        return _described(api, reference)


def _moved(image: Any, parcel: Path, elsewhere: DockerClient, spec: Spec) -> Moved:
    """What ``docker save | gzip``, ``docker load`` and ``docker run`` do."""
    began = time.perf_counter()
    shipped_bytes = _save(image, parcel)
    saved = time.perf_counter()
    with parcel.open("rb") as stream:
        elsewhere.images.load(stream)
    loaded = time.perf_counter()
    seen: list[Event] = []
    with Container(elsewhere.api, image.tags[0], spec, seen.append).opened():
        at = {event.phase: event.t_ns for event in seen}
    start_s = (at[Phase.FIRST_BYTE] - at[Phase.OPEN]) / 1e9
    return Moved(shipped_bytes, saved - began, loaded - saved, start_s)


def _save(image: Any, parcel: Path) -> int:
    """Write an image with its name into a file, packed; its size in bytes."""
    return weigh.pack(image.save(named=image.tags[0]), parcel)


def _described(api: APIClient, reference: str) -> ImageFacts | None:
    """What the engine tells of an image, if it has it."""
    import docker.errors

    inspect: Callable[[str], Mapping[str, Any]] = api.inspect_image  # untyped in the stubs
    try:
        found = inspect(reference)
    except docker.errors.ImageNotFound:
        return None
    except engine_errors() as error:
        raise explained(error) from error
    return ImageFacts(
        digest=str(found["Id"]),
        size_bytes=int(found["Size"]),
    )


def _weighed(spec: Spec) -> Path:
    if spec.image != ALPINE:
        raise Unavailable("only the Alpine image is weighed", f"use the image {ALPINE!r}")
    return alpine.rootfs_tar()


def _occupied_bytes(box: Sandbox) -> int:
    """Blocks in use below ``/``, mounted file systems left out."""
    done = box.run(["du", "-skx", "/"])
    words = done.output.split()
    if done.exit_code or not words or not words[0].isdigit():
        raise LaunchFailure("du could not weigh the container", ("du", "-skx", "/"))
    return int(words[0]) * 1024


def probe(timeout_s: int = PROBE_TIMEOUT_S) -> Availability:
    """Ask the engine who it is, within about ``timeout_s`` seconds. Raises nothing."""
    try:
        info = engine_info(connect(timeout_s))
    except Unavailable as missing:
        return Availability(ok=False, what=missing.what, next_step=missing.next_step)

    def told(key: str) -> str:
        return printable(str(info.get(key, "")))

    security = str(info.get("SecurityOptions"))
    return Availability(
        ok=True,
        version=told("ServerVersion"),
        details=(
            ("cgroup_version", told("CgroupVersion")),
            ("cgroup_driver", told("CgroupDriver")),
            ("storage_driver", told("Driver")),
            ("rootless", "yes" if "rootless" in security else "no"),
            ("seccomp", "yes" if "seccomp" in security else "no"),
            ("default_runtime", told("DefaultRuntime")),
            ("hidden_vm", "yes" if _in_hidden_vm(info) else "no"),
        ),
    )


def _in_hidden_vm(info: Mapping[str, Any]) -> bool:
    """Whether the engine runs under another kernel than ours (Docker Desktop, WSL, remote)."""
    return (
        platform.system() != "Linux"
        or "Docker Desktop" in str(info.get("OperatingSystem", ""))
        or info.get("KernelVersion") != platform.release()
    )


def launchers() -> dict[Platform, Launcher]:
    return {Platform.CONTAINER: DockerLauncher()}
