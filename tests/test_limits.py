"""What a reader meets on a lesson's page, counted: few words, small tables, short captions."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from bs4 import BeautifulSoup
from room import NOTEBOOKS, Room

from vmcompare.course import exercises, text
from vmcompare.course.page import COLUMNS_SHOWN, ROWS_SHOWN

WORDS = 2000
CAPTION_WORDS = 25
PICTURES, SLIDERS, DIAGRAMS = 3, 1, 1
CODE_CELLS, CODE_LINES = 12, 2
MOST_PART = 0.45
"""How many questions one may get right who only takes the longest choice, or always the second."""

LEFT_OUT = "details, script, style, nav, math, .vmc-answers, .vmc-multiples, .vmc-status, .vmc-said"
"""What is folded away, what is not read, and what comes later: replies, and answers on paper."""


def met(page: Path) -> Any:
    """The part of a page that everybody meets who unfolds nothing."""
    main = BeautifulSoup(page.read_text(encoding="utf-8"), features="html.parser").main
    assert main is not None
    for tag in main.select(LEFT_OUT):
        tag.decompose()
    return main


def words(tag: Any) -> int:
    return len(tag.get_text(" ", strip=True).split())


def beyond(main: Any) -> list[str]:
    """Which limits the part of a page exceeds, and by what."""
    found = [f"{words(main)} words"] if words(main) > WORDS else []
    for table in main.select("table"):
        rows = len(table.select("tbody tr"))
        columns = max(len(row.select("th, td")) for row in table.select("tr"))
        if rows > ROWS_SHOWN or columns > COLUMNS_SHOWN:
            found.append(f"a table of {rows} rows and {columns} columns")
    for caption in main.select("figcaption, caption"):
        if words(caption) > CAPTION_WORDS:
            said = caption.get_text(" ", strip=True)
            found.append(f"a caption of {words(caption)} words: {said[:60]}…")
    counted = (
        ("figures", "figure.vmc-picture", PICTURES),
        ("sliders", "figure.vmc-whatif", SLIDERS),
        ("diagrams", ".vmc-text img", DIAGRAMS),
        ("code cells", ".vmc-code", CODE_CELLS),
    )
    for what, selector, most in counted:
        if (count := len(main.select(selector))) > most:
            found.append(f"{count} {what}")
    return found


@pytest.mark.slow
@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_page_holds_no_more_than_a_class_can_read(notebook: Path, room: Room) -> None:
    found = beyond(met(room.page(notebook)))
    assert not found, "; ".join(found)


def questions() -> list[tuple[str, list[str], int]]:
    """Every question of every quiz: name, choices as they are shown, position of the right one."""
    found = []
    for path in sorted((NOTEBOOKS[0].parent / "text").glob("[0-9]*.md")):
        for question in exercises.questions(text.read(path)):
            shown = [choice.text for choice in question.choices]
            right = [choice.right for choice in question.choices].index(True)
            found.append((f"{path.stem}: {question.name}", shown, right))
    return found


def test_no_position_is_right_too_often() -> None:
    asked = questions()
    for position, count in Counter(right for _, _, right in asked).items():
        assert count / len(asked) <= MOST_PART, f"choice {position + 1}: {count} of {len(asked)}"


def test_the_longest_choice_is_not_right_too_often() -> None:
    asked = questions()
    longest = [name for name, shown, right in asked if max(shown, key=len) == shown[right]]
    assert len(longest) / len(asked) <= MOST_PART, longest


def test_the_order_of_choices_is_the_same_every_time() -> None:
    before = questions()
    random.seed(1)
    assert questions() == before
