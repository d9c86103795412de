"""Reading the CSV tables of ``data/``, with errors that name the file and the line."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from vmcompare.errors import RecordingError

T = TypeVar("T")


def read(
    path: Path, columns: Sequence[str], make: Callable[[Mapping[str, str]], T]
) -> tuple[T, ...]:
    """What ``make`` makes of each line, in the table's order.

    Args:
        path: the file (CSV in UTF-8, with the columns' names on its first line).
        columns: those that it must have, in order.
        make: column → text, to one value; a ``ValueError`` says what is wrong with the line.

    Raises:
        RecordingError: the table is missing or has other columns, or a line cannot be read.
    """
    found = []
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            if list(reader.fieldnames or ()) != list(columns):
                raise RecordingError(path, 1, f"the columns are not {', '.join(columns)}")
            for row in reader:
                if None in row or None in row.values():
                    what = f"the line does not have {len(columns)} fields"
                    raise RecordingError(path, reader.line_num, what)
                try:
                    found.append(make(row))
                except ValueError as error:
                    raise RecordingError(path, reader.line_num, str(error)) from error
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise RecordingError(path, 0, str(error)) from error
    return tuple(found)
