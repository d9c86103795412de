"""The tiny program, run for real on this host."""

from __future__ import annotations

import platform
import subprocess
import sys
from pathlib import Path

import pytest

from vmcompare.engines.programs.first_byte import STAMP, counting_elf, elf, stamp
from vmcompare.errors import Unavailable
from vmcompare.sandbox import FIRST_BYTE

linux = pytest.mark.skipif(sys.platform != "linux", reason="the program is one for Linux")


@pytest.fixture
def program(tmp_path: Path) -> Path:
    path = tmp_path / "first-byte"
    path.write_bytes(elf(platform.machine()))
    path.chmod(0o755)
    return path


@linux
def test_it_says_one_byte_and_waits_for_the_end_of_its_input(program: Path) -> None:
    with subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.read(1) == FIRST_BYTE
        process.stdin.write(b"anything " * 1000)  # more than it reads at once: it keeps waiting
        process.stdin.flush()
        assert process.poll() is None
        process.stdin.close()
        assert process.wait(10) == 0
        assert process.stdout.read() == b""


@linux
def test_it_ends_at_once_where_there_is_nothing_to_wait_for(program: Path) -> None:
    done = subprocess.run([program], stdin=subprocess.DEVNULL, capture_output=True, timeout=10)
    assert (done.returncode, done.stdout, done.stderr) == (0, FIRST_BYTE, b"")


@linux
@pytest.mark.skipif(platform.machine() != "x86_64", reason="it counts on x86-64")
def test_the_counting_one_says_its_time_stamp_behind_the_byte(tmp_path: Path) -> None:
    program = tmp_path / "counting"
    program.write_bytes(counting_elf("x86_64"))
    program.chmod(0o755)
    said = [
        subprocess.run([program, "x"], stdin=subprocess.DEVNULL, capture_output=True, timeout=10)
        for _ in range(2)
    ]
    stamps = [STAMP.fullmatch(done.stdout) for done in said]
    assert stamps[0] is not None
    assert stamps[1] is not None
    assert 0 < stamp(stamps[0]) < stamp(stamps[1])
    with pytest.raises(Unavailable, match="counting"):
        counting_elf("arm64")


@pytest.mark.parametrize(
    ("machine", "number"), [("x86_64", 62), ("AMD64", 62), ("aarch64", 183), ("arm64", 183)]
)
def test_every_name_of_a_processor_gives_its_program(machine: str, number: int) -> None:
    program = elf(machine)
    assert program[:4] == b"\x7fELF"
    assert int.from_bytes(program[18:20], "little") == number
    assert program.endswith(FIRST_BYTE)


def test_another_processor_is_refused_with_a_next_step() -> None:
    with pytest.raises(Unavailable) as caught:
        elf("riscv64")
    assert "riscv64" in caught.value.what
    assert caught.value.next_step
