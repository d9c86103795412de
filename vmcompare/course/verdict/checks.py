"""What answers in the verdict's lesson are checked against, and values of model answers."""

from __future__ import annotations

from collections.abc import Mapping

from vmcompare.course.verdict.explain import explained
from vmcompare.errors import Unavailable
from vmcompare.evidence.claims import Conclusion, Rule, by_rule
from vmcompare.evidence.claims.judged import Evidence, Part
from vmcompare.evidence.exercise import Answer
from vmcompare.evidence.markdown import literal
from vmcompare.evidence.units import written
from vmcompare.experiments.explanation import Remark, Values

HIDDEN = "guest_os"
"""The recording that one exercise hides."""


def changed(evidence: Evidence, experiment: str) -> list[tuple[Part, Part]]:
    """Parts that say something else without the recordings of ``experiment``: (with, without)."""
    pairs = zip(evidence.parts, evidence.without(experiment).parts, strict=True)
    return [
        (before, after)
        for before, after in pairs
        if (before.finding, before.run) != (after.finding, after.run)
    ]


@explained.check("hide", unit="lines", within=0.0)
def other_findings(evidence: Evidence) -> int:
    """How many parts have another finding without :data:`HIDDEN`.

    Raises:
        Unavailable: there is no recording of it.
    """
    if not evidence.of(HIDDEN):
        raise Unavailable("there is no recording of guest os to hide", "do lesson 01 first")
    return sum(a.finding.verdict != b.finding.verdict for a, b in changed(evidence, HIDDEN))


@explained.judge("hide")
def _hide(evidence: Evidence, answer: Answer) -> Remark | None:
    wrong = answer != other_findings(evidence) and answer == len(changed(evidence, HIDDEN))
    return Remark(False, "every_line") if wrong else None


@explained.values("hide")
def _hidden(evidence: Evidence) -> Values:
    def line(before: Part, after: Part) -> str:
        old, new = before.finding.verdict, after.finding.verdict
        said = f"{old} → {new}" if old != new else f"only the reason; the finding stays {old}"
        return f"- {before.claim.name}: {said}"

    lines = [line(before, after) for before, after in changed(evidence, HIDDEN)]
    return {"n": other_findings(evidence), "lines": "\n".join(lines)}


@explained.judge("rule")
def _rule(evidence: Evidence, answer: Answer) -> Remark:
    part, by_numbers, values = _by_numbers(evidence)
    if answer != str(by_numbers):
        return Remark(False, f"not_{Conclusion(str(answer)).name.lower()}", values)
    if part.finding.verdict is by_numbers:
        return Remark(True, "as_in_the_table")
    undecided = part.emulated and part.finding.verdict is Conclusion.NOT_MEASURED
    return Remark(True, "emulated" if undecided else "held_back", values)


@explained.values("rule")
def _ruled(evidence: Evidence) -> Values:
    return _by_numbers(evidence)[2]


def _by_numbers(evidence: Evidence) -> tuple[Part, Conclusion, Mapping[str, str]]:
    """Claim F2, its finding by the ratio rule alone, and both with their numbers in words."""
    for part in evidence.parts:
        interval, bound = part.finding.interval, part.claim.bound
        if part.claim.id == "F2" and interval is not None and bound is not None:
            found = by_rule(Rule.RATIO, interval, bound)[0]
            numbers = {"low": interval.low, "high": interval.high, "theta": bound}
            values = {name: written(number, "ratio") for name, number in numbers.items()}
            values |= {"by_numbers": str(found), "finding": str(part.finding.verdict)}
            return part, found, values
    raise Unavailable("no recording here holds the ratio of claim F2", "do lesson 04 first")


@explained.values("sentence")
def _sentence(evidence: Evidence) -> Values:
    finding = next(claim.finding for claim in evidence.claims if claim.id == "A2")
    return {"finding": str(finding.verdict), "reason": literal(finding.reason)}
