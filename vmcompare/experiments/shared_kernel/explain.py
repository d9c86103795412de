"""Shared kernel, explained: who shares a kernel, the ladder, and what a patch day costs.

Every function raises ``Unavailable`` where its rows are not there; an outcome is then ``None``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from vmcompare.errors import Unavailable, UnknownName
from vmcompare.evidence.claims import Undecided, observed
from vmcompare.evidence.view import MEASURED, NEXT, RECORDED, Column, View
from vmcompare.experiments.explanation import Explanation
from vmcompare.experiments.explanation import Row as Cells
from vmcompare.experiments.shared_kernel import ladder
from vmcompare.experiments.shared_kernel.facts import SETTINGS
from vmcompare.experiments.shared_kernel.instances import INSTANCES, PHASES
from vmcompare.measuring.experiment import Demo
from vmcompare.plots.dots import Dot, Panels, sliding_dots
from vmcompare.plots.grid import GridRow, changes, sharing
from vmcompare.plots.picture import Picture, WhatIf
from vmcompare.sandbox import EMULATION, Launcher, Machine, Platform, Series, Spec

HOSTS = 10
"""Computers of the patch day."""

explained = Explanation[View]()


# ---- instances ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Instance:
    """One instance in one run.

    Attributes:
        name: as in :data:`INSTANCES`.
        column: its observations.
        values: phase → what was read; empty where it did not answer.
        elsewhere: whether it is recorded, beside instances of this session's own run.
    """

    name: str
    column: Column
    values: Mapping[str, str]
    elsewhere: bool

    @property
    def label(self) -> str:
        """Its name, with a star where it is of another run than those before it."""
        return f"{self.name} *" if self.elsewhere else self.name

    @property
    def heading(self) -> str:
        """A short label on two lines."""
        short = self.name.replace("container ", "cont.\n").replace("-", "-\n")
        return f"{short}*" if self.elsewhere else short

    @property
    def boot_id(self) -> str:
        """Which start of which kernel answered."""
        return self.values.get("boot id", "")

    def key(self, phase: str) -> object:
        """What is compared: an inode number means something only under one kernel."""
        value = self.values.get(phase)
        apart = phase.endswith(" namespace") or phase == "kernel started"
        return (self.boot_id, value) if apart else value


def instances(view: View) -> list[Instance]:
    """Those that were asked, in the order of :data:`INSTANCES`: own ones, then recorded ones."""
    found: list[Instance] = []
    for shown in (MEASURED, RECORDED):
        elsewhere = bool(found)
        for who in INSTANCES:
            for column in view.columns(
                "observation", failed_too=True, platform=who.platform, rep=who.rep, shown=shown
            ):
                said = {phase: text for phase, text in column.texts().items() if phase in PHASES}
                if said or column.errors:
                    found.append(Instance(who.name, column, said, elsewhere))
    return found


def answered(view: View) -> list[Instance]:
    """Those instances that answered.

    Raises:
        Unavailable: none did.
    """
    found = [one for one in instances(view) if one.values]
    if not found:
        raise Unavailable("no instance has said whose kernel answers it", NEXT)
    return found


def fact(view: View, name: str) -> bool | None:
    """A fact of the view; ``None`` where it was not observed, or observations disagree."""
    try:
        return observed(name, view.frame)
    except Undecided:
        return None


@explained.figure("identity")
def identity_figure(view: View) -> Picture:
    """Who shares what: equal values of a row have the same letter."""
    found = answered(view)
    rows = [
        GridRow(
            phase,
            tuple(one.values.get(phase) for one in found),
            tuple(one.key(phase) for one in found),
        )
        for phase in PHASES
    ]
    silent = (
        f"No answer from {one.name}: {one.column.errors[0]}."
        for one in instances(view)
        if not one.values
    )
    picture = sharing(
        [one.heading for one in found],
        rows,
        caption=" ".join([f"{view.caption()}.", *silent]),
        what="Who shares what.",
    )
    return replace(
        picture,
        placeholders={
            "emulated": any(one.column.emulated for one in found),
            "second_distribution": any(one.name == "container C" for one in found),
            "elsewhere": any(one.elsewhere for one in found),
            "hidden_vm": bool(fact(view, "container_boot_id_is_a_hidden_vms")),
        },
    )


@explained.table("identity")
def identity_table(view: View) -> Iterator[Cells]:
    """One row an observation, one column an instance; the last row says where it comes from."""
    answered(view)
    found = instances(view)
    for phase in PHASES:
        yield {"observation": phase} | {one.label: one.values.get(phase, "–") for one in found}
    yield {"observation": "shown"} | {
        one.label: one.column.provenance if one.values else "failed; see above" for one in found
    }


@explained.table("kernels")
def kernels_table(view: View) -> Iterator[Cells]:
    """One row a kernel: its release, and who shares it."""
    kernels: dict[str, list[Instance]] = {}
    for one in answered(view):
        kernels.setdefault(one.boot_id, []).append(one)
    for boot_id, those in kernels.items():
        userlands = dict.fromkeys(one.values.get("userland", "–") for one in those)
        yield {
            "kernel (boot id)": boot_id,
            "release": those[0].values.get("kernel release", "–"),
            "answers": ", ".join(one.label for one in those),
            "userlands above it": "; ".join(userlands),
            "shown": those[0].column.provenance,
        }


@explained.table("probes")
def probes_table(view: View) -> Iterator[Cells]:
    """What was tried on the shared kernel and on a VM's own, and what became of it.

    Raises:
        Unavailable: nothing was tried.
    """
    rows = [*_settings_tried(view), *_processes_seen(view), *_sectors_started(view)]
    if not rows:
        raise Unavailable("nothing has been tried on a kernel yet", NEXT)
    for tried, columns, happened in rows:
        yield {
            "tried": tried,
            "in": columns[0].series.platform,
            "what happened": happened,
            "shown": " and ".join(dict.fromkeys(column.provenance for column in columns)),
        }


Tried = tuple[str, Sequence[Column], str]
"""What was tried, its rows, what happened."""


def _settings_tried(view: View) -> Iterator[Tried]:
    for platform in Platform:
        for phase, setting in SETTINGS.items():
            for column in view.columns(
                "observation", failed_too=True, platform=platform, phase=phase
            ):
                yield f"set {setting}", [column], column.texts().get(phase) or column.errors[0]


def _processes_seen(view: View) -> Iterator[Tried]:
    for inside in view.columns("item_count", phase="started inside"):
        seen = inside.same_in(view.columns("item_count", phase="in the host’s list"))
        if seen:
            happened = f"the host’s list shows {seen.values[0]:.0f} of them"
            yield f"start {inside.values[0]:.0f} processes", [inside], happened


def _sectors_started(view: View) -> Iterator[Tried]:
    for name, how in (
        ("non_linux_program_boots_in_container", "a program"),
        ("non_linux_program_boots_in_vm", "a disk’s first sector"),
    ):
        ran = fact(view, name)
        if ran is not None:
            columns = view.columns("fact", phase=name)
            said = columns[0].texts()[name] or ("it printed its message" if ran else "nothing")
            yield f"start 512 bytes that are not for Linux, as {how}", columns, said


@explained.outcome("kernels", Platform.PROCESS, Platform.CONTAINER)
def kernels_of_five(view: View) -> float | None:
    """How many kernels answer all instances but the second distribution's, within one run."""
    for run_id in dict.fromkeys(one.column.run_id for one in instances(view)):
        boot_ids = [
            one.boot_id
            for one in instances(view)
            if one.column.run_id == run_id and one.boot_id and one.name != "container C"
        ]
        if len(boot_ids) == 5:
            return float(len(set(boot_ids)))
    return None


@explained.outcome("seen_by_host", Platform.CONTAINER)
def _seen_by_host(view: View) -> float | None:
    found = view.columns("item_count", phase="in the host’s list", platform=Platform.CONTAINER)
    return found[0].values[0] if found else None


@explained.whatif("patch_day")
def patch_day(view: View) -> WhatIf:
    """Kernels to patch on ten hosts, from the number of kernels that instances brought along."""
    found = [one for one in answered(view) if one.boot_id]
    shares = {
        Series(Platform.CONTAINER): _kernels_each(found, Platform.CONTAINER),
        Series(Platform.VM): _kernels_each(found, Platform.VM_DIRECT, Platform.VM),
    }
    known = {series: share for series, share in shares.items() if share is not None}
    if not known:
        raise Unavailable("neither a container nor a VM was seen beside a host", NEXT)
    hidden = bool(fact(view, "container_boot_id_is_a_hidden_vms"))
    fixed = 2 if hidden else 1

    def panels(each: float) -> Panels:
        patched, stopped = [], []
        for series, share in known.items():
            kernels = HOSTS * (fixed + share * each)
            patched.append(Dot(series, series.label, kernels, f"{kernels:,.0f}"))
            # An instance with a kernel of its own stops alone when that one restarts.
            alone = 1 if share >= 1 else each
            stopped.append(Dot(series, series.label, alone, f"{alone:,.0f}"))
        return {
            f"Kernels to patch on {HOSTS} hosts": patched,
            "Instances that stop when one such kernel restarts": stopped,
        }

    return sliding_dots(
        panels,
        (1, 2, 3, 4, 5, 7, 10, 13, 16, 20, 25, 30, 35, 40, 50, 60, 70, 80, 90, 100),
        start=20,
        said="{:g} instances a host.",
        placeholders={
            "hosts": HOSTS,
            "kernels_of_host": fixed,
            "shares": ", ".join(f"{series.label} {share:g}" for series, share in known.items()),
            "hidden_vm": hidden,
            "source": view.caption(),
        },
    )


def _kernels_each(found: Sequence[Instance], *platforms: Platform) -> float | None:
    """Kernels an instance brings along: those that no host had, over the number of instances.

    Of the containers' kernels one is their host's, be it that of a hidden VM.
    """
    those = [one for one in found if one.column.series.platform in platforms]
    if not those:
        return None
    kernels = len({(one.column.run_id, one.boot_id) for one in those})
    return (kernels - (Platform.CONTAINER in platforms)) / len(those)


# ---- the ladder ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Rung:
    """One line of the ladder and what was seen at its end.

    Attributes:
        name: of the rung.
        line: what was typed; empty where it failed.
        seen: observation → value; empty where it failed.
        why: why it failed, or empty.
    """

    name: str
    line: str
    seen: Mapping[str, str]
    why: str = ""


@dataclass(frozen=True, slots=True)
class Ladder:
    """A ladder that was climbed.

    Attributes:
        rungs: the start and all rungs, in the order in which they were tried.
        less: rung → what was seen when it alone was left out.
        ground: where it was climbed.
        column: the rows of its start.
    """

    rungs: Sequence[Rung]
    less: Mapping[str, Rung]
    ground: ladder.Ground
    column: Column


def climbed(view: View) -> Ladder:
    """The ladder to show: an own one before a recorded one, a guest's before the host's.

    Raises:
        Unavailable: none was climbed.
    """
    for shown in (MEASURED, RECORDED):
        for ground in (ladder.GUEST, ladder.HOST):
            tried = {
                climb.name: column
                for climb in ground.climbs()
                for column in view.columns(
                    "observation",
                    failed_too=True,
                    platform=ground.platform,
                    shown=shown,
                    phase=climb.name,
                )
            }
            rungs = [_rung(n, tried[n]) for n in (ladder.START, *ground.order) if n in tried]
            if rungs and rungs[0].seen and any(rung.seen for rung in rungs[1:]):
                omitted = {name: ladder.all_but(name) for name in ground.order}
                less = {r: _rung(n, tried[n]) for r, n in omitted.items() if n in tried}
                return Ladder(rungs, less, ground, tried[rungs[0].name])
    raise Unavailable("no ladder has been climbed", NEXT)


def _rung(name: str, column: Column) -> Rung:
    if not column.n:
        return Rung(name, "", {}, column.errors[0])
    seen = ladder.read(column.texts()[name])
    return Rung(name, seen.pop(ladder.LINE, ""), seen)


def left_out(view: View, rung: str) -> Rung:
    """What was seen with all rungs but one.

    Raises:
        Unavailable: it was not tried, or failed.
    """
    found = climbed(view).less.get(rung)
    if found is None or not found.seen:
        why = f" ({found.why})" if found else ""
        raise Unavailable(f"the ladder without {rung} has not been climbed{why}", NEXT)
    return found


def top(view: View) -> Rung:
    """What was seen with all rungs. Raises ``Unavailable`` without it."""
    last = climbed(view).rungs[-1]
    if last.name != ladder.RUNGS[-1] or not last.seen:
        raise Unavailable("the ladder was not climbed to its top", NEXT)
    return last


def moved(before: Rung, after: Rung) -> dict[str, str]:
    """Observation → ``"up → down"``, of those that differ."""
    one, other = before.seen, after.seen
    return {
        name: f"{one[name]} → {other[name]}"
        for name in other
        if name in one and not ladder.same(name, one[name], other[name])
    }


@explained.figure("ladder")
def ladder_figure(view: View) -> Picture:
    """Rungs from left to right; a filled cell differs from the one before it."""
    found = climbed(view)
    return replace(
        _grid(found.rungs, _caption(view, found)),
        placeholders={
            "emulated": found.column.emulated,
            "ordinary_user": found.ground is ladder.HOST,
        },
    )


@explained.table("ladder")
def ladder_table(view: View) -> Iterator[Cells]:
    """One row a rung: the line that was typed, and what it changed."""
    found = climbed(view)
    before: Rung | None = None
    for rung in found.rungs:
        changed = "–"
        if before and rung.seen:
            moves = moved(before, rung).items()
            changed = "; ".join(f"{name}: {words}" for name, words in moves) or "nothing"
        elif not rung.seen:
            changed = f"failed: {rung.why}"
        yield {
            "rung": rung.name,
            "line": rung.line or "–",
            "what changed": changed,
            "shown": found.column.provenance,
        }
        before = rung if rung.seen else before


@explained.outcome("rungs", Platform.PROCESS)
def rungs_that_change_something(view: View) -> float | None:
    """How many rungs change what the observer sees; ``None`` unless all were climbed."""
    try:
        rungs = climbed(view).rungs
    except Unavailable:
        return None
    if len(rungs) <= len(ladder.RUNGS) or not all(rung.seen for rung in rungs):
        return None
    return float(sum(bool(moved(one, other)) for one, other in pairwise(rungs)))


def _climb_now(launchers: Mapping[Platform, Launcher], options: Mapping[str, Any]) -> Picture:
    """The ladder with and without a rung, in a guest of its own."""
    less = ladder.without(_chosen(options))
    spec = Spec(machine=Machine.PC)
    launcher = launchers[Platform.VM_DIRECT]
    climbs = (ladder.Climb(ladder.START, ()), ladder.Climb("all rungs", ladder.RUNGS), less)
    with launcher.open(spec, lambda _: None) as box:
        ladder.GUEST.prepare(box)
        seen = {c.name: ladder.GUEST.climb(box, c) for c in climbs}
    found = [Rung(name, one.pop(ladder.LINE), one) for name, one in seen.items()]
    where = _where(ladder.GUEST, emulated=launcher.traits(spec).emulated)
    typed = f"The last line was: {found[-1].line}."
    return _grid(found, f"{MEASURED} just now, {where}. {typed}", against=1)


def _climb_again(view: View) -> Picture:
    """The same from rows, with every rung left out once."""
    found = climbed(view)
    rungs = [found.rungs[0], Rung("all rungs", "", top(view).seen), *found.less.values()]
    return _grid(rungs, _caption(view, found), against=1)


explained.demo("ladder", Demo((Platform.VM_DIRECT,), _climb_now, _climb_again))


def _chosen(options: Mapping[str, Any]) -> str:
    rung = str(options.get("without", "pid"))
    if rung not in ladder.RUNGS:
        raise UnknownName("rung", rung, ladder.RUNGS)
    return rung


def _caption(view: View, found: Ladder) -> str:
    failed = [f"{rung.name} ({rung.why})" for rung in found.rungs if not rung.seen]
    words = [f"{view.caption()}. Climbed {_where(found.ground, emulated=found.column.emulated)}."]
    if failed:
        words.append(f"Rungs that failed: {'; '.join(failed)}.")
    return " ".join(words)


def _where(ground: ladder.Ground, *, emulated: bool) -> str:
    if ground is ladder.HOST:
        return "on the host itself by an ordinary user"
    return f"in a guest under {EMULATION}" if emulated else "in a guest"


def _grid(found: Sequence[Rung], caption: str, against: int | None = None) -> Picture:
    """The grid of rungs; columns behind ``against`` are set beside that one, not the one before."""
    there = [rung for rung in found if rung.seen]
    rows = []
    for name in there[0].seen:
        told = [rung.seen.get(name, ladder.UNKNOWN) for rung in there]
        values = [None if value == ladder.UNKNOWN else value for value in told]
        keys: list[object] = []
        for value in values:  # counts that differ a little are the same value
            same = (k for k in keys if value and ladder.same(name, str(k), value))
            keys.append(next(same, value))
        rows.append(GridRow(name, tuple(values), tuple(keys)))
    before = [max(0, place - 1) for place in range(len(there))]
    return changes(
        [rung.name for rung in there],
        rows,
        caption=caption,
        before=before if against is None else [min(place, against) for place in before],
        what="A container made by hand.",
    )
