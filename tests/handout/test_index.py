"""Several handouts at once, and the page that ties those of a directory together."""

from __future__ import annotations

from pathlib import Path

import lesson_fixture
import pytest
from bs4 import BeautifulSoup
from lesson_fixture import code, export, new_markdown_cell, new_notebook

from vmcompare import handout, paths
from vmcompare.__main__ import main
from vmcompare.handout import HandoutError, files, index

CAPTION = "recorded · run 20260102T030405Z-abcdef · 2026-01-02 · Planted CPU, 2 cores"


def notebook(directory: Path, number: str, *cells: str, shown: str = "") -> Path:
    text = (
        f"# {number} · Toy {number}: what is it?\n\n"
        f"**Question.** What does\n*toy* {number} cost?\n\n"
        f"**Time.** 50 minutes: predict 5. **Needed:** nothing.\n\n{shown}"
    )
    content = new_notebook([new_markdown_cell(text), *map(code, cells)])
    made = lesson_fixture.write(directory, content)
    return made.rename(directory / f"{number}-toy.ipynb")


def test_the_index_says_of_each_handout_what_it_asks_how_long_and_from_which_data(
    tmp_path: Path,
) -> None:
    table = f"<table><caption>{CAPTION}</caption></table>"
    later, first = notebook(tmp_path, "07", shown=table), notebook(tmp_path, "02")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "other.html").write_text("<h1>Not ours</h1>")
    assert main(["handout", str(later), str(first), "--out", str(tmp_path / "out")]) == 0
    page = (tmp_path / "out" / "index.html").read_text(encoding="utf-8")
    assert page.index('href="02-toy.html"') < page.index('href="07-toy.html"')
    assert "07 · Toy 07: what is it?" in page
    assert "What does toy 07 cost?" in page
    assert page.count("50 minutes.") == 2
    assert page.count("Figures: recorded 2026-01-02.") == 1
    assert page.count("No figure of a run.") == 1
    assert "CC BY 4.0" in page
    assert "other.html" not in page
    assert "<script" not in page


def test_an_index_is_the_same_at_every_writing_and_never_lists_itself(tmp_path: Path) -> None:
    export(notebook(tmp_path, "03"), tmp_path / "out")
    *_, page = index.write(tmp_path / "out")
    once = page.read_text(encoding="utf-8")
    assert index.index(tmp_path / "out") == once
    assert "index.html" not in once


def test_the_index_and_a_lesson_lead_to_the_browser_lab_which_comes_with_its_sources(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page, sources = tmp_path / "browser-lab.html", tmp_path / "browser-lab-sources.tar"
    page.write_text("<h1>Browser lab</h1>")
    sources.write_text("sources")
    monkeypatch.setattr(paths, "browser_lab_page", lambda: page)
    export(notebook(tmp_path, "02", shown="[lab](browser-lab.html)"), tmp_path / "out")
    assert (tmp_path / "out" / page.name).read_text() == "<h1>Browser lab</h1>"
    assert (tmp_path / "out" / sources.name).read_text() == "sources"
    written = index.index(tmp_path / "out")
    assert written.count('href="browser-lab.html"') == 1
    export(notebook(tmp_path, "03"), tmp_path / "other")
    assert not (tmp_path / "other" / page.name).exists()
    assert "browser-lab" not in index.index(tmp_path / "other")


def test_a_title_cannot_break_the_page(tmp_path: Path) -> None:
    head = '<meta name="generator" content="vmcompare 1, instructor"><body>'
    body = "<h1>01 · &lt;script&gt;x&lt;/script&gt;</h1><p>a &amp; b</p></body>"
    (tmp_path / "a.html").write_text(head + body, encoding="utf-8")
    page = index.index(tmp_path)
    assert "<script>" not in page
    assert "a &amp; b" in page
    assert "instructor edition" in page


@pytest.mark.slow
def test_side_by_side_they_are_told_of_in_order_and_one_failure_stops_no_other(
    tmp_path: Path,
) -> None:
    slow = notebook(tmp_path, "01", "import time; time.sleep(1)")
    broken, quick = notebook(tmp_path, "02", "1 / 0"), notebook(tmp_path, "03")
    told: list[Path | HandoutError] = []
    handout.export_all([slow, broken, quick], tmp_path, at_once=3, finished=told.append)
    assert [t.name if isinstance(t, Path) else t.notebook.name for t in told] == [
        "01-toy.html", "02-toy.ipynb", "03-toy.html",
    ]  # fmt: skip
    assert isinstance(told[1], HandoutError)


def test_pages_of_a_course_lead_to_the_ones_beside_them_and_to_the_contents(tmp_path: Path) -> None:
    lessons = [notebook(tmp_path / "lessons", number) for number in ("01", "02", "03")]
    made: list[Path] = []
    handout.export_all(
        lessons, tmp_path, at_once=1, index="index.html", finished=lambda page: made.append(page)
    )
    navigations = [
        BeautifulSoup(page.read_text(), features="html.parser").select_one("nav.vmc-lessons")
        for page in made
    ]
    assert [[link["href"] for link in one.select("a")] for one in navigations] == [
        ["index.html", *files.COMPANIONS, made[1].name],
        [made[0].name, "index.html", *files.COMPANIONS, made[2].name],
        [made[1].name, "index.html", *files.COMPANIONS],
    ]
    assert "Lesson 2 of 3" in navigations[1].get_text()
    alone = export(lessons[0], tmp_path / "alone")
    assert '<nav class="vmc-lessons"' not in alone.read_text()


def test_a_failure_among_several_is_one_sentence_and_exit_code_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VMCOMPARE_MODE", "replay")
    broken, good = notebook(tmp_path, "01", "1 / 0"), notebook(tmp_path, "02")
    assert main(["handout", str(broken), str(good), "--out", str(tmp_path / "out")]) == 1
    said = capsys.readouterr()
    assert "vmcompare: no handout of 01-toy.ipynb" in said.err
    assert "Traceback" not in said.err
    assert "02-toy.html" in (tmp_path / "out" / "index.html").read_text(encoding="utf-8")


def test_several_handouts_do_not_fit_into_one_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one, two = notebook(tmp_path, "01"), notebook(tmp_path, "02")
    assert main(["handout", str(one), str(two), "--out", str(tmp_path / "all.html")]) == 1
    assert "need a directory" in capsys.readouterr().err


def test_a_lesson_without_a_question_is_listed_with_its_opening(tmp_path: Path) -> None:
    head = '<meta name="generator" content="vmcompare 1">'
    page = f"{head}<body><h1>01 · A: b?</h1>\n<p>Who <em>pays</em> here?</p></body>"
    (tmp_path / "a.html").write_text(page, encoding="utf-8")
    entry = index.read(tmp_path / "a.html")
    assert entry
    assert [entry[name] for name in ("number", "title", "question")] == [
        "01",
        "A: b?",
        "Who pays here?",
    ]
