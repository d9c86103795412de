"""Elastic resources: what a lesson draws, tabulates, models and checks answers against.

Every function raises ``Unavailable`` where its rows are not there; an outcome is then ``None``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

from vmcompare.errors import Unavailable
from vmcompare.evidence.statistics import Interval
from vmcompare.evidence.units import MIB, ratio, seconds, size
from vmcompare.evidence.view import Column, View, absent, caption, mixed, of_series
from vmcompare.experiments.elasticity.measure import (
    AFTER,
    BALLOON,
    BALLOON_MIB,
    BEFORE,
    BEFORE_S,
    CLOCKED,
    GIVEN_MIB,
    HELD_S,
    IDE,
    LOOPBACK,
    NO_FILTER,
    OVER_TIME,
    PEAK,
    PUT_TO_USE,
    REPORTING,
    TAKEN_MIB,
    VOLUME,
    WORK,
    WRITES,
    WRITTEN,
)
from vmcompare.experiments.explanation import Explanation, Row, Values
from vmcompare.plots.lines import Line, lines
from vmcompare.plots.marks import Dot, Panels, sliding_dots
from vmcompare.plots.picture import Picture, WhatIf
from vmcompare.plots.times import runs
from vmcompare.sandbox import Machine, Platform, Series

PROCESS, CONTAINER = Series(Platform.PROCESS), Series(Platform.CONTAINER)
VM, WITH_DISKS = Series(Platform.VM, Machine.Q35), Series(Platform.VM, Machine.PC)
CALLS, COMPUTING, GZIP, STARTS = "system calls", "computing", "gzip", "fork and exec"

HOST_GIB, RISK_SIGMAS, RISK = 64, 2.33, "1 %"
"""A host of the model, and how rarely its memory may run out: 2.33 standard deviations above the
mean are exceeded with a probability of 1 %."""

AT_PEAK = (1, 2, 5, 10, 15, 20, 30, 40, 50, 60, 70, 80, 90, 100)
"""For how much of its time an instance needs its peak, in per cent."""

explained = Explanation[View]()


@dataclass(frozen=True, slots=True)
class Course:
    """What the host pays for one kind of instance over time.

    ``suffix`` ends the phases of its rows, ``base`` those of the moments before it gives back.
    """

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
        """``"vm (q35), balloon inflated · software emulation"``."""
        rest = column.label(mixed=mixed).removeprefix(self.series.label)
        return f"{self.series.label}{self.name}{rest}"


PLAIN = Course(VM, ", balloon not inflated")
INFLATED = Course(VM, ", balloon inflated", BALLOON)
REPORTS = Course(VM, ", page reporting", REPORTING, REPORTING)
COURSES = (Course(PROCESS), Course(CONTAINER), PLAIN, INFLATED, REPORTS)


@explained.figure("memory")
def memory(view: View) -> Picture:
    """MiB that the host pays over time, of the last round that each course has."""
    found = {one: column for one in COURSES if (column := one.column(view, OVER_TIME))}
    if not found:
        raise absent("memory over time")
    both = mixed([*found.values()])
    marks: dict[str, float] = {
        f"{TAKEN_MIB} MiB are taken": BEFORE_S,
        "and freed": BEFORE_S + HELD_S,
    }
    courses = {one: _last_round(column, column) for one, column in found.items()}
    if {PLAIN, INFLATED} <= courses.keys():  # the same VM, later: one line
        marks[f"the balloon is inflated: {GIVEN_MIB} → {BALLOON_MIB} MiB"] = courses[INFLATED][0][0]
        before = _last_round(found[PLAIN], found[INFLATED])
        courses[INFLATED] = (*before, *courses[INFLATED])
        del courses[PLAIN]
    drawn = []
    for one, points in courses.items():
        peak, after = one.moment(view, PEAK), one.moment(view, AFTER)
        note = f"{_mib(peak)} → {_mib(after)}" if peak and after else ""
        own = one is REPORTS
        label = one.label(found[one], mixed=both)
        drawn.append(Line(one.series, label, points, points, note, dashed=own, hollow=own, every=4))
    end_s = max(x for points in courses.values() for x, _ in points)
    return lines(
        "MiB that the host pays; right: peak → after",
        drawn,
        marks,
        x_label="seconds since the program was started",
        x_ticks=range(0, 2 * math.ceil(max(end_s, 16) / 2) + 1, 2),
        what="Memory that the host pays, over time",
        # Of rows over time, how many there are says nothing about how many runs there were.
        caption=caption(view, [one.column(view, AFTER) or found[one] for one in found]),
    )


def _last_round(column: Column, of: Column) -> tuple[tuple[float, float], ...]:
    """(seconds, bytes) in the last round of ``of``."""
    rows = column.where(block=int(of.rows["block"].max())).rows
    return tuple(zip(rows["rep"] / 10, rows["value"], strict=True))


@explained.table("moments", lacking="memory that was freed")
def moments(view: View) -> Iterator[Row]:
    """One row a course: medians of each moment, and the share that came back."""
    for one in COURSES:
        back = one.column(view, AFTER, "returned_ratio")
        if back is None:
            continue
        share = 100 * back.median.estimate
        yield {
            "instance": one.label(back),
            **{
                words: size(found.estimate) if (found := one.moment(view, phase)) else "–"
                for words, phase in _MOMENTS.items()
            },
            "came back": f"{round(share)} %".replace("-", "−"),
            "runs": str(back.n),
        }


@explained.values("moments", "table")
def _moments_values(view: View) -> Values:
    """``begins``: what the VM costs the host before its program takes anything, if that is less
    than it was given; ``inflated``: whether one VM is in two rows."""
    begins = PLAIN.moment(view, BEFORE)
    less = begins is not None and begins.estimate < GIVEN_MIB * MIB
    return {
        "begins": size(begins.estimate) if begins and less else "",
        "given": GIVEN_MIB,
        "inflated": all(one.column(view, AFTER, "returned_ratio") for one in (PLAIN, INFLATED)),
    }


_MOMENTS = {"before": BEFORE, "while in use": PEAK, "after": AFTER}


def _mib(found: Interval) -> str:
    mib = found.estimate / MIB
    return f"{mib:,.0f}" if mib >= 10 else f"{mib:.2g}"


@explained.table("limits", lacking="limit that was changed")
def limits(view: View) -> Iterator[Row]:
    """One row a request: what came of it, what a program inside saw, how long it took."""
    times = {column.key: column for column in view.columns("duration_s")}
    for column in view.columns("observation"):
        took = times[column.key].medians() if column.key in times else {}
        for asked, text in column.texts().items():
            inside = asked == PUT_TO_USE
            what, _, seen = text.partition(" | ")
            yield {
                "instance": column.label(mixed=False),
                "asked": "in the guest: switch the new memory on" if inside else asked,
                "then": what,
                "seen inside": seen,
                "took": seconds(took[asked]) if asked in took else "–",
            }


def _work(view: View, series: Series, phase: str, metric: str = "work_cpu_s") -> Column | None:
    """Seconds of one piece of work: of the processor, or by the clock."""
    return of_series(view.columns(metric, phase=phase), series)


def _clocked(view: View, series: Series, phase: str) -> Column | None:
    return _work(view, series, phase, CLOCKED.get(phase, ""))


@explained.table("work", lacking="work that was counted")
def work(view: View) -> Iterator[Row]:
    """One row a piece of work: medians, and the container's ratios paired by round."""
    for piece in WORK:
        same = piece.removesuffix(VOLUME)  # a process has no volume
        bare = _work(view, PROCESS, same)
        held, free = (_work(view, CONTAINER, piece + end) for end in ("", NO_FILTER))
        if not (bare or held):
            continue
        waited = _clocked(view, CONTAINER, piece), _clocked(view, PROCESS, same)
        yield {
            "work": piece,
            "process": seconds(bare.median.estimate) if bare else "not measured",
            "container": seconds(held.median.estimate) if held else "not measured",
            "container, no filter": seconds(free.median.estimate) if free else "–",
            "container ÷ process": _over(held, bare),
            "by the clock": _over(*waited),
        }


def _over(held: Column | None, bare: Column | None) -> str:
    paired = held.over(bare) if held and bare else None
    return ratio(paired.estimate) if paired else "–"


@explained.values("work", "table")
def _work_values(view: View) -> Values:
    """Its caption tells of the runs that did the work, and of no VM.

    ``steps``, ``calls``, ``starts``, ``writes`` and ``sent``: how much each piece of work is.
    """
    ours = view.frame["platform"].isin([Platform.PROCESS, Platform.CONTAINER])
    rows = view.frame[ours & (view.frame["metric"] == "work_cpu_s")]
    sources = tuple(source for source in view.sources if source.run_id in set(rows["run_id"]))
    loopback = _work(view, PROCESS, LOOPBACK)
    ends = (min(loopback.values), max(loopback.values)) if loopback else ()
    return {
        **replace(view, frame=rows, sources=sources).sourced(),
        "loopback": " to ".join(map(seconds, ends)),
        "gzip": bool(_work(view, PROCESS, GZIP) or _work(view, CONTAINER, GZIP)),
        "steps": f"{_times(COMPUTING):,}",
        "calls": f"{_times(CALLS):,}",
        "starts": f"{_times(STARTS):,}",
        "writes": WRITTEN,
        "sent": size(_times(LOOPBACK) * 64 * 1024),
    }


def _times(piece: str) -> int:
    """How often the program does it (of loopback: sends 64 KiB)."""
    return int(WORK[piece][1])


@explained.figure("writes")
def writes(view: View) -> Picture:
    """Seconds of one write with fsync: process, container (layer, volume), VM (two disks)."""
    places = {
        (PROCESS, WRITES): "", (CONTAINER, WRITES): "writable layer",
        (CONTAINER, WRITES + VOLUME): "volume",
        (WITH_DISKS, WRITES): "virtio disk", (WITH_DISKS, WRITES + IDE): "IDE disk",
    }  # fmt: skip
    found = []
    for (series, phase), kind in places.items():
        if column := _clocked(view, series, phase):
            each = column.rows.assign(value=column.rows["value"] / WRITTEN)
            found.append(replace(column, rows=each, kind=kind))
    if not found:
        raise absent("write")
    drawn = runs(view, found, what="write with fsync")
    emulated = any(column.emulated for column in found)
    vm = any(column.series == WITH_DISKS for column in found)
    return replace(drawn, placeholders={"emulated": emulated, "times": WRITTEN, "vm": vm})


@explained.check("filter", unit="ratio", within=0.03)
def filter_(view: View) -> float:
    """Processor time of system calls in a container with the filter ÷ without it."""
    return _median_s(view, CONTAINER, CALLS) / _median_s(view, CONTAINER, CALLS + NO_FILTER)


@explained.values("filter")
def _filter(view: View) -> Values:
    held, free = (_median_s(view, CONTAINER, CALLS + end) for end in ("", NO_FILTER))
    (whole, left), (computing, computing_free) = (  # as the table has them: by round
        [_times_process(view, piece, end) for end in ("", NO_FILTER)]
        for piece in (CALLS, COMPUTING)
    )
    costs, nearly = held > 1.05 * free, abs(left - 1) <= 0.05
    more, falls = computing > 1.05, computing_free - 1 <= (computing - 1) / 2
    return {
        "computing": ratio(computing), "computing_free": ratio(computing_free),
        "held": seconds(held), "free": seconds(free), "ratio": ratio(held / free),
        "whole": ratio(whole), "left": ratio(left),
        "costs": costs, "nearly": costs and nearly, "part": costs and not nearly,
        "more": more, "falls": more and falls, "stays": more and not falls,
    }  # fmt: skip


def _times_process(view: View, piece: str, end: str) -> float:
    """Of a container ÷ of a process, paired by round."""
    held, bare = _counted(view, CONTAINER, piece + end), _counted(view, PROCESS, piece)
    paired = held.over(bare)
    return paired.estimate if paired else held.median.estimate / bare.median.estimate


def _median_s(view: View, series: Series, phase: str) -> float:
    return _counted(view, series, phase).median.estimate


def _counted(view: View, series: Series, phase: str) -> Column:
    found = _work(view, series, phase)
    if found is None:
        raise Unavailable(f"“{phase}” of a {series.label} was not counted", "replay a recording")
    return found


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
    reserved = HOST_GIB * 1024 // GIVEN_MIB
    held: list[tuple[Course, Column, float, float]] = []
    for one in COURSES:
        column, low = one.column(view, AFTER), one.moment(view, BEFORE)
        high = one.moment(view, PEAK)
        if column and low and high and high.estimate > low.estimate > 0:
            # What did not come back is paid for at all times.
            rest = min(column.median.estimate, high.estimate)
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
        if any(one.series == VM for one, *_ in held):
            label = f"vm, {GIVEN_MIB} MiB of RAM reserved"
            dots.append(Dot(VM, label, reserved, f"{reserved:,}"))
        return {f"Instances that fit into {HOST_GIB} GiB, by memory alone": dots}

    return sliding_dots(
        panels,
        AT_PEAK,
        start=10,
        said="Each needs its peak for {:g} per cent of its time.",
        placeholders={"source": view.caption(), "gib": str(HOST_GIB), "risk": RISK},
    )


@explained.outcome("container_back_mib", Platform.CONTAINER)
def _container_back_mib(view: View) -> float | None:
    return _came_back_mib(view, Course(CONTAINER))


@explained.outcome("vm_back_mib", Platform.VM)
def _vm_back_mib(view: View) -> float | None:
    return _came_back_mib(view, PLAIN)


def _came_back_mib(view: View, course: Course) -> float | None:
    """MiB that came back to the host after the program had freed them."""
    peak, after = course.moment(view, PEAK), course.moment(view, AFTER)
    return max(0.0, peak.estimate - after.estimate) / MIB if peak and after else None
