"""Memory on the host against the number of instances, and what else a guest system costs.

A **ramp** opens instance after instance of one series and measures all of them together at some N;
one block holds one ramp of each series and one direct-boot VM of each memory size, in shuffled
order. In rows of phase ``ramp``, ``block`` is the ramp, ``rep`` is N, and values are sums over the
N open instances: ``pss_bytes`` and ``overhead_bytes``. Rows of ``part_bytes`` have a part as phase
(:data:`PARTS`, and the engine's ``daemons``). Under emulation the emulator still holds
tables of the translator.

Beside ramps: ``pss_bytes`` of phases ``size`` (one ``vm-direct`` of each ``mem_limit_mib``),
``fresh`` and ``aged`` (a ``vm`` before and after it read a disk of twice its memory); and the fact
``container_daemons_cost_more_below_crossover``: whether daemons and the overhead of one container
exceed the overhead of one ``vm-direct`` on ``pc``.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace

from vmcompare.errors import LaunchFailure, Unavailable
from vmcompare.evidence.recording import Measurement
from vmcompare.evidence.units import MIB, size
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
    FIRST_BYTE_PROGRAM,
    Launcher,
    Machine,
    Platform,
    Sandbox,
    Series,
    Spec,
)

GUEST_RAM = "guest RAM"
BOOT_FILES = "kernel and RAM disk files"
EMULATOR = "emulator"
CODE_CACHE = "translator’s code cache"
SHIM = "shim and init"
WORKLOAD = "workload"
DAEMONS = "daemons"
"""The engine's daemons, which serve all containers together."""

PARTS = (SHIM, WORKLOAD, EMULATOR, BOOT_FILES, GUEST_RAM, CODE_CACHE)
"""Parts of an instance, in the order in which they are stacked."""

RAMPS: Mapping[Series, Sequence[int]] = {
    Series(Platform.CONTAINER): (1, 2, 4, 6, 8, 10),
    Series(Platform.VM_DIRECT, Machine.PC): (1, 2, 3),
    # Two points make a slope; a third boot in each ramp would cost a class a minute.
    Series(Platform.VM, Machine.Q35): (1, 2),
}
"""Series → the N at which it is weighed."""

SIZED = Series(Platform.VM_DIRECT, Machine.PC)
SIZES_MIB = (128, 256, 512, 1024)
"""What ``-m`` is given, in MiB, for ``pss_bytes`` of phase ``size``."""

SETTLE_S = 0.5
"""Seconds from the last start to weighing: shims give memory back, guests finish their boot."""

SPARE_BYTES = 512 * MIB
"""Memory of the host that no instance may use up."""

GIVE_UP_AFTER = 2
"""A series that failed this often is not tried again."""

_WORK = "sleep"
"""A program of the shared userland that every instance runs beside the first-byte program: an
application that only waits, of BusyBox and the C library, whose pages containers can share."""

_AGE_TIMEOUT_S = 180.0


Weight = Mapping[str, int]
"""What one instance costs the host: part (of :data:`PARTS`) → PSS in bytes. The workload of a VM is
within its guest RAM."""


def paid_bytes(weight: Weight) -> int:
    """``pss_bytes``: all but the translator's code cache, which exists under emulation only."""
    return sum(weight.values()) - weight.get(CODE_CACHE, 0)


def overhead_bytes(weight: Weight) -> int:
    """What manages the instance: shim and init, or the emulator."""
    return weight.get(SHIM, 0) + weight.get(EMULATOR, 0)


def weigh(box: Sandbox, spec: Spec, *, is_vm: bool, emulated: bool) -> Weight:
    """Weigh a running instance.

    A container's processes are told apart by the first word of their command lines: the workload is
    what this experiment started in it; all else (shim, PID 1, a monitor) manages it. A VM's one
    process is told apart by its mappings. Raises ``Unavailable``: its processes cannot be seen,
    read, or told apart.
    """
    pids = memory.serving(box)
    if is_vm:
        found = memory.vm_parts(pids, ram_bytes=spec.memory_mib * MIB, emulated=emulated)
        cache = {CODE_CACHE: found.code_cache} if found.code_cache else {}
        held = {EMULATOR: found.emulator, BOOT_FILES: found.boot_files, GUEST_RAM: found.guest_ram}
        return held | cache
    parts = {SHIM: 0, WORKLOAD: 0}
    words = {pid: memory.command_line(pid)[:1] for pid in pids}
    for pid, first in words.items():
        part = WORKLOAD if first in ((FIRST_BYTE_PROGRAM,), (_WORK,)) else SHIM
        parts[part] += memory.pss_bytes([pid])
    if (_WORK,) not in words.values():
        raise Unavailable(
            "the workload is not among the processes that serve it", "replay a recording"
        )
    return parts


def read_disk(box: Sandbox, least_bytes: int) -> None:
    """Let a guest read its whole disk, of ``least_bytes`` or more, through its page cache.

    Raises ``LaunchFailure``, ``WaitTimeout``: it could not, or not within three minutes.
    """
    size = ("cat", "/sys/block/vda/size")  # in sectors of 512 bytes
    sectors = _output(box, size).strip()
    if not sectors.isdigit() or int(sectors) * 512 < least_bytes:
        raise LaunchFailure(f"its disk has less than {least_bytes} bytes", size, sectors)
    _output(box, ("sh", "-c", "cat /dev/vda >/dev/null"), timeout_s=_AGE_TIMEOUT_S)


def _output(box: Sandbox, argv: Sequence[str], timeout_s: float = 60.0) -> str:
    done = box.run(argv, timeout_s=timeout_s)
    text = done.output.decode(errors="replace")
    if done.exit_code:
        raise LaunchFailure(f"{argv[0]} ended with {done.exit_code} inside", tuple(argv), text)
    return text


@dataclass(slots=True)
class Ramp:
    """One ramp, or one VM of a size, and its instances that are open.

    Attributes:
        launcher, series, block, order: what, in which block, at which place.
        ns: numbers of instances at which it is measured, rising.
        size_mib: memory to give, where it is no ramp.
        spec, row: set by :meth:`begin`.
    """

    launcher: Launcher
    series: Series
    block: int
    order: int
    ns: Sequence[int]
    size_mib: int | None
    spec: Spec = field(init=False)
    row: Measurement = field(init=False)
    boxes: list[Sandbox] = field(default_factory=list)
    weights: list[Weight] = field(default_factory=list)

    @property
    def kind(self) -> tuple[Series, int | None]:
        """What fails together: a guest that is too small says nothing about the ramp."""
        return self.series, self.size_mib

    def words(self, n: int) -> str:
        return f"{self.series.label} " + (f"with -m {self.size_mib}" if self.size_mib else f"× {n}")

    @property
    def is_vm(self) -> bool:
        """Whether each has a kernel of its own; if not, Docker's daemons serve all of them."""
        return self.series.platform.is_vm

    def begin(self) -> None:
        """See what is there before its first instance."""
        spec = Spec(machine=self.series.machine)
        self.spec = replace(spec, memory_mib=self.size_mib) if self.size_mib else spec
        self.row = blank(
            *(self.launcher, self.series.platform, self.spec, "pss_bytes"),
            phase="size" if self.size_mib else "ramp",
            block=self.block,
            order_in_block=self.order,
        )
        time.sleep(SETTLE_S)  # what the last ramp gave back has to arrive

    def grow(self, n: int, stack: ExitStack, context: Context) -> None:
        """Open instances until there are ``n``, and weigh all. Raises what launchers raise."""
        while len(self.boxes) < n:
            if self.is_vm and memory.available_bytes() < self.spec.memory_mib * MIB + SPARE_BYTES:
                raise Unavailable(
                    f"another guest of {self.spec.memory_mib} MiB would leave this computer "
                    "too little memory",
                    "close other programs",
                )
            box = stack.enter_context(self.launcher.open(self.spec, context.on_event))
            self.boxes.append(box)
            _output(box, ("sh", "-c", f"{_WORK} 86400 </dev/null >/dev/null 2>&1 &"))
        time.sleep(SETTLE_S)
        self.weights = [self.weigh(box) for box in self.boxes]

    def weigh(self, box: Sandbox) -> Weight:
        """What one of them costs now. Raises ``Unavailable``."""
        return weigh(box, self.spec, is_vm=self.is_vm, emulated=self.row.emulated)


Managed = dict[Series, tuple[Measurement, float]]
"""Series → a row of its first instance, and bytes of what manages that: for Docker, daemons too."""


def measure(context: Context) -> Iterator[Measurement]:
    """Rows of every step as it ends. A step that fails is a row; the run goes on.

    A series whose memory cannot be read from here is given up at once: a lesson then shows a
    recording of it, and no half of it.
    """
    failures: Counter[tuple[Series, int | None]] = Counter()
    managed: Managed = {}
    steps = [(ramp.words(n), (ramp, n)) for ramp in plan(context) for n in ramp.ns]
    with ExitStack() as stack:
        ended = ""
        for ramp, n in context.steps(steps):
            if n == ramp.ns[0]:
                ramp.begin()
                ended = ""
                if not ramp.is_vm:
                    yield _daemons(ramp.row, 0)
            row = replace(ramp.row, rep=n)
            last = n == ramp.ns[-1]
            if ended or failures[ramp.kind] >= GIVE_UP_AFTER:
                yield failed(row, ended or "not tried again after repeated failure")
            else:
                try:
                    ramp.grow(n, stack, context)
                    yield from _rows(row, ramp, managed)
                    if last and ramp.series.platform is Platform.VM:
                        old = replace(ramp.row, phase="aged")
                        yield from or_failed(_aged(old, ramp), old)
                except FAILURES as problem:
                    ended = str(problem)
                    # What cannot be seen or read from here would fail again.
                    lacking = isinstance(problem, Unavailable)
                    failures[ramp.kind] += GIVE_UP_AFTER if lacking else 1
                    yield failed(row, ended)
            if last or ended:
                try:
                    stack.close()
                except FAILURES as problem:
                    yield failed(row, f"while ending: {problem}")
                if fact := _fact(managed, ramp.block):
                    yield fact


def plan(context: Context) -> Iterator[Ramp]:
    """Per block each ramp and each size once, shuffled by the context's seed."""
    chance = random.Random(context.seed)
    wanted: list[tuple[Series, Sequence[int], int | None]]
    wanted = [(series, ns, None) for series, ns in RAMPS.items()]
    wanted += [(SIZED, (1,), mib) for mib in SIZES_MIB]
    for block in range(context.rounds):
        things = [(found, *w) for w in wanted if (found := context.launcher(w[0]))]
        chance.shuffle(things)
        for order, (launcher, series, ns, mib) in enumerate(things):
            yield Ramp(launcher, series, block, order, ns, mib)


def _rows(row: Measurement, ramp: Ramp, managed: Managed) -> Iterator[Measurement]:
    yield filled(row, float(sum(map(paid_bytes, ramp.weights))))
    if ramp.size_mib:
        return
    managing = float(sum(map(overhead_bytes, ramp.weights)))
    yield filled(row, managing, metric="overhead_bytes")
    if not ramp.is_vm:
        daemons = _daemons(row, row.rep)
        yield daemons
        if row.rep == 1 and daemons.value is not None:
            managed[row.series] = row, managing + daemons.value
    elif row.rep == 1:
        managed[row.series] = row, managing
    for part in ramp.weights[0]:
        total = float(sum(weight.get(part, 0) for weight in ramp.weights))
        yield filled(row, total, metric="part_bytes", phase=part)


def _daemons(row: Measurement, n: int) -> Measurement:
    row = replace(row, metric="part_bytes", phase=DAEMONS, rep=n)
    pids = memory.docker_daemons()
    if not pids:
        return failed(row, "the engine’s daemons cannot be seen from here")
    try:
        return filled(row, float(memory.pss_bytes(pids)))
    except Unavailable as problem:
        return failed(row, str(problem))


def _aged(row: Measurement, ramp: Ramp) -> Iterator[Measurement]:
    """One guest, before and after it read a disk of twice its memory."""
    box = ramp.boxes[0]
    yield filled(row, float(paid_bytes(ramp.weights[0])), phase="fresh")
    read_disk(box, 2 * ramp.spec.memory_mib * MIB)
    time.sleep(SETTLE_S)
    yield filled(row, float(paid_bytes(ramp.weigh(box))))


def _fact(managed: Managed, block: int) -> Measurement | None:
    """Once in a block, when both sides are weighed: do daemons and one container cost more?"""
    if not {Series(Platform.CONTAINER), SIZED} <= managed.keys():
        return None
    (row, engine), (vm, emulator) = managed[Series(Platform.CONTAINER)], managed[SIZED]
    if {row.block, vm.block} != {block}:
        return None
    managed.clear()
    return filled(
        row,
        float(engine > emulator),
        metric="fact",
        phase="container_daemons_cost_more_below_crossover",
        text=f"daemons and one shim {size(engine)}, one emulator {size(emulator)}",
    )


EXPERIMENT = Experiment(
    name="guest_os",
    question="What does a guest operating system cost per instance?",
    platforms=tuple(dict.fromkeys(series.platform for series in RAMPS)),
    measure=measure,
    rounds=3,
)
