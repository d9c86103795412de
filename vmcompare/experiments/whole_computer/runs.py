"""How many runs it takes until a difference stands out from the noise: a model of the spread."""

from __future__ import annotations

import math
from dataclasses import replace

from vmcompare.errors import Unavailable
from vmcompare.evidence.view import View, mixed, warnings
from vmcompare.experiments.whole_computer.noise import START, halves, percent
from vmcompare.plots.lines import Curve, curves
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
    mixes = mixed([both.column for both in found])
    lines = [
        Curve(
            both.column.series,
            both.column.label(mixed=mixes),
            [visible_percent(both.spread, runs) for runs in RUNS],
            dashed=place > 0,  # two spreads may be alike
        )
        for place, both in enumerate(found)
    ]
    words = warnings([both.column for both in found])

    def draw(runs: float) -> Picture:
        at = RUNS.index(int(runs))
        said = "; ".join(
            f"{line.label} {percent(line.values[at])} (for 1 % it takes about "
            f"{_round(visible_percent(both.spread, 1) ** 2):,} runs)"
            for line, both in zip(lines, found, strict=True)
        )
        picture = curves(
            RUNS,
            lines,
            at,
            x_label="runs of each of the two",
            title="smallest difference that stands out",
            written=percent,
            tick=_tick,
        )
        return replace(
            picture,
            alt=f"With {runs:g} runs of each, the smallest difference of two medians that stands "
            f"out from the noise: {said}. {MODELLED}",
            caption=f"{MODELLED} Smallest difference of two medians that stands out: {said}. "
            "For large n and independent runs that scatter normally; where they do not, as in two "
            f"clusters, it is a rule of thumb. {words}".strip(),
        )

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


def _round(runs: float) -> int:
    """To two digits: more would not be known."""
    return max(1, round(float(f"{math.ceil(runs):.2g}")))


def _tick(value: float) -> str:
    return f"{value:g} %"
