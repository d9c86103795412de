"""Nothing left when a run of lesson 05 is killed or stopped, with each set of instances."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from test_nothing_left import all_gone, places  # noqa: F401 - the fixture is used by its name

from vmcompare.sandbox import Platform

HOSTING, LIMITED = "opening their VM", "container with limits"
CASES = [
    ("boundaries", ("container",), "boundaries: container"),
    ("boundaries", ("two networks",), "two networks"),
    ("boundaries", ("two VMs",), "two VMs"),
    ("guest_containers", ("a guest", "--privileged"), "in the guest: --privileged"),
    ("kernel_panic", (), HOSTING),
    ("kernel_panic", (), "faulty VM panics"),
    ("kernel_panic", (), "what became of them"),
    ("noisy_neighbour", (HOSTING, LIMITED), "container with limits"),
    ("noisy_neighbour", ("opening VM", "opening sibling", ": VM"), ": VM"),
    ("noisy_neighbour", ("Docker",), "Docker’s container"),
    ("noisy_neighbour", ("disk writer, vm",), "disk writer, vm-direct"),
]
"""Part, the steps that are done at all (to be quick), and the step in whose midst it ends.

One for each set of instances that the host has at a time: what goes on in them changes nothing."""


def wants_docker(part: str, kept: tuple[str, ...]) -> bool:
    return part == "boundaries" or "Docker" in kept


PARAMETERS = [
    pytest.param(*case, marks=[pytest.mark.qemu, *([pytest.mark.docker] * wants_docker(*case[:2]))])
    for case in CASES
]
STOPPED = PARAMETERS[1::3]
"""Stop is the same way out of every step; so a step of each part stands for all of them."""

pytestmark = pytest.mark.timeout(900)


def until(words: str, out: Path, part: str, kept: tuple[str, ...]) -> subprocess.Popen[str]:
    """A run that is in the midst of a step."""
    program = Path(__file__).with_name("isolation_run.py")
    child = subprocess.Popen(
        [sys.executable, str(program), str(out), part, *kept],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert child.stdout is not None
    for line in child.stdout:
        if words in line:
            time.sleep(0.5)
            return child
    raise AssertionError(f"{words!r} never came")


def platform_of(part: str, kept: tuple[str, ...]) -> Platform:
    return Platform.CONTAINER if wants_docker(part, kept) else Platform.VM_DIRECT


@pytest.mark.parametrize(("part", "kept", "words"), PARAMETERS)
def test_kill_9_leaves_nothing(
    part: str, kept: tuple[str, ...], words: str, tmp_path: Path,
    places: Path,  # noqa: F811
) -> None:  # fmt: skip
    child = until(words, tmp_path / "out", part, kept)
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    assert all_gone(platform_of(part, kept), places, child.pid) == []


@pytest.mark.parametrize(("part", "kept", "words"), STOPPED)
def test_stop_leaves_nothing(
    part: str, kept: tuple[str, ...], words: str, tmp_path: Path,
    places: Path,  # noqa: F811
) -> None:  # fmt: skip
    child = until(words, tmp_path / "out", part, kept)
    assert child.stdin is not None
    child.stdin.close()  # as the kernel of a notebook that dies does it
    child.wait(120)
    assert all_gone(platform_of(part, kept), places, child.pid) == []
