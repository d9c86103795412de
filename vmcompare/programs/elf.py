"""The smallest ELF file that Linux runs: one segment of code, no library, no compiler needed."""

from __future__ import annotations

import struct

EM_X86_64, EM_AARCH64 = 62, 183
"""ELF machine numbers (System V ABI, ``elf.h``)."""

_BASE = 0x400000
"""Load address: what linkers use for static x86-64 programs; a multiple of every page size."""

_HEADER_SIZE, _PROGRAM_HEADER_SIZE = 64, 56
"""Sizes of an ELF64 header and of one program header, in bytes (System V ABI)."""

_BODY = _HEADER_SIZE + 2 * _PROGRAM_HEADER_SIZE

BODY_ADDRESS = _BASE + _BODY
"""Where the first byte of a program's body lies in its memory."""


def static_program(machine: int, body: bytes) -> bytes:
    """A static executable whose first instruction is the first byte of ``body``.

    Args:
        machine: ELF machine number.
        body: code, and any constants behind it; it is mapped read-only, at
            :data:`BODY_ADDRESS`.
    """
    ident = b"\x7fELF" + bytes([2, 1, 1]) + bytes(9)  # 64 bit, little endian, version 1, System V
    header = ident + struct.pack(
        "<HHIQQQIHHHHHH",
        2,  # ET_EXEC
        machine,
        1,
        BODY_ADDRESS,  # entry point
        _HEADER_SIZE,  # program headers follow
        0,
        0,
        _HEADER_SIZE,
        _PROGRAM_HEADER_SIZE,
        2,
        0,
        0,
        0,
    )
    total = _BODY + len(body)
    load = struct.pack("<IIQQQQQQ", 1, 5, 0, _BASE, _BASE, total, total, 0x10000)  # PT_LOAD, r-x
    # PT_GNU_STACK, rw-: without it the kernel would make the stack executable.
    stack = struct.pack("<IIQQQQQQ", 0x6474E551, 6, 0, 0, 0, 0, 0, 16)
    return header + load + stack + body
