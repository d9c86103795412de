"""Choices as widgets, of exercises and questions: by keyboard, and never a bare pass or fail."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import ipywidgets as widgets

from vmcompare.course.exercises import LAB_STYLE, Reply, Said, Tasks
from vmcompare.evidence.exercise import Exercise, Question
from vmcompare.evidence.markdown import inline, plain

# ipywidgets gives its radio buttons no common name, and JupyterLab keeps the arrow keys for itself.
_KEYS = '<p class="vmc-kind">By keyboard: Tab to a choice, Space to choose it.</p>'
_WIDE = {"width": "auto", "max_width": "46em"}


def exercise(tasks: Tasks, asked: Exercise) -> tuple[widgets.VBox, Callable[[], None]]:
    """The choices of an exercise, and what to call when other rows are shown.

    A kept answer is then judged anew, which counts as no further try.
    """
    said = widgets.HTML()
    solve = tasks.solving(asked.name)

    def show(reply: Reply, *, again: bool = False) -> None:
        said.value = Said(reply, solve, again)._repr_html_()

    def refresh() -> None:
        if reply := tasks.again(asked.name):
            show(reply, again=True)

    kept = tasks.kept(asked.name)
    radio = _radio(asked.choices, kept if isinstance(kept, str) else None)
    radio.observe(lambda change: show(tasks.check(asked.name, change["new"])), names="value")
    refresh()
    return widgets.VBox([widgets.HTML(LAB_STYLE + _KEYS), radio, said]), refresh


def questions(tasks: Tasks) -> widgets.VBox:
    """The quiz: what is said to a choice appears when it is chosen."""
    asked = [
        _question(tasks, number, question)
        for number, question in enumerate(tasks.questions, start=1)
    ]
    return widgets.VBox([widgets.HTML(LAB_STYLE + _KEYS), *asked])


def _radio(choices: Sequence[str], kept: str | None) -> Any:
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
        reply = Reply(kept.right, kept.feedback, note="Kept earlier.")
        said.value = Said(reply, again=True)._repr_html_()

    def on_choice(change: dict[str, Any]) -> None:
        said.value = Said(tasks.choose(question, change["new"]))._repr_html_()

    radio.observe(on_choice, names="value")
    asked = f'<div class="vmc-task"><p><b>{number}.</b> {inline(question.ask)}</p></div>'
    return widgets.VBox([widgets.HTML(asked), radio, said])
