"""The shell lines of lesson 01 give the numbers of its table, within the factors that it names."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pandas as pd
import pytest
from shell_lines import alpine_image, shell_lines

from vmcompare.engines.images import alpine
from vmcompare.evidence.recording import read, recordings
from vmcompare.evidence.statistics import fitted_ramps
from vmcompare.evidence.units import MIB
from vmcompare.measuring.experiment import recordings_dir


def lines() -> list[str]:
    """The lines of the notebook's fold."""
    found = shell_lines("01", "within a factor of 2", "within a factor of 3")
    return [line.replace("check-us", f"check-us-{os.getpid()}") for line in found]


def bash(*script: str, cwd: Path) -> list[float]:
    """The numbers that the lines print, in MiB."""
    done = subprocess.run(
        ["bash", "-c", "\n".join(script)], capture_output=True, text=True, check=True, cwd=cwd
    )
    return [float(line) for line in done.stdout.splitlines()]


def recorded(**where: object) -> pd.DataFrame:
    [path] = recordings(recordings_dir("guest_os"), "guest_os")
    rows = read(path).frame()
    for name, value in where.items():
        rows = rows[rows[name] == value]
    return rows


@pytest.mark.docker
@pytest.mark.skipif(os.geteuid() != 0, reason="the memory of Docker’s shims is for root to read")
def test_one_more_container_by_hand_agrees_with_the_recording(tmp_path: Path) -> None:
    [_, pss, pids, two, six, remove, _] = lines()
    image = alpine_image()
    try:
        before, after = bash(f"image={image}", pss, pids, two, six, cwd=tmp_path)
    finally:
        bash(remove, cwd=tmp_path)
    by_hand_mib = (after - before) / 4
    ramps = fitted_ramps(recorded(platform="container", layer="product", metric="pss_bytes"))
    one_more_mib = sorted(ramp.slope for ramp in ramps.values())[len(ramps) // 2] / MIB
    assert one_more_mib / 2 < by_hand_mib < one_more_mib * 2


@pytest.mark.qemu
@pytest.mark.timeout(900)
@pytest.mark.skipif(os.uname().machine != "x86_64", reason="the line starts an x86-64 VM")
def test_one_vm_by_hand_agrees_with_the_recording(tmp_path: Path) -> None:
    [_, pss, *_, vm] = lines()
    files = alpine.sources()
    try:
        [by_hand_mib] = bash(f"kernel={files.kernel} initrd={files.initrd}", pss, vm, cwd=tmp_path)
    finally:
        bash("if [ -e vm.pid ]; then kill $(cat vm.pid) || true; fi", cwd=tmp_path)
    direct = recorded(platform="vm-direct", phase="size", mem_limit_mib=512)
    cache = recorded(platform="vm-direct", phase="translator’s code cache", rep=1)
    one_mib = (direct["value"].median() + cache["value"].median()) / MIB
    assert one_mib / 3 < by_hand_mib < one_mib * 3
