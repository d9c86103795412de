"""`sandbox.Launcher` for the three kinds of virtual machine."""

from __future__ import annotations

import hashlib
import socket
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import BinaryIO

from vmcompare.engines.images import alpine, cache, container_host
from vmcompare.engines.programs import boot_sector, not_linux
from vmcompare.engines.qemu import accel, boots, contents, disks, foreign, moving
from vmcompare.engines.qemu.binary import Qemu, find_qemu
from vmcompare.engines.qemu.boots import Boot, Cable
from vmcompare.engines.qemu.guest import Guest
from vmcompare.engines.qemu.process import QemuProcess
from vmcompare.engines.qemu.snapshot import Snapshot
from vmcompare.errors import Unavailable
from vmcompare.paths import cache_dir, said_of
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
        self._chosen: tuple[Qemu, accel.Accelerator] | None = None
        self._snapshots: dict[Spec, Snapshot] = {}

    @contextmanager
    def open(
        self, spec: Spec, on_event: OnEvent, *, cable: Cable | None = None
    ) -> Iterator[Sandbox]:
        """See :meth:`vmcompare.sandbox.Launcher.open`.

        What has to be found out or built first is done before ``OPEN``: it is not part of a start.
        ``READY`` is stamped when the agent greets, and told at the first use of the sandbox or
        while leaving.

        A clone (``VM_DIRECT`` only) is a copy of a guest that was booted once for all clones of a
        spec, and shares its memory until it writes to it. What it is copied from goes with the
        launcher.
        """
        qemu, choice = self._found(spec)
        boot = self._boot(qemu, choice, spec, connected=cable is not None)
        disks: list[BinaryIO] = []
        if spec.start is Start.CLONE:
            snapshot = self._snapshot(qemu, choice, boot, spec)
            process, last = snapshot.clone(), Phase.RESUMED
        else:
            snapshot, last = None, Phase.FIRST_BYTE
            options, files = (cable.arguments(), [cable.end]) if cable else ((), [])
            own = {"virtio-blk-pci": spec.disk_mib, "ide-hd": spec.ide_disk_mib}
            for device, size_mib in own.items():
                if size_mib:
                    disks.append(_own_disk(size_mib))
                    files.append(disks[-1].fileno())
                    options = (*options, *boots.own_disk_arguments(files[-1], device))
            process = QemuProcess(qemu, choice, boot, spec, options, files)
        on_event(Event(Phase.OPEN, time.perf_counter_ns()))
        try:
            process.start()
            patience_s = boot.timeout_s * (_COUNTED_SLOWER if spec.counted else 1)
            deadline = time.monotonic() + patience_s
            reached, greeting = None, None
            while reached is not last:
                event = process.next_event("the first byte", deadline, patience_s)
                reached = event.phase
                if snapshot is not None and reached is Phase.SPAWN:
                    snapshot.resume(process)
                if reached is Phase.READY:
                    # The guest starts the byte's program and the agent side by side, and each has a
                    # channel of its own: on a busy host the greeting can come first.
                    greeting = event
                else:
                    on_event(event)
            if greeting is not None:
                process.put_back(greeting)
            answers, resumed = spec.image not in _MUTE, snapshot is not None
            guest = Guest(process, on_event, answers=answers, resumed=resumed)
            yield guest
            guest.tell_ready()
            on_event(Event(Phase.SHUTDOWN, process.stop()))
        finally:
            process.kill()
            for disk in disks:
                disk.close()

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

    def _snapshot(self, qemu: Qemu, choice: accel.Accelerator, boot: Boot, spec: Spec) -> Snapshot:
        if spec not in self._snapshots:
            self._snapshots[spec] = Snapshot(qemu, choice, boot, spec)
        return self._snapshots[spec]

    def image(self, spec: Spec) -> ImageFacts:
        files = self._boot(*self._found(spec), spec).files
        layers = tuple(alpine.digest(file) for file in files)
        whole = hashlib.sha256("\n".join(layers).encode()).hexdigest()
        size = sum(file.stat().st_size for file in files)
        return ImageFacts("sha256:" + whole, layers, size)

    def contents(self, spec: Spec, added: Mapping[str, bytes]) -> Iterator[FileFact]:
        self._must_be_boxed(spec)
        if self._platform is Platform.VM_DIRECT:
            return contents.direct_contents(added)
        return contents.disk_contents(*self._chain(added))

    def parcel(self, spec: Spec, added: Mapping[str, bytes]) -> Parcel:
        """See :class:`vmcompare.sandbox.Packer`. Of a disk that holds its kernel, only the disk."""
        self._must_be_boxed(spec)
        if self._platform is Platform.VM_DIRECT:
            return contents.direct_parcel(alpine.full_initramfs(), added)
        return contents.disk_parcel(*self._chain(added))

    def move(self, spec: Spec) -> Moved:
        """See :class:`vmcompare.sandbox.Mover`. ``vm`` only: the others' disk is no single file."""
        if self._platform is not Platform.VM or spec.image != ALPINE:
            raise Unavailable("only a whole VM on its disk is moved", f"move {Platform.VM}")
        qemu, choice = self._found(spec)
        chain = (alpine.sources().disk, disks.overlay(qemu, choice))
        return moving.move(qemu, choice, spec, chain)

    def _must_be_boxed(self, spec: Spec) -> None:
        if self._platform is Platform.VM_TUNED or spec.image != ALPINE:
            raise Unavailable(
                "only the whole Alpine userland is weighed",
                f"weigh {Platform.VM} or {Platform.VM_DIRECT} with the image {ALPINE!r}",
            )

    def _chain(self, added: Mapping[str, bytes]) -> tuple[Path, ...]:
        """The files that make the disk of ``vm`` with an application on it, the lowest first."""
        qemu, choice = self._found(Spec())
        below = disks.overlay(qemu, choice)
        above = disks.changed(qemu, choice, added)
        return (alpine.sources().disk, below, above)

    def traits(self, spec: Spec) -> Traits:
        qemu, choice = self._found(spec)
        return Traits("mechanism", vmm=f"qemu {qemu.version}", accel=choice.accel)

    def _found(self, spec: Spec) -> tuple[Qemu, accel.Accelerator]:
        """Looked for once. Only software emulation can count, or be another processor."""
        if spec.image == FOREIGN:
            return find_qemu(foreign.TARGET), accel.Accelerator(SOFTWARE)
        if self._chosen is None:
            qemu = find_qemu()
            self._chosen = qemu, accel.choose(qemu)
        qemu, choice = self._chosen
        return qemu, accel.Accelerator(SOFTWARE) if spec.counted else choice

    def _boot(
        self, qemu: Qemu, choice: accel.Accelerator, spec: Spec, *, connected: bool = False
    ) -> Boot:
        if spec.start not in (Start.COLD, Start.CLONE):
            raise Unavailable(
                f"QEMU has no {spec.start.value} start here", "choose a cold start or a clone"
            )
        if spec.machine is Machine.MICROVM:
            raise Unavailable("a microvm is no longer started", f"use the machine {Machine.PC}")
        direct = self._platform is Platform.VM_DIRECT
        if (spec.disk_mib or spec.ide_disk_mib) and spec.start is not Start.COLD:
            raise Unavailable("a clone has no disk of its own", "choose a cold start")
        if spec.start is Start.CLONE and (not direct or spec.image in _MUTE):
            raise Unavailable(
                f"only {Platform.VM_DIRECT} can be cloned, as it has an agent and no disk",
                f"use {Platform.VM_DIRECT} with an image of Linux, or choose a cold start",
            )
        if spec.counted and spec.start is not Start.COLD:
            raise Unavailable("only a cold start is counted", "count a cold start")
        if spec.image == BOOT_SECTOR:
            return boots.sector(_sector(spec))
        if spec.image == OTHER_KERNEL and direct:
            kernel = not_linux.kernel()
            return boots.other_kernel(
                cache.get("other-kernel", kernel.hex(), lambda out: out.write_bytes(kernel))
            )
        if spec.image == FOREIGN and direct:
            return boots.foreign(foreign.kernel(), foreign.ram_disk())
        hosts = spec.image in (CONTAINER_HOST, ENGINE_HOST)
        if hosts and not direct:
            raise Unavailable(
                f"only {Platform.VM_DIRECT} can host containers",
                f"use the platform {Platform.VM_DIRECT} with the whole userland",
            )
        if spec.image != ALPINE and not hosts:
            raise Unavailable(
                f"a virtual machine of the image {spec.image!r} cannot be made",
                f"use the image {ALPINE!r}, {BOOT_SECTOR!r}, {CONTAINER_HOST!r} or {ENGINE_HOST!r}",
            )
        if self._platform is Platform.VM:
            return boots.as_made(self._disk(qemu, choice, spec), spec)
        if self._platform is Platform.VM_TUNED:
            disk = self._disk(qemu, choice, spec)
            return boots.tuned(qemu, disk, network=spec.network)
        userland = alpine.full_initramfs()
        if hosts:
            engine = spec.image == ENGINE_HOST
            userland = container_host.container_host_initramfs(engine=engine)
        drivers = NETWORK_DRIVERS if connected else ()
        drivers += (DISK_DRIVER,) if spec.disk_mib else ()
        if drivers:
            userland = alpine.with_drivers(userland, drivers)
        if spec.counted:
            userland = alpine.counted_initramfs(userland)
        return boots.direct(qemu, userland)

    def _disk(self, qemu: Qemu, choice: accel.Accelerator, spec: Spec) -> Path:
        warm = self._platform is Platform.VM_TUNED
        if spec.counted:
            return disks.changed(qemu, choice, alpine.counting_program(), warm=warm)
        return (disks.warm_overlay if warm else disks.overlay)(qemu, choice)


def _own_disk(size_mib: int) -> BinaryIO:
    """An empty file without a name: it goes with the last process that has it open."""
    folder = cache_dir()
    with said_of(folder, "make room there"):
        disk = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115  # the caller closes it
        disk.truncate(size_mib << 20)
    return disk


def _sector(spec: Spec) -> Path:
    """A disk with nothing but the boot sector that prints the first word of the command."""
    said = spec.command[0] if spec.command != Spec().command else boot_sector.MESSAGE
    image = boot_sector.image(said)
    return cache.get("sector.img", image.hex(), lambda out: out.write_bytes(image))
