"""Memory of instances, explained: what the lesson draws, tabulates and models from its rows.

Every function raises ``Unavailable`` where its rows are not there; an outcome is then ``None``.
All sizes leave the translator's code cache out unless they say otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from vmcompare.errors import Unavailable
from vmcompare.evidence.claims.rules import RAMPS_WANTED
from vmcompare.evidence.published import load_figures
from vmcompare.evidence.statistics import INTERVAL_FROM, Interval, median_interval
from vmcompare.evidence.units import MIB, ratio, size
from vmcompare.evidence.view import (
    NEXT,
    Column,
    View,
    absent,
    bare_runtimes,
    failures,
    mixed,
    of_series,
)
from vmcompare.experiments.explanation import Explanation, Row
from vmcompare.experiments.guest_os import fits
from vmcompare.experiments.guest_os.fits import Fit, crossover, crossover_words, need_fits
from vmcompare.experiments.guest_os.instance import (
    CODE_CACHE,
    FILES,
    KERNEL_THREADS,
    PROCESSES,
)
from vmcompare.plots.lines import Curve, Line, curves, lines
from vmcompare.plots.picture import Picture, Placeholders, WhatIf
from vmcompare.plots.stack import Whole, stack
from vmcompare.sandbox import EMULATION, Machine, Platform, Series

PSS, OVERHEAD, PART = "pss_bytes", "overhead_bytes", "part_bytes"
APPLICATION_MIB = (1, 2, 3, 5, 10, 20, 30, 50, 100, 200, 300, 500, 1000, 2000, 3000)
_ZERO_WIDTH_SPACE = "\u200b"

explained = Explanation[View]()

explained.figure("ramps")(lambda view: _ramps(products(view), PSS, "All instances together"))
explained.figure("managing")(
    lambda view: _ramps(products(view), OVERHEAD, "What manages them", paid_back=True)
)


def products(view: View) -> View:
    """The rows that carry the lesson: without bare container runtimes."""
    return View(view.frame[bare_runtimes(view.frame) == ""], view.sources)


def _ramps(view: View, metric: str, title: str, *, paid_back: bool = False) -> Picture:
    """Memory on the host against N, with Docker's daemons and without.

    ``paid_back`` marks the N from which on daemons and containers cost less than VMs.
    """
    weighed = view.need(metric, "ramp of instances", phase="ramp")
    found = fits.fits(view, metric)
    both = mixed(weighed)
    drawn = [_line(column, fits.of_column(found, column), mixed=both) for column in weighed]
    marks: dict[str, float] = {}
    base = fits.container(found)
    held = fits.daemons_bytes(view, base.column.run_id) if base else {}
    before = held.get(0)
    if base is not None and before is not None:
        words = f"container, plus {size(before)} of daemons"
        drawn.insert(
            [column.key for column in weighed].index(base.column.key) + 1,
            Line(
                base.series,
                base.column.label(mixed=both).replace("container", words, 1),
                drawn=tuple((n, daemons + base.at(n)) for n, daemons in held.items() if n),
                dashed=True,
            ),
        )
        for vm in fits.vms(found, base.column.run_id) if paid_back else ():
            words = f"daemons paid back against {vm.series.label} "
            marks[words + crossover_words(before, base, vm)] = crossover(before, base, vm)
    last_n = max(int(column.rows["rep"].max()) for column in weighed)
    picture = lines(
        f"{title}, in MiB (bold: one more)",
        drawn,
        marks,
        x_label="instances at the same time, N",
        x_ticks=tuple(range(0, last_n + 1, 2 if last_n > 5 else 1)),
        what="Memory against the number of instances, with a straight line for each series",
        caption=_caption(view, view.columns(PSS, phase="ramp", failed_too=True)),
    )
    most = max(held, default=0)
    said: Placeholders = {
        "before": "" if before is None else size(before),
        "beside": size(held[most]) if held else "",
        "last": most,
        **_two(found),
    }
    return replace(picture, placeholders=said)


def _two(found: Sequence[Fit]) -> dict[str, str]:
    """Placeholders: the series whose line rests on two numbers of instances, and these."""
    few = [fit for fit in found if len(fit.ns) == 2]
    return {
        "two": ", ".join(fit.series.label for fit in few),
        "ns": " and ".join(map(str, few[0].ns)) if few else "",
    }


def _line(column: Column, fit: Fit | None, *, mixed: bool) -> Line:
    """Its points, with the line through them once two different N are weighed."""
    points, label = _points(column, "rep"), column.label(mixed=mixed)
    if fit is None:
        return Line(column.series, label, points)
    drawn = tuple((n, fit.at(n)) for n in (min(points)[0], max(points)[0]))
    return Line(column.series, label, points, drawn, size(fit.each.estimate))


@explained.figure("parts")
def parts(view: View) -> Picture:
    """One bar a series: what one more instance is made of."""
    view = products(view)
    made = {fit.column: fits.parts(view, fit) for fit in fits.fits(view, PSS)}
    shown = [column for column, of_one in made.items() if of_one]
    if not shown:
        raise absent("instance whose parts were weighed")
    both = mixed(shown)
    return stack(
        [Whole(column.label(mixed=both), made[column]) for column in shown],
        what="Memory on the host for one more instance, by what it is for",
        caption=_caption(view, shown),
    )


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
        "MiB on the host for one VM",
        drawn,
        x_label="memory given to the VM (-m), in MiB",
        x_ticks=(0, 128, 256, 512, 1024),
        what="What a virtual machine is given and what the host pays for it",
        caption=_caption(view, shown),
    )


@explained.table("numbers")
def numbers(view: View) -> Iterator[Row]:
    """Which number is which: one row a name, one column a series, all from the rows."""
    view = products(view)
    found = need_fits(view, PSS)
    both = mixed([fit.column for fit in found])
    sized, fresh, aged = (view.columns(PSS, phase=p) for p in ("size", "fresh", "aged"))
    booted = (*(column.where(mem_limit_mib=512) for column in sized), *fresh)
    cache = fits.fits(view, PART, CODE_CACHE)

    def median(fit: Fit, columns: Sequence[Column]) -> str:
        column = fit.column.same_in(columns)
        return size(column.median.estimate) if column else ""

    def slope(fit: Fit | None) -> str:
        return size(fit.each.estimate) if fit else ""

    def daemons(fit: Fit) -> str:
        held = fits.daemons_bytes(view, fit.column.run_id) if fit.is_docker else {}
        return size(held[0]) if 0 in held else ""

    named: Sequence[tuple[str, str, Callable[[Fit], str]]] = (
        ("one more", "each further instance, a command run in it", slope),
        ("its spread", "over the ramps", lambda fit: fit.each.words(size, one="ramp")),
        ("ratio", "to one more container", lambda fit: _over(fit, found)),
        ("fixed part", "there once, with the first", lambda fit: size(fit.fixed)),
        ("daemons", "Docker’s, before any container", daemons),
        ("just booted", "one VM with -m 512", lambda fit: median(fit, booted)),
        ("aged", "that VM after much reading", lambda fit: median(fit, aged)),
        (
            "code cache",
            f"in addition, under {EMULATION}",
            lambda fit: slope(fits.of_column(cache, fit.column)),
        ),
    )
    for name, counts, cell in named:
        cells = {fit.column.label(mixed=both): cell(fit) for fit in found}
        if any(cells.values()):
            filled = {label: words or "–" for label, words in cells.items()}
            yield {"number": name, "what it counts": counts, **filled}


@explained.values("numbers", "table")
def numbers_said(view: View) -> Placeholders:
    """For its caption: where it comes from, and what the fewest numbers of instances are."""
    return view.sourced() | _two(need_fits(products(view), PSS))


def _over(fit: Fit, found: Sequence[Fit]) -> str:
    """One more ÷ one more container of the same run."""
    base = fits.container(found)
    if not base or base.column.run_id != fit.column.run_id or base.each.estimate <= 0:
        return ""
    return ratio(fit.each.estimate / base.each.estimate)


@explained.table("counting")
def counting(view: View) -> Iterator[Row]:
    """One row a series: one more by three ways of counting, all of them with the code cache.

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
    return f"{words}: cannot be distinguished from noise" if each.low <= 0 else words


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
            **{
                name: f"{one.median.estimate:g} (n = {one.n})" if one else "–"
                for name, one in count.items()
            },
            "processor while idle": (
                f"{busy.median.estimate * 100:.1f} % (n = {busy.n})" if busy else "–"
            ),
            "provenance": column.provenance,
        }


@explained.table("literature")
def literature(view: View) -> Iterator[Row]:
    """One more of each product above what others published; only figures that were checked."""
    view = products(view)
    for fit in need_fits(view, PSS):
        yield {
            "what": fit.column.label(mixed=False),
            "figure": size(fit.each.estimate),
            "counted": "PSS, one more",
            "conditions": "idle" + (", code cache left out" if fit.column.emulated else ""),
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


@explained.whatif("application")
def application(view: View) -> WhatIf:
    """(VM + application) ÷ (container + application): the larger the application, the nearer 1."""
    view = products(view)
    found = need_fits(view, PSS)
    base = fits.container(found)
    others = fits.vms(found, base.column.run_id) if base else []
    if base is None or base.each.estimate <= 0 or not others:
        raise Unavailable(
            "no run has ramps of both containers and virtual machines",
            "measure both in one run, or load a recording of it",
        )
    drawn = [
        Curve(
            fit.series,
            fit.column.label(mixed=False),
            [with_application(fit, base, mib) for mib in APPLICATION_MIB],
        )
        for fit in (base, *others)
    ]

    def draw(mib: float) -> Picture:
        picture = curves(
            APPLICATION_MIB,
            drawn,
            APPLICATION_MIB.index(int(mib)),
            x_label="the application’s own memory, in MiB",
            title="instance with application ÷ container with application",
            written=ratio,
            tick=lambda value: f"{value:g}×",
        )
        return replace(picture, caption="")

    alone = (f"{fit.series.label} {_over(fit, found)}" for fit in others)
    return WhatIf(
        values=tuple(float(mib) for mib in APPLICATION_MIB),
        start=0,
        draw=draw,
        placeholders={
            "source": view.caption(),
            "alone": ", ".join(alone),
            "emulated": ", ".join(fit.series.label for fit in others if fit.column.emulated),
        },
    )


def with_application(fit: Fit, base: Fit, mib: float) -> float:
    """How many times as much one more costs as one more container, both with the application."""
    return (fit.each.estimate + mib * MIB) / (base.each.estimate + mib * MIB)


@explained.outcome("m512_mib", Platform.VM_DIRECT)
def _m512_mib(view: View) -> float | None:
    found = view.columns(PSS, phase="size", mem_limit_mib=512)
    column = of_series(found, Series(Platform.VM_DIRECT, Machine.PC))
    return column.median.estimate / MIB if column else None


@explained.outcome("container_mib", Platform.CONTAINER)
def _container_mib(view: View) -> float | None:
    fit = fits.container(fits.fits(view, PSS))
    return fit.each.estimate / MIB if fit else None


@explained.outcome("aged_mib", Platform.VM)
def _aged_mib(view: View) -> float | None:
    column = of_series(view.columns(PSS, phase="aged"), Series(Platform.VM, Machine.Q35))
    return column.median.estimate / MIB if column else None


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


def _caption(view: View, found: Sequence[Column]) -> str:
    """Provenance, what was emulated and what that means for a size, failures, few ramps."""
    there = [column for column in found if column.n]
    said = [f"{view.caption()}."] if view.sources else []
    emulated = dict.fromkeys(column.series.label for column in there if column.emulated)
    if emulated:
        said.append(
            f"Under {EMULATION}: {', '.join(emulated)}; the emulator then also holds tables of its "
            "translator: with hardware virtualisation these sizes are probably smaller."
        )
    if failed := failures(found):
        said.append(f"Failed, counted but not drawn: {failed}.")
    rounds = {column.series.label: column.rows["block"].nunique() for column in there}
    few = ", ".join(f"{name} {n}" for name, n in rounds.items() if n < RAMPS_WANTED)
    if few:
        said.append(f"Fewer than the {RAMPS_WANTED} rounds a verdict takes: {few}.")
    return " ".join(said)
