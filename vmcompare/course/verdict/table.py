"""Every claim as one line that unfolds, and the recordings' table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

from vmcompare.course import page
from vmcompare.course.templates import render
from vmcompare.evidence.claims import ARTICLE, Conclusion, Finding, told
from vmcompare.evidence.claims.runs import Evidence, JudgedClaim, Part
from vmcompare.evidence.view import computer
from vmcompare.plots.findings import SIGNS
from vmcompare.sandbox import accelerator_words

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
