"""The final table as HTML (``templates/verdict.html.j2``), and the table of its recordings.

Signs and words tell the findings. Every figure says whether it was measured or recorded, by which
run, when, and, where a VM ran under it, *software emulation*.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any

from vmcompare.course import page
from vmcompare.course.templates import render
from vmcompare.evidence.claims import ARTICLE, CaveatKind, Conclusion, Rule
from vmcompare.evidence.claims.judged import Evidence, JudgedClaim, Part
from vmcompare.plots.findings import SIGNS
from vmcompare.sandbox import accelerator_words

SECTIONS: Mapping[str, str] = {
    "A": "What is a virtual machine? What is Docker?",
    "O": "Operating system support",
    "S": "Security",
    "P": "Portability",
    "F": "Performance",
    "T": "Conclusions",
    "V": "Conclusions",
}
"""First letter of a claim's id → the article's section."""


def claims_table(claims: Iterable[JudgedClaim]) -> page.Html:
    """All claims: one table for each section of the article, in its order."""
    sections: dict[str, list[JudgedClaim]] = {}
    for claim in claims:
        sections.setdefault(SECTIONS[claim.id[0]], []).append(claim)
    markup = render(
        "verdict",
        article=ARTICLE,
        sections=[
            {"name": name, "claims": some, "counted": _counted(some)}
            for name, some in sections.items()
        ],
        signs=SIGNS,
        alike=_alike,
        reason=reason,
        link=_link,
        provenance=provenance,
    )
    return page.Html(markup)


def _counted(claims: Sequence[JudgedClaim]) -> str:
    counts = Counter(claim.finding.verdict for claim in claims)
    told = ", ".join(f"{counts[v]} {v}" for v in Conclusion if counts[v])
    return f"{len(claims)} claim{'' if len(claims) == 1 else 's'}: {told}"


def _alike(parts: Sequence[Part]) -> list[list[Part]]:
    """The parts of one claim; neighbours with the same finding share a row."""
    same = groupby(parts, key=lambda part: (part.run, part.finding.verdict, reason(part)))
    return [list(some) for _, some in same]


def _link(part: Part) -> str:
    """A link to the lesson, as HTML; empty where there is none, or it is this one."""
    if part.lesson is None or not part.lesson.experiment:
        return ""
    return page.lesson_link(part.lesson.notebook, f"lesson {part.lesson.number}")


def reason(part: Part) -> str:
    """What was found, with interval and number of runs; beside a judgement what else there is."""
    said = part.finding.reason
    texts = [c.text for c in part.claim.caveats if c.kind is CaveatKind.TEXT]
    if part.claim.rule is Rule.JUDGEMENT and texts:
        said += f" {'Also' if part.run else 'Beside it'}: {'; '.join(texts)}."
    return f"{said} {part.note}".rstrip()


def provenance(part: Part) -> str:
    """Measured or recorded, run, date and accelerator; a dash where no recording holds it."""
    if part.run is None:
        return "–"
    recording = part.run.recording
    words = [part.run.whose, f"run {recording.run_id}", recording.started_utc[:10]]
    return " · ".join([*words, *map(accelerator_words, sorted(part.accelerators))])


def recordings_rows(evidence: Evidence) -> list[dict[str, Any]]:
    """One row a run that is judged by, one a lesson that has none yet; in the lessons' order."""
    found: list[tuple[str, dict[str, Any]]] = []

    def add(experiment: str, cells: Mapping[str, str]) -> None:
        words = experiment.replace("_", " ")
        number = "~"  # behind all numbers
        if lesson := evidence.lesson(experiment):
            number = lesson.number
            words = page.lesson_link(lesson.notebook, f"{number} {words}")
        found.append((number, {"lesson": words, **cells}))

    for run in evidence.runs:
        recording, host = run.recording, run.recording.host
        cells = {
            "here": str(run.whose),
            "run": f"{recording.run_id}, {recording.started_utc[:10]}",
            "computer": f"{host.get('cpu') or host.get('arch', '?')}, {host.get('cores', '?')} "
            f"cores, {host.get('os', '?')}",
            "accelerator": ", ".join(
                map(accelerator_words, sorted(set(run.frame["accel"].dropna()) - {""}))
            )
            or "none",
        }
        add(recording.experiment, cells)
    for lesson in evidence.lessons.values():
        if lesson.experiment and not evidence.of(lesson.experiment):
            gone = evidence.missing(lesson)
            add(lesson.experiment, {"here": gone, "run": "–", "computer": "–", "accelerator": "–"})
    return [cells for _, cells in sorted(found, key=lambda row: row[0])]
