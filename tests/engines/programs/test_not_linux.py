"""A kernel that is not Linux, and a program made for Windows: who starts them, and who does not."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from vmcompare.engines.programs import not_linux
from vmcompare.errors import Unavailable
from vmcompare.sandbox import OTHER_KERNEL, Event, Machine, Phase, Platform, Spec


@pytest.fixture
def program(tmp_path: Path) -> Path:
    path = tmp_path / "program.exe"
    path.write_bytes(not_linux.windows_program())
    path.chmod(0o755)
    return path


@pytest.mark.skipif(sys.platform != "win32", reason="for Windows")
def test_windows_runs_the_program(program: Path) -> None:
    assert subprocess.run([program], check=False).returncode == not_linux.EXIT_CODE


@pytest.mark.skipif(shutil.which("objdump") is None, reason="objdump is not installed")
def test_a_tool_that_knows_the_format_finds_its_two_instructions(program: Path) -> None:
    read = ["objdump", "-f", "-d", str(program)]
    said = subprocess.run(read, capture_output=True, text=True, check=True).stdout
    assert "pei-x86-64" in said
    assert "start address 0x0000000140001000" in said
    assert "mov    $0x2a,%eax" in said
    assert "ret" in said


@pytest.mark.skipif(sys.platform != "linux", reason="for Linux")
def test_linux_does_not_take_the_other_for_a_program(program: Path) -> None:
    with pytest.raises(OSError, match="Exec format error"):
        subprocess.run([program], check=False)


@pytest.mark.qemu
def test_a_vm_starts_the_kernel_which_prints_its_message() -> None:
    from vmcompare.engines.qemu import launchers

    events: list[Event] = []
    spec = Spec(image=OTHER_KERNEL, machine=Machine.PC)
    with launchers()[Platform.VM_DIRECT].open(spec, events.append) as box:
        assert not_linux.MESSAGE in box.console()
        with pytest.raises(Unavailable, match="runs no commands"):
            box.run(["true"])
    assert events[-2].phase is Phase.FIRST_BYTE


@pytest.mark.skipif(sys.platform != "linux", reason="for Linux")
def test_linux_does_not_let_the_kernel_print(tmp_path: Path) -> None:
    file = tmp_path / "kernel.elf"
    file.write_bytes(not_linux.kernel())
    file.chmod(0o755)
    done = subprocess.run(["sh", "-c", '"$0"', file], capture_output=True, timeout=20, check=False)
    segmentation_fault, no_32_bit_programs = 128 + signal.SIGSEGV, 126
    assert done.returncode in (segmentation_fault, no_32_bit_programs)
    assert done.stdout == b""
