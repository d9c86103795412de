"""What a lesson asks of a learner: exercises that are checked on the data shown, and a quiz.

An answer is never merely right or wrong: every check says what the data say, or what to look at
next. See :mod:`vmcompare.course.text`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from vmcompare.evidence.units import written
from vmcompare.evidence.view import View

Answer = float | str  # a number in the exercise's unit, one of its choices, or a sentence


@dataclass(frozen=True, slots=True)
class Feedback:
    """What is said to an answer.

    ``right`` is ``None`` of a sentence, which no program judges; for a wrong answer the text says
    what to look at next, not the solution.
    """

    right: bool | None
    text: str


Check = Callable[[View, Answer], Feedback]
"""Judges an answer by the rows that the lesson shows; may raise ``Unavailable`` where they lack."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exercise:
    """One exercise: what its answer is held to. Its task and code are cells of the notebook.

    Attributes:
        choices: what to choose from; empty where a number is asked for.
        unit: of the number: ``"s"``, ``"bytes"``, ``"ratio"`` or any word.
        hints: shown one after the other, each after a further wrong answer.
        solution: the model answer with the figures of the data shown, Markdown; may raise
            ``Unavailable``.
        in_words: whether a sentence is asked for.
        accepted: the lowest and the highest number that is right, where nothing else decides; may
            raise ``Unavailable``.
        on_rows: whether the rows shown decide which answer is right.
    """

    name: str
    check: Check
    hints: tuple[str, ...]
    solution: Callable[[View], str]
    choices: tuple[str, ...] = ()
    unit: str = ""
    in_words: bool = False
    accepted: Callable[[View], tuple[float, float]] | None = None
    on_rows: bool = True


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
    answer: Answer, wanted: float, unit: str, *, within: float = 0.1, why: str = ""
) -> Feedback:
    """What is said to a number: right ``within`` a relative tolerance of what the data give.

    ``why`` is said with a right answer, after the figure.
    """
    if not isinstance(answer, int | float) or not math.isfinite(answer):
        return Feedback(False, "Please give a number.")
    if abs(answer - wanted) <= within * abs(wanted):
        return Feedback(True, f"Yes: the data shown give {written(wanted, unit)}. {why}".strip())
    return Feedback(False, _off(float(answer), wanted, unit))


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
