"""What stands on the page of a lesson: places, notes, tables, links, buttons."""

from __future__ import annotations

import asyncio
import math
import re
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from markupsafe import Markup

from vmcompare import paths
from vmcompare.course.templates import css, render
from vmcompare.errors import Unavailable, VmcompareError
from vmcompare.measuring.mode import edition, is_handout
from vmcompare.plots import svg
from vmcompare.plots.picture import figure_css, whole_dates

LATE_S = 1.0  # a value that arrives this soon (s) after its button was pressed was meant by it

Draw = Callable[[], Any]
"""Makes something to display; what it raises (``VmcompareError``) is shown as a sentence."""


class Place:
    """One place on the page, in which something else can be shown later.

    Where a kernel runs it is a widget: what that shows can be changed even after the page was
    closed and opened again. What is shown also stands in the notebook as plain output, for whoever
    opens it without a kernel; the widget hides it. In a handout and in a terminal there is only
    that output.
    """

    def __init__(self, shown: Any, within: Callable[[Any], Any] = lambda widget: widget) -> None:
        """Display ``shown``, which is anything that a notebook can display.

        ``within`` is given the widget, and returns the one to display: itself, or a box around it.
        """
        self._widget: Any = None
        if has_kernel():
            import ipywidgets as widgets

            self._widget = widgets.HTML()
            self._widget.add_class("vmc-place")
            _WIDGETS.add(self._widget)
            # Before the plain output, so that this is hidden when it comes.
            saved = self._filled(shown)
            display(_View(within(self._widget)))
            self._output = display(saved, display_id=True)
        else:
            self._output = display(shown, display_id=True)

    def show(self, shown: Any) -> None:
        if self._widget is not None:
            shown = self._filled(shown)
        if self._output is not None:  # None: outside IPython nothing can be shown anew
            self._output.update(shown)

    def _filled(self, shown: Any) -> Html:
        """Show something in the widget; returns the plain output that stands for it."""
        name = f"vmc-saved-{self._widget.model_id}"
        words = Markup("<pre>{}</pre>").format(repr(shown))
        html = str(shown._repr_html_() if hasattr(shown, "_repr_html_") else words)
        self._widget.value = (
            f"<style>.{name} {{ display: none }} {_LIVE_STYLE}</style>"
            f'<div class="{" ".join(LIVE)}">{html.replace("<a ", _NEW_TAB)}</div>'
        )
        plain = svg.as_images(html)
        saved = f'{_SAVED_STYLE}<div class="vmc-saved {name}">{plain}</div>'
        return Html(Markup(saved), repr(shown))


_WIDGETS: weakref.WeakSet[Any] = weakref.WeakSet()
"""The widgets of all places."""

AGAIN_S = (2.0, 10.0, 30.0)  # after the end of a run: a browser opens a lesson in 1 to 20 s


async def send_again(*more: Any) -> None:
    """Send what places and the widgets ``more`` show once more, :data:`AGAIN_S` from now.

    A page that is being opened asks for the state of all widgets, and makes them one by one. A
    change that comes meanwhile is lost to it: it would show an older run until it is reloaded.
    """
    began_s = time.monotonic()
    for due_s in AGAIN_S:
        await asyncio.sleep(max(0.0, began_s + due_s - time.monotonic()))
        for widget in (*_WIDGETS, *more):
            widget.send_state()


LIVE = ("vmc-live", "jp-RenderedHTMLCommon")
"""Classes of what a widget shows: it looks like a plain output."""


def needs_kernel(box: Any) -> Any:
    """Have one sentence stand in the place of ``box`` when the kernel that made it is gone."""
    box.add_class("vmc-asks")
    return box


_NEW_TAB = '<a target="_blank" rel="noopener" '
"""In a widget JupyterLab leaves links alone: one that is followed must not take the lesson away."""

_DARK = f"[data-jp-theme-light=false] .vmc-live .vmc-figure {{ {svg.dark()} }}"
_LIVE_STYLE = f"{figure_css()}{_DARK}\n{css('lab')}"
"""What JupyterLab does to a plain output, which it does not recognise within a widget."""

_SAVED_STYLE = """<style>
.jp-OutputArea-child:not(:has(.vmc-live)):has(+ .jp-OutputArea-child .vmc-saved) { display: none }
</style>"""
"""Hides what JupyterLab shows of a widget whose kernel is gone ("model not found")."""


@dataclass(frozen=True, slots=True)
class _View:
    widget: Any

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        return {**self.widget._repr_mimebundle_(), "text/plain": ""}


def display(thing: Any, **options: Any) -> Any:
    from IPython.display import display as displayed

    return displayed(thing, **options)


def has_kernel() -> bool:
    """Whether a notebook's kernel runs this, and what it shows can change: on paper it cannot."""
    from IPython import get_ipython

    return not is_handout() and getattr(get_ipython(), "kernel", None) is not None


def name_of(lesson: object) -> str:
    """What the notebook calls its lesson; ``"lesson"`` outside one."""
    from IPython import get_ipython

    shell = get_ipython()
    names: Mapping[str, Any] = shell.user_ns if shell is not None else {}
    return next((n for n, v in names.items() if v is lesson and n[0] != "_"), "lesson")


def safely(draw: Draw) -> Any:
    """What ``draw`` makes; where it raises ``VmcompareError``, its sentence."""
    try:
        return draw()
    except VmcompareError as error:
        return Note(str(error))


@dataclass(frozen=True, slots=True)
class Note:
    text: str

    def _repr_html_(self) -> str:
        return Markup('<p class="vmc-note"><strong>Note.</strong> {}</p>').format(self.text)


@dataclass(frozen=True, slots=True)
class Html:
    """HTML as a notebook displays it; in a terminal its ``words``, which may be others."""

    markup: Markup
    words: str = ""

    def _repr_html_(self) -> str:
        return self.markup

    def __repr__(self) -> str:
        return self.words or Markup(str(self.markup).replace("<", " <")).striptags()


def lesson_link(notebook: Path, words: str) -> Markup:
    """A link to a lesson: its notebook in JupyterLab, its handout in a handout."""
    name = notebook.name
    if is_handout():
        name = notebook.stem + ("-instructor" if edition() == "instructor" else "") + ".html"
    return _ANCHOR.format(quote(name), words)


def browser_lab() -> Any:
    """The browser lab in a frame; in a handout a link to it, which lies beside the handout.

    Raises ``Unavailable`` if it was not built, ``StorageError`` if it cannot be put beside the
    notebook, from where the frame takes it.
    """
    from IPython.display import IFrame

    built = paths.browser_lab_page()
    if not built.is_file():
        raise Unavailable("the browser lab was not built here", "make browser-lab")
    if is_handout():
        link = _ANCHOR.format(built.name, "The browser lab")
        return Html(
            Markup("<p>{} boots a VM in your browser, without Docker or QEMU.</p>").format(link)
        )
    here = Path.cwd()
    advice = "make this folder writable, or open dist/browser-lab.html yourself"
    with paths.as_storage_error(here, advice):
        paths.bring(built, here)
    return IFrame(built.name, width="100%", height=800)


def table(rows: Iterable[Mapping[str, str]], caption: str = "") -> Html:
    """Rows (column → what its cell says) as a table with header cells.

    Of a large table the first rows and columns stand on the page, and all of it folds below; so do
    all paragraphs of the caption but the first. A cell may be ``Markup``.
    """
    rows = list(rows)
    first, _, rest = caption.partition("\n\n")
    made = render(
        "table",
        names=list(rows[0]) if rows else [],
        rows=[[_linked(name, cell) for name, cell in row.items()] for row in rows],
        most_rows=ROWS_SHOWN,
        most_columns=COLUMNS_SHOWN,
        caption=whole_dates(first),
        more=rest.split("\n\n") if rest else [],
    )
    return Html(made)


ROWS_SHOWN, COLUMNS_SHOWN = 8, 6  # what a reader takes in at one look; a larger table folds


_LINKED = frozenset({"source", "vulnerability"})
"""Columns of tables whose addresses are links: they come from our own data."""

_LINK = re.compile(r"(?:\[([^\]\n]+)\]\()?(https://[^\s()]+)\)?")
"""A cell that is an address, or a link as Markdown has it."""

_ANCHOR = Markup('<a href="{}">{}</a>')


def _linked(column: str, cell: str) -> str:
    """The cell; an address as a link, which without words is called by where it leads."""
    found = _LINK.fullmatch(cell) if column in _LINKED else None
    if found is None:
        return cell
    host, *path = found[2].removeprefix("https://").rstrip("/").split("/")
    return _ANCHOR.format(found[2], found[1] or (f"{host}: {path[-1]}" if path else host))


def submitted(button: Any, field: Any, act: Callable[[Any], object]) -> None:
    """Let ``button`` act on the value of ``field``.

    The click may overtake the value: ipykernel (7.4) may hand the messages of the field and of the
    button to two threads. So a value that arrives right after a click is acted on as well. Where
    acting cannot be done twice, wait for :data:`LATE_S` and read the value then.
    """
    lock = threading.Lock()
    pressed_s = -math.inf

    def on_click(_: Any) -> None:
        nonlocal pressed_s
        with lock:
            act(field.value)
            pressed_s = time.monotonic()

    def on_value(change: Mapping[str, Any]) -> None:
        with lock:
            if time.monotonic() - pressed_s < LATE_S:
                act(change["new"])

    button.on_click(on_click)
    field.observe(on_value, names="value")
