"""What the first lesson draws, tabulates and models.

Rows: observations of each platform, and ``start_to_first_byte_s`` of process and container with
``A`` or ``B`` in ``phase`` (A/A: the same start, randomly labelled). Every function raises
``Unavailable`` where its rows are not there; an outcome is then ``None``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from vmcompare.engines.programs import boot_sector
from vmcompare.errors import Unavailable
from vmcompare.evidence.statistics import Interval, median_interval
from vmcompare.evidence.units import ratio, seconds
from vmcompare.evidence.view import Column, View, absent, caption, mixed, warnings
from vmcompare.experiments.explanation import Explanation, Row
from vmcompare.experiments.whole_computer.demo import BOOT_SECTOR_DEMO
from vmcompare.experiments.whole_computer.layers import layers_figure
from vmcompare.plots import marks, style
from vmcompare.plots.lines import Curve, curves
from vmcompare.plots.picture import MODELLED, Picture, WhatIf
from vmcompare.sandbox import Platform, Series

explained = Explanation[View]()

explained.here("layers")(layers_figure)
explained.demo("boot_sector", BOOT_SECTOR_DEMO)


# ---- what each platform reads of its computer --------------------------------------------------

_ANSWERS: Mapping[str, str] = {
    "kernel": "release of its kernel",
    "boot_id": "boot id (random, one for each boot)",
    "processor": "processor",
    "firmware": "firmware",
    "maker": "maker of the computer",
    "hypervisor": "processor says “in a VM”",
    "devices": "PCI devices (vendor:device)",
}
"""Observation → what was asked, the same of every platform."""


@explained.table("hardware")
def hardware(view: View) -> Iterator[Row]:
    """What each platform reads of the computer it is on, side by side, by the same commands."""
    found: dict[str, Mapping[str, str]] = {}
    read = [(c, r) for r in (0, 1) for c in view.columns("observation", failed_too=True, rep=r)]
    for column, rep in sorted(read, key=lambda one: one[0].series.order):
        platform = column.series.platform
        whose = f"{('first', 'second')[rep]} VM" if platform.is_vm else str(platform)
        found[whose] = column.texts() if column.n else {"kernel": column.errors[0]}
    if not found:
        raise absent("reading of hardware")
    for name, asked in _ANSWERS.items():
        yield {"asked for": asked, **{who: said.get(name) or "–" for who, said in found.items()}}


explained.values("hardware", "table")(View.sourced)


def differing(view: View, platform: Platform) -> float | None:
    """How many answers of ``platform`` differ from a process's of the same run, of those both gave.

    ``None`` where no run holds both.
    """
    columns = view.columns("observation", rep=0)
    for column in columns:
        for process in columns:
            both = (column.series.platform, process.series.platform)
            if both == (platform, Platform.PROCESS) and column.run_id == process.run_id:
                own, other = column.texts(), process.texts()
                known = (name for name in _ANSWERS if own.get(name) and other.get(name))
                return float(sum(own[name] != other[name] for name in known))
    return None


@explained.outcome("container_differs", Platform.CONTAINER)
def _container_differs(view: View) -> float | None:
    return differing(view, Platform.CONTAINER)


@explained.outcome("vm_differs", Platform.VM_DIRECT)
def _vm_differs(view: View) -> float | None:
    return differing(view, Platform.VM_DIRECT)


@explained.table("code")
def code(_: View) -> Iterator[Row]:
    """The program of the boot sector, one row an instruction: the same whatever was measured."""
    at = boot_sector.LOADED_AT
    for one in boot_sector.listing(at + boot_sector.CODE_BYTES):
        yield {
            "address": f"{at:X}h",
            "bytes": one.code.hex(" ").upper(),
            "instruction": one.text,
            "what for": one.purpose,
        }
        at += len(one.code)


# ---- A/A ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Halves:
    """One series' starts, randomly labelled A and B.

    Attributes:
        column: the series.
        a, b: its times in seconds.
        ratio: median of B ÷ median of A by round, then the median of those, with its interval.
    """

    column: Column
    a: Sequence[float]
    b: Sequence[float]
    ratio: Interval

    @property
    def both(self) -> Sequence[float]:
        return [*self.a, *self.b]

    @property
    def pair_percent(self) -> float:
        """How far apart one A and one B are, in per cent: the median over all such pairs."""
        import numpy as np

        a, b = np.array(self.a)[:, None], np.array(self.b)[None, :]
        return float(np.median(np.maximum(a, b) / np.minimum(a, b)) - 1) * 100

    @property
    def spread(self) -> float:
        """Standard deviation ÷ median, by the interquartile range, which few outliers move."""
        import numpy as np

        low, middle, high = np.quantile(self.both, (0.25, 0.5, 0.75))
        return float((high - low) / _IQR_TO_SD / middle)


_IQR_TO_SD = 1.349
"""Interquartile range of a normal distribution, in standard deviations."""


def halves(view: View) -> list[Halves]:
    """Every series that has both an A and a B. Raises ``Unavailable``: none has."""
    found = []
    for column in view.need("start_to_first_byte_s", "start"):
        a, b = column.where(phase="A"), column.where(phase="B")
        if times := b.over(a):
            found.append(Halves(column, a.values, b.values, times))
    if not found:
        raise Unavailable(
            "no series has starts of both labels, A and B", "run one whole round of the measurement"
        )
    return found


@explained.figure("noise")
@style.own()
def noise_figure(view: View) -> Picture:
    """A and B of each series, every start as a point, as a multiple of the common median."""
    import numpy as np

    found = halves(view)
    columns = [one.column for one in found]
    times: list[float] = []
    figure = style.figure(1.75 * len(found) + 0.25)
    grid = figure.subplots(len(found), 1, squeeze=False, sharex=True)[:, 0]
    for axes, one in zip(grid, found, strict=True):
        middle = float(np.median(one.both))
        times += [value / middle for value in one.both]
        marks.draw(axes, [_row("A", one.a, middle, one), _row("B", one.b, middle, one)])
        axes.set_title(
            f"{one.column.label(mixed=mixed(columns))}: B ÷ A = {_with_ends(one.ratio)}",
            fontsize=style.SMALL_PT, loc="left", fontweight="bold",
        )  # fmt: skip
        axes.grid(axis="x", color=style.RULE, linewidth=0.6)
        axes.set_axisbelow(True)
        style.log_ratios(axes, times)
    axes.set_xlim(min(*times, 0.9) / 1.08, max(*times, 1.1) * 1.08)
    axes.set_xlabel(
        "a start ÷ the median of A and B together (logarithmic)", fontsize=style.SMALL_PT
    )
    words = " ".join(map(_sentence, found))
    timed = View(view.frame[view.frame["metric"] == "start_to_first_byte_s"], view.sources)
    return Picture(
        figure,
        f"The same start, randomly labelled A or B, every start a point. {words}",
        caption(view, columns, *map(_missed, found)),
        brief=timed.brief(),  # VMs were asked, not timed
    )


def _row(label: str, values: Sequence[float], middle: float, one: Halves) -> marks.Row:
    """A or B, its times as multiples of ``middle``."""
    median = median_interval(values)
    at, low, high = (end / middle for end in (median.estimate, median.low, median.high))
    return marks.Row(
        f"{label} · n = {len(values)}",
        seconds(median.estimate),
        style.look(one.column.series),
        at,
        [value / middle for value in values],
        hollow=label == "B",
        span=(low, high),
    )


def _missed(one: Halves) -> str:
    if not one.ratio.known or one.ratio.low <= 1 <= one.ratio.high:
        return ""
    return (
        f"{one.column.series.label}: the {one.ratio.kind} of B ÷ A does not hold 1, though A and B "
        "are alike."
    )


def _sentence(one: Halves) -> str:
    return (
        f"{one.column.series.label}: B ÷ A is {_with_ends(one.ratio)}; one A and one B typically "
        f"differ by {_percent(one.pair_percent)}, the slowest start took "
        f"{ratio(max(one.both) / min(one.both))} as long as the fastest."
    )


@explained.outcome("pair_percent", Platform.CONTAINER)
def _pair_percent(view: View) -> float | None:
    try:
        found = halves(view)
    except Unavailable:
        return None
    wanted = Series(Platform.CONTAINER)
    return next((one.pair_percent for one in found if one.column.series == wanted), None)


def _with_ends(interval: Interval) -> str:
    return f"{ratio(interval.estimate)} ({interval.words(ratio, 'round')})"


def _percent(value: float) -> str:
    return f"{value:.1f} %" if value < 99.95 else f"{value:,.0f} %"


# ---- how many runs it takes --------------------------------------------------------------------

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


@explained.whatif("runs")
def runs_needed(view: View) -> WhatIf:
    """How small a difference stands out from the noise, over the number of runs."""
    found = [one for one in halves(view) if one.spread > 0 and len(one.both) >= 4]
    if not found:
        raise Unavailable(
            "too few starts to tell how much they vary", "run at least one whole round"
        )
    columns = [one.column for one in found]
    lines = [
        Curve(
            one.column.series,
            one.column.label(mixed=mixed(columns)),
            [visible_percent(one.spread, runs) for runs in RUNS],
            dashed=place > 0,  # two spreads may be alike
        )
        for place, one in enumerate(found)
    ]

    def draw(runs: float) -> Picture:
        at = RUNS.index(int(runs))
        said = ", ".join(f"{line.label} {_percent(line.values[at])}" for line in lines)
        picture = curves(
            RUNS,
            lines,
            at,
            x_label="runs of each",
            title="smallest difference that stands out",
            written=_percent,
            tick=lambda value: f"{value:g} %",
        )
        return replace(
            picture,
            alt=f"With {runs:g} runs of each, the smallest difference of two medians that stands "
            f"out from the noise: {said}. {MODELLED}",
            caption=warnings(columns),
            placeholders={"differences": said},
        )

    needed = ", ".join(
        f"{one.column.series.label} {_two_digits(visible_percent(one.spread, 1) ** 2):,}"
        for one in found
    )
    given = {"source": view.caption(), "needed": needed}
    return WhatIf(tuple(map(float, RUNS)), RUNS.index(10), draw, placeholders=given)


def _two_digits(runs: float) -> int:
    """More would not be known."""
    return max(1, round(float(f"{math.ceil(runs):.2g}")))
