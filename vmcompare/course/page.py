"""The page of a lesson, which follows the newest run: notes, tables, predictions, buttons."""

from __future__ import annotations

import html
import math
import re
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

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

    def html(self, markup: str) -> None:
        """Put HTML on the page, once and for all."""
        from IPython.display import HTML

        display(HTML(markup))


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
        return f'<p class="vmc-note"><strong>Note.</strong> {html.escape(self.text)}</p>'


@dataclass(frozen=True, slots=True)
class Html:
    """HTML in place of something that is drawn."""

    markup: str

    def _repr_html_(self) -> str:
        return self.markup


class Markup(str):
    """A table's cell that is HTML already."""

    __slots__ = ()


def lesson_link(notebook: Path, words: str) -> Markup:
    """A link to a lesson: its notebook in JupyterLab, its handout in a handout."""
    name = notebook.name
    if is_handout():
        name = notebook.stem + ("-instructor" if edition() == "instructor" else "") + ".html"
    return Markup(f'<a href="{quote(name)}">{html.escape(words)}</a>')


def table(rows: Sequence[Mapping[str, Any]], caption: str = "") -> Any:
    """Rows as an HTML table with header cells, for screen readers as for eyes."""
    from IPython.display import HTML

    e = html.escape
    names = list(rows[0]) if rows else []
    left = ' style="text-align:left"'  # JupyterLab would set words to the right
    head = "".join(f'<th scope="col"{left}>{e(str(name))}</th>' for name in names)
    body = "".join(
        "<tr>" + "".join(_cell(name, cell) for name, cell in row.items()) + "</tr>" for row in rows
    )
    words = f"<caption{left}>{e(caption)}</caption>" if caption else ""
    return HTML(
        f'<table class="vmc-table">{words}<thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table>"
    )


_LINKED = frozenset({"source", "weakness"})
"""Columns of tables whose addresses are links: they come from our own data."""

_LINK = re.compile(r"(?:\[([^\]\n]+)\]\()?(https://[^\s()]+)\)?")
"""A cell that is an address, or a link as Markdown has it."""


def _linked(words: str | None, address: str) -> str:
    """A link (HTML); without words it is called by where it leads."""
    host, *path = address.removeprefix("https://").rstrip("/").split("/")
    words = words or (f"{host}: {path[-1]}" if path else host)
    return f'<a href="{html.escape(address)}">{html.escape(words)}</a>'


def _cell(name: str, cell: Any) -> str:
    """A table cell; a short one is a figure with its unit and is not torn apart."""
    text = str(cell)
    whole = ";white-space:nowrap" if len(text) <= 12 else ""
    shown = text if isinstance(cell, Markup) else html.escape(text)
    linked = name in _LINKED and not isinstance(cell, Markup)
    if linked and (found := _LINK.fullmatch(text)):
        shown = _linked(found[1], found[2])
    return f'<td style="text-align:left{whole}">{shown}</td>'


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


def prediction_form(
    question: str,
    unit: str,
    kept: float | str | None,
    keep: Callable[[float | str], str],
    choices: Sequence[str] = (),
) -> Any:
    """A question with a field and a button; ``keep`` is told the answer, says what became of it.

    ``unit`` is ``"s"``, ``"ratio"`` or any other word to stand before the field. Where there are
    ``choices``, one of them is asked for instead of a number.
    """
    import ipywidgets as widgets

    if choices:
        value = kept if kept in choices else ""
        field = widgets.Dropdown(
            options=[("choose …", ""), *((choice, choice) for choice in choices)],
            value=value,
            layout={"width": "16em"},
        )
    else:
        words = {"ratio": "times", "s": "seconds"}.get(unit, unit)
        field = widgets.FloatText(value=kept or 0.0, description=words, layout={"width": "14em"})
    button = widgets.Button(description="Keep my prediction", layout={"width": "auto"})
    said = widgets.HTML("" if kept is None else "Kept earlier.")

    def act(value: Any, _: bool) -> None:
        said.value = html.escape(keep(value if choices else float(value)), quote=False)

    submitted(button, field, act)
    asked = widgets.HTML(f"<b>{html.escape(question)}</b>")
    return widgets.VBox([asked, widgets.HBox([field, button]), said])


def prediction_blank(question: str, unit: str, choices: Sequence[str] = ()) -> str:
    """The same on paper: a line to write on, or words to tick."""
    asked = html.escape(question)
    if choices:
        boxes = " ".join(
            f'<span style="white-space:nowrap">☐ {html.escape(choice)}</span>' for choice in choices
        )
        return f'<p class="vmc-predict">{asked} {boxes}</p>'
    blank = '<span class="vmc-blank">______________</span>'
    words = {"ratio": "×"}.get(unit, html.escape(unit))
    return f'<p class="vmc-predict">{asked} {blank} {words}</p>'
