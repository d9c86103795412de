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
``-page-reporting``. From these come ``returned_ratio``, (peak − freed) ÷ (peak − before), with the
phases of ``freed``; and ``host_bytes_to_limit_ratio``, phase ``start``, of ``before``.

**Limits.** What was asked stands in ``phase``: ``duration_s`` is how long the asking took,
``observation`` has in ``text`` what came of it, as :data:`SEEN` puts it. ``throttled_ratio`` says
in which share of its periods the kernel stopped a busy loop, before and after a limit. A VM of its
own is given more memory than it was started with (virtio-mem): its kernel has to be told at the
start how much there may be, and then sets up other tables than that of the VM with a balloon.

**Work.** ``work_cpu_s``: processor seconds that the kernel charged one program for a known piece of
work (``phase``), in a process and in containers side by side, :data:`REPEATS` times a block. What
threads of the kernel do for it is not in it. Of two pieces the clock's time is recorded as well,
waiting included, in a process and in a container as Docker starts it. The program reads the clock
itself, so that nothing of its own start or end is in it:

``disk_s``
    200 times 4 KiB are appended to a file, each followed by ``fsync``. The process's file and the
    container's writable layer lie on one file system; where they do not, the process's rows fail.
``network_s``
    500 MiB go through a TCP connection of 127.0.0.1, from one process to another of the same
    network namespace: the host's, or one that the container has for itself.
"""

from __future__ import annotations

import platform
import random
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
    balloon: Balloon = Balloon.NONE
    suffix: str = ""
    spare_mib: int = 0

    @property
    def label(self) -> str:
        """``"vm (q35), free-page reporting"``."""
        what = "virtio-mem" if self.spare_mib else str(self.balloon) if self.suffix else ""
        return f"{self.series.label}{', ' * bool(what)}{what}"

    @property
    def spec(self) -> Spec:
        return Spec(
            machine=self.series.machine, memory_mib=GIVEN_MIB, balloon=self.balloon,
            spare_mib=self.spare_mib,
        )  # fmt: skip


ARMS = (
    Arm(Series(Platform.PROCESS)),
    Arm(Series(Platform.CONTAINER)),
    Arm(Series(Platform.VM, Machine.Q35), Balloon.PLAIN),
    Arm(Series(Platform.VM, Machine.Q35), Balloon.PAGE_REPORTING, REPORTING),
    Arm(Series(Platform.VM, Machine.Q35), spare_mib=SPARE_MIB),
)

WRITES, LOOPBACK = "writes with fsync", "loopback network"
WORK: Mapping[str, tuple[str, str, str]] = {
    "computing": ("c", "50000000", "report"),
    "system calls": ("s", "2000000", "report"),
    "fork and exec": ("f", "2000", "report"),
    WRITES: ("d", "200", "/tmp/vmcompare-file"),
    LOOPBACK: ("n", "8000", "report"),
}
"""Piece of work → the program's arguments: a few tenths of a second on a present-day host."""

CLOCKED = {WRITES: "disk_s", LOOPBACK: "network_s"}

NO_FILTER, VOLUME = ", no filter", ", volume"
"""End the phases of a container's work that runs without seccomp, or writes to a volume."""

_VOLUME = "/vmcompare-volume"
_ON_VOLUME = ("d", "200", f"{_VOLUME}/file")

REPEATS = 5


def measure(context: Context) -> Iterator[Measurement]:
    """Rows of every step as they are made. A step that fails is a row; the run goes on."""
    for block, order, step in context.steps([(words, step) for words, step in plan(context)]):
        if step is None:
            yield from _work(context, block, order)
            continue
        launcher = context.launcher(step.series)
        assert launcher is not None  # plan() holds only what can be launched
        place = {"block": block, "order_in_block": order, "phase": AFTER + step.suffix}
        row = blank(launcher, step.series.platform, step.spec, "host_bytes", **place)
        if step.spare_mib:
            row = replace(row, metric="observation", phase="virtio-mem")
            yield from or_failed(_plugged(context, step, launcher, row), row)
        else:
            yield from or_failed(_arm(context, step, launcher, row), row)


def plan(context: Context) -> Iterator[tuple[str, tuple[int, int, Arm | None]]]:
    """Words, and (block, place in it, arm; ``None``: the work), shuffled by the seed."""
    chance = random.Random(context.seed)
    steps: list[Arm | None] = [arm for arm in ARMS if context.launcher(arm.series)]
    if Platform.PROCESS in context.launchers:
        steps.append(None)
    for block in range(context.rounds):
        for order, step in enumerate(chance.sample(steps, len(steps))):
            yield (step.label if step else "work"), (block, order, step)


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

    def between(self, first_ns: int, last_ns: int) -> int:
        """The last value read from first to last. Raises ``Unavailable`` where there is none."""
        found = [
            v for start_ns, end_ns, v in self.samples if first_ns <= start_ns <= end_ns <= last_ns
        ]
        if not found:
            raise Unavailable("the program took its memory too slowly", "close other programs")
        return found[-1]


def _arm(context: Context, arm: Arm, launcher: Launcher, row: Measurement) -> Iterator[Measurement]:
    with launcher.open(arm.spec, context.on_event) as box:
        assert isinstance(box, Follower)
        box.put(_PROGRAM, touch_and_free.elf(platform.machine()))
        watch = Watch(lambda: host_bytes(box, row), row)
        total_mib = _total_mib(box) if arm.balloon is Balloon.PLAIN else 0
        yield from _taken(box, watch, arm.suffix)
        if arm.balloon is Balloon.PLAIN:
            inflated = replace(row, phase=AFTER + BALLOON)
            yield from or_failed(_balloon(box, watch, total_mib), inflated)
        elif arm.series == Series(Platform.CONTAINER):
            asked = replace(row, metric="observation", phase="limits")
            yield from or_failed(_limits(box, row), asked)


def host_bytes(box: Sandbox, row: Measurement) -> int:
    """What the host pays for an instance now. Raises ``Unavailable``."""
    pids = memory.serving(box)
    if row.platform.is_vm:
        ram_bytes = row.mem_limit_mib * MIB
        return memory.vm_parts(pids, ram_bytes=ram_bytes, emulated=row.accel == "tcg").pss_bytes
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
    said, row = watch.said, watch.row
    before = watch.between(0, said[ASKS])
    peak = watch.between(said[TOUCHED], said[FREED])
    after = watch.samples[-1][2]
    for phase, value in ((BEFORE, before), (PEAK, peak), (AFTER, after)):
        yield filled(row, float(value), phase=phase + suffix)
    yield _returned(row, before, peak, after, AFTER + suffix)
    share = before / (row.mem_limit_mib * MIB)
    yield filled(row, share, metric="host_bytes_to_limit_ratio", phase="start" + suffix)


def _returned(row: Measurement, before: int, peak: int, after: int, phase: str) -> Measurement:
    if peak <= before:
        raise Unavailable("the host did not see the memory that was taken", "try again")
    share = (peak - after) / (peak - before)
    return filled(row, share, metric="returned_ratio", phase=phase)


def _balloon(box: Sandbox, watch: Watch, total_mib: int) -> Iterator[Measurement]:
    """Inflate the balloon while the host's memory is watched, then ask for more than was given."""
    assert isinstance(box, Resizable)
    row = watch.row
    before = watch.between(0, watch.said[ASKS])
    peak = watch.between(watch.said[TOUCHED], watch.said[FREED])
    with ThreadPoolExecutor(1) as pool:
        asked_s = time.perf_counter()
        asking = pool.submit(box.resize, BALLOON_MIB)
        settled: list[float] = []
        asking.add_done_callback(lambda _: settled.append(time.perf_counter()))
        yield from watch.until(asking.done, OVER_TIME + BALLOON)
        got_mib = asking.result()
    after = watch.samples[-1][2]
    yield filled(row, float(after), phase=AFTER + BALLOON)
    yield _returned(row, before, peak, after, AFTER + BALLOON)
    asked = f"balloon: {GIVEN_MIB} → {BALLOON_MIB} MiB"
    seen = f"{_total_mib(box)} MiB"
    yield from _came(row, asked, settled[0] - asked_s, f"{got_mib} MiB", total_mib, seen)
    yield from _asked(row, box, f"balloon: {BALLOON_MIB} → {2 * GIVEN_MIB} MiB", 2 * GIVEN_MIB)


# ---- limits -------------------------------------------------------------------------------------

SEEN = "{what} | {before} → {after}"
"""Text of an observation: what came of it, and what a program inside sees before and after."""

QUOTA = 0.2
THROTTLE_S = 2.0
_STAT = "cat /sys/fs/cgroup/cpu.stat 2>/dev/null || cat /sys/fs/cgroup/cpu/cpu.stat"
_BUSY = ("sh", "-c", "while :; do :; done")


def _total_mib(box: Sandbox) -> int:
    return int(_read(box, "grep MemTotal /proc/meminfo").split()[1]) // 1024


def _read(box: Sandbox, line: str) -> str:
    return box.run(["sh", "-c", line]).output.decode(errors="replace")


def _came(
    row: Measurement, asked: str, took_s: float, what: str, before: object, after: object
) -> Iterator[Measurement]:
    text = SEEN.format(what=what, before=before, after=after)
    yield filled(row, took_s, metric="duration_s", phase=asked)
    yield filled(row, 1.0, metric="observation", phase=asked, text=text)


def _asked(row: Measurement, box: Sandbox, asked: str, memory_mib: int) -> Iterator[Measurement]:
    """Ask for a limit of memory, and tell what is then in force and what is seen inside."""
    assert isinstance(box, Resizable)
    total_mib, began_s = _total_mib(box), time.perf_counter()
    try:
        what = f"{box.resize(memory_mib)} MiB"
    except LaunchFailure:
        what = "refused"
    took_s = time.perf_counter() - began_s
    yield from _came(row, asked, took_s, what, f"{total_mib}", f"{_total_mib(box)} MiB")


_ONLINE = "for m in /sys/devices/system/memory/memory*/state; do echo online > $m; done"


def _plugged(
    context: Context, arm: Arm, launcher: Launcher, row: Measurement
) -> Iterator[Measurement]:
    """Memory is plugged into a VM of its own, put to use by root inside, and asked back."""
    more_mib = GIVEN_MIB + arm.spare_mib
    with launcher.open(arm.spec, context.on_event) as box:
        yield from _asked(row, box, f"virtio-mem: {GIVEN_MIB} → {more_mib} MiB", more_mib)
        total_mib, began_s = _total_mib(box), time.perf_counter()
        _read(box, _ONLINE)
        took_s = time.perf_counter() - began_s
        seen = f"{_total_mib(box)} MiB"
        yield from _came(row, "inside: put it to use", took_s, f"{more_mib} MiB", total_mib, seen)
        yield from _asked(row, box, f"virtio-mem: {more_mib} → {GIVEN_MIB} MiB", GIVEN_MIB)


def _limits(box: Sandbox, row: Measurement) -> Iterator[Measurement]:
    """A container's limits: memory above and below what is in use, and processor time."""
    assert isinstance(box, Resizable)
    assert isinstance(box, Follower)
    yield from _asked(row, box, f"update: {GIVEN_MIB} → {LOWER_MIB} MiB", LOWER_MIB)
    touched: list[bytes] = []
    with box.follow(
        (_PROGRAM, str(TAKEN_MIB), "0", "30"), lambda piece, _: touched.append(piece)
    ) as held:
        deadline = time.monotonic() + _LATE_S
        while TOUCHED not in b"".join(touched) and time.monotonic() < deadline:
            time.sleep(0.05)
        asked = f"update: {LOWER_MIB} → {TOO_LOW_MIB} MiB, {TAKEN_MIB} in use"
        for one in _asked(row, box, asked, TOO_LOW_MIB):
            ended = one.text and held.wait(1.0)
            yield replace(one, text=f"program killed, {one.text}") if ended else one
    nproc = _read(box, "nproc").strip()
    with box.follow(_BUSY, lambda _piece, _t: None):
        yield _throttled(box, row, "without a limit")
        began_s = time.perf_counter()
        box.limit_processors(QUOTA)
        took_s = time.perf_counter() - began_s
        limited = _throttled(box, row, f"limit {QUOTA:g}")
        yield limited
    asked = f"update: {row.vcpus} → {QUOTA:g} processors"
    what = f"throttled in {limited.value or 0:.0%} of its periods"
    yield from _came(
        row, asked, took_s, what, f"{nproc}", f"{_read(box, 'nproc').strip()} processors"
    )


def _throttled(box: Sandbox, row: Measurement, phase: str) -> Measurement:
    """Share of the periods of its quota in which the kernel stopped the busy container."""
    before = _periods(box)
    time.sleep(THROTTLE_S)
    periods, throttled = (b - a for a, b in zip(before, _periods(box), strict=True))
    row = replace(row, metric="throttled_ratio", phase=phase)
    return filled(row, throttled / periods) if periods else failed(row, "no period went by")


def _periods(box: Sandbox) -> tuple[int, int]:
    words = _read(box, _STAT).split()
    try:
        found = dict(zip(words[::2], words[1::2], strict=True))
        return int(found["nr_periods"]), int(found["nr_throttled"])
    except (KeyError, ValueError) as error:
        raise Unavailable(
            "the container cannot read how often it was throttled", "replay a recording"
        ) from error


# ---- work ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Place:
    """Where work is done, and which; ``suffix`` ends the phases of its rows.

    ``disk`` is the number (``st_dev``) of the file system that its file lies on.
    """

    row: Measurement
    box: Sandbox
    work: Mapping[str, tuple[str, str, str]]
    suffix: str
    disk: bytes


def _place(
    row: Measurement, box: Sandbox, work: Mapping[str, tuple[str, str, str]], suffix: str
) -> _Place:
    box.put(_WORK, workload.elf(platform.machine()))
    file = work[WRITES][-1]
    box.put(file, b"")
    return _Place(row, box, work, suffix, box.run(("stat", "-c", "%d", file)).output)


def _work(context: Context, block: int, order: int) -> Iterator[Measurement]:
    """The same work in a process and in two containers, one with the usual filter, interleaved."""
    where = {"": Platform.PROCESS, VOLUME: Platform.CONTAINER, NO_FILTER: Platform.CONTAINER}
    chance = random.Random(f"{context.seed} {block}")
    with ExitStack() as stack:
        places: list[_Place] = []
        for name, one in where.items():
            launcher = context.launchers.get(one)
            if launcher is None:
                continue
            bare = name == NO_FILTER
            held = Confinement.NO_SECCOMP if bare else Confinement.DEFAULT
            spec = Spec(vcpus=2, confinement=held, volume=_VOLUME if name == VOLUME else "")
            row = blank(
                launcher, one, spec, "work_cpu_s", block=block, order_in_block=order,
                confinement=str(held) if bare else "",
            )  # fmt: skip
            try:
                box = stack.enter_context(launcher.open(spec, context.on_event))
                places.append(_place(row, box, WORK, NO_FILTER if bare else ""))
                if spec.volume:
                    places.append(_place(row, box, {WRITES: _ON_VOLUME}, VOLUME))
            except FAILURES as problem:
                yield failed(row, str(problem), phase="computing")
        # A container's own layer has another number than the disk it lies on; its volume has not.
        disks = {
            place.disk for place in places
            if place.suffix == VOLUME or place.row.platform is Platform.PROCESS
        }  # fmt: skip
        for rep in range(REPEATS):
            for piece in WORK:
                doing = [place for place in places if piece in place.work]
                for place in chance.sample(doing, len(doing)):
                    yield from _rows(place, piece, rep, apart=len(disks) > 1)


def _rows(place: _Place, piece: str, rep: int, *, apart: bool) -> Iterator[Measurement]:
    """Of one piece of work; ``apart``: the process writes to another disk than the containers."""
    row = replace(place.row, phase=piece + place.suffix, rep=rep)
    expected = [row]
    if piece in CLOCKED and not place.suffix:
        expected.append(replace(row, metric=CLOCKED[piece]))
    if apart and piece == WRITES and row.platform is Platform.PROCESS:
        why = "the process writes to another file system than Docker; name one of it in TMPDIR"
        yield from (failed(one, why) for one in expected)
    else:
        yield from or_failed(_spent(place, piece, expected), *expected)


def _spent(place: _Place, piece: str, expected: Sequence[Measurement]) -> Iterator[Measurement]:
    argv = (_WORK, *place.work[piece])
    try:
        spent = workload.spent(place.box.run(argv).output)
    except ValueError as problem:
        raise LaunchFailure("the known work could not be done", argv, str(problem)) from problem
    for row, value in zip(expected, (spent.cpu_s, spent.wall_s), strict=False):
        yield filled(row, value)


EXPERIMENT = Experiment(
    name="elasticity",
    question="Who gives memory back, and who notices a limit?",
    platforms=tuple(dict.fromkeys(arm.series.platform for arm in ARMS)),
    measure=measure,
    rounds=3,
)
