"""The demonstration: five are wanted, two are ended, and a loop starts what is missing."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from vmcompare.errors import Unavailable, UnknownName
from vmcompare.evidence.units import seconds
from vmcompare.evidence.view import View
from vmcompare.experiments.scaling.copies import copies
from vmcompare.experiments.scaling.measure import CELLS, KILLED, WANTED, Cell
from vmcompare.measuring.experiment import Demo
from vmcompare.sandbox import EMULATION, Launcher, Platform, Start

SHOWN = tuple(cell for cell in CELLS if cell.ns[-1] > WANTED and cell.start is not Start.COLD)
"""Pre-created containers, and clones."""

_ROW = Markup(
    "<tr><th scope='row' style='text-align:left'>{}</th><td style='text-align:left'>{}</td>"
    "<td style='text-align:left'>{}</td><td style='text-align:left'>{}</td></tr>"
)
_TABLE = Markup(
    "<table class='vmc-table'><thead><tr><th scope='col' style='text-align:left'>copy</th>"
    "<th scope='col' style='text-align:left'>wanted</th>"
    "<th scope='col' style='text-align:left'>ended</th>"
    "<th scope='col' style='text-align:left'>all there again after</th></tr></thead>"
    "<tbody>{}</tbody></table><p>{}</p>"
)


@dataclass(frozen=True, slots=True)
class Healed:
    """What came of it.

    Attributes:
        after: a cell in words → seconds from the loop's noticing to all being there again.
        where: "Measured just now." or "Recorded, run …".
    """

    after: Mapping[str, float]
    where: str

    def _repr_html_(self) -> str:
        rows = (_ROW.format(name, WANTED, KILLED, seconds(s)) for name, s in self.after.items())
        return str(_TABLE.format(Markup().join(rows), self.where))


def run(launchers: Mapping[Platform, Launcher], options: Mapping[str, Any]) -> Healed:
    """Start five of each, end two, start what is missing. Raises what ``Launcher.open`` raises."""
    if options:
        raise UnknownName("option", next(iter(options)), [])
    shown = [cell for cell in SHOWN if cell.series.platform in launchers]
    after = {_words(c, launchers[c.series.platform]): _healed_s(c, launchers) for c in shown}
    return Healed(after, "Measured just now.")


def _healed_s(cell: Cell, launchers: Mapping[Platform, Launcher]) -> float:
    with copies(launchers[cell.series.platform], cell.spec) as made:
        made.add(WANTED)
        made.end(KILLED)
        began_s = time.monotonic()
        # The loop of an orchestrator, once round: what is wanted, less what is there.
        made.add(WANTED - len(made.here))
        return time.monotonic() - began_s


def _words(cell: Cell, launcher: Launcher) -> str:
    return f"{cell.label} · {EMULATION}" if launcher.traits(cell.spec).emulated else cell.label


def replay(view: View) -> Healed:
    """The same from a recording. Raises ``Unavailable`` where there is none."""
    after = dict(_recorded(view))
    if not after:
        raise Unavailable("no replacing of copies is recorded", "install Docker, and run this cell")
    return Healed(after, f"{view.brief()}")


def _recorded(view: View) -> Iterator[tuple[str, float]]:
    for cell in SHOWN:
        for column in view.columns("heal_s", warmth=cell.start.value):
            if column.series == cell.series:
                rest = column.label(mixed=False).removeprefix(cell.series.label)
                yield f"{cell.label}{rest}", column.median.estimate


FIVE = Demo((Platform.CONTAINER,), run, replay, optional=(Platform.VM_DIRECT,))
