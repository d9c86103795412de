"""Weighing what is stored and shipped: one compressor for every platform."""

from __future__ import annotations

import gzip
import hashlib
import itertools
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from vmcompare.engines.images.oci import GZIP_LEVEL
from vmcompare.engines.images.qcow2 import Qcow2
from vmcompare.sandbox import Piece

_GZIP_BITS = 31  # zlib's window size for a gzip wrapper (RFC 1952)
_CHUNK_BYTES = 1 << 20
_BLOCK_BYTES = 512  # unit of `st_blocks` (Linux and macOS; POSIX leaves it open)


def allocated(path: Path) -> int:
    """Bytes a file occupies on its disk; its length where the system does not tell (Windows)."""
    status = path.stat()
    blocks = getattr(status, "st_blocks", None)
    return status.st_size if blocks is None else int(blocks) * _BLOCK_BYTES


def files(name: str, *paths: Path) -> Piece:
    """Files as they lie here, one behind the other: a kernel, a RAM disk, an overlay."""
    size = sum(path.stat().st_size for path in paths)
    pieces = itertools.chain.from_iterable(chunks(path) for path in paths)
    return piece(name, pieces, size, sum(allocated(path) for path in paths))


_NUMBER_BYTES = 8


def disk_stream(raw: Qcow2) -> Iterator[bytes]:
    """A disk's clusters that hold anything but zeros, each behind its number.

    So empty space costs nothing, and :func:`write_disk` can put the disk together again. The disk's
    own compression is undone first, or one side would be compressed by two compressors.
    """
    for number, content in raw.clusters():
        yield number.to_bytes(_NUMBER_BYTES, "big") + content


def write_disk(stream: BinaryIO | gzip.GzipFile, path: Path, size: int, cluster_bytes: int) -> None:
    """Write a raw disk of ``size`` bytes from a :func:`disk_stream`; its empty space stays holes.

    Raises ``ValueError`` if the stream ends within a cluster, ``OSError`` if there is no room.
    """
    with path.open("wb") as out:
        while number := stream.read(_NUMBER_BYTES):
            content = stream.read(cluster_bytes)
            if len(content) != cluster_bytes:
                raise ValueError("the disk's stream ends within a cluster")
            out.seek(int.from_bytes(number, "big") * cluster_bytes)
            out.write(content)
        out.truncate(size)


def pack(stream: Iterable[bytes], path: Path) -> int:
    """Write a stream compressed, as every piece is weighed; its size in bytes."""
    with path.open("wb") as out:
        return sum(out.write(part) for part in _packed(stream))


def piece(name: str, stream: Iterable[bytes], virtual: int, stored: int) -> Piece:
    """A stream, weighed: ``virtual`` and ``stored`` are its bytes inside, and on this disk."""
    sha = hashlib.sha256()
    sent = sum(len(part) for part in _packed(stream, sha.update))
    return Piece(name, f"sha256:{sha.hexdigest()}", virtual, stored, sent)


def _packed(
    stream: Iterable[bytes], see: Callable[[bytes], None] = lambda _: None
) -> Iterator[bytes]:
    """``see`` is shown each part before it is compressed."""
    packer = zlib.compressobj(GZIP_LEVEL, wbits=_GZIP_BITS)
    for chunk in stream:
        see(chunk)
        yield packer.compress(chunk)
    yield packer.flush()


def chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            yield chunk
