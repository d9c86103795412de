"""Published figures and published weaknesses of both sides, and how far each was checked."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from vmcompare.errors import RecordingError
from vmcompare.paths import data_dir

if TYPE_CHECKING:
    import pandas as pd

LITERATURE_COLUMNS = (
    "metric", "system", "value", "unit", "conditions", "citation", "year", "url", "verified",
)  # fmt: skip

CVE_COLUMNS = ("cve", "year", "component", "kind", "cvss", "summary", "url", "verified")

CHECKED, SECONDARY, RECALLED = "checked", "secondary", "recalled"

FIRST_ROW = 2
"""Line of a table's first row, as errors name it: the columns' names are line 1."""

KINDS = ("container", "kernel", "vm")
"""What the weakness is in: a container's tools, the shared kernel, or a hypervisor and what helps
it (the host's kernel and the processor too, where a guest reaches them)."""

_NUMBER = re.compile(r"CVE-(\d{4})-\d{4,}")
_DATE = re.compile(r"\d{4}-\d\d-\d\d")


def load_literature(path: Path | None = None) -> pd.DataFrame:
    """``data/literature.csv`` with the column ``checked``; every column holds text.

    ``checked`` is ``"checked"`` (someone of this project read the source: only these are shown as
    fact), ``"secondary"`` (quoted by another source) or ``"recalled"`` (from memory, never a fact).
    ``value`` is as the source writes it, often several systems' figures separated by ``/``.

    Raises:
        RecordingError: the table is missing, or has other columns, an empty field or an unknown
            word in ``verified``.
    """
    path = path or data_dir() / "literature.csv"
    return read(path, LITERATURE_COLUMNS, ("metric", "system", "value", "unit", "citation"))


def load_cves(path: Path | None = None) -> pd.DataFrame:
    """``data/cves.csv`` with the columns ``checked`` and ``published``; every column holds text.

    ``checked`` is as in :func:`load_literature`: only rows that are ``"checked"`` are shown as
    fact. ``published`` is the first date in the summary (ISO 8601), or the year.

    Raises:
        RecordingError: the table is missing, or has other columns, an empty field, an unknown kind
            or word in ``verified``, or a number that is none.
    """
    path = path or data_dir() / "cves.csv"
    frame = read(path, CVE_COLUMNS, ("year", "component", "summary", "url"))
    for number, row in enumerate(frame.to_dict("records"), start=FIRST_ROW):
        if not _NUMBER.fullmatch(row["cve"]):
            raise RecordingError(path, number, f"{row['cve']!r} is not the number of a CVE")
        if row["kind"] not in KINDS:
            raise RecordingError(path, number, f"unknown kind {row['kind']!r}")
    return frame.assign(
        published=[
            found[0] if (found := _DATE.search(summary)) else year
            for summary, year in zip(frame["summary"], frame["year"], strict=True)
        ],
    )


def read(path: Path, columns: Sequence[str], needed: Sequence[str]) -> pd.DataFrame:
    """A table of published things, with the column ``checked`` as in :func:`load_literature`.

    Args:
        path: the file (CSV).
        columns: that it must have, in order; ``"verified"`` is one of them.
        needed: those in which no field may be empty.

    Raises:
        RecordingError: as :func:`load_literature`.
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
