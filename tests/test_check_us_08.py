"""The shell lines of lesson 08 give the number of its figure, within the factor that it names."""

from __future__ import annotations

import json
import re
import subprocess

import pytest
from room import NOTEBOOKS

from vmcompare.evidence.recording import read, recordings
from vmcompare.measuring.experiment import recordings_dir


def lines() -> list[str]:
    """The lines of the notebook's fold."""
    [notebook] = [path for path in NOTEBOOKS if path.stem == "08-scaling-out"]
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    [fold] = [c for c in ("".join(c["source"]) for c in cells) if "Check us" in c]
    found = re.search(r"```sh\n(.*?)```", fold, re.DOTALL)
    assert found
    assert "within a factor of 4" in fold
    return found[1].splitlines()


@pytest.mark.docker
def test_five_containers_started_by_hand_agree_with_the_recording() -> None:
    listed = ["docker", "images", "-q", "vmcompare/alpine"]
    image = subprocess.run(listed, capture_output=True, text=True, check=True).stdout.split()
    if not image:
        pytest.skip("no lesson has been measured here yet, so its image is not there")
    [_, _, make, start, remove] = lines()
    script = "\n".join([f"image={image[0]}; TIMEFORMAT=%R", make, start, remove])
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    took_s = float(done.stderr.split()[-1])
    [path] = recordings(recordings_dir("scaling"), "scaling")
    rows = read(path).frame()
    kept = (rows["metric"] == "scale_wall_s") & (rows["phase"] == "5") & ~rows["is_warmup"]
    recorded_s = rows[kept & (rows["warmth"] == "pre-created")]["value"].median()
    assert recorded_s / 4 < took_s < recorded_s * 4
