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
    """What ``make`` (column → text, to one value) makes of each line, in the table's order.

    The file is CSV in UTF-8, with ``columns`` in that order on its first line. Raises
    ``RecordingError``: the table is missing or has other columns, or ``make`` raised
    ``ValueError``.
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
