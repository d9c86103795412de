"""Published figures, and how far each was checked."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from vmcompare.errors import RecordingError
from vmcompare.paths import data_dir

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = (
    "metric", "system", "value", "unit", "conditions", "citation", "year", "url", "verified",
)  # fmt: skip

CHECKED, SECONDARY, RECALLED = "checked", "secondary", "recalled"

FIRST_ROW = 2
"""Line of a table's first row, as errors name it: the columns' names are line 1."""


def load(path: Path | None = None) -> pd.DataFrame:
    """``data/literature.csv`` with the column ``checked``; every column holds text.

    ``checked`` is ``"checked"`` (someone of this project read the source: only these are shown as
    fact), ``"secondary"`` (quoted by another source) or ``"recalled"`` (from memory, never a fact).
    ``value`` is as the source writes it, often several systems' figures separated by ``/``.

    Raises:
        RecordingError: the table is missing, or has other columns, an empty field or an unknown
            word in ``verified``.
    """
    path = path or data_dir() / "literature.csv"
    return read(path, COLUMNS, ("metric", "system", "value", "unit", "citation"))


def read(path: Path, columns: Sequence[str], needed: Sequence[str]) -> pd.DataFrame:
    """A table of published things, with the column ``checked`` as in :func:`load`.

    Args:
        path: the file (CSV).
        columns: that it must have, in order; ``"verified"`` is one of them.
        needed: those in which no field may be empty.

    Raises:
        RecordingError: as :func:`load`.
    """
    import pandas as pd

    try:
        frame = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:
        raise RecordingError(path, 0, str(error)) from error
    if tuple(frame.columns) != tuple(columns):
        raise RecordingError(path, 1, f"the columns are not {', '.join(columns)}")
    for number, row in enumerate(frame.to_dict("records"), start=FIRST_ROW):
        empty = [name for name in needed if not row[name]]
        if empty:
            raise RecordingError(path, number, f"nothing in {', '.join(empty)}")
        if not row["verified"].startswith(("yes", SECONDARY, RECALLED)):
            raise RecordingError(path, number, f"unknown word in verified: {row['verified']!r}")
    return frame.assign(checked=frame["verified"].map(_how_checked))


def _how_checked(verified: str) -> str:
    """What the first word of a ``verified`` column says."""
    if verified.startswith("yes"):
        return CHECKED
    return SECONDARY if verified.startswith(SECONDARY) else RECALLED
