"""What answers in the lesson on scaling out are checked against, and values of model answers."""

from __future__ import annotations

from vmcompare.errors import Unavailable
from vmcompare.evidence.units import seconds
from vmcompare.evidence.view import View
from vmcompare.experiments.explanation import Values
from vmcompare.experiments.scaling.explain import explained, most_at_once
from vmcompare.experiments.scaling.measure import MANY
from vmcompare.sandbox import Start


@explained.check("per_second", unit="per second", within=0.05)
def per_second(view: View) -> float:
    """Pre-created containers a second, when the largest N is let go at once."""
    return MANY[-1] / _wall_s(view)


@explained.values("per_second")
def _per_second(view: View) -> Values:
    return {"n": MANY[-1], "wall": seconds(_wall_s(view)), "rate": f"{per_second(view):.3g}"}


def _wall_s(view: View) -> float:
    found = most_at_once(view, Start.PRE_CREATED)
    if found is None:
        raise Unavailable(
            f"{MANY[-1]} pre-created containers at once were not measured", "replay a recording"
        )
    return found.estimate
