"""The example of an experiment of one's own: installed, measured, shown as a handout."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from room import ROOT, Run, handout, run_with

EXAMPLE = ROOT / "examples" / "my_experiment"
NOTEBOOK = EXAMPLE / "my-experiment.ipynb"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the example is installed, as pip does it."""
    target = tmp_path_factory.mktemp("installed")
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, "--target", str(target), str(EXAMPLE)], check=True)
    return target


def run_where(installed: Path, home: Path, env: dict[str, str]) -> Run:
    return run_with({**env, "PYTHONPATH": str(installed)}, home)


@pytest.mark.slow
def test_without_engines_its_handout_shows_the_recording_that_the_package_carries(
    installed: Path, tmp_path: Path, without_engines: dict[str, str]
) -> None:
    run = run_where(installed, tmp_path, without_engines)
    page = handout(run, NOTEBOOK, tmp_path).read_text(encoding="utf-8")
    [recording] = (EXAMPLE / "my_experiment" / "recordings" / "my_experiment").glob("*.jsonl")
    assert f"recorded · run {recording.stem}" in page
    assert "The sleep itself is as long in both" not in page  # nobody has answered yet
    assert "Asking for a command takes longer" in page


@pytest.mark.docker
def test_with_docker_its_handout_shows_what_was_measured_for_it(
    installed: Path, tmp_path: Path
) -> None:
    run = run_where(installed, tmp_path, dict(os.environ))
    page = handout(run, NOTEBOOK, tmp_path).read_text(encoding="utf-8")
    assert "Measured while this page was made" in page


@pytest.mark.slow
def test_its_recording_is_fit_to_be_shared(installed: Path, tmp_path: Path) -> None:
    [recording] = (EXAMPLE / "my_experiment" / "recordings" / "my_experiment").glob("*.jsonl")
    done = run_where(installed, tmp_path, dict(os.environ))(["check", str(recording)])
    assert done.returncode == 0, done.stdout
    assert "good" in done.stdout
