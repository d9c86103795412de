"""Every run as a point, with median and interval, above the same runs as shares (ECDF)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from vmcompare.evidence.statistics import outliers
from vmcompare.evidence.units import ratio as ratio_text
from vmcompare.evidence.units import seconds
from vmcompare.evidence.view import View
from vmcompare.plots import style
from vmcompare.plots.groups import Group, caption, container, mixed, need, ratio
from vmcompare.plots.picture import Picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes


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
        _row(above, len(found) - 1 - place, group, mixed=mixed(found))
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
    return Picture(figure, _alt(found, what), caption(view, found, *extra))


def _row(axes: Axes, y: int, group: Group, *, mixed: bool) -> None:
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


def _alt(found: Sequence[Group], what: str) -> str:
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
