"""The race: one start of each series, played in its own time, phase by phase, without a script."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from markupsafe import Markup

from vmcompare.evidence.units import seconds
from vmcompare.evidence.view import Column, View
from vmcompare.plots.times import fill, phase_name
from vmcompare.sandbox import Phase

SLOW_MOTION = 100
"""How many times as long a start without a VM is shown: without it nobody would see it."""


@dataclass(frozen=True, slots=True)
class Runner:
    """One start of a series.

    Attributes:
        column: the series, with the phases of all its starts.
        parts: each phase of this start with its seconds, up to the first byte.
    """

    column: Column
    parts: tuple[tuple[Phase, float], ...]

    @property
    def factor(self) -> int:
        """How many times as long as it took it is shown."""
        return 1 if self.column.series.platform.is_vm else SLOW_MOTION

    @property
    def total_s(self) -> float:
        return sum(seconds for _, seconds in self.parts)


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
        start = timed.where(block=int(block), rep=int(rep))
        found.append(Runner(timed, tuple(_until_first_byte(start))))
    return [runner for runner in found if runner.parts]


def _until_first_byte(start: Column) -> Iterator[tuple[Phase, float]]:
    for name, value in zip(start.rows["phase"], start.rows["value"], strict=True):
        yield Phase(name), float(value)
        if name == Phase.FIRST_BYTE:
            return


def race(view: View) -> Markup:
    """The race as HTML: a box to tick, and a lane a series. Without motion the lanes stand full.

    A lane in slow motion is striped, and has a thin bar in real time below it.

    Raises ``Unavailable``: the view holds no start with its phases.
    """
    lanes = runners(view)
    longest_s = max((lane.total_s * lane.factor for lane in lanes), default=0.0) or 1.0
    return _RACE.format(
        style=Markup(_STYLE), lanes=Markup("").join(_lane(lane, longest_s) for lane in lanes)
    )


def _lane(lane: Runner, longest_s: float) -> Markup:
    bars, words, begins_s = Markup(""), Markup(""), 0.0
    slow = lane.factor > 1
    for phase, took_s in lane.parts:
        shown_s = took_s * lane.factor
        if not shown_s:
            continue
        bars += _BAR.format(
            width=100 * shown_s / longest_s, colour=fill(lane.column, phase)[0],
            delay=begins_s, time=shown_s,
        )  # fmt: skip
        name = phase_name(lane.column, phase)
        words += _WORD.format(delay=begins_s, word=f"{name} {seconds(took_s)}")
        begins_s += shown_s
    end = _WORD.format(delay=begins_s, word=f"first byte after {seconds(lane.total_s)}")
    speed = f"slow motion, {lane.factor} ×" if slow else "real time"
    label = f"{lane.column.label(mixed=False)} · {speed}"
    real = _BAR.format(
        width=100 * lane.total_s / longest_s, colour="currentcolor", delay=0, time=lane.total_s
    )
    return _LANE.format(
        label=label, bars=bars, words=words, end=end, kind=" vmc-slow" if slow else "",
        real=_REAL.format(bar=real) if slow else "",
    )  # fmt: skip


_RACE = Markup(
    '<div class="vmc-race" data-lm-suppress-shortcuts="true">{style}'
    '<label><input type="checkbox" autocomplete="off"> <b>Start the race</b></label>'
    "<ul>{lanes}</ul></div>"
)
_LANE = Markup(
    '<li><b>{label}</b><div class="vmc-track{kind}" aria-hidden="true">{bars}</div>{real}'
    "<small>{words}{end}</small></li>"
)
_REAL = Markup('<div class="vmc-real" aria-hidden="true">{bar} in real time</div>')
_BAR = Markup(
    '<i style="width:{width:.4f}%;background-color:{colour};'
    'animation-delay:{delay:.4f}s;animation-duration:{time:.4f}s"></i>'
)
_WORD = Markup('<span style="animation-delay:{delay:.4f}s">{word}</span> ')

_STYLE = """<style>
.vmc-race label { display: inline-block; padding: .4rem .8rem; border: 2px solid;
  border-radius: .3rem; cursor: pointer }
.vmc-race ul { list-style: none; margin: .5rem 0; padding: 0 }
.vmc-race li { margin: .5rem 0 }
.vmc-race small > * { margin-right: .8em }
.vmc-track { display: flex; height: 1.1rem; border: 1px solid; overflow: hidden }
.vmc-race i { flex: none; box-sizing: border-box; border-right: 1px solid #000;
  print-color-adjust: exact }
.vmc-track.vmc-slow { border-style: dashed }
.vmc-slow i { background-image: repeating-linear-gradient(120deg, #fff 0 3px, #fff0 3px 12px) }
.vmc-real { display: flex; gap: .4em; align-items: center; font-size: .75em; line-height: 1.3 }
.vmc-real i { height: .5em; min-width: 2px; border: 0 }
@keyframes vmc-run { from { clip-path: inset(0 100% 0 0) } to { clip-path: inset(0) } }
@keyframes vmc-tell { from { opacity: .15 } }
@media (prefers-reduced-motion: no-preference) {
  .vmc-race:has(:checked) i { animation: vmc-run linear backwards }
  .vmc-race:has(:checked) small > * { animation: vmc-tell 1ms backwards }
}
</style>"""
