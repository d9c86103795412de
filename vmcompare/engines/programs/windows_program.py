"""A program made for Windows: 1,024 bytes that end at once with the exit code :data:`EXIT_CODE`.

It needs no library. What Windows starts as a program of its own is, for another kernel, only a
file: a fair control for the question which programs a kernel takes.

Sources: Microsoft, *PE Format* (headers, their sizes and the meaning of their fields); Intel 64 and
IA-32 SDM vol. 2 (encodings). Windows ends a process with what its first function returns.
"""

from __future__ import annotations

import struct

EXIT_CODE = 42

_CODE = bytes.fromhex("b82a000000 c3")  # mov eax, 42; ret
_FILE_BYTES = 512  # headers, and then the one section, each fill a unit of the file
_PAGE = 0x1000
_HEADERS_AT = 64  # right behind the header of DOS


def executable() -> bytes:
    """The file, for x86-64."""
    dos = b"MZ" + bytes(58) + struct.pack("<I", _HEADERS_AT)
    # IMAGE_FILE_MACHINE_AMD64; one section; an executable image without relocations (3) that knows
    # addresses above 2 GB (20h).
    optional = struct.pack(
        "<HBBIIIIIQIIHHHHHHIIIIHHQQQQII",
        *(0x20B, 14, 0, _FILE_BYTES, 0, 0, _PAGE, _PAGE),  # PE32+; sizes of code; first instruction
        *(0x140000000, _PAGE, _FILE_BYTES),  # preferred address; alignments
        *(6, 0, 0, 0, 6, 0, 0),  # Windows Vista, the oldest that is meant
        *(2 * _PAGE, _FILE_BYTES, 0, 3, 0x100),  # sizes; no checksum; a console program; NX
        *(1 << 20, _PAGE, 1 << 20, _PAGE, 0, 16),  # stack, heap; sixteen directories,
    ) + bytes(16 * 8)  # which are all empty
    file = struct.pack("<HHIIIHH", 0x8664, 1, 0, 0, 0, len(optional), 0x23)
    # Code that is read and executed: 20h, 2000'0000h, 4000'0000h.
    section = struct.pack(
        "<8sIIIIIIHHI",
        b".text",
        len(_CODE),
        _PAGE,
        _FILE_BYTES,
        _FILE_BYTES,
        0,
        0,
        0,
        0,
        0x60000020,
    )
    headers = dos + b"PE\0\0" + file + optional + section
    return headers.ljust(_FILE_BYTES, b"\0") + _CODE.ljust(_FILE_BYTES, b"\0")
