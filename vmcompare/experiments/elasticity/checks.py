"""What answers in the lesson on elastic resources are checked against."""

from __future__ import annotations

from vmcompare.errors import Unavailable
from vmcompare.evidence.units import ratio, seconds
from vmcompare.evidence.view import Column, View
from vmcompare.experiments.elasticity.explain import (
    CONTAINER,
    PROCESS,
    explained,
    work_column,
)
from vmcompare.experiments.elasticity.measure import NO_FILTER
from vmcompare.experiments.explanation import Values
from vmcompare.sandbox import Series

CALLS, COMPUTING = "system calls", "computing"


@explained.check("filter", unit="ratio", within=0.03)
def filter_(view: View) -> float:
    """Processor time of system calls in a container with the filter ÷ without it."""
    return _median_s(view, CONTAINER, CALLS) / _median_s(view, CONTAINER, CALLS + NO_FILTER)


@explained.values("filter")
def _filter(view: View) -> Values:
    held, free = (_median_s(view, CONTAINER, CALLS + end) for end in ("", NO_FILTER))
    bare, computed = (_median_s(view, PROCESS, work) for work in (CALLS, COMPUTING))
    computing, computing_free = (
        ratio(_median_s(view, CONTAINER, COMPUTING + end) / computed) for end in ("", NO_FILTER)
    )
    return {
        "computing": computing, "computing_free": computing_free,
        "held": seconds(held), "free": seconds(free), "ratio": ratio(held / free),
        "left": ratio(free / bare), "costs": held > 1.05 * free,
    }  # fmt: skip


def _median_s(view: View, series: Series, phase: str) -> float:
    found: Column | None = work_column(view, series, phase)
    if found is None:
        raise Unavailable(f"“{phase}” of a {series.label} was not counted", "replay a recording")
    return found.median.estimate
