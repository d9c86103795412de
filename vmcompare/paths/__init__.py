"""Where things lie, the project's own data and the learner's; how small files are kept there.

A file is written at once and by one writer at a time. Whatever lies where a file of ours should be
(a folder, a pipe, a link to elsewhere) is never waited for, never written through, and taken away
before something is put in its place.

Root uses root's own places, whoever's home ``HOME`` and the ``XDG_*`` variables name: what ``sudo
vmcompare`` writes into a learner's home would lock the learner out.
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
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

from platformdirs import user_cache_path, user_data_path, user_state_path

from vmcompare.errors import StorageError, Unavailable, VmcompareError

T = TypeVar("T")

_PACKAGE = Path(__file__).parent.parent


def data_dir() -> Path:
    """The project's ``data/``: beside the package in a checkout, inside it in a wheel."""
    beside = _PACKAGE.parent / "data"
    return beside if (beside / "claims.csv").exists() else _PACKAGE / "_data"


def lessons_dir() -> Path:
    """The project's ``notebooks/``: beside the package in a checkout, inside it in a wheel.

    A lesson's words are found there wherever its notebook lies: a learner's copy has none, as the
    answers are among them.
    """
    beside = _PACKAGE.parent / "notebooks"
    return beside if (beside / "text").is_dir() else _PACKAGE / "_notebooks"


def browser_lab_page() -> Path:
    """The page that ``make browser-lab`` builds in a checkout; it may not be there."""
    return _PACKAGE.parent / "dist" / "browser-lab.html"


def user_recordings_dir() -> Path:
    """Where this learner's own recordings go. Raises ``StorageError``, as all that follow, where
    no place is known."""
    return _place(user_data_path, DATA_HOME, ".local/share") / "recordings"


def answers_path() -> Path:
    return _place(user_data_path, DATA_HOME, ".local/share") / "answers.json"


def cache_dir() -> Path:
    """Derived images and probe results: safe to delete at any time."""
    return _place(user_cache_path, CACHE_HOME, ".cache")


def state_dir() -> Path:
    """The ledger of what is running, and the pid file of a daemon that set-up started.

    Where a home cannot be written, below the folder for temporary files: a replay needs no home.
    """
    with contextlib.suppress(StorageError):
        place = _place(user_state_path, STATE_HOME, ".local/state")
        if _takes_a_file(place):
            return place
    user = os.geteuid() if hasattr(os, "geteuid") else 0
    return temporary() / f"vmcompare-state-{user}"


def settle_home() -> None:
    """Make ``HOME`` and ``XDG_*`` name places that this process, and whatever it starts, may use.

    Without a home Jupyter's parts end in a traceback; as root they would write into the learner's.
    """
    home = Path(os.path.expanduser("~"))  # noqa: PTH111  # pathlib's raises where there is none
    if not home.is_absolute():
        os.environ["HOME"] = "/nonexistent"
    if not _is_root():
        return
    import pwd

    if _is_foreign(home):
        os.environ["HOME"] = pwd.getpwuid(0).pw_dir
    for variable in (DATA_HOME, CACHE_HOME, STATE_HOME, "XDG_CONFIG_HOME", "XDG_RUNTIME_DIR"):
        if (named := os.environ.get(variable)) and _is_foreign(Path(named)):
            del os.environ[variable]


DATA_HOME, CACHE_HOME, STATE_HOME = "XDG_DATA_HOME", "XDG_CACHE_HOME", "XDG_STATE_HOME"
"""The variables that name other places."""


def advice(variable: str) -> str:
    return f"free some room there or make it writable, or name another folder in {variable}"


TEMPORARY = advice("TMPDIR")
"""The next step where temporary files cannot be had."""


@lru_cache(maxsize=16)
def _takes_a_file(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(4096))
            file.flush()
    except OSError:
        return False
    return True


def _place(find: Callable[[str], Path], variable: str, below_home: str) -> Path:
    unknown = f"name a folder by its whole path in HOME or {variable}"
    try:
        path = find("vmcompare")
    except RuntimeError as error:  # HOME is unset or relative, and the user has no entry either
        raise StorageError(Path("~", below_home), "no home directory", unknown) from error
    if not path.is_absolute():
        raise StorageError(path, "not a whole path", unknown)
    _refuse_unwritable_name(path, f"name another folder in HOME or {variable}")
    if not (_is_root() and _is_foreign(path)):
        return path
    import pwd

    return Path(pwd.getpwuid(0).pw_dir, below_home, "vmcompare")


def _refuse_unwritable_name(path: Path, next_step: str) -> None:
    """Raise ``StorageError`` for a path that no ledger can hold, as JSON is UTF-8."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise StorageError(path, "its name is not UTF-8", next_step) from None


def _is_root() -> bool:
    """Whether this is root over everything, not one in a user namespace, who owns little."""
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        return False
    try:
        return Path("/proc/self/uid_map").read_text().split() == ["0", "0", "4294967295"]
    except OSError:
        return True


def _is_foreign(path: Path) -> bool:
    """Whether another user than root owns it or a folder above it, and so decides where it is."""
    return any(place.stat().st_uid for place in (path, *path.parents) if os.access(place, os.F_OK))


# ---- small files --------------------------------------------------------------------------

LOCK_S = 900.0
"""Seconds to wait for another process that builds or writes the same file. The longest build, a
Debian userland over a slow line, may take 600."""

_PART = ".part"  # suffix of a file that is still being written

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)
"""What a system says where there is no room to write, or no leave to."""

_NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)
"""What a file system without locks says (some network shares)."""


@contextlib.contextmanager
def as_storage_error(path: Path, next_step: str) -> Iterator[None]:
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

    Raises ``OSError`` where it cannot be read, is no ordinary file, or is longer.
    """
    with open(path, "rb", opener=_without_waiting) as stream:
        if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
            raise OSError(errno.EINVAL, "it is not an ordinary file")
        content = stream.read(limit + 1) or b""  # None: a file of /proc would wait
    if len(content) > limit:
        raise OSError(errno.EFBIG, f"it has more than {limit} bytes")
    return content


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def understood(content: bytes, kind: type[T]) -> T | None:
    """JSON as a ``kind``; ``None`` where it is none, whatever it is instead."""
    import msgspec

    try:
        return msgspec.json.decode(content, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


def write(path: Path, content: str | bytes) -> None:
    """Write a file that nobody ever sees half-written, after a crash neither. Raises ``OSError``.

    It takes the place of whatever is there, and does not follow a link. To be called under a lock:
    an unfinished file beside it is taken for a killed writer's.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    for stale in path.parent.glob(f"{glob.escape(path.name)}.*{_PART}"):
        remove(stale)
    handle, name = tempfile.mkstemp(_PART, f"{path.name}.", path.parent)
    part = Path(name)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(content.encode() if isinstance(content, str) else content)
        put(part, path)
    finally:
        part.unlink(missing_ok=True)


def bring(source: Path, folder: Path) -> None:
    """Have ``source`` in ``folder`` as well: by a link where that can be, else as a copy."""
    target = folder / source.name
    if target.exists() and target.samefile(source):
        return
    folder.mkdir(parents=True, exist_ok=True)
    remove(target)
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without links
        shutil.copy(source, target)


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

    Whatever else lies there is taken away. ``waiting`` is called once if another process holds it.
    Raises ``StorageError`` if one held it all the time, ``OSError`` if there can be no such file.
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
            why = f"another process has held it for {timeout_s:g} s"
            step = "end that process (it may be suspended) and try again"
            raise StorageError(path, why, step) from None
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
    """The folder for temporary files. Raises ``StorageError`` where none can be written."""
    try:
        path = Path(tempfile.gettempdir()).absolute()
    except FileNotFoundError:
        named = Path(os.environ.get("TMPDIR") or "/tmp")
        raise StorageError(named, "no temporary file can be written there", TEMPORARY) from None
    _refuse_unwritable_name(path, "name another folder in TMPDIR")
    return path
