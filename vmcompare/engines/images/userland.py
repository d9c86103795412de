"""The Alpine userland as a directory, for mechanisms that start in one: bubblewrap and runc.

It is unpacked once into the cache and only ever read. Without root, every file belongs to the user
who unpacks it; set-user-id bits are left out; the directory around it is closed to other users.
"""

from __future__ import annotations

import os
import shutil
import tarfile
from pathlib import Path, PurePosixPath

from vmcompare import paths
from vmcompare.engines import cleanup
from vmcompare.engines.images import alpine
from vmcompare.engines.images.cache import Progress, building, no_progress, told
from vmcompare.errors import StorageError

_verified: set[str] = set()  # directories that this process has compared with their tar
_WHAT = "the unpacked Alpine file system"


def directory(progress: Progress | None = None) -> Path:
    """The root file system of :func:`vmcompare.engines.images.alpine.rootfs_tar`, unpacked.

    Compared with the tar once in every process, and unpacked anew when they differ. Raises
    ``Unavailable`` or ``StorageError``.
    """
    tar = alpine.rootfs_tar(progress)
    # One for each user: a cache that root has used too (sudo) must not lock its owner out.
    holder = tar.with_name(f"{tar.stem}-unpacked-{os.geteuid()}")
    root = holder / "root"
    if str(root) in _verified:
        return root
    tell = progress or no_progress
    with building(holder, _WHAT, tell):
        if holder.is_symlink() or root.is_symlink() or not agrees(tar, root):
            with told(_WHAT, tell):
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
    """Unpack ``tar`` into the new directory ``root``, as safely as if a stranger had made it.

    Every member must lie in a real directory that came before it, so nothing is ever written
    through a symbolic link or outside ``root``: else ``ValueError``.
    """
    root.mkdir(mode=0o700)
    is_root = os.geteuid() == 0
    directories: dict[str, int] = {".": 0o755}
    files: set[str] = set()
    with tarfile.open(tar) as archive:
        for member in archive:
            name = _safe(member.name, directories)
            place = root / name
            if member.isdir():
                place.mkdir(mode=0o700)
                directories[name] = _mode(member)
            elif member.issym():
                place.symlink_to(member.linkname)
            elif member.islnk() and member.linkname in files:
                place.hardlink_to(root / member.linkname)
                continue
            elif member.isreg() and (source := archive.extractfile(member)) is not None:
                with source, place.open("xb") as target:
                    shutil.copyfileobj(source, target)
                place.chmod(_mode(member))
                files.add(name)
            else:
                raise ValueError(f"/{member.name} is no directory, file or link to a file before")
            if is_root:
                os.chown(place, member.uid, member.gid, follow_symlinks=False)
    for name, mode in sorted(directories.items(), reverse=True):  # deepest first
        (root / name).chmod(mode)


def agrees(tar: Path, root: Path) -> bool:
    """Whether ``root`` holds what ``tar`` does: names, kinds, permissions and every byte."""
    missing = {
        str(Path(folder, name).relative_to(root))
        for folder, folders, files in os.walk(root)
        for name in (*folders, *files)
    }
    try:
        with tarfile.open(tar) as archive:
            for member in archive:
                if not _is(root / member.name, member, archive):
                    return False
                missing.discard(member.name)
    except OSError:
        return False
    return not missing


def _is(place: Path, member: tarfile.TarInfo, archive: tarfile.TarFile) -> bool:
    if member.issym():
        return place.is_symlink() and str(place.readlink()) == member.linkname
    if place.is_symlink():
        return False
    if member.islnk():
        return place.samefile(place.parents[member.name.count("/")] / member.linkname)
    if place.stat().st_mode & 0o7777 != _mode(member):
        return False
    if member.isdir():
        return place.is_dir()
    source = archive.extractfile(member)
    return source is not None and place.is_file() and place.read_bytes() == source.read()


def _mode(member: tarfile.TarInfo) -> int:
    """Permissions without set-user-id; the owner can always read, or nobody could check it."""
    return (member.mode & 0o777) | (0o700 if member.isdir() else 0o400)


def _safe(name: str, directories: dict[str, int]) -> str:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or str(path.parent) not in directories:
        raise ValueError(f"the archive wants to write to {name!r}")
    return str(path)
