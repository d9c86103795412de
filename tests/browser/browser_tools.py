"""What the browser tests share."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import pytest

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
SCREENSHOTS = ROOT / "dist" / "screenshots"

Open = Callable[..., Any]


def screenshot(page: Any, name: str, *, whole: bool = False) -> None:
    """A picture of the window (or of the ``whole`` page) to look at later."""
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=str(SCREENSHOTS / f"{name}.png"), full_page=whole)


def button(within: Any, text: str) -> Any:
    """The button of a widget, by its label."""
    return within.locator("button.jupyter-button", has_text=re.compile(rf"^\s*{text}\s*$"))


def unfold(within: Any) -> None:
    """Open everything that folds, one in another too."""
    for summary in within.locator("summary").all():
        if summary.is_visible() and not summary.evaluate("s => s.parentElement.open"):
            summary.click()


LEAST_WORDS_PX = """
svg => Math.min(...[...svg.querySelectorAll('text')].map(words => {
  const { b, d } = words.getScreenCTM();
  return parseFloat(getComputedStyle(words).fontSize) * Math.hypot(b, d);
}))
"""
"""Script: height in CSS pixels of the smallest words of a drawing, as it is displayed."""

SCREEN = {"width": 1920, "height": 1080}
BACK_ROW_PX = 24
"""Size of words on such a screen that can be read from the back row."""


def check_alone(page: Any, figure: Any) -> None:
    """By keyboard a figure fills the screen, its words readable from the back row; Escape ends."""
    drawing, button = figure.locator("svg"), figure.locator("button")
    before = drawing.bounding_box()
    for key in ("Enter", "Space"):
        button.focus()
        page.keyboard.press(key)
        assert figure.evaluate("element => element.matches(':popover-open')")
        assert figure.bounding_box() == {"x": 0, "y": 0, **SCREEN}
        assert drawing.evaluate(LEAST_WORDS_PX) >= BACK_ROW_PX
        page.keyboard.press("Escape")
        assert not figure.evaluate("element => element.matches(':popover-open')")
    after = drawing.bounding_box()
    assert (after["width"], after["height"]) == (before["width"], before["height"])


def missing(what: str) -> NoReturn:
    """Skip, or fail where ``VMCOMPARE_REQUIRE`` says that browser tests must run."""
    if "browser" in os.environ.get("VMCOMPARE_REQUIRE", "").split(","):
        pytest.fail(f"browser tests are required here, but {what}")
    pytest.skip(what)
