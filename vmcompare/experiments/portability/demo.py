"""The demonstration: a VM moves while it counts; a container is destroyed and created again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vmcompare.errors import Unavailable, UnknownName
from vmcompare.evidence.units import seconds
from vmcompare.evidence.view import MEASURED, View, of_series
from vmcompare.experiments.explanation import Row
from vmcompare.experiments.portability import counting
from vmcompare.experiments.portability.counting import CONTINUED, MOVING
from vmcompare.experiments.portability.measure import COUNT
from vmcompare.measuring.experiment import Demo
from vmcompare.sandbox import EMULATION, Launcher, Platform, Series

_BETWEEN = " | "  # in the text of a count; not where it was not tried
_CRIU = "bare container, continued by CRIU"
_VM, _CONTAINER = f"{MOVING.label}, moved", "container, created again"


def run(launchers: Mapping[Platform, Launcher], options: Mapping[str, Any]) -> list[Row]:
    """Move a VM, and where there is Docker, create a container again. Raises as launchers do."""
    if options:
        raise UnknownName("option", next(iter(options)), [])
    launcher = launchers[MOVING.platform]
    emulated = launcher.traits(counting.vm()).emulated
    moved = counting.moved(launcher)
    kind = f"{MEASURED}, {EMULATION}" if emulated else MEASURED
    rows = [_row(_VM, moved.text, seconds(moved.pause_s), kind)]
    if Platform.CONTAINER in launchers:
        again = counting.created_again(launchers[Platform.CONTAINER])
        rows.append(_row(_CONTAINER, again.text, "–", MEASURED))
    return rows


def replay(view: View) -> list[Row]:
    """The same from a recording. Raises ``Unavailable`` where there is none."""
    counts = view.columns("observation", phase=COUNT)
    pause = of_series(view.columns("duration_s", phase="pause"), MOVING)
    rows = []
    shown = ((MOVING, _VM), (Series(Platform.CONTAINER), _CONTAINER), (CONTINUED, _CRIU))
    for series, what in shown:
        column = of_series(counts, series)
        if column and _BETWEEN in str(column.rows["text"].iloc[0]):
            paused = seconds(pause.values[0]) if pause and series == MOVING else "–"
            rows.append(_row(what, str(column.rows["text"].iloc[0]), paused, column.provenance))
    if not rows:
        raise Unavailable("no move is recorded", "install QEMU, and run this cell")
    return rows


def _row(what: str, text: str, paused: str, kind: str) -> Row:
    before, _, after = text.partition(_BETWEEN)
    after, _, program = after.rstrip(")").partition(" (")  # of CRIU: with its version
    return {
        "what counts": what.replace("CRIU", program) if program else what,
        "last numbers before": f"… {before}",
        "first numbers after": f"{after} …",
        "paused": paused,
        "kind": kind,
    }


MOVE = Demo((MOVING.platform,), run, replay, optional=(Platform.CONTAINER,))
