"""A static ELF program, written by our own Python, that works for a known while.

``workload s N`` makes N system calls (``getppid``), ``workload f N`` runs N times fork + exec +
wait of itself, where called without arguments it exits at once, and ``workload c N`` computes: N
steps of arithmetic with look-ups in a table of 128 KiB, as compressors do. The same bytes run on
the host and in a guest, so their ratio is what emulation costs for that kind of work. With a
further argument it tells at its end what processor time the kernel charged: see :func:`used_s`.
"""

from __future__ import annotations

import struct

from vmcompare.engines.programs.elf import EM_X86_64, choice, static_program

# System calls (Linux, syscall_64.tbl): write 1, fork 57, execve 59, exit 60, wait4 61,
# getrusage 98, getppid 110.
_X86_64 = bytes.fromhex(
    "4c8b2424 4983fc03 0f8cfb000000"  # r12 = argc; cmp r12, 3; jl done     less: nothing to do
    "488b742418 31db"  # mov rsi, [rsp+24]; xor ebx, ebx                    rbx = argv[2] in decimal
    "0fb606 84c0 740f"  # digit: movzx eax, [rsi]; test al, al; jz mode
    "486bdb0a 83e830 4801c3"  # imul rbx, 10; sub eax, '0'; add rbx, rax
    "48ffc6 ebea"  # inc rsi; jmp digit
    "488b742410 803e66 744c 803e63 7415"  # mode: argv[1]: 'f': forks; 'c': loops; else calls
    "4885db 0f8483000000"  # calls: test rbx, rbx; jz used
    "b86e000000 0f05 48ffcb ebeb"  # mov eax, 110; syscall; dec rbx; jmp calls
    "488dbc240000feff 48be157c4a7fb979379e"  # loops: rdi: 128 KiB of the stack; rsi: a multiplier
    "4885db 7460 480fafc6 48ffc0"  # loop: test rbx, rbx; jz used; rax = rax * rsi + 1
    "4889c2 48c1ea32 480104d7 483304d7"  # rdx = rax >> 50; [rdi+8rdx] += rax; rax ^= [rdi+8rdx]
    "48ffcb ebe0"  # dec rbx; jmp loop
    "4885db 7440"  # forks: test rbx, rbx; jz used
    "b839000000 0f05 85c0 7418"  # mov eax, 57; syscall; test eax, eax; jz child
    "bfffffffff 31f6 31d2 4531d2"  # mov edi, -1; xor esi, edx, r10d
    "b83d000000 0f05 48ffcb ebd8"  # mov eax, 61; syscall; dec rbx; jmp forks
    "488d3d62000000 6a00 57"  # child: lea rdi, [path]; push 0; push rdi   argv = {path, NULL}
    "4889e6 31d2 b83b000000 0f05"  # mov rsi, rsp; xor edx, edx; mov eax, 59; syscall
    "bf7f000000 eb45"  # mov edi, 127; jmp quit                           it could not be run
    "4983fc04 7c3d 4881ec20010000"  # used: cmp r12, 4; jl done; sub rsp, 288
    "31ff 4889e6 b862000000 0f05"  # getrusage(RUSAGE_SELF, rsp)
    "48c7c7ffffffff 488db42490000000 b862000000 0f05"  # getrusage(RUSAGE_CHILDREN, rsp + 144)
    "bf01000000 4889e6 ba20010000 b801000000 0f05"  # write(1, rsp, 288)
    "31ff b83c000000 0f05"  # done: xor edi, edi; quit: mov eax, 60; syscall
) + b"/proc/self/exe\0"  # fmt: skip

_RUSAGE = struct.Struct("<4q112x")
"""``struct rusage`` (Linux, x86-64): user, then system time, in seconds and microseconds."""


def used_s(output: bytes) -> float:
    """Processor seconds, the children's too, from what ``workload KIND N report`` wrote.

    Raises ``ValueError``: it wrote something else.
    """
    if len(output) != 2 * _RUSAGE.size:
        raise ValueError(f"the workload program told {len(output)} bytes, not {2 * _RUSAGE.size}")
    used = 0.0
    for user_s, user_us, system_s, system_us in _RUSAGE.iter_unpack(output):
        used += user_s + system_s + (user_us + system_us) / 1e6
    return used


def elf(machine: str) -> bytes:
    """The program as a static ELF file (Linux). Raises as :func:`.elf.choice` does."""
    codes = {EM_X86_64: _X86_64}  # the only one whose guests can be compared so far
    next_step = "use the recorded slow-down of an x86-64 machine"
    return static_program(*choice(machine, codes, "workload program", next_step))
