"""Times of runs: every run with its median, the noise floor, and where the time goes."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from vmcompare.evidence.statistics import SEED, median_interval
from vmcompare.evidence.units import ratio, seconds
from vmcompare.evidence.view import Column, View, caption, container, mixed
from vmcompare.plots import marks, style
from vmcompare.plots.picture import Picture
from vmcompare.sandbox import Phase, Platform

if TYPE_CHECKING:
    from matplotlib.axes import Axes


# ---- every run -----------------------------------------------------------------------------------


def strip(
    view: View, metric: str, *, what: str, extra: Sequence[str] = (), **where: str | int
) -> Picture:
    """Every run of a time metric (s) on a log axis, a row a series.

    Warm-ups are pale, and count nowhere (the placeholder ``warmed`` tells of them); failed runs are
    counted in the label. ``what`` is one run, in a word ("start"); ``extra`` are sentences for the
    caption; ``where`` is as in :meth:`View.columns`.

    Raises ``Unavailable``: the view holds no valid value of ``metric``, not even of a warm-up.
    """
    found = view.with_warm_ups(metric, **where)
    if not any(column.n or column.warm_up_values for column in found):
        view.need(metric, what, failed_too=True, **where)  # says what is missing
    return runs(view, found, what=what, extra=extra)


@style.own()
def runs(view: View, found: Sequence[Column], *, what: str, extra: Sequence[str] = ()) -> Picture:
    """The same of columns that the caller has chosen."""
    figure = style.figure(marks.TALL_IN * len(found) + 0.8)
    axes = figure.subplots()
    marks.draw(axes, [_row(column, mixed=mixed(found)) for column in found])
    style.log_seconds(axes, [v for c in found for v in (*c.values, *c.warm_up_values)])
    axes.set_xlabel(f"time of one {what} (logarithmic)", fontsize=style.SMALL_PT)
    warmed = any(column.warm_up_values for column in found)
    said = caption(view, found, *extra)
    return Picture(figure, _strip_alt(found, what), said, {"warmed": warmed})


def _row(column: Column, *, mixed: bool) -> marks.Row:
    """One series: its label and median above, its runs below."""
    label, count, look = column.label(mixed=mixed), column.count(), style.look(column.series)
    # The count goes below where one line would be too wide.
    note = "" if len(label) + len(count) <= 50 else count
    label = label if note else f"{label} · {count}"
    row = marks.Row(label, "–", look, None, pale=column.warm_up_values, note=note)
    if not column.n:
        return row
    median, values = column.median, column.values
    return replace(
        row,
        text=seconds(median.estimate),
        value=median.estimate,
        points=values,
        span=(median.low, median.high),
    )


def _strip_alt(found: Sequence[Column], what: str) -> str:
    base = container(found)
    parts = []
    for column in found:
        if not column.n:
            why = f"every run failed ({column.failed})" if column.failed else "only warm-ups so far"
            parts.append(f"{column.label(mixed=True)}: {why}")
            continue
        median = column.median
        span = median.words(seconds, "run")
        words = f"{column.label(mixed=True)}: median {seconds(median.estimate)}, {span}, "
        words += column.count()
        times = None if base is None or column is base else column.over(base)
        if times is not None:
            words += f", {ratio(times.estimate)} the container’s in the same block"
        parts.append(words)
    return f"Time of one {what} for each series, on a logarithmic axis. " + ". ".join(parts) + "."


# ---- noise ---------------------------------------------------------------------------------------


def noise(base: Column) -> Sequence[float]:
    """A/A: in each block two runs of ``base`` drawn at random (seeded), A ÷ B; may be empty.

    Both are the same thing, so what differs from 1 is noise: no smaller difference can be seen.
    """
    import numpy as np

    rng = np.random.default_rng(SEED)
    values = []
    for starts in base.blocks().values():
        if len(starts) >= 2:
            a, b = rng.choice(np.array(starts), size=2, replace=False)
            values.append(float(a / b))
    return values


def noise_sentence(found: Sequence[Column]) -> str:
    """The noise floor in one sentence; empty where no block has two container starts."""
    base = container(found)
    values = noise(base) if base else ()
    if not values:
        return ""
    median = median_interval(values)
    span = f" ({median.words(ratio)})" if median.known else ""
    measured = (
        f"{ratio(min(values))} to {ratio(max(values))}, median {ratio(median.estimate)}{span}"
    )
    return (
        "Noise floor: two container starts of one block, A and B, are the same thing and still "
        f"differ by {measured if len(values) > 1 else ratio(values[0])}."
    )


# ---- phases --------------------------------------------------------------------------------------

_ENDING = frozenset({Phase.EXIT, Phase.SHUTDOWN, Phase.REMOVED})

# Fill and hatching, in the order in which phases can happen; a platform has some of them. Every
# segment has its name or its words beside it, so none is told apart by its colour alone.
FILLS: Mapping[Phase, tuple[str, str]] = {
    Phase.OPEN: ("#FFFFFF", ""),
    Phase.CREATE: ("#56B4E9", ""),
    Phase.ATTACH: ("#F0E442", "//"),
    Phase.START: ("#0072B2", ""),
    Phase.SPAWN: ("#56B4E9", "\\\\"),
    Phase.FIRMWARE: ("#F0E442", ""),
    Phase.KERNEL: ("#D55E00", "//"),
    Phase.INIT: ("#CC79A7", ""),
    Phase.USERLAND: ("#CC79A7", "xx"),
    Phase.RESUMED: ("#0072B2", ".."),
    Phase.FIRST_BYTE: ("#009E73", ""),
    Phase.READY: ("#E69F00", ".."),
    Phase.EXIT: ("#BBBBBB", ""),
    Phase.SHUTDOWN: ("#BBBBBB", "\\\\"),
    Phase.REMOVED: ("#BBBBBB", ".."),
}

# What a phase is called where its general name would not say what happens in it.
_NAMES: Mapping[tuple[Platform, Phase], str] = {
    (Platform.PROCESS, Phase.FIRST_BYTE): "fork and exec",
    (Platform.VM_DIRECT, Phase.FIRST_BYTE): "init",
    (Platform.VM, Phase.KERNEL): "kernel and initrd",
    (Platform.VM_TUNED, Phase.FIRST_BYTE): "services",
    (Platform.VM, Phase.FIRST_BYTE): "services",
}

_IN_BAR = 0.18  # share of a bar that has room for the name of a phase


@style.own()
def phases(view: View) -> Picture:
    """Medians of ``phase_s`` (s) until the first byte, stacked: a row a series, two bars a row.

    The thick bar is its own 100 %, so that a container's 100 ms can be read beside a VM's 25 s. The
    thin one below has the same scale in every row. Raises ``Unavailable``.
    """
    found = view.need("phase_s", "phase of a start")
    longest = max(sum(until_first_byte(column).values()) for column in found) or 1.0
    words = [_listed(column) for column in found]
    # Lines of the words decide how high a row is.
    heights = [0.92 + 0.165 * text.count("\n") for text in words]
    figure = style.figure(0.76 * sum(heights))
    axes = figure.subplots()
    top = sum(heights)
    for column, text, height in zip(found, words, heights, strict=True):
        _bar(axes, top, column, text, longest, mixed=mixed(found))
        top -= height
    axes.set_ylim(0, sum(heights))
    axes.set_xlim(0, 1)
    axes.axis("off")
    early = any(medians(column).get(Phase.FIRST_BYTE) == 0 for column in found)
    note = "A container’s first byte was there before the engine had answered." if early else ""
    return Picture(figure, _phases_alt(found), caption(view, _starts(found), note))


def phase_name(column: Column, phase: Phase) -> str:
    """What happens in ``phase`` on this platform, in one or two words."""
    if column.series.runtime and phase is Phase.FIRST_BYTE:
        return "namespaces and exec"  # a bare mechanism: no engine stands between
    return _NAMES.get((column.series.platform, phase), str(phase))


def medians(column: Column) -> dict[Phase, float]:
    """Phase → median seconds of one series, in the order in which they happen."""
    found = column.medians("phase")
    return {phase: found[phase] for phase in FILLS if phase in found}


def until_first_byte(column: Column) -> dict[Phase, float]:
    """:func:`medians` of what belongs to the start: no command channel, no clean-up."""
    return {p: s for p, s in medians(column).items() if p is not Phase.READY and p not in _ENDING}


def fill(column: Column, phase: Phase) -> tuple[str, str]:
    """Colour and hatching of a phase; services of a distribution are no lone program."""
    services = phase_name(column, phase) == "services"
    return FILLS[Phase.USERLAND if services else phase]


def _starts(found: Sequence[Column]) -> list[Column]:
    """The columns reduced to one phase each, so that doubts count starts and not their pieces."""
    reduced = []
    for column in found:
        longest = max(medians(column).items(), key=lambda item: item[1])[0]
        rows = column.rows[column.rows["phase"] == longest]
        reduced.append(replace(column, rows=rows))
    return reduced


def _listed(column: Column) -> str:
    """Phases with their medians, wrapped to half of the figure's width."""
    words = [
        f"{phase_name(column, phase)} {seconds(value)}".replace(" ", "\u00a0")
        for phase, value in until_first_byte(column).items()
        if value
    ]
    return textwrap.fill(" · ".join(words), 66, break_on_hyphens=False)


def _bar(
    axes: Axes, top: float, column: Column, listed: str, longest_s: float, *, mixed: bool
) -> None:
    """One series, from ``top`` downwards: title and two bars, and beside them the words."""
    parts = until_first_byte(column)
    total = sum(parts.values()) or 1.0
    n = max(int((column.rows["phase"] == phase).sum()) for phase in parts)
    title = top - 0.1
    bold: dict[str, Any] = {"fontsize": style.LEAST_PT, "fontweight": "bold", "va": "center"}
    label = column.label(mixed=mixed)
    axes.text(0, title, label if len(label) > 45 else f"{label} · n = {n}", **bold)
    axes.text(1, title, f"{seconds(total)}", ha="right", **bold)
    left, middle = 0.0, top - 0.38
    for phase, value in parts.items():
        colour, hatch = fill(column, phase)
        share = value / total
        axes.barh(
            middle, share, left=left, height=0.32, color=colour, hatch=hatch, edgecolor="black",
            linewidth=0.8,
        )  # fmt: skip
        if share >= _IN_BAR:
            axes.text(
                left + share / 2, middle, phase_name(column, phase), fontsize=style.LEAST_PT,
                ha="center", va="center", bbox=style.PLATE,
            )  # fmt: skip
        left += share
    axes.barh(middle - 0.24, 1, height=0.08, color=style.SOFT)
    axes.barh(middle - 0.24, total / longest_s, height=0.08, color="black")
    axes.text(1.03, top - 0.2, listed, fontsize=style.LEAST_PT, va="top", linespacing=1.15)


def _phases_alt(found: Sequence[Column]) -> str:
    parts = []
    for column in found:
        values = until_first_byte(column)
        listed = ", ".join(
            f"{phase_name(column, phase)} {seconds(value)}" for phase, value in values.items()
        )
        parts.append(f"{column.label(mixed=True)}, {seconds(sum(values.values()))}: {listed}")
    return "Median seconds of each phase until the first byte. " + ". ".join(parts) + "."
