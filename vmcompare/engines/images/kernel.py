"""From a Linux ``bzImage`` to the uncompressed ELF kernel inside it."""

from __future__ import annotations

import struct
import zlib

_SETUP_SECTORS = 0x1F1
_MAGIC_OFFSET, _MAGIC = 0x202, b"HdrS"
_PAYLOAD = 0x248
"""Offsets in the setup header (Linux, ``Documentation/arch/x86/boot.rst``): number of 512-byte
setup sectors, magic number, then payload offset and length (32 bit each)."""

_GZIP = b"\x1f\x8b\x08"


def elf_of(bzimage: bytes) -> bytes:
    """The uncompressed ELF kernel in a ``bzImage`` whose payload is gzip (Alpine's is).

    Booting it skips the guest's own unpacking, which costs under software emulation.

    Raises:
        ValueError: no bzImage, or its payload is not a gzip-compressed ELF file.
    """
    if bzimage[_MAGIC_OFFSET : _MAGIC_OFFSET + 4] != _MAGIC:
        raise ValueError("this is not a Linux bzImage")
    offset, length = struct.unpack_from("<II", bzimage, _PAYLOAD)
    start = (bzimage[_SETUP_SECTORS] + 1) * 512 + offset
    payload = bzimage[start : start + length]
    if not payload.startswith(_GZIP):
        raise ValueError("the kernel in this bzImage is not compressed with gzip")
    try:
        kernel = zlib.decompressobj(31).decompress(payload)
    except zlib.error as error:
        raise ValueError(f"the kernel in this bzImage cannot be unpacked ({error})") from error
    if not kernel.startswith(b"\x7fELF"):
        raise ValueError("what this bzImage carries is not an ELF kernel")
    return kernel
