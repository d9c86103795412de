"""Instructions of a start, explained: what was counted, and what it could mean in seconds.

Rows: ``start_instructions`` of every series, ``sector_instructions``, ``fork_instructions`` and
``fork_cpu_s``. Every function raises ``Unavailable`` where its rows are not there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from vmcompare.evidence.published import cited
from vmcompare.evidence.units import millions, seconds
from vmcompare.evidence.view import Column, View, absent, failures, mixed, of_series
from vmcompare.experiments.boot_instructions.measure import DIRECT, FULL
from vmcompare.experiments.explanation import Explanation
from vmcompare.plots.marks import Dot, Panels, amounts, sliding_dots
from vmcompare.plots.picture import Picture, WhatIf
from vmcompare.sandbox import Machine, Platform, Series

START = "start_instructions"
PROCESS = Series(Platform.PROCESS, Machine.PC)
RUNC = Series(Platform.CONTAINER, Machine.PC, "runc")
DOCKER = Series(Platform.CONTAINER, Machine.PC)
SHOWN = (PROCESS, RUNC, DOCKER, DIRECT, FULL)

SPEEDS = tuple(round(0.5 * 2 ** (step / 4), 2) for step in range(17))
"""Where the slider may stand: 0.5 to 8 billion instructions a second."""

_PUBLISHED = {
    "QEMU pc": (DIRECT, "a VM in QEMU pc, firmware SeaBIOS / qboot"),
    "Firecracker": (
        Series(Platform.VM_DIRECT, Machine.MICROVM),
        "a VM in Firecracker, configuration file / API socket",
    ),
}
"""A name → a series, and a system of the literature whose first figure is in milliseconds."""

_AXIS_S = (1e-4, 30.0)

explained = Explanation[View]()


@explained.figure("instructions")
def instructions(view: View) -> Picture:
    """Instructions of every start until its first byte, on a logarithmic axis."""
    starts = _starts(view)
    both = mixed(starts)
    dots = []
    for column in starts:
        count = column.median.estimate
        dots.append(Dot(column.series, _name(column, both), count, millions(count)))
    if firmware := of_series(view.columns("sector_instructions"), DIRECT):
        count = firmware.median.estimate
        dots.append(Dot(DIRECT, "firmware + 512 bytes", count, millions(count), hollow=True))
    dots.sort(key=lambda dot: dot.value)
    said = [view.caption()]
    if failed := failures(view.columns(START, failed_too=True)):
        said.append(f"Failed counts: {failed}")
    if not any(column.series.platform is Platform.CONTAINER for column in starts):
        said.append("The count of containers is missing: this run has none")
    what, caption = "Instructions to the first byte", f"{'. '.join(said)}."
    return amounts({what: dots}, what=what, caption=caption, scale=1e6, unit="million")


def _starts(view: View) -> Sequence[Column]:
    """The counted starts that are shown. Raises ``Unavailable`` if there is none."""
    counted = view.need(START, "counted start")
    found = [column for series in SHOWN if (column := of_series(counted, series))]
    if not found:
        raise absent("counted start")
    return found


def _name(column: Column, both: bool) -> str:
    name = "docker run" if column.series == DOCKER else column.series.label
    return f"{name} · {column.shown}" if both else name


def speed(view: View) -> float:
    """Instructions that the computer of ``view`` executes in a second, at fork and exec."""
    counted = of_series(view.columns("fork_instructions"), PROCESS)
    timed = of_series(view.columns("fork_cpu_s"), Series(Platform.PROCESS))
    if counted is None or timed is None:
        raise absent("known work that was counted and timed")
    return counted.median.estimate / timed.median.estimate


@explained.whatif("own_computer")
def own_computer(view: View) -> WhatIf:
    """What the counts make in seconds at a processor's speed; beside it, published times."""
    starts = _starts(view)
    own = round(speed(view) / 1e9, 2)

    def panels(billions: float) -> Panels:
        return {
            "Published, measured with hardware virtualisation": list(_published()),
            "Modelled": list(_modelled(starts, billions)),
        }

    return sliding_dots(
        panels,
        sorted({*SPEEDS, own}),
        start=own,
        said="{:g} billion instructions a second.",
        placeholders={"source": view.caption(), "own": f"{own:g}"},
        limits=dict.fromkeys(panels(own), _AXIS_S),
    )


def _modelled(starts: Sequence[Column], billions: float) -> Iterator[Dot]:
    for column in starts:
        took_s = column.median.estimate / (billions * 1e9)
        yield Dot(column.series, _name(column, mixed(starts)), took_s, seconds(took_s))


def _published() -> Iterator[Dot]:
    for name, (series, system) in _PUBLISHED.items():
        figure = cited(f"boot_time_end_to_end: {system}")
        source = f"{figure.short.partition(':')[0]}, {figure.year}"
        took_s = float(figure.value.split()[0]) / 1e3
        yield Dot(series, f"{name} ({source})", took_s, seconds(took_s), hollow=True)
