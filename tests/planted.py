"""Recordings with chosen values, written and read by the real code: the schema stays honest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

from vmcompare.evidence.recording import Measurement, Recorder, Recording, read
from vmcompare.sandbox import Machine, Platform

HOST: Mapping[str, Any] = {
    "host_id": "planted", "os": "Linux 6.1", "arch": "x86_64", "cpu": "Planted CPU", "cores": 2,
    "versions": {"docker": "28.5", "qemu": "9.2"},
}  # fmt: skip

STARTS_S: Mapping[tuple[str, str], float] = {
    ("process", ""): 0.0012,
    ("container", ""): 0.1,
    ("vm-direct", "pc"): 2.4,
    ("vm-direct", "microvm"): 1.9,
    ("vm-tuned", "pc"): 9.0,
    ("vm", "pc"): 25.0,
}
"""Typical time to the first byte under emulation: (platform, machine) → seconds."""

PHASES: Mapping[str, Mapping[str, float]] = {
    "process": {"spawn": 0.8, "first-byte": 0.2},
    "container": {
        "create": 0.25, "attach": 0.02, "start": 0.6, "first-byte": 0.13,
        "ready": 0.3, "exit": 0.1, "removed": 0.2,
    },
    "vm-direct": {
        "spawn": 0.04, "firmware": 0.2, "kernel": 0.7, "first-byte": 0.06,
        "ready": 0.1, "shutdown": 0.1,
    },
}  # fmt: skip
"""Shares of the time to the first byte (what follows the first byte comes on top)."""

PSS_BYTES = {"process": 1e5, "container": 4e6, "vm-direct": 9e7, "vm-tuned": 1.4e8, "vm": 1.5e8}
CODE_CACHE_BYTES = 3e8
"""What the translator's code cache of an emulated VM holds besides."""


def wobble(block: int, rep: int = 0) -> float:
    """A factor within 4 % of 1 that differs from run to run, the same at every call."""
    return 1 + 0.02 * ((block * 7 + rep * 3) % 5 - 2)


def row(platform: str, metric: str, value: float | None, **more: Any) -> Measurement:
    """One row; a VM gets machine ``pc``, a container is the product, ``None`` makes it an error."""
    is_vm = Platform(platform).is_vm
    defaults: dict[str, Any] = {
        "layer": "product" if platform == "container" else "mechanism",
        "machine": Machine.PC if is_vm else Machine.NONE,
        "runtime": "runc" if platform == "container" else "",
    }
    if value is None:
        defaults |= {"status": "error", "error": "it did not start"}
    return Measurement(platform=Platform(platform), metric=metric, value=value, **(defaults | more))


def planted(
    directory: Path,
    rows: Sequence[Measurement],
    *,
    rounds: int = 10,
    experiment: str = "boot_speed",
    host: Mapping[str, Any] = HOST,
) -> Recording:
    """``rows`` as a recording below ``directory``."""
    # Without an fsync a row: the lines are the same, and a planted run need not survive a crash.
    with (
        patch("vmcompare.evidence.recording.os.fsync", lambda _: None),
        Recorder(directory, experiment, host, rounds) as recorder,
    ):
        for measurement in rows:
            recorder.append(measurement)
    return read(recorder.path)


def starts(
    *,
    rounds: int = 10,
    accel: str = "tcg",
    times: Mapping[tuple[str, str], float] = STARTS_S,
    failures: Mapping[str, int] | None = None,
    only: Sequence[str] = tuple(Platform),
    whole: bool = True,
) -> list[Measurement]:
    """Rows as ``boot_speed`` records them.

    Args:
        rounds: blocks; each has 3 process, 3 container and one start of each VM series.
        accel: accelerator of the VM rows.
        times: (platform, machine) → median time to the first byte in seconds; what is left out has
            no rows.
        failures: platform → how many of its starts fail (the last ones).
        only: platforms that have rows.
        whole: also ready, phases and memory (of older runs), not only the first byte.
    """
    rows: list[Measurement] = []
    for block in range(rounds):
        for (platform, machine), median in times.items():
            if platform not in only:
                continue
            is_vm = Platform(platform).is_vm
            reps = 1 if is_vm else 3
            for rep in range(reps):
                place: dict[str, Any] = {
                    "block": block, "rep": rep, "machine": Machine(machine),
                    "accel": accel if is_vm else "",
                }  # fmt: skip
                total = rounds * reps
                if block * reps + rep >= total - (failures or {}).get(platform, 0):
                    rows.append(row(platform, "start_to_first_byte_s", None, **place))
                    continue
                value = median * wobble(block, rep)
                rows.append(row(platform, "start_to_first_byte_s", value, **place))
                if not whole:
                    continue
                rows.append(row(platform, "ready_s", value * 1.2, **place))
                parts = PHASES["vm-direct" if is_vm else platform]
                rows += [
                    row(platform, "phase_s", value * share, phase=phase, **place)
                    for phase, share in parts.items()
                ]
                pss = PSS_BYTES[platform] * wobble(block, rep)
                if place["accel"] == "tcg":
                    both = pss + CODE_CACHE_BYTES
                    rows.append(row(platform, "pss_with_code_cache_bytes", both, **place))
                rows.append(row(platform, "pss_bytes", pss, **place))
    return rows


MILLIONS: Mapping[str, float] = {
    "process": 1, "runc": 75, "docker": 900, "pc": 800, "microvm": 700, "vm": 4000,
}  # fmt: skip


def counted_starts(millions: Mapping[str, float] = MILLIONS, rounds: int = 3) -> list[Measurement]:
    """As ``boot_instructions`` records them: millions of each series, and the known work."""
    inside: dict[str, Any] = {"machine": Machine.PC, "accel": "tcg"}
    columns: Mapping[str, tuple[str, Mapping[str, Any]]] = {
        "process": ("process", inside),
        "runc": ("container", {**inside, "layer": "mechanism", "runtime": "runc"}),
        "docker": ("container", inside),
        "pc": ("vm-direct", inside),
        "microvm": ("vm-direct", {**inside, "machine": Machine.MICROVM}),
        "vm": ("vm", {**inside, "machine": Machine.Q35}),
    }
    made = []
    for block in range(rounds):
        for name, value in millions.items():
            platform, more = columns[name]
            made.append(row(platform, "start_instructions", value * 1e6, block=block, **more))
        made.append(row("process", "fork_instructions", 5e8, block=block, **inside))
        made.append(row("process", "fork_cpu_s", 0.25, block=block))
    return made


def as_once_recorded(rows: Sequence[Measurement]) -> list[Measurement]:
    """Rows as older versions of ``boot_speed`` wrote them: the code cache within ``pss_bytes``."""
    return [
        replace(r, metric="pss_bytes") if r.metric == "pss_with_code_cache_bytes" else r
        for r in rows
        if not (r.metric == "pss_bytes" and r.accel == "tcg")
    ]
