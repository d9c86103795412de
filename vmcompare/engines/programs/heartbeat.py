"""A tiny static program that beats: one byte to standard output every 50 ms, until nobody listens.

``heartbeat A`` writes the first byte of its first argument, sleeps 50 ms and begins again. It ends
when a write fails: the pipe is closed, or whoever listened is gone. Without an argument the first
write fails already. Several of them may share one stream, told apart by their letters. What it
waits is at least 50 ms (``nanosleep``), so it beats a little less than 20 times a second.
"""

from __future__ import annotations

import struct

from vmcompare.engines.programs import EM_AARCH64, EM_X86_64, a64, maker

PATH = "/sbin/vmcompare-heartbeat"  # where it is put
PAUSE_NS = 50_000_000  # 20 beats a second, as claim S1a registers it
_PAUSE = struct.pack("<QQ", 0, PAUSE_NS)  # struct timespec of 64-bit Linux: seconds, nanoseconds

# System calls: write 1, nanosleep 35, exit_group 231 (Linux, syscall_64.tbl).
_X86_64 = bytes.fromhex(
    "4c8b642410"  # mov r12, [rsp+16]           argv[1]
    "b801000000 bf01000000"  # beat: mov eax, 1 (write); mov edi, 1 (standard output)
    "4c89e6 ba01000000 0f05"  # mov rsi, r12; mov edx, 1; syscall
    "4885c0 7e12"  # test rax, rax; jle done    nobody listens any more
    "b823000000 488d3d11000000"  # mov eax, 35 (nanosleep); lea rdi, [rip+17]: behind this code
    "31f6 0f05 ebd5"  # xor esi, esi (what is left of it is not wanted); syscall; jmp beat
    "b8e7000000 31ff 0f05 0f0b"  # done: mov eax, 231 (exit_group); xor edi, edi; syscall; ud2
)

# System calls: write 64, nanosleep 101, exit_group 94 (Linux, asm-generic/unistd.h).
_ARM64 = a64(
    "F9400BF3 "  # ldr x19, [sp, #16]           argv[1]
    "D2800808 D2800020 "  # beat: mov x8, #64 (write); mov x0, #1 (standard output)
    "AA1303E1 D2800022 D4000001 "  # mov x1, x19; mov x2, #1; svc #0
    "F100001F 540000CD "  # cmp x0, #0; b.le done   nobody listens any more
    "D2800CA8 10000100 "  # mov x8, #101 (nanosleep); adr x0, .+32: behind this code
    "D2800001 D4000001 17FFFFF5 "  # mov x1, #0 (what is left is not wanted); svc #0; b beat
    "D2800BC8 D2800000 D4000001 D4200000"  # done: mov x8, #94 (exit_group); mov x0, #0; svc; brk
)

elf = maker("heartbeat program", {EM_X86_64: _X86_64 + _PAUSE, EM_AARCH64: _ARM64 + _PAUSE})
