"""Two programs that are not for Linux: a kernel of ours, and a program made for Windows.

To ask which programs a kernel takes, they are started in a container, which shares the host's.

The kernel prints one message on the serial port and stops the processor. QEMU loads it with
``-kernel``, as GRUB does, by the Multiboot header. To Linux the same file is a well-formed 32-bit
program, and its first ``out`` instruction is one that no program may execute.

Sources: GNU, *Multiboot Specification* 0.6.96, sections 3.1 (header) and 3.2 (state of the
processor); System V ABI, i386 supplement (ELF); Microsoft, *PE Format* (headers, their sizes and
the meaning of their fields); Intel 64 and IA-32 SDM vol. 2 (encodings). Windows ends a process with
what its first function returns.
"""

from __future__ import annotations

import struct

from vmcompare.engines.programs.boot_sector import SERIAL_PORT
from vmcompare.sandbox import FIRST_BYTE

MESSAGE = "Hello from a kernel that is not Linux."

_KERNEL_AT = (
    0x100000  # 1 MiB: where the memory of a PC is free, and above what Linux keeps unmapped
)
_HEADERS_BYTES = 52 + 32 + 12  # of ELF, of its one segment, of Multiboot
_MAGIC = 0x1BADB002
_EM_386 = 3


def kernel() -> bytes:
    """The file: headers, code, :data:`MESSAGE`, the byte that every platform sends, a zero."""
    start = _KERNEL_AT + _HEADERS_BYTES
    code = bytes.fromhex(
        "fc"  # cld: read forwards
        "be 00000000"  # mov esi, address of the message
        "ac 84c0 7407"  # next: al becomes the next byte; zero ends the message
        f"66ba {SERIAL_PORT.to_bytes(2, 'little').hex()} ee"  # mov dx, port; out dx, al
        "ebf4 f4 ebfd"  # jmp next; stop: hlt; jmp stop
    )
    code = code.replace(bytes(4), struct.pack("<I", start + len(code)))
    # Flags of 0: nothing is asked of whoever loads it. The three numbers add up to zero.
    multiboot = struct.pack("<III", _MAGIC, 0, -_MAGIC & 0xFFFFFFFF)
    body = multiboot + code + MESSAGE.encode() + FIRST_BYTE + b"\0"
    total = _HEADERS_BYTES - len(multiboot) + len(body)
    ident = b"\x7fELF" + bytes([1, 1, 1]) + bytes(9)  # 32 bit, little endian, version 1
    header = ident + struct.pack(
        "<HHIIIIIHHHHHH", 2, _EM_386, 1, start, 52, 0, 0, 52, 32, 1, 0, 0, 0
    )  # fmt: skip
    segment = struct.pack("<IIIIIIII", 1, 0, _KERNEL_AT, _KERNEL_AT, total, total, 5, 0x1000)
    return header + segment + body


EXIT_CODE = 42

_CODE = bytes.fromhex("b82a000000 c3")  # mov eax, 42; ret
_FILE_BYTES = 512  # headers, and then the one section, each fill a unit of the file
_PAGE = 0x1000
_HEADERS_AT = 64  # right behind the header of DOS


def windows_program() -> bytes:
    """1,024 bytes for x86-64 that end at once with the exit code :data:`EXIT_CODE`; no library."""
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
