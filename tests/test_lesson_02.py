"""Lesson 02 as one offline file: with the engines hidden, and live."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from room import Room

ROOT = Path(__file__).parent.parent
NOTEBOOK = ROOT / "notebooks" / "02-shared-kernel.ipynb"
MOST_BYTES = 400_000


def handout(out: Path, *words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "vmcompare", "handout", str(NOTEBOOK), "--out", str(out), *words],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    [page] = out.glob("*.html")
    return page.read_text(encoding="utf-8")


def check_page(page: str) -> None:
    """What holds for the page however it was made."""
    assert len(page.encode()) <= MOST_BYTES
    assert not re.findall(r"""(?:src|href)=["'](?:https?:)?//(?!creativecommons)""", page)
    assert "software emulation" in page
    assert page.count("<img") == len(re.findall(r"<img[^>]*\salt=\"[^\"]{20,}\"", page))
    assert page.count('type="range"') == 1
    assert "Traceback" not in page
    for claim in ("O2 shared kernel", "O5 one kernel", "O6a", "O6b"):
        assert claim in page
    assert "with-proc" in page  # a line of the ladder


@pytest.mark.slow
def test_with_the_engines_hidden_everything_is_recorded_and_says_so(room: Room) -> None:
    page = room.lesson("02")
    check_page(page)
    assert "Docker is not installed" in page
    assert "next step" in page
    assert "measured ·" not in page


@pytest.mark.docker
@pytest.mark.qemu
@pytest.mark.timeout(900)
def test_with_engines_its_figures_carry_a_run_of_its_own(tmp_path: Path) -> None:
    page = handout(tmp_path, "--rounds", "1", "--mode", "live")
    check_page(page)
    captions = " ".join(re.findall(r"<figcaption>.*?</figcaption>", page, re.DOTALL))
    assert "measured ·" in captions
    assert "recorded ·" not in captions
