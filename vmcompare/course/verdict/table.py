"""The final table as HTML: one table a section of the article, a heading row a claim, a row a part.

Signs and words tell the findings. Every figure says whether it was measured or recorded, by which
run, when, and, where a virtual machine ran under it, *software emulation*.
"""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from operator import itemgetter
from types import MappingProxyType
from typing import Any

from vmcompare.course import page
from vmcompare.evidence.claims import Finding, Rule, Verdict
from vmcompare.evidence.claims.choose import Evidence, Lesson, Part, Row, missing
from vmcompare.plots.verdicts import SIGNS
from vmcompare.sandbox import accelerator_words

SECTIONS: Mapping[str, str] = MappingProxyType(
    {
        "A": "What is a virtual machine? What is Docker?",
        "O": "Operating system support",
        "S": "Security",
        "P": "Portability",
        "F": "Performance",
        "T": "Conclusions",
        "V": "Conclusions",
    }
)
"""First letter of a claim's id → the article's section."""

_LEFT = ' style="text-align:left;vertical-align:top"'  # JupyterLab would set words to the right
_NAME = f'{_LEFT[:-1]};font-weight:400;width:34%"'
_COLUMNS = ("part and finding", "what was found, and where")


def sections(rows: Iterable[Row]) -> dict[str, list[Row]]:
    """The rows by the article's sections, in its order."""
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(SECTIONS.get(row.id[:1], "Further claims"), []).append(row)
    return found


def whole(rows: Sequence[Row]) -> Any:
    """All claims, a table a section."""
    from IPython.display import HTML

    return HTML("\n".join(_section(name, some) for name, some in sections(rows).items()))


def _section(name: str, rows: Sequence[Row]) -> str:
    e = html.escape
    counts = Counter(row.finding.verdict for row in rows)
    told = ", ".join(f"{counts[v]} {v}" for v in Verdict if counts[v])
    claims = "1 claim" if len(rows) == 1 else f"{len(rows)} claims"
    head = "".join(f'<th scope="col"{_LEFT}>{e(column)}</th>' for column in _COLUMNS)
    # On paper a claim's sentence stays with its parts.
    bodies = "\n".join(f'<tbody style="break-inside:avoid">{_claim(row)}</tbody>' for row in rows)
    return (
        f'<h3>{e(name)}</h3><table class="vmc-table"><caption{_LEFT}>{claims}: {e(told)}'
        f"</caption><thead><tr>{head}</tr></thead>\n{bodies}</table>"
    )


def _claim(row: Row) -> str:
    """A heading row with the quoted sentence, then the parts; those that are alike share a row."""
    quote = html.escape(row.parts[0].claim.quote)
    whole = f"<br>Altogether: {_verdict(row.finding)}" if len(row.parts) > 1 else ""
    heading = (
        f'<tr><th scope="rowgroup" colspan="{len(_COLUMNS)}" id="claim-{html.escape(row.id)}"'
        f'{_LEFT[:-1]};font-weight:400;padding-top:1.2em"><strong>{html.escape(row.id)}</strong> '
        f"“{quote}”{whole}</th></tr>"
    )
    alike = [
        list(some)
        for _, some in groupby(row.parts, key=lambda p: (p.run, p.finding.verdict, reason(p)))
    ]
    return heading + "".join(_parts(parts) for parts in alike)


def _parts(parts: Sequence[Part]) -> str:
    first = parts[0]
    names = "; ".join(part.claim.part for part in parts)
    return (
        f'<tr><th scope="row"{_NAME}>{html.escape(names)}<br>{_verdict(first.finding)}</th>'
        f"<td{_LEFT}>{html.escape(reason(first))}{_caveats(first.finding)}"
        f"{_where(first)}</td></tr>"
    )


def _where(part: Part) -> str:
    """Lesson (a link) and provenance, on a line of their own; nothing where there is neither."""
    words: list[str] = []
    if part.lesson is not None and part.lesson.experiment:  # else it is this one
        words.append(page.lesson_link(part.lesson.notebook, f"lesson {part.lesson.number}"))
    if part.run is not None:
        words.append(html.escape(provenance(part)))
    return f"<br><small>{' · '.join(words)}</small>" if words else ""


def _verdict(finding: Finding) -> str:
    sign = f'<span aria-hidden="true">{SIGNS[finding.verdict]}</span>'
    return f"<strong>{sign} {finding.verdict}</strong>"


def _caveats(finding: Finding) -> str:
    return f"<br>Caveats: {html.escape('; '.join(finding.caveats))}." if finding.caveats else ""


def reason(part: Part) -> str:
    """What was found, with interval and number of runs; beside a judgement what else there is."""
    said = part.finding.reason
    if part.claim.rule is Rule.JUDGEMENT and (beside := _standing(part)):
        said += f" {'Also' if part.run else 'Beside it'}: {'; '.join(beside)}."
    return f"{said} {part.aside}".rstrip()


def _standing(part: Part) -> list[str]:
    return [c.partition(":")[2].strip() for c in part.claim.caveats if c.startswith("text:")]


def provenance(part: Part) -> str:
    """Measured or recorded, run, date and accelerator; a dash where no recording holds it."""
    if part.run is None:
        return "–"
    recording = part.run.recording
    words = [str(part.run.whose), f"run {recording.run_id}", recording.started_utc[:10]]
    words += map(accelerator_words, sorted(part.accelerators))
    return " · ".join(words)


def here(evidence: Evidence) -> list[dict[str, Any]]:
    """One row a run that is judged by, one a lesson that has none yet; in the lessons' order."""
    found: list[tuple[str, dict[str, Any]]] = []
    for run in evidence.runs:
        recording, host = run.recording, run.recording.host
        used = sorted(set(run.frame["accel"].dropna()) - {""})
        cells = {
            "here": str(run.whose),
            "run": f"{recording.run_id}, {recording.started_utc[:10]}",
            "machine": f"{host.get('cpu') or host.get('arch', '?')}, {host.get('cores', '?')} "
            f"cores, {host.get('os', '?')}",
            "accelerator": ", ".join(map(accelerator_words, used)) or "none",
        }
        lesson = evidence.lesson(recording.experiment)
        found.append(_named(recording.experiment, lesson, cells))
    for lesson in evidence.lessons.values():
        if lesson.experiment and not evidence.of(lesson.experiment):
            gone = missing(lesson, evidence)
            cells = {"here": gone, "run": "–", "machine": "–", "accelerator": "–"}
            found.append(_named(lesson.experiment, lesson, cells))
    return [cells for _, cells in sorted(found, key=itemgetter(0))]


def _named(
    experiment: str, lesson: Lesson | None, cells: Mapping[str, str]
) -> tuple[str, dict[str, Any]]:
    """The lesson's number to sort by, and the row with the lesson in front."""
    words = experiment.replace("_", " ")
    if lesson is None:
        return "~", {"lesson": words, **cells}
    link = page.lesson_link(lesson.notebook, f"{lesson.number} {words}")
    return lesson.number, {"lesson": link, **cells}
