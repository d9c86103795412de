"""Ratios block by block, with the noise floor: two container starts of one block, A and B."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from vmcompare.errors import Unavailable
from vmcompare.evidence.statistics import SEED, Interval, median_interval
from vmcompare.evidence.units import ratio as ratio_text
from vmcompare.evidence.view import View
from vmcompare.plots import style
from vmcompare.plots.groups import Group, caption, container, need
from vmcompare.plots.picture import Picture


@dataclass(frozen=True, slots=True)
class Ratios:
    """One ratio in every block, and their median with its interval."""

    label: str
    values: tuple[float, ...]
    interval: Interval
    group: Group


def noise(base: Group) -> Ratios | None:
    """A/A: in each block two runs of ``base`` drawn at random (seeded), A ÷ B; ``None`` if none.

    Both are the same thing, so what differs from 1 is noise: no smaller difference can be seen.
    """
    import numpy as np

    rng = np.random.default_rng(SEED)
    values = []
    for _, rows in base.rows.groupby("block"):
        if len(rows) >= 2:
            a, b = rng.choice(rows["value"].to_numpy(float), size=2, replace=False)
            values.append(float(a / b))
    if not values:
        return None
    return Ratios("A/A: container ÷ container", tuple(values), median_interval(values), base)


def noise_sentence(found: Sequence[Group]) -> str:
    """The noise floor in one sentence; empty where no block has two container starts."""
    base = container(found)
    floor = noise(base) if base else None
    if floor is None:
        return ""
    i = floor.interval
    span = (
        f" (95 % interval {ratio_text(i.low)} to {ratio_text(i.high)})"
        if math.isfinite(i.low)
        else ""
    )
    low, high = min(floor.values), max(floor.values)
    measured = f"{ratio_text(low)} to {ratio_text(high)}, median {ratio_text(i.estimate)}{span}"
    return (
        "Noise floor: two container starts of one block, A and B, are the same thing and still "
        f"differ by {measured if len(floor.values) > 1 else ratio_text(low)}."
    )


@style.own()
def ratios(view: View, metric: str, *, what: str) -> Picture:
    """Each series ÷ container, paired by block, on a log axis, below the noise floor A/A.

    Raises:
        Unavailable: the view holds no container to set anything against, or nothing of its run.
    """
    found = need(view, metric, what)
    base = container(found)
    if base is None:
        raise Unavailable(
            f"there is no container {what} to set the others against",
            "run the measurement where Docker is available, or load a recording",
        )
    floor = noise(base)
    lines = ([floor] if floor else []) + [
        line for group in found if group is not base and (line := _against(group, base))
    ]
    if not lines:
        raise Unavailable(
            f"no block holds two {what}s that could be paired", "measure more than one series"
        )
    figure = style.figure(0.5 * len(lines) + 0.75)
    axes = figure.subplots()
    for place, line in enumerate(lines):
        y = len(lines) - 1 - place
        look = line.group.series.look
        label = line.label
        if line.group.emulated:
            label += " · software emulation"
        axes.text(
            0, y + 0.33, label, transform=axes.get_yaxis_transform(), fontsize=style.SMALL_PT,
            va="center", bbox=style.PLATE,
        )  # fmt: skip
        axes.text(
            1, y + 0.33, ratio_text(line.interval.estimate), va="center", ha="right",
            transform=axes.get_yaxis_transform(), fontsize=style.SMALL_PT, fontweight="bold",
            bbox=style.PLATE,
        )  # fmt: skip
        spread = [y - 0.05 + 0.06 * (i % 5 - 2) for i in range(len(line.values))]
        axes.plot(
            line.values, spread, look.marker, color=look.colour, markersize=6,
            markeredgecolor="white", markeredgewidth=0.5,
        )  # fmt: skip
        i = line.interval
        if math.isfinite(i.low):
            axes.plot([i.low, i.high], [y - 0.3] * 2, color=look.colour, linewidth=3)
        axes.plot([i.estimate] * 2, [y - 0.38, y + 0.14], color="black", linewidth=1.6)
    values = [value for line in lines for value in line.values]
    low, high = min(*values, 1.0) / 1.6, max(*values, 1.0) * 1.6
    axes.set_xscale("log")
    axes.set_xlim(low, high)
    style.log_ticks(axes, low, high)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}×")
    axes.axvline(1, color=style.GREY, linewidth=1, linestyle="--", zorder=0)
    axes.set_ylim(-0.5, len(lines) - 0.4)
    axes.set_yticks([])
    style.plain(axes)
    axes.set_xlabel(
        f"{what} ÷ container {what} of the same block (logarithmic)", fontsize=style.SMALL_PT
    )
    used = [base, *(line.group for line in lines if line.group is not base)]
    return Picture(figure, _alt(lines), caption(view, used, noise_sentence(found)))


def _against(group: Group, base: Group) -> Ratios | None:
    import numpy as np

    if group.run_id != base.run_id:
        return None  # another run, perhaps another machine: not paired
    below = base.rows.groupby("block")["value"].median()
    values = [
        float(np.median(rows["value"])) / float(below[block])
        for block, rows in group.rows.groupby("block")
        if block in below.index
    ]
    if not values:
        return None
    label = f"{group.series.label} ÷ container"
    return Ratios(label, tuple(values), median_interval(values), group)


def _alt(lines: Sequence[Ratios]) -> str:
    parts = []
    for line in lines:
        i = line.interval
        span = (
            f"95 % interval {ratio_text(i.low)} to {ratio_text(i.high)}"
            if math.isfinite(i.low)
            else "no interval from one block"
        )
        under = " under software emulation" if line.group.emulated else ""
        parts.append(f"{line.label}{under}: median {ratio_text(i.estimate)}, {span}, {i.n} blocks")
    return "Ratios of paired starts on a logarithmic axis. " + ". ".join(parts) + "."
