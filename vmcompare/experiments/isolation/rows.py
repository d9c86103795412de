"""What the rows of a view say, as things to draw: answers of probes, what was read, heartbeats.

An *arm* is one way of holding a program: on a platform, with one flag that differs from the
default. A view may hold rows of two runs; an arm is of one run, this session's where it has any.
The names in rows (a runtime, a flag, an event) are those of the modules that write them.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vmcompare.errors import Unavailable
from vmcompare.evidence.view import MEASURED, NEXT, View, emulated
from vmcompare.experiments.isolation import heartbeats, kernel_panic
from vmcompare.experiments.isolation.boundaries import BRIDGE, OWN_NETWORKS
from vmcompare.experiments.isolation.guest_containers import NO_CONTAINER
from vmcompare.experiments.isolation.kernel_panic import EVENT
from vmcompare.experiments.isolation.probes import (
    FLIPS,
    HOST,
    ITSELF,
    NEIGHBOUR,
    OWN_KERNEL,
    PROBES,
    changed,
)
from vmcompare.sandbox import Platform

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of one probe.

    Attributes:
        got_through: whether it reached what it was aimed at; ``None`` where it was not made.
        text: the plain answer (``"EPERM"``), or why it was not made.
    """

    got_through: bool | None
    text: str

    @property
    def by_own_kernel(self) -> bool:
        """Whether a VM's own kernel granted it."""
        return self.text == OWN_KERNEL


@dataclass(frozen=True, slots=True)
class Arm:
    """One column of a grid.

    Attributes:
        platform: its platform.
        confinement: the flag that differs; empty for the default.
        nested: whether its host is the disposable VM.
        answers: probe → answer.
        read: what was asked (``"capabilities"``) → what was read; not of neighbours.
        shown: ``"measured"`` or ``"recorded"``.
        run_id: the run.
        emulated: whether software emulation had a part in it.
    """

    platform: Platform
    confinement: str
    nested: bool
    answers: Mapping[str, Answer]
    read: Mapping[str, str]
    shown: str
    run_id: str
    emulated: bool

    def through(self) -> list[str]:
        """Names of the probes aimed at the host that got through."""
        return [n for n in of_host(self.answers) if self.answers[n].got_through]

    def denied(self) -> list[str]:
        """Names of the probes aimed at the host that were refused."""
        made = [n for n in of_host(self.answers) if self.answers[n].got_through is not None]
        return [n for n in made if not self.answers[n].got_through]

    def made(self) -> list[str]:
        """Names of the probes at the host and for itself that were made."""
        return [n for n in of_walls(self.answers) if self.answers[n].got_through is not None]


def of_host(names: Iterable[str]) -> list[str]:
    """Those of ``names`` that are aimed at the host, in the registered order."""
    return _aimed(names, HOST)


def of_itself(names: Iterable[str]) -> list[str]:
    """Those of ``names`` that an instance needs for itself, in the registered order."""
    return _aimed(names, ITSELF)


def of_walls(names: Iterable[str]) -> list[str]:
    """Those at the host, then those for itself: all that one flag may turn."""
    return _aimed(names, HOST, ITSELF)


def of_neighbour(names: Iterable[str]) -> list[str]:
    """Those of ``names`` that are aimed at a neighbour, in the registered order."""
    return _aimed(names, NEIGHBOUR)


def _aimed(names: Iterable[str], *aims: str) -> list[str]:
    wanted = set(names)
    return [n for aim in aims for n, probe in PROBES.items() if n in wanted and probe.aim == aim]


def walls(view: View) -> list[Arm]:
    """The arms on this computer; without Docker's container the disposable VM's stands in.

    Raises:
        Unavailable: no probe was made.
    """
    found = [
        arm(view, Platform.PROCESS, ""),
        default_container(view),
        arm(view, Platform.CONTAINER, "no-capabilities"),
        arm(view, Platform.CONTAINER, "no-seccomp"),
        arm(view, Platform.VM_DIRECT, ""),
    ]
    there = [one for one in found if one is not None and one.made()]
    if not there:
        raise Unavailable("no probe has been made yet", NEXT)
    return there


def misconfigured(view: View) -> list[Arm]:
    """The arms in the disposable VM, in one run: first the default, then every other flag.

    Raises:
        Unavailable: its default container was not probed.
    """
    base = arm(view, Platform.CONTAINER, "", nested=True)
    if base is None or not base.made():
        raise Unavailable("no container of the disposable virtual machine has been probed", NEXT)
    others = (
        arm(view, Platform.CONTAINER, flag, nested=True, run_id=base.run_id)
        for flag in (*FLIPS, NO_CONTAINER)
    )
    return [base, *(one for one in others if one is not None)]


def default_container(view: View) -> Arm | None:
    """The default container: Docker's, else the one in the disposable VM."""
    own = arm(view, Platform.CONTAINER, "")
    return own or arm(view, Platform.CONTAINER, "", nested=True)


def neighbours(view: View) -> list[Arm]:
    """The arms in which one instance tried another.

    Raises:
        Unavailable: none did.
    """
    found = [
        arm(view, platform, layout, aim=NEIGHBOUR)
        for platform, layout in (
            (Platform.PROCESS, ""),
            (Platform.CONTAINER, BRIDGE),
            (Platform.CONTAINER, OWN_NETWORKS),
            (Platform.VM_DIRECT, ""),
        )
    ]
    there = [one for one in found if one is not None]
    if not there:
        raise Unavailable("no instance has tried its neighbour yet", NEXT)
    return there


def arm(
    view: View,
    platform: Platform,
    confinement: str,
    *,
    nested: bool = False,
    run_id: str = "",
    aim: str = HOST,
) -> Arm | None:
    """One arm, of the run named or else of the first that has a valid answer of it."""
    names = of_walls(PROBES) if aim == HOST else of_neighbour(PROBES)
    frame = view.frame
    inside = (frame["layer"] == "mechanism") & (frame["platform"] == str(Platform.CONTAINER))
    mine = frame[
        (frame["platform"] == str(platform))
        & (frame["confinement"] == confinement)
        & (inside == nested)
        & ~frame["is_warmup"].astype(bool)
    ]
    tried = mine[(mine["metric"] == "probe") & mine["phase"].isin(names)]
    if run_id:
        tried = tried[tried["run_id"] == run_id]
    if tried.empty:
        return None
    good = tried[tried["status"] == "ok"]
    run = str((good if len(good) else tried)["run_id"].iloc[0])
    tried, mine = tried[tried["run_id"] == run], mine[mine["run_id"] == run]
    return Arm(
        platform,
        confinement,
        nested,
        {str(row["phase"]): _answer(row) for row in tried.to_dict("records")},
        _read(mine),
        str(tried["shown"].iloc[0]),
        run,
        emulated(tried),
    )


def _answer(row: Mapping[Hashable, Any]) -> Answer:
    if row["status"] != "ok":
        return Answer(None, str(row["error"]))
    return Answer(bool(row["value"]), str(row["text"]))


def _read(frame: pd.DataFrame) -> Mapping[str, str]:
    good = frame[(frame["metric"] == "observation") & (frame["status"] == "ok")]
    return dict(zip(good["phase"].astype(str), good["text"].astype(str), strict=True))


def label(one: Arm, *, mixed: bool) -> str:
    """The arm in a few words; a star where recorded rows stand beside own ones."""
    names = {
        Platform.PROCESS: "host process",
        Platform.CONTAINER: "container in a guest" if one.nested else "container",
        Platform.VM_DIRECT: "VM",
    }
    words = names.get(one.platform, str(one.platform))
    said = {"no-capabilities": "no capabilities", "no-seccomp": "no filter"}
    held = said.get(one.confinement, one.confinement)
    star = " *" if mixed and one.shown != MEASURED else ""
    return f"{words}, {held}{star}" if held else f"{words}{star}"


def mixed(arms: Sequence[Arm]) -> bool:
    """Whether arms of two runs stand side by side."""
    return len({one.run_id for one in arms}) > 1


def flips(base: Arm, other: Arm) -> frozenset[str]:
    """Probes that came out otherwise than in ``base``, where both made them."""
    before, after = (
        {name: bool(one.answers[name].got_through) for name in one.made()} for one in (base, other)
    )
    return changed(before, after)


def opens(base: Arm, one: Arm) -> frozenset[str]:
    """Probes at the host that get through in ``one`` and are refused in ``base``."""
    turned = flips(base, one) & frozenset(of_host(base.answers))
    return frozenset(name for name in turned if one.answers[name].got_through)


def count(view: View, phase: str) -> float | None:
    """An ``item_count`` of this computer; ``None`` where it was not taken."""
    rows = view.values(metric="item_count", phase=phase)
    return float(rows["value"].iloc[0]) if len(rows) else None


def listed(words: Sequence[str]) -> str:
    """``"a, b and c"``."""
    *most, last = words
    return f"{', '.join(most)} and {last}" if most else last


# ---- heartbeats ----------------------------------------------------------------------------------

HEARTS: Mapping[str, Platform] = {
    phase: source.platform for phase, source in kernel_panic.SOURCES.items()
}
"""Whose heartbeat → whose colour, from top to bottom."""

SAID = {kernel_panic.THEIRS: "the VM of A and B"}


@dataclass(frozen=True, slots=True)
class Event:
    """What happened: in which second of the axis, which phase, in words; or why it could not."""

    second: int
    phase: str
    text: str
    failed: bool = False

    @property
    def name(self) -> str:
        """What was done."""
        return self.phase.removeprefix(EVENT)


@dataclass(frozen=True, slots=True)
class Beats:
    """All heartbeats of one run.

    Attributes:
        gaps: whose → second → longest gap that ended in it, or time since the last beat (s).
        events: what happened, in order.
        run_id, shown, emulated: of the run.
    """

    gaps: Mapping[str, Mapping[int, float]]
    events: Sequence[Event]
    run_id: str
    shown: str
    emulated: bool

    def event(self, phase: str) -> Event | None:
        """The event of that phase, if it happened."""
        return next((e for e in self.events if e.phase == phase and not e.failed), None)

    def before_s(self, heart: str, second: int) -> float:
        """Longest gap of the 30 s before a second; NaN where nothing was heard."""
        try:
            return heartbeats.longest_before_s(self.gaps.get(heart, {}), second)
        except ValueError:
            return float("nan")

    def after_s(self, heart: str, second: int) -> float | None:
        """Longest gap from a second on; ``None`` where nothing was listened to."""
        return max((g for s, g in self.gaps.get(heart, {}).items() if s >= second), default=None)

    def silent(self, heart: str, second: int) -> bool:
        """Whether a heartbeat was silent in that second: see :func:`.heartbeats.silent_seconds`."""
        events = [event.second for event in self.events]
        return second in heartbeats.silent_seconds(self.gaps.get(heart, {}), events)

    def misses(self, heart: str, second: int) -> bool | None:
        """Whether it missed a beat from a second on; ``None`` where nothing was listened to."""
        try:
            return heartbeats.misses(self.gaps.get(heart, {}), second)
        except ValueError:
            return None


def beats(view: View) -> Beats:
    """The heartbeats of the first run that holds those of VMs; else of any run.

    Raises:
        Unavailable: none was listened to.
    """
    frame = view.frame
    heard = frame[(frame["metric"] == "gap_s") & (frame["status"] == "ok")]
    if heard.empty:
        raise Unavailable("no heartbeat has been listened to yet", NEXT)
    of_vms = heard[heard["phase"].isin([kernel_panic.SIBLING, kernel_panic.THEIRS])]
    run = str((of_vms if len(of_vms) else heard)["run_id"].iloc[0])
    heard = heard[heard["run_id"] == run]
    gaps: dict[str, dict[int, float]] = {}
    for heart in HEARTS:
        rows = heard[heard["phase"] == heart]
        if len(rows):
            gaps[heart] = dict(zip(rows["rep"].astype(int), rows["value"], strict=True))
    told = frame[(frame["run_id"] == run) & frame["phase"].astype(str).str.startswith(EVENT)]
    events = [
        Event(
            int(row["rep"]),
            str(row["phase"]),
            str(row["text"] or row["error"]),
            failed=row["status"] != "ok",
        )
        for row in told.to_dict("records")
    ]
    return Beats(
        gaps,
        sorted(events, key=lambda event: event.second),
        run,
        str(heard["shown"].iloc[0]),
        emulated(heard),
    )
