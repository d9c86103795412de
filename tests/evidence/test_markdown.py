"""Markdown and formulas become HTML without scripts."""

from __future__ import annotations

import pytest

from vmcompare.evidence import markdown


@pytest.mark.parametrize(
    ("text", "markup"),
    [
        ("a `b` *c* **d**", "a <code>b</code> <em>c</em> <strong>d</strong>"),
        ("2 < 3 & <b>", "2 &lt; 3 &amp; &lt;b&gt;"),
        ("one\n\ntwo", "<p>one</p>\n<p>two</p>"),
    ],
)
def test_words_become_html(text: str, markup: str) -> None:
    assert markdown.inline(text) == markup
    assert "<" not in markdown.plain(text).replace("2 < 3 & <b>", "")


def test_formulas_are_mathml() -> None:
    assert markdown.mathml("$a < b$").startswith("<math")
    assert "<mo><" not in markdown.mathml("a < b")
    assert "<math" in markdown.to_html("so $a < b$ holds")
    assert 'display="block"' in markdown.to_html("$$\na < b\n$$")
