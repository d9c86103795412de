"""The Alpine root file system, read from its qcow2 disk without root rights and without QEMU."""

from __future__ import annotations

import contextlib
import io
import stat
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vmcompare.engines.images.qcow2 import Qcow2
from vmcompare.errors import Unavailable
from vmcompare.sandbox import FIRST_BYTE_PROGRAM

LEFT_OUT = ("boot", "lib/modules", "lost+found", ".dockerenv")
"""What is not userland: kernel and modules (a container has none), ext4's own directory, and a
mark the disk's makers left behind."""

_BUFFER = 1 << 16
_NS_PER_S = 1_000_000_000


def entries(
    disk: Path | Qcow2, left_out: tuple[str, ...] = LEFT_OUT
) -> Iterator[tuple[tarfile.TarInfo, bytes]]:
    """Every directory, file and symbolic link of an ext4 disk, parents first, sorted, as in a tar.

    So a further hard link of a file names the first one. A file's content stands beside it.

    Args:
        disk: a qcow2 file that holds an ext4 file system without a partition table; or one that was
            opened already (it stays open).
        left_out: paths that are skipped with all that lies in them.

    Raises ``Unavailable`` where the ext4 reader is not installed, and as :class:`Qcow2` does.
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
            yield from _walk(volume.root_directory, "", left_out, {})
        finally:
            volume.close()
            stream.detach()  # or it would close the disk with itself


def _walk(
    directory: Any, prefix: str, left_out: tuple[str, ...], seen: dict[int, str]
) -> Iterator[tuple[tarfile.TarInfo, bytes]]:
    for child in sorted(directory.sub_file_entries, key=lambda child: str(child.name)):
        path = prefix + child.name
        if path in left_out:
            continue
        info, data = tarfile.TarInfo(path), b""
        info.mode = stat.S_IMODE(child.file_mode)
        info.uid, info.gid = child.owner_identifier, child.group_identifier
        info.mtime = child.get_modification_time_as_integer() // _NS_PER_S
        kind = stat.S_IFMT(child.file_mode)
        if kind == stat.S_IFDIR:
            info.type = tarfile.DIRTYPE
        elif kind == stat.S_IFLNK:
            info.type, info.linkname = tarfile.SYMTYPE, child.symbolic_link_target
        elif kind != stat.S_IFREG:
            continue
        elif first := seen.get(child.inode_number):
            info.type, info.linkname = tarfile.LNKTYPE, first
        else:
            seen[child.inode_number] = path
            data = _content(child, path)
            info.size = len(data)
        yield info, data
        if info.isdir():
            yield from _walk(child, path + "/", left_out, seen)


def _content(entry: Any, path: str) -> bytes:
    data = bytearray()
    while len(data) < entry.size:
        piece: bytes = entry.read_buffer(entry.size - len(data))
        if not piece:
            raise OSError(f"the disk ends in the middle of /{path}")
        data += piece
    return bytes(data)


def write_tar(disk: Path, first_byte: bytes, out: Path) -> None:
    """Write the root file system (without :data:`LEFT_OUT`) and the first-byte program as a tar.

    The same disk gives the same bytes. Raises what :func:`entries` raises.
    """
    with tarfile.open(out, "w", format=tarfile.PAX_FORMAT) as tar:
        for info, data in entries(disk):
            tar.addfile(info, io.BytesIO(data))
        info = tarfile.TarInfo(FIRST_BYTE_PROGRAM.lstrip("/"))
        info.mode, info.size = 0o755, len(first_byte)
        tar.addfile(info, io.BytesIO(first_byte))
