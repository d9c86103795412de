"""Reading the CSV tables of ``data/``, with errors that name the file and the line."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from vmcompare.errors import RecordingError
from vmcompare.paths import data_dir

T = TypeVar("T")


def read(
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
