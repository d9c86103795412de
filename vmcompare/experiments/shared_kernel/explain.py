"""Shared kernel, explained: who shares what, the ladder, and what a patch day costs.

Every function raises ``Unavailable`` where its rows are not there; an outcome is then ``None``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from vmcompare.errors import Unavailable, UnknownName
from vmcompare.evidence.view import MEASURED, NEXT, Outcome, View
from vmcompare.experiments.shared_kernel import ladder
from vmcompare.experiments.shared_kernel.facts import SETTINGS
from vmcompare.experiments.shared_kernel.instances import PHASES
from vmcompare.experiments.shared_kernel.patch_day import patch_day
from vmcompare.experiments.shared_kernel.rows import (
    Instance,
    Ladder,
    Rung,
    answered,
    climbed,
    count,
    fact,
    instances,
    moved,
    provenance,
    settings,
    top,
)
from vmcompare.measuring.experiment import Demo
from vmcompare.plots.grid import Row, changes, sharing
from vmcompare.plots.picture import Picture, WhatIf
from vmcompare.sandbox import EMULATION, SOFTWARE, Launcher, Machine, Platform, Spec

if TYPE_CHECKING:
    import pandas as pd

_HEADINGS = {
    "host": "host", "container A": "cont.\nA", "container B": "cont.\nB",
    "container C": "cont.\nC", "vm-direct": "vm-\ndirect", "vm": "vm",
}  # fmt: skip

_NO_EFFECT = f"The machines ran under {EMULATION}; which kernel answers does not depend on that."


def identity_figure(view: View) -> Picture:
    """Who shares what: equal values of a row have the same letter."""
    found = answered(view)
    rows = [
        Row(
            phase,
            tuple(one.values.get(phase) for one in found),
            tuple(one.key(phase) for one in found),
        )
        for phase in PHASES
    ]
    return sharing(
        [_HEADINGS[one.name] + ("*" if one.elsewhere else "") for one in found],
        rows,
        caption=_caption(
            view,
            found,
            "A namespace's number is compared together with the boot id: equal numbers under two "
            "kernels are two namespaces.",
        ),
        what="Who shares what.",
    )


def ladder_figure(view: View) -> Picture:
    """Rungs from left to right; a filled cell differs from the one before it."""
    return _ladder(climbed(view).rungs, _ladder_caption(view, _KEY))


def identity_table(view: View) -> pd.DataFrame:
    """One row an observation, one column an instance; the last row says where it comes from."""
    import pandas as pd

    answered(view)
    found = instances(view)
    rows = [
        {"observation": phase} | {one.label: one.values.get(phase, "–") for one in found}
        for phase in PHASES
    ]
    rows.append(
        {"observation": "shown"}
        | {
            one.label: ("failed; see above" if one.why else one.shown)
            + (f", {EMULATION}" if one.emulated else "")
            for one in found
        }
    )
    return pd.DataFrame(rows)


def kernels_table(view: View) -> pd.DataFrame:
    """One row a kernel: its release, and who shares it."""
    import pandas as pd

    found = answered(view)
    kernels: dict[str, list[Instance]] = {}
    for one in found:
        kernels.setdefault(one.kernel, []).append(one)
    return pd.DataFrame(
        [
            {
                "kernel (boot id)": boot_id,
                "release": those[0].values.get("kernel release", "–"),
                "answers": ", ".join(one.label for one in those),
                "userlands above it": "; ".join(
                    dict.fromkeys(one.values.get("userland", "–") for one in those)
                ),
                "shown": those[0].shown + (f", {EMULATION}" if those[0].emulated else ""),
            }
            for boot_id, those in kernels.items()
        ]
    )


def ladder_table(view: View) -> pd.DataFrame:
    """One row a rung: the line that was typed, and what it changed."""
    import pandas as pd

    whole = climbed(view)
    found = whole.rungs
    rows = []
    for number, rung in enumerate(found):
        before = next((r for r in reversed(found[:number]) if r.seen), None)
        rows.append(
            {
                "rung": rung.name,
                "line": rung.line or "–",
                "what changed": _moved(before, rung) if before else "–",
                "shown": _climbed_where(whole),
            }
        )
    return pd.DataFrame(rows)


def left_out_table(view: View) -> pd.DataFrame:
    """One row a rung: what comes back when it alone is left out."""
    import pandas as pd

    whole = top(view)
    return pd.DataFrame(
        [
            {
                "left out": name,
                "what differs": _moved(whole, less),
                "shown": _climbed_where(climbed(view)),
            }
            for name, less in climbed(view).less.items()
        ]
    )


def probes_table(view: View) -> pd.DataFrame:
    """What was tried on the shared kernel and on a machine's own, and what became of it."""
    import pandas as pd

    rows = []
    for row in settings(view):
        rows.append(
            {
                "tried": f"set {SETTINGS[row['phase']]}",
                "in": str(row["platform"]),
                "what happened": str(row["text"] or row["error"]),
                "shown": str(row["shown"]) + (f", {EMULATION}" if row["accel"] == SOFTWARE else ""),
            }
        )
    for platform in (Platform.CONTAINER, Platform.VM_DIRECT):
        inside = count(view, platform, "started inside")
        seen = count(view, platform, "in the host’s list")
        if inside is not None and seen is not None:
            rows.append(
                {
                    "tried": f"start {inside:.0f} processes",
                    "in": str(platform),
                    "what happened": f"the host’s list shows {seen:.0f} of them",
                    "shown": provenance(view, "item_count", platform=str(platform)),
                }
            )
    for name, platform, how in (
        ("non_linux_program_boots_in_container", Platform.CONTAINER, "a program"),
        ("non_linux_program_boots_in_vm", Platform.VM_DIRECT, "a disk’s first sector"),
    ):
        ran = fact(view, name)
        if ran is not None:
            said = str(view.values(metric="fact", phase=name)["text"].iloc[0])
            rows.append(
                {
                    "tried": f"start 512 bytes that are not for Linux, as {how}",
                    "in": str(platform),
                    "what happened": said or ("it printed its message" if ran else "nothing"),
                    "shown": provenance(view, "fact", phase=name),
                }
            )
    if not rows:
        raise Unavailable("nothing has been tried on a kernel yet", NEXT)
    return pd.DataFrame(rows)


def _climbed_where(found: Ladder) -> str:
    return found.shown + (f", {EMULATION}" if found.emulated else "")


def _moved(before: Rung, after: Rung) -> str:
    if not after.seen:
        return f"failed: {after.why}"
    names = moved(before.seen, after.seen)
    return "; ".join(f"{n}: {before.seen[n]} → {after.seen[n]}" for n in names) or "nothing"


def _ladder(found: Sequence[Rung], caption: str, against: int | None = None) -> Picture:
    """The grid of rungs; columns behind ``against`` are set beside that one, not the one before."""
    there = [rung for rung in found if rung.seen]
    rows = []
    for name in there[0].seen:
        told = [rung.seen.get(name, ladder.UNKNOWN) for rung in there]
        values = [None if value == ladder.UNKNOWN else value for value in told]
        keys: list[object] = []
        for value in values:  # counts that differ a little are the same value
            same = (k for k in keys if value and ladder.same(name, str(k), value))
            keys.append(next(same, value))
        rows.append(Row(name, tuple(values), tuple(keys)))
    before = [max(0, n - 1) for n in range(len(there))]
    if against is not None:
        before = [min(n, against) for n in before]
    return changes(
        [rung.name for rung in there], rows, caption=caption, before=before,
        what="A container made by hand.",
    )  # fmt: skip


def _ladder_caption(view: View, *extra: str) -> str:
    found = climbed(view)
    failed = [f"{rung.name} ({rung.why})" for rung in found.rungs if not rung.seen]
    words = [f"{view.caption()}." if view.sources else ""]
    if found.emulated:
        words.append(f"Climbed in a guest under {EMULATION}; what a rung hides does not change.")
    elif not found.in_guest:
        words.append("Climbed on the host itself by an ordinary user, beginning with “user”.")
    if failed:
        words.append(f"Rungs that failed: {'; '.join(failed)}.")
    return " ".join([*filter(None, words), *extra])


def _caption(view: View, found: list[Instance], *extra: str) -> str:
    words = [f"{view.caption()}."]
    if any(one.emulated for one in found):
        words.append(_NO_EFFECT)
    if any(one.name == "container C" for one in found):
        words.append("Container C has other files than A and B, those of a second distribution.")
    if any(one.elsewhere for one in found):
        words.append("* Recorded in another run: compare these columns with each other only.")
    words += [f"No answer from {one.name}: {one.why}." for one in instances(view) if one.why]
    if fact(view, "container_boot_id_is_a_hidden_vms"):
        words.append(
            "These containers run in a virtual machine that was started for you (Docker Desktop, "
            "WSL2): they share its kernel with each other, not with the system you see."
        )
    return " ".join([*words, *extra])


def _kernels_among_five(view: View) -> float | None:
    for run_id in dict.fromkeys(one.run_id for one in instances(view)):
        kernels = {
            one.name: one.kernel
            for one in instances(view)
            if one.run_id == run_id and one.kernel and one.name != "container C"
        }
        if len(kernels) == 5:
            return float(len(set(kernels.values())))
    return None


def _rungs_that_matter(view: View) -> float | None:
    try:
        there = [rung for rung in climbed(view).rungs if rung.seen]
    except Unavailable:
        return None
    if len(there) <= len(ladder.RUNGS):
        return None
    return float(sum(bool(moved(one.seen, other.seen)) for one, other in pairwise(there)))


def _climb_now(launchers: Mapping[Platform, Launcher], options: Mapping[str, Any]) -> Picture:
    """The ladder with and without a rung, in a guest of its own."""
    rung = _chosen(options)
    spec = Spec(machine=Machine.PC)
    launcher = launchers[Platform.VM_DIRECT]
    less = ladder.without(rung)
    climbs = (ladder.Climb(ladder.START, ()), ladder.Climb("all seven", ladder.RUNGS), less)
    with launcher.open(spec, lambda _: None) as box:
        ladder.prepare(box)
        seen = {c.name: ladder.climb(box, ladder.GUEST, c) for c in climbs}
    found = [Rung(name, one.pop(ladder.LINE), one) for name, one in seen.items()]
    emulated = launcher.traits(spec).emulated
    where = f", in a guest under {EMULATION}" if emulated else ", in a guest"
    typed = f"The last line was: {ladder.line(less.rungs)}"
    return _ladder(found, f"{MEASURED} just now{where}. {typed}. {_BESIDE}", against=1)


def _climb_again(view: View) -> Picture:
    """The same from rows, with every rung left out once."""
    found = climbed(view)
    there = [found.rungs[0], Rung("all rungs", "", top(view).seen)]
    there += found.less.values()
    return _ladder(there, _ladder_caption(view, _BESIDE), against=1)


_KEY = (
    "unshare -m: new namespace of mounts, -p: processes, -n: network, -U: users. Nested processes: "
    "of twenty shells, each started inside the one before."
)

_BESIDE = "From the third column on, a filled cell differs from the one with all rungs."


def _chosen(options: Mapping[str, Any]) -> str:
    rung = str(options.get("without", "pid"))
    if rung not in ladder.RUNGS:
        raise UnknownName("rung", rung, ladder.RUNGS)
    return rung


FIGURES: Mapping[str, Callable[[View], Picture]] = MappingProxyType(
    {"identity": identity_figure, "ladder": ladder_figure}
)
"""Name → figure of a view."""

TABLES: Mapping[str, Callable[[View], pd.DataFrame]] = MappingProxyType(
    {
        "identity": identity_table,
        "kernels": kernels_table,
        "ladder": ladder_table,
        "left_out": left_out_table,
        "probes": probes_table,
    }
)
"""Name → table of a view; every cell is text."""

WHATIFS: Mapping[str, Callable[[View], WhatIf]] = MappingProxyType({"patch_day": patch_day})
"""Name → modelled figure with one slider."""

OUTCOMES: Mapping[str, Outcome] = MappingProxyType(
    {
        "kernels": Outcome((Platform.PROCESS, Platform.CONTAINER), _kernels_among_five),
        "seen_by_host": Outcome(
            (Platform.CONTAINER,),
            lambda view: count(view, Platform.CONTAINER, "in the host’s list"),
        ),
        "rungs": Outcome((Platform.PROCESS,), _rungs_that_matter),
    }
)
"""Name → what a prediction is set beside (counts); ``None`` where it was not seen in one run."""

DEMOS: Mapping[str, Demo] = MappingProxyType(
    {"ladder": Demo((Platform.VM_DIRECT,), _climb_now, _climb_again)}
)
"""``ladder``, with ``without="pid"`` or any other rung."""
