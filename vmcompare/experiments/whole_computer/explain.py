"""What the first lesson draws, tabulates and models.

Rows: ``start_to_first_byte_s`` of process and container with ``A`` or ``B`` in ``phase`` (A/A: the
same start, labelled by chance), observations of each platform, and ``part_bytes`` of the boot
sector. Every function raises ``Unavailable`` where its rows are not there; an outcome is then
``None``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from vmcompare.engines.programs import boot_sector as sector
from vmcompare.errors import Unavailable
from vmcompare.evidence.recording import readable, recordings
from vmcompare.evidence.statistics import INTERVAL_FROM, Interval, coverage, median_interval
from vmcompare.evidence.units import ratio, seconds
from vmcompare.evidence.view import Column, View, absent, caption, mixed, warnings
from vmcompare.experiments.explanation import Explanation, Row
from vmcompare.experiments.whole_computer.demo import BOOT_SECTOR_DEMO
from vmcompare.experiments.whole_computer.layers import facts_table, layers_figure
from vmcompare.measuring.experiment import discover
from vmcompare.paths import data_dir
from vmcompare.plots import marks, style
from vmcompare.plots.lines import Curve, curves
from vmcompare.plots.picture import MODELLED, Picture, WhatIf
from vmcompare.sandbox import Platform, Series, Start

if TYPE_CHECKING:
    from matplotlib.axes import Axes

START = "start_to_first_byte_s"

explained = Explanation[View]()

explained.here("layers")(layers_figure)
explained.here("table")(facts_table)
explained.demo("boot_sector", BOOT_SECTOR_DEMO)


# ---- A/A ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Halves:
    """One series' starts, labelled A and B by chance.

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
        """All its times."""
        return [*self.a, *self.b]

    @property
    def pair_percent(self) -> float:
        """How far apart one A and one B are, in per cent: the median over all such pairs."""
        import numpy as np

        a, b = np.array(self.a)[:, None], np.array(self.b)[None, :]
        return float(np.median(np.maximum(a, b) / np.minimum(a, b)) - 1) * 100

    @property
    def extremes(self) -> float:
        """Slowest ÷ fastest of all."""
        return max(self.both) / min(self.both)

    @property
    def spread(self) -> float:
        """Standard deviation ÷ median, by the interquartile range, which few outliers move."""
        import numpy as np

        low, middle, high = np.quantile(self.both, (0.25, 0.5, 0.75))
        return float((high - low) / _IQR_TO_SD / middle)


_IQR_TO_SD = 1.349
"""Interquartile range of a normal distribution, in standard deviations."""


def halves(view: View) -> list[Halves]:
    """Every series that has both an A and a B.

    Raises:
        Unavailable: none has.
    """
    found = []
    for column in view.need(START, "start"):
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
    figure = style.figure(1.75 * len(found) + 0.25)
    grid = figure.subplots(len(found), 1, squeeze=False, sharex=True)[:, 0]
    for axes, one in zip(grid, found, strict=True):
        middle = float(np.median(one.both))
        marks.draw(axes, [_row("A", one.a, middle, one), _row("B", one.b, middle, one)])
        axes.axvline(1, color=style.GREY, linewidth=1, linestyle="--", zorder=0)
        axes.set_title(
            f"{one.column.label(mixed=mixed(columns))}: B ÷ A by round {_with_ends(one.ratio)}",
            fontsize=style.SMALL_PT, loc="left", fontweight="bold",
        )  # fmt: skip
        axes.grid(axis="x", color=style.RULE, linewidth=0.6)
        axes.set_axisbelow(True)
        axes.set_xscale("log")
    _multiples(grid[-1], [x / float(np.median(one.both)) for one in found for x in one.both])
    grid[-1].set_xlabel(
        "a start ÷ the median of A and B together (logarithmic)", fontsize=style.SMALL_PT
    )
    words = " ".join(map(_sentence, found))
    return Picture(
        figure,
        f"The same start, labelled A or B by chance, every start a point. {words}",
        caption(view, columns, *map(_missed, found)),
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


def _multiples(axes: Axes, values: Sequence[float]) -> None:
    """Ends and ticks of the common axis: few enough to be read, whatever the outliers."""
    from matplotlib.ticker import FixedLocator, NullLocator

    low, high = min(*values, 0.9) / 1.08, max(*values, 1.1) * 1.08
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


def _missed(one: Halves) -> str:
    if not one.ratio.known or one.ratio.low <= 1 <= one.ratio.high:
        return ""
    n = one.ratio.n
    why = (
        f"the range of {n} rounds holds the truth in {coverage(n):.0%} of cases only"
        if n < INTERVAL_FROM
        else "of twenty such intervals one typically misses the truth"
    )
    label = one.column.series.label
    return f"{label}: the interval of B ÷ A does not hold 1, though A and B are the same; {why}."


def _sentence(one: Halves) -> str:
    return (
        f"{one.column.series.label}: B ÷ A is {ratio(one.ratio.estimate)} "
        f"({one.ratio.words(ratio, 'round')}); one A and one B typically differ by "
        f"{_percent(one.pair_percent)}, the slowest start "
        f"took {ratio(one.extremes)} as long as the fastest."
    )


@explained.table("noise")
def noise(view: View) -> Iterator[Row]:
    """One row a series: medians of A and B, their ratio with its interval, single starts."""
    for one in halves(view):
        yield {
            "the same start": one.column.series.label,
            "n": f"{len(one.a)} + {len(one.b)}",
            "median of A": seconds(median_interval(one.a).estimate),
            "median of B": seconds(median_interval(one.b).estimate),
            "B ÷ A by round": _with_ends(one.ratio),
            "one A and one B differ by": _percent(one.pair_percent),
            "slowest ÷ fastest": ratio(one.extremes),
            "provenance": one.column.provenance,
        }


@explained.outcome("pair_percent", Platform.CONTAINER)
def _pair_percent(view: View) -> float | None:
    try:
        found = halves(view)
    except Unavailable:
        return None
    wanted = Series(Platform.CONTAINER)
    return next((one.pair_percent for one in found if one.column.series == wanted), None)


def _with_ends(interval: Interval) -> str:
    return f"{ratio(interval.estimate)} [{interval.ends(ratio, ' to ') or '–'}]"


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
        said = "; ".join(
            f"{line.label} {_percent(line.values[at])} (for 1 % it takes about "
            f"{_two_digits(visible_percent(one.spread, 1) ** 2):,} runs)"
            for line, one in zip(lines, found, strict=True)
        )
        picture = curves(
            RUNS,
            lines,
            at,
            x_label="runs of each of the two",
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

    return WhatIf(
        tuple(map(float, RUNS)), RUNS.index(10), draw, placeholders={"source": view.caption()}
    )


def _two_digits(runs: float) -> int:
    """More would not be known."""
    return max(1, round(float(f"{math.ceil(runs):.2g}")))


# ---- hardware, the boot sector, the grid of comparison -----------------------------------------

_READ: Mapping[str, str] = {
    "processor": "processor",
    "devices": "PCI devices (vendor:device)",
    "firmware": "firmware",
    "maker": "maker of the computer",
    "kernel": "kernel release",
    "hypervisor": "“you are virtual” bit",
    "boot_id": "boot id (start)",
    "boot_sector_as_program": "the 512 bytes as a program",
}
"""Observation → what was asked."""


@explained.table("hardware")
def hardware(view: View) -> Iterator[Row]:
    """What each platform reads of the computer it is on, side by side, by the same commands."""
    found: dict[str, Mapping[str, str]] = {}
    read = [(c, r) for r in (0, 1) for c in view.columns("observation", failed_too=True, rep=r)]
    for column, rep in sorted(read, key=lambda one: one[0].series.order):
        platform = column.series.platform
        which = f", {('first', 'second')[rep]}" if platform.is_vm else ""
        said = column.texts() if column.n else {"kernel": column.errors[0]}
        found[f"{platform}{which}"] = {"": column.provenance, **said}
    if not found:
        raise absent("reading of hardware")
    for name, words in {"": "where from", **_READ}.items():
        yield {
            "asked for": words,
            **{whose: said.get(name) or "–" for whose, said in found.items()},
        }


def part_bytes(view: View) -> Mapping[str, float]:
    """Part of the boot sector → its bytes; empty where none was started."""
    return {
        part: size for found in view.columns("part_bytes") for part, size in found.medians().items()
    }


# The program is the same whoever runs it, so no platform's emulation bears on it.
explained.outcome("code_bytes")(lambda view: part_bytes(view).get("code"))


@explained.table("code")
def code(view: View) -> Iterator[Row]:  # noqa: ARG001 - the same whatever was measured
    """The program of the boot sector, one row an instruction."""
    at = sector.LOADED_AT
    for one in sector.listing(sector.LOADED_AT + sector.CODE_BYTES):
        yield {
            "address": f"{at:X}h",
            "bytes": one.code.hex(" ").upper(),
            "instruction": one.text,
            "what for": one.purpose,
        }
        at += len(one.code)


_KINDS = (
    ("mechanism", Start.COLD, "runc, bubblewrap", "plain QEMU boots a guest"),
    ("mechanism", Start.PRE_CREATED, "runc create, then start", "QEMU waits stopped"),
    ("mechanism", Start.RUNNING, "another process joins", "the guest runs another program"),
    ("mechanism", Start.CLONE, "restored from a checkpoint", "copy of a running guest"),
    ("product", Start.COLD, "docker run", "a new VM of a cloud or a VM manager"),
    ("product", Start.PRE_CREATED, "docker start", "a stopped VM is started again"),
    ("product", Start.RUNNING, "docker exec", "a command over ssh"),
    ("product", Start.CLONE, "docker checkpoint", "a VM resumed from a snapshot"),
)
"""Layer, warmth, and what belongs there on the side of containers and of virtual machines."""


@explained.table("grid")
def grid(view: View) -> Iterator[Row]:
    """The grid of fair comparison: one row a cell, what belongs there, and who has measured it."""
    measured = _measured(view)
    for layer, warmth, ours, theirs in _KINDS:
        yield {
            "layer": layer,
            "start": str(warmth),
            "a container": ours,
            "a virtual machine": theirs,
            "measured in this course": "; ".join(
                f"{experiment.replace('_', ' ')}: {', '.join(filter(whose.__contains__, Platform))}"
                for experiment, whose in sorted(measured.get((layer, str(warmth)), {}).items())
            )
            or "not yet",
        }


def _measured(view: View) -> Mapping[tuple[str, str], Mapping[str, set[str]]]:
    """(Layer, warmth) → experiment → platforms, of this view and the newest recordings."""
    found: dict[tuple[str, str], dict[str, set[str]]] = {}
    frames = [view.frame]
    for name in discover():
        # What cannot be read is said by the lesson whose recording it is.
        newest = readable(recordings(data_dir() / "recordings", name), name, [])
        frames += [recording.frame() for recording in [next(newest, None)] if recording]
    for frame in frames:
        valid = frame[frame["status"] == "ok"]
        cells = valid[["layer", "warmth", "experiment", "platform"]].drop_duplicates()
        for layer, warmth, experiment, platform in cells.itertuples(index=False):
            found.setdefault((layer, warmth), {}).setdefault(experiment, set()).add(platform)
    return found
