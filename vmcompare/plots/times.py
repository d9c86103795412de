"""Times of runs: every run with its median, ratios block by block, and where the time goes."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from vmcompare.errors import Unavailable
from vmcompare.evidence.statistics import SEED, Interval, median_interval, outliers
from vmcompare.evidence.units import ratio as ratio_text
from vmcompare.evidence.units import seconds
from vmcompare.evidence.view import View
from vmcompare.plots import style
from vmcompare.plots.groups import Group, caption, container, mixed, need, ratio
from vmcompare.plots.picture import Picture
from vmcompare.sandbox import Phase, Platform

if TYPE_CHECKING:
    from matplotlib.axes import Axes


# ---- every run -----------------------------------------------------------------------------------


@style.own()
def strip(view: View, metric: str, *, what: str, extra: Sequence[str] = ()) -> Picture:
    """Strip and ECDF of a time metric (s) on one log axis, a row a series.

    Outliers (Tukey's fences) are drawn as open markers, never dropped; failed runs are counted in
    the label.

    Args:
        what: what one run is, for words ("start").
        extra: sentences for the caption.

    Raises:
        Unavailable: the view holds no valid value of ``metric``.
    """
    found = need(view, metric, what)
    figure = style.figure(0.5 * len(found) + 2.6)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=[0.5 * len(found) + 0.1, 1.7])
    times = [value for group in found for value in group.values]
    for place, group in enumerate(found):
        _one_row(above, len(found) - 1 - place, group, mixed=mixed(found))
    above.set_ylim(-0.45, len(found) - 0.28)
    above.set_yticks([])
    style.plain(above)
    above.spines["bottom"].set_visible(False)
    style.log_seconds(above, times)
    above.tick_params(axis="x", length=0, labelbottom=False)

    _shares(below, found)
    style.plain(below)
    style.log_seconds(below, times)
    below.set_xlabel(f"time of one {what} (logarithmic)", fontsize=style.SMALL_PT)
    return Picture(figure, _strip_alt(found, what), caption(view, found, *extra))


def _one_row(axes: Axes, y: int, group: Group, *, mixed: bool) -> None:
    """One series: its label and median above, its runs below."""
    from matplotlib.transforms import blended_transform_factory

    look = group.series.look
    words = blended_transform_factory(axes.transAxes, axes.transData)
    text, count = group.label(mixed=mixed), group.count()
    if len(text) + len(count) <= 50:
        text += f" · {count}"
    else:  # too wide for a telephone: the count goes below, where a slow series has no points
        axes.text(
            0, y + 0.04, count, transform=words, fontsize=style.SMALL_PT, va="center",
            bbox=style.PLATE,
        )  # fmt: skip
    axes.text(
        0, y + 0.36, text, transform=words, fontsize=style.SMALL_PT, va="center", bbox=style.PLATE
    )
    values = group.values
    if not values:
        axes.text(
            1, y + 0.36, "–", transform=words, fontsize=style.SMALL_PT,
            va="center", ha="right", color=style.GREY, bbox=style.PLATE,
        )  # fmt: skip
        return
    median = group.median
    axes.text(
        1, y + 0.36, seconds(median.estimate), transform=words, fontsize=style.SMALL_PT,
        va="center", ha="right", fontweight="bold", bbox=style.PLATE,
    )  # fmt: skip
    far = outliers(values)
    for place, (value, out) in enumerate(zip(values, far, strict=True)):
        # Spread by the order measured, not at random: the same picture every time.
        axes.plot(
            value, y - 0.06 + 0.07 * (place % 5 - 2), look.marker, markersize=6,
            markerfacecolor="white" if out else look.colour,
            markeredgecolor=look.colour if out else "white",
            markeredgewidth=1.2 if out else 0.5,
        )  # fmt: skip
    if math.isfinite(median.low):
        axes.plot(
            [median.low, median.high], [y - 0.32] * 2, color=look.colour, linewidth=3,
            solid_capstyle="butt",
        )  # fmt: skip
    axes.plot([median.estimate] * 2, [y - 0.4, y + 0.16], color="black", linewidth=1.6)


def _shares(axes: Axes, found: Sequence[Group]) -> None:
    import numpy as np

    for group in found:
        values = np.sort(group.values)
        if not values.size:
            continue
        look = group.series.look
        shares = np.arange(1, values.size + 1) / values.size
        axes.step(
            np.r_[values[0], values], np.r_[0.0, shares], where="post", color=look.colour,
            linewidth=1.4,
        )  # fmt: skip
        middle = int(np.searchsorted(shares, 0.5))
        axes.plot(
            values[middle], shares[middle], look.marker, color=look.colour, markersize=7,
            markeredgecolor="white",
        )  # fmt: skip
    axes.set_ylim(0, 1.03)
    axes.set_yticks([0, 0.5, 1], ["0", "half", "all"])
    axes.set_ylabel("runs done by then", fontsize=style.SMALL_PT)


def _strip_alt(found: Sequence[Group], what: str) -> str:
    base = container(found)
    parts = []
    for group in found:
        if not len(group.rows):
            parts.append(f"{group.label(mixed=True)}: every run failed ({group.failed})")
            continue
        median = group.median
        span = (
            f"95 % interval {seconds(median.low)} to {seconds(median.high)}"
            if math.isfinite(median.low)
            else "no interval from one run"
        )
        words = f"{group.label(mixed=True)}: median {seconds(median.estimate)}, {span}, "
        words += group.count()
        times = None if base is None or group is base else ratio(group, base)
        if times is not None:
            words += f", {ratio_text(times.estimate)} the container’s in the same block"
        parts.append(words)
    return f"Time of one {what} for each series, on a logarithmic axis. " + ". ".join(parts) + "."


# ---- ratios --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Ratios:
    """One ratio in every block, and their median with its interval."""

    label: str
    values: tuple[float, ...]
    interval: Interval
    group: Group


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
    return Picture(figure, _ratios_alt(lines), caption(view, used, noise_sentence(found)))


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


def _ratios_alt(lines: Sequence[Ratios]) -> str:
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


# ---- phases --------------------------------------------------------------------------------------

# In the order in which they can happen; a platform has some of them.
ORDER: Sequence[Phase] = (
    Phase.OPEN, Phase.CREATE, Phase.ATTACH, Phase.START, Phase.SPAWN, Phase.FIRMWARE, Phase.KERNEL,
    Phase.INIT, Phase.USERLAND, Phase.FIRST_BYTE, Phase.READY, Phase.EXIT, Phase.SHUTDOWN,
    Phase.REMOVED,
)  # fmt: skip

_ENDING = frozenset({Phase.EXIT, Phase.SHUTDOWN, Phase.REMOVED})

# Fill and hatching; every segment has a number too, so none is told apart by its colour alone.
_FILLS: Mapping[Phase, tuple[str, str]] = MappingProxyType(
    {
        Phase.OPEN: ("#FFFFFF", ""),
        Phase.CREATE: ("#56B4E9", ""),
        Phase.ATTACH: ("#F0E442", "//"),
        Phase.START: ("#0072B2", ""),
        Phase.SPAWN: ("#56B4E9", "\\\\"),
        Phase.FIRMWARE: ("#F0E442", ""),
        Phase.KERNEL: ("#D55E00", "//"),
        Phase.INIT: ("#CC79A7", ""),
        Phase.USERLAND: ("#CC79A7", "xx"),
        Phase.FIRST_BYTE: ("#009E73", ""),
        Phase.READY: ("#E69F00", ".."),
        Phase.EXIT: ("#BBBBBB", ""),
        Phase.SHUTDOWN: ("#BBBBBB", "\\\\"),
        Phase.REMOVED: ("#BBBBBB", ".."),
    }
)

# What a phase is called where its general name would not say what happens in it.
_NAMES: Mapping[tuple[Platform, Phase], str] = MappingProxyType(
    {
        (Platform.PROCESS, Phase.FIRST_BYTE): "fork and exec",
        (Platform.VM, Phase.KERNEL): "kernel and initrd",
        (Platform.VM_TUNED, Phase.FIRST_BYTE): "services",
        (Platform.VM, Phase.FIRST_BYTE): "services",
    }
)


@style.own()
def phases(view: View) -> Picture:
    """Medians of ``phase_s`` (s), stacked: a row a series, each bar its own 100 %.

    Shares let a container's 100 ms be read beside a VM's 25 s; how long each is, its words say.

    A triangle marks the first byte, where the headline metric ends; what comes after it is the
    command channel and the clean-up.

    Raises:
        Unavailable: the view holds no phases.
    """
    found = [group for group in need(view, "phase_s", "phase of a start") if len(group.rows)]
    words = [_listed(group) for group in found]
    # The y axis is in inches, so that text of a fixed size never meets the next row.
    heights = [0.74 + 0.165 * text.count("\n") + 0.165 for text in words]
    figure = style.figure(sum(heights))
    axes = figure.subplots()
    top = sum(heights)
    for group, text, height in zip(found, words, heights, strict=True):
        _bar(axes, top, group, text, mixed=mixed(found))
        top -= height
    axes.set_ylim(0, sum(heights))
    axes.set_xlim(0, 1)
    axes.axis("off")
    note = (
        "Each bar is its own 100 %: medians, phase by phase, so they may not add up to the median "
        "of whole starts. A triangle marks the first byte, with the time until then."
    )
    if any(medians(group).get(Phase.FIRST_BYTE) == 0 for group in found):
        note += " A first byte of 0 was there before the engine had answered."
    return Picture(figure, _phases_alt(found), caption(view, _starts(found), note))


def phase_name(group: Group, phase: Phase) -> str:
    """What happens in ``phase`` on this platform, in one or two words."""
    if group.series.runtime and phase is Phase.FIRST_BYTE:
        return "walls and exec"  # a bare mechanism: no engine stands between
    return _NAMES.get((group.series.platform, phase), str(phase))


def medians(group: Group) -> dict[Phase, float]:
    """Phase → median seconds of one series, in the order in which they happen."""
    found = group.rows.groupby("phase")["value"].median()
    return {phase: float(found[phase]) for phase in ORDER if phase in found.index}


def ending(phase: Phase) -> bool:
    """Whether a phase belongs to taking the instance away, not to starting it."""
    return phase in _ENDING


def _starts(found: Sequence[Group]) -> list[Group]:
    """The groups reduced to one phase each, so that doubts count starts and not their pieces."""
    reduced = []
    for group in found:
        longest = max(medians(group).items(), key=lambda item: item[1])[0]
        rows = group.rows[group.rows["phase"] == longest]
        reduced.append(replace(group, rows=rows))
    return reduced


def _listed(group: Group) -> str:
    """Numbered phases with their medians, wrapped to the figure's width."""
    words = [
        f"{number} {phase_name(group, phase)} {seconds(value)}".replace(" ", "\u00a0")
        for number, (phase, value) in enumerate(medians(group).items(), start=1)
    ]
    return textwrap.fill(" · ".join(words), 66, break_on_hyphens=False)


def _bar(axes: Axes, top: float, group: Group, listed: str, *, mixed: bool) -> None:
    """One series, from ``top`` (inches) downwards: title, bar, numbered words."""
    parts = medians(group)
    total = sum(parts.values()) or 1.0
    n = max(int((group.rows["phase"] == phase).sum()) for phase in parts)
    title = top - 0.11
    bold: dict[str, Any] = {"fontsize": style.SMALL_PT, "fontweight": "bold", "va": "center"}
    label = group.label(mixed=mixed)
    axes.text(0, title, label if len(label) > 45 else f"{label} · n = {n}", **bold)
    axes.text(1, title, f"{seconds(total)}", ha="right", **bold)
    left, middle = 0.0, top - 0.35
    for number, (phase, value) in enumerate(parts.items(), start=1):
        fill, hatch = _FILLS[phase]
        share = value / total
        axes.barh(
            middle, share, left=left, height=0.25, color=fill, hatch=hatch, edgecolor="black",
            linewidth=0.8,
        )  # fmt: skip
        if share >= 0.045:
            axes.text(
                left + share / 2, middle, str(number), fontsize=style.SMALL_PT, ha="center",
                va="center", bbox={"boxstyle": "circle,pad=0.12", "fc": "white", "ec": "none"},
            )  # fmt: skip
        left += share
        if phase is Phase.FIRST_BYTE:
            axes.plot(left, middle - 0.18, "^", color="black", markersize=5, clip_on=False)
            right = left < 0.75
            axes.text(
                left + (0.015 if right else -0.015), middle - 0.2, seconds(left * total),
                fontsize=style.SMALL_PT - 0.5, va="center", ha="left" if right else "right",
            )  # fmt: skip
    axes.text(0, top - 0.64, listed, fontsize=style.SMALL_PT - 0.5, va="top", linespacing=1.2)


def _phases_alt(found: Sequence[Group]) -> str:
    parts = []
    for group in found:
        values = medians(group)
        total = sum(values.values())
        listed = ", ".join(
            f"{phase_name(group, phase)} {seconds(value)}"
            + (f" ({value / total:.0%})" if total else "")
            for phase, value in values.items()
        )
        parts.append(f"{group.label(mixed=True)}, {seconds(total)} in all: {listed}")
    return "Median seconds of each phase of a start. " + ". ".join(parts) + "."
