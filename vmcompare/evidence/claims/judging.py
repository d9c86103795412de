"""What one recording says of a claim: the estimate from its rows, and the finding by the rule."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING

from vmcompare.evidence.claims.rules import (
    EXACT,
    LAYERS,
    ONE_ALONE,
    RAMP,
    RAMPS_WANTED,
    Caveat,
    CaveatKind,
    Claim,
    ClaimKind,
    Estimand,
    Observations,
    Quantity,
    Rule,
    Side,
    counted,
    words_of_fact,
)
from vmcompare.evidence.statistics import (
    Interval,
    by_block,
    fitted_ramps,
    median_interval,
    paired_ratio,
    runs_wanted,
)
from vmcompare.evidence.units import written
from vmcompare.sandbox import EMULATION, SOFTWARE, Machine, Platform, Start

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

NO_CODE_CACHE = "without the translator’s code cache"
_NO_CODE_CACHE_IN = ("pss_bytes", "overhead_bytes")

_TWO_STARTS = (
    "for so many copies and these two starting points only: a container not yet started, "
    "a clone that runs"
)
"""What limits the comparison of copies that were made before."""


class Conclusion(StrEnum):
    """What a finding comes to, in the words the course shows."""

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
        verdict: what it comes to.
        reason: one plain sentence: what was found, with interval and number of runs.
        interval: the estimate behind it, where the rule has one; also of one that emulation leaves
            undecided.
        value: that estimate in words; empty where there is none.
        n: runs, paired blocks, ramps or facts that went in; 0 where nothing did.
        caveats: what limits a "supported".
        listed: what stands beside it and changes nothing (unmeasured arms, standing texts).
        others: what others measured with hardware, with citation, where it was not measured here.
        lacking: whether rows that it takes are not in this recording at all; another may settle it.
        despite: what speaks for the claim and did not save it (:func:`_handicap`), or empty.
    """

    verdict: Conclusion
    reason: str
    interval: Interval | None = None
    n: int = 0
    value: str = ""
    caveats: tuple[str, ...] = ()
    listed: tuple[str, ...] = ()
    others: tuple[str, ...] = ()
    lacking: bool = False
    despite: str = ""


def judge(claim: Claim, frame: pd.DataFrame) -> Finding:
    """Settle one part of a claim by the rows of **one** recording (columns: ``recording.COLUMNS``).

    Raises ``ValueError``: ``frame`` holds rows of more than one run; those are never pooled.
    """
    runs = sorted(set(frame["run_id"]))
    if len(runs) > 1:
        raise ValueError(f"a claim is judged on one run, not on {len(runs)}: {', '.join(runs)}")
    finding = _control(claim, frame)
    if finding is None:
        finding = _with_caveats(claim, _by_rows(claim, frame), frame)
    return with_others(claim, finding)


def told(claim: Claim, finding: Finding) -> Iterator[tuple[str, tuple[str, ...]]]:
    """What stands below a finding, name and entries: value and bound, or what was found; limits."""
    if finding.value and claim.quantity and claim.bound is not None:
        least = claim.rule is not Rule.BOUND or claim.quantity.at_least
        yield "Value", (_capital(finding.value),)
        bound = written(claim.bound, claim.quantity.unit)
        yield "Bound", (f"at {'least' if least else 'most'} {bound}",)
        if finding.verdict is Conclusion.NOT_MEASURED:
            yield "Open because", (f"a time under {EMULATION} cannot settle this claim",)
        if finding.despite:
            yield "Decided because", (f"it fails {finding.despite}",)
    else:
        yield "Found", (finding.reason,)
    if finding.caveats:
        yield "Limited by", finding.caveats
    if finding.listed:
        yield "Beside it", finding.listed


def with_others(claim: Claim, finding: Finding) -> Finding:
    """``finding`` with what others measured, where it was not measured here."""
    if finding.verdict is not Conclusion.NOT_MEASURED:
        return finding
    return replace(finding, others=tuple(map(str, claim.others)))


def combine(findings: Sequence[Finding]) -> Finding:
    """The finding of a claim from those of its parts.

    All refuted → refuted; else any not measured → not measured here; else any inconclusive →
    inconclusive; else mixed, or any caveat → with caveats; else supported. A value judgement counts
    only where there is nothing else. Raises ``ValueError``: ``findings`` is empty.
    """
    if not findings:
        raise ValueError("a claim has at least one part")
    if len(findings) == 1:
        return findings[0]
    verdicts = {f.verdict for f in findings} - {Conclusion.JUDGEMENT} or {Conclusion.JUDGEMENT}
    still_open = (Conclusion.NOT_MEASURED, Conclusion.INCONCLUSIVE)
    mixed = next((one for one in still_open if one in verdicts), Conclusion.WITH_CAVEATS)
    verdict = verdicts.pop() if len(verdicts) == 1 else mixed
    return Finding(
        verdict,
        " ".join(f"({n}) {f.verdict}: {f.reason}" for n, f in enumerate(findings, start=1)),
        n=sum(f.n for f in findings),
        caveats=tuple(c for f in findings for c in f.caveats),
        listed=tuple(c for f in findings for c in f.listed),
        others=tuple(dict.fromkeys(c for f in findings for c in f.others)),
    )


# ---- by the rules -------------------------------------------------------------------------------


class Undecided(Exception):
    """A recording gives no number, or no fact; the text is a clause that says why.

    ``verdict`` is *not measured here*, or *inconclusive* where there are rows of which no honest
    number can be made; ``lacking`` is whether there are no rows of it at all.
    """

    def __init__(
        self, why: str, verdict: Conclusion = Conclusion.NOT_MEASURED, *, lacking: bool = False
    ) -> None:
        super().__init__(why)
        self.verdict = verdict
        self.lacking = lacking


def _control(claim: Claim, frame: pd.DataFrame) -> Finding | None:
    """The finding that a control forces, or ``None`` when every control held."""
    if claim.estimand is None or claim.estimand.control is None:
        return None
    for name, wanted in claim.estimand.control.terms:
        try:
            held = observed(name, frame)
        except Undecided as error:
            why = f"The control arm is not there: {error}."
            return Finding(error.verdict, why, lacking=error.lacking)
        if held is not wanted:
            why = f"The control arm failed ({words_of_fact(name)}), so this says nothing."
            return Finding(Conclusion.INCONCLUSIVE, why)
    return None


def _by_rows(claim: Claim, frame: pd.DataFrame) -> Finding:
    """The finding without its caveats."""
    if claim.rule is Rule.JUDGEMENT:
        return _judgement(claim, frame)
    assert claim.estimand is not None  # tests of the table see to it
    body = claim.estimand.body
    return _facts(body, frame) if isinstance(body, Observations) else _number(claim, body, frame)


def _facts(wanted: Observations, frame: pd.DataFrame) -> Finding:
    held: list[str] = []
    against: dict[str, str] = {}  # what was observed → what the claim needs
    for name, expected in wanted.terms:
        words = words_of_fact(name)
        try:
            value = observed(name, frame)
        except Undecided as error:
            return Finding(error.verdict, f"Not observed: {error}.", lacking=error.lacking)
        if value is None:
            why = f"Observations of “{words}” disagree within this run."
            return Finding(Conclusion.INCONCLUSIVE, why)
        said = f"{words}: {'yes' if value else 'no'}"
        if value is expected:
            held.append(said)
        else:
            against[said] = f"{said} (the claim needs: {'yes' if expected else 'no'})"
    n = len(wanted.terms)
    reason = f"{_capital('; '.join([*held, *against.values()]))}."
    if not against:
        return Finding(Conclusion.SUPPORTED, reason, n=n)
    if wanted.mode == "all" or not held:
        return Finding(Conclusion.REFUTED, reason, n=n)
    if wanted.mode == "split":
        return Finding(Conclusion.INCONCLUSIVE, reason, n=n)
    return Finding(Conclusion.WITH_CAVEATS, reason, n=n, caveats=tuple(against))


def _number(claim: Claim, wanted: Quantity, frame: pd.DataFrame) -> Finding:
    try:
        found = estimate(wanted, frame, slope=claim.rule is Rule.SLOPE)
    except Undecided as error:
        settled = error.verdict is not Conclusion.INCONCLUSIVE
        why = _capital(str(error)) if settled else f"Not settled: {error}"
        return Finding(error.verdict, f"{why}.", lacking=error.lacking)
    assert claim.bound is not None  # tests of the table see to it
    against = f"{found}; the bound is {written(claim.bound, wanted.unit)}"
    interval = found.interval
    verdict, why = _by_rule(claim.rule, interval, claim.bound, at_least=wanted.at_least)
    at_least = wanted.at_least or claim.rule is not Rule.BOUND
    despite = ""
    if at_least and found.handicapped and verdict is Conclusion.REFUTED:
        despite = _handicap(claim.kind, wanted)
        why = f"{why}, {despite}"
    if found.emulated and claim.kind is ClaimKind.TIME and not despite:
        why = f"The VMs ran under {EMULATION} here, and such a time cannot settle this claim"
        why += f" ({against})."
        return Finding(Conclusion.NOT_MEASURED, why, interval, interval.n, str(found))
    reason = f"{_capital(against)}{why}."
    caveats = ["yes, but not by that much"] if verdict is Conclusion.WITH_CAVEATS else []
    caveats += [f"few runs: {found.few}"] if found.few else []
    if found.emulated and claim.kind is ClaimKind.SIZE and not despite:
        caveats.append(f"measured under {EMULATION}")
    finding = Finding(verdict, reason, interval, interval.n, str(found), despite=despite)
    return _at_best(finding, caveats)


def _handicap(kind: ClaimKind, wanted: Quantity) -> str:
    """Words of the one-sided rule "against its own handicap"."""
    timed = kind is ClaimKind.TIME
    does = "only makes a VM slower" if timed else "makes a VM slower and no smaller"
    starts = [side.warmth for side in wanted.sides]
    limit = f"; {_TWO_STARTS}" if starts == [Start.CLONE, Start.PRE_CREATED] else ""
    return f"even under {EMULATION}, which {does}{limit}"


def _capital(words: str) -> str:
    return words[:1].upper() + words[1:]


def _by_rule(
    rule: Rule, interval: Interval, bound: float, *, at_least: bool
) -> tuple[Conclusion, str]:
    """Conclusion of an estimate against a bound alone, and a clause that says why."""
    low, high, of_bound = interval.low, interval.high, rule is Rule.BOUND
    if not of_bound:  # ratio, slope
        supported, refuted = low >= bound, high <= 1
    elif not at_least:
        supported, refuted = high <= bound, low > bound
    else:
        supported, refuted = low >= bound, high < bound
    if supported:
        return Conclusion.SUPPORTED, ""
    if refuted:
        why = "" if of_bound else ", and the interval does not exceed 1×"
        return Conclusion.REFUTED, why
    if not of_bound and low > 1:
        return Conclusion.WITH_CAVEATS, ", which the interval does not reach as a whole"
    if not interval.known:
        return Conclusion.INCONCLUSIVE, ", and one run gives no interval"
    line = "the bound" if of_bound else "1×"
    return Conclusion.INCONCLUSIVE, f", and the interval crosses {line}"


def _at_best(finding: Finding, caveats: Sequence[str]) -> Finding:
    """``finding`` with these caveats, too, and if there are any no better than "with caveats"."""
    verdict = finding.verdict
    if caveats and verdict is Conclusion.SUPPORTED:
        verdict = Conclusion.WITH_CAVEATS
    return replace(finding, verdict=verdict, caveats=(*finding.caveats, *caveats))


def _judgement(claim: Claim, frame: pd.DataFrame) -> Finding:
    why = "No measurement can settle this"
    if claim.quantity is None or claim.estimand is None:
        return Finding(Conclusion.JUDGEMENT, f"{why}; it is for the reader to weigh.")
    _, beside = _caveat(claim, Caveat(CaveatKind.BESIDE, "", claim.quantity), frame)
    lacking = concerned(claim.estimand, frame).empty
    return Finding(Conclusion.JUDGEMENT, f"{why}; beside it stands {beside}.", lacking=lacking)


def _with_caveats(claim: Claim, finding: Finding, frame: pd.DataFrame) -> Finding:
    limits: list[str] = []
    listed: list[str] = []
    for caveat in claim.caveats:
        holds, words = _caveat(claim, caveat, frame)
        (limits if holds else listed).append(words)
    if finding.verdict in (Conclusion.SUPPORTED, Conclusion.WITH_CAVEATS):
        finding = _at_best(finding, limits)
    else:
        listed = limits + listed  # a caveat limits a yes; beside any other finding it is only shown
    return replace(finding, listed=(*finding.listed, *listed))


def _caveat(claim: Claim, caveat: Caveat, frame: pd.DataFrame) -> tuple[bool, str]:
    """Whether a caveat limits the claim (an arm: it came out the other way), and words for it."""
    wanted, limit = caveat.quantity, caveat.bound or claim.bound
    about = str(wanted or words_of_fact(caveat.text))
    try:
        if caveat.kind is CaveatKind.FACT:
            held = observed(caveat.text, frame)
            said = {True: "yes", False: "no", None: "observations disagree"}[held]
            return held is not False, f"{about}: {said}"
        if wanted is None:
            return caveat.kind is CaveatKind.ALWAYS, caveat.text
        found = estimate(wanted, frame, slope=claim.rule is Rule.SLOPE)
    except Undecided as error:
        settled = "settled" if error.verdict is Conclusion.INCONCLUSIVE else "measured"
        return False, f"{about}: not {settled} ({error})"
    if caveat.kind is CaveatKind.BESIDE:
        return False, f"{found}, under {EMULATION}" if found.emulated else str(found)
    if found.emulated and claim.kind is ClaimKind.TIME:
        return False, f"{found}: not measured here ({EMULATION})"
    assert limit is not None  # tests of the table see to it
    bound = written(limit, wanted.unit)
    if claim.rule is Rule.BOUND and not wanted.at_least:
        above = found.interval.low > limit
        return above, f"{found}, above {bound}" if above else str(found)
    below = found.interval.high < limit
    own = ", the bound registered for it" if caveat.bound else ""
    return below, f"{found}, {'below' if below else 'not below'} {bound}{own}"


# ---- estimates ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number with what limits it.

    Attributes:
        interval: estimate and 95 % interval; ``interval.n`` counts runs, paired blocks or ramps.
        emulated: whether any row that went in ran under software emulation.
        handicapped: whether only the numerator (or the one side there is) was emulated, so
            emulation can only raise the ratio (or the number).
        runs, few: words for what went in ("10 blocks: 10 vm runs, …"), and for what was too little.
    """

    wanted: Quantity
    interval: Interval
    emulated: bool
    handicapped: bool
    runs: str
    few: str

    def __str__(self) -> str:
        i, form = self.interval, partial(written, unit=self.wanted.unit)
        words = f"{self.wanted}: {form(i.estimate)}"
        if self.wanted.metric == EXACT and i.low == i.high:
            return f"{words} (bytes counted, no interval)"
        apart = self.emulated and self.wanted.metric in _NO_CODE_CACHE_IN
        return f"{words} ({i.words(form)}; n = {self.runs})" + f", {NO_CODE_CACHE}" * apart


def estimate(wanted: Quantity, frame: pd.DataFrame, *, slope: bool = False) -> Estimate:
    """Estimate ``wanted`` from the rows of one recording (columns: ``recording.COLUMNS``).

    One side: the median of its valid runs. Two sides: per block the median of the one ÷ the median
    of the other, then the median over the blocks that have both (``statistics.paired_ratio``).
    ``slope=True``: per block (one *ramp*) a least-squares line ``a + b·N`` through each side, where
    the row's ``rep`` is N, the number of instances, and its value what they cost together; ``b``,
    the marginal cost, takes the place of the medians. A ramp needs two different N. Raises
    ``Undecided``: a side has no valid row, its rows do not belong to one series, only one side has
    a network, or the denominator of a slope does not grow with N.
    """
    rows = [_valid(frame, wanted, side) for side in wanted.sides]
    if len({str(some["network"].iloc[0]) for some in rows}) > 1:
        why = "one side has a network and the other has none"
        raise Undecided(why, Conclusion.INCONCLUSIVE)
    # How large a file is depends on no accelerator.
    first, *others = (
        wanted.metric != EXACT and bool((some["accel"] == SOFTWARE).any()) for some in rows
    )
    interval, runs, few = _slope(wanted, rows) if slope else _median(wanted, rows)
    handicapped = first and not any(others)
    return Estimate(wanted, interval, first or any(others), handicapped, runs, few)


def _median(wanted: Quantity, rows: Sequence[pd.DataFrame]) -> tuple[Interval, str, str]:
    """The median, of runs or of paired blocks; words for what went in, and for want of it."""
    blocks = [by_block(some) for some in rows]
    used = sorted(set.intersection(*map(set, blocks)))
    if not used:
        above, below = wanted.sides
        raise Undecided(f"no block has a valid run of both {above} and {below}")
    counts = [sum(len(values[b]) for b in used) for values in blocks]
    sides = [side.platform for side in wanted.sides]
    said = [f"{count} {side} runs" for count, side in zip(counts, sides, strict=True)]
    runs = ", ".join(said)
    if wanted.below is None:
        interval = median_interval(rows[0]["value"].to_numpy())
    else:
        interval = paired_ratio([(blocks[0][b], blocks[1][b]) for b in used])
        runs = f"{interval.n} blocks: {runs}"
    if wanted.metric == EXACT:
        one = interval.estimate
        return (Interval(one, one, one, 1) if interval.n == 1 else interval), runs, ""
    needed = map(runs_wanted, sides)
    few = (f"{w} ({n} needed)" for w, c, n in zip(said, counts, needed, strict=True) if c < n)
    return interval, runs, " and ".join(dict.fromkeys(few))


def _slope(wanted: Quantity, rows: Sequence[pd.DataFrame]) -> tuple[Interval, str, str]:
    """The cost of one more instance, b of each ramp of each side; ramps, and want of them."""
    slopes = [{block: line.slope for block, line in fitted_ramps(some).items()} for some in rows]
    used = sorted(set.intersection(*map(set, slopes)))
    if not used:
        names = " and ".join(map(str, wanted.sides))
        raise Undecided(f"no ramp can be fitted for {names}")
    if wanted.below is None:
        interval = median_interval([slopes[0][b] for b in used])
    else:
        # Leaving such a ramp out would favour the ramps that fit; it settles nothing instead.
        if flat := [str(b) for b in used if slopes[1][b] <= 0]:
            why = f"the cost of {wanted.below} does not grow with N in ramp {', '.join(flat)}"
            raise Undecided(why, Conclusion.INCONCLUSIVE)
        interval = paired_ratio([([slopes[0][b]], [slopes[1][b]]) for b in used])
    count = f"{len(used)} ramp{'' if len(used) == 1 else 's'}"
    few = f"{count} ({RAMPS_WANTED} needed)" if len(used) < RAMPS_WANTED else ""
    return interval, count, few


def observed(name: str, frame: pd.DataFrame) -> bool | None:
    """A fact of one recording: whether it held, ``None`` when its observations disagree.

    Raises ``Undecided``: it was not observed.
    """
    if counts := counted(name):
        part, whole = (float(_valid(frame, counts, side)["value"].sum()) for side in counts.sides)
        return {whole: True, 0.0: False}.get(part) if whole else None
    tried = _probed([name], frame)
    values = set(tried.loc[tried["status"] == "ok", "value"])
    if values:
        return bool(values.pop()) if len(values) == 1 else None
    if len(tried):
        raise Undecided(f"{len(tried)} of {len(tried)} probes of {name} failed")
    raise Undecided(f"this recording holds no observation of {name}", lacking=True)


def concerned(wanted: Estimand, frame: pd.DataFrame) -> pd.DataFrame:
    """Every row that ``wanted`` looks at but warm-ups; failed ones and the control's too."""
    import pandas as pd

    found = [_probed(wanted.fact_names, frame)]
    for one in wanted.quantities:
        found += [_tried(frame, one.metric, side) for side in one.sides]
    return pd.concat(found)


_ONE_SERIES = (
    "machine", "layer", "runtime", "accel", "warmth", "network", "vcpus", "mem_limit_mib",
)  # fmt: skip
"""Columns in which the rows of one median may not differ."""


def _valid(frame: pd.DataFrame, wanted: Quantity, side: Side) -> pd.DataFrame:
    """The valid rows of one side: at least one, all of one series."""
    tried = _tried(frame, wanted.metric, side)
    valid = tried[tried["status"] == "ok"]
    if len(valid):
        for column in _ONE_SERIES:
            kinds = {"" if kind is None or kind != kind else str(kind) for kind in {*valid[column]}}
            if len(kinds) > 1:
                why = f"the rows of {side} differ in {column} ({', '.join(sorted(kinds))})"
                why += ", and unlike series are never pooled"
                raise Undecided(why, Conclusion.INCONCLUSIVE)
        return valid
    if len(tried):
        errors = tried["error"].value_counts()
        times = f"{len(tried)} of {len(tried)} runs of {side} failed"
        raise Undecided(f"{times}; most often: {errors.index[0] or 'no reason given'}")
    why = f"this recording holds no {wanted.name}"
    if (frame["metric"] == wanted.metric).any():
        why += f" of {side}"
        if not (frame["platform"] == str(side.platform)).any():
            why += f": {side.platform} took no part in this run"
    raise Undecided(why, lacking=True)


def _tried(frame: pd.DataFrame, metric: str, side: Side) -> pd.DataFrame:
    """Every row of one side but warm-ups, failed ones too."""
    # As arrays, which take a tenth of the time: this is asked hundreds of times of one recording.
    names = ("machine", "layer", "runtime", "warmth", "phase")
    machine, layer, runtime, warmth, phase = (frame[name].to_numpy() for name in names)
    keep: NDArray[np.bool_] = frame["metric"].to_numpy() == metric
    keep &= frame["platform"].to_numpy() == str(side.platform)
    keep &= ~frame["is_warmup"].to_numpy().astype(bool)
    keep &= machine == side.machine if side.machine else machine != str(Machine.MICROVM)
    keep &= warmth == side.warmth if side.warmth else warmth != str(Start.CLONE)
    if side.how in LAYERS:
        keep &= layer == side.how
    elif side.how:
        keep &= (layer == "mechanism") & (runtime == side.how)
    elif side.platform is Platform.CONTAINER:
        keep &= layer != "mechanism"
    if side.phase == ONE_ALONE:
        keep &= (phase == RAMP) & (frame["rep"].to_numpy() == 1)
    else:
        keep &= phase == side.phase if side.phase else phase != RAMP
    return frame[keep]


def _probed(names: Collection[str], frame: pd.DataFrame) -> pd.DataFrame:
    """Every row of the named facts but warm-ups, failed ones too."""
    named = (frame["metric"] == "fact") & frame["phase"].isin(names)
    return frame[named & ~frame["is_warmup"].astype(bool)]
