"""What answers in the first lesson are checked against, and values of model answers."""

from __future__ import annotations

from collections.abc import Mapping

from vmcompare.errors import Unavailable
from vmcompare.evidence.markdown import literal
from vmcompare.evidence.units import ratio, seconds
from vmcompare.evidence.view import View, container
from vmcompare.experiments.explanation import Values
from vmcompare.experiments.whole_computer.explain import START, explained, part_bytes
from vmcompare.sandbox import EMULATION, SOFTWARE

FIXED = ("code", "end mark", "signature")
"""Parts of the boot sector that no message can do without."""


@explained.check("slowest_over_fastest", unit="ratio", within=0.01)
def slowest_over_fastest(view: View) -> float:
    """Slowest ÷ fastest start of a container."""
    times = _container_times(view)
    return max(times) / min(times)


@explained.values("slowest_over_fastest")
def _slowest_over_fastest(view: View) -> Values:
    times = _container_times(view)
    return {
        "slowest": seconds(max(times)),
        "fastest": seconds(min(times)),
        "times": ratio(max(times) / min(times)),
        "n": len(times),
    }


def _container_times(view: View) -> list[float]:
    found = container(view.columns(START))
    if found is None or found.n < 2:
        raise Unavailable(
            "the data shown hold no two starts of a container",
            "measure one round, or replay a recording",
        )
    return found.values


@explained.check("longest_message", unit="bytes", within=0.0)
def longest_message(view: View) -> float:
    """Bytes that the fixed parts of the boot sector leave for a message."""
    parts = _parts(view)
    return sum(parts.values()) - sum(parts[name] for name in FIXED)


@explained.values("longest_message")
def _longest_message(view: View) -> Values:
    parts = _parts(view)
    return {
        "total": f"{sum(parts.values()):.0f}",
        "fixed": " − ".join(f"{parts[name]:.0f} ({name})" for name in FIXED),
        "room": f"{longest_message(view):.0f}",
    }


def _parts(view: View) -> Mapping[str, float]:
    parts = part_bytes(view)
    if not set(FIXED) < set(parts):
        raise Unavailable(
            "the data shown do not hold the parts of the boot sector",
            "measure with QEMU, or replay a recording",
        )
    return parts


@explained.values("kvm_exists")
def _kvm_exists(view: View) -> Values:
    found = sorted(set(view.frame["accel"].dropna().map(str)) - {""})
    words = (f"{name} ({EMULATION})" if name == SOFTWARE else name for name in found)
    return {"vm": bool(found), "accelerators": literal(", ".join(words))}
