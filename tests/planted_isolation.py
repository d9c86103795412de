"""Rows of ``isolation`` with chosen answers: boundaries, words, panics, noisy neighbours."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from planted import planted, row

from vmcompare.course import text
from vmcompare.evidence.recording import Measurement
from vmcompare.evidence.view import View, compose
from vmcompare.experiments.isolation.boundaries import BRIDGE, OWN_NETWORKS
from vmcompare.experiments.isolation.explain import explained
from vmcompare.experiments.isolation.guest_containers import NO_CONTAINER, RUNTIME
from vmcompare.experiments.isolation.probes import FLIPS, OWN_KERNEL, PROBES
from vmcompare.plots.picture import Picture, WhatIf

HOST = tuple(name for name, probe in PROBES.items() if probe.aim == "host")
ITSELF = tuple(name for name, probe in PROBES.items() if probe.aim == "itself")
NEIGHBOUR = tuple(name for name, probe in PROBES.items() if probe.aim == "neighbour")

DEFAULT_CAPS, ALL_CAPS, NO_CAPS = "00000000a80425fb", "000001ffffffffff", "0000000000000000"

OPEN_BY_DEFAULT = ("keyring", "host's root")
"""What gets through from a default container here: two of the probes."""

FACTS: Mapping[str, tuple[str, bool]] = {
    "vm_denies_all_the_container_denies": ("vm-direct", True),
    "vm_denies_more_than_the_container": ("vm-direct", True),
    "container_denies_more_than_the_vm": ("vm-direct", False),
    "container_reads_sibling": ("container", False),
    "container_lists_sibling": ("container", False),
    "container_kills_sibling": ("container", False),
    "five_namespaces_differ": ("container", True),
    "something_is_not_namespaced": ("container", True),
    "one_misconfiguration_flips_a_probe": ("container", True),
    "privileged_container_opens_host_devices": ("container", True),
    "vm_opens_host_devices": ("vm-direct", False),
    "vm_sees_host_devices": ("vm-direct", False),
    "host_misses_no_heartbeat": ("process", True),
    "sibling_vm_misses_no_heartbeat": ("vm-direct", True),
    "container_kernel_panic_stops_both_containers": ("container", True),
    "privileged_container_sysrq_takes_sibling_down": ("container", True),
    "default_container_sysrq_takes_sibling_down": ("container", False),
    "container_memory_limit_holds": ("container", True),
    "container_cpu_limit_holds": ("container", True),
}
"""Name → who is asked, and what a usual Linux computer answers."""

GUEST = {"layer": "mechanism", "runtime": RUNTIME, "accel": "tcg"}


def boundaries(
    *,
    only: Sequence[str] = ("process", "container", "vm-direct"),
    through: Mapping[tuple[str, str], Iterable[str]] | None = None,
    broken: Sequence[str] = (),
    accel: str = "tcg",
) -> list[Measurement]:
    """Part 1: probes on this computer.

    Args:
        only: platforms that have rows.
        through: (platform, confinement) → probes that get through there, in place of the usual.
        broken: probes that could not be made in the default container.
        accel: accelerator of the machine.
    """
    usual: dict[tuple[str, str], Iterable[str]] = {
        ("process", ""): (*HOST, *ITSELF),
        ("container", ""): (*OPEN_BY_DEFAULT, *ITSELF),
        ("container", "no-capabilities"): ("host's root", "root files: write"),
        ("container", "no-seccomp"): (*OPEN_BY_DEFAULT, *ITSELF, "userfaultfd"),
        ("vm-direct", ""): ITSELF,
    }
    rows: list[Measurement] = []
    for (platform, word), names in {**usual, **(through or {})}.items():
        if platform not in only:
            continue
        more: dict[str, Any] = {"confinement": word}
        if platform == "vm-direct":
            more["accel"] = accel
        failing = broken if (platform, word) == ("container", "") else ()
        rows += _probes(platform, names, failing, **more)
        caps = {"process": ALL_CAPS, "vm-direct": ALL_CAPS}.get(
            platform, NO_CAPS if word == "no-capabilities" else DEFAULT_CAPS
        )
        seccomp = "2" if platform == "container" and word != "no-seccomp" else "0"
        own = {"container": "55", "vm-direct": "77"}.get(platform, "11")
        kernels = "77" if platform == "vm-direct" else "11"
        read = {
            "capabilities": caps, "seccomp": seccomp, "no new privileges": "0",
            "user map": "0 0 4294967295", "root mount": "rw", "boot id": kernels * 4,
            **{f"{n} namespace": own + n for n in ("mnt", "uts", "ipc", "pid", "net", "cgroup")},
            **{f"{n} namespace": kernels + n for n in ("user", "time")},
        }  # fmt: skip
        rows += [
            row(platform, "observation", 1.0, phase=p, text=t, **more) for p, t in read.items()
        ]
    if "container" in only:
        rows += _neighbours("container", BRIDGE, ["neighbour: connect"])
        rows += _neighbours("container", OWN_NETWORKS, [])
    if "process" in only:
        rows += _neighbours("process", "", NEIGHBOUR)
    if "vm-direct" in only:
        rows += _neighbours("vm-direct", "", [], accel=accel)
    return rows


def words(
    *,
    through: Mapping[str, Iterable[str]] | None = None,
    without: Sequence[str] = (),
    broken: Sequence[str] = (),
) -> list[Measurement]:
    """Part 2: one word that differs, in the disposable VM; by default each flips what it should.

    Args:
        through: word → probes that get through, in place of the registered ones.
        without: words that have no rows.
        broken: words none of whose probes could be made.
    """
    base = set((through or {}).get("", (*OPEN_BY_DEFAULT, *ITSELF)))
    rows: list[Measurement] = []
    for word in ("", *(w for w in FLIPS if w), NO_CONTAINER):
        if word in without:
            continue
        everything = {*HOST, *ITSELF}
        usual = everything if word == NO_CONTAINER else base ^ set(FLIPS.get(word, ()))
        names = (through or {}).get(word, usual)
        failing = everything if word in broken else ()
        rows += _probes("container", names, failing, confinement=word, **GUEST)
    return rows


def facts(
    usual: Mapping[str, tuple[str, bool]] = FACTS, **changed: bool | None
) -> list[Measurement]:
    """Every fact; ``name=False`` changes one, ``name=None`` makes it one that failed."""
    rows = []
    for name, (platform, holds) in usual.items():
        value = changed.get(name, holds) if name in changed else holds
        accel = "tcg" if platform == "vm-direct" else ""
        rows.append(
            row(platform, "fact", None if value is None else float(value), phase=name, accel=accel)
        )
    return rows


HEARTBEATS: Mapping[str, tuple[str, Mapping[str, str]]] = {
    "host": ("process", {}),
    "sibling VM": ("vm-direct", {"accel": "tcg"}),
    "faulty VM": ("vm-direct", {"accel": "tcg"}),
    "their VM": ("container", GUEST),
    "container A": ("container", GUEST),
    "container B": ("container", GUEST),
}
FAULTY_S, REFUSED_S, PANIC_S, END_S = 30, 35, 40, 46


def falls(
    *, sibling_gap_s: float = 0.07, until: int = END_S, b_goes_on: bool = False
) -> list[Measurement]:
    """Part 3: heartbeats by second, and what happened.

    Args:
        sibling_gap_s: the sibling VM's longest gap after the privileged container's panic.
        until: second at which the run was stopped.
        b_goes_on: whether container B's heartbeat goes on when its host's kernel panics.
    """
    rows = []
    for second in range(until):
        for source, (platform, more) in HEARTBEATS.items():
            gap = 0.052 + 0.001 * ((second * 7 + len(source)) % 9)
            dies = {"faulty VM": FAULTY_S, "container A": PANIC_S, "their VM": PANIC_S}
            if not b_goes_on:
                dies["container B"] = PANIC_S
            if source in dies and second > dies[source]:
                gap = second - dies[source] + 0.4
            if source == "sibling VM" and second == PANIC_S + 1:
                gap = sibling_gap_s
            rows.append(row(platform, "gap_s", gap, phase=source, rep=second, **more))
    told = {
        FAULTY_S: ("vm-direct", "event: faulty VM panics", "its kernel panicked"),
        REFUSED_S: ("container", "event: default container tries sysrq", "refused: EROFS"),
        PANIC_S: ("container", "event: privileged container tries sysrq", "the kernel panicked"),
    }
    for second, (platform, phase, said) in told.items():
        more = dict(GUEST) if platform == "container" else {"accel": "tcg"}
        rows.append(row(platform, "observation", 1.0, phase=phase, rep=second, text=said, **more))
    return [r for r in rows if r.rep < until]


def noisy_neighbours(*, rounds: int = 3) -> list[Measurement]:
    """Part 4: work of a neighbour, and what the program beside it got."""
    arms: Mapping[str, tuple[str, Mapping[str, str], float]] = {
        "without limits": ("container", GUEST, 2.0),
        "with limits": ("container", GUEST, 1.25),
        "": ("vm-direct", {"accel": "tcg"}, 1.0),
    }
    rows: list[Measurement] = []
    for block in range(rounds):
        for confinement, (platform, more, slower) in arms.items():
            held: dict[str, Any] = {"confinement": confinement, "block": block, **more}
            for phase, piece_s in (
                ("work beside a quiet program", 0.04),
                ("work beside a CPU burner", 0.04 * slower),
            ):
                rows.append(row(platform, "duration_s", piece_s, phase=phase, **held))
            limited = confinement == "with limits"
            count = 24.0 if limited else 200.0
            rows.append(row(platform, "item_count", count, phase="fork loop", **held))
            if platform == "container":
                peak, limit = (64.0, 64) if limited else (260.0, 384)
                memory = held | {"phase": "memory hog", "mem_limit_mib": limit}
                rows.append(row(platform, "cgroup_bytes", peak * 2**20, **memory))
        under: dict[str, Any] = {"block": block, "accel": "tcg"}
        ram = under | {"phase": "memory hog", "mem_limit_mib": 512}
        rows.append(row("vm", "guest_ram_to_limit_ratio", 0.98, **ram))
        rows.append(row("vm", "host_cpu_to_vcpu_ratio", 1.02, **under))
    return rows


def _probes(
    platform: str, through: Iterable[str], failing: Iterable[str], **more: Any
) -> list[Measurement]:
    wanted, rows = set(through), []
    for name in (*HOST, *ITSELF):
        value = None if name in failing else float(name in wanted)
        own = platform == "vm-direct" and name in (*ITSELF, "mount", "clock: set")
        text = OWN_KERNEL if own else "ok" if name in wanted else "EPERM"
        rows.append(
            row(platform, "probe", value, phase=name, text="" if value is None else text, **more)
        )
    return rows


def _neighbours(platform: str, word: str, through: Sequence[str], **more: Any) -> list[Measurement]:
    return [
        row(
            platform, "probe", float(name in through), phase=name, confinement=word,
            text="ok" if name in through else "ESRCH", **more,
        )
        for name in NEIGHBOUR
    ]  # fmt: skip


def whole(**more: Any) -> list[Measurement]:
    """All four parts as a usual computer gives them."""
    return [*boundaries(**more), *words(), *facts(), *falls(), *noisy_neighbours()]


# ---- what a lesson makes of them -----------------------------------------------------------------


def shown(place: Path, rows: list[Measurement]) -> View:
    """The view of a recording that holds these rows."""
    return compose(planted(place, rows, experiment="isolation"), None)


def section(kind: str, name: str) -> text.Section | None:
    """The words of one of the two lessons."""
    lessons = filter(None, map(text.of_lesson, ("05a", "05b")))
    return next(filter(None, (lesson.find(kind, name) for lesson in lessons)), None)


def figure(name: str, view: View) -> Picture:
    """A figure with its caption."""
    return text.caption(explained.figures[name](view), section("figure", name))


def cells(name: str, view: View) -> pd.DataFrame:
    """A table."""
    return pd.DataFrame(explained.tables[name](view))


def model(name: str, view: View) -> WhatIf:
    """A what-if with its words."""
    return text.whatif(explained.whatifs[name](view), section("what-if", name))
