"""The shell lines of lesson 04 give the number of the lesson, within the factor that it names."""

from __future__ import annotations

import json
import re
import statistics
import subprocess
import time

import pytest
from room import NOTEBOOKS

from vmcompare.evidence.recording import read, recordings
from vmcompare.measuring.experiment import recordings_dir


def lines() -> list[str]:
    """The lines, and the words around them, of the notebook's fold."""
    [notebook] = [path for path in NOTEBOOKS if path.stem == "04-boot-speed"]
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    [fold] = [c for c in ("".join(c["source"]) for c in cells) if "Check us" in c]
    found = re.search(r"```sh\n(.*?)```", fold, re.DOTALL)
    assert found
    assert "within a factor of 4" in fold
    return found[1].splitlines()


@pytest.mark.docker
def test_docker_run_by_hand_agrees_with_the_recording_within_the_factor_it_names() -> None:
    [_, make, run, _] = lines()
    listed = ["docker", "images", "-q", "vmcompare/alpine"]
    image = subprocess.run(listed, capture_output=True, text=True, check=True).stdout.split()
    if not image:
        pytest.skip("no lesson has been measured here yet, so its image is not there")
    begin = f"image={image[0]}; "
    subprocess.run(["bash", "-c", begin + make], capture_output=True, check=True)
    took_s = []
    for _ in range(5):
        began_s = time.perf_counter()
        subprocess.run(["bash", "-c", begin + run], capture_output=True, check=True)
        took_s.append(time.perf_counter() - began_s)
    [path] = recordings(recordings_dir("boot_speed"), "boot_speed")
    frame = read(path).frame()
    kept = (frame["metric"] == "start_to_first_byte_s") & (frame["layer"] == "product")
    recorded_s = frame[kept & ~frame["is_warmup"]]["value"].median()
    assert recorded_s / 4 < statistics.median(took_s) < recorded_s * 4
