"""`sandbox.Launcher` for the three kinds of virtual machine."""

from __future__ import annotations

import contextlib
import socket
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

from vmcompare.engines.images import alpine, cache, container_host, oci
from vmcompare.engines.programs import boot_sector, not_linux
from vmcompare.engines.qemu import accel, boots, disks
from vmcompare.engines.qemu.binary import Qemu, find_qemu
from vmcompare.engines.qemu.boots import Boot, Cable
from vmcompare.engines.qemu.guest import Guest
from vmcompare.engines.qemu.moving import Snapshot
from vmcompare.engines.qemu.process import QemuProcess
from vmcompare.errors import Unavailable
from vmcompare.paths import as_storage_error, cache_dir
from vmcompare.sandbox import (
    ALPINE,
    BOOT_SECTOR,
    CONTAINER_HOST,
    DISK_DRIVER,
    ENGINE_HOST,
    FOREIGN,
    NETWORK_DRIVERS,
    OTHER_KERNEL,
    SOFTWARE,
    Event,
    FileFact,
    ImageFacts,
    Machine,
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
)

_MUTE = (BOOT_SECTOR, FOREIGN, OTHER_KERNEL)
"""Images without an agent: they print, and answer nothing."""
_COUNTED_SLOWER = 4  # at most: a processor that counts executes fewer instructions at a time


class QemuLauncher:
    """Starts virtual machines of one platform with plain QEMU: a mechanism, not a product."""

    def __init__(self, platform: Platform) -> None:
        if not platform.is_vm:
            raise ValueError(f"there is no such virtual machine: {platform}")
        self._platform = platform
        self._chosen: Qemu | None = None
        self._snapshots: dict[Spec, Snapshot] = {}

    @contextmanager
    def open(
        self, spec: Spec, on_event: OnEvent, *, cable: Cable | None = None
    ) -> Iterator[Sandbox]:
        """See :meth:`vmcompare.sandbox.Launcher.open`.

        What has to be found out or built first is done before ``OPEN``: it is not part of a start.
        ``READY`` is stamped when the agent greets, and told at the first use of the sandbox or
        while leaving. What clones are copied from is booted once, and goes with the launcher.
        """
        qemu = self._found(spec)
        boot = self._boot(qemu, spec, connected=cable is not None)
        with contextlib.ExitStack() as ends:
            snapshot: Snapshot | None = None
            if spec.start is Start.CLONE:
                snapshot = self._snapshots.get(spec) or Snapshot(qemu, boot, spec)
                self._snapshots[spec] = snapshot
                process = snapshot.clone()
            else:
                options, files = (cable.arguments(), [cable.end]) if cable else ((), [])
                own = {"virtio-blk-pci": spec.disk_mib, "ide-hd": spec.ide_disk_mib}
                for device, size_mib in own.items():
                    if size_mib:
                        files.append(ends.enter_context(_own_disk(size_mib)).fileno())
                        options = (*options, *boots.own_disk_arguments(files[-1], device))
                process = QemuProcess(qemu, boot, spec, options, files)
            ends.enter_context(process)
            on_event(Event(Phase.OPEN, time.perf_counter_ns()))
            process.start()
            patience_s = boot.timeout_s * (_COUNTED_SLOWER if spec.counted else 1)
            last = Phase.SPAWN if snapshot else Phase.FIRST_BYTE
            process.reached(last, "the first byte", patience_s, on_event)
            if snapshot:
                on_event(Event(Phase.RESUMED, snapshot.resume(process)))
            guest = Guest(process, on_event, answers=spec.image not in _MUTE)
            yield guest
            guest.tell_ready()
            on_event(Event(Phase.SHUTDOWN, process.stop()))

    @contextmanager
    def network(self) -> Iterator[OpenOn]:
        """See :class:`vmcompare.sandbox.Connects`: a cable, an end of which each of two inherits.

        ``VM_DIRECT`` only, started cold.
        """
        if self._platform is not Platform.VM_DIRECT:
            raise Unavailable(
                f"only two of {Platform.VM_DIRECT} are connected", f"connect {Platform.VM_DIRECT}"
            )
        one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        free = [Cable(2, other.fileno()), Cable(1, one.fileno())]

        def open_on(name: str, spec: Spec, on_event: OnEvent) -> AbstractContextManager[Sandbox]:
            if not free or spec.start is not Start.COLD:
                raise Unavailable(
                    f"{name!r} cannot be connected: a cable has two ends, for two cold starts",
                    "connect two VMs, started cold",
                )
            return self.open(spec, on_event, cable=free.pop())

        with one, other:
            yield open_on

    def image(self, spec: Spec) -> ImageFacts:
        files = self._boot(self._found(spec), spec).files
        whole = oci.digest("\n".join(map(cache.digest, files)).encode())
        return ImageFacts(whole, sum(file.stat().st_size for file in files))

    def contents(self, spec: Spec, added: Mapping[str, bytes]) -> Iterator[FileFact]:
        self._must_be_boxed(spec)
        if self._platform is Platform.VM_DIRECT:
            return disks.direct_contents(added)
        return disks.disk_contents(disks.changed(self._found(spec), added))

    def parcel(self, spec: Spec, added: Mapping[str, bytes]) -> Parcel:
        """See :class:`vmcompare.sandbox.Packer`. Of a disk that holds its kernel, only the disk."""
        self._must_be_boxed(spec)
        if self._platform is Platform.VM_DIRECT:
            return disks.direct_parcel(alpine.full_initramfs(), added)
        return disks.disk_parcel(disks.changed(self._found(spec), added))

    def move(self, spec: Spec) -> Moved:
        """See :class:`vmcompare.sandbox.Mover`. ``vm`` only: the others' disk is no single file."""
        if self._platform is not Platform.VM or spec.image != ALPINE:
            raise Unavailable("only a whole VM on its disk is moved", f"move {Platform.VM}")
        return disks.move(self._found(spec), spec)

    def _must_be_boxed(self, spec: Spec) -> None:
        if self._platform is Platform.VM_TUNED or spec.image != ALPINE:
            raise Unavailable(
                "only the whole Alpine userland is weighed",
                f"weigh {Platform.VM} or {Platform.VM_DIRECT} with the image {ALPINE!r}",
            )

    def traits(self, spec: Spec) -> Traits:
        qemu = self._found(spec)
        return Traits("mechanism", vmm=f"qemu {qemu.version}", accel=qemu.accel)

    def _found(self, spec: Spec) -> Qemu:
        """Looked for once. Only software emulation can count, or be another processor."""
        if spec.image == FOREIGN:
            return find_qemu(foreign=True)
        if self._chosen is None:
            qemu = find_qemu()
            self._chosen = replace(qemu, accel=accel.choose(qemu).accel)
        return replace(self._chosen, accel=SOFTWARE) if spec.counted else self._chosen

    def _boot(self, qemu: Qemu, spec: Spec, *, connected: bool = False) -> Boot:
        self._refuse(spec)
        if spec.image == BOOT_SECTOR:
            said = spec.command[0] if spec.command != Spec().command else boot_sector.MESSAGE
            return boots.sector(_written("sector.img", boot_sector.image(said)))
        if spec.image == OTHER_KERNEL:
            return boots.other_kernel(_written("other-kernel", not_linux.kernel()))
        if spec.image == FOREIGN:
            return boots.foreign(alpine.foreign_kernel(), alpine.foreign_ram_disk())
        if self._platform is Platform.VM:
            return boots.as_made(self._disk(qemu, spec), spec)
        if self._platform is Platform.VM_TUNED:
            return boots.tuned(qemu, self._disk(qemu, spec), network=spec.network)
        files, modules = dict[str, bytes](), list[str]()
        if spec.image != ALPINE:
            programs, needed = container_host.files(engine=spec.image == ENGINE_HOST)
            files, modules = dict(programs), list(needed)
        if connected:
            modules += NETWORK_DRIVERS
        if spec.disk_mib:
            modules.append(DISK_DRIVER)
        if spec.counted:
            files |= alpine.counting_program()
        whole = alpine.with_files(files, modules) if files or modules else alpine.full_initramfs()
        return boots.direct(qemu, whole)

    def _refuse(self, spec: Spec) -> None:
        """Raise ``Unavailable`` for what this platform cannot be asked for."""
        direct, cold = self._platform is Platform.VM_DIRECT, spec.start is Start.COLD
        more = (CONTAINER_HOST, ENGINE_HOST, OTHER_KERNEL, FOREIGN) if direct else ()
        machines = [Machine.VIRT if spec.image == FOREIGN else Machine.PC]
        if self._platform is Platform.VM and spec.image == ALPINE:
            machines.append(Machine.Q35)
        refused = (
            (
                spec.image not in (ALPINE, BOOT_SECTOR, *more),
                f"{self._platform} has no image {spec.image!r}",
            ),
            (
                spec.machine not in (Machine.NONE, *machines),
                f"{self._platform} does not start {spec.image!r} on {spec.machine}",
            ),
            (
                spec.start not in (Start.COLD, Start.CLONE),
                f"QEMU has no {spec.start.value} start here",
            ),
            (
                not cold and (not direct or spec.image in _MUTE),
                f"only {Platform.VM_DIRECT} can be cloned, as it has an agent and no disk",
            ),
            (
                (spec.disk_mib or spec.ide_disk_mib) and not cold,
                "a clone has no disk of its own",
            ),
            (spec.counted and not cold, "only a cold start is counted"),
        )
        for applies, what in refused:
            if applies:
                raise Unavailable(
                    what, f"use {Platform.VM_DIRECT}, {Machine.PC} and {ALPINE}, started cold"
                )

    def _disk(self, qemu: Qemu, spec: Spec) -> Path:
        warm = self._platform is Platform.VM_TUNED
        if spec.counted:
            return disks.changed(qemu, alpine.counting_program(), warm=warm)
        return (disks.warm_overlay if warm else disks.overlay)(qemu)


def _own_disk(size_mib: int) -> BinaryIO:
    """An empty file without a name: it goes with the last process that has it open."""
    folder = cache_dir()
    with as_storage_error(folder, "make room there"):
        disk = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115  # the caller closes it
        disk.truncate(size_mib << 20)
    return disk


def _written(name: str, content: bytes) -> Path:
    return cache.get(name, content.hex(), lambda out: out.write_bytes(content))
