"""The shell lines of lesson 05a answer what the lesson says that they answer."""

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
    [notebook] = [path for path in NOTEBOOKS if path.stem == "05a-walls"]
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    [fold] = [c for c in ("".join(c["source"]) for c in cells) if "Check us" in c]
    found = re.search(r"```sh\n(.*?)```", fold, re.DOTALL)
    assert found
    assert "they agree exactly" in fold
    return found[1].splitlines()


@pytest.mark.docker
def test_containers_started_by_hand_give_the_answers_of_the_recording() -> None:
    listed = ["docker", "images", "-q", "vmcompare/alpine"]
    image = subprocess.run(listed, capture_output=True, text=True, check=True).stdout.split()
    if not image:
        pytest.skip("no lesson has been measured here yet, so its image is not there")

    def said(line: str) -> tuple[bool, str]:
        shell = ["bash", "-c", f"image={image[0]}; {line}"]
        done = subprocess.run(shell, capture_output=True, text=True, check=False)
        return done.returncode == 0, done.stdout + done.stderr

    first, *others = lines()
    assert first == "image=alpine"
    default, without, filtered, unfiltered, signal, listed_too = map(said, others)
    [path] = recordings(recordings_dir("isolation"), "isolation")
    frame = read(path).frame()
    asked = frame[(frame["phase"] == "capabilities") & (frame["confinement"] == "")]
    [recorded] = asked[(asked["platform"] == "container") & (asked["layer"] == "product")]["text"]
    assert recorded in default[1]
    assert re.search(r"CapEff:\s0{16}\n/made", without[1])
    assert not filtered[0]
    assert "not permitted" in filtered[1]
    assert not signal[0]
    assert "No such process" in signal[1]
    assert unfiltered == listed_too == (True, "")
