"""Ramps as ``guest_os`` records them, with chosen a and b."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from planted import row, wobble

from vmcompare.evidence.recording import Measurement
from vmcompare.evidence.units import MIB
from vmcompare.sandbox import Machine, Platform

CONTAINER, DIRECT, VM = ("container", "", ""), ("vm-direct", "pc", ""), ("vm", "q35", "")
BUBBLEWRAP = ("container", "", "bubblewrap")

LINES_MIB: Mapping[tuple[str, str, str], tuple[float, float]] = {
    CONTAINER: (10, 3),
    DIRECT: (20, 160),
    VM: (30, 250),
}
"""(platform, machine, bare runtime) → a and b of ``pss_bytes`` in MiB."""

MANAGING = 0.1
"""Share of ``pss_bytes`` that is overhead, in VMs; a container's is all but its workload."""

DAEMONS_MIB = 100.0
NS: Mapping[str, Sequence[int]] = {
    "container": (1, 2, 4, 6, 8, 10), "vm-direct": (1, 2, 3), "vm": (1, 2),
}  # fmt: skip
SIZES_MIB = {128: 180.0, 256: 182.0, 512: 185.0, 1024: 190.0}


def ramps(
    *,
    rounds: int = 3,
    accel: str = "tcg",
    lines: Mapping[tuple[str, str, str], tuple[float, float]] = LINES_MIB,
    overhead: Mapping[tuple[str, str, str], tuple[float, float]] | None = None,
    daemons_cost_more: bool | None = True,
    failed: Sequence[str] = (),
    spread: bool = True,
) -> list[Measurement]:
    """All rows of a run.

    Args:
        rounds: ramps of each series.
        accel: of the VM rows.
        lines: a and b in MiB; a series that is left out has no rows.
        overhead: a and b of ``overhead_bytes``; by default shares of ``lines``.
        daemons_cost_more: the fact; ``None`` leaves it out.
        failed: platforms all of whose rows are errors.
        spread: whether ramps differ from one another.
    """
    rows: list[Measurement] = []
    for block in range(rounds):
        for key, (a, b) in lines.items():
            platform, machine, runtime = key
            is_vm = Platform(platform).is_vm
            place: dict[str, Any] = {
                "block": block, "machine": Machine(machine), "mem_limit_mib": 512,
                "accel": accel if is_vm else "",
            }  # fmt: skip
            if runtime:
                place |= {"runtime": runtime, "layer": "mechanism"}
            if platform in failed:
                rows.append(row(platform, "pss_bytes", None, phase="ramp", rep=1, **place))
                continue
            factor = wobble(block) if spread else 1.0
            share = (a * MANAGING, b * MANAGING) if is_vm else (a * 0.9, b * 0.95)
            managing = (overhead or {}).get(key, share)
            if platform == "container" and not runtime:
                rows.append(_daemons(0, factor, place))
            for n in NS[platform]:
                total, own = (a + b * n) * factor * MIB, (managing[0] + managing[1] * n) * factor
                at = {**place, "rep": n}
                rows += [
                    row(platform, "pss_bytes", total, phase="ramp", **at),
                    row(platform, "overhead_bytes", own * MIB, phase="ramp", **at),
                ]
                rows += _parts(platform, is_vm, total, own * MIB, accel, at)
                if platform == "container" and not runtime:
                    rows.append(_daemons(n, factor, place))
            if platform == "vm":
                for age, mib in (("fresh", a + b), ("aged", a + b + 400)):
                    rows.append(row(platform, "pss_bytes", mib * MIB * factor, phase=age, **place))
            if platform == "vm-direct":
                rows += [
                    row(platform, "pss_bytes", mib * MIB * factor, phase="size", rep=1,
                        **{**place, "mem_limit_mib": size})
                    for size, mib in SIZES_MIB.items()
                ]  # fmt: skip
        if daemons_cost_more is not None and CONTAINER in lines and "container" not in failed:
            rows.append(
                row("container", "fact", float(daemons_cost_more), block=block,
                    phase="container_daemons_cost_more_below_crossover")
            )  # fmt: skip
    return rows


def _daemons(n: int, factor: float, place: Mapping[str, Any]) -> Measurement:
    value = DAEMONS_MIB * MIB * factor
    return row("container", "part_bytes", value, phase="daemons", **{**place, "rep": n})


def _parts(
    platform: str, is_vm: bool, total: float, own: float, accel: str, at: Mapping[str, Any]
) -> list[Measurement]:
    if not is_vm:
        parts = {"shim and init": own, "workload": total - own}
    else:
        parts = {
            "emulator": own, "kernel and RAM disk files": 0.1 * total,
            "guest RAM": 0.9 * total - own,
        }  # fmt: skip
        if accel == "tcg":
            parts["translator’s code cache"] = at["rep"] * 60.0 * MIB
    return [row(platform, "part_bytes", v, phase=p, **at) for p, v in parts.items()]
