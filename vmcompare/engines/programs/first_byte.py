"""The tiny static program every platform starts: one byte out, then it waits for its end.

It writes :data:`vmcompare.sandbox.FIRST_BYTE` to standard output, then reads standard input until
end of file (or any error) and exits with code 0. So it marks the first instant at which a program
of ours runs inside, and it is the dead-man's switch too: whoever holds its standard input and dies
takes it along.

It is written here byte by byte so that no compiler is needed and so that host, container and guest
run the very same file. It makes three system calls and touches no library.
"""

from __future__ import annotations

import struct

from vmcompare.engines.programs.elf import EM_AARCH64, EM_X86_64, choice, static_program
from vmcompare.sandbox import FIRST_BYTE

# x86-64 system calls: read 0, write 1, exit_group 231 (Linux, syscall_64.tbl).
_X86_64 = bytes.fromhex(
    "b801000000"  # mov eax, 1          write
    "bf01000000"  # mov edi, 1          standard output
    "488d3527000000"  # lea rsi, [rip+39]   the byte after this code
    "ba01000000"  # mov edx, 1
    "0f05"  # syscall
    "31c0"  # again: xor eax, eax   read
    "31ff"  # xor edi, edi              standard input
    "488d7424c0"  # lea rsi, [rsp-64]   scratch below the stack pointer
    "ba40000000"  # mov edx, 64
    "0f05"  # syscall
    "4885c0"  # test rax, rax
    "7feb"  # jg again                  more than nothing was read
    "b8e7000000"  # mov eax, 231        exit_group
    "31ff"  # xor edi, edi              code 0
    "0f05"  # syscall
    "0f0b"  # ud2                       never reached
)

# arm64 system calls: read 63, write 64, exit_group 94 (Linux, asm-generic/unistd.h).
_ARM64 = struct.pack(
    "<16I",
    0xD2800808,  # mov x8, #64           write
    0xD2800020,  # mov x0, #1            standard output
    0x100001C1,  # adr x1, .+56          the byte after this code
    0xD2800022,  # mov x2, #1
    0xD4000001,  # svc #0
    0xD28007E8,  # again: mov x8, #63    read
    0xD2800000,  # mov x0, #0            standard input
    0xD10103E1,  # sub x1, sp, #64       scratch below the stack pointer
    0xD2800802,  # mov x2, #64
    0xD4000001,  # svc #0
    0xF100001F,  # cmp x0, #0
    0x54FFFF4C,  # b.gt again
    0xD2800BC8,  # mov x8, #94           exit_group
    0xD2800000,  # mov x0, #0            code 0
    0xD4000001,  # svc #0
    0xD4200000,  # brk #0                never reached
)

_CODES = {EM_X86_64: _X86_64 + FIRST_BYTE, EM_AARCH64: _ARM64 + FIRST_BYTE}


def elf(machine: str) -> bytes:
    """The program as a static ELF file (Linux). Raises as :func:`.elf.choice` does."""
    return static_program(*choice(machine, _CODES, "first-byte program"))
