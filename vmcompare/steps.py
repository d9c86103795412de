"""The steps that every lesson has, whatever it is about: predict, compare, show and redraw."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from . import answers, page, sheet
from .errors import VmcompareError
from .mode import is_handout
from .tasks import Tasks

Draw = Callable[[], Any]


@dataclass(frozen=True, slots=True)
class Prediction:
    """A question that is answered before measuring.

    Attributes:
        name: of the outcome it is set beside.
        question: what is asked.
        unit: of a number: ``"s"``, ``"ratio"`` or any other word.
        choices: what to choose from, where no number is asked for.
        whole: whether a count is asked for, which may be zero.
    """

    name: str
    question: str
    unit: str = ""
    choices: tuple[str, ...] = ()
    whole: bool = False

    def refuses(self, value: float | str) -> str:
        """Why ``value`` is no answer, as a sentence; empty when it is one."""
        if self.choices:
            return "" if value in self.choices else "Please choose one of the answers."
        if isinstance(value, str) or not abs(value) < float("inf"):
            return "Please give a number."
        if self.whole:
            return "" if value >= 0 and value == int(value) else "Please give a whole number."
        return "" if value > 0 else "Please give a number above zero."


@dataclass(slots=True)
class Steps(ABC):
    """Base of what a notebook imports. Nothing here raises at a learner."""

    _asked: list[Prediction] = field(default_factory=list, init=False)
    _redraws: list[Callable[[], None]] = field(default_factory=list, init=False)
    _recompare: Callable[[], None] | None = field(default=None, init=False)

    @property
    @abstractmethod
    def page_number(self) -> str:
        """The lesson's number, under which answers are kept."""

    @abstractmethod
    def _beside(self, asked: Prediction, guess: float | str | None) -> Mapping[str, str]:
        """The line that sets a prediction beside what was found."""

    def compare(self) -> None:
        """Show each prediction beside what was found."""
        self._recompare = self._put(self._comparison)

    # ---- practise -----------------------------------------------------------------------------

    @abstractmethod
    def _practice(self) -> Tasks | None:
        """Exercises and questions, and how far the learner is; ``None``, and said, if none yet."""

    def exercises(self) -> None:
        """Show the four exercises, the one for class first; answers are checked and kept."""
        if (asked := self._practice()) is None:
            return
        if is_handout():
            self._html(sheet.exercises_html(asked))
            return
        from . import forms

        box, refresh = forms.exercises(asked)
        self._redraws.append(refresh)
        _display(box)

    def quiz(self) -> None:
        """Show the self-check questions; every choice gets its answer."""
        if (asked := self._practice()) is None:
            return
        if is_handout():
            self._html(sheet.questions_html(asked))
            return
        from . import forms

        _display(forms.questions(asked))

    def answer(self, name: str, value: float | str) -> None:
        """Answer an exercise or a question in plain Python, without a widget.

        ``name`` is its name; ``value`` a number, or a choice by its text or its number (from 1).

        Raises:
            UnknownName: the lesson has neither exercise nor question of that name.
        """
        if asked := self._practice():
            _display(sheet.Said(asked.answer(name, value)))

    def solution(self, name: str) -> None:
        """Show the model answer to an exercise, with the figures of the rows shown now.

        Raises:
            UnknownName: the lesson has no exercise of that name.
        """
        if asked := self._practice():
            _display(sheet.Solution(asked.solution(name)))

    # ---- predictions --------------------------------------------------------------------------

    def _ask(self, asked: Prediction, guess: float | str | None) -> None:
        self._asked = [p for p in self._asked if p.name != asked.name] + [asked]
        if guess is not None:
            self._keep(asked, guess)
        if is_handout():
            self._html(page.prediction_blank(asked.question, asked.unit, asked.choices))
            return
        _display(
            page.prediction_form(
                asked.question,
                asked.unit,
                self._kept(asked),
                lambda value: self._keep(asked, value),
                asked.choices,
            )
        )

    def _keep(self, asked: Prediction, value: float | str) -> str:
        """Keep a prediction; returns what to tell the learner."""
        refused = asked.refuses(value)
        if refused:
            return refused
        try:
            answers.keep(self.page_number, asked.name, value)
        except OSError as error:
            return f"It could not be kept: {error.strerror}."
        if self._recompare is not None:
            self._recompare()
        return "Kept. You will see it beside the result."

    def _kept(self, asked: Prediction) -> float | str | None:
        """What was predicted, perhaps in an earlier session; ``None`` on paper."""
        value = None if is_handout() else answers.kept(self.page_number).get(asked.name)
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            return None
        return None if asked.refuses(value) else value

    def _comparison(self) -> Any:
        return page.table([self._beside(p, self._kept(p)) for p in self._asked], self._source())

    @abstractmethod
    def _source(self) -> str:
        """Where what is set beside a prediction comes from; a table's caption."""

    def _put(self, draw: Draw) -> Callable[[], None] | None:
        """Display what ``draw`` makes, and remember how to draw it again: it follows the next run.

        Returns that redrawing; ``None`` where nothing can be redrawn (outside a notebook).
        """
        handle = _display(_safely(draw), display_id=True)
        if handle is None:
            return None

        def redraw() -> None:
            handle.update(_safely(draw))

        self._redraws.append(redraw)
        return redraw

    def _say(self, text: str) -> None:
        self._put(lambda: page.Note(text))

    def _html(self, text: str) -> None:
        from IPython.display import HTML

        _display(HTML(text))

    def _refresh(self) -> None:
        for redraw in self._redraws:
            redraw()


def _display(thing: Any, **options: Any) -> Any:
    from IPython.display import display

    return display(thing, **options)


def _safely(draw: Draw) -> Any:
    try:
        return draw()
    except VmcompareError as error:
        return page.Note(str(error))
