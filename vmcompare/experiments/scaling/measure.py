"""N copies at the same moment, from each kind of start: how long, how much memory, how much work.

A **step** opens N copies of one cell at once and ends them again; a block holds every cell's steps,
cells in shuffled order, N rising. Whatever can be prepared is prepared first (a pre-created
container is created and attached); then all copies are let go together. Rows of a step (``phase``
is N as a word, ``"5"``):

``scale_wall_s``
    from the common start to the last copy's first byte.
``scale_each_s``
    from the common start to each copy's own first byte; ``rep`` is the copy.
``start_cpu_s``
    processor seconds of this host for each start: what serves the copy (shim and workload, or the
    emulator) with all it has ended, and for Docker its daemons with all they have ended, divided by
    N. Our own client is left out. The kernel counts in hundredths of a second.
``pss_bytes``, phase ``ramp``
    proportional set size of every process that serves a copy, all N together (``rep`` is N);
    without the translator's code cache, as in ``guest_os``.
``each_bytes``, phase ``first`` and ``last``
    what the first copy costs, and what one more costs from the last N but one to the last N.
``heal_s``, phase ``"2"``
    of 5 copies 2 are ended; from when that is noticed until 5 are there again.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from vmcompare.errors import Unavailable
from vmcompare.evidence.recording import Measurement
from vmcompare.evidence.units import MIB
from vmcompare.experiments.scaling.copies import Copies, copies
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
from vmcompare.sandbox import Launcher, Machine, Platform, Series, Spec, Start

MANY, FEW = (1, 2, 5, 10, 20), (1, 2, 5)

WANTED, KILLED = 5, 2
"""The N at which cells are compared by the rules, and how many of those are ended and replaced."""

SETTLE_S = 0.5
"""Seconds from the last first byte to weighing: shims give memory back, guests finish booting."""

SPARE_BYTES = 1024 * MIB
"""Memory of the host that no copy may use up."""

CLONE_BYTES = 128 * MIB
"""What a clone may come to hold of its own; seen here: 25 to 50 MiB."""

GIVE_UP_AFTER = 2
"""A cell that failed this often is not tried again."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One kind of copy: what, how warm, and how many at once."""

    series: Series
    start: Start
    ns: Sequence[int]

    @property
    def label(self) -> str:
        """``"container, pre-created"``."""
        return f"{self.series.label}, {self.start}"

    @property
    def spec(self) -> Spec:
        return Spec(machine=self.series.machine, start=self.start)

    def room_bytes(self, n: int) -> int:
        """Memory that ``n`` of them may come to hold; containers run nothing that takes any."""
        if not self.series.platform.is_vm:
            return 0
        return n * (CLONE_BYTES if self.start is Start.CLONE else self.spec.memory_bytes)


CELLS = (
    Cell(Series(Platform.CONTAINER), Start.COLD, MANY),
    Cell(Series(Platform.CONTAINER), Start.PRE_CREATED, MANY),
    Cell(Series(Platform.VM_DIRECT, Machine.PC), Start.CLONE, MANY),
    Cell(Series(Platform.VM_DIRECT, Machine.PC), Start.COLD, FEW),
    Cell(Series(Platform.VM, Machine.Q35), Start.COLD, FEW),
)
"""Cold beside cold, ready-made beside ready-made: comparing is fair within one kind of start."""


@dataclass(frozen=True, slots=True)
class Step:
    """One cell, N copies, in which block and at which place."""

    cell: Cell
    n: int
    block: int
    order: int
    is_warmup: bool = False


def measure(context: Context) -> Iterator[Measurement]:
    """Rows of every step as it ends. A step that fails is a row; the run goes on."""
    failures: Counter[Cell] = Counter()
    before: dict[Cell, tuple[int, float]] = {}
    for step in context.steps([(f"{s.cell.label} × {s.n}", s) for s in plan(context)]):
        cell = step.cell
        launcher = context.launcher(cell.series)
        assert launcher is not None  # plan() holds only what can be launched
        row = blank(
            launcher, cell.series.platform, cell.spec, "scale_wall_s", phase=str(step.n),
            block=step.block, order_in_block=step.order, is_warmup=step.is_warmup,
        )  # fmt: skip
        if failures[cell] >= GIVE_UP_AFTER:
            yield failed(row, "not tried again after repeated failure")
            continue
        try:
            for made in _rows(row, step, launcher):
                yield made
                if made.metric == "pss_bytes" and made.value is not None and not step.is_warmup:
                    yield from _each(made, step, before)
        except FAILURES as problem:
            lacking = isinstance(problem, Unavailable)
            failures[cell] += GIVE_UP_AFTER if lacking else 1
            yield failed(row, str(problem))


def plan(context: Context) -> Iterator[Step]:
    """A warm-up of each cell, then per block each cell's N, cells shuffled by the seed."""
    chance = random.Random(context.seed)
    here = [cell for cell in CELLS if context.launcher(cell.series)]
    for order, cell in enumerate(here):
        yield Step(cell, 1, 0, order, is_warmup=True)
    for block in range(context.rounds):
        shuffled = chance.sample(here, len(here))
        steps = [(cell, n) for cell in shuffled for n in cell.ns]
        for order, (cell, n) in enumerate(steps):
            yield Step(cell, n, block, order)


def _rows(row: Measurement, step: Step, launcher: Launcher) -> Iterator[Measurement]:
    if memory.available_bytes() < step.cell.room_bytes(step.n) + SPARE_BYTES:
        raise Unavailable(
            f"{step.n} of {step.cell.label} at once would leave this computer too little memory",
            "close other programs",
        )
    daemons = memory.docker_daemons() if step.cell.series == Series(Platform.CONTAINER) else ()
    used_s = _used_s(daemons)
    with copies(launcher, step.cell.spec) as made:
        yield filled(row, made.add(step.n))
        for number, copy in enumerate(made.here):
            yield filled(row, copy.start_s, metric="scale_each_s", rep=number)
        work = replace(row, metric="start_cpu_s")
        yield from or_failed(_work(work, made, daemons, used_s), work)
        weight = replace(row, metric="pss_bytes", phase="ramp", rep=step.n)
        yield from or_failed(_weight(weight, made), weight)
        if step.n == WANTED and not step.is_warmup:
            yield filled(row, made.heal(KILLED), metric="heal_s", phase=str(KILLED))


def _work(
    row: Measurement, made: Copies, daemons: Sequence[int], before_s: float
) -> Iterator[Measurement]:
    if row.platform is Platform.CONTAINER and not daemons:
        raise Unavailable("the engine’s daemons cannot be seen from here", "replay a recording")
    serving = [pid for pids in made.pids() for pid in pids]
    spent_s = _used_s(daemons) - before_s + _used_s(serving)
    yield filled(row, spent_s / len(made.here))


def _weight(row: Measurement, made: Copies) -> Iterator[Measurement]:
    time.sleep(SETTLE_S)
    if row.platform.is_vm:
        ram = row.mem_limit_mib * MIB
        parts = [
            memory.vm_parts(pids, ram_bytes=ram, emulated=row.emulated) for pids in made.pids()
        ]
        yield filled(row, float(sum(part.pss_bytes for part in parts)))
    else:
        yield filled(row, float(sum(memory.pss_bytes(pids) for pids in made.pids())))


def _each(
    row: Measurement, step: Step, before: dict[Cell, tuple[int, float]]
) -> Iterator[Measurement]:
    """What the first copy costs, and what one more costs between the two largest N of a block."""
    assert row.value is not None
    ns = step.cell.ns
    each = replace(row, metric="each_bytes", rep=0)
    if step.n == ns[0]:
        yield filled(each, row.value / step.n, phase="first")
    if len(ns) > 1 and step.n == ns[-2]:
        before[step.cell] = step.block, row.value
    if step.n == ns[-1] and before.get(step.cell, (-1, 0.0))[0] == step.block:
        more = row.value - before[step.cell][1]
        yield filled(each, more / (ns[-1] - ns[-2]), phase="last")


def _used_s(pids: Sequence[int]) -> float:
    """Processor seconds of processes and of all that they have waited for. ``Unavailable``."""
    return memory.cpu_s(pids, with_ended=True)


EXPERIMENT = Experiment(
    name="scaling",
    question="What does the N-th copy cost?",
    platforms=tuple(dict.fromkeys(cell.series.platform for cell in CELLS)),
    measure=measure,
    rounds=3,
)
