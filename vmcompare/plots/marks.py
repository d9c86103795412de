"""Labelled rows of marks: words on the left, a figure on the right, and between them what is drawn.

Every figure that sets values of several series below one another draws its rows here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vmcompare.plots import style

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
