"""A grid that a learner ticks before it is measured: as widgets, on paper, and beside the result.

It is kept like every other prediction.
"""

from __future__ import annotations

import html
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vmcompare.course import answers
from vmcompare.course.page import submitted
from vmcompare.evidence.markdown import inline
from vmcompare.evidence.view import Grid, View
from vmcompare.measuring.mode import is_handout

Ticks = Mapping[str, Sequence[str]]
"""Column → names of the rows that were ticked."""

KEPT = "Kept. You will see it beside the result."
"""What is said of an answer when nothing stood in its way."""

_LEFT = ' style="text-align:left"'


@dataclass(frozen=True, slots=True)
class Asked:
    """One grid as a lesson asks for it.

    Attributes:
        lesson: its number, under which the ticks are kept.
        name: of the grid.
        question: what a tick answers.
        grid: what is ticked.
        view: gives the rows that are shown now.
    """

    lesson: str
    name: str
    question: str
    grid: Grid
    view: Callable[[], View]


def kept(asked: Asked) -> Ticks | None:
    """What was ticked, perhaps in an earlier session; ``None`` where nothing was, and on paper."""
    value = None if is_handout() else answers.kept(asked.lesson).get(asked.name)
    if not isinstance(value, dict):
        return None
    columns = {column: value.get(column) for column in asked.grid.columns}
    return {
        column: [str(row) for row in rows] if isinstance(rows, list) else []
        for column, rows in columns.items()
    }


def keep(asked: Asked, ticked: Ticks) -> str:
    """Keep what was ticked; returns what to tell the learner."""
    columns, rows = asked.grid.columns, asked.grid.rows
    for column, some in ticked.items():
        wrong = [repr(row) for row in some if row not in rows]
        if column not in columns:
            return f"There is no column {column!r}; there are: {', '.join(columns)}."
        if wrong:
            return f"There is no row {', '.join(wrong)}; there are: {', '.join(rows)}."
    said = answers.keep(asked.lesson, asked.name, {c: list(ticked.get(c, ())) for c in columns})
    return beside_the_result(said)


def beside_the_result(said: str) -> str:
    """What is said of an answer that is kept, for one that is compared later."""
    return f"{said} You will see it beside the result."


class _Boxes:
    """The boxes of a grid, which :func:`submitted` takes for one field."""

    def __init__(self, grid: Grid, ticked: Ticks) -> None:
        import ipywidgets as widgets

        self.boxes = {
            (row, column): widgets.Checkbox(
                value=row in ticked.get(column, ()),
                description=column,
                indent=False,
                tooltip=f"{column}: {row}",
                layout={"width": "auto", "margin": "0 1em 0 0"},
            )
            for row in grid.rows
            for column in grid.columns
        }
        self._columns = grid.columns

    @property
    def value(self) -> Ticks:
        found: dict[str, list[str]] = {column: [] for column in self._columns}
        for (row, column), box in self.boxes.items():
            if box.value:
                found[column].append(row)
        return found

    def observe(self, changed: Callable[[Mapping[str, Any]], None], names: str) -> None:
        for box in self.boxes.values():
            box.observe(lambda _: changed({"new": self.value}), names=names)


def form(asked: Asked, keep_them: Callable[[Ticks], str]) -> Any:
    """The grid as boxes to tick, with a button; ``keep_them`` says what became of the answer."""
    import ipywidgets as widgets

    before = kept(asked)
    field = _Boxes(asked.grid, before or {})
    button = widgets.Button(description="Keep my ticks", layout={"width": "auto"})
    said = widgets.HTML("" if before is None else "Kept earlier.")

    def act(value: Any, _: bool) -> None:
        said.value = html.escape(keep_them(value), quote=False)

    submitted(button, field, act)
    lines = []
    for row, what in asked.grid.rows.items():
        words = widgets.HTML(f"<b>{html.escape(row)}</b>: {inline(what)}")
        boxes = [field.boxes[row, column] for column in asked.grid.columns]
        lines += [words, widgets.HBox(boxes, layout={"flex_flow": "row wrap"})]
    asking = widgets.HTML(f"<b>{html.escape(asked.question)}</b>")
    return widgets.VBox([asking, *lines, widgets.HBox([button, said])])


def paper(asked: Asked) -> str:
    """The grid on paper (HTML): a box in every cell; what to expect, and why, on the last page."""
    grid = asked.grid
    head = _heads(grid)
    body = "".join(
        f'<tr><th scope="row"{_LEFT[:-1]};font-weight:400"><b>{html.escape(row)}</b>: '
        f"{inline(what)}</th>" + f"<td{_LEFT}>☐</td>" * len(grid.columns) + "</tr>"
        for row, what in grid.rows.items()
    )
    expected = "".join(
        f"<li><code>{html.escape(column)}</code>, {html.escape(row)}: {inline(why)}</li>"
        for (column, row), why in grid.reasons.items()
    )
    return (
        f'<div class="vmc-predict"><p>{html.escape(asked.question)}</p>'
        f'<table class="vmc-table"><thead><tr><th scope="col"{_LEFT}>'
        f"{html.escape(grid.called)}</th>{head}</tr></thead><tbody>{body}</tbody></table></div>"
        f'<details class="vmc-answer"><summary>What to tick, and why</summary>'
        f"<p>All other boxes stay empty.</p><ul>{expected}</ul></details>"
    )


def beside(asked: Asked) -> str:
    """What was found, cell by cell, beside the ticks (HTML), with a reason for every wrong one.

    Raises:
        Unavailable: nothing of it was measured.
    """
    view = asked.view()
    grid, ticked, found = asked.grid, kept(asked), asked.grid.find(view)
    rows, wrong, right, told = [], [], 0, 0
    for row in grid.rows:
        cells = []
        for column in grid.columns:
            holds = found.get(column, {}).get(row)
            if holds is None:
                cells.append("not measured")
                continue
            told += 1
            words = grid.yes if holds else grid.no
            if ticked is not None:
                agreed = (row in ticked.get(column, ())) is holds
                right += agreed
                words += " ✓" if agreed else " ✗"
                if not agreed:
                    wrong.append(_feedback(grid, column, row, holds))
            cells.append(words)
        rows.append((row, cells))
    head = _heads(grid)
    body = "".join(
        f'<tr><th scope="row"{_LEFT[:-1]};font-weight:400">{html.escape(row)}</th>'
        + "".join(f"<td{_LEFT}>{html.escape(cell)}</td>" for cell in cells)
        + "</tr>"
        for row, cells in rows
    )
    score = (
        "You have ticked nothing yet, so only what was found is shown."
        if ticked is None
        else f"✓ as you ticked it, ✗ not: {right} of {told} right."
    )
    return (
        f'<table class="vmc-table"><caption{_LEFT}>{html.escape(asked.question)} {score} — '
        f'{html.escape(view.caption())}</caption><thead><tr><th scope="col"{_LEFT}>'
        f"{html.escape(grid.called)}</th>{head}</tr></thead><tbody>{body}</tbody></table>"
        + (f"<ul>{''.join(wrong)}</ul>" if wrong else "")
    )


def _heads(grid: Grid) -> str:
    """Header cells (HTML) of the columns, whose words are not torn apart."""
    return "".join(
        f'<th scope="col"{_LEFT[:-1]};white-space:nowrap"><code>{html.escape(c)}</code></th>'
        for c in grid.columns
    )


def _feedback(grid: Grid, column: str, row: str, holds: bool) -> str:
    """Why a cell is what it is (HTML); where it is not what one should expect, that."""
    why = grid.reasons.get((column, row))
    if holds and why is None:
        why = f"Found, but not expected: look at the answer to this {grid.called}."
    elif not holds and why is not None:
        why = f"Expected, but not found here. {why}"
    why = why or f"`{column}` takes away another wall than the one that stops this."
    return f"<li><code>{html.escape(column)}</code>, {html.escape(row)}: {inline(why)}</li>"
