"""Where values of Python and words of a lesson's text meet: captions, what-ifs, exercises."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import TypeVar

from vmcompare.course import text
from vmcompare.course.text import Section, Text
from vmcompare.errors import Unavailable
from vmcompare.evidence.exercise import Answer, Check, Exercise, Feedback, Question, chosen, near
from vmcompare.evidence.view import Grid, View
from vmcompare.experiments.explanation import Explanation, Row, Values, explanation
from vmcompare.plots.picture import MODELLED, Picture, WhatIf

S = TypeVar("S")

Tasked = tuple[Mapping[str, Exercise], tuple[Question, ...]]
"""Name → exercise, and the questions of the quiz."""


def caption(picture: Picture, section: Section | None, before: str = "") -> Picture:
    """``picture`` with the words of the text in its caption, before provenance and warnings."""
    if section is None:
        return picture
    words = section.fill(section.prose, picture.placeholders).replace("\n\n", " ")
    return replace(picture, caption=" ".join(filter(None, [before, words, picture.caption])))


def whatif(model: WhatIf, section: Section | None) -> WhatIf:
    """``model`` with the words of the text around it."""
    if section is None:
        return model

    def draw(value: float) -> Picture:
        drawn = model.draw(value)
        values = {**model.placeholders, **drawn.placeholders}
        return caption(replace(drawn, placeholders=values), section, MODELLED)

    fields = {name: section.fill(section.fields[name], model.placeholders) for name in _FILLED}
    return replace(
        model,
        draw=draw,
        label=fields["Label"],
        unit=fields["Unit"],
        source=fields["Inputs"],
        formula=section.fields["Formula"],
    )


_FILLED = ("Label", "Unit", "Inputs")


def grid(made: Grid, section: Section | None) -> Grid:
    """``made`` with the words of the text for its rows."""
    if section is None:
        return made
    rows = {names[0]: words for names, words in section.entries.items() if len(names) == 1}
    reasons = {
        (names[0], names[1]): words for names, words in section.entries.items() if len(names) == 2
    }
    fields = section.fields
    return replace(
        made,
        rows=rows,
        reasons=reasons,
        yes=fields["Yes"],
        no=fields["No"],
        called=fields["Called"],
    )


def asked(experiment: str, number: str) -> Tasked:
    """Exercises and questions of the lesson with this number on an experiment.

    Raises:
        TextError: the lesson's text cannot be read.
        Unavailable: it has none yet.
    """
    words = text.of_lesson(number, experiment)
    if words is None:
        raise Unavailable(f"lesson {number} has no text yet", "go on with the next step")
    return tasks(words, explanation(experiment), lambda view: view)


def tasks(words: Text, explained: Explanation[S], shown: Callable[[View], S]) -> Tasked:
    """Exercises and questions of a lesson, in the order of its text.

    ``shown`` gives, for a view of rows, what the explanation explains (a view, or a table).
    """
    exercises = (_exercise(section, explained, shown) for section in words.all("exercise"))
    questions = (Question(s.name, s.prose, s.choices) for s in words.all("question"))
    return {exercise.name: exercise for exercise in exercises}, tuple(questions)


def _exercise(section: Section, explained: Explanation[S], shown: Callable[[View], S]) -> Exercise:
    number = explained.numbers.get(section.name)

    def filled(view: View, words: str) -> str:
        find = explained.placeholders.get(("exercise", section.name))
        asked = find is not None and text.placeholders(words)
        return section.fill(words, find(shown(view)) if find and asked else {})

    return Exercise(
        name=section.name,
        check=_check(section, explained, shown, filled),
        hints=section.hints,
        solution=lambda view: filled(view, section.parts["Model answer"]),
        choices=tuple(choice.text for choice in section.choices),
        unit=number.unit if number else "",
    )


def _check(
    section: Section,
    explained: Explanation[S],
    shown: Callable[[View], S],
    filled: Callable[[View, str], str],
) -> Check:
    number, judge = explained.numbers.get(section.name), explained.judges.get(section.name)
    of_rows = any(text.placeholders(choice.feedback) for choice in section.choices)
    if section.choices and judge is None and not of_rows:
        [right] = [choice.text for choice in section.choices if choice.right]
        return chosen(right, {choice.text: choice.feedback for choice in section.choices})

    def check(view: View, answer: Answer) -> Feedback:
        remark = judge(shown(view), answer) if judge else None
        if remark is not None:
            words = section.parts.get(f"Reply: {remark.name}")
            if words is None:
                raise section.error(f"“### Reply: {remark.name}” is missing")
            return Feedback(remark.right, section.fill(words, remark.values))
        if section.choices:
            choice = next(choice for choice in section.choices if choice.text == answer)
            return Feedback(choice.right, filled(view, choice.feedback))
        if number is None:
            raise section.error("Python has no check of that name")
        why = filled(view, section.parts.get("Right", ""))
        judged = near(
            lambda _: number.expected(shown(view)), number.unit, within=number.within, why=why
        )
        return judged(view, answer)

    return check


def table(
    made: Iterable[Row], section: Section | None, values: Callable[[], Values] = dict
) -> tuple[list[Row], str]:
    """Rows of a table, and its caption."""
    return list(made), section.fill(section.prose, values()) if section else ""
