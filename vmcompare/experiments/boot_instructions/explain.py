"""Instructions of a start, explained: what was counted, and what it could mean in seconds.

Rows: ``start_instructions`` of every series, ``sector_instructions``, ``fork_instructions`` and
``fork_cpu_s``. Every function raises ``Unavailable`` where its rows are not there.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from vmcompare.evidence.published import cited
from vmcompare.evidence.units import millions, seconds
from vmcompare.evidence.view import Column, View, absent, failures, mixed, of_series
from vmcompare.experiments.boot_instructions.measure import VMS
from vmcompare.experiments.explanation import Explanation
from vmcompare.plots.dots import Dot, Panels, counts, sliding_dots
from vmcompare.plots.picture import Picture, WhatIf
from vmcompare.sandbox import Machine, Platform, Series

START, SECTOR = "start_instructions", "sector_instructions"
PROCESS, RUNC, DOCKER = (
    Series(Platform.PROCESS, Machine.PC),
    Series(Platform.CONTAINER, Machine.PC, "runc"),
    Series(Platform.CONTAINER, Machine.PC),
)
DIRECT, _, FULL = VMS
_FEW = (PROCESS, RUNC, DOCKER, DIRECT, FULL)
"""What the model shows."""

_NAMES = {DOCKER: "docker run"}
_SECTOR = "firmware + 512 bytes"

SPEEDS = tuple(round(0.5 * 2 ** (step / 4), 2) for step in range(17))
"""Where the slider may stand: 0.5 to 8 billion instructions a second."""

_PUBLISHED = (
    (DIRECT, "QEMU pc", "boot_time_end_to_end: a VM in QEMU pc, firmware SeaBIOS / qboot"),
    (
        Series(Platform.VM_DIRECT, Machine.MICROVM),
        "Firecracker",
        "boot_time_end_to_end: a VM in Firecracker, configuration file / API socket",
    ),
)
"""A series, a name, and a line of the literature whose first figure is in milliseconds."""

_AXIS_S = (1e-4, 30.0)

explained = Explanation[View]()


@explained.figure("instructions")
def instructions(view: View) -> Picture:
    """Instructions of every start until its first byte, on a logarithmic axis."""
    found = sorted(view.need(START, "counted start"), key=lambda column: column.median.estimate)
    both = mixed(found)
    dots = [_dot(column, _name(column, both), column.median.estimate) for column in found]
    firmware = of_series(view.columns(SECTOR), DIRECT)
    if firmware is not None:
        dots.append(_dot(firmware, _SECTOR, firmware.median.estimate, hollow=True))
    dots.sort(key=lambda dot: dot.value)
    said = [view.caption()]
    if failed := failures(view.columns(START, failed_too=True)):
        said.append(f"Failed counts: {failed}")
    if not any(column.series.platform is Platform.CONTAINER for column in found):
        said.append("The count of containers is missing: this run has none")
    return counts(dots, what="Instructions to the first byte", caption=f"{'. '.join(said)}.")


def _dot(column: Column, label: str, value: float, *, hollow: bool = False) -> Dot:
    return Dot(column.series, label, value, millions(value), hollow)


def _name(column: Column, both: bool) -> str:
    name = _NAMES.get(column.series, column.series.label)
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
    found = [of_series(view.columns(START), series) for series in _FEW]
    starts = [column for column in found if column is not None]
    if not starts:
        raise absent("counted start")
    own = round(speed(view) / 1e9, 2)
    both = mixed(starts)

    def panels(billions: float) -> Panels:
        return {
            "Published, measured with hardware virtualisation": _published(),
            "Modelled": [_modelled(column, both, billions) for column in starts],
        }

    return sliding_dots(
        panels,
        sorted({*SPEEDS, own}),
        start=own,
        said="{:g} billion instructions a second.",
        placeholders={"source": view.caption(), "own": f"{own:g}"},
        limits=dict.fromkeys(panels(own), _AXIS_S),
    )


def _modelled(column: Column, both: bool, billions: float) -> Dot:
    took_s = column.median.estimate / (billions * 1e9)
    return Dot(column.series, _name(column, both), took_s, seconds(took_s))


def _published() -> Sequence[Dot]:
    dots = []
    for series, name, line in _PUBLISHED:
        figure = cited(line)
        first = re.match(r"[\d.]+", figure.value)
        assert first is not None
        source = f"{figure.short.partition(':')[0]}, {figure.year}"
        value_s = float(first[0]) / 1e3
        dots.append(Dot(series, f"{name} ({source})", value_s, seconds(value_s), hollow=True))
    return dots
