"""Which accelerator really runs guest code at speed: never inferred, always proved.

Each candidate of this operating system boots a hand-made :func:`firmware` with one explicit
``-accel``; the first that finishes its loop in time is used. The answer is kept on disk until the
computer is booted again or QEMU is replaced.

A boot sector that stays in 16-bit real mode is not enough of a test: there are hosts whose
``/dev/kvm`` opens, runs real mode well, and then runs 64-bit code about 1000 times slower than
plain emulation does. So the firmware says ``1`` on the serial port in real mode, ``2`` in 64-bit
mode with paging, and ``3`` after a loop of 20 million rounds; then it prints a line and leaves
through QEMU's ``isa-debug-exit`` device.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import selectors
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from vmcompare import paths
from vmcompare.engines import cleanup, log
from vmcompare.engines.commands import end_child
from vmcompare.engines.qemu.binary import Qemu
from vmcompare.errors import StorageError, Unavailable
from vmcompare.sandbox import SOFTWARE

CANDIDATES = {"linux": ("kvm", "tcg"), "darwin": ("hvf", "tcg")}
"""``sys.platform`` → accelerators, best first. ``tcg`` is software emulation."""

FIRST_BYTE_S, LOOP_S = 10.0, 1.0
"""Deadlines in seconds: to the first byte, then for 64-bit mode and the loop. Tried: TCG needs
0.05 s for all of it; the KVM that only pretends needs minutes for the loop."""

SOFTWARE_S = 60.0  # both, for TCG: there is nothing to try after it, however busy the host is

_WHY_CHARACTERS = 500  # kept of what QEMU says; its sentences have about 100
_KEPT_BYTES = 1 << 16  # at most, of a fact that is kept
_KEEP_S = 5.0  # to wait for another process that keeps a fact, before this one is not kept
_EXIT_S = 2.0  # for QEMU to leave after its guest asked it to, before it is killed


@dataclass(frozen=True, slots=True)
class Accelerator:
    """The accelerator to use, and each better candidate with why it was not taken."""

    accel: str
    rejected: tuple[tuple[str, str], ...] = ()

    def is_of(self, candidates: Sequence[str]) -> bool:
        """Whether trying ``candidates`` in order can have led to this."""
        if self.accel not in candidates:
            return False
        better = list(candidates[: candidates.index(self.accel)])
        readable = all(why.isprintable() for _, why in self.rejected)
        return readable and [accel for accel, _ in self.rejected] == better


def choose(qemu: Qemu) -> Accelerator:
    """The first candidate that works; from the disk if it was proved since the last boot.

    Raises ``Unavailable`` if QEMU runs, but no accelerator does.
    """
    candidates, choice = CANDIDATES.get(sys.platform, (SOFTWARE,)), None
    with contextlib.suppress(OSError, StorageError):
        choice = paths.understood(paths.read(_kept_in(qemu), _KEPT_BYTES), Accelerator)
    if choice is None or not choice.is_of(candidates):
        choice = prove(qemu, candidates)
        # Where nothing can be kept, it is found out anew each time.
        with contextlib.suppress(OSError, StorageError):
            path = _kept_in(qemu)
            with paths.locked(path.with_name("facts.lock"), timeout_s=_KEEP_S):
                paths.write(path, msgspec.json.encode(choice))
    return choice


def prove(qemu: Qemu, candidates: Sequence[str]) -> Accelerator:
    """Try candidates in order, without looking at what is kept. Raises ``Unavailable``."""
    rejected: list[tuple[str, str]] = []
    with cleanup.guard(), cleanup.folder() as directory:
        rom = directory / "probe.bin"
        with paths.as_storage_error(rom, paths.TEMPORARY):
            rom.write_bytes(firmware())
        for accel in candidates:
            why = attempt(qemu, accel, rom)
            if not why:
                return Accelerator(accel, tuple(rejected))
            words = "".join(c for c in why if c.isprintable())[:_WHY_CHARACTERS]
            rejected.append((accel, words))
    reasons = "; ".join(f"{accel}: {why}" for accel, why in rejected)
    raise Unavailable(
        f"QEMU starts, but nothing here runs a guest ({reasons})",
        "run `qemu-system-x86_64 -accel tcg` by hand and read what it says, or install QEMU again",
    )


def attempt(qemu: Qemu, accel: str, rom: Path) -> str:
    """Boot the firmware with one accelerator; why it does not work, or nothing."""
    command = [*qemu.command(), "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"]
    command += ["-M", "pc", "-m", "16", "-accel", accel, "-bios", str(rom), "-serial", "stdio"]
    command += ["-device", f"isa-debug-exit,iobase={EXIT_PORT:#x},iosize=4"]
    log.command(command)
    try:
        started = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            env=cleanup.marked(),
        )
    except OSError as error:
        return f"QEMU could not be started: {error.strerror}"
    with started as process:
        try:
            limits_s = (SOFTWARE_S,) * 2 if accel == SOFTWARE else (FIRST_BYTE_S, LOOP_S)
            why = _judge(process, *limits_s)
            if not why:
                end_child(process, _EXIT_S)
        finally:
            process.kill()  # does nothing to a process that has already left
        errors = process.stderr.read() if process.stderr else b""
    lines = errors.decode(errors="replace").strip().splitlines()
    if why == _EXITED and lines:
        why = lines[-1].partition(": ")[2] or lines[-1]
    return why


_EXITED = "QEMU ended at once"


def _judge(process: subprocess.Popen[bytes], first_byte_s: float, loop_s: float) -> str:
    assert process.stdout is not None
    deadline, seen = time.monotonic() + first_byte_s, b""
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while LOOPED not in seen:
            left = deadline - time.monotonic()
            if left <= 0:
                return "stalls in 64-bit mode" if seen else "no sign of life"
            if not selector.select(left):
                continue
            piece = os.read(process.stdout.fileno(), 256)
            if not piece:
                return _EXITED if not seen else "ends in the middle of the test"
            if STARTED in piece and STARTED not in seen:
                deadline = time.monotonic() + loop_s
            seen += piece
    return ""


def _kept_in(qemu: Qemu) -> Path:
    """Another file for each boot, QEMU and version of the firmware that tries it."""
    facts = f"{cleanup.boot()} {qemu.identity()} {hashlib.sha256(firmware()).hexdigest()}"
    short = hashlib.sha256(facts.encode()).hexdigest()[:16]
    return paths.cache_dir() / f"accelerator-{'kvm' if _kvm_opens() else 'none'}-{short}.json"


def _kvm_opens() -> bool:
    """Whether KVM is there for this user now: being let into its group needs no new boot."""
    try:
        os.close(os.open("/dev/kvm", os.O_RDWR | os.O_CLOEXEC))
    except OSError:
        return False
    return True


FIRMWARE_BYTES = 0x10000  # the segment F000 that a PC's processor starts in
STARTED, IN_64_BIT_MODE, LOOPED = b"1", b"2", b"3"  # what it says, in this order
EXIT_PORT = 0xF4  # of `isa-debug-exit`
_CODE = bytes.fromhex(
    # 16-bit code at F000:0000
    "fa fc"  # cli; cld
    "8cc8 8ed8"  # mov ax, cs; mov ds, ax
    "baf803 b031 ee"  # mov dx, 3F8h (serial port); mov al, '1'; out dx, al
    "31c0 8ec0"  # xor ax, ax; mov es, ax
    "bf0010 6631c0 b9000c 66f3ab"  # clear 12 KiB at 1000h for three page tables
    "2666c706001007200000"  # level 4: [1000h] = 2007h (present, writable, user)
    "2666c706002007300000"  # level 3: [2000h] = 3007h
    "2666c706003087000000"  # level 2: [3000h] = 87h, one page of 2 MiB at 0
    "66b800100000 0f22d8"  # mov eax, 1000h; mov cr3, eax
    "0f20e0 6683c820 0f22e0"  # cr4 |= 20h (physical address extension)
    "66b9800000c0 0f32 660d00010000 0f30"  # EFER |= 100h (long mode)
    "660f0116c800"  # lgdt [00C8h]
    "0f20c0 660d01000080 0f22c0"  # cr0 |= 80000001h (paging, protection)
    "66ea77000f000800"  # jmp 08:000F0077h
    # 64-bit code at F0077h
    "66b81000 8ed8 8ec0 8ed0"  # mov ax, 10h; ds = es = ss = ax
    "66baf803 b032 ee"  # '2'
    "b9002d3101"  # mov ecx, 20,000,000
    "4883c003 ffc9 75f8"  # loop: add rax, 3; dec ecx; jnz loop
    "b033 ee"  # '3'
    "bece000f00"  # mov esi, F00CEh (the line)
    "ac 84c0 7403 ee ebf8"  # next: lodsb; test al, al; jz done; out dx, al; jmp next
    "66baf400 b010 ee"  # done: mov dx, F4h; mov al, 10h; out dx, al (leave QEMU)
    "f4 ebf6"  # hlt; jmp done
    "90"  # padding to a multiple of 8
    "0000000000000000"  # segment table: null
    "00000000009b2000"  # 08h: 64-bit code
    "0000000000930000"  # 10h: data
    "1700 b0000f00"  # 00C8h: limit 23, table at F00B0h
    + b" Hello from a 512-byte operating system!\r\n\0".hex()
)

_RESET_VECTOR = bytes.fromhex("ea000000f0")  # at FFF0h, where the processor starts: jmp F000:0000


def firmware() -> bytes:
    """The firmware as a file for ``-bios`` (64 KiB)."""
    rom = bytearray(FIRMWARE_BYTES)
    rom[: len(_CODE)] = _CODE
    rom[FIRMWARE_BYTES - 16 : FIRMWARE_BYTES - 16 + len(_RESET_VECTOR)] = _RESET_VECTOR
    return bytes(rom)
