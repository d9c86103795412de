"""Lesson 03 from the command line to one offline file: with the engines hidden, and with Docker."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
NOTEBOOK = ROOT / "notebooks" / "03-image-size.ipynb"
MOST_BYTES = 400_000


def handout(out: Path, *words: str, env: dict[str, str] | None = None) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "vmcompare", "handout", str(NOTEBOOK), "--out", str(out), *words],
        cwd=ROOT, env=env, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    [page] = out.glob("*.html")
    text = page.read_text(encoding="utf-8")
    assert len(text.encode()) <= MOST_BYTES
    assert not re.findall(r"""(?:src|href)=["'](?:https?:)?//(?!creativecommons)""", text)
    assert text.count("<img") == len(re.findall(r"<img[^>]*\salt=\"[^\"]{20,}\"", text))
    assert text.count('type="range"') == 3
    assert "Traceback" not in text
    assert "Modelled" in text
    return text


def test_with_the_engines_hidden_everything_is_recorded_and_says_so(
    tmp_path: Path, without_engines: dict[str, str]
) -> None:
    page = handout(tmp_path, env=without_engines)
    assert "recorded · run" in page
    assert "measured · run" not in page
    assert "Docker is not installed" in page


@pytest.mark.docker
def test_with_docker_only_machines_are_replayed_beside_what_was_weighed(
    tmp_path: Path, without_engines: dict[str, str]
) -> None:
    docker = shutil.which("docker")
    assert docker is not None
    (Path(without_engines["PATH"]) / "docker").symlink_to(docker)
    page = handout(tmp_path, "--rounds", "1", "--mode", "live", env=without_engines)
    assert re.search(r"process, container: measured · run", page)
    assert re.search(r"vm-direct, vm: recorded · run", page)
    assert "container · measured" in page


@pytest.mark.docker
@pytest.mark.qemu
@pytest.mark.timeout(600)
def test_with_engines_everything_is_weighed_here(tmp_path: Path) -> None:
    page = handout(tmp_path, "--rounds", "1", "--mode", "live")
    captions = " ".join(re.findall(r"<figcaption>.*?</figcaption>", page, re.DOTALL))
    assert "measured · run" in captions
    assert "recorded ·" not in captions
