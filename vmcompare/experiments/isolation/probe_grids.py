"""Answers of probes: what the rows of a view say, and the grids that show it.

An *arm* is one configuration: a platform, and at most one flag that differs from the default. A
view may hold rows of two runs; an arm is of one run, this session's where it has any. The names in
rows (a runtime, a flag) are those of the modules that write them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vmcompare.evidence.view import MEASURED, View, absent, bare_runtimes, emulated
from vmcompare.experiments.isolation.boundaries import BRIDGE, OWN_NETWORKS
from vmcompare.experiments.isolation.guest_containers import NO_CONTAINER
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
    from matplotlib.figure import Figure

THROUGH, DENIED, OWN, NOT_TRIED = "through", "refused", "its own", "–"
"""Kinds of answers; of them, ``OWN`` was granted by a VM's own kernel."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of one probe.

    Attributes:
        got_through: whether it reached what it was aimed at; ``None`` where it was not made.
        text: the plain answer (``"EPERM"``), or why it was not made.
    """

    got_through: bool | None
    text: str


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
        return [name for name in of_host(self.answers) if self.answers[name].got_through]

    def denied(self) -> list[str]:
        """Names of the probes aimed at the host that were refused."""
        return [name for name in of_host(self.answers) if self.answers[name].got_through is False]

    def made(self) -> list[str]:
        """Names of the probes at the host and for itself that were made."""
        return [n for n in of_boundaries(self.answers) if self.answers[n].got_through is not None]

    def kind(self, name: str) -> str:
        """Which kind of answer a probe got."""
        answer = self.answers.get(name)
        if answer is None or answer.got_through is None:
            return NOT_TRIED
        if answer.text == OWN_KERNEL:
            return OWN
        return THROUGH if answer.got_through else DENIED

    def text(self, name: str) -> str:
        """The plain answer to a probe, for a cell of a table."""
        return self.answers[name].text if name in self.answers else NOT_TRIED

    def word(self, name: str) -> str:
        """The answer to a probe in a word that fits a cell of a figure."""
        kind, text = self.kind(name), self.text(name)
        if kind == THROUGH and PROBES[name].aim == ITSELF:
            return "works"
        if kind != DENIED:
            return kind
        if "too long" in text:
            return "time-out"
        first = text.replace(",", " ").replace(":", " ").split(" ")[0]
        if first.isupper():  # the name of an error
            return first if len(first) <= 9 else f"{first[:8]}…"
        return text if len(text) <= 9 else DENIED

    def label(self, *, mixed: bool) -> str:
        """In a few words; with a star where recorded rows stand beside own ones."""
        names = {
            Platform.PROCESS: "host process",
            Platform.CONTAINER: "container in a guest" if self.nested else "container",
            Platform.VM_DIRECT: "VM",
        }
        said = {"no-capabilities": "no capabilities", "no-seccomp": "no filter"}
        held = said.get(self.confinement, self.confinement)
        words = ", ".join(filter(None, [names.get(self.platform, str(self.platform)), held]))
        return f"{words} *" if mixed and self.shown != MEASURED else words


def of_host(names: Iterable[str]) -> list[str]:
    """Those of ``names`` that are aimed at the host, in the registered order."""
    return _aimed(names, HOST)


def of_boundaries(names: Iterable[str]) -> list[str]:
    """Those at the host, then those for itself: all that one flag may turn."""
    return _aimed(names, HOST, ITSELF)


def of_neighbour(names: Iterable[str]) -> list[str]:
    """Those of ``names`` that are aimed at a neighbour, in the registered order."""
    return _aimed(names, NEIGHBOUR)


def _aimed(names: Iterable[str], *aims: str) -> list[str]:
    wanted = set(names)
    return [n for aim in aims for n, probe in PROBES.items() if n in wanted and probe.aim == aim]


def tried(arms: Iterable[Arm]) -> set[str]:
    """Names of all probes that any of the arms has an answer to."""
    return {name for one in arms for name in one.answers}


def probed(view: View) -> list[Arm]:
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
        raise absent("answer to a probe")
    return there


def misconfigured(view: View) -> list[Arm]:
    """The arms in the disposable VM, in one run: first the default, then every other flag.

    Raises:
        Unavailable: its default container was not probed.
    """
    base = arm(view, Platform.CONTAINER, "", nested=True)
    if base is None or not base.made():
        raise absent("probed container of the disposable virtual machine")
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
    layouts = (
        (Platform.PROCESS, ""),
        (Platform.CONTAINER, BRIDGE),
        (Platform.CONTAINER, OWN_NETWORKS),
        (Platform.VM_DIRECT, ""),
    )
    found = [arm(view, platform, layout, aim=NEIGHBOUR) for platform, layout in layouts]
    there = [one for one in found if one is not None]
    if not there:
        raise absent("instance that tried its neighbour")
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
    names = of_boundaries(PROBES) if aim == HOST else of_neighbour(PROBES)
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
    return Arm(
        platform,
        confinement,
        nested,
        {
            str(row["phase"]): Answer(bool(row["value"]), str(row["text"]))
            if row["status"] == "ok"
            else Answer(None, str(row["error"]))
            for row in asked.to_dict("records")
        },
        dict(zip(read["phase"].astype(str), read["text"].astype(str), strict=True)),
        str(asked["shown"].iloc[0]),
        run,
        emulated(asked),
    )


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


def deviations(base: Arm, others: Sequence[Arm]) -> list[tuple[str, str, bool]]:
    """(flag, probe, whether it turned) wherever that is not as registered in ``FLIPS``."""
    found = []
    for one in others:
        if one.confinement in FLIPS:
            turned, both = flips(base, one), set(base.made()) & set(one.made())
            odd = turned ^ (FLIPS[one.confinement] & both)
            found += [(one.confinement, name, name in turned) for name in of_boundaries(odd)]
    return found


def listed(words: Sequence[str]) -> str:
    """``"a, b and c"``; empty where there are none."""
    *most, last = words or ("",)
    return f"{', '.join(most)} and {last}" if most else last


# ---- grids: lengths in inches --------------------------------------------------------------------

_WIDE, _ROW, _NAMES, _KEY = style.WIDTH_IN - 0.1, 0.19, 1.5, 0.22
"""Width of a figure, height of a row, width of the names, and height of a line of the key."""

_WORDS_PT = style.LEAST_PT
_ANSWER_PT = 9.0
"""Size of the answers in a grid of two halves, where a cell is narrow."""

_GAP = 0.12
_LINES_MAX = 24
"""Rows in one below the other; of more, the second half stands beside the first."""


@dataclass(frozen=True, slots=True)
class _CellLook:
    fill: str
    hatch: str
    ink: str
    said: str


_LOOKS: Mapping[str, _CellLook] = {
    THROUGH: _CellLook(style.BLUE, "", style.ON_COLOUR, "got through"),
    DENIED: _CellLook(style.SOFT, "", "black", "refused, with the answer"),
    OWN: _CellLook("white", "////", "black", "granted by the VM’s own kernel"),
    NOT_TRIED: _CellLook("white", "", style.GREY, "not tried"),
}


def by_boundary(names: Iterable[str]) -> Mapping[str, Sequence[str]]:
    """Probes at the host under the boundary that answers, then those that an instance needs for
    itself."""
    sorts: dict[str, list[str]] = {}
    for name in of_boundaries(names):
        own = PROBES[name].aim == ITSELF
        heading = "what it needs for itself" if own else PROBES[name].boundary
        sorts.setdefault(heading, []).append(name)
    return sorts


@style.own()
def answers_grid(
    arms: Sequence[Arm], headings: Sequence[str], sorts: Mapping[str, Sequence[str]], what: str
) -> Picture:
    """Probes from top to bottom, arms from left to right, the answer in every cell.

    Of many probes the second half stands beside the first.

    Args:
        arms: the columns.
        headings: of the columns, one or two lines each.
        sorts: heading → probes below it.
        what: what is shown, for the text alternative.
    """
    names = [name for some in sorts.values() for name in some]
    kinds = {one.kind(name) for one in arms for name in names}
    used = [kind for kind in _LOOKS if kind in kinds]
    halves = _halves(_lines(sorts))
    narrow = len(halves) > 1
    depth = _ROW * max(map(len, halves))
    axes = _canvas(0.72 if narrow else 0.4, depth + _KEY)
    wide = _WIDE / len(halves) - (_GAP / 2 if narrow else 0)
    width = (wide - _NAMES) / len(arms)
    points = _ANSWER_PT if narrow else _WORDS_PT
    for half, lines in enumerate(halves):
        at = half * (wide + _GAP)
        for place, heading in enumerate(headings):
            axes.text(
                at + _NAMES + (place + (0.3 if narrow else 0.48)) * width, 0.05,
                heading.replace("\n", " ") if narrow else heading, fontsize=points,
                ha="left" if narrow else "center", va="bottom", linespacing=1.05,
                rotation=35 if narrow else 0, rotation_mode="anchor",
            )  # fmt: skip
        for number, line in enumerate(lines):
            y = -(number + 0.5) * _ROW
            axes.text(
                at, y, line, fontsize=points, va="center",
                fontweight="normal" if line in PROBES else "bold",
            )  # fmt: skip
            for place, one in enumerate(arms if line in names else ()):
                look, left = _LOOKS[one.kind(line)], at + _NAMES + place * width
                said = one.word(line)
                said = said[:5] + "…" if narrow and len(said) > 7 and said[:1].isupper() else said
                _cell(axes, left, y, width, look, said, points)
    for place, kind in enumerate(used):
        x, y = place * _WIDE / 4, -depth - _KEY * 0.62
        _cell(axes, x, y, 0.3, _LOOKS[kind], "", points)
        axes.text(x + 0.36, y, _LOOKS[kind].said, fontsize=_ANSWER_PT, va="center")
    told = []
    for one, heading in zip(arms, headings, strict=True):
        groups: dict[str, list[str]] = {}
        for name in names:
            groups.setdefault(_LOOKS[one.kind(name)].said.split(",")[0], []).append(name)
        words = "; ".join(f"{said}: {', '.join(some)}" for said, some in groups.items())
        told.append(f"{heading.replace(chr(10), ' ')}: {words}.")
    return Picture(_whole(axes), " ".join([what, *told]))


@style.own()
def flags_grid(base: Arm, others: Sequence[Arm]) -> Picture:
    """One flag that differs a row; a dot where the probe got through, a frame where the flag was
    expected to turn it."""
    arms = [base, *others]
    names = of_boundaries(base.answers)
    lines = _lines(by_boundary(names))
    headings = [_short(one.confinement) or "as it is" for one in arms]
    left = 0.1 + max(map(len, headings)) * 0.078
    head = 0.1 + max(map(len, lines)) * 0.078
    depth = _ROW * len(arms)
    axes = _canvas(head, depth + 0.1 + 2 * _KEY)
    width = (_WIDE - left) / len(lines)
    for place, line in enumerate(lines):
        axes.text(
            left + (place + 0.5) * width, 0.05, line, fontsize=_WORDS_PT, rotation=90, ha="center",
            va="bottom", fontweight="normal" if line in names else "bold",
        )  # fmt: skip
    for number, (one, heading) in enumerate(zip(arms, headings, strict=True)):
        y = -(number + 0.5) * _ROW
        axes.text(0, y, heading, fontsize=_WORDS_PT, va="center")
        for name in names:
            kind, x = one.kind(name), left + lines.index(name) * width
            turned, framed = kind != base.kind(name), name in FLIPS.get(one.confinement, ())
            _mark(axes, x, y, width, kind, turned=turned, framed=framed)
    _flags_key(axes, -depth - 0.1, width)
    told = [f"The default container lets through: {', '.join(base.through()) or 'nothing'}."]
    for one in others:
        changed = of_boundaries(flips(base, one))
        told.append(f"{one.confinement} turns {', '.join(changed) or 'nothing'}.")
    odd = len(deviations(base, others))
    return Picture(_whole(axes), f"What one word turns. {' '.join(told)} Not as registered: {odd}.")


def _short(flag: str) -> str:
    return flag.removeprefix("--security-opt=").removeprefix("--device-").replace("'", "")


def _lines(sorts: Mapping[str, Sequence[str]]) -> list[str]:
    """Headings, where there are any, each before the names of its probes."""
    return [
        line for heading, some in sorts.items() for line in ([heading] if heading else []) + [*some]
    ]


def _halves(lines: Sequence[str]) -> list[Sequence[str]]:
    """All of them, or, of many, two parts that begin with a heading each."""
    if len(lines) <= _LINES_MAX:
        return [lines]
    starts = [place for place, line in enumerate(lines) if place and line not in PROBES]
    middle = min(starts or [len(lines) // 2], key=lambda place: abs(place - len(lines) / 2))
    return [lines[:middle], lines[middle:]]


def _canvas(head: float, depth: float) -> Axes:
    """Empty axes in inches, the headings above zero and the rows below."""
    figure = style.figure(head + depth + 0.1)
    axes = figure.subplots()
    axes.set_xlim(0, _WIDE)
    axes.set_ylim(-depth, head)
    axes.axis("off")
    return axes


def _whole(axes: Axes) -> Figure:
    """The figure that the axes belong to."""
    figure = axes.get_figure(root=True)
    assert figure is not None
    return figure


def _cell(
    axes: Axes, left: float, y: float, width: float, look: _CellLook, text: str, points: float
) -> None:
    axes.bar(
        left, _ROW * 0.86, width * 0.95, y - _ROW * 0.43, align="edge", color=look.fill,
        hatch=look.hatch, edgecolor="#8A8A8A", linewidth=0.5,
    )  # fmt: skip
    axes.text(
        left + width * 0.475, y, text, fontsize=points, ha="center", va="center_baseline",
        color=look.ink, fontweight="bold" if look.ink == style.ON_COLOUR else "normal",
        bbox=style.PLATE | {"pad": 0} if look.hatch and text else None,
    )  # fmt: skip


def _mark(
    axes: Axes, left: float, y: float, width: float, kind: str, *, turned: bool, framed: bool
) -> None:
    fill = style.BLUE if turned else style.SOFT if kind != NOT_TRIED else "white"
    axes.bar(
        left, _ROW * 0.84, width * 0.88, y - _ROW * 0.42, align="edge", color=fill,
        edgecolor="black" if framed else "#B8B8B8", linewidth=1.5 if framed else 0.4,
    )  # fmt: skip
    x, ink = left + width * 0.44, style.ON_COLOUR if turned else "black"
    if kind == THROUGH:
        axes.plot(x, y, "o", color=ink, markersize=3.6)
    elif kind == NOT_TRIED:
        axes.text(x, y, "–", ha="center", va="center_baseline", fontsize=_WORDS_PT)
    elif turned:
        axes.plot(x, y, "x", color=ink, markersize=3.6, markeredgewidth=1.2)


def _flags_key(axes: Axes, top: float, width: float) -> None:
    lines = (
        ((THROUGH, False, False), (DENIED, False, False), "got through · refused, as by default"),
        ((THROUGH, True, True), (DENIED, True, True), "turned by this word, as registered before"),
        ((THROUGH, True, False), (DENIED, True, False), "turned, not expected"),
        ((DENIED, False, True), (NOT_TRIED, False, False), "expected, did not turn · not tried"),
    )
    for number, (first, second, said) in enumerate(lines):
        x, y = (number % 2) * _WIDE / 2, top - _KEY * (number // 2 + 0.62)
        for place, (kind, turned, framed) in enumerate((first, second)):
            _mark(axes, x + place * 0.26, y, width, kind, turned=turned, framed=framed)
        axes.text(x + 0.6, y, said, fontsize=_WORDS_PT, va="center")
