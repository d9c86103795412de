"""How every series looks: one colour a platform, a marker and a hatching of its own a series.

Colours are the five of Okabe and Ito's palette that reach a contrast of 3:1 against white and
against the paper of a dark theme; no series is told apart by its colour alone. What is ink and what
is paper follows the page's theme (:mod:`vmcompare.plots.svg`).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vmcompare.evidence.units import seconds
from vmcompare.sandbox import Machine, Platform, Series

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

BLACK, BLUE, GREEN, VERMILLION, PURPLE = "#000000", "#0072B2", "#009E73", "#D55E00", "#CC79A7"
"""Okabe–Ito, with their contrast against white: 21, 5.2, 3.4, 3.9 and 3.1 to 1."""

GREY = "#595959"
"""Words and lines of second rank (7:1 on white)."""

WHITE, RULE, SOFT = "#FFFFFF", "#D0D0D0", "#E8E8E8"
"""Paper, thin lines, and a ground that stands out a little."""

TINT_GREEN, TINT_RED = "#CDE8DD", "#F6CDB5"
"""Grounds under words in ink."""

ON_COLOUR = "#FEFEFE"
"""Words on a colour of the palette: white in every theme."""

WIDTH_IN, TALLEST_IN = 9.2, 5.5
"""Width of every figure, and its height at most: about 880 × 530 CSS pixels, what a window of
1366 × 768 holds beside the page's own bars and a caption of two lines."""

SMALL_PT, LEAST_PT = 11.0, 10.0
"""Size of nearly all text in a figure, and of the smallest: 15 and 13 CSS pixels at that width, 24
at least where a figure fills a screen of 1920 × 1080."""

PLATE = {"boxstyle": "square,pad=0.1", "facecolor": "white", "edgecolor": "none"}
"""Laid under words that a grid line would run through."""


@dataclass(frozen=True, slots=True)
class Look:
    """Colour, matplotlib marker and hatching of a series."""

    colour: str
    marker: str
    hatch: str


_LOOKS: Mapping[tuple[Platform, bool], Look] = {
    (Platform.PROCESS, False): Look(BLACK, "o", ""),
    (Platform.CONTAINER, False): Look(BLUE, "s", "//"),
    (Platform.CONTAINER, True): Look(BLUE, "8", "**"),
    (Platform.VM_DIRECT, False): Look(GREEN, "^", "\\\\"),
    (Platform.VM_DIRECT, True): Look(GREEN, "v", ".."),
    (Platform.VM_TUNED, False): Look(PURPLE, "D", "--"),
    (Platform.VM_TUNED, True): Look(PURPLE, "X", "||"),
    (Platform.VM, False): Look(VERMILLION, "h", "++"),
    (Platform.VM, True): Look(VERMILLION, "*", "oo"),
}

_RUNTIMES: Mapping[str, Look] = {
    "bubblewrap": Look(BLUE, "P", "xx"),
    "runc": Look(BLUE, ">", "-//"),
}
"""Bare container runtimes by name; others share the look of ``(CONTAINER, True)``."""


def look(series: Series | None) -> Look:
    """The fixed colour, marker and hatching of a series; grey where it has none."""
    if series is None:
        return Look(GREY, "o", "")
    if series.runtime in _RUNTIMES:
        return _RUNTIMES[series.runtime]
    return _LOOKS[series.platform, series.machine == Machine.MICROVM or bool(series.runtime)]


@contextmanager
def own() -> Iterator[None]:
    """Draw (or save) as the course does, whatever settings or style the learner has chosen.

    Every function that makes a :func:`figure` is decorated with it. A dollar sign begins no formula
    here: words may come from a recording.
    """
    import matplotlib as mpl
    import matplotlib.style  # reads the learner's own styles

    with mpl.rc_context(), warnings.catch_warnings():
        # Words that are too long, or a letter that its font lacks: no matter for the page.
        warnings.simplefilter("ignore", UserWarning)
        mpl.rcdefaults()
        # Text stays text: a third of the bytes, and sharp in print. Where DejaVu Sans is missing,
        # matplotlib's list of families falls back to Verdana, which is as wide.
        mpl.rc("svg", fonttype="none", hashsalt="vmcompare")
        mpl.rc("text", parse_math=False)
        yield


def figure(height_in: float) -> Figure:
    """An empty white figure of the course's width, no higher than a screen."""
    from matplotlib.figure import Figure

    return Figure(
        figsize=(WIDTH_IN, min(height_in, TALLEST_IN)), facecolor="white", layout="constrained"
    )


def plain(axes: Axes) -> None:
    """Take away what carries no data: box, ticks of the y axis."""
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.tick_params(axis="y", length=0, labelsize=SMALL_PT)
    axes.tick_params(axis="x", labelsize=SMALL_PT)
    axes.set_facecolor("white")


def log_seconds(axes: Axes, values: Sequence[float]) -> None:
    """A log x axis of seconds around ``values``, its ticks written as "10 ms", "1 s"."""
    # Half a decade at least, so that one series alone is not blown up to fill the picture.
    low = min(values) / 1.6
    log_axis(axes.xaxis, low, max(max(values) * 1.6, min(values) * 3.2), tick_seconds)
    axes.grid(axis="x", which="major", color=RULE, linewidth=0.6)
    axes.set_axisbelow(True)


def log_ratios(axes: Axes, values: Sequence[float]) -> None:
    """A log x axis of ratios around ``values`` and 1, which a dashed line marks."""
    log_axis(axes.xaxis, min(*values, 1.0) / 1.6, max(*values, 1.0) * 1.6, lambda x: f"{x:g}×")
    axes.axvline(1, color=GREY, linewidth=1, linestyle="--", zorder=0)


def tick_seconds(value_s: float) -> str:
    """A tick: ``"10 ms"``, not ``"10.0 ms"``."""
    number, _, unit = seconds(value_s).partition(" ")
    return f"{float(number.replace(',', '')):g} {unit}"


def log_axis(
    axis: Axis,
    low: float,
    high: float,
    written: Callable[[float], str],
    ticks: Sequence[float] = (),
) -> None:
    """Make an axis logarithmic, with ``ticks`` or, by default, those at powers of ten; at 1, 2, 5
    times those where there would be too few."""
    import numpy as np
    from matplotlib.ticker import FixedLocator, NullLocator

    first, last = int(np.floor(np.log10(low))), int(np.ceil(np.log10(high)))
    steps = (1,) if np.log10(high / low) >= 2 else (1, 2, 5)
    ticks = ticks or [s * 10.0**e for e in range(first, last + 1) for s in steps]
    name = "x" if axis is axis.axes.xaxis else "y"
    axis.axes.set(**{f"{name}scale": "log", f"{name}lim": (low, high)})
    axis.set_major_locator(FixedLocator([t for t in ticks if low <= t <= high]))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(lambda value, _: written(value))
