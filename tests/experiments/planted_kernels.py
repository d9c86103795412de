"""Rows of ``shared_kernel`` with chosen facts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from planted import row

from vmcompare.evidence.recording import Measurement
from vmcompare.experiments.shared_kernel import by_hand
from vmcompare.experiments.shared_kernel.measure import INSTANCES, PHASES

FACTS: Mapping[str, tuple[str, bool]] = {
    "container_kernel_release_is_hosts": ("container", True),
    "container_boot_id_is_hosts": ("container", True),
    "container_boot_id_is_a_hidden_vms": ("container", False),
    "vm_kernel_release_is_hosts": ("vm", False),
    "vm_boot_id_is_hosts": ("vm", False),
    "ten_different_containers_ran": ("container", True),
    "containers_report_one_boot_id": ("container", True),
    "second_distribution_runs_as_container": ("container", True),
    "other_kernel_starts_in_vm": ("vm-direct", True),
    "other_kernel_starts_in_container": ("container", False),
}
"""Name → who is asked, and what a usual Linux computer answers."""

BOOT_IDS = {
    "host": "11111111", "container A": "11111111", "container B": "11111111",
    "container C": "11111111", "vm-direct": "22222222", "vm": "33333333",
}  # fmt: skip

_START = {
    "kernel release": "6.18-virt", "boot id": "44444444", "userland": "Alpine Linux",
    "mounts seen": "6", "own process number": "one of many", "processes seen": "58",
    "loopback network": "up", "root is": "user 0 outside", "make a device": "allowed",
    "control group": "/", "nested processes": "20", "call filter": "off",
    "make a directory": "allowed",
}  # fmt: skip

_CHANGES: Mapping[str, Mapping[str, str]] = {
    "chroot": {"userland": "a box made by hand", "mounts seen": "1"},
    "mount": {"mounts seen": "2"},
    "pid": {"own process number": "1", "processes seen": "1"},
    "net": {"loopback network": "down"},
    "user": {"root is": "user 65534 outside", "make a device": "refused"},
    "cgroup": {"control group": "/box", "nested processes": "8"},
    "seccomp": {"call filter": "on", "make a directory": "refused"},
}


def looked(
    *,
    only: Sequence[str] = ("process", "container", "vm-direct", "vm"),
    facts: Mapping[str, bool] | None = None,
    boot_ids: Mapping[str, str] | None = None,
    broken: Sequence[str] = (),
    accel: str = "tcg",
) -> list[Measurement]:
    """Rows as ``shared_kernel`` records them.

    Args:
        only: platforms that have rows.
        facts: facts that come out otherwise.
        boot_ids: instances (by name) with another boot id.
        broken: instances, steps or facts that failed.
        accel: accelerator of the VMs.
    """
    rows: list[Measurement] = []
    ids = {**BOOT_IDS, **(boot_ids or {})}
    for who in INSTANCES:
        if who.platform not in only:
            continue
        more = {"rep": who.rep, "accel": accel if who.platform.is_vm else ""}
        for phase in PHASES:
            if who.name in broken:
                rows.append(row(who.platform, "observation", None, phase=phase, **more))
                continue
            text = ids[who.name] if phase == "boot id" else f"{phase} under {ids[who.name]}"
            if phase == "userland":
                text = "Alpine Linux" if who.name != "container C" else "Debian GNU/Linux"
            if phase == "pid namespace":
                text = f"…{who.rep}" if who.name.startswith("container") else "…836"
            rows.append(row(who.platform, "observation", 1.0, phase=phase, text=text, **more))
    for name, (platform, usual) in FACTS.items():
        if platform not in only:
            continue
        holds = (facts or {}).get(name, usual)
        rows.append(row(platform, "fact", None if name in broken else float(holds), phase=name))
    if "container" in only:
        rows += _seen("container", 3)
        refused = "refused: date: can't set date: Operation not permitted"
        rows.append(row("container", "observation", 0.0, phase="setting the clock", text=refused))
    if "vm-direct" in only:
        rows += _seen("vm-direct", 0) + _typed(broken, accel)
    return rows


def _seen(platform: str, count: int) -> list[Measurement]:
    return [
        row(platform, "item_count", 3.0, phase="started inside"),
        row(platform, "item_count", float(count), phase="in the host’s list"),
    ]


def _typed(broken: Sequence[str], accel: str) -> list[Measurement]:
    rows = []
    for place, (name, steps) in enumerate(by_hand.lines().items()):
        seen = {by_hand.LINE: by_hand.line(steps), **_START}
        for step in steps:
            seen |= _CHANGES[step]
        if "mount" not in steps:  # the /proc that was mounted outside
            seen["processes seen"] = "58"
        # The kernel's own workers come and go.
        if seen["processes seen"] != "1":
            seen["processes seen"] = str(58 + place % 3)
        failed = name in broken
        rows.append(
            row(
                "vm-direct", "observation", None if failed else 1.0, phase=name,
                rep=place, text="" if failed else by_hand.written(seen), accel=accel,
            )
        )  # fmt: skip
    return rows
