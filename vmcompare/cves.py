"""Published weaknesses of both sides, and how far each was checked."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from .data import data_dir
from .errors import RecordingError
from .literature import RECALLED, SECONDARY, how_checked

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = ("cve", "year", "component", "kind", "cvss", "summary", "url", "verified")

KINDS = ("container", "kernel", "vm")
"""What the weakness is in: a container's tools, the shared kernel, or a hypervisor and what helps
it (the host's kernel and the processor too, where a guest reaches them)."""

_NUMBER = re.compile(r"CVE-(\d{4})-\d{4,}")
_DATE = re.compile(r"\d{4}-\d\d-\d\d")


def load(path: Path | None = None) -> pd.DataFrame:
    """``data/cves.csv`` with the columns ``checked`` and ``published``; every column holds text.

    ``checked`` is as in :mod:`vmcompare.literature`: only rows that are ``"checked"`` are shown as
    fact. ``published`` is the first date in the summary (ISO 8601), or the year.

    Raises:
        RecordingError: the table is missing, or has other columns, an empty field, an unknown kind
            or word in ``verified``, or a number that is none.
    """
    import pandas as pd

    path = path or data_dir() / "cves.csv"
    try:
        frame = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:
        raise RecordingError(path, 0, str(error)) from error
    if tuple(frame.columns) != COLUMNS:
        raise RecordingError(path, 1, f"the columns are not {', '.join(COLUMNS)}")
    for number, row in enumerate(frame.to_dict("records"), start=2):
        empty = [name for name in ("year", "component", "summary", "url") if not row[name]]
        if empty:
            raise RecordingError(path, number, f"nothing in {', '.join(empty)}")
        if not _NUMBER.fullmatch(row["cve"]):
            raise RecordingError(path, number, f"{row['cve']!r} is not the number of a CVE")
        if row["kind"] not in KINDS:
            raise RecordingError(path, number, f"unknown kind {row['kind']!r}")
        if not row["verified"].startswith(("yes", SECONDARY, RECALLED)):
            raise RecordingError(path, number, f"unknown word in verified: {row['verified']!r}")
    return frame.assign(
        checked=frame["verified"].map(how_checked),
        published=[
            found[0] if (found := _DATE.search(summary)) else year
            for summary, year in zip(frame["summary"], frame["year"], strict=True)
        ],
    )
