"""How many runs it takes until a difference stands out from the noise: a model of the spread."""

from __future__ import annotations

import math

from vmcompare.errors import Unavailable
from vmcompare.evidence.view import View
from vmcompare.experiments.whole_computer.noise import START, Halves, halves, percent
from vmcompare.plots import style
from vmcompare.plots.groups import mixed, warnings
from vmcompare.plots.picture import MODELLED, Picture, WhatIf

_NORMAL_95 = 1.96
"""Half the width of a normal distribution's central 95 %, in standard deviations."""

_MEDIAN = math.sqrt(math.pi / 2)
"""How many times the standard error of a mean that of a median is, for large n (1.253)."""

RUNS = (3, 4, 5, 7, 10, 14, 20, 30, 40, 50, 70, 100, 140, 200, 300, 500, 700, 1000, 2000, 3000)
"""Numbers of runs on the slider, of each of the two."""


def visible_percent(spread: float, runs: float) -> float:
    """The smallest difference, in per cent, that two medians of ``runs`` runs each can show.

    Half the 95 % interval of the difference of two medians, for large n: the standard error of a
    median is √(π/2) times that of a mean (Kendall and Stuart: The Advanced Theory of Statistics,
    vol. 1, chapter 10), and that of a difference of two equals √2 times that of one.

    Args:
        spread: standard deviation ÷ median of single runs.
        runs: of each of the two.
    """
    return _NORMAL_95 * math.sqrt(2) * _MEDIAN * spread / math.sqrt(runs) * 100


def runs_needed(view: View) -> WhatIf:
    """How small a difference stands out from the noise, over the number of runs."""
    found = [both for both in halves(view) if both.spread > 0 and len(both.a + both.b) >= 4]
    if not found:
        raise Unavailable(
            "too few starts to tell how much they vary", "run at least one whole round"
        )
    spreads = [both.spread for both in found]
    limits = (
        visible_percent(min(spreads), RUNS[-1]) / 1.5,
        visible_percent(max(spreads), RUNS[0]) * 1.5,
    )
    words = warnings([both.group for both in found])

    def draw(runs: float) -> Picture:
        return _runs_picture(found, runs, limits, words)

    return WhatIf(
        label="runs of each of the two",
        values=tuple(float(n) for n in RUNS),
        start=RUNS.index(10),
        unit="runs",
        draw=draw,
        formula=(
            r"d(n) = 1.96 \cdot \sqrt{2} \cdot 1.253 \cdot "
            r"\frac{\mathrm{IQR}}{1.349 \; \tilde{t} \, \sqrt{n}}"
        ),
        source=f"IQR, the interquartile range, and t̃, the median, of {START} (IQR ÷ 1.349 is the "
        f"standard deviation of a normal distribution); {view.caption()}",
    )


def _round(runs: int) -> int:
    """To two digits: more would not be known."""
    return max(1, round(float(f"{runs:.2g}")))


@style.own()
def _runs_picture(
    found: list[Halves], runs: float, limits: tuple[float, float], words: str
) -> Picture:
    from matplotlib.ticker import FixedLocator, NullLocator

    figure = style.figure(3.3 + 0.22 * len(found))
    keys, axes = figure.subplots(2, 1, height_ratios=[0.22 * len(found) + 0.05, 3.1])
    keys.axis("off")
    keys.set_xlim(0, 1)
    keys.set_ylim(-len(found) + 0.4, 0.6)
    said = []
    both_kinds = mixed([both.group for both in found])
    for place, both in enumerate(found):
        look, label = both.group.series.look, both.group.label(mixed=both_kinds)
        now = visible_percent(both.spread, runs)
        lines = [visible_percent(both.spread, n) for n in RUNS]
        # Two spreads may be alike: the second line's gaps let the first be seen.
        axes.plot(RUNS, lines, "--" if place else "-", color=look.colour, linewidth=1.8)
        axes.plot(runs, now, look.marker, color=look.colour, markersize=9, markeredgecolor="white")
        keys.plot(0.03, -place, look.marker, color=look.colour, markersize=7)
        keys.text(0.08, -place, label, fontsize=style.SMALL_PT, va="center")
        keys.text(
            1, -place, percent(now), fontsize=style.SMALL_PT, va="center", ha="right",
            fontweight="bold",
        )  # fmt: skip
        one = math.ceil((visible_percent(both.spread, 1)) ** 2)
        said.append(f"{label} {percent(now)} (for 1 % it takes about {_round(one):,} runs)")
    axes.axvline(runs, color="black", linewidth=0.8, zorder=0)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlim(RUNS[0] * 0.85, RUNS[-1] * 1.15)
    axes.set_ylim(*limits)
    axes.xaxis.set_major_locator(FixedLocator([3, 10, 30, 100, 300, 1000, 3000]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    ticks = [d * 10.0**e for e in range(-4, 5) for d in (1, 2, 5)]
    axes.yaxis.set_major_locator(FixedLocator([t for t in ticks if limits[0] <= t <= limits[1]]))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g} %")
    axes.grid(axis="y", color="#D0D0D0", linewidth=0.6)
    axes.set_axisbelow(True)
    style.plain(axes)
    axes.set_xlabel("runs of each of the two", fontsize=style.SMALL_PT)
    axes.set_title("smallest difference that stands out", fontsize=style.SMALL_PT, loc="left")
    return Picture(
        figure,
        f"With {runs:g} runs of each, the smallest difference of two medians that stands out from "
        f"the noise: {'; '.join(said)}. {MODELLED}",
        f"{MODELLED} Smallest difference of two medians that stands out: {'; '.join(said)}. "
        f"For large n and independent runs that scatter normally; where they do not, as in two "
        f"clusters, it is a rule of thumb. {words}".strip(),
    )
