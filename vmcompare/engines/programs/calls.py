"""A static program that makes a table of system calls and tells what the kernel answered.

What a container may ask of the kernel that it shares is best asked directly: through a library or
a shell an answer comes back as words, or is tried again in another way. So the table holds
*sequences* of raw calls. Each runs in a forked child of its own with a timer of :data:`LIMIT_S`
seconds, so that none can disturb the next or hang the program. A sequence's answer is the result of
its first call that failed, else of its last one.

The program is written here byte by byte, so that no compiler is needed and host, container and
guest run the very same file. It prints one answer a sequence, 8 bytes each; :func:`decode` reads
them and :func:`written` says them in words.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from vmcompare.engines.programs.calls_code import ARM64, X86_64
from vmcompare.engines.programs.elf import (
    BODY_ADDRESS,
    EM_AARCH64,
    EM_X86_64,
    choice,
    static_program,
)
from vmcompare.engines.programs.system_calls import NUMBERS
from vmcompare.errors import Unavailable

LIMIT_S = 2  # for a sequence; it needs microseconds
BUFFER = 0x20008000  # points to 32 KiB of memory that can be read and written
_RESULTS = 0x20000000
_MOST_CALLS, _MOST_SEQUENCES = 500, 3000
_ALWAYS, _LAST = 0x100, 0x200  # flags of a call, beside one bit for each argument
_HEADER = 64

NO_ANSWER = -(1 << 63)  # where there was no answer; the status of the child's end is added to it
_CODES = {EM_X86_64: X86_64, EM_AARCH64: ARM64}

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
        name: as in :mod:`system_calls`, or its number.
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
    number, code = choice(machine, _CODES, "program of system calls")
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
            table += struct.pack("<8Q", _number(machine, call.name), flags, *values)
    return static_program(number, code + table + bytes(strings))


def has(machine: str, sequence: Sequence[Call]) -> bool:
    numbers = NUMBERS.get(machine.lower(), {})
    return all(isinstance(call.name, int) or call.name in numbers for call in sequence)


def _number(machine: str, name: str | int) -> int:
    if isinstance(name, int):
        return name
    try:
        return NUMBERS[machine.lower()][name]
    except KeyError:
        raise Unavailable(
            f"the processor {machine!r} has no system call {name}", "leave it out there"
        ) from None


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
