"""The steps that every lesson has, whatever it is about: predict, compare, show and redraw."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from markupsafe import Markup, escape

from vmcompare.course import answers, exercises, page, text
from vmcompare.course.templates import render
from vmcompare.course.text import Section
from vmcompare.errors import UnknownName, VmcompareError
from vmcompare.evidence.markdown import to_html, unescaped
from vmcompare.evidence.units import written
from vmcompare.evidence.view import Outcome, View
from vmcompare.measuring.mode import is_handout
from vmcompare.sandbox import EMULATION

if TYPE_CHECKING:
    import ipywidgets as widgets

T = TypeVar("T")


@dataclass(slots=True)
class Steps(ABC):
    """Base of what a notebook imports; :mod:`.lesson` says what raises.

    Attributes:
        experiment: its name; empty where the lesson is about them all.
        number: of the lesson, under which answers are kept.
    """

    experiment: str
    number: str
    _predicted: list[Prediction] = field(default_factory=list, init=False)
    _redraws: list[Callable[[], None]] = field(default_factory=list, init=False)
    _recompare: list[Callable[[], None]] = field(default_factory=list, init=False)
    _tasks: exercises.Tasks[Any] | None = field(default=None, init=False)

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
    def _asked(self) -> exercises.Tasks[Any]:
        """Exercises and questions of the lesson. Raises ``TextError``."""

    def _practice(self) -> exercises.Tasks[Any] | None:
        """Exercises and questions, and how far the learner is; ``None``, and said, if none."""
        if self._tasks is None:
            try:
                self._tasks = self._asked()
            except VmcompareError as error:
                self._say(exercises.sentence(error))
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
            self._html(Markup(exercises.exercise_html(asked, exercise)))
        elif exercise.choices and answer is ...:
            box, refresh = exercises.exercise_widget(asked, exercise)
            self._redraws.append(refresh)
            page.display(box)
        else:
            said = [asked.answer(name, answer)]

            def draw() -> exercises.Reply:
                """What was said just now; later, what is to be said of other rows."""
                return said.pop() if said else asked.answer(name, ...)

            self._put(draw)

    def quiz(self) -> None:
        """Show the self-check questions; every choice gets its answer."""
        if (asked := self._practice()) is None:
            return
        if is_handout():
            self._html(Markup(exercises.questions_html(asked)))
            return
        page.display(exercises.quiz_widget(asked))

    def solution(self, name: str) -> None:
        """Show the model answer to an exercise, by the rows shown now. Raises ``UnknownName``."""
        if asked := self._practice():
            words = asked.solution(name)
            task = Markup('{}<div class="vmc-task">{}</div>')
            shown = task.format(Markup(exercises.LAB_STYLE), to_html(words))
            page.display(page.Html(shown, unescaped(words)))

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


# ---- what a learner predicts -----------------------------------------------------------------

_LATER = "You will see it beside the result."
KEPT = f"Kept. {_LATER}"  # what is said of an answer when nothing stood in its way


@dataclass(frozen=True, slots=True)
class Prediction:
    """A number that is asked for, or a ``whole`` one, which may be zero.

    ``name`` is that of the outcome it is set beside; ``unit`` is ``"s"``, ``"ratio"`` or any word.
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
        if refused := self.refuses(value):
            return refused
        return f"{answers.keep(self.lesson, self.name, answers.number(value))} {_LATER}"

    def kept(self) -> float | None:
        """What was predicted, perhaps in an earlier session; ``None`` on paper."""
        value: Any = None if is_handout() else answers.kept(self.lesson).get(self.name)
        return None if self.refuses(value) else value

    def form(self, keep: Callable[[Any], str]) -> widgets.VBox:
        import ipywidgets as widgets

        kept = self.kept()
        unit = exercises.unit_words(self.unit)
        field = widgets.FloatText(value=kept or 0, description=unit, layout={"width": "14em"})
        button = widgets.Button(description="Keep my prediction", layout={"width": "auto"})
        said = widgets.HTML("Kept earlier." if kept is not None else "")

        def act(value: Any) -> None:
            said.value = str(escape(keep(value)))

        page.submitted(button, field, act)
        asked = widgets.HTML(str(Markup("<b>{}</b>").format(self.question)))
        return page.needs_kernel(widgets.VBox([asked, widgets.HBox([field, button]), said]))

    def paper(self) -> Markup:
        """A field that the page keeps in the reader's browser; printed a line to write on."""
        unit = {"ratio": "×"}.get(self.unit, self.unit)
        return render("prediction", id=self._id, question=self.question, unit=unit)

    @property
    def _id(self) -> str:
        return re.sub(r"[^A-Za-z0-9_-]+", "-", f"p-{self.lesson}-{self.name}")

    def on_page(self, found: float | None = None) -> Markup:
        """A cell that a handout's script fills in; with a number ``found``, by the ratio to it."""
        value = Markup("") if found is None else Markup('<data value="{}"></data>').format(found)
        return Markup('<output for="{}">{}–</output>').format(self._id, value)

    def beside(self, outcome: Outcome, view: View) -> Mapping[str, str]:
        """The guess, what the view gives, and how far they are apart."""
        guess, found = self.kept(), outcome(view)
        own: str = "–" if guess is None else written(guess, self.unit)
        times = f"{found / guess:.2g}×" if found and guess else "–"
        if is_handout():
            own, times = self.on_page(), self.on_page(found) if found else "–"
        emulated = not outcome.of_files and view.emulated(outcome.platforms)
        under = f" ({EMULATION})" if emulated else ""
        return {
            "question": self.question,
            "you predicted": own,
            "found": "not measured here" if found is None else written(found, self.unit) + under,
            "found ÷ predicted": times,
        }
