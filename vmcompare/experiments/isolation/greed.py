"""Greed: what a sibling feels when a neighbour takes all it can get, and who bounds the neighbour.

Three neighbourhoods, each with a heart that beats beside a hog (:mod:`.hogs`): a container without
limits and one with limits, both in a disposable VM, and a VM beside another VM. Each round begins
with a stretch in which all of them are quiet; then, one after the other, each hog takes memory, and
then processes. Docker's own container with limits, on this computer, is asked for more than its
limits too; and a VM that boots a distribution, because that is the kind that findings are about.

Every hog is bounded twice: by what it asks for, and from outside. The outer limit is read back
first, from the files of the control group or from what the guest's kernel says it has; where it is
not there, the demonstration is refused and its rows say so.

Rows, ``block`` = round: ``gap_p50_s`` and ``gap_p99_s`` of the sibling's heart (``phase`` = quiet,
memory hog, fork loop); ``cgroup_bytes``, the peak of the hog's group; ``item_count``, processes it
reached; ``guest_ram_to_limit_ratio``, what the host gives a guest that wants more, per ``-m``;
``host_cpu_to_vcpu_ratio``, host CPU seconds of the emulator (or the container) per vCPU and wall
second, with two busy loops a vCPU; ``observation`` of what became of the hog; and the facts
``container_memory_limit_holds`` and ``container_cpu_limit_holds``.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from vmcompare.engines.programs import heartbeat
from vmcompare.errors import Unavailable
from vmcompare.evidence.recording import Measurement
from vmcompare.evidence.units import NS_PER_S
from vmcompare.experiments.isolation import hearts, hogs, nested
from vmcompare.experiments.isolation.bounds import (
    DOCKER,
    LIMIT_CPUS,
    LIMIT_PIDS,
    LIMITS_MIB,
    became,
    busy_loops,
    docker_memory,
    docker_processor,
    given,
    group_limits,
    guest_ram,
    holds_memory,
    tried,
)
from vmcompare.experiments.isolation.hogs import Appetite, Hog
from vmcompare.experiments.isolation.hosts import DISPOSABLE, GUEST, IN_A_GUEST, Clock, Heard, Host
from vmcompare.measuring.experiment import FAILURES, Context, blank, failed, filled
from vmcompare.sandbox import Launcher, Machine, Platform, Sandbox, Spec

WITHOUT, WITH = "without limits", "with limits"
QUIET, MEMORY, FORKS = "quiet", "memory hog", "fork loop"

WINDOW_S = 3.0
"""Seconds of a stretch: sixty beats, enough for a median, and a tail of the longest few."""
_WINDOW_NS = int(WINDOW_S * NS_PER_S)

LIMITED = Appetite(pieces=3, piece_mib=48)
UNLIMITED = Appetite(pieces=4, piece_mib=112)
"""448 MiB, more than the whole disposable VM has."""
IN_VM = Appetite(pieces=3, piece_mib=96)
"""288 MiB; the guest has 192."""

DISTRIBUTION = Spec(machine=Machine.Q35)
Step = tuple[str, Callable[[], Iterator[Measurement]]]


@dataclass(slots=True)
class Arm:
    """One neighbourhood.

    Attributes:
        words: for a progress line.
        row: what is known beforehand; ``gap_p50_s``.
        place: whose instances these are (a key of ``Greed.heard``).
        letter: the sibling's heart.
        make: box and round → the hog, not started yet.
        limits: reads the outer limit back; raises ``Unavailable`` where it does not hold.
        hog: the one that waits now.
        refused: why this round's hog may not be let loose.
    """

    words: str
    row: Measurement
    place: str
    letter: str
    make: Callable[[Sandbox, int], Hog]
    limits: Callable[[Hog], None]
    hog: Hog | None = None
    refused: str = "not started"


@dataclass(slots=True)
class Greed:
    """One run of this part: what is open."""

    host: Host
    own: contextlib.ExitStack
    heard: dict[str, Heard] = field(default_factory=dict)
    boxes: dict[str, Sandbox] = field(default_factory=dict)

    # ---- opening --------------------------------------------------------------------------------

    def open(self, place: str) -> Iterator[Measurement]:
        """Open the instances of one place; who needs them says so where that fails."""
        try:
            if place == "their VM":
                beats = nested.configuration("", args=(heartbeat.PATH, "S"))
                self.heard[place] = self.host.hosting(DISPOSABLE, {"S": beats}, "V")
                self.boxes[place] = self.heard[place].box
            elif place == "sibling VM":
                self.heard["VM"] = self.host.beating(Platform.VM_DIRECT, GUEST, "S")
            elif place == "VM":
                self.boxes[place] = self.host.open(Platform.VM_DIRECT, GUEST)
            else:
                self.boxes[place] = self.host.open(Platform.VM, DISTRIBUTION)
        except FAILURES as problem:
            self.host.why[place] = str(problem)
        yield from ()

    # ---- one neighbourhood, one round -----------------------------------------------------------

    def start(self, arm: Arm, block: int) -> Iterator[Measurement]:
        """Start this round's hog, which waits, and read its outer limit back."""
        needed = (arm.place, "sibling VM") if arm.place == "VM" else (arm.place,)
        arm.hog = None
        arm.refused = next((self.host.why[p] for p in needed if p in self.host.why), "")
        if not arm.refused:
            try:
                arm.hog = arm.make(self.boxes[arm.place], block)
                arm.hog.wait_ready()
                arm.limits(arm.hog)
            except FAILURES as problem:
                arm.refused = str(problem)
        yield from ()

    def quiet(self, arms: Sequence[Arm], block: int) -> Iterator[Measurement]:
        """A stretch in which every hog waits."""
        begin_ns = self.host.clock.now_ns()
        self.host.clock.until(begin_ns + _WINDOW_NS)
        for arm in arms:
            row = replace(arm.row, block=block, phase=QUIET)
            if arm.hog is None or arm.refused:
                yield from _no_gaps(row, arm.refused)
            else:
                yield from self._felt(arm, row, begin_ns)

    def stretch(self, arm: Arm, block: int, phase: str) -> Iterator[Measurement]:
        """One stretch of one neighbourhood: let the hog begin, and listen to its sibling."""
        row = replace(arm.row, block=block, phase=phase)
        if arm.hog is None or arm.refused:
            yield from _no_gaps(row, arm.refused)
            return
        try:
            begin_ns = self.host.clock.now_ns()
            if phase == MEMORY:
                arm.hog.take_memory()
            else:
                arm.hog.take_processes()
            self.host.clock.until(begin_ns + _WINDOW_NS)
            yield from self._felt(arm, row, begin_ns)
            if phase == MEMORY:
                yield from self._held(arm, arm.hog, row)
            else:
                count, ended = arm.hog.processes()
                yield filled(replace(row, metric="item_count"), float(count))
                yield became(row, f"{ended}, with {count} processes")
        except FAILURES as problem:
            arm.refused = str(problem)
            yield failed(row, arm.refused)

    def _felt(self, arm: Arm, row: Measurement, begin_ns: int) -> Iterator[Measurement]:
        """Percentiles of the gaps of the sibling's heart."""
        beats = self.heard[arm.place].ears.beats(arm.letter)
        try:
            p50_s, p99_s = hearts.percentiles_s(
                hearts.gaps_s(beats, begin_ns, begin_ns + _WINDOW_NS)
            )
        except ValueError as problem:  # fewer than two beats
            yield from _no_gaps(row, f"the sibling was silent ({problem})")
            return
        yield filled(row, p50_s)
        yield filled(replace(row, metric="gap_p99_s"), p99_s)

    def _held(self, arm: Arm, hog: Hog, row: Measurement) -> Iterator[Measurement]:
        """What became of a hog that took memory, and how much it got."""
        killed = hog.pieces_killed()
        pieces, asked = hog.appetite.pieces, hog.appetite.asked_mib
        if killed:
            why = "at its limit" if row.confinement == WITH else "when nothing was left"
            yield became(row, f"{killed} of {pieces} pieces killed {why} ({asked} MiB asked)")
        else:
            yield became(row, f"finished ({asked} MiB asked)")
        if row.platform is not Platform.CONTAINER:
            yield guest_ram(self.boxes[arm.place], row)
            return
        peak = int(hog.sh(f"cat {hogs.group(hog.name)}/memory.peak"))
        yield filled(replace(row, metric="cgroup_bytes"), float(peak))
        if row.confinement == WITH:
            yield holds_memory(row, killed > 0, peak)

    def take_away(self, arm: Arm) -> Iterator[Measurement]:
        """End the hog of this round."""
        if arm.hog is not None:
            try:
                arm.hog.take_away()
            except FAILURES as problem:
                yield failed(replace(arm.row, phase=QUIET), f"while ending: {problem}")

    # ---- a distribution, and Docker -------------------------------------------------------------

    def distribution(self, block: int) -> Iterator[Measurement]:
        """A VM of the kind that findings are about is asked for more memory than it has."""
        spec, platform = DISTRIBUTION, Platform.VM
        row = self._row(platform, spec, "guest_ram_to_limit_ratio", block, MEMORY)
        try:
            box = self._box("distribution")
            yield became(row, hogs.fill(box, spec.memory_mib))
            yield guest_ram(box, row)
        except FAILURES as problem:
            yield failed(row, str(problem))

    def processor(self, place: str, block: int) -> Iterator[Measurement]:
        """Two busy loops a vCPU: what the VM takes of the host's processor."""
        spec, platform = (
            (DISTRIBUTION, Platform.VM) if place == "distribution" else (GUEST, Platform.VM_DIRECT)
        )
        row = self._row(platform, spec, "host_cpu_to_vcpu_ratio", block, "busy loops")
        try:
            box = self._box(place)
            yield filled(row, busy_loops(box, spec.vcpus, self.host.clock))
        except FAILURES as problem:
            yield failed(row, str(problem))

    def docker(self, block: int) -> Iterator[Measurement]:
        """Docker's own container with limits, on this computer."""
        row = self._row(Platform.CONTAINER, DOCKER, "cgroup_bytes", block, MEMORY)
        row = replace(row, confinement=WITH)
        busy = replace(row, metric="host_cpu_to_vcpu_ratio", phase="busy loops")
        launcher = self.host.launcher(Platform.CONTAINER)
        try:
            with launcher.open(DOCKER, self.host.context.on_event) as box:
                yield from tried(row, partial(docker_memory, box, row))
                yield from tried(busy, partial(docker_processor, box, busy, self.host.clock))
        except FAILURES as problem:
            yield failed(row, str(problem))

    def _box(self, place: str) -> Sandbox:
        if place not in self.boxes:
            raise Unavailable(self.host.why.get(place, f"there is no {place}"), "try again")
        return self.boxes[place]

    def _row(
        self, platform: Platform, spec: Spec, metric: str, block: int, phase: str
    ) -> Measurement:
        launcher = self.host.launcher(platform)
        return replace(blank(launcher, platform, spec, metric), block=block, phase=phase)

    def end(self) -> Iterator[Measurement]:
        """Take all of this part down."""
        with contextlib.suppress(*FAILURES):  # every row is made; what is left, the reaper ends
            self.own.close()
        yield from ()


def _no_gaps(row: Measurement, why: str) -> Iterator[Measurement]:
    for metric in ("gap_p50_s", "gap_p99_s"):
        yield failed(replace(row, metric=metric), why)


# ---- the plan -----------------------------------------------------------------------------------


def _name(row: Measurement) -> str:
    """Of the hog's container in one round: no name comes twice in a guest."""
    return f"hog-{row.block}-{row.confinement.split()[0]}"


def _arms(launcher: Launcher) -> list[Arm]:
    vm = blank(launcher, Platform.VM_DIRECT, GUEST, "gap_p50_s")
    inside = replace(
        blank(launcher, Platform.CONTAINER, DISPOSABLE, "gap_p50_s"),
        layer="mechanism",
        runtime=IN_A_GUEST,
    )
    without = replace(inside, confinement=WITHOUT)
    limited = replace(inside, confinement=WITH, mem_limit_mib=LIMITS_MIB)
    return [
        Arm(
            f"container {WITHOUT}",
            without,
            "their VM",
            "S",
            lambda box, block: hogs.in_container(
                box, _name(replace(without, block=block)), UNLIMITED
            ),
            lambda hog: given(DISPOSABLE.memory_mib, hog),
        ),
        Arm(
            f"container {WITH}",
            limited,
            "their VM",
            "S",
            lambda box, block: hogs.in_container(
                box,
                _name(replace(limited, block=block)),
                LIMITED,
                memory_mib=LIMITS_MIB,
                pids=LIMIT_PIDS,
                cpus=LIMIT_CPUS,
            ),
            group_limits,
        ),
        Arm(
            "VM",
            vm,
            "VM",
            "S",
            lambda box, block: hogs.in_guest(box, IN_VM),  # noqa: ARG005
            lambda hog: given(GUEST.memory_mib, hog),
        ),
    ]


def steps(context: Context, stack: contextlib.ExitStack, clock: Clock | None = None) -> list[Step]:
    """What this part does, step by step, with words for each.

    Without QEMU nothing but Docker's own container with limits, where there is Docker.
    """
    own = stack.enter_context(contextlib.ExitStack())
    greed = Greed(Host(context, own, clock or Clock()), own)
    chance = random.Random(context.seed)
    plan: list[Step] = []
    arms: list[Arm] = []
    places: list[str] = []
    if Platform.VM_DIRECT in context.launchers:
        arms = _arms(context.launchers[Platform.VM_DIRECT])
        places = ["their VM", "sibling VM", "VM"]
    if Platform.VM in context.launchers:
        places.append("distribution")
    plan += [(f"greed: opening {place}", partial(greed.open, place)) for place in places]
    for block in range(context.rounds):
        begun = [
            *((f"{arm.words}, starting", partial(greed.start, arm, block)) for arm in arms),
            *([("all quiet", partial(greed.quiet, arms, block))] if arms else ()),
        ]
        groups = [_of_arm(greed, arm, block) for arm in arms]
        busiest = next((p for p in ("distribution", "VM") if p in places), "")
        if "distribution" in places:
            groups.append([("a distribution: memory", partial(greed.distribution, block))])
        if busiest:
            groups.append([(f"{busiest}: processor", partial(greed.processor, busiest, block))])
        if Platform.CONTAINER in context.launchers:
            groups.append([("Docker’s container with limits", partial(greed.docker, block))])
        chance.shuffle(groups)
        steps_now = [*begun, *(step for group in groups for step in group)]
        plan += [(f"greed {block + 1}: {words}", step) for words, step in steps_now]
    return [*plan, ("greed: closing", greed.end)] if plan else []


def _of_arm(greed: Greed, arm: Arm, block: int) -> list[Step]:
    return [
        *(
            (f"{arm.words}, {phase}", partial(greed.stretch, arm, block, phase))
            for phase in (MEMORY, FORKS)
        ),
        (f"{arm.words}, ending", partial(greed.take_away, arm)),
    ]
