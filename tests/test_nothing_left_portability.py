"""Nothing left when a run of lesson 06 is killed or stopped while something is moved."""

from __future__ import annotations

import os
import shutil
import signal
import time
from pathlib import Path

import psutil
import pytest
from test_nothing_left import all_gone, labelled, places  # noqa: F401 - the fixture is used by its name

from vmcompare.engines import cleanup
from vmcompare.measuring import session
from vmcompare.sandbox import Platform

ENGINE = "with-files"  # the RAM disk of a guest that has Docker in it
NETWORK = "a network of two containers"
CASES = [
    pytest.param(Platform.CONTAINER, "container: move", "dockerd", marks=pytest.mark.docker),
    pytest.param(
        Platform.VM_DIRECT, "vm-direct (pc): another kernel", ENGINE,
        marks=[pytest.mark.docker, pytest.mark.qemu],
    ),
    pytest.param(Platform.CONTAINER, "container: network", NETWORK, marks=pytest.mark.docker),
    pytest.param(Platform.VM_DIRECT, "vm-direct (pc): network", "cable", marks=pytest.mark.qemu),
    pytest.param(Platform.CONTAINER, "container (runc): CRIU", "--criu", marks=pytest.mark.docker),
    pytest.param(Platform.VM_DIRECT, "vm-direct (pc): count", "incoming", marks=pytest.mark.qemu),
]  # fmt: skip

pytestmark = pytest.mark.timeout(900)


def in_the_midst(platform: Platform, step: str, word: str, out: Path) -> session.Session:
    """A run in which a process whose command has ``word`` serves what ``step`` needs."""
    if word == "dockerd" and (os.geteuid() != 0 or shutil.which("dockerd") is None):
        pytest.skip("a second engine takes root and dockerd")
    if word == "--criu" and (os.geteuid() != 0 or shutil.which("criu") is None):
        pytest.skip("takes root and CRIU")
    platforms = [platform, Platform.CONTAINER] if word == ENGINE else [platform]
    running = session.start("portability", rounds=1, platforms=platforms, out=out)
    for message in running.messages(timeout_s=300):
        if message.get("what") == step:
            break
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if word == NETWORK and labelled(running.child.pid, "network", "ls"):
            return running  # no process serves a network
        for child in psutil.Process(running.child.pid).children(recursive=True):
            try:
                if any(word in argument for argument in child.cmdline()[:60]):
                    time.sleep(1.0)  # it has come so far that it holds something
                    return running
            except psutil.Error:
                continue
        time.sleep(0.05)
    raise AssertionError(f"{step}: no {word} was started: {running.complaint()}")


def cgroups(pid: int) -> list[str]:
    """Control groups that name the session of process ``pid``."""
    names = (f"vmcompare-{pid}-*", f"*/vmcompare-{pid}-*")
    return [str(path) for name in names for path in cleanup.CGROUP_ROOT.glob(name)]


@pytest.mark.parametrize(("platform", "step", "word"), CASES)
def test_kill_9_amid_a_move_leaves_nothing(
    platform: Platform,
    step: str,
    word: str,
    tmp_path: Path,
    places: Path,  # noqa: F811 - the fixture
) -> None:
    running = in_the_midst(platform, step, word, tmp_path)
    os.kill(running.child.pid, signal.SIGKILL)
    running.child.wait()
    assert all_gone(platform, places, running.child.pid) == []
    assert cgroups(running.child.pid) == []


@pytest.mark.parametrize(("platform", "step", "word"), CASES[:5])
def test_stop_amid_a_move_leaves_nothing(
    platform: Platform,
    step: str,
    word: str,
    tmp_path: Path,
    places: Path,  # noqa: F811 - the fixture
) -> None:
    running = in_the_midst(platform, step, word, tmp_path)
    running.stop()
    assert all_gone(platform, places, running.child.pid) == []
    assert cgroups(running.child.pid) == []
    assert running.recording().ended == "stopped"
