"""A store of derived files: built once, checked on every use, rebuilt when damaged.

Each entry is a file and a sidecar ``.json`` with its size, SHA-256 and key. An entry counts only if
both are ordinary files of this user (or of root) and agree. Files arrive by an atomic rename; a
lock file keeps two processes from building the same thing.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import ModuleType

import msgspec

from vmcompare import paths
from vmcompare.engines import cleanup
from vmcompare.errors import StorageError

Progress = Callable[[str, float], None]
"""Is told, in a learner's words, what is being made: 0 when it begins, 1 when it has ended."""

_listening: list[Progress] = []

Build = Callable[[Path], object]
"""Writes the finished file to the (existing, empty) path it is given."""

_ADVICE = paths.advice(paths.CACHE_HOME)

_SIDECAR_BYTES = 1 << 20  # at most, of a sidecar; its key may list a thousand files
_digests: dict[tuple[Path, tuple[int, ...]], str] = {}
"""SHA-256 of files as they were, by path and state: each is read once in this process."""


class _Facts(msgspec.Struct):
    key: str
    size: int
    sha256: str


WORDS: Mapping[str, str] = {
    "rootfs.tar": "the Alpine file system",
    "full.cpio": "the file system of vm-direct",
    "disk.cpio": "the first files of vm-tuned",
    "vmlinux.elf": "the kernel of the VMs",
    "disk.qcow2": "the virtual disk",
    "warm.qcow2": "the disk of vm-tuned",
    "changed.qcow2": "a virtual disk with an application",
    "with-files.cpio": "the file system of a VM with more programs in it",
    "debian.tar": "the Debian file system",
    "sector.img": "a disk of 512 bytes",
    "other-kernel": "a kernel that is not Linux",
    "foreign-kernel": "a kernel for the other processor",
    "foreign.cpio": "a program for the other processor",
}
"""Name in the cache → what a learner reads."""

TAKES_S: Mapping[str, float] = {"the virtual disk": 2.4, "the disk of vm-tuned": 21.0}
"""Words → seconds, of all that takes longer than about a second. Measured once with an empty cache
on the computer of the project's recordings (two cores, software emulation); each boots a guest."""


@contextlib.contextmanager
def report_progress_to(progress: Progress) -> Iterator[None]:
    """While inside, ``progress`` is told of all that is made in this process."""
    _listening.append(progress)
    try:
        yield
    finally:
        _listening.remove(progress)


@contextlib.contextmanager
def told(what: str) -> Iterator[None]:
    """Tell whoever listens that ``what`` is being made, and that it has ended, in order or not."""
    for progress in _listening:
        progress(what, 0.0)
    try:
        yield
    finally:
        for progress in _listening:
            progress(what, 1.0)


def digest(path: Path) -> str:
    """``sha256:…`` of a file, of the cache or another. Raises ``StorageError``."""
    with paths.as_storage_error(path, _ADVICE):
        return "sha256:" + _sha256(path)


def _state(path: Path) -> tuple[int, ...]:
    status = path.stat()
    # The time of the last change of its state cannot be set back, as that of its content can.
    times = (status.st_mtime_ns, status.st_ctime_ns)
    return (status.st_dev, status.st_ino, status.st_size, *times)


def _sha256(path: Path) -> str:
    state = _state(path)
    if (path, state) not in _digests:
        with path.open("rb") as stream:
            _digests[path, state] = hashlib.file_digest(stream, "sha256").hexdigest()
    return _digests[path, state]


def code_of(*modules: ModuleType) -> str:
    """Changes when the source of any of the ``modules`` does: for the key of what they build."""
    files = [Path(str(module.__file__)).read_bytes() for module in modules]
    return hashlib.sha256(b"".join(files)).hexdigest()[:16]


def directory() -> Path:
    return paths.cache_dir() / "images"


def get(name: str, key: str, build: Build) -> Path:
    """The file ``name`` made for ``key``; ``build`` makes it if it is missing or damaged.

    Args:
        name: file name with suffix, e.g. ``"rootfs.tar"``.
        key: everything the content depends on, as text. Another key is another entry.
        build: writes the content. Whatever it raises is passed on, and nothing is stored.

    Raises ``StorageError``: the directory cannot be used, or has no room for the file.
    """
    path, what = _path(name, key), WORDS.get(name, name)
    if not _intact(path, key):
        with building(path, what):
            if not _intact(path, key):  # another process may have built it meanwhile
                with told(what):
                    _build(path, key, build)
    return path


def holds(name: str, key: str) -> bool:
    """Whether the file ``name`` made for ``key`` seems to be there; its bytes are not read."""
    return _facts(_path(name, key), key) is not None


def _path(name: str, key: str) -> Path:
    stem, dot, suffix = name.partition(".")
    short = hashlib.sha256(key.encode()).hexdigest()[:16]
    return directory() / f"{stem}-{short}{dot}{suffix}"


@contextlib.contextmanager
def building(path: Path, what: str) -> Iterator[None]:
    """Alone in making ``path`` of the cache; whoever has to wait for that is told.

    Raises ``StorageError``: the cache cannot be used, has no room, or another process never ends.
    """
    sentence = f"{what}, which another process is making"
    with contextlib.ExitStack() as waited:

        def waiting() -> None:
            if not _listening:
                print(f"vmcompare: waiting for {sentence}", file=sys.stderr)
            waited.enter_context(told(sentence))

        lock = path.with_name(path.name + ".lock")
        with paths.as_storage_error(path, _ADVICE), paths.locked(lock, waiting=waiting):
            waited.close()
            yield


def _build(path: Path, key: str, build: Build) -> None:
    with cleanup.folder(path.parent) as folder:
        part = folder / path.name
        part.touch()
        try:
            build(part)
        except OSError as error:
            if error.errno in paths.NO_ROOM or not error.filename:
                raise
            # What is read to build it (a wheel's file, a program) lies elsewhere.
            cause = Path(os.fsdecode(error.filename))
            raise StorageError.of(cause, error, "make it readable, or install it again") from error
        facts = _Facts(key, part.stat().st_size, _sha256(part))
        paths.remove(_sidecar(path))  # never an old sidecar beside a new file
        paths.put(part, path)
        _digests[path, _state(path)] = facts.sha256
    paths.write(_sidecar(path), msgspec.json.encode(facts))


def _sidecar(path: Path) -> Path:
    return path.with_name(path.name + ".json")


def _facts(path: Path, key: str) -> _Facts | None:
    """What is written of a file, where it is for ``key`` and the file has that size."""
    try:
        file, sidecar = path.lstat(), _sidecar(path).lstat()
        if not all(
            stat.S_ISREG(one.st_mode)
            and (not hasattr(os, "geteuid") or one.st_uid in (0, os.geteuid()))
            for one in (file, sidecar)
        ):
            return None
        facts = paths.understood(paths.read(_sidecar(path), _SIDECAR_BYTES), _Facts)
    except OSError:
        return None
    return facts if facts and (facts.key, facts.size) == (key, file.st_size) else None


def _intact(path: Path, key: str) -> bool:
    facts = _facts(path, key)
    with contextlib.suppress(OSError):
        return facts is not None and facts.sha256 == _sha256(path)
    return False
