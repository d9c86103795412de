"""The demonstration: five are wanted, two are ended, and a loop starts what is missing."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from vmcompare.errors import Unavailable, UnknownName
from vmcompare.evidence.units import seconds
from vmcompare.evidence.view import MEASURED, View, of_series
from vmcompare.experiments.explanation import Row
from vmcompare.experiments.scaling.copies import copies
from vmcompare.experiments.scaling.measure import CELLS, KILLED, WANTED, Cell
from vmcompare.measuring.experiment import Demo
from vmcompare.sandbox import EMULATION, Launcher, Platform, Start

SHOWN = tuple(cell for cell in CELLS if cell.start is not Start.COLD)
"""Pre-created containers, and clones."""


def run(launchers: Mapping[Platform, Launcher], options: Mapping[str, Any]) -> list[Row]:
    """Start five of each, end two, start what is missing. Raises what ``Launcher.open`` raises."""
    if options:
        raise UnknownName("option", next(iter(options)), [])
    rows = []
    for cell in SHOWN:
        if (launcher := launchers.get(cell.series.platform)) is not None:
            emulated = launcher.traits(cell.spec).emulated
            kind = f"{MEASURED}, {EMULATION}" if emulated else MEASURED
            rows.append(_row(cell, _healed_s(cell, launcher), kind))
    return rows


def _healed_s(cell: Cell, launcher: Launcher) -> float:
    with copies(launcher, cell.spec) as made:
        made.add(WANTED)
        made.end(KILLED)
        began_s = time.monotonic()
        # The loop of an orchestrator, once round: what is wanted, less what is there.
        made.add(WANTED - len(made.here))
        return time.monotonic() - began_s


def replay(view: View) -> list[Row]:
    """The same from a recording. Raises ``Unavailable`` where there is none."""
    rows = []
    for cell in SHOWN:
        column = of_series(view.columns("heal_s", warmth=cell.start.value), cell.series)
        if column is not None:
            rows.append(_row(cell, column.median.estimate, column.provenance))
    if not rows:
        raise Unavailable("no replacing of copies is recorded", "install Docker, and run this cell")
    return rows


def _row(cell: Cell, after_s: float, kind: str) -> Row:
    return {
        "copy": cell.label,
        "ended": f"{KILLED} of {WANTED}",
        "all there again after": seconds(after_s),
        "kind": kind,
    }


FIVE = Demo((Platform.CONTAINER,), run, replay, optional=(Platform.VM_DIRECT,))
