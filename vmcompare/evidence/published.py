"""The tables of ``data/``, and two of them: published figures and weaknesses of both sides."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cache
from typing import TypeVar

from vmcompare.errors import RecordingError
from vmcompare.evidence.units import written
from vmcompare.paths import data_dir

T = TypeVar("T")


def table(
    name: str, columns: Sequence[str], make: Callable[[Mapping[str, str]], T]
) -> tuple[T, ...]:
    """What ``make`` (column → text, to one value) makes of each line of ``data/<name>``, in order.

    Raises ``RecordingError``: the table is missing or has other ``columns``, or ``make`` raised
    ``ValueError``. That its values make sense is a matter of tests.
    """
    path, found = data_dir() / name, []
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            if list(reader.fieldnames or ()) != list(columns):
                raise RecordingError(path, 1, f"the columns are not {', '.join(columns)}")
            for row in reader:
                try:
                    found.append(make(row))
                except ValueError as error:
                    raise RecordingError(path, reader.line_num, str(error)) from error
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise RecordingError(path, 0, str(error)) from error
    return tuple(found)


@dataclass(frozen=True, slots=True)
class Figure:
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
    url: str
    verified: str

    @property
    def checked(self) -> bool:
        return _was_read(self.verified)

    def __str__(self) -> str:
        source = self.short.partition(": ")[0]
        value = f"{self.value} {self.unit}"
        if self.unit == "bytes" and self.value.isdigit():
            value = written(float(self.value), self.unit)
        return f"{self.system}: {value} ({source}, {self.year})"


@dataclass(frozen=True, slots=True)
class Weakness:
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
    url: str
    verified: str

    @property
    def checked(self) -> bool:
        return _was_read(self.verified)


def _was_read(verified: str) -> bool:
    """Whether the source was read; only then is a line shown as fact.

    ``verified`` begins with ``yes`` (someone of this project read it), ``secondary`` (quoted by
    another source) or ``recalled`` (from memory).
    """
    return verified.startswith("yes")


def load_figures() -> tuple[Figure, ...]:
    """``data/literature.csv``, in its order. Raises ``RecordingError``."""
    return table("literature.csv", [f.name for f in fields(Figure)], lambda row: Figure(**row))


def load_weaknesses() -> tuple[Weakness, ...]:
    """``data/cves.csv``, in its order. Raises ``RecordingError``."""
    return table("cves.csv", [f.name for f in fields(Weakness)], lambda row: Weakness(**row))


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
