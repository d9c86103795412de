"""Memory of instances, explained: what the lesson draws, tabulates and models from its rows.

Every function raises ``Unavailable`` where its rows are not there; an outcome is then ``None``.
All sizes leave the translator's code cache out unless they say otherwise.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from vmcompare.errors import Unavailable
from vmcompare.evidence.claims import RAMPS_WANTED
from vmcompare.evidence.published import load_figures
from vmcompare.evidence.statistics import INTERVAL_FROM, Interval, median_interval
from vmcompare.evidence.units import MIB, size
from vmcompare.evidence.view import NEXT, Column, View, absent, failures, mixed, of_series
from vmcompare.experiments.explanation import Explanation, Row
from vmcompare.experiments.guest_os import fits
from vmcompare.experiments.guest_os.fits import GIB, Fit, crossover, crossover_words, need_fits
from vmcompare.experiments.guest_os.instance import (
    CODE_CACHE,
    FILES,
    KERNEL_THREADS,
    PARTS,
    PROCESSES,
    SHIM,
    WORKLOAD,
)
from vmcompare.plots.dots import Dot, Panels, sliding_dots
from vmcompare.plots.lines import Line, LinePanel, lines
from vmcompare.plots.picture import Picture, Placeholders, WhatIf
from vmcompare.plots.stack import Whole, stack
from vmcompare.sandbox import EMULATION, Machine, Platform, Series

PSS, OVERHEAD, PART = "pss_bytes", "overhead_bytes", "part_bytes"
ROOM_GIB = (1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 20, 24, 32, 40, 48, 64, 96, 128, 192, 256)
DAEMONS_MIB = tuple(range(0, 301, 15))
_LAST_N = 20
_ZERO_WIDTH_SPACE = "\u200b"

explained = Explanation[View]()

explained.figure("ramps")(lambda view: _ramps(view, PSS, "All instances together"))
explained.figure("managing")(lambda view: _ramps(view, OVERHEAD, "Shims and daemons, or emulators"))


def _ramps(view: View, metric: str, title: str) -> Picture:
    """Memory on the host against the number of instances, with the daemons and without."""
    weighed = view.need(metric, "ramp of instances", phase="ramp")
    found = fits.fits(view, metric)
    both = mixed(weighed)
    lines_of = {
        column.key: _line(column, fits.of_column(found, column), mixed=both) for column in weighed
    }
    drawn = list(lines_of.values())
    containers = [lines_of[c.key] for c in weighed if not c.series.platform.is_vm]
    marks: dict[str, float] = {}
    base = fits.container(found)
    held = fits.daemons_bytes(view, base.column.run_id) if base else {}
    before = held.get(0)
    if base is not None and before is not None:
        last = float(base.column.rows["rep"].max())
        drawn.insert(
            drawn.index(lines_of[base.column.key]) + 1,
            Line(
                base.series,
                base.column.label(mixed=both).replace("container", "container and daemons", 1),
                drawn=((0.0, before + base.fixed), (last, before + base.at(last))),
                note=f"+ {size(before)}",
                dashed=True,
            ),
        )
        vms = fits.vms(found, base.column.run_id)
        marks = _marks("daemons paid back against", before, base, vms)
    panels = [LinePanel(f"{title}, in MiB (bold: one more)", drawn, marks)]
    if containers and len(containers) < len(drawn):
        panels.append(LinePanel("The containers alone, without daemons", containers, key=False))
    last_n = max(int(column.rows["rep"].max()) for column in weighed)
    most = max(held, default=0)
    picture = lines(
        panels,
        x_label="instances at the same time, N",
        x_ticks=tuple(range(0, last_n + 1, 2 if last_n > 5 else 1)),
        what="Memory against the number of instances, with a line a + b·N for each series",
        caption=_caption(view, view.columns(PSS, phase="ramp", failed_too=True)),
    )
    said: Placeholders = {
        "before": "" if before is None else size(before),
        "beside": size(held[most]) if held else "",
        "last": most,
    }
    return replace(picture, placeholders=said)


def _line(column: Column, fit: Fit | None, *, mixed: bool) -> Line:
    """Its points, with the line through them once two different N are weighed."""
    points, label = _points(column, "rep"), column.label(mixed=mixed)
    if fit is None:
        return Line(column.series, label, points)
    drawn = tuple((n, fit.at(n)) for n in (min(points)[0], max(points)[0]))
    return Line(column.series, label, points, drawn, size(fit.each.estimate))


def _marks(words: str, daemons: float, base: Fit, vms: Sequence[Fit]) -> dict[str, float]:
    """Where daemons of so many bytes are paid back, by words for the key."""
    return {
        f"{words} {vm.series.label} {crossover_words(daemons, base, vm)}": crossover(
            daemons, base, vm
        )
        for vm in vms
    }


@explained.figure("parts")
def parts(view: View) -> Picture:
    """One bar a series: what one instance is made of, at the largest N of each ramp."""
    weighed = {part: view.columns(PART, phase=part) for part in PARTS}
    found: list[tuple[Column, dict[str, float]]] = []
    for column in view.columns(PSS, phase="ramp", failed_too=True):
        same = {part: column.same_in(others) for part, others in weighed.items()}
        if of_one := {part: _per_instance(other) for part, other in same.items() if other}:
            found.append((column, of_one))
    if not found:
        raise absent("instance whose parts were weighed")
    columns = [column for column, _ in found]
    both = mixed(columns)
    picture = stack(
        [Whole(column.label(mixed=both), of_one) for column, of_one in found],
        what="Memory on the host for one instance, by what it is for",
        caption=_caption(view, columns),
    )
    cache = any(CODE_CACHE in of_one for _, of_one in found)
    return replace(picture, placeholders={"cache": cache})


def _per_instance(column: Column) -> float:
    """Median over the ramps of a total at its largest N, divided by that N."""
    each = []
    for _, ramp in column.rows.groupby("block"):
        last = ramp[ramp["rep"] == ramp["rep"].max()]
        each += [float(v) / float(n) for v, n in zip(last["value"], last["rep"], strict=True)]
    return median_interval(each).estimate


@explained.figure("sizes")
def sizes(view: View) -> Picture:
    """What a VM is given (``-m``) against what the host pays, young and old."""
    found = view.columns(PSS, phase="size")
    ages = {age: view.columns(PSS, phase=age) for age in ("fresh", "aged")}
    shown = [*found, *ages["fresh"], *ages["aged"]]
    if not shown:
        raise absent("virtual machine of several sizes")
    both = mixed(shown)
    drawn = [Line(None, "paid = given", drawn=((0, 0), (1024, 1024 * MIB)), dashed=True)]
    for column in found:
        points = _points(column, "mem_limit_mib")
        label = f"{column.label(mixed=both)}, fresh"
        drawn.append(Line(column.series, label, points, _medians(points)))
    for age, others in ages.items():
        for column in others:
            points = _points(column, "mem_limit_mib")
            label = f"{column.label(mixed=both)}, {age}"
            note = size(column.median.estimate)
            drawn.append(Line(column.series, label, points, note=note, hollow=age == "aged"))
    return lines(
        [LinePanel("MiB on the host for one VM", drawn)],
        x_label="memory given to the VM (-m), in MiB",
        x_ticks=(0, 128, 256, 512, 1024),
        what="What a virtual machine is given and what the host pays for it",
        caption=_caption(view, shown),
    )


@explained.figure("sharing")
def sharing(view: View) -> Picture:
    """PSS for each container against N: pages that containers share are divided among them."""
    panels: list[LinePanel] = []
    shown: list[Column] = []
    for part in (WORKLOAD, SHIM):
        found = view.columns(PART, phase=part)
        both = mixed(found)
        drawn = []
        for column in found:
            points = tuple((n, value / n) for n, value in _points(column, "rep"))
            medians = _medians(points)
            note = f"{size(medians[0][1])} → {size(medians[-1][1])}"
            drawn.append(Line(column.series, column.label(mixed=both), points, medians, note))
        if drawn:
            panels.append(LinePanel(f"MiB of {part} for each container", drawn))
            shown += found
    if not panels:
        raise absent("ramp of containers")
    return lines(
        panels,
        x_label="containers at the same time, N",
        x_ticks=(0, 2, 4, 6, 8, 10),
        what="Proportional memory of one container while others run beside it",
        caption=_caption(view, shown),
    )


@explained.table("ramps")
def ramps(view: View) -> Iterator[Row]:
    """One row a series: a and b of the ramps, with interval and ratio to the container."""
    found = need_fits(view, PSS)
    base = fits.container(found)
    tried = view.columns(PSS, phase="ramp", failed_too=True)
    both = mixed(tried)
    for column in tried:
        fit = fits.of_column(found, column)
        if not fit and column.n:
            continue  # no line goes through a single N
        times = "–"
        if fit and base and base.column.run_id == column.run_id and base.each.estimate > 0:
            times = f"{fit.each.estimate / base.each.estimate:.3g}"
        yield {
            "series": column.label(mixed=both),
            "ramps": str(fit.ramps) if fit else f"every ramp failed ({column.failed} times)",
            "fixed, a": size(fit.fixed) if fit else "–",
            "each, b": f"{size(fit.each.estimate)}{_span(fit.each)}" if fit else "–",
            "b ÷ container’s": times,
            "b with code cache": size(fits.with_code_cache(view, fit)) if fit else "–",
        }


@explained.table("counting")
def counting(view: View) -> Iterator[Row]:
    """One row a series: b by three ways of counting, all of them with the code cache.

    What is left on the host is moved by every other program, too: its interval stands beside it.
    """
    for fit in need_fits(view, PSS):
        group = fits.of_column(fits.fits(view, "cgroup_bytes"), fit.column)
        less = fits.of_column(fits.fits(view, "host_delta_bytes"), fit.column)
        yield {
            "series": fit.series.label,
            "its processes (PSS, with code cache)": size(fits.with_code_cache(view, fit)),
            "its control group": size(group.each.estimate) if group else "–",
            "less left on the host": against_noise(less.each) if less else "–",
            "provenance": fit.column.provenance,
        }


def against_noise(each: Interval) -> str:
    """A figure that noise may have made, with what there is to tell: no instance costs less than
    nothing, so an interval that goes below zero shows noise."""
    words = f"{size(each.estimate)}{_span(each)}".replace("-", "−")
    if not each.known:
        return f"{words} (one ramp: noise not known)"
    return f"{words}: not told from noise" if each.low <= 0 else words


@explained.table("inside")
def inside(view: View) -> Iterator[Row]:
    """One row a series: what is there before the first application, and what it costs idle."""
    names = (KERNEL_THREADS, PROCESSES, FILES)
    counted = {name: view.columns("item_count", phase=name) for name in names}
    idle = view.columns("idle_cpu_ratio")
    shown = {column.key: column for found in (*counted.values(), idle) for column in found}
    if not shown:
        raise Unavailable("nothing was counted inside an instance", NEXT)
    for column in sorted(shown.values(), key=lambda one: one.series.order):
        busy = column.same_in(idle)
        count = {name: column.same_in(found) for name, found in counted.items()}
        yield {
            "series": column.series.label,
            **{name: f"{one.median.estimate:g}" if one else "–" for name, one in count.items()},
            "processor while idle": f"{busy.median.estimate * 100:.1f} %" if busy else "–",
            "provenance": column.provenance,
        }


@explained.table("literature")
def literature(view: View) -> Iterator[Row]:
    """This view's marginal costs above what others published; only figures that were checked."""
    need_fits(view, PSS)
    for metric, what in ((PSS, "one more"), (OVERHEAD, "managing one more")):
        for fit in fits.fits(view, metric):
            if fit.series.runtime and metric == OVERHEAD:
                continue  # next to nothing, and nobody published it
            rounds = "b of one ramp" if fit.ramps == 1 else f"b of {fit.ramps} ramps"
            yield {
                "what": fit.column.label(mixed=False),
                "figure": size(fit.each.estimate),
                "counted": f"PSS, {what}",
                "conditions": rounds + (", code cache left out" if fit.column.emulated else ""),
                "source": fit.column.shown,
            }
    for figure in load_figures():
        if figure.counted and figure.checked:
            source = f"literature: {figure.short}, {figure.year}"
            yield {
                "what": figure.system,
                "figure": f"{figure.value} {figure.unit}",
                "counted": figure.counted,
                "conditions": figure.conditions,
                # A long path may be broken there, so that the table fits a page.
                "source": source.replace("/", f"/{_ZERO_WIDTH_SPACE}"),
            }


@explained.whatif("how_many")
def how_many(view: View) -> WhatIf:
    """How many instances fit into a given amount of memory, beside the daemons they need."""
    found = [fit for fit in need_fits(view, PSS) if fit.each.estimate > 0]
    if not found:
        raise Unavailable(
            "no series costs more with every instance, so none runs out of memory",
            "run more ramps, or load a recording",
        )
    both = mixed([fit.column for fit in found])
    title = "Instances that fit"

    def dot(fit: Fit, room_gib: float) -> Dot:
        held = fits.daemons_bytes(view, fit.column.run_id) if fit.is_docker else {}
        count = fit.most(room_gib * GIB - held.get(0, 0.0))
        return Dot(fit.series, fit.column.label(mixed=both), count, f"{count:,}")

    def panels(room_gib: float) -> Panels:
        return {title: [dot(fit, room_gib) for fit in found]}

    most = max(dot.value for dot in panels(ROOM_GIB[-1])[title])
    return sliding_dots(
        panels,
        ROOM_GIB,
        start=8,
        said="{:g} GiB free.",
        placeholders={"source": view.caption(), "emulated": _emulated(found)},
        limits={title: (0.5, most * 3)},
    )


@explained.whatif("daemons")
def daemons(view: View) -> WhatIf:
    """When an engine's daemons are paid back, for daemons of any size: management alone."""
    found = need_fits(view, OVERHEAD)
    base = fits.container(found)
    others = fits.vms(found, base.column.run_id) if base else []
    if base is None or not others:
        raise Unavailable(
            "no run has ramps of both containers and virtual machines",
            "measure both in one run, or load a recording of it",
        )
    measured = fits.daemons_bytes(view, base.column.run_id).get(0)
    top = max(DAEMONS_MIB[-1] * MIB + base.at(_LAST_N), min(vm.at(_LAST_N) for vm in others))

    def line(fit: Fit, label: str, fixed: float = 0.0) -> Line:
        ends = tuple((n, fixed + fit.at(n)) for n in (0.0, float(_LAST_N)))
        return Line(fit.series, label, drawn=ends, note=f"{size(fixed + fit.at(1))} for one")

    def draw(daemons_mib: float) -> Picture:
        fixed = daemons_mib * MIB
        drawn = [line(base, "container, daemons included", fixed)]
        drawn += [line(vm, vm.column.label(mixed=False)) for vm in others]
        marks = _marks("paid back against", fixed, base, others)
        return lines(
            [LinePanel("Daemons and shims, or emulators, in MiB: modelled", drawn, marks, top=top)],
            x_label="instances at the same time, N",
            x_ticks=range(0, _LAST_N + 1, 5),
            what=f"Daemons of {daemons_mib:g} MiB",
            caption="",
        )

    near = (measured or 0.0) / MIB
    return WhatIf(
        values=tuple(float(value) for value in DAEMONS_MIB),
        start=min(range(len(DAEMONS_MIB)), key=lambda i: abs(DAEMONS_MIB[i] - near)),
        draw=draw,
        placeholders={
            "source": view.caption(),
            "daemons": "–" if measured is None else size(measured),
            "emulated": _emulated([base, *others]),
        },
    )


@explained.outcome("m512_mib", Platform.VM_DIRECT)
def _m512_mib(view: View) -> float | None:
    found = view.columns(PSS, phase="size", mem_limit_mib=512)
    column = of_series(found, Series(Platform.VM_DIRECT, Machine.PC))
    return column.median.estimate / MIB if column else None


@explained.outcome("container_mib", Platform.CONTAINER)
def _container_mib(view: View) -> float | None:
    fit = fits.container(fits.fits(view, PSS))
    return fit.each.estimate / MIB if fit else None


@explained.outcome("kernel_threads", Platform.VM)
def _kernel_threads(view: View) -> float | None:
    found = view.columns("item_count", phase=KERNEL_THREADS)
    column = of_series(found, Series(Platform.VM, Machine.Q35))
    return column.median.estimate if column else None


def _points(column: Column, x: str) -> tuple[tuple[float, float], ...]:
    """Values of the column ``x`` with those measured, in the order measured."""
    return tuple(zip(column.rows[x].map(float), column.values, strict=True))


def _medians(points: Sequence[tuple[float, float]]) -> tuple[tuple[float, float], ...]:
    xs = sorted({x for x, _ in points})
    return tuple((x, median_interval([v for at, v in points if at == x]).estimate) for x in xs)


def _span(interval: Interval) -> str:
    """The interval in brackets; nothing where one ramp gives none."""
    few = f"{interval.kind}: " if interval.n < INTERVAL_FROM else ""
    return f" [{few}{interval.ends(size)}]" if interval.known else ""


def _emulated(found: Sequence[Fit]) -> str:
    return ", ".join(fit.series.label for fit in found if fit.column.emulated)


def _caption(view: View, found: Sequence[Column]) -> str:
    """Provenance, what was emulated and what that means for a size, failures, few ramps."""
    there = [column for column in found if column.n]
    said = [f"{view.caption()}."] if view.sources else []
    emulated = dict.fromkeys(column.series.label for column in there if column.emulated)
    if emulated:
        said.append(
            f"Under {EMULATION}: {', '.join(emulated)}; the emulator then also holds tables of its "
            "translator, so these sizes are upper bounds."
        )
    if failed := failures(found):
        said.append(f"Failed, counted but not drawn: {failed}.")
    rounds = {column.series.label: column.rows["block"].nunique() for column in there}
    few = ", ".join(f"{name} {n}" for name, n in rounds.items() if n < RAMPS_WANTED)
    if few:
        said.append(f"Fewer than the {RAMPS_WANTED} rounds a verdict takes: {few}.")
    return " ".join(said)
