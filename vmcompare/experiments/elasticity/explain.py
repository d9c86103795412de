"""Elastic resources, explained: what a lesson draws, tabulates and models from a view of its rows.

A **course** is what the host pays for one instance over time: of one series, with the ending of its
rows' phases. Every function raises ``Unavailable`` where its rows are not there; an outcome is then
``None``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

from vmcompare.evidence.statistics import INTERVAL_FROM, Interval
from vmcompare.evidence.units import MIB, ratio, seconds, size
from vmcompare.evidence.view import Column, View, absent, caption, mixed, of_series
from vmcompare.experiments.elasticity.measure import (
    AFTER,
    BALLOON,
    BEFORE,
    BEFORE_S,
    CLOCKED,
    GIVEN_MIB,
    HELD_S,
    NO_FILTER,
    OVER_TIME,
    PEAK,
    REPORTING,
    TAKEN_MIB,
    VOLUME,
    WORK,
    WRITES,
)
from vmcompare.experiments.explanation import Explanation, Row, Values
from vmcompare.plots.dots import Dot, Panels, sliding_dots
from vmcompare.plots.lines import Line, lines
from vmcompare.plots.picture import Picture, WhatIf
from vmcompare.sandbox import Machine, Platform, Series

PROCESS, CONTAINER = Series(Platform.PROCESS), Series(Platform.CONTAINER)
VM = Series(Platform.VM, Machine.Q35)

HOST_GIB, RISK_SIGMAS, RISK = 64, 2.33, "1 %"
"""A host of the model, and how rarely its memory may run out: 2.33 standard deviations above the
mean are exceeded with a probability of 1 %."""

AT_PEAK = (1, 2, 5, 10, 15, 20, 30, 40, 50, 60, 70, 80, 90, 100)
"""For how much of its time an instance needs its peak, in per cent."""

explained = Explanation[View]()


@dataclass(frozen=True, slots=True)
class Course:
    """What one kind of instance does; ``suffix`` ends the phases of its own rows, ``base`` those of
    the moments before it was asked to give back."""

    series: Series
    name: str = ""
    suffix: str = ""
    base: str = ""

    def column(self, view: View, phase: str, metric: str = "host_bytes") -> Column | None:
        """Its rows of one phase, without the suffix."""
        suffix = self.base if phase in (BEFORE, PEAK) else self.suffix
        return of_series(view.columns(metric, phase=phase + suffix), self.series)

    def moment(self, view: View, phase: str) -> Interval | None:
        """The median of :data:`BEFORE`, :data:`PEAK` or :data:`AFTER`, in bytes."""
        found = self.column(view, phase)
        return found.median if found else None

    def label(self, column: Column, *, mixed: bool = False) -> str:
        """``"vm (q35), balloon · software emulation"``."""
        rest = column.label(mixed=mixed).removeprefix(self.series.label)
        return f"{self.series.label}{self.name}{rest}"


PLAIN = Course(VM)
INFLATED = Course(VM, ", balloon", BALLOON)
REPORTS = Course(VM, ", page reporting", REPORTING, REPORTING)
COURSES = (Course(PROCESS), Course(CONTAINER), PLAIN, INFLATED, REPORTS)


@explained.figure("memory")
def memory(view: View) -> Picture:
    """MiB that the host pays over time, of the last round that each course has."""
    found = [(one, column) for one in COURSES if (column := one.column(view, OVER_TIME))]
    if not found:
        raise absent("memory over time")
    both = mixed([column for _, column in found])
    drawn = []
    for one, column in found:
        rows = column.rows[column.rows["block"] == column.rows["block"].max()]
        points = [(float(rep) / 10, float(v)) for rep, v in zip(rows["rep"], rows["value"])]  # noqa: B905
        peak, after = one.moment(view, PEAK), one.moment(view, AFTER)
        note = f"{_mib(peak)} → {_mib(after)}" if peak and after else ""
        drawn.append(
            Line(
                one.series, one.label(column, mixed=both), tuple(points[::4]), tuple(points), note,
                dashed=bool(one.suffix), hollow=one is REPORTS,
            )
        )  # fmt: skip
    end_s = max(x for line in drawn for x, _ in line.drawn)
    freed_s = BEFORE_S + HELD_S
    marks: dict[str, float] = {f"{TAKEN_MIB} MiB are taken": BEFORE_S, "and freed": freed_s}
    for (one, _), line in zip(found, drawn, strict=True):
        if one is INFLATED:
            marks["the balloon is inflated"] = line.drawn[0][0]
    return lines(
        "MiB that the host pays; right: peak → after",
        drawn,
        marks,
        x_label="seconds since the program was started",
        x_ticks=range(0, 2 * math.ceil(max(end_s, 16) / 2) + 1, 2),
        what="Memory that the host pays, over time",
        # Of rows over time, how many there are says nothing about how many runs there were.
        caption=caption(view, [one.column(view, AFTER) or column for one, column in found]),
    )


@explained.table("moments", lacking="memory that was freed")
def moments(view: View) -> Iterator[Row]:
    """One row a course: medians of each moment, and the share that came back."""
    for one in COURSES:
        back = one.column(view, AFTER, "returned_ratio")
        if back is None:
            continue
        share = back.median
        differ = share.known and _percent(share.low) != _percent(share.high)
        spread = f" [{share.ends(_percent)}]" if differ else ""
        few = f" {share.kind}" if spread and share.n < INTERVAL_FROM else ""
        yield {
            "instance": one.label(back),
            **{words: _size(one.moment(view, phase)) for words, phase in _MOMENTS.items()},
            "came back": f"{_percent(share.estimate)}{spread}{few}",
            "runs": str(share.n),
        }


for _name in ("moments", "limits"):
    explained.values(_name, "table")(View.sourced)


_MOMENTS = {"before": BEFORE, "while in use": PEAK, "after": AFTER}


def _mib(found: Interval) -> str:
    mib = found.estimate / MIB
    return f"{mib:,.0f}" if mib >= 10 else f"{mib:.2g}"


def _size(found: Interval | None) -> str:
    return size(found.estimate) if found else "–"


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %".replace("-0 ", "0 ").replace("-", "−")


@explained.table("limits", lacking="limit that was changed")
def limits(view: View) -> Iterator[Row]:
    """One row a request: what came of it, what a program inside saw, how long it took."""
    times = {column.key: column for column in view.columns("duration_s")}
    for column in view.columns("observation"):
        took = times[column.key].medians() if column.key in times else {}
        for asked, text in column.texts().items():
            what, _, seen = text.partition(" | ")
            yield {
                "instance": column.label(mixed=False),
                "asked": asked,
                "then": what,
                "seen inside": seen,
                "took": seconds(took[asked]) if asked in took else "–",
            }


# ---- work ---------------------------------------------------------------------------------------


def work_column(
    view: View, series: Series, phase: str, metric: str = "work_cpu_s"
) -> Column | None:
    """Seconds of one piece of work: of the processor, or by the clock."""
    return of_series(view.columns(metric, phase=phase), series)


@explained.table("work", lacking="work that was counted")
def work(view: View) -> Iterator[Row]:
    """One row a piece of work: medians, and the container's ratios paired by round."""
    for piece in [*WORK, WRITES + VOLUME] if view.columns("work_cpu_s") else ():
        bare = work_column(view, PROCESS, piece.removesuffix(VOLUME))
        held = work_column(view, CONTAINER, piece)
        clock = CLOCKED.get(piece, "")
        waited = [work_column(view, one, piece, clock) for one in (CONTAINER, PROCESS)]
        yield {
            "work": piece,
            "process": _median(bare, "not measured"),
            "container": _median(held, "not measured"),
            "container, no filter": _median(work_column(view, CONTAINER, piece + NO_FILTER), "–"),
            "container ÷ process": _over(held, bare),
            "by the clock": _over(*waited),
        }


def _median(column: Column | None, otherwise: str) -> str:
    return seconds(column.median.estimate) if column else otherwise


def _over(held: Column | None, bare: Column | None) -> str:
    paired = held.over(bare) if held and bare else None
    return ratio(paired.estimate) if paired else "–"


@explained.values("work", "table")
def _work_sourced(view: View) -> Values:
    """Its caption tells of the runs that did the work, and of no VM: none did it."""
    rows = view.frame[view.frame["metric"] == "work_cpu_s"]
    runs = set(rows["run_id"])
    sources = tuple(source for source in view.sources if source.run_id in runs)
    return replace(view, frame=rows, sources=sources).sourced()


# ---- the model ----------------------------------------------------------------------------------


def fitting(room: float, low: float, high: float, share: float) -> int:
    """Instances that fit so that the room is exceeded at most in 1 % of moments.

    Each needs ``high`` for a ``share`` of its time, else ``low``, independently of the others: the
    largest N with N·m + 2.33·√N·s ≤ room, m their mean need and s its standard deviation.
    """
    mean = low + share * (high - low)
    deviation = (high - low) * math.sqrt(share * (1 - share))
    root = (
        -RISK_SIGMAS * deviation + math.sqrt((RISK_SIGMAS * deviation) ** 2 + 4 * mean * room)
    ) / (2 * mean)
    return math.floor(root * root + 1e-9)


@explained.whatif("overcommit")
def overcommit(view: View) -> WhatIf:
    """How many instances fit into a host when each needs its peak only some of the time."""
    room = HOST_GIB * 1024 * MIB
    held: list[tuple[Course, Column, float, float]] = []
    for one in COURSES:
        column, low = one.column(view, AFTER), one.moment(view, BEFORE)
        after, high = one.moment(view, AFTER), one.moment(view, PEAK)
        if column and low and after and high and high.estimate > low.estimate > 0:
            # What did not come back is paid for at all times.
            rest = min(after.estimate, high.estimate)
            held.append((one, column, max(low.estimate, rest), high.estimate))
    if not held:
        raise absent("memory that was freed")
    both = mixed([column for _, column, _, _ in held])

    def panels(percent: float) -> Panels:
        dots = []
        for one, column, low, high in held:
            count = fitting(room, low, high, percent / 100)
            label = one.label(column, mixed=both)
            dots.append(Dot(one.series, label, count, f"{count:,}", hollow=bool(one.suffix)))
        reserved = HOST_GIB * 1024 // GIVEN_MIB
        if any(one.series == VM for one, *_ in held):
            dots.append(
                Dot(VM, f"vm, all of its {GIVEN_MIB} MiB reserved", reserved, f"{reserved:,}")
            )
        return {f"Instances that fit into {HOST_GIB} GiB, by memory alone": dots}

    return sliding_dots(
        panels,
        AT_PEAK,
        start=10,
        said="Each needs its peak for {:g} per cent of its time.",
        placeholders={"source": view.caption(), "gib": str(HOST_GIB), "risk": RISK},
    )


# ---- outcomes -----------------------------------------------------------------------------------


def came_back_mib(view: View, course: Course) -> float | None:
    """MiB that came back to the host after the program had freed them."""
    peak, after = course.moment(view, PEAK), course.moment(view, AFTER)
    return max(0.0, peak.estimate - after.estimate) / MIB if peak and after else None


@explained.outcome("container_back_mib", Platform.CONTAINER)
def _container_back_mib(view: View) -> float | None:
    return came_back_mib(view, Course(CONTAINER))


@explained.outcome("vm_back_mib", Platform.VM)
def _vm_back_mib(view: View) -> float | None:
    return came_back_mib(view, PLAIN)
