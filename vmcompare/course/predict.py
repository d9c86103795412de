"""What a learner predicts before it is measured: a number.

It is asked with widgets or on paper, kept like every other answer, and set beside what was found.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from markupsafe import Markup, escape

from vmcompare.course import answers
from vmcompare.course.exercises import unit_words
from vmcompare.course.page import needs_kernel, submitted
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
        value = None if is_handout() else answers.kept(self.lesson).get(self.name)
        if isinstance(value, bool) or not isinstance(value, int | float):
            return None
        return None if self.refuses(value) else value

    def form(self, keep: Callable[[Any], str]) -> widgets.VBox:
        import ipywidgets as widgets

        kept = self.kept()
        unit = unit_words(self.unit)
        field = widgets.FloatText(value=kept or 0, description=unit, layout={"width": "14em"})
        button = widgets.Button(description="Keep my prediction", layout={"width": "auto"})
        said = widgets.HTML("Kept earlier." if kept is not None else "")

        def act(value: Any) -> None:
            said.value = str(escape(keep(value)))

        submitted(button, field, act)
        asked = widgets.HTML(str(Markup("<b>{}</b>").format(self.question)))
        return needs_kernel(widgets.VBox([asked, widgets.HBox([field, button]), said]))

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
