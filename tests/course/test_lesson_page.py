"""What a page shows: values as they are written, addresses as links, and no template left out."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import ipywidgets as widgets
import jinja2
import nbformat
import pytest
from nbclient import NotebookClient

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
    with pytest.raises(jinja2.UndefinedError, match="id"):
        templates.render("prediction")


class TestAPlace:
    """Something that a page shows, and later something else."""

    @pytest.fixture
    def outputs(self, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
        """The outputs of a cell; those that were displayed with an id can be updated."""
        shown: list[Any] = []

        def display(thing: Any, *, display_id: bool = False) -> Any:
            place = len(shown)
            shown.append(thing)
            return SimpleNamespace(update=lambda newer: shown.__setitem__(place, newer))

        monkeypatch.setattr("IPython.display.display", display)
        return shown

    @pytest.fixture
    def kernel(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(page, "has_kernel", lambda: True)

    @pytest.mark.usefixtures("kernel")
    def test_with_a_kernel_is_a_widget_that_hides_the_plain_output(
        self, outputs: list[Any]
    ) -> None:
        place = page.Place(page.Note("first"))
        view, _ = outputs
        assert isinstance(view.widget, widgets.HTML)
        assert view._repr_mimebundle_()["text/plain"] == ""
        place.show(page.Note("second"))
        for html in (view.widget.value, outputs[1]._repr_html_()):
            assert "second" in html
            assert "first" not in html
        hidden = f"vmc-saved-{view.widget.model_id}"
        assert f".{hidden} {{ display: none }}" in view.widget.value
        assert f'<div class="vmc-saved {hidden}">' in outputs[1]._repr_html_()

    @pytest.mark.usefixtures("kernel")
    def test_leaves_the_lesson_open_when_a_link_in_it_is_followed(self, outputs: list[Any]) -> None:
        page.Place(page.Html(page.lesson_link(Path("x.ipynb"), "<a b>")))
        view, saved = outputs
        assert '<a target="_blank" rel="noopener" href="x.ipynb">&lt;a b&gt;</a>' in (
            view.widget.value
        )
        assert '<a href="x.ipynb">' in saved._repr_html_()

    @pytest.mark.usefixtures("kernel")
    def test_shows_what_has_no_html_as_it_is_written(self, outputs: list[Any]) -> None:
        page.Place(["<b>"])
        assert "<pre>[&#39;&lt;b&gt;&#39;]</pre>" in outputs[0].widget.value

    def test_without_a_kernel_is_plain_output_alone(self, outputs: list[Any]) -> None:
        place = page.Place(page.Note("first"))
        assert outputs == [page.Note("first")]
        place.show(page.Note("second"))
        assert outputs == [page.Note("second")]


@pytest.mark.slow
def test_a_lesson_never_makes_a_client_send_and_its_figures_stay_in_the_notebook(
    private_places: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client that answers a widget while it waits for a cell may wait for ever."""
    monkeypatch.setenv("VMCOMPARE_MODE", "replay")
    cells = [
        'from vmcompare import Lesson\nboot = Lesson("boot_speed", "04")',
        'boot.figure("starts")',
        'Lesson("boot_instructions", "04").whatif("own_computer")',
        "boot.replay()",
    ]
    made = [nbformat.v4.new_code_cell(source) for source in cells]
    notebook = nbformat.v4.new_notebook(cells=made)
    beside = {"metadata": {"path": str(private_places)}}
    client = NotebookClient(notebook, timeout=120, kernel_name="python3", resources=beside)
    sent: list[str] = []
    with client.setup_kernel():
        channel = client.kc.shell_channel
        send = channel.send
        monkeypatch.setattr(
            channel, "send", lambda message: sent.append(message["msg_type"]) or send(message)
        )
        for index, cell in enumerate(made):
            client.execute_cell(cell, index)
    assert sent == ["execute_request"] * len(cells)
    for cell in made[1:3]:
        view, saved = cell.outputs
        assert "application/vnd.jupyter.widget-view+json" in view.data
        assert saved.data["text/html"].count("<img alt=") == 1
    models = {model["_model_name"] for model in client.widget_state.values()}
    assert "HTMLModel" in models
    assert "OutputModel" not in models
