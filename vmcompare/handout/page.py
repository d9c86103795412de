"""An executed notebook as one HTML page. The same notebook always gives the same bytes."""

from __future__ import annotations

import copy
from functools import cache
from pathlib import Path
from typing import Any

import nbformat
from jinja2 import pass_context
from jinja2.runtime import Context
from nbconvert.exporters import HTMLExporter

from .. import __version__
from . import finish, markdown

LIVE_SENTENCE = "There is a control here that works in the notebook: open it in JupyterLab."

_WIDGET = "application/vnd.jupyter.widget-view+json"
_TEMPLATES = Path(__file__).parent
_OTHER_EDITION = {"student": "instructor-only", "instructor": "student-only"}


def leave_out(content: nbformat.NotebookNode, edition: str) -> None:
    """Remove, in place, the cells that do not belong into this edition of a handout."""
    unwanted = {"live-only", _OTHER_EDITION[edition]}
    content.cells = [c for c in content.cells if not unwanted & set(c.metadata.get("tags", []))]


def render(content: nbformat.NotebookNode, notebook: Path, *, edition: str = "student") -> str:
    """The page of an executed notebook.

    Args:
        content: the executed notebook; it is not changed.
        notebook: where it came from (pictures are looked for beside it).
        edition: ``"student"`` or ``"instructor"``.

    Raises:
        HandoutError: the page would have to load something from elsewhere.
    """
    shown = copy.deepcopy(content)
    for cell in shown.cells:
        if cell.cell_type == "code":
            cell.outputs = _without_widgets(cell.outputs)
    resources = {"metadata": {"name": notebook.stem, "path": str(notebook.resolve().parent)}}
    resources["vmcompare"] = {
        "version": __version__,
        "edition": edition,
        "run": _provenance(shown.metadata.get("vmcompare", {}).get("run", "")),
    }
    body, _ = _exporter().from_notebook_node(shown, resources)
    return finish.finish(
        body, notebook, title=str(shown.metadata.get("title", "")), edition=edition
    )


def _without_widgets(outputs: list[Any]) -> list[Any]:
    """Widgets are dead without a kernel: one sentence stands for all of a cell's."""
    kept: list[Any] = []
    told = False
    for output in outputs:
        data = output.get("data", {})
        if _WIDGET not in data:
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
    """nbconvert's exporter with our Markdown."""

    @pass_context
    def markdown2html(self, context: Context, source: str) -> str:
        directory = context["resources"]["metadata"]["path"]
        attachments = context.get("cell", {}).get("attachments", {})
        return markdown.to_html(source, Path(directory), attachments)
