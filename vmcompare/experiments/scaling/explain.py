"""Scaling out: what a lesson draws, tabulates, models, does on the spot and checks answers against.

Every function raises ``Unavailable`` where its rows are not there; an outcome is then ``None``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

from vmcompare.errors import Unavailable, UnknownName
from vmcompare.evidence.statistics import Interval, fitted_ramps
from vmcompare.evidence.units import MIB, ratio, seconds, size
from vmcompare.evidence.view import MEASURED, Column, View, absent, caption, mixed, of_series
from vmcompare.experiments.explanation import Explanation, Row, Values
from vmcompare.experiments.scaling.measure import CELLS, KILLED, MANY, WANTED, Cell, Copies
from vmcompare.measuring.experiment import Demo
from vmcompare.plots.lines import Line, lines, log_lines
from vmcompare.plots.marks import Dot, Panels, sliding_dots
from vmcompare.plots.picture import Picture, WhatIf
from vmcompare.sandbox import EMULATION, Launcher, Platform, Start

WALL, CPU, PSS = "scale_wall_s", "start_cpu_s", "pss_bytes"

HOST_GIB, HOST_CORES, HURRY_S = 64, 16, 60
"""A host of the model, and how soon all copies must be there (s)."""

FULL = 90
"""From so many per cent of their time on, cores are called full."""

COPIES = tuple(sorted({round(10 ** (step / 8)) for step in range(8, 33)}))
"""How many copies the slider asks for: 10 to 10,000."""

explained = Explanation[View]()


@dataclass(frozen=True, slots=True)
class Found:
    """The rows of one metric that one cell has in one run; their ``phase`` is N."""

    cell: Cell
    column: Column

    def at(self, n: int) -> Interval | None:
        """Median of the rows with N copies; ``None`` where there are none."""
        rows = self.column.where(phase=str(n))
        return rows.median if rows.n else None

    def line(self, points: Points, drawn: Points, note: str, *, mixed: bool) -> Line:
        """As it is drawn: dashed if something was prepared, a created container or a booted VM."""
        ready = self.cell.start is not Start.COLD
        label = self.column.label(mixed=mixed)
        return Line(self.cell.series, label, points, drawn, note, dashed=ready, hollow=ready)


Points = tuple[tuple[float, float], ...]


def cells(view: View, metric: str, **where: Any) -> Sequence[Found]:
    """Every cell that has valid rows of ``metric``, in the lesson's order; may be empty."""
    found = []
    for cell in CELLS:
        column = of_series(view.columns(metric, warmth=cell.start.value, **where), cell.series)
        if column is not None:
            found.append(Found(cell, replace(column, kind=str(cell.start))))
    return found


@explained.figure("wall")
def wall(view: View) -> Picture:
    """Seconds until all N copies are there, against N; both axes logarithmic."""
    found = cells(view, WALL)
    both = mixed([one.column for one in found])
    drawn = []
    for one in found:
        medians = tuple((float(n), each.estimate) for n in one.cell.ns if (each := one.at(n)))
        if not medians:
            continue
        rows = one.column.rows[one.column.rows["phase"].isin([str(n) for n in one.cell.ns])]
        points = tuple(zip(rows["phase"].map(float), rows["value"], strict=True))
        n, last_s = medians[-1]
        drawn.append(one.line(points, medians, f"{n:g}: {seconds(last_s)}", mixed=both))
    if not drawn:
        raise absent("copy that was started")
    picture = log_lines(
        "Until all N copies are there",
        drawn,
        x_label="copies let go at once, N",
        x_ticks=MANY,
        what="Seconds from the common start to the last copy’s first byte",
        caption=caption(view, [_five(one.column, phase=str(WANTED)) for one in found]),
    )
    said: dict[str, str | bool | int] = {"most": MANY[-1], "range": "", "overlap": False}
    if ready := _ready_made(view):
        above, below = ready
        times = above.over(below)
        said["range"] = times.ends(ratio, " to ") if times and times.known else ""
        least, most = max(min(above.values), min(below.values)), max(above.values)
        said["overlap"] = least <= min(most, max(below.values))
    return replace(picture, placeholders=said)


@explained.figure("memory")
def memory(view: View) -> Picture:
    """Memory of all N copies together, against N, with a line through each cell's ramps."""
    found = cells(view, PSS, phase="ramp")
    if not found:
        raise absent("memory of copies")
    both = mixed([one.column for one in found])
    drawn = []
    for one in found:
        points = tuple(zip(one.column.rows["rep"].map(float), one.column.values, strict=True))
        fit: Points = ()
        if ramp := _ramp(one.column):
            fit = tuple((n, ramp[1] + ramp[0] * n) for n in (min(points)[0], max(points)[0]))
        drawn.append(one.line(points, fit, size(ramp[0]) if ramp else "", mixed=both))
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


def _ramp(column: Column) -> tuple[float, float] | None:
    """Bytes that one more copy costs, and those without any; ``None`` without two different N."""
    fitted = fitted_ramps(column.rows).values()
    if not fitted:
        return None
    return median(line.slope for line in fitted), median(line.intercept for line in fitted)


@explained.table("cells", lacking="copy that was started")
def table(view: View) -> Iterator[Row]:
    """One row a cell: what five at once took, and what one more costs."""
    weighed = {one.cell: one for one in cells(view, PSS, phase="ramp")}
    worked = {one.cell: one for one in cells(view, CPU)}
    for one in cells(view, WALL):
        wall, more = one.at(WANTED), weighed.get(one.cell)
        ramp = _ramp(more.column) if more else None
        work = worked[one.cell].at(WANTED) if one.cell in worked else None
        yield {
            "copy": one.column.label(mixed=False),
            f"{WANTED} at once": seconds(wall.estimate) if wall else "–",
            f"processor, each of {WANTED}": seconds(work.estimate) if work else "–",
            "memory, one more": size(ramp[0]) if ramp else "–",
        }


@explained.values("cells", "table")
def _cells_values(view: View) -> Values:
    """``alike``: at every N, cold and pre-created containers differ by less than rounds do."""
    both = [one.column for one in cells(view, WALL) if one.cell.series == CELLS[0].series]
    alike = len(both) == 2
    for n in MANY if alike else ():
        cold, ready = (column.where(phase=str(n)).values for column in both)
        if not cold or not ready:
            continue
        spread = max(max(values) - min(values) for values in (cold, ready))
        alike = alike and abs(median(cold) - median(ready)) < spread
    return {"alike": alike}


@explained.table("every_n", lacking="copy that was started")
def every_n(view: View) -> Iterator[Row]:
    """One row a cell and N: the median, with n and provenance."""
    for one in cells(view, WALL):
        for n in one.cell.ns:
            if found := one.at(n):
                yield {
                    "copy": one.column.label(mixed=False),
                    "N": str(n),
                    "until all are there": f"{seconds(found.estimate)} ({found.words(seconds)})",
                    "runs": str(found.n),
                    "provenance": one.column.provenance,
                }


@explained.values("every_n", "table")
def _every_n_values(view: View) -> Values:
    """``most``: of each cell the most copies per second, and at which N that was."""
    told = []
    for one in cells(view, WALL):
        rates = [(n / found.estimate, n) for n in one.cell.ns if (found := one.at(n))]
        if rates:
            rate, n = max(rates)
            told.append(f"{rate:.3g} at N = {n} ({one.column.name})")
    return {"most": ", ".join(told)}


@dataclass(frozen=True, slots=True)
class Busy:
    """How much of all cores' time the largest N of cold containers was counted to use.

    Of pre-created ones the count has their creation, too, which is not within their time.
    """

    cores: int
    work_s: float
    wall_s: float

    @property
    def percent(self) -> float:
        return 100 * MANY[-1] * self.work_s / (self.cores * self.wall_s)


def _busy(view: View) -> Busy | None:
    cold = CELLS[0]
    works, walls = ([one for one in cells(view, m) if one.cell == cold] for m in (CPU, WALL))
    if not works or not walls:
        return None
    work, took = works[0].at(MANY[-1]), walls[0].at(MANY[-1])
    hosts = [s.host for s in view.sources if s.run_id == works[0].column.run_id]
    cores = hosts[0].get("cores") if hosts else None
    return Busy(int(cores), work.estimate, took.estimate) if work and took and cores else None


@explained.whatif("many")
def many(view: View) -> WhatIf:
    """Hosts needed for N copies: by memory, and so that all are there within a minute."""
    room_bytes, core_s = HOST_GIB * 1024 * MIB, HOST_CORES * HURRY_S
    ramps = [(one, _ramp(one.column)) for one in cells(view, PSS, phase="ramp")]
    held = {one.cell: (one.column, r[0] / room_bytes) for one, r in ramps if r and r[0] > 0}
    works = [(one, one.at(WANTED)) for one in cells(view, CPU)]
    started = {one.cell: (one.column, w.estimate / core_s) for one, w in works if w}
    if not held or not started:
        raise absent("copy whose memory and work are known")
    both = mixed([column for column, _ in held.values()])

    def dots(n: float, hosts: Mapping[Cell, tuple[Column, float]]) -> list[Dot]:
        return [
            Dot(cell.series, column.label(mixed=both), needed, f"{needed:,}", hollow=ready)
            for cell, (column, each) in hosts.items()
            for needed, ready in [(math.ceil(n * each), cell.start is not Start.COLD)]
        ]

    def panels(n: float) -> Panels:
        return {
            f"Hosts of {HOST_GIB} GiB that hold them, by memory alone": dots(n, held),
            f"Hosts of {HOST_CORES} cores that start them in {HURRY_S} s": dots(n, started),
        }

    emulated = any(column.emulated for column, _ in started.values())
    counted = _busy(view)
    idle = counted is not None and counted.percent < FULL
    first = [
        column.name
        for cell, (column, each) in held.items()
        if cell in started and each > started[cell][1]
    ]
    return sliding_dots(
        panels,
        COPIES,
        start=COPIES[-3],  # memory and starts ask for different numbers of hosts there
        said="{:g} copies.",
        placeholders={
            "n": MANY[-1], "measured_on": counted.cores if counted else 0,
            "busy": f"{counted.percent:.0f} %" if counted and idle else "",
            "source": view.caption(), "emulated": emulated, "first": ", ".join(first) or "none",
            "gib": str(HOST_GIB), "cores": str(HOST_CORES), "hurry": str(HURRY_S),
        },
    )  # fmt: skip


@explained.outcome("pre_created_s", Platform.CONTAINER)
def _pre_created_s(view: View) -> float | None:
    try:
        return _wall_s(view, MANY[-1])
    except Unavailable:
        return None


@explained.outcome("clones_over_pre_created", Platform.CONTAINER, Platform.VM_DIRECT)
def _clones_over_pre_created(view: View) -> float | None:
    both = _ready_made(view)
    times = both[0].over(both[1]) if both else None
    return times.estimate if times else None


def _ready_made(view: View) -> tuple[Column, Column] | None:
    """Times at the largest N, of clones and of pre-created containers; both have rows."""
    found = {one.cell.start: one.column.where(phase=str(MANY[-1])) for one in cells(view, WALL)}
    above, below = found.get(Start.CLONE), found.get(Start.PRE_CREATED)
    return (above, below) if above and below and above.n and below.n else None


@explained.check("per_second", unit="per second", within=0.05)
def per_second(view: View) -> float:
    """Pre-created containers a second, when the largest N is let go at once."""
    return MANY[-1] / _wall_s(view, MANY[-1])


@explained.values("per_second")
def _per_second(view: View) -> Values:
    alone_s, counted = _wall_s(view, 1), _busy(view)
    busy = counted or Busy(1, 0.0, 1.0)
    return {
        "n": MANY[-1], "wall": seconds(_wall_s(view, MANY[-1])), "rate": f"{per_second(view):.3g}",
        "wall_of_one": seconds(alone_s), "rate_of_one": f"{1 / alone_s:.3g}",
        "counted": counted is not None, "measured_on": busy.cores, "wanted": WANTED,
        "work": seconds(busy.work_s), "used": seconds(MANY[-1] * busy.work_s),
        "cold_wall": seconds(busy.wall_s), "busy": f"{busy.percent:.0f} %",
        "full": busy.percent >= FULL, "idle": counted is not None and busy.percent < FULL,
    }  # fmt: skip


def _wall_s(view: View, n: int) -> float:
    """Seconds until ``n`` pre-created containers are there."""
    for one in cells(view, WALL):
        if one.cell.start is Start.PRE_CREATED and (found := one.at(n)):
            return found.estimate
    raise Unavailable(f"{n} pre-created containers at once were not measured", "replay a recording")


READY_MADE = tuple(cell for cell in CELLS if cell.start is not Start.COLD)


def run(launchers: Mapping[Platform, Launcher], options: Mapping[str, Any]) -> list[Row]:
    """Start five of each, end two, start what is missing. Raises what ``Launcher.open`` raises."""
    if options:
        raise UnknownName("option", next(iter(options)), [])
    rows = []
    for cell in READY_MADE:
        if (launcher := launchers.get(cell.series.platform)) is not None:
            with Copies(launcher, cell.spec) as made:
                made.add(WANTED)
                healed_s = made.heal(KILLED)
            emulated = launcher.traits(cell.spec).emulated
            kind = f"{MEASURED}, {EMULATION}" if emulated else MEASURED
            rows.append(_row(cell, healed_s, kind))
    return rows


def replay(view: View) -> list[Row]:
    """The same from a recording. Raises ``Unavailable`` where there is none."""
    healed = [one for one in cells(view, "heal_s") if one.cell in READY_MADE]
    if not healed:
        raise Unavailable("no replacing of copies is recorded", "install Docker, and run this cell")
    return [_row(one.cell, one.column.median.estimate, one.column.provenance) for one in healed]


def _row(cell: Cell, after_s: float, kind: str) -> Row:
    return {
        "copy": "container, new ones created" if cell.start is Start.PRE_CREATED else cell.label,
        "ended": f"{KILLED} of {WANTED}",
        "all there again after": seconds(after_s),
        "provenance": kind,
    }


explained.demo("five", Demo((Platform.CONTAINER,), run, replay, optional=(Platform.VM_DIRECT,)))
