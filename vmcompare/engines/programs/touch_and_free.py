"""A static ELF program, written by our own Python, that takes memory, keeps it a while, frees it.

``touch-and-free MIB BEFORE HELD`` writes ``a`` BEFORE seconds after its start and asks for MIB
mebibytes, touches every page, and writes ``t``. HELD seconds after it asked (at once, should the
touching take longer) it gives all of it back and writes ``f``. A minute later it ends; with exit
code 1 where the kernel refuses. Every page gets another content, so that no kernel can merge them.
"""

from __future__ import annotations

from vmcompare.engines.programs import EM_X86_64, maker

ASKS, TOUCHED, FREED = b"a", b"t", b"f"
"""What it writes, in this order."""

# System calls (Linux, syscall_64.tbl): write 1, mmap 9, munmap 11, exit 60, clock_gettime 228,
# clock_nanosleep 230.
_X86_64 = bytes.fromhex(
    "48833c2404 0f8cbc000000"  # cmp [rsp], 4; jl bad
    "488b742410 e8be000000 4989dc 49c1e414"  # argv[1] → number; r12 = rbx << 20: bytes
    "488b742418 e8ad000000 4989dd"  # argv[2] → number; r13: seconds before
    "488b742420 e8a0000000 4989de"  # argv[3] → number; r14: seconds held
    "4883ec10 4889e5 bf01000000 4889e6 b8e4000000 0f05"  # clock_gettime(MONOTONIC, rbp: stack)
    "4c89ef e898000000 6a61 e8ad000000"  # rest(r13); say 'a'
    "31ff 4c89e6 ba03000000 41ba22000000"  # mmap(0, r12, READ|WRITE, PRIVATE|ANONYMOUS, …
    "49c7c0ffffffff 4531c9 b809000000 0f05"  # … -1, 0)
    "4885c0 7846 4989c7 4a8d0c20"  # js bad; r15 = its begin, rcx = its end
    "488900 480500100000 4839c8 72f2"  # touch: [rax] = rax; rax += 4096; below rcx: again
    "6a74 e86b000000 4c89f7 e847000000"  # say 't'; rest(r14)
    "4c89ff 4c89e6 b80b000000 0f05"  # munmap(r15, r12)
    "6a66 e84f000000"  # say 'f'
    "bf3c000000 e829000000 31ff eb05"  # rest(60); exit code 0
    "bf01000000 b83c000000 0f05"  # bad: edi = 1; quit: exit(edi)
    "31db 0fb606 84c0 740f 486bdb0a"  # number: rbx = decimal number at rsi
    "83e830 4801c3 48ffc6 ebea c3"
    "48017d00 bf01000000 be01000000 4889ea"  # rest: [rbp] += rdi; clock_nanosleep(MONOTONIC, …
    "4531d2 b8e6000000 0f05 c3"  # … ABSTIME, rbp, NULL)
    "b801000000 bf01000000 488d742408 ba01000000 0f05 c20800"  # say: write(1, the pushed byte, 1)
)  # fmt: skip

elf = maker(
    "program that takes memory", {EM_X86_64: _X86_64}
)  # the only one whose guests can be compared so far
