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
from vmcompare.engines.docker.container import Joined, Network, opened
from vmcompare.engines.docker_connection import (
    classify,
    connect,
    engine_errors,
    engine_info,
    plain,
    unavailable,
)
from vmcompare.engines.images import alpine, cache, debian, oci, weigh
from vmcompare.engines.images.cache import told
from vmcompare.errors import LaunchFailure, Unavailable
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
        self, spec: Spec, on_event: OnEvent, *, joined: Joined | None = None
    ) -> AbstractContextManager[Sandbox]:
        """See :class:`vmcompare.sandbox.Launcher`. Warmth: cold or pre-created.

        A pre-created one is created and attached before ``OPEN``; it tells no such phases.
        """
        refuse_what_only_vms_have(spec)
        if spec.start not in (Start.COLD, Start.PRE_CREATED):
            raise Unavailable(
                f"Docker has no {spec.start.value} start", "choose a cold or a pre-created start"
            )
        client = self._connected()
        if self._lost:
            self._await_engine()
        runtimes = self._facts.get("Runtimes") or {}
        if spec.runtime and spec.runtime not in runtimes:
            raise Unavailable(
                f"Docker has no runtime called {spec.runtime}",
                f"choose from: {', '.join(sorted(runtimes))}",
            )
        image, _ = self._resolved(spec.image)
        # Images are looked up once; should one vanish meanwhile, the next start looks again.
        forget = functools.partial(self._images.pop, spec.image, None)
        return opened(
            *(client.api, image, spec, on_event),
            on_no_image=forget,
            on_lost=self._lose,
            joined=joined,
        )

    @contextlib.contextmanager
    def network(self) -> Iterator[OpenOn]:
        """See :class:`vmcompare.sandbox.Connects`: ``docker network create --internal``."""
        made = Network(self._connected().api, internal=True)

        def open_on(name: str, spec: Spec, on_event: OnEvent) -> AbstractContextManager[Sandbox]:
            return self.open(spec, on_event, joined=Joined(made, name))

        cleanup.watch(cleanup.CONTAINERS)
        try:
            self._on_network(made, made.create)
            yield open_on
        finally:
            self._on_network(made, made.remove)
            cleanup.forget(cleanup.CONTAINERS)

    def _on_network(self, made: Network, do: Callable[[], None]) -> None:
        try:
            do()
        except engine_errors() as error:
            self._lose()
            what = f"Docker did not {do.__name__} the network {made.name}"
            raise LaunchFailure(what, ("docker", "network", do.__name__), str(error)) from error

    def image(self, spec: Spec) -> ImageFacts:
        """Make the image if need be and describe it; layers are digests of unpacked tars."""
        return self._resolved(spec.image)[1]

    def contents(self, spec: Spec, added: Mapping[str, bytes]) -> Iterator[FileFact]:
        _must_be_alpine(spec)
        return _contents(added)

    def parcel(self, spec: Spec, added: Mapping[str, bytes]) -> Parcel:
        """See :class:`vmcompare.sandbox.Packer`. Starts a container to ask what it occupies."""
        _must_be_alpine(spec)
        with self.open(spec, lambda _: None) as container:
            return _parcel(container, added)

    def save(self, spec: Spec) -> bytes:
        """See :class:`vmcompare.sandbox.Saver`."""
        with cleanup.folder() as folder:
            try:
                _save(self._image(spec), folder / "image.tar.gz")
            except engine_errors() as error:
                what = "the image could not be saved"
                raise LaunchFailure(what, ("docker", "save"), str(error)) from error
            return (folder / "image.tar.gz").read_bytes()

    def move(self, spec: Spec) -> Moved:
        """See :class:`vmcompare.sandbox.Mover`. The second place is a second, empty engine."""
        image = self._image(spec)
        with cleanup.folder() as folder, second.second_engine() as elsewhere:
            try:
                return _moved(image, folder / "image.tar.gz", elsewhere, spec)
            except engine_errors() as error:
                what = "the image could not be moved to a second engine"
                raise LaunchFailure(what, ("docker", "load"), str(error)) from error

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
        while True:
            try:
                connect(PROBE_TIMEOUT_S).close()
            except Unavailable:
                self._patience_s = max(0.0, deadline - time.monotonic())
                if not self._patience_s:
                    raise
                time.sleep(_ASK_AGAIN_S)
            else:
                self._lost, self._patience_s = False, RETURN_S
                return

    def _resolved(self, name: str) -> tuple[str, ImageFacts]:
        """The engine's name of an image, and its facts. Looked up once: starts must not pay."""
        client = self._connected()
        with self._lock:
            if name not in self._images:
                reference = _reference(client.api, name)
                self._images[name] = reference, _image_facts(client.api, reference)
            return self._images[name]


def _moved(image: Any, parcel: Path, elsewhere: DockerClient, spec: Spec) -> Moved:
    """What ``docker save | gzip``, ``docker load`` and ``docker run`` do."""
    began = time.perf_counter()
    shipped_bytes = _save(image, parcel)
    saved = time.perf_counter()
    with parcel.open("rb") as stream:
        elsewhere.images.load(stream)
    loaded = time.perf_counter()
    seen: list[Event] = []
    with opened(elsewhere.api, image.tags[0], spec, seen.append):
        at = {event.phase: event.t_ns for event in seen}
    start_s = (at[Phase.FIRST_BYTE] - at[Phase.OPEN]) / 1e9
    return Moved(shipped_bytes, saved - began, loaded - saved, start_s)


def _save(image: Any, parcel: Path) -> int:
    """Write an image with its name into a file, packed; its size in bytes."""
    return weigh.pack(image.save(named=image.tags[0]), parcel)


def _must_be_alpine(spec: Spec) -> None:
    if spec.image != ALPINE:
        raise Unavailable("only the Alpine image is weighed", f"use the image {ALPINE!r}")


def _reference(api: APIClient, name: str) -> str:
    """The engine's name of an image; one that is made here is imported unless it is there."""
    import docker.errors

    maker = {ALPINE: alpine, DEBIAN: debian}.get(name)
    if maker is None:
        return name
    tag = cache.digest(maker.rootfs_tar()).removeprefix("sha256:")[:12]
    repository = f"{REPOSITORIES}/{name}"
    reference = f"{repository}:{tag}"

    def is_there() -> bool:
        try:
            _inspect_image(api, reference)
        except docker.errors.ImageNotFound:
            return False
        except engine_errors() as error:
            raise unavailable(classify(error), plain(error)) from error
        return True

    if is_there():
        return reference
    # A label on an image is passed on to containers made of it by hand. Those lack the owner's
    # labels, by which the clean-up tells that they are the learner's own.
    changes = [f"LABEL {cleanup.LABEL}=image", f'CMD ["{FIRST_BYTE_PROGRAM}"]']
    with maker.rootfs_tar().open("rb") as tar, paths.locked(paths.cache_dir() / _IMPORT):
        if is_there():  # made meanwhile by another process; a second one would take its name away
            return reference
        try:
            with told("the container image"):
                api.import_image_from_data(tar, repository=repository, tag=tag, changes=changes)
        except engine_errors() as error:
            raise LaunchFailure(
                f"Docker could not import the image {name}", ("docker", "import"), str(error)
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
    except engine_errors() as error:
        raise unavailable(classify(error), plain(error)) from error
    return ImageFacts(
        digest=str(found["Id"]),
        size_bytes=int(found["Size"]),
    )


_KIB = 1024


def _contents(added: Mapping[str, bytes]) -> Iterator[FileFact]:
    with tarfile.open(alpine.rootfs_tar()) as tar:
        yield from (FileFact(f"/{info.name}", info.size) for info in tar if info.isreg())
    yield from (FileFact(path, len(data)) for path, data in added.items())


def _parcel(box: Sandbox, added: Mapping[str, bytes]) -> Parcel:
    """Both layers; the second alone for whoever has the base.

    What files occupy is asked of the file system that the engine keeps them on, in a fresh ``box``.
    """
    path = alpine.rootfs_tar()
    with tarfile.open(path) as tar:
        virtual = sum(info.size for info in tar if info.isreg())
    before = _occupied_bytes(box)
    for name, data in added.items():
        box.put(name, data)
    above = max(0, _occupied_bytes(box) - before)
    base = weigh.piece("base layer", weigh.chunks(path), virtual, before)
    size = sum(map(len, added.values()))
    layer = weigh.piece("layer", (oci.layer(added),), size, above)
    return Parcel((base, layer), (layer,))


def _occupied_bytes(box: Sandbox) -> int:
    """Blocks in use below ``/``, mounted file systems left out."""
    done = box.run(["du", "-skx", "/"])
    words = done.output.split()
    if done.exit_code or not words or not words[0].isdigit():
        raise LaunchFailure("du could not weigh the container", ("du", "-skx", "/"))
    return int(words[0]) * _KIB


def probe(timeout_s: int = PROBE_TIMEOUT_S) -> Availability:
    """Ask the engine who it is, within about ``timeout_s`` seconds. Raises nothing."""
    try:
        info = engine_info(connect(timeout_s))
    except Unavailable as missing:
        return Availability(ok=False, what=missing.what, next_step=missing.next_step)

    def told(key: str) -> str:
        return plain(info.get(key, ""))

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
