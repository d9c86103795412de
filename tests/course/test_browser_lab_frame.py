"""The browser lab in a lesson: in a frame, by a link in a handout, or a sentence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from vmcompare import paths
from vmcompare.course import page
from vmcompare.course.lesson import Lesson


@pytest.fixture
def built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A page that stands for the built one, and a working folder beside it."""
    made = tmp_path / "dist" / "browser-lab.html"
    made.parent.mkdir()
    made.write_text("<h1>lab</h1>")
    monkeypatch.setattr(paths, "browser_lab_page", lambda: made)
    notebooks = tmp_path / "notebooks"
    notebooks.mkdir()
    monkeypatch.chdir(notebooks)
    return made


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What is displayed."""
    things: list[Any] = []
    monkeypatch.setattr(page, "display", things.append)
    return things


def test_in_a_notebook_it_is_a_frame_of_a_page_beside_the_notebook(
    built: Path, shown: list[Any]
) -> None:
    Lesson("boot_speed", "04").browser_lab()
    [frame] = shown
    assert 'src="browser-lab.html"' in frame._repr_html_()
    assert Path("browser-lab.html").read_text() == "<h1>lab</h1>"


def test_a_page_that_was_built_anew_is_shown_anew(built: Path, shown: list[Any]) -> None:
    page.browser_lab()
    paths.write(built, "<h1>newer</h1>")
    page.browser_lab()
    assert Path("browser-lab.html").read_text() == "<h1>newer</h1>"


def test_in_a_handout_it_is_a_link(
    built: Path, shown: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VMCOMPARE_HANDOUT", "1")
    Lesson("boot_speed", "04").browser_lab()
    assert '<a href="browser-lab.html">' in shown[0]._repr_html_()
    assert not Path("browser-lab.html").exists()


def test_where_it_was_not_built_one_sentence_says_how_to(built: Path, shown: list[Any]) -> None:
    built.unlink()
    Lesson("boot_speed", "04").browser_lab()
    said = "the browser lab was not built here. Next step: make browser-lab"
    assert said in shown[0]._repr_html_()


def test_where_it_cannot_be_put_beside_the_notebook_a_sentence_says_so(
    built: Path, shown: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(source: Path, folder: Path) -> None:
        raise PermissionError(13, "Permission denied", str(folder))

    monkeypatch.setattr(paths, "bring", refuse)
    Lesson("boot_speed", "04").browser_lab()
    assert "open dist/browser-lab.html yourself" in shown[0]._repr_html_()
