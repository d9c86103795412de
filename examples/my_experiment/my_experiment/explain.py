"""What the lesson shows of the rows, and what its exercise is checked against."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from vmcompare.evidence.units import ratio, seconds
from vmcompare.evidence.view import Column, View, absent, container, of_series
from vmcompare.experiments.explanation import Explanation, Row
from vmcompare.plots.picture import Picture
from vmcompare.plots.times import strip
from vmcompare.sandbox import Platform, Series

explained = Explanation[View]()


@explained.figure("sleeps")
def sleeps(view: View) -> Picture:
    """Every run of ``sleep 0.1``, from asking for it until it ended."""
    return strip(view, "duration_s", what="sleep", phase="sleep 0.1")


@explained.table("parts")
def parts(view: View) -> Iterator[Row]:
    """One row a series: medians of both commands, and of the sleep without the asking."""
    for column in view.need("duration_s", "run of a command"):
        medians = column.medians()
        yield {
            "series": column.series.label,
            "n": str(column.n // len(medians)),
            "true": seconds(medians["true"]),
            "sleep 0.1": seconds(medians["sleep 0.1"]),
            "sleep without asking": seconds(_slept_s(column)),
            "provenance": column.provenance,
        }


@explained.outcome("container_s", Platform.CONTAINER)
def container_s(view: View) -> float | None:
    """The median of ``sleep 0.1`` in a container (s)."""
    found = container(view.columns("duration_s", phase="sleep 0.1"))
    return found.median.estimate if found else None


@explained.check("asking", unit="ratio", within=0.1)
def asking(view: View) -> float:
    """How many times as long asking for a command takes in the container as in the process."""
    above, below = _both(view)
    return above.medians()["true"] / below.medians()["true"]


@explained.values("asking")
def _values(view: View) -> Mapping[str, str]:
    above, below = _both(view)
    return {
        "container": seconds(above.medians()["true"]),
        "process": seconds(below.medians()["true"]),
        "times": ratio(asking(view)),
        "slept_container": seconds(_slept_s(above)),
        "slept_process": seconds(_slept_s(below)),
    }


def _both(view: View) -> tuple[Column, Column]:
    """The container and the process."""
    found = view.columns("duration_s")
    above, below = container(found), of_series(found, Series(Platform.PROCESS))
    if above is None or below is None:
        raise absent("container beside a process")
    return above, below


def _slept_s(column: Column) -> float:
    medians = column.medians()
    return medians["sleep 0.1"] - medians["true"]
