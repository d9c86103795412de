"""Shared kernel, explained: who shares a kernel, and a container made by hand.

Every function raises ``Unavailable`` where its rows are not there; an outcome is then ``None``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from markupsafe import Markup

from vmcompare.errors import Unavailable
from vmcompare.evidence.claims import Undecided, observed
from vmcompare.evidence.view import MEASURED, NEXT, RECORDED, Column, View
from vmcompare.experiments.explanation import Explanation, Row
from vmcompare.experiments.shared_kernel import by_hand
from vmcompare.experiments.shared_kernel.measure import CLOCK, INSTANCES, PHASES
from vmcompare.measuring.experiment import Demo
from vmcompare.plots.grid import GridRow, changes, sharing
from vmcompare.plots.picture import Picture
from vmcompare.sandbox import Launcher, Machine, Platform, Spec

LOOKS = (
    "kernel release", "boot id", "userland", "mounts seen", "processes seen", "loopback network",
    "make a device", "nested processes", "make a directory",
)  # fmt: skip
"""Rows of the picture of a container made by hand: what no step changes, then one for each step."""

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
            "cgroup_v1": any(
                source.host.get("cgroup_version") == 1
                for source in view.sources
                if Platform.CONTAINER in source.platforms
            ),
            "hidden_vm": bool(fact(view, "container_boot_id_is_a_hidden_vms")),
        },
    )


@explained.table("kernels")
def kernels_table(view: View) -> Iterator[Row]:
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


@explained.table("probes", lacking="attempt on a kernel")
def probes_table(view: View) -> Iterator[Row]:
    """What was tried on the shared kernel and on a VM's own, and what became of it."""

    def row(tried: str, column: Column, happened: str) -> Row:
        where = {"tried": tried, "in": column.series.platform}
        return {**where, "what happened": happened, "shown": column.provenance}

    for inside in view.columns("item_count", phase="started inside"):
        if seen := inside.same_in(view.columns("item_count", phase="in the host’s list")):
            happened = f"the host’s list shows {seen.values[0]:.0f} of them"
            yield row(f"start {inside.values[0]:.0f} processes", inside, happened)
    for column in view.columns("observation", failed_too=True, phase=CLOCK):
        yield row("set the clock", column, column.texts().get(CLOCK) or column.errors[0])
    for name, how in (
        ("other_kernel_starts_in_container", "as a program in Linux’s format"),
        ("other_kernel_starts_in_vm", "as a VM’s kernel"),
    ):
        if (ran := fact(view, name)) is not None:
            column = view.columns("fact", phase=name)[0]
            said = column.texts()[name] or ("it printed its message" if ran else "nothing")
            yield row(f"start a kernel that is not Linux, {how}", column, said)


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


# ---- a container made by hand -------------------------------------------------------------------


def steps_of(view: View) -> Mapping[str, Column]:
    """Name of a step → its rows, which may have failed; of an own run before a recorded one.

    Raises ``Unavailable``: none was tried.
    """
    for shown in (MEASURED, RECORDED):
        where = {"platform": Platform.VM_DIRECT, "shown": shown}
        found = {
            name: column
            for name in by_hand.lines()
            for column in view.columns("observation", failed_too=True, phase=name, **where)
        }
        able = [name for name, column in found.items() if column.n]
        if len(able) > 1 and able[0] == by_hand.START:
            return found
    raise Unavailable("no container has been made by hand", NEXT)


def _seen(found: Mapping[str, Column], name: str) -> Mapping[str, str]:
    """What was seen at the end of a line. Raises ``Unavailable``: it was not tried, or failed."""
    column = found.get(name)
    if column is None or not column.n:
        why = f" ({column.errors[0]})" if column else ""
        raise Unavailable(f"the step “{name}” has not been tried{why}", NEXT)
    return by_hand.read(column.texts()[name])


@explained.figure("by_hand")
def by_hand_figure(view: View) -> Picture:
    """Steps from left to right; a filled cell differs from the one before it."""
    found = steps_of(view)
    tried = [name for name in (by_hand.START, *by_hand.STEPS) if name in found]
    there = [name for name in tried if found[name].n]
    failed = [f"{name} ({found[name].errors[0]})" for name in tried if name not in there]
    seen = [_seen(found, name) for name in there]
    rows = []
    for name in LOOKS:
        told = [one.get(name, by_hand.UNKNOWN) for one in seen]
        values = [None if value == by_hand.UNKNOWN else value for value in told]
        keys: list[object] = []
        for value in values:  # counts that differ a little are the same value
            same = (k for k in keys if value and by_hand.same(name, str(k), value))
            keys.append(next(same, value))
        rows.append(GridRow(name, tuple(values), tuple(keys)))
    picture = changes(there, rows, caption=f"{view.caption()}.", what="A container made by hand.")
    emulated = found[by_hand.START].emulated
    return replace(picture, placeholders={"emulated": emulated, "failed": "; ".join(failed)})


@explained.outcome("seen_by_first", Platform.VM_DIRECT)
def seen_by_first(view: View) -> float | None:
    """How many processes the first one of a namespace sees where the old ``/proc`` is mounted."""
    try:
        seen = _seen(steps_of(view), by_hand.all_but("mount")).get("processes seen", "")
    except Unavailable:
        return None
    return float(seen) if seen.isdigit() else None


@dataclass(frozen=True, slots=True)
class Step:
    """A line as people type it, what it changed (``"up → down"``), and how that is known."""

    name: str
    line: str
    changed: Mapping[str, str]
    where: str

    def _repr_html_(self) -> str:
        said = [Markup("{}: {}").format(*pair) for pair in self.changed.items()]
        wrapped = "white-space:pre-wrap;word-break:normal"  # JupyterLab breaks within words
        line = Markup('<pre style="{}">{}</pre>').format(wrapped, self.line)
        words = Markup("<p><b>{}</b> changed {} <small>({})</small></p>")
        return line + words.format(self.name, Markup("; ").join(said) or "nothing", self.where)

    def __repr__(self) -> str:
        said = "; ".join(f"{name}: {words}" for name, words in self.changed.items())
        return f"{self.line}\n{said or 'nothing changed'} ({self.where})"


def _step(name: str, before: Mapping[str, str], after: Mapping[str, str], where: str) -> Step:
    changed = {
        look: f"{before[look]} → {value}"
        for look, value in after.items()
        if look in before and not by_hand.same(look, before[look], value)
    }
    return Step(name, by_hand.typed(by_hand.line(by_hand.lines()[name])), changed, where)


def _before(name: str) -> str:
    """What a line is compared with: the step before it; all steps where one was left out."""
    able = [by_hand.START, *by_hand.STEPS]
    return able[able.index(name) - 1] if name in able else able[-1]


def _step_now(name: str, launchers: Mapping[Platform, Launcher], _: Mapping[str, Any]) -> Step:
    """The line in a guest of its own, after the one before it."""
    with launchers[Platform.VM_DIRECT].open(Spec(machine=Machine.PC), lambda _: None) as box:
        by_hand.prepare(box)
        before, after = (by_hand.look(box, one) for one in (_before(name), name))
    del after[by_hand.LINE]
    return _step(name, before, after, f"{MEASURED} just now, in a VM")


def _step_again(name: str, view: View) -> Step:
    """The same from rows."""
    found = steps_of(view)
    after, before = _seen(found, name), _seen(found, _before(name))
    return _step(name, before, after, found[by_hand.START].shown)


for _name in list(by_hand.lines())[1:]:  # all but the start
    _demo = Demo((Platform.VM_DIRECT,), partial(_step_now, _name), partial(_step_again, _name))
    explained.demo(_name, _demo)
