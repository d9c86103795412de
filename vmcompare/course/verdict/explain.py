"""The verdict, explained: pictures, a model and outcomes, all made from the settled table.

The shape is that of an experiment's ``explain.py``; a :class:`Table` takes the place of a
view, for here many recordings stand side by side.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType

from vmcompare.errors import Unavailable
from vmcompare.evidence.claims import (
    RAMP,
    Estimate,
    Quantity,
    Rule,
    Side,
    Unsettled,
    Verdict,
    estimate,
)
from vmcompare.evidence.claims.choose import Evidence, Part, Row, Run, settle
from vmcompare.evidence.units import size
from vmcompare.plots.dots import Dot, Panels, sliding_dots
from vmcompare.plots.picture import Picture, WhatIf
from vmcompare.plots.verdicts import Against, against, findings
from vmcompare.sandbox import EMULATION, Machine, Platform, Series

GIB = 1024**3

HOST_GIB = 64
"""Memory of a host in the what-if, unless another is named (GiB)."""


@dataclass(frozen=True)
class Table:
    """The recordings, and the claims as they are settled by them."""

    evidence: Evidence

    @cached_property
    def rows(self) -> tuple[Row, ...]:
        """Every claim of ``data/claims.csv``, in its order."""
        return settle(self.evidence)

    @property
    def parts(self) -> tuple[Part, ...]:
        """Every part of every claim, in order."""
        return tuple(part for row in self.rows for part in row.parts)

    def row(self, claim_id: str) -> Row | None:
        """The row of one claim."""
        return next((row for row in self.rows if row.id == claim_id), None)

    def caption(self, parts: Sequence[Part] | None = None) -> str:
        """Which runs the table, or these of its parts, are made from, in one sentence."""
        chosen = self.parts if parts is None else parts
        used = {id(part.run): part.run for part in chosen if part.run}
        if not used:
            return "No recording is here to judge by."
        runs = [
            f"{run.recording.experiment.replace('_', ' ')} ({run.whose}, run "
            f"{run.recording.run_id}, {run.recording.started_utc[:10]})"
            for run in used.values()
        ]
        return f"From {'; '.join(runs)}. Every part is judged on one run."


def findings_figure(table: Table) -> Picture:
    """One mark a claim, by its finding."""
    return findings({row.id: row.finding.verdict for row in table.rows}, caption=table.caption())


def is_ratio(part: Part) -> bool:
    """Whether a part compares two marginal costs or two medians."""
    return part.claim.rule in (Rule.RATIO, Rule.SLOPE)


def ratios_figure(table: Table) -> Picture:
    """Every ratio with its interval and bound; open where emulation leaves it undecided.

    Raises:
        Unavailable: no recording holds a ratio.
    """
    parts = [part for part in table.parts if is_ratio(part)]
    drawn = [part for part in parts if part.finding.interval is not None]
    found = [one for part in parts if (one := _against(part))]
    if not found:
        raise Unavailable(
            "no recording holds a ratio that a claim is judged by", "do lesson 04 first"
        )
    lacking = dict.fromkeys(p.claim.id for p in parts if p.finding.interval is None)
    said = f" Not drawn, for want of rows: parts of {', '.join(lacking)}." if lacking else ""
    return against(found, caption=f"{table.caption(drawn)}{said}")


def _against(part: Part) -> Against | None:
    interval, bound = part.finding.interval, part.claim.bound
    if interval is None or bound is None or interval.estimate <= 0:
        return None
    above = part.quantity.above.platform if part.quantity else Platform.VM
    which = "" if above is Platform.VM else f", {above}"
    return Against(_name(part) + which, interval, bound, part.finding.verdict, part.emulated)


def _name(part: Part) -> str:
    return f"{part.claim.id} {part.claim.part}"


@dataclass(frozen=True, slots=True)
class Marginal:
    """What one more instance of a series costs in memory: b of the fitted a + b·N, in bytes."""

    series: Series
    found: Estimate
    run: Run


_RAMPS = (
    Side(Platform.CONTAINER, phase=RAMP),
    Side(Platform.VM_DIRECT, Machine.PC, phase=RAMP),
    Side(Platform.VM_TUNED, phase=RAMP),
    Side(Platform.VM, phase=RAMP),
)


def marginals(table: Table) -> tuple[Marginal, ...]:
    """The marginal memory of each platform, of the one run that has it for most of them."""
    return max((_of_run(run) for run in table.evidence.runs), key=len, default=())


def _of_run(run: Run) -> tuple[Marginal, ...]:
    found = []
    for side in _RAMPS:
        try:
            cost = estimate(Quantity("pss_bytes", side, None), run.frame, slope=True)
        except Unsettled:
            continue
        if isinstance(cost, Estimate) and cost.interval.estimate > 0:
            found.append(Marginal(Series(side.platform, Machine(side.machine or "")), cost, run))
    return tuple(found)


def hosts(table: Table, *, host_gib: float = HOST_GIB) -> WhatIf:
    """How many hosts of ``host_gib`` GiB it takes for n instances, by memory alone (claim V1).

    Raises:
        Unavailable: no recording holds what one more instance costs.
    """
    costs = marginals(table)
    if not costs:
        raise Unavailable(
            "what one more instance costs in memory is not in any recording here, so no number of "
            "hosts can be modelled",
            "run the lesson on the guest operating system (01), which measures it",
        )
    x = host_gib * GIB
    fit = {m.series: int(x // m.found.interval.estimate) for m in costs}
    if not all(fit.values()):
        raise Unavailable(f"not one instance fits a host of {host_gib:g} GiB", "take a larger one")
    numbers = tuple(float(round(10 ** (step / 4))) for step in range(4, 21))
    emulated = [m.series.label for m in costs if m.found.emulated]
    words = (
        "Memory alone, with the whole host for instances: processors, disks and what the engine "
        "itself takes are left out."
    )
    if emulated:
        words += f" b of {', '.join(emulated)} was measured under {EMULATION}."
    words += "".join(
        f" Few runs for {m.series.label}: {m.found.few}." for m in costs if m.found.few
    )

    def panels(n: float) -> Panels:
        needed, fitting = [], []
        for m in costs:
            under = f", {EMULATION}" if m.found.emulated else ""
            label = f"{m.series.label} (b = {size(m.found.interval.estimate)}{under})"
            k = fit[m.series]
            needed.append(Dot(m.series, label, math.ceil(n / k), f"{math.ceil(n / k):,}"))
            fitting.append(Dot(m.series, m.series.label, k, f"{k:,}"))
        return {
            "Hosts needed": needed,
            f"Instances that fit one host of {host_gib:g} GiB": fitting,
        }

    recording = costs[0].run.recording
    return sliding_dots(
        panels,
        numbers,
        label="how many are needed",
        unit="instances",
        start=1000,
        said="{:,.0f} instances.",
        caption=words,
        formula=(
            r"h = \left\lceil \frac{n}{k} \right\rceil, \qquad "
            r"k = \left\lfloor \frac{x}{b} \right\rfloor"
        ),
        source=(
            f"x = {host_gib:g} GiB; b, what one more instance costs in memory (PSS), fitted to the "
            f"ramps of run {recording.run_id} ({costs[0].run.whose}, {recording.started_utc[:10]})"
        ),
        air=1.6,
    )


def count(*verdicts: Verdict) -> Callable[[Table], int]:
    """Table → number of claims that have one of these findings."""

    def found(table: Table) -> int:
        counts = Counter(row.finding.verdict for row in table.rows)
        return sum(counts[verdict] for verdict in verdicts)

    return found


FIGURES: Mapping[str, Callable[[Table], Picture]] = MappingProxyType(
    {"findings": findings_figure, "ratios": ratios_figure}
)
"""Name → picture of the table."""

WHATIFS: Mapping[str, Callable[..., WhatIf]] = MappingProxyType({"hosts": hosts})
"""Name → modelled figure with one slider."""

OUTCOMES: Mapping[str, Callable[[Table], int]] = MappingProxyType(
    {
        "supported": count(Verdict.SUPPORTED, Verdict.WITH_CAVEATS),
        "refuted": count(Verdict.REFUTED),
        "not_measured": count(Verdict.NOT_MEASURED),
    }
)
"""Name → a number of claims; the finding of one claim goes by the claim's id."""

FINDINGS: Sequence[str] = tuple(str(verdict) for verdict in Verdict)
"""What a prediction for one claim is chosen from."""
