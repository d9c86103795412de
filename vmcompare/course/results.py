"""A lesson in tables: what can be measured, predictions beside what was found, claims judged.

Plain rows for :func:`vmcompare.course.page.table`; nothing here draws.
"""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from vmcompare import engines
from vmcompare.course import answers, page
from vmcompare.evidence import claims
from vmcompare.evidence.claims import Claim, concerned
from vmcompare.evidence.claims.choose import Evidence, Part, part
from vmcompare.evidence.recording import Recording
from vmcompare.evidence.units import written
from vmcompare.evidence.view import Outcome, View
from vmcompare.plots.verdicts import SIGNS
from vmcompare.sandbox import EMULATION, SOFTWARE, Availability, Platform


@dataclass(frozen=True, slots=True)
class Prediction:
    """A question that is answered before measuring.

    Attributes:
        name: of the outcome it is set beside.
        question: what is asked.
        unit: of a number: ``"s"``, ``"ratio"`` or any other word.
        choices: what to choose from, where no number is asked for.
        whole: whether a count is asked for, which may be zero.
    """

    name: str
    question: str
    unit: str = ""
    choices: tuple[str, ...] = ()
    whole: bool = False

    def refuses(self, value: object) -> str:
        """Why ``value`` is no answer, as a sentence; empty when it is one."""
        if self.choices:
            known = isinstance(value, str) and value in self.choices
            return "" if known else "Please choose one of the answers."
        number = answers.number(value)
        if number is None:
            return "Please give a number."
        if self.whole:
            return "" if number >= 0 and number == int(number) else "Please give a whole number."
        return "" if number > 0 else "Please give a number above zero."


def availability(
    platforms: Sequence[Platform],
    found: Mapping[str, Availability],
    chosen: Collection[Platform],
) -> list[dict[str, str]]:
    """One row a platform: whether it is measured here or replayed, why, and the next step.

    Args:
        platforms: those of the experiment.
        found: what each engine's probe said.
        chosen: those that this session measures where it can; the others it replays by choice.
    """
    rows = []
    for platform in platforms:
        engine = found[engines.engine_of(platform)]
        here = engine.ok and platform in chosen
        rows.append(
            {
                "platform": platform.value,
                "here": "live" if here else "recorded",
                "because": _because(engine) if here or not engine.ok else "replay was chosen",
                "next step": "" if engine.ok else engine.next_step,
            }
        )
    return rows


def comparison(
    asked: Prediction, guess: float | None, outcome: Outcome, view: View
) -> Mapping[str, str]:
    """The guess, what the view gives, and how far they are apart."""
    found = outcome(view)
    under = f" ({EMULATION})" if view.emulated(outcome.platforms) else ""
    return {
        "question": asked.question,
        "you predicted": "–" if guess is None else written(guess, asked.unit),
        "found": "not measured here" if found is None else written(found, asked.unit) + under,
        "found ÷ predicted": f"{found / guess:.2g}×" if found and guess else "–",
    }


def findings(
    lesson: str,
    runs: Sequence[tuple[str, Recording | None]],
    evidence: Callable[[], Evidence],
) -> Iterator[Mapping[str, str]]:
    """One row for each of the lesson's claims and each run: the finding that its rule gives.

    Where none of the runs holds the rows that a claim takes, the finding is that of the lesson that
    does, and a link leads there.

    Args:
        lesson: its number.
        runs: each run with how it is shown (``"measured"`` or ``"recorded"``).
        evidence: gathers the recordings of all lessons; asked only where it is needed.
    """
    everything = claims.load()
    parts = Counter(claim.id for claim in everything)
    judged = [(shown, run, run.frame()) for shown, run in runs if run is not None]
    gathered: Evidence | None = None
    for claim in (c for c in everything if lesson in c.lessons and judged):
        name = f"{claim.id} {claim.part}" if parts[claim.id] > 1 else claim.id
        found = [(shown, run, claims.judge(claim, frame)) for shown, run, frame in judged]
        if all(finding.lacking for _, _, finding in found):
            gathered = gathered or evidence()
            elsewhere = part(claim, gathered)
            if elsewhere.run is not None and not elsewhere.finding.lacking:
                yield _judged(name, claim.quote, elsewhere.finding, _borrowed(elsewhere))
                continue
        for shown, run, finding in found:
            source = _source(shown, run, claim)
            yield _judged(name, claim.quote, finding, html.escape(source))


def _source(shown: str, run: Recording, claim: Claim) -> str:
    """Which run a finding is from, and whether its VMs were emulated; nothing for a judgement."""
    if claim.estimand is None:
        return ""
    used = set(concerned(claim.estimand, run.frame())["accel"].dropna())
    return f"{shown}, run {run.run_id}" + (f", {EMULATION}" if SOFTWARE in used else "")


def _judged(name: str, quote: str, finding: claims.Finding, source: str) -> Mapping[str, str]:
    """One line: the claim with its finding; the article's words, the reason, and (HTML) the run."""
    sign = f'<span aria-hidden="true">{SIGNS[finding.verdict]}</span>'
    return {
        "claim and finding": page.Markup(
            f"<strong>{html.escape(name)}</strong><br>{sign} {finding.verdict}"
        ),
        "what the article says, and what was found": page.Markup(
            f"<em>“{html.escape(quote)}”</em><br>{html.escape(_why(finding))}"
            + (f"<br><small>{source}</small>" if source else "")
        ),
    }


def _borrowed(elsewhere: Part) -> str:
    """Where the finding of another lesson comes from, with a link to it (HTML)."""
    assert elsewhere.run is not None
    recording = elsewhere.run.recording
    words = f"{elsewhere.run.whose}, run {recording.run_id}"
    words += f", {EMULATION}" if elsewhere.emulated else ""
    if elsewhere.lesson is None:
        return html.escape(f"{recording.experiment.replace('_', ' ')}: {words}")
    link = page.lesson_link(elsewhere.lesson.notebook, f"from lesson {elsewhere.lesson.number}")
    return f"{link}: {html.escape(words)}"


def _why(finding: claims.Finding) -> str:
    """The reason, what limits it, and what stands beside it and changes nothing."""
    said = [finding.reason]
    if finding.caveats:
        said.append(f"Caveats: {'; '.join(finding.caveats)}.")
    if finding.listed:
        said.append(f"Beside it: {'; '.join(finding.listed)}.")
    return " ".join(said)


def _because(engine: Availability) -> str:
    if not engine.ok:
        return engine.what
    details = dict(engine.details)
    if details.get("accelerator") == SOFTWARE:
        return f"QEMU {engine.version}, software emulation"
    return f"ready ({engine.version})" if engine.version else "ready"
