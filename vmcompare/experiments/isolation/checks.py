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
    default_container,
    listed,
    misconfigured,
    opens,
)
from vmcompare.experiments.isolation.probes import (
    decoded_capabilities,
    ordered_capabilities,
)

ASKED = "process: signal"
"""The probe that the exercise on one flag asks about."""

FLAGS = ("--uts=host", "--pid=host", "--cap-add=SYS_ADMIN", "--network=host")
"""The flags of its line, one of which lets that probe through."""


@explained.check("cap_eff", unit="capabilities", within=0)
def capabilities_of_default_container(view: View) -> int:
    """How many capabilities the default container has: Docker's, else the guest's."""
    return len(_own_capabilities(view))


@explained.values("cap_eff")
def _cap_eff(view: View) -> Values:
    names = ordered_capabilities(_own_capabilities(view))
    return {"count": len(names), "names": literal(listed(names)) if names else "none at all"}


@explained.judge("one_word")
def _one_word(view: View, answer: Answer) -> Remark | None:
    found = opened_by(view).get(str(answer))
    if found is None:
        return None
    flag = f"`{answer}`"
    if ASKED in found:
        return Remark(True, "through", {"flag": flag})
    if found:
        return Remark(False, "others", {"flag": flag, "probes": literal(listed(sorted(found)))})
    return Remark(False, "nothing", {"flag": flag})


@explained.values("one_word")
def _flags(view: View) -> Values:
    lines = [
        f"- `{flag}` opens {literal(listed(sorted(found))) if found else 'none of the probes'}"
        for flag, found in opened_by(view).items()
    ]
    return {"flags": "\n".join(lines)}


def opened_by(view: View) -> Mapping[str, frozenset[str]]:
    """Flag of :data:`FLAGS` → probes at the host that it opens, as measured.

    Raises:
        Unavailable: not every one of these flags was tried.
    """
    base, *others = misconfigured(view)
    tried = {one.confinement: one for one in others if one.made()}
    if not set(FLAGS) <= set(tried) or ASKED not in base.made():
        raise Unavailable("not every word of this line has been tried", NEXT)
    return {flag: opens(base, tried[flag]) for flag in FLAGS}


def _own_capabilities(view: View) -> frozenset[str]:
    inside = default_container(view)
    if inside is None or not inside.read.get("capabilities"):
        raise Unavailable("no container’s capabilities have been read", NEXT)
    return decoded_capabilities(inside.read["capabilities"])
