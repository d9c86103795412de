"""The verdict, explained: pictures, a model and counts, all made from the judged claims.

The shape is that of an experiment's ``explain.py``; an :class:`Evidence` takes the place of a
view, for here many recordings stand side by side.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from vmcompare.errors import Unavailable
from vmcompare.evidence.claims import (
    RAMP,
    Conclusion,
    Estimate,
    Quantity,
    Rule,
    Side,
    Undecided,
    estimate,
)
from vmcompare.evidence.claims.judged import Evidence, Part, RunFindings
from vmcompare.evidence.units import size
from vmcompare.experiments.explanation import Explanation
from vmcompare.plots.dots import Dot, Panels, sliding_dots
from vmcompare.plots.findings import Against, against, findings
from vmcompare.plots.picture import Picture, WhatIf
from vmcompare.sandbox import EMULATION, Machine, Platform, Series

GIB = 1024**3

explained = Explanation[Evidence]()

HOST_GIB = 64
"""Memory of a host in the what-if, unless another is named (GiB)."""


@explained.figure("findings")
def findings_figure(evidence: Evidence) -> Picture:
    """One mark a claim, by its finding."""
    found = {claim.id: claim.finding.verdict for claim in evidence.claims}
    return findings(found, caption=evidence.caption())


@explained.figure("ratios")
def ratios_figure(evidence: Evidence) -> Picture:
    """Every ratio with its interval and bound; open where emulation leaves it undecided.

    Raises:
        Unavailable: no recording holds a ratio.
    """
    ratios = [part for part in evidence.parts if part.claim.rule in (Rule.RATIO, Rule.SLOPE)]
    drawn = [part for part in ratios if part.finding.interval is not None]
    found = [one for part in drawn if (one := _against(part))]
    if not found:
        raise Unavailable(
            "no recording holds a ratio that a claim is judged by", "do lesson 04 first"
        )
    lacking = dict.fromkeys(p.claim.id for p in ratios if p.finding.interval is None)
    said = f" Not drawn, for want of rows: parts of {', '.join(lacking)}." if lacking else ""
    return against(found, caption=f"{evidence.caption(drawn)}{said}")


def _against(part: Part) -> Against | None:
    claim, finding = part.claim, part.finding
    assert claim.quantity is not None
    assert claim.bound is not None
    if finding.interval is None or finding.interval.estimate <= 0:
        return None
    above = claim.quantity.above.platform
    name = claim.name if above is Platform.VM else f"{claim.name}, {above}"
    return Against(name, finding.interval, claim.bound, finding.verdict, part.emulated)


@dataclass(frozen=True, slots=True)
class Marginal:
    """What one more instance of a series costs in memory: b of the fitted a + b·N, in bytes."""

    series: Series
    found: Estimate
    run: RunFindings


_RAMPS = (
    Side(Platform.CONTAINER, phase=RAMP),
    Side(Platform.VM_DIRECT, Machine.PC, phase=RAMP),
    Side(Platform.VM_TUNED, phase=RAMP),
    Side(Platform.VM, phase=RAMP),
)


def marginals(evidence: Evidence) -> tuple[Marginal, ...]:
    """The marginal memory of each platform, of the one run that has it for most of them."""
    return max((_of_run(run) for run in evidence.runs), key=len, default=())


def _of_run(run: RunFindings) -> tuple[Marginal, ...]:
    found = []
    for side in _RAMPS:
        with contextlib.suppress(Undecided):
            cost = estimate(Quantity("pss_bytes", side, None), run.frame, slope=True)
            if cost.interval.estimate > 0:
                found.append(
                    Marginal(Series(side.platform, Machine(side.machine or "")), cost, run)
                )
    return tuple(found)


@explained.whatif("hosts")
def hosts(evidence: Evidence, *, host_gib: float = HOST_GIB) -> WhatIf:
    """How many hosts of ``host_gib`` GiB it takes for n instances, by memory alone (claim V1).

    Raises:
        Unavailable: no recording holds what one more instance costs.
    """
    costs = marginals(evidence)
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
    few = [m for m in costs if m.found.few]

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

    run, recording = costs[0].run, costs[0].run.recording
    return sliding_dots(
        panels,
        numbers,
        start=1000,
        said="{:,.0f} instances.",
        caption=" ".join(f"Few runs for {m.series.label}: {m.found.few}." for m in few),
        placeholders={
            "host": host_gib,
            "source": f"{recording.run_id} ({run.whose}, {recording.started_utc[:10]})",
            "emulated": ", ".join(m.series.label for m in costs if m.found.emulated),
        },
        air=1.6,
    )


COUNTED: Mapping[str, Sequence[Conclusion]] = {
    "supported": (Conclusion.SUPPORTED, Conclusion.WITH_CAVEATS),
    "refuted": (Conclusion.REFUTED,),
    "not_measured": (Conclusion.NOT_MEASURED,),
}
"""Name of a number of claims → findings that count; one claim's finding goes by the claim's id."""


def count(evidence: Evidence, name: str) -> int:
    """How many claims have one of the findings of :data:`COUNTED`."""
    return sum(claim.finding.verdict in COUNTED[name] for claim in evidence.claims)
