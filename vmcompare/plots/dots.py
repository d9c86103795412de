"""Panels of dots on a log axis, each with its figure in words: measured sizes, or a model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from vmcompare.evidence.units import MIB
from vmcompare.plots import marks, style
from vmcompare.plots.picture import MODELLED, Picture, Placeholders, WhatIf
from vmcompare.sandbox import Series

if TYPE_CHECKING:
    from matplotlib.axes import Axes


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


def sizes(panels: Panels, *, what: str, caption: str) -> Picture:
    """One panel below the other, all on the same log axis of bytes; all values are positive.

    ``what`` is shown, for the text alternative; ``caption`` has provenance and warnings.
    """
    return _on_decades(panels, MIB, "MiB", what, caption)


def counts(found: Sequence[Dot], *, what: str, caption: str) -> Picture:
    """Counts on a log axis with a tick a decade; all are positive. See :func:`sizes`."""
    return _on_decades({what: found}, 1e6, "million", what, caption)


@style.own()
def _on_decades(panels: Panels, scale: float, unit: str, what: str, caption: str) -> Picture:
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
    figure = style.figure(marks.HEIGHT_IN * rows + 0.36 * len(panels) + 0.2)
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
        rows.append(marks.Row(dot.label, dot.text, look, place, hollow=dot.hollow))
    marks.draw(axes, rows, guide=True)
    axes.set_title(title, fontsize=style.SMALL_PT, loc="left", fontweight="bold")
    axes.set_xticks([], minor=True)
    axes.set_xticks([])
    axes.spines["bottom"].set_visible(False)


def _limits(found: Sequence[Dot]) -> tuple[float, float]:
    """A third of a decade more at either end, so that no marker sits on the edge."""
    there = [dot.value for dot in found if dot.value > 0] or [1.0]
    return min(there) / 2, max(there) * 2
