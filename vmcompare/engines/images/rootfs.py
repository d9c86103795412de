"""The Alpine root file system, read from its qcow2 disk without root rights and without QEMU."""

from __future__ import annotations

import contextlib
import io
import stat
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from vmcompare.engines.images.qcow2 import Qcow2
from vmcompare.errors import Unavailable
from vmcompare.sandbox import FIRST_BYTE_PROGRAM

LEFT_OUT = ("boot", "lib/modules", "lost+found", ".dockerenv")
"""What is not userland: kernel and modules (a container has none), ext4's own directory, and a
mark the disk's makers left behind."""

_BUFFER = 1 << 16
_NS_PER_S = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Entry:
    """One directory, file or symbolic link.

    Attributes:
        path: relative, without a leading slash.
        mode: type and permission bits, as in ``st_mode``.
        mtime: seconds since 1970.
        inode: files with the same number are hard links of each other.
        data: a file's content; a symbolic link's target.
    """

    path: str
    mode: int
    uid: int
    gid: int
    mtime: int
    inode: int
    data: bytes = b""


def entries(disk: Path | Qcow2, left_out: tuple[str, ...] = LEFT_OUT) -> Iterator[Entry]:
    """Every directory, regular file and symbolic link of an ext4 disk, parents first, sorted.

    Args:
        disk: a qcow2 file that holds an ext4 file system without a partition table; or one that was
            opened already (it stays open).
        left_out: paths that are skipped with all that lies in them.

    Raises:
        Unavailable: the ext4 reader is not installed.
        ValueError: not a qcow2 file this package can read.
        OSError: the disk cannot be read.
    """
    try:
        import pyfsext
    except ImportError:
        raise Unavailable(
            "the reader for ext4 disks is not installed",
            "install it with: pip install libfsext-python",
        ) from None
    with contextlib.ExitStack() as opened:
        raw = disk if isinstance(disk, Qcow2) else opened.enter_context(Qcow2(disk))
        volume = pyfsext.volume()
        stream = io.BufferedReader(raw, _BUFFER)
        volume.open_file_object(stream)
        try:
            yield from _walk(volume.root_directory, "", left_out)
        finally:
            volume.close()
            stream.detach()  # or it would close the disk with itself


def _walk(directory: object, prefix: str, left_out: tuple[str, ...]) -> Iterator[Entry]:
    children = directory.sub_file_entries  # type: ignore[attr-defined]  # pyfsext has no types
    for child in sorted(children, key=lambda child: str(child.name)):
        path = prefix + child.name
        if path in left_out:
            continue
        kind, data = stat.S_IFMT(child.file_mode), b""
        if kind == stat.S_IFREG:
            data = _content(child, path)
        elif kind == stat.S_IFLNK:
            data = child.symbolic_link_target.encode()
        elif kind != stat.S_IFDIR:
            continue
        yield Entry(
            path=path,
            mode=child.file_mode,
            uid=child.owner_identifier,
            gid=child.group_identifier,
            mtime=child.get_modification_time_as_integer() // _NS_PER_S,
            inode=child.inode_number,
            data=data,
        )
        if kind == stat.S_IFDIR:
            yield from _walk(child, path + "/", left_out)


def _content(entry: object, path: str) -> bytes:
    size: int = entry.size  # type: ignore[attr-defined]
    data = bytearray()
    while len(data) < size:
        piece: bytes = entry.read_buffer(size - len(data))  # type: ignore[attr-defined]
        if not piece:
            raise OSError(f"the disk ends in the middle of /{path}")
        data += piece
    return bytes(data)


def write_tar(disk: Path, first_byte: bytes, out: Path) -> None:
    """Write the root file system (without :data:`LEFT_OUT`) and the first-byte program as a tar.

    The same disk gives the same bytes. Raises what :func:`entries` raises.
    """
    seen: dict[int, str] = {}
    with tarfile.open(out, "w", format=tarfile.PAX_FORMAT) as tar:
        for entry in entries(disk):
            info = tarfile.TarInfo(entry.path)
            info.mode, info.uid, info.gid = stat.S_IMODE(entry.mode), entry.uid, entry.gid
            info.mtime = entry.mtime
            if stat.S_ISDIR(entry.mode):
                info.type = tarfile.DIRTYPE
            elif stat.S_ISLNK(entry.mode):
                info.type, info.linkname = tarfile.SYMTYPE, entry.data.decode()
            elif entry.inode in seen:
                info.type, info.linkname = tarfile.LNKTYPE, seen[entry.inode]
            else:
                seen[entry.inode] = entry.path
                info.size = len(entry.data)
            tar.addfile(info, io.BytesIO(entry.data) if info.size else None)
        info = tarfile.TarInfo(FIRST_BYTE_PROGRAM.lstrip("/"))
        info.mode, info.size = 0o755, len(first_byte)
        tar.addfile(info, io.BytesIO(first_byte))
