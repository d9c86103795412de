"""Portability: what a lesson draws, tabulates, models, does on the spot and checks answers against.

Every function raises ``Unavailable`` where its rows are not there; an outcome is then ``None``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from vmcompare.errors import Unavailable, UnknownName
from vmcompare.evidence.units import MIB, seconds, size
from vmcompare.evidence.view import MEASURED, Column, View, absent, caption, mixed, of_series
from vmcompare.experiments.explanation import Explanation, Row, Values
from vmcompare.experiments.portability import counting
from vmcompare.experiments.portability.counting import CONTINUED, MOVING
from vmcompare.experiments.portability.elsewhere import BY_HAND, HARDWARE, IDE, KERNEL, PROGRAM
from vmcompare.experiments.portability.measure import COUNT, MOVED, STEPS, THEIR_VM
from vmcompare.measuring.experiment import Demo
from vmcompare.plots.picture import MODELLED, Picture, WhatIf
from vmcompare.plots.stack import Whole, stack
from vmcompare.sandbox import EMULATION, Launcher, Platform, Series

LINKS_MBIT = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000)
"""Positions of the slider, in Mbit/s."""

SHOWN_MBIT, ASKED_MBIT = 10, 30
"""The position shown first; and a speed that is asked for, at which the slider does not stop."""

_PARTS = ("save", "transfer", "load", "start")
_WORDS = dict(zip(STEPS, ("save", "load", "start"), strict=True))
_PLACES = {
    KERNEL: ("container’s image", "Docker under a VM’s kernel"),
    HARDWARE: ("VM’s disk", "another virtual computer (pc, not q35)"),
    IDE: ("VM’s disk", "the same, as an IDE disk"),
}
"""Phase → what was put where."""
_INSTANCES = {
    Series(Platform.CONTAINER, runtime=BY_HAND): "container with an emulator",
    THEIR_VM: "VM with that processor",
}

explained = Explanation[View]()


@dataclass(frozen=True, slots=True)
class Move:
    """The rows that one series has of a move, in one run.

    Attributes:
        steps: the word of each step → its times, in order; all three are there.
        shipped: sizes of the file that travels.
    """

    steps: dict[str, Column]
    shipped: Column

    @property
    def bytes(self) -> float:
        """The median size."""
        return self.shipped.median.estimate

    @property
    def emulated(self) -> bool:
        """Whether its start is emulated: saving and loading a file need no guest."""
        return self.steps["start"].emulated

    def parts(self, *, started: bool, mbit: float = 0.0) -> dict[str, float]:
        """Step in one word → median seconds, in order.

        Perhaps without the start; with a transfer over ``mbit`` Mbit/s, if any.
        """
        took_s = {word: column.median.estimate for word, column in self.steps.items()}
        took_s["transfer"] = transfer_s(self.bytes, mbit) if mbit else 0.0
        left_out = ("" if mbit else "transfer", "" if started else "start")
        return {word: took_s[word] for word in _PARTS if word not in left_out}

    def longest_mbit(self, *, started: bool) -> float:
        """Up to this speed (Mbit/s) the transfer is the longest part."""
        return 8 * self.bytes / max(self.parts(started=started).values()) / 1e6


def transfer_s(shipped_bytes: float, mbit: float) -> float:
    """Seconds on a link that nothing else uses, without headers of its protocols."""
    return 8 * shipped_bytes / (mbit * 1e6)


def moves(view: View) -> Sequence[Move]:
    """Every whole move, container first; at least one, else ``Unavailable``."""
    sizes = view.columns("image_bytes", phase="compressed")
    found = []
    for series in MOVED:
        times = {w: view.columns("duration_s", phase=phase) for phase, w in _WORDS.items()}
        whole = {word: column for word, t in times.items() if (column := of_series(t, series))}
        shipped = of_series(sizes, series)
        if shipped is not None and len(whole) == len(STEPS):
            found.append(Move(whole, shipped))
    if not found:
        raise absent("move")
    return found


@explained.figure("steps")
def steps(view: View) -> Picture:
    """What a move takes besides the transfer."""
    return _drawn(view)


@explained.whatif("link")
def link(view: View) -> WhatIf:
    """The same with the transfer, over a link of so many Mbit/s."""

    def draw(mbit: float) -> Picture:
        picture = _drawn(view, mbit)
        return replace(picture, alt=f"{picture.alt} {MODELLED}")

    found = moves(view)
    emulated = any(one.emulated for one in found)
    told: dict[str, list[str]] = {"sizes": [], "until": [], "starts": []}
    for one in found:
        series, start = one.shipped.series, one.steps["start"]
        speed_mbit = one.longest_mbit(started=not emulated)
        told["sizes"].append(f"{series.label} {size(one.bytes)}")
        told["until"].append(f"{speed_mbit:.0f} Mbit/s ({series.platform})")
        if emulated and not start.emulated:
            told["starts"].append(f"{seconds(start.median.estimate)} ({series.platform})")
    return WhatIf(
        LINKS_MBIT,
        LINKS_MBIT.index(SHOWN_MBIT),
        draw,
        placeholders={
            "source": view.caption(),
            "emulated": emulated,
            **{name: ", ".join(words) for name, words in told.items()},
        },
    )


def _drawn(view: View, mbit: float = 0.0) -> Picture:
    """Bars of steps, without starts where a VM's is emulated: it would be nearly all of its bar."""
    found = moves(view)
    emulated = any(one.emulated for one in found)
    both = mixed([one.shipped for one in found])
    what, said = "Seconds that a move takes besides the transfer", ""
    if mbit:
        end = "can be started" if emulated else "runs"
        what = f"Seconds until it {end} elsewhere, over {mbit:g} Mbit/s"
    else:
        last = [one.steps["start"] for one in found]
        if emulated:  # what is drawn then runs no guest
            last = [replace(column, emulated=False) for column in last]
        said = caption(view, last)
    wholes = [
        Whole(one.shipped.label(mixed=both), one.parts(started=not emulated, mbit=mbit))
        for one in found
    ]
    picture = stack(wholes, what=what, caption=said, written=seconds, order=_PARTS)
    # What is drawn without the starts runs no guest.
    brief = "" if mbit or not emulated else view.of().brief()
    return replace(picture, placeholders={"emulated": emulated}, brief=brief)


_KERNELS = re.compile(
    r"it ran; here image (\S+), Linux (\S+), Alpine (\S+); there image \1, Linux (\S+), Alpine \3"
)
"""What is recorded of one image under two kernels."""


@explained.table("elsewhere", lacking="place unlike this computer")
def places(view: View) -> Iterator[Row]:
    """One row a place unlike this computer: what was put there, and what came of it."""
    for phase in (*_PLACES, PROGRAM):
        for column in view.columns("observation", phase=phase):
            instance = _INSTANCES.get(column.series, column.series.label)
            what, place = _PLACES.get(phase, ("foreign program", instance))
            yield {
                "what": what,
                "put into": place,
                "what came of it": _KERNELS.sub(
                    r"it ran: same image, same Alpine \3; kernel here \2, in the VM \4",
                    str(column.rows["text"].iloc[0]),
                ),
                "provenance": column.provenance,
            }


@explained.values("elsewhere", "table")
def _close_kernels(view: View) -> Values:
    """``close``: the version of Linux that both kernels have, ``"6.18"``; empty if they differ."""
    seen = view.columns("observation", phase=KERNEL)
    both = _KERNELS.fullmatch(str(seen[0].rows["text"].iloc[0])) if seen else None
    here, there = (".".join(both[n].split(".")[:2]) if both else "" for n in (2, 4))
    return {"close": here if here == there else ""}


@explained.table("network", lacking="step of two that talk")
def two_that_talk(view: View) -> Iterator[Row]:
    """One row a platform: what is done until two talk over a network of their own, how long."""
    for column in view.columns("step_count"):
        took = of_series(view.columns("talk_s"), column.series)
        yield {
            "two of": column.series.label,
            "steps": f"{column.median.estimate:.0f}",
            "which": str(column.rows["text"].iloc[0]),
            "until the answer": seconds(took.median.estimate) if took else "–",
            "provenance": column.provenance,
        }


@explained.table("moves")
def every_move(view: View) -> Iterator[Row]:
    """One row a side and step: medians, with interval, n and provenance."""
    for one in moves(view):
        label = one.shipped.series.label
        for word, column in one.steps.items():
            found = column.median
            emulated = one.emulated and word == "start"
            yield {
                "what moves": label,
                "step": word,
                "median": f"{seconds(found.estimate)} ({found.words(seconds)})",
                "runs": str(column.n),
                "provenance": column.provenance if emulated else column.shown,
            }


@explained.outcome("vm_over_container", *(series.platform for series in MOVED), of_files=True)
def _vm_over_container(view: View) -> float | None:
    sizes = view.columns("image_bytes", phase="compressed")
    below, above = (of_series(sizes, series) for series in MOVED)
    times = above.over(below) if above and below else None
    return times.estimate if times else None


@explained.outcome("pause_s", Platform.VM_DIRECT)
def _pause_s(view: View) -> float | None:
    column = of_series(view.columns("duration_s", phase="pause"), MOVING)
    return column.median.estimate if column else None


@explained.check("transfer", unit="s", within=0.05)
def transfer(view: View) -> float:
    """Seconds that the VM's file travels over the link that is asked for."""
    return transfer_s(_vm(view).bytes, ASKED_MBIT)


@explained.values("transfer")
def _transfer(view: View) -> Values:
    shipped = _vm(view).bytes
    told = float(f"{shipped / MIB:.3g}") * MIB  # as it is written: the reader counts with that
    return {
        "size": size(shipped), "bits": f"{8 * told / 1e6:.0f}", "link": ASKED_MBIT,
        "time": seconds(transfer(view)),
    }  # fmt: skip


def _vm(view: View) -> Move:
    for one in moves(view):
        if one.shipped.series.platform is Platform.VM:
            return one
    raise Unavailable("no move of a VM was measured", "replay a recording")


_BETWEEN = " | "  # in the text of a count; not where it was not tried
_COUNTERS = {
    MOVING: f"{MOVING.label}, moved",
    Series(Platform.CONTAINER): "container, created again",
    CONTINUED: "bare container, continued by CRIU",
}


def run(launchers: Mapping[Platform, Launcher], options: Mapping[str, Any]) -> list[Row]:
    """Move a VM, and where there is Docker, create a container again. Raises as launchers do."""
    if options:
        raise UnknownName("option", next(iter(options)), [])
    launcher = launchers[MOVING.platform]
    emulated = launcher.traits(counting.VM).emulated
    moved = counting.moved(launcher)
    kind = f"{MEASURED}, {EMULATION}" if emulated else MEASURED
    rows = [_row(MOVING, moved.text, seconds(moved.pause_s), kind)]
    if Platform.CONTAINER in launchers:
        again = counting.created_again(launchers[Platform.CONTAINER])
        rows.append(_row(Series(Platform.CONTAINER), again.text, "–", MEASURED))
    return rows


def replay(view: View) -> list[Row]:
    """The same from a recording. Raises ``Unavailable`` where there is none."""
    counts = view.columns("observation", phase=COUNT)
    pause = of_series(view.columns("duration_s", phase="pause"), MOVING)
    rows = []
    for series in _COUNTERS:
        column = of_series(counts, series)
        if column and _BETWEEN in (text := str(column.rows["text"].iloc[0])):
            paused = seconds(pause.values[0]) if pause and series == MOVING else "–"
            rows.append(_row(series, text, paused, column.provenance))
    if not rows:
        raise Unavailable("no move is recorded", "install QEMU, and run this cell")
    return rows


def _row(series: Series, text: str, paused: str, kind: str) -> Row:
    before, _, after = text.partition(_BETWEEN)
    after, _, program = after.rstrip(")").partition(" (")  # of CRIU: with its version
    return {
        "what counts": _COUNTERS[series].replace("CRIU", program or "CRIU"),
        "last numbers before": f"… {before}",
        "first numbers after": f"{after} …",
        "paused": paused,
        "provenance": kind,
    }


explained.demo("move", Demo((MOVING.platform,), run, replay, optional=(Platform.CONTAINER,)))
