"""The program that works for a known while, run for real on this host."""

from __future__ import annotations

import platform
import resource
import subprocess
from pathlib import Path

import pytest

from vmcompare.engines.programs.workload import Spent, elf, spent

runs_here = pytest.mark.skipif(
    platform.system() != "Linux" or platform.machine() != "x86_64",
    reason="the program is one for Linux on x86-64",
)


@pytest.fixture
def program(tmp_path: Path) -> Path:
    path = tmp_path / "work"
    path.write_bytes(elf("x86_64"))
    path.chmod(0o755)
    return path


@runs_here
@pytest.mark.parametrize("kind", ["s", "f", "c"])
@pytest.mark.parametrize("count", ["0", "7", "250"])
def test_it_works_and_ends_well(program: Path, kind: str, count: str) -> None:
    assert subprocess.run([program, kind, count], check=False, timeout=20).returncode == 0


@runs_here
def test_without_its_arguments_it_ends_at_once(program: Path) -> None:
    assert subprocess.run([program], check=False, timeout=5).returncode == 0


@runs_here
def test_more_forks_are_more_page_faults_and_more_calls_are_not(program: Path) -> None:
    def faults(*argv: str) -> int:
        before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_minflt
        subprocess.run([program, *argv], check=True, timeout=20)
        return resource.getrusage(resource.RUSAGE_CHILDREN).ru_minflt - before

    assert faults("f", "200") > faults("f", "2") + 200
    assert faults("s", "20000") < faults("f", "200")


@runs_here
@pytest.mark.parametrize("kind", ["c", "f"])
def test_it_tells_what_the_kernel_charged_it_and_its_children(program: Path, kind: str) -> None:
    def charged_s(count: str) -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        told = subprocess.run([program, kind, count, "report"], capture_output=True, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        spent_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        assert 0 <= spent(told.stdout).cpu_s <= spent_s
        return spent(told.stdout).cpu_s

    assert charged_s("0") < charged_s("20000000" if kind == "c" else "400")


@runs_here
def test_it_appends_to_a_file_and_waits_for_the_disk(program: Path, tmp_path: Path) -> None:
    written = tmp_path / "file"
    for count in (50, 3):
        done = subprocess.run([program, "d", str(count), written], capture_output=True, check=True)
        assert written.stat().st_size == 4096 * count
        assert spent(done.stdout).wall_s > 0
    nowhere = tmp_path / "no folder" / "file"
    assert subprocess.run([program, "d", "1", nowhere], check=False).returncode == 127


@runs_here
def test_it_runs_another_program_whose_output_goes_nowhere(program: Path, tmp_path: Path) -> None:
    done = subprocess.run([program, "x", "3", "/bin/echo", "hi"], capture_output=True, check=True)
    assert spent(done.stdout).wall_s > 0
    told = tmp_path / "told"
    keeps = ["/bin/sh", "-c", f'echo "$MARK" > {told}']
    subprocess.run([program, "x", "1", *keeps], env={"MARK": "ours"}, check=True)
    assert told.read_text() == "ours\n"  # a run that was killed is cleared away by its mark
    for fails in (["/bin/false"], ["/no/such/program"], []):
        assert subprocess.run([program, "x", "1", *fails], check=False).returncode == 127


@runs_here
def test_the_bytes_it_sends_to_itself_take_time(program: Path) -> None:
    def sent(count: str) -> Spent:
        done = subprocess.run([program, "n", count, "report"], capture_output=True, check=True)
        return spent(done.stdout)

    few, many = sent("1"), sent("4000")
    assert many.wall_s > few.wall_s > 0
    assert many.cpu_s > few.cpu_s


def test_what_is_no_report_is_refused() -> None:
    with pytest.raises(ValueError, match="9 bytes"):
        spent(b"not found")
