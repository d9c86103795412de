"""What answers in the lesson on scaling out are checked against, and values of model answers."""

from __future__ import annotations

from vmcompare.errors import Unavailable
from vmcompare.evidence.units import seconds
from vmcompare.evidence.view import View
from vmcompare.experiments.explanation import Values
from vmcompare.experiments.scaling.explain import at_once, explained
from vmcompare.experiments.scaling.measure import MANY
from vmcompare.sandbox import Start


@explained.check("per_second", unit="per second", within=0.05)
def per_second(view: View) -> float:
    """Pre-created containers a second, when the largest N is let go at once."""
    return MANY[-1] / _wall_s(view, MANY[-1])


@explained.values("per_second")
def _per_second(view: View) -> Values:
    alone_s = _wall_s(view, 1)
    return {
        "n": MANY[-1], "wall": seconds(_wall_s(view, MANY[-1])), "rate": f"{per_second(view):.3g}",
        "wall_of_one": seconds(alone_s), "rate_of_one": f"{1 / alone_s:.3g}",
    }  # fmt: skip


def _wall_s(view: View, n: int) -> float:
    found = at_once(view, Start.PRE_CREATED, n)
    if found is None:
        raise Unavailable(
            f"{n} pre-created containers at once were not measured", "replay a recording"
        )
    return found.estimate
