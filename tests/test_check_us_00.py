"""The shell lines of lesson 00 show what the lesson shows: a VM runs 512 bytes, kernels do not."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest
from room import NOTEBOOKS

from vmcompare.engines.programs import boot_sector


def lines() -> list[str]:
    """The lines of the notebook's fold."""
    cells = json.loads(NOTEBOOKS[0].read_text(encoding="utf-8"))["cells"]
    [fold] = [c for c in ("".join(c["source"]) for c in cells) if "Check us" in c]
    found = re.search(r"```sh\n(.*?)```", fold, re.DOTALL)
    assert found
    assert "exit codes are 126" in fold
    return found[1].splitlines()


def run(line: str, place: Path) -> str:
    done = subprocess.run(
        ["sh", "-c", f"exec 2>&1; {line}"], cwd=place, capture_output=True, timeout=120, check=False
    )
    return done.stdout.decode(errors="replace")


def made(place: Path) -> bytes:
    for line in lines()[:2]:
        assert run(line, place) == ""
    return (place / "boot.bin").read_bytes()


def test_they_make_the_boot_sector_of_the_lesson_and_a_kernel_refuses_it(tmp_path: Path) -> None:
    image, ours = made(tmp_path), boot_sector.image("Hello")
    assert len(image) == len(ours)
    assert image[: boot_sector.CODE_BYTES + 5] == ours[: boot_sector.CODE_BYTES + 5]
    assert image[-2:] == ours[-2:]
    said = run(lines()[2], tmp_path)
    assert "Exec format error" in said
    assert said.endswith("exit code 126\n")


@pytest.mark.docker
@pytest.mark.qemu
def test_a_container_refuses_it_and_a_vm_prints_its_message(tmp_path: Path) -> None:
    listed = ["docker", "images", "-q", "vmcompare/alpine"]
    image = subprocess.run(listed, capture_output=True, text=True, check=True).stdout.split()
    if not image:
        pytest.skip("no lesson has been measured here yet, so its image is not there")
    made(tmp_path)
    *_, in_container, in_vm = lines()
    said = run(in_container.replace(" alpine ", f" {image[0]} "), tmp_path)
    assert "Exec format error" in said
    assert said.endswith("exit code 126\n")
    assert "Hello" in run(in_vm, tmp_path)
