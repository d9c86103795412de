"""Values of the model answer in the verdict's lesson."""

from __future__ import annotations

from vmcompare.course.verdict.explain import choices, explained
from vmcompare.errors import Unavailable
from vmcompare.evidence.claims import NO_CODE_CACHE
from vmcompare.evidence.claims.judged import Evidence
from vmcompare.experiments.explanation import Values
from vmcompare.sandbox import EMULATION


@explained.values("sentence")
def _sentence(evidence: Evidence) -> Values:
    """What one more VM and one more container cost, and on how many ramps that rests."""
    part = evidence.part("O1", "memory")
    if part is None or part.run is None or part.finding.interval is None:
        raise Unavailable("no recording here holds the memory of instances", "do lesson 01 first")
    names = ("container_memory", "vm_memory", "memory_ratio")
    known = choices(evidence)
    return {
        **{name: known[name] for name in names},
        "ramps": part.finding.interval.n,
        "under": f"{EMULATION}, {NO_CODE_CACHE}" if part.emulated else "no emulation",
    }
