"""The shell lines of lesson 08 give the number of its figure, within the factor that it names."""

from __future__ import annotations

import subprocess

import pytest
from shell_lines import alpine_image, shell_lines

from vmcompare.evidence.recording import read, recordings
from vmcompare.measuring.experiment import recordings_dir


def lines() -> list[str]:
    """The lines of the notebook's fold."""
    return shell_lines("08", "within a factor of 4")


@pytest.mark.docker
def test_five_containers_started_by_hand_agree_with_the_recording() -> None:
    image = alpine_image()
    [_, _, make, start, remove] = lines()
    script = "\n".join([f"image={image}; TIMEFORMAT=%R", make, start, remove])
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    took_s = float(done.stderr.split()[-1])
    [path] = recordings(recordings_dir("scaling"), "scaling")
    rows = read(path).frame()
    kept = (rows["metric"] == "scale_wall_s") & (rows["phase"] == "5") & ~rows["is_warmup"]
    recorded_s = rows[kept & (rows["warmth"] == "pre-created")]["value"].median()
    assert recorded_s / 4 < took_s < recorded_s * 4
