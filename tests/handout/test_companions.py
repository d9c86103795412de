"""The glossary and the cheat sheet, which lie beside the lessons' handouts."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from bs4 import BeautifulSoup

from vmcompare.course.verdict.explain import headlines
from vmcompare.evidence.claims.runs import gather
from vmcompare.handout import HandoutError, index
from vmcompare.paths import lessons_dir


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with both pages, beside one handout in two editions, and a stranger's page."""
    place = tmp_path_factory.mktemp("dist")
    ours = '<meta name="generator" content="vmcompare 1, {}">'
    (place / "04-boot #1-instructor.html").write_text(ours.format("instructor"))
    (place / "04-boot #1.html").write_text(ours.format("student"))
    (place / "01-mine.html").write_text("<h1>Mine</h1>")
    index.write(place)
    return place


def page(folder: Path, name: str) -> BeautifulSoup:
    return BeautifulSoup((folder / name).read_text(encoding="utf-8"), "html.parser")


def test_a_term_is_defined_once_below_the_lesson_where_it_first_stands() -> None:
    terms = index.terms(lessons_dir())
    names = [re.sub(r" \(.*\)", "", term.name).casefold() for term in terms]
    assert sorted(set(names)) == sorted(names)
    assert [term.lesson for term in terms] == sorted(term.lesson for term in terms)
    for term in terms:
        assert term.definition.endswith(".")
        assert len(term.definition.split()) <= 30, term.name


def test_the_glossary_lists_every_term_by_the_alphabet_and_leads_to_its_lesson(
    folder: Path,
) -> None:
    shown = page(folder, index.GLOSSARY)
    terms = index.terms(lessons_dir())
    listed = [dt["id"] for dt in shown.select("dt")]
    assert sorted(listed) == sorted({term.anchor for term in terms})
    assert listed.index("boot-sector") < listed.index("kernel") < listed.index("shim")
    of_lesson = [term for term in terms if term.lesson == "04"]
    assert of_lesson
    assert len(shown.select('dd a[href="04-boot%20%231.html"]')) == len(of_lesson)
    assert not shown.select('dd a[href^="01"]')


def test_the_cheat_sheet_has_commands_computed_figures_and_what_to_choose(folder: Path) -> None:
    shown = page(folder, index.CHEAT_SHEET)
    said = shown.get_text(" ")
    for command in ("docker run", "qemu-system-x86_64", "unshare", "lsns"):
        assert command in said
    rows = list(headlines(gather(own=False)))
    assert {row["lesson"] for row in rows} == {"01", "02", "03", "04", "05a", "05b"}
    for row in rows:
        assert all(cell in said for cell in row.values())
    figures, choices = shown.select("tbody")
    assert len(figures.select("tr")) == len(rows)
    chosen = [row.select("td")[1].get_text() for row in choices.select("tr")]
    assert sorted(chosen) == 2 * ["Both"] + 2 * ["Containers"] + 2 * ["VMs"]
    assert "recorded, run 2" in said


def test_figures_of_the_cheat_sheet_are_computed_and_not_typed() -> None:
    words = (lessons_dir() / "text" / "cheat-sheet.md").read_text("utf-8")
    assert not re.search(r"\d(\.\d+)? ?(MiB|GiB|ms|×)", words)


@pytest.mark.slow
@pytest.mark.browser
def test_the_cheat_sheet_prints_on_one_page_of_a4(folder: Path, tmp_path: Path) -> None:
    pdf = tmp_path / "sheet.pdf"
    subprocess.run(
        [
            *("chromium", "--headless", "--no-sandbox", "--disable-gpu", "--no-pdf-header-footer"),
            *(f"--user-data-dir={tmp_path / 'profile'}", f"--print-to-pdf={pdf}"),
            (folder / index.CHEAT_SHEET).as_uri(),
        ],
        check=True, capture_output=True, timeout=300,
    )  # fmt: skip
    content = pdf.read_bytes()
    assert len(re.findall(rb"/Type\s*/Page\b", content)) == 1
    [box] = set(re.findall(rb"/MediaBox\s*\[0 0 ([\d.]+) ([\d.]+)\]", content))
    assert [round(float(side)) for side in box] == [595, 842]


def test_an_index_leads_to_the_pages_beside_it_and_lists_none_of_them_as_a_lesson(
    folder: Path, tmp_path: Path
) -> None:
    shown = BeautifulSoup(index.index(folder), "html.parser")
    for name, title in index.TITLES.items():
        [link] = shown.select(f'a[href="{name}"]')
        assert link.get_text() == title
    assert "Glossary" not in shown.ol.get_text()
    assert "glossary" not in index.index(tmp_path)


def test_a_page_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / index.GLOSSARY).write_text("<h1>Mine</h1>")
    with pytest.raises(HandoutError, match="not made by vmcompare"):
        index.write(tmp_path)
    assert (tmp_path / index.GLOSSARY).read_text() == "<h1>Mine</h1>"
