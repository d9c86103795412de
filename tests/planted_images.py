"""Rows as ``image_size`` records them, with chosen sizes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from planted import row

from vmcompare.evidence.recording import Measurement
from vmcompare.experiments.image_size.measure import CATEGORIES, COPIED_FILE, GROWN, WRITTEN
from vmcompare.sandbox import Machine

MIB = float(2**20)

SIZES: Mapping[str, Mapping[str, float]] = {
    "container": {
        "virtual": 23 * MIB, "allocated": 25 * MIB, "compressed": 10 * MIB, "unique": MIB,
        "second-application": 0.6 * MIB, "update": 0.6 * MIB,
    },
    "vm-direct": {
        "virtual": 35 * MIB, "allocated": 36 * MIB, "compressed": 22 * MIB, "unique": MIB,
        "second-application": 10 * MIB, "second-application-as-archive": 0.6 * MIB,
        "update": 10 * MIB, "update-as-archive": 0.6 * MIB,
    },
    "vm": {
        "virtual": 1024 * MIB, "allocated": 64 * MIB, "compressed": 60 * MIB, "unique": 2 * MIB,
        "second-application": 60 * MIB, "second-application-on-backing-file": 0.61 * MIB,
        "update": 60 * MIB, "update-on-backing-file": 0.61 * MIB,
    },
}  # fmt: skip
"""Platform → phase → bytes, about as they were measured once."""

MACHINES = {"vm-direct": Machine.PC, "vm": Machine.Q35}
FACTS = {
    "musl_program_fails_on_host": ("process", 1.0),
    "musl_program_runs_in_container": ("container", 1.0),
}


def images(
    *,
    sizes: Mapping[tuple[str, str], float | None] | None = None,
    facts: Mapping[str, float | None] | None = None,
    only: Sequence[str] = ("process", "container", "vm-direct", "vm"),
    failed: Sequence[str] = (),
    accel: str = "",
) -> list[Measurement]:
    """One round of rows.

    Args:
        sizes: (platform, phase) → bytes in place of those of :data:`SIZES`; ``None`` leaves one
            out.
        facts: the same for facts.
        only: platforms that have rows.
        failed: platforms whose images could not be weighed.
        accel: accelerator of the VM rows (recordings of the project have none).
    """
    rows: list[Measurement] = []
    for platform, phases in SIZES.items():
        if platform not in only:
            continue
        more: dict[str, Any] = {}
        if platform in MACHINES:
            more = {"machine": MACHINES[platform], "accel": accel}
        if platform in failed:
            rows.append(row(platform, "image_bytes", None, phase="compressed", **more))
            rows.append(row(platform, "part_bytes", None, phase="application", **more))
            continue
        for phase, usual in phases.items():
            value = (sizes or {}).get((platform, phase), usual)
            if value is not None:
                rows.append(row(platform, "image_bytes", value, phase=phase, **more))
        rows += [
            row(platform, "part_bytes", 1000.0 * place, phase=name, **more)
            for place, name in enumerate(CATEGORIES)
            if platform == "vm" or name != "modules"
        ]
    if "container" in only and "container" not in failed:
        rows += [
            row("container", "part_bytes", value, phase=phase, text="/usr/lib/large.so")
            for phase, value in ((WRITTEN, 1.0), (COPIED_FILE, 5e6), (GROWN, 5e6 + 1))
        ]
    for name, (platform, usual) in FACTS.items():
        value = (facts or {}).get(name, usual)
        if platform in only and value is not None:
            rows.append(row(platform, "fact", value, phase=name))
    return rows
