"""A program made for Windows: whole to those who know the format, and no program to Linux."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from vmcompare.engines.programs import windows_program


@pytest.fixture
def program(tmp_path: Path) -> Path:
    path = tmp_path / "program.exe"
    path.write_bytes(windows_program.executable())
    path.chmod(0o755)
    return path


@pytest.mark.skipif(sys.platform != "win32", reason="for Windows")
def test_windows_runs_it(program: Path) -> None:
    assert subprocess.run([program], check=False).returncode == windows_program.EXIT_CODE


@pytest.mark.skipif(shutil.which("objdump") is None, reason="objdump is not installed")
def test_a_tool_that_knows_the_format_finds_its_two_instructions(program: Path) -> None:
    read = ["objdump", "-f", "-d", str(program)]
    said = subprocess.run(read, capture_output=True, text=True, check=True).stdout
    assert "pei-x86-64" in said
    assert "start address 0x0000000140001000" in said
    assert "mov    $0x2a,%eax" in said
    assert "ret" in said


@pytest.mark.skipif(sys.platform != "linux", reason="for Linux")
def test_linux_does_not_take_it_for_a_program(program: Path) -> None:
    with pytest.raises(OSError, match="Exec format error"):
        subprocess.run([program], check=False)
