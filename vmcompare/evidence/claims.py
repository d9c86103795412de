"""The article's claims, and the finding each gets from a recording.

What settles each claim is registered before anything is measured
(:mod:`vmcompare.evidence.registered`, whose names are here too). No finding is typed in by hand;
:func:`judge` makes it from the rows of one run. The estimand's language is in
:mod:`vmcompare.evidence.estimand`. The rules, with [lo, hi] the estimate's 95 % interval and θ the
bound:

``ratio``, ``slope``
    lo ≥ θ supported · 1 < lo < θ with caveats · hi ≤ 1 refuted · else inconclusive. ``slope``
    compares marginal costs (b of the fitted a + b·N), ``ratio`` medians of paired blocks. The rows
    of a ramp carry phase ``ramp``, so that a single idle instance's never enter a fit.
``bound``
    hi ≤ θ supported · lo > θ refuted · else inconclusive; after ``at least:`` lo ≥ θ supported ·
    hi < θ refuted.
``facts``
    ``all``: every term holds → supported, else refuted. ``graded``: all → supported, none →
    refuted, some → with caveats. ``split``: as graded, but some → inconclusive. Observations of
    one fact that disagree → inconclusive.
``judgement``
    no measurement can settle it; the estimand, where there is one, is measured beside it.

``control: facts;`` before any of them: a control that fails → inconclusive.

**Kind.** *time* is not decided under software emulation; *size* gets at best "with caveats" there;
*fact* does not depend on it. **Few runs.** Fewer than 10 VM runs, 30 fast ones or 3 ramps: at best
"with caveats"; ``image_bytes`` are exact and exempt.

**Caveats** (entries separated by ``;``), each of which turns "supported" into "with caveats" when
it comes out the other way:

``<quantity>``
    an arm judged with the claim's own bound: the other way is hi < θ ("at most": lo > θ).
``fact: name``
    the other way is that the fact holds.
``always: text``
    holds whatever is measured, and is quoted.
``text: text`` and ``beside: <quantity>``
    listed only, like every arm that is not measured or not settled; they change nothing.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING

from vmcompare.evidence.estimand import (
    EXACT,
    Estimand,
    Estimate,
    Facts,
    Missing,
    Quantity,
    Unsettled,
    concerned,
    estimate,
    observed,
    parse,
    quantity,
)
from vmcompare.evidence.registered import COLUMNS, Claim, Kind, Rule, load
from vmcompare.evidence.statistics import Interval
from vmcompare.evidence.units import written

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "COLUMNS", "EMULATION", "Claim", "Finding", "Kind", "Rule", "Verdict", "by_rule", "combine",
    "judge", "load",
]  # fmt: skip

EMULATION = "software emulation"


class Verdict(StrEnum):
    """The six findings, in the words the course shows."""

    SUPPORTED = "supported"
    WITH_CAVEATS = "supported with caveats"
    REFUTED = "refuted"
    INCONCLUSIVE = "inconclusive"
    NOT_MEASURED = "not measured here"
    JUDGEMENT = "value judgement"


@dataclass(frozen=True, slots=True)
class Finding:
    """What a recording says about a claim.

    Attributes:
        verdict: one of the six.
        reason: one plain sentence: what was found, with interval and number of runs.
        interval: the estimate behind it, where the rule has one; also of one that emulation leaves
            undecided.
        n: runs, paired blocks, ramps or facts that went in; 0 where nothing did.
        caveats: what limits a "supported": each came out the other way or always holds.
        listed: what stands beside it and changes nothing (unmeasured arms, standing texts).
        lacking: whether it is open because rows that it takes are not in this recording at all;
            another recording may settle it.
    """

    verdict: Verdict
    reason: str
    interval: Interval | None = None
    n: int = 0
    caveats: tuple[str, ...] = ()
    listed: tuple[str, ...] = ()
    lacking: bool = False


def judge(claim: Claim, frame: pd.DataFrame) -> Finding:
    """Settle one part of a claim by the rows of **one** recording (columns: ``recording.COLUMNS``).

    Raises:
        ValueError: ``frame`` holds rows of more than one run; those are never pooled.
    """
    runs = sorted(set(frame["run_id"]))
    if len(runs) > 1:
        raise ValueError(f"a claim is judged on one run, not on {len(runs)}: {', '.join(runs)}")
    if claim.rule is Rule.JUDGEMENT:
        return _judgement(claim, frame)
    wanted = parse(claim.estimand)
    if wanted.control is not None:
        failed = _control(wanted.control, frame)
        if failed is not None:
            return failed
    if isinstance(wanted.body, Facts):
        finding = _facts(wanted.body, frame)
    else:
        finding = _number(claim, wanted.body, frame)
    return _with_caveats(claim, finding, frame)


def combine(findings: Sequence[Finding]) -> Finding:
    """The finding of a claim from those of its parts.

    All refuted → refuted; else any not measured → not measured here; else any inconclusive →
    inconclusive; else mixed, or any caveat → with caveats; else supported. A value judgement counts
    only where there is nothing else. ``interval`` is kept where there is one part only.

    Raises:
        ValueError: ``findings`` is empty.
    """
    if not findings:
        raise ValueError("a claim has at least one part")
    if len(findings) == 1:
        return findings[0]
    settled = [f for f in findings if f.verdict is not Verdict.JUDGEMENT]
    verdicts = {f.verdict for f in settled}
    if not verdicts:
        verdict = Verdict.JUDGEMENT
    elif verdicts == {Verdict.REFUTED}:
        verdict = Verdict.REFUTED
    elif Verdict.NOT_MEASURED in verdicts:
        verdict = Verdict.NOT_MEASURED
    elif Verdict.INCONCLUSIVE in verdicts:
        verdict = Verdict.INCONCLUSIVE
    elif verdicts == {Verdict.SUPPORTED}:
        verdict = Verdict.SUPPORTED
    else:
        verdict = Verdict.WITH_CAVEATS
    parts = " ".join(f"({n}) {f.verdict}: {f.reason}" for n, f in enumerate(findings, start=1))
    return Finding(
        verdict,
        parts,
        n=sum(f.n for f in findings),
        caveats=tuple(c for f in findings for c in f.caveats),
        listed=tuple(c for f in findings for c in f.listed),
    )


def _control(control: Facts, frame: pd.DataFrame) -> Finding | None:
    """The finding that a control forces, or ``None`` when every control held."""
    for name, wanted in control.terms:
        held = observed(name, frame)
        if isinstance(held, Missing):
            return Finding(
                Verdict.NOT_MEASURED,
                f"The control arm is not there: {held.why}.",
                lacking=held.lacking,
            )
        if held is not wanted:
            return Finding(
                Verdict.INCONCLUSIVE,
                f"The control arm failed ({_fact(name)}), so this says nothing.",
            )
    return None


def _facts(wanted: Facts, frame: pd.DataFrame) -> Finding:
    held: list[str] = []
    against: list[str] = []
    for name, expected in wanted.terms:
        value = observed(name, frame)
        if isinstance(value, Missing):
            return Finding(
                Verdict.NOT_MEASURED, f"Not observed: {value.why}.", lacking=value.lacking
            )
        if value is None:
            return Finding(
                Verdict.INCONCLUSIVE, f"Observations of “{_fact(name)}” disagree within this run."
            )
        words = _fact(name) + (": yes" if value else ": no")
        (held if value is expected else against).append(words)
    n = len(wanted.terms)
    found = f"{len(held)} of {n} observations are as the claim needs them"
    reason = f"{found} ({'; '.join(held + against)})."
    if not against:
        return Finding(Verdict.SUPPORTED, reason, n=n)
    if wanted.mode == "all" or not held:
        return Finding(Verdict.REFUTED, reason, n=n)
    if wanted.mode == "split":
        return Finding(Verdict.INCONCLUSIVE, reason, n=n)
    return Finding(Verdict.WITH_CAVEATS, reason, n=n, caveats=tuple(against))


def _number(claim: Claim, wanted: Quantity, frame: pd.DataFrame) -> Finding:
    try:
        found = estimate(wanted, frame, slope=claim.rule is Rule.SLOPE)
    except Unsettled as error:
        return Finding(Verdict.INCONCLUSIVE, f"Not settled: {error}.")
    if isinstance(found, Missing):
        why = f"{found.why[:1].upper()}{found.why[1:]}."
        return Finding(Verdict.NOT_MEASURED, why, lacking=found.lacking)
    assert claim.bound is not None  # load() saw to it
    if found.emulated and claim.kind is Kind.TIME:
        return Finding(
            Verdict.NOT_MEASURED,
            f"The VMs ran under {EMULATION} here, which decides no claim about time or processor "
            f"({_words(wanted, found)}; the bound is {written(claim.bound, wanted.unit)}).",
            found.interval,
            found.interval.n,
        )
    verdict, why = by_rule(claim.rule, found.interval, claim.bound, at_least=wanted.at_least)
    words = _words(wanted, found)
    reason = (
        f"{words[:1].upper()}{words[1:]}; the bound is {written(claim.bound, wanted.unit)}{why}."
    )
    finding = Finding(verdict, reason, found.interval, found.interval.n)
    if found.few:
        finding = _at_best(finding, f"few runs: {found.few}")
    if found.emulated and claim.kind is Kind.SIZE:
        finding = _at_best(finding, f"measured under {EMULATION}")
    if verdict is Verdict.WITH_CAVEATS:
        finding = replace(finding, caveats=("yes, but not by that much", *finding.caveats))
    return finding


def by_rule(
    rule: Rule, interval: Interval, bound: float, *, at_least: bool = False
) -> tuple[Verdict, str]:
    """Verdict and a clause that says why, for an estimate against a bound.

    Kind, number of runs and caveats are not looked at here. ``at_least`` matters to ``bound`` only.
    """
    low, high = interval.low, interval.high
    if rule is Rule.BOUND:
        supported = low >= bound if at_least else high <= bound
        refuted = high < bound if at_least else low > bound
        if supported or refuted:
            return (Verdict.SUPPORTED if supported else Verdict.REFUTED), ""
        return Verdict.INCONCLUSIVE, _open(interval)
    if low >= bound:
        return Verdict.SUPPORTED, ""
    if low > 1:
        return Verdict.WITH_CAVEATS, ", which the interval does not reach as a whole"
    if high <= 1:
        return Verdict.REFUTED, ", and the interval does not exceed 1×"
    return Verdict.INCONCLUSIVE, _open(interval, "1×")


def _open(interval: Interval, line: str = "the bound") -> str:
    if not math.isfinite(interval.high):
        return ", and one run gives no interval"
    return f", and the interval crosses {line}"


def _at_best(finding: Finding, caveat: str) -> Finding:
    """``finding``, but no better than "with caveats", with one more caveat."""
    verdict = finding.verdict
    if verdict is Verdict.SUPPORTED:
        verdict = Verdict.WITH_CAVEATS
    return replace(finding, verdict=verdict, caveats=(*finding.caveats, caveat))


def _with_caveats(claim: Claim, finding: Finding, frame: pd.DataFrame) -> Finding:
    true: list[str] = []
    listed: list[str] = []
    for caveat in claim.caveats:
        word, _, rest = (piece.strip() for piece in caveat.partition(":"))
        if word == "always":
            true.append(rest)
        elif word == "text":
            listed.append(rest)
        elif word == "beside":
            listed.append(_beside(claim, quantity(rest), frame))
        elif word == "fact":
            value = observed(rest, frame)
            if isinstance(value, Missing):
                listed.append(f"{_fact(rest)}: not measured ({value.why})")
            elif value is False:
                listed.append(f"{_fact(rest)}: no")
            else:
                true.append(_fact(rest) + (": yes" if value else ": observations disagree"))
        else:
            other, words = _arm(claim, quantity(caveat), frame)
            (true if other else listed).append(words)
    if finding.verdict in (Verdict.SUPPORTED, Verdict.WITH_CAVEATS):
        for words in true:
            finding = _at_best(finding, words)
    else:
        listed = true + listed  # a caveat limits a yes; beside any other finding it is only shown
    return replace(finding, listed=(*finding.listed, *listed))


def _arm(claim: Claim, wanted: Quantity, frame: pd.DataFrame) -> tuple[bool, str]:
    """Whether a caveat arm came out the other way, and words for it."""
    assert claim.bound is not None
    try:
        found = estimate(wanted, frame, slope=claim.rule is Rule.SLOPE)
    except Unsettled as error:
        return False, f"{wanted}: not settled ({error})"
    if isinstance(found, Missing):
        return False, f"{wanted}: not measured ({found.why})"
    words = _words(wanted, found)
    if found.emulated and claim.kind is Kind.TIME:
        return False, f"{words}: not measured here ({EMULATION})"
    bound = written(claim.bound, wanted.unit)
    if claim.rule is Rule.BOUND and not wanted.at_least:
        other, side = found.interval.low > claim.bound, "above"
    else:
        other, side = found.interval.high < claim.bound, "below"
    if other:
        return True, f"{words}, {side} {bound}"
    return False, f"{words} ({bound} is not undercut)" if side == "below" else words


def _beside(claim: Claim, wanted: Quantity, frame: pd.DataFrame) -> str:
    try:
        found = estimate(wanted, frame, slope=claim.rule is Rule.SLOPE)
    except Unsettled as error:
        return f"{wanted}: not settled ({error})"
    if isinstance(found, Missing):
        return f"{wanted}: not measured ({found.why})"
    return _words(wanted, found) + (f", under {EMULATION}" if found.emulated else "")


def _judgement(claim: Claim, frame: pd.DataFrame) -> Finding:
    listed, lacking = [], False
    if claim.estimand:
        wanted = quantity(claim.estimand)
        lacking = concerned(Estimand(None, wanted), frame).empty
        listed = [_beside(claim, wanted, frame)]
    finding = Finding(
        Verdict.JUDGEMENT,
        "No measurement can settle this"
        + (f"; beside it stands {listed[0]}." if listed else "; it is for the reader to weigh."),
        lacking=lacking,
    )
    return _with_caveats(replace(claim, bound=math.nan), finding, frame)


def _words(wanted: Quantity, found: Estimate) -> str:
    """Estimate, interval and runs in words."""
    i, unit = found.interval, wanted.unit
    if wanted.metric == EXACT and i.low == i.high:
        return f"{wanted}: {written(i.estimate, unit)} (bytes counted, no interval)"
    span = (
        f"95 % interval {written(i.low, unit)} to {written(i.high, unit)}"
        if math.isfinite(i.low)
        else "no interval"
    )
    return f"{wanted}: {written(i.estimate, unit)} ({span}; n = {found.runs})"


def _fact(name: str) -> str:
    words = name.replace("_", " ")
    for pattern, spelt in _SPELLING:
        words = re.sub(pattern, spelt, words)
    return words


_SPELLING = (
    (r"\bis hosts\b", "is the host’s"),
    (r"\bhidden vms\b", "hidden VM’s"),
    (r"\bvm(s?)\b", r"VM\1"),
    (r"\bos\b", "OS"),
    (r"\bnon linux\b", "non-Linux"),
)
"""What a fact's name cannot spell, and how it is said."""
