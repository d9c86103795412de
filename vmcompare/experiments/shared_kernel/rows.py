"""What the rows of a view say, as things to draw: instances, rungs, counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from vmcompare.errors import Unavailable
from vmcompare.evidence.claims import Undecided, observed
from vmcompare.evidence.view import MEASURED, NEXT, RECORDED, View, emulated
from vmcompare.experiments.shared_kernel import ladder
from vmcompare.experiments.shared_kernel.facts import SETTINGS
from vmcompare.experiments.shared_kernel.instances import INSTANCES, PHASES
from vmcompare.sandbox import EMULATION, Platform

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True)
class Instance:
    """One column of the table.

    Attributes:
        name: as in ``measure.INSTANCES``.
        platform: its platform.
        values: phase → what was read; empty for one that failed.
        why: why it failed, or empty.
        shown: ``"measured"`` or ``"recorded"``.
        run_id: the run.
        emulated: whether it ran under software emulation.
        elsewhere: whether it is a recorded one beside own ones, perhaps of another computer.
    """

    name: str
    platform: Platform
    values: Mapping[str, str]
    why: str
    shown: str
    run_id: str
    emulated: bool
    elsewhere: bool = False

    @property
    def label(self) -> str:
        """Its name, with a star where it is of another run than those before it."""
        return f"{self.name} *" if self.elsewhere else self.name

    @property
    def kernel(self) -> str:
        """The boot id: which kernel answered, from which start."""
        return self.values.get("boot id", "")

    def key(self, phase: str) -> object:
        """What is compared: an inode number means something only under one kernel."""
        value = self.values.get(phase)
        apart = phase.endswith(" namespace") or phase == "kernel started"
        return (self.kernel, value) if apart else value


@lru_cache(maxsize=16)
def instances(view: View) -> Sequence[Instance]:
    """The instances that the view tells of, in the order of the table; failed ones too.

    Own ones come first; recorded ones of another run follow, with their own host.
    """
    frame = _observations(view)
    own = _of_run(frame[frame["shown"] == MEASURED], elsewhere=False)
    recorded = _of_run(frame[frame["shown"] == RECORDED], elsewhere=bool(own))
    return (*own, *recorded)


def _of_run(frame: pd.DataFrame, *, elsewhere: bool) -> list[Instance]:
    found = []
    for who in INSTANCES:
        rows = frame[
            (frame["platform"] == str(who.platform))
            & (frame["rep"] == who.rep)
            & frame["phase"].isin(PHASES)
        ]
        if rows.empty:
            continue
        good = rows[rows["status"] == "ok"]
        first = rows.iloc[0]
        found.append(
            Instance(
                who.name,
                who.platform,
                dict(zip(good["phase"], good["text"], strict=True)),
                "" if len(good) else str(first["error"]),
                str(first["shown"]),
                str(first["run_id"]),
                emulated(rows),
                elsewhere,
            )
        )
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


@dataclass(frozen=True, slots=True)
class Rung:
    """One line of the ladder and what was seen at its end.

    Attributes:
        name: of the rung.
        line: what was typed; empty where it failed.
        seen: observation → value.
        why: why it failed, or empty.
    """

    name: str
    line: str
    seen: Mapping[str, str]
    why: str = ""


@dataclass(frozen=True, slots=True)
class Ladder:
    """One ladder.

    Attributes:
        rungs: the start and all rungs, in the order in which they were tried.
        less: rung → what was seen when it alone was left out.
        in_guest: whether it was climbed in a guest.
        emulated: whether that ran under software emulation.
        shown: ``"measured"`` or ``"recorded"``.
    """

    rungs: tuple[Rung, ...]
    less: Mapping[str, Rung]
    in_guest: bool
    emulated: bool
    shown: str


@lru_cache(maxsize=16)
def climbed(view: View) -> Ladder:
    """The ladder to show: an own one before a recorded one, a guest's before the host's.

    Raises:
        Unavailable: none was climbed.
    """
    frame = _observations(view)
    steps = {ladder.START, *ladder.RUNGS}
    for shown in (MEASURED, RECORDED):
        for platform in (Platform.VM_DIRECT, Platform.PROCESS):
            those = frame[(frame["shown"] == shown) & (frame["platform"] == str(platform))]
            rows = those[those["phase"].isin(steps)].sort_values("rep")
            found = tuple(_rung(row) for row in rows.to_dict("records"))
            if not found or not found[0].seen or not any(rung.seen for rung in found[1:]):
                continue
            omitted = {ladder.all_but(rung): rung for rung in ladder.RUNGS}
            less = those[those["phase"].isin(omitted)].to_dict("records")
            return Ladder(
                found,
                {omitted[str(row["phase"])]: _rung(row) for row in less},
                platform is Platform.VM_DIRECT,
                emulated(rows),
                shown,
            )
    raise Unavailable("no ladder has been climbed", NEXT)


def left_out(view: View, rung: str) -> Rung:
    """What was seen with all rungs but one.

    Raises:
        Unavailable: it was not tried, or failed.
    """
    found = climbed(view).less.get(rung)
    if found is None or not found.seen:
        why = f" ({found.why})" if found and found.why else ""
        raise Unavailable(f"the ladder without {rung} has not been climbed{why}", NEXT)
    return found


def top(view: View) -> Rung:
    """What was seen with all rungs. Raises ``Unavailable`` without it."""
    last = climbed(view).rungs[-1]
    if last.name != ladder.RUNGS[-1] or not last.seen:
        raise Unavailable("the ladder was not climbed to its top", NEXT)
    return last


def moved(one: Mapping[str, str], other: Mapping[str, str]) -> list[str]:
    """The observations that differ."""
    return [n for n in other if n in one and not ladder.same(n, one[n], other[n])]


def count(view: View, platform: Platform, phase: str) -> float | None:
    """An ``item_count`` of the view."""
    if view.frame.empty:
        return None
    rows = view.values(metric="item_count", phase=phase, platform=str(platform))
    return float(rows["value"].iloc[0]) if len(rows) else None


def provenance(view: View, metric: str, **where: str) -> str:
    """How those rows are shown, and whether a machine among them was emulated; for one cell."""
    return shown_as(view.values(metric=metric, **where))


def shown_as(rows: pd.DataFrame) -> str:
    """:func:`provenance` of rows at hand."""
    words = " and ".join(dict.fromkeys(map(str, rows["shown"])))
    return f"{words}, {EMULATION}" if emulated(rows) else words


def settings(view: View) -> Sequence[Mapping[str, Any]]:
    """The observations of kernel settings, as mappings of row columns."""
    frame = _observations(view)
    rows = frame[frame["phase"].isin(SETTINGS)].sort_values(["platform", "phase"])
    return [{str(k): v for k, v in row.items()} for row in rows.to_dict("records")]


def fact(view: View, name: str) -> bool | None:
    """A fact of the view; ``None`` where it was not observed, or observations disagree."""
    try:
        return observed(name, view.frame)
    except Undecided:
        return None


def _rung(row: Mapping[Any, Any]) -> Rung:
    name = str(row["phase"])
    if row["status"] != "ok":
        return Rung(name, "", {}, str(row["error"]))
    seen = ladder.read(str(row["text"]))
    return Rung(name, seen.pop(ladder.LINE, ""), seen)


def _observations(view: View) -> pd.DataFrame:
    frame = view.frame
    return frame[frame["metric"] == "observation"]
