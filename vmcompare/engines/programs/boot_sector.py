"""A boot sector of 512 bytes: it prints one message and stops the processor, and needs no
operating system.

A PC's firmware loads the first sector of a disk to address 7C00h and jumps there, with the
processor still in the 16-bit mode of 1978; the last two bytes must be 55h AAh. Sources: Intel 64
and IA-32 SDM vol. 2 (instruction encodings); Compaq, Phoenix and Intel: BIOS Boot Specification
1.01, section 6.5.1.
"""

from __future__ import annotations

from vmcompare.sandbox import FIRST_BYTE

SECTOR_BYTES = 512
LOADED_AT = 0x7C00
SERIAL_PORT = 0x3F8  # of a PC's first serial interface: it needs no driver
MESSAGE = "Hello from 512 bytes, without an operating system."
"""What it says unless it is told something else."""

_SIGNATURE = b"\x55\xaa"


def _code(message_at: int) -> bytes:
    """The program; ``message_at`` is the address that its message is loaded to."""
    instructions = (
        b"\xfa",  # cli: no interrupts, nobody would handle them
        b"\x31\xc0",  # xor ax, ax
        b"\x8e\xd8",  # mov ds, ax: addresses count from zero
        b"\xfc",  # cld: read forwards
        b"\xbe" + message_at.to_bytes(2, "little"),  # mov si: where the message lies
        b"\xac",  # next: lodsb: al becomes the next byte
        b"\x84\xc0",  # test al, al
        b"\x74\x06",  # jz stop: zero ends the message
        b"\xba" + SERIAL_PORT.to_bytes(2, "little"),  # mov dx
        b"\xee",  # out dx, al: send the byte, no driver in between
        b"\xeb\xf5",  # jmp next
        b"\xf4",  # stop: hlt: the processor rests
        b"\xeb\xfd",  # jmp stop: in case something wakes it
    )
    return b"".join(instructions)


CODE_BYTES = len(_code(0))
MESSAGE_MAX_BYTES = SECTOR_BYTES - len(_SIGNATURE) - CODE_BYTES - len(FIRST_BYTE) - 1


def image(message: str) -> bytes:
    """The 512 bytes: code, ``message`` (UTF-8), the byte that every platform sends, zeros, 55 AA.

    Raises ``ValueError`` where the message is too long, or holds a NUL or the first-byte mark.
    """
    text = message.encode()
    if len(text) > MESSAGE_MAX_BYTES:
        raise ValueError(
            f"the message has {len(text)} bytes, and {MESSAGE_MAX_BYTES} fit beside the code"
        )
    if b"\0" in text or FIRST_BYTE in text:
        raise ValueError("the message may not hold the bytes 00 and 06, which end it")
    body = _code(LOADED_AT + CODE_BYTES) + text + FIRST_BYTE + b"\0"
    return body.ljust(SECTOR_BYTES - len(_SIGNATURE), b"\0") + _SIGNATURE


def parts(sector: bytes) -> tuple[tuple[str, bytes], ...]:
    """The pieces of an :func:`image` in their order, each with its name; together its 512 bytes."""
    text = sector.index(FIRST_BYTE, CODE_BYTES)
    end, last = text + len(FIRST_BYTE) + 1, SECTOR_BYTES - len(_SIGNATURE)
    return (
        ("code", sector[:CODE_BYTES]),
        ("message", sector[CODE_BYTES:text]),
        ("end mark", sector[text:end]),
        ("zeros", sector[end:last]),
        ("signature", sector[last:]),
    )
