"""Small files that are whole or not there, one writer at a time, and whose failure is a sentence.

Whatever lies where a file of ours should be (a folder, a pipe, a link to elsewhere) is never waited
for, never written through, and taken away before something is put in its place.
"""

from __future__ import annotations

import contextlib
import errno
import glob
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from .errors import StorageError, Unavailable, VmcompareError

T = TypeVar("T")

LOCK_S = 900.0
"""Seconds to wait for another process that builds or writes the same file. The longest build, a
Debian userland over a slow line, may take 600."""

_PART = ".part"
"""Suffix of a file that is still being written."""

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)
"""What a system says where there is no room to write, or no leave to."""

_NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)
"""What a file system without locks says (some network shares)."""


@contextlib.contextmanager
def said_of(path: Path, next_step: str) -> Iterator[None]:
    """Any ``OSError`` inside becomes a ``StorageError`` with this next step.

    It names ``path``, or the folder above it that the system named.
    """
    try:
        yield
    except OSError as error:
        named = Path(os.fsdecode(error.filename)) if isinstance(error.filename, str) else path
        place = named if path.is_relative_to(named) else path
        raise StorageError.of(place, error, next_step) from error


def read(path: Path, limit: int) -> bytes:
    """The content of an ordinary file of at most ``limit`` bytes; a pipe is not waited for.

    Raises:
        OSError: it cannot be read, is no ordinary file, or is longer.
    """
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "it is not an ordinary file")
        with os.fdopen(descriptor, "rb", closefd=False) as stream:
            content = stream.read(limit + 1)
    finally:
        os.close(descriptor)
    if len(content) > limit:
        raise OSError(errno.EFBIG, f"it has more than {limit} bytes")
    return content


def understood(content: bytes, kind: type[T]) -> T | None:
    """JSON as a ``kind``; ``None`` where it is none, whatever it is instead."""
    import msgspec

    try:
        return msgspec.json.decode(content, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


def write(path: Path, text: str) -> None:
    """Write a file that nobody ever sees half-written, after a crash neither.

    It takes the place of whatever is there, and does not follow a link. To be called under a lock:
    an unfinished file beside it is taken for a killed writer's.

    Raises:
        OSError: it cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    for stale in path.parent.glob(f"{glob.escape(path.name)}.*{_PART}"):
        remove(stale)
    handle, name = tempfile.mkstemp(_PART, f"{path.name}.", path.parent)
    part = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.write(text)
        put(part, path)
    finally:
        part.unlink(missing_ok=True)


def put(part: Path, path: Path) -> None:
    """Bring a finished file to disk and to its place, whatever lies there. Raises ``OSError``."""
    with part.open("rb+") as stream:
        os.fsync(stream.fileno())
    if path.is_dir() and not path.is_symlink():
        remove(path)
    part.replace(path)


def remove(path: Path) -> None:
    """Take away a file, link, pipe or folder; nothing that a link leads to. Raises ``OSError``."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


@contextlib.contextmanager
def locked(
    path: Path,
    *,
    timeout_s: float = LOCK_S,
    waiting: Callable[[], object] = lambda: None,
) -> Iterator[None]:
    """Hold an exclusive lock on the file ``path``; the system lets go of it if this process dies.

    Args:
        path: a file for the lock alone; whatever else lies there is taken away.
        timeout_s: how long another process may hold it.
        waiting: is called once if another process holds it.

    Raises:
        StorageError: another process held it all the time.
        OSError: there can be no such file.
    """
    from filelock import FileLock, SoftFileLock, Timeout  # 60 ms, which most commands do not need

    path.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISREG(path.lstat().st_mode) or not os.access(path, os.R_OK | os.W_OK):
            remove(path)
    lock: FileLock | SoftFileLock = FileLock(path)
    try:
        try:
            lock.acquire(timeout=0)
        except OSError as error:
            if isinstance(error, Timeout) or error.errno not in _NO_LOCKS:
                raise
            lock = SoftFileLock(path.with_name(path.name + ".held"))
            lock.acquire(timeout=0)
    except Timeout:
        waiting()
        try:
            lock.acquire(timeout=timeout_s)
        except Timeout:
            raise StorageError(
                path,
                f"another process has held it for {timeout_s:g} s",
                "end that process (it may be suspended) and try again",
            ) from None
    try:
        yield
    finally:
        lock.release()


def no_room(error: OSError) -> VmcompareError:
    """The sentence for an error of :data:`NO_ROOM` met where nobody knows what was written."""
    step = "make room there, or name other folders in TMPDIR and XDG_CACHE_HOME, or with --out"
    if isinstance(error.filename, str):
        return StorageError.of(Path(error.filename), error, step)
    # Standard output is one of the things that it may have been.
    return Unavailable(f"something cannot be written ({error.strerror})", f"look at df, and {step}")


def temporary() -> Path:
    """The folder for temporary files.

    Raises:
        StorageError: there is none that can be written.
    """
    try:
        return Path(tempfile.gettempdir()).absolute()
    except FileNotFoundError:
        named = Path(os.environ.get("TMPDIR") or "/tmp")
        raise StorageError(named, "no temporary file can be written there", TEMPORARY) from None


TEMPORARY = "free some room there or make it writable, or name another folder in TMPDIR"
"""The next step where temporary files cannot be had."""
