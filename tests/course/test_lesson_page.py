"""What a page shows: values as they are written, addresses as links, and no template left out."""

from __future__ import annotations

from pathlib import Path

import jinja2
import pytest

from vmcompare.course import page, templates


@pytest.mark.parametrize(
    ("cell", "link"),
    [
        ("https://x.org/a/b", '<a href="https://x.org/a/b">x.org: b</a>'),
        ("https://x.org/", '<a href="https://x.org/">x.org</a>'),
        ("[CVE-1](https://x.org/a?b=1&c)", '<a href="https://x.org/a?b=1&amp;c">CVE-1</a>'),
        ("install it: https://x.org/", "install it: https://x.org/"),
        ("[<b>](https://x.org)", '<a href="https://x.org">&lt;b&gt;</a>'),
    ],
)
def test_a_cell_that_is_an_address_is_a_link_and_words_with_one_stay_words(
    cell: str, link: str
) -> None:
    assert f">{link}</td>" in page.table([{"source": cell}]).markup


def test_a_table_has_header_cells_a_caption_and_its_words_as_they_are_written() -> None:
    rows = ({"<a>": cell, "b": "1"} for cell in ("<b>", page.lesson_link(Path("x y.ipynb"), "<c>")))
    markup = page.table(rows, "<d>").markup
    assert '<th scope="col" style="text-align:left">&lt;a&gt;</th>' in markup
    assert "&lt;d&gt;</caption>" in markup
    assert ">&lt;b&gt;</td>" in markup
    assert '><a href="x%20y.ipynb">&lt;c&gt;</a></td>' in markup
    assert page.table([]).markup.count("<tr>") == 1


def test_a_short_cell_is_not_torn_apart() -> None:
    short, long = page.table([{"a": "12.5 MiB", "b": "several words"}]).markup.split("<td")[1:]
    assert "nowrap" in short
    assert "nowrap" not in long


def test_a_value_that_a_template_lacks_is_an_error() -> None:
    with pytest.raises(jinja2.UndefinedError, match="text"):
        templates.render("note")
