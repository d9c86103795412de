"""Boot speed, explained: what a lesson draws, tabulates, asks and checks from a view of its rows.

Rows: ``start_to_first_byte_s`` and ``phase_s`` of every series. Every function raises
``Unavailable`` where its rows are not there; an outcome is then ``None``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from vmcompare.evidence.published import load_figures
from vmcompare.evidence.units import seconds
from vmcompare.evidence.view import Column, View, absent, bare_runtimes, container, of_series
from vmcompare.experiments.boot_speed.race import race
from vmcompare.experiments.explanation import Explanation, Row, Values
from vmcompare.plots.picture import Picture
from vmcompare.plots.times import noise_sentence, phase_name, phases, strip, until_first_byte
from vmcompare.sandbox import Machine, Phase, Platform, Series

START = "start_to_first_byte_s"

_LITERATURE = (
    "boot_time", "boot_time_internal", "boot_time_end_to_end", "boot_time_tcg", "process_create",
    "start_time_docker_run", "start_time_macos", "start_time_runtime", "start_to_workload",
)  # fmt: skip

BUDGET = 0.1
"""Share of a job that its start may take, in the planning exercise."""

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
            "runc itself, namespaces, control group, files",
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
            "start": series.label,
            "median": seconds(median_s),
            "adds": seconds(added_s) if below is None or of_one_run else "– (another run)",
            "for": what,
        }
        below = column
    if below is None:
        raise absent("start of a process or container")


@explained.values("adds", "table")
def _adds(view: View) -> Values:
    return view.of(Platform.PROCESS, Platform.CONTAINER).sourced()  # no VM is in it


@explained.table("literature")
def literature(_: View) -> Iterator[Row]:
    """What others published, the newest first.

    Only figures whose source was read are shown; what is merely recalled or quoted is left out.
    """
    published = [f for f in load_figures() if f.metric in _LITERATURE and f.checked]
    for figure in sorted(published, key=lambda figure: figure.year, reverse=True):
        yield {
            "what": figure.system,
            "figure": f"{figure.value} {figure.unit}",
            "conditions": figure.conditions,
            "source": f"literature: {figure.short}, {figure.year}",
        }


@explained.outcome("container_s", Platform.CONTAINER)
def _container_s(view: View) -> float | None:
    base = container(view.columns(START))
    return base.median.estimate if base else None


@explained.outcome("vm_over_container", Platform.VM, Platform.CONTAINER)
def _vm_over_container(view: View) -> float | None:
    found = view.columns(START)
    # On a computer that has all its devices.
    whole = (Series(Platform.VM, machine) for machine in Machine if machine != Machine.MICROVM)
    above, below = of_series(found, *whole), container(found)
    times = above.over(below) if above and below else None
    return times.estimate if times else None


# ---- exercises -----------------------------------------------------------------------------------


# Tight: who counts what comes after the first byte, too, is only a few per cent off.
@explained.check("services_share", unit="per cent", within=0.01)
def services_share(view: View) -> float:
    """Per cent of the full VM's time to its first byte that its services take.

    Raises ``Unavailable``: the view holds no phases of a full VM up to its first byte.
    """
    parts = _vm_phases(view)[1]
    return 100 * parts[Phase.FIRST_BYTE] / sum(parts.values())


@explained.values("services_share")
def _services_share(view: View) -> Values:
    column, parts = _vm_phases(view)
    return {
        "phases": " + ".join(f"{phase_name(column, p)} {seconds(s)}" for p, s in parts.items()),
        "total": seconds(sum(parts.values())),
        "services": seconds(parts[Phase.FIRST_BYTE]),
        "share": f"{services_share(view):.1f}",
        "emulated": column.emulated,
    }


def _vm_phases(view: View) -> tuple[Column, Mapping[Phase, float]]:
    """The full VM, and the median seconds of each phase of its start, up to the first byte."""
    for column in view.columns("phase_s"):
        if column.series.platform is Platform.VM:
            parts = until_first_byte(column)
            if Phase.FIRST_BYTE in parts:
                return column, parts
    raise absent("phase of a full VM")


@explained.check("job_length", unit="s", within=0.05)
def shortest_job_s(view: View) -> float:
    """How long a job must work (s) for a container's start to be :data:`BUDGET` of both."""
    return _container_start_s(view) * (1 - BUDGET) / BUDGET


@explained.values("job_length")
def _job_length(view: View) -> Values:
    return {"start": seconds(_container_start_s(view)), "job": seconds(shortest_job_s(view))}


def _container_start_s(view: View) -> float:
    found = container(view.columns(START))
    if found is None:
        raise absent("container start")
    return found.median.estimate
