"""Nothing left when a run of lesson 07 is killed or stopped, memory taken or work under way."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest
from test_nothing_left import all_gone, labelled, places  # noqa: F401 - the fixture is used by its name

from vmcompare.experiments.elasticity.measure import BEFORE_S
from vmcompare.measuring import session
from vmcompare.sandbox import Phase, Platform

CASES = [
    pytest.param(Platform.PROCESS, marks=pytest.mark.slow),
    pytest.param(Platform.CONTAINER, marks=pytest.mark.docker),
    pytest.param(Platform.VM, marks=pytest.mark.qemu),
]

pytestmark = pytest.mark.timeout(900)


def in_the_midst(platform: Platform, out: Path) -> session.Session:
    """A run whose instance is there; the program in it has taken its memory by now."""
    running = session.start("elasticity", rounds=1, platforms=[platform], out=out)
    for message in running.messages(timeout_s=600):
        if message.get("phase") == Phase.FIRST_BYTE.value:
            time.sleep(BEFORE_S + 1.5)
            return running
    raise AssertionError(f"no instance was there: {running.complaint()}")


@pytest.mark.parametrize("platform", CASES)
def test_kill_9_while_memory_is_taken_leaves_nothing(
    platform: Platform,
    tmp_path: Path,
    places: Path,  # noqa: F811 - the fixture
) -> None:
    running = in_the_midst(platform, tmp_path)
    os.kill(running.child.pid, signal.SIGKILL)
    running.child.wait()
    assert all_gone(platform, places, running.child.pid) == []


@pytest.mark.parametrize("platform", CASES[:2])
def test_stop_while_memory_is_taken_leaves_nothing(
    platform: Platform,
    tmp_path: Path,
    places: Path,  # noqa: F811 - the fixture
) -> None:
    running = in_the_midst(platform, tmp_path)
    running.stop()
    assert all_gone(platform, places, running.child.pid) == []
    assert running.recording().ended == "stopped"


@pytest.mark.docker
@pytest.mark.parametrize("end", ["killed", "stopped"])
def test_a_run_that_ends_while_work_is_done_leaves_no_volume(
    end: str,
    tmp_path: Path,
    places: Path,  # noqa: F811 - the fixture
) -> None:
    both = [Platform.PROCESS, Platform.CONTAINER]
    running = session.start("elasticity", rounds=1, platforms=both, out=tmp_path)
    pid = running.child.pid
    working = any(
        message.get("what") == "work" and message.get("phase") == Phase.FIRST_BYTE.value
        and labelled(pid, "volume", "ls")
        for message in running.messages(timeout_s=600)
    )  # fmt: skip
    assert working, running.complaint()
    time.sleep(3.0)  # its files are being written to by now
    if end == "killed":
        os.kill(pid, signal.SIGKILL)
        running.child.wait()
    else:
        running.stop()
    assert all_gone(Platform.CONTAINER, places, pid) == []
