"""Whose kernel answers: the same questions to the host, three containers and two VMs at once.

One pass, whatever the number of rounds: these are facts, and a fact does not become truer by being
asked ten times. Rows:

- ``observation``: what an instance said (phases :data:`instances.PHASES`; containers A, B and C
  are ``rep`` 0, 1 and 2, C with a second distribution's files), what became of the
  clock, and the steps of a container made by hand (phases of :mod:`by_hand`, the
  observations in ``text``).
- ``item_count``: how many of an instance's processes the host's list shows.
- ``fact``: the names that ``data/claims.csv`` registers for O2, O5, O6a and O6b.

**Whose host?** A container's host is the computer its engine runs on. Where that is a VM that the
learner did not start (Docker Desktop, WSL2), nobody outside can ask its kernel; then the
containers are compared with each other, and ``container_boot_id_is_a_hidden_vms`` says so.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

from vmcompare.evidence.recording import Measurement
from vmcompare.experiments.shared_kernel import by_hand, instances
from vmcompare.experiments.shared_kernel.instances import INSTANCES, PHASES, Run, Who, first_of
from vmcompare.measuring.experiment import FAILURES, Context, Experiment, failed, filled
from vmcompare.sandbox import Platform, Sandbox

_GUEST = "by hand"
"""Name of the guest in which a container is made by hand."""


def measure(context: Context) -> Iterator[Measurement]:
    """Rows of one look around; an instance that fails is a row, and the look goes on."""
    with contextlib.ExitStack() as stack:
        run = Run(context, stack)
        plan: list[tuple[str, Callable[[], Iterator[Measurement]]]] = [
            (who.name, partial(_ask, run, who))
            for who in INSTANCES
            if who.platform in context.launchers
        ]
        plan.append(("who sees whom", partial(_compare, run)))
        if Platform.CONTAINER in context.launchers:
            plan.append(("ten different containers", partial(instances.different_containers, run)))
        if Platform.VM_DIRECT in context.launchers:
            plan.append(("a kernel that is not Linux", partial(instances.other_kernel_on_vm, run)))
            plan.append(("a container by hand: preparing", partial(_prepare, run)))
            plan += [
                (f"a container by hand: {name}", partial(_step, run, name, place))
                for place, name in enumerate(by_hand.lines())
            ]
        for step in context.steps(plan):
            yield from step()


def _open(run: Run, who: Who) -> Sandbox:
    launcher = run.context.launchers[who.platform]
    return run.stack.enter_context(launcher.open(who.spec, run.context.on_event))


def _ask(run: Run, who: Who) -> Iterator[Measurement]:
    try:
        box = run.boxes[who.name] = _open(run, who)
        reading = run.readings[who.name] = instances.observe(box)
    except FAILURES as error:
        run.why[who.name] = str(error)
        for phase in PHASES:
            yield failed(run.row(who, "observation", phase), str(error))
        return
    release = reading["kernel release"]
    for phase, text in reading.items():
        short = text[:8] if phase == "boot id" else text
        yield filled(run.row(who, "observation", phase), 1.0, text=short, guest_kernel=release)


def _compare(run: Run) -> Iterator[Measurement]:
    """Compare the instances while all of them run, then let them go."""
    yield from instances.compare(run)
    with contextlib.suppress(*FAILURES):  # what they were asked is on record already
        run.stack.close()


def _prepare(run: Run) -> Iterator[Measurement]:
    """Start a guest of its own: what is done in it stays in it."""
    try:
        box = _open(run, first_of(Platform.VM_DIRECT))
        by_hand.prepare(box)
        run.boxes[_GUEST] = box
    except FAILURES as error:
        run.why[_GUEST] = str(error)
    yield from ()


def _step(run: Run, name: str, place: int) -> Iterator[Measurement]:
    row = replace(run.row(first_of(Platform.VM_DIRECT), "observation", name), rep=place)
    if _GUEST not in run.boxes:
        yield failed(row, run.why.get(_GUEST, "no guest was started for it"))
        return
    try:
        seen = by_hand.look(run.boxes[_GUEST], name)
        yield filled(row, 1.0, text=by_hand.written(seen))
    except FAILURES as error:
        yield failed(row, str(error))


EXPERIMENT = Experiment(
    name="shared_kernel",
    question="Whose kernel answers?",
    platforms=tuple(dict.fromkeys(who.platform for who in INSTANCES)),
    measure=measure,
    rounds=1,
    anchors=(Platform.PROCESS,),
)
