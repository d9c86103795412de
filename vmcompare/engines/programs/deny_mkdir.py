"""A static program that forbids itself one system call and then becomes another program.

``deny-mkdir PROGRAM ARGS`` sets *no new privileges*, installs a seccomp filter and executes
``PROGRAM``. From then on, for it and all its children, making a directory fails with EPERM. It is
the last step of a container made by hand; an engine's filter is the same thing, only longer.

Sources: Linux, ``Documentation/userspace-api/seccomp_filter.rst``; ``linux/filter.h`` (instruction
classes); ``syscall_64.tbl`` (numbers); Intel 64 and IA-32 SDM vol. 2 (encodings).
"""

from __future__ import annotations

import struct

from vmcompare.engines.programs import EM_X86_64, maker

EPERM = 1  # what the refused call returns (Linux, errno-base.h)
_LOAD, _IF_EQUAL, _IF_AT_LEAST, _RETURN = 0x20, 0x15, 0x35, 0x06
_ARCHITECTURE, _NUMBER = 4, 0  # offsets in struct seccomp_data
_AUDIT_ARCH_X86_64, _X32_BIT = 0xC000003E, 0x40000000
_MKDIR, _MKDIRAT = 83, 258
_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000


def _step(code: int, k: int, if_true: int = 0, if_false: int = 0) -> bytes:
    """One instruction of classic BPF: ``struct sock_filter``."""
    return struct.pack("<HBBI", code, if_true, if_false, k)


# A jump counts the instructions that it skips; all of them lead to the last line.
_FILTER = b"".join(
    (
        _step(_LOAD, _ARCHITECTURE),
        _step(_IF_EQUAL, _AUDIT_ARCH_X86_64, if_false=5),  # 32-bit calls have other numbers: deny
        _step(_LOAD, _NUMBER),
        _step(_IF_AT_LEAST, _X32_BIT, if_true=3),  # and so have those of the x32 ABI
        _step(_IF_EQUAL, _MKDIR, if_true=2),
        _step(_IF_EQUAL, _MKDIRAT, if_true=1),
        _step(_RETURN, _ALLOW),
        _step(_RETURN, _ERRNO | EPERM),
    )
)
FILTER_STEPS = len(_FILTER) // 8

# System calls: prctl 157, execve 59, exit 60. prctl options: PR_SET_NO_NEW_PRIVS 38,
# PR_SET_SECCOMP 22 with SECCOMP_MODE_FILTER 2 (linux/prctl.h, linux/seccomp.h).
_CODE = bytes.fromhex(
    "bf26000000 be01000000"  # mov edi, 38; mov esi, 1          no new privileges, so that
    "31d2 4531d2 4531c0"  # xor edx, edx; r10d; r8d             no root is needed for the filter
    "b89d000000 0f05"  # mov eax, 157; syscall
    "488d0549000000 50"  # lea rax, [rip+73]; push rax          struct sock_fprog, on the stack:
    f"6a{FILTER_STEPS:02x}"  # push 8                           its length, then where it is
    "bf16000000 be02000000"  # mov edi, 22; mov esi, 2
    "4889e2 b89d000000 0f05"  # mov rdx, rsp; mov eax, 157; syscall
    "85c0 7522"  # test eax, eax; jnz fail
    "4883c410"  # add rsp, 16                                   the stack as it was at entry
    "488b0c24 4883f902 7c14"  # mov rcx, [rsp]; cmp rcx, 2; jl fail       argc
    "488d742410 488d54cc10"  # lea rsi, [rsp+16]; lea rdx, [rsp+8*rcx+16]  argv + 1, environment
    "488b3e b83b000000 0f05"  # mov rdi, [rsi]; mov eax, 59; syscall
    "bf7e000000 b83c000000 0f05"  # fail: mov edi, 126; mov eax, 60; syscall
)  # fmt: skip

elf = maker("filter program", {EM_X86_64: _CODE + _FILTER})
