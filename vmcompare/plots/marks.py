"""Labelled rows of marks: words on the left, a figure on the right, and between them what is drawn.

Every figure that sets values of several series below one another draws its rows here; and here are
panels of dots on a log axis, each with its figure in words: measured sizes, or a model.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from vmcompare.evidence.units import MIB
from vmcompare.plots import style
from vmcompare.plots.picture import MODELLED, Picture, Placeholders, WhatIf
from vmcompare.sandbox import Series

if TYPE_CHECKING:
    from matplotlib.axes import Axes

HEIGHT_IN, TALL_IN = 0.3, 0.38
"""Height in inches of a row with one mark, and of one with points or a note."""

PALE = 0.35  # opacity of a mark that is shown and does not count


@dataclass(frozen=True, slots=True)
class Row:
    """One row.

    Attributes:
        text: its figure in words, bold at the right.
        value: where its one mark is, or the tick of the median where there are points; ``None``
            draws neither.
        points: single values; the order spreads them, the same every time.
        pale: single values that are shown and do not count (warm-ups).
        hollow: whether its one mark is an outline.
        span: ends of a thick line, an interval or a range; none is drawn where they are infinite.
        note: a second line of words below the label.
        beside: words beside its one mark.
        bound: drawn as a black tick with a θ beside it.
        strong: which of the words are bold: both, the figure alone, or none.
    """

    label: str
    text: str
    look: style.Look
    value: float | None
    points: Sequence[float] = ()
    pale: Sequence[float] = ()
    hollow: bool = False
    span: tuple[float, float] = (-math.inf, math.inf)
    note: str = ""
    beside: str = ""
    bound: float | None = None
    strong: str = "figure"


def draw(axes: Axes, rows: Sequence[Row], *, guide: bool = False) -> None:
    """Draw rows from top to bottom, one unit of y each, and set the y axis for them.

    The x axis is the caller's; words lie beyond its ends, whatever its limits. With ``guide`` a
    thin line leads from the label to the figure.
    """
    for place, row in enumerate(rows):
        _draw_row(axes, len(rows) - 1 - place, row, guide=guide)
    axes.set_ylim(-0.5, len(rows) - 0.35)
    axes.set_yticks([])
    style.plain(axes)


def _draw_row(axes: Axes, y: int, row: Row, *, guide: bool) -> None:
    words: dict[str, Any] = {"transform": axes.get_yaxis_transform(), "fontsize": style.SMALL_PT,
                             "va": "center"}  # fmt: skip
    weight = {True: "bold", False: "normal"}
    middle = y - (0.08 if row.points or row.pale else 0.22 if row.note else 0.16)
    above, below = (middle + 0.23, middle - 0.23) if row.note else (middle, middle)
    left, right = words | {"ha": "right"}, words | {"ha": "left"}
    axes.text(-0.015, above, row.label, fontweight=weight[row.strong == "both"], **left)
    axes.text(1.015, middle, row.text, fontweight=weight[row.strong != "none"], **right)
    if row.note:
        axes.text(-0.015, below, row.note, **left)
    if guide:
        axes.axhline(middle, color=style.RULE, linewidth=1, zorder=1)
    ends = y - 0.33 if row.points else middle
    if all(map(math.isfinite, row.span)):
        axes.plot(
            row.span, [ends] * 2, color=row.look.colour, linewidth=3,
            solid_capstyle="butt",
        )  # fmt: skip
    for value in row.pale:
        axes.plot(
            value, middle, row.look.marker, markersize=6, markerfacecolor=row.look.colour,
            markeredgecolor=row.look.colour, alpha=PALE, zorder=1.5,
        )  # fmt: skip
    for place, value in enumerate(row.points):
        axes.plot(
            value, middle + 0.07 * (place % 5 - 2), row.look.marker, markersize=6,
            markerfacecolor=row.look.colour, markeredgecolor="white", markeredgewidth=0.5,
        )  # fmt: skip
    if row.value is not None and row.points:
        axes.plot([row.value] * 2, [y - 0.41, y + 0.15], color="black", linewidth=1.6)
    elif row.value is not None:
        axes.plot(
            row.value, middle, row.look.marker, color=row.look.colour, markersize=8,
            markerfacecolor="white" if row.hollow else row.look.colour, markeredgewidth=1.5,
            zorder=3,
        )  # fmt: skip
        axes.annotate(
            row.beside, (row.value, middle), xytext=(9, 0), textcoords="offset points",
            va="center", fontsize=style.LEAST_PT,
            bbox=style.PLATE | {"pad": 0} if row.beside else None,
        )  # fmt: skip
    if row.bound is not None:
        axes.plot([row.bound] * 2, [middle - 0.16, middle + 0.16], color="black", linewidth=2.4)
        away = 1 if row.value is not None and row.value < row.bound else -1  # may lie close
        axes.annotate(
            "θ", (row.bound, middle), xytext=(4 * away, 0), textcoords="offset points",
            va="center", ha="left" if away > 0 else "right", fontsize=style.SMALL_PT,
        )  # fmt: skip


# ---- panels of dots ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Dot:
    """One value, in the unit of its panel, and in words.

    ``hollow`` is drawn as an outline: the same series by another way.
    """

    series: Series
    label: str
    value: float
    text: str
    hollow: bool = False


Panels = Mapping[str, Sequence[Dot]]  # title → dots from top to bottom; at least one dot in all


@style.own()
def amounts(
    panels: Panels, *, what: str, caption: str, scale: float = MIB, unit: str = "MiB"
) -> Picture:
    """One panel below the other, all on the same log axis with a tick a decade; all are positive.

    ``what`` is shown, for the text alternative; ``caption`` has provenance and warnings. Ticks are
    written in ``unit``, which is ``scale`` of the values' own.
    """
    limits = _limits([dot for found in panels.values() for dot in found])
    ticks = [scale * 10.0**power for power in range(-3, 7)]
    picture = _drawn(panels, dict.fromkeys(panels, limits))
    for axes in picture.figure.axes:
        style.log_axis(axes.xaxis, *limits, lambda value: f"{value / scale:,g} {unit}", ticks)
        axes.grid(axis="x", color=style.RULE, linewidth=0.6, zorder=0)
        axes.spines["bottom"].set_visible(axes is picture.figure.axes[-1])
        axes.tick_params(axis="x", labelbottom=axes is picture.figure.axes[-1], length=0)
    alt = f"{what}, on a logarithmic axis. {picture.alt}"
    return replace(picture, alt=alt, caption=caption)


def sliding_dots(
    panels: Callable[[float], Panels],
    values: Sequence[float],
    *,
    start: float,
    said: str,
    placeholders: Placeholders,
    limits: Mapping[str, tuple[float, float]] | None = None,
) -> WhatIf:
    """A model whose results are dots that slide on fixed log axes; see :class:`WhatIf`.

    Args:
        panels: position of the slider → what it gives, always under the same titles. A value beyond
            the ends of its axis (zero, say) is drawn near the end.
        start: the position shown first: the nearest of ``values``.
        said: begins the text alternative, with ``{:g}`` for the position.
        limits: title → ends of its axis, where panels shall share them.
    """
    places = tuple(float(value) for value in values)
    every: dict[str, list[Dot]] = {}
    for place in places:
        for title, found in panels(place).items():
            every.setdefault(title, []).extend(found)
    ends = limits or {title: _limits(found) for title, found in every.items()}

    @style.own()
    def draw(value: float) -> Picture:
        picture = _drawn(panels(value), ends)
        below = picture.figure.axes[-1]
        below.set_xlabel("modelled; positions are logarithmic", fontsize=style.SMALL_PT)
        return replace(picture, alt=f"{said.format(value)} {picture.alt} {MODELLED}")

    first = min(range(len(places)), key=lambda index: abs(places[index] - start))
    return WhatIf(places, first, draw, placeholders=placeholders)


def _drawn(panels: Panels, limits: Mapping[str, tuple[float, float]]) -> Picture:
    """The panels with the words of their dots as text alternative; x axes without ticks."""
    rows = sum(len(found) for found in panels.values())
    figure = style.figure(HEIGHT_IN * rows + 0.36 * len(panels) + 0.2)
    heights = [len(found) + 0.6 for found in panels.values()]
    grid = figure.subplots(len(panels), 1, height_ratios=heights, squeeze=False)[:, 0]
    for axes, (title, found) in zip(grid, panels.items(), strict=True):
        _panel(axes, title, found, limits[title])
    alt = " ".join(
        f"{title}: " + "; ".join(f"{dot.label} {dot.text}" for dot in found) + "."
        for title, found in panels.items()
    )
    return Picture(figure, alt)


def _panel(axes: Axes, title: str, found: Sequence[Dot], limits: tuple[float, float]) -> None:
    low, high = limits
    axes.set_xscale("log")
    axes.set_xlim(low, high)
    rows = []
    for dot in found:
        place = min(max(dot.value, low * 1.4), high / 1.4) if high > 2 * low else dot.value
        look = style.look(dot.series)
        rows.append(Row(dot.label, dot.text, look, place, hollow=dot.hollow))
    draw(axes, rows, guide=True)
    axes.set_title(title, fontsize=style.SMALL_PT, loc="left", fontweight="bold")
    axes.set_xticks([], minor=True)
    axes.set_xticks([])
    axes.spines["bottom"].set_visible(False)


def _limits(found: Sequence[Dot]) -> tuple[float, float]:
    """A third of a decade more at either end, so that no marker sits on the edge."""
    there = [dot.value for dot in found if dot.value > 0] or [1.0]
    return min(there) / 2, max(there) * 2
