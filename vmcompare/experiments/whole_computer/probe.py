"""The few things that are tried: start the 512 bytes, run them as a program, read the hardware.

The measurement and the demonstration on the page both use these, so they show the same thing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields

from vmcompare.measuring import host
from vmcompare.sandbox import BOOT_SECTOR, FIRST_BYTE, Launcher, Machine, OnEvent, Sandbox, Spec

_PROGRAM = "/tmp/boot.bin"
_VIRTIO = "1af4"
"""PCI vendor of virtio devices, which exist only in virtual machines (VIRTIO 1.2, 4.1.2)."""


@dataclass(frozen=True, slots=True)
class Hardware:
    """What an instance reads of the computer it believes to be on; empty where it reads nothing.

    Attributes:
        processor: the model's name.
        devices: PCI vendor and device numbers, in the order of the bus.
        firmware: its vendor.
        maker: of the whole computer, as the firmware tells.
        kernel: release of the kernel that answered.
        hypervisor: ``"yes"`` or ``"no"``: the processor's own bit for "this is a virtual machine"
            (CPUID leaf 1, ECX bit 31); always clear on hardware.
        boot_id: the kernel's random name for this boot, its first 8 characters.
    """

    processor: str = ""
    devices: str = ""
    firmware: str = ""
    maker: str = ""
    kernel: str = ""
    hypervisor: str = ""
    boot_id: str = ""

    def items(self) -> Iterator[tuple[str, str]]:
        """Name and what was read, in a fixed order."""
        for one in fields(self):
            yield one.name, str(getattr(self, one.name))

    @property
    def looks_virtual(self) -> bool | None:
        """Whether this hardware gives itself away; ``None`` where too little could be read."""
        if "yes" in self.hypervisor or _VIRTIO in self.devices or "QEMU" in self.maker:
            return True
        return False if self.hypervisor else None


def hardware(box: Sandbox) -> Hardware:
    """Read it from inside, with the same commands on every platform. Raises what ``run`` raises."""

    def read(path: str) -> str:
        done = box.run(["cat", path])
        return done.output.decode(errors="replace").strip() if done.exit_code == 0 else ""

    cpu = {
        name.strip(): value.strip()
        for name, _, value in (
            line.partition(":") for line in reversed(read("/proc/cpuinfo").splitlines())
        )
    }
    flags = cpu.get("flags", "").split()
    numbers = [line.split()[1] for line in read("/proc/bus/pci/devices").splitlines()]
    return Hardware(
        processor=cpu.get("model name", ""),
        devices=", ".join(f"{number[:4]}:{number[4:]}" for number in numbers),
        firmware=read("/sys/class/dmi/id/bios_vendor"),
        maker=read("/sys/class/dmi/id/sys_vendor"),
        kernel=box.run(["uname", "-r"]).output.decode(errors="replace").strip(),
        hypervisor=("yes" if "hypervisor" in flags else "no") if flags else "",
        boot_id=read("/proc/sys/kernel/random/boot_id")[:8],
    )


def host_hardware() -> Hardware:
    """The same of this computer where no process can be asked: what the system's own calls tell."""
    facts = host.facts({}, {})
    return Hardware(processor=str(facts["cpu"]), kernel=str(facts["kernel"]))


def differs(guest: Hardware, other: Hardware) -> bool | None:
    """Whether two instances are on different hardware; ``None`` where that cannot be told.

    Devices and firmware decide. The processor does only where neither was read on both sides:
    under hardware virtualisation a guest is given the host's own processor on purpose.
    """
    sides = [(guest.devices, other.devices), (guest.firmware, other.firmware)]
    known = [(a, b) for a, b in sides if a and b]
    if not known:
        known = [(a, b) for a, b in [(guest.processor, other.processor)] if a and b]
    return any(a != b for a, b in known) if known else None


@dataclass(frozen=True, slots=True)
class Refusal:
    """What came of running the 512 bytes as a program."""

    said: str
    exit_code: int

    @property
    def ran(self) -> bool:
        """Whether some kernel took them for a program of its own."""
        return self.exit_code not in (126, 127)

    def __str__(self) -> str:
        return f"{self.said or 'no message'} (exit code {self.exit_code})"


def as_program(box: Sandbox, image: bytes) -> Refusal:
    """Hand the 512 bytes to the kernel under ``box`` as a program. Raises what ``run`` raises."""
    box.put(_PROGRAM, image)
    done = box.run(["env", _PROGRAM])
    said = done.output.decode(errors="replace").strip()
    # The program's path may be a directory of the learner's: only the reason is kept.
    return Refusal(said.rpartition(": ")[2], done.exit_code)


def sector_spec(message: str) -> Spec:
    """A machine that has nothing to start but 512 bytes on a disk."""
    return Spec(image=BOOT_SECTOR, command=(message,), machine=Machine.PC, memory_mib=64)


@dataclass(frozen=True, slots=True)
class Sector:
    """A start of the 512 bytes.

    Attributes:
        printed: what the machine printed, without the byte that ends it.
        disk_bytes: everything it was given to start from.
    """

    printed: str
    disk_bytes: int


def _ignore(event: object) -> None:
    """Nobody watches."""


def boot_sector_in(launcher: Launcher, message: str, on_event: OnEvent = _ignore) -> Sector:
    """Start a machine from nothing but the 512 bytes. Raises what ``open`` raises."""
    spec = sector_spec(message)
    disk_bytes = launcher.image(spec).size_bytes
    with launcher.open(spec, on_event) as box:
        printed = box.console()
    return Sector(printed.replace(FIRST_BYTE.decode(), "").strip(), disk_bytes)
