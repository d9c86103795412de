"""What a lesson asks, what it says to an answer, and both as HTML and as widgets.

An answer is never merely right or wrong: every check says what the data shown say, or what to look
at next. The HTML needs neither kernel nor script: in a handout, choices are native radio buttons,
and what is said to a choice appears by CSS alone. The words are sections of the lesson's text.
"""

from __future__ import annotations

import contextlib
import math
import random
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Generic, TypeVar

from markupsafe import Markup

from vmcompare.course import answers, text
from vmcompare.course.answers import Kind
from vmcompare.course.page import needs_kernel
from vmcompare.course.templates import css, render
from vmcompare.course.text import Choice, Section, Text
from vmcompare.errors import Unavailable, UnknownName, VmcompareError
from vmcompare.evidence.markdown import inline, literal, plain, to_html, unescaped
from vmcompare.evidence.units import written
from vmcompare.evidence.view import View
from vmcompare.experiments.explanation import Explanation, Number, Values, explanation
from vmcompare.measuring.mode import is_handout

Answer = float | str  # a number in the exercise's unit, one of its choices, or a sentence

S = TypeVar("S")
"""What is shown and explained: a :class:`View`, or the evidence of the last lesson."""


@dataclass(frozen=True, slots=True)
class Exercise(Generic[S]):
    """A section of the lesson's text, and what answers to it are held to.

    A number is asked for unless there are ``choices``, or a sentence is (``in_words``). What is
    called with rows may raise ``Unavailable``.

    Attributes:
        number: what a numeric answer is compared with.
        values: gives the values of the placeholders in the section.
    """

    section: Section
    number: Number[S] | None = None
    values: Callable[[S], Values] | None = None

    @property
    def name(self) -> str:
        return self.section.name

    @property
    def choices(self) -> tuple[str, ...]:
        return tuple(choice.text for choice in self.section.choices)

    @property
    def in_words(self) -> bool:
        return text.OWN_WORDS in self.section.parts

    @property
    def unit(self) -> str:
        """``"s"``, ``"bytes"``, ``"ratio"`` or any word."""
        return self.number.unit if self.number else ""

    @property
    def on_rows(self) -> bool:
        """Whether the rows shown decide which answer is right."""
        said = (text.placeholders(choice.feedback) for choice in self.section.choices)
        return any(said) or not (self.choices or self.in_words)

    def check(self, shown: S, answer: Answer) -> Reply:
        """Judge an answer by what is shown."""
        for choice in self.section.choices:
            if choice.text == answer:
                return Reply(choice.right, self._filled(shown, choice.feedback))
        if self.in_words:
            return Reply(None, self._filled(shown, self.section.parts[text.OWN_WORDS]))
        if self.number is None:
            raise self.section.error("Python has no check of that name")
        why = self._filled(shown, self.section.parts.get("Right", ""))
        wanted = self.number.expected(shown)
        return near(answer, wanted, self.unit, within=self.number.within, why=why)

    def accepted(self, shown: S) -> tuple[float, float] | None:
        """The lowest and the highest number that is right."""
        if self.number is None:
            return None
        expected = self.number.expected(shown)
        off = self.number.within * abs(expected)
        return expected - off, expected + off

    def solution(self, shown: S) -> str:
        """The model answer with the figures of the data shown, Markdown."""
        return self._filled(shown, self.section.parts["Model answer"])

    def _filled(self, shown: S, words: str) -> str:
        asked = self.values if text.placeholders(words) else None
        return self.section.fill(words, asked(shown) if asked else {})


Tasked = tuple[Mapping[str, Exercise[S]], Sequence[Section]]
"""Name → exercise, and the questions of the quiz."""


def asked(experiment: str, number: str) -> Tasked[View]:
    """Exercises and questions of a lesson. Raises ``TextError``, ``Unavailable`` if it has none."""
    words = text.of_lesson(number, experiment)
    if words is None:
        raise Unavailable(f"lesson {number} has no text yet", "go on with the next step")
    return tasks(words, explanation(experiment))


def tasks(words: Text, explained: Explanation[S]) -> Tasked[S]:
    """Exercises and questions of a lesson, in the order of its text."""
    exercises = {
        section.name: Exercise(
            section,
            explained.numbers.get(section.name),
            explained.placeholders.get(("exercise", section.name)),
        )
        for section in words.all("exercise")
    }
    return exercises, questions(words)


def questions(words: Text) -> Sequence[Section]:
    """The quiz of a lesson. Choices stand in an order of their own, the same every time."""

    def shuffled(section: Section) -> Section:
        order = random.Random(f"{words.path.stem} {section.name}")
        return replace(section, choices=tuple(order.sample(section.choices, len(section.choices))))

    return [shuffled(section) for section in words.all("question")]


def works(words: Text, values: Values) -> Sequence[Section]:
    """Pieces of work to choose for. Choices keep their order; ``values`` are named in replies."""

    def filled(section: Section) -> Section:
        said = (replace(c, feedback=section.fill(c.feedback, values)) for c in section.choices)
        return replace(section, prose=section.fill(section.prose, values), choices=tuple(said))

    return [filled(section) for section in words.all("work")]


def near(answer: Answer, wanted: float, unit: str, *, within: float = 0.1, why: str = "") -> Reply:
    """What is said to a number: right ``within`` a relative tolerance of what the data give.

    ``why`` is said with a right answer, after the figure.
    """
    if not isinstance(answer, int | float) or not math.isfinite(answer):
        return Reply(False, "Please give a number.")
    if abs(answer - wanted) <= within * abs(wanted):
        return Reply(True, f"Yes: the data shown give {written(wanted, unit)}. {why}".strip())
    return Reply(False, _off(float(answer), wanted, unit))


_SLIPS: Sequence[tuple[frozenset[str], float, str]] = (
    (frozenset({"s", "ms", "µs"}), 1e3, "a thousand times too {}: seconds or milliseconds?"),
    (frozenset({"bytes", "MiB"}), 2.0**20, "about a million times too {}: bytes or MiB?"),
    (frozenset({"ratio", "per cent"}), 100.0, "a hundred times too {}: a ratio or per cent?"),
)
"""Usual slips: in answers of which units, the factor, and what is asked."""


def _off(answer: float, wanted: float, unit: str) -> str:
    """What a wrong number may have come from; never the right one."""
    if wanted and answer:
        factor = answer / wanted
        for units, scale, words in _SLIPS:
            for times, size in ((scale, "large"), (1 / scale, "small")):
                if unit in units and abs(factor / times - 1) < 0.12:
                    return f"Not yet: that is {words.format(size)}"
        if unit == "ratio" and abs(answer * wanted - 1) < 0.1 and abs(wanted - 1) > 0.2:
            return "Not yet: that is the ratio the other way round."
    size = "more than" if answer > wanted else "less than"
    return f"Not yet: that is {size} the data shown give."


# ---- answered ------------------------------------------------------------------------------------

LAB_STYLE = f"<style>{css('tasks')}</style>"


@dataclass(frozen=True, slots=True)
class Reply:
    """What is said to an answer, in Markdown; shown as HTML, in a terminal as words.

    Attributes:
        right: whether it is; ``None`` where it could not be judged, or is a sentence.
        text: why, what is missing, or what to look at next; of a wrong answer not the solution.
        hints: those that the learner has come to, in order.
        solve: the call that shows the solution, once it is offered.
        checked_on: the rows it was judged by; empty where none were.
        note: what else happened to it ("kept", or why not).
        again: nobody has just answered.
    """

    right: bool | None
    text: str
    hints: tuple[str, ...] = ()
    solve: str = ""
    checked_on: str = ""
    note: str = ""
    again: bool = False

    def _repr_html_(self) -> str:
        checked = f"Checked on the data shown: {self.checked_on}." if self.checked_on else ""
        small = " ".join(filter(None, [self.note, checked]))
        return LAB_STYLE + str(render("reply", reply=self, small=small))

    def __repr__(self) -> str:
        mark = {True: "Right. ", False: "Not right. ", None: ""}[self.right]
        hints = [f"Hint {n}: {hint}" for n, hint in enumerate(self.hints, start=1)]
        said = unescaped("\n".join([mark + self.text, *hints]))
        solve = f"{self.solve}  # shows the solution" if self.solve else ""
        return "\n".join(filter(None, [said, self.note, solve]))


@dataclass(slots=True)
class Tasks(Generic[S]):
    """The exercises and questions of one lesson, and how far its learner is.

    Answers are kept, but not while a page for others is made.

    Attributes:
        lesson: its number, under which answers are kept.
        shown: gives what is shown now.
        called: the notebook's name for its lesson, which stands in code for ``lesson``.
    """

    lesson: str
    exercises: Mapping[str, Exercise[S]]
    questions: Sequence[Section]
    shown: Callable[[], S]
    called: str = "lesson"
    _kept: dict[Kind, dict[str, answers.Json]] = field(init=False)

    def __post_init__(self) -> None:
        self._kept = {
            kind: {} if is_handout() else answers.kept(self.lesson, kind) for kind in Kind
        }

    # ---- exercises ----------------------------------------------------------------------------

    def kept(self, name: str) -> Answer | None:
        """The last answer, unless the exercise no longer offers it."""
        return self._attempt(name)[0]

    def _attempt(self, name: str) -> tuple[Answer | None, int]:
        """The last answer, and how many were wrong."""
        kept = self._kept[Kind.EXERCISE].get(name)
        if not isinstance(kept, dict):
            return None, 0
        wrong = kept.get("wrong")
        answer = _understood(self.exercises[name], kept.get("answer"))
        return answer, wrong if isinstance(wrong, int) else 0

    def check(self, name: str, answer: object) -> Reply:
        """Judge an answer to an exercise by the rows shown now; count and keep it."""
        exercise = self.exercises[name]
        understood = _understood(exercise, answer)
        if understood is None:
            asked = f"Please give {_wanted(exercise)}."
            return Reply(None, _list_choices(exercise.choices) if exercise.choices else asked)
        _, wrong = self._attempt(name)
        reply = self._judge(exercise, understood, wrong + 1)
        value: answers.Json = {"answer": understood, "wrong": wrong + (reply.right is False)}
        return replace(reply, note=self._keep(Kind.EXERCISE, name, value))

    def again(self, name: str) -> Reply | None:
        """What is said now to the answer that was kept; ``None`` where there is none."""
        answer, wrong = self._attempt(name)
        if answer is None:
            return None
        exercise = self.exercises[name]
        words = answer if isinstance(answer, str) else written(answer, exercise.unit).strip()
        kept = f"Your kept answer: {plain(words)}."
        return replace(self._judge(exercise, answer, wrong), note=kept, again=True)

    def solution(self, name: str) -> str:
        """The model answer from the rows shown now, or what is missing. Raises ``UnknownName``."""
        if name not in self.exercises:
            raise UnknownName("exercise", name, list(self.exercises))
        try:
            return self.exercises[name].solution(self.shown())
        except VmcompareError as error:
            return literal(sentence(error))

    def _judge(self, exercise: Exercise[S], answer: Answer, wrong: int) -> Reply:
        """``wrong`` is how many answers are wrong if this one is."""
        shown, hints = self.shown(), exercise.section.hints
        try:
            reply = exercise.check(shown, answer)
        except VmcompareError as error:
            return Reply(None, literal(sentence(error)))
        offered = reply.right is not False or wrong >= len(hints)
        return replace(
            reply,
            hints=hints[:wrong] if reply.right is False else (),
            solve=f'{self.called}.solution("{exercise.name}")' if offered else "",
            checked_on=source(shown) if exercise.on_rows and isinstance(shown, View) else "",
        )

    # ---- questions ----------------------------------------------------------------------------

    def chosen(self, question: Section) -> Choice | None:
        kept = self._kept[Kind.QUESTION].get(question.name)
        return next((c for c in question.choices if c.text == kept), None)

    def choose(self, question: Section, answer: object) -> Reply:
        """What is said to a choice, given by its text or its number; it is kept."""
        texts = [choice.text for choice in question.choices]
        text = _one_of(texts, answer)
        if text is None:
            return Reply(None, _list_choices(texts))
        choice = question.choices[texts.index(text)]
        note = self._keep(Kind.QUESTION, question.name, choice.text)
        return Reply(choice.right, choice.feedback, note=note)

    # ---- both ---------------------------------------------------------------------------------

    def answer(self, name: str, value: object) -> Reply:
        """What is said to an answer to the exercise or the question called ``name``.

        An ellipsis is no answer: the kept one is judged anew, if there is one. Raises
        ``UnknownName``.
        """
        if name in self.exercises:
            if value is ...:
                put = f"Put {_wanted(self.exercises[name])}, in place of the three dots"
                said = f"Not answered yet. {put}, and run this cell again."
                return self.again(name) or Reply(None, said, again=True)
            return self.check(name, value)
        questions = {question.name: question for question in self.questions}
        if name not in questions:
            raise UnknownName("exercise or question", name, [*self.exercises, *questions])
        return self.choose(questions[name], value)

    def _keep(self, kind: Kind, name: str, value: answers.Json) -> str:
        self._kept[kind][name] = value
        return "" if is_handout() else answers.keep(self.lesson, name, value, kind)


def sentence(error: VmcompareError) -> str:
    """An error as a sentence to a learner, with the next step where there is one."""
    text = str(error) if isinstance(error, Unavailable) else f"That could not be checked: {error}"
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "?")) else ".")


def source(view: View) -> str:
    """Which runs a view shows, in a few words: an answer holds for these."""
    if len(view.sources) > 3:  # too many to be named
        return f"{len(view.sources)} runs"
    many = len(view.sources) > 1
    return "; ".join(
        f"{s.shown}, run {s.run_id}" + (f" ({', '.join(s.platforms)})" if many else "")
        for s in view.sources
    )


def unit_words(unit: str) -> str:
    return {"s": "seconds", "ratio": "times"}.get(unit, unit)


def _understood(exercise: Exercise[Any], answer: object) -> Answer | None:
    """A learner's answer as the exercise's check wants it; ``None`` where it is none."""
    if exercise.choices:
        return _one_of(exercise.choices, answer)
    if exercise.in_words:
        return answer.strip() or None if isinstance(answer, str) else None
    if isinstance(answer, str):
        try:
            answer = float(answer)
        except ValueError:
            return None
    number = answers.number(answer)
    return None if number is None else float(number)


def _one_of(choices: Sequence[str], answer: object) -> str | None:
    """The choice that is meant: by its text, without its Markdown, or by its number from 1."""
    if isinstance(answer, str):
        for choice in choices:
            if answer.strip() in (choice, plain(choice)):
                return choice
        answer = int(answer) if re.fullmatch(r"\s*\d{1,9}\s*", answer) else answer
    number = answers.number(answer)
    if number is not None and number in range(1, len(choices) + 1):
        return choices[int(number) - 1]
    return None


def _wanted(exercise: Exercise[Any]) -> str:
    if exercise.in_words:
        return "a sentence, between quotation marks"
    if exercise.unit == "ratio":
        return "a number: how many times"
    words = unit_words(exercise.unit)
    if words.startswith("per ") and words != "per cent":
        return f"a number: how many {words}"
    return f"a number{f', in {words}' if words else ''}"


def _list_choices(choices: Sequence[str]) -> str:
    listed = "; ".join(f"{number}: {text}" for number, text in enumerate(choices, start=1))
    return f"Please give one of the choices, or its number. {listed}."


# ---- as HTML -------------------------------------------------------------------------------------


def exercise_html(tasks: Tasks[S], exercise: Exercise[S]) -> str:
    """An exercise on paper: choices or a line to write on, hints, model answer."""
    said: list[tuple[str, Reply | None]] = []
    missing = ""
    for choice in exercise.choices:
        try:
            said.append((choice, exercise.check(tasks.shown(), choice)))
        except VmcompareError as error:
            said.append((choice, None))
            missing = sentence(error)
    accepted = None
    with contextlib.suppress(VmcompareError):  # the model answer says what is missing
        accepted = exercise.accepted(tasks.shown())
    # What a sentence is to be held to by whoever wrote it.
    check = to_html(exercise.check(tasks.shown(), "").text) if exercise.in_words else Markup()
    made = render(
        "exercise",
        id=_id(tasks.lesson, exercise.name),
        accepted=accepted,
        unit=unit_words(exercise.unit),
        said=said,
        check=check,
        missing=missing,
        hints=[to_html(hint) for hint in exercise.section.hints],
        solution=to_html(tasks.solution(exercise.name)),
    )
    return str(made)


def questions_html(tasks: Tasks[Any], called: str = "quiz") -> str:
    """The quiz on paper, in a ``vmc-quiz`` (or as it is ``called``): no script is needed."""
    asked = [
        {
            "id": _id(tasks.lesson, question.name),
            "ask": question.prose,
            "said": [(c.text, Reply(c.right, c.feedback)) for c in question.choices],
            "right": next(choice for choice in question.choices if choice.right),
        }
        for question in tasks.questions
    ]
    return str(render("quiz", called=called, questions=asked))


def _id(lesson: str, name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_-]+", "-", f"q-{lesson}-{name}")


# ---- choices as widgets: by keyboard, and never a bare pass or fail ------------------------------

# ipywidgets gives its radio buttons no common name, and JupyterLab keeps the arrow keys for itself.
_KEYS = '<p class="vmc-kind">By keyboard: Tab to a choice, Space to choose it.</p>'
_WIDE = {"width": "auto", "max_width": "46em"}


def exercise_widget(tasks: Tasks[S], asked: Exercise[S]) -> tuple[Any, Callable[[], None]]:
    """The choices of an exercise, and what to call when other rows are shown.

    A kept answer is then judged anew, which counts as no further try.
    """
    import ipywidgets as widgets

    def again() -> Reply | None:
        return tasks.again(asked.name)

    kept = tasks.kept(asked.name)
    radio, said = _radio_buttons(
        asked.choices,
        kept if isinstance(kept, str) else None,
        again(),
        lambda text: tasks.check(asked.name, text),
    )

    def refresh() -> None:
        if reply := again():
            said.value = reply._repr_html_()

    box = widgets.VBox([widgets.HTML(LAB_STYLE + _KEYS), radio, said])
    return needs_kernel(box), refresh


def quiz_widget(tasks: Tasks[Any]) -> Any:
    import ipywidgets as widgets

    boxes = [widgets.HTML(LAB_STYLE + _KEYS)]
    for number, question in enumerate(tasks.questions, start=1):
        kept = tasks.chosen(question)
        radio, said = _radio_buttons(
            [choice.text for choice in question.choices],
            kept.text if kept else None,
            Reply(kept.right, kept.feedback, note="Kept earlier.", again=True) if kept else None,
            partial(tasks.choose, question),
        )
        asked = f'<div class="vmc-task"><p><b>{number}.</b> {inline(question.prose)}</p></div>'
        boxes.append(widgets.VBox([widgets.HTML(asked), radio, said]))
    return needs_kernel(widgets.VBox(boxes))


def _radio_buttons(
    choices: Sequence[str], kept: str | None, reply: Reply | None, choose: Callable[[str], Reply]
) -> tuple[Any, Any]:
    """The buttons, and what is said to the one that is chosen."""
    import ipywidgets as widgets

    radio = widgets.RadioButtons(
        options=[(plain(text), text) for text in choices], value=kept, layout=_WIDE
    )
    radio.add_class("vmc-choices")
    said = widgets.HTML(reply._repr_html_() if reply else "")

    def chosen(change: Mapping[str, Any]) -> None:
        said.value = choose(change["new"])._repr_html_()

    radio.observe(chosen, names="value")
    return radio, said
