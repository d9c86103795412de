"""Published weaknesses of both sides, and how far each was checked."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from vmcompare.errors import RecordingError
from vmcompare.evidence.literature import FIRST_ROW, read
from vmcompare.paths import data_dir

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

    ``checked`` is as in :mod:`vmcompare.evidence.literature`: only rows that are ``"checked"`` are
    shown as fact. ``published`` is the first date in the summary (ISO 8601), or the year.

    Raises:
        RecordingError: the table is missing, or has other columns, an empty field, an unknown kind
            or word in ``verified``, or a number that is none.
    """
    path = path or data_dir() / "cves.csv"
    frame = read(path, COLUMNS, ("year", "component", "summary", "url"))
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
