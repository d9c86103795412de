"""A/A: the same start, labelled A or B by chance, and how far apart the two come out."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vmcompare.errors import Unavailable
from vmcompare.evidence.statistics import CONFIDENCE, Interval, median_interval
from vmcompare.evidence.units import ratio as ratio_text
from vmcompare.evidence.units import seconds
from vmcompare.evidence.view import Column, View, caption, mixed
from vmcompare.plots import marks, style
from vmcompare.plots.picture import Picture

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

START = "start_to_first_byte_s"

_IQR_TO_SD = 1.349
"""Interquartile range of a normal distribution, in standard deviations: a spread that a few
outliers do not move."""


@dataclass(frozen=True, slots=True)
class Halves:
    """The same thing twice: one series' starts, labelled A and B by chance.

    Attributes:
        column: the series.
        a, b: its times in seconds.
        ratio: median of B ÷ median of A by round, then the median of those, with its interval.
    """

    column: Column
    a: tuple[float, ...]
    b: tuple[float, ...]
    ratio: Interval

    @property
    def pair_percent(self) -> float:
        """How far apart one A and one B are, in per cent: the median over all such pairs."""
        import numpy as np

        a, b = np.array(self.a)[:, None], np.array(self.b)[None, :]
        return float(np.median(np.maximum(a, b) / np.minimum(a, b)) - 1) * 100

    @property
    def extremes(self) -> float:
        """Slowest ÷ fastest of all."""
        return max(*self.a, *self.b) / min(*self.a, *self.b)

    @property
    def spread(self) -> float:
        """Standard deviation ÷ median, by the interquartile range."""
        import numpy as np

        low, middle, high = np.quantile([*self.a, *self.b], (0.25, 0.5, 0.75))
        return float((high - low) / _IQR_TO_SD / middle)


def halves(view: View) -> list[Halves]:
    """Every series that has both an A and a B.

    Raises:
        Unavailable: none has.
    """
    found = []
    for column in view.need(START, "start"):
        a, b = column.where(phase="A"), column.where(phase="B")
        if times := b.over(a):
            found.append(Halves(column, tuple(a.values), tuple(b.values), times))
    if not found:
        raise Unavailable(
            "no series has starts of both labels, A and B", "run one whole round of the measurement"
        )
    return found


@style.own()
def noise_figure(view: View) -> Picture:
    """A and B of each series, every start as a point, as a multiple of the common median."""
    import numpy as np

    found = halves(view)
    series = [both.column for both in found]
    figure = style.figure(1.75 * len(found) + 0.25)
    grid = figure.subplots(len(found), 1, squeeze=False, sharex=True)[:, 0]
    for axes, both in zip(grid, found, strict=True):
        middle = float(np.median([*both.a, *both.b]))
        marks.draw(axes, [_row("A", both.a, middle, both), _row("B", both.b, middle, both)])
        axes.axvline(1, color=style.GREY, linewidth=1, linestyle="--", zorder=0)
        axes.set_title(
            f"{both.column.label(mixed=mixed(series))}: "
            f"B ÷ A by round {_ratio(both.ratio)}",
            fontsize=style.SMALL_PT, loc="left", fontweight="bold",
        )  # fmt: skip
        axes.grid(axis="x", color="#D0D0D0", linewidth=0.6)
        axes.set_axisbelow(True)
        axes.set_xscale("log")
    _multiples(grid[-1], found)
    grid[-1].set_xlabel(
        "a start ÷ the median of A and B together (logarithmic)", fontsize=style.SMALL_PT
    )
    words = " ".join(_sentence(both) for both in found)
    return Picture(
        figure,
        f"The same start, labelled A or B by chance, every start a point. {words}",
        caption(view, series, *map(_missed, found)),
    )


ENOUGH_ROUNDS = 6
"""Fewer rounds have no 95 % interval: n independent ratios all lie on the same side of the true
median with a probability of 2 · 2^(−n), whatever their distribution, so even their whole span holds
it in 94 % of cases for n = 5 and in 97 % for n = 6."""


def holds(rounds: int) -> float:
    """How probable it is that the span of so many rounds encloses the true ratio."""
    return 1 - 2.0 ** (1 - rounds)


def _missed(both: Halves) -> str:
    ratio = both.ratio
    if not ratio.known or ratio.low <= 1 <= ratio.high:
        return ""
    why = (
        f"the span of {ratio.n} rounds holds the truth in {holds(ratio.n):.0%} of cases only"
        if ratio.n < ENOUGH_ROUNDS
        else "of twenty such intervals one misses the truth as a rule"
    )
    label = both.column.series.label
    return f"{label}: the interval of B ÷ A does not hold 1, though A and B are the same; {why}."


def _multiples(axes: Axes, found: list[Halves]) -> None:
    """Ends and ticks of the common axis: few enough to be read, whatever the outliers."""
    import numpy as np
    from matplotlib.ticker import FixedLocator, NullLocator

    ends = []
    for both in found:
        times = np.array([*both.a, *both.b])
        ends += [float((times / np.median(times)).min()), float((times / np.median(times)).max())]
    low, high = min(*ends, 0.9) / 1.08, max(*ends, 1.1) * 1.08
    ticks = next(
        ticks
        for most, ticks in (
            (1.7, (0.8, 0.9, 1, 1.1, 1.25, 1.5)),
            (6, (0.5, 0.7, 1, 1.5, 2, 3, 5)),
            (60, (0.2, 0.5, 1, 2, 5, 10, 20, 50)),
            (math.inf, tuple(10.0**e for e in range(-3, 7))),
        )
        if high / low <= most
    )
    axes.set_xlim(low, high)
    axes.xaxis.set_major_locator(FixedLocator([tick for tick in ticks if low <= tick <= high]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,g}×")


def _row(label: str, values: tuple[float, ...], middle: float, both: Halves) -> marks.Row:
    """A or B, its times as multiples of ``middle``."""
    median = median_interval(values)
    at, low, high = (end / middle for end in (median.estimate, median.low, median.high))
    return marks.Row(
        f"{label} · n = {len(values)}",
        seconds(median.estimate),
        style.look(both.column.series),
        at,
        [value / middle for value in values],
        hollow=label == "B",
        span=(low, high),
    )


def noise_table(view: View) -> pd.DataFrame:
    """One row a series: medians of A and B, their ratio with its interval, single starts (text)."""
    import pandas as pd

    rows = [
        {
            "the same start": both.column.series.label,
            "n": f"{len(both.a)} + {len(both.b)}",
            "median of A": seconds(median_interval(both.a).estimate),
            "median of B": seconds(median_interval(both.b).estimate),
            "B ÷ A by round": _ratio(both.ratio),
            "one A and one B differ by": percent(both.pair_percent),
            "slowest ÷ fastest": ratio_text(both.extremes),
            "provenance": both.column.shown,
        }
        for both in halves(view)
    ]
    return pd.DataFrame(rows)


def _sentence(both: Halves) -> str:
    n = both.ratio.n
    kind = f"{CONFIDENCE:.0%} interval" if n >= ENOUGH_ROUNDS else f"span of {n} rounds"
    ends = both.ratio.ends(ratio_text, " to ")
    span = f"{kind} {ends}" if ends else "no interval from one round"
    return (
        f"{both.column.series.label}: B ÷ A is {ratio_text(both.ratio.estimate)} ({span}); "
        f"one A and one B differ by {percent(both.pair_percent)} as a rule, the slowest start "
        f"took {ratio_text(both.extremes)} as long as the fastest."
    )


def _ratio(interval: Interval) -> str:
    return f"{ratio_text(interval.estimate)} [{interval.ends(ratio_text, ' to ') or '–'}]"


def percent(value: float) -> str:
    return f"{value:.1f} %" if value < 99.95 else f"{value:,.0f} %"
