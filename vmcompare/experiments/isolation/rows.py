"""What the rows of a view say, as things to draw: answers of probes, and what was read beside them.

An *arm* is one way of holding a program: on a platform, with one word that differs from the
default. A view may hold rows of two runs; an arm is of one run, this session's where it has any.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vmcompare.errors import Unavailable
from vmcompare.evidence.view import MEASURED, View
from vmcompare.experiments.isolation.probes import FLIPS, PROBES
from vmcompare.sandbox import Platform

if TYPE_CHECKING:
    import pandas as pd

NEXT = "run the measurement, or load a recording of it"

NESTED = "runc in a guest"
"""The runtime of the containers whose host is the disposable VM."""

NO_CONTAINER = "no container"
"""In the disposable VM: its own root process, with nothing around it."""

OWN_KERNEL = "ok, by its own kernel"
"""The answer to a call that a VM's kernel granted, and not the host's."""

BRIDGE, OWN_NETWORKS = "default bridge", "own networks"
"""How two containers are neighbours."""


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
        confinement: the word that differs; empty for the default.
        nested: whether its host is the disposable VM.
        answers: probe → answer.
        read: what was asked (``"capabilities"``) → what was read; only of the walls.
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
        """Names of the probes of the walls that were made."""
        return [n for n in of_walls(self.answers) if self.answers[n].got_through is not None]


def of_host(names: Iterable[str]) -> list[str]:
    """Those of ``names`` that are aimed at the host, in the registered order."""
    return _aimed(names, "host")


def of_itself(names: Iterable[str]) -> list[str]:
    """Those of ``names`` that an instance needs for itself, in the registered order."""
    return _aimed(names, "itself")


def of_walls(names: Iterable[str]) -> list[str]:
    """Those at the host, then those for itself: all that one word may turn."""
    some = list(names)
    return [*of_host(some), *of_itself(some)]


def of_neighbour(names: Iterable[str]) -> list[str]:
    """Those of ``names`` that are aimed at a neighbour, in the registered order."""
    return _aimed(names, "neighbour")


def _aimed(names: Iterable[str], aim: str) -> list[str]:
    wanted = set(names)
    return [n for n, probe in PROBES.items() if n in wanted and probe.aim == aim]


def walls(view: View) -> list[Arm]:
    """The arms on this computer; without Docker's container the disposable VM's stands in.

    Raises:
        Unavailable: no probe was made.
    """
    wanted = [
        (Platform.PROCESS, ""),
        (Platform.CONTAINER, ""),
        (Platform.CONTAINER, "no-capabilities"),
        (Platform.CONTAINER, "no-seccomp"),
        (Platform.VM_DIRECT, ""),
    ]
    found = {key: arm(view, *key) for key in wanted}
    if found[Platform.CONTAINER, ""] is None:
        found[Platform.CONTAINER, ""] = arm(view, Platform.CONTAINER, "", nested=True)
    there = [one for one in found.values() if one is not None and one.made()]
    if not there:
        raise Unavailable("no probe has been made yet", NEXT)
    return there


def misconfigured(view: View) -> list[Arm]:
    """The arms in the disposable VM, in one run: first the default, then every other word.

    Raises:
        Unavailable: its default container was not probed.
    """
    base = arm(view, Platform.CONTAINER, "", nested=True)
    if base is None or not base.made():
        raise Unavailable("no container of the disposable virtual machine has been probed", NEXT)
    others = (
        arm(view, Platform.CONTAINER, word, nested=True, run_id=base.run_id)
        for word in (*FLIPS, NO_CONTAINER)
        if word
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
    wanted = [
        (Platform.PROCESS, ""),
        (Platform.CONTAINER, BRIDGE),
        (Platform.CONTAINER, OWN_NETWORKS),
        (Platform.VM_DIRECT, ""),
    ]
    found = [arm(view, platform, word, aim="neighbour") for platform, word in wanted]
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
    aim: str = "host",
) -> Arm | None:
    """One arm, of the run named or else of the first that has a valid answer of it."""
    names = of_walls(PROBES) if aim == "host" else of_neighbour(PROBES)
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
        bool((tried["accel"] == "tcg").any()),
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
    both = set(base.made()) & set(other.made())
    return frozenset(
        name for name in both if base.answers[name].got_through != other.answers[name].got_through
    )


def count(view: View, phase: str) -> float | None:
    """An ``item_count`` of this computer; ``None`` where it was not taken."""
    rows = view.values(metric="item_count", phase=phase)
    return float(rows["value"].iloc[0]) if len(rows) else None


def fact(view: View, name: str) -> bool | None:
    """A fact; ``None`` where it was not observed."""
    rows = view.values(metric="fact", phase=name)
    return bool(rows["value"].iloc[0]) if len(rows) else None
