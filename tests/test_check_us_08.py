"""The shell lines of lesson 08 give the number of its figure, within the factor that it names."""

from __future__ import annotations

import statistics
import subprocess

import pytest
from shell_lines import alpine_image, shell_lines

from vmcompare.engines.docker import DockerLauncher
from vmcompare.experiments.scaling.measure import Copies
from vmcompare.sandbox import Spec, Start


def lines() -> list[str]:
    """The lines of the notebook's fold."""
    return shell_lines("08", "within a factor of 4")


@pytest.mark.docker
def test_five_containers_started_by_hand_agree_with_five_copies_of_the_lesson() -> None:
    """Both in turn, so that whatever else this computer does slows both."""
    [_, _, make, start, remove] = lines()
    script = "\n".join([f"image={alpine_image()}; TIMEFORMAT=%R", make, start, remove])
    launcher, by_hand_s, lesson_s = DockerLauncher(), [], []
    launcher.image(Spec())
    for _ in range(3):
        done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
        by_hand_s.append(float(done.stderr.split()[-1]))
        with Copies(launcher, Spec(start=Start.PRE_CREATED)) as made:
            lesson_s.append(made.add(5))
    middle_s = statistics.median(lesson_s)
    assert middle_s / 4 < statistics.median(by_hand_s) < middle_s * 4
