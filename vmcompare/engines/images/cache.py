"""A store of derived files: built once, checked on every use, rebuilt when damaged.

Each entry is a file and a sidecar ``.json`` with its size, SHA-256 and key. An entry counts only if
both are ordinary files of this user (or of root) and agree. Files arrive by an atomic rename; a
lock file keeps two processes from building the same thing.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
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
_verified: dict[tuple[str, tuple[int, ...]], str] = {}
"""Files (path and state) whose SHA-256 was found right in this process, and that digest."""


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
    "container-host.cpio": "the file system of the VM that hosts containers",
    "engine-host.cpio": "the file system of the VM that hosts Docker",
    "counted.cpio": "the file system of the VM that counts",
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


def words(name: str) -> str:
    """What a learner reads for the file ``name`` of the cache."""
    return WORDS.get(name, name)


@contextlib.contextmanager
def heard_by(progress: Progress) -> Iterator[None]:
    """While inside, ``progress`` hears of all that is made in this process."""
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


def sha256_of(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


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
    path, what = _path(name, key), words(name)
    if not _intact(path, key):
        with building(path, what):
            if not _intact(path, key):  # another process may have built it meanwhile
                with told(what):
                    _build(path, key, build)
    return path


def holds(name: str, key: str) -> bool:
    """Whether the file ``name`` made for ``key`` seems to be there; its bytes are not read."""
    path = _path(name, key)
    try:
        facts = paths.understood(paths.read(_sidecar(path), _SIDECAR_BYTES), _Facts)
        return facts is not None and facts.key == key and facts.size == path.lstat().st_size
    except OSError:
        return False


def digest(path: Path) -> str:
    """``sha256:…`` of a file that :func:`get` returned."""
    with paths.said_of(path, _ADVICE):
        return "sha256:" + (_verified.get((str(path), _state(path))) or sha256_of(path))


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
        with paths.said_of(path, _ADVICE), paths.locked(lock, waiting=waiting):
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
        facts = _Facts(key, part.stat().st_size, sha256_of(part))
        paths.remove(_sidecar(path))  # never an old sidecar beside a new file
        paths.put(part, path)
    paths.write(_sidecar(path), json.dumps(msgspec.to_builtins(facts)))
    _verified[str(path), _state(path)] = facts.sha256


def _sidecar(path: Path) -> Path:
    return path.with_name(path.name + ".json")


def _state(path: Path) -> tuple[int, ...]:
    """Changes with the file. The time of its last change cannot be set back, as ``mtime`` can."""
    status = path.lstat()
    owned = not hasattr(os, "geteuid") or status.st_uid in (0, os.geteuid())
    if not (stat.S_ISREG(status.st_mode) and owned):
        raise OSError(errno.EINVAL, "it is not an ordinary file of this user")
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def _intact(path: Path, key: str) -> bool:
    """Whether file and sidecar agree (size always, SHA-256 once per process)."""
    sidecar = _sidecar(path)
    try:
        _state(sidecar)
        facts = paths.understood(paths.read(sidecar, _SIDECAR_BYTES), _Facts)
        state = _state(path)
        if facts is None or facts.key != key or facts.size != path.lstat().st_size:
            return False
        if (str(path), state) not in _verified:
            if facts.sha256 != sha256_of(path):
                return False
            _verified[str(path), state] = facts.sha256
    except OSError:
        return False
    return True
