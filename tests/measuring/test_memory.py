"""Memory of processes: parts told apart in a captured QEMU, control groups of both versions."""

from __future__ import annotations

import os
import platform
import re
from pathlib import Path
from typing import Any

import psutil
import pytest

from vmcompare.errors import Unavailable
from vmcompare.measuring import memory

SMAPS = (Path(__file__).parent.parent / "captured" / "qemu-7.2-tcg.smaps").read_text()
"""The larger mappings of a real one: QEMU 7.2 under TCG, ``-M pc -m 512``, a direct boot."""

FILES = {
    "/usr/bin/qemu-system-x86_64",
    "/cache/images/vmlinux-a2cfad74b26124fa.elf",
    "/cache/images/full-c0b2b059679839bb.cpio",
}
RAM = 512 * 1024 * 1024
KIB = 1024

linux = pytest.mark.skipif(platform.system() != "Linux", reason="/proc is Linux")


def maps(text: str = SMAPS) -> list[Any]:
    """The mappings in the text of ``/proc/<pid>/smaps``, as psutil reads them."""
    with pytest.MonkeyPatch.context() as patched:
        smaps = text.strip().encode()
        patched.setattr("psutil._pslinux.Process._read_smaps_file", lambda _: smaps)
        return psutil.Process().memory_maps(grouped=False)


def parts(text: str = SMAPS, *, ram: int = RAM, emulated: bool = True) -> memory.VmmParts:
    return memory.vmm_parts(maps(text), ram_bytes=ram, files=FILES, emulated=emulated)


def without(text: str, *heads: str) -> str:
    """``text`` without the mappings whose first line contains one of ``heads``."""
    blocks = re.split(r"(?m)^(?=[0-9a-f]+-[0-9a-f]+ )", text)
    return "".join(b for b in blocks if not any(head in b.split("\n")[0] for head in heads))


def test_guest_ram_code_cache_and_boot_files_are_told_apart_from_the_emulator() -> None:
    found = parts()
    assert found.guest_ram == 126976 * KIB
    assert found.code_cache == 65536 * KIB
    assert found.boot_files == (35584 + 22728) * KIB
    total = sum(m.pss for m in maps())
    assert found.emulator == total - (126976 + 65536 + 35584 + 22728) * KIB
    assert found.emulator > 0


def test_the_emulators_own_program_is_no_boot_file_though_it_is_on_its_command_line() -> None:
    lean = without(SMAPS, ".elf", ".cpio")
    assert parts(lean).boot_files == 0


def test_a_cache_that_is_written_and_run_under_two_addresses_is_counted_once() -> None:
    split = without(SMAPS, "rwxp")
    for address, permissions in (
        ("7fc3a8000000-7fc3e8000000", "rw-s"),
        ("7fc400000000-7fc440000000", "r-xs"),
    ):
        split += (
            f"{address} {permissions} 00000000 00:01 77   /memfd:tcg-jit (deleted)\n"
            "Size:            1048576 kB\n"
            "Pss:               32768 kB\n"
        )  # fmt: skip
    assert parts(split).code_cache == 65536 * KIB
    assert parts(split).guest_ram == 126976 * KIB


def test_guest_ram_in_a_memory_file_is_found_too() -> None:
    named = SMAPS.replace(
        "7fc37fe00000-7fc39fe00000 rw-p 00000000 00:00 0 ",
        "7fc37fe00000-7fc39fe00000 rw-s 00000000 00:01 9   /memfd:memory-backend-memfd (deleted)",
    )
    assert named != SMAPS
    assert parts(named).guest_ram == 126976 * KIB


def test_guest_ram_that_is_not_found_is_unavailable_and_not_zero() -> None:
    with pytest.raises(Unavailable, match="guest’s memory cannot be told apart"):
        parts(ram=2 * RAM)


def test_under_emulation_a_code_cache_must_be_there_and_with_hardware_it_need_not() -> None:
    without_cache = without(SMAPS, "rwxp")
    with pytest.raises(Unavailable, match="code cache cannot be told apart"):
        parts(without_cache)
    assert parts(without_cache, emulated=False).code_cache == 0


def test_the_code_cache_does_not_count() -> None:
    found = parts()
    total = sum(m.pss for m in maps())
    assert found.pss_bytes == total - 65536 * KIB


def test_the_processes_of_a_vm_are_taken_apart_one_by_one_and_added_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = maps()
    monkeypatch.setattr(psutil.Process, "memory_maps", lambda _, **__: found)
    monkeypatch.setattr(memory, "command_line", lambda _: tuple(FILES))
    two = memory.vm_parts([os.getpid()] * 2, ram_bytes=RAM, emulated=True)
    assert two.pss_bytes == 2 * parts().pss_bytes
    assert two.code_cache == 2 * 65536 * KIB


@linux
def test_memory_of_processes_is_summed_and_never_guessed() -> None:
    assert memory.pss_bytes([os.getpid()]) > 1024 * 1024
    assert memory.pss_bytes([]) == 0
    with pytest.raises(Unavailable, match="has just ended"):
        memory.pss_bytes([os.getpid(), 2**22 - 1])


@linux
def test_processor_time_and_names_are_read_of_real_processes() -> None:
    assert memory.cpu_s([os.getpid()]) > 0
    with pytest.raises(Unavailable, match="has just ended"):
        memory.cpu_s([2**22 - 1])
    assert memory.command_line(2**22 - 1) == ()
    assert memory.command_line(os.getpid())
    assert memory.available_bytes() > 0
