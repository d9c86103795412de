"""A store of derived files: built once, checked on every use, rebuilt when damaged.

Each entry is a file and a sidecar ``.json`` with its size, SHA-256 and key. An entry counts only
if both are there and agree; so a half-written, truncated or edited file is noticed and built anew.
Files arrive by an atomic rename; a lock file keeps two processes from building the same thing.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from vmcompare import data, reaper

Progress = Callable[[str, float], None]
"""``progress(what, fraction)``: what is being built, and how far it is (0 to 1)."""

Build = Callable[[Path], object]
"""Writes the finished file to the (existing, empty) path it is given."""

_verified: set[tuple[str, int, int]] = set()
"""Files (path, size, mtime in ns) whose SHA-256 was found right in this process."""

_LEFTOVER = ".part"
"""Suffix of a file that is still being written."""


def no_progress(what: str, fraction: float) -> None:
    """A :data:`Progress` that tells nobody."""


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file's content, in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


class Cache:
    """Derived files in one directory.

    Args:
        directory: where they lie; the package's own cache directory unless told.
        progress: is told when something has to be built.
    """

    def __init__(self, directory: Path | None = None, progress: Progress | None = None) -> None:
        self._directory = data.cache_dir() / "images" if directory is None else directory
        self._progress = progress or no_progress

    def get(self, name: str, key: str, build: Build) -> Path:
        """The file ``name`` made for ``key``; ``build`` makes it if it is missing or damaged.

        Args:
            name: file name with suffix, e.g. ``"rootfs.tar"``.
            key: everything the content depends on, as text. Another key is another entry.
            build: writes the content. Whatever it raises is passed on, and nothing is stored.

        Raises:
            OSError: the directory cannot be written.
        """
        path = self._path(name, key)
        if _intact(path, key):
            return path
        self._directory.mkdir(parents=True, exist_ok=True)
        with locked(path.with_name(path.name + ".lock")):
            if not _intact(path, key):  # another process may have built it meanwhile
                self._progress(name, 0.0)
                self._build(path, key, build)
                self._progress(name, 1.0)
        return path

    def digest(self, path: Path) -> str:
        """The SHA-256 (hexadecimal) of an entry that :meth:`get` returned, from its sidecar."""
        return str(json.loads(_sidecar(path).read_text())["sha256"])

    def _path(self, name: str, key: str) -> Path:
        stem, dot, suffix = name.partition(".")
        short = hashlib.sha256(key.encode()).hexdigest()[:16]
        return self._directory / f"{stem}-{short}{dot}{suffix}"

    def _build(self, path: Path, key: str, build: Build) -> None:
        # Only the holder of the lock writes here; these are of an older version that was killed.
        for stale in self._directory.glob(f"{path.name}.*{_LEFTOVER}"):
            stale.unlink(missing_ok=True)
        with reaper.folder(self._directory) as folder:
            part = folder / path.name
            part.touch()
            build(part)
            with part.open("rb+") as stream:
                os.fsync(stream.fileno())
            facts = {"key": key, "size": part.stat().st_size, "sha256": sha256_of(part)}
            _sidecar(path).unlink(missing_ok=True)  # never an old sidecar beside a new file
            part.replace(path)
            _write_atomically(_sidecar(path), json.dumps(facts))


def _sidecar(path: Path) -> Path:
    return path.with_name(path.name + ".json")


def _write_atomically(path: Path, text: str) -> None:
    part = path.with_name(path.name + _LEFTOVER)
    with part.open("w") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    part.replace(path)


def _intact(path: Path, key: str) -> bool:
    """Whether file and sidecar are there and agree (size always, SHA-256 once per process)."""
    try:
        facts = json.loads(_sidecar(path).read_text())
        status = path.stat()
    except (OSError, ValueError):
        return False
    if not isinstance(facts, dict) or facts.get("key") != key:
        return False
    if facts.get("size") != status.st_size:
        return False
    seen = (str(path), status.st_size, status.st_mtime_ns)
    if seen not in _verified:
        if facts.get("sha256") != sha256_of(path):
            return False
        _verified.add(seen)
    return True


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock on ``path``; the system lets go of it if this process dies."""
    with path.open("a+b") as stream:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(stream.fileno(), msvcrt.LK_LOCK, 1)
        else:
            import fcntl

            fcntl.flock(stream, fcntl.LOCK_EX)
        yield
