"""Images of VMs: the disks, made once by booting the wheel's; what is in them, what is shipped.

Both disks are overlays. ``vm`` gains only our service. ``vm-tuned`` gains also what OpenRC keeps at
its first orderly shutdown: the cache of its services' dependencies.
"""

from __future__ import annotations

import gzip
import shutil
import tarfile
import time
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from vmcompare.engines import cleanup
from vmcompare.engines.images import alpine, cache, initramfs, oci, qcow2, rootfs, weigh
from vmcompare.engines.qemu import boots
from vmcompare.engines.qemu.binary import Qemu
from vmcompare.engines.qemu.process import QemuProcess
from vmcompare.errors import LaunchFailure
from vmcompare.sandbox import FileFact, Moved, Parcel, Phase, Piece, Platform, Spec

_RECIPE = "1"  # part of the cache keys: raise it when the way of building changes
_END_S = 60.0  # for a guest to shut down; emulated it needs 2 to 5
_INSTALLED = "vmcompare-installed"  # the installing guest's word when all is written
START_S = 300.0  # for a moved disk's first byte
KERNEL, RAM_DISK = "/boot/vmlinuz", "/boot/initramfs"
"""Names under which a kernel and a RAM disk that lie beside the disk are listed."""


def overlay(qemu: Qemu) -> Path:
    """The disk of ``vm``. Raises ``Unavailable``, or what the guest that writes it fails with."""
    below, files = alpine.sources().disk, alpine.service()
    return cache.get("disk.qcow2", _key(), lambda out: _install(qemu, out, below, files))


def warm_overlay(qemu: Qemu) -> Path:
    """The disk of ``vm-tuned``. Raises what :func:`overlay` raises."""
    cold = overlay(qemu)

    def build(out: Path) -> None:
        shutil.copyfile(cold, out)
        boot = boots.tuned(qemu, out, network=True, snapshot=False)
        with QemuProcess(qemu, boot, Spec()) as process:
            process.start()
            process.reached(Phase.FIRST_BYTE, "the first byte", boot.timeout_s)
            process.agent.greeted(boot.timeout_s)
            # Our service starts the agent a moment before the runlevel is complete.
            process.agent.run_line("sleep 3; poweroff", boot.timeout_s)
            process.ended_by_itself(_END_S)

    return cache.get("warm.qcow2", _key(), build)


def changed(qemu: Qemu, files: Mapping[str, bytes], *, warm: bool = False) -> Path:
    """An overlay over the disk of ``vm`` that adds ``files`` (absolute path → content).

    With ``warm`` over that of ``vm-tuned``. Written by a guest, as the file system on the disk is
    Linux's to write. Raises what :func:`overlay` raises.
    """
    below = (warm_overlay if warm else overlay)(qemu)
    digests = [f"{path} {oci.digest(data)}" for path, data in sorted(files.items())]
    key = f"{_key()} over {below} added {digests}"
    return cache.get("changed.qcow2", key, lambda out: _install(qemu, out, below, files))


def lacking(platforms: Collection[Platform]) -> tuple[str, ...]:
    """Which disks of ``platforms`` still have to be made, in words, in the order of making.

    Raises ``Unavailable`` or ``StorageError``.
    """
    needed = ["disk.qcow2"] * bool({Platform.VM, Platform.VM_TUNED} & set(platforms))
    needed += ["warm.qcow2"] * (Platform.VM_TUNED in platforms)
    return tuple(cache.WORDS[name] for name in needed if not cache.holds(name, _key()))


def _key() -> str:
    # The overlay names the wheel's disk by its path, so a moved wheel needs a new one.
    return f"recipe {_RECIPE} {alpine.sources().disk} {alpine.recipe()}"


def _install(qemu: Qemu, out: Path, below: Path, files: Mapping[str, bytes]) -> None:
    """Write an overlay over the disk ``below`` that adds ``files``."""
    out.write_bytes(qcow2.empty_overlay(qcow2.virtual_size(below), below))
    with cleanup.folder() as directory:
        archive = directory / "install.cpio"
        origin = alpine.sources().disk
        initramfs.write_disk(alpine.rootfs_tar(), origin, "install_init.sh", files, archive)
        boot = boots.direct(qemu, archive)
        onto = boots.disk_arguments(out, snapshot=False)
        with QemuProcess(qemu, boot, Spec(), onto) as process:
            process.start()
            process.ended_by_itself(boot.timeout_s + _END_S)
            if _INSTALLED not in process.console():
                raise LaunchFailure(
                    "nothing could be written onto the disk", process.command, process.console()
                )


def disk_contents(disk: Path) -> Iterator[FileFact]:
    """Every file of a disk, and what must lie beside it."""
    with qcow2.Qcow2(disk) as raw:
        for info, _ in rootfs.entries(raw, ()):
            if info.isreg():
                yield FileFact(f"/{info.name}", info.size)
        for name, path in _beside(raw):
            yield FileFact(name, path.stat().st_size)


def disk_parcel(path: Path) -> Parcel:
    """A disk as one file, or its uppermost overlay alone for whoever has the rest."""
    with qcow2.Qcow2(path) as raw:
        disk = weigh.piece(
            "disk", weigh.disk_stream(raw), raw.size, sum(map(weigh.allocated, raw.paths))
        )
        beside = pieces_beside(raw)
    return Parcel((disk, *beside), (disk,), (weigh.files("overlay", path),))


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


def pieces_beside(raw: qcow2.Qcow2) -> tuple[Piece, ...]:
    """Kernel and RAM disk that are shipped beside a disk, unless it holds them itself."""
    return tuple(weigh.files(Path(name).name, path) for name, path in _beside(raw))


def _beside(raw: qcow2.Qcow2) -> list[tuple[str, Path]]:
    """Kernel and RAM disk, unless the disk itself holds the same bytes."""
    origin = alpine.sources()
    inside = {
        oci.digest(data)
        for info, data in rootfs.entries(raw, ("lib", "usr", "etc", "var", "home", "root"))
        if info.name.startswith("boot/") and info.isreg()
    }
    beside = ((KERNEL, origin.kernel), (RAM_DISK, origin.initrd))
    return [(name, path) for name, path in beside if cache.digest(path) not in inside]


def move(qemu: Qemu, spec: Spec) -> Moved:
    """The disk of ``vm``, made flat and packed; unpacked, and booted by another QEMU.

    Raises what ``Launcher.open`` raises.
    """
    with cleanup.folder() as folder:
        parcel, disk = folder / "disk.gz", folder / "disk.img"
        began = time.perf_counter()
        with qcow2.Qcow2(overlay(qemu)) as raw:
            shipped_bytes = weigh.pack(weigh.disk_stream(raw), parcel)
            shipped_bytes += sum(piece.compressed_bytes for piece in pieces_beside(raw))
            size, cluster_bytes = raw.size, raw.cluster_bytes
        saved = time.perf_counter()
        with gzip.open(parcel) as stream:
            weigh.write_disk(stream, disk, size, cluster_bytes)
        loaded = time.perf_counter()
        with QemuProcess(qemu, boots.as_made(disk, spec), spec) as process:
            called_ns = time.perf_counter_ns()
            process.start()
            first = process.reached(Phase.FIRST_BYTE, "the first byte", START_S)
            start_s = (first.t_ns - called_ns) / 1e9
            process.stop()
    return Moved(shipped_bytes, saved - began, loaded - saved, start_s)
