"""The program that takes memory and frees it, run for real on this host."""

from __future__ import annotations

import platform
import subprocess
from pathlib import Path

import psutil
import pytest

from vmcompare.engines.programs.touch_and_free import ASKS, FREED, TOUCHED, elf

runs_here = pytest.mark.skipif(
    platform.system() != "Linux" or platform.machine() != "x86_64",
    reason="the program is one for Linux on x86-64",
)
MIB = 1024 * 1024


@pytest.fixture
def program(tmp_path: Path) -> Path:
    path = tmp_path / "taker"
    path.write_bytes(elf("x86_64"))
    path.chmod(0o755)
    return path


@runs_here
def test_it_holds_what_it_was_told_to_and_then_none_of_it(program: Path) -> None:
    with subprocess.Popen([program, "20", "0", "1"], stdout=subprocess.PIPE) as running:
        try:
            assert running.stdout is not None
            taker = psutil.Process(running.pid)
            assert running.stdout.read(1) == ASKS
            assert running.stdout.read(1) == TOUCHED
            assert 20 * MIB <= taker.memory_info().rss < 22 * MIB
            assert running.stdout.read(1) == FREED
            assert taker.memory_info().rss < 2 * MIB
            assert running.poll() is None
        finally:
            running.kill()


@runs_here
@pytest.mark.parametrize("argv", [[], ["20", "0"], ["999999999", "0", "0"]])
def test_what_it_cannot_do_ends_it_with_an_error(program: Path, argv: list[str]) -> None:
    assert subprocess.run([program, *argv], check=False, timeout=9, capture_output=True).returncode
