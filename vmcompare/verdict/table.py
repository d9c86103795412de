"""The final table as HTML: one table a section of the article, a heading row a claim, a row a part.

Signs and words tell the findings. Every figure says whether it was measured or recorded, by which
run, when, and, where a virtual machine ran under it, *software emulation*.
"""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from .. import page
from ..claims import EMULATION, Finding, Rule, Verdict
from ..plots.verdicts import SIGNS
from ..settle import Evidence, Part, Row

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
_COLUMNS = ("part", "finding", "what was found", "from", "lesson")


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
    head = "".join(f'<th scope="col"{_LEFT}>{e(column)}</th>' for column in _COLUMNS)
    bodies = "\n".join(f"<tbody>{_claim(row)}</tbody>" for row in rows)
    # The caption names the region that scrolls; the counts are of second rank.
    return (
        f'<h3>{e(name)}</h3><table class="vmc-table"><caption{_LEFT}>{e(name)}: {e(told)}'
        f"</caption><thead><tr>{head}</tr></thead>\n{bodies}</table>"
    )


def _claim(row: Row) -> str:
    quote = row.parts[0].claim.quote
    heading = (
        f'<tr><th scope="rowgroup" colspan="{len(_COLUMNS)}"{_LEFT}>{html.escape(row.id)} · '
        f"“{html.escape(quote)}” {_verdict(row.finding)}</th></tr>"
    )
    return heading + "".join(_part(part) for part in row.parts)


def _part(part: Part) -> str:
    cells = (
        _verdict(part.finding) + _caveats(part.finding),
        html.escape(reason(part)),
        html.escape(provenance(part)),
        _lesson(part),
    )
    return (
        f'<tr><th scope="row"{_LEFT}>{html.escape(part.claim.part)}</th>'
        + "".join(f"<td{_LEFT}>{cell}</td>" for cell in cells)
        + "</tr>"
    )


def _verdict(finding: Finding) -> str:
    sign = f'<span aria-hidden="true">{SIGNS[finding.verdict]}</span>'
    return f"<strong>{sign} {finding.verdict}</strong>"


def _caveats(finding: Finding) -> str:
    return f"<br>Caveats: {html.escape('; '.join(finding.caveats))}." if finding.caveats else ""


def reason(part: Part) -> str:
    """What was found, with interval and number of runs; beside a judgement what else there is."""
    said = part.finding.reason
    if part.claim.rule is Rule.JUDGEMENT and (beside := _standing(part)):
        said += f" Beside it: {'; '.join(beside)}."
    return said


def _standing(part: Part) -> list[str]:
    return [c.partition(":")[2].strip() for c in part.claim.caveats if c.startswith("text:")]


def provenance(part: Part) -> str:
    """Measured or recorded, run, date and accelerator; a dash where no recording holds it."""
    if part.run is None:
        return "–"
    recording = part.run.recording
    words = [str(part.run.whose), f"run {recording.run_id}", recording.started_utc[:10]]
    words += [EMULATION if a == "tcg" else a for a in sorted(part.accelerators)]
    return " · ".join(words)


def _lesson(part: Part) -> str:
    if part.lesson is None:
        return "none yet"
    return page.lesson_link(part.lesson.notebook, f"lesson {part.lesson.number}")


def here(evidence: Evidence) -> list[dict[str, Any]]:
    """One row a run that is judged by, one a lesson that has none yet."""
    rows: list[dict[str, Any]] = []
    for run in evidence.runs:
        recording, lesson = run.recording, evidence.lesson(run.recording.experiment)
        used = sorted(set(run.frame["accel"].dropna()) - {""})
        host = recording.host
        rows.append(
            {
                "experiment": recording.experiment.replace("_", " "),
                "lesson": _link(lesson.notebook, lesson.number) if lesson else "–",
                "here": str(run.whose),
                "run": recording.run_id,
                "date": recording.started_utc[:10],
                "machine": f"{host.get('cpu') or host.get('arch', '?')}, "
                f"{host.get('cores', '?')} cores, {host.get('os', '?')}",
                "accelerator": ", ".join(EMULATION if a == "tcg" else a for a in used) or "–",
            }
        )
    for lesson in evidence.lessons.values():
        if lesson.experiment and not evidence.of(lesson.experiment):
            rows.append(
                {
                    "experiment": lesson.experiment.replace("_", " "),
                    "lesson": _link(lesson.notebook, lesson.number),
                    "here": "no recording yet",
                    "run": "–",
                    "date": "–",
                    "machine": "–",
                    "accelerator": "–",
                }
            )
    return sorted(rows, key=lambda row: (str(row["lesson"]), str(row["here"])))


def _link(notebook: Any, number: str) -> page.Markup:
    return page.lesson_link(notebook, number)
