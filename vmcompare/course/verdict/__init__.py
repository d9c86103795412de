"""Lesson 09, the verdict: every claim of the article with the finding that recordings give it.

It measures nothing and so is no experiment. :mod:`.explain` makes pictures and models of the
judged claims, :mod:`.table` their table, :mod:`.checks` what answers are held to;
:mod:`vmcompare.evidence.claims.judged` judges them. Everything is computed from recordings when
it is shown: delete one, and its cells say so.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from vmcompare.course import page, text
from vmcompare.course.exercises import Tasks
from vmcompare.course.predict import Prediction
from vmcompare.course.steps import Steps
from vmcompare.course.verdict.checks import changed
from vmcompare.course.verdict.explain import COUNTED, count, explained
from vmcompare.course.verdict.table import claims_table, reason, recordings_rows
from vmcompare.errors import UnknownName
from vmcompare.evidence import claims
from vmcompare.evidence.claims.judged import Evidence, gather
from vmcompare.measuring.mode import Mode, is_handout, mode
from vmcompare.paths import lessons_dir

NUMBER = "09"


@dataclass(slots=True)
class Verdict(Steps):
    """What the notebook of lesson 09 imports.

    Attributes:
        own: whether the learner's own recordings count beside the project's; they never do while
            recordings are replayed.
        mode: ``"replay"`` judges by the project's recordings alone; nothing is measured in any.
    """

    own: bool = True
    mode: str = Mode.AUTO
    _evidence: Evidence = field(init=False)

    def __post_init__(self) -> None:
        self._evidence = self._gather()

    @property
    def page_number(self) -> str:
        """``"09"``."""
        return NUMBER

    # ---- what is here -------------------------------------------------------------------------

    def check(self) -> None:
        """Read the recordings again, and show which there are and which lessons have none."""
        self._evidence = self._gather()
        self._page.refresh()
        self._page.put(lambda: page.table(recordings_rows(self._evidence)))
        for said in self._evidence.problems.values():
            for problem in said:
                self._page.say(problem)

    # ---- predict ------------------------------------------------------------------------------

    def predict(self, name: str, question: str = "", *, guess: float | str | None = None) -> None:
        """Ask for a prediction and keep it; ``guess=…`` answers in plain Python, without a widget.

        ``name`` is one of ``COUNTED`` (a number of claims), or the id of a claim, whose finding is
        then chosen.

        Raises:
            UnknownName: it is neither.
        """
        if claim := self._evidence.claim(name):
            quote = claim.parts[0].claim.quote
            asked = question or f"{name}: “{quote}” The finding will be …"
            choices = tuple(map(str, claims.Conclusion))
            self._ask(Prediction(NUMBER, name, asked, choices=choices), guess)
        elif name in COUNTED:
            asked = question or f"Claims that will be {name.replace('_', ' ')}"
            # Nobody can guess a count without the total.
            asked = f"{asked} (of {len(self._evidence.claims)} in all)"
            self._ask(Prediction(NUMBER, name, asked, unit="claims", whole=True), guess)
        else:
            raise UnknownName("outcome", name, [*COUNTED, *(c.id for c in self._evidence.claims)])

    def _beside(self, asked: Prediction) -> Mapping[str, str]:
        guess = asked.kept()
        found: int | str
        if asked.choices:
            claim = self._evidence.claim(asked.name)
            found = str(claim.finding.verdict) if claim else "–"
            close = "as predicted" if guess == found else "different"
        else:
            found = count(self._evidence, asked.name)
            off = found - guess if isinstance(guess, int | float) else 0
            close = "as predicted" if off == 0 else f"{abs(off):g} {'more' if off > 0 else 'fewer'}"
        shown = f"{guess:g}" if isinstance(guess, int | float) else guess
        if is_handout():
            shown, close = asked.on_page(), "–"
        return {
            "question": asked.question,
            "you predicted": shown or "–",
            "found": str(found),
            "difference": "–" if guess is None else close,
        }

    def _source(self) -> str:
        return self._evidence.caption()

    # ---- explain ------------------------------------------------------------------------------

    def table(self) -> None:
        """Show every claim with its parts, findings, figures and where they come from."""
        self._page.put(lambda: claims_table(self._evidence.claims))

    def figure(self, name: str) -> None:
        """Show the claims by finding ("findings"), or the ratios with their bounds ("ratios")."""
        if name not in explained.figures:
            raise UnknownName("figure", name, sorted(explained.figures))
        draw = explained.figures[name]
        self._page.put(lambda: text.caption(draw(self._evidence), self._section("figure", name)))

    def whatif(self, name: str, **options: Any) -> None:
        """Show a modelled figure with a slider ("hosts")."""
        if name not in explained.whatifs:
            raise UnknownName("what-if", name, sorted(explained.whatifs))
        self._model(name, lambda: explained.whatifs[name](self._evidence, **options))

    def without(self, experiment: str) -> None:
        """Show what the table would say if there were no recording of ``experiment``.

        Raises:
            UnknownName: no lesson is on an experiment of that name.
        """
        lessons = {lesson.experiment: lesson for lesson in self._evidence.lessons.values()}
        if experiment not in lessons:
            raise UnknownName("experiment", experiment, sorted(filter(None, lessons)))
        if not self._evidence.of(experiment):
            self._page.say(self._evidence.missing(lessons[experiment]))
            return
        moved = changed(self._evidence, experiment)
        rows = [
            {
                "claim": before.claim.name,
                "with it": f"{before.finding.verdict}: {reason(before)}",
                "without it": f"{after.finding.verdict}: {reason(after)}",
            }
            for before, after in moved
        ]
        stay = len(self._evidence.parts) - len(moved)
        if not rows:
            self._page.say(f"Nothing would change: all {stay} lines stay as they are.")
            return
        words = f"Without the recording of {experiment.replace('_', ' ')}; "
        self._page.put(lambda: page.table(rows, f"{words}{stay} other lines stay as they are."))

    def numbers(self, claim_id: str) -> tuple[float, float, float]:
        """Lower end, upper end and bound of the first part of a claim.

        All three are NaN, and a sentence says why, where no recording holds them.

        Raises:
            UnknownName: there is no such claim.
        """
        claim = self._evidence.claim(claim_id)
        if claim is None:
            raise UnknownName("claim", claim_id, [c.id for c in self._evidence.claims])
        part = claim.parts[0]
        interval, bound = part.finding.interval, part.claim.bound
        if interval is None or bound is None:
            self._page.say(part.finding.reason)
            return math.nan, math.nan, math.nan
        return interval.low, interval.high, bound

    # ---- practise -----------------------------------------------------------------------------

    def _asked(self) -> Tasks:
        words = text.read(lessons_dir() / "text" / "09-verdict.md")
        exercises, questions = text.tasks(words, explained, lambda _: self._evidence)
        return Tasks(
            NUMBER,
            exercises,
            questions,
            lambda: self._evidence.view(),
            called=page.name_of(self),
            keeping=not is_handout(),
        )

    # ---- inside -------------------------------------------------------------------------------

    def _gather(self) -> Evidence:
        return gather(own=self.own and mode(self.mode) is not Mode.REPLAY)
