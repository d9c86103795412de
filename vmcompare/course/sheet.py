"""Exercises and questions as HTML that needs neither kernel nor script; what is said to answers.

In a handout, choices are native radio buttons, and what is said to a choice appears by CSS alone.
"""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from dataclasses import dataclass

from vmcompare.course.tasks import Reply, Tasks, sentence, unit_words
from vmcompare.errors import VmcompareError
from vmcompare.evidence.exercise import Exercise, Feedback, Question
from vmcompare.evidence.markdown import inline, to_html, unescaped

_BLANK = "_" * 18

LAB_STYLE = """<style>
.vmc-said { border-left: 3px solid var(--jp-border-color1, #888); padding: .2em 0 .2em .8em;
  margin: .4em 0; line-height: 1.5; max-width: 46em; }
.vmc-said.vmc-right { border-color: var(--jp-success-color1, #19692c); }
.vmc-said.vmc-wrong { border-color: var(--jp-warn-color1, #a3260f); }
.vmc-said p { margin: .2em 0; }
.vmc-said small { color: var(--jp-ui-font-color2, #555); }
.vmc-task { line-height: 1.5; max-width: 46em; }
.vmc-task p { margin: .4em 0; }
.vmc-task pre { background: var(--jp-layout-color2, #eee); padding: .6em .8em; overflow-x: auto;
  user-select: all; }
.vmc-task h3 { margin: 1.2em 0 .2em; font-size: 1.05em; }
.vmc-kind { color: var(--jp-ui-font-color2, #555); }
.vmc-choices label { display: flex !important; flex-direction: row-reverse;
  justify-content: flex-end; align-items: flex-start !important; height: auto !important;
  line-height: 1.5 !important; white-space: normal !important; margin: .15em 0 !important;
  cursor: pointer; }
.vmc-choices input { flex: none; float: none !important; width: 1em !important;
  height: 1em !important; margin: .25em .6em 0 2px !important; }
</style>"""
"""What a handout's own style sheet does, for JupyterLab in its light and dark themes."""


@dataclass(frozen=True, slots=True)
class Said:
    """A reply as a page shows it; in a terminal its words.

    Attributes:
        reply: what is said.
        solve: the call that shows the solution, named once it is offered; empty for a question.
    """

    reply: Reply
    solve: str = ""

    def _repr_html_(self) -> str:
        offer = self._offer()
        more = f"<p><small><code>{html.escape(offer)}</code></small></p>" if offer else ""
        return LAB_STYLE + reply_html(self.reply) + more

    def __repr__(self) -> str:
        reply = self.reply
        mark = {True: "Right. ", False: "Not right. ", None: ""}[reply.right]
        hints = [f"Hint {n}: {hint}" for n, hint in enumerate(reply.hints, start=1)]
        said = unescaped("\n".join([mark + reply.text, *hints]))
        return "\n".join(filter(None, [said, reply.note, self._offer()]))

    def _offer(self) -> str:
        return f"{self.solve}  # shows the solution" if self.reply.offer and self.solve else ""


@dataclass(frozen=True, slots=True)
class Solution:
    """A model answer as a page shows it; in a terminal its words."""

    text: str

    def _repr_html_(self) -> str:
        return f'{LAB_STYLE}<div class="vmc-task">{to_html(self.text)}</div>'

    def __repr__(self) -> str:
        return unescaped(self.text)


def heading(exercise: Exercise, level: int, by_hand: str = "") -> str:
    """Title, kind, minutes, whether it is homework, and how to answer ``by_hand`` (Python)."""
    words = [
        exercise.kind.value.capitalize(),
        f"{exercise.minutes} minutes",
        "in class" if exercise.in_class else "homework",
    ]
    if by_hand:
        words.append(f"or in a cell: <code>{html.escape(by_hand)}</code>")
    return (
        f'<h{level}>{inline(exercise.title)}</h{level}><p class="vmc-kind">{" · ".join(words)}</p>'
    )


def task_html(exercise: Exercise, code: str) -> str:
    """What to do, and the code to copy."""
    copied = f'<div class="vmc-code"><pre>{html.escape(code)}</pre></div>' if code else ""
    return f"{to_html(exercise.task)}{copied}"


def reply_html(reply: Reply, *, again: bool = False) -> str:
    """What is said to an answer; ``again`` where it is not said to an answer just given."""
    hints = "".join(
        f"<p><b>Hint {number}.</b> {inline(hint)}</p>"
        for number, hint in enumerate(reply.hints, start=1)
    )
    checked = f"Checked on the data shown: {reply.checked_on}." if reply.checked_on else ""
    small = " ".join(filter(None, [reply.note, checked]))
    below = f"<p><small>{html.escape(small)}</small></p>" if small else ""
    kind = {True: " vmc-right", False: " vmc-wrong", None: ""}[reply.right]
    role = "" if again else ' role="alert"'
    return (
        f'<div class="vmc-said{kind}"{role}><p>{_mark(reply.right)}{inline(reply.text)}</p>'
        f"{hints}{below}</div>"
    )


def exercises_html(tasks: Tasks) -> str:
    """All exercises on paper: task, code, choices or a line to write on, hints, model answer."""
    return "\n".join(_exercise(tasks, exercise) for exercise in tasks.ordered())


def questions_html(tasks: Tasks) -> str:
    """The quiz on paper: what is said to a choice shows when it is chosen, without any script."""
    asked = []
    for number, question in enumerate(tasks.questions, start=1):
        said = [(c.text, Feedback(c.right, c.feedback)) for c in question.choices]
        legend = f"<b>{number}.</b> {inline(question.ask)}"
        asked.append(_radio(_id(tasks.lesson, question.name), legend, said))
    right = "".join(f"<li>{_right_choice(question)}</li>" for question in tasks.questions)
    return (
        f'<div class="vmc-quiz">{"".join(asked)}</div>'
        f'<details class="vmc-answer"><summary>All answers of the quiz</summary>'
        f"<ol>{right}</ol></details>"
    )


def _exercise(tasks: Tasks, exercise: Exercise) -> str:
    solution = to_html(tasks.solution(exercise.name))
    hints = "".join(
        f'<details class="vmc-answer"><summary>Hint {number}</summary>{to_html(hint)}</details>'
        for number, hint in enumerate(exercise.hints, start=1)
    )
    return (
        f'<section class="vmc-task">{heading(exercise, 3)}'
        f"{task_html(exercise, tasks.code(exercise))}"
        f"{_field(tasks, exercise)}{hints}"
        f'<details class="vmc-answer"><summary>Model answer</summary>{solution}</details></section>'
    )


def _field(tasks: Tasks, exercise: Exercise) -> str:
    if not exercise.choices:
        words = html.escape(unit_words(exercise.unit))
        blank = f'<span class="vmc-blank">{_BLANK}</span>'
        return f'<p class="vmc-predict">Your answer: {blank} {words}</p>'
    said: list[tuple[str, Feedback | None]] = []
    missing = ""
    for choice in exercise.choices:
        try:
            said.append((choice, exercise.check(tasks.view(), choice)))
        except VmcompareError as error:
            said.append((choice, None))
            missing = (
                f'<p class="vmc-note"><strong>Note.</strong> {html.escape(sentence(error))}</p>'
            )
    return _radio(_id(tasks.lesson, exercise.name), "Your answer", said) + missing


def _radio(name: str, legend: str, said: Sequence[tuple[str, Feedback | None]]) -> str:
    """A group of native radio buttons. The feedback stands after each and shows once it is chosen.

    The element around it is always there, so that a screen reader, too, is told of the change.
    """
    choices = "".join(
        f'<div class="vmc-choice"><input type="radio" name="{name}" id="{name}-{number}" '
        f'autocomplete="off"><label for="{name}-{number}">{inline(text)}</label>'
        f'<div class="vmc-status-of" role="status">{_feedback(feedback)}</div></div>'
        for number, (text, feedback) in enumerate(said, start=1)
    )
    return f'<fieldset class="vmc-question"><legend>{legend}</legend>{choices}</fieldset>'


def _feedback(feedback: Feedback | None) -> str:
    if feedback is None:
        return ""
    kind = "vmc-right" if feedback.right else "vmc-wrong"
    return f'<p class="vmc-said {kind}">{_mark(feedback.right)}{inline(feedback.text)}</p>'


def _right_choice(question: Question) -> str:
    [right] = [choice for choice in question.choices if choice.right]
    return (
        f"{inline(question.ask)}<br><strong>{inline(right.text)}</strong><br>"
        f"{inline(right.feedback)}"
    )


def _mark(right: bool | None) -> str:
    """A sign, and the same in a word for those who do not see it; never colour alone."""
    if right is None:
        return "<strong>Note.</strong> "
    sign, word = ("✓", "Right") if right else ("✗", "Not right")
    return f'<span role="img" aria-label="{word}:">{sign}</span> '


def _id(lesson: str, name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_-]+", "-", f"q-{lesson}-{name}")
