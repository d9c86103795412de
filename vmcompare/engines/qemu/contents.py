"""Files and sizes of a VM's image: kernel, RAM disk, disk, overlay."""

from __future__ import annotations

import hashlib
import stat
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from vmcompare.engines import cleanup
from vmcompare.engines.images import alpine, initramfs, rootfs, weigh
from vmcompare.engines.images.qcow2 import Qcow2
from vmcompare.engines.qemu import disks
from vmcompare.sandbox import FileFact, Parcel, Piece

KERNEL, RAM_DISK = "/boot/vmlinuz", "/boot/initramfs"
"""Names under which a kernel and a RAM disk that lie beside the disk are listed."""


def disk_contents(*chain: Path) -> Iterator[FileFact]:
    """Every file of a disk (the lowest file of its chain first), and what must lie beside it."""
    with disks.opened(*chain) as raw:
        seen: set[int] = set()
        for entry in rootfs.entries(raw, ()):
            if stat.S_ISREG(entry.mode) and entry.inode not in seen:
                seen.add(entry.inode)
                yield FileFact(f"/{entry.path}", len(entry.data))
        for name, path in _beside(raw):
            yield FileFact(name, path.stat().st_size)


def disk_parcel(*chain: Path) -> Parcel:
    """A disk as one file, or its uppermost overlay alone for whoever has the rest."""
    with disks.opened(*chain) as raw:
        disk = weigh.disk("disk", raw, sum(weigh.allocated(path) for path in chain))
        beside = pieces_beside(raw)
    return Parcel((disk, *beside), (disk,), (weigh.files("overlay", chain[-1]),))


def direct_contents(added: Mapping[str, bytes]) -> Iterator[FileFact]:
    """The kernel, the files of the shared userland, our init and agents, and the application."""
    yield FileFact(KERNEL, alpine.sources().kernel.stat().st_size)
    with tarfile.open(alpine.rootfs_tar()) as tar:
        yield from (FileFact(f"/{info.name}", info.size) for info in tar if info.isreg())
    for path, script in initramfs.INIT_SCRIPTS.items():
        yield FileFact(f"/{path}", len(initramfs.script(script)))
    yield from (FileFact(path, len(data)) for path, data in added.items())


def direct_parcel(userland: Path, added: Mapping[str, bytes]) -> Parcel:
    """Kernel and RAM disk; the application is an archive of its own behind the userland's.

    The kernel is counted as it is distributed (a ``bzImage``), however it is started here.
    """
    with cleanup.folder() as directory:
        archive = directory / "application.cpio"
        initramfs.write_files(added, archive)
        whole = weigh.files("RAM disk", userland, archive)
        kernel = weigh.files("kernel", alpine.sources().kernel)
        return Parcel((kernel, whole), (whole,), (weigh.files("archive", archive),))


def pieces_beside(raw: Qcow2) -> tuple[Piece, ...]:
    """Kernel and RAM disk that are shipped beside a disk, unless it holds them itself."""
    return tuple(weigh.files(Path(name).name, path) for name, path in _beside(raw))


def _beside(raw: Qcow2) -> list[tuple[str, Path]]:
    """Kernel and RAM disk, unless the disk itself holds the same bytes."""
    origin = alpine.sources()
    inside = {
        hashlib.sha256(entry.data).hexdigest()
        for entry in rootfs.entries(raw, ("lib", "usr", "etc", "var", "home", "root"))
        if entry.path.startswith("boot/") and stat.S_ISREG(entry.mode)
    }
    beside = ((KERNEL, origin.kernel), (RAM_DISK, origin.initrd))
    return [
        (name, path)
        for name, path in beside
        if alpine.digest(path).removeprefix("sha256:") not in inside
    ]
