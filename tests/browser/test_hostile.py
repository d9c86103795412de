"""A handout made from what a stranger wrote, opened: nothing runs, nothing is asked for."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from browser_tools import Open

sys.path.insert(0, str(Path(__file__).parents[1] / "handout"))
from lesson_fixture import TOYS, code, export, new_markdown_cell, new_notebook

pytestmark = pytest.mark.browser

RUNS = (
    "<script>alert(1)</script>", "<svg/onload=alert(1)>", "<svg><script>alert(1)</script></svg>",
    '<a href="java\nscript:alert(1)" id="trap">x</a>', '<iframe src="http://127.0.0.1:9/"></iframe>',
    "<math><mtext><table><mglyph><style><img src=x onerror=alert(1)></style></table></math>",
    '<meta http-equiv="refresh" content="0;url=http://127.0.0.1:9/">',
    '<base href="http://127.0.0.1:9/">', '<link rel="stylesheet" href="http://127.0.0.1:9/s.css">',
    '<p style="background:url(http://127.0.0.1:9/b.png)">x</p>', '<embed src="http://127.0.0.1:9/">',
    '<form action="http://127.0.0.1:9/"><button id="send">x</button></form>',
    '<details open ontoggle="alert(1)"><summary>x</summary></details>',
    '<input autofocus onfocus="alert(1)">', "</section></main><script>alert(1)</script>",
    '<style>@import "http://127.0.0.1:9/i.css"; p { color: red }</style>',
)  # fmt: skip

VALUE = (
    r"$\text{<svg/onload=alert(1)>}$ $\href{javascript:alert(1)}{x}$ $\frac{1}{$ "
    r"![p](http://127.0.0.1:9/p.png) <img src=x onerror=alert(1)> **b** |"
)

SHOWS = f"""
from IPython.display import HTML, Markdown, display
from vmcompare.course import exercises, page
from vmcompare.course import slider as whatif
from vmcompare.course.exercises import Reply, Tasks
from vmcompare.course.text import Choice, Section
from vmcompare.evidence.markdown import literal
VALUE = {VALUE!r}
for markup in {RUNS!r}:
    display(HTML(markup))
display(Markdown(VALUE.split(" ![")[0]), page.table([{{VALUE: VALUE}}], VALUE), page.Note(VALUE))
display(Reply(None, literal(VALUE), (literal(VALUE),), checked_on=VALUE))
choices = (Choice(literal(VALUE), literal(VALUE), True),)
asked = (Section(None, 0, "question", "q", {{}}, literal(VALUE), (), choices, {{}}),)
display(HTML(exercises.questions_html(Tasks("00", {{}}, asked, None))))
import dataclasses, toys
model = dataclasses.replace(toys.what_if(3), label=VALUE, source=VALUE, formula=VALUE)
whatif.show(lambda: model)
"""


def test_a_hostile_notebook_opens_quietly_and_its_sliders_and_quiz_work(
    tmp_path: Path, open_page: Open
) -> None:

    (tmp_path / "toys.py").write_text(TOYS)
    text = "# A page\n\n" + "\n\n".join(m for m in RUNS if "mglyph" not in m)
    cells = [new_markdown_cell(text), code(SHOWS, "hide-input"), new_markdown_cell("## The end")]
    notebook = tmp_path / "hostile.ipynb"
    notebook.write_text(json.dumps(new_notebook(cells)))
    made = export(notebook, tmp_path / "out")

    dialogs: list[Any] = []
    page = open_page(made, watch=dialogs)  # it fails on requests, errors and violations
    figure = page.locator("figure.vmc-whatif")
    before = figure.locator(".vmc-frame svg").inner_html()
    figure.get_by_role("slider").focus()
    page.keyboard.press("ArrowRight")
    assert figure.locator(".vmc-frame svg").inner_html() != before
    choice = page.locator(".vmc-quiz").get_by_role("radio").first
    choice.check()
    assert VALUE.split()[0] in page.locator(".vmc-quiz .vmc-said:visible").inner_text()
    for trap in page.locator("#trap, #send").all():
        trap.dispatch_event("click")
    assert page.locator("h2").last.inner_text() == "The end"
    assert page.url == made.as_uri()
    assert not dialogs
