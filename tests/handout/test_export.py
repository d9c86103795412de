"""What an exported page is made of, and how an export fails."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import lesson_fixture
import psutil
import pytest
from bs4 import BeautifulSoup
from nbformat.v4 import new_markdown_cell, new_notebook

from vmcompare import handout
from vmcompare.errors import UnknownName
from vmcompare.handout import HandoutError, kernel, page

LOADING = "[src], link[href], object[data], image[href], use[href]"


@pytest.fixture(scope="session")
def soup(toy_page: Path) -> BeautifulSoup:
    return BeautifulSoup(toy_page.read_text(encoding="utf-8"), "html.parser")


def short_notebook(directory: Path, *sources: str) -> Path:
    cells = [new_markdown_cell("# A toy"), *(lesson_fixture.code(source) for source in sources)]
    return lesson_fixture.write(directory, new_notebook(cells=cells))


def test_one_file_of_bearable_size(toy_page: Path) -> None:
    assert [p.name for p in toy_page.parent.iterdir()] == ["toy-lesson.html"]
    assert toy_page.stat().st_size <= 400_000


def test_nothing_is_loaded_from_elsewhere(soup: BeautifulSoup) -> None:
    assert not soup.select("script[src], link, iframe")
    for tag in soup.select(LOADING):
        address = tag.get("src") or tag.get("href") or tag.get("data")
        assert str(address).startswith("data:"), tag.name
    policy = soup.select_one("meta[http-equiv=Content-Security-Policy]")
    assert policy is not None
    assert "default-src 'none'" in policy["content"]
    for style in soup.select("style"):
        assert "url(" not in style.text
        assert "@import" not in style.text


def test_every_picture_has_its_words(soup: BeautifulSoup) -> None:
    words = [image["alt"] for image in soup.select("img")]
    assert "a grey box" in words
    assert "Test figure 1: four toy groups at factor 1." in words
    assert all(words)
    assert not any("No description" in text for text in words)


def test_document_structure(soup: BeautifulSoup) -> None:
    assert soup.html is not None
    assert soup.html["lang"] == "en"
    assert soup.title is not None
    assert soup.title.text == "A toy lesson"
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
    assert "toy run 1, nothing measured" in text
    assert "CC BY 4.0" in text
    assert soup.select_one(".vmc-output h3 strong") is not None


def test_formulas_are_mathml(soup: BeautifulSoup) -> None:
    assert len(soup.select("math[display=block]")) == 4
    assert "$$" not in soup.select_one("main").get_text().replace("r'$$E = m c^2$$'", "")
    assert not soup.select("p div")


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
    notebook, path = lesson_fixture.lesson(), Path("toy.ipynb")
    output = {"output_type": "stream", "name": "stdout", "text": "hello"}
    notebook.cells[2].outputs = [lesson_fixture.nbformat.from_dict(output)]
    before = json.dumps(notebook)
    pages = {page.render(notebook, path) for _ in range(2)}
    assert len(pages) == 1
    assert json.dumps(notebook) == before


def test_executing_again_gives_the_same_bytes(toy_page: Path, tmp_path: Path) -> None:
    told: list[str] = []
    notebook = lesson_fixture.write(tmp_path / "lesson")
    again = handout.export(notebook, tmp_path / "other.html", progress=told.append)
    assert again.name == "other.html"
    assert again.read_bytes() == toy_page.read_bytes()
    assert told[2] == "cell 3 of 15"
    assert len(told) == 15


def test_editions(tmp_path: Path) -> None:
    notebook = new_notebook(
        cells=[
            new_markdown_cell("# Toy"),
            new_markdown_cell("for teachers", metadata={"tags": ["instructor-only"]}),
            new_markdown_cell("for learners", metadata={"tags": ["student-only"]}),
            new_markdown_cell("<details class='vmc-answer'><summary>A</summary>42</details>"),
        ]
    )
    path = lesson_fixture.write(tmp_path, notebook)
    student = handout.export(path, tmp_path).read_text(encoding="utf-8")
    teacher = handout.export(path, tmp_path, edition="instructor")
    assert teacher.name == "toy-lesson-instructor.html"
    shown = teacher.read_text(encoding="utf-8")
    assert "for teachers" in shown
    assert "for learners" not in shown
    assert 'class="vmc-answers"' not in shown
    assert "for teachers" not in student
    assert 'class="vmc-answers"' in student
    with pytest.raises(UnknownName, match="choose from: student, instructor"):
        handout.export(path, tmp_path, edition="pupil")


def test_cell_error_leaves_no_file(tmp_path: Path) -> None:
    path = short_notebook(tmp_path, "x = 1", "y = 2\nx / 0\nz = 3")
    with pytest.raises(HandoutError, match="ZeroDivisionError: division by zero") as caught:
        handout.export(path, tmp_path / "out")
    assert caught.value.cell == "y = 2"
    assert caught.value.line == "x / 0"
    assert "`y = 2`" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_kernel_death_and_time_out(tmp_path: Path) -> None:
    path = short_notebook(tmp_path, "import os; os._exit(3)")
    with pytest.raises(HandoutError, match="the kernel died"):
        handout.export(path, tmp_path / "out")
    path = short_notebook(tmp_path, "import time; time.sleep(60)")
    started = time.monotonic()
    with pytest.raises(HandoutError, match="more than 5 s"):
        handout.export(path, tmp_path / "out", timeout_s=5)
    assert time.monotonic() - started < 30
    assert not kernels_below(psutil.Process())


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (None, "there is no such notebook"),
        ("{", r"it is not JSON \(line 1\)"),
        ("[]", "not a notebook of format 4"),
        ('{"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": [{}]}', "not a valid"),
        ("\udcff", "it is not a text file"),
    ],
)
def test_what_is_not_a_notebook(tmp_path: Path, text: str | None, sentence: str) -> None:
    path = tmp_path / "broken.ipynb"
    if text is not None:
        path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(HandoutError, match=sentence) as caught:
        handout.export(path, tmp_path)
    assert "\n" not in str(caught.value)


def test_a_page_that_would_load_something(tmp_path: Path) -> None:
    notebook = new_notebook(cells=[new_markdown_cell("# T\n\n![a](https://example.org/a.png)")])
    path = lesson_fixture.write(tmp_path, notebook)
    with pytest.raises(HandoutError, match="<img> would load"):
        handout.export(path, tmp_path)
    assert not (tmp_path / "toy-lesson.html").exists()


def test_file_that_cannot_be_written(tmp_path: Path) -> None:
    path = short_notebook(tmp_path)
    (tmp_path / "taken").write_text("a file, no directory")
    with pytest.raises(HandoutError, match="cannot be written"):
        handout.export(path, tmp_path / "taken")


def test_second_try_when_the_kernel_does_not_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = kernel.command()
    commands = [[sys.executable, "-c", "print('toy failure')"], right]
    monkeypatch.setattr(kernel, "command", lambda: commands.pop(0))
    path = short_notebook(tmp_path, "print('ran')")
    assert "ran" in handout.export(path, tmp_path).read_text(encoding="utf-8")
    commands = [[sys.executable, "-c", "import sys; sys.exit('toy failure')"]] * 2
    with pytest.raises(HandoutError, match="did not start, not even at a second try: toy failure"):
        handout.export(path, tmp_path / "out")


def kernels_below(process: psutil.Process) -> list[psutil.Process]:
    return [
        child
        for child in process.children(recursive=True)
        if child.status() != psutil.STATUS_ZOMBIE and "ipykernel_launcher" in child.cmdline()
    ]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT for one process")
def test_interrupt_leaves_no_kernel(tmp_path: Path) -> None:
    path = short_notebook(tmp_path, "import time; time.sleep(120)")
    program = textwrap.dedent("""
        import sys
        from pathlib import Path
        from vmcompare import handout
        tell = lambda sentence: print(sentence, flush=True)
        handout.export(Path(sys.argv[1]), Path(sys.argv[2]), progress=tell)
    """)
    temporary = tmp_path / "t"
    temporary.mkdir()
    with subprocess.Popen(
        [sys.executable, "-c", program, str(path), str(tmp_path / "out")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"TMPDIR": str(temporary)},
    ) as exporter:
        assert exporter.stdout is not None
        assert exporter.stdout.readline() == "cell 1 of 1\n"
        kernels = kernels_below(psutil.Process(exporter.pid))
        assert len(kernels) == 1
        exporter.send_signal(signal.SIGINT)
        _, errors = exporter.communicate(timeout=60)
    assert "KeyboardInterrupt" in errors
    assert not [k for k in kernels if k.is_running() and k.status() != psutil.STATUS_ZOMBIE]
    assert not [p for p in temporary.iterdir() if p.name.startswith("vmc-")]
    assert not (tmp_path / "out").exists()
