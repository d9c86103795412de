"""Boot speed, explained: what a lesson draws, tabulates and models from a view of its rows.

Rows: ``start_to_first_byte_s``, ``ready_s``, ``phase_s`` and ``pss_bytes`` of every series, and in
each block one ``gzip_s``, ``syscall_s`` and ``fork_s`` of ``process`` and of ``vm-direct`` on
``pc``. An emulated VM also has ``pss_with_code_cache_bytes``; older recordings have that alone.
Every function raises ``Unavailable`` where its rows are not there; an outcome is then ``None``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

from vmcompare.errors import Unavailable
from vmcompare.evidence.claims import EMULATION, NO_CODE_CACHE
from vmcompare.evidence.published import load_figures
from vmcompare.evidence.statistics import Interval
from vmcompare.evidence.units import MIB, seconds
from vmcompare.evidence.units import ratio as ratio_text
from vmcompare.evidence.view import View
from vmcompare.experiments.explanation import Explanation, Row
from vmcompare.plots.dots import Bar, bars
from vmcompare.plots.groups import Group, container, groups, mixed, need, ratio, warnings
from vmcompare.plots.lines import Curve, curves
from vmcompare.plots.picture import Picture, WhatIf
from vmcompare.plots.style import Series
from vmcompare.plots.times import medians, noise_sentence, phase_name, phases, ratios, strip
from vmcompare.sandbox import Machine, Platform

START = "start_to_first_byte_s"

_LITERATURE = (
    "boot_time", "boot_time_internal", "boot_time_end_to_end", "boot_time_tcg", "process_create",
    "start_time_docker_run", "start_time_macos", "start_to_workload",
)  # fmt: skip

_WORK: Mapping[str, str] = MappingProxyType(
    {"gzip_s": "gzip", "syscall_s": "a system call", "fork_s": "fork and exec"}
)


explained = Explanation[View]()

explained.figure("starts")(
    lambda view: strip(view, START, what="start", extra=(noise_sentence(groups(view, START)),))
)
explained.figure("phases")(phases)
explained.figure("noise")(lambda view: ratios(view, START, what="start"))


@explained.table("starts")
def starts(view: View) -> Iterator[Row]:
    """One row a series: runs, median, interval, ratio to the container, provenance."""
    found = need(view, START, "start")
    base = container(found)
    for group in found:
        median = group.median if len(group.rows) else None
        times = ratio(group, base) if base is not None and median is not None else None
        yield {
            "series": group.series.label,
            "n": str(len(group.rows)),
            "failed": str(group.failed),
            "median": seconds(median.estimate) if median else "–",
            "95 % interval": _span(median, seconds) if median else "–",
            "× container": "1" if group is base else _times(times),
            "provenance": group.provenance,
        }


@explained.table("phases")
def phases_by_share(view: View) -> Iterator[Row]:
    """One row a series and phase: median and share of all phases."""
    for group in need(view, "phase_s", "phase of a start"):
        if not len(group.rows):
            continue
        parts = medians(group)
        total = sum(parts.values())
        for phase, value in parts.items():
            yield {
                "series": group.series.label,
                "phase": phase_name(group, phase),
                "n": str(int((group.rows["phase"] == phase).sum())),
                "median": seconds(value),
                "share": f"{value / total:.0%}" if total else "–",
                "provenance": group.provenance,
            }


@explained.table("literature")
def literature(view: View) -> Iterator[Row]:
    """This view's medians above what others published about starts; never one in place of another.

    Only figures whose source was read are shown; what is merely recalled or quoted is left out.
    """
    for group in need(view, START, "start"):
        if len(group.rows):
            under = f", {EMULATION}" if group.emulated else ""
            yield {
                "what": group.series.label,
                "figure": f"{seconds(group.median.estimate)} (median, {group.count()})",
                "conditions": f"request to first byte{under}",
                "source": f"{group.shown}, run {group.run_id}",
            }
    for figure in load_figures():
        if figure.metric in _LITERATURE and figure.checked:
            yield {
                "what": figure.system,
                "figure": f"{figure.value} {figure.unit}",
                "conditions": figure.conditions,
                "source": f"literature: {figure.short}, {figure.year}",
            }


@explained.whatif("cold_starts")
def cold_starts(view: View) -> WhatIf:
    """Starting one for every request, against keeping one idle: waiting against memory.

    Memory is ``pss_bytes``, as in lesson 01. A series that was weighed only together with the
    translator's code cache has no memory here, and the caption says so.
    """
    starting = [group for group in need(view, START, "start") if len(group.rows)]
    idle = _of(starting, groups(view, "pss_bytes"))
    if not idle:
        raise Unavailable(
            "no series has both a start and its idle memory",
            "run the measurement on Linux, or load a recording",
        )
    rates = sorted({round(3600 ** (step / 20)) for step in range(21)})
    both = mixed(starting)
    waits = [group.median.estimate for group in starting]
    held = [memory.median.estimate / MIB for memory in idle]
    wait_title = "Start one for every request: seconds waited per hour"
    held_title = "Keep one idle instead: memory held for the hour"
    limits = {
        wait_title: (min(waits) / 3, max(waits) * rates[-1] * 3),
        held_title: (min(held) / 3, max(held) * 3),
    }
    words = warnings(starting, *_which_memory(view, starting, idle))

    def draw(rate: float) -> Picture:
        def bar(group: Group, value: float, text: str) -> Bar:
            return Bar(group.series, group.label(mixed=both), value, text)

        picture = bars(
            {
                wait_title: [
                    bar(g, rate * w, f"{_plain(rate * w)} s")
                    for g, w in zip(starting, waits, strict=True)
                ],
                held_title: [
                    bar(g, m, f"{_plain(m)} MiB·h") for g, m in zip(idle, held, strict=True)
                ],
            },
            limits,
        )
        return replace(
            picture,
            alt=f"{rate:g} cold starts per hour. {picture.alt}",
            caption=words,
            placeholders={"queue": rate * max(waits) > 3600},
        )

    return WhatIf(
        values=tuple(float(rate) for rate in rates),
        start=rates.index(min(rates, key=lambda rate: abs(math.log(rate / 60)))),
        draw=draw,
        placeholders={"source": view.caption()},
    )


def _which_memory(view: View, starting: Sequence[Group], idle: Sequence[Group]) -> Iterator[str]:
    """Sentences on the code cache: that it is left out, and who was never weighed without it."""
    if any(group.emulated for group in idle):
        yield f"Memory is {NO_CODE_CACHE}, as in lesson 01."
    weighed = {(group.series, group.run_id) for group in idle}
    only_sum = [
        group.series.label
        for group in _of(starting, groups(view, "pss_with_code_cache_bytes"))
        if (group.series, group.run_id) not in weighed
    ]
    if only_sum:
        yield (
            f"Memory of {', '.join(only_sum)} is not shown: this run weighed it only together with "
            "the translator’s code cache, which lesson 01 leaves out."
        )


def _of(starting: Sequence[Group], weighed: Sequence[Group]) -> list[Group]:
    """Those with a valid value whose series has a start in the same run."""
    started = {(group.series, group.run_id) for group in starting}
    return [g for g in weighed if len(g.rows) and (g.series, g.run_id) in started]


@explained.whatif("no_emulation")
def no_emulation(view: View) -> WhatIf:
    """What the emulated VMs' starts would be if emulation cost nothing: measured ÷ s."""
    starting = [group for group in groups(view, START) if len(group.rows)]
    emulated = [group for group in starting if group.emulated]
    if not emulated:
        raise Unavailable(
            "no VM ran under software emulation here, so there is no slow-down to divide out"
            if any(group.series.platform.is_vm for group in starting)
            else "no VM ran here, so there is no slow-down to divide out",
            "look at the measured starts themselves",
        )
    factors = tuple(float(step) for step in range(1, 21))
    both = mixed(starting)
    base = container(starting)
    measured = [(group, group.median.estimate) for group in emulated if group.series.platform.is_vm]
    slow = {_WORK[metric]: found for metric in _WORK if (found := _slowdown(view, metric))}
    marks = {
        f"{name} was {ratio_text(found.estimate)} slower": found.estimate
        for name, found in slow.items()
    }
    words = warnings([*emulated, *([base] if base else [])])

    lines = [
        Curve(
            group.series,
            group.label(mixed=both).replace(EMULATION, "modelled"),
            tuple(time / s for s in factors),
        )
        for group, time in measured
    ]
    if base:
        flat = (base.median.estimate,) * len(factors)
        lines.append(Curve(base.series, f"{base.series.label}, {base.shown}", flat))

    def draw(factor: float) -> Picture:
        at = min(range(len(factors)), key=lambda index: abs(factors[index] - factor))
        picture = curves(
            factors, lines, marks, at, x_label="slow-down s of software emulation, divided out"
        )
        return replace(picture, caption=words)

    near = [found.estimate for found in slow.values()]
    start = min(near, default=1.0)
    return WhatIf(
        values=factors,
        start=min(range(len(factors)), key=lambda index: abs(factors[index] - start)),
        draw=draw,
        placeholders={"unmarked": not marks, "source": view.caption()},
    )


def _slowdown(view: View, metric: str) -> Interval | None:
    """How many times as long a piece of work took in an emulated vm-direct (pc), block by block."""
    found = groups(view, metric)
    for above in found:
        if above.series != Series(Platform.VM_DIRECT, Machine.PC) or not above.emulated:
            continue
        for below in found:
            if below.series.platform is Platform.PROCESS and (times := ratio(above, below)):
                return times
    return None


def _outcome(view: View, series: Callable[[Series], bool]) -> Group | None:
    for group in groups(view, START):
        if series(group.series) and len(group.rows):
            return group
    return None


@explained.outcome("container_s", Platform.CONTAINER)
def _container_s(view: View) -> float | None:
    base = container(groups(view, START))
    return base.median.estimate if base else None


def _vm(view: View) -> Group | None:
    return _outcome(view, lambda s: s.platform is Platform.VM and s.machine != Machine.MICROVM)


@explained.outcome("vm_s", Platform.VM)
def _vm_s(view: View) -> float | None:
    group = _vm(view)
    return group.median.estimate if group else None


@explained.outcome("vm_over_container", Platform.VM, Platform.CONTAINER)
def _vm_over_container(view: View) -> float | None:
    above, below = _vm(view), container(groups(view, START))
    times = ratio(above, below) if above and below else None
    return times.estimate if times else None


def _span(interval: Interval, written: Callable[[float], str]) -> str:
    if not math.isfinite(interval.low):
        return "– (one run)"
    return f"{written(interval.low)} – {written(interval.high)}"


def _times(interval: Interval | None) -> str:
    if interval is None:
        return "–"
    times = ratio_text(interval.estimate)
    if not math.isfinite(interval.low):
        return f"{times} (one round)"
    return f"{times} [{_span(interval, ratio_text)}]"


def _plain(value: float) -> str:
    """Three significant figures, with no unit."""
    return ratio_text(value).rstrip("×")
