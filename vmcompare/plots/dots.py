"""Panels of dots on a log axis, each with its figure in words: sizes, or what a model gives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from vmcompare.evidence.units import MIB, size
from vmcompare.plots import style
from vmcompare.plots.picture import MODELLED, Picture

_TICKS: Sequence[float] = tuple(MIB * 10.0**power for power in range(-3, 7))
"""Decades of MiB; a tick is written in the unit that suits it."""


@dataclass(frozen=True, slots=True)
class Dot:
    """One size.

    Attributes:
        series: gives marker and colour.
        label: its words, with provenance where a figure mixes it.
        value_bytes: positive.
        hollow: drawn as an outline: the same series by another way.
    """

    series: style.Series
    label: str
    value_bytes: float
    hollow: bool = False


@style.own()
def dots(panels: Mapping[str, Sequence[Dot]], *, what: str, caption: str) -> Picture:
    """One panel below the other, all on the same log axis of bytes.

    Args:
        panels: title → dots from top to bottom; at least one dot in all.
        what: what is shown, for the text alternative.
        caption: provenance and warnings.
    """
    from matplotlib.ticker import FixedLocator, NullLocator

    everything = [dot.value_bytes for found in panels.values() for dot in found]
    # A third of a decade of air, so that no marker sits on the edge.
    low, high = min(everything) / 2, max(everything) * 2
    rows = sum(len(found) for found in panels.values())
    figure = style.figure(0.4 * rows + 0.34 * len(panels) + 0.3)
    heights = [len(found) + 0.6 for found in panels.values()]
    grid = figure.subplots(len(panels), 1, height_ratios=heights, squeeze=False)[:, 0]
    for axes, (title, found) in zip(grid, panels.items(), strict=True):
        axes.set_xscale("log")
        axes.set_xlim(low, high)
        for place, dot in enumerate(found):
            y, look = len(found) - 1 - place, dot.series.look
            axes.axhline(y - 0.2, color="#C8C8C8", linewidth=1, zorder=1)
            fill = "white" if dot.hollow else look.colour
            axes.plot(
                dot.value_bytes, y - 0.2, look.marker, color=look.colour, markersize=8,
                markerfacecolor=fill, markeredgewidth=1.5, zorder=3,
            )  # fmt: skip
            words = {
                "transform": axes.get_yaxis_transform(), "fontsize": style.SMALL_PT,
                "va": "center", "bbox": style.PLATE, "zorder": 2,
            }  # fmt: skip
            axes.text(0, y + 0.23, dot.label, **words)
            axes.text(1, y + 0.23, size(dot.value_bytes), ha="right", fontweight="bold", **words)
        axes.set_title(title, fontsize=style.SMALL_PT, loc="left", fontweight="bold")
        axes.set_ylim(-0.55, len(found) - 0.35)
        axes.set_yticks([])
        axes.xaxis.set_major_locator(FixedLocator([t for t in _TICKS if low <= t <= high]))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(lambda value, _: _tick(value))
        axes.grid(axis="x", color="#D0D0D0", linewidth=0.6, zorder=0)
        style.plain(axes)
        axes.spines["bottom"].set_visible(axes is grid[-1])
        axes.tick_params(axis="x", labelbottom=axes is grid[-1], length=0)
    alt = " ".join(
        f"{title}: " + "; ".join(f"{dot.label} {size(dot.value_bytes)}" for dot in found) + "."
        for title, found in panels.items()
    )
    return Picture(figure, f"{what}, on a logarithmic axis. {alt}", caption)


def _tick(value_bytes: float) -> str:
    """``"10 MiB"``, not ``"10.0 MiB"``; 1,000 MiB stays in MiB, as the axis counts in decades."""
    return f"{value_bytes / MIB:,g} MiB"


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
