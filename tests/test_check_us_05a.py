"""The shell lines of lesson 05a answer what the lesson says that they answer."""

from __future__ import annotations

import re
import subprocess

import pytest
from shell_lines import alpine_image, shell_lines

from vmcompare.evidence.recording import read, recordings
from vmcompare.measuring.experiment import recordings_dir


def lines() -> list[str]:
    """The lines of the notebook's fold."""
    return shell_lines("05a", "they agree exactly")


@pytest.mark.docker
def test_containers_started_by_hand_give_the_answers_of_the_recording() -> None:
    image = alpine_image()

    def said(line: str) -> tuple[bool, str]:
        shell = ["bash", "-c", f"image={image}; {line}"]
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
