"""The two disks: overlays over the wheel's, made once by booting it.

``vm`` gains only our service. ``vm-tuned`` gains also what OpenRC keeps at its first orderly
shutdown: the cache of its services' dependencies.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from vmcompare.engines import cleanup
from vmcompare.engines.images import alpine, cache, oci, qcow2
from vmcompare.engines.qemu import boots
from vmcompare.engines.qemu.accel import Accelerator
from vmcompare.engines.qemu.binary import Qemu
from vmcompare.engines.qemu.boots import Boot
from vmcompare.engines.qemu.process import QemuProcess
from vmcompare.errors import AbnormalShutdown, LaunchFailure
from vmcompare.sandbox import Phase, Platform, Spec

_RECIPE = "1"  # part of the cache keys: raise it when the way of building changes
_END_S = 60.0  # for a guest to shut down; emulated it needs 2 to 5
_INSTALLED = "vmcompare-installed"  # the installing guest's word when all is written


def overlay(qemu: Qemu, accel: Accelerator) -> Path:
    """The disk of ``vm``. Raises ``Unavailable``, or what the guest that writes it fails with."""

    def build(out: Path) -> None:
        disk = alpine.sources().disk
        out.write_bytes(qcow2.empty_overlay(qcow2.virtual_size(disk), disk))
        _install(qemu, accel, out, alpine.service())

    return cache.get("disk.qcow2", _key(), build)


def warm_overlay(qemu: Qemu, accel: Accelerator) -> Path:
    """The disk of ``vm-tuned``. Raises what :func:`overlay` raises."""
    cold = overlay(qemu, accel)

    def build(out: Path) -> None:
        shutil.copyfile(cold, out)
        _warm(qemu, accel, boots.tuned(qemu, out, network=True, snapshot=False))

    return cache.get("warm.qcow2", _key(), build)


def changed(
    qemu: Qemu,
    accel: Accelerator,
    files: Mapping[str, bytes],
    *,
    warm: bool = False,
) -> Path:
    """An overlay over the disk of ``vm`` that adds ``files`` (absolute path → content).

    With ``warm`` over that of ``vm-tuned``. Written by a guest, as the file system on the disk is
    Linux's to write. Raises what :func:`overlay` raises.
    """
    below = (warm_overlay if warm else overlay)(qemu, accel)

    def build(out: Path) -> None:
        out.write_bytes(qcow2.empty_overlay(qcow2.virtual_size(below), below))
        _install(qemu, accel, out, files)

    digests = [f"{path} {oci.digest(data)}" for path, data in sorted(files.items())]
    key = f"{_key()} over {below} added {digests}"
    return cache.get("changed.qcow2", key, build)


def lacking(platforms: Collection[Platform]) -> tuple[str, ...]:
    """Which disks of ``platforms`` still have to be made, in words, in the order of making.

    Raises ``Unavailable`` or ``StorageError``.
    """
    needed = ["disk.qcow2"] * bool({Platform.VM, Platform.VM_TUNED} & set(platforms))
    needed += ["warm.qcow2"] * (Platform.VM_TUNED in platforms)
    return tuple(cache.words(name) for name in needed if not cache.holds(name, _key()))


@contextlib.contextmanager
def opened(*chain: Path) -> Iterator[qcow2.Qcow2]:
    with contextlib.ExitStack() as stack:
        disk: qcow2.Qcow2 | None = None
        for path in chain:
            disk = stack.enter_context(qcow2.Qcow2(path, disk))
        assert disk is not None
        yield disk


def _key() -> str:
    # The overlay names the wheel's disk by its path, so a moved wheel needs a new one.
    return f"recipe {_RECIPE} {alpine.sources().disk} {alpine.recipe()}"


def _install(qemu: Qemu, accel: Accelerator, disk: Path, files: Mapping[str, bytes]) -> None:
    with cleanup.folder() as directory:
        archive = directory / "install.cpio"
        alpine.write_disk_initramfs("install_init.sh", files, archive)
        boot = boots.install(qemu, disk, archive)
        process = QemuProcess(qemu, accel, boot, Spec())
        try:
            process.start()
            process.ended_by_itself(boot.timeout_s + _END_S)
            if _INSTALLED not in process.console():
                raise LaunchFailure(
                    "nothing could be written onto the disk", process.command, process.console()
                )
        finally:
            process.kill()


def _warm(qemu: Qemu, accel: Accelerator, boot: Boot) -> None:
    process = QemuProcess(qemu, accel, boot, Spec())
    try:
        process.start()
        process.reached(Phase.READY, timeout_s=boot.timeout_s)
        # Our service starts the agent a moment before the runlevel is complete.
        process.agent().run_line("sleep 3; poweroff", boot.timeout_s)
        try:
            process.ended_by_itself(_END_S)
        except AbnormalShutdown as error:
            raise LaunchFailure(str(error), process.command, process.console()) from error
    finally:
        process.kill()
