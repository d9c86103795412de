"""Nothing left behind: `kill -9` in each phase of a container and of a VM, and Stop in some."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from vmcompare.engines import cleanup
from vmcompare.evidence.recording import read
from vmcompare.measuring import session
from vmcompare.paths import state_dir
from vmcompare.sandbox import Phase, Platform

CONTAINER = (Phase.OPEN, Phase.CREATE, Phase.ATTACH, Phase.START, Phase.FIRST_BYTE, Phase.READY,
             Phase.EXIT)  # fmt: skip
VM_DIRECT = (Phase.OPEN, Phase.SPAWN, Phase.FIRMWARE, Phase.KERNEL, Phase.FIRST_BYTE, Phase.READY)

CASES = [
    *(pytest.param(Platform.CONTAINER, p, marks=pytest.mark.docker) for p in CONTAINER),
    *(pytest.param(Platform.VM_DIRECT, p, marks=pytest.mark.qemu) for p in VM_DIRECT),
]
STOPPED = CASES[2::4]
"""Stop is one way out of every phase; ``test_contract`` takes it in each of them."""

GONE_S = 60.0
"""Seconds until all must be gone. Generous: two shared cores; typically it is under two."""


@pytest.fixture(autouse=True)
def places(private_places: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Own temporary files too, so that a leftover is seen and is ours."""
    temporary = private_places / "tmp"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    return temporary


def begin(platform: Platform, out: Path) -> session.Session:
    return session.start("boot_speed", rounds=2, platforms=[platform], out=out)


def until_in(phase: Phase, running: session.Session) -> None:
    for message in running.messages(timeout_s=120):
        if message.get("phase") == phase.value:
            return
    raise AssertionError(f"{phase} was never told: {running.complaint()}")


def ours(run_env: str) -> list[psutil.Process]:
    """Processes that carry this test's temporary directory in their environment."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.pid != os.getpid() and process.environ().get("TMPDIR") == run_env:
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found


def labelled(pid: int, *command: str) -> list[str]:
    """What Docker has that is labelled with its owner ``pid``; a command that lists it."""
    done = subprocess.run(
        ["docker", *command, "-q", "--filter", f"label={cleanup.LABEL}.pid={pid}"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout.split()


def leftovers(platform: Platform, places: Path, pid: int) -> Iterator[str]:
    yield from (f"process {p}" for p in ours(str(places)))
    if platform is Platform.CONTAINER:
        yield from (f"container {name}" for name in labelled(pid, "ps", "-a"))
        yield from (f"network {name}" for name in labelled(pid, "network", "ls"))
        yield from (f"volume {name}" for name in labelled(pid, "volume", "ls"))
    yield from (f"file {path.name}" for path in places.iterdir())
    ledgers = state_dir() / "sessions"
    yield from (f"ledger {path.name}" for path in (ledgers.iterdir() if ledgers.exists() else ()))


def all_gone(platform: Platform, places: Path, pid: int) -> list[str]:
    """What the run of process ``pid`` has left, once it has had its time to go."""
    deadline = time.monotonic() + GONE_S
    while (left := list(leftovers(platform, places, pid))) and time.monotonic() < deadline:
        time.sleep(0.1)
    return left


@pytest.mark.parametrize(("platform", "phase"), CASES)
def test_kill_9_leaves_nothing(
    platform: Platform, phase: Phase, tmp_path: Path, places: Path
) -> None:
    running = begin(platform, tmp_path)
    until_in(phase, running)
    os.kill(running.child.pid, signal.SIGKILL)
    running.child.wait()
    assert all_gone(platform, places, running.child.pid) == []
    assert running.path is not None
    assert read(running.path).ended == ""


@pytest.mark.parametrize(("platform", "phase"), STOPPED)
def test_stop_leaves_nothing(
    platform: Platform, phase: Phase, tmp_path: Path, places: Path
) -> None:
    running = begin(platform, tmp_path)
    until_in(phase, running)
    running.stop()
    assert all_gone(platform, places, running.child.pid) == []
    assert running.recording().ended == "stopped"


@pytest.mark.docker
@pytest.mark.qemu
def test_even_when_the_guardian_is_killed_too_clean_finds_everything(
    tmp_path: Path, places: Path
) -> None:
    running = begin(Platform.VM_DIRECT, tmp_path)
    until_in(Phase.SPAWN, running)
    guardians = [p.pid for p in ours(str(places)) if "vmcompare.engines.cleanup" in p.cmdline()]
    assert guardians
    for pid in [*guardians, running.child.pid]:
        os.kill(pid, signal.SIGKILL)
    running.child.wait()
    subprocess.run([sys.executable, "-m", "vmcompare", "clean"], check=True, capture_output=True)
    assert all_gone(Platform.VM_DIRECT, places, running.child.pid) == []
