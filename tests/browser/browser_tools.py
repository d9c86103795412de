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


def missing(what: str) -> NoReturn:
    """Skip, or fail where ``VMCOMPARE_REQUIRE`` says that browser tests must run."""
    if "browser" in os.environ.get("VMCOMPARE_REQUIRE", "").split(","):
        pytest.fail(f"browser tests are required here, but {what}")
    pytest.skip(what)
