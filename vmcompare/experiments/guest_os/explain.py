"""Memory of instances, explained: what is drawn, tabulated and modelled, and held against answers.

Every function raises ``Unavailable`` where its rows are not there; an outcome is then ``None``.
All sizes leave the translator's code cache out unless they say otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from math import ceil

from vmcompare.errors import Unavailable
from vmcompare.evidence.claims.rules import RAMPS_WANTED
from vmcompare.evidence.published import cited
from vmcompare.evidence.units import MIB, ratio, size
from vmcompare.evidence.view import (
    Column,
    View,
    absent,
    bare_runtimes,
    failures,
    mixed,
    of_series,
)
from vmcompare.experiments.explanation import Explanation, Row, Values
from vmcompare.experiments.guest_os import fits
from vmcompare.experiments.guest_os.fits import Fit, need_fits
from vmcompare.experiments.guest_os.measure import CODE_CACHE, EMULATOR, SHIM
from vmcompare.plots.lines import Curve, Line, curves, lines
from vmcompare.plots.picture import Picture, Placeholders, WhatIf
from vmcompare.plots.stack import Whole, stack
from vmcompare.sandbox import EMULATION, Machine, Platform, Series

PSS = "pss_bytes"
APPLICATION_MIB = (1, 2, 3, 5, 10, 20, 30, 50, 100, 200, 300, 500, 1000, 2000, 3000)

ROOM_MIB, EACH_MIB = 6 * 1024, 100
"""What the laptop of the exercise has left for instances, and what each one's application needs."""

explained = Explanation[View]()


def products(view: View) -> View:
    """The rows that carry the lesson: without bare container runtimes."""
    return View(view.frame[bare_runtimes(view.frame) == ""], view.sources)


@explained.figure("ramps")
def ramps(view: View) -> Picture:
    """Memory on the host against N, with Docker's daemons and without."""
    view = products(view)
    weighed = view.need(PSS, "ramp of instances", phase="ramp")
    found = fits.fits(view, PSS)
    both = mixed(weighed)
    drawn = [_line(column, fits.of_column(found, column), mixed=both) for column in weighed]
    base = fits.container(found)
    held = fits.daemons_bytes(view, base.column.run_id) if base else {}
    before = size(held[0]) if 0 in held else ""
    if base is not None and before:
        drawn.insert(
            [column.key for column in weighed].index(base.column.key) + 1,
            Line(
                base.series,
                base.column.label(mixed=both).replace(
                    "container", f"container, plus {before} of daemons", 1
                ),
                drawn=tuple((n, daemons + base.at(n)) for n, daemons in held.items() if n),
                dashed=True,
            ),
        )
    last_n = max(int(column.rows["rep"].max()) for column in weighed)
    picture = lines(
        "All instances together, in MiB (bold: one more)",
        drawn,
        x_label="instances at the same time, N",
        x_ticks=tuple(range(0, last_n + 1, 2 if last_n > 5 else 1)),
        what="Memory against the number of instances, with a straight line for each series",
        caption=_caption(view, view.columns(PSS, phase="ramp", failed_too=True)),
    )
    most = max(held, default=0)
    beside = size(held[most]) if held else ""
    said: Placeholders = {"before": before, "beside": beside, "last": most}
    return replace(picture, placeholders=said)


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
    """What a VM is given (``-m``) against what the host pays, just booted and aged."""
    found = [
        (p, column) for p in ("size", "fresh", "aged") for column in view.columns(PSS, phase=p)
    ]
    if not found:
        raise absent("virtual machine of several sizes")
    shown = [column for _, column in found]
    both = mixed(shown)
    drawn = [Line(None, "paid = given", drawn=((0, 0), (1024, 1024 * MIB)), dashed=True)]
    for phase, column in found:
        points, old = _points(column, "mem_limit_mib"), phase == "aged"
        label = f"{column.label(mixed=both)}, {'aged' if old else 'just booted'}"
        medians = sorted(column.medians("mem_limit_mib").items()) if phase == "size" else ()
        note = "" if phase == "size" else size(column.median.estimate)
        drawn.append(Line(column.series, label, points, tuple(medians), note, hollow=old))
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
    cache = fits.fits(view, "part_bytes", CODE_CACHE)

    def median(fit: Fit, columns: Sequence[Column]) -> str:
        column = fit.column.same_in(columns)
        return size(column.median.estimate) if column else ""

    def fixed(fit: Fit) -> str:
        estimate, ends = size(fit.fixed.estimate), fit.fixed.ends(size, " to ")
        return f"{estimate} ({ends})" if ends else estimate

    def cached(fit: Fit) -> str:
        line = fits.of_column(cache, fit.column)
        return size(line.each.estimate) if line else ""

    def daemons(fit: Fit) -> str:
        held = fits.daemons_bytes(view, fit.column.run_id) if fit.is_docker else {}
        return size(held[0]) if 0 in held else ""

    named: Sequence[tuple[str, str, Callable[[Fit], str]]] = (
        ("one more", "what each further instance adds", lambda fit: size(fit.each.estimate)),
        ("fixed part", "there once: where the line meets N = 0", fixed),
        ("daemons", "Docker’s, before any container", daemons),
        ("just booted", "one VM with -m 512", lambda fit: median(fit, booted)),
        ("aged", "that VM after it has read a lot", lambda fit: median(fit, aged)),
        ("code cache", f"of one more, under {EMULATION}", cached),
    )
    for name, counts, cell in named:
        cells = {fit.column.label(mixed=both): cell(fit) or "–" for fit in found}
        if {*cells.values()} != {"–"}:
            yield {"number": name, "what it counts": counts, **cells}


@explained.values("numbers", "table")
def _numbers(view: View) -> Placeholders:
    found = need_fits(products(view), PSS)
    spread = (f"{fit.series.label} {fit.each.words(size, one='ramp')}" for fit in found)
    fixed = (f"{fit.series.label} {fit.fixed.words(size, one='ramp')}" for fit in found)
    vms = (fit.column.rows.iloc[0] for fit in found if fit.series.platform.is_vm)
    guests = dict.fromkeys(
        f"virtual processors: {row['vcpus']}, memory: {row['mem_limit_mib']} MiB" for row in vms
    )
    return {
        "spread": "; ".join(spread),
        "fixed": "; ".join(fixed),
        "guests": "; ".join(guests),
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
    drawn = []
    for fit in (base, *others):
        times = [_times(fit, base, mib) for mib in APPLICATION_MIB]
        drawn.append(Curve(fit.series, fit.column.label(mixed=False), times))

    def draw(mib: float) -> Picture:
        picture = curves(
            APPLICATION_MIB,
            drawn,
            APPLICATION_MIB.index(int(mib)),
            x_label="the application’s own memory A, in MiB",
            title="instance with application ÷ container with application",
            written=ratio,
            tick=lambda value: f"{value:g}×",
        )
        return replace(picture, caption="")

    alone = (f"{fit.series.label} {ratio(_times(fit, base, 0))}" for fit in others)
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


def _times(fit: Fit, base: Fit, mib: float) -> float:
    """One more ÷ one more container, both with an application of ``mib`` MiB."""
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


def _caption(view: View, found: Sequence[Column]) -> str:
    """Provenance, failures, few ramps."""
    there = [column for column in found if column.n]
    said = [f"{view.caption()}."] if view.sources else []
    if failed := failures(found):
        said.append(f"Failed, counted but not drawn: {failed}.")
    rounds = {column.series.label: column.rows["block"].nunique() for column in there}
    few = ", ".join(f"{name} {n}" for name, n in rounds.items() if n < RAMPS_WANTED)
    if few:
        said.append(f"Fewer than the {RAMPS_WANTED} rounds a verdict takes: {few}.")
    return " ".join(said)


@explained.check("laptop", unit="VMs", within=0.06)
def full_vms(view: View) -> float:
    """How many freshly booted full VMs fit into :data:`ROOM_MIB`, each with its application."""
    return float(_fits_in(_laptop(view)[0]))


@explained.values("laptop")
def _laptops(view: View) -> Values:
    vm, container = _laptop(view)
    vms, containers = _fits_in(vm), _fits_in(container) if container else 0
    return {
        "fixed": size(vm.fixed.estimate),
        "one": size(vm.each.estimate),
        "vms": vms,
        "containers": containers,
        "times": f"{containers / max(1, vms):.2g}",
        "emulated": EMULATION if vm.column.emulated else "",
    }


def _laptop(view: View) -> tuple[Fit, Fit | None]:
    found = fits.fits(view, PSS)
    full = (fit for fit in found if fit.series.platform is Platform.VM and fit.each.estimate > 0)
    if vm := next(full, None):
        return vm, fits.container(found)
    raise Unavailable("the data shown hold no ramp of vm", "replay a recording, or measure one")


def _fits_in(fit: Fit) -> int:
    """The largest n with fixed part + n · (one more + application) within the room."""
    each_mib = fit.each.estimate / MIB + EACH_MIB
    return int((ROOM_MIB - fit.fixed.estimate / MIB) // each_mib)


@explained.check("crossover", unit="VMs", within=0.0)
def crossover(view: View) -> float:
    """From how many direct-boot VMs on their emulators take more than daemons and shims."""
    for fit, daemons, each in _managed(view):
        if fit.series == Series(Platform.VM_DIRECT, Machine.PC):
            return float(ceil(daemons / each))
    raise Unavailable(
        "the data shown do not hold daemons, shims and emulators of one run",
        "replay a recording, or measure containers and vm-direct together",
    )


@explained.values("crossover")
def _crossover(view: View) -> Values:
    crossover(view)
    found = list(_managed(view))
    said = (
        f"*{fit.series.label}*: {size(daemons)} ÷ {size(each)} = {daemons / each:.1f}, so from "
        f"**{ceil(daemons / each)}** on."
        for fit, daemons, each in found
    )
    fit, daemons, each = found[0]
    emulator = fits.parts(view, fit)[EMULATOR]
    resident_mib = float(cited(_RESIDENT).value.split(" / ")[-1])
    return {
        "answers": " ".join(said),
        "emulated": fit.column.emulated,
        "resident": resident_mib,
        "hardware": ceil(daemons / (resident_mib * MIB - (emulator - each))),
    }


_RESIDENT = "mem_overhead_rss: Firecracker / Cloud Hypervisor / QEMU"
"""A line of the literature: resident memory without guest RAM, under hardware virtualisation."""


def _managed(view: View) -> Iterator[tuple[Fit, float, float]]:
    """Each VM, Docker's daemons, and one emulator less one shim, in bytes and of one run."""
    found = fits.fits(products(view), PSS)
    base = fits.container(found)
    daemons = fits.daemons_bytes(view, base.column.run_id).get(0) if base else None
    shim = fits.parts(view, base).get(SHIM) if base else None
    if base is None or daemons is None or shim is None:
        return
    for fit in fits.vms(found, base.column.run_id):
        each = fits.parts(view, fit).get(EMULATOR, 0.0) - shim
        if each > 0:
            yield fit, daemons, each


@explained.values("flawed_study")
def _flawed_study(view: View) -> Values:
    found = fits.container(fits.fits(view, PSS))
    return {"container": size(found.each.estimate) if found else ""}
