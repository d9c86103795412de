"""The steps that every lesson has, whatever it is about: predict, compare, show and redraw."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from vmcompare.course import page, slider
from vmcompare.course.exercises import (
    Said,
    Solution,
    Tasks,
    exercises_html,
    questions_html,
    sentence,
)
from vmcompare.course.predict import KEPT, Prediction, Ticked
from vmcompare.errors import VmcompareError
from vmcompare.measuring.mode import is_handout

if TYPE_CHECKING:
    from vmcompare.plots.picture import WhatIf


@dataclass(slots=True)
class Steps(ABC):
    """Base of what a notebook imports. Nothing here raises at a learner."""

    _predicted: list[Prediction | Ticked] = field(default_factory=list, init=False)
    _page: page.Page = field(default_factory=page.Page, init=False)
    _recompare: list[Callable[[], None]] = field(default_factory=list, init=False)

    @property
    @abstractmethod
    def page_number(self) -> str:
        """The lesson's number, under which answers are kept."""

    @abstractmethod
    def _beside(self, asked: Prediction) -> Mapping[str, str]:
        """The line that sets a prediction beside what was found."""

    def compare(self) -> None:
        """Show each prediction, and each grid that was ticked, beside what was found."""

        def draw(asked: Ticked) -> page.Draw:
            return lambda: page.Html(asked.beside())

        grids = [asked for asked in self._predicted if isinstance(asked, Ticked)]
        draws = [self._comparison, *map(draw, grids)]
        self._recompare = [redraw for made in draws if (redraw := self._page.put(made))]

    # ---- practise -----------------------------------------------------------------------------

    @abstractmethod
    def _practice(self) -> Tasks | None:
        """Exercises and questions, and how far the learner is; ``None``, and said, if none yet."""

    def exercises(self) -> None:
        """Show the exercises, the one for class first; answers are checked and kept."""
        if (asked := self._practice()) is None:
            return
        if is_handout():
            self._page.html(Markup(exercises_html(asked)))
            return
        from vmcompare.course import exercise_widgets

        box, refresh = exercise_widgets.exercises(asked)
        self._page.follow(refresh)
        page.display(box)

    def quiz(self) -> None:
        """Show the self-check questions; every choice gets its answer."""
        if (asked := self._practice()) is None:
            return
        if is_handout():
            self._page.html(Markup(questions_html(asked)))
            return
        from vmcompare.course import exercise_widgets

        page.display(exercise_widgets.questions(asked))

    def answer(self, name: str, value: float | str) -> None:
        """Answer an exercise or a question in plain Python, without a widget.

        ``name`` is its name; ``value`` a number, or a choice by its text or its number (from 1).

        Raises:
            UnknownName: the lesson has neither exercise nor question of that name.
        """
        if asked := self._practice():
            solve = f'{asked.called}.solution("{name}")' if name in asked.exercises else ""
            page.display(Said(asked.answer(name, value), solve))

    def solution(self, name: str) -> None:
        """Show the model answer to an exercise, with the figures of the rows shown now.

        Raises:
            UnknownName: the lesson has no exercise of that name.
        """
        if asked := self._practice():
            page.display(Solution(asked.solution(name)))

    # ---- what-ifs ------------------------------------------------------------------------------

    def _follow(self, model: Callable[[], WhatIf]) -> None:
        """Show a model with its slider, and again when other rows are shown."""

        def show() -> None:
            try:
                slider.show(model())
            except VmcompareError as error:
                page.display(page.Note(sentence(error)))

        if is_handout():
            show()
            return
        import ipywidgets as widgets

        place = widgets.Output()
        page.display(place)

        def redraw() -> None:
            place.clear_output(wait=True)
            with place:
                show()

        self._page.follow(redraw)
        redraw()

    # ---- predictions --------------------------------------------------------------------------

    def _ask(self, asked: Prediction | Ticked, guess: Any = None) -> None:
        """Ask for a prediction, and keep it; ``guess`` answers without a widget."""

        def keep(value: Any) -> str:
            said = asked.keep(value)
            self._compare_again()
            return said

        self._predicted = [a for a in self._predicted if a.name != asked.name] + [asked]
        if is_handout():
            self._page.html(asked.paper())
            return
        if guess is not None and (said := keep(guess)) != KEPT:
            self._page.say(said)
        page.display(asked.form(keep))

    def _compare_again(self) -> None:
        for redraw in self._recompare:
            redraw()

    def _comparison(self) -> Any:
        rows = [self._beside(a) for a in self._predicted if isinstance(a, Prediction)]
        return page.table(rows, self._source())

    @abstractmethod
    def _source(self) -> str:
        """Where what is set beside a prediction comes from; a table's caption."""
