"""Boot speed, explained: what a lesson draws, tabulates and models from a view of its rows.

Rows: ``start_to_first_byte_s``, ``ready_s``, ``phase_s`` and ``pss_bytes`` of every series, and in
each block one ``gzip_s``, ``syscall_s`` and ``fork_s`` of ``process`` and of ``vm-direct`` on
``pc``. Every function raises ``Unavailable`` where its rows are not there; an outcome is then
``None``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING

from vmcompare.errors import Unavailable
from vmcompare.evidence.published import CHECKED, load_literature
from vmcompare.evidence.statistics import Interval
from vmcompare.evidence.units import MIB, ratio, seconds
from vmcompare.evidence.view import (
    Column,
    Outcome,
    View,
    container,
    mixed,
    of_series,
    warnings,
)
from vmcompare.plots.dots import Dot, Panels, sliding_dots
from vmcompare.plots.lines import Curve, curves
from vmcompare.plots.picture import MODELLED, Picture, WhatIf
from vmcompare.plots.times import medians, noise_sentence, phase_name, phases, ratios, strip
from vmcompare.sandbox import EMULATION, Machine, Platform, Series

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
    return strip(view, START, what="start", extra=(noise_sentence(view.columns(START)),))


def noise_figure(view: View) -> Picture:
    """Each series ÷ container by block, and A/A, the same thing against itself."""
    return ratios(view, START, what="start")


def starts_table(view: View) -> pd.DataFrame:
    """One row a series: runs, median, interval, ratio to the container, provenance (all text)."""
    import pandas as pd

    found = view.need(START, "start", failed_too=True)
    base = container(found)
    rows = []
    for column in found:
        median = column.median if column.n else None
        times = column.over(base) if base is not None and median is not None else None
        rows.append(
            {
                "series": column.series.label,
                "n": str(column.n),
                "failed": str(column.failed),
                "median": seconds(median.estimate) if median else "–",
                "95 % interval": (median.ends(seconds) or "– (one run)") if median else "–",
                "× container": "1" if column is base else _times(times),
                "provenance": column.provenance,
            }
        )
    return pd.DataFrame(rows)


def phases_table(view: View) -> pd.DataFrame:
    """One row a series and phase: median and share of all phases (text)."""
    import pandas as pd

    rows = []
    for column in view.need("phase_s", "phase of a start"):
        parts = medians(column)
        total = sum(parts.values())
        for phase, value in parts.items():
            rows.append(
                {
                    "series": column.series.label,
                    "phase": phase_name(column, phase),
                    "n": str(int((column.rows["phase"] == phase).sum())),
                    "median": seconds(value),
                    "share": f"{value / total:.0%}" if total else "–",
                    "provenance": column.provenance,
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
            "what": column.series.label,
            "figure": f"{seconds(column.median.estimate)} (median, {column.count()})",
            "conditions": "request to first byte" + (f", {EMULATION}" if column.emulated else ""),
            "source": f"{column.shown}, run {column.run_id}",
        }
        for column in view.need(START, "start")
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
    """Starting one for every request, against keeping one idle: waiting against memory."""
    starting, idle = view.need(START, "start"), view.columns("pss_bytes")
    pairs = [(column, memory) for column in starting if (memory := column.same_in(idle))]
    if not pairs:
        raise Unavailable(
            "no series has both a start and its idle memory",
            "run the measurement on Linux, or load a recording",
        )
    rates = sorted({round(3600 ** (step / 20)) for step in range(21)})
    both = mixed(starting)
    longest_s = max(column.median.estimate for column, _ in pairs)
    words = warnings(starting)

    def panels(rate: float) -> Panels:
        waits, held = [], []
        for column, memory in pairs:
            label, series = column.label(mixed=both), column.series
            waited_s, mib = rate * column.median.estimate, memory.median.estimate / MIB
            waits.append(Dot(series, label, waited_s, f"{_plain(waited_s)} s"))
            held.append(Dot(series, label, mib, f"{_plain(mib)} MiB·h"))
        return {
            "Start one for every request: seconds waited per hour": waits,
            "Keep one idle instead: memory held for the hour": held,
        }

    def caption(rate: float) -> str:
        note = "More than 3,600 s per hour means that several wait at the same time. "
        return f"{note if rate * longest_s > 3600 else ''}{words}"

    return sliding_dots(
        panels,
        rates,
        label="cold starts per hour",
        unit="per hour",
        start=60,
        said="{:g} cold starts per hour.",
        caption=caption,
        formula=(
            r"W = \lambda \cdot \tilde{t}_{\mathrm{start}} \qquad "
            r"M = \tilde{m}_{\mathrm{idle}} \cdot 1\,\mathrm{h}"
        ),
        source=(
            "W: waited in an hour; λ: cold starts an hour; t: one start; M: held for the hour; m: "
            f"memory of an idle one; medians of {START} and pss_bytes; {view.caption()}"
        ),
        air=3,
    )


def no_emulation(view: View) -> WhatIf:
    """What the emulated VMs' starts would be if emulation cost nothing: measured ÷ s."""
    starting = view.columns(START)
    emulated = [column for column in starting if column.emulated]
    if not emulated:
        raise Unavailable(
            "no VM ran under software emulation here, so there is no slow-down to divide out"
            if any(column.series.platform.is_vm for column in starting)
            else "no VM ran here, so there is no slow-down to divide out",
            "look at the measured starts themselves",
        )
    factors = tuple(float(step) for step in range(1, 21))
    both = mixed(starting)
    base = container(starting)
    slow = {_WORK[metric]: found for metric in _WORK if (found := _slowdown(view, metric))}
    marks = {
        f"{name} was {ratio(found.estimate)} slower": found.estimate for name, found in slow.items()
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
            column.series,
            column.label(mixed=both).replace(EMULATION, "modelled"),
            tuple(column.median.estimate / s for s in factors),
        )
        for column in emulated
        if column.series.platform.is_vm
    ]
    if base:
        flat = (base.median.estimate,) * len(factors)
        lines.append(Curve(base.series, f"{base.series.label}, {base.shown}", flat, dashed=True))

    def draw(factor: float) -> Picture:
        at = min(range(len(factors)), key=lambda index: abs(factors[index] - factor))
        label = "slow-down s of software emulation, divided out"
        picture = curves(factors, lines, at, x_label=label, marks=marks)
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
    found = view.columns(metric)
    pairs = (
        above.over(below)
        for above in found
        if above.series == Series(Platform.VM_DIRECT, Machine.PC) and above.emulated
        for below in found
        if below.series == Series(Platform.PROCESS)
    )
    return next(filter(None, pairs), None)


def _vm(view: View) -> Column | None:
    """The full VM on a computer that has all its devices."""
    whole = (Series(Platform.VM, machine) for machine in Machine if machine != Machine.MICROVM)
    return of_series(view.columns(START), *whole)


def _container_s(view: View) -> float | None:
    base = container(view.columns(START))
    return base.median.estimate if base else None


def _vm_s(view: View) -> float | None:
    found = _vm(view)
    return found.median.estimate if found else None


def _vm_over_container(view: View) -> float | None:
    above, below = _vm(view), container(view.columns(START))
    times = above.over(below) if above and below else None
    return times.estimate if times else None


def _times(interval: Interval | None) -> str:
    if interval is None:
        return "–"
    span = f"[{interval.ends(ratio)}]" if interval.known else "(one round)"
    return f"{ratio(interval.estimate)} {span}"


def _plain(value: float) -> str:
    """Three significant figures, with no unit."""
    return ratio(value).rstrip("×")


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
