"""The beating program, run for real on this host; its arm64 twin is looked at word by word."""

from __future__ import annotations

import platform
import subprocess
import sys
import time
from pathlib import Path

import pytest

from vmcompare.engines.programs import heartbeat

linux = pytest.mark.skipif(sys.platform != "linux", reason="the program is one for Linux")


@pytest.fixture
def program(tmp_path: Path) -> Path:
    path = tmp_path / "heartbeat"
    path.write_bytes(heartbeat.elf(platform.machine()))
    path.chmod(0o755)
    return path


@linux
def test_it_beats_with_its_letter_and_waits_in_between(program: Path) -> None:
    began = time.perf_counter_ns()
    with subprocess.Popen([program, "Better"], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        beats = b"".join(process.stdout.read(1) for _ in range(6))
        took = time.perf_counter_ns() - began
        assert process.poll() is None
        process.stdout.close()
        process.wait(10)
    assert beats == b"B" * 6
    assert took >= 5 * heartbeat.PAUSE_NS  # it never beats faster, however idle the computer is


@linux
def test_it_ends_when_nobody_listens_any_more(program: Path) -> None:
    with subprocess.Popen([program, "A"], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.read(1)
        process.stdout.close()
        assert process.wait(10) is not None


@linux
def test_a_write_that_fails_ends_it_even_where_no_signal_does(program: Path) -> None:
    # As process 1 of a container it would be spared SIGPIPE; /dev/full fails without a signal.
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run([program, "A"], stdout=full, check=False, timeout=10)
    assert done.returncode == 0


@linux
def test_without_a_letter_it_ends_at_once(program: Path) -> None:
    done = subprocess.run([program], capture_output=True, check=False, timeout=10)
    assert (done.returncode, done.stdout) == (0, b"")


@pytest.mark.parametrize(
    ("machine", "number"), [("x86_64", 62), ("AMD64", 62), ("aarch64", 183), ("arm64", 183)]
)
def test_every_name_of_a_processor_gives_its_program(machine: str, number: int) -> None:
    program = heartbeat.elf(machine)
    assert program[:4] == b"\x7fELF"
    assert int.from_bytes(program[18:20], "little") == number
    assert int.from_bytes(program[-8:], "little") == heartbeat.PAUSE_NS
    assert int.from_bytes(program[-16:-8], "little") == 0


def test_the_jumps_of_the_arm64_program_lead_where_they_should() -> None:
    """Offsets by the rules of the Arm Architecture Reference Manual (B, B.cond, ADR)."""
    code = heartbeat.elf("arm64")[-16 - 17 * 4 : -16]
    words = [int.from_bytes(code[i : i + 4], "little") for i in range(0, len(code), 4)]
    beat, done, pause = 1, 13, 17
    condition, place, back = words[7], words[9], words[12]
    assert 7 + ((condition >> 5) & 0x7FFFF) == done
    assert 9 + ((place >> 5) & 0x7FFFF) == pause  # in words: immlo is zero
    assert 12 + (back & 0x3FFFFFF) - (1 << 26) == beat
