"""A folder for temporary files that cannot be left behind."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vmcompare import storage
from vmcompare.reaper.ledger import forget_path, session_id, watch_path


@contextmanager
def folder(within: Path | None = None) -> Iterator[Path]:
    """A new folder of our own, mode 700, written down before it exists; leaving removes it.

    ``tempfile.TemporaryDirectory`` tells a folder's name only once it has made it: a ``kill -9``
    then would leave one that no ledger knows.

    Args:
        within: where it lies; by default where temporary files do.

    Raises:
        StorageError: there is no place for it.
        Unavailable: it cannot be written down.
    """
    name = f"vmcompare-{session_id()}-{secrets.token_hex(4)}"
    path = (storage.temporary() if within is None else within.absolute()) / name
    watch_path(path)
    try:
        with storage.said_of(path, storage.TEMPORARY):
            path.mkdir(mode=0o700)
        yield path
    finally:
        if path.exists():
            shutil.rmtree(path)
        forget_path(path)
