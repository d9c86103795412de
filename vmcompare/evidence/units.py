"""Units: what each metric is measured in, and how a figure is written for people."""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType

MIB = 1024 * 1024
NS_PER_S = 1_000_000_000

METRICS: Mapping[str, str] = MappingProxyType(
    {
        "start_to_first_byte_s": "s",
        "ready_s": "s",
        "phase_s": "s",
        "duration_s": "s",
        "pss_bytes": "bytes",
        "gzip_s": "s",
        "syscall_s": "s",
        "fork_s": "s",
        "host_delta_bytes": "bytes",
        "cgroup_bytes": "bytes",
        "overhead_bytes": "bytes",
        "image_bytes": "bytes",
        "part_bytes": "bytes",
        "idle_cpu_ratio": "ratio",
        "item_count": "count",
        "fact": "bool",
        "observation": "bool",
        "probe": "bool",
        "gap_s": "s",
        "gap_p50_s": "s",
        "gap_p99_s": "s",
        "detection_s": "s",
        "cpu_s": "s",
        "guest_ram_to_limit_ratio": "ratio",
        "host_cpu_to_vcpu_ratio": "ratio",
    }
)
"""Metric name → unit. A metric's name ends in its unit, so that no axis can be mislabelled.

``part_bytes``, ``item_count`` and ``duration_s`` say in ``phase`` what was weighed, counted or
timed (an experiment of your own measures with these); a ``fact`` has its
name there and is 1 or 0; an ``observation`` has its name there, is 1 where it could be made (else
0), and carries what was read, or the error, in ``text``. A ``probe`` has its name there, is 1 where
it got through to what it was aimed at (else 0), and carries the answer (``"ok"``, ``"EPERM"``) in
``text``. A ``gap_s`` is the longest time between two heartbeats in second ``rep`` of a run; ``p50``
and ``p99`` are percentiles of all gaps of a stretch.
"""


def seconds(value_s: float) -> str:
    """A duration in seconds, with three significant figures: ``"1.23 s"``, ``"45.6 ms"``."""
    if not math.isfinite(value_s):
        return "–"
    for unit, factor in (("s", 1.0), ("ms", 1e3)):
        if abs(value_s) * factor >= 0.9995:
            return f"{_three(value_s * factor)} {unit}"
    return f"{_three(value_s * 1e6)} µs"


def size(value_bytes: float) -> str:
    """A size in bytes, written in binary units: ``"23.4 MiB"``."""
    if not math.isfinite(value_bytes):
        return "–"
    for unit, factor in (("GiB", 1024**3), ("MiB", MIB), ("KiB", 1024)):
        if abs(value_bytes) >= factor:
            return f"{_three(value_bytes / factor)} {unit}"
    return f"{value_bytes:.0f} bytes"


def ratio(value: float) -> str:
    """A ratio with a multiplication sign: ``"12.3×"``."""
    return "–" if not math.isfinite(value) else f"{_three(value)}×"


def written(value: float, unit: str) -> str:
    """``value`` in ``unit`` (``"s"``, ``"bytes"``, ``"ratio"`` or any other) for people.

    In any other unit a whole number is a count, and is written without decimals.
    """
    forms = {"s": seconds, "bytes": size, "ratio": ratio}
    if unit in forms:
        return forms[unit](value)
    return f"{value:,.0f} {unit}" if float(value).is_integer() else f"{_three(value)} {unit}"


def _three(value: float) -> str:
    """Three significant figures, never in exponent form."""
    if value == 0:
        return "0"
    rounded = float(f"{abs(value):.3g}")  # or 0.9996 would be written 1.000
    # Nine decimals are enough for all that was measured; a smaller number is not written in full.
    digits = min(9, max(0, 2 - math.floor(math.log10(rounded))))
    return f"{value:,.{digits}f}"
