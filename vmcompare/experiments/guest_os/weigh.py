"""The memory of one running instance, by part, from the host's side."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from vmcompare.errors import Unavailable
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

WORK = "sleep"
"""A program of the shared userland that every instance runs beside the first-byte program: an
application that only waits, of BusyBox and the C library, whose pages containers can share."""

START_WORK = ("sh", "-c", f"{WORK} 86400 </dev/null >/dev/null 2>&1 &")


@dataclass(frozen=True, slots=True)
class Weight:
    """What one instance costs the host, as PSS in bytes.

    Attributes:
        parts: name (of :data:`PARTS`) → bytes. The workload of a VM is within its guest RAM.
        workload_pid: a process of the workload, where the host sees one (a container's).
    """

    parts: Mapping[str, int]
    workload_pid: int | None = None

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
    what this experiment started in it (:data:`FIRST_BYTE_PROGRAM`, :data:`WORK`); all else (shim,
    PID 1, a monitor) manages it. A VM's one process is told apart by its mappings.

    Raises:
        Unavailable: its processes cannot be seen, read, or told apart.
    """
    pids = box.host_pids()
    if not pids:
        raise Unavailable(
            "the processes that serve it cannot be seen from here",
            "replay a recording: the engine runs under another kernel",
        )
    if is_vm:
        return Weight(_of_vm(pids, spec, emulated=emulated))
    parts = {SHIM: 0, WORKLOAD: 0}
    working = None
    for pid in pids:
        words = memory.command_line(pid)
        part = WORKLOAD if words and words[0] in (FIRST_BYTE_PROGRAM, WORK) else SHIM
        parts[part] += memory.pss_bytes([pid])
        working = pid if words[:1] == (WORK,) else working
    if working is None:
        raise Unavailable(
            "the workload is not among the processes that serve it", "replay a recording"
        )
    return Weight(parts, working)


def _of_vm(pids: tuple[int, ...], spec: Spec, *, emulated: bool) -> dict[str, int]:
    found = memory.vm_parts(pids, ram_bytes=spec.memory_mib * MIB, emulated=emulated)
    parts = {EMULATOR: found.emulator, BOOT_FILES: found.boot_files, GUEST_RAM: found.guest_ram}
    return parts | ({CODE_CACHE: found.code_cache} if found.code_cache else {})
