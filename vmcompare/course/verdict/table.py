"""Every claim as one line that unfolds, and the recordings' table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

from vmcompare.course import page
from vmcompare.course.templates import render
from vmcompare.evidence.claims import ARTICLE, Conclusion, told
from vmcompare.evidence.claims.runs import Evidence, JudgedClaim, Part
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

NOTES: Mapping[str, str] = {
    SECTIONS["T"]: "In each quote, the words before the slash are about VMs, those after it about "
    "containers. Our copy of the article lacks the table: its lines are quoted from public notes "
    "on the article.",
}
"""Section → what is to be known before its claims are read."""


def claims_table(claims: Iterable[JudgedClaim]) -> page.Html:
    """All claims, one line each, by the sections of the article."""
    sections: dict[str, list[JudgedClaim]] = {}
    for claim in claims:
        sections.setdefault(SECTIONS[claim.id[0]], []).append(claim)
    markup = render(
        "verdict",
        article=ARTICLE,
        sections=[
            {
                "name": name,
                "claims": some,
                "counted": _counted(some),
                "note": NOTES.get(name, ""),
            }
            for name, some in sections.items()
        ],
        signs=SIGNS,
        says=_says,
        refuted=_refuted,
        alike=_alike,
        lines=lines,
        link=_link,
    )
    return page.Html(markup)


def _counted(claims: Sequence[JudgedClaim]) -> str:
    counts = Counter(claim.finding.verdict for claim in claims)
    found = [
        f"{n} {v}{'s' if v is Conclusion.JUDGEMENT and n > 1 else ''}"
        for v in Conclusion
        if (n := counts[v])
    ]
    return f"{len(claims)} claim{'' if len(claims) == 1 else 's'}: {', '.join(found)}"


def _says(claim: JudgedClaim) -> str:
    """The claim in plain words; of several parts what they have in common."""
    says = claim.parts[0].claim.says
    return says if len(claim.parts) == 1 else says.partition(":")[0].rstrip(".") + "."


def _refuted(claim: JudgedClaim) -> str:
    """Which parts are refuted of a claim that is not; else empty."""
    if claim.finding.verdict is Conclusion.REFUTED:
        return ""
    return "; ".join(
        part.claim.part for part in claim.parts if part.finding.verdict is Conclusion.REFUTED
    )


def _alike(parts: Sequence[Part]) -> list[list[Part]]:
    """The parts of one claim; neighbours of which the same is said stand together."""
    same = groupby(parts, key=lambda part: (part.finding.verdict, tuple(lines(part))))
    return [list(some) for _, some in same]


def _link(part: Part) -> str:
    """A link to the lesson, as HTML; empty where there is none, or it is this one."""
    if part.lesson is None or not part.lesson.experiment:
        return ""
    return page.lesson_link(part.lesson.notebook, f"lesson {part.lesson.number}")


def lines(part: Part) -> Iterator[tuple[str, tuple[str, ...]]]:
    """What stands below a part: what is told of its finding, and the run."""
    yield from told(part.claim, part.finding)
    if part.finding.others:
        yield "Measured by others, with hardware", part.finding.others
    if part.note:
        yield "Passed over", (part.note,)
    if part.run:
        yield "From", (provenance(part),)


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
