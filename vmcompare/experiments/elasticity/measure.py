"""Memory that is taken and freed again as the host pays for it, limits changed meanwhile, and work.

A block visits every :data:`ARMS`, in shuffled order, and does the work once.

**Memory.** The same program in each instance takes :data:`TAKEN_MIB`, keeps it, and frees it. All
rows are ``host_bytes``: the proportional set size (PSS) of every host process that serves the
instance, without the translator's code cache, as in ``guest_os``. ``phase`` says when:

``over time``
    every half second; ``rep`` is tenths of a second since the program was started.
``before``, ``peak``, ``freed``
    the last one before it took memory, while it held it, and :data:`AFTER_S` after it freed it.

A VM has a balloon, which rests meanwhile. Then it is inflated: ``over time-balloon``,
``freed-balloon``. The VM with free-page reporting is one of its own: all of its phases end in
``-page-reporting``. ``returned_ratio`` has the phases of ``freed``.

**Limits.** What was asked stands in ``phase``: ``duration_s`` is how long the asking took,
``observation`` has in ``text`` what came of it, and what a program inside sees before and after:
``"512 MiB | 24105 → 24105 MiB"``. ``throttled_ratio`` says in which share of its periods the kernel
stopped a busy loop. A VM of its own is given more memory than it was started with (virtio-mem): its
kernel has to be told at the start how much there may be.

**Work.** ``work_cpu_s`` of known pieces of work (``phase``), and by the clock ``disk_s``,
``network_s`` or ``duration_s`` (:data:`CLOCKED`), in a process and in two containers side by side,
:data:`REPEATS` times a block. What threads of the kernel do for them is not in ``work_cpu_s``; the
program itself reads the clock. The process and a container's writable layer write to one file
system; where they do not, the process's rows fail. A VM of its own does the same writes on a virtio
and on an IDE disk, each with a new ext4 file system: files of this computer, to which QEMU passes
every flush (``cache=writeback``).
"""

from __future__ import annotations

import functools
import platform
import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field, replace

from vmcompare.engines.programs import touch_and_free, workload
from vmcompare.engines.programs.touch_and_free import ASKS, FREED, TOUCHED
from vmcompare.errors import AbnormalShutdown, LaunchFailure, Unavailable, WaitTimeout
from vmcompare.evidence.recording import Measurement
from vmcompare.evidence.units import MIB, NS_PER_S
from vmcompare.measuring import memory
from vmcompare.measuring.experiment import (
    FAILURES,
    Context,
    Experiment,
    blank,
    failed,
    filled,
    or_failed,
)
from vmcompare.sandbox import (
    Balloon,
    Confinement,
    Follower,
    Launcher,
    Machine,
    Platform,
    Resizable,
    Sandbox,
    Series,
    Spec,
)

GIVEN_MIB, TAKEN_MIB = 1024, 200
"""Memory that an instance is given, and what the program takes of it."""

BEFORE_S, HELD_S, AFTER_S = 2, 6, 6
"""When the program takes memory, how long it keeps it, and how long is looked at what follows."""

EVERY_S = 0.5
_LATE_S = 60.0  # for the program's last word, beyond the moment it is due

BALLOON_MIB, LOWER_MIB, TOO_LOW_MIB, SPARE_MIB = 256, 512, 128, 256
"""Limits that are asked for: by the balloon; of a container, above and below what it uses; what is
plugged into a VM by virtio-mem."""

OVER_TIME, BEFORE, PEAK, AFTER = "over time", "before", "peak", "freed"
BALLOON, REPORTING = "-balloon", "-page-reporting"

_PROGRAM, _WORK = "/tmp/vmcompare-taker", "/tmp/vmcompare-work"


@dataclass(frozen=True, slots=True)
class Arm:
    """One kind of instance; ``suffix`` ends the phases of its rows."""

    series: Series
    spec: Spec
    what: str = ""
    suffix: str = ""


_DISKS = Spec(machine=Machine.PC, vcpus=2, disk_mib=64, ide_disk_mib=64)
_VM, _GIVEN = Series(Platform.VM, Machine.Q35), Spec(memory_mib=GIVEN_MIB)
_IN_A_VM = replace(_GIVEN, machine=Machine.Q35)
ARMS = (
    Arm(Series(Platform.PROCESS), _GIVEN),
    Arm(Series(Platform.CONTAINER), _GIVEN),
    Arm(_VM, replace(_IN_A_VM, balloon=Balloon.PLAIN)),
    Arm(_VM, replace(_IN_A_VM, balloon=Balloon.PAGE_REPORTING), ", free-page reporting", REPORTING),
    Arm(_VM, replace(_IN_A_VM, spare_mib=SPARE_MIB), ", virtio-mem"),
    Arm(Series(Platform.VM, Machine.PC), _DISKS, ", two disks"),
)

WRITES, LOOPBACK = "writes with fsync", "loopback network"
NO_FILTER, VOLUME, IDE = ", no filter", ", volume", ", IDE disk"
"""End the phases of a container's work that runs without seccomp, or writes to a volume; and of a
VM's that writes to another disk than a virtio one."""

WRITTEN = 200  # times 4 KiB
_VOLUME, _TEXT = "/vmcompare-volume", "/tmp/vmcompare-text"
_BUSYBOX = ("/lib/ld-musl-x86_64.so.1", "/bin/busybox")  # the userland's, on every platform
WORK: Mapping[str, tuple[str, ...]] = {
    "computing": ("c", "50000000", "report"),
    "gzip": ("x", "1", *_BUSYBOX, "gzip", "-c", _TEXT),
    "system calls": ("s", "2000000", "report"),
    "fork and exec": ("f", "2000", "report"),
    WRITES: ("d", f"{WRITTEN}", "/tmp/vmcompare-file"),
    LOOPBACK: ("n", "8000", "report"),
    WRITES + VOLUME: ("d", f"{WRITTEN}", f"{_VOLUME}/file"),
}
"""Piece of work → the program's arguments: a few tenths of a second on a present-day host."""

ON_DISKS = {WRITES: ("/dev/vdb", "/tmp"), WRITES + IDE: ("/dev/sda", "/vmcompare-ide")}
"""What the VM does → its disk, and the folder in which that is."""

_MOUNT = 'mkfs.ext4 -qE lazy_itable_init=0 "$1" && mkdir -p "$2" && mount "$1" "$2"'

CLOCKED = {
    WRITES: "disk_s", WRITES + VOLUME: "duration_s", WRITES + IDE: "duration_s",
    LOOPBACK: "network_s",
}  # fmt: skip
"""Phase → metric of its time by the clock. Claims are about ``disk_s``, so that has one disk."""

REPEATS = 5


def measure(context: Context) -> Iterator[Measurement]:
    """Rows of every step as they are made. A step that fails is a row; the run goes on."""
    for block, order, step in context.steps([*plan(context)]):
        if step is None:
            yield from _work(context, block, order)
            continue
        launcher = context.launcher(step.series)
        assert launcher is not None  # plan() holds only what can be launched
        row = blank(
            launcher, step.series.platform, step.spec, "host_bytes", phase=AFTER + step.suffix,
            block=block, order_in_block=order,
        )  # fmt: skip
        if step.spec.spare_mib:
            row = replace(row, metric="observation", phase="virtio-mem")
        elif step.spec.disk_mib:
            row = replace(row, metric="disk_s", phase=WRITES)
        yield from or_failed(_arm(context, step, launcher, row), row)


def plan(context: Context) -> Iterator[tuple[str, tuple[int, int, Arm | None]]]:
    """Words, and (block, place in it, arm; ``None``: the work), shuffled by the seed."""
    chance = random.Random(context.seed)
    steps: list[Arm | None] = [arm for arm in ARMS if context.launcher(arm.series)]
    if Platform.PROCESS in context.launchers:
        steps.append(None)
    for block in range(context.rounds):
        for order, step in enumerate(chance.sample(steps, len(steps))):
            yield f"{step.series.label}{step.what}" if step else "work", (block, order, step)


# ---- memory -------------------------------------------------------------------------------------


@dataclass(slots=True)
class Watch:
    """What the host pays for an instance, half second by half second."""

    read: Callable[[], int]
    row: Measurement
    began_ns: int = field(default_factory=time.perf_counter_ns)
    said: dict[bytes, int] = field(default_factory=dict)
    samples: list[tuple[int, int, int]] = field(default_factory=list)

    def hear(self, piece: bytes, t_ns: int) -> None:
        """Letters of the program that takes memory."""
        for letter in piece:
            self.said.setdefault(bytes([letter]), t_ns)

    def until(self, done: Callable[[], bool], phase: str) -> Iterator[Measurement]:
        """A row now and every half second, the last one once ``done``."""
        while True:
            last = done()
            before_ns = time.perf_counter_ns()
            value = self.read()
            self.samples.append((before_ns, time.perf_counter_ns(), value))
            tenths = round((before_ns - self.began_ns) / NS_PER_S * 10)
            yield filled(self.row, float(value), phase=phase, rep=tenths)
            if last:
                return
            time.sleep(EVERY_S)

    @property
    def before(self) -> int:
        """The last value before the program took memory. Raises ``Unavailable``, as ``peak``."""
        return self._last(self.began_ns, self.said[ASKS])

    @property
    def peak(self) -> int:
        """The last value while it held its memory."""
        return self._last(self.said[TOUCHED], self.said[FREED])

    @property
    def after(self) -> int:
        return self.samples[-1][2]

    def _last(self, first_ns: int, last_ns: int) -> int:
        found = [
            v for start_ns, end_ns, v in self.samples if first_ns <= start_ns <= end_ns <= last_ns
        ]
        if not found:
            raise Unavailable("the program took its memory too slowly", "close other programs")
        return found[-1]

    def returned(self, phase: str) -> Iterator[Measurement]:
        """What the host pays now, and the share that came back."""
        yield filled(self.row, float(self.after), phase=phase)
        if self.peak <= self.before:
            raise Unavailable("the host did not see the memory that was taken", "try again")
        share = (self.peak - self.after) / (self.peak - self.before)
        yield filled(self.row, share, metric="returned_ratio", phase=phase)


def _arm(context: Context, arm: Arm, launcher: Launcher, row: Measurement) -> Iterator[Measurement]:
    with launcher.open(arm.spec, context.on_event) as box:
        if arm.spec.spare_mib:
            yield from _plugged(box, row)
            return
        if arm.spec.disk_mib:
            yield from _on_disks(box, row, random.Random(f"{context.seed} {row.block}"))
            return
        assert isinstance(box, Follower)
        box.put(_PROGRAM, touch_and_free.elf(platform.machine()))
        watch = Watch(lambda: host_bytes(box, row), row)
        yield from _taken(box, watch, arm.suffix)
        if arm.spec.balloon is Balloon.PLAIN:
            inflated = replace(row, phase=AFTER + BALLOON)
            yield from or_failed(_balloon(box, watch), inflated)
        elif row.platform is Platform.CONTAINER:
            asked = replace(row, metric="observation", phase="limits")
            yield from or_failed(_limits(box, row), asked)


def host_bytes(box: Sandbox, row: Measurement) -> int:
    """What the host pays for an instance now. Raises ``Unavailable``."""
    pids = memory.serving(box)
    if row.platform.is_vm:
        ram_bytes = row.mem_limit_mib * MIB
        return memory.vm_parts(pids, ram_bytes=ram_bytes, emulated=row.emulated).pss_bytes
    return memory.pss_bytes(pids)


def _taken(box: Follower, watch: Watch, suffix: str) -> Iterator[Measurement]:
    """The program's whole course, and what the moments of it come to."""
    argv = (_PROGRAM, *map(str, (TAKEN_MIB, BEFORE_S, HELD_S)))
    watch.began_ns = time.perf_counter_ns()
    with box.follow(argv, watch.hear) as heard:

        def over() -> bool:
            now_ns, freed_ns = time.perf_counter_ns(), watch.said.get(FREED)
            if freed_ns is not None:
                return now_ns > freed_ns + AFTER_S * NS_PER_S
            if heard.ended_ns() is not None:
                raise AbnormalShutdown("the program that takes memory was ended")
            if now_ns > watch.began_ns + (BEFORE_S + HELD_S + _LATE_S) * NS_PER_S:
                raise WaitTimeout("the program that takes memory", _LATE_S)
            return False

        yield from watch.until(over, OVER_TIME + suffix)
    row = watch.row
    yield filled(row, float(watch.before), phase=BEFORE + suffix)
    yield filled(row, float(watch.peak), phase=PEAK + suffix)
    yield from watch.returned(AFTER + suffix)
    share = watch.before / (row.mem_limit_mib * MIB)
    yield filled(row, share, metric="host_bytes_to_limit_ratio", phase="start" + suffix)


def _balloon(box: Sandbox, watch: Watch) -> Iterator[Measurement]:
    """Inflate the balloon while the host's memory is watched, then ask for more than was given."""
    asked = _resized(watch.row, box, "balloon", GIVEN_MIB, BALLOON_MIB)
    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(list, asked)
        yield from watch.until(asking.done, OVER_TIME + BALLOON)
        rows = asking.result()
    yield from watch.returned(AFTER + BALLOON)
    yield from rows
    yield from _resized(watch.row, box, "balloon", BALLOON_MIB, 2 * GIVEN_MIB)


# ---- limits -------------------------------------------------------------------------------------

QUOTA, THROTTLE_S = 0.2, 2.0
_STAT = "cat /sys/fs/cgroup/cpu.stat 2>/dev/null || cat /sys/fs/cgroup/cpu/cpu.stat"
_BUSY = ("sh", "-c", "while :; do :; done")
PUT_TO_USE = "inside: put it to use"
_ONLINE = "for m in /sys/devices/system/memory/memory*/state; do echo online > $m; done"


def _read(box: Sandbox, line: str) -> str:
    return box.run(["sh", "-c", line]).output.decode(errors="replace").strip()


def _total(box: Sandbox) -> str:
    return f"{int(_read(box, 'grep MemTotal /proc/meminfo').split()[1]) // 1024} MiB"


def _processors(box: Sandbox) -> str:
    return f"{_read(box, 'nproc')} processors"


def _asked(
    row: Measurement, box: Sandbox, asked: str, act: Callable[[], str],
    see: Callable[[Sandbox], str] = _total,
) -> Iterator[Measurement]:  # fmt: skip
    """How long ``act`` takes; then what came of it, and what is seen inside before and after."""
    before, began_s = see(box), time.perf_counter()
    what = act()
    yield filled(row, time.perf_counter() - began_s, metric="duration_s", phase=asked)
    text = f"{what} | {before.partition(' ')[0]} → {see(box)}"
    yield filled(row, 1.0, metric="observation", phase=asked, text=text)


def _resized(
    row: Measurement, box: Sandbox, by: str, was_mib: int, memory_mib: int, more: str = ""
) -> Iterator[Measurement]:
    """Ask for another limit of memory."""
    assert isinstance(box, Resizable)

    def act() -> str:
        try:
            return f"{box.resize(memory_mib)} MiB"
        except LaunchFailure:
            if row.platform.is_vm:
                raise
            return "refused"

    yield from _asked(row, box, f"{by}: {was_mib} → {memory_mib} MiB{more}", act)


def _plugged(box: Sandbox, row: Measurement) -> Iterator[Measurement]:
    """Memory is plugged into a VM, put to use by root inside, and asked back."""
    more_mib = GIVEN_MIB + SPARE_MIB

    def put_to_use() -> str:
        _read(box, _ONLINE)
        return f"{more_mib} MiB"

    yield from _resized(row, box, "virtio-mem", GIVEN_MIB, more_mib)
    yield from _asked(row, box, PUT_TO_USE, put_to_use)
    yield from _resized(row, box, "virtio-mem", more_mib, GIVEN_MIB)


def _limits(box: Sandbox, row: Measurement) -> Iterator[Measurement]:
    """A container's limits: memory above and below what is in use, and processor time."""
    assert isinstance(box, Resizable)
    assert isinstance(box, Follower)
    yield from _resized(row, box, "update", GIVEN_MIB, LOWER_MIB)
    touched, program = threading.Event(), (_PROGRAM, str(TAKEN_MIB), "0", "30")
    with box.follow(program, lambda said, _: touched.set() if TOUCHED in said else None) as held:
        touched.wait(_LATE_S)
        in_use = f", {TAKEN_MIB} in use"
        took, seen = _resized(row, box, "update", LOWER_MIB, TOO_LOW_MIB, in_use)
        yield took
        yield replace(seen, text=f"program killed, {seen.text}") if held.wait(1.0) else seen

    def limit() -> str:
        box.limit_processors(QUOTA)
        return ""

    with box.follow(_BUSY, lambda _piece, _t: None):
        asked = f"update: {row.vcpus} → {QUOTA:g} processors"
        took, seen = _asked(row, box, asked, limit, _processors)
        share = _throttled(box)
    yield filled(row, share, metric="throttled_ratio", phase=f"limit {QUOTA:g}")
    yield took
    yield replace(seen, text=f"throttled in {share:.0%} of its periods{seen.text}")


def _throttled(box: Sandbox) -> float:
    """Share of its periods in which the kernel stops a busy container. Raises ``Unavailable``."""

    def counts() -> tuple[int, int]:
        words = _read(box, _STAT).split()
        found = dict(zip(words[::2], words[1::2], strict=True))
        return int(found["nr_periods"]), int(found["nr_throttled"])

    try:
        before = counts()
        time.sleep(THROTTLE_S)
        periods, throttled = (b - a for a, b in zip(before, counts(), strict=True))
        return throttled / periods
    except (KeyError, ValueError, ZeroDivisionError) as error:
        what = "the container cannot read how often it was throttled"
        raise Unavailable(what, "replay a recording") from error


# ---- work ---------------------------------------------------------------------------------------


@functools.cache
def _text() -> bytes:
    """4 MiB of made-up words for gzip, the same every time: more than it looks back are new."""
    chance = random.Random(1)
    words = [f"{n * n % 99991:x}" for n in range(2000)]
    said = " ".join(words[int(len(words) * chance.random() ** 3)] for _ in range(60_000))
    return (said * 16).encode()[: 4 * MIB]


def _work(context: Context, block: int, order: int) -> Iterator[Measurement]:
    """The same work in a process and in two containers, one with the usual filter, interleaved."""
    wanted = (
        (Platform.PROCESS, Spec(vcpus=2)),
        (Platform.CONTAINER, Spec(vcpus=2, volume=_VOLUME)),
        (Platform.CONTAINER, Spec(vcpus=2, confinement=Confinement.NO_SECCOMP)),
    )
    chance = random.Random(f"{context.seed} {block}")
    with ExitStack() as stack:
        places: list[tuple[Spec, Measurement, Sandbox]] = []
        disks = set()
        for one, spec in wanted:
            launcher = context.launchers.get(one)
            if launcher is None:
                continue
            free = spec.confinement is Confinement.NO_SECCOMP
            row = blank(
                launcher, one, spec, "work_cpu_s", block=block, order_in_block=order,
                confinement=str(spec.confinement) if free else "",
            )  # fmt: skip
            try:
                box = stack.enter_context(launcher.open(spec, context.on_event))
                box.put(_WORK, workload.elf(platform.machine()))
                box.put(_TEXT, _text())
                for piece in (WRITES, WRITES + VOLUME) if spec.volume else (WRITES,):
                    box.put(WORK[piece][-1], b"")
                # Of a container its volume's disk: its layer has another number than that below it.
                disk = box.run(("stat", "-c", "%d", WORK[piece][-1])).output
            except FAILURES as problem:
                yield failed(row, str(problem), phase="computing")
            else:
                places.append((spec, row, box))
                disks.update([] if free else [disk])
        for rep in range(REPEATS):
            for piece, argv in WORK.items():
                doing = [place for place in places if place[0].volume or VOLUME not in piece]
                for _, row, box in chance.sample(doing, len(doing)):
                    apart = len(disks) > 1 and piece == WRITES and row.platform is Platform.PROCESS
                    phase = piece + NO_FILTER * bool(row.confinement)
                    yield from _rows(replace(row, phase=phase, rep=rep), box, argv, apart=apart)


def _on_disks(box: Sandbox, row: Measurement, chance: random.Random) -> Iterator[Measurement]:
    """The writes on a VM's two disks, interleaved."""
    for disk, folder in ON_DISKS.values():
        made = box.run(["sh", "-c", _MOUNT, "sh", disk, folder])
        if made.exit_code:
            said = made.output.decode(errors="replace")
            raise LaunchFailure("no file system could be made", ("mkfs.ext4", disk), said)
    box.put(_WORK, workload.elf(platform.machine()))
    for rep in range(REPEATS):
        for piece in chance.sample([*ON_DISKS], len(ON_DISKS)):
            argv = (*WORK[WRITES][:2], f"{ON_DISKS[piece][1]}/file")
            done = replace(row, metric="work_cpu_s", phase=piece, rep=rep)
            yield from _rows(done, box, argv)


def _rows(
    row: Measurement, box: Sandbox, work: Sequence[str], *, apart: bool = False
) -> Iterator[Measurement]:
    """Of one piece of work; ``apart``: the process writes to another disk than the containers."""
    expected = [row]
    if row.phase in CLOCKED:
        expected.append(replace(row, metric=CLOCKED[row.phase]))

    def made() -> Iterator[Measurement]:
        if apart:
            what = "the process writes to another file system than Docker"
            raise Unavailable(what, "name a directory of the same one in TMPDIR")
        argv = (_WORK, *work)
        try:
            spent = workload.spent(box.run(argv).output)
        except ValueError as problem:
            raise LaunchFailure("the known work could not be done", argv, str(problem)) from problem
        for one, value in zip(expected, (spent.cpu_s, spent.wall_s), strict=False):
            yield filled(one, value)

    yield from or_failed(made(), *expected)


EXPERIMENT = Experiment(
    name="elasticity",
    question="Who gives memory back, and who notices a limit?",
    platforms=tuple(dict.fromkeys(arm.series.platform for arm in ARMS)),
    measure=measure,
    rounds=3,
)
