"""What the first lesson draws, tabulates and models, and what its answers are checked against.

Rows: observations of each platform, and ``start_to_first_byte_s`` of process and container with
``A`` or ``B`` in ``phase`` (A/A: the same start, randomly labelled). Every function raises
``Unavailable`` where its rows are not there; an outcome is then ``None``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from statistics import median, quantiles

from vmcompare.engines.programs import boot_sector
from vmcompare.errors import Unavailable
from vmcompare.evidence.markdown import literal
from vmcompare.evidence.statistics import INTERVAL_FROM, Interval, median_interval
from vmcompare.evidence.units import ratio, seconds
from vmcompare.evidence.view import Column, View, absent, caption, mixed, warnings
from vmcompare.experiments.explanation import Explanation, Row, Values
from vmcompare.experiments.whole_computer.demo import BOOT_SECTOR_DEMO
from vmcompare.plots import marks, style
from vmcompare.plots.lines import Curve, curves
from vmcompare.plots.picture import Picture, WhatIf
from vmcompare.sandbox import EMULATION, SOFTWARE, Platform, Series

explained = Explanation[View]()

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


def _differing(view: View, platform: Platform) -> float | None:
    """How many answers of ``platform`` differ from a process's of the same run, of those both gave.

    ``None`` where no run holds both.
    """
    read = {(c.run_id, c.series.platform): c.texts() for c in view.columns("observation", rep=0)}
    for (run_id, one), own in read.items():
        other = read.get((run_id, Platform.PROCESS))
        if one is platform and other is not None:
            known = (name for name in _ANSWERS if own.get(name) and other.get(name))
            return float(sum(own[name] != other[name] for name in known))
    return None


for _outcome, _where in (
    ("container_differs", Platform.CONTAINER),
    ("vm_differs", Platform.VM_DIRECT),
):
    explained.outcome(_outcome, _where)(partial(_differing, platform=_where))


# ---- A/A ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Halves:
    """One series' starts, randomly labelled A and B.

    Attributes:
        column: the series.
        labelled: A and B, each with its times in seconds.
        ratio: median of B ÷ median of A by round, then the median of those, with its interval.
    """

    column: Column
    labelled: Mapping[str, Sequence[float]]
    ratio: Interval

    @property
    def both(self) -> Sequence[float]:
        return [*self.labelled["A"], *self.labelled["B"]]

    @property
    def pair_percent(self) -> float:
        """How far apart one A and one B are, in per cent: the median over all such pairs."""
        pairs = product(self.labelled["A"], self.labelled["B"])
        return (median(max(pair) / min(pair) for pair in pairs) - 1) * 100

    @property
    def spread(self) -> float:
        """Standard deviation ÷ median, by the interquartile range, which few outliers move."""
        low, middle, high = quantiles(self.both, n=4, method="inclusive")
        return (high - low) / _IQR_TO_SD / middle

    @property
    def words(self) -> str:
        """What the figure shows of it, for the text alternative."""
        return (
            f"{self.column.series.label}: B ÷ A is {_with_ends(self.ratio)}; one A and one B "
            f"typically differ by {_percent(self.pair_percent)}, the slowest start took "
            f"{ratio(max(self.both) / min(self.both))} as long as the fastest."
        )


_IQR_TO_SD = 1.349
"""Interquartile range of a normal distribution, in standard deviations."""


def halves(view: View) -> list[Halves]:
    """Every series that has both an A and a B. Raises ``Unavailable``: none has."""
    found = []
    for column in view.need("start_to_first_byte_s", "start"):
        a, b = column.where(phase="A"), column.where(phase="B")
        if times := b.over(a):
            found.append(Halves(column, {"A": a.values, "B": b.values}, times))
    if not found:
        raise Unavailable(
            "no series has starts of both labels, A and B", "run one whole round of the measurement"
        )
    return found


@explained.figure("noise")
@style.own()
def noise_figure(view: View) -> Picture:
    """A and B of each series, every start as a point, as a multiple of the common median."""
    found = halves(view)
    columns = [one.column for one in found]
    times: list[float] = []
    figure = style.figure(1.75 * len(found) + 0.25)
    grid = figure.subplots(len(found), 1, squeeze=False, sharex=True)[:, 0]
    for axes, one in zip(grid, found, strict=True):
        middle = median(one.both)
        times += [value / middle for value in one.both]
        marks.draw(axes, [_row(one, label, middle) for label in one.labelled])
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
    timed = View(view.frame[view.frame["metric"] == "start_to_first_byte_s"], view.sources)
    words = " ".join(one.words for one in found)
    pair = _pair_percent(view)
    return Picture(
        figure,
        f"The same start, randomly labelled A or B, every start a point. {words}",
        caption(view, columns),
        brief=timed.brief(),  # VMs were asked, not timed
        placeholders={
            "pair": "" if pair is None else _percent(pair),
            "starts": "; ".join(map(_starts, columns)),
            "ranges": any(one.ratio.n < INTERVAL_FROM for one in found),
        },
    )


def _starts(column: Column) -> str:
    return f"{column.series.label}: {column.n} starts (rounds: {len(column.blocks())})"


def _row(one: Halves, label: str, middle: float) -> marks.Row:
    """A or B, its times as multiples of ``middle``."""
    values = one.labelled[label]
    own = median_interval(values)
    return marks.Row(
        f"{label} · n = {len(values)}",
        seconds(own.estimate),
        style.look(one.column.series),
        own.estimate / middle,
        [value / middle for value in values],
        hollow=label == "B",
        span=(own.low / middle, own.high / middle),
    )


@explained.outcome("pair_percent", Platform.CONTAINER)
def _pair_percent(view: View) -> float | None:
    try:
        found = halves(view)
    except Unavailable:
        return None
    docker = Series(Platform.CONTAINER)  # the product, not a bare mechanism
    return next((one.pair_percent for one in found if one.column.series == docker), None)


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
    lines: list[Curve] = []
    for one in found:
        values = [visible_percent(one.spread, runs) for runs in RUNS]
        label = one.column.label(mixed=mixed(columns))
        dashed = bool(lines)  # two spreads may be alike
        lines.append(Curve(one.column.series, label, values, dashed=dashed))

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
        return replace(picture, caption=warnings(columns), placeholders={"differences": said})

    return WhatIf(
        tuple(map(float, RUNS)), RUNS.index(10), draw, placeholders={"source": view.caption()}
    )


# ---- what answers are checked against ----------------------------------------------------------


@explained.check("longest_message", unit="bytes", within=0.0)
def longest_message(_: View) -> float:
    """Bytes that the fixed parts of the boot sector leave for a message."""
    return float(boot_sector.MESSAGE_MAX_BYTES)


@explained.values("longest_message")
def _longest_message(_: View) -> Values:
    parts = boot_sector.parts(boot_sector.image(""))
    fixed = (f"{len(data)} ({part})" for part, data in parts if part not in ("message", "zeros"))
    return {
        "total": boot_sector.SECTOR_BYTES,
        "fixed": " − ".join(fixed),
        "room": boot_sector.MESSAGE_MAX_BYTES,
    }


@explained.values("kvm_exists")
def _kvm_exists(view: View) -> Values:
    found = sorted(set(view.frame["accel"].dropna().map(str)) - {""})
    words = (f"{name} ({EMULATION})" if name == SOFTWARE else name for name in found)
    return {"vm": bool(found), "accelerators": literal(", ".join(words))}
