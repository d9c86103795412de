"""Lines: bytes with every measured point and lettered marks, times of N copies, or a model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vmcompare.evidence.units import MIB, seconds, size
from vmcompare.plots import style
from vmcompare.plots.picture import MODELLED, Picture
from vmcompare.sandbox import EMULATION, Series

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_LETTERS = "abcdefgh"  # what marks are called on the axis; the key says what each is

NO_MARKS: Mapping[str, float] = {}

Points = Sequence[tuple[float, float]]

_KEY_TO_PLOT = (1.1, 1.0)  # widths of the key, at the left, and of the plot beside it


@dataclass(frozen=True, slots=True)
class Line:
    """One series of a panel, in its colour and marker; without a series a grey line of reference.

    Attributes:
        points: measured (x, bytes).
        drawn: corners of the line through them (x, bytes): a fit, or medians; may be empty.
        note: its figure in words, at the right of the key.
        dashed: it is not a fit of these points alone.
        hollow: its points are outlines, to tell it from another line of its series.
        every: one point in so many has a mark.
    """

    series: Series | None
    label: str
    points: Points = ()
    drawn: Points = ()
    note: str = ""
    dashed: bool = False
    hollow: bool = False
    every: int = 1


@style.own()
def lines(
    title: str,
    drawn: Sequence[Line],
    marks: Mapping[str, float] = NO_MARKS,
    *,
    x_label: str,
    x_ticks: Sequence[float],
    what: str,
    caption: str,
) -> Picture:
    """Lines of bytes beside their key; y (``title``) in MiB from 0, x from 0 to the last tick.

    ``marks`` (words → place on the x axis) are dotted lines, from the first instance on. ``what``
    is shown, for the text alternative; ``caption`` has provenance and warnings.
    """
    figure = style.figure(max(0.27 * (len(drawn) + len(marks) + 1), 2.4) + 0.4)
    key, axes = figure.subplots(1, 2, width_ratios=_KEY_TO_PLOT)
    _key(key, title, drawn, marks)
    for line in drawn:
        in_mib = ([(x, y / MIB) for x, y in some] for some in (line.drawn, line.points))
        _draw(axes, line, *in_mib)
    end = x_ticks[-1]
    for letter, where in zip(_LETTERS, marks.values(), strict=False):
        if 1 < where <= end:  # below one instance a mark would only point at the axis
            axes.axvline(where, color=style.GREY, linestyle=":", linewidth=1.2, zorder=0)
            axes.text(
                where, 1.01, letter, transform=axes.get_xaxis_transform(), va="bottom",
                ha="center", fontsize=style.SMALL_PT,
            )  # fmt: skip
    highest = max((y for line in drawn for _, y in (*line.points, *line.drawn)), default=0)
    axes.set_ylim(0, (highest * 1.08 or MIB) / MIB)
    axes.set_xlim(0, end * 1.03)
    axes.set_xticks(list(x_ticks))
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.10g}")
    _finish(axes, x_label)
    return Picture(figure, _lines_alt(title, drawn, marks, what, x_label), caption)


@style.own()
def log_lines(
    title: str,
    drawn: Sequence[Line],
    *,
    x_label: str,
    x_ticks: Sequence[float],
    what: str,
    caption: str,
) -> Picture:
    """Lines of times in seconds (not bytes) beside their key, both axes logarithmic.

    Every line has points, and corners of a line through them. See :func:`lines`.
    """
    figure = style.figure(max(0.4 * (len(drawn) + 1), 4.0))
    key, axes = figure.subplots(1, 2, width_ratios=_KEY_TO_PLOT)
    _key(key, title, drawn)
    for line in drawn:
        _draw(axes, line, line.drawn, line.points)
    times = [y for line in drawn for _, y in line.points]
    low, high = x_ticks[0] * 0.9, x_ticks[-1] * 1.1
    style.log_axis(axes.xaxis, low, high, lambda n: f"{n:g}", x_ticks)
    style.log_axis(axes.yaxis, min(times) / 1.6, max(times) * 1.6, style.tick_seconds)
    _finish(axes, x_label)
    said = [f"{what}, both axes logarithmic; x axis: {x_label}"]
    for line in drawn:
        corners = ", ".join(f"{seconds(y)} at {x:g}" for x, y in line.drawn)
        said.append(f"{line.label}: {corners}")
    return Picture(figure, ". ".join(said) + ".", caption)


_KEY_CHARACTERS = 56  # of a line's label and note together: more would overlap


def _key(
    axes: Axes, title: str, drawn: Sequence[Line], marks: Mapping[str, float] = NO_MARKS
) -> None:
    axes.axis("off")
    axes.set_xlim(0, 1.02)  # notes keep off the numbers of the plot beside them
    axes.set_ylim(-len(drawn) - len(marks) - 0.5, 0.7)
    # Words that are too long must not squeeze the axes: they stay out of the layout.
    plain: dict[str, Any] = {"fontsize": style.LEAST_PT, "va": "center", "in_layout": False}
    bold = plain | {"fontweight": "bold"}
    axes.text(0, 0, title, **bold)  # at most about 58 characters fit
    for place, line in enumerate(drawn, start=1):
        _draw(axes, line, [(0.0, -place), (0.06, -place)], [(0.03, -place)])
        long = len(line.label) + len(line.note) > _KEY_CHARACTERS
        label = line.label.replace(EMULATION, "emulated") if long else line.label
        axes.text(0.08, -place, label, **plain)
        axes.text(1, -place, line.note, ha="right", **bold)
    for place, (letter, words) in enumerate(zip(_LETTERS, marks, strict=False)):
        y = -len(drawn) - 1 - place
        axes.text(0.03, y, letter, ha="center", **plain)
        axes.text(0.08, y, words, **plain)


def _draw(axes: Axes, line: Line, corners: Points, points: Points) -> None:
    """A line in its look through ``corners``, and its marker at ``points``."""
    look = style.look(line.series)
    if line.drawn:
        dash = "--" if line.dashed else "-"
        axes.plot(*zip(*corners, strict=True), dash, color=look.colour, linewidth=1.6)
    if line.series and line.points:
        face, edge = ("white", look.colour) if line.hollow else (look.colour, "white")
        axes.plot(
            *zip(*points, strict=True), look.marker, markersize=6, linestyle="none",
            markevery=line.every, markerfacecolor=face, markeredgecolor=edge,
            markeredgewidth=1.4 if line.hollow else 0.5,
        )  # fmt: skip


def _finish(axes: Axes, x_label: str) -> None:
    axes.grid(axis="y", color=style.RULE, linewidth=0.6)
    axes.set_axisbelow(True)
    style.plain(axes)
    axes.set_xlabel(x_label, fontsize=style.SMALL_PT)


def _lines_alt(
    title: str, drawn: Sequence[Line], marks: Mapping[str, float], what: str, x_label: str
) -> str:
    series = []
    for line in drawn:
        words = f"{line.label} {line.note}".strip()
        if line.points:
            xs = [x for x, _ in line.points]
            ys = [y for _, y in line.points]
            words += f", {len(xs)} points from x = {min(xs):g} to {max(xs):g}, "
            words += f"{size(min(ys))} to {size(max(ys))}"
        series.append(words)
    return ". ".join([f"{what}; x axis: {x_label}", f"{title}: {'; '.join(series)}", *marks]) + "."


@dataclass(frozen=True, slots=True)
class Curve:
    """A modelled line over the slider (a value a position), or a flat one, in its series' look."""

    series: Series
    label: str
    values: Sequence[float]
    dashed: bool = False


_CHARACTERS = 108  # of usual words, side by side, that are as wide as the figure


@style.own()
def curves(
    x: Sequence[float],
    lines: Sequence[Curve],
    at: int,
    *,
    x_label: str,
    title: str,
    written: Callable[[float], str],
    tick: Callable[[float], str],
) -> Picture:
    """Values (all positive) over the positions ``x`` of a slider, which is ``at`` one of them.

    Both axes are logarithmic. ``written`` and ``tick`` write a value in the key and on the axis.
    """
    figure = style.figure(max(3.6, 0.3 * len(lines)))
    # The key is as wide as its words, at every position of the slider; the plot has the rest.
    named = max(len(line.label) for line in lines)
    room = 8 + named + max(len(written(value)) for line in lines for value in line.values)
    keys, axes = figure.subplots(1, 2, width_ratios=(room, _CHARACTERS - room))
    keys.axis("off")
    keys.set_xlim(0, room)
    keys.set_ylim(-len(lines) + 0.4, 0.6)
    for place, line in enumerate(lines):
        look, now = style.look(line.series), line.values[at]
        dash = "--" if line.dashed else "-"
        axes.plot(x, line.values, dash, color=look.colour, linewidth=1.6)
        axes.plot(x[at], now, look.marker, color=look.colour, markersize=9, markeredgecolor="white")
        keys.plot([0.5, 3.5], [-place] * 2, dash, color=look.colour, linewidth=1.6)
        keys.plot(2, -place, look.marker, color=look.colour, markersize=7)
        keys.text(5, -place, line.label, fontsize=style.SMALL_PT, va="center")
        keys.text(
            room, -place, written(now), fontsize=style.SMALL_PT, va="center", ha="right",
            fontweight="bold",
        )  # fmt: skip
    axes.axvline(x[at], color="black", linewidth=0.8, zorder=0)
    ends = x[0] * 0.93, x[-1] * 1.07
    style.log_axis(axes.xaxis, *ends, lambda value: f"{value:,g}")
    every = [value for line in lines for value in line.values]
    style.log_axis(axes.yaxis, min(every), max(every), tick)
    axes.autoscale(axis="y")
    _finish(axes, x_label)
    axes.set_title(title, fontsize=style.SMALL_PT, loc="left")
    words = "; ".join(f"{line.label} {written(line.values[at])}" for line in lines)
    alt = f"A model: {title}; {x_label} set to {x[at]:g}: {words}. {MODELLED}"
    return Picture(figure, alt, MODELLED)
