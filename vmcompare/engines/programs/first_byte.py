"""The tiny static program every platform starts: one byte out, then it waits for its end.

It writes :data:`vmcompare.sandbox.FIRST_BYTE` to standard output, then reads standard input until
end of file (or any error) and exits with code 0. So it marks the first instant at which a program
of ours runs inside, and it is the dead-man's switch too: whoever holds its standard input and dies
takes it along.

It is written here byte by byte so that no compiler is needed and so that host, container and guest
run the very same file. It makes three system calls and touches no library.
"""

from __future__ import annotations

import re
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


_COUNTING_X86_64 = bytes.fromhex(
    "0f31 48c1e220 4809d0"  # rdtsc; shl rdx, 32; or rax, rdx
    "4889e7 4883ef40"  # mov rdi, rsp; sub rdi, 64           buffer below the stack pointer
    "c60706 48ffc7"  # mov byte [rdi], 6; inc rdi            the first byte
    "b910000000"  # mov ecx, 16
    "48c1c004 88c2 80e20f"  # digit: rol rax, 4; mov dl, al; and dl, 15
    "80c261 8817 48ffc7 e2ed"  # add dl, 'a'; mov [rdi], dl; inc rdi; loop digit
    "b801000000 bf01000000"  # mov eax, 1 (write); mov edi, 1
    "488d7424c0 ba11000000 0f05"  # lea rsi, [rsp-64]; mov edx, 17; syscall
    "48833c2401 7549"  # cmp qword [rsp], 1; jne wait        called with an argument
    "b802000000 488d3d5d000000"  # open: mov eax, 2 (open); lea rdi, [path]
    "31f6 0f05 85c0 78ec"  # xor esi, esi; syscall; test eax, eax; js open      not mounted yet
    "4189c4"  # mov r12d, eax
    "31c0 4489e7"  # copy: xor eax, eax (read); mov edi, r12d
    "488db42400f0ffff ba00100000 0f05"  # lea rsi, [rsp-4096]; mov edx, 4096; syscall
    "4885c0 7e19"  # test rax, rax; jle wait
    "4889c2 b801000000 bf01000000"  # mov rdx, rax; mov eax, 1 (write); mov edi, 1
    "488db42400f0ffff 0f05 ebce"  # lea rsi, [rsp-4096]; syscall; jmp copy
    "31c0 31ff 488d7424c0"  # wait: xor eax, eax (read); xor edi, edi; lea rsi, [rsp-64]
    "ba40000000 0f05 4885c0 7feb"  # mov edx, 64; syscall; test rax, rax; jg wait
    "b8e7000000 31ff 0f05 0f0b"  # mov eax, 231 (exit_group); xor edi, edi; syscall; ud2
) + b"/proc/timer_list\0"  # fmt: skip

STAMP = re.compile(rb"\x06([a-p]{16})")
"""The first byte and, as sixteen letters, the processor's time stamp counter just before it."""

IDLE = re.compile(rb"\.(?:idle|iowait)_sleeptime\s*:\s*(\d+) nsecs")
"""How long the processor had nothing to do so far, in two lines of Linux's ``/proc/timer_list``:
without a disk to wait for, and with one."""


def stamp(found: re.Match[bytes]) -> int:
    """The time stamp counter in a match of :data:`STAMP`."""
    return int(found[1].translate(bytes.maketrans(b"abcdefghijklmnop", b"0123456789abcdef")), 16)


def counting_elf(machine: str) -> bytes:
    """The program that reads the time stamp counter first, and says it behind its byte.

    Called without an argument it then prints ``/proc/timer_list`` before it waits. Raises as
    :func:`.elf.choice` does.
    """
    return static_program(
        *choice(machine, {EM_X86_64: _COUNTING_X86_64}, "counting first-byte program")
    )


def elf(machine: str) -> bytes:
    """The program as a static ELF file (Linux). Raises as :func:`.elf.choice` does."""
    return static_program(*choice(machine, _CODES, "first-byte program"))
