"""What a lesson asks of a learner: exercises that are checked on the data shown, and a quiz.

Both are made of a lesson's text and of the checks of its experiment: see
:mod:`vmcompare.course.wording`. An answer is never merely right or wrong: every check says what the
data say, or what to look at next.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from vmcompare.evidence.units import written
from vmcompare.evidence.view import View

Answer = float | str
"""A number in the exercise's unit, or one of its choices."""


class Kind(StrEnum):
    """The four kinds of exercise; a lesson has one of each."""

    TWEAK = "tweak"
    FILL_IN = "fill in"
    BUG = "find the bug"
    TRANSFER = "transfer"


@dataclass(frozen=True, slots=True)
class Feedback:
    """What is said to an answer.

    Attributes:
        right: whether it is (close enough to) what the data say.
        text: why, in a sentence or two; for a wrong one what to look at next, not the solution.
    """

    right: bool
    text: str


Check = Callable[[View, Answer], Feedback]
"""Judges an answer by the rows that the lesson shows; may raise ``Unavailable`` where they lack."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exercise:
    """One exercise.

    Attributes:
        name: what an answer names.
        kind: one of the four.
        title: a few words.
        task: what to do, Markdown.
        code: Python to run, complete or repair in a cell of one's own; may be empty. ``lesson``
            stands for the notebook's :class:`~vmcompare.course.lesson.Lesson`, and is shown under
            the name that it has there. Lines of at most 70 characters fit a page.
        choices: what to choose from; empty where a number is asked for.
        unit: of the number: ``"s"``, ``"bytes"``, ``"ratio"`` or any word.
        check: judges an answer.
        hints: shown one after the other, each after a further wrong answer.
        solution: the model answer with the figures of the data shown, Markdown; may raise
            ``Unavailable``.
        in_class: whether it is the one done in class; the others are homework.
        minutes: how long it takes.
    """

    name: str
    check: Check
    hints: tuple[str, ...]
    solution: Callable[[View], str]
    kind: Kind = Kind.FILL_IN
    title: str = ""
    task: str = ""
    code: str = ""
    choices: tuple[str, ...] = ()
    unit: str = ""
    in_class: bool = False
    minutes: int = 8

    @property
    def on_rows(self) -> bool:
        """Whether the rows shown decide which answer is right."""
        return not isinstance(self.check, Chosen)


@dataclass(frozen=True, slots=True)
class Choice:
    """One answer to a question, and what is said to whoever chooses it."""

    text: str
    feedback: str
    right: bool = False


@dataclass(frozen=True, slots=True)
class Question:
    """A self-check question with exactly one right choice; wrong ones are real misconceptions."""

    name: str
    ask: str
    choices: tuple[Choice, ...]

    def __post_init__(self) -> None:
        if sum(choice.right for choice in self.choices) != 1:
            raise ValueError(f"question {self.name!r} needs exactly one right choice")


def near(
    expected: Callable[[View], float], unit: str, *, within: float = 0.1, why: str = ""
) -> Check:
    """A check for a number: right within a relative tolerance of what the data give.

    Args:
        expected: the number, in ``unit``; may raise ``Unavailable``.
        unit: see :attr:`Exercise.unit`.
        within: relative tolerance.
        why: said with a right answer, after the figure.
    """

    def check(view: View, answer: Answer) -> Feedback:
        wanted = expected(view)
        if not isinstance(answer, int | float) or not math.isfinite(answer):
            return Feedback(False, "Please give a number.")
        if abs(answer - wanted) <= within * abs(wanted):
            return Feedback(
                True, f"Yes: the data shown give {written(wanted, unit)}. {why}".strip()
            )
        return Feedback(False, _off(float(answer), wanted, unit))

    return check


@dataclass(frozen=True, slots=True)
class Chosen:
    """A check for a choice that is no matter of data: see :func:`chosen`."""

    right: str
    feedback: Mapping[str, str]

    def __call__(self, view: View, answer: Answer) -> Feedback:  # noqa: ARG002 - it is a Check
        """Judge a choice, whatever the view holds."""
        if answer not in self.feedback:
            return Feedback(False, "Please choose one of the answers.")
        return Feedback(answer == self.right, self.feedback[str(answer)])


def chosen(right: str, feedback: Mapping[str, str]) -> Check:
    """A check for a choice, with words for each (the right one too)."""
    return Chosen(right, feedback)


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


Parts = Mapping[str, tuple[str, ...]]
"""Lesson number → names of its exercises and questions, where an experiment has two lessons."""


def part(
    exercises: Mapping[str, Exercise], questions: Sequence[Question], names: Sequence[str] | None
) -> tuple[Mapping[str, Exercise], tuple[Question, ...]]:
    """Those of these ``names``; all of them where there are no names."""
    if names is None:
        return exercises, tuple(questions)
    return (
        {name: exercise for name, exercise in exercises.items() if name in names},
        tuple(question for question in questions if question.name in names),
    )


def check_complete(
    exercises: Mapping[str, Exercise], questions: Sequence[Question], parts: Parts | None = None
) -> None:
    """Raise ``ValueError`` unless this is a whole lesson's.

    That is: one exercise of each of the four kinds, one of them done in class, and 3–5 questions.
    Every exercise has a hint, every choice its words, and each its own name. Where the lesson is in
    ``parts``, each has two of the exercises, one of them done in class, and 3–5 questions.
    """
    kinds = sorted(exercise.kind for exercise in exercises.values())
    if kinds != sorted(Kind):
        raise ValueError(f"a lesson has one exercise of each kind, not {', '.join(kinds)}")
    if any(name != e.name or not e.hints for name, e in exercises.items()):
        raise ValueError("an exercise has its own name and at least one hint")
    for size, (some, asked) in _halves(exercises, questions, parts or {}):
        if len(some) != size:
            raise ValueError(f"a part of a lesson has {size} exercises, not {len(some)}")
        if sum(exercise.in_class for exercise in some.values()) != 1:
            raise ValueError("exactly one exercise is done in class")
        if not 3 <= len(asked) <= 5:
            raise ValueError(f"a lesson asks 3 to 5 questions, not {len(asked)}")
    names = [*exercises, *(question.name for question in questions)]
    if len(set(names)) != len(names):
        raise ValueError("exercises and questions are told apart by their names")
    if any(not choice.feedback for question in questions for choice in question.choices):
        raise ValueError("every choice has its feedback")
    listed = [name for some in (parts or {}).values() for name in some]
    if parts and sorted(listed) != sorted(names):
        raise ValueError("each exercise and question is in exactly one part")


def _halves(
    exercises: Mapping[str, Exercise], questions: Sequence[Question], parts: Parts
) -> Iterator[tuple[int, tuple[Mapping[str, Exercise], tuple[Question, ...]]]]:
    """What each lesson asks, with how many exercises it should have."""
    if not parts:
        yield len(Kind), part(exercises, questions, None)
    for names in parts.values():
        yield 2, part(exercises, questions, names)
