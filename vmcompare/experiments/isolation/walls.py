"""The walls on this computer: the grid of probes, the neighbours, and what they say of the claims.

Rows (see :mod:`vmcompare.evidence.recording`): ``probe`` and ``observation`` of each arm,
``item_count`` of system calls, and the facts that ``data/claims.csv`` registers for S1b, S3 and S5.
One pass; what cannot be asked becomes rows with the reason.

The host process is asked first: it tells what there is to aim at. Where it cannot be (macOS,
Windows), probes that must name something of the host are not made. A container's host is the
machine that its engine runs on; where that is a virtual machine that nobody here started, this
computer's processes and disks are not its host's, so those probes are not made either.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from vmcompare.evidence.recording import Measurement
from vmcompare.experiments.isolation import asking, neighbours, width
from vmcompare.experiments.isolation.asking import VM, Arm, Told
from vmcompare.experiments.isolation.neighbours import Pair
from vmcompare.experiments.isolation.probes import DEVICES, GRID, HOST, Targets
from vmcompare.experiments.isolation.reading import Reading, shared_devices
from vmcompare.measuring.experiment import FAILURES, Context, failed, filled
from vmcompare.sandbox import Confinement, Platform, Sandbox, Spec

ARMS: tuple[Arm, ...] = (
    Arm("host process", Platform.PROCESS, Spec()),
    Arm("container", Platform.CONTAINER, Spec()),
    Arm("container, no capabilities", Platform.CONTAINER,
        Spec(confinement=Confinement.NO_CAPABILITIES), "no-capabilities"),
    Arm("container, no call filter", Platform.CONTAINER,
        Spec(confinement=Confinement.NO_SECCOMP), "no-seccomp"),
    Arm("VM", Platform.VM_DIRECT, VM),
)  # fmt: skip
"""The columns of the grid, in the order of the table."""

_HOST_ARM, _CONTAINER_ARM, _VM_ARM = ARMS[0], ARMS[1], ARMS[4]

Step = tuple[str, Callable[[], Iterator[Measurement]]]
"""A part of a run: words for the progress line, and what makes its rows."""


@dataclass(slots=True)
class Walls:
    """What is known so far.

    Attributes:
        context: launchers, and who watches.
        kept: holds what the probes are aimed at, to the end of this part.
        targets: those; ``None`` where the host was not asked.
        told: arm → its answers; those that failed are not there.
        values: arm → probe → whether it got through.
        pairs: a pair's name → what it showed.
        why: arm → why it failed.
    """

    context: Context
    kept: contextlib.ExitStack
    targets: Targets | None = None
    told: dict[str, Told] = field(default_factory=dict)
    values: dict[str, Mapping[str, bool]] = field(default_factory=dict)
    pairs: dict[str, Pair] = field(default_factory=dict)
    why: dict[str, str] = field(default_factory=dict)

    @property
    def host(self) -> Reading | None:
        """What the host read, if it was asked."""
        told = self.told.get(_HOST_ARM.name)
        return told.reading if told else None


def measured(context: Context) -> Iterator[Measurement]:
    """All rows of this part."""
    with contextlib.ExitStack() as stack:
        for step in context.steps(steps(context, stack)):
            yield from step()


def steps(context: Context, stack: contextlib.ExitStack) -> list[Step]:
    """This part's steps in their order; empty where there is nobody to ask.

    The stack is entered by the steps alone, and by the last one left for what only they need.
    """
    there = [arm for arm in ARMS if arm.platform in context.launchers]
    pairs = [arm for arm in neighbours.PAIRS if arm.platform in context.launchers]
    if not there:
        return []
    walls = Walls(context, contextlib.ExitStack())
    stack.push(walls.kept)
    plan: list[Step] = [(f"walls: {arm.name}", partial(_ask, walls, arm)) for arm in there]
    if Platform.CONTAINER in context.launchers:
        plan.append(("system calls, one by one", partial(width.measured, context)))
    plan += [(f"neighbours: {arm.name}", partial(_neighbours, walls, arm)) for arm in pairs]
    plan.append(("what the walls say", partial(_conclude, walls)))
    return plan


def _ask(walls: Walls, arm: Arm) -> Iterator[Measurement]:
    launcher = walls.context.launchers[arm.platform]
    try:
        with launcher.open(arm.spec, walls.context.on_event) as box:
            if arm is _HOST_ARM:
                walls.targets = _aim(walls, asking.read(box))
            told, host = _tell(walls, arm, box)
    except FAILURES as error:
        walls.why[arm.name] = str(error)
        yield from asking.failed_rows(arm, launcher, str(error))
        return
    walls.told[arm.name] = told
    own_kernel = arm.platform.is_vm and (
        walls.host is None or walls.host.boot_id != told.reading.boot_id
    )
    rows = list(asking.probe_rows(arm, launcher, told, host, own_kernel=own_kernel))
    walls.values[arm.name] = {row.phase: bool(row.value) for row in rows if row.status == "ok"}
    yield from rows
    yield from asking.observation_rows(arm, launcher, told.reading)


def _tell(walls: Walls, arm: Arm, box: Sandbox) -> tuple[Told, Reading | None]:
    """What an instance tells, and the host that it is held against (``None``: unknown)."""
    if arm is _HOST_ARM:
        assert walls.targets is not None
        told = asking.tell(box, _replaced_root(walls.targets))
        return told, told.reading
    host, targets = walls.host, walls.targets
    if arm.platform is Platform.CONTAINER and host and asking.read(box).boot_id != host.boot_id:
        host = targets = None  # the engine's own, hidden machine
    return asking.tell(box, targets), host


def _replaced_root(targets: Targets) -> Targets:
    """The same targets as the host itself sees them: its root is not below /host."""
    return replace(targets, root="")


def _aim(walls: Walls, host: Reading) -> Targets:
    """What there is to aim at: this very process, a port of ours, a file of this course."""
    port = int(neighbours.listener(walls.kept).getsockname()[1])
    return asking.targets(host, os.getpid(), port, str(Path(__file__).resolve()))


def _neighbours(walls: Walls, arm: Arm) -> Iterator[Measurement]:
    pair = walls.pairs[arm.name] = Pair()
    yield from neighbours.measured(walls.context, arm, pair)


def _conclude(walls: Walls) -> Iterator[Measurement]:
    """The facts; then what only this part needed is let go."""
    walls.kept.close()
    if Platform.CONTAINER in walls.context.launchers:
        yield from _surface(walls)
        yield from _siblings(walls)
    if Platform.VM_DIRECT in walls.context.launchers:
        yield from _direct_access(walls)


def _fact(walls: Walls, arm: Arm, name: str, holds: bool | str, text: str = "") -> Measurement:
    """A fact, or (where ``holds`` is text) why it was not observed."""
    row = arm.row(walls.context.launchers[arm.platform], "fact", name)
    return failed(row, holds) if isinstance(holds, str) else filled(row, float(holds), text=text)


def _surface(walls: Walls) -> Iterator[Measurement]:
    """S1b: what the default container denies, against what the VM denies.

    The facts are the VM's rows: so it is told beside them whether that one was emulated.
    """
    names = (
        "vm_denies_all_the_container_denies", "vm_denies_more_than_the_container",
        "container_denies_more_than_the_vm",
    )  # fmt: skip
    arm = _CONTAINER_ARM
    if Platform.VM_DIRECT not in walls.context.launchers:
        return
    missing = [one.name for one in (arm, _VM_ARM) if one.name not in walls.values]
    if missing:
        why = f"no answer of the {missing[0]}: {walls.why.get(missing[0], 'not asked')}"
        yield from (_fact(walls, _VM_ARM, name, why) for name in names)
        return
    container, vm = walls.values[arm.name], walls.values[_VM_ARM.name]
    both = [p.name for p in GRID if p.aim == HOST and p.name in container and p.name in vm]
    only_container = [name for name in both if not container[name] and vm[name]]
    only_vm = [name for name in both if container[name] and not vm[name]]
    of = f"of {len(both)} probes at the host"
    texts = (
        f"{sum(not container[n] for n in both)} {of}",
        f"{len(only_vm)} {of}: {', '.join(only_vm)}",
        f"{len(only_container)} {of}: {', '.join(only_container)}",
    )
    found = (not only_container, bool(only_vm), bool(only_container))
    for name, holds, text in zip(names, found, texts, strict=True):
        yield _fact(walls, _VM_ARM, name, holds if both else "no probe was made in both", text)


def _siblings(walls: Walls) -> Iterator[Measurement]:
    """S3: A against B on the default bridge; namespaces; what no namespace keeps apart."""
    bridge = next(arm for arm in neighbours.PAIRS if arm.confinement == neighbours.BRIDGE)
    pair = walls.pairs.get(bridge.name, Pair())
    for name, holds, text in neighbours.facts(pair, walls.host):
        yield _fact(walls, bridge, name, holds, text)


def _direct_access(walls: Walls) -> Iterator[Measurement]:
    """S5: whether the VM opens devices of the host's, and whether it sees them at all."""
    opens, sees = "vm_opens_host_devices", "vm_sees_host_devices"
    vm, host = walls.told.get(_VM_ARM.name), walls.host
    if vm is None:
        why = walls.why.get(_VM_ARM.name, "the VM was not asked")
        yield from (_fact(walls, _VM_ARM, name, why) for name in (opens, sees))
        return
    tried = {n: v for n, v in walls.values[_VM_ARM.name].items() if n in DEVICES}
    text = f"tried: {', '.join(tried)}"
    yield _fact(walls, _VM_ARM, opens, any(tried.values()) if tried else "not tried", text)
    if host is None:
        yield _fact(walls, _VM_ARM, sees, "the host was not asked for its devices")
        return
    shared = shared_devices(host, vm.reading)
    text = ", ".join(f"{one.address} {one.kind}" for one in shared) or (
        f"none of the host's {len(host.devices)} PCI devices has its address and numbers "
        f"among the VM's {len(vm.reading.devices)}; virtual ones of both are not compared"
    )
    yield _fact(walls, _VM_ARM, sees, bool(shared), text)
