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
from typing import TYPE_CHECKING

from vmcompare.errors import Unavailable
from vmcompare.evidence.claims import EMULATION, NO_CODE_CACHE
from vmcompare.evidence.published import CHECKED, load_literature
from vmcompare.evidence.statistics import Interval
from vmcompare.evidence.units import MIB, seconds
from vmcompare.evidence.units import ratio as ratio_text
from vmcompare.evidence.view import Outcome, View
from vmcompare.plots.dots import Bar, bars
from vmcompare.plots.groups import Group, container, groups, mixed, need, ratio, warnings
from vmcompare.plots.lines import Curve, curves
from vmcompare.plots.picture import MODELLED, Picture, WhatIf
from vmcompare.plots.style import Series
from vmcompare.plots.times import medians, noise_sentence, phase_name, phases, ratios, strip
from vmcompare.sandbox import Machine, Platform

if TYPE_CHECKING:
    import pandas as pd

START = "start_to_first_byte_s"

_LITERATURE = (
    "boot_time", "boot_time_internal", "boot_time_end_to_end", "boot_time_tcg", "process_create",
    "start_time_docker_run", "start_time_macos", "start_to_workload",
)  # fmt: skip

_WORK: Mapping[str, str] = MappingProxyType(
    {"gzip_s": "gzip", "syscall_s": "a system call", "fork_s": "fork and exec"}
)


def starts_figure(view: View) -> Picture:
    """Every start as a point, with the noise floor in the caption."""
    return strip(view, START, what="start", extra=(noise_sentence(groups(view, START)),))


def noise_figure(view: View) -> Picture:
    """Each series ÷ container by block, and A/A, the same thing against itself."""
    return ratios(view, START, what="start")


def starts_table(view: View) -> pd.DataFrame:
    """One row a series: runs, median, interval, ratio to the container, provenance (all text)."""
    import pandas as pd

    found = need(view, START, "start")
    base = container(found)
    rows = []
    for group in found:
        median = group.median if len(group.rows) else None
        times = ratio(group, base) if base is not None and median is not None else None
        rows.append(
            {
                "series": group.series.label,
                "n": str(len(group.rows)),
                "failed": str(group.failed),
                "median": seconds(median.estimate) if median else "–",
                "95 % interval": _span(median, seconds) if median else "–",
                "× container": "1" if group is base else _times(times),
                "provenance": group.shown + (f", {EMULATION}" if group.emulated else ""),
            }
        )
    return pd.DataFrame(rows)


def phases_table(view: View) -> pd.DataFrame:
    """One row a series and phase: median and share of all phases (text)."""
    import pandas as pd

    rows = []
    for group in need(view, "phase_s", "phase of a start"):
        if not len(group.rows):
            continue
        parts = medians(group)
        total = sum(parts.values())
        for phase, value in parts.items():
            rows.append(
                {
                    "series": group.series.label,
                    "phase": phase_name(group, phase),
                    "n": str(int((group.rows["phase"] == phase).sum())),
                    "median": seconds(value),
                    "share": f"{value / total:.0%}" if total else "–",
                    "provenance": group.shown + (f", {EMULATION}" if group.emulated else ""),
                }
            )
    return pd.DataFrame(rows)


def literature_table(view: View) -> pd.DataFrame:
    """This view's medians above what others published about starts; never one in place of another.

    Only figures whose source was read are shown; what is merely recalled or quoted is left out.
    """
    import pandas as pd

    rows = [
        {
            "what": group.series.label,
            "figure": f"{seconds(group.median.estimate)} (median, {group.count()})",
            "conditions": "request to first byte" + (f", {EMULATION}" if group.emulated else ""),
            "source": f"{group.shown}, run {group.run_id}",
        }
        for group in need(view, START, "start")
        if len(group.rows)
    ]
    published = load_literature()
    chosen = published[published["metric"].isin(_LITERATURE) & (published["checked"] == CHECKED)]
    for row in chosen.to_dict("records"):
        rows.append(
            {
                "what": row["system"],
                "figure": _set(f"{row['value']} {row['unit']}"),
                "conditions": _set(row["conditions"]),
                "source": f"literature: {_short(row['citation'])}, {row['year']}",
            }
        )
    return pd.DataFrame(rows)


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
        note = " More than 3,600 s per hour means that several wait at the same time."
        return replace(
            picture,
            alt=f"{rate:g} cold starts per hour. {picture.alt}",
            caption=f"{MODELLED}{note if rate * max(waits) > 3600 else ''} {words}",
        )

    return WhatIf(
        label="cold starts per hour",
        values=tuple(float(rate) for rate in rates),
        start=rates.index(min(rates, key=lambda rate: abs(math.log(rate / 60)))),
        unit="per hour",
        draw=draw,
        formula=(
            r"W = \lambda \cdot \tilde{t}_{\mathrm{start}} \qquad "
            r"M = \tilde{m}_{\mathrm{idle}} \cdot 1\,\mathrm{h}"
        ),
        source=(
            "W: waited in an hour; λ: cold starts an hour; t: one start; M: held for the hour; m: "
            f"memory of an idle one; medians of {START} and pss_bytes; {view.caption()}"
        ),
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
    rough = (
        "Rough: loops run from the translator’s cache, but much boot code runs only once and is "
        "translated for that, so no single slow-down fits a whole boot."
    )
    unmarked = (
        ""
        if marks
        else "No slow-down is marked: this view holds no work timed in a process and in vm-direct "
        "(pc) within one run."
    )
    words = warnings([*emulated, *([base] if base else [])], unmarked)

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
        return replace(picture, caption=f"{MODELLED} {rough} {words}")

    near = [found.estimate for found in slow.values()]
    start = min(near, default=1.0)
    return WhatIf(
        label="slow-down divided out",
        values=factors,
        start=min(range(len(factors)), key=lambda index: abs(factors[index] - start)),
        unit="×",
        draw=draw,
        formula=(
            r"t_{\mathrm{modelled}} = \frac{\tilde{t}_{\mathrm{measured}}}{s}, \qquad "
            r"s = \frac{t_{\mathrm{vm\text{-}direct}}}{t_{\mathrm{process}}}"
        ),
        source=f"medians of {START}, gzip_s, syscall_s and fork_s; {view.caption()}",
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


def _container_s(view: View) -> float | None:
    base = container(groups(view, START))
    return base.median.estimate if base else None


def _vm(view: View) -> Group | None:
    return _outcome(view, lambda s: s.platform is Platform.VM and s.machine != Machine.MICROVM)


def _vm_s(view: View) -> float | None:
    group = _vm(view)
    return group.median.estimate if group else None


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


def _set(text: str) -> str:
    """A cell of the table of literature with the signs that its plain file spells out."""
    words = "from the abstract" if text == "abstract" else text
    return words.replace("->", "→").replace("<=", "≤")


def _short(citation: str) -> str:
    """First author and venue of a citation, for a table's column."""
    authors, colon, rest = citation.partition(":")
    if colon and authors.endswith("et al."):
        return f"{authors}: {rest.split(',')[0].split(':')[0].strip()}"
    if not colon or authors.count(",") == 0:
        return citation.split(",")[0].split(" (")[0]
    return f"{authors.split(',')[0]} et al.: {rest.split(',')[0].split(':')[0].strip()}"


FIGURES: Mapping[str, Callable[[View], Picture]] = MappingProxyType(
    {"starts": starts_figure, "phases": phases, "noise": noise_figure}
)
"""Name → figure of a view."""

TABLES: Mapping[str, Callable[[View], pd.DataFrame]] = MappingProxyType(
    {"starts": starts_table, "phases": phases_table, "literature": literature_table}
)
"""Name → table of a view; every cell is text."""

WHATIFS: Mapping[str, Callable[[View], WhatIf]] = MappingProxyType(
    {"cold_starts": cold_starts, "no_emulation": no_emulation}
)
"""Name → modelled figure with one slider."""

OUTCOMES: Mapping[str, Outcome] = MappingProxyType(
    {
        "container_s": Outcome((Platform.CONTAINER,), _container_s),
        "vm_s": Outcome((Platform.VM,), _vm_s),
        "vm_over_container": Outcome((Platform.VM, Platform.CONTAINER), _vm_over_container),
    }
)
"""Name → what a prediction is set beside (seconds, seconds, ratio); ``None`` where not measured."""
