"""A static ELF program, written by our own Python, that works for a known while.

``workload s N`` makes N system calls (``getppid``), ``workload f N`` runs N times fork + exec +
wait of itself, where called without arguments it exits at once, and ``workload c N`` computes: N
steps of arithmetic with look-ups in a table of 128 KiB, as compressors do. ``workload d N FILE``
empties a file, or makes one, and N times appends 4 KiB and waits until they are on the disk
(``fsync``). ``workload n N`` sends N times 64 KiB to a child's parent through a TCP connection of
127.0.0.1. ``workload x N PROGRAM ARGUMENT …`` runs N times another program, whose output goes to
/dev/null. The same bytes run on the host and in a guest, so their ratio is what emulation costs for
that kind of work. With a further argument (``report``; of ``d`` the file, of ``x`` the program) it
tells at its end what time it took: see :func:`spent`. What cannot be done, or a program that fails,
ends it with exit code 127.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from vmcompare.engines.programs import EM_X86_64, maker

# System calls (Linux, syscall_64.tbl): read 0, write 1, open 2, close 3, socket 41, connect 42,
# accept 43, bind 49, listen 50, getsockname 51, fork 57, execve 59, exit 60, wait4 61, fsync 74,
# getrusage 98, getppid 110, clock_gettime 228.
_X86_64 = bytes.fromhex(
    "4c8b2424 4983fc03 "
    "0f8cbb020000 4989e6"  # r12 = argc; cmp r12, 3; jl done; r14 = rsp   too few: nothing to do
    "488b742418 31db"  # mov rsi, [rsp+24]; xor ebx, ebx   rbx = argv[2] in decimal
    "0fb606 84c0 740f"  # digit: movzx eax, [rsi]; test al, al; jz mode
    "486bdb0a 83e830 4801c3"  # imul rbx, 10; sub eax, '0'; add rbx, rax
    "48ffc6 ebea"  # inc rsi; jmp digit
    "488b742410 440fb606 "
    "4881ec60010000 4889e5"  # mode: rsi = argv[1]; movzx r8d, [rsi]; sub rsp, 352; rbp = rsp
    "bf01000000 488db520010000 b8e4000000 0f05"  # clock_gettime(CLOCK_MONOTONIC, rbp + 288)
    "4183f866 746f 4183f863 7433"  # 'f': forks; 'c': loops
    "4183f864 0f84ab000000 4183f86e 0f84fd000000"  # 'd': disk; 'n': network
    "4183f878 0f8482020000"  # 'x': programs; else calls
    "4885db 0f84f4010000"  # calls: test rbx, rbx; jz used
    "b86e000000 0f05 48ffcb ebeb"  # mov eax, 110; syscall; dec rbx; jmp calls
    "488dbc240000feff 48be157c4a7fb979379e"  # loops: rdi: 128 KiB of the stack; rsi: a multiplier
    "4885db 0f84cd010000 480fafc6 48ffc0"  # loop: test rbx, rbx; jz used; rax = rax * rsi + 1
    "4889c2 48c1ea32 480104d7 483304d7"  # rdx = rax >> 50; [rdi+8rdx] += rax; rax ^= [rdi+8rdx]
    "48ffcb ebdc"  # dec rbx; jmp loop
    "4885db 0f84a9010000"  # forks: test rbx, rbx; jz used
    "b839000000 0f05 85c0 7418"  # mov eax, 57; syscall; test eax, eax; jz child
    "bfffffffff 31f6 31d2 4531d2"  # mov edi, -1; xor esi, edx, r10d
    "b83d000000 0f05 48ffcb ebd4"  # mov eax, 61; syscall; dec rbx; jmp forks
    "488d3d80020000 6a00 57"  # child: rdi = path; push 0; push rdi   argv = {path, NULL}
    "4889e6 31d2 b83b000000 0f05"  # mov rsi, rsp; xor edx, edx; mov eax, 59; syscall
    "bf7f000000 e9b6010000"  # fail: mov edi, 127; jmp quit   it could not be done
    "4983fc04 7cf0"  # disk: cmp r12, 4; jl fail
    "498b7e20 be41020000 "
    "baa4010000 b802000000 0f05"  # open(argv[3], O_WRONLY | O_CREAT | O_TRUNC, 0644)
    "4189c5 85c0 78d4"  # r13d = eax; test eax, eax; js fail
    "4885db 0f843b010000"  # write: test rbx, rbx; jz used
    "4489ef 488db42400f0ffff ba00100000 b801000000 0f05"  # write(r13d, 4 KiB of the stack)
    "3d00100000 75ad"  # cmp eax, 4096; jne fail
    "4489ef b84a000000 0f05 85c0 759f 48ffcb ebc6"  # fsync(r13d); jnz fail; dec rbx; jmp write
    "e85c010000 4189c5"  # network: r13d = socket()
    "c7854001000002000000 "
    "c785440100007f000001 4883a54801000000"  # [rbp+320] = {AF_INET, any port, 127.0.0.1}
    "b831000000 e847010000 be01000000 b832000000 e844010000"  # bind(); listen(1)
    "488d9550010000 c70210000000 488db540010000"  # rdx = rbp + 336; [rdx] = 16; rsi = rbp + 320
    "b833000000 e826010000"  # getsockname(r13d, rsi, rdx)
    "4589ef e8fe000000 4189c5 b82a000000 e805010000"  # r15d = r13d; r13d = socket(); connect()
    "4489ff 31f6 31d2 b82b000000 "
    "0f05 4189c7 85c0 0f8811ffffff"  # r15d = accept(r15d, 0, 0); js fail
    "b839000000 0f05 85c0 744d 0f8800ffffff"  # fork(); jz send; js fail
    "b803000000 e8dd000000 48c1e310"  # close(r13d); rbx <<= 16
    "4489ff 488db4240000ffff ba00000100 31c0 0f05"  # receive: read(r15d, 64 KiB of the stack)
    "4829c3 85c0 7fe5 4885db 0f85cefeffff"  # rbx -= rax; jg receive again; jnz fail
    "bfffffffff 31f6 31d2 4531d2 b83d000000 0f05 eb29"  # wait4(-1, 0, 0, 0); jmp used
    "4885db 7472"  # send: test rbx, rbx; jz done
    "488db4240000ffff ba00000100 b801000000 4489ef 0f05"  # write(r13d, 64 KiB of the stack)
    "39d0 0f8595feffff 48ffcb ebd7"  # cmp eax, edx; jne fail; dec rbx; jmp send
    "4983fc04 7c48"  # used: cmp r12, 4; jl done
    "bf01000000 488db530010000 b8e4000000 0f05"  # clock_gettime(CLOCK_MONOTONIC, rbp + 304)
    "31ff 4889ee b862000000 0f05"  # getrusage(RUSAGE_SELF, rbp)
    "48c7c7ffffffff 488db590000000 b862000000 0f05"  # getrusage(RUSAGE_CHILDREN, rbp + 144)
    "bf01000000 4889ee ba40010000 b801000000 0f05"  # write(1, rbp, 320)
    "31ff b83c000000 0f05"  # done: xor edi, edi; quit: mov eax, 60; syscall
    "bf02000000 be01000000 31d2 b829000000 0f05 c3"  # socket: socket(AF_INET, SOCK_STREAM, 0); ret
    "488db540010000 ba10000000"  # named: rsi = rbp + 320; edx = 16
    "4489ef 0f05 85c0 0f850cfeffff c3"  # ours: system call eax of r13d; jnz fail; ret
    "4885db 0f8472ffffff"  # programs: test rbx, rbx; jz used
    "b839000000 0f05 85c0 7430 0f88f1fdffff"  # fork(); jz program; js fail
    "bfffffffff 488db550010000 31d2 4531d2 b83d000000 0f05"  # wait4(-1, rbp + 336, 0, 0)
    "83bd5001000000 0f85ccfdffff 48ffcb ebbc"  # its status: jnz fail; dec rbx; jmp programs
    "bf01000000 b803000000 0f05"  # program: close(1)
    "488d3d34000000 be01000000 b802000000 0f05"  # open("/dev/null", O_WRONLY), which is 1 again
    "498b7e20 498d7620 4b8d54e610 b83b000000 0f05"  # execve(argv[3], argv + 3, environment)
    "e98ffdffff"  # jmp fail
) + b"/proc/self/exe\0/dev/null\0"  # fmt: skip

_RUSAGE = struct.Struct("<4q112x")
"""``struct rusage`` (Linux, x86-64): user, then system time, in seconds and microseconds."""

_CLOCK = struct.Struct("<4q")
"""Two ``struct timespec``: when the work began and when it had ended, seconds and nanoseconds."""


@dataclass(frozen=True, slots=True)
class Spent:
    """What one piece of work took.

    Attributes:
        cpu_s: processor seconds that the kernel charged the program and its children.
        wall_s: seconds from the beginning of the work to its end, waiting included.
    """

    cpu_s: float
    wall_s: float


def spent(output: bytes) -> Spent:
    """What ``workload KIND N report`` wrote. Raises ``ValueError``: it wrote something else."""
    size = 2 * _RUSAGE.size + _CLOCK.size
    if len(output) != size:
        raise ValueError(f"the workload program told {len(output)} bytes, not {size}")
    cpu_s = 0.0
    for user_s, user_us, system_s, system_us in _RUSAGE.iter_unpack(output[: -_CLOCK.size]):
        cpu_s += user_s + system_s + (user_us + system_us) / 1e6
    began_s, began_ns, ended_s, ended_ns = _CLOCK.unpack(output[-_CLOCK.size :])
    return Spent(cpu_s, ended_s - began_s + (ended_ns - began_ns) / 1e9)


elf = maker(
    "workload program", {EM_X86_64: _X86_64}
)  # the only one whose guests can be compared so far
