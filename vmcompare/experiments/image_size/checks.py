"""What answers in the lesson on image size are checked against, and values of model answers."""

from __future__ import annotations

from vmcompare.evidence.units import ratio, size
from vmcompare.evidence.view import View
from vmcompare.experiments.explanation import Values
from vmcompare.experiments.image_size.explain import explained, value_of
from vmcompare.experiments.image_size.measure import COMPRESSED, SECOND, VIRTUAL
from vmcompare.sandbox import Platform


@explained.values("one_byte")
def _one_byte(view: View) -> Values:
    return {"sent": size(value_of(view, Platform.CONTAINER, SECOND))}


@explained.check("unlike_sizes", unit="ratio", within=0.03)
def like_with_like(view: View) -> float:
    """Compressed size of the full VM ÷ compressed size of the container."""
    return _ratio(view, COMPRESSED)


@explained.values("unlike_sizes")
def _unlike_sizes(view: View) -> Values:
    return {"ratio": ratio(like_with_like(view)), "mixed_up": ratio(_ratio(view, VIRTUAL))}


def _ratio(view: View, of_vm: str) -> float:
    return value_of(view, Platform.VM, of_vm) / value_of(view, Platform.CONTAINER, COMPRESSED)
