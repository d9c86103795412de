"""How long until what was moved runs elsewhere, and what goes on while it is moved.

**Moves.** ``duration_s``, phases ``save``, ``load``, ``first-byte``: from the image as it is kept
here to one compressed file; from that file to an image as it is kept there; from the call there to
the first byte. ``image_bytes``, phase ``compressed``, is the size of that file, by one compressor
(gzip 6) for both; the transfer in between is modelled by it. A container's second place is a
second, empty Docker engine; a VM's is another QEMU, which gets the disk as one file.

**Counts.** A VM moves while it counts, a bare container is saved and continued by CRIU, a container
is destroyed and created again. ``observation``, phase ``count``: whether numbers came on both
sides; ``text`` has the last before and the first after. Facts: no number is missing and none comes
twice; the second container begins at 1. ``duration_s``, phase ``pause``: how long it stood still.

**Two that talk** are told in :mod:`.network`, **places** unlike this computer in :mod:`.elsewhere`.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from vmcompare.errors import Unavailable
from vmcompare.evidence.recording import Measurement
from vmcompare.experiments.portability import counting, elsewhere, network
from vmcompare.experiments.portability.counting import CONTINUED, MOVING, Counted
from vmcompare.measuring.experiment import Context, Experiment, blank, filled, or_failed
from vmcompare.sandbox import ALPINE, Launcher, Machine, Mover, Platform, Series, Spec

STEPS = ("save", "load", "first-byte")
"""Phases of a move, in order; between the first two lies the link."""

MOVED = (Series(Platform.CONTAINER), Series(Platform.VM, Machine.Q35))
"""What is saved, shipped, loaded and started elsewhere."""

COUNT = "count"


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that is done with one series, each block or ``once`` a run.

    Some take a ``second`` platform's launcher, too.
    """

    what: str
    series: Series
    spec: Spec
    measure: Callable[..., Iterator[Measurement]]
    once: bool = False
    second: Platform | None = None


def measure(context: Context) -> Iterator[Measurement]:
    """Rows of every step as it ends. A step that fails is a row; the run goes on."""
    plan = [(f"{step.series.label}: {step.what}", (step, place)) for step, place in _plan(context)]
    for step, place in context.steps(plan):
        launcher = context.launcher(step.series)
        assert launcher is not None  # the plan holds only what can be launched
        row = blank(launcher, step.series.platform, step.spec, "duration_s", **place)
        others = [context.launchers[step.second]] if step.second else []
        made = step.measure(row, launcher, *others)
        yield from or_failed(made, row)


def _plan(context: Context) -> Iterator[tuple[Step, dict[str, Any]]]:
    """Per block every step of what can be launched, shuffled by the seed; columns of its rows."""
    chance = random.Random(context.seed)
    here = [step for step in _STEPS if context.launcher(step.series)]
    here = [step for step in here if not step.second or step.second in context.launchers]
    for block in range(context.rounds):
        now = [step for step in here if block == 0 or not step.once]
        for order, step in enumerate(chance.sample(now, len(now))):
            yield step, {"phase": step.what, "block": block, "order_in_block": order}


def _moved(row: Measurement, launcher: Launcher) -> Iterator[Measurement]:
    if not isinstance(launcher, Mover):
        raise Unavailable("this kind of instance has nothing to move", "use Docker or QEMU")
    move = launcher.move(Spec(machine=row.machine))
    for phase, took_s in zip(STEPS, (move.save_s, move.load_s, move.start_s), strict=True):
        yield filled(row, took_s, phase=phase)
    yield filled(row, float(move.shipped_bytes), metric="image_bytes", phase="compressed")
    if row.platform is Platform.CONTAINER:
        yield filled(row, move.load_s + move.start_s, metric="load_and_start_s", phase="")


def _vm_counts(row: Measurement, launcher: Launcher) -> Iterator[Measurement]:
    counted = counting.moved(launcher)
    yield from _counts(row, counted, "vm_count_goes_on_elsewhere", counted.goes_on)
    yield filled(row, counted.pause_s, phase="pause")


def _container_counts(row: Measurement, launcher: Launcher) -> Iterator[Measurement]:
    counted = counting.created_again(launcher)
    yield from _counts(row, counted, "container_count_starts_again", counted.starts_again)


def _container_continued(row: Measurement, launcher: Launcher) -> Iterator[Measurement]:
    try:
        counted, by = counting.continued(launcher)
    except Unavailable as lacking:
        said = f"not tried: {lacking.what}; {lacking.next_step}"
        yield filled(row, 0.0, metric="observation", phase=COUNT, text=said)
        return
    seen, fact = _counts(row, counted, "container_count_goes_on_by_criu", counted.goes_on)
    yield replace(seen, text=f"{seen.text} ({by})")
    yield fact


def _counts(row: Measurement, counted: Counted, fact: str, holds: bool) -> Iterator[Measurement]:
    both = bool(counted.before and counted.after)
    yield filled(row, float(both), metric="observation", phase=COUNT, text=counted.text)
    yield filled(row, float(holds), metric="fact", phase=fact)


THEIR_VM = Series(Platform.VM_DIRECT, Machine.VIRT)
"""A VM with the other processor."""

_PC, _VM, _PROGRAM = Series(Platform.VM, Machine.PC), Spec(machine=Machine.PC), "foreign program"
_STEPS = [
    *(Step("move", series, Spec(machine=series.machine), _moved) for series in MOVED),
    Step("count", MOVING, counting.VM, _vm_counts),
    Step("count", Series(Platform.CONTAINER), Spec(), _container_counts),
    Step("CRIU", CONTINUED, Spec(), _container_continued, once=True),
    Step("network", Series(Platform.CONTAINER), Spec(), network.talk),
    Step("network", MOVING, network.VM, network.talk),
    Step(_PROGRAM, Series(Platform.PROCESS), Spec(), elsewhere.program),
    Step(_PROGRAM, Series(Platform.CONTAINER), Spec(), elsewhere.program),
    Step(_PROGRAM, MOVING, _VM, elsewhere.program),
    Step(
        "another kernel", MOVING, elsewhere.GUEST, elsewhere.kernel,
        once=True, second=Platform.CONTAINER,
    ),
    Step("other hardware", _PC, _VM, elsewhere.hardware, once=True),
]  # fmt: skip
if elsewhere.OTHER == "arm64":
    # Its row is made before it is known whether QEMU for arm64, which starts the image, is here.
    _VIRT = replace(elsewhere.FOREIGN_VM, image=ALPINE)
    _STEPS += [
        Step(
            "emulation", Series(Platform.PROCESS), Spec(), elsewhere.emulated_program,
            once=True, second=Platform.CONTAINER,
        ),
        Step("another processor", THEIR_VM, _VIRT, elsewhere.program_in_its_vm, once=True),
    ]  # fmt: skip

EXPERIMENT = Experiment(
    name="portability",
    question="Move it elsewhere: how long until it runs?",
    platforms=(Platform.PROCESS, Platform.CONTAINER, Platform.VM_DIRECT, Platform.VM),
    measure=measure,
    rounds=3,
    runtimes=(CONTINUED.runtime,),
)
