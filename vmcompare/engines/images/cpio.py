"""cpio archives in the "newc" format: what Linux unpacks as its initramfs.

Format: Linux, ``Documentation/driver-api/early-userspace/buffer-format.rst``. No root rights are
needed: owners and device numbers are just fields of a header.
"""

from __future__ import annotations

import stat
from typing import BinaryIO

_MAGIC = "070701"
_TRAILER = "TRAILER!!!"


class Writer:
    """Writes entries one after the other; :meth:`close` writes the trailer.

    Names are relative ("bin/busybox"); a directory must come before what lies in it.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._inode = 0

    def directory(
        self, name: str, mode: int = 0o755, *, uid: int = 0, gid: int = 0, mtime: int = 0
    ) -> None:
        """A directory."""
        self._entry(name, stat.S_IFDIR | mode, uid=uid, gid=gid, mtime=mtime, links=2)

    def file(
        self,
        name: str,
        data: bytes,
        mode: int = 0o644,
        *,
        uid: int = 0,
        gid: int = 0,
        mtime: int = 0,
    ) -> None:
        """A regular file."""
        self._entry(name, stat.S_IFREG | mode, data, uid=uid, gid=gid, mtime=mtime)

    def symlink(
        self, name: str, target: str, *, uid: int = 0, gid: int = 0, mtime: int = 0
    ) -> None:
        """A symbolic link."""
        self._entry(name, stat.S_IFLNK | 0o777, target.encode(), uid=uid, gid=gid, mtime=mtime)

    def character_device(self, name: str, major: int, minor: int, mode: int = 0o600) -> None:
        """A character device."""
        self._entry(name, stat.S_IFCHR | mode, device=(major, minor))

    def close(self) -> None:
        """Write the trailer. The stream stays open."""
        self._entry(_TRAILER, 0)

    def _entry(
        self,
        name: str,
        mode: int,
        data: bytes = b"",
        *,
        uid: int = 0,
        gid: int = 0,
        mtime: int = 0,
        links: int = 1,
        device: tuple[int, int] = (0, 0),
    ) -> None:
        self._inode += 1
        encoded = name.encode() + b"\0"
        numbers = (self._inode, mode, uid, gid, links, mtime, len(data), 0, 0)
        fields = (*numbers, *device, len(encoded), 0)
        head = (_MAGIC + "".join(f"{field:08X}" for field in fields)).encode() + encoded
        self._stream.write(head + bytes(-len(head) % 4))
        self._stream.write(data + bytes(-len(data) % 4))
