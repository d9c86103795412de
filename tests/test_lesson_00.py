"""What only lesson 00 promises; what every lesson does is in ``test_lessons``."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from room import NOTEBOOKS, Room, handout, run_with

from vmcompare.engines.programs import boot_sector


def check_page(page: str) -> None:
    """What holds for the page however it was made."""
    assert "<title>00 · Start here" in page
    assert "A virtual machine that was given nothing but 512 bytes" in page
    assert "software emulation" in page
    assert page.count('type="range"') == 1
    for claim in ("A1", "A2", "V3"):
        assert f">{claim}</strong>" in page


@pytest.mark.slow
def test_with_the_engines_hidden_it_shows_the_gaps_and_replays(room: Room) -> None:
    page = room.lesson("00")
    check_page(page)
    assert "Docker is not installed" in page
    assert "apt install qemu-system-x86" in page
    assert "Recorded in run" in page
    assert boot_sector.MESSAGE in page
    assert "Measured just now" not in page


@pytest.mark.docker
@pytest.mark.qemu
def test_with_the_engines_the_demonstration_is_live_though_the_figures_are_recorded(
    tmp_path: Path,
) -> None:
    run = run_with(os.environ, tmp_path)
    page = handout(run, NOTEBOOKS[0], tmp_path).read_text(encoding="utf-8")
    check_page(page)
    assert "Measured just now" in page
    assert "Exec format error (exit code 126)" in page
    assert "can be measured" in page
    assert "Docker is not installed" not in page
    assert "Nothing was measured" not in page
