"""Heartbeats on one time axis, silence drawn as silence, and what a fall did to each heart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vmcompare.errors import Unavailable
from vmcompare.evidence.units import seconds
from vmcompare.evidence.view import View
from vmcompare.experiments.isolation import hearts
from vmcompare.experiments.isolation.hearts import BEATS_PER_S
from vmcompare.experiments.isolation.rows import NEXT
from vmcompare.plots import style
from vmcompare.plots.groups import EMULATION
from vmcompare.plots.picture import Picture
from vmcompare.sandbox import Platform

if TYPE_CHECKING:
    from matplotlib.axes import Axes

HEARTS: Mapping[str, Platform] = {
    "host": Platform.PROCESS,
    "sibling VM": Platform.VM_DIRECT,
    "faulty VM": Platform.VM_DIRECT,
    "their VM": Platform.CONTAINER,
    "container A": Platform.CONTAINER,
    "container B": Platform.CONTAINER,
}
"""Whose heart → whose colour, from top to bottom."""

SAID = {"their VM": "the VM of A and B"}

EVENT = "event: "
FAULTY = EVENT + "faulty VM panics"
REFUSED = EVENT + "default container tries sysrq"
FALL = EVENT + "privileged container tries sysrq"

_LOW_S, _HIGH_S = 0.03, 3.0
_WORD = 0.055  # half the width of "silent", as a share of the axis


@dataclass(frozen=True, slots=True)
class Event:
    """What happened: in which second of the axis, which phase, in words; or why it could not."""

    second: int
    phase: str
    text: str
    failed: bool = False

    @property
    def name(self) -> str:
        """What was done."""
        return self.phase.removeprefix(EVENT)


@dataclass(frozen=True, slots=True)
class Beats:
    """All hearts of one run.

    Attributes:
        gaps: heart → second → longest gap that ended in it, or time since the last beat (s).
        events: what happened, in order.
        run_id, shown, emulated: of the run.
    """

    gaps: Mapping[str, Mapping[int, float]]
    events: Sequence[Event]
    run_id: str
    shown: str
    emulated: bool

    def event(self, phase: str) -> Event | None:
        """The event of that phase, if it happened."""
        return next((e for e in self.events if e.phase == phase and not e.failed), None)

    def before_s(self, heart: str, second: int) -> float:
        """Longest gap of the 30 s before a second; NaN where nothing was heard."""
        try:
            return hearts.longest_before_s(self.gaps.get(heart, {}), second)
        except ValueError:
            return float("nan")

    def after_s(self, heart: str, second: int) -> float | None:
        """Longest gap from a second on; ``None`` where nothing was listened to."""
        return max((g for s, g in self.gaps.get(heart, {}).items() if s >= second), default=None)

    def silent(self, heart: str, second: int) -> bool:
        """Whether the heart was silent in that second: see :func:`.hearts.silent_seconds`."""
        events = [event.second for event in self.events]
        return second in hearts.silent_seconds(self.gaps.get(heart, {}), events)

    def misses(self, heart: str, second: int) -> bool | None:
        """Whether it missed a beat from a second on; ``None`` where nothing was listened to."""
        try:
            return hearts.misses(self.gaps.get(heart, {}), second)
        except ValueError:
            return None


def beats(view: View) -> Beats:
    """The hearts of the first run that holds those of the machines; else of any run.

    Raises:
        Unavailable: no heart was listened to.
    """
    frame = view.frame
    heard = frame[(frame["metric"] == "gap_s") & (frame["status"] == "ok")]
    if heard.empty:
        raise Unavailable("no heartbeat has been listened to yet", NEXT)
    machines = heard[heard["phase"].isin(["sibling VM", "their VM"])]
    run = str((machines if len(machines) else heard)["run_id"].iloc[0])
    heard = heard[heard["run_id"] == run]
    gaps: dict[str, dict[int, float]] = {}
    for heart in HEARTS:
        rows = heard[heard["phase"] == heart]
        if len(rows):
            gaps[heart] = dict(zip(rows["rep"].astype(int), rows["value"], strict=True))
    told = frame[(frame["run_id"] == run) & frame["phase"].astype(str).str.startswith(EVENT)]
    events = [
        Event(
            int(row["rep"]),
            str(row["phase"]),
            str(row["text"] or row["error"]),
            failed=row["status"] != "ok",
        )
        for row in told.to_dict("records")
    ]
    return Beats(
        gaps,
        sorted(events, key=lambda event: event.second),
        run,
        str(heard["shown"].iloc[0]),
        bool((heard["accel"] == "tcg").any()),
    )


@style.own()
def heartbeats(view: View) -> Picture:
    """The longest gap in every second, for each heart; where it stopped, a hatched silence."""
    found = beats(view)
    last = max(second for gaps in found.gaps.values() for second in gaps)
    rows = len(found.gaps)
    key_in = 0.2 * (len(found.events) + 2)
    figure = style.figure(0.58 * rows + 0.45 + key_in)
    grid = figure.subplots(rows + 1, 1, height_ratios=[0.58] * rows + [key_in], squeeze=False)[:, 0]
    for axes, (heart, gaps) in zip(grid, found.gaps.items(), strict=False):
        _strip(axes, found, heart, gaps, last)
        if axes is not grid[rows - 1]:
            axes.tick_params(axis="x", labelbottom=False, length=0)
    grid[rows - 1].set_xlabel("seconds on the host’s clock", fontsize=style.SMALL_PT)
    for number, event in enumerate(found.events, start=1):
        for axes in grid[:rows]:
            axes.axvline(event.second, color="black", linewidth=1, linestyle="--")
        grid[0].text(
            event.second, 1.04, str(number), transform=grid[0].get_xaxis_transform(),
            ha="center", va="bottom", fontsize=style.SMALL_PT, fontweight="bold",
        )  # fmt: skip
    _key(grid[rows], found)
    return Picture(figure, _alt(found), _caption(view, found))


def _strip(axes: Axes, found: Beats, heart: str, gaps: Mapping[int, float], last: int) -> None:
    colour = style.Series(HEARTS[heart]).look.colour
    alive = {second: gap for second, gap in gaps.items() if not found.silent(heart, second)}
    axes.set_yscale("log")
    axes.set_ylim(_LOW_S, _HIGH_S)
    axes.vlines([s + 0.5 for s in alive], _LOW_S, list(alive.values()), color=colour, linewidth=2)
    for begin, end in _stretches([s for s in gaps if s not in alive]):
        axes.axvspan(begin, end + 1, facecolor="#F0F0F0", edgecolor="#8A8A8A", hatch="xxx", lw=0)
        axes.text(
            min((begin + end + 1) / 2, last + 1 - _WORD * (last + 1)), 0.3, "silent",
            ha="center", va="center",
            fontsize=style.SMALL_PT, fontweight="bold", bbox=style.PLATE,
        )  # fmt: skip
    axes.set_xlim(0, last + 1)
    axes.set_yticks([0.05, 1.0], ["50 ms", "1 s"])
    axes.minorticks_off()
    axes.axhline(1.0, color="#D0D0D0", linewidth=0.6, zorder=0)
    axes.text(
        0.005, 0.93, SAID.get(heart, heart), transform=axes.transAxes, va="top",
        fontsize=style.SMALL_PT, fontweight="bold", bbox=style.PLATE,
    )  # fmt: skip
    style.plain(axes)
    axes.tick_params(axis="y", labelsize=7.5)


def _stretches(some: Sequence[int]) -> list[tuple[int, int]]:
    """First and last second of each stretch of seconds in a row."""
    found: list[tuple[int, int]] = []
    for second in sorted(some):
        if found and found[-1][1] == second - 1:
            found[-1] = (found[-1][0], second)
        else:
            found.append((second, second))
    return found


def _key(axes: Axes, found: Beats) -> None:
    axes.axis("off")
    lines = len(found.events) + 1
    axes.set_xlim(0, 1)
    axes.set_ylim(-lines + 0.4, 0.6)
    height = "bar: longest gap between two beats that ended in this second"
    axes.text(0, 0, height, fontsize=style.SMALL_PT - 0.5, va="center", in_layout=False)
    for number, event in enumerate(found.events, start=1):
        said = f"{number}  {event.name}: {event.text}"
        axes.text(
            0, -number, said if len(said) < 72 else said[:70] + "…", va="center",
            fontsize=style.SMALL_PT - 0.5, in_layout=False,
        )  # fmt: skip


def _alt(found: Beats) -> str:
    parts = ["Heartbeats on one time axis, the longest gap in every second."]
    for event in found.events:
        parts.append(f"Second {event.second}: {event.name}, {event.text}.")
    for heart, gaps in found.gaps.items():
        alive = [g for s, g in gaps.items() if not found.silent(heart, s)]
        silent = _stretches([s for s in gaps if found.silent(heart, s)])
        words = f"{SAID.get(heart, heart)}: "
        words += f"gaps up to {seconds(max(alive))}" if alive else "never heard"
        words += "".join(f", silent from second {begin} on" for begin, _ in silent[:1])
        parts.append(words + ".")
    return " ".join(parts)


def _caption(view: View, found: Beats) -> str:
    words = [f"{view.caption()}."]
    if found.emulated:
        words.append(
            f"The machines run under {EMULATION}; who falls silent does not depend on it, how "
            "even a heart beats does."
        )
    words.append(
        f"{BEATS_PER_S} beats a second are expected. Silent: a gap over 1 s and over twice the "
        "longest of the 30 s before, as registered."
    )
    words += [f"Not done: {e.name} ({e.text})." for e in found.events if e.failed]
    return " ".join(words)
