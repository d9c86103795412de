"""The page of a lesson, which follows the newest run: notes, tables, links, buttons."""

from __future__ import annotations

import math
import re
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from markupsafe import Markup

from vmcompare.course.templates import render
from vmcompare.errors import VmcompareError
from vmcompare.measuring.mode import edition, is_handout

LATE_S = 1.0
"""A value that arrives this soon (s) after its button was pressed was meant by it."""

Draw = Callable[[], Any]
"""Makes something to display; what it raises (``VmcompareError``) is shown as a sentence."""


@dataclass(slots=True)
class Page:
    """What a lesson has displayed, and how to draw it again when a run ends."""

    _redraws: list[Callable[[], None]] = field(default_factory=list)

    def put(self, draw: Draw) -> Callable[[], None] | None:
        """Display what ``draw`` makes, and remember how to draw it again: it follows the next run.

        Returns that redrawing; ``None`` where nothing can be redrawn (outside a notebook).
        """
        handle = display(_safely(draw), display_id=True)
        if handle is None:
            return None

        def redraw() -> None:
            handle.update(_safely(draw))

        self.follow(redraw)
        return redraw

    def follow(self, redraw: Callable[[], None]) -> None:
        """Call ``redraw``, too, when other rows are shown."""
        self._redraws.append(redraw)

    def refresh(self) -> None:
        """Draw everything again."""
        for redraw in self._redraws:
            redraw()

    def say(self, text: str) -> None:
        """Put a sentence on the page."""
        self.put(lambda: Note(text))

    def html(self, markup: Markup) -> None:
        """Put HTML on the page, once and for all."""
        display(Html(markup))


def display(thing: Any, **options: Any) -> Any:
    """IPython's ``display``, imported when it is needed."""
    from IPython.display import display as displayed

    return displayed(thing, **options)


def name_of(lesson: object) -> str:
    """What the notebook calls its lesson; ``"lesson"`` outside one."""
    from IPython import get_ipython

    shell = get_ipython()
    names: Mapping[str, Any] = shell.user_ns if shell is not None else {}
    return next((n for n, v in names.items() if v is lesson and n[0] != "_"), "lesson")


def _safely(draw: Draw) -> Any:
    try:
        return draw()
    except VmcompareError as error:
        return Note(str(error))


@dataclass(frozen=True, slots=True)
class Note:
    """One sentence to the learner, in place of something that cannot be shown."""

    text: str

    def _repr_html_(self) -> str:
        return render("note", text=self.text)


@dataclass(frozen=True, slots=True)
class Html:
    """HTML as a notebook displays it."""

    markup: Markup

    def _repr_html_(self) -> str:
        return self.markup


def lesson_link(notebook: Path, words: str) -> Markup:
    """A link to a lesson: its notebook in JupyterLab, its handout in a handout."""
    name = notebook.name
    if is_handout():
        name = notebook.stem + ("-instructor" if edition() == "instructor" else "") + ".html"
    return _ANCHOR.format(quote(name), words)


def table(rows: Iterable[Mapping[str, str]], caption: str = "") -> Html:
    """Rows as a table with header cells, for screen readers as for eyes.

    Each row maps a column's name to what its cell says; a cell may be ``Markup``.
    """
    rows = list(rows)
    cells = [[_linked(name, cell) for name, cell in row.items()] for row in rows]
    return Html(render("table", names=list(rows[0]) if rows else [], rows=cells, caption=caption))


_LINKED = frozenset({"source", "weakness"})
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


def submitted(button: Any, field: Any, act: Callable[[Any, bool], None]) -> None:
    """Let ``button`` act on the value of ``field``: ``act(value, late)``.

    The click may overtake the value: JupyterLab sends the messages of widgets over subshells, and
    ipykernel (7.4) may hand those of the field and of the button to two threads. So a value that
    arrives right after a click is acted on as well, with ``late`` true. Where acting cannot be done
    twice, wait for :data:`LATE_S` after the click instead, and read the value then.
    """
    lock = threading.Lock()
    pressed_s = -math.inf

    def on_click(_: Any) -> None:
        nonlocal pressed_s
        with lock:
            act(field.value, False)
            pressed_s = time.monotonic()

    def on_value(change: Mapping[str, Any]) -> None:
        with lock:
            if time.monotonic() - pressed_s < LATE_S:
                act(change["new"], True)

    button.on_click(on_click)
    field.observe(on_value, names="value")
