"""What a lesson asks, and what it says to an answer: judged by the data shown now, and kept.

The same whether a widget or a line of Python asks; nothing here draws.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from vmcompare.course import answers
from vmcompare.errors import Unavailable, UnknownName, VmcompareError
from vmcompare.evidence import markdown
from vmcompare.evidence.exercise import Answer, Choice, Exercise, Question
from vmcompare.evidence.units import written
from vmcompare.evidence.view import View

_NAMED = 3
"""So many runs are named below an answer; more are counted."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What is said to an answer.

    Attributes:
        right: whether it is; ``None`` where it could not be judged.
        text: why, or what is missing and the next step; Markdown.
        hints: those that the learner has come to, in order; Markdown.
        offer: whether the solution is offered now.
        checked_on: the rows it was judged by; empty where none were.
        note: what else happened to it ("kept", or why not).
    """

    right: bool | None
    text: str
    hints: tuple[str, ...] = ()
    offer: bool = False
    checked_on: str = ""
    note: str = ""


@dataclass(slots=True)
class _Attempt:
    """How far a learner is with an exercise.

    Attributes:
        answer: the last one.
        wrong: how many were wrong.
        counted: whether the last one is among these.
    """

    answer: Answer | None = None
    wrong: int = 0
    counted: bool = False


@dataclass(slots=True)
class Tasks:
    """The exercises and questions of one lesson, and how far its learner is.

    Attributes:
        lesson: its number, under which answers are kept.
        exercises, questions: as the experiment exports them.
        view: gives the rows that are shown now.
        called: the notebook's name for its lesson, which stands in code for ``lesson``.
        keeping: whether answers are kept; not while a page for others is made.
    """

    lesson: str
    exercises: Mapping[str, Exercise]
    questions: Sequence[Question]
    view: Callable[[], View]
    called: str = "lesson"
    keeping: bool = True
    _attempts: dict[str, _Attempt] = field(default_factory=dict)
    _chosen: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.keeping:
            return
        for name, value in answers.kept(self.lesson, answers.Kind.EXERCISE).items():
            if name in self.exercises and isinstance(value, dict):
                self._attempts[name] = _attempt(self.exercises[name], value)
        for name, value in answers.kept(self.lesson, answers.Kind.QUESTION).items():
            if isinstance(value, str):
                self._chosen[name] = value

    # ---- exercises ----------------------------------------------------------------------------

    def ordered(self) -> tuple[Exercise, ...]:
        """The exercises, the one done in class first."""
        return tuple(sorted(self.exercises.values(), key=lambda e: not e.in_class))

    def code(self, exercise: Exercise) -> str:
        """Its code as it runs in this notebook."""
        return re.sub(r"(?<![.\w])lesson(?=\.)", self.called, exercise.code.strip("\n"))

    def kept(self, name: str) -> Answer | None:
        """The last answer to an exercise, perhaps of an earlier session."""
        return self._attempts.get(name, _Attempt()).answer

    def check(self, name: str, answer: object, *, instead: bool = False) -> Reply:
        """Judge an answer to an exercise by the rows shown now; count and keep it.

        ``instead``: it takes the place of the last one, which was not meant and does not count.
        """
        exercise = self.exercises[name]
        understood = _understood(exercise, answer)
        if understood is None:
            return Reply(None, _ask_for(exercise))
        attempt = self._attempts.setdefault(name, _Attempt())
        attempt.answer = understood
        attempt.wrong -= instead and attempt.counted
        attempt.counted = False
        reply = self._judge(exercise, attempt, count=True)
        note = self._keep(
            answers.Kind.EXERCISE, name, {"answer": understood, "wrong": attempt.wrong}
        )
        return _noted(reply, note)

    def again(self, name: str) -> Reply | None:
        """What is said now to the answer that was kept; ``None`` where there is none."""
        attempt = self._attempts.get(name)
        if attempt is None or attempt.answer is None:
            return None
        return self._judge(self.exercises[name], attempt, count=False)

    def solution(self, name: str) -> str:
        """The model answer from the rows shown now, or what is missing for it; Markdown.

        Raises:
            UnknownName: the lesson has no exercise of that name.
        """
        if name not in self.exercises:
            raise UnknownName("exercise", name, list(self.exercises))
        try:
            return self.exercises[name].solution(self.view())
        except VmcompareError as error:
            return markdown.literal(sentence(error))

    def _judge(self, exercise: Exercise, attempt: _Attempt, *, count: bool) -> Reply:
        assert attempt.answer is not None
        view = self.view()
        try:
            feedback = exercise.check(view, attempt.answer)
        except VmcompareError as error:
            return Reply(None, markdown.literal(sentence(error)))
        if count and not feedback.right:
            attempt.wrong += 1
            attempt.counted = True
        reached = exercise.hints[: attempt.wrong]
        return Reply(
            feedback.right,
            feedback.text,
            hints=() if feedback.right else reached,
            offer=feedback.right or attempt.wrong >= len(exercise.hints),
            checked_on=source(view) if exercise.on_rows else "",
        )

    # ---- questions ----------------------------------------------------------------------------

    def question(self, name: str) -> Question | None:
        """The question of that name, if there is one."""
        return next((q for q in self.questions if q.name == name), None)

    def chosen(self, question: Question) -> Choice | None:
        """The choice that was kept, perhaps in an earlier session."""
        kept = self._chosen.get(question.name)
        return next((c for c in question.choices if c.text == kept), None)

    def choose(self, question: Question, answer: object) -> Reply:
        """What is said to a choice, given by its text or its number; it is kept."""
        texts = [choice.text for choice in question.choices]
        text = _one_of(texts, answer)
        if text is None:
            return Reply(None, _list_choices(texts))
        choice = question.choices[texts.index(text)]
        self._chosen[question.name] = choice.text
        note = self._keep(answers.Kind.QUESTION, question.name, choice.text)
        return _noted(Reply(choice.right, choice.feedback), note)

    # ---- both ---------------------------------------------------------------------------------

    def answer(self, name: str, value: object) -> Reply:
        """What is said to an answer to the exercise or the question called ``name``.

        Raises:
            UnknownName: the lesson has neither of that name.
        """
        if name in self.exercises:
            return self.check(name, value)
        question = self.question(name)
        if question is None:
            known = [*self.exercises, *(q.name for q in self.questions)]
            raise UnknownName("exercise or question", name, known)
        return self.choose(question, value)

    def _keep(self, kind: answers.Kind, name: str, value: answers.Json) -> str:
        if not self.keeping:
            return ""
        return answers.keep(self.lesson, name, value, kind)


def sentence(error: VmcompareError) -> str:
    """An error as a sentence to a learner, with the next step where there is one."""
    text = str(error) if isinstance(error, Unavailable) else f"That could not be checked: {error}"
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "?")) else ".")


def source(view: View) -> str:
    """Which runs a view shows, in a few words: an answer holds for these."""
    if len(view.sources) > _NAMED:
        return f"{len(view.sources)} runs"
    many = len(view.sources) > 1
    return "; ".join(
        f"{s.shown}, run {s.run_id}" + (f" ({', '.join(s.platforms)})" if many else "")
        for s in view.sources
    )


def unit_words(unit: str) -> str:
    """A unit in words, for beside a field."""
    return {"s": "seconds", "ratio": "times"}.get(unit, unit)


def as_written(exercise: Exercise, answer: Answer) -> str:
    """An answer for people: a choice as it is, a number with its unit."""
    return answer if isinstance(answer, str) else written(answer, exercise.unit).strip()


def _noted(reply: Reply, note: str) -> Reply:
    return Reply(
        reply.right, reply.text, reply.hints, reply.offer, checked_on=reply.checked_on, note=note
    )


def _attempt(exercise: Exercise, kept: Mapping[str, answers.Json]) -> _Attempt:
    """What was kept of an exercise; an answer that it no longer offers is dropped."""
    wrong = kept.get("wrong")
    return _Attempt(
        _understood(exercise, kept.get("answer")), wrong if isinstance(wrong, int) else 0
    )


def _understood(exercise: Exercise, answer: object) -> Answer | None:
    """A learner's answer as the exercise's check wants it; ``None`` where it is none."""
    if exercise.choices:
        return _one_of(exercise.choices, answer)
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
            if answer.strip() in (choice, markdown.plain(choice)):
                return choice
        answer = int(answer) if re.fullmatch(r"\s*\d{1,9}\s*", answer) else answer
    number = answers.number(answer)
    if number is not None and number in range(1, len(choices) + 1):
        return choices[int(number) - 1]
    return None


def _ask_for(exercise: Exercise) -> str:
    if exercise.choices:
        return _list_choices(exercise.choices)
    words = unit_words(exercise.unit)
    return f"Please give a number{f', in {words}' if words else ''}."


def _list_choices(choices: Sequence[str]) -> str:
    listed = "; ".join(f"{number}: {text}" for number, text in enumerate(choices, start=1))
    return f"Please give one of the choices, or its number. {listed}."
