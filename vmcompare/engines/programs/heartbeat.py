"""A tiny static program that beats: one byte to standard output every 50 ms, until nobody listens.

``heartbeat A`` writes the first byte of its first argument, sleeps 50 ms and begins again. It ends
when a write fails: the pipe is closed, or whoever listened is gone. Without an argument the first
write fails already. Several of them may share one stream, told apart by their letters.

Written byte by byte, like :mod:`.first_byte`: host, container and guest run the very same file, and
it needs neither a compiler nor a library. What it waits is at least 50 ms (``nanosleep``), so it
beats a little less than 20 times a second.
"""

from __future__ import annotations

import struct

from vmcompare.engines.programs.elf import EM_AARCH64, EM_X86_64, choice, static_program

PATH = "/sbin/vmcompare-heartbeat"  # where it is put
PAUSE_NS = 50_000_000  # 20 beats a second, as claim S1a registers it
_PAUSE = struct.pack("<QQ", 0, PAUSE_NS)  # struct timespec of 64-bit Linux: seconds, nanoseconds

# x86-64 system calls: write 1, nanosleep 35, exit_group 231 (Linux, syscall_64.tbl).
_X86_64 = bytes.fromhex(
    "4c8b642410"  # mov r12, [rsp+16]   argv[1]
    "b801000000"  # beat: mov eax, 1    write
    "bf01000000"  # mov edi, 1          standard output
    "4c89e6"  # mov rsi, r12
    "ba01000000"  # mov edx, 1
    "0f05"  # syscall
    "4885c0"  # test rax, rax
    "7e12"  # jle done                  nobody listens any more
    "b823000000"  # mov eax, 35         nanosleep
    "488d3d11000000"  # lea rdi, [rip+17]   the pause after this code
    "31f6"  # xor esi, esi              what is left of it is not wanted
    "0f05"  # syscall
    "ebd5"  # jmp beat
    "b8e7000000"  # done: mov eax, 231  exit_group
    "31ff"  # xor edi, edi              code 0
    "0f05"  # syscall
    "0f0b"  # ud2                       never reached
)

# arm64 system calls: write 64, nanosleep 101, exit_group 94 (Linux, asm-generic/unistd.h).
_ARM64 = struct.pack(
    "<17I",
    0xF9400BF3,  # ldr x19, [sp, #16]    argv[1]
    0xD2800808,  # beat: mov x8, #64     write
    0xD2800020,  # mov x0, #1            standard output
    0xAA1303E1,  # mov x1, x19
    0xD2800022,  # mov x2, #1
    0xD4000001,  # svc #0
    0xF100001F,  # cmp x0, #0
    0x540000CD,  # b.le done             nobody listens any more
    0xD2800CA8,  # mov x8, #101          nanosleep
    0x10000100,  # adr x0, .+32          the pause after this code
    0xD2800001,  # mov x1, #0            what is left of it is not wanted
    0xD4000001,  # svc #0
    0x17FFFFF5,  # b beat
    0xD2800BC8,  # done: mov x8, #94     exit_group
    0xD2800000,  # mov x0, #0            code 0
    0xD4000001,  # svc #0
    0xD4200000,  # brk #0                never reached
)

_CODES = {EM_X86_64: _X86_64 + _PAUSE, EM_AARCH64: _ARM64 + _PAUSE}


def elf(machine: str) -> bytes:
    """The program as a static ELF file (Linux). Raises as :func:`.elf.choice` does."""
    return static_program(*choice(machine, _CODES, "heartbeat program"))
