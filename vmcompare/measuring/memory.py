"""What processes cost this host in memory, told apart by what it is for. Linux only.

Three ways of counting, none of which is the other: the proportional set size (PSS) of the processes
that serve an instance, its control group's own account, and what the host as a whole has left.
Sources: ``proc(5)`` (smaps, meminfo), read by psutil. Whatever cannot be read is
:class:`Unavailable`, never zero.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from typing import Any

import psutil

from vmcompare.errors import Unavailable
from vmcompare.sandbox import Sandbox

_SLACK_BYTES = 8 * 1024 * 1024
_LEAST_CODE_BYTES = 16 * 1024 * 1024


@contextmanager
def _asking(what: str) -> Iterator[None]:
    """What psutil raises of a serving process, as ``Unavailable``; ``what`` is asked of it."""
    try:
        yield
    except psutil.AccessDenied as error:
        raise Unavailable(
            f"the {what} of the serving processes cannot be read", "run the recording as root"
        ) from error
    except psutil.NoSuchProcess as error:
        raise Unavailable(
            "a serving process has just ended", "run the measurement again"
        ) from error
    except AttributeError as error:  # psutil has it on Linux only
        raise Unavailable(
            f"this system does not tell the {what} of a process",
            "replay a recording made on Linux",
        ) from error


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


def vmm_parts(
    found: Sequence[Any], *, ram_bytes: int, files: Collection[str], emulated: bool
) -> VmmParts:
    """Tell apart what the mappings of a QEMU process (``psutil.Process.memory_maps``) are for.

    Guest RAM is the anonymous (or memfd) mapping as long as the memory the guest was given; the
    code cache is anonymous and executable, or, where the translator writes and runs it under two
    addresses (``split-wx``), the two mappings of the memfd ``tcg-jit``. ``files`` are the paths on
    the process's command line; if ``emulated`` there must be a code cache.

    Raises ``Unavailable`` where the guest's RAM, or a code cache that must be there, is not found.
    """
    ram = [m for m in found if _is_ram(m, ram_bytes)]
    code = [m for m in found if _is_code(m)]
    if not ram or (emulated and not code):
        lacking = "code cache" if ram else "guest’s memory"
        raise Unavailable(
            f"the {lacking} cannot be told apart in QEMU’s mappings",
            "replay a recording, and report this QEMU’s version",
        )
    guest: int = max(m.pss for m in ram)
    programs = {m.path for m in found if "x" in m.perms}  # the emulator itself, libraries
    booted = [m for m in found if m.path in files and m.path not in programs]
    rest = _total(found) - guest - _total(booted) - _total(code)
    return VmmParts(guest, _total(booted), _total(code), rest)


def vm_parts(pids: Iterable[int], *, ram_bytes: int, emulated: bool) -> VmmParts:
    """:func:`vmm_parts` of the processes that serve one VM, added up. Raises ``Unavailable``."""
    found = []
    for pid in pids:
        with _asking("memory"):
            maps: Sequence[Any] = psutil.Process(pid).memory_maps(grouped=False)
        # QEMU's option lists double a comma within a path.
        files = {word.replace(",,", ",") for word in command_line(pid)}
        found.append(vmm_parts(maps, ram_bytes=ram_bytes, files=files, emulated=emulated))
    return VmmParts(*map(sum, zip(*map(astuple, found), strict=True)))


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
    with _asking("memory"):
        return sum(int(psutil.Process(pid).memory_full_info().pss) for pid in pids)


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
        with _asking("processor time"):
            used = psutil.Process(pid).cpu_times()
        total_s += used.user + used.system
        if with_ended:
            total_s += used.children_user + used.children_system
    return total_s


def own_children_cpu_s() -> float:
    """Processor seconds of this process's children that have ended, with what they waited for."""
    import resource  # finer than psutil; not on Windows, where nothing of this is measured

    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def available_bytes() -> int:
    """What could still be given to programs without swapping (``MemAvailable``), in bytes."""
    return int(psutil.virtual_memory().available)


_UNNAMED = "[anon]"  # what psutil calls a mapping without a name


def _is_ram(found: Any, ram_bytes: int) -> bool:
    unnamed = found.path.startswith((_UNNAMED, "/memfd:", "/dev/zero", "[anon:"))
    fits = ram_bytes <= found.size < ram_bytes + _SLACK_BYTES
    return unnamed and fits and found.perms.startswith("rw-") and not _is_code(found)


def _is_code(found: Any) -> bool:
    if "tcg-jit" in found.path:
        return True
    return "x" in found.perms and found.path == _UNNAMED and found.size > _LEAST_CODE_BYTES


def _total(found: Iterable[Any]) -> int:
    return sum(m.pss for m in found)
