"""What a page holds: structure, words for pictures, formulas, tables, and always the same bytes."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import lesson_fixture
import pytest
from bs4 import BeautifulSoup
from nbformat import NO_CONVERT
from nbformat import read as read_notebook

from vmcompare.evidence.claims import ARTICLE
from vmcompare.handout import page
from vmcompare.paths import lessons_dir

LOADING = "[src], link[href], object[data], image[href], use[href]"


@pytest.fixture(scope="session")
def soup(toy_page: Path) -> BeautifulSoup:
    return BeautifulSoup(toy_page.read_text(encoding="utf-8"), "html.parser")


def test_one_file_of_bearable_size(toy_page: Path) -> None:
    assert [p.name for p in toy_page.parent.iterdir()] == ["toy-lesson.html"]
    assert toy_page.stat().st_size <= 400_000


def test_nothing_is_loaded_from_elsewhere(soup: BeautifulSoup) -> None:
    assert not soup.select("script[src], link, iframe")
    for tag in soup.select(LOADING):
        address = tag.get("src") or tag.get("href") or tag.get("data")
        assert str(address).startswith(("data:", "#")), tag.name
    policy = soup.select_one("meta[http-equiv=Content-Security-Policy]")
    assert policy is not None
    assert "default-src 'none'" in policy["content"]
    for style in soup.select("style"):
        assert "url(" not in style.text
        assert "@import" not in style.text


def test_every_picture_has_its_words(soup: BeautifulSoup) -> None:
    words = [image["alt"] for image in soup.select("img")]
    words += [drawing["aria-label"] for drawing in soup.select("svg")]
    assert "a grey box" in words
    assert "Test figure 1: four toy groups at factor 1." in words
    assert all(words)
    assert not any("No description" in text for text in words)


def test_document_structure(soup: BeautifulSoup) -> None:
    assert soup.html is not None
    assert soup.html["lang"] == "en"
    assert soup.title is not None
    assert soup.title.text == "How fast does a toy boot?"
    headings = soup.find_all(["h1", "h2", "h3", "h4", "h5", "h6"])
    levels = [int(heading.name[1]) for heading in headings]
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))
    ids = [heading["id"] for heading in headings]
    assert len(set(ids)) == len(ids)
    assert {link["href"] for link in soup.select("nav a")} == {f"#{h['id']}" for h in soup("h2")}
    assert len(soup.select("main")) == len(soup.select("footer")) == 1


def test_what_a_lesson_shows_and_hides(soup: BeautifulSoup) -> None:
    text = soup.get_text()
    assert "never run in a handout" not in text
    assert "import toys" not in text
    assert page.LIVE_SENTENCE in text
    assert "VBox(" not in text
    assert "no VM was measured. Next step: run the measurement first" in text
    assert "started 30 of 30 in all" in text
    assert "a warning" in text
    assert "My guess: ________" in text
    assert "CC BY 4.0" in text
    assert soup.select_one(".vmc-output h3 strong") is not None


def test_formulas_are_mathml(soup: BeautifulSoup) -> None:
    assert len(soup.select("math[display=block]")) == 4
    assert "$$" not in soup.select_one("main").get_text().replace("r'$$E = m c^2$$'", "")
    assert not soup.select("p div")


def test_short_code_is_kept_in_one_line(soup: BeautifulSoup) -> None:
    short = soup.select("code.vmc-short")
    assert "code" in [code.get_text() for code in short]
    assert all(len(code.get_text()) <= 20 for code in short)
    assert not soup.select("pre > code.vmc-short")


def test_tables_scroll_in_regions_of_their_own(soup: BeautifulSoup) -> None:
    regions = soup.select("div.vmc-scroll")
    assert len(regions) == len(soup.select("table")) == 2
    assert [region["aria-label"] for region in regions] == [
        "Table 1: A level too deep",
        "Table 2: Explain",
    ]
    assert all(r["tabindex"] == "0" and r["role"] == "region" for r in regions)
    assert all(cell.get_text(strip=True) and cell["scope"] for cell in soup("th"))


def test_what_ifs_have_their_control_asleep(soup: BeautifulSoup) -> None:
    figures = soup.select("figure.vmc-whatif")
    assert len(figures) == 2
    for figure in figures:
        control = figure.select_one(".vmc-control")
        assert control is not None
        assert control.has_attr("hidden")
        assert figure.select_one("input[type=range]")["aria-valuetext"] == "5 ×"
        assert "Modelled" in figure.select_one("figcaption").text


def test_same_notebook_same_bytes() -> None:
    import nbformat

    toy, path = lesson_fixture.lesson(), Path("toy.ipynb")
    toy["cells"][2]["outputs"] = [{"output_type": "stream", "name": "stdout", "text": "hello"}]
    notebook = nbformat.from_dict(toy)
    before = json.dumps(notebook)
    pages = {page.render(notebook, path) for _ in range(2)}
    assert len(pages) == 1
    assert json.dumps(notebook) == before


@pytest.mark.parametrize("notebook", sorted(lessons_dir().glob("*.ipynb")), ids=lambda p: p.stem)
def test_every_lesson_names_in_its_footer_the_article_that_it_quotes(notebook: Path) -> None:
    content = read_notebook(notebook, NO_CONVERT)
    made = BeautifulSoup(page.render(content, notebook), "html.parser")
    assert made.footer is not None
    assert f"Sentences quoted from {ARTICLE}" in " ".join(made.footer.text.split())


def test_a_page_that_quotes_nothing_names_no_article(soup: BeautifulSoup) -> None:
    assert soup.footer is not None
    assert ARTICLE not in " ".join(soup.footer.text.split())
