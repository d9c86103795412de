"""The race: one start of each series, played in its own time, phase by phase, without a script."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from vmcompare.evidence.units import seconds
from vmcompare.evidence.view import Column, View
from vmcompare.plots.times import fill, phase_name, until_first_byte
from vmcompare.sandbox import Phase

SLOW_MOTION = 100
"""How many times as long a start without a VM is shown: without it nobody would see it."""


@dataclass(frozen=True, slots=True)
class Runner:
    """One start of a series: the series, and each phase of this start with its seconds."""

    column: Column
    parts: Mapping[Phase, float]

    @property
    def factor(self) -> int:
        """How many times as long as it took it is shown."""
        return 1 if self.column.series.platform.is_vm else SLOW_MOTION

    @property
    def total_s(self) -> float:
        return sum(self.parts.values())

    def bars(self) -> Iterator[Mapping[str, Any]]:
        """Each phase that took time, as it is shown: when it begins, for how long, its colour."""
        begins_s = 0.0
        for phase, took_s in self.parts.items():
            shown_s = took_s * self.factor
            if took_s:
                yield {
                    "name": phase_name(self.column, phase),
                    "colour": fill(self.column, phase)[0],
                    "took_s": took_s,
                    "begins_s": begins_s,
                    "shown_s": shown_s,
                }
            begins_s += shown_s


def runners(view: View) -> list[Runner]:
    """Of each series the start whose time to the first byte is nearest to the series' median.

    Raises ``Unavailable``: the view holds no start with its phases.
    """
    found = []
    phases = view.columns("phase_s")
    for column in view.need("start_to_first_byte_s", "start"):
        timed = column.same_in(phases)
        if timed is None:
            continue
        middle, rows = column.median.estimate, column.rows
        starts = zip(rows["value"], rows["block"], rows["rep"], strict=True)
        _, block, rep = min(starts, key=lambda one: abs(float(one[0]) - middle))
        found.append(Runner(timed, until_first_byte(timed.where(block=int(block), rep=int(rep)))))
    return [runner for runner in found if runner.parts]


def race(view: View) -> Markup:
    """The race as HTML: a box to tick, and a lane a series. Without motion the lanes stand full.

    Raises ``Unavailable``: the view holds no start with its phases.
    """
    from jinja2 import Environment, PackageLoader

    lanes = runners(view)
    longest_s = max((lane.total_s * lane.factor for lane in lanes), default=0.0) or 1.0
    folder = PackageLoader("vmcompare.experiments.boot_speed", ".")
    templates = Environment(loader=folder, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    template = templates.get_template("race.html.j2")
    return Markup(template.render(lanes=lanes, longest_s=longest_s, seconds=seconds))
