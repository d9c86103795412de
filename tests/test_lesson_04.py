"""Lesson 04 from the command line to one offline file: live, and with the engines hidden."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
NOTEBOOK = ROOT / "notebooks" / "04-boot-speed.ipynb"
MOST_BYTES = 400_000


def handout(out: Path, *words: str, env: dict[str, str] | None = None) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "vmcompare", "handout", str(NOTEBOOK), "--out", str(out), *words],
        cwd=ROOT, env=env, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    [page] = out.glob("*.html")
    assert page.name == "04-boot-speed.html"
    return page.read_text(encoding="utf-8")


def recorded_runs() -> set[str]:
    return {path.stem for path in (ROOT / "data" / "recordings" / "boot_speed").glob("*.jsonl")}


def runs_named(page: str) -> set[str]:
    return set(re.findall(r"\d{8}T\d{6}Z-[0-9a-f]{6}", page))


def check_page(page: str) -> None:
    """What holds for the page however it was made."""
    assert len(page.encode()) <= MOST_BYTES
    assert not re.findall(r"""(?:src|href)=["'](?:https?:)?//(?!creativecommons)""", page)
    assert "software emulation" in page
    assert page.count("<img") == len(re.findall(r"<img[^>]*\salt=\"[^\"]{20,}\"", page))
    assert page.count('type="range"') == 2
    assert "Traceback" not in page


def test_with_the_engines_hidden_everything_is_recorded_and_says_so(
    tmp_path: Path, without_engines: dict[str, str]
) -> None:
    page = handout(tmp_path, env=without_engines)
    check_page(page)
    assert runs_named(page) <= recorded_runs()
    assert "recorded" in page
    assert "measured ·" not in page
    assert "Docker is not installed" in page
    assert "next step" in page


def test_a_live_handout_without_engines_is_refused_in_one_sentence(
    tmp_path: Path, without_engines: dict[str, str]
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "vmcompare", "handout", str(NOTEBOOK), "--out", str(tmp_path),
         "--mode", "live"],
        cwd=ROOT, env=without_engines, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    [said] = [line for line in done.stderr.splitlines() if line.startswith("vmcompare:")]
    assert "a live handout was asked for" in said
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.glob("*.html"))


@pytest.mark.docker
@pytest.mark.qemu
@pytest.mark.timeout(900)
def test_with_engines_its_figures_carry_a_run_of_its_own_and_are_measured(tmp_path: Path) -> None:
    page = handout(tmp_path, "--rounds", "1")
    check_page(page)
    own = runs_named(page) - recorded_runs()
    assert len(own) == 1
    assert f"measured · run {own.pop()}" in page
    assert "Too few runs for a verdict" in page
    captions = " ".join(re.findall(r"<figcaption>.*?</figcaption>", page, re.DOTALL))
    assert "recorded ·" not in captions


@pytest.mark.docker
def test_with_docker_only_machines_are_replayed_beside_what_was_measured(
    tmp_path: Path, without_engines: dict[str, str]
) -> None:
    docker = shutil.which("docker")
    assert docker is not None
    (Path(without_engines["PATH"]) / "docker").symlink_to(docker)
    page = handout(tmp_path, "--rounds", "1", env=without_engines)
    check_page(page)
    assert re.search(r"process, container: measured · run", page)
    assert re.search(r"vm-direct, vm-tuned, vm: recorded · run", page)
    assert "not measured here" in page
