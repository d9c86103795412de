"""What only lesson 04 promises; what every lesson does is in ``test_lessons``."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from room import NOTEBOOKS, ROOT, Room, handout, run_with


@pytest.mark.docker
@pytest.mark.timeout(900)
def test_without_being_asked_it_measures_and_says_that_one_round_is_too_few(
    tmp_path: Path,
) -> None:
    [notebook] = [path for path in NOTEBOOKS if path.stem == "04-boot-speed"]
    platforms = ("--platform", "process", "--platform", "container")
    run = run_with(os.environ, tmp_path)
    page = handout(run, notebook, tmp_path, *platforms).read_text(encoding="utf-8")
    recorded = {path.stem for path in (ROOT / "data" / "recordings").rglob("*.jsonl")}
    [own] = set(re.findall(r"\d{8}T\d{6}Z-[0-9a-f]{6}", page)) - recorded
    assert f"measured · run {own}" in page
    assert "Few runs, which limit a verdict" in page
    assert "not measured here" in page
    assert "only recordings are shown here" in page


@pytest.mark.slow
def test_its_page_has_a_slider_a_race_and_the_words_of_the_emulator(room: Room) -> None:
    page = room.lesson("04")
    assert page.count('type="range"') == 1
    assert page.count('class="vmc-race"') == 1
    assert "@keyframes vmc-run" in page
    assert "software emulation" in page
