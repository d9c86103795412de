"""What answers in the lesson on shared kernels are checked against, and values of its words."""

from __future__ import annotations

from vmcompare.evidence.exercise import Answer
from vmcompare.evidence.markdown import literal
from vmcompare.evidence.view import View, absent
from vmcompare.experiments.explanation import Remark, Values
from vmcompare.experiments.shared_kernel.explain import answered, explained, left_out, moved, top

LEFT_OUT = "net"
"""The rung that the exercise leaves out."""


def _moved(view: View) -> dict[str, str]:
    return moved(top(view), left_out(view, LEFT_OUT))


@explained.judge("leave_one_out")
def _leave_one_out(view: View, answer: Answer) -> Remark:
    name = str(answer)
    found = _moved(view)
    if name in found:
        was, now = found[name].split(" → ")
        return Remark(True, "differs", {"all_rungs": literal(was), "without": literal(now)})
    if name == "boot id":
        return Remark(False, "kernel")
    return Remark(False, "another_rung", {"observation": literal(name)})


@explained.values("leave_one_out")
def _left_out(view: View) -> Values:
    found = [f"*{literal(name)}*: {literal(words)}" for name, words in _moved(view).items()]
    return {"changes": "; ".join(found) or "nothing"}


@explained.check("count_kernels", unit="kernels", within=0)
def kernels(view: View) -> float:
    """How many different boot ids the instances that answered have."""
    return float(len({one.boot_id for one in answered(view)}))


@explained.judge("count_kernels")
def _count_kernels(view: View, answer: Answer) -> Remark | None:
    found = answered(view)
    if answer == kernels(view):
        return None
    if answer == len(found):
        return Remark(False, "instances")
    if answer == len({one.values.get("kernel release") for one in found}):
        return Remark(False, "releases")
    return None


@explained.values("count_kernels")
def _kernels(view: View) -> Values:
    return {"kernels": kernels(view), "instances": len(answered(view))}


@explained.values("wrong_reading")
def _wrong_reading(view: View) -> Values:
    found = answered(view)
    box = next((one for one in found if one.name == "container A"), None)
    if box is None:
        raise absent("answer of a container")
    beside = (o for o in found if o.name == "host" and o.column.run_id == box.column.run_id)
    host = next(beside, None)
    return {
        "userland": literal(box.values["userland"]),
        "boot_id": literal(box.boot_id),
        "boot_id_of_host": literal(host.boot_id) if host else "",
    }
