"""Shared kernel, explained: who shares a kernel, the ladder, and what a patch day costs.

Every function raises ``Unavailable`` where its rows are not there; an outcome is then ``None``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from markupsafe import Markup

from vmcompare.errors import Unavailable
from vmcompare.evidence.claims import Undecided, observed
from vmcompare.evidence.view import MEASURED, NEXT, RECORDED, Column, View
from vmcompare.experiments.explanation import Explanation
from vmcompare.experiments.explanation import Row as Cells
from vmcompare.experiments.shared_kernel import ladder
from vmcompare.experiments.shared_kernel.facts import CLOCK
from vmcompare.experiments.shared_kernel.instances import INSTANCES, PHASES
from vmcompare.measuring.experiment import Demo
from vmcompare.plots.dots import Dot, Panels, sliding_dots
from vmcompare.plots.grid import GridRow, changes, sharing
from vmcompare.plots.picture import Picture, WhatIf
from vmcompare.sandbox import Launcher, Machine, Platform, Series, Spec

HOSTS = 10
"""Computers of the patch day."""

LOOKS = (
    "kernel release", "boot id", "files of", "mounts seen", "processes seen", "loopback network",
    "make a device", "nested processes", "make a directory",
)  # fmt: skip
"""Observations of the ladder's picture: what no rung changes, then one for each rung."""

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
        return (self.boot_id, value) if phase.endswith(" namespace") else value


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
    """Those instances that answered. Raises ``Unavailable``: none did."""
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
            "instances above it": ", ".join(one.label for one in those),
            "userlands above it": "; ".join(userlands),
            "shown": those[0].column.provenance,
        }


@explained.table("probes")
def probes_table(view: View) -> Iterator[Cells]:
    """What was tried on the shared kernel and on a VM's own, and what became of it.

    Raises ``Unavailable``: nothing was tried.
    """
    rows = list(_tried(view))
    if not rows:
        raise Unavailable("nothing has been tried on a kernel yet", NEXT)
    for tried, column, happened in rows:
        yield {
            "tried": tried,
            "in": column.series.platform,
            "what happened": happened,
            "shown": column.provenance,
        }


def _tried(view: View) -> Iterator[tuple[str, Column, str]]:
    """What was tried, its rows, what happened."""
    for inside in view.columns("item_count", phase="started inside"):
        if seen := inside.same_in(view.columns("item_count", phase="in the host’s list")):
            happened = f"the host’s list shows {seen.values[0]:.0f} of them"
            yield f"start {inside.values[0]:.0f} processes", inside, happened
    for column in view.columns("observation", failed_too=True, phase=CLOCK):
        yield "set the clock", column, column.texts().get(CLOCK) or column.errors[0]
    for name, how in (
        ("other_kernel_starts_in_container", "as a program"),
        ("other_kernel_starts_in_vm", "as a VM’s kernel"),
    ):
        if (ran := fact(view, name)) is not None:
            column = view.columns("fact", phase=name)[0]
            said = column.texts()[name] or ("it printed its message" if ran else "nothing")
            yield f"start a kernel that is not Linux, {how}", column, said


@explained.outcome("kernels", Platform.PROCESS, Platform.CONTAINER)
def kernels_of_all(view: View) -> float | None:
    """How many kernels answer all instances within one run; the second distribution may lack."""
    runs: dict[str, dict[str, str]] = {}
    for one in instances(view):
        if one.boot_id:
            runs.setdefault(one.column.run_id, {})[one.name] = one.boot_id
    needed = {who.name for who in INSTANCES} - {"container C"}
    whole = (found for found in runs.values() if needed <= found.keys())
    return next((float(len(set(found.values()))) for found in whole), None)


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
        name: of the climb.
        line: as people type it.
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
        climbs: name → what was seen, of all that were tried.
        column: the rows of its start.
    """

    climbs: Mapping[str, Rung]
    column: Column

    @property
    def rungs(self) -> list[Rung]:
        """The start and all rungs, in the order in which they were tried."""
        names = (ladder.START, *ladder.RUNGS)
        return [self.climbs[name] for name in names if name in self.climbs]

    def need(self, name: str) -> Rung:
        """A climb that succeeded. Raises ``Unavailable``: it was not tried, or failed."""
        found = self.climbs.get(name)
        if found is None or not found.seen:
            why = f" ({found.why})" if found else ""
            raise Unavailable(f"the line “{name}” has not been climbed{why}", NEXT)
        return found


def climbed(view: View) -> Ladder:
    """The ladder to show: an own one before a recorded one.

    Raises ``Unavailable``: none was climbed.
    """
    for shown in (MEASURED, RECORDED):
        where = {"platform": Platform.VM_DIRECT, "shown": shown}
        tried = {
            name: column
            for name in ladder.climbs()
            for column in view.columns("observation", failed_too=True, phase=name, **where)
        }
        climbs = {name: _rung(name, column) for name, column in tried.items()}
        found = [rung for rung in climbs.values() if rung.seen]
        if len(found) > 1 and found[0].name == ladder.START:
            return Ladder(climbs, tried[ladder.START])
    raise Unavailable("no ladder has been climbed", NEXT)


def _rung(name: str, column: Column) -> Rung:
    if not column.n:
        return Rung(name, "", {}, column.errors[0])
    line = ladder.typed(ladder.line(ladder.climbs()[name]))
    return Rung(name, line, ladder.read(column.texts()[name]))


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
    failed = [f"{rung.name} ({rung.why})" for rung in found.rungs if not rung.seen]
    there = [rung for rung in found.rungs if rung.seen]
    rows = []
    for name in LOOKS:
        told = [rung.seen.get(name, ladder.UNKNOWN) for rung in there]
        values = [None if value == ladder.UNKNOWN else value for value in told]
        keys: list[object] = []
        for value in values:  # counts that differ a little are the same value
            same = (k for k in keys if value and ladder.same(name, str(k), value))
            keys.append(next(same, value))
        rows.append(GridRow(name, tuple(values), tuple(keys)))
    return replace(
        changes(
            [rung.name for rung in there],
            rows,
            caption=f"{view.caption()}.",
            what="A container made by hand.",
        ),
        placeholders={
            "emulated": found.column.emulated,
            "failed": "; ".join(failed),
        },
    )


@explained.outcome("seen_by_first", Platform.VM_DIRECT)
def seen_by_first(view: View) -> float | None:
    """How many processes the first one of a namespace sees where the old ``/proc`` is mounted."""
    try:
        seen = climbed(view).need(ladder.all_but("mount")).seen.get("processes seen", "")
    except Unavailable:
        return None
    return float(seen) if seen.isdigit() else None


@dataclass(frozen=True, slots=True)
class Answered:
    """A line, and what it changed.

    Attributes:
        rung: the line and what was seen at its end.
        changed: observation → ``"up → down"``.
        where: how it came about.
    """

    rung: Rung
    changed: Mapping[str, str]
    where: str

    def _repr_html_(self) -> str:
        said = [Markup("{}: {}").format(*pair) for pair in self.changed.items()]
        wrapped = "white-space:pre-wrap;word-break:normal"  # JupyterLab breaks within words
        line = Markup('<pre style="{}">{}</pre>').format(wrapped, self.rung.line)
        changes = Markup("; ").join(said) or "nothing"
        words = Markup("<p><b>{}</b> changed {} <small>({})</small></p>")
        return line + words.format(self.rung.name, changes, self.where)

    def __repr__(self) -> str:
        said = "; ".join(f"{name}: {words}" for name, words in self.changed.items())
        return f"{self.rung.line}\n{said or 'nothing changed'} ({self.where})"


def _before(name: str) -> str:
    """What a climb is compared with: the rung below it; all rungs where one was left out."""
    able = [ladder.START, *ladder.RUNGS]
    return able[able.index(name) - 1] if name in able else able[-1]


def _climb_now(name: str, launchers: Mapping[Platform, Launcher], _: Mapping[str, Any]) -> Answered:
    """The line in a guest of its own, and the one before it."""
    with launchers[Platform.VM_DIRECT].open(Spec(machine=Machine.PC), lambda _: None) as box:
        ladder.prepare(box)
        climbs = [(one, ladder.climb(box, one)) for one in (_before(name), name)]
    before, after = (Rung(one, ladder.typed(seen.pop(ladder.LINE)), seen) for one, seen in climbs)
    return Answered(after, moved(before, after), f"{MEASURED} just now, in a VM")


def _climb_again(name: str, view: View) -> Answered:
    """The same from rows."""
    found = climbed(view)
    after, before = found.need(name), found.need(_before(name))
    return Answered(after, moved(before, after), found.column.shown)


for _name in ladder.climbs():
    if _name != ladder.START:
        _demo = Demo(
            (Platform.VM_DIRECT,), partial(_climb_now, _name), partial(_climb_again, _name)
        )
        explained.demo(_name, _demo)
