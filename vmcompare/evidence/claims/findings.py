"""What one recording says of a claim: the estimate from its rows, and the finding by the rule."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING

from vmcompare.evidence.claims.rules import (
    EXACT,
    LAYERS,
    RAMP,
    Claim,
    Estimand,
    Facts,
    Kind,
    Quantity,
    Rule,
    Side,
    parse,
    quantity,
)
from vmcompare.evidence.statistics import Interval, median_interval, paired_ratio
from vmcompare.evidence.units import written
from vmcompare.sandbox import EMULATION, SOFTWARE, Machine, Platform, Start

if TYPE_CHECKING:
    import pandas as pd


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
    span = i.words(lambda value: written(value, unit))
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


# ---- estimates ----------------------------------------------------------------------------------


class Unsettled(ValueError):
    """There are rows, but no honest number can be made of them; the text says why."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number with what limits it.

    Attributes:
        interval: estimate and 95 % interval; ``interval.n`` counts runs, paired blocks or ramps.
        emulated: whether any row that went in ran under software emulation.
        runs: words for what went in ("10 blocks: 10 vm runs, 30 container runs").
        few: what there was too little of, or empty.
    """

    interval: Interval
    emulated: bool
    runs: str
    few: str


@dataclass(frozen=True, slots=True)
class Missing:
    """Why a quantity or a fact is not in a recording, as a clause.

    Attributes:
        why: the clause.
        lacking: whether rows of it are not there at all (else: they are, but failed or do not fit).
    """

    why: str
    lacking: bool = False


def estimate(wanted: Quantity, frame: pd.DataFrame, *, slope: bool = False) -> Estimate | Missing:
    """Estimate ``wanted`` from the rows of one recording (columns: ``recording.COLUMNS``).

    One side: the median of its valid runs. Two sides: per block the median of the one ÷ the median
    of the other, then the median over the blocks that have both (``statistics.paired_ratio``).
    ``slope=True``: per block (one *ramp*) a least-squares line ``a + b·N`` through each side, where
    the row's ``rep`` is N, the number of instances, and its value what they cost together; ``b``,
    the marginal cost, takes the place of the medians. A ramp needs two different N.

    Raises:
        Unsettled: a side's rows do not belong to one series, only one side has a network, or the
            denominator of a slope does not grow with N.
    """
    sides = (wanted.above, *((wanted.below,) if wanted.below else ()))
    found: list[pd.DataFrame] = []
    for side in sides:
        rows = _valid(frame, wanted, side)
        if isinstance(rows, Missing):
            return rows
        found.append(rows)
    networks = {str(rows["network"].iloc[0]) for rows in found}
    if len(networks) > 1:
        raise Unsettled("one side has a network and the other has none")
    emulated = any(bool((rows["accel"] == SOFTWARE).any()) for rows in found)
    if slope:
        return _slope(wanted, sides, found, emulated)
    blocks = [
        {int(str(b)): g["value"].tolist() for b, g in rows.groupby("block")} for rows in found
    ]
    if wanted.below is None:
        interval = median_interval(found[0]["value"].to_numpy())
        used = set(blocks[0])
    else:
        used = set(blocks[0]) & set(blocks[1])
        if not used:
            return Missing(f"no block has a valid run of both {sides[0]} and {sides[1]}")
        interval = paired_ratio([(blocks[0][b], blocks[1][b]) for b in sorted(used)])
    counts = [sum(len(values[b]) for b in used) for values in blocks]
    short = [
        f"{count} {side} runs of {10 if side.platform.is_vm else 30}"
        for side, count in zip(sides, counts, strict=True)
        if count < (10 if side.platform.is_vm else 30)
    ]
    few = "" if wanted.metric == EXACT else " and ".join(short)
    if wanted.metric == EXACT and interval.n == 1:
        interval = Interval(interval.estimate, interval.estimate, interval.estimate, 1)
    runs = ", ".join(f"{count} {side} runs" for side, count in zip(sides, counts, strict=True))
    if wanted.below is not None:
        runs = f"{interval.n} blocks: {runs}"
    return Estimate(interval, emulated, runs, few)


def _slope(
    wanted: Quantity, sides: tuple[Side, ...], found: list[pd.DataFrame], emulated: bool
) -> Estimate | Missing:
    slopes = [_slopes(rows) for rows in found]
    used = sorted(set.intersection(*(set(s) for s in slopes)))
    if not used:
        return Missing(f"no ramp can be fitted for {' and '.join(map(str, sides))}")
    if wanted.below is None:
        interval = median_interval([slopes[0][b] for b in used])
    else:
        # Leaving such a ramp out would favour the ramps that fit; it settles nothing instead.
        if flat := [str(b) for b in used if slopes[1][b] <= 0]:
            raise Unsettled(
                f"the cost of {sides[1]} does not grow with N in ramp {', '.join(flat)}"
            )
        interval = paired_ratio([([slopes[0][b]], [slopes[1][b]]) for b in used])
    count = f"{len(used)} ramp{'' if len(used) == 1 else 's'}"
    few = f"{count} of 3" if len(used) < 3 else ""
    return Estimate(interval, emulated, count, few)


def _slopes(rows: pd.DataFrame) -> dict[int, float]:
    """Block (ramp) → b of the fitted ``a + b·N``, for each ramp with two different N."""
    from scipy.stats import linregress

    fitted: dict[int, float] = {}
    for block, ramp in rows.groupby("block"):
        if ramp["rep"].nunique() >= 2:
            line = linregress(ramp["rep"].to_numpy(float), ramp["value"].to_numpy(float))
            fitted[int(str(block))] = float(line.slope)
    return fitted


def observed(name: str, frame: pd.DataFrame) -> bool | Missing | None:
    """A fact of one recording: whether it held, ``None`` when its observations disagree."""
    tried = _probed((name,), frame)
    values = set(tried.loc[tried["status"] == "ok", "value"])
    if not values:
        if len(tried):
            return Missing(f"{len(tried)} of {len(tried)} probes of {name} failed")
        return Missing(f"this recording holds no observation of {name}", lacking=True)
    return bool(values.pop()) if len(values) == 1 else None


def concerned(wanted: Estimand, frame: pd.DataFrame) -> pd.DataFrame:
    """Every row in earnest that ``wanted`` looks at, failed ones and the control's too."""
    import pandas as pd

    body, found = wanted.body, []
    facts = [f for f in (wanted.control, body) if isinstance(f, Facts)]
    found.append(_probed([name for f in facts for name, _ in f.terms], frame))
    if isinstance(body, Quantity):
        found += [_tried(frame, body, side) for side in (body.above, body.below) if side]
    return pd.concat(found)


def _valid(frame: pd.DataFrame, wanted: Quantity, side: Side) -> pd.DataFrame | Missing:
    tried = _tried(frame, wanted, side)
    valid = tried[tried["status"] == "ok"]
    if len(valid):
        for column in _ONE_SERIES:
            kinds = sorted(set(valid[column].fillna("").astype(str)))
            if len(kinds) > 1:
                raise Unsettled(
                    f"the rows of {side} differ in {column} ({', '.join(kinds)}), and unlike "
                    "series are never pooled"
                )
        return valid
    if len(tried):
        errors = tried["error"].value_counts()
        times = f"{len(tried)} of {len(tried)} runs of {side} failed"
        return Missing(f"{times}; most often: {errors.index[0] or 'no reason given'}")
    if not (frame["metric"] == wanted.metric).any():
        return Missing(f"this recording holds no {wanted.name}", lacking=True)
    missing = f"this recording holds no {wanted.name} of {side}"
    if (frame["platform"] == str(side.platform)).any():
        return Missing(missing, lacking=True)
    return Missing(f"{missing}: its engine is missing in this run", lacking=True)


def _tried(frame: pd.DataFrame, wanted: Quantity, side: Side) -> pd.DataFrame:
    """Every row of one side in earnest (no warm-ups), failed ones too."""
    # First the two columns that leave few rows: this is asked hundreds of times of one recording.
    frame = frame[frame["metric"] == wanted.metric]
    frame = frame[frame["platform"] == str(side.platform)]
    keep = ~frame["is_warmup"].astype(bool)
    if side.machine is None:
        keep &= frame["machine"] != str(Machine.MICROVM)
    else:
        keep &= frame["machine"] == side.machine
    if side.how in LAYERS:
        keep &= frame["layer"] == side.how
    elif side.how is not None:
        keep &= (frame["layer"] == "mechanism") & (frame["runtime"] == side.how)
    elif side.platform is Platform.CONTAINER:
        keep &= frame["layer"] != "mechanism"
    if side.warmth is None:
        keep &= frame["warmth"] != str(Start.CLONE)
    else:
        keep &= frame["warmth"] == side.warmth
    if side.phase is None:
        keep &= frame["phase"] != RAMP
    else:
        keep &= frame["phase"] == side.phase
    return frame[keep]


def _probed(names: Sequence[str], frame: pd.DataFrame) -> pd.DataFrame:
    """Every row in earnest of the named facts, failed ones too."""
    facts = frame[frame["metric"] == "fact"]
    return facts[~facts["is_warmup"].astype(bool) & facts["phase"].isin(names)]


# What makes two rows of one platform unlike: their values must not meet in one median.
_ONE_SERIES = (
    "machine", "layer", "runtime", "accel", "warmth", "network", "vcpus", "mem_limit_mib",
)  # fmt: skip
