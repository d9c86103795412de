"""One running instance: its memory by part, fresh and after use."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from vmcompare.errors import LaunchFailure, Unavailable
from vmcompare.evidence.units import MIB
from vmcompare.measuring import memory
from vmcompare.sandbox import FIRST_BYTE_PROGRAM, Sandbox, Spec

GUEST_RAM = "guest RAM"
BOOT_FILES = "kernel and RAM disk files"
EMULATOR = "emulator"
CODE_CACHE = "translator’s code cache"
SHIM = "shim and init"
WORKLOAD = "workload"
DAEMONS = "daemons"
"""The engine's daemons, which serve all containers together."""

PARTS = (SHIM, WORKLOAD, EMULATOR, BOOT_FILES, GUEST_RAM, CODE_CACHE)
"""Parts of an instance, in the order in which they are stacked."""

_WORK = "sleep"
"""A program of the shared userland that every instance runs beside the first-byte program: an
application that only waits, of BusyBox and the C library, whose pages containers can share."""

_AGE_TIMEOUT_S = 180.0


@dataclass(frozen=True, slots=True)
class Weight:
    """What one instance costs the host, as PSS in bytes.

    Attributes:
        parts: name (of :data:`PARTS`) → bytes. The workload of a VM is within its guest RAM.
    """

    parts: Mapping[str, int]

    @property
    def paid_bytes(self) -> int:
        """``pss_bytes``: all but the translator's code cache, which exists under emulation only."""
        return sum(self.parts.values()) - self.parts.get(CODE_CACHE, 0)

    @property
    def overhead_bytes(self) -> int:
        """What manages the instance: shim and init, or the emulator."""
        return self.parts.get(SHIM, 0) + self.parts.get(EMULATOR, 0)


def weigh(box: Sandbox, spec: Spec, *, is_vm: bool, emulated: bool) -> Weight:
    """Weigh a running instance.

    A container's processes are told apart by the first word of their command lines: the workload is
    what this experiment started in it; all else (shim, PID 1, a monitor) manages it. A VM's one
    process is told apart by its mappings. Raises ``Unavailable``: its processes cannot be seen,
    read, or told apart.
    """
    pids = memory.serving(box)
    if is_vm:
        found = memory.vm_parts(pids, ram_bytes=spec.memory_mib * MIB, emulated=emulated)
        cache = {CODE_CACHE: found.code_cache} if found.code_cache else {}
        return Weight(
            {EMULATOR: found.emulator, BOOT_FILES: found.boot_files, GUEST_RAM: found.guest_ram}
            | cache
        )
    parts = {SHIM: 0, WORKLOAD: 0}
    is_working = False
    for pid in pids:
        words = memory.command_line(pid)
        part = WORKLOAD if words and words[0] in (FIRST_BYTE_PROGRAM, _WORK) else SHIM
        parts[part] += memory.pss_bytes([pid])
        is_working |= words[:1] == (_WORK,)
    if not is_working:
        raise Unavailable(
            "the workload is not among the processes that serve it", "replay a recording"
        )
    return Weight(parts)


def start_work(box: Sandbox) -> None:
    """Start the application that only waits. Raises ``LaunchFailure``."""
    _output(box, ("sh", "-c", f"{_WORK} 86400 </dev/null >/dev/null 2>&1 &"))


def disk_bytes(box: Sandbox) -> int:
    """Size of the guest's disk as it sees it, in bytes. Raises ``LaunchFailure``."""
    return _number(box, ("cat", "/sys/block/vda/size")) * 512


def read_disk(box: Sandbox) -> None:
    """Let a guest read its whole disk through its page cache.

    Raises ``LaunchFailure``, ``WaitTimeout``: it could not, or not within three minutes.
    """
    _output(box, ("sh", "-c", "cat /dev/vda >/dev/null"), timeout_s=_AGE_TIMEOUT_S)


def _number(box: Sandbox, argv: Sequence[str]) -> int:
    text = _output(box, argv).strip()
    if not text.isdigit():
        raise LaunchFailure("a command inside did not print a number", tuple(argv), text)
    return int(text)


def _output(box: Sandbox, argv: Sequence[str], timeout_s: float = 60.0) -> str:
    done = box.run(argv, timeout_s=timeout_s)
    text = done.output.decode(errors="replace")
    if done.exit_code:
        raise LaunchFailure(f"{argv[0]} ended with {done.exit_code} inside", tuple(argv), text)
    return text
