"""Answers of probes: what the rows of a view say, and the grids that show it.

An *arm* is one configuration: a platform, and at most one flag that differs from the default. A
view may hold rows of two runs; an arm is of one run, this session's where it has any. The names in
rows (a runtime, a flag) are those of the modules that write them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from vmcompare.evidence.view import MEASURED, View, absent, bare_runtimes, emulated
from vmcompare.experiments.isolation.boundaries import BRIDGE, OWN_NETWORKS
from vmcompare.experiments.isolation.probes import (
    FLIPS,
    HOST,
    ITSELF,
    NEIGHBOUR,
    OWN_KERNEL,
    PROBES,
    changed,
)
from vmcompare.plots import style
from vmcompare.plots.picture import Picture
from vmcompare.sandbox import Platform

if TYPE_CHECKING:
    from matplotlib.axes import Axes

THROUGH, DENIED, OWN, NOT_TRIED = "gets through", "refused", "its own kernel", "–"
"""Kinds of answers; of them, ``OWN`` was granted by a VM's own kernel."""

ERRORS = {
    "EPERM": "not permitted", "EACCES": "access denied", "EROFS": "read-only",
    "ENOENT": "no such file", "ESRCH": "no such process", "ENXIO": "no such device",
    "ENOSYS": "no such call", "ECONNREFUSED": "nobody listens", "ENETUNREACH": "no network",
    "EINVAL": "wrong argument", "ESTALE": "no such handle",
}  # fmt: skip
"""Errors that probes meet, in plain words."""

_ERROR = re.compile(r"\bE[A-Z0-9]{3,}\b")
_CELL_LETTERS = 16


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of one probe: whether it got through (``None``: it was not made), and the plain
    answer (``"EPERM"``) or why it was not made."""

    got_through: bool | None
    text: str


@dataclass(frozen=True, slots=True)
class Arm:
    """One column of a grid.

    Attributes:
        platform, confinement: its platform, and the flag that differs (empty for the default).
        nested: whether its host is the disposable VM.
        answers: probe → answer.
        read: what was asked (``"capabilities"``) → what was read; not of neighbours.
        shown, run_id: ``"measured"`` or ``"recorded"``, and the run.
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
        return [name for name in self.made(HOST) if self.answers[name].got_through]

    def denied(self) -> list[str]:
        """Names of the probes aimed at the host that were refused."""
        return [name for name in self.made(HOST) if not self.answers[name].got_through]

    def made(self, *aims: str) -> list[str]:
        """Names of the probes that were made, at the host and for itself unless ``aims`` differ."""
        names = aimed(self.answers, *(aims or (HOST, ITSELF)))
        return [name for name in names if self.answers[name].got_through is not None]

    def kind(self, name: str) -> str:
        """Which kind of answer a probe got."""
        answer = self.answers.get(name)
        if answer is None or answer.got_through is None:
            return NOT_TRIED
        if answer.text == OWN_KERNEL:
            return OWN
        return THROUGH if answer.got_through else DENIED

    def text(self, name: str) -> str:
        """The answer to a probe, an error with what it means, for a cell of a table."""
        text = self.answers[name].text if name in self.answers else NOT_TRIED
        return _ERROR.sub(lambda found: f"{found[0]}: {ERRORS.get(found[0], 'an error')}", text)

    def word(self, name: str) -> str:
        """The answer to a probe in plain words that fit a cell of a figure."""
        kind = self.kind(name)
        if kind != DENIED:
            return kind
        text = self.answers[name].text
        return ERRORS.get(text, text if len(text) <= _CELL_LETTERS else DENIED)

    def label(self, *, mixed: bool) -> str:
        """In a few words; with a star where recorded rows stand beside own ones."""
        names = {
            Platform.PROCESS: "host process",
            Platform.CONTAINER: "container in a guest" if self.nested else "container",
            Platform.VM_DIRECT: "VM",
        }
        said = {
            "no-capabilities": "no capabilities", "no-seccomp": "no filter",
            BRIDGE: "one network", OWN_NETWORKS: "two networks",
        }  # fmt: skip
        held = said.get(self.confinement, self.confinement)
        words = ", ".join(filter(None, [names.get(self.platform, str(self.platform)), held]))
        return f"{words} *" if mixed and self.shown != MEASURED else words


def aimed(names: Iterable[str], *aims: str) -> list[str]:
    """Those of ``names`` that are aimed at one of ``aims``, aim by aim in the registered order."""
    wanted = set(names)
    return [n for aim in aims for n, probe in PROBES.items() if n in wanted and probe.aim == aim]


def tried(arms: Iterable[Arm]) -> set[str]:
    """Names of all probes that any of the arms has an answer to."""
    return {name for one in arms for name in one.answers}


def probed(view: View) -> list[Arm]:
    """The arms on this computer; without Docker's container the disposable VM's stands in.

    Raises ``Unavailable``: no probe was made.
    """
    found = [
        arm(view, Platform.PROCESS),
        default_container(view),
        *(arm(view, Platform.CONTAINER, held) for held in ("no-capabilities", "no-seccomp")),
        arm(view, Platform.VM_DIRECT),
    ]
    if there := [one for one in found if one is not None and one.made()]:
        return there
    raise absent("answer to a probe")


def misconfigured(view: View) -> list[Arm]:
    """The arms in the disposable VM, in one run: first the default, then those with one flag more.

    Raises ``Unavailable``: its default container was not probed.
    """
    base = arm(view, Platform.CONTAINER, nested=True)
    if base is None or not base.made():
        raise absent("probed container of the disposable virtual machine")
    others = (
        arm(view, Platform.CONTAINER, flag, nested=True, run_id=base.run_id) for flag in FLIPS
    )
    return [base, *(one for one in others if one is not None and one.made())]


def default_container(view: View) -> Arm | None:
    """The default container: Docker's, else the one in the disposable VM."""
    return arm(view, Platform.CONTAINER) or arm(view, Platform.CONTAINER, nested=True)


def neighbours(view: View) -> list[Arm]:
    """The arms in which one instance tried another. Raises ``Unavailable``: none did."""
    found = [
        arm(view, Platform.PROCESS, aim=NEIGHBOUR),
        arm(view, Platform.CONTAINER, BRIDGE, aim=NEIGHBOUR),
        arm(view, Platform.CONTAINER, OWN_NETWORKS, aim=NEIGHBOUR),
        arm(view, Platform.VM_DIRECT, aim=NEIGHBOUR),
    ]
    if there := [one for one in found if one is not None]:
        return there
    raise absent("instance that tried its neighbour")


@lru_cache(maxsize=128)
def arm(
    view: View,
    platform: Platform,
    confinement: str = "",
    *,
    nested: bool = False,
    run_id: str = "",
    aim: str = HOST,
) -> Arm | None:
    """One arm, of the run named or else of the first that has a valid answer of it."""
    names = aimed(PROBES, HOST, ITSELF) if aim == HOST else aimed(PROBES, NEIGHBOUR)
    frame = view.frame
    mine = frame[
        (frame["platform"] == str(platform))
        & (frame["confinement"] == confinement)
        & ((bare_runtimes(frame) != "") == nested)
        & ~frame["is_warmup"].astype(bool)
    ]
    asked = mine[(mine["metric"] == "probe") & mine["phase"].isin(names)]
    if run_id:
        asked = asked[asked["run_id"] == run_id]
    if asked.empty:
        return None
    good = asked[asked["status"] == "ok"]
    run = str((good if len(good) else asked)["run_id"].iloc[0])
    asked, mine = asked[asked["run_id"] == run], mine[mine["run_id"] == run]
    read = mine[(mine["metric"] == "observation") & (mine["status"] == "ok")]
    answers = {
        str(row["phase"]): Answer(bool(row["value"]), str(row["text"]))
        if row["status"] == "ok"
        else Answer(None, str(row["error"]))
        for row in asked.to_dict("records")
    }
    said = dict(zip(read["phase"].astype(str), read["text"].astype(str), strict=True))
    shown = str(asked["shown"].iloc[0])
    return Arm(platform, confinement, nested, answers, said, shown, run, emulated(asked))


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
    turned = flips(base, one) & frozenset(aimed(base.answers, HOST))
    return frozenset(name for name in turned if one.answers[name].got_through)


def deviations(base: Arm, others: Sequence[Arm]) -> list[tuple[str, str, bool]]:
    """(flag, probe, whether it turned) wherever that is not as registered in ``FLIPS``."""
    found = []
    for one in others:
        turned, both = flips(base, one), set(base.made()) & set(one.made())
        odd = turned ^ (FLIPS[one.confinement] & both)
        found += [(one.confinement, name, name in turned) for name in aimed(odd, HOST, ITSELF)]
    return found


# ---- the figure: lengths in inches ---------------------------------------------------------------

_WIDE, _ROW, _BOUNDARY, _NAMES = style.WIDTH_IN - 0.1, 0.32, 1.5, 3.9
"""Width of the figure, height of a row, and where the names and the answers begin."""

_LOOKS = {
    THROUGH: (style.BLUE, "", style.ON_COLOUR),
    DENIED: (style.SOFT, "", "black"),
    OWN: ("white", "////", "black"),
    NOT_TRIED: ("white", "", style.GREY),
}
"""Kind of answer → fill, hatching, ink."""


def of_lesson(names: Iterable[str]) -> list[str]:
    """Those of ``names`` that a lesson shows, in the order of their places."""
    return sorted((n for n in names if PROBES[n].place), key=lambda n: PROBES[n].place)


@style.own()
def answers_grid(arms: Sequence[Arm], headings: Sequence[str]) -> Picture:
    """The probes of the lesson from top to bottom, by boundary; arms from left to right."""
    sorts: dict[str, list[str]] = {}
    for name in of_lesson(tried(arms)):
        sorts.setdefault(PROBES[name].boundary, []).append(name)
    names = [name for some in sorts.values() for name in some]
    firsts = {some[0]: boundary for boundary, some in sorts.items()}
    figure = style.figure(_ROW * (len(names) + 1) + 0.1)
    axes = figure.subplots()
    axes.set_xlim(0, _WIDE)
    axes.set_ylim(-_ROW * len(names), _ROW)
    axes.axis("off")
    width = (_WIDE - _NAMES) / len(arms)
    for place, heading in enumerate(headings):
        x = _NAMES + (place + 0.48) * width
        axes.text(x, 0.08, heading, fontsize=style.SMALL_PT, ha="center", fontweight="bold")
    for number, name in enumerate(names):
        y = -(number + 0.5) * _ROW
        if name in firsts:
            axes.axhline(y + _ROW / 2, color=style.RULE, linewidth=0.8)
            axes.text(0, y, firsts[name], fontsize=style.SMALL_PT, va="center", fontweight="bold")
        axes.text(_BOUNDARY, y, PROBES[name].says, fontsize=style.LEAST_PT, va="center")
        for place, one in enumerate(arms):
            _cell(axes, _NAMES + place * width, y, width, one, name)
    said = [
        f"{heading}: " + "; ".join(f"{PROBES[name].says}: {one.word(name)}" for name in names)
        for one, heading in zip(arms, headings, strict=True)
    ]
    return Picture(figure, f"Who gets through to what. {'. '.join(said)}.")


def _cell(axes: Axes, left: float, y: float, width: float, one: Arm, name: str) -> None:
    fill, hatch, ink = _LOOKS[one.kind(name)]
    axes.bar(
        left, _ROW * 0.86, width * 0.95, y - _ROW * 0.43, align="edge", color=fill,
        hatch=hatch, edgecolor="#8A8A8A", linewidth=0.5,
    )  # fmt: skip
    axes.text(
        left + width * 0.475, y, one.word(name), fontsize=style.LEAST_PT, ha="center",
        va="center_baseline", color=ink, fontweight="bold" if ink == style.ON_COLOUR else "normal",
        bbox=style.PLATE | {"pad": 0} if hatch else None,
    )  # fmt: skip
