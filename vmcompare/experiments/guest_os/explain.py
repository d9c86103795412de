"""Memory of instances, explained: what the lesson draws, tabulates and models from its rows.

Every function raises ``Unavailable`` where its rows are not there; an outcome is then ``None``.
All sizes leave the translator's code cache out unless they say otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING

from vmcompare.errors import Unavailable
from vmcompare.evidence.statistics import Interval, median_interval
from vmcompare.evidence.units import MIB, size
from vmcompare.evidence.view import NEXT, Column, Outcome, View, absent, mixed, of_series
from vmcompare.experiments.guest_os import fits, models, published
from vmcompare.experiments.guest_os.fits import Fit, caption, star_words
from vmcompare.experiments.guest_os.inside import FILES, KERNEL_THREADS, PROCESSES
from vmcompare.experiments.guest_os.weigh import CODE_CACHE, PARTS, SHIM, WORKLOAD
from vmcompare.plots.lines import Line, Panel, lines
from vmcompare.plots.picture import Picture, WhatIf
from vmcompare.plots.stack import Whole, stack
from vmcompare.sandbox import EMULATION, Machine, Platform, Series

if TYPE_CHECKING:
    import pandas as pd

PSS, OVERHEAD, PART = "pss_bytes", "overhead_bytes", "part_bytes"
_DIRECT = Series(Platform.VM_DIRECT, Machine.PC)
_NO_CACHE = "The translator’s code cache is left out."


def ramps_figure(view: View) -> Picture:
    """Memory on the host against the number of instances, with the daemons and without."""
    return _ramps(view, PSS, "All instances together")


def managing_figure(view: View) -> Picture:
    """The same for what only manages: shims and daemons against emulators."""
    return _ramps(view, OVERHEAD, "Shims and daemons, or emulators")


def parts_figure(view: View) -> Picture:
    """One bar a series: what one instance is made of, at the largest N of each ramp."""
    weighed = {part: view.columns(PART, phase=part) for part in PARTS}
    wholes: list[tuple[Column, dict[str, float]]] = []
    for column in view.columns(PSS, phase="ramp", failed_too=True):
        same = {part: column.same_in(others) for part, others in weighed.items()}
        if parts := {part: _per_instance(other) for part, other in same.items() if other}:
            wholes.append((column, parts))
    if not wholes:
        raise absent("instance whose parts were weighed")
    found = [column for column, _ in wholes]
    both = mixed(found)
    return stack(
        [Whole(column.label(mixed=both), parts) for column, parts in wholes],
        what="Memory on the host for one instance, by what it is for",
        caption=caption(
            view,
            found,
            f"Totals include the {CODE_CACHE}, which exists under {EMULATION} only."
            if any(CODE_CACHE in parts for _, parts in wholes)
            else "",
            "Each bar is the sum at the largest N, divided by N. The workload of a VM lies within "
            "its guest RAM.",
        ),
    )


def sizes_figure(view: View) -> Picture:
    """What a VM is given (``-m``) against what the host pays, young and old."""
    found = view.columns(PSS, phase="size")
    ages = {age: view.columns(PSS, phase=age) for age in ("fresh", "aged")}
    shown = [*found, *ages["fresh"], *ages["aged"]]
    if not shown:
        raise absent("virtual machine of several sizes")
    both = mixed(shown)
    drawn = [Line(None, "paid = given", drawn=((0, 0), (1024, 1024 * MIB)), dashed=True)]
    for column in found:
        points = tuple(zip(column.rows["mem_limit_mib"].map(float), column.values, strict=True))
        drawn.append(
            Line(column.series, column.label(mixed=both) + ", fresh", points, _medians(points))
        )
    for age, others in ages.items():
        for column in others:
            points = tuple(zip(column.rows["mem_limit_mib"].map(float), column.values, strict=True))
            words = f"{column.label(mixed=both)}, {age}"
            note = size(column.median.estimate)
            drawn.append(Line(column.series, words, points, note=note, hollow=age == "aged"))
    return lines(
        [Panel("MiB on the host for one VM", drawn)],
        x_label="memory given to the VM (-m), in MiB",
        x_ticks=(0, 128, 256, 512, 1024),
        what="What a virtual machine is given and what the host pays for it",
        caption=caption(view, shown, _NO_CACHE, "Aged: it has read a disk of twice its memory."),
    )


def sharing_figure(view: View) -> Picture:
    """PSS for each container against N: pages that containers share are divided among them."""
    panels: list[Panel] = []
    shown: list[Column] = []
    for part, title in (
        (WORKLOAD, "MiB of workload for each container"),
        (SHIM, "MiB of shim and init for each container"),
    ):
        found = view.columns(PART, phase=part)
        both = mixed(found)
        drawn = []
        for column in found:
            points = tuple(
                (float(n), value / n)
                for n, value in zip(column.rows["rep"], column.values, strict=True)
            )
            medians = _medians(points)
            words = f"{size(medians[0][1])} → {size(medians[-1][1])}"
            drawn.append(Line(column.series, column.label(mixed=both), points, medians, words))
        if drawn:
            panels.append(Panel(title, drawn))
            shown += found
    if not panels:
        raise Unavailable(
            "there is no ramp of containers to show",
            "run the measurement where Docker is, or load a recording of it",
        )
    return lines(
        panels,
        x_label="containers at the same time, N",
        x_ticks=(0, 2, 4, 6, 8, 10),
        what="Proportional memory of one container while others run beside it",
        caption=caption(
            view,
            shown,
            "The line joins medians. Whatever else on this host maps the same files shares them "
            "too, such as containers that ran already.",
        ),
    )


def ramps_table(view: View) -> pd.DataFrame:
    """One row a series: a and b of the ramps, with interval and ratio to the container (text)."""
    import pandas as pd

    found = fits.need_fits(view, PSS)
    base = fits.product(found)
    tried = view.columns(PSS, phase="ramp", failed_too=True)
    both = mixed(tried)
    rows = []
    for fit in found:
        times = "–"
        if base is not None and base.column.run_id == fit.column.run_id and base.each.estimate > 0:
            times = f"{fit.each.estimate / base.each.estimate:.3g}"
        rows.append(
            {
                "series": fit.column.label(mixed=both),
                "ramps": str(fit.ramps),
                "fixed, a": size(fit.fixed),
                "each, b": f"{size(fit.each.estimate)}{fits.span(fit.each)}",
                "b ÷ container’s": times,
                "b with code cache": size(fits.with_code_cache(view, fit)),
            }
        )
    for column in tried:
        if not column.n:
            why = f"every ramp failed ({column.failed} times)"
            rows.append(
                dict.fromkeys(rows[0], "–") | {"series": column.label(mixed=both), "ramps": why}
            )
    return pd.DataFrame(rows)


def counting_table(view: View) -> pd.DataFrame:
    """One row a series: b by three ways of counting, all of them with the code cache (text).

    What is left on the host is moved by every other program, too: its interval stands beside it.
    """
    import pandas as pd

    others = {metric: fits.fits(view, metric) for metric in ("cgroup_bytes", "host_delta_bytes")}

    def each(metric: str, fit: Fit) -> Interval | None:
        same = fit.same_in(others[metric])
        return same.each if same else None

    return pd.DataFrame(
        [
            {
                "series": fit.column.series.label,
                "its processes (PSS, with code cache)": size(fits.with_code_cache(view, fit)),
                "its control group": fits.size_or_dash(each("cgroup_bytes", fit)),
                "less left on the host": fits.against_noise(each("host_delta_bytes", fit)),
                "provenance": fit.column.provenance,
            }
            for fit in fits.need_fits(view, PSS)
        ]
    )


def inside_table(view: View) -> pd.DataFrame:
    """One row a series: what is there before the first application, and what it costs idle."""
    import pandas as pd

    counted = {
        name: view.columns("item_count", phase=name) for name in (KERNEL_THREADS, PROCESSES, FILES)
    }
    idle = view.columns("idle_cpu_ratio")
    shown = {column.key: column for found in (*counted.values(), idle) for column in found}
    if not shown:
        raise Unavailable(
            "nothing was counted inside an instance",
            NEXT,
        )

    def median(found: Sequence[Column], column: Column) -> float | None:
        same = column.same_in(found)
        return same.median.estimate if same else None

    def words(value: float | None) -> str:
        return "–" if value is None else f"{value:g}"

    rows = []
    for column in sorted(shown.values(), key=lambda g: g.series.order):
        busy = median(idle, column)
        rows.append(
            {
                "series": column.series.label,
                **{name: words(median(found, column)) for name, found in counted.items()},
                "processor while idle": "–" if busy is None else f"{busy * 100:.1f} %",
                "provenance": column.provenance,
            }
        )
    return pd.DataFrame(rows)


def _ramps(view: View, metric: str, title: str) -> Picture:
    found = fits.need_fits(view, metric)
    both = mixed([f.column for f in found])
    drawn = [_line(f, f.column.label(mixed=both)) for f in found]
    marks: dict[str, float] = {}
    held = ""
    base = fits.product(found)
    daemons = fits.daemons_bytes(view, base.column.run_id) if base else None
    if base is not None and daemons is not None:
        last = float(base.column.rows["rep"].max())
        drawn.insert(
            found.index(base) + 1,
            Line(
                base.column.series,
                base.column.label(mixed=both).replace("container", "container and daemons", 1),
                drawn=((0.0, daemons + base.fixed), (last, daemons + base.at(last))),
                note=f"+ {size(daemons)}",
                dashed=True,
            ),
        )
        grown = fits.daemons_bytes(view, base.column.run_id, int(last))
        held = f"Daemons: {size(daemons)} before the first container" + (
            f", {size(grown)} beside {last:g}." if grown is not None else "."
        )
        for vm in fits.vms(found, base.column.run_id):
            star = fits.crossover(daemons, base, vm)
            marks[f"daemons paid back against {vm.column.series.label} {star_words(star)}"] = star
    panels = [Panel(f"{title}, in MiB (bold: one more)", drawn, marks)]
    boxes = [line for line in drawn if line.points and _is_container(line)]
    if boxes and len(boxes) < len(drawn):
        panels.append(Panel("The containers alone, without daemons", boxes, key=False))
    last_n = max(int(f.column.rows["rep"].max()) for f in found)
    tried = view.columns(PSS, phase="ramp", failed_too=True)
    return lines(
        panels,
        x_label="instances at the same time, N",
        x_ticks=tuple(range(0, last_n + 1, 2 if last_n > 5 else 1)),
        what="Memory against the number of instances, with a line a + b·N for each series",
        caption=caption(view, tried, _NO_CACHE, held),
    )


def _line(fit: Fit, label: str) -> Line:
    rows = fit.column.rows
    points = tuple(zip(rows["rep"].map(float), fit.column.values, strict=True))
    ends = (float(rows["rep"].min()), float(rows["rep"].max()))
    return Line(
        fit.column.series,
        label,
        points,
        tuple((n, fit.at(n)) for n in ends),
        size(fit.each.estimate),
    )


def _is_container(line: Line) -> bool:
    return line.series is not None and line.series.platform is Platform.CONTAINER


def _per_instance(column: Column) -> float:
    """Median over the ramps of a total at its largest N, divided by that N."""
    each = []
    for _, ramp in column.rows.groupby("block"):
        last = ramp[ramp["rep"] == ramp["rep"].max()]
        each += [float(v) / float(n) for v, n in zip(last["value"], last["rep"], strict=True)]
    return median_interval(each).estimate


def _medians(points: tuple[tuple[float, float], ...]) -> tuple[tuple[float, float], ...]:
    xs = sorted({x for x, _ in points})
    return tuple((x, median_interval([v for at, v in points if at == x]).estimate) for x in xs)


def _m512_mib(view: View) -> float | None:
    column = of_series(view.columns(PSS, phase="size", mem_limit_mib=512), _DIRECT)
    return column.median.estimate / MIB if column else None


def _container_mib(view: View) -> float | None:
    fit = fits.product(fits.fits(view, PSS))
    return fit.each.estimate / MIB if fit else None


def _kernel_threads(view: View) -> float | None:
    found = view.columns("item_count", phase=KERNEL_THREADS)
    column = of_series(found, Series(Platform.VM, Machine.Q35))
    return column.median.estimate if column else None


FIGURES: Mapping[str, Callable[[View], Picture]] = MappingProxyType(
    {
        "ramps": ramps_figure,
        "managing": managing_figure,
        "parts": parts_figure,
        "sizes": sizes_figure,
        "sharing": sharing_figure,
    }
)
"""Name → figure of a view."""

TABLES: Mapping[str, Callable[[View], pd.DataFrame]] = MappingProxyType(
    {
        "ramps": ramps_table,
        "counting": counting_table,
        "inside": inside_table,
        "literature": published.literature_table,
    }
)
"""Name → table of a view; every cell is text."""

WHATIFS: Mapping[str, Callable[[View], WhatIf]] = MappingProxyType(
    {"how_many": models.how_many, "daemons": models.daemons}
)
"""Name → modelled figure with one slider."""

OUTCOMES: Mapping[str, Outcome] = MappingProxyType(
    {
        "m512_mib": Outcome((Platform.VM_DIRECT,), _m512_mib),
        "container_mib": Outcome((Platform.CONTAINER,), _container_mib),
        "kernel_threads": Outcome((Platform.VM,), _kernel_threads),
    }
)
"""Name → what a prediction is set beside (MiB, MiB, a count); ``None`` where not measured."""
