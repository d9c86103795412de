"""An executed notebook as one HTML page. The same notebook always gives the same bytes.

nbconvert makes the page from our template; then come the finishing touches: headings, contents,
tables, pictures, and that nothing is loaded from outside.
"""

from __future__ import annotations

import ast
import base64
import binascii
import copy
import itertools
import json
import os
import re
import unicodedata
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import nbformat
from bs4 import BeautifulSoup
from bs4.element import Tag
from markupsafe import Markup
from nbconvert.exporters import HTMLExporter

from vmcompare import __version__
from vmcompare.course.page import Note
from vmcompare.course.templates import environment
from vmcompare.errors import VmcompareError, printable
from vmcompare.evidence.claims import ARTICLE, quoted
from vmcompare.handout import TEMPLATES, HandoutError, files, markdown, safe
from vmcompare.plots import svg
from vmcompare.plots.picture import figure_css, zoomable

LIVE_SENTENCE = "There is a control here that works in the notebook: open it in JupyterLab."

OUTPUT_MAX = 2_000_000
"""Characters that one cell may show, pictures included: ten times the largest of the lessons."""

_WIDGET = "application/vnd.jupyter.widget-view+json"


def leave_out(content: nbformat.NotebookNode) -> None:
    """Remove, in place, the cells that are for a running notebook alone."""
    content.cells = [c for c in content.cells if "live-only" not in c.metadata.get("tags", [])]


def only_shows(source: str) -> bool:
    """Whether a cell does nothing but call its lesson's steps: code that no reader of a page needs.

    Such a cell imports from us, says ``name = Lesson(…)``, or calls ``name.step(…)``. What a
    learner would change or answer is more than that, and stays in sight.
    """

    try:
        return all(map(_is_step, ast.parse(source).body))
    except SyntaxError:
        return False


def _is_step(statement: ast.stmt) -> bool:
    match statement:
        case (
            ast.ImportFrom(module="vmcompare")
            | ast.Assign(value=ast.Call(func=ast.Name("Lesson" | "Verdict")))
            | ast.Expr(value=ast.Call(func=ast.Attribute(value=ast.Name())))
        ):
            return True
    return False


def render(
    content: nbformat.NotebookNode,
    notebook: Path,
    *,
    edition: str = "student",
    course: Sequence[Path] = (),
) -> str:
    """The page of an executed notebook, which is not changed.

    ``course`` are the notebooks whose pages lie beside this one, in order, with an index. Raises
    ``HandoutError``: something cannot be shown, or would have to be loaded from elsewhere.
    """
    try:
        return _render(content, notebook, edition, course)
    except HandoutError:
        raise
    except Exception as error:
        what = f"it cannot be shown ({type(error).__name__}: {printable(str(error), 100)})"
        raise HandoutError(notebook, what) from error


def _render(
    content: nbformat.NotebookNode, notebook: Path, edition: str, course: Sequence[Path]
) -> str:
    shown = copy.deepcopy(content)
    texts = (cell.source for cell in shown.cells if cell.cell_type == "markdown")
    words = re.sub(r"^>", "", "\n".join(texts), flags=re.MULTILINE)
    made = {
        "version": __version__,
        "edition": edition,
        "notebook": notebook,
        **_place(notebook, course, edition),
        "article": ARTICLE if "the article’s claims" in words.lower() or quoted(words) else "",
        "figures": figure_css(),
        "dark": svg.dark(),
    }
    for cell in shown.cells:
        try:
            _prepare(cell, notebook.resolve().parent)
        except VmcompareError as error:
            raise HandoutError(notebook, str(error), cell=first_line(cell)) from error
    resources = {"metadata": {"name": notebook.stem}, "vmcompare": made}
    body, _ = _exporter().from_notebook_node(shown, resources)
    body = body.encode("utf-8", "replace").decode("utf-8")  # half characters, out of "\\ud800"
    return _finished(body, notebook, edition)


def _place(notebook: Path, course: Sequence[Path], edition: str) -> dict[str, Any]:
    if notebook not in course or len(course) < 2:
        return {"lessons": 0}
    at = course.index(notebook)

    def link(lesson: Path) -> dict[str, str]:
        page = files.target(lesson, Path(), edition)
        return {"address": page.name, "title": files.heading(lesson)}

    return {
        "lessons": len(course), "at": at + 1, "index": files.INDEX,
        "beside": [
            {"address": name, "title": name.removesuffix(".html").replace("-", " ").capitalize()}
            for name in files.COMPANIONS
        ],
        "before": link(course[at - 1]) if at else None,
        "after": link(course[at + 1]) if at + 1 < len(course) else None,
    }  # fmt: skip


def _prepare(cell: nbformat.NotebookNode, folder: Path) -> None:
    """Make the HTML of Markdown, and leave nothing in what a cell shows that runs.

    Raises ``VmcompareError``: it cannot be shown, as a clause.
    """
    attachments = cell.get("attachments", {})
    if cell.cell_type == "markdown":
        cell.source = markdown.to_html(cell.source, folder, attachments)
    if cell.cell_type != "code":
        return
    cell.outputs = _without_widgets(cell.outputs)
    size = len(json.dumps(cell.outputs, ensure_ascii=False))
    if size > OUTPUT_MAX:
        what = f"the cell shows {size:,} characters, and a page takes {OUTPUT_MAX:,} of one cell"
        raise VmcompareError(what)
    if only_shows(cell.source):
        cell.metadata["tags"] = [*cell.metadata.get("tags", []), "hide-input"]
    kinds_shown = _exporter().environment.filters["filter_data_type"]
    for data in (output.data for output in cell.outputs if "data" in output):
        for kind in kinds_shown(data):
            if kind == "text/html":
                data[kind] = safe.clean(data[kind])
            elif kind in ("text/markdown", "text/latex"):
                data[kind] = markdown.to_html(data[kind], folder, attachments, trusted=False)


def first_line(cell: Mapping[str, Any]) -> str:
    return printable(str(cell.get("source", "")).strip().partition("\n")[0], 60)


def _without_widgets(outputs: list[Any]) -> list[Any]:
    """Widgets are dead without a kernel: one sentence stands for all of a cell's."""
    kept: list[Any] = []
    told = False
    for output in outputs:
        if _WIDGET not in output.get("data", {}):
            kept.append(output)
        elif not told:
            told = True
            sentence = {"text/html": Note(LIVE_SENTENCE)._repr_html_()}
            note = {"output_type": "display_data", "data": sentence, "metadata": {}}
            kept.append(nbformat.from_dict(note))  # type: ignore[no-untyped-call]
    return kept


@cache
def _exporter() -> HTMLExporter:
    return HTMLExporter(  # type: ignore[no-untyped-call]
        template_name="template",
        template_file="index.html.j2",
        extra_template_basedirs=[str(Path(__file__).parent)],
    )


# ---- finishing touches ---------------------------------------------------------------------------

_HEADINGS = ("h1", "h2", "h3", "h4", "h5", "h6")
_LABEL_MAX = 80
_SHORT = 20
_SVG = "data:image/svg+xml;base64,"
_LOADING = {"script": "src", "img": "src", "image": "href", "use": "href"}


def _finished(body: str, notebook: Path, edition: str) -> str:
    """Turn nbconvert's page into the handout, which loads nothing: else ``HandoutError``."""
    soup = BeautifulSoup(body, features="html.parser")
    main, page_title = soup.main, soup.title
    assert main is not None
    assert page_title is not None
    _drop_styles(main)
    _headings(soup, main, notebook.stem)
    _tables(soup, main)
    _short_code(main)
    _formulas(main)
    _pictures(main)
    _zoomable(main)
    if edition == "student":
        _answers(main)
    _folds(soup, main)
    _contents(main)
    page_title.string = _words(main.h1)
    _hide_home(main)
    _refuse_outside(soup, notebook)
    _set_policy(soup)
    return str(soup)


def _drop_styles(main: Tag) -> None:
    """Drop pandas' ``<style scoped>`` (no browser knows it: it would leak into the whole page)."""
    for style in main.select("style[scoped]"):
        style.decompose()
    for figure in main.select("figure.vmc-picture"):
        # The styles that serve JupyterLab would win over ours.
        del figure["style"]


def _headings(soup: BeautifulSoup, main: Tag, title: str) -> None:
    """One ``h1``, no level skipped, an id for each."""
    if main.h1 is None:
        heading = soup.new_tag("h1")
        heading.string = title
        main.insert(0, heading)
    level, used, seen_first = 0, {"main"}, False
    for heading in main.select(", ".join(_HEADINGS)):
        wanted = int(heading.name[1])
        if seen_first:
            wanted = max(wanted, 2)
        seen_first = seen_first or wanted == 1
        level = min(wanted, level + 1)
        heading.name = f"h{level}"
        heading["id"] = _named(heading.get_text(), used)


def _folds(soup: BeautifulSoup, main: Tag) -> None:
    """A section whose heading is collapsed in JupyterLab folds here, up to the next of its rank."""
    for cell in main.select("section.vmc-collapsed"):
        heading = cell.find(_HEADINGS)
        if not isinstance(heading, Tag):
            continue
        ends = _HEADINGS[: _HEADINGS.index(heading.name) + 1]
        folded = soup.new_tag("details", attrs={"class": "vmc-fold"})
        cell.insert_before(folded)
        summary = soup.new_tag("summary")
        summary.append(heading.extract())
        folded.append(summary)
        following: Any = cell
        while following is not None and not (
            following is not cell and isinstance(following, Tag) and following.find(ends)
        ):
            step = following.next_sibling
            folded.append(following.extract())
            following = step


def _named(text: str, used: set[str]) -> str:
    """An id for a heading that no other has: ``"the-picture-2"``."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    slug = re.sub(r"[^a-z0-9]+", "-", plain).strip("-") or "section"
    numbered = (f"{slug}-{number}" for number in itertools.count(2))
    name = next(name for name in itertools.chain([slug], numbered) if name not in used)
    used.add(name)
    return name


def _contents(main: Tag) -> None:
    """A list of the sections, right after the part that holds the title."""
    sections = [{"id": h["id"], "words": _words(h)} for h in main.select("h2")]
    if len(sections) < 3:
        return
    first = main.h1
    while first is not None and first.parent is not main:
        first = first.parent
    assert first is not None
    first.insert_after(_element("sections", headings=sections))


def _element(template: str, **values: Any) -> Tag:
    markup = environment(*TEMPLATES).get_template(f"{template}.html.j2").render(values)
    return BeautifulSoup(markup, features="html.parser").select("*")[0].extract()


def _words(tag: object) -> str:
    return tag.get_text(" ", strip=True) if isinstance(tag, Tag) else ""


def _tables(soup: BeautifulSoup, main: Tag) -> None:
    """Each table in a region that scrolls by itself and that the keyboard can reach."""
    for number, table in enumerate(main.select("table"), start=1):
        del table["border"]
        for cell in table.select("th"):
            if not cell.get_text(strip=True):
                cell.name = "td"  # an empty header cell heads nothing
            elif not cell.has_attr("scope"):
                cell["scope"] = "col" if cell.find_parent("thead") else "row"
        label = f"Table {number}"
        caption, before = table.find("caption"), table.find_previous(_HEADINGS)
        for source in (caption, before):
            words = _words(source)
            if 0 < len(words) <= _LABEL_MAX:  # a caption may be a paragraph on provenance
                label += f": {words}"
                break
        region = soup.new_tag("div", attrs={"class": "vmc-scroll"})
        region["role"], region["tabindex"], region["aria-label"] = "region", "0", label
        table.wrap(region)


def _short_code(main: Tag) -> None:
    """Code of so few letters that it fits a line of a telephone is not broken: ``--cpus``."""
    for code in main.select(":not(pre) > code"):
        if len(code.get_text()) <= _SHORT:
            code["class"] = "vmc-short"


def _formulas(main: Tag) -> None:
    for formula in main.select("div.vmc-math"):
        parent = formula.parent
        alone = parent is not None and parent.get_text(strip=True) == formula.get_text(strip=True)
        if isinstance(parent, Tag) and parent.name == "p" and alone:
            parent.unwrap()
        else:
            _hold_block(parent)


def _hold_block(paragraph: Tag | None) -> None:
    """A paragraph cannot hold a block: browsers would break it up."""
    if paragraph is not None and paragraph.name == "p":
        paragraph.name = "div"
        paragraph["class"] = "vmc-p"


def _pictures(main: Tag) -> None:
    """SVG pictures of the author's stand in the page, as figures do."""
    for image in main.select(".vmc-text img"):
        source = str(image.get("src", ""))
        if not source.startswith(_SVG):
            continue
        try:
            drawing = base64.b64decode(source[len(_SVG) :], validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            continue
        if alone := _inline(drawing, image):
            inner = f'<div class="vmc-figure vmc-diagram">{alone}</div>'
            image.replace_with(BeautifulSoup(inner, features="html.parser"))


def _inline(drawing: str, image: Tag) -> str | None:
    """An author's drawing as it can stand in the page; ``None`` where it has to be loaded."""
    start = drawing.find("<svg")
    if start < 0 or len(drawing) > _DRAWING_MAX:
        return None
    bare = _RULES.sub("", drawing[start:])  # they would hold for the whole page
    try:
        return safe.clean(svg.inline(svg.shrink(bare), str(image.get("alt", ""))))
    except (ValueError, VmcompareError):  # too many tags
        return None


_RULES = re.compile(r"<style[^>]*>[^<]*</style>")
_DRAWING_MAX = 50_000
"""Characters of a drawing that stands in the page; a larger one is loaded as a picture."""


def _zoomable(main: Tag) -> None:
    """Every drawing under its button: cells may bring neither buttons nor popovers."""
    for number, figure in enumerate(main.select("div.vmc-figure"), start=1):
        drawing = figure.find("svg", recursive=False)
        if not isinstance(drawing, Tag):
            continue
        styles = "".join(map(str, figure.find_all("style", recursive=False)))
        made = zoomable(Markup(styles + str(drawing)), f"vmc-figure-{number}")
        whole = BeautifulSoup(made, features="html.parser").div
        assert whole is not None
        whole["class"] = figure["class"]
        paragraph = figure.parent
        figure.replace_with(whole)
        _hold_block(paragraph)


def _answers(main: Tag) -> None:
    """Folded answers, printed on a last page: on paper nothing can be unfolded."""
    answers, named = [], None
    for folded in main.select("details.vmc-answer"):
        heading, body = folded.find_previous(_HEADINGS), copy.copy(folded)
        summary = body.find("summary")  # several stand under one heading, hints and a model answer
        if isinstance(summary, Tag):
            summary.extract()
        for tag in body.find_all(id=True):
            del tag["id"]
        answers.append(
            {
                "heading": "" if heading is named else _words(heading),
                "summary": _words(summary),
                "body": Markup(body.decode_contents()),
            }
        )
        named = heading
    if answers:
        main.append(_element("answers", answers=answers))


def _refuse_outside(soup: BeautifulSoup, notebook: Path) -> None:
    for tag in soup.select(", ".join(_LOADING)):
        for name in (_LOADING[tag.name], "xlink:href"):
            address = tag.get(name)
            if address is not None and not str(address).startswith(("data:image/", "#")):
                what = f"<{tag.name}> would load {address!s:.80}, which is not in the page"
                raise HandoutError(notebook, what)


def _hide_home(main: Tag) -> None:
    """What a cell printed is shown to a class: ``~`` for the home folder of who made the page."""
    home = os.path.expanduser("~")  # noqa: PTH111 - Path.home() raises where there is none
    if not re.match(r"/[^/]|[A-Za-z]:\\[^\\]", home):
        return  # "/" or no home at all: nothing that could be recognised
    path = re.compile(rf"(?<![\w+/.~-]){re.escape(home.rstrip('/'))}(?![\w.~-])")
    for output in main.select(".vmc-output"):
        for text in output.find_all(string=path):
            text.replace_with(type(text)(path.sub("~", text)))


def _set_policy(soup: BeautifulSoup) -> None:
    """In front of the head, and made last: only the scripts that stand in the page may run."""
    scripts = [tag.get_text() for tag in soup.select("script:not([type])")]
    content = {"http-equiv": "Content-Security-Policy", "content": safe.policy(scripts)}
    assert soup.head is not None
    soup.head.insert(0, soup.new_tag("meta", attrs=content))
