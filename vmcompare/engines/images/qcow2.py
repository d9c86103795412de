"""qcow2 disks: a read-only stream, and an empty overlay, without QEMU's tools.

Format: QEMU, ``docs/interop/qcow2.rst``. Read are versions 2 and 3 with plain, zero and
zlib-compressed clusters, what the Alpine disk consists of, and overlays over such disks.
"""

from __future__ import annotations

import io
import os
import struct
import zlib
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO

_MAGIC = b"QFI\xfb"
_HEADER = struct.Struct(">4sIQIIQIIQQIIQ")
_OFFSET_MASK = 0x00FF_FFFF_FFFF_FE00  # bits 9 to 55 of an L1 or L2 entry: the offset, in bytes
_COMPRESSED = 1 << 62
_DIRTY_BIT = 1  # concerns reference counts only: a reader may ignore it
_OVERLAY_CLUSTER_BITS = 16  # 64 KiB: the default of `qemu-img create`


class Qcow2(io.RawIOBase):
    """The disk inside a qcow2 file as a read-only, seekable stream.

    What an overlay lies over is opened, and closed, with it: ``paths`` are all its files, the
    lowest first.

    Raises ``ValueError`` where it is no qcow2 file, or has features this reader lacks; ``OSError``
    where a file cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self._backing: Qcow2 | None = None
        self._file = path.open("rb")
        try:
            self._read_header()
        except BaseException:
            self.close()
            raise
        below = self._backing.paths if self._backing else ()
        self.paths: tuple[Path, ...] = (*below, path)
        self._position: int = 0
        self._l2 = lru_cache(None)(self._read_l2)
        self._get = lru_cache(256)(self._read_cluster)

    def _read_header(self) -> None:
        _, version, name_at, name_length, bits, size, crypt, l1_size, l1_at, *_ = _header(
            self._file
        )
        features = int.from_bytes(self._file.read(8), "big") if version >= 3 else 0
        if name_at:
            self._file.seek(name_at)
            self._backing = Qcow2(Path(os.fsdecode(self._file.read(name_length))))
        fits = self._backing is None or self._backing.cluster_bytes == 1 << bits
        if version not in (2, 3) or not fits or crypt or features & ~_DIRTY_BIT:
            raise ValueError("this qcow2 file uses features that are not supported here")
        self.size: int = size
        self._bits: int = bits
        self._cluster: int = 1 << bits
        self._file.seek(l1_at)
        self._l1 = struct.unpack(f">{l1_size}Q", self._file.read(8 * l1_size))

    def close(self) -> None:
        self._file.close()
        if self._backing is not None:
            self._backing.close()
        super().close()

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._position = int((0, self._position, self.size)[whence]) + offset
        return self._position

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        number, start = divmod(self._position, self._cluster)
        count: int = min(len(buffer), self._cluster - start, self.size - self._position)
        if count <= 0:
            return 0
        buffer[:count] = self._get(number)[start : start + count]
        self._position += count
        return count

    @property
    def cluster_bytes(self) -> int:
        return self._cluster

    def clusters(self) -> Iterator[tuple[int, bytes]]:
        """Number and content of every cluster that is not all zeros, in order."""
        for number in range(-(-self.size // self._cluster)):
            content = self._get(number)
            if content.count(0) != len(content):
                yield number, content

    def _below(self, number: int) -> bytes:
        """A cluster that this file does not hold."""
        if self._backing is None or number * self._cluster >= self._backing.size:
            return bytes(self._cluster)
        return self._backing._get(number)

    def _read_l2(self, offset: int) -> tuple[int, ...]:
        self._file.seek(offset)
        return struct.unpack(f">{self._cluster // 8}Q", self._file.read(self._cluster))

    def _read_cluster(self, number: int) -> bytes:
        per_table = self._cluster // 8
        table = self._l1[number // per_table] & _OFFSET_MASK
        if not table:
            return self._below(number)
        entry = self._l2(table)[number % per_table]
        if entry & _COMPRESSED:
            return self._inflate(entry)
        offset = entry & _OFFSET_MASK
        if entry & 1:  # reads as zeros
            return bytes(self._cluster)
        if not offset:
            return self._below(number)
        self._file.seek(offset)
        return self._file.read(self._cluster).ljust(self._cluster, b"\0")

    def _inflate(self, entry: int) -> bytes:
        """A compressed cluster: low bits are the byte offset, the rest counts 512-byte sectors."""
        split = 62 - (self._bits - 8)
        offset = entry & ((1 << split) - 1)
        sectors = ((entry & (_COMPRESSED - 1)) >> split) + 1
        self._file.seek(offset)
        raw = self._file.read(sectors * 512 - (offset & 511))
        return zlib.decompressobj(-15).decompress(raw, self._cluster)


def virtual_size(path: Path) -> int:
    """The size of the disk inside a qcow2 file, in bytes. Raises ``ValueError``."""
    with path.open("rb") as stream:
        return int(_header(stream)[5])


def _header(stream: BinaryIO) -> tuple[Any, ...]:
    raw = stream.read(_HEADER.size)
    if len(raw) < _HEADER.size or raw[:4] != _MAGIC:
        raise ValueError("this is not a qcow2 file")
    return _HEADER.unpack(raw)


def empty_overlay(size: int, backing: Path) -> bytes:
    """An empty qcow2 (version 3) overlay of ``size`` bytes: all is read from ``backing``.

    Four clusters of 64 KiB: header, refcount table, refcount block, L1 table. Raises ``ValueError``
    where the disk is too large for this simple layout, or the path too long.
    """
    cluster = 1 << _OVERLAY_CLUSTER_BITS
    l1_size = -(-size // (cluster * (cluster // 8)))  # one L1 entry maps 512 MiB
    name = os.fsencode(backing)
    extension = struct.pack(">II", 0xE2792ACA, 5) + b"qcow2\0\0\0"  # format of the backing file
    extension += struct.pack(">II", 0, 0)  # end of the header extensions
    name_offset = 104 + len(extension)
    if 8 * l1_size > cluster or len(name) > 1023:
        raise ValueError("the disk is too large, or its path too long, for an overlay")
    header = _HEADER.pack(
        _MAGIC,
        3,
        name_offset,
        len(name),
        _OVERLAY_CLUSTER_BITS,
        size,
        0,  # not encrypted
        l1_size,
        3 * cluster,  # L1 table
        cluster,  # refcount table
        1,  # of one cluster
        0,
        0,  # no snapshots
    )
    # No incompatible, compatible or auto-clear features; 16-bit refcounts (order 4); 104 bytes.
    header += struct.pack(">QQQII", 0, 0, 0, 4, 104)
    table = struct.pack(">Q", 2 * cluster)
    block = struct.pack(">4H", 1, 1, 1, 1)
    parts = (header + extension + name, table, block, b"")
    return b"".join(part.ljust(cluster, b"\0") for part in parts)
