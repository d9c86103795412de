"""Lesson 09, the verdict: every claim of the article with the finding that recordings give it.

It measures nothing and so is no experiment. :mod:`.explain` makes pictures and models of the
settled table, :mod:`.table` the table itself, :mod:`.exercises` what is asked of a learner;
:mod:`vmcompare.evidence.claims.choose` settles it. Everything is computed from recordings when
it is shown: delete one, and its cells say so.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from vmcompare.course import page
from vmcompare.course.exercises import Tasks
from vmcompare.course.predict import Prediction
from vmcompare.course.steps import Steps
from vmcompare.course.verdict import exercises as tasks_of
from vmcompare.course.verdict import table as whole
from vmcompare.course.verdict.explain import FIGURES, FINDINGS, OUTCOMES, WHATIFS, Table
from vmcompare.errors import UnknownName
from vmcompare.evidence.claims.choose import Evidence, gather
from vmcompare.measuring.mode import Mode, is_handout, mode

NUMBER = "09"


@dataclass(slots=True)
class Verdict(Steps):
    """What the notebook of lesson 09 imports.

    Attributes:
        own: whether the learner's own recordings count beside the project's; they never do while
            recordings are replayed.
    """

    own: bool = True
    _table: Table = field(init=False)
    _tasks: Tasks | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self._table = Table(self._gather())

    @property
    def page_number(self) -> str:
        """``"09"``."""
        return NUMBER

    # ---- what is here -------------------------------------------------------------------------

    def check(self) -> None:
        """Read the recordings again, and show which there are and which lessons have none."""
        self._table = Table(self._gather())
        self._page.refresh()
        self._page.put(lambda: page.table(whole.here(self._table.evidence)))
        for said in self._table.evidence.problems.values():
            for problem in said:
                self._page.say(problem)

    # ---- predict ------------------------------------------------------------------------------

    def predict(self, name: str, question: str = "", *, guess: float | str | None = None) -> None:
        """Ask for a prediction and keep it; ``guess=…`` answers in plain Python, without a widget.

        ``name`` is one of ``OUTCOMES`` (a number of claims), or the id of a claim, whose finding is
        then chosen.

        Raises:
            UnknownName: it is neither.
        """
        row = self._table.row(name)
        if row is not None:
            quote = row.parts[0].claim.quote
            asked = question or f"{name}: “{quote}” The finding will be …"
            self._ask(Prediction(NUMBER, name, asked, choices=tuple(FINDINGS)), guess)
        elif name in OUTCOMES:
            asked = question or f"Claims that will be {name.replace('_', ' ')}"
            # Nobody can guess a count without the total.
            asked = f"{asked} (of {len(self._table.rows)} in all)"
            self._ask(Prediction(NUMBER, name, asked, unit="claims", whole=True), guess)
        else:
            raise UnknownName("outcome", name, [*OUTCOMES, *(r.id for r in self._table.rows)])

    def _beside(self, asked: Prediction) -> Mapping[str, str]:
        guess = asked.kept()
        found: int | str
        if asked.choices:
            row = self._table.row(asked.name)
            found = str(row.finding.verdict) if row else "–"
            close = "as predicted" if guess == found else "different"
        else:
            found = OUTCOMES[asked.name](self._table)
            off = found - guess if isinstance(guess, int | float) else 0
            close = "as predicted" if off == 0 else f"{abs(off):g} {'more' if off > 0 else 'fewer'}"
        shown = f"{guess:g}" if isinstance(guess, int | float) else guess
        return {
            "question": asked.question,
            "you predicted": shown or "–",
            "found": str(found),
            "difference": "–" if guess is None else close,
        }

    def _source(self) -> str:
        return self._table.caption()

    # ---- explain ------------------------------------------------------------------------------

    def table(self) -> None:
        """Show every claim with its parts, findings, figures and where they come from."""
        self._page.put(lambda: whole.whole(self._table.rows))

    def figure(self, name: str) -> None:
        """Show one of ``FIGURES``: the claims by finding, or the ratios with their bounds."""
        if name not in FIGURES:
            raise UnknownName("figure", name, sorted(FIGURES))
        self._page.put(lambda: FIGURES[name](self._table))

    def whatif(self, name: str, **options: Any) -> None:
        """Show one of ``WHATIFS``: a modelled figure with a slider."""
        if name not in WHATIFS:
            raise UnknownName("what-if", name, sorted(WHATIFS))
        self._follow(lambda: WHATIFS[name](self._table, **options))

    def without(self, experiment: str) -> None:
        """Show what the table would say if there were no recording of ``experiment``.

        Raises:
            UnknownName: there is none to begin with.
        """
        known = sorted({run.recording.experiment for run in self._table.evidence.runs})
        if experiment not in known:
            raise UnknownName("recording", experiment, known)
        moved = tasks_of.changed(self._table, experiment)
        rows = [
            {
                "claim": f"{before.claim.id} {before.claim.part}",
                "with it": f"{before.finding.verdict}: {whole.reason(before)}",
                "without it": f"{after.finding.verdict}: {whole.reason(after)}",
            }
            for before, after in moved
        ]
        stay = len(self._table.parts) - len(moved)
        if not rows:
            self._page.say(f"Nothing would change: all {stay} lines stay as they are.")
            return
        words = f"Without the recording of {experiment.replace('_', ' ')}; "
        self._page.put(lambda: page.table(rows, f"{words}{stay} other lines stay as they are."))

    def numbers(self, claim_id: str, part: str = "") -> tuple[float, float, float]:
        """Lower end, upper end and bound of one claim (of its first part, or of the one named).

        All three are NaN, and a sentence says why, where no recording holds them.

        Raises:
            UnknownName: there is no such claim, or no such part of it.
        """
        row = self._table.row(claim_id)
        if row is None:
            raise UnknownName("claim", claim_id, [r.id for r in self._table.rows])
        names = [p.claim.part for p in row.parts]
        if part and part not in names:
            raise UnknownName(f"part of {claim_id}", part, names)
        chosen = row.parts[names.index(part) if part else 0]
        interval, bound = chosen.finding.interval, chosen.claim.bound
        if interval is None or bound is None:
            self._page.say(chosen.finding.reason)
            return math.nan, math.nan, math.nan
        return interval.low, interval.high, bound

    # ---- practise -----------------------------------------------------------------------------

    def _practice(self) -> Tasks:
        if self._tasks is None:
            self._tasks = Tasks(
                NUMBER,
                tasks_of.exercises(lambda: self._table),
                tasks_of.QUESTIONS,
                lambda: self._table.evidence.view(),
                called=page.name_of(self),
                keeping=not is_handout(),
            )
        return self._tasks

    # ---- inside -------------------------------------------------------------------------------

    def _gather(self) -> Evidence:
        return gather(own=self.own and mode() is not Mode.REPLAY)
