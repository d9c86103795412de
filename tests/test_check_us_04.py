"""The shell lines of lesson 04 give the number of the lesson, within the factor that it names."""

from __future__ import annotations

import statistics
import subprocess
import time

import pytest
from shell_lines import alpine_image, shell_lines

from vmcompare.evidence.recording import read, recordings
from vmcompare.measuring.experiment import recordings_dir


def lines() -> list[str]:
    """The lines, and the words around them, of the notebook's fold."""
    return shell_lines("04", "within a factor of 4")


@pytest.mark.docker
def test_docker_run_by_hand_agrees_with_the_recording_within_the_factor_it_names() -> None:
    [_, make, run, _] = lines()
    image = alpine_image()
    begin = f"image={image}; "
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
