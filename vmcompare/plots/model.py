"""Pictures of a model: what would be, calculated from measured figures, and always marked so."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from vmcompare.evidence.units import seconds
from vmcompare.plots import style
from vmcompare.plots.picture import Picture

MODELLED = "Modelled, not measured."


@dataclass(frozen=True, slots=True)
class Bar:
    """One value of one series in a panel, with its words."""

    series: style.Series
    label: str
    value: float
    text: str


@style.own()
def bars(panels: Mapping[str, Sequence[Bar]], limits: Mapping[str, tuple[float, float]]) -> Picture:
    """One panel below the other, in each a dot on a log axis for every series.

    Args:
        panels: title → bars, all values positive.
        limits: title → ends of its axis; fixed, so that dots move and axes do not.
    """
    rows = sum(len(found) for found in panels.values())
    figure = style.figure(0.42 * rows + 0.42 * len(panels))
    heights = [len(found) + 0.6 for found in panels.values()]
    grid = figure.subplots(len(panels), 1, height_ratios=heights, squeeze=False)[:, 0]
    for axes, (title, found) in zip(grid, panels.items(), strict=True):
        axes.set_xscale("log")
        low, high = limits[title]
        axes.set_xlim(low, high)
        for place, bar in enumerate(found):
            y, look = len(found) - 1 - place, bar.series.look
            # A guide for the eye, no bar: on a log axis a length means nothing.
            axes.plot([low, high], [y - 0.12] * 2, color="#C8C8C8", linewidth=1)
            axes.plot(bar.value, y - 0.12, look.marker, color=look.colour, markersize=8)
            shared = {
                "transform": axes.get_yaxis_transform(), "fontsize": style.SMALL_PT,
                "va": "center",
            }  # fmt: skip
            axes.text(0, y + 0.27, bar.label, **shared)
            axes.text(1, y + 0.27, bar.text, ha="right", fontweight="bold", **shared)
        axes.set_title(title, fontsize=style.SMALL_PT, loc="left", fontweight="bold")
        axes.set_ylim(-0.5, len(found) - 0.3)
        axes.set_xticks([], minor=True)
        axes.set_xticks([])
        axes.set_yticks([])
        style.plain(axes)
        axes.spines["bottom"].set_visible(False)
    grid[-1].set_xlabel("modelled; positions are logarithmic", fontsize=style.SMALL_PT)
    alt = " ".join(
        f"{title}: " + "; ".join(f"{bar.label} {bar.text}" for bar in found) + "."
        for title, found in panels.items()
    )
    return Picture(figure, f"{alt} {MODELLED}", MODELLED)


_LETTERS = "abcdefgh"

_APART = 0.04
"""Of a log axis: letters that are closer than this would be printed over each other."""


def _letters(marks: Iterable[float], low: float, high: float) -> list[tuple[str, float]]:
    """Letters above a log axis and where they stand; those too close stand together, in order."""
    there = sorted((place, _LETTERS[n]) for n, place in enumerate(marks) if low <= place <= high)
    found: list[tuple[str, float]] = []
    for place, letter in there:
        if found and math.log(place / found[-1][1]) < _APART * math.log(high / low):
            letters, where = found.pop()
            found.append((f"{letters} {letter}", math.sqrt(where * place)))
        else:
            found.append((letter, place))
    return found


@dataclass(frozen=True, slots=True)
class Curve:
    """A modelled line of times (s) over the slider, or a flat one; drawn in its series' look."""

    series: style.Series
    label: str
    times_s: tuple[float, ...]


@style.own()
def curves(
    x: Sequence[float],
    lines: Sequence[Curve],
    marks: Mapping[str, float],
    at: int,
    *,
    x_label: str,
) -> Picture:
    """Times on a log axis over a factor, with marks on the factor's axis and the slider's position.

    Args:
        x: positions of the slider, all positive.
        lines: what is drawn; ``times_s`` has the shape of ``x``.
        marks: words → place on the x axis, drawn as dotted lines where they lie within it.
        at: index of the slider's position.
    """
    from matplotlib.ticker import FixedLocator, NullLocator

    figure = style.figure(3.6 + 0.18 * len(lines) + 0.18 * len(marks))
    keys, axes = figure.subplots(2, 1, height_ratios=[0.2 * (len(lines) + len(marks)) + 0.05, 3.1])
    keys.axis("off")
    keys.set_xlim(0, 1)
    keys.set_ylim(-(len(lines) + len(marks)) + 0.4, 0.6)
    for place, line in enumerate(lines):
        look, now = line.series.look, line.times_s[at]
        flat = len(set(line.times_s)) == 1
        dash = "--" if flat else "-"
        axes.plot(x, line.times_s, dash, color=look.colour, linewidth=1.6)
        axes.plot(x[at], now, look.marker, color=look.colour, markersize=9, markeredgecolor="white")
        keys.plot([0.01, 0.05], [-place] * 2, dash, color=look.colour, linewidth=1.6)
        keys.plot(0.03, -place, look.marker, color=look.colour, markersize=7)
        keys.text(0.08, -place, line.label, fontsize=style.SMALL_PT, va="center")
        keys.text(
            1, -place, seconds(now), fontsize=style.SMALL_PT, va="center", ha="right",
            fontweight="bold",
        )  # fmt: skip
    for place, (words, where) in enumerate(marks.items()):
        y, letter = -len(lines) - place, _LETTERS[place]
        keys.text(0.03, y, letter, fontsize=style.SMALL_PT, va="center", ha="center")
        keys.text(0.08, y, words, fontsize=style.SMALL_PT, va="center")
        if x[0] <= where <= x[-1]:
            axes.axvline(where, color=style.GREY, linestyle=":", linewidth=1.2, zorder=0)
    for letters, where in _letters(marks.values(), x[0], x[-1]):
        axes.text(
            where, 1.01, letters, transform=axes.get_xaxis_transform(), va="bottom",
            fontsize=style.SMALL_PT, ha="center",
        )  # fmt: skip
    axes.axvline(x[at], color="black", linewidth=0.8, zorder=0)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlim(x[0] * 0.93, x[-1] * 1.07)
    ticks = [tick for tick in (1, 2, 5, 10, 20, 50, 100) if x[0] <= tick <= x[-1]]
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.yaxis.set_major_formatter(lambda value, _: style.tick_seconds(value))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.grid(axis="y", color="#D0D0D0", linewidth=0.6)
    axes.set_axisbelow(True)
    style.plain(axes)
    axes.set_xlabel(x_label, fontsize=style.SMALL_PT)
    words = "; ".join(f"{line.label} {seconds(line.times_s[at])}" for line in lines)
    marked = "; ".join(marks)
    alt = f"{x_label} set to {x[at]:g}: {words}. " + (f"Marks: {marked}. " if marked else "")
    return Picture(figure, alt + MODELLED, MODELLED)
