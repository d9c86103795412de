"""An executed notebook as one HTML page. The same notebook always gives the same bytes."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import nbformat
from jinja2 import pass_context
from jinja2.runtime import Context
from nbconvert.exporters import HTMLExporter

from vmcompare import __version__
from vmcompare.errors import VmcompareError, printable
from vmcompare.handout import HandoutError, finish, markdown

LIVE_SENTENCE = "There is a control here that works in the notebook: open it in JupyterLab."

OUTPUT_MAX = 2_000_000
"""Characters that one cell may show, pictures included: ten times the largest of the lessons."""

_WIDGET = "application/vnd.jupyter.widget-view+json"
_TEMPLATES = Path(__file__).parent
_OTHER_EDITION = {"student": "instructor-only", "instructor": "student-only"}


def leave_out(content: nbformat.NotebookNode, edition: str) -> None:
    """Remove, in place, the cells that do not belong into this edition of a handout."""
    unwanted = {"live-only", _OTHER_EDITION[edition]}
    content.cells = [c for c in content.cells if not unwanted & set(_tags(c))]


def _tags(cell: Mapping[str, Any]) -> list[str]:
    metadata = cell.get("metadata")
    tags = metadata.get("tags") if isinstance(metadata, dict) else None
    return [tag for tag in tags if isinstance(tag, str)] if isinstance(tags, list) else []


def render(content: nbformat.NotebookNode, notebook: Path, *, edition: str = "student") -> str:
    """The page of an executed notebook.

    Args:
        content: the executed notebook; it is not changed.
        notebook: where it came from (pictures are looked for beside it).
        edition: ``"student"`` or ``"instructor"``.

    Raises:
        HandoutError: something cannot be shown, or would have to be loaded from elsewhere.
    """
    try:
        return _render(content, notebook, edition)
    except HandoutError:
        raise
    except Exception as error:
        what = f"it cannot be shown ({type(error).__name__}: {printable(str(error), 100)})"
        raise HandoutError(notebook, what) from error


def _render(content: nbformat.NotebookNode, notebook: Path, edition: str) -> str:
    shown = copy.deepcopy(content)
    for cell in shown.cells:
        if cell.cell_type == "code":
            cell.outputs = _without_widgets(cell.outputs)
            _refuse_huge(cell, notebook)
    resources: dict[str, Any] = {
        "metadata": {"name": notebook.stem, "path": str(notebook.resolve().parent)}
    }
    made = shown.metadata.get("vmcompare")
    resources["vmcompare"] = {
        "version": __version__,
        "edition": edition,
        "run": _provenance(made.get("run", "") if isinstance(made, dict) else ""),
        "notebook": notebook,
    }
    body, _ = _exporter().from_notebook_node(shown, resources)
    body = body.encode("utf-8", "replace").decode("utf-8")  # half characters, out of "\\ud800"
    title = shown.metadata.get("title", "")
    return finish.finish(
        body, notebook, title=title if isinstance(title, str) else "", edition=edition
    )


def _refuse_huge(cell: nbformat.NotebookNode, notebook: Path) -> None:
    size = sum(_characters(output) for output in cell.outputs)
    if size > OUTPUT_MAX:
        what = f"the cell shows {size:,} characters, and a page takes {OUTPUT_MAX:,} of one cell"
        raise HandoutError(notebook, what, cell=first_line(cell))


def _characters(value: Any) -> int:
    """Characters of all texts in an output, however they are nested."""
    waiting, found = [value], 0
    while waiting:
        one = waiting.pop()
        if isinstance(one, str):
            found += len(one)
        elif isinstance(one, dict):
            waiting += one.values()
        elif isinstance(one, list):
            waiting += one
    return found


def first_line(cell: Mapping[str, Any]) -> str:
    """What a cell is called by in a sentence."""
    return printable(str(cell.get("source", "")).strip().partition("\n")[0], 60)


def _without_widgets(outputs: list[Any]) -> list[Any]:
    """Widgets are dead without a kernel: one sentence stands for all of a cell's."""
    kept: list[Any] = []
    told = False
    for output in outputs:
        data = output.get("data", {})
        if not isinstance(data, dict) or _WIDGET not in data:
            kept.append(output)
        elif not told:
            told = True
            sentence = {"text/html": f'<p class="vmc-note">{LIVE_SENTENCE}</p>'}
            note = {"output_type": "display_data", "data": sentence, "metadata": {}}
            kept.append(nbformat.from_dict(note))  # type: ignore[no-untyped-call]
    return kept


def _provenance(run: Any) -> str:
    """The run a notebook carries, as one line; a mapping becomes "key value" pairs."""
    if isinstance(run, dict):
        return ", ".join(f"{key} {value}" for key, value in run.items())
    return "; ".join(map(str, run)) if isinstance(run, list) else str(run)


@cache
def _exporter() -> _Exporter:
    return _Exporter(  # type: ignore[no-untyped-call]
        template_name="template",
        template_file="index.html.j2",
        extra_template_basedirs=[str(_TEMPLATES)],
    )


class _Exporter(HTMLExporter):
    """nbconvert's exporter with our Markdown, and nothing in a page that runs."""

    def default_filters(self) -> Iterator[tuple[str, Any]]:
        yield from super().default_filters()  # type: ignore[no-untyped-call]
        yield "output2html", self.output2html
        yield "clean_html", self.clean_html

    @pass_context
    def markdown2html(self, context: Context, source: str) -> str:
        """What an author wrote."""
        return self._told(context, lambda *where: markdown.to_html(source, *where))

    @pass_context
    def output2html(self, context: Context, source: str) -> str:
        """Markdown that a cell displays."""
        return self._told(context, lambda *where: markdown.to_html(source, *where, trusted=False))

    @pass_context
    def clean_html(self, context: Context, source: str) -> str:
        """HTML that a cell displays."""
        return self._told(context, lambda *_: markdown.clean(source))

    def _told(self, context: Context, render: Callable[[Path, Mapping[str, Any]], str]) -> str:
        """What ``render`` makes; where it cannot, the error names the cell."""
        cell: Mapping[str, Any] = context.get("cell") or {}
        resources = context["resources"]
        attachments = cell.get("attachments")
        attachments = attachments if isinstance(attachments, dict) else {}
        try:
            return render(Path(resources["metadata"]["path"]), attachments)
        except VmcompareError as error:
            notebook = resources["vmcompare"]["notebook"]
            raise HandoutError(notebook, str(error), cell=first_line(cell)) from error
