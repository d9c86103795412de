"""A static ELF program, written by our own Python, that works for a known while.

``workload s N`` makes N system calls (``getppid``), ``workload f N`` runs N times fork + exec +
wait of itself, where called without arguments it exits at once. The same bytes run on the host and
in a guest, so their ratio is what emulation costs for that kind of work.
"""

from __future__ import annotations

from vmcompare.engines.programs.elf import EM_X86_64, choice, static_program

# System calls (Linux, syscall_64.tbl): getppid 110, fork 57, execve 59, exit 60, wait4 61.
_X86_64 = bytes.fromhex(
    "488b0c24 4883f903 7c7d"  # mov rcx, [rsp]; cmp rcx, 3; jl done   argc < 3: nothing to do
    "488b742418 31db"  # mov rsi, [rsp+24]; xor ebx, ebx              rbx = argv[2] in decimal
    "0fb606 84c0 740f"  # digit: movzx eax, [rsi]; test al, al; jz mode
    "486bdb0a 83e830 4801c3"  # imul rbx, 10; sub eax, '0'; add rbx, rax
    "48ffc6 ebea"  # inc rsi; jmp digit
    "488b742410 803e66 7411"  # mode: mov rsi, [rsp+16]; cmp [rsi], 'f'; je forks
    "4885db 7451"  # calls: test rbx, rbx; jz done
    "b86e000000 0f05 48ffcb ebef"  # mov eax, 110; syscall; dec rbx; jmp calls
    "4885db 7440"  # forks: test rbx, rbx; jz done
    "b839000000 0f05 85c0 7418"  # mov eax, 57; syscall; test eax, eax; jz child
    "bfffffffff 31f6 31d2 4531d2"  # mov edi, -1; xor esi, edx, r10d
    "b83d000000 0f05 48ffcb ebd8"  # mov eax, 61; syscall; dec rbx; jmp forks
    "488d3d1f000000 6a00 57"  # child: lea rdi, [path]; push 0; push rdi   argv = {path, NULL}
    "4889e6 31d2 b83b000000 0f05"  # mov rsi, rsp; xor edx, edx; mov eax, 59; syscall
    "bf7f000000 eb02"  # mov edi, 127; jmp quit                       it could not be run
    "31ff b83c000000 0f05"  # done: xor edi, edi; quit: mov eax, 60; syscall
) + b"/proc/self/exe\0"  # fmt: skip


def elf(machine: str) -> bytes:
    """The program as a static ELF file (Linux). Raises as :func:`.elf.choice` does."""
    codes = {EM_X86_64: _X86_64}  # the only one whose guests can be compared so far
    next_step = "use the recorded slow-down of an x86-64 machine"
    return static_program(*choice(machine, codes, "workload program", next_step))
