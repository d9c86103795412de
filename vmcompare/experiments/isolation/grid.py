"""Grids of probes: who got through where, in words and hatching as well as in colour."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vmcompare.experiments.isolation.probes import ITSELF, PROBES
from vmcompare.experiments.isolation.rows import Answer, Arm, of_host, of_itself, of_walls
from vmcompare.plots import style
from vmcompare.plots.picture import Picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_ROW_IN, _NAMES_IN, _KEY_IN = 0.178, 1.5, 0.22
_WORDS_PT = 7.6

THROUGH, REFUSED, OWN, NOT_TRIED = "through", "refused", "its own", "–"


@dataclass(frozen=True, slots=True)
class _Look:
    fill: str
    hatch: str
    ink: str
    said: str


_LOOKS: Mapping[str, _Look] = {
    THROUGH: _Look(style.BLUE, "", "white", "got through"),
    REFUSED: _Look("#EDEDED", "", "black", "refused, with the answer"),
    OWN: _Look("white", "////", "black", "granted by the VM’s own kernel"),
    NOT_TRIED: _Look("white", "", style.GREY, "not tried"),
}


def kind(answer: Answer | None) -> str:
    """Which of the four looks an answer has."""
    if answer is None or answer.got_through is None:
        return NOT_TRIED
    if answer.by_own_kernel:
        return OWN
    return THROUGH if answer.got_through else REFUSED


def groups(names: Sequence[str]) -> Mapping[str, Sequence[str]]:
    """Probes of the walls: those at the host under the wall that is asked, then those that an
    instance needs for itself."""
    sorts: dict[str, list[str]] = {}
    for name in of_host(names):
        sorts.setdefault(PROBES[name].wall, []).append(name)
    if own := of_itself(names):
        sorts["what it needs for itself"] = own
    return sorts


def word(name: str, answer: Answer | None) -> str:
    """The answer to a probe in a word that fits a cell."""
    found = kind(answer)
    if found == THROUGH and PROBES[name].aim == ITSELF:
        return "works"
    if answer is None or found != REFUSED:
        return found
    if "too long" in answer.text:
        return "time-out"
    first = answer.text.replace(",", " ").replace(":", " ").split(" ")[0]
    if first.isupper():  # the name of an error
        return first if len(first) <= 9 else f"{first[:8]}…"
    return answer.text if len(answer.text) <= 9 else REFUSED


@style.own()
def answers(
    arms: Sequence[Arm],
    headings: Sequence[str],
    sorts: Mapping[str, Sequence[str]],
    *,
    what: str,
    caption: str,
) -> Picture:
    """Probes from top to bottom, arms from left to right, the answer in every cell.

    Args:
        arms: the columns.
        headings: of the columns, one or two lines each.
        sorts: heading → probes below it.
        what: what is shown, for the text alternative.
        caption: provenance and warnings.
    """
    head = 0.36 if any("\n" in heading for heading in headings) else 0.2
    names = [name for some in sorts.values() for name in some]
    places, rows = _places(sorts)
    used = [k for k in _LOOKS if any(kind(a.answers.get(n)) == k for a in arms for n in names)]
    lines = (len(used) + 1) // 2
    figure = style.figure(head + _ROW_IN * rows + _KEY_IN * lines + 0.1)
    axes = _canvas(figure.subplots(), head, _ROW_IN * rows + _KEY_IN * lines)
    _names(axes, places)
    width = (style.WIDTH_IN - 0.1 - _NAMES_IN) / len(arms)
    for place, heading in enumerate(headings):
        axes.text(
            _NAMES_IN + (place + 0.48) * width, 0.05, heading, fontsize=_WORDS_PT + 0.4,
            ha="center", va="bottom", linespacing=1.05,
        )  # fmt: skip
    for name in names:
        for place, arm in enumerate(arms):
            answer = arm.answers.get(name)
            left = _NAMES_IN + place * width
            _cell(axes, left, places[name], width, _LOOKS[kind(answer)], word(name, answer))
    for place, key in enumerate(used):
        x = (place % 2) * style.WIDTH_IN * 0.46
        y = -_ROW_IN * rows - _KEY_IN * (place // 2 + 0.62)
        _cell(axes, x, y, 0.3, _LOOKS[key], "")
        axes.text(x + 0.38, y, _LOOKS[key].said, fontsize=_WORDS_PT + 0.6, va="center")
    return Picture(figure, f"{what} {_told(arms, headings, names)}", caption)


@style.own()
def words_grid(
    base: Arm,
    others: Sequence[Arm],
    expected: Mapping[str, frozenset[str]],
    *,
    what: str,
    caption: str,
) -> Picture:
    """One word that differs a column; a dot where the probe got through, a frame where the word was
    expected to turn it.

    Args:
        base: the default container.
        others: the same with one word.
        expected: word → probes that it was registered to turn.
        what, caption: as in :func:`answers`.
    """
    arms = [base, *others]
    places, rows = _places(groups(of_walls(base.answers)))
    shown = [short(arm.confinement) or "as it is" for arm in arms]
    head = 0.1 + max(len(name) for name in shown) * 0.062
    below = 4 * _KEY_IN
    figure = style.figure(head + _ROW_IN * rows + below)
    axes = _canvas(figure.subplots(), head, _ROW_IN * rows + below)
    _names(axes, places)
    width = (style.WIDTH_IN - 0.45 - _NAMES_IN) / len(arms)
    for place, (arm, name) in enumerate(zip(arms, shown, strict=True)):
        x = _NAMES_IN + place * width
        axes.text(
            x + width * 0.35, 0.05, name, fontsize=_WORDS_PT + 0.2, rotation=68, ha="left",
            va="bottom", rotation_mode="anchor",
        )  # fmt: skip
        for probe, y in places.items():
            if probe not in base.answers:
                continue
            turned = arm is not base and kind(arm.answers.get(probe)) != kind(
                base.answers.get(probe)
            )
            framed = probe in expected.get(arm.confinement, frozenset())
            _mark(axes, x, y, width, arm.answers.get(probe), turned=turned, framed=framed)
    _words_key(axes, -_ROW_IN * rows, width)
    return Picture(figure, f"{what} {_turned(base, others, expected)}", caption)


def short(confinement: str) -> str:
    """A word of a ``docker run`` line as a heading."""
    return confinement.removeprefix("--security-opt=").removeprefix("--device-").replace("'", "")


def deviations(
    base: Arm, others: Sequence[Arm], expected: Mapping[str, frozenset[str]]
) -> list[tuple[str, str, bool]]:
    """(word, probe, whether it turned) wherever that is not as registered."""
    found = []
    for arm in others:
        if arm.confinement not in expected:
            continue
        for name in of_walls(base.answers):
            before, after = base.answers[name], arm.answers.get(name)
            if after is None or None in (before.got_through, after.got_through):
                continue
            turned = before.got_through != after.got_through
            if turned != (name in expected[arm.confinement]):
                found.append((arm.confinement, name, turned))
    return found


def _places(sorts: Mapping[str, Sequence[str]]) -> tuple[Mapping[str, float], int]:
    """Where each heading and each probe stands (inches below the top), and how many rows it is."""
    lines = [
        line for heading, some in sorts.items() for line in ([heading] if heading else []) + [*some]
    ]
    return {line: -(number + 0.5) * _ROW_IN for number, line in enumerate(lines)}, len(lines)


def _names(axes: Axes, places: Mapping[str, float]) -> None:
    for line, y in places.items():
        bold = "normal" if line in PROBES else "bold"
        axes.text(0, y, line, fontsize=_WORDS_PT + 0.6, va="center", fontweight=bold)


def _canvas(axes: Axes, head: float, depth: float) -> Axes:
    axes.set_xlim(0, style.WIDTH_IN - 0.1)
    axes.set_ylim(-depth, head)
    axes.axis("off")
    return axes


def _cell(axes: Axes, left: float, y: float, width: float, look: _Look, text: str) -> None:
    axes.bar(
        left, _ROW_IN * 0.86, width * 0.95, y - _ROW_IN * 0.43, align="edge", color=look.fill,
        hatch=look.hatch, edgecolor="#8A8A8A", linewidth=0.5,
    )  # fmt: skip
    fits = 7.4 if text[:1].isupper() else 8.6  # letters: those of errors are wide
    small = _WORDS_PT * min(1, fits / max(len(text), 1))
    axes.text(
        left + width * 0.475, y, text, fontsize=small, ha="center", va="center_baseline",
        color=look.ink, fontweight="bold" if look.ink == "white" else "normal",
        bbox=style.PLATE | {"pad": 0} if look.hatch and text else None,
    )  # fmt: skip


def _mark(
    axes: Axes,
    left: float,
    y: float,
    width: float,
    answer: Answer | None,
    *,
    turned: bool,
    framed: bool,
) -> None:
    found = kind(answer)
    fill = style.BLUE if turned else "#EDEDED" if found != NOT_TRIED else "white"
    axes.bar(
        left, _ROW_IN * 0.84, width * 0.88, y - _ROW_IN * 0.42, align="edge", color=fill,
        edgecolor="black" if framed else "#B8B8B8", linewidth=1.5 if framed else 0.4,
    )  # fmt: skip
    ink = "white" if turned else "black"
    if found == THROUGH:
        axes.plot(left + width * 0.44, y, "o", color=ink, markersize=3.6)
    elif found == NOT_TRIED:
        axes.text(left + width * 0.44, y, "–", ha="center", va="center_baseline", fontsize=7)
    elif turned:
        axes.plot(left + width * 0.44, y, "x", color=ink, markersize=3.6, markeredgewidth=1.2)


def _words_key(axes: Axes, top: float, width: float) -> None:
    through, stopped = Answer(True, "ok"), Answer(False, "")
    lines = (
        ((through, False, False), (stopped, False, False), "got through · refused, as by default"),
        ((through, True, True), (stopped, True, True), "turned by this word, as registered before"),
        ((through, True, False), (stopped, True, False), "turned, not expected"),
        ((stopped, False, True), (None, False, False), "expected, did not turn · not tried"),
    )
    for number, (first, second, said) in enumerate(lines):
        y = top - _KEY_IN * (number + 0.62)
        for place, (answer, turned, framed) in enumerate((first, second)):
            _mark(axes, place * 0.26, y, max(width, 0.2), answer, turned=turned, framed=framed)
        axes.text(0.6, y, said, fontsize=_WORDS_PT + 0.6, va="center")


def _told(arms: Sequence[Arm], headings: Sequence[str], names: Sequence[str]) -> str:
    parts = []
    for arm, heading in zip(arms, headings, strict=True):
        sorts: dict[str, list[str]] = {}
        for name in names:
            found = kind(arm.answers.get(name))
            sorts.setdefault(_LOOKS[found].said.split(",")[0], []).append(name)
        said = "; ".join(f"{sort}: {', '.join(some)}" for sort, some in sorts.items())
        parts.append(f"{heading.replace(chr(10), ' ')}: {said}.")
    return " ".join(parts)


def _turned(base: Arm, others: Sequence[Arm], expected: Mapping[str, frozenset[str]]) -> str:
    parts = [f"The default container lets through: {', '.join(base.through()) or 'nothing'}."]
    for arm in others:
        both = [n for n in base.made() if n in arm.made()]
        changed = [n for n in both if base.answers[n].got_through != arm.answers[n].got_through]
        parts.append(f"{arm.confinement} turns {', '.join(changed) or 'nothing'}.")
    odd = deviations(base, others, expected)
    parts.append(f"Not as registered: {len(odd)}.")
    return " ".join(parts)
