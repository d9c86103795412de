"""Boot speed, explained: what a lesson draws, tabulates and asks from a view of its rows.

Rows: ``start_to_first_byte_s`` and ``phase_s`` of every series. Every function raises
``Unavailable`` where its rows are not there; an outcome is then ``None``.
"""

from __future__ import annotations

from collections.abc import Iterator

from vmcompare.evidence.published import load_figures
from vmcompare.evidence.units import seconds
from vmcompare.evidence.view import (
    Column,
    View,
    absent,
    bare_runtimes,
    container,
    of_series,
)
from vmcompare.experiments.boot_speed.race import race
from vmcompare.experiments.explanation import Explanation, Row
from vmcompare.plots.picture import Picture
from vmcompare.plots.times import noise_sentence, phases, strip
from vmcompare.sandbox import EMULATION, Machine, Platform, Series

START = "start_to_first_byte_s"

_LITERATURE = (
    "boot_time", "boot_time_internal", "boot_time_end_to_end", "boot_time_tcg", "process_create",
    "start_time_docker_run", "start_time_macos", "start_time_runtime", "start_to_workload",
)  # fmt: skip
_OWN = (Platform.CONTAINER, Platform.VM)
"""What of this view stands above them: six of theirs are then among the rows that do not fold."""

explained = Explanation[View]()


def five(view: View) -> View:
    """The rows of the five series that carry the lesson: no bubblewrap, no tuned VM, no microvm."""
    frame = view.frame
    kept = frame["platform"] != Platform.VM_TUNED
    kept &= frame["machine"] != Machine.MICROVM
    kept &= bare_runtimes(frame).isin(["", "runc"])
    return View(frame[kept], view.sources)


def _strip(view: View) -> Picture:
    return strip(view, START, what="start", extra=(noise_sentence(view.columns(START)),))


explained.figure("starts")(lambda view: _strip(five(view)))
explained.figure("phases")(lambda view: phases(five(view)))
explained.figure("all_starts")(_strip)
explained.scene("race")(lambda view: race(five(view)))


@explained.table("adds")
def adds(view: View) -> Iterator[Row]:
    """What each layer adds to a start: differences of medians of one run, and what adds it."""
    wanted = (
        (Series(Platform.PROCESS), "the program: fork and exec"),
        (
            Series(Platform.CONTAINER, runtime="runc"),
            "runc itself, namespaces, control group, mounts",
        ),
        (Series(Platform.CONTAINER), "daemon, image layers, shim"),
    )
    found = view.need(START, "start")
    below: Column | None = None
    for series, what in wanted:
        column = of_series(found, series)
        if column is None:
            continue
        median_s = column.median.estimate
        of_one_run = below is not None and below.run_id == column.run_id
        added_s = median_s - below.median.estimate if below and of_one_run else median_s
        yield {
            "start": "docker run" if series == Series(Platform.CONTAINER) else series.label,
            "median": seconds(median_s),
            "adds": seconds(added_s) if below is None or of_one_run else "– (another run)",
            "for": what,
        }
        below = column
    if below is None:
        raise absent("start of a process or container")


explained.values("adds", "table")(View.sourced)


@explained.table("literature")
def literature(view: View) -> Iterator[Row]:
    """This view's ``docker run`` and full VM above what others published, the newest first.

    Only figures whose source was read are shown; what is merely recalled or quoted is left out.
    """
    for column in view.need(START, "start"):
        if column.series.platform in _OWN and not column.series.runtime:
            under = f", {EMULATION}" if column.emulated else ""
            yield {
                "what": column.series.label,
                "figure": f"{seconds(column.median.estimate)} (median, {column.count()})",
                "conditions": f"request to first byte{under}",
                "source": f"{column.shown}, run {column.run_id}",
            }
    published = [f for f in load_figures() if f.metric in _LITERATURE and f.checked]
    for figure in sorted(published, key=lambda figure: figure.year, reverse=True):
        yield {
            "what": figure.system,
            "figure": f"{figure.value} {figure.unit}",
            "conditions": figure.conditions,
            "source": f"literature: {figure.short}, {figure.year}",
        }


def _vm(view: View) -> Column | None:
    """The full VM on a computer that has all its devices."""
    whole = (Series(Platform.VM, machine) for machine in Machine if machine != Machine.MICROVM)
    return of_series(view.columns(START), *whole)


@explained.outcome("container_s", Platform.CONTAINER)
def _container_s(view: View) -> float | None:
    base = container(view.columns(START))
    return base.median.estimate if base else None


@explained.outcome("vm_over_container", Platform.VM, Platform.CONTAINER)
def _vm_over_container(view: View) -> float | None:
    above, below = _vm(view), container(view.columns(START))
    times = above.over(below) if above and below else None
    return times.estimate if times else None
