"""The steps that every lesson has, whatever it is about: predict, compare, show and redraw."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from markupsafe import Markup

from vmcompare.course import page, text
from vmcompare.course.exercises import (
    LAB_STYLE,
    Reply,
    Tasks,
    exercise_html,
    exercise_widget,
    questions_html,
    quiz_widget,
    sentence,
)
from vmcompare.course.predict import KEPT, Prediction
from vmcompare.course.text import Section
from vmcompare.errors import UnknownName, VmcompareError
from vmcompare.evidence.markdown import to_html, unescaped
from vmcompare.measuring.mode import is_handout

T = TypeVar("T")


@dataclass(slots=True)
class Steps(ABC):
    """Base of what a notebook imports. Nothing here raises at a learner.

    Attributes:
        experiment: its name; empty where the lesson is about them all.
        number: of the lesson, under which answers are kept.
    """

    experiment: str
    number: str
    _predicted: list[Prediction] = field(default_factory=list, init=False)
    _redraws: list[Callable[[], None]] = field(default_factory=list, init=False)
    _recompare: list[Callable[[], None]] = field(default_factory=list, init=False)
    _tasks: Tasks[Any] | None = field(default=None, init=False)

    # ---- the page, which follows the newest run -----------------------------------------------

    def _put(self, draw: page.Draw) -> Callable[[], None]:
        """Display what ``draw`` makes, and draw it again when other rows are shown."""
        place = page.Place(page.safely(draw))

        def redraw() -> None:
            place.show(page.safely(draw))

        self._redraws.append(redraw)
        return redraw

    def _refresh(self) -> None:
        for redraw in self._redraws:
            redraw()

    def _say(self, text: str) -> None:
        page.display(page.Note(text))

    def _html(self, markup: Markup) -> None:
        page.display(page.Html(markup))

    @abstractmethod
    def _beside(self, asked: Prediction) -> Mapping[str, str]:
        """The line that sets a prediction beside what was found."""

    def compare(self) -> None:
        """Show each prediction beside what was found."""
        self._recompare = [self._put(self._comparison)]

    def _section(self, kind: str, name: str) -> Section | None:
        words = text.of_lesson(self.number, self.experiment)
        return words.find(kind, name) if words else None

    def browser_lab(self) -> None:
        """Show the browser lab: a VM that boots in the reader's browser, with no engine."""
        page.display(page.safely(page.browser_lab))

    # ---- practise -----------------------------------------------------------------------------

    @abstractmethod
    def _asked(self) -> Tasks[Any]:
        """Exercises and questions of the lesson. Raises ``TextError``."""

    def _practice(self) -> Tasks[Any] | None:
        """Exercises and questions, and how far the learner is; ``None``, and said, if none."""
        if self._tasks is None:
            try:
                self._tasks = self._asked()
            except VmcompareError as error:
                self._say(sentence(error))
        return self._tasks

    def check_answer(self, name: str, answer: object = ...) -> None:
        """Check the answer to an exercise or a question of the quiz, say why, and keep it.

        ``answer`` is a number, or a choice by its text or its number (from 1). Without one, an
        exercise with choices shows them, and another one says how to answer; what was answered
        earlier is judged again. Raises ``UnknownName``.
        """
        if (asked := self._practice()) is None:
            return
        exercise = asked.exercises.get(name)
        if exercise is None:
            page.display(asked.answer(name, answer))
        elif is_handout():
            self._html(Markup(exercise_html(asked, exercise)))
        elif exercise.choices and answer is ...:
            box, refresh = exercise_widget(asked, exercise)
            self._redraws.append(refresh)
            page.display(box)
        else:
            said = [asked.answer(name, answer)]

            def draw() -> Reply:
                """What was said just now; later, what is to be said of other rows."""
                return said.pop() if said else asked.answer(name, ...)

            self._put(draw)

    def quiz(self) -> None:
        """Show the self-check questions; every choice gets its answer."""
        if (asked := self._practice()) is None:
            return
        if is_handout():
            self._html(Markup(questions_html(asked)))
            return
        page.display(quiz_widget(asked))

    def solution(self, name: str) -> None:
        """Show the model answer to an exercise, by the rows shown now. Raises ``UnknownName``."""
        if asked := self._practice():
            words = asked.solution(name)
            shown = Markup('{}<div class="vmc-task">{}</div>')
            page.display(
                page.Html(shown.format(Markup(LAB_STYLE), to_html(words)), unescaped(words))
            )

    # ---- predictions --------------------------------------------------------------------------

    def _ask(self, asked: Prediction, guess: Any = None) -> None:
        def keep(value: Any) -> str:
            said = asked.keep(value)
            for redraw in self._recompare:
                redraw()
            return said

        self._predicted = [a for a in self._predicted if a.name != asked.name] + [asked]
        if is_handout():
            self._html(asked.paper())
            return
        if guess is not None and (said := keep(guess)) != KEPT:
            self._say(said)
        page.display(asked.form(keep))

    def _comparison(self) -> Any:
        rows = [self._beside(asked) for asked in self._predicted]
        table = page.table(rows, self._source())
        return page.Html(_REVEALED.format(table.markup)) if is_handout() else table

    @abstractmethod
    def _source(self) -> str:
        """Where what is set beside a prediction comes from: a table's caption, details behind."""


def choose(kind: str, name: str, known: Mapping[str, T]) -> T:
    """The thing of that name. Raises ``UnknownName``."""
    if name not in known:
        raise UnknownName(kind, name, sorted(known))
    return known[name]


# Whoever has not predicted yet does not see what was found.
_REVEALED = Markup(
    '<details class="vmc-reveal"><summary>What was found, beside your predictions</summary>{}'
    "</details>"
)
