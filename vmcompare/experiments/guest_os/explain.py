"""Memory of instances, explained: what the lesson draws, tabulates and models from its rows.

Every function raises ``Unavailable`` where its rows are not there; an outcome is then ``None``.
All sizes leave the translator's code cache out unless they say otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING

from vmcompare.errors import Unavailable
from vmcompare.evidence.claims import EMULATION
from vmcompare.evidence.statistics import Interval, median_interval
from vmcompare.evidence.units import MIB, size
from vmcompare.evidence.view import Outcome, View
from vmcompare.experiments.guest_os import fits, models, published
from vmcompare.experiments.guest_os.fits import Fit, caption, of_phase, star_words
from vmcompare.experiments.guest_os.inside import FILES, KERNEL_THREADS, PROCESSES
from vmcompare.experiments.guest_os.weigh import CODE_CACHE, PARTS, SHIM, WORKLOAD
from vmcompare.plots.groups import Group, groups, mixed
from vmcompare.plots.lines import Line, Panel, lines
from vmcompare.plots.picture import Picture, WhatIf
from vmcompare.plots.stack import Whole, stack
from vmcompare.plots.style import Series
from vmcompare.sandbox import Machine, Platform

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
    wholes, found = [], []
    weighed = {part: groups(of_phase(view, part), PART) for part in PARTS}
    for group in groups(of_phase(view, "ramp"), PSS):
        parts = {}
        for part, others in weighed.items():
            for other in others:
                if fits.is_same(other, group) and len(other.rows):
                    parts[part] = _per_instance(other)
        if parts:
            found.append(group)
            wholes.append((group, parts))
    if not wholes:
        raise Unavailable(
            "there is no instance whose parts were weighed",
            "run the measurement, or load a recording of it",
        )
    both = mixed(found)
    return stack(
        [Whole(group.label(mixed=both), parts) for group, parts in wholes],
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
    found = [g for g in groups(of_phase(view, "size"), PSS) if len(g.rows)]
    ages = {
        age: [g for g in groups(of_phase(view, age), PSS) if len(g.rows)]
        for age in ("fresh", "aged")
    }
    shown = [*found, *ages["fresh"], *ages["aged"]]
    if not shown:
        raise Unavailable(
            "there is no virtual machine of several sizes to show",
            "run the measurement, or load a recording of it",
        )
    both = mixed(shown)
    drawn = [Line(None, "paid = given", drawn=((0, 0), (1024, 1024 * MIB)), dashed=True)]
    for group in found:
        points = tuple(zip(group.rows["mem_limit_mib"].map(float), group.values, strict=True))
        drawn.append(
            Line(group.series, group.label(mixed=both) + ", fresh", points, _medians(points))
        )
    for age, others in ages.items():
        for group in others:
            points = tuple(zip(group.rows["mem_limit_mib"].map(float), group.values, strict=True))
            words = f"{group.label(mixed=both)}, {age}"
            note = size(group.median.estimate)
            drawn.append(Line(group.series, words, points, note=note, hollow=age == "aged"))
    return lines(
        [Panel("MiB on the host for one VM", drawn)],
        x_label="memory given to the VM (-m), in MiB",
        x_ticks=(0, 128, 256, 512, 1024),
        what="What a virtual machine is given and what the host pays for it",
        caption=caption(view, shown, _NO_CACHE, "Aged: it has read a disk of twice its memory."),
    )


def sharing_figure(view: View) -> Picture:
    """PSS for each container against N: pages that containers share are divided among them."""
    panels, shown = [], []
    for part, title in (
        (WORKLOAD, "MiB of workload for each container"),
        (SHIM, "MiB of shim and init for each container"),
    ):
        found = [g for g in groups(of_phase(view, part), PART) if len(g.rows)]
        both = mixed(found)
        drawn = []
        for group in found:
            points = tuple(
                (float(n), value / n)
                for n, value in zip(group.rows["rep"], group.values, strict=True)
            )
            medians = _medians(points)
            words = f"{size(medians[0][1])} → {size(medians[-1][1])}"
            drawn.append(Line(group.series, group.label(mixed=both), points, medians, words))
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
    tried = groups(of_phase(view, "ramp"), PSS)
    both = mixed(tried)
    rows = []
    for fit in found:
        times = "–"
        if base is not None and base.group.run_id == fit.group.run_id and base.each.estimate > 0:
            times = f"{fit.each.estimate / base.each.estimate:.3g}"
        rows.append(
            {
                "series": fit.group.label(mixed=both),
                "ramps": str(fit.ramps),
                "fixed, a": size(fit.fixed),
                "each, b": f"{size(fit.each.estimate)}{fits.span(fit.each)}",
                "b ÷ container’s": times,
                "b with code cache": size(fits.with_code_cache(view, fit)),
            }
        )
    for group in tried:
        if not len(group.rows):
            why = f"every ramp failed ({group.failed} times)"
            rows.append(
                dict.fromkeys(rows[0], "–") | {"series": group.label(mixed=both), "ramps": why}
            )
    return pd.DataFrame(rows)


def counting_table(view: View) -> pd.DataFrame:
    """One row a series: b by three ways of counting, all of them with the code cache (text).

    What is left on the host is moved by every other program, too: its interval stands beside it.
    """
    import pandas as pd

    others = {metric: fits.fits(view, metric) for metric in ("cgroup_bytes", "host_delta_bytes")}

    def each(metric: str, fit: Fit) -> Interval | None:
        same = [f for f in others[metric] if fits.is_same(f.group, fit.group)]
        return same[0].each if same else None

    return pd.DataFrame(
        [
            {
                "series": fit.group.series.label,
                "its processes (PSS, with code cache)": size(fits.with_code_cache(view, fit)),
                "its control group": fits.size_or_dash(each("cgroup_bytes", fit)),
                "less left on the host": fits.against_noise(each("host_delta_bytes", fit)),
                "provenance": _provenance(fit.group),
            }
            for fit in fits.need_fits(view, PSS)
        ]
    )


def inside_table(view: View) -> pd.DataFrame:
    """One row a series: what is there before the first application, and what it costs idle."""
    import pandas as pd

    counted = {
        n: groups(of_phase(view, n), "item_count") for n in (KERNEL_THREADS, PROCESSES, FILES)
    }
    idle = groups(view, "idle_cpu_ratio")
    shown: dict[tuple[Series, str], Group] = {
        (g.series, g.run_id): g for found in (*counted.values(), idle) for g in found if len(g.rows)
    }
    if not shown:
        raise Unavailable(
            "nothing was counted inside an instance",
            "run the measurement, or load a recording of it",
        )

    def median(found: Sequence[Group], group: Group) -> float | None:
        same = [g for g in found if fits.is_same(g, group) and len(g.rows)]
        return same[0].median.estimate if same else None

    def words(value: float | None) -> str:
        return "–" if value is None else f"{value:g}"

    rows = []
    for group in sorted(shown.values(), key=lambda g: g.series.order):
        busy = median(idle, group)
        rows.append(
            {
                "series": group.series.label,
                **{name: words(median(found, group)) for name, found in counted.items()},
                "processor while idle": "–" if busy is None else f"{busy * 100:.1f} %",
                "provenance": _provenance(group),
            }
        )
    return pd.DataFrame(rows)


def _ramps(view: View, metric: str, title: str) -> Picture:
    found = fits.need_fits(view, metric)
    both = mixed([f.group for f in found])
    drawn = [_line(f, f.group.label(mixed=both)) for f in found]
    marks: dict[str, float] = {}
    held = ""
    base = fits.product(found)
    daemons = fits.daemons_bytes(view, base.group.run_id) if base else None
    if base is not None and daemons is not None:
        last = float(base.group.rows["rep"].max())
        drawn.insert(
            found.index(base) + 1,
            Line(
                base.group.series,
                base.group.label(mixed=both).replace("container", "container and daemons", 1),
                drawn=((0.0, daemons + base.fixed), (last, daemons + base.at(last))),
                note=f"+ {size(daemons)}",
                dashed=True,
            ),
        )
        grown = fits.daemons_bytes(view, base.group.run_id, int(last))
        held = f"Daemons: {size(daemons)} before the first container" + (
            f", {size(grown)} beside {last:g}." if grown is not None else "."
        )
        for vm in fits.vms(found, base.group.run_id):
            star = fits.crossover(daemons, base, vm)
            marks[f"daemons paid back against {vm.group.series.label} {star_words(star)}"] = star
    panels = [Panel(f"{title}, in MiB (bold: one more)", drawn, marks)]
    boxes = [line for line in drawn if line.points and _is_container(line)]
    if boxes and len(boxes) < len(drawn):
        panels.append(Panel("The containers alone, without daemons", boxes, key=False))
    last_n = max(int(f.group.rows["rep"].max()) for f in found)
    return lines(
        panels,
        x_label="instances at the same time, N",
        x_ticks=tuple(range(0, last_n + 1, 2 if last_n > 5 else 1)),
        what="Memory against the number of instances, with a line a + b·N for each series",
        caption=caption(view, groups(of_phase(view, "ramp"), PSS), _NO_CACHE, held),
    )


def _line(fit: Fit, label: str) -> Line:
    rows = fit.group.rows
    points = tuple(zip(rows["rep"].map(float), fit.group.values, strict=True))
    ends = (float(rows["rep"].min()), float(rows["rep"].max()))
    return Line(
        fit.group.series,
        label,
        points,
        tuple((n, fit.at(n)) for n in ends),
        size(fit.each.estimate),
    )


def _is_container(line: Line) -> bool:
    return line.series is not None and line.series.platform is Platform.CONTAINER


def _per_instance(group: Group) -> float:
    """Median over the ramps of a total at its largest N, divided by that N."""
    each = []
    for _, ramp in group.rows.groupby("block"):
        last = ramp[ramp["rep"] == ramp["rep"].max()]
        each += [float(v) / float(n) for v, n in zip(last["value"], last["rep"], strict=True)]
    return median_interval(each).estimate


def _medians(points: tuple[tuple[float, float], ...]) -> tuple[tuple[float, float], ...]:
    xs = sorted({x for x, _ in points})
    return tuple((x, median_interval([v for at, v in points if at == x]).estimate) for x in xs)


def _provenance(group: Group) -> str:
    return group.shown + (f", {EMULATION}" if group.emulated else "")


def _first(found: Sequence[Group], series: Series) -> Group | None:
    return next((g for g in found if g.series == series and len(g.rows)), None)


def _m512_mib(view: View) -> float | None:
    sized = of_phase(view, "size")
    if len(sized.frame):
        sized = View(sized.frame[sized.frame["mem_limit_mib"] == 512], sized.sources)
    group = _first(groups(sized, PSS), _DIRECT)
    return group.median.estimate / MIB if group else None


def _container_mib(view: View) -> float | None:
    fit = fits.product(fits.fits(view, PSS))
    return fit.each.estimate / MIB if fit else None


def _kernel_threads(view: View) -> float | None:
    found = groups(of_phase(view, KERNEL_THREADS), "item_count")
    group = _first(found, Series(Platform.VM, Machine.Q35))
    return group.median.estimate if group else None


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
