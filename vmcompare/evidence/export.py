"""A recording for other programs: one tidy frame, and as CSV."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING

from vmcompare import paths
from vmcompare.errors import RecordingError, VmcompareError, short
from vmcompare.evidence import recording

if TYPE_CHECKING:
    import pandas as pd


def read(path: str | os.PathLike[str]) -> pd.DataFrame:
    """The rows of a recording, tidy; of a folder, those of all recordings in and below it.

    One row a measurement, runs in the order of their time; the ``value`` of a failed one is NaN and
    ``error`` says why. Columns: :data:`vmcompare.evidence.recording.COLUMNS`, explained in
    ``docs/data-dictionary.md``. ``value`` is in the unit of the column ``unit``.

    Raises ``RecordingError`` where a file cannot be read, or the folder holds none.
    """
    return recording.tidy(row for file in files(Path(path)) for row in recording.read(file).rows)


def files(path: Path) -> list[Path]:
    """The recordings that ``path`` stands for. Raises ``RecordingError`` of an empty folder."""
    if not path.is_dir():
        return [path]
    found = sorted(path.rglob("*.jsonl"), key=lambda file: file.name)
    if not found:
        raise RecordingError(path, 0, "the folder holds no file whose name ends in .jsonl")
    return found


def write(frame: pd.DataFrame, path: Path) -> None:
    """Write a frame as CSV: one file, which nobody sees half-written; an older one is replaced.

    It has a header, commas, UTF-8, empty cells for NaN and for empty texts, and numbers with all
    their digits.

    Raises ``VmcompareError`` where it is a folder, or (``StorageError``) cannot be written, and
    ``BrokenPipeError`` of a pipe that nobody reads any more.
    """
    content = frame.to_csv(index=False, lineterminator="\n").encode()
    if path.is_dir():
        raise VmcompareError(f"{short(path)} is a folder: name a file")
    if path.exists() and not path.is_file():  # a pipe, as standard output may be one
        path.write_bytes(content)
        return
    advice = "choose another file, in a folder that is there and can be written"
    with paths.as_storage_error(path, advice):
        target = path.resolve()  # what a link leads to is written, not the link replaced
        part = target.with_name(f"{target.name}.{secrets.token_hex(4)}.part")
        try:
            part.write_bytes(content)
            paths.put(part, target)
        finally:
            part.unlink(missing_ok=True)
