"""Isolation, explained: the walls, one word that opens them, and what happens when one falls.

Every function raises ``Unavailable`` where its rows are not there; an outcome is then ``None``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING

from vmcompare.errors import Unavailable
from vmcompare.evidence.view import MEASURED, Grid, Outcome, View
from vmcompare.experiments.isolation import grid
from vmcompare.experiments.isolation.greed_figure import greed, held_table, limits_table
from vmcompare.experiments.isolation.hearts_figure import FALL, HEARTS, Beats, beats, heartbeats
from vmcompare.experiments.isolation.interface import interface, interface_table
from vmcompare.experiments.isolation.models import blast, careless, detection
from vmcompare.experiments.isolation.probes import FLIPS, PROBES
from vmcompare.experiments.isolation.record import cves_table, timeline
from vmcompare.experiments.isolation.rows import (
    BRIDGE,
    NEXT,
    OWN_NETWORKS,
    Arm,
    arm,
    default_container,
    flips,
    label,
    misconfigured,
    mixed,
    neighbours,
    of_host,
    of_neighbour,
    walls,
)
from vmcompare.experiments.isolation.tables import (
    capabilities_table,
    events_table,
    falls_table,
    held_by_table,
    neighbours_table,
    sentence_table,
    walls_table,
    words_table,
)
from vmcompare.plots.groups import EMULATION
from vmcompare.plots.picture import Picture, WhatIf
from vmcompare.sandbox import Platform

if TYPE_CHECKING:
    import pandas as pd

_PROMISE = (
    f"The machines run under {EMULATION}. Which call is refused does not depend on it, but QEMU "
    "promises no security under emulation."
)


_USERNS = "--userns stands for what a rootless engine does; docker run has no such word for it."
_NO_NETWORK = "They have no network card: that they reach nobody by a network is no wall of theirs."


def walls_figure(view: View) -> Picture:
    """Probe by probe, held in different ways, on this computer."""
    arms = walls(view)
    sorts = grid.groups([name for one in arms for name in one.answers])
    return grid.answers(
        arms,
        [_heading(one, mixed=mixed(arms)) for one in arms],
        sorts,
        what="Who gets through to what.",
        caption=_caption(view, arms),
    )


def misconfigurations_figure(view: View) -> Picture:
    """One word of a command line that differs, in the disposable VM; expected and found."""
    base, *others = misconfigured(view)
    odd = [
        f"{word}, {name} ({'turned' if turned else 'did not turn'})"
        for word, name, turned in grid.deviations(base, others, FLIPS)
    ]
    told = f"Not as registered: {'; '.join(odd)}." if odd else "All turned as registered."
    where = (
        "Containers by runc in a disposable virtual machine, whose root is their host; the call "
        f"filter is a short one of ours. {_emulated(base)}{_USERNS}"
    )
    return grid.words_grid(
        base,
        others,
        FLIPS,
        what="What one word turns.",
        caption=f"{view.caption()}. {where} {told}",
    )


def _emulated(one: Arm) -> str:
    """That the words were tried under emulation, if they were."""
    under = f"It ran under {EMULATION}, on which this does not depend. "
    return under if one.emulated else ""


def _of_words(view: View) -> str:
    """What is said beside the table of words."""
    base, *_ = misconfigured(view)
    return f"Tried in a disposable virtual machine. {_emulated(base)}{_USERNS}"


def neighbours_figure(view: View) -> Picture:
    """From one instance against the one beside it."""
    arms = neighbours(view)
    star = mixed(arms)
    said = {
        Platform.PROCESS: "two\nprocesses",
        Platform.VM_DIRECT: "two\nVMs",
        BRIDGE: "containers,\none bridge",
        OWN_NETWORKS: "containers,\nown nets",
    }
    headings = [
        said[one.confinement or one.platform] + (" *" if star and one.shown != MEASURED else "")
        for one in arms
    ]
    names = of_neighbour([name for one in arms for name in one.answers])
    return grid.answers(
        arms, headings, {"": names}, what="What one can do to its neighbour.",
        caption=_caption(view, arms),
    )  # fmt: skip


def _heading(one: Arm, *, mixed: bool) -> str:
    first, _, held = label(one, mixed=mixed).partition(", ")
    if held:
        return f"{first},\n{held.replace('no capabilities', 'no capab.')}"
    return first.replace("host process", "host\nprocess").replace(" in a", "\nin a")


def _caption(view: View, arms: Sequence[Arm]) -> str:
    words = [f"{view.caption()}."]
    if any(one.emulated for one in arms):
        words.append(_PROMISE)
    if any(one.platform is Platform.VM_DIRECT for one in arms):
        words.append(_NO_NETWORK)
    if any(one.nested for one in arms):
        words.append(
            "There is no container of Docker’s here: one by runc in a disposable virtual machine "
            "stands in, and that machine is the host it was tried on."
        )
    if mixed(arms):
        words.append("* Recorded in another run, perhaps on another computer.")
    failed = sorted({n for one in arms for n, a in one.answers.items() if a.got_through is None})
    if failed:
        words.append(f"Could not be made everywhere: {', '.join(failed)}.")
    return " ".join(words)


def _through(view: View) -> float | None:
    inside = default_container(view)
    return None if inside is None or not inside.made() else float(len(inside.through()))


def _privileged(view: View) -> float | None:
    try:
        base, *_ = misconfigured(view)
    except Unavailable:
        return None
    one = arm(view, Platform.CONTAINER, "--privileged", nested=True, run_id=base.run_id)
    if one is None or not one.made():
        return None
    return float(len(flips(base, one) & set(of_host(base.answers))))


def _beats(view: View) -> Beats | None:
    try:
        return beats(view)
    except Unavailable:
        return None


def _sibling_gap_s(view: View) -> float | None:
    found = _beats(view)
    fall = found.event(FALL) if found else None
    return found.after_s("sibling VM", fall.second) if found and fall else None


def _detection_s(view: View) -> float | None:
    found = _beats(view)
    if found is None:
        return None
    rows = view.values(metric="detection_s", phase="their VM", run_id=found.run_id)
    return float(rows["value"].iloc[0]) if len(rows) else None


def _silent(view: View) -> float | None:
    found = _beats(view)
    fall = found.event(FALL) if found else None
    if found is None or fall is None:
        return None
    told = [found.misses(heart, fall.second) for heart in HEARTS if heart != "faulty VM"]
    return None if None in told else float(sum(bool(missed) for missed in told))


def _turned(view: View) -> Mapping[str, Mapping[str, bool]]:
    base, *others = misconfigured(view)
    found: dict[str, Mapping[str, bool]] = {}
    for one in others:
        both = set(base.made()) & set(one.made())
        if one.confinement in GRID_WORDS and both:
            turned = flips(base, one)
            found[one.confinement] = {name: name in turned for name in GRID_ROWS if name in both}
    if not found:
        raise Unavailable("none of these words has been tried yet", NEXT)
    return found


GRID_WORDS = ("--pid=host", "--network=host", "--privileged")

GRID_ROWS = (
    "namespace: pid", "process: signal", "network: connect", "sysrq: write", "disk: read",
    "host file: read",
)  # fmt: skip

_REASONS: Mapping[tuple[str, str], str] = MappingProxyType(
    {
        ("--pid=host", "namespace: pid"): "This word leaves out the namespace of processes.",
        ("--pid=host", "process: signal"): (
            "Only what is in the list can be named. Root may then end it: user 0 is user 0."
        ),
        ("--network=host", "network: connect"): (
            "The loopback address is the host’s own then, with all that listens on it."
        ),
        ("--privileged", "sysrq: write"): "No path below `/proc` is read-only any more.",
        ("--privileged", "disk: read"): (
            "All devices are allowed, and the right to make a node for them was there before."
        ),
    }
)
"""Why a word should be expected to turn a probe. ``--privileged`` shares no namespace, and mounts
nothing of the host's: what it lacks in this list is not forgotten."""

FIGURES: Mapping[str, Callable[[View], Picture]] = MappingProxyType(
    {
        "walls": walls_figure,
        "misconfigurations": misconfigurations_figure,
        "neighbours": neighbours_figure,
        "interface": interface,
        "heartbeats": heartbeats,
        "greed": greed,
        "cves": timeline,
    }
)
"""Name → figure of a view."""


def _captioned(
    table: Callable[[View], pd.DataFrame], words: str | Callable[[View], str] = ""
) -> Callable[[View], pd.DataFrame]:
    """``table`` with where its rows come from, and ``words``, as its caption."""

    def made(view: View) -> pd.DataFrame:
        frame = table(view)
        said = words if isinstance(words, str) else words(view)
        frame.attrs["caption"] = f"{view.caption()}. {said}".strip()
        return frame

    return made


_NUMBERS = (
    "The number of a namespace is the inode of its file in /proc/self/ns: under one kernel, equal "
    "numbers are one namespace. A boot id belongs to one start of one kernel. seccomp: 0 is no "
    "filter, 2 a filter. User map: first number inside, first outside, how many."
)
_OVER = (
    "Where a machine is emulated, the emulator takes processor time of its own: what is over 1.00 "
    "is not the guest’s."
)
_ENDS = (
    "sysrq: a file by which root gives a kernel orders, here to panic. These machines end when "
    "their kernel panics, so their output ends; one that hung would only be noticed by missing "
    "beats."
)

TABLES: Mapping[str, Callable[[View], pd.DataFrame]] = MappingProxyType(
    {
        "walls": _captioned(walls_table),
        "misconfigurations": _captioned(words_table, _of_words),
        "neighbours": _captioned(neighbours_table, _NO_NETWORK.replace("They", "Our VMs")),
        "capabilities": _captioned(capabilities_table, "CapEff is hexadecimal; bit 0 is its last."),
        "held": _captioned(held_by_table, _NUMBERS),
        "sentence": _captioned(sentence_table),
        "interface": interface_table,
        "events": _captioned(events_table),
        "falls": _captioned(falls_table, _ENDS),
        "greed": _captioned(limits_table),
        "limits": _captioned(held_table, _OVER),
        "cves": cves_table,
    }
)
"""Name → table of a view; every cell is text, and ``attrs["caption"]`` says where it is from."""

WHATIFS: Mapping[str, Callable[[View], WhatIf]] = MappingProxyType(
    {"careless": careless, "detection": detection, "blast": blast}
)
"""Name → modelled figure with one slider."""

OUTCOMES: Mapping[str, Outcome] = MappingProxyType(
    {
        "through": Outcome((), _through),
        "flips_privileged": Outcome((), _privileged),
        "sibling_gap_s": Outcome((Platform.VM_DIRECT,), _sibling_gap_s),
        "detection_s": Outcome((Platform.VM_DIRECT,), _detection_s),
        "silent": Outcome((), _silent),
    }
)
"""Name → what a prediction is set beside; ``None`` where it was not measured in one run."""

GRIDS: Mapping[str, Grid] = MappingProxyType(
    {
        "flips": Grid(
            columns=GRID_WORDS,
            rows={name: PROBES[name].says for name in GRID_ROWS},
            find=_turned,
            reasons=_REASONS,
            yes="turns",
            no="stays",
            called="probe",
        )
    }
)
"""Name → a grid that is ticked before it is measured."""
