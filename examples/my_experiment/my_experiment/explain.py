"""What the lesson shows of the rows, and what its exercise is checked against."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from vmcompare.evidence.units import seconds
from vmcompare.evidence.view import Column, View, absent, container
from vmcompare.experiments.explanation import Explanation, Row
from vmcompare.plots.picture import Picture
from vmcompare.plots.times import strip
from vmcompare.sandbox import Platform

ASKED_S = 0.1

explained = Explanation[View]()


@explained.figure("sleeps")
def sleeps(view: View) -> Picture:
    """Every run of ``sleep 0.1``, from asking for it until it ended."""
    return strip(view, "duration_s", what="sleep", phase="sleep 0.1")


@explained.table("parts")
def parts(view: View) -> Iterator[Row]:
    """One row a series: medians of both commands, and what is sleep beyond 0.1 s."""
    for column in view.need("duration_s", "run of a command"):
        medians = column.medians()
        yield {
            "series": column.series.label,
            "n": str(column.n // len(medians)),
            "true": seconds(medians["true"]),
            "sleep 0.1": seconds(medians["sleep 0.1"]),
            "overslept": seconds(_overslept_s(column)),
            "provenance": column.provenance,
        }


@explained.outcome("container_s", Platform.CONTAINER)
def container_s(view: View) -> float | None:
    """The median of ``sleep 0.1`` in a container (s)."""
    found = container(view.columns("duration_s", phase="sleep 0.1"))
    return found.median.estimate if found else None


@explained.check("overslept", unit="s", within=0.1)
def overslept_s(view: View) -> float:
    """How much longer than 0.1 s it sleeps in a container, without the time of asking (s)."""
    return _overslept_s(_container(view))


@explained.values("overslept")
def _values(view: View) -> Mapping[str, str]:
    medians = _container(view).medians()
    return {
        "sleep": seconds(medians["sleep 0.1"]),
        "true": seconds(medians["true"]),
        "overslept": seconds(overslept_s(view)),
    }


def _container(view: View) -> Column:
    found = container(view.columns("duration_s"))
    if found is None:
        raise absent("run in a container")
    return found


def _overslept_s(column: Column) -> float:
    medians = column.medians()
    return medians["sleep 0.1"] - medians["true"] - ASKED_S
