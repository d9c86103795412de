"""What this computer is made of, a VM of 512 bytes, and the same start again and again.

Once a run: every platform reads the hardware it believes to be on and is handed the 512 bytes of
:mod:`vmcompare.engines.programs.boot_sector` as a program; two virtual machines run at once; and a
third has nothing but those 512 bytes. Then, each round, starts of a process and of a container,
half of them labelled A and half B by the seeded shuffle: the same thing twice, which shows the
noise.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace

from vmcompare.engines.programs import boot_sector
from vmcompare.errors import AbnormalShutdown, WaitTimeout
from vmcompare.evidence.recording import Measurement
from vmcompare.evidence.units import NS_PER_S
from vmcompare.measuring.experiment import (
    FAILURES,
    Context,
    Experiment,
    Starts,
    Trial,
    arrange,
    blank,
    failed,
    filled,
)
from vmcompare.sandbox import (
    BOOT_SECTOR,
    FIRST_BYTE,
    Event,
    Launcher,
    Machine,
    OnEvent,
    Phase,
    Platform,
    Sandbox,
    Series,
    Spec,
)

REPEATS = 6
"""Starts a round of each kind: the first half are A, the others B."""

STARTS = (
    Starts(Series(Platform.PROCESS), repeats=REPEATS),
    Starts(Series(Platform.CONTAINER), repeats=REPEATS),
)

_GUEST = Spec(machine=Machine.PC, memory_mib=256)

_SILENT = (WaitTimeout, AbnormalShutdown)
"""The VM was there and did not do it, unlike a start that could not be tried at all."""

_IMAGE = boot_sector.image(boot_sector.MESSAGE)
_PROGRAM = "/tmp/boot.bin"
_VIRTIO = "1af4"
"""PCI vendor of virtio devices, which exist only in virtual machines (VIRTIO 1.2, 4.1.2)."""

Hardware = Mapping[str, str]
"""What :func:`hardware` reads, by name; empty text, or no entry, where it reads nothing."""


def hardware(box: Sandbox) -> Hardware:
    """What an instance reads of the computer it believes to be on, by the same commands everywhere.

    ``processor`` is the model's name, ``devices`` the PCI vendor and device numbers in the order of
    the bus, ``firmware`` its vendor, ``maker`` that of the whole computer, ``kernel`` the release.
    ``hypervisor`` is "yes" or "no", the processor's own bit for "this is a virtual machine" (CPUID
    leaf 1, ECX bit 31; always clear on hardware); ``boot_id`` the first 8 characters of the
    kernel's random name for this boot. Raises what ``run`` raises.
    """

    def read(path: str) -> str:
        done = box.run(["cat", path])
        return done.output.decode(errors="replace").strip() if done.exit_code == 0 else ""

    pairs = re.findall(r"^(.*?)[ \t]*:[ \t]*(.*?)[ \t]*$", read("/proc/cpuinfo"), re.MULTILINE)
    cpu = dict(reversed(pairs))  # of the first processor
    flags = cpu.get("flags", "").split()
    numbers = [line.split()[1] for line in read("/proc/bus/pci/devices").splitlines()]
    return {
        "processor": cpu.get("model name", ""),
        "devices": ", ".join(f"{number[:4]}:{number[4:]}" for number in numbers),
        "firmware": read("/sys/class/dmi/id/bios_vendor"),
        "maker": read("/sys/class/dmi/id/sys_vendor"),
        "kernel": box.run(["uname", "-r"]).output.decode(errors="replace").strip(),
        "hypervisor": ("yes" if "hypervisor" in flags else "no") if flags else "",
        "boot_id": read("/proc/sys/kernel/random/boot_id")[:8],
    }


def looks_virtual(found: Hardware) -> bool | None:
    """Whether hardware gives itself away; ``None`` where too little could be read."""
    says = found.get("hypervisor")
    if says == "yes" or _VIRTIO in found.get("devices", "") or "QEMU" in found.get("maker", ""):
        return True
    return False if says else None


def differs(guest: Hardware, other: Hardware) -> bool | None:
    """Whether two instances are on different hardware; ``None`` where that cannot be told.

    Devices and firmware decide. The processor does only where neither was read on both sides:
    under hardware virtualisation a guest is given the host's own processor on purpose.
    """
    for names in (("devices", "firmware"), ("processor",)):
        known = [name for name in names if guest.get(name) and other.get(name)]
        if known:
            return any(guest[name] != other[name] for name in known)
    return None


def as_program(box: Sandbox, image: bytes) -> tuple[bool, str]:
    """Hand the 512 bytes to the kernel under ``box`` as a program: whether it took them for one of
    its own, and what was said. Raises what ``run`` raises.
    """
    box.put(_PROGRAM, image)
    done = box.run(["env", _PROGRAM])
    # The program's path may be a directory of the learner's: only the reason is kept.
    said = done.output.decode(errors="replace").strip().rpartition(": ")[2]
    return done.exit_code not in (126, 127), f"{said or 'no message'} (exit code {done.exit_code})"


def sector_spec(message: str) -> Spec:
    """A VM that has nothing to start but 512 bytes on a disk."""
    return Spec(image=BOOT_SECTOR, command=(message,), machine=Machine.PC, memory_mib=64)


def boot_sector_in(
    launcher: Launcher, message: str, on_event: OnEvent = lambda _: None
) -> tuple[str, int]:
    """Start a VM from nothing but the 512 bytes: what it printed (without the byte that ends it),
    and the bytes of its whole disk. Raises what ``open`` raises.
    """
    spec = sector_spec(message)
    disk_bytes = launcher.image(spec).size_bytes
    with launcher.open(spec, on_event) as box:
        printed = box.console()
    return printed.replace(FIRST_BYTE.decode(), "").strip(), disk_bytes


@dataclass(slots=True)
class _Once:
    """What is done once in a run, and what that has learnt so far."""

    context: Context
    host: Hardware = field(default_factory=dict)
    control_boots: bool = False

    def steps(self) -> Iterator[tuple[str, Iterator[Measurement]]]:
        """Words and rows of each whose platform is here; nothing starts before rows are taken."""
        launchers = self.context.launchers
        for platform in (Platform.PROCESS, Platform.CONTAINER):
            if launcher := launchers.get(platform):
                yield f"hardware and 512 bytes, {platform}", self._inside(platform, launcher)
        if launcher := launchers.get(Platform.VM_DIRECT):
            yield "two VMs", self._two(launcher)
            yield "a VM of 512 bytes", self._sector(launcher)

    def _inside(self, platform: Platform, launcher: Launcher) -> Iterator[Measurement]:
        row = blank(launcher, platform, Spec(), "observation")
        try:
            with launcher.open(Spec(), self.context.on_event) as box:
                found, tried = hardware(box), as_program(box, _IMAGE)
        except FAILURES as problem:
            yield failed(row, str(problem), phase="kernel")
            return
        if platform is Platform.PROCESS:
            self.host = found
        yield from _readings(replace(row, guest_kernel=found["kernel"]), found, tried)

    def _two(self, launcher: Launcher) -> Iterator[Measurement]:
        """Two guests with a kernel of their own at once; the first is also the control."""
        row = blank(launcher, Platform.VM_DIRECT, _GUEST, "fact")
        found: list[Hardware] = []
        tried = None
        why, silent = "too little could be read", False
        try:
            with ExitStack() as both:
                for _ in range(2):
                    box = both.enter_context(launcher.open(_GUEST, self.context.on_event))
                    found.append(hardware(box))
                    tried = tried or as_program(box, _IMAGE)
        except FAILURES as problem:
            why, silent = str(problem), isinstance(problem, _SILENT)
        self.control_boots = bool(found)
        first: Hardware = found[0] if found else {}
        ids = [one["boot_id"] for one in found if one["boot_id"]]
        different = len({*ids, self.host.get("boot_id", "")}) == 3
        row = replace(row, guest_kernel=first.get("kernel", ""))
        yield _fact(row, "control_vm_boots", self.control_boots or (False if silent else None), why)
        yield _fact(row, "guest_hardware_differs_from_host", differs(first, self.host), why)
        yield _fact(row, "guest_can_tell_it_is_virtual", looks_virtual(first), why)
        yield _fact(row, "two_vms_have_two_boot_ids", different if len(ids) == 2 else None, why)
        seen = replace(row, metric="observation")
        for number, one in enumerate(found):
            yield from _readings(replace(seen, rep=number), one, None if number else tried)

    def _sector(self, launcher: Launcher) -> Iterator[Measurement]:
        message = boot_sector.MESSAGE
        row = blank(launcher, Platform.VM_DIRECT, sector_spec(message), "fact")
        try:
            printed, disk_bytes = boot_sector_in(launcher, message, self.context.on_event)
        except FAILURES as problem:
            # Silence counts only where the same VM boots something else.
            counts = isinstance(problem, _SILENT) and self.control_boots
            for name in ("boot_sector_prints_in_vm", "boot_sector_runs_without_os"):
                yield _fact(row, name, False if counts else None, str(problem))
            return
        prints = message in printed
        # Nothing else can have helped: these bytes are all that the VM was given.
        alone = prints and disk_bytes == boot_sector.SECTOR_BYTES
        yield _fact(row, "boot_sector_prints_in_vm", prints)
        yield _fact(row, "boot_sector_runs_without_os", alone)
        seen = replace(row, metric="observation")
        yield _observation(seen, "boot_sector_printed", printed)
        yield _observation(seen, "boot_sector_bytes", _IMAGE.hex())


def measure(context: Context) -> Iterator[Measurement]:
    """Rows as they are made. What fails is a row; the run goes on."""
    wanted = [one for one in STARTS if context.launcher(one.series) is not None]
    trials = arrange(wanted, context.rounds, context.seed)
    plan = list(_Once(context).steps())
    plan += [(trial.series.label, _start(context, trial)) for trial in trials]
    for rows in context.steps(plan):
        yield from rows


def _start(context: Context, trial: Trial) -> Iterator[Measurement]:
    launcher = context.launcher(trial.series)
    assert launcher is not None  # only those were planned
    stamps: dict[Phase, int] = {}

    def on_event(event: Event) -> None:
        stamps[event.phase] = event.t_ns
        context.on_event(event)

    label = "A" if trial.rep < REPEATS // 2 else "B"
    where, metric = trial.series.platform, "start_to_first_byte_s"
    row = blank(launcher, where, Spec(), metric, phase=label, **trial.place)
    error = "no first byte was seen"
    try:
        with launcher.open(Spec(), on_event):
            pass
    except FAILURES as problem:
        error = str(problem)
    if Phase.OPEN in stamps and Phase.FIRST_BYTE in stamps:
        yield filled(row, (stamps[Phase.FIRST_BYTE] - stamps[Phase.OPEN]) / NS_PER_S)
    else:
        yield failed(row, error)


def _readings(
    row: Measurement, found: Hardware, tried: tuple[bool, str] | None
) -> Iterator[Measurement]:
    """What was read, then what came of the 512 bytes as a program, if they were tried."""
    for name, text in found.items():
        yield _observation(row, name, text)
    if tried is not None:
        ran, said = tried
        yield filled(row, float(ran), phase="boot_sector_as_program", text=said)


def _observation(row: Measurement, name: str, text: str) -> Measurement:
    return filled(row, float(bool(text)), phase=name, text=text)


def _fact(row: Measurement, name: str, held: bool | None, why: str = "") -> Measurement:
    if held is None:
        return failed(row, why, phase=name)
    return filled(row, float(held), phase=name)


EXPERIMENT = Experiment(
    name="whole_computer",
    question="What does a VM have that a container lacks, and when is comparing fair?",
    platforms=(Platform.PROCESS, Platform.CONTAINER, Platform.VM_DIRECT),
    measure=measure,
)
