"""What answers in the lessons on isolation are checked against, and values of model answers."""

from __future__ import annotations

from collections.abc import Mapping

from vmcompare.errors import Unavailable
from vmcompare.evidence.exercise import Answer
from vmcompare.evidence.markdown import literal
from vmcompare.evidence.view import NEXT, View
from vmcompare.experiments.explanation import Remark, Values
from vmcompare.experiments.isolation.explain import explained
from vmcompare.experiments.isolation.probe_grids import (
    misconfigured,
    opens,
)

ASKED = "process: signal"
"""The probe that the exercise on one flag asks about."""

FLAGS = ("--uts=host", "--pid=host", "--cap-add=SYS_ADMIN", "--network=host")
"""The flags of its line, one of which lets that probe through."""


@explained.judge("one_flag")
def _one_flag(view: View, answer: Answer) -> Remark | None:
    found = opened_by(view).get(str(answer))
    if found is None:
        return None
    right = ASKED in found
    probes = {} if right else {"probes": _listed(found)}
    return Remark(right, "through" if right else "others", {"flag": f"`{answer}`", **probes})


@explained.values("one_flag")
def _flags(view: View) -> Values:
    lines = [f"- `{flag}` opens {_listed(found)}" for flag, found in opened_by(view).items()]
    return {"flags": "\n".join(lines)}


def _listed(probes: frozenset[str]) -> str:
    *most, last = sorted(probes) or ("none of the probes",)
    return literal(f"{', '.join(most)} and {last}" if most else last)


def opened_by(view: View) -> Mapping[str, frozenset[str]]:
    """Flag of :data:`FLAGS` → probes at the host that it opens, as measured.

    Raises ``Unavailable``: not every one of these flags was tried.
    """
    base, *others = misconfigured(view)
    tried = {one.confinement: one for one in others if one.made()}
    if not set(FLAGS) <= set(tried) or ASKED not in base.made():
        raise Unavailable("not every flag of this line has been tried", NEXT)
    return {flag: opens(base, tried[flag]) for flag in FLAGS}
