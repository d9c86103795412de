"""A kernel of ours that is not Linux: a VM starts it, and a container's kernel ends it.

It prints one message on the serial port and stops the processor. QEMU loads it with
``-kernel``, as GRUB does, by the Multiboot header. To Linux the same file is a well-formed 32-bit
program, and its first ``out`` instruction is one that no program may execute.

Sources: GNU, *Multiboot Specification* 0.6.96, sections 3.1 (header) and 3.2 (state of the
processor); System V ABI, i386 supplement (ELF); Intel 64 and IA-32 SDM vol. 2 (encodings).
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
