"""A static program that makes a table of system calls and tells what the kernel answered.

What a container may ask of the kernel that it shares is best asked directly: through a library or
a shell an answer comes back as words, or is tried again in another way. So the table holds
*sequences* of raw calls. Each runs in a forked child of its own with a timer of :data:`LIMIT_S`
seconds, so that none can disturb the next or hang the program. A sequence's answer is the result of
its first call that failed, else of its last one.

The program prints one answer a sequence, 8 bytes each; :func:`decode` reads them and
:func:`written` says them in words.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from vmcompare.engines.programs import (
    BODY_ADDRESS,
    EM_AARCH64,
    EM_X86_64,
    MACHINES,
    a64,
    choice,
    static_program,
)
from vmcompare.errors import Unavailable

LIMIT_S = 2  # for a sequence; it needs microseconds
BUFFER = 0x20008000  # points to 32 KiB of memory that can be read and written
_RESULTS = 0x20000000
_MOST_CALLS, _MOST_SEQUENCES = 500, 3000
_ALWAYS, _LAST = 0x100, 0x200  # flags of a call, beside one bit for each argument
_HEADER = 64

NO_ANSWER = -(1 << 63)  # where there was no answer; the status of the child's end is added to it

_FIRST_ERRORS = """
EPERM ENOENT ESRCH EINTR EIO ENXIO E2BIG ENOEXEC EBADF ECHILD EAGAIN ENOMEM EACCES EFAULT ENOTBLK
EBUSY EEXIST EXDEV ENODEV ENOTDIR EISDIR EINVAL ENFILE EMFILE ENOTTY ETXTBSY EFBIG ENOSPC ESPIPE
EROFS EMLINK EPIPE EDOM ERANGE EDEADLK ENAMETOOLONG ENOLCK ENOSYS ENOTEMPTY ELOOP
"""
"""Numbers 1 to 40."""

ERRORS: Mapping[int, str] = (
    dict(enumerate(_FIRST_ERRORS.split(), start=1))
    | {
        61: "ENODATA", 75: "EOVERFLOW", 88: "ENOTSOCK", 92: "ENOPROTOOPT", 93: "EPROTONOSUPPORT",
        94: "ESOCKTNOSUPPORT", 95: "EOPNOTSUPP", 97: "EAFNOSUPPORT", 98: "EADDRINUSE",
        99: "EADDRNOTAVAIL", 100: "ENETDOWN", 101: "ENETUNREACH", 104: "ECONNRESET",
        107: "ENOTCONN", 110: "ETIMEDOUT", 111: "ECONNREFUSED", 113: "EHOSTUNREACH",
        115: "EINPROGRESS", 116: "ESTALE", 126: "ENOKEY", 127: "EKEYEXPIRED", 129: "EKEYREJECTED",
    }
)  # fmt: skip
"""Error numbers of Linux on x86-64 and arm64 (``errno-base.h``, ``asm-generic/errno.h``): those of
the computer that reads the answers may be other ones."""


_ENDS: Mapping[int, str] = {14: "it took too long", 31: "killed by the call filter"}
"""By signal: SIGALRM and SIGSYS (Linux, ``asm-generic/signal.h``)."""


@dataclass(frozen=True, slots=True)
class Result:
    """As an argument: what the ``call``-th call (from 0) of the same sequence returned."""

    call: int


@dataclass(frozen=True, slots=True)
class Call:
    """One system call.

    Attributes:
        name: as in :data:`NUMBERS`, or its number.
        args: up to six; a byte string stands for the address at which it lies (a NUL follows it).
        always: whether it is made although one before it failed; its result is nobody's answer.
    """

    name: str | int
    args: tuple[int | bytes | Result, ...] = ()
    always: bool = False


def elf(machine: str, sequences: Sequence[Sequence[Call]]) -> bytes:
    """The program as a static ELF file (Linux) for a ``platform.machine()``.

    Raises:
        Unavailable: for other processors than x86-64 and arm64, and calls that they do not have.
        ValueError: there is nothing to call, or too much.
    """
    if not 0 < len(sequences) <= _MOST_SEQUENCES:
        raise ValueError(f"{len(sequences)} sequences: 1 to {_MOST_SEQUENCES} have room")
    if any(not 0 < len(sequence) <= _MOST_CALLS for sequence in sequences):
        raise ValueError(f"a sequence has 1 to {_MOST_CALLS} calls")
    number, code = choice(machine, CODES, "program of system calls")
    table = struct.pack("<QQqqqq", len(sequences), 0, 0, 0, LIMIT_S, 0).ljust(_HEADER, b"\0")
    strings_address = BODY_ADDRESS + len(code) + len(table) + 64 * sum(map(len, sequences))
    strings = bytearray()
    for sequence in sequences:
        for place, call in enumerate(sequence):
            flags = _ALWAYS * call.always | _LAST * (place == len(sequence) - 1)
            values = [0] * 6
            for position, argument in enumerate(call.args):
                if isinstance(argument, Result):
                    flags |= 1 << position
                    values[position] = _RESULTS + 8 * argument.call
                elif isinstance(argument, bytes):
                    values[position] = strings_address + len(strings)
                    strings += argument + b"\0"
                else:
                    values[position] = argument & (1 << 64) - 1
            if not has(machine, [call]):
                raise Unavailable(
                    f"the processor {machine!r} has no system call {call.name}",
                    "leave it out there",
                )
            name = call.name if isinstance(call.name, int) else NUMBERS[number][call.name]
            table += struct.pack("<8Q", name, flags, *values)
    return static_program(number, code + table + bytes(strings))


def has(machine: str, sequence: Sequence[Call]) -> bool:
    numbers = NUMBERS.get(MACHINES.get(machine.lower(), 0), {})
    return all(isinstance(call.name, int) or call.name in numbers for call in sequence)


def decode(output: bytes, count: int) -> tuple[int, ...]:
    """The answers in what the program printed: 0 or more, or −errno, or near :data:`NO_ANSWER`.

    Raises ``Unavailable`` where that is not what it prints.
    """
    if len(output) != 8 * count:
        said = output[:200].decode(errors="replace").strip()
        raise Unavailable(
            f"the program of system calls did not finish ({said or 'it said nothing'})",
            "look at a recording",
        )
    return struct.unpack(f"<{count}q", output)


def written(answer: int) -> str:
    """An answer in words: ``"ok"``, an error's name, or how the child ended without one."""
    if answer >= 0:
        return "ok"
    if answer > -4096:
        return ERRORS.get(-answer, f"errno {-answer}")
    status = answer - NO_ANSWER
    if killed := status & 0x7F:
        return _ENDS.get(killed, f"killed by signal {killed}")
    return "no answer"


_X86_64: Mapping[str, int] = {
    "read": 0, "write": 1, "close": 3, "shmget": 29, "shmctl": 31, "nanosleep": 35, "getpid": 39,
    "socket": 41, "connect": 42, "kill": 62, "fchown": 93, "syslog": 103, "getppid": 110,
    "setpriority": 141, "prctl": 157, "chroot": 161, "acct": 163, "settimeofday": 164,
    "mount": 165, "swapon": 167, "reboot": 169, "sethostname": 170, "ioperm": 173,
    "init_module": 175, "exit_group": 231, "kexec_load": 246, "add_key": 248, "keyctl": 250,
    "openat": 257, "mkdirat": 258, "mknodat": 259, "unlinkat": 263, "faccessat": 269,
    "unshare": 272, "perf_event_open": 298, "open_by_handle_at": 304, "setns": 308,
    "memfd_create": 319, "bpf": 321, "userfaultfd": 323,
}  # fmt: skip

_ARM64: Mapping[str, int] = {
    "mknodat": 33, "mkdirat": 34, "unlinkat": 35, "mount": 40, "faccessat": 48, "chroot": 51,
    "fchown": 55, "openat": 56, "close": 57, "read": 63, "write": 64, "acct": 89,
    "exit_group": 94, "unshare": 97, "nanosleep": 101, "kexec_load": 104, "init_module": 105,
    "syslog": 116, "kill": 129, "setpriority": 140, "reboot": 142, "sethostname": 161,
    "prctl": 167, "settimeofday": 170, "getpid": 172, "getppid": 173, "shmget": 194, "shmctl":
    195, "socket": 198, "connect": 203, "add_key": 217, "keyctl": 219, "swapon": 224,
    "perf_event_open": 241, "open_by_handle_at": 265, "setns": 268, "memfd_create": 279,
    "bpf": 280, "userfaultfd": 282,
}  # fmt: skip
NUMBERS = {EM_X86_64: _X86_64, EM_AARCH64: _ARM64}
"""ELF machine number → the numbers of the system calls that the course makes.

Sources: Linux 6.18, ``arch/x86/entry/syscalls/syscall_64.tbl`` and ``scripts/syscall.tbl`` (arm64).
"""

# Both codes do the same. Memory shared with the children lies at 0x20000000: results of the calls
# of one sequence, at +0xff8 the status of a child that ended, at +0x1000 the answers, at +0x8000 a
# buffer. What follows the code begins with the number of sequences, the timer of each child at +16,
# and at +64 the calls, 64 bytes each: number, flags, six arguments.
# Encodings: Intel 64 and IA-32 SDM vol. 2; Arm Architecture Reference Manual (A64).

# mmap 9, clone 56, wait4 61, write 1, exit_group 231, setitimer 38 (Linux, syscall_64.tbl).
_X86_64_CODE = bytes.fromhex(
    "bf00000020 be00000100 ba03000000"  # mov edi,0x20000000; mov esi,0x10000; mov edx,0x3
    "41ba31000000 4983c8ff 4531c9"  # mov r10d,0x31; or r8,0xffffffffffffffff; xor r9d,r9d
    "b809000000 0f05"  # mov eax,0x9; syscall
    "bd00000020 4839e8 0f85b0000000"  # mov ebp,0x20000000; cmp rax,rbp; jne fail
    "488d1d62010000 448b3b 4883c340"  # lea rbx,[rip+0x162]; mov r15d,[rbx]; add rbx,0x40
    "488dad00100000"  # lea rbp,[rbp+0x1000]
    "b801000000 48c1e03f 48894500"  # probe: mov eax,0x1; shl rax,0x3f; mov [rbp+0x0],rax
    "bf11000000 31f6 31d2"  # mov edi,0x11; xor esi,esi; xor edx,edx
    "4531d2 4531c0 b838000000"  # xor r10d,r10d; xor r8d,r8d; mov eax,0x38
    "0f05"  # syscall
    "4885c0 782e"  # test rax,rax; js skip
    "7478"  # je child
    "4889c7 bef80f0020 31d2"  # mov rdi,rax; mov esi,0x20000ff8; xor edx,edx
    "4531d2 b83d000000 0f05"  # xor r10d,r10d; mov eax,0x3d; syscall
    "488b4500 488d0c00 4885c9"  # mov rax,[rbp+0x0]; lea rcx,[rax+rax*1]; test rcx,rcx
    "750b"  # jne skip
    "8b0c25f80f0020 48014d00"  # mov ecx,ds:0x20000ff8; add [rbp+0x0],rcx
    "f7430800020000 488d5b40 74f3"  # skip: test [rbx+0x8],0x200; lea rbx,[rbx+0x40]; je skip
    "4883c508 41ffcf 7594"  # add rbp,0x8; dec r15d; jne probe
    "bb00100020"  # mov ebx,0x20001000
    "4889ea 4829da 7419"  # write: mov rdx,rbp; sub rdx,rbx; je done
    "bf01000000 4889de b801000000"  # mov edi,0x1; mov rsi,rbx; mov eax,0x1
    "0f05"  # syscall
    "4885c0 7e0e"  # test rax,rax; jle fail
    "4801c3 ebdf"  # add rbx,rax; jmp write
    "31ff"  # done: xor edi,edi
    "b8e7000000 0f05"  # leave: mov eax,0xe7; syscall
    "bf01000000 ebf2"  # fail: mov edi,0x1; jmp leave
    "31ff 488d35b9000000 31d2"  # child: xor edi,edi; lea rsi,[rip+0xb9]; xor edx,edx
    "b826000000 0f05"  # mov eax,0x26; syscall
    "4531e4 41bd00000020"  # xor r12d,r12d; mov r13d,0x20000000
    "4c8b7308 4d85e4 7909"  # call: mov r14,[rbx+0x8]; test r12,r12; jns make
    "41f7c600010000 7463"  # test r14d,0x100; je next
    "488b7b10 41f6c601 7403"  # make: mov rdi,[rbx+0x10]; test r14b,0x1; je make+0xd
    "488b3f 488b7318 41f6c602"  # mov rdi,[rdi]; mov rsi,[rbx+0x18]; test r14b,0x2
    "7403"  # je make+0x1a
    "488b36 488b5320 41f6c604"  # mov rsi,[rsi]; mov rdx,[rbx+0x20]; test r14b,0x4
    "7403"  # je make+0x27
    "488b12 4c8b5328 41f6c608"  # mov rdx,[rdx]; mov r10,[rbx+0x28]; test r14b,0x8
    "7403"  # je make+0x34
    "4d8b12 4c8b4330 41f6c610"  # mov r10,[r10]; mov r8,[rbx+0x30]; test r14b,0x10
    "7403"  # je make+0x41
    "4d8b00 4c8b4b38 41f6c620"  # mov r8,[r8]; mov r9,[rbx+0x38]; test r14b,0x20
    "7403"  # je make+0x4e
    "4d8b09 488b03 0f05"  # mov r9,[r9]; mov rax,[rbx]; syscall
    "49894500 41f7c600010000 7503"  # mov [r13+0x0],rax; test r14d,0x100; jne next
    "4989c4"  # mov r12,rax
    "4983c508 4883c340 41f7c600020000"  # next: add r13,0x8; add rbx,0x40; test r14d,0x200
    "0f8476ffffff"  # je call
    "4c896500 31ff b8e7000000"  # mov [rbp+0x0],r12; xor edi,edi; mov eax,0xe7
    "0f05"  # syscall
)

# mmap 222, clone 220, wait4 260, write 64, exit_group 94, setitimer 103 (asm-generic/unistd.h).
_ARM64_CODE = a64(
    "D2A40000 D2A00021 D2800062 "  # mov x0, #0x20000000; mov x1, #0x10000; mov x2, #0x3
    "D2800623 92800004 D2800005 "  # mov x3, #0x31; mov x4, #0xffffffffffffffff; mov x5, #0x0
    "D2801BC8 D4000001 "  # mov x8, #0xde; svc #0x0
    "D2A40014 EB14001F 54000661 "  # mov x20, #0x20000000; cmp x0, x20; b.ne fail
    "10000B93 B9400275 91010273 "  # adr x19, data; ldr w21, [x19]; add x19, x19, #0x40
    "91400694 "  # add x20, x20, #0x1, lsl #12
    "D2F00009 F9000289 "  # probe: mov x9, #0x8000000000000000; str x9, [x20]
    "D2800220 D2800001 D2800002 "  # mov x0, #0x11; mov x1, #0x0; mov x2, #0x0
    "D2800003 D2800004 D2801B88 "  # mov x3, #0x0; mov x4, #0x0; mov x8, #0xdc
    "D4000001 "  # svc #0x0
    "F100001F 540001EB "  # cmp x0, #0x0; b.lt skip
    "540004A0 "  # b.eq child
    "D2A40001 913FE021 D2800002 "  # mov x1, #0x20000000; add x1, x1, #0xff8; mov x2, #0x0
    "D2800003 AA0103F9 D2802088 "  # mov x3, #0x0; mov x25, x1; mov x8, #0x104
    "D4000001 "  # svc #0x0
    "F9400289 D37FF92A B500008A "  # ldr x9, [x20]; lsl x10, x9, #1; cbnz x10, skip
    "B940032B 8B0B0129 F9000289 "  # ldr w11, [x25]; add x9, x9, x11; str x9, [x20]
    "F9400669 91010273 364FFFC9 "  # skip: ldr x9, [x19, #8]; add x19, x19, #0x40; tbz w9, #9, skip
    "91002294 710006B5 54FFFC41 "  # add x20, x20, #0x8; subs w21, w21, #0x1; b.ne probe
    "D2A40013 91400673 "  # mov x19, #0x20000000; add x19, x19, #0x1, lsl #12
    "EB130282 54000120 "  # write: subs x2, x20, x19; b.eq done
    "D2800020 AA1303E1 D2800808 "  # mov x0, #0x1; mov x1, x19; mov x8, #0x40
    "D4000001 "  # svc #0x0
    "F100001F 540000CD "  # cmp x0, #0x0; b.le fail
    "8B000273 17FFFFF7 "  # add x19, x19, x0; b write
    "D2800000 "  # done: mov x0, #0x0
    "D2800BC8 D4000001 "  # leave: mov x8, #0x5e; svc #0x0
    "D2800020 17FFFFFD "  # fail: mov x0, #0x1; b leave
    "D2800000 10000561 D2800002 "  # child: mov x0, #0x0; adr x1, data+0x10; mov x2, #0x0
    "D2800CE8 D4000001 "  # mov x8, #0x67; svc #0x0
    "D2800016 D2A40017 "  # mov x22, #0x0; mov x23, #0x20000000
    "F9400678 B6F80056 "  # call: ldr x24, [x19, #8]; tbz x22, #63, make
    "36400318 "  # tbz w24, #8, next
    "F9400A60 36000058 "  # make: ldr x0, [x19, #16]; tbz w24, #0, make+0xc
    "F9400000 F9400E61 36080058 "  # ldr x0, [x0]; ldr x1, [x19, #24]; tbz w24, #1, make+0x18
    "F9400021 F9401262 36100058 "  # ldr x1, [x1]; ldr x2, [x19, #32]; tbz w24, #2, make+0x24
    "F9400042 F9401663 36180058 "  # ldr x2, [x2]; ldr x3, [x19, #40]; tbz w24, #3, make+0x30
    "F9400063 F9401A64 36200058 "  # ldr x3, [x3]; ldr x4, [x19, #48]; tbz w24, #4, make+0x3c
    "F9400084 F9401E65 36280058 "  # ldr x4, [x4]; ldr x5, [x19, #56]; tbz w24, #5, make+0x48
    "F94000A5 F9400268 D4000001 "  # ldr x5, [x5]; ldr x8, [x19]; svc #0x0
    "F90002E0 37400058 "  # str x0, [x23]; tbnz w24, #8, next
    "AA0003F6 "  # mov x22, x0
    "910022F7 91010273 "  # next: add x23, x23, #0x8; add x19, x19, #0x40
    "364FFC98 "  # tbz w24, #9, call
    "F9000296 D2800000 D2800BC8 "  # str x22, [x20]; mov x0, #0x0; mov x8, #0x5e
    "D4000001 "  # svc #0x0
)

CODES = {EM_X86_64: _X86_64_CODE, EM_AARCH64: _ARM64_CODE}
"""ELF machine number → the code, which the table of calls follows."""
