"""What a learner predicts before it is measured: a number or a choice.

Each is asked with widgets or on paper, kept like every other answer, and set beside what was found.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from markupsafe import Markup, escape

from vmcompare.course import answers
from vmcompare.course.page import submitted
from vmcompare.course.templates import render
from vmcompare.evidence.units import written
from vmcompare.evidence.view import Outcome, View
from vmcompare.measuring.mode import is_handout
from vmcompare.sandbox import EMULATION

if TYPE_CHECKING:
    import ipywidgets as widgets

_LATER = "You will see it beside the result."
KEPT = f"Kept. {_LATER}"  # what is said of an answer when nothing stood in its way


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


def _keep(asked: Prediction, value: answers.Json) -> str:
    return f"{answers.keep(asked.lesson, asked.name, value)} {_LATER}"


def _kept(asked: Prediction) -> answers.Json:
    """What the file of answers holds; on paper nobody's answers are shown."""
    return None if is_handout() else answers.kept(asked.lesson).get(asked.name)


def _button(words: str, field: Any, keep: Callable[[Any], str], *, again: bool) -> tuple[Any, Any]:
    """A button that hands the value of ``field`` to ``keep``, and the place of what that says."""
    import ipywidgets as widgets

    button = widgets.Button(description=words, layout={"width": "auto"})
    said = widgets.HTML("Kept earlier." if again else "")

    def act(value: Any, _: bool) -> None:
        said.value = str(escape(keep(value)))

    submitted(button, field, act)
    return button, said


def _bold(words: str) -> Any:
    import ipywidgets as widgets

    return widgets.HTML(str(Markup("<b>{}</b>").format(words)))
