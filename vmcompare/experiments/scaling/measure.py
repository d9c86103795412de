"""N copies at the same moment, from each kind of start: how long, how much memory, how much work.

A **step** opens N copies of one cell at once and ends them again; a block holds every cell's steps,
cells in shuffled order, N rising. Whatever can be prepared is prepared first (a pre-created
container is created and attached); then all copies are let go together.

``phase`` of a step's rows is N (``"5"``). Of ``pss_bytes``, of all N together and without the
translator's code cache, it is ``ramp``, and ``rep`` is N. ``start_cpu_s`` has what serves a copy
and Docker's daemons, each with all it has ended, but not our own client; the kernel counts in
hundredths of a second.
"""

from __future__ import annotations

import itertools
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from vmcompare.errors import LaunchFailure, Unavailable
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
    Event,
    Launcher,
    Machine,
    Phase,
    Platform,
    Sandbox,
    Series,
    Spec,
    Start,
)

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

PATIENCE_S = 180.0
"""The longest wait for the others to be prepared; a launcher has shorter limits of its own."""

LEAVE_S = 30.0
"""The longest wait for copies to end. What is left then ends with the run: it is in the ledger."""


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


class Copy:
    """One instance, opened in a thread and kept there until it is told to leave.

    ``arrived`` is set once it is there (``box``; the times are 0 before) or has failed (``error``).
    """

    def __init__(self, launcher: Launcher, spec: Spec, ready: threading.Barrier) -> None:
        self.box: Sandbox | None = None
        self.started_ns = self.first_byte_ns = 0
        self.error = "it did not start"
        self._launcher, self._spec, self._ready = launcher, spec, ready
        self.arrived, self.leave = threading.Event(), threading.Event()
        # A thread that is still opening when the run is stopped must not keep the process alive.
        self.thread = threading.Thread(target=self._live, daemon=True)
        self.thread.start()

    @property
    def start_s(self) -> float:
        """From the common start to its first byte, in seconds."""
        return (self.first_byte_ns - self.started_ns) / NS_PER_S

    def _live(self) -> None:
        try:
            with self._launcher.open(self._spec, self._saw) as self.box:
                self.error = ""
                self.arrived.set()
                self.leave.wait()
        except FAILURES as problem:
            self.error = str(problem)
        except threading.BrokenBarrierError:
            self.error = "not started: another copy could not be prepared"
        finally:
            self.box = None
            if not self.started_ns:
                self._ready.abort()  # the others would wait for this one
            self.arrived.set()

    def _saw(self, event: Event) -> None:
        if event.phase is Phase.OPEN:
            self._ready.wait(PATIENCE_S)
            self.started_ns = time.perf_counter_ns()
        elif event.phase in (Phase.FIRST_BYTE, Phase.RESUMED):
            self.first_byte_ns = event.t_ns


class Copies:
    """The copies of one spec that are there, none at first; left as a context, all are ended."""

    def __init__(self, launcher: Launcher, spec: Spec) -> None:
        self.here: list[Copy] = []
        self._launcher, self._spec = launcher, spec

    def __enter__(self) -> Copies:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def add(self, n: int) -> float:
        """Open ``n`` more at once; seconds from the common start to the last one's first byte.

        Whatever is prepared beforehand (a pre-created container) is prepared for all of them, then
        all are let go together. Raises ``LaunchFailure``: one of them did not start; those that did
        are kept in ``here``.
        """
        ready = threading.Barrier(n)
        new = [Copy(self._launcher, self._spec, ready) for _ in range(n)]
        self.here += new
        for copy in new:
            copy.arrived.wait()
        if failed := [copy for copy in new if copy.error]:
            self.here = [copy for copy in self.here if not copy.error]
            why = failed[0].error
            raise LaunchFailure(f"{len(failed)} of {n} copies did not start: {why}", (), "")
        last_ns = max(copy.first_byte_ns for copy in new)
        return (last_ns - min(copy.started_ns for copy in new)) / NS_PER_S

    def end(self, n: int | None = None) -> None:
        """End ``n`` of them (all by default), and wait until they have gone."""
        leaving = self.here if n is None else self.here[:n]
        self.here = [copy for copy in self.here if copy not in leaving]
        for copy in leaving:
            copy.leave.set()
        deadline = time.monotonic() + LEAVE_S
        for copy in leaving:
            copy.thread.join(max(0.0, deadline - time.monotonic()))

    def heal(self, killed: int) -> float:
        """End some, then start what is missing, as an orchestrator does.

        Seconds from when the loss is noticed until as many are there as before.
        """
        wanted = len(self.here)
        self.end(killed)
        began_s = time.perf_counter()
        self.add(wanted - len(self.here))
        return time.perf_counter() - began_s

    def pids(self) -> tuple[int, ...]:
        """The processes of this host that serve them.

        Raises:
            Unavailable: they cannot be seen from here.
            AbnormalShutdown: one has gone.
        """
        boxes = [copy.box for copy in self.here if copy.box is not None]
        return tuple(pid for box in boxes for pid in memory.serving(box))


def measure(context: Context) -> Iterator[Measurement]:
    """Rows of every step as it ends. A step that fails is a row; the run goes on."""
    failures: Counter[Cell] = Counter()
    weights: dict[tuple[Cell, int], dict[int, float]] = {}
    steps = [(f"{cell.label} × {n}", (cell, n, place)) for cell, n, place in plan(context)]
    for cell, n, place in context.steps(steps):
        launcher = context.launcher(cell.series)
        assert launcher is not None  # plan() holds only what can be launched
        row = blank(
            launcher, cell.series.platform, cell.spec, "scale_wall_s", phase=str(n), **place
        )
        if failures[cell] >= GIVE_UP_AFTER:
            yield failed(row, "not tried again after repeated failure")
            continue
        try:
            for made in _rows(row, cell, n, launcher):
                yield made
                if made.metric == "pss_bytes" and made.value is not None and not row.is_warmup:
                    held = weights.setdefault((cell, row.block), {})
                    held[n] = made.value
                    yield from _each(made, cell.ns, held)
        except FAILURES as problem:
            failures[cell] += GIVE_UP_AFTER if isinstance(problem, Unavailable) else 1
            yield failed(row, str(problem))


def plan(context: Context) -> Iterator[tuple[Cell, int, dict[str, int]]]:
    """Cell, N and columns that say which step it is.

    A block has each cell's N, cells shuffled by the seed. A cell begins with one copy that does not
    count: the first container after a VM takes a tenth longer than the next one.
    """
    chance = random.Random(context.seed)
    here = [cell for cell in CELLS if context.launcher(cell.series)]
    for block in range(context.rounds):
        order = itertools.count()
        for cell in chance.sample(here, len(here)):
            for n, warmup in ((1, True), *((n, False) for n in cell.ns)):
                place = {"block": block, "order_in_block": next(order), "is_warmup": warmup}
                yield cell, n, place


def _rows(row: Measurement, cell: Cell, n: int, launcher: Launcher) -> Iterator[Measurement]:
    if memory.available_bytes() < cell.room_bytes(n) + SPARE_BYTES:
        raise Unavailable(
            f"{n} of {cell.label} at once would leave this computer too little memory",
            "close other programs",
        )
    daemons = memory.docker_daemons() if cell.series == Series(Platform.CONTAINER) else ()
    used_s = memory.cpu_s(daemons, with_ended=True)
    with Copies(launcher, cell.spec) as made:
        yield filled(row, made.add(n))
        for number, copy in enumerate(made.here):
            yield filled(row, copy.start_s, metric="scale_each_s", rep=number)
        work = replace(row, metric="start_cpu_s")
        yield from or_failed(_work(work, made, daemons, used_s), work)
        weight = replace(row, metric="pss_bytes", phase="ramp", rep=n)
        yield from or_failed(_weight(weight, made), weight)
        if n == WANTED:
            yield filled(row, made.heal(KILLED), metric="heal_s", phase=str(KILLED))


def _work(
    row: Measurement, made: Copies, daemons: Sequence[int], before_s: float
) -> Iterator[Measurement]:
    if row.platform is Platform.CONTAINER and not daemons:
        raise Unavailable("the engine’s daemons cannot be seen from here", "replay a recording")
    after_s = memory.cpu_s((*daemons, *made.pids()), with_ended=True)
    yield filled(row, (after_s - before_s) / len(made.here))


def _weight(row: Measurement, made: Copies) -> Iterator[Measurement]:
    time.sleep(SETTLE_S)
    pids = made.pids()
    if row.platform.is_vm:
        ram_bytes = row.mem_limit_mib * MIB
        parts = memory.vm_parts(pids, ram_bytes=ram_bytes, emulated=row.emulated)
        yield filled(row, float(parts.pss_bytes))
    else:
        yield filled(row, float(memory.pss_bytes(pids)))


def _each(row: Measurement, ns: Sequence[int], held: dict[int, float]) -> Iterator[Measurement]:
    """What the first copy costs, and what one more costs between the two largest N of a block."""
    each = replace(row, metric="each_bytes", rep=0)
    n = max(held)
    if n == ns[0]:
        yield filled(each, held[n] / n, phase="first")
    elif n == ns[-1] and ns[-2] in held:
        yield filled(each, (held[n] - held[ns[-2]]) / (n - ns[-2]), phase="last")


EXPERIMENT = Experiment(
    name="scaling",
    question="What does the N-th copy cost?",
    platforms=tuple(dict.fromkeys(cell.series.platform for cell in CELLS)),
    measure=measure,
    rounds=3,
)
