"""Predictions: kept, set beside what was found, and on paper; a grid there has its answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from vmcompare.course import answers
from vmcompare.course.predict import Prediction, Ticked, Ticks
from vmcompare.errors import Unavailable
from vmcompare.evidence.view import Grid, View, compose

GRID = Grid(
    columns=("--one", "--two"),
    rows={"a": "open the door", "b": "look <inside>"},
    find=lambda _: {"--one": {"a": True, "b": False}, "--two": {"a": False}},
    reasons={("--one", "a"): "It takes the `door` away.", ("--two", "a"): "A second door."},
    yes="turns",
    no="stays",
    called="probe",
)
ASKED = Ticked("05a", "flips", "What turns what?", GRID, lambda: compose(None, None))


@pytest.fixture(autouse=True)
def _places(private_places: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VMCOMPARE_HANDOUT", raising=False)


def cells(html: str) -> list[list[str]]:
    from bs4 import BeautifulSoup

    rows = BeautifulSoup(html, "html.parser").select("tbody tr")
    return [[cell.get_text() for cell in row.find_all(["th", "td"])] for row in rows]


def test_ticks_are_kept_and_there_again() -> None:
    assert ASKED.kept() is None
    assert "Kept" in ASKED.keep({"--one": ["a"]})
    assert ASKED.kept() == {"--one": ["a"], "--two": []}
    assert answers.predictions("05a") == {}  # it is no number


@pytest.mark.parametrize(
    ("ticked", "said"),
    [({"--three": ["a"]}, "no column '--three'"), ({"--one": ["c"]}, "no row 'c'")],
)
def test_what_the_grid_does_not_have_is_told_and_not_kept(
    ticked: Mapping[str, list[str]], said: str
) -> None:
    assert said in ASKED.keep(ticked)
    assert ASKED.kept() is None


def test_a_damaged_answer_counts_as_none() -> None:
    answers.keep("05a", "flips", 3)
    assert ASKED.kept() is None
    answers.keep("05a", "flips", {"--one": "a", "--two": ["b"]})
    assert ASKED.kept() == {"--one": [], "--two": ["b"]}


def test_each_cell_is_set_beside_what_was_found_with_a_reason_where_it_is_wrong() -> None:
    ASKED.keep({"--one": ["b"], "--two": []})
    html = ASKED.beside()
    assert cells(html) == [["a", "turns ✗", "stays ✓"], ["b", "stays ✗", "not measured"]]
    assert "1 of 3 right" in html
    assert "It takes the <code>door</code> away." in html
    assert "takes away another wall" in html  # ticked, and no reason to expect it
    assert "A second door" not in html


def test_what_was_expected_and_did_not_happen_is_told_as_that() -> None:
    ASKED.keep({"--one": ["a"], "--two": ["a"]})
    assert "Expected, but not found here. A second door." in ASKED.beside()
    odd = replace(GRID, find=lambda _: {"--one": {"b": True}})
    assert "Found, but not expected" in replace(ASKED, grid=odd).beside()


def test_without_ticks_only_what_was_found_is_shown() -> None:
    html = ASKED.beside()
    assert "ticked nothing yet" in html
    assert cells(html) == [["a", "turns", "stays"], ["b", "stays", "not measured"]]


def test_where_nothing_was_measured_that_is_said() -> None:
    def nothing(_: View) -> Mapping[str, Mapping[str, bool]]:
        raise Unavailable("nothing was tried", "run it")

    with pytest.raises(Unavailable, match="nothing was tried"):
        replace(ASKED, grid=replace(GRID, find=nothing)).beside()


def test_on_paper_every_cell_is_a_box_and_the_answers_come_last(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ASKED.keep({"--one": ["a"]})
    monkeypatch.setenv("VMCOMPARE_HANDOUT", "1")
    html = ASKED.paper()
    assert html.count("☐") == 4
    assert "look &lt;inside&gt;" in html
    assert html.index("vmc-answer") > html.rindex("☐")
    assert "✓" not in ASKED.beside()  # a page for others shows nobody's answers


def test_the_boxes_are_labelled_and_a_press_keeps_what_is_ticked() -> None:
    ASKED.keep({"--one": ["a"]})
    told: list[Ticks] = []

    def keep(value: Ticks) -> str:
        told.append(value)
        return "Kept."

    box = ASKED.form(keep)
    boxes = [child for line in box.children for child in getattr(line, "children", ())]
    found: dict[str, Any] = {b.tooltip: b for b in boxes if hasattr(b, "indent")}
    assert {name: b.value for name, b in found.items()} == {
        "--one: a": True, "--two: a": False, "--one: b": False, "--two: b": False,
    }  # fmt: skip
    found["--two: b"].value = True
    assert told == []  # nothing is kept before the button is pressed
    [button] = [b for b in boxes if getattr(b, "description", "") == "Keep my ticks"]
    button.click()
    assert told[-1] == {"--one": ["a"], "--two": ["b"]}
    found["--one: a"].value = False  # its message came after that of the button
    assert told[-1] == {"--one": [], "--two": ["b"]}


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
