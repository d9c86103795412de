"""Scaling out, explained: what a lesson draws, tabulates and models from a view of its rows.

A **cell** is a series with its kind of start; a row's ``phase`` is the N it was let go with. Every
function raises ``Unavailable`` where its rows are not there; an outcome is then ``None``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from vmcompare.evidence.statistics import INTERVAL_FROM, Interval, fitted_ramps, median_interval
from vmcompare.evidence.units import MIB, seconds, size
from vmcompare.evidence.view import Column, View, absent, caption, mixed, of_series
from vmcompare.experiments.explanation import Explanation, Row
from vmcompare.experiments.scaling.demo import FIVE
from vmcompare.experiments.scaling.measure import CELLS, KILLED, MANY, WANTED, Cell
from vmcompare.plots.dots import Dot, Panels, sliding_dots
from vmcompare.plots.lines import Line, lines, log_lines
from vmcompare.plots.picture import Picture, WhatIf
from vmcompare.sandbox import Platform, Start

WALL, EACH, CPU, PSS, HEAL = "scale_wall_s", "scale_each_s", "start_cpu_s", "pss_bytes", "heal_s"

HOST_GIB, HOST_CORES, HURRY_S = 64, 16, 60
"""A host of the model, and how soon all copies must be there (s)."""

COPIES = tuple(sorted({round(10 ** (step / 8)) for step in range(8, 33)}))
"""How many copies the slider asks for: 10 to 10,000."""

explained = Explanation[View]()


@dataclass(frozen=True, slots=True)
class Found:
    """The rows of one metric that one cell has in one run."""

    cell: Cell
    column: Column

    @property
    def is_ready_made(self) -> bool:
        """Whether something was prepared beforehand: a created container, a booted VM."""
        return self.cell.start is not Start.COLD

    def at(self, n: int) -> Interval | None:
        """Median of the rows with N copies; ``None`` where there are none."""
        rows = self.column.where(phase=str(n))
        return rows.median if rows.n else None

    def medians(self) -> tuple[tuple[float, float], ...]:
        """(N, median) of every N that was let go at once."""
        found = [(n, self.at(n)) for n in self.cell.ns]
        return tuple((float(n), one.estimate) for n, one in found if one)

    def points(self) -> tuple[tuple[float, float], ...]:
        """(N, value) of every row that is no ramp."""
        rows = self.column.rows[self.column.rows["phase"].isin([str(n) for n in self.cell.ns])]
        return tuple(zip(rows["phase"].map(float), rows["value"], strict=True))


def cells(view: View, metric: str, **where: Any) -> Sequence[Found]:
    """Every cell that has valid rows of ``metric``, in the lesson's order; may be empty."""
    found = []
    for cell in CELLS:
        column = of_series(view.columns(metric, warmth=cell.start.value, **where), cell.series)
        if column is not None:
            found.append(Found(cell, replace(column, kind=str(cell.start))))
    return found


def need(view: View, metric: str, **where: Any) -> Sequence[Found]:
    """:func:`cells`, at least one. Raises ``Unavailable``."""
    found = cells(view, metric, **where)
    if not found:
        raise absent("copy that was started")
    return found


@explained.figure("wall")
def wall(view: View) -> Picture:
    """Seconds until all N copies are there, against N; both axes logarithmic."""
    found = [one for one in need(view, WALL) if one.medians()]
    if not found:
        raise absent("copy that was started")
    both = mixed([one.column for one in found])
    drawn = []
    for one in found:
        n, last_s = one.medians()[-1]
        drawn.append(
            Line(
                one.cell.series, one.column.label(mixed=both), one.points(), one.medians(),
                f"{n:g}: {seconds(last_s)}", dashed=one.is_ready_made, hollow=one.is_ready_made,
            )
        )  # fmt: skip
    return log_lines(
        "Until all N copies are there",
        drawn,
        x_label="copies let go at once, N",
        x_ticks=MANY,
        what="Seconds from the common start to the last copy’s first byte",
        caption=caption(view, [_five(one.column, phase=str(WANTED)) for one in found]),
    )


@explained.figure("memory")
def memory(view: View) -> Picture:
    """Memory of all N copies together, against N, with a line through each cell's ramps."""
    found = need(view, PSS, phase="ramp")
    both = mixed([one.column for one in found])
    drawn = []
    for one in found:
        points = tuple(zip(one.column.rows["rep"].map(float), one.column.values, strict=True))
        each, fixed = _ramp(one.column)
        ends = (min(points)[0], max(points)[0])
        drawn.append(
            Line(
                one.cell.series, one.column.label(mixed=both), points,
                tuple((n, fixed + each.estimate * n) for n in ends) if each else (),
                size(each.estimate) if each else "",
                dashed=one.is_ready_made, hollow=one.is_ready_made,
            )
        )  # fmt: skip
    return lines(
        "MiB of all N copies; right: one more",
        drawn,
        x_label="copies at the same time, N",
        x_ticks=(0, *MANY[1:]),
        what="Memory of N copies",
        caption=caption(view, [_five(one.column, rep=WANTED) for one in found]),
    )


def _five(column: Column, **where: str | int) -> Column:
    """Its rows of five at once: other N are no further runs of them. Failures stay, of all N."""
    return replace(column, rows=column.where(**where).rows)


def _ramp(column: Column) -> tuple[Interval | None, float]:
    """What one more copy costs (bytes), and what is there without any; the first is ``None``
    where no ramp has two different N."""
    fitted = fitted_ramps(column.rows).values()
    if not fitted:
        return None, 0.0
    each = median_interval([line.slope for line in fitted])
    return each, median_interval([line.intercept for line in fitted]).estimate


@explained.table("cells")
def table(view: View) -> Iterator[Row]:
    """One row a cell: what five at once took, and what one more costs."""
    weighed = {one.cell: one for one in cells(view, PSS, phase="ramp")}
    worked = {one.cell: one for one in cells(view, CPU)}
    healed = {one.cell: one for one in cells(view, HEAL)}
    for one in need(view, WALL):
        time, more = one.at(WANTED), weighed.get(one.cell)
        each = _ramp(more.column)[0] if more else None
        work = worked[one.cell].at(WANTED) if one.cell in worked else None
        heal = healed[one.cell].at(KILLED) if one.cell in healed else None
        yield {
            "copy": one.column.label(mixed=False),
            f"{WANTED} at once": seconds(time.estimate) if time else "–",
            "processor, each": seconds(work.estimate) if work else "–",
            "memory, one more": size(each.estimate) if each else "–",
            f"{KILLED} of {WANTED} replaced": seconds(heal.estimate) if heal else "–",
        }


explained.values("cells", "table")(View.sourced)


@explained.table("every_n")
def every_n(view: View) -> Iterator[Row]:
    """One row a cell and N: medians of the wall time and of each copy's, with n and provenance."""
    alone = {one.cell: one for one in cells(view, EACH)}
    for one in need(view, WALL):
        for n in one.cell.ns:
            found = one.at(n)
            each = alone[one.cell].at(n) if one.cell in alone else None
            if found is None:
                continue
            span = f" [{found.ends(seconds)}]" if found.known else ""
            few = f" {found.kind}" if span and found.n < INTERVAL_FROM else ""
            yield {
                "copy": one.column.label(mixed=False),
                "N": str(n),
                "until all are there": f"{seconds(found.estimate)}{span}{few}",
                "until one is there": seconds(each.estimate) if each else "–",
                "runs": str(found.n),
                "provenance": one.column.provenance,
            }


@explained.whatif("many")
def many(view: View) -> WhatIf:
    """Hosts needed for N copies: by memory, and so that all are there within a minute."""
    weighed = [(one, _ramp(one.column)[0]) for one in cells(view, PSS, phase="ramp")]
    sized = [(one, each.estimate) for one, each in weighed if each and each.estimate > 0]
    worked = [(one, work.estimate) for one in cells(view, CPU) if (work := one.at(WANTED))]
    if not sized or not worked:
        raise absent("copy whose memory and work are known")
    both = mixed([one.column for one, _ in sized])

    def dot(one: Found, hosts: float) -> Dot:
        needed = math.ceil(hosts)
        label = one.column.label(mixed=both)
        return Dot(one.cell.series, label, needed, f"{needed:,}", hollow=one.is_ready_made)

    def panels(n: float) -> Panels:
        room_bytes = HOST_GIB * 1024 * MIB
        return {
            f"Hosts of {HOST_GIB} GiB that hold them, by memory alone": [
                dot(one, n * each / room_bytes) for one, each in sized
            ],
            f"Hosts of {HOST_CORES} cores that start them in {HURRY_S} s": [
                dot(one, n * work / (HOST_CORES * HURRY_S)) for one, work in worked
            ],
        }

    emulated = ", ".join(one.column.name for one, _ in worked if one.column.emulated)
    return sliding_dots(
        panels,
        COPIES,
        start=1000,
        said="{:g} copies.",
        placeholders={
            "source": view.caption(), "emulated": emulated,
            "gib": str(HOST_GIB), "cores": str(HOST_CORES), "hurry": str(HURRY_S),
        },
    )  # fmt: skip


def at_once(view: View, start: Start, n: int) -> Interval | None:
    """Seconds until ``n`` ready-made copies are there, containers or clones."""
    for one in cells(view, WALL):
        if one.cell.start is start:
            return one.at(n)
    return None


@explained.outcome("pre_created_s", Platform.CONTAINER)
def _pre_created_s(view: View) -> float | None:
    found = at_once(view, Start.PRE_CREATED, MANY[-1])
    return found.estimate if found else None


@explained.outcome("clones_over_pre_created", Platform.CONTAINER, Platform.VM_DIRECT)
def _clones_over_pre_created(view: View) -> float | None:
    found = {one.cell.start: one for one in cells(view, WALL)}
    above, below = found.get(Start.CLONE), found.get(Start.PRE_CREATED)
    if above is None or below is None:
        return None
    n = str(MANY[-1])
    times = above.column.where(phase=n).over(below.column.where(phase=n))
    return times.estimate if times else None


explained.demo("five", FIVE)
