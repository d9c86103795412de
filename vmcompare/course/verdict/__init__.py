"""Lesson 09, the verdict: every claim of the article with the finding that recordings give it.

It measures nothing and so is no experiment. Everything is computed from recordings when it is
shown: delete one, and its cells say so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from markupsafe import Markup

from vmcompare.course import page, text
from vmcompare.course.exercises import (
    Tasked,
    Tasks,
    questions_html,
    quiz_widget,
    tasks,
    works,
)
from vmcompare.course.predict import Prediction
from vmcompare.course.steps import Steps
from vmcompare.course.verdict.explain import (
    COUNTED,
    choices,
    count,
    explained,
    headlines,
    papers,
    parts_of_headlines,
)
from vmcompare.course.verdict.table import claims_table, recordings_rows
from vmcompare.errors import UnknownName
from vmcompare.evidence.claims.runs import Evidence, Part, gather
from vmcompare.measuring.mode import Mode, is_handout, mode
from vmcompare.paths import lessons_dir


@dataclass(slots=True)
class Verdict(Steps):
    """What the notebook of lesson 09 imports.

    Attributes:
        mode: ``"replay"`` judges by the project's recordings alone; else the learner's own count,
            too. Nothing is measured in any.
    """

    experiment: str = field(default="", init=False)
    number: str = field(default="09", init=False)
    mode: str = Mode.AUTO
    _evidence: Evidence = field(init=False)

    def __post_init__(self) -> None:
        self._evidence = self._gather()

    # ---- what is here -------------------------------------------------------------------------

    def check(self) -> None:
        """Read the recordings again, and show which there are and which lessons have none."""
        self._evidence = self._gather()
        self._refresh()
        self._put(lambda: page.table(recordings_rows(self._evidence)))
        for said in self._evidence.problems.values():
            for problem in said:
                self._say(problem)

    # ---- predict ------------------------------------------------------------------------------

    def predict(self, name: str, question: str, *, guess: float | None = None) -> None:
        """Ask for a number of claims (one of ``COUNTED``) and keep it. Raises ``UnknownName``."""
        if name not in COUNTED:
            raise UnknownName("outcome", name, list(COUNTED))
        # Nobody can guess a count without the total.
        asked = f"{question} (of {len(self._evidence.claims)} in all)"
        self._ask(Prediction(self.number, name, asked, unit="claims", whole=True), guess)

    def _beside(self, asked: Prediction) -> Mapping[str, str]:
        guess, found = asked.kept(), count(self._evidence, asked.name)
        shown, close = "–", "–"
        if is_handout():
            shown = asked.on_page()
        elif isinstance(guess, int | float):
            off = found - guess
            shown = f"{guess:g}"
            close = f"{abs(off):g} {'more' if off > 0 else 'fewer'}" if off else "as predicted"
        row = {"question": asked.question, "you predicted": shown, "found": str(found)}
        return row if is_handout() else {**row, "difference": close}

    def _source(self, parts: Sequence[Part] | None = None) -> str:
        return f"{self._evidence.brief(parts)}\n\n{self._evidence.caption(parts)}"

    # ---- explain ------------------------------------------------------------------------------

    def table(self) -> None:
        """Show every claim as one line that unfolds: value, bound, limits and run of each part."""
        self._put(lambda: claims_table(self._evidence.claims))

    def figure(self, name: str) -> None:
        """Show the claims by finding ("findings"), or the ratios with their bounds ("ratios")."""
        if name not in explained.figures:
            raise UnknownName("figure", name, sorted(explained.figures))
        draw = explained.figures[name]
        self._put(
            lambda: text.caption(
                draw(self._evidence), self._section("figure", name), self._evidence.brief()
            )
        )

    def papers(self) -> None:
        """Show figures of two papers beside what was found by the same kind of work."""
        section = self._section("table", "papers")
        self._put(lambda: page.table(*text.table(papers(self._evidence), section)))

    # ---- choose -------------------------------------------------------------------------------

    def choose(self) -> None:
        """Show the figures that a choice can rest on, and six pieces of work to choose for."""

        def figures() -> page.Html:
            parts = parts_of_headlines(self._evidence)
            shown = headlines(self._evidence)
            rows = [{n: cell for n, cell in row.items() if n != "lesson"} for row in shown]
            return page.table(rows, self._source(parts))

        self._put(figures)
        asked = self._tasks_of(({}, works(self._text(), choices(self._evidence))))
        if is_handout():
            self._html(Markup(questions_html(asked, "works")))
        else:
            page.display(quiz_widget(asked))

    # ---- practise -----------------------------------------------------------------------------

    def _asked(self) -> Tasks[Evidence]:
        return self._tasks_of(tasks(self._text(), explained))

    def _tasks_of(self, tasked: Tasked[Evidence]) -> Tasks[Evidence]:
        return Tasks(self.number, *tasked, lambda: self._evidence, page.name_of(self))

    # ---- inside -------------------------------------------------------------------------------

    def _text(self) -> text.Text:
        return text.read(lessons_dir() / "text" / "09-verdict.md")

    def _gather(self) -> Evidence:
        return gather(own=mode(self.mode) is not Mode.REPLAY)
