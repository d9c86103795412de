"""A hand-made firmware that proves an accelerator: it must reach 64-bit mode and finish a loop.

A boot sector that stays in 16-bit real mode is not enough of a test: there are hosts whose
``/dev/kvm`` opens, runs real mode well, and then runs 64-bit code about 1000 times slower than
plain emulation does. So this program says ``1`` on the serial port in real mode, ``2`` in 64-bit
mode with paging, and ``3`` after a loop of 20 million rounds; then it prints a line and leaves
through QEMU's ``isa-debug-exit`` device.
"""

from __future__ import annotations

SIZE = 0x10000
"""64 KiB: the segment F000 that a PC's processor starts in."""

STARTED, IN_64_BIT_MODE, LOOPED = b"1", b"2", b"3"
"""What it says, in this order."""

EXIT_PORT = 0xF4
"""I/O port of ``isa-debug-exit`` that the program writes to."""

_CODE = bytes.fromhex(
    # 16-bit code at F000:0000
    "fa fc"  # cli; cld
    "8cc8 8ed8"  # mov ax, cs; mov ds, ax
    "baf803 b031 ee"  # mov dx, 3F8h (serial port); mov al, '1'; out dx, al
    "31c0 8ec0"  # xor ax, ax; mov es, ax
    "bf0010 6631c0 b9000c 66f3ab"  # clear 12 KiB at 1000h for three page tables
    "2666c706001007200000"  # level 4: [1000h] = 2007h (present, writable, user)
    "2666c706002007300000"  # level 3: [2000h] = 3007h
    "2666c706003087000000"  # level 2: [3000h] = 87h, one page of 2 MiB at 0
    "66b800100000 0f22d8"  # mov eax, 1000h; mov cr3, eax
    "0f20e0 6683c820 0f22e0"  # cr4 |= 20h (physical address extension)
    "66b9800000c0 0f32 660d00010000 0f30"  # EFER |= 100h (long mode)
    "660f0116c800"  # lgdt [00C8h]
    "0f20c0 660d01000080 0f22c0"  # cr0 |= 80000001h (paging, protection)
    "66ea77000f000800"  # jmp 08:000F0077h
    # 64-bit code at F0077h
    "66b81000 8ed8 8ec0 8ed0"  # mov ax, 10h; ds = es = ss = ax
    "66baf803 b032 ee"  # '2'
    "b9002d3101"  # mov ecx, 20,000,000
    "4883c003 ffc9 75f8"  # loop: add rax, 3; dec ecx; jnz loop
    "b033 ee"  # '3'
    "bece000f00"  # mov esi, F00CEh (the line)
    "ac 84c0 7403 ee ebf8"  # next: lodsb; test al, al; jz done; out dx, al; jmp next
    "66baf400 b010 ee"  # done: mov dx, F4h; mov al, 10h; out dx, al (leave QEMU)
    "f4 ebf6"  # hlt; jmp done
    "90"  # padding to a multiple of 8
    "0000000000000000"  # segment table: null
    "00000000009b2000"  # 08h: 64-bit code
    "0000000000930000"  # 10h: data
    "1700 b0000f00"  # 00C8h: limit 23, table at F00B0h
    + b" Hello from a 512-byte operating system!\r\n\0".hex()
)

_RESET_VECTOR = bytes.fromhex("ea000000f0")  # at FFF0h, where the processor starts: jmp F000:0000


def image() -> bytes:
    """The firmware as a file for ``-bios`` (64 KiB)."""
    rom = bytearray(SIZE)
    rom[: len(_CODE)] = _CODE
    rom[SIZE - 16 : SIZE - 16 + len(_RESET_VECTOR)] = _RESET_VECTOR
    return bytes(rom)
