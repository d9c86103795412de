"""Tiny static programs that instances run, written byte by byte by our own Python.

So no compiler is needed, and host, container and guest run the very same file: the smallest ELF
file that Linux runs, one segment of code and no library.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping

from vmcompare.errors import Unavailable

EM_X86_64, EM_AARCH64 = 62, 183  # ELF machine numbers (System V ABI, elf.h)
_BASE = 0x400000  # load address: what linkers use on x86-64; a multiple of every page size
_HEADER_SIZE, _PROGRAM_HEADER_SIZE = 64, 56  # in bytes (System V ABI)
_BODY = _HEADER_SIZE + 2 * _PROGRAM_HEADER_SIZE

BODY_ADDRESS = _BASE + _BODY  # where the first byte of a program's body lies in its memory


def static_program(machine: int, body: bytes) -> bytes:
    """A static executable whose first instruction is the first byte of ``body``.

    Args:
        machine: ELF machine number.
        body: code, and any constants behind it; it is mapped read-only, at
            :data:`BODY_ADDRESS`.
    """
    # ET_EXEC; the program headers follow the header; no sections.
    ident = b"\x7fELF" + bytes([2, 1, 1]) + bytes(9)  # 64 bit, little endian, version 1, System V
    places = (BODY_ADDRESS, _HEADER_SIZE, 0)  # of the first instruction, of the program headers
    sizes = (_HEADER_SIZE, _PROGRAM_HEADER_SIZE, 2, 0, 0, 0)
    header = ident + struct.pack("<HHIQQQIHHHHHH", 2, machine, 1, *places, 0, *sizes)
    total = _BODY + len(body)
    load = struct.pack("<IIQQQQQQ", 1, 5, 0, _BASE, _BASE, total, total, 0x10000)  # PT_LOAD, r-x
    # PT_GNU_STACK, rw-: without it the kernel would make the stack executable.
    stack = struct.pack("<IIQQQQQQ", 0x6474E551, 6, 0, 0, 0, 0, 0, 16)
    return header + load + stack + body


def a64(words: str) -> bytes:
    """Machine code of arm64: instructions as numbers in hexadecimal, which lie low byte first."""
    return b"".join(int(word, 16).to_bytes(4, "little") for word in words.split())


# `platform.machine()` in small letters → ELF machine number
MACHINES = {"x86_64": EM_X86_64, "amd64": EM_X86_64, "aarch64": EM_AARCH64, "arm64": EM_AARCH64}


def choice(machine: str, codes: Mapping[int, bytes], what: str) -> tuple[int, bytes]:
    """The ELF machine number and the code for a ``platform.machine()`` value, in any case.

    ``codes`` are by ELF machine number; ``what`` names the program in the error. Raises
    ``Unavailable``: there is no code for this processor.
    """
    number = MACHINES.get(machine.lower(), 0)
    if number not in codes:
        raise Unavailable(
            f"there is no {what} for the processor {machine!r}",
            "use a computer with an x86-64 processor, or look at a recording",
        )
    return number, codes[number]


def maker(what: str, codes: Mapping[int, bytes]) -> Callable[[str], bytes]:
    """A function from a ``platform.machine()`` to the program as a static ELF file.

    Takes and raises what :func:`choice` does.
    """
    return lambda machine: static_program(*choice(machine, codes, what))
