"""Two models on top of the fitted ramps: how many fit, and when daemons are paid back."""

from __future__ import annotations

import math

from vmcompare.errors import Unavailable
from vmcompare.evidence.units import MIB, size
from vmcompare.evidence.view import View, mixed
from vmcompare.experiments.guest_os import fits
from vmcompare.experiments.guest_os.fits import Fit
from vmcompare.plots.dots import Dot, Panels, sliding_dots
from vmcompare.plots.lines import Line, Panel, lines
from vmcompare.plots.picture import MODELLED, Picture, WhatIf

GIB = 1024 * MIB
ROOM_GIB = (1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 20, 24, 32, 40, 48, 64, 96, 128, 192, 256)
DAEMONS_MIB = tuple(range(0, 301, 15))
_LAST_N = 20


def how_many(view: View) -> WhatIf:
    """How many instances fit into a given amount of memory: (M − a) ÷ b, rounded down."""
    found = [f for f in fits.need_fits(view, "pss_bytes") if f.each.estimate > 0]
    if not found:
        raise Unavailable(
            "no series costs more with every instance, so none runs out of memory",
            "run more ramps, or load a recording",
        )
    both = mixed([f.column for f in found])
    title = "Instances that fit"

    def panels(room_gib: float) -> Panels:
        dots = []
        for fit in found:
            count = instances(room_gib * GIB, _before(view, fit), fit)
            dots.append(Dot(fit.column.series, fit.column.label(mixed=both), count, f"{count:,}"))
        return {title: dots}

    most = max(dot.value for dot in panels(ROOM_GIB[-1])[title])
    return sliding_dots(
        panels,
        ROOM_GIB,
        label="memory free for instances",
        unit="GiB",
        start=8,
        said="{:g} GiB free.",
        caption=f"By memory alone; processor, disk and network may run out first. {_words(found)}",
        formula=r"n = \left\lfloor \frac{M - a_{\mathrm{daemons}} - a}{b} \right\rfloor",
        source=f"a and b of pss_bytes, PSS of Docker’s daemons; {view.caption()}",
        limits={title: (0.5, most * 3)},
    )


def instances(room_bytes: float, before_bytes: float, fit: Fit) -> int:
    """The largest whole n with ``before + a + b·n`` within ``room_bytes``; never below zero."""
    return max(0, math.floor((room_bytes - before_bytes - fit.fixed) / fit.each.estimate))


def daemons(view: View) -> WhatIf:
    """When an engine's daemons are paid back, for daemons of any size: management alone."""
    found = fits.need_fits(view, "overhead_bytes")
    base = fits.product(found)
    others = fits.vms(found, base.column.run_id) if base else []
    if base is None or not others:
        raise Unavailable(
            "no run has ramps of both containers and virtual machines",
            "measure both in one run, or load a recording of it",
        )
    measured = fits.daemons_bytes(view, base.column.run_id)
    most = max(DAEMONS_MIB[-1] * MIB + base.at(_LAST_N), min(f.at(_LAST_N) for f in others))
    ends = (0.0, float(_LAST_N))

    def draw(daemons_mib: float) -> Picture:
        fixed = daemons_mib * MIB
        engine = Line(
            base.column.series,
            "container, daemons included",
            drawn=tuple((n, fixed + base.at(n)) for n in ends),
            note=f"{size(fixed + base.at(1))} for one",
        )
        drawn, marks = [engine], {}
        for vm in others:
            star = fits.crossover(fixed, base, vm)
            label = vm.column.label(mixed=False)
            drawn.append(
                Line(
                    vm.column.series,
                    label,
                    drawn=tuple((n, vm.at(n)) for n in ends),
                    note=f"{size(vm.at(1))} for one",
                )
            )
            marks[f"paid back against {vm.column.series.label} {fits.star_words(star)}"] = star
        return lines(
            [Panel("Daemons and shims, or emulators, in MiB: modelled", drawn, marks, top=most)],
            x_label="instances at the same time, N",
            x_ticks=range(0, _LAST_N + 1, 5),
            what=f"Daemons of {daemons_mib:g} MiB",
            caption=f"{MODELLED} {_words([base, *others])}",
        )

    near = 0.0 if measured is None else measured / MIB
    return WhatIf(
        label="memory of the engine’s daemons",
        values=tuple(float(value) for value in DAEMONS_MIB),
        start=min(range(len(DAEMONS_MIB)), key=lambda i: abs(DAEMONS_MIB[i] - near)),
        unit="MiB",
        draw=draw,
        formula=(
            r"N^{*} = \frac{a_{\mathrm{daemons}} + a_{\mathrm{container}} - a_{\mathrm{vm}}}"
            r"{b_{\mathrm{vm}} - b_{\mathrm{container}}}"
        ),
        source=(
            "a and b of overhead_bytes; "
            + (f"daemons measured: {size(measured)}; " if measured is not None else "")
            + view.caption()
        ),
    )


def _before(view: View, fit: Fit) -> float:
    """What has to be there before the first instance, in bytes: daemons, for Docker's product."""
    if fits.product([fit]) is None:
        return 0.0
    return fits.daemons_bytes(view, fit.column.run_id) or 0.0


def _words(found: list[Fit]) -> str:
    emulated = [f.column.series.label for f in found if f.column.emulated]
    if not emulated:
        return ""
    return (
        f"From sizes under software emulation: {', '.join(emulated)}; without the translator’s "
        "code cache."
    )
