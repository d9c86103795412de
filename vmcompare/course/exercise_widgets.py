"""Exercises and questions as widgets: everything by keyboard, and never a bare pass or fail.

Sections one below the other, not an accordion: the headers of ipywidgets' accordion cannot be
reached with the Tab key.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ipywidgets as widgets

from vmcompare.course.exercises import (
    LAB_STYLE,
    Reply,
    Tasks,
    as_written,
    heading,
    reply_html,
    task_html,
    unit_words,
)
from vmcompare.course.page import submitted
from vmcompare.evidence.exercise import Answer, Exercise, Question
from vmcompare.evidence.markdown import inline, plain, to_html

# ipywidgets gives its radio buttons no common name, and JupyterLab keeps the arrow keys for itself.
_KEYS = '<p class="vmc-kind">By keyboard: Tab to a choice, Space to choose it.</p>'
_WIDE = {"width": "auto", "max_width": "46em"}


def exercises(tasks: Tasks) -> tuple[widgets.VBox, Callable[[], None]]:
    """All exercises, and what to call when other rows are shown: kept answers are judged anew."""
    forms = [ExerciseForm(tasks, exercise) for exercise in tasks.ordered()]

    def refresh() -> None:
        for form in forms:
            form.refresh()

    return widgets.VBox([widgets.HTML(LAB_STYLE), *(form.box for form in forms)]), refresh


def questions(tasks: Tasks) -> widgets.VBox:
    """The quiz: what is said to a choice appears when it is chosen."""
    asked = [
        _question(tasks, number, question)
        for number, question in enumerate(tasks.questions, start=1)
    ]
    return widgets.VBox([widgets.HTML(LAB_STYLE + _KEYS), *asked])


class ExerciseForm:
    """One exercise: task, field, *Check*, what is said, and the solution once it is offered.

    Attributes:
        box: all of it, to be displayed.
        field: where the answer goes.
        button, offer: *Check*, and *Show the solution*, which is hidden until it is offered.
        said, solution: what is said to the answer, and the model answer.
    """

    def __init__(self, tasks: Tasks, exercise: Exercise) -> None:
        self._tasks, self._exercise = tasks, exercise
        kept = tasks.kept(exercise.name)
        self.field = _field(exercise, kept)
        self.button = widgets.Button(
            description="Check", button_style="primary", tooltip=f"Check: {plain(exercise.title)}"
        )
        self.offer = widgets.Button(
            description="Show the solution", layout={"display": "none", "width": "auto"}
        )
        self.said = widgets.HTML()
        self.solution = widgets.HTML()
        submitted(self.button, self.field, self._check)
        self.offer.on_click(lambda _: self._solve())
        by_hand = f'{tasks.called}.answer("{exercise.name}", …)'
        words = heading(exercise, 3, by_hand)
        words += task_html(exercise, tasks.code(exercise))
        self.box = widgets.VBox(
            [
                widgets.HTML(f'<div class="vmc-task">{words}</div>'),
                _labelled(exercise, self.field),
                widgets.HBox([self.button, self.offer]),
                self.said,
                self.solution,
            ]
        )
        self.refresh()

    def refresh(self) -> None:
        """Judge the kept answer by the rows shown now; that counts as no further try."""
        reply = self._tasks.again(self._exercise.name)
        kept = self._tasks.kept(self._exercise.name)
        if reply is not None and kept is not None:
            answer = as_written(self._exercise, kept)
            self._show(reply, again=f"<p><small>Your answer: {inline(answer)}</small></p>")
        if self.solution.value:
            self._solve()

    def _check(self, answer: Answer | None, late: bool) -> None:
        self._show(self._tasks.check(self._exercise.name, answer, instead=late))

    def _show(self, reply: Reply, again: str = "") -> None:
        self.said.value = again + reply_html(reply, again=bool(again))
        self.offer.layout.display = "" if reply.offer else "none"

    def _solve(self) -> None:
        words = to_html(self._tasks.solution(self._exercise.name))
        self.solution.value = f'<div class="vmc-task"><b>A model answer.</b> {words}</div>'


def _field(exercise: Exercise, kept: Answer | None) -> Any:
    if exercise.choices:
        return _radio(exercise.choices, kept if isinstance(kept, str) else None)
    number = float(kept) if isinstance(kept, int | float) else 0.0
    return widgets.FloatText(
        value=number,
        step=None,
        layout={"width": "12em"},
        tooltip=f"Your answer to: {plain(exercise.title)}",
    )


def _labelled(exercise: Exercise, field: Any) -> Any:
    """A number has its unit beside it, in words."""
    if exercise.choices:
        return field
    field.description = "Answer"
    field.style.description_width = "initial"
    return widgets.HBox([field, widgets.Label(unit_words(exercise.unit))])


def _radio(choices: tuple[str, ...], kept: str | None) -> Any:
    radio = widgets.RadioButtons(
        options=[(plain(text), text) for text in choices], value=kept, layout=_WIDE
    )
    radio.add_class("vmc-choices")
    return radio


def _question(tasks: Tasks, number: int, question: Question) -> widgets.VBox:
    kept = tasks.chosen(question)
    radio = _radio(tuple(c.text for c in question.choices), kept.text if kept else None)
    said = widgets.HTML()
    if kept is not None:
        said.value = reply_html(Reply(kept.right, kept.feedback, note="Kept earlier."), again=True)

    def on_choice(change: dict[str, Any]) -> None:
        said.value = reply_html(tasks.choose(question, change["new"]))

    radio.observe(on_choice, names="value")
    asked = f'<div class="vmc-task"><p><b>{number}.</b> {inline(question.ask)}</p></div>'
    return widgets.VBox([widgets.HTML(asked), radio, said])
