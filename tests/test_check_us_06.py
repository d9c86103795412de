"""The shell lines of lesson 06 give the size of its file, within the factor that it names."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from shell_lines import alpine_image, shell_lines

from vmcompare.evidence.recording import read, recordings
from vmcompare.measuring.experiment import recordings_dir


@pytest.mark.docker
def test_an_image_saved_by_hand_agrees_with_the_recording(tmp_path: Path) -> None:
    lines = shell_lines("06", "within a factor of 1.1", "within a factor of 4")
    alpine_image()
    script = "\n".join(lines)
    done = subprocess.run(
        ["bash", "-c", script], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    [path] = recordings(recordings_dir("portability"), "portability")
    rows = read(path).frame()
    sizes = rows[(rows["metric"] == "image_bytes") & (rows["platform"] == "container")]["value"]
    assert sizes.median() / 1.1 < int(done.stdout.split()[-1]) < sizes.median() * 1.1
    assert not list(tmp_path.iterdir())
