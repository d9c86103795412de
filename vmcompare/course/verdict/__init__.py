"""Lesson 09, the verdict: every claim of the article with the finding that recordings give it.

It measures nothing and so is no experiment. Everything is computed from recordings when it is
shown: delete one, and its cells say so.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from markupsafe import Markup

from vmcompare.course import exercises, page, text
from vmcompare.course.steps import Prediction, Steps, choose
from vmcompare.course.templates import render
from vmcompare.course.verdict import explain
from vmcompare.evidence.claims import ARTICLE, Conclusion, Finding, told
from vmcompare.evidence.claims.runs import Evidence, JudgedClaim, Part, gather
from vmcompare.evidence.view import computer
from vmcompare.measuring.mode import Mode, is_handout, mode
from vmcompare.paths import lessons_dir
from vmcompare.plots.findings import SIGNS
from vmcompare.sandbox import accelerator_words


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
        choose("outcome", name, explain.COUNTED)
        # Nobody can guess a count without the total.
        asked = f"{question} (of {len(self._evidence.claims)} in all)"
        self._ask(Prediction(self.number, name, asked, unit="claims", whole=True), guess)

    def _beside(self, asked: Prediction) -> Mapping[str, str]:
        guess, found = asked.kept(), explain.count(self._evidence, asked.name)
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
        draw = choose("figure", name, explain.explained.figures)
        self._put(
            lambda: text.caption(
                draw(self._evidence), self._section("figure", name), self._evidence.brief()
            )
        )

    def papers(self) -> None:
        """Show figures of two papers beside what was found by the same kind of work."""
        section = self._section("table", "papers")
        values = explain.explained.placeholders["table", "papers"]
        self._put(
            lambda: page.table(
                *text.table(explain.papers(self._evidence), section, lambda: values(self._evidence))
            )
        )

    # ---- choose -------------------------------------------------------------------------------

    def choose(self) -> None:
        """Show the figures that a choice can rest on, and six pieces of work to choose for."""

        def figures() -> page.Html:
            parts = explain.parts_of_headlines(self._evidence)
            shown = explain.headlines(self._evidence)
            rows = [{n: cell for n, cell in row.items() if n != "lesson"} for row in shown]
            return page.table(rows, self._source(parts))

        self._put(figures)
        asked = self._tasks_of(({}, exercises.works(self._text(), explain.choices(self._evidence))))
        if is_handout():
            self._html(Markup(exercises.questions_html(asked, "works")))
        else:
            page.display(exercises.quiz_widget(asked))

    # ---- practise -----------------------------------------------------------------------------

    def _asked(self) -> exercises.Tasks[Evidence]:
        return self._tasks_of(exercises.tasks(self._text(), explain.explained))

    # ---- inside -------------------------------------------------------------------------------

    def _tasks_of(self, tasked: exercises.Tasked[Evidence]) -> exercises.Tasks[Evidence]:
        return exercises.Tasks(self.number, *tasked, lambda: self._evidence, page.name_of(self))

    def _text(self) -> text.Text:
        return text.read(lessons_dir() / "text" / "09-verdict.md")

    def _gather(self) -> Evidence:
        return gather(own=mode(self.mode) is not Mode.REPLAY)


# ---- every claim, and the recordings ---------------------------------------------------------

SECTIONS: Mapping[str, str] = {
    "A": "What is a virtual machine? What is Docker?",
    "O": "Operating system support",
    "S": "Security",
    "P": "Portability",
    "F": "Performance",
    "T": "The closing table, line by line",
    "V": "Value words",
}
"""First letter of a claim's id → the article's section."""


def claims_table(claims: Iterable[JudgedClaim]) -> page.Html:
    """All claims, one line each, by the sections of the article."""
    sections = [
        {
            "name": SECTIONS[letter],
            "counted": _counted("claim", [claim.finding for claim in some]),
            "closing": letter == "T",
            "claims": [_claim(claim) for claim in some],
        }
        for letter, group in groupby(claims, key=lambda claim: claim.id[0])
        if (some := list(group))
    ]
    return page.Html(render("verdict", article=ARTICLE, sections=sections, signs=SIGNS))


def _counted(what: str, findings: Sequence[Finding]) -> str:
    """``"3 claims: 1 supported, 2 refuted"``."""
    counts = Counter(finding.verdict for finding in findings)
    found = [
        f"{n} {verdict}{'s' * (verdict is Conclusion.JUDGEMENT and n > 1)}"
        for verdict in Conclusion
        if (n := counts[verdict])
    ]
    return f"{len(findings)} {what}{'s' * (len(findings) > 1)}: {', '.join(found)}"


def _claim(claim: JudgedClaim) -> Mapping[str, Any]:
    """What the template shows of one claim.

    Parts that compare a container with a plain process say something that the article does not:
    they fold once more, behind the others.
    """
    first, many = claim.parts[0].claim, len(claim.parts) > 1
    verdict = claim.finding.verdict
    further = [part for part in claim.parts if part.claim.against_a_process]
    own = [part for part in claim.parts if part not in further]
    refuted = [p.claim.part for p in own if p.finding.verdict is Conclusion.REFUTED]
    return {
        "id": claim.id,
        # Of several parts what they have in common.
        "says": first.says.partition(":")[0].rstrip(".") + "." if many else first.says,
        "verdict": verdict,
        "refuted": "; ".join(refuted) if verdict is not Conclusion.REFUTED else "",
        "quote": first.quote,
        "parts": _parts(own, named=many),
        "further": _parts(further, named=True),
        "counted": _counted("part", [part.finding for part in further]),
    }


def _parts(parts: Sequence[Part], *, named: bool) -> list[Mapping[str, Any]]:
    """What the template shows of parts; neighbours of which the same is said stand together."""
    shown: list[Mapping[str, Any]] = []
    for _, group in groupby(parts, key=_alike):
        some = list(group)
        # What a part is set against is said once: by the article, or by the fold it stands in.
        first, names = some[0], "; ".join(p.claim.part.partition(", against ")[0] for p in some)
        told = list(lines(first))
        if len(some) > 1 and first.finding.lacking and first.run:
            told = [("Found", ("In this run none of them was measured",)), told[-1]]
        if others := tuple(dict.fromkeys(other for part in some for other in _others(part, some))):
            told.append(("Measured by others, with hardware", others))
        lesson = first.lesson if first.lesson and first.lesson.experiment else None
        shown.append(
            {
                "name": names[:1].upper() + names[1:] if named else "",
                "verdict": first.finding.verdict,
                "told": told,
                "lesson": lesson and page.lesson_link(lesson.notebook, f"lesson {lesson.number}"),
            }
        )
    return shown


def _others(part: Part, some: Sequence[Part]) -> Iterator[str]:
    """What others measured of ``part``; beside other parts, with what it is about."""
    about = part.claim.part.partition(",")[0].capitalize()
    for other in part.finding.others:
        yield f"{about}: {other}" if len(some) > 1 else other


def _alike(part: Part) -> object:
    """Parts of which this is equal say the same: all that is told, or that one run lacks them."""
    if part.finding.lacking and part.run:
        return part.run
    return part.finding.verdict, tuple(lines(part))


def lines(part: Part) -> Iterator[tuple[str, tuple[str, ...]]]:
    """What stands below a part: what is told of its finding, and the run."""
    yield from told(part.claim, part.finding)
    if part.note:
        yield "Passed over", (part.note,)
    if part.run:
        recording = part.run.recording
        words = [part.run.whose, f"run {recording.run_id}", recording.started_utc[:10]]
        yield "From", (" · ".join([*words, *map(accelerator_words, sorted(part.accelerators))]),)


def recordings_rows(evidence: Evidence) -> list[dict[str, str]]:
    """One row a run that is judged by, one a lesson that has none yet; in the lessons' order."""
    found: list[tuple[str, dict[str, str]]] = []

    def add(experiment: str, here: str, run: str = "–", computer: str = "–", by: str = "–") -> None:
        words, number = experiment.replace("_", " "), "~"  # behind all numbers
        if lesson := evidence.lesson(experiment):
            number = lesson.number
            words = page.lesson_link(lesson.notebook, f"{number} {words}")
        row = {"lesson": words, "here": here, "run": run, "computer": computer, "accelerator": by}
        found.append((number, row))

    for run in evidence.runs:
        recording = run.recording
        used = sorted(set(run.frame["accel"].dropna()) - {""})
        add(
            recording.experiment,
            str(run.whose),
            f"{recording.run_id}, {recording.started_utc[:10]}",
            computer(recording.host),
            ", ".join(map(accelerator_words, used)) or "none",
        )
    for lesson in evidence.lessons.values():
        if lesson.experiment and not evidence.of(lesson.experiment):
            add(lesson.experiment, evidence.missing(lesson))
    return [row for _, row in sorted(found, key=lambda one: one[0])]
