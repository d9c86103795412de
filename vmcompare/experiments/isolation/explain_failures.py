"""Lesson 05b, explained: kernel panics, noisy neighbours, and published weaknesses.

Every function of a view raises ``Unavailable`` where its rows are not there.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from statistics import mean, median
from typing import TYPE_CHECKING, NamedTuple

from vmcompare.errors import Unavailable
from vmcompare.evidence.published import Weakness, load_weaknesses
from vmcompare.evidence.units import MIB, ratio, seconds, size
from vmcompare.evidence.view import View, absent
from vmcompare.experiments.explanation import Explanation, Row, Values
from vmcompare.experiments.isolation import heartbeats, kernel_panic
from vmcompare.experiments.isolation.disk_writer import WRITE_BUSY, WRITE_QUIET
from vmcompare.experiments.isolation.guest_containers import RUNTIME
from vmcompare.experiments.isolation.kernel_panic import (
    DEFAULT_ASKS,
    EVENT,
    FAULTY_PANICS,
    PRIVILEGED_ASKS,
)
from vmcompare.experiments.isolation.noisy_neighbour import (
    BURN_CPUS,
    BURNER,
    FORKS,
    LIMITS,
    MEMORY,
    MOST_FORKS,
    UNLIMITED,
    WITH,
    WITHOUT,
    WORK_BURNER,
    WORK_QUIET,
)
from vmcompare.plots import marks, style
from vmcompare.plots.picture import MODELLED, Picture, WhatIf
from vmcompare.sandbox import Platform, Series

if TYPE_CHECKING:
    from matplotlib.axes import Axes


explained = Explanation[View]()


def _said(source: str) -> str:
    return "the VM of A and B" if source == kernel_panic.THEIRS else source


# ---- heartbeats ----------------------------------------------------------------------------------

_ASKED = {
    FAULTY_PANICS: "the faulty VM asks its kernel to panic",
    DEFAULT_ASKS: "container A asks its kernel to panic",
    PRIVILEGED_ASKS: "a privileged container asks its kernel to panic",
}


class PanicEvent(NamedTuple):
    """What happened in which second of the axis: its phase, in words, or why it could not."""

    second: int
    phase: str
    text: str
    failed: bool

    @property
    def name(self) -> str:
        return _ASKED.get(self.phase, self.phase.removeprefix(EVENT))


class Beats(NamedTuple):
    """All heartbeats of one run: whose → second → longest gap that ended in it, or time since the
    last beat (s); and what happened, in order."""

    gaps: Mapping[str, Mapping[int, float]]
    events: Sequence[PanicEvent]

    def second(self, phase: str) -> int:
        """When the event of that phase happened; raises ``Unavailable``."""
        for event in self.events:
            if event.phase == phase and not event.failed:
                return event.second
        raise absent("run with both panics")

    def misses(self, source: str, phase: str) -> bool:
        """Whether it missed a beat from an event on; raises ``Unavailable``."""
        return heartbeats.misses(self.gaps.get(source, {}), self.second(phase))


def beats(view: View) -> Beats:
    """The heartbeats of the first run that holds those of VMs; else of any run.

    Raises ``Unavailable``: none was listened to.
    """
    heard = view.need("gap_s", "heartbeat")
    of_vms = [
        column
        for source in (kernel_panic.SIBLING, kernel_panic.THEIRS)
        for column in view.columns("gap_s", phase=source)
    ]
    run = (of_vms or heard)[0].run_id
    frame = view.frame
    told = frame[(frame["run_id"] == run) & frame["phase"].astype(str).str.startswith(EVENT)]
    events = [
        PanicEvent(
            int(row["rep"]), row["phase"], row["text"] or row["error"], row["status"] != "ok"
        )
        for row in told.to_dict("records")
    ]
    gaps = {
        source: column.medians("rep")
        for source in kernel_panic.SOURCES
        for column in view.columns("gap_s", phase=source, run_id=run)
    }
    return Beats(gaps, sorted(events))


_LOW_S, _HIGH_S = 0.03, 3.0
_WORD = 0.055  # half the width of "silent", as a share of the axis


@explained.figure("heartbeats")
@style.own()
def heartbeats_figure(view: View) -> Picture:
    """The longest gap in every second, for each heartbeat; where it stopped, a hatched silence."""
    found = beats(view)
    last = max(second for gaps in found.gaps.values() for second in gaps)
    rows = len(found.gaps)
    key = ["bar: longest gap between two beats that ended in this second"]
    key += [f"{n}  {e.name} → {e.text}" for n, e in enumerate(found.events, start=1)]
    key_in = 0.2 * (len(key) + 1)
    figure = style.figure(0.58 * rows + 0.45 + key_in)
    grid = figure.subplots(rows + 1, 1, height_ratios=[0.58] * rows + [key_in], squeeze=False)[:, 0]
    told = ["Heartbeats on one time axis, the longest gap in every second."]
    told += [f"Second {event.second}: {event.name}, {event.text}." for event in found.events]
    for axes, source in zip(grid, found.gaps, strict=False):
        told.append(_strip(axes, found, source, last))
        if axes is not grid[rows - 1]:
            axes.tick_params(axis="x", labelbottom=False, length=0)
    grid[rows - 1].set_xlabel("seconds on the host’s clock", fontsize=style.SMALL_PT)
    for number, event in enumerate(found.events, start=1):
        for axes in grid[:rows]:
            axes.axvline(event.second, color="black", linewidth=1, linestyle="--")
        grid[0].text(
            event.second, 1.04, str(number), transform=grid[0].get_xaxis_transform(),
            ha="center", va="bottom", fontsize=style.SMALL_PT, fontweight="bold",
        )  # fmt: skip
    grid[rows].axis("off")
    grid[rows].set_ylim(-len(key) + 0.4, 0.6)
    for number, said in enumerate(key):
        short = said if len(said) < 80 else said[:78] + "…"
        grid[rows].text(0, -number, short, va="center", fontsize=style.LEAST_PT, in_layout=False)
    failed = "; ".join(f"{e.name} ({e.text})" for e in found.events if e.failed)
    return Picture(figure, " ".join(told), view.caption(), {"failed": failed})


def _strip(axes: Axes, found: Beats, source: str, last: int) -> str:
    """Draw one heartbeat, and say it in words."""
    colour = style.look(Series(kernel_panic.SOURCES[source].platform)).colour
    events = [event.second for event in found.events]
    silent = sorted(heartbeats.silent_seconds(found.gaps[source], events))
    alive = {second: gap for second, gap in found.gaps[source].items() if second not in silent}
    axes.set_yscale("log")
    axes.set_ylim(_LOW_S, _HIGH_S)
    axes.vlines([s + 0.5 for s in alive], _LOW_S, list(alive.values()), color=colour, linewidth=2)
    ends = [s for s in silent if s + 1 not in silent]
    stretches = list(zip([s for s in silent if s - 1 not in silent], ends, strict=True))
    for begin, end in stretches:
        axes.axvspan(begin, end + 1, facecolor=style.SOFT, edgecolor="#8A8A8A", hatch="xxx", lw=0)
        axes.text(
            min((begin + end + 1) / 2, last + 1 - _WORD * (last + 1)), 0.3, "silent",
            ha="center", va="center",
            fontsize=style.SMALL_PT, fontweight="bold", bbox=style.PLATE,
        )  # fmt: skip
    axes.set_xlim(0, last + 1)
    axes.set_yticks([0.05, 1.0], ["50 ms", "1 s"])
    axes.minorticks_off()
    axes.axhline(1.0, color=style.RULE, linewidth=0.6, zorder=0)
    axes.text(
        0.005, 0.93, _said(source), transform=axes.transAxes, va="top",
        fontsize=style.SMALL_PT, fontweight="bold", bbox=style.PLATE,
    )  # fmt: skip
    style.plain(axes)
    axes.tick_params(axis="y", labelsize=style.LEAST_PT)
    words = f"gaps up to {seconds(max(alive.values()))}" if alive else "never heard"
    words += "".join(f", silent from second {begin} on" for begin, _ in stretches[:1])
    return f"{_said(source)}: {words}."


@explained.outcome("sibling_gap_s", Platform.VM_DIRECT)
def sibling_gap_s(view: View) -> float | None:
    """The sibling VM's longest gap from the privileged container's panic on."""
    try:
        found = beats(view)
        panic = found.second(PRIVILEGED_ASKS)
    except Unavailable:
        return None
    gaps = found.gaps.get(kernel_panic.SIBLING, {})
    return max((gap for second, gap in gaps.items() if second >= panic), default=None)


@explained.outcome("silent")
def silent(view: View) -> float | None:
    """How many heartbeats fell silent with the privileged container's panic."""
    listened = [source for source in kernel_panic.SOURCES if source != kernel_panic.FAULTY]
    try:
        found = beats(view)
        return float(sum(found.misses(source, PRIVILEGED_ASKS) for source in listened))
    except Unavailable:
        return None


# ---- blast radius, modelled ----------------------------------------------------------------------

TENANTS = 24
KERNELS = (1, 2, 3, 4, 6, 8, 12, 24)


@explained.whatif("blast")
def blast(view: View) -> WhatIf:
    """24 tenants, spread evenly over k kernels: how many one panic stops."""
    found = beats(view)
    on = mean(found.misses(one, PRIVILEGED_ASKS) for one in (kernel_panic.A, kernel_panic.B))
    beside = float(found.misses(kernel_panic.SIBLING, FAULTY_PANICS))

    @style.own()
    def draw(k: float) -> Picture:
        kernels, each = int(k), TENANTS // int(k)
        stopped = on * each + beside * (TENANTS - each)
        figure = style.figure(2.4)
        axes = figure.subplots()
        _kernels(axes, each, [round(on * each), *[round(beside * each)] * (kernels - 1)])
        many = f"{kernels} kernel{'s' * (kernels > 1)}"
        said = f"{many}: one panic stops {stopped:g} of {TENANTS} tenants"
        axes.set_title(said, fontsize=style.SMALL_PT, loc="left", fontweight="bold")
        return Picture(figure, f"{said}. {MODELLED}")

    return WhatIf(
        values=tuple(map(float, KERNELS)),
        start=0,
        draw=draw,
        placeholders={"on": float(on), "beside": float(beside), "source": view.caption()},
    )


def _kernels(axes: Axes, each: int, stopped: Sequence[int]) -> None:
    """A frame for each kernel, the first of which panics; of its tenants so many stop."""
    from matplotlib.patches import Rectangle

    place = 0.0
    for kernel, fell in enumerate(stopped):
        edge, width = (style.VERMILLION, 3.0) if kernel == 0 else (style.GREY, 1.0)
        frame = Rectangle((place - 0.1, -0.25), each, 1.4, fill=False, ec=edge, lw=width)
        axes.add_patch(frame)
        for tenant in range(each):
            box = Rectangle((place + tenant, 0), 0.8, 0.9, facecolor=style.BLUE)
            if tenant < fell:
                box.set(facecolor=style.SOFT, edgecolor=style.GREY, hatch="xxx")
            axes.add_patch(box)
        place += each + 0.5
    axes.set_xlim(-0.3, place)
    axes.set_ylim(-0.9, 1.3)
    words = "frame: one kernel, thick: it panics · box: one tenant, hatched: it stops"
    axes.text(0, -0.6, words, va="center", fontsize=style.LEAST_PT)
    axes.axis("off")


# ---- a noisy neighbour ---------------------------------------------------------------------------

WRITER = "disk writer"
_BURNS, _WRITES = (WORK_QUIET, WORK_BURNER), (WRITE_QUIET, WRITE_BUSY)
_FELT = (
    (f"{BURNER} · container, no limit", Platform.CONTAINER, WITHOUT, *_BURNS),
    (f"{BURNER} · container, --cpus={BURN_CPUS}", Platform.CONTAINER, WITH, *_BURNS),
    (f"{BURNER} · VM beside VM", Platform.VM_DIRECT, "", *_BURNS),
    (f"{WRITER} · container, no limit", Platform.CONTAINER, "", *_WRITES),
    (f"{WRITER} · VM beside VM", Platform.VM_DIRECT, "", *_WRITES),
)
"""In words; platform and confinement of who takes much, and the neighbour's phases beside a quiet
program and beside that one."""


@explained.figure("noisy")
@style.own()
def noisy_neighbour_figure(view: View) -> Picture:
    """How many times as long a neighbour takes, beside each program; a mark a round."""
    rows, writers = [], {}
    for label, platform, held, calm, busy in _FELT:
        for column in view.columns("duration_s", platform=str(platform), confinement=held)[:1]:
            loud, quiet = column.where(phase=busy), column.where(phase=calm)
            times = loud.over(quiet) if loud.n and quiet.n else None
            if times:
                below, look = quiet.blocks(), style.look(column.series)
                points = [
                    median(values) / median(below[block])
                    for block, values in loud.blocks().items()
                    if block in below
                ]
                value = times.estimate
                rows.append(marks.Row(label, ratio(value), look, value, points=points))
                if busy == WRITE_BUSY:
                    writers[platform] = column.emulated
    if not rows:
        raise absent("neighbour that was disturbed")
    figure = style.figure(marks.TALL_IN * len(rows) + 0.8)
    axes = figure.subplots()
    marks.draw(axes, rows)
    points = [point for row in rows for point in row.points]
    axes.set_xscale("log")
    low, high = min(0.8, *points) * 0.95, max(2.5, *points) * 1.1
    axes.set_xlim(low, high)
    ticks = [n for n in (0.1, 0.2, 0.5, 1, 1.5, 2, 5, 10, 20, 50, 100) if low < n < high]
    axes.set_xticks(ticks, [f"{n:g}×" for n in ticks])
    axes.minorticks_off()
    axes.axvline(1, color=style.GREY, linewidth=1, linestyle="--", zorder=0)
    axes.set_xlabel(
        "times as long as beside a quiet program (logarithmic; dashed: as long)",
        fontsize=style.SMALL_PT,
    )
    said = "; ".join(f"{row.label.replace(' · ', ', ')}: {row.text}" for row in rows)
    loads = [
        f"{load:.1f} on {cores} processors"
        for host in (source.host for source in view.sources)
        if (load := host.get("load_1min") or 0) > (cores := host.get("cores") or math.inf)
    ]
    values: Values = {
        "busy": "; ".join(loads),
        "writes": bool(writers),
        "slow_writes": len(set(writers.values())) > 1,
        "cpus": BURN_CPUS,
        "expected": ratio(1 / (1 - BURN_CPUS)),
    }
    alt = f"How many times as long a neighbour takes. {said}."
    return Picture(figure, alt, view.caption(), values)


_LIMITED = (
    ("container in a VM, no limit", Platform.CONTAINER, WITHOUT, True),
    ("container in a VM, limited", Platform.CONTAINER, WITH, True),
    ("Docker’s container, limited", Platform.CONTAINER, WITH, False),
    ("VM, direct boot", Platform.VM_DIRECT, "", False),
    ("VM, full", Platform.VM, "", False),
)
"""In words; platform, confinement, and whether it is a container of the disposable VM."""


_ASKED_BYTES = math.prod(UNLIMITED) * MIB
"""What the memory hog without a limit asks for."""


@explained.table("limits", "program that asked for more than its limit")
def limits_table(view: View) -> Iterator[Row]:
    """What programs that ask for more than their limit got, at most."""
    rows = view.values()
    held_by = rows["confinement"].fillna("")
    for who, platform, held, nested in _LIMITED:
        mine = rows[(rows["platform"] == platform) & (held_by == held)
                    & ((rows["runtime"] == RUNTIME) == nested)]  # fmt: skip
        asked, forks = mine[mine["phase"] == MEMORY], mine[mine["phase"] == FORKS]
        ratios = asked[asked["metric"] == "guest_ram_to_limit_ratio"]
        peaks = asked[asked["metric"] == "cgroup_bytes"]
        count = forks[forks["metric"] == "item_count"]["value"].max()
        if ratios.empty and peaks.empty:
            continue
        limit = MIB * float((peaks if ratios.empty else ratios)["mem_limit_mib"].iloc[0])
        got = peaks["value"].max() if ratios.empty else limit * ratios["value"].max()
        full = ", then its VM was full" if held == WITHOUT and got < _ASKED_BYTES else ""
        may_start = f"{LIMITS.pids}" if nested and held == WITH else "no limit set"
        yield {
            "program in": who,
            "memory it may take": f"that of its VM, {size(limit)}"
            if held == WITHOUT
            else size(limit),
            "memory it got": f"{size(got)}{full}",
            "processes it may start": "not measured" if math.isnan(count) else may_start,
            "processes it got": "–" if math.isnan(count) else f"{count:.0f}",
        }


@explained.values("limits", "table")
def limits_values(_: View) -> Values:
    """What the memory hog without a limit asks for, and how many processes the fork loop starts."""
    forks = {"forks": MOST_FORKS, "with_loop": MOST_FORKS + 1}
    limit = {"pids": LIMITS.pids, "left": LIMITS.pids - 1}
    return forks | limit | {"asks": size(_ASKED_BYTES)}


# ---- weaknesses made public ----------------------------------------------------------------------

WEAK = {
    "container": "container tools",
    "kernel": "the kernel that containers share",
    "vm": "hypervisors, and what a guest reaches",
}
"""Kind → in words."""

IN_CLASS = (
    "CVE-2019-5736", "CVE-2024-21626", "CVE-2022-0185", "CVE-2022-0847", "CVE-2015-3456",
    "CVE-2025-22224",
)  # fmt: skip
"""Two of each kind that are well known or were used in attacks."""


def weaknesses() -> list[Weakness]:
    """The lines that were checked, by kind and date."""
    checked = [weakness for weakness in load_weaknesses() if weakness.checked]
    return sorted(checked, key=lambda one: (list(WEAK).index(one.kind), one.published))


@explained.table("cves")
def weaknesses_table(_view: View) -> Iterator[Row]:
    """Those of :data:`IN_CLASS`."""
    for one in weaknesses():
        if one.cve in IN_CLASS:
            yield _weakness(one, one.name)


@explained.table("all_cves")
def all_weaknesses_table(_view: View) -> Iterator[Row]:
    """Every checked weakness, with its score as its record has it."""
    for one in weaknesses():
        yield _weakness(one, one.component) | {"score (CVSS version)": one.cvss or "none"}


def _weakness(one: Weakness, what: str) -> dict[str, str]:
    return {
        "vulnerability": f"[{one.cve}]({one.url})",
        "record published": one.published,
        "what, in a sentence": f"{what}: {one.summary}",
        "where": WEAK[one.kind],
    }


@explained.values("all_cves", "table")
def weaknesses_left_out(_view: View) -> Values:
    """How many known lines are left out, because their record was not read."""
    return {"unchecked": len(load_weaknesses()) - len(weaknesses())}
