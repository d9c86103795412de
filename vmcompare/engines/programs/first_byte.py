"""The tiny static program every platform starts: one byte out, then it waits for its end.

It writes :data:`vmcompare.sandbox.FIRST_BYTE` to standard output, then reads standard input until
end of file (or any error) and exits with code 0. So it marks the first instant at which a program
of ours runs inside, and it is the dead-man's switch too: whoever holds its standard input and dies
takes it along. It makes three system calls.
"""

from __future__ import annotations

import re

from vmcompare.engines.programs import EM_AARCH64, EM_X86_64, a64, maker
from vmcompare.sandbox import FIRST_BYTE

# System calls: read 0, write 1, exit_group 231 (Linux, syscall_64.tbl).
_X86_64 = bytes.fromhex(
    "b801000000 bf01000000"  # mov eax, 1 (write); mov edi, 1 (standard output)
    "488d3527000000"  # lea rsi, [rip+39]           the byte after this code
    "ba01000000 0f05"  # mov edx, 1; syscall
    "31c0 31ff"  # again: xor eax, eax (read); xor edi, edi (standard input)
    "488d7424c0 ba40000000 0f05"  # lea rsi, [rsp-64]: scratch; mov edx, 64; syscall
    "4885c0 7feb"  # test rax, rax; jg again        more than nothing was read
    "b8e7000000 31ff 0f05 0f0b"  # mov eax, 231 (exit_group); xor edi, edi; syscall; ud2
)

# System calls: read 63, write 64, exit_group 94 (Linux, asm-generic/unistd.h).
_ARM64 = a64(
    "D2800808 D2800020 "  # mov x8, #64 (write); mov x0, #1 (standard output)
    "100001C1 D2800022 D4000001 "  # adr x1, .+56: the byte after this code; mov x2, #1; svc #0
    "D28007E8 D2800000 "  # again: mov x8, #63 (read); mov x0, #0 (standard input)
    "D10103E1 D2800802 D4000001 "  # sub x1, sp, #64: scratch; mov x2, #64; svc #0
    "F100001F 54FFFF4C "  # cmp x0, #0; b.gt again
    "D2800BC8 D2800000 D4000001 D4200000"  # mov x8, #94 (exit_group); mov x0, #0; svc #0; brk
)

elf = maker(
    "first-byte program", {EM_X86_64: _X86_64 + FIRST_BYTE, EM_AARCH64: _ARM64 + FIRST_BYTE}
)

# It reads the time stamp counter first, and says it behind its byte. Called without an argument it
# then prints `/proc/timer_list` before it waits.
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


counting_elf = maker("counting first-byte program", {EM_X86_64: _COUNTING_X86_64})
