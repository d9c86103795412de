"""What a container's box holds and weighs: the layer of the shared base, and the application's."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator, Mapping

from vmcompare.engines.images import alpine, oci, weigh
from vmcompare.engines.images.cache import Progress
from vmcompare.errors import LaunchFailure
from vmcompare.sandbox import FileFact, Parcel, Sandbox

_KIB = 1024


def contents(added: Mapping[str, bytes], progress: Progress | None = None) -> Iterator[FileFact]:
    """Every file of both layers."""
    with tarfile.open(alpine.rootfs_tar(progress)) as tar:
        yield from (FileFact(f"/{info.name}", info.size) for info in tar if info.isreg())
    yield from (FileFact(path, len(data)) for path, data in added.items())


def parcel(box: Sandbox, added: Mapping[str, bytes], progress: Progress | None = None) -> Parcel:
    """Both layers; the second alone for whoever has the base.

    Args:
        box: a fresh container of the base: what its files occupy is asked of the file system that
            the engine keeps them on.
        added: the application.
        progress: is told when the base has to be built.
    """
    path = alpine.rootfs_tar(progress)
    with tarfile.open(path) as tar:
        virtual = sum(info.size for info in tar if info.isreg())
    before = _occupied_bytes(box)
    for name, data in added.items():
        box.put(name, data)
    above = max(0, _occupied_bytes(box) - before)
    base = weigh.tar("base layer", weigh.chunks(path), virtual, before)
    size = sum(map(len, added.values()))
    layer = weigh.tar("layer", (oci.layer(added),), size, above)
    return Parcel((base, layer), (layer,))


def _occupied_bytes(box: Sandbox) -> int:
    """Blocks in use below ``/``, mounted file systems left out."""
    done = box.run(["du", "-skx", "/"])
    words = done.output.split()
    if done.exit_code or not words or not words[0].isdigit():
        raise LaunchFailure("du could not weigh the container", ("du", "-skx", "/"))
    return int(words[0]) * _KIB
