"""What a learner predicts before it is measured: a number, a choice, or a grid to tick.

Each is asked with widgets or on paper, kept like every other answer, and set beside what was found.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from markupsafe import Markup, escape

from vmcompare.course import answers
from vmcompare.course.page import submitted
from vmcompare.course.templates import render
from vmcompare.evidence.markdown import inline
from vmcompare.evidence.units import written
from vmcompare.evidence.view import Grid, Outcome, View
from vmcompare.measuring.mode import is_handout
from vmcompare.sandbox import EMULATION

if TYPE_CHECKING:
    import ipywidgets as widgets

Ticks = Mapping[str, Sequence[str]]
"""Column → names of the rows that were ticked."""

_LATER = "You will see it beside the result."
KEPT = f"Kept. {_LATER}"
"""What is said of an answer when nothing stood in its way."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """A number that is asked for.

    Attributes:
        lesson: its number, under which the answer is kept.
        name: of the outcome it is set beside.
        question: what is asked.
        unit: ``"s"``, ``"ratio"`` or any other word.
        whole: whether a count is asked for, which may be zero.
    """

    lesson: str
    name: str
    question: str
    unit: str = ""
    whole: bool = False

    def refuses(self, value: object) -> str:
        """Why ``value`` is no answer, as a sentence; empty when it is one."""
        number = answers.number(value)
        if number is None:
            return "Please give a number."
        if self.whole:
            return "" if number >= 0 and number == int(number) else "Please give a whole number."
        return "" if number > 0 else "Please give a number above zero."

    def keep(self, value: Any) -> str:
        """Keep an answer; returns what to tell the learner."""
        return self.refuses(value) or _keep(self, answers.number(value))

    def kept(self) -> float | None:
        """What was predicted, perhaps in an earlier session; ``None`` on paper."""
        value = _kept(self)
        if isinstance(value, bool) or not isinstance(value, int | float):
            return None
        return None if self.refuses(value) else value

    def form(self, keep: Callable[[Any], str]) -> widgets.VBox:
        """A field and a button."""
        import ipywidgets as widgets

        kept = self.kept()
        unit = {"ratio": "times", "s": "seconds"}.get(self.unit, self.unit)
        field = widgets.FloatText(value=kept or 0, description=unit, layout={"width": "14em"})
        button, said = _button("Keep my prediction", field, keep, again=kept is not None)
        return widgets.VBox([_bold(self.question), widgets.HBox([field, button]), said])

    def paper(self) -> Markup:
        """A field that the page keeps in the reader's browser; printed a line to write on."""
        unit = {"ratio": "×"}.get(self.unit, self.unit)
        return render("prediction", id=self._id, question=self.question, unit=unit)

    @property
    def _id(self) -> str:
        return re.sub(r"[^A-Za-z0-9_-]+", "-", f"p-{self.lesson}-{self.name}")

    def on_page(self, found: float | None = None) -> Markup:
        """A cell that a handout's script fills in, with the reader's prediction or, where the
        number that was ``found`` is given, with its ratio to that."""
        return render("guess", id=self._id, found=found)

    def beside(self, outcome: Outcome, view: View) -> Mapping[str, str]:
        """The guess, what the view gives, and how far they are apart."""
        guess, found = self.kept(), outcome(view)
        own: str = "–" if guess is None else written(guess, self.unit)
        times = f"{found / guess:.2g}×" if found and guess else "–"
        if is_handout():
            own, times = self.on_page(), self.on_page(found) if found else "–"
        under = f" ({EMULATION})" if view.emulated(outcome.platforms) else ""
        return {
            "question": self.question,
            "you predicted": own,
            "found": "not measured here" if found is None else written(found, self.unit) + under,
            "found ÷ predicted": times,
        }


@dataclass(frozen=True, slots=True)
class Ticked:
    """A grid of boxes to tick.

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

    def refuses(self, value: Ticks) -> str:
        """Which column or row of ``value`` the grid does not have; empty when it has them all."""
        columns, rows = self.grid.columns, self.grid.rows
        for column, some in value.items():
            if column not in columns:
                return f"There is no column {column!r}; there are: {', '.join(columns)}."
            if wrong := [repr(row) for row in some if row not in rows]:
                return f"There is no row {', '.join(wrong)}; there are: {', '.join(rows)}."
        return ""

    def keep(self, value: Ticks) -> str:
        """Keep what was ticked; returns what to tell the learner."""
        return self.refuses(value) or _keep(
            self, {column: list(value.get(column, ())) for column in self.grid.columns}
        )

    def kept(self) -> Ticks | None:
        """What was ticked, perhaps in an earlier session; ``None`` for nothing, and on paper."""
        value = _kept(self)
        if not isinstance(value, dict):
            return None
        ticked = {column: value.get(column) for column in self.grid.columns}
        return {
            c: [str(r) for r in rows] if isinstance(rows, list) else []
            for c, rows in ticked.items()
        }

    def form(self, keep: Callable[[Any], str]) -> widgets.VBox:
        """Boxes to tick, and a button."""
        import ipywidgets as widgets

        kept = self.kept()
        field = _Boxes(self.grid, kept or {})
        button, said = _button("Keep my ticks", field, keep, again=kept is not None)
        lines = []
        for row, what in self.grid.rows.items():
            boxes = [field.boxes[row, column] for column in self.grid.columns]
            lines += [
                _bold(row, Markup(": {}").format(inline(what))),
                widgets.HBox(boxes, layout={"flex_flow": "row wrap"}),
            ]
        return widgets.VBox([_bold(self.question), *lines, widgets.HBox([button, said])])

    def paper(self) -> Markup:
        """A box in every cell; what to expect, and why, folded for the last page."""
        return render("grid", question=self.question, grid=self.grid)

    def beside(self) -> Markup:
        """What was found, cell by cell, beside the ticks, with a reason for every wrong one.

        Raises:
            Unavailable: nothing of it was measured.
        """
        view, grid, ticked = self.view(), self.grid, self.kept()
        found = grid.find(view)
        wrong: list[tuple[str, str, str]] = []
        told = 0

        def cell(column: str, row: str) -> str:
            nonlocal told
            holds = found.get(column, {}).get(row)
            if holds is None:
                return "not measured"
            told += 1
            words = grid.yes if holds else grid.no
            if ticked is None:
                return words
            if (row in ticked[column]) is holds:
                return f"{words} ✓"
            wrong.append((column, row, _why(grid, column, row, holds)))
            return f"{words} ✗"

        rows = [(row, [cell(column, row) for column in grid.columns]) for row in grid.rows]
        score = (
            "You have ticked nothing yet, so only what was found is shown."
            if ticked is None
            else f"✓ as you ticked it, ✗ not: {told - len(wrong)} of {told} right."
        )
        return render(
            "grid-found",
            question=self.question, score=score, source=view.caption(),
            grid=grid, rows=rows, wrong=wrong,
        )  # fmt: skip


def _keep(asked: Prediction | Ticked, value: answers.Json) -> str:
    return f"{answers.keep(asked.lesson, asked.name, value)} {_LATER}"


def _kept(asked: Prediction | Ticked) -> answers.Json:
    """What the file of answers holds; on paper nobody's answers are shown."""
    return None if is_handout() else answers.kept(asked.lesson).get(asked.name)


def _why(grid: Grid, column: str, row: str, holds: bool) -> str:
    """Why a cell is what it is (Markdown); where it is not what one should expect, that."""
    why = grid.reasons.get((column, row))
    if holds:
        return why or f"Found, but not expected: look at the answer to this {grid.called}."
    if why is not None:
        return f"Expected, but not found here. {why}"
    return f"`{column}` takes away another wall than the one that stops this."


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
        self._grid = grid

    @property
    def value(self) -> Ticks:
        grid, boxes = self._grid, self.boxes
        return {c: [r for r in grid.rows if boxes[r, c].value] for c in grid.columns}

    def observe(self, changed: Callable[[Mapping[str, Any]], None], names: str) -> None:
        for box in self.boxes.values():
            box.observe(lambda _: changed({"new": self.value}), names=names)


def _button(words: str, field: Any, keep: Callable[[Any], str], *, again: bool) -> tuple[Any, Any]:
    """A button that hands the value of ``field`` to ``keep``, and the place of what that says."""
    import ipywidgets as widgets

    button = widgets.Button(description=words, layout={"width": "auto"})
    said = widgets.HTML("Kept earlier." if again else "")

    def act(value: Any, _: bool) -> None:
        said.value = str(escape(keep(value)))

    submitted(button, field, act)
    return button, said


def _bold(words: str, more: Markup | str = "") -> Any:
    import ipywidgets as widgets

    return widgets.HTML(str(Markup("<b>{}</b>{}").format(words, more)))
