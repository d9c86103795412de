"""Lesson 00 from the command line to one offline file: with the engines hidden, and live."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from room import Room

ROOT = Path(__file__).parent.parent
NOTEBOOK = ROOT / "notebooks" / "00-start-here.ipynb"
MOST_BYTES = 400_000


def handout(out: Path, *words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "vmcompare", "handout", str(NOTEBOOK), "--out", str(out), *words],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return (out / "00-start-here.html").read_text(encoding="utf-8")


def check_page(page: str) -> None:
    """What holds for the page however it was made."""
    assert len(page.encode()) <= MOST_BYTES
    assert not re.findall(r"""(?:src|href)=["'](?:https?:)?//(?!creativecommons)""", page)
    assert "Traceback" not in page
    assert "<title>00 · Start here" in page
    assert "A virtual machine with nothing but these 512 bytes printed" in page
    assert "software emulation" in page
    assert page.count('type="range"') == 1
    assert page.count("<img") == len(re.findall(r"<img[^>]*\salt=\"[^\"]{20,}\"", page))
    for claim in ("A1", "A2", "V3"):
        assert f">{claim}</strong>" in page


@pytest.mark.slow
def test_with_the_engines_hidden_it_shows_the_gaps_and_replays(room: Room) -> None:
    page = room.lesson("00")
    check_page(page)
    assert "no Docker here" in page
    assert "no QEMU here" in page
    assert "(recorded, run" in page
    assert "measured, just now" not in page


@pytest.mark.docker
@pytest.mark.qemu
def test_with_the_engines_the_demonstration_is_live_though_the_figures_are_recorded(
    tmp_path: Path,
) -> None:
    page = handout(tmp_path)
    check_page(page)
    assert "measured, just now" in page
    assert "Exec format error (exit code 126)" in page
    assert "no Docker here" not in page
    assert "Nothing was measured for this page" in page
