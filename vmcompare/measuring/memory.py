"""What processes cost this host in memory, told apart by what it is for. Linux only.

Three ways of counting, none of which is the other: the proportional set size (PSS) of the processes
that serve an instance, its control group's own account, and what the host as a whole has left.
Sources: ``proc(5)`` (smaps, meminfo, cgroup), the kernel's documentation of both control group
versions. Whatever cannot be read is :class:`Unavailable`, never zero.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import astuple, dataclass
from pathlib import Path

import psutil

from vmcompare.errors import Unavailable
from vmcompare.sandbox import Sandbox

_HEAD = re.compile(r"([0-9a-f]+)-([0-9a-f]+) (\S{4}) \S+ \S+ \d+ *(.*)")
_SLACK_BYTES = 8 * 1024 * 1024
_LEAST_CODE_BYTES = 16 * 1024 * 1024
_UNREADABLE = "the memory of the serving processes cannot be read"
_ENDED = "a serving process has just ended"


@dataclass(frozen=True, slots=True)
class Mapped:
    """One mapping of a process: its extent and PSS in bytes, permissions (``rw-p``) and name."""

    size_bytes: int
    pss_bytes: int
    permissions: str
    name: str


@dataclass(frozen=True, slots=True)
class VmmParts:
    """PSS in bytes of one process that runs a virtual machine, by what it is for.

    Attributes:
        guest_ram: what the guest has touched of the memory it was given.
        boot_files: kernel, RAM disk and other files of its command line that are mapped.
        code_cache: translated guest code; zero unless the processor is emulated.
        emulator: all else: program, libraries, device models, heap. Under emulation also tables of
            the translator, which nothing tells apart.
    """

    guest_ram: int
    boot_files: int
    code_cache: int
    emulator: int

    @property
    def pss_bytes(self) -> int:
        """The metric ``pss_bytes``: all but the translator's code cache."""
        return self.guest_ram + self.boot_files + self.emulator


def mappings(smaps: str) -> Iterator[Mapped]:
    """The mappings in the text of ``/proc/<pid>/smaps``, in its order."""
    head: re.Match[str] | None = None
    for line in smaps.splitlines():
        if found := _HEAD.fullmatch(line.rstrip()):
            head = found
        elif head is not None and line.startswith("Pss:"):
            size = int(head[2], 16) - int(head[1], 16)
            name = head[4].removesuffix("(deleted)").strip()
            yield Mapped(size, int(line.split()[1]) * 1024, head[3], name)


def vmm_parts(smaps: str, *, ram_bytes: int, files: Collection[str], emulated: bool) -> VmmParts:
    """Tell apart what the mappings (``smaps``) of a QEMU process are for.

    Guest RAM is the anonymous (or memfd) mapping as long as the memory the guest was given; the
    code cache is anonymous and executable, or, where the translator writes and runs it under two
    addresses (``split-wx``), the two mappings of the memfd ``tcg-jit``. ``files`` are the paths on
    the process's command line; if ``emulated`` there must be a code cache.

    Raises ``Unavailable`` where the guest's RAM, or a code cache that must be there, is not found.
    """
    found = list(mappings(smaps))
    ram = [m for m in found if _is_ram(m, ram_bytes)]
    code = [m for m in found if _is_code(m)]
    if not ram or (emulated and not code):
        lacking = "code cache" if ram else "guest’s memory"
        raise Unavailable(
            f"the {lacking} cannot be told apart in QEMU’s mappings",
            "replay a recording, and report this QEMU’s version",
        )
    guest = max(ram, key=lambda m: m.pss_bytes)
    programs = {m.name for m in found if "x" in m.permissions}  # the emulator itself, libraries
    booted = [m for m in found if m.name in files and m.name not in programs]
    rest = _total(found) - guest.pss_bytes - _total(booted) - _total(code)
    return VmmParts(guest.pss_bytes, _total(booted), _total(code), rest)


def vm_parts(pids: Iterable[int], *, ram_bytes: int, emulated: bool) -> VmmParts:
    """:func:`vmm_parts` of the processes that serve one VM, added up. Raises ``Unavailable``."""
    found = [
        vmm_parts(
            smaps(pid),
            ram_bytes=ram_bytes,
            # QEMU's option lists double a comma within a path.
            files={word.replace(",,", ",") for word in command_line(pid)},
            emulated=emulated,
        )
        for pid in pids
    ]
    return VmmParts(*map(sum, zip(*map(astuple, found), strict=True)))


def smaps(pid: int) -> str:
    """The text of ``/proc/<pid>/smaps``. Raises ``Unavailable`` if there is none to be read."""
    try:
        text = Path(f"/proc/{pid}/smaps").read_text(encoding="utf-8", errors="replace")
    except PermissionError as error:
        raise Unavailable(_UNREADABLE, "run the recording as root") from error
    except OSError as error:
        raise Unavailable(
            "this system does not tell the memory of a serving process",
            "replay a recording made on Linux",
        ) from error
    if not text:
        raise Unavailable(_ENDED, "run the measurement again")
    return text


def serving(box: Sandbox) -> tuple[int, ...]:
    """The processes of this host that serve an instance. Raises ``Unavailable`` if unseen."""
    if pids := box.host_pids():
        return pids
    raise Unavailable("the processes that serve it cannot be seen from here", "replay a recording")


def pss_bytes(pids: Iterable[int]) -> int:
    """Proportional set size of these processes together, in bytes (Linux: ``smaps_rollup``).

    Pages shared with other processes are divided among them. Raises ``Unavailable``: a missing part
    is never counted as zero.
    """
    total = 0
    for pid in pids:
        try:
            total += int(psutil.Process(pid).memory_full_info().pss)
        except psutil.AccessDenied as error:
            raise Unavailable(_UNREADABLE, "run the recording as root") from error
        except psutil.NoSuchProcess as error:
            raise Unavailable(_ENDED, "run the measurement again") from error
        except AttributeError as error:
            raise Unavailable(
                "this system does not tell the proportional memory of a process",
                "replay a recording made on Linux",
            ) from error
    return total


def command_line(pid: int) -> tuple[str, ...]:
    """The words that started a process; empty if it is gone or keeps them to itself."""
    try:
        return tuple(psutil.Process(pid).cmdline())
    except psutil.Error:
        return ()


def docker_daemons() -> tuple[int, ...]:
    """Processes of this host that serve all of Docker's containers together; may be empty."""
    there = psutil.process_iter(["name"])
    return tuple(sorted(p.pid for p in there if p.info["name"] in ("dockerd", "containerd")))


def cpu_s(pids: Iterable[int], *, with_ended: bool = False) -> float:
    """Processor seconds, user and system, of these processes so far. Raises ``Unavailable``.

    ``with_ended`` adds what their children used that have ended and were waited for.
    """
    total_s = 0.0
    for pid in pids:
        try:
            used = psutil.Process(pid).cpu_times()
        except psutil.Error as error:
            raise Unavailable(
                "the processor time of a serving process cannot be read",
                "run the recording as root",
            ) from error
        total_s += used.user + used.system
        if with_ended:
            total_s += used.children_user + used.children_system
    return total_s


def own_children_cpu_s() -> float:
    """Processor seconds of this process's children that have ended, with what they waited for."""
    import resource  # not on Windows, where nothing of this is measured

    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def available_bytes() -> int:
    """What could still be given to programs without swapping (``MemAvailable``), in bytes."""
    return int(psutil.virtual_memory().available)


def _is_ram(found: Mapped, ram_bytes: int) -> bool:
    unnamed = not found.name or found.name.startswith(("/memfd:", "/dev/zero", "[anon:"))
    fits = ram_bytes <= found.size_bytes < ram_bytes + _SLACK_BYTES
    return unnamed and fits and found.permissions.startswith("rw-") and not _is_code(found)


def _is_code(found: Mapped) -> bool:
    if "tcg-jit" in found.name:
        return True
    return "x" in found.permissions and not found.name and found.size_bytes > _LEAST_CODE_BYTES


def _total(found: Iterable[Mapped]) -> int:
    return sum(m.pss_bytes for m in found)
