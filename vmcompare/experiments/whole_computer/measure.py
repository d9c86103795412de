"""What this computer is made of, a VM of 512 bytes, and the same start again and again.

Once a run: every platform reads the hardware it believes to be on and is handed the 512 bytes of
:mod:`vmcompare.engines.programs.boot_sector` as a program; two virtual machines run at once; and a
third has nothing but those 512 bytes. Then, each round, starts of a process and of a container,
half of them labelled A and half B by the seeded shuffle: the same thing twice, which shows the
noise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from functools import partial

from vmcompare.engines.programs import boot_sector
from vmcompare.errors import AbnormalShutdown, WaitTimeout
from vmcompare.evidence.recording import Measurement
from vmcompare.evidence.units import NS_PER_S
from vmcompare.measuring import host
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


_Step = Callable[[], Iterator[Measurement]]


@dataclass(slots=True)
class _Run:
    """One run, and what it has learnt so far."""

    context: Context
    host: Hardware = field(default_factory=host_hardware)
    control_boots: bool = False

    def steps(self) -> list[tuple[str, _Step]]:
        """Everything that is done once, with its words, where its platform is here."""
        found: list[tuple[str, _Step]] = []
        for platform in (Platform.PROCESS, Platform.CONTAINER):
            if launcher := self.context.launchers.get(platform):
                words = f"hardware and 512 bytes, {platform}"
                found.append((words, partial(self._inside, platform, launcher)))
        if launcher := self.context.launchers.get(Platform.VM_DIRECT):
            found.append(("two VMs", partial(self._two, launcher)))
            found.append(("a VM of 512 bytes", partial(self._sector, launcher)))
        return found

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
        row = replace(row, guest_kernel=found.kernel)
        yield from _readings(row, found)
        yield _ran(row, *tried)

    def _two(self, launcher: Launcher) -> Iterator[Measurement]:
        """Two guests with a kernel of their own at once; the first is also the control."""
        row = blank(launcher, Platform.VM_DIRECT, _GUEST, "fact")
        found: list[Hardware] = []
        tried: tuple[bool, str] | None = None
        unread = why = "too little could be read"
        boots: bool | None = None
        try:
            with ExitStack() as both:
                for _ in range(2):
                    box = both.enter_context(launcher.open(_GUEST, self.context.on_event))
                    found.append(hardware(box))
                    tried = tried or as_program(box, _IMAGE)
        except FAILURES as problem:
            why = str(problem)
            boots = False if isinstance(problem, _SILENT) else None
        self.control_boots = bool(found)
        other = virtual = two = None
        if found:
            row = replace(row, guest_kernel=found[0].kernel)
            other, virtual = differs(found[0], self.host), found[0].looks_virtual
            ids = [one.boot_id for one in found]
            two = len({*ids, self.host.boot_id}) == 3 if len(ids) == 2 and all(ids) else None
        told = unread if found else why
        yield _fact(row, "control_vm_boots", True if found else boots, why)
        yield _fact(row, "guest_hardware_differs_from_host", other, told)
        yield _fact(row, "guest_can_tell_it_is_virtual", virtual, told)
        yield _fact(row, "two_vms_have_two_boot_ids", two, why)
        seen = replace(row, metric="observation")
        for number, one in enumerate(found):
            yield from _readings(replace(seen, rep=number), one)
        if tried is not None:
            yield _ran(seen, *tried)

    def _sector(self, launcher: Launcher) -> Iterator[Measurement]:
        message = boot_sector.MESSAGE
        row = blank(launcher, Platform.VM_DIRECT, sector_spec(message), "fact")
        prints = partial(_fact, row, "boot_sector_prints_in_vm")
        alone = partial(_fact, row, "boot_sector_runs_without_os")
        try:
            printed, disk_bytes = boot_sector_in(launcher, message, self.context.on_event)
        except FAILURES as problem:
            # Silence counts only where the same VM boots something else.
            counts = isinstance(problem, _SILENT) and self.control_boots
            yield prints(False if counts else None, str(problem))
            yield alone(False if counts else None, str(problem))
            return
        yield prints(message in printed)
        # Nothing else can have helped: these bytes are all that the VM was given.
        yield alone(message in printed and disk_bytes == boot_sector.SECTOR_BYTES)
        seen = replace(row, metric="observation")
        yield _observation(seen, "boot_sector_printed", printed)
        yield _observation(seen, "boot_sector_bytes", _IMAGE.hex())


def measure(context: Context) -> Iterator[Measurement]:
    """Rows as they are made. What fails is a row; the run goes on."""
    run = _Run(context)
    wanted = [one for one in STARTS if context.launcher(one.series) is not None]
    trials = arrange(wanted, context.rounds, context.seed)
    plan = run.steps()
    plan += [(trial.series.label, partial(_start, context, trial)) for trial in trials]
    for step in context.steps(plan):
        yield from step()


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


def _readings(row: Measurement, found: Hardware) -> Iterator[Measurement]:
    for name, text in asdict(found).items():
        yield _observation(row, name, text)


def _ran(row: Measurement, ran: bool, said: str) -> Measurement:
    return filled(row, float(ran), phase="boot_sector_as_program", text=said)


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
