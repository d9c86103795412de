"""How long until what was moved runs elsewhere, and what goes on while it is moved.

Rows of a **move** (``phase`` names the step; a container's second place is a second, empty Docker
engine; a VM's is another QEMU, which gets the disk as one file):

``duration_s``, phases ``save``, ``load``, ``first-byte``
    from the image as it is kept here to one compressed file; from that file to an image as it is
    kept there; from the call there to the first byte. The transfer in between is modelled, by
``image_bytes``, phase ``compressed``
    the size of that file, by one compressor (gzip 6) for both.
``load_and_start_s``
    of a container, ``load`` and ``first-byte`` together.

Rows of a **count**: a VM moves while it counts; a container is destroyed and created again.

``observation``, phase ``count``
    whether numbers came on both sides; ``text`` has the last before and the first after.
``fact``, phases ``vm_count_goes_on_elsewhere``, ``container_count_starts_again``
    no number is missing, none comes twice; the second container begins at 1.
``duration_s``, phases ``migration``, ``pause``
    from the order to move until the VM runs elsewhere; how long it ran nowhere.

Rows of a **foreign program**, one made for the other of the two processors that this course knows:

``observation``, phase ``foreign-program``
    whether it ran in an instance; ``text`` has the error.
``fact``, phases ``foreign_binary_runs_in_container`` and ``…_with_emulation``
    a container shares the host's processor, so what runs there was emulated. A VM of the other
    architecture is not tried: it takes another QEMU, and a kernel for it.
"""

from __future__ import annotations

import platform
import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

from vmcompare.engines.programs import first_byte
from vmcompare.errors import Unavailable
from vmcompare.evidence.recording import Measurement
from vmcompare.experiments.portability import counting
from vmcompare.experiments.portability.counting import MOVING, Counted
from vmcompare.measuring.experiment import (
    Context,
    Experiment,
    blank,
    failed,
    filled,
    or_failed,
)
from vmcompare.sandbox import FIRST_BYTE, Launcher, Machine, Mover, Platform, Series, Spec

STEPS = ("save", "load", "first-byte")
"""Phases of a move, in order; between the first two lies the link."""

MOVED = (Series(Platform.CONTAINER), Series(Platform.VM, Machine.Q35))
"""What is saved, shipped, loaded and started elsewhere."""

COUNT, FOREIGN = "count", "foreign-program"
GOES_ON, AGAIN = "vm_count_goes_on_elsewhere", "container_count_starts_again"
RUNS, EMULATED = (
    "foreign_binary_runs_in_container",
    "foreign_binary_runs_in_container_with_emulation",
)
_OTHER: Mapping[str, str] = {"x86_64": "arm64", "amd64": "arm64"}  # else x86_64
_PLACE = "/tmp/foreign"

Measure = Callable[[Measurement, Launcher], Iterator[Measurement]]


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that is done with one series, in which block and at which place."""

    what: str
    series: Series
    spec: Spec
    measure: Measure
    block: int = 0
    order: int = 0


def measure(context: Context) -> Iterator[Measurement]:
    """Rows of every step as it ends. A step that fails is a row; the run goes on."""
    for step in context.steps([(f"{s.series.label}: {s.what}", s) for s in plan(context)]):
        launcher = context.launcher(step.series)
        assert launcher is not None  # plan() holds only what can be launched
        row = replace(
            blank(launcher, step.series.platform, step.spec, "duration_s"),
            phase=step.what, block=step.block, order_in_block=step.order,
        )  # fmt: skip
        made = step.measure(row, launcher)
        yield from map(context.checked, or_failed(made, row))


def plan(context: Context) -> Iterator[Step]:
    """Per block every step of what can be launched, shuffled by the seed."""
    chance = random.Random(context.seed)
    here = [step for step in _STEPS if context.launcher(step.series)]
    for block in range(context.rounds):
        for order, step in enumerate(chance.sample(here, len(here))):
            yield replace(step, block=block, order=order)


def _moved(row: Measurement, launcher: Launcher) -> Iterator[Measurement]:
    if not isinstance(launcher, Mover):
        raise Unavailable("this kind of instance has nothing to move", "use Docker or QEMU")
    move = launcher.move(Spec(machine=row.machine))
    for phase, took_s in zip(STEPS, (move.save_s, move.load_s, move.start_s), strict=True):
        yield filled(row, took_s, phase=phase)
    size = filled(row, float(move.shipped_bytes), metric="image_bytes", phase="compressed")
    yield size
    if row.platform is Platform.CONTAINER:
        yield filled(row, move.load_s + move.start_s, metric="load_and_start_s", phase="")


def _vm_counts(row: Measurement, launcher: Launcher) -> Iterator[Measurement]:
    counted = counting.moved(launcher)
    yield from _counts(row, counted, GOES_ON, counted.goes_on)
    yield filled(row, counted.took_s, phase="migration")
    yield filled(row, counted.pause_s, phase="pause")


def _container_counts(row: Measurement, launcher: Launcher) -> Iterator[Measurement]:
    counted = counting.created_again(launcher)
    yield from _counts(row, counted, AGAIN, counted.starts_again)


def _counts(row: Measurement, counted: Counted, fact: str, holds: bool) -> Iterator[Measurement]:
    both = bool(counted.before and counted.after)
    yield filled(row, float(both), metric="observation", phase=COUNT, text=counted.text)
    yield filled(row, float(holds), metric="fact", phase=fact)


def _foreign(row: Measurement, launcher: Launcher) -> Iterator[Measurement]:
    ran, said = _tried(launcher, Spec(machine=row.machine))
    yield filled(row, float(ran), metric="observation", phase=FOREIGN, text=said)
    if row.platform is Platform.CONTAINER:
        fact = replace(row, metric="fact")
        # What runs on the wrong processor was emulated: then this says nothing of a container.
        why = "this computer emulates the other processor for its containers"
        yield failed(fact, why, phase=RUNS) if ran else filled(fact, 0.0, phase=RUNS)
        yield filled(fact, float(ran), phase=EMULATED)


def _tried(launcher: Launcher, spec: Spec) -> tuple[bool, str]:
    """Whether the other processor's program runs in an instance, and the answer in a few words."""
    other = _OTHER.get(platform.machine().lower(), "x86_64")
    with launcher.open(spec, lambda _: None) as box:
        box.put(_PLACE, first_byte.elf(other))
        done = box.run(["env", _PLACE])  # a shell would take it for a script, and complain of that
        if FIRST_BYTE in done.output:
            return True, "it ran"
        refused = b"exec format error" in done.output.lower()  # the kernel's ENOEXEC, in words
        return False, "exec format error" if refused else f"exit code {done.exit_code}"


_VM = Spec(machine=Machine.PC)
_STEPS = (
    *(Step("move", series, Spec(machine=series.machine), _moved) for series in MOVED),
    Step("count", MOVING, counting.vm(), _vm_counts),
    Step("count", Series(Platform.CONTAINER), Spec(), _container_counts),
    Step("foreign program", Series(Platform.PROCESS), Spec(), _foreign),
    Step("foreign program", Series(Platform.CONTAINER), Spec(), _foreign),
    Step("foreign program", MOVING, _VM, _foreign),
)

EXPERIMENT = Experiment(
    name="portability",
    question="Move it elsewhere: how long until it runs?",
    platforms=(Platform.PROCESS, Platform.CONTAINER, Platform.VM_DIRECT, Platform.VM),
    measure=measure,
    rounds=3,
)
