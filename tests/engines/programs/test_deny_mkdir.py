"""The last step of a container made by hand, on this computer's own kernel."""

from __future__ import annotations

import platform
import subprocess
import sys
from pathlib import Path

import pytest

from vmcompare.engines.programs import deny_mkdir

on_linux = pytest.mark.skipif(
    sys.platform != "linux" or platform.machine() != "x86_64", reason="needs Linux on x86-64"
)

ASK = """
import errno, os, sys
words = dict(line.split(":", 1) for line in open("/proc/self/status"))
print(words["Seccomp"].strip(), words["NoNewPrivs"].strip(), sys.argv[1:])
for make in (lambda: os.mkdir("d"), lambda: os.mkdir("e", dir_fd=os.open(".", os.O_RDONLY))):
    try:
        make()
        print("made")
    except OSError as error:
        print(errno.errorcode[error.errno])
open("file", "w").close()
print("file made")
"""


@pytest.fixture
def program(tmp_path: Path) -> Path:
    path = tmp_path / "deny-mkdir"
    path.write_bytes(deny_mkdir.elf("x86_64"))
    path.chmod(0o755)
    return path


@on_linux
def test_it_denies_making_directories_and_nothing_else(program: Path, tmp_path: Path) -> None:
    python = Path(sys.executable).resolve()
    asked = [str(program), str(python), "-c", ASK, "one", "two words"]
    said = subprocess.run(asked, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert said.splitlines() == ["2 1 ['one', 'two words']", "EPERM", "EPERM", "file made"]
    assert not (tmp_path / "d").exists()
    assert (tmp_path / "file").exists()


@on_linux
def test_the_environment_is_handed_on(program: Path) -> None:
    said = subprocess.run(
        [str(program), "/usr/bin/env"], env={"COURSE": "02"}, capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    assert said.stdout == "COURSE=02\n"


@on_linux
@pytest.mark.parametrize("words", [[], ["/nowhere/at-all"]])
def test_without_a_program_to_become_it_fails(program: Path, words: list[str]) -> None:
    assert subprocess.run([str(program), *words], check=False).returncode == 126
