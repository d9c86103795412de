"""Predictions: kept, set beside what was found, and on paper."""

from __future__ import annotations

from pathlib import Path

import pytest

from vmcompare.course.steps import Prediction


@pytest.fixture(autouse=True)
def _places(private_places: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VMCOMPARE_HANDOUT", raising=False)


def test_a_prediction_that_arrives_just_after_its_click_is_kept() -> None:
    kept: list[float] = []

    def keep(value: float) -> str:
        kept.append(value)
        return f"Kept <{value:g}>."

    _, asked, said = Prediction("04", "x", "?", "s").form(keep).children
    number, button = asked.children
    button.click()
    number.value = 4
    assert kept == [0, 4]
    assert said.value == "Kept &lt;4&gt;."


def test_on_paper_there_is_a_line_to_write_on() -> None:
    line = Prediction("04", "x", "How <long>?", "s").paper()
    assert "How &lt;long&gt;?</label>\n <input " in line
    assert line.strip().endswith("____</span> s</p>")
