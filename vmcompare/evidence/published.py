"""Published figures and published weaknesses of both sides, and how far each was checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cache

from vmcompare.evidence import tables
from vmcompare.evidence.units import written


@dataclass(frozen=True, slots=True)
class Published:
    """A line of a published table.

    Attributes:
        url: of the source.
        verified: begins with ``yes`` (someone of this project read the source), ``secondary``
            (quoted by another source) or ``recalled`` (from memory).
    """

    url: str
    verified: str

    @property
    def checked(self) -> bool:
        """Whether the source was read; only then is the line shown as fact."""
        return self.verified.startswith("yes")


@dataclass(frozen=True, slots=True)
class Figure(Published):
    """A line of ``data/literature.csv``; every field is text.

    Attributes:
        value: as the source writes it, often several systems' figures separated by ``/``.
        unit: of the value, with its kind ("ms median").
        least, most: the value as whole numbers, of a count of system calls; else empty.
        counted: what a figure about memory counts; else empty.
        citation, short: the source, in full and for a table's column.
    """

    metric: str
    system: str
    value: str
    unit: str
    least: str
    most: str
    counted: str
    conditions: str
    citation: str
    short: str
    year: str

    def __str__(self) -> str:
        source = self.short.partition(": ")[0]
        value = f"{self.value} {self.unit}"
        if self.unit == "bytes" and self.value.isdigit():
            value = written(float(self.value), self.unit)
        return f"{self.system}: {value} ({source}, {self.year})"


@dataclass(frozen=True, slots=True)
class Weakness(Published):
    """A line of ``data/cves.csv``; every field is text.

    Attributes:
        published: the date (ISO 8601), or the year where the date was not looked up.
        component: what was weak, with its versions.
        name: the same without versions.
        kind: what it is in: ``container`` (a container's tools), ``kernel`` (the shared one), or
            ``vm`` (a hypervisor and what helps it: the host's kernel and the processor, too, where
            a guest reaches them).
        cvss: score and version of the scale; empty where there is none.
    """

    cve: str
    published: str
    component: str
    name: str
    kind: str
    cvss: str
    summary: str


FIGURE_COLUMNS = tuple(f.name for f in (*fields(Figure)[2:], *fields(Published)))
WEAKNESS_COLUMNS = tuple(f.name for f in (*fields(Weakness)[2:], *fields(Published)))


def load_figures() -> tuple[Figure, ...]:
    """``data/literature.csv``, in its order. Raises ``RecordingError``."""
    return tables.read("literature.csv", FIGURE_COLUMNS, lambda row: Figure(**row))


def load_weaknesses() -> tuple[Weakness, ...]:
    """``data/cves.csv``, in its order. Raises ``RecordingError``."""
    return tables.read("cves.csv", WEAKNESS_COLUMNS, lambda row: Weakness(**row))


@cache
def _by_name() -> Mapping[str, Figure]:
    return {f"{figure.metric}: {figure.system}": figure for figure in load_figures()}


def cited(name: str) -> Figure:
    """The line of ``data/literature.csv`` whose ``metric: system`` is ``name``.

    Raises ``ValueError`` where there is none, or its source was not read.
    """
    figure = _by_name().get(name)
    if figure is None or not figure.checked:
        raise ValueError(f"{name!r} is no line of literature.csv whose source was read")
    return figure
