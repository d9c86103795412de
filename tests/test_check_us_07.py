"""The shell lines of lesson 07 give the number of its figure, within the factor that it names."""

from __future__ import annotations

import re
import subprocess

import pytest
from shell_lines import alpine_image, shell_lines

from vmcompare.evidence.recording import read, recordings
from vmcompare.evidence.units import MIB
from vmcompare.measuring.experiment import recordings_dir


@pytest.mark.docker
@pytest.mark.alone
def test_what_docker_stats_tells_agrees_with_the_recording() -> None:
    [_, _, *lines] = shell_lines("07", "within a factor of 1.3")
    script = "\n".join([f"image={alpine_image()}", *lines])
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    mib = {"K": 1 / 1024, "M": 1.0, "G": 1024.0}
    told = re.findall(r"([\d.]+)([KMG])iB /", done.stdout)
    held, after = (float(number) * mib[unit] for number, unit in told)
    [path] = recordings(recordings_dir("elasticity"), "elasticity")
    rows = read(path).frame()
    rows = rows[(rows["metric"] == "host_bytes") & (rows["platform"] == "container")]
    medians = rows.groupby("phase")["value"].median() / MIB
    came_back = medians["peak"] - medians["freed"]
    assert came_back / 1.3 < held - after < came_back * 1.3
