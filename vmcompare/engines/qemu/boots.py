"""What each platform boots: machine, kernel, RAM disk, disk, and what marks its phases."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vmcompare.engines.images import alpine
from vmcompare.engines.qemu.binary import Qemu
from vmcompare.sandbox import Balloon, Machine, Phase, Spec

_QUIET = "console=ttyS0 quiet panic=-1 reboot=t noreplace-smp no_timer_check"
"""Kernel command line of the guests whose boot is ours: nothing on the console, a panic or reboot
ends QEMU (with ``-no-reboot``) by a triple fault, no patching of locks for one processor, no test
of the timer: emulated on a busy computer its ticks can come too late for it ("IO-APIC + timer
doesn't work", seen here; on KVM and Hyper-V Linux leaves the test out by itself)."""

_MAKERS_LINE = "rw rootflags=rw console=ttyS0 rootfstype=ext4 quiet loglevel=0 raid=noautodetect"
"""What quicksand-core 0.14 passes (``qemu/platform.py``), but for the token and port of its own
agent, and what we add: ``panic=-1``, so that no guest outlives an accident, and ``no_timer_check``,
because that test, failed on a busy computer, is such a panic, and ends QEMU without a word."""

_MAKERS_PORT = 8080  # in the guest; nobody can reach it
_NO_NETWORK = "vmcompare_network=no"  # a variable for `images/guest/disk_init.sh`


Marker = tuple[Phase, bytes]
"""The first time the text appears on a stream, the phase has ended."""

_SEABIOS_DONE = (Phase.FIRMWARE, b"Booting from")
_OUR_INIT = (Phase.KERNEL, b"vmcompare-init")
_OPENRC = (Phase.INIT, b"OpenRC")
_FIRST_LINE = (Phase.KERNEL, b"\n")  # the RAM disk is silent: the first is OpenRC's
_VIRTIO = "virtio-blk-pci,drive=disk0"
_NO_SYSTEM = (Phase.EXIT, b"Mounting root failed")  # its RAM disk then gives up
_PVH_ROM = "pvh.bin"
"""Firmware that QEMU needs to start an ELF kernel; without it, it hangs without a word."""


@dataclass(frozen=True, slots=True)
class Boot:
    """One way to boot.

    Attributes:
        arguments: for QEMU: machine, kernel, RAM disk, disk.
        files: what is booted, in order: for digests.
        timeout_s: seconds until the first byte at most; emulated on a busy computer it is slow.
        waits_for_disk: whether a guest's system lies on a disk.
        on_debug: awaited from a PC's firmware; no other computer has that port.
    """

    arguments: tuple[str, ...]
    files: tuple[Path, ...]
    timeout_s: float
    waits_for_disk: bool = False
    on_debug: Sequence[Marker] = (_SEABIOS_DONE,)
    on_serial: Sequence[Marker] = (_OUR_INIT,)


def direct(qemu: Qemu, initramfs: Path) -> Boot:
    """A kernel straight into an initramfs: ``vm-direct``."""
    kernel = _fastest_kernel(qemu)
    arguments = ("-M", "pc", *_kernel(kernel, initramfs, _QUIET))
    return Boot(arguments, (kernel, initramfs), 60.0)


def tuned(qemu: Qemu, disk: Path, *, network: bool, snapshot: bool = True) -> Boot:
    """The distribution's disk by the shortest way: ``vm-tuned``.

    Without a ``network`` the two services that bring one up are left out: they look for a card that
    is not there, and fail (together a third of this boot).
    """
    kernel, initramfs = _fastest_kernel(qemu), alpine.disk_initramfs()
    line = f"{_QUIET} {_makers_agent()}" + ("" if network else f" {_NO_NETWORK}")
    arguments = ("-M", "pc", *_kernel(kernel, initramfs, line))
    arguments += disk_arguments(disk, snapshot=snapshot)
    files = (kernel, initramfs, alpine.sources().disk, disk)
    markers = (_OUR_INIT, _OPENRC)
    return Boot(arguments, files, 120.0, waits_for_disk=True, on_serial=markers)


def as_made(disk: Path, spec: Spec) -> Boot:
    """The distribution as its makers start it: ``vm``.

    Machine, kernel command line and disk options are those of quicksand-core 0.14, unless ``spec``
    wants others; but changes go to a temporary file, so that every start is the same.
    """
    origin = alpine.sources()
    line = f"root={spec.root} {_MAKERS_LINE} panic=-1 no_timer_check {_makers_agent()}"
    arguments = ("-M", spec.machine or Machine.Q35, *_kernel(origin.kernel, origin.initrd, line))
    if spec.ide:
        arguments += disk_arguments(disk, device="ide-hd,drive=disk0")
    else:
        device = f"{_VIRTIO},iothread=iothread0"
        arguments += ("-object", "iothread,id=iothread0")
        arguments += disk_arguments(disk, "discard=unmap,detect-zeroes=unmap", device)
    files = (origin.kernel, origin.initrd, origin.disk, disk)
    markers = (_FIRST_LINE, _NO_SYSTEM)
    return Boot(arguments, files, 300.0, waits_for_disk=True, on_serial=markers)


def counting(boot: Boot) -> tuple[str, ...]:
    """QEMU's arguments for a processor that counts: each instruction is one nanosecond to it.

    Its clock begins at a fixed date, and waiting takes no time. But where it waits for a disk, that
    takes as long as the host does: else its timers would ring without end meanwhile.
    """
    sleep = "on" if boot.waits_for_disk else "off"
    return ("-icount", f"shift=0,sleep={sleep}", "-rtc", "base=2024-01-01,clock=vm")


def sector(image: Path) -> Boot:
    """A boot sector of 512 bytes, on an IDE disk: the firmware knows how to start that."""
    drive = f"file={_escaped(image)},format=raw,if=ide,snapshot=on"
    return Boot(("-M", "pc", "-drive", drive), (image,), 60.0, on_serial=())


def other_kernel(kernel: Path) -> Boot:
    """A kernel that needs no disk and no RAM disk, loaded by the Multiboot header."""
    return Boot(("-M", "pc", "-kernel", str(kernel)), (kernel,), 60.0, on_serial=())


def foreign(kernel: Path, initramfs: Path) -> Boot:
    """A kernel and an initramfs for arm64."""
    machine = ("-M", "virt", "-cpu", "cortex-a57")
    arguments = (*machine, *_kernel(kernel, initramfs, "console=ttyAMA0 quiet panic=-1"))
    return Boot(arguments, (kernel, initramfs), 120.0, on_debug=(), on_serial=())


def _makers_agent() -> str:
    """The makers' own agent is one of the services that start, and refuses to without a token."""
    return f"quicksand_token={secrets.token_hex(16)} quicksand_port={_MAKERS_PORT}"


def disk_arguments(
    disk: Path, drive_options: str = "", device: str = _VIRTIO, *, snapshot: bool = True
) -> tuple[str, ...]:
    """A disk, virtio unless told, raw where its name ends in ``.img``.

    With ``snapshot`` what the guest writes goes to an unlinked temporary file.
    """
    form = "raw" if disk.suffix == ".img" else "qcow2"
    drive = f"file={_escaped(disk)},format={form},if=none,id=disk0"
    drive += f",snapshot={'on' if snapshot else 'off'}"
    drive += f",{drive_options}" if drive_options else ""
    return ("-drive", drive, "-device", device)


def own_disk_arguments(descriptor: int, device: str) -> tuple[str, ...]:
    """A further disk in an open file; the guest's flushes are the host's, as are its errors."""
    name = f"own{descriptor}"
    drive = f"file=/dev/fd/{descriptor},format=raw,if=none,id={name},cache=writeback"
    return ("-drive", drive, "-device", f"{device},drive={name},werror=report,rerror=report")


def _kernel(kernel: Path, initramfs: Path, line: str) -> tuple[str, ...]:
    return ("-kernel", str(kernel), "-initrd", str(initramfs), "-append", line)


def _fastest_kernel(qemu: Qemu) -> Path:
    if qemu.has_rom(_PVH_ROM):
        return alpine.kernel_elf()
    return alpine.sources().kernel


def _escaped(path: Path) -> str:
    """A path inside an option list (``file=…,format=…``), where QEMU reads ``,,`` as a comma."""
    return str(path).replace(",", ",,")


SPARE = "spare"
"""QEMU's name of the device that plugs memory."""


@dataclass(frozen=True, slots=True)
class Cable:
    """One end of a link between two VMs.

    Attributes:
        number: of the end: two cards must have two addresses.
        end: a datagram socket, which QEMU inherits.
    """

    number: int
    end: int

    def arguments(self) -> tuple[str, ...]:
        card = f"virtio-net-pci,netdev=cable,mac=52:54:00:00:00:{self.number:02x},romfile="
        end = f"dgram,id=cable,local.type=fd,local.str={self.end}"
        return ("-netdev", end, "-device", card)


def plan_arguments(boot: Boot, spec: Spec) -> tuple[str, ...]:
    """All of QEMU's arguments for an instance, but its channels and its accelerator.

    A network, where there is to be one, is cut off from the host and the world.
    """
    memory = str(spec.memory_mib)
    if spec.spare_mib:
        memory += f",maxmem={spec.memory_mib + 4 * spec.spare_mib}M"  # with room for alignment
    arguments = [*boot.arguments, "-smp", str(spec.vcpus), "-m", memory]
    if spec.network:
        arguments += ["-netdev", "user,id=net0,restrict=on"]
        arguments += ["-device", "virtio-net-pci,netdev=net0,romfile="]
    else:
        arguments += ["-nic", "none"]
    if spec.balloon is not Balloon.NONE:
        reports = "on" if spec.balloon is Balloon.PAGE_REPORTING else "off"
        arguments += ["-device", f"virtio-balloon-pci,free-page-reporting={reports}"]
    if spec.spare_mib:
        arguments += ["-object", f"memory-backend-ram,id=spare0,size={spec.spare_mib}M"]
        arguments += ["-device", f"virtio-mem-pci,id={SPARE},memdev=spare0"]
    return tuple(arguments)
