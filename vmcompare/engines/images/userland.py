"""The Alpine userland as a directory, for mechanisms that start in one: bubblewrap and runc.

It is unpacked once into the cache and only ever read. Without root, every file belongs to the user
who unpacks it; set-user-id bits are left out; the directory around it is closed to other users.
"""

from __future__ import annotations

import os
import tarfile
from pathlib import Path

from vmcompare import paths
from vmcompare.engines import cleanup
from vmcompare.engines.images import alpine
from vmcompare.engines.images.cache import building, told
from vmcompare.errors import StorageError

_verified: set[str] = set()  # directories that this process has looked through
_WHAT = "the unpacked Alpine file system"


def directory() -> Path:
    """The root file system of :func:`vmcompare.engines.images.alpine.rootfs_tar`, unpacked.

    Looked through once in every process, and unpacked anew where files are missing. Raises
    ``Unavailable`` or ``StorageError``.
    """
    tar = alpine.rootfs_tar()
    # One for each user: a cache that root has used too (sudo) must not lock its owner out.
    holder = tar.with_name(f"{tar.stem}-unpacked-{os.geteuid()}")
    root = holder / "root"
    if str(root) in _verified:
        return root
    with building(holder, _WHAT):
        if holder.is_symlink() or root.is_symlink() or not is_whole(tar, root):
            with told(_WHAT):
                _replace(tar, holder)
    if os.statvfs(root).f_flag & getattr(os, "ST_NOEXEC", 0):
        raise StorageError(
            root, "no program may be run from there", f"name another folder in {paths.CACHE_HOME}"
        )
    _verified.add(str(root))
    return root


def _replace(tar: Path, holder: Path) -> None:
    with cleanup.folder(holder.parent) as folder:
        fresh = folder / "fresh"
        fresh.mkdir(mode=0o700)
        unpack(tar, fresh / "root")
        if os.path.lexists(holder):
            holder.rename(folder / "damaged")
        fresh.rename(holder)


def unpack(tar: Path, root: Path) -> None:
    """Unpack our own archive into the new directory ``root``."""
    root.mkdir(mode=0o700)
    with tarfile.open(tar) as archive:
        # From Python 3.14 on, links to absolute paths would be refused.
        archive.extraction_filter = lambda member, _path: member
        members = archive.getmembers()
        for member in members:  # no set-user-id; the owner can read all, or nobody could check it
            member.mode = (member.mode & 0o777) | (0o700 if member.isdir() else 0o400)
        archive.extractall(root, members, numeric_owner=True)


def is_whole(tar: Path, root: Path) -> bool:
    """Whether each file of ``tar`` is in ``root`` with its size: the power may have failed."""
    try:
        with tarfile.open(tar) as archive:
            return all(
                (root / member.name).lstat().st_size == member.size
                for member in archive
                if member.isreg()
            )
    except OSError:
        return False
