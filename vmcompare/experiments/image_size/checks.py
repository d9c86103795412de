"""What answers in the lesson on image size are checked against, and values of model answers."""

from __future__ import annotations

from vmcompare.evidence.exercise import Answer
from vmcompare.evidence.units import ratio, seconds, size
from vmcompare.evidence.view import View
from vmcompare.experiments.explanation import Remark, Values
from vmcompare.experiments.image_size.explain import explained, time_s, value_of
from vmcompare.experiments.image_size.measure import (
    COMPRESSED,
    NAMED_BY_TAR,
    SECOND,
    SHARED,
    UPDATE,
    VIRTUAL,
)
from vmcompare.sandbox import Platform

NODES, LINK_MBIT_S = 20, 50.0
"""Of the transfer exercise: computers, and the line to them in Mbit/s."""


@explained.values("one_byte")
def _one_byte(view: View) -> Values:
    return {"sent": size(value_of(view, Platform.CONTAINER, SECOND))}


@explained.values("a_layer")
def _a_layer(view: View) -> Values:
    """What the engine said of the base layer, where it was asked."""
    same = [bool(v) for column in view.columns("fact", phase=NAMED_BY_TAR) for v in column.values]
    return {"same_name": bool(same) and all(same), "other_name": not all(same)}


@explained.check("unlike_sizes", unit="ratio", within=0.03)
def like_with_like(view: View) -> float:
    """Compressed size of the full VM ÷ compressed size of the container."""
    return _ratio(view, COMPRESSED)


@explained.judge("unlike_sizes")
def _study(view: View, answer: Answer) -> Remark | None:
    repeated = isinstance(answer, int | float) and abs(answer / _ratio(view, VIRTUAL) - 1) < 0.05
    return Remark(False, "unrepaired") if repeated else None


@explained.values("unlike_sizes")
def _unlike_sizes(view: View) -> Values:
    return {"ratio": ratio(like_with_like(view)), "mixed_up": ratio(_ratio(view, VIRTUAL))}


@explained.check("twenty_nodes", unit="s", within=0.05)
def whole_disks_s(view: View) -> float:
    """Seconds in which the line carries the VM's whole disk to every computer."""
    return _update_s(view, Platform.VM, UPDATE)


@explained.values("twenty_nodes")
def _twenty_nodes(view: View) -> Values:
    overlay = f"{UPDATE}-{SHARED[Platform.VM]}"
    return {
        "disk": size(value_of(view, Platform.VM, UPDATE)),
        "disks_s": seconds(whole_disks_s(view)),
        "layers_s": seconds(_update_s(view, Platform.CONTAINER, UPDATE)),
        "overlays_s": seconds(_update_s(view, Platform.VM, overlay)),
    }


def _ratio(view: View, of_vm: str) -> float:
    return value_of(view, Platform.VM, of_vm) / value_of(view, Platform.CONTAINER, COMPRESSED)


def _update_s(view: View, platform: Platform, phase: str) -> float:
    return time_s(NODES, value_of(view, platform, phase), LINK_MBIT_S)
