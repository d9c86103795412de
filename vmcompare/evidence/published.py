"""Published figures and published weaknesses of both sides, and how far each was checked."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path

from vmcompare.evidence import tables
from vmcompare.evidence.units import written
from vmcompare.paths import data_dir

KINDS = ("container", "kernel", "vm")
"""What the weakness is in: a container's tools, the shared kernel, or a hypervisor and what helps
it (the host's kernel and the processor too, where a guest reaches them)."""

_CVE = re.compile(r"CVE-\d{4}-\d{4,}")
_DATE = re.compile(r"\d{4}(-\d\d-\d\d)?")
_CHECKS = ("yes", "secondary", "recalled")


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
        kind: one of :data:`KINDS`.
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


def load_figures(path: Path | None = None) -> tuple[Figure, ...]:
    """``data/literature.csv``, in its order. Raises ``RecordingError``."""

    def figure(row: Mapping[str, str]) -> Figure:
        _check(row, "metric", "system", "value", "unit", "citation", "short")
        return Figure(**row)

    return tables.read(path or data_dir() / "literature.csv", FIGURE_COLUMNS, figure)


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


def load_weaknesses(path: Path | None = None) -> tuple[Weakness, ...]:
    """``data/cves.csv``, in its order. Raises ``RecordingError``."""

    def weakness(row: Mapping[str, str]) -> Weakness:
        _check(row, "component", "name", "summary", "url")
        if not _CVE.fullmatch(row["cve"]):
            raise ValueError(f"{row['cve']!r} is not the number of a CVE")
        if row["kind"] not in KINDS:
            raise ValueError(f"unknown kind {row['kind']!r}")
        if not _DATE.fullmatch(row["published"]):
            raise ValueError(f"{row['published']!r} is neither a date nor a year")
        return Weakness(**row)

    return tables.read(path or data_dir() / "cves.csv", WEAKNESS_COLUMNS, weakness)


def _check(row: Mapping[str, str], *needed: str) -> None:
    if empty := [name for name in needed if not row[name]]:
        raise ValueError(f"nothing in {', '.join(empty)}")
    if not row["verified"].startswith(_CHECKS):
        raise ValueError(f"unknown word in verified: {row['verified']!r}")
