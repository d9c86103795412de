"""Nothing left when a run of lesson 08 is killed or stopped while many copies are opened."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from test_nothing_left import all_gone, places  # noqa: F401 - the fixture is used by its name

from vmcompare.measuring import session
from vmcompare.sandbox import Platform

CASES = [
    pytest.param(Platform.CONTAINER, "container, pre-created × 10", marks=pytest.mark.docker),
    pytest.param(Platform.CONTAINER, "container, cold × 10", marks=pytest.mark.docker),
    pytest.param(Platform.VM_DIRECT, "vm-direct (pc), clone × 10", marks=pytest.mark.qemu),
    pytest.param(Platform.VM_DIRECT, "vm-direct (pc), cold × 2", marks=pytest.mark.qemu),
]

pytestmark = pytest.mark.timeout(900)


def in_the_midst(platform: Platform, step: str, out: Path) -> session.Session:
    """A run in which the copies of ``step`` are being opened."""
    running = session.start("scaling", rounds=1, platforms=[platform], out=out)
    for message in running.messages(timeout_s=300):
        if message.get("what") == step:
            return running
    raise AssertionError(f"{step} was never told: {running.complaint()}")


@pytest.mark.parametrize(("platform", "step"), CASES)
def test_kill_9_amid_many_copies_leaves_nothing(
    platform: Platform,
    step: str,
    tmp_path: Path,
    places: Path,  # noqa: F811 - the fixture
) -> None:
    running = in_the_midst(platform, step, tmp_path)
    os.kill(running.child.pid, signal.SIGKILL)
    running.child.wait()
    assert all_gone(platform, places, running.child.pid) == []


@pytest.mark.parametrize(("platform", "step"), CASES[::2])
def test_stop_amid_many_copies_leaves_nothing(
    platform: Platform,
    step: str,
    tmp_path: Path,
    places: Path,  # noqa: F811 - the fixture
) -> None:
    running = in_the_midst(platform, step, tmp_path)
    running.stop()
    assert all_gone(platform, places, running.child.pid) == []
    assert running.recording().ended == "stopped"
