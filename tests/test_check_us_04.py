"""The shell lines of lesson 04 give the number of the lesson, within the factor that it names."""

from __future__ import annotations

import statistics
import subprocess
import time

import pytest
from shell_lines import alpine_image, shell_lines

from vmcompare.engines.docker import DockerLauncher
from vmcompare.sandbox import Event, Phase, Spec


def lines() -> list[str]:
    """The lines, and the words around them, of the notebook's fold."""
    return shell_lines("04", "within a factor of 4")


@pytest.mark.docker
def test_docker_run_by_hand_agrees_with_the_lesson_s_starts_within_the_factor_it_names() -> None:
    """Both in turn, so that whatever else this computer does slows both."""
    [_, make, run, _] = lines()
    launcher, begin = DockerLauncher(), f"image={alpine_image()}; "
    launcher.image(Spec())
    subprocess.run(["bash", "-c", begin + make], capture_output=True, check=True)
    by_hand_s, ours_s = [], []
    for _ in range(5):
        began_s = time.perf_counter()
        subprocess.run(["bash", "-c", begin + run], capture_output=True, check=True)
        by_hand_s.append(time.perf_counter() - began_s)
        events: list[Event] = []
        with launcher.open(Spec(), events.append):
            at_ns = {event.phase: event.t_ns for event in events}
        ours_s.append((at_ns[Phase.FIRST_BYTE] - at_ns[Phase.OPEN]) / 1e9)
    lesson_s = statistics.median(ours_s)
    assert lesson_s / 4 < statistics.median(by_hand_s) < lesson_s * 4
