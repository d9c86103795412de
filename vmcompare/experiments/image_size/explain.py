"""Image size, explained: what a lesson draws, tabulates and asks for, from a view of its rows.

Rows as :mod:`.measure` lists them. Every function raises ``Unavailable`` where its rows are not
there; an outcome is then ``None``. No row was made by running a virtual machine, so none is marked
as emulated; were one, its label would say so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING

from vmcompare.errors import Unavailable
from vmcompare.evidence.units import MIB, ratio, size
from vmcompare.evidence.view import Outcome, View
from vmcompare.experiments.image_size import categories, copy_up
from vmcompare.experiments.image_size.measure import (
    ALLOCATED,
    COMPRESSED,
    NAMED_BY_TAR,
    SECOND,
    THIN,
    UNIQUE,
    UPDATE,
    VIRTUAL,
)
from vmcompare.experiments.image_size.models import nodes, transfer, week
from vmcompare.plots.dots import Dot, dots
from vmcompare.plots.groups import Group, groups, mixed, need
from vmcompare.plots.picture import Picture, WhatIf
from vmcompare.plots.stack import Whole, stack
from vmcompare.sandbox import Platform

if TYPE_CHECKING:
    import pandas as pd

KINDS: Mapping[str, str] = MappingProxyType(
    {
        VIRTUAL: "virtual: its size seen from inside",
        ALLOCATED: "allocated: on this computer’s disk",
        COMPRESSED: "compressed: sent to a new computer",
        UNIQUE: "unique: on disk, for one application more",
    }
)
"""Phase → what that size is."""

OCCASIONS: Mapping[str, str] = MappingProxyType(
    {
        COMPRESSED: "The first time: nothing is there yet",
        SECOND: "A second application: its base is there",
        UPDATE: "An update: its older version is there",
    }
)
"""Phase → on what occasion that much is sent."""

WAYS: Mapping[Platform, str] = MappingProxyType(
    {Platform.VM_DIRECT: "archive apart", Platform.VM: "on a backing file"}
)
"""In words: how a machine shares a base."""

FACTS: Mapping[str, str] = MappingProxyType(
    {
        "musl_program_fails_on_host": "Alpine’s busybox, linked to its C library musl, fails as a "
        "process of the host",
        "musl_program_runs_in_container": "the same busybox runs in the container",
        NAMED_BY_TAR: "the engine names the base layer by the SHA-256 of our tar",
    }
)
"""Name of a fact → what it says."""

_TOTALS: Mapping[str, Sequence[str]] = MappingProxyType(
    {
        "all together": categories.CATEGORIES,
        "of these: starts a computer": categories.ONLY_A_MACHINE,
    }
)
"""Row of the table of categories → what is added up."""

_READ = 26
"""Characters of what was read that a table shows: an error of the system, or a digest's start."""

_DIGITS = 10
"""Of a digest in a table: enough to tell them apart, few enough for seven columns on a page."""


def box_figure(view: View) -> Picture:
    """What is in each box, by category."""
    found = _boxes(view)
    both = mixed(found)
    wholes = [Whole(group.label(mixed=both), _parts(group)) for group in found]
    return stack(
        wholes,
        what="What is in the box: bytes of files by category, before compression",
        caption=_caption(view, "part_bytes"),
    )


def box_table(view: View) -> pd.DataFrame:
    """One row a category: bytes on each platform, what only a machine needs, provenance (text).

    Below them two totals: everything, and what starts a computer.
    """
    import pandas as pd

    found = _boxes(view)
    both = mixed(found)
    rows = []
    for name in categories.CATEGORIES:
        row = {"category": name}
        row |= {group.label(mixed=both): _size(_phase(group, name)) for group in found}
        row["starts a computer"] = "yes" if name in categories.ONLY_A_MACHINE else ""
        row["provenance"] = _provenance(found)
        rows.append(row)
    for name, counted in _TOTALS.items():
        row = {"category": name}
        for group in found:
            parts = _parts(group)
            row[group.label(mixed=both)] = size(sum(parts[part] for part in counted))
        rows.append(row | {"starts a computer": "", "provenance": _provenance(found)})
    return pd.DataFrame(rows)


def sizes_figure(view: View) -> Picture:
    """Four sizes of one box: virtual, allocated, compressed, unique."""
    found = _weighed(view)
    both = mixed(found)
    panels = {}
    for phase, title in KINDS.items():
        row = [_dot(group, phase, both) for group in found]
        panels[title[:1].upper() + title[1:]] = [dot for dot in row if dot]
    note = ""
    if any(group.series.platform is Platform.VM for group in found):
        note = " The vm’s disk is compressed by its makers, so it may occupy less than its files."
    return _dots(panels, "Four sizes of the same box", _caption(view, "image_bytes") + note)


def shipped_figure(view: View) -> Picture:
    """What is sent on three occasions; hollow: where a machine shares its base."""
    found = _weighed(view)
    both = mixed(found)
    panels = {}
    for phase, title in OCCASIONS.items():
        row = [_dot(group, phase, both) for group in found]
        row += [_dot(group, _thin(phase, group), both, hollow=True) for group in found]
        panels[title] = [dot for dot in row if dot]
    note = "Compressed with gzip level 6. Hollow: a base that is shared by an extra step."
    return _dots(panels, "What is sent", f"{_caption(view, 'image_bytes')} {note}")


def sizes_table(view: View) -> pd.DataFrame:
    """One row a size: bytes on each platform, VM ÷ container, provenance (all text)."""
    import pandas as pd

    found = _weighed(view)
    both = mixed(found)
    names = dict(KINDS)
    names |= {SECOND: "sent for a second application", UPDATE: "sent for an update"}
    rows = []
    for phase, name in names.items():
        rows.append(_sizes_row(found, name, both, dict.fromkeys(Platform, phase)))
        if phase in (SECOND, UPDATE):
            thin = {p: f"{phase}-{way}" for p, way in THIN.items()} | {Platform.CONTAINER: phase}
            rows.append(_sizes_row(found, f"{name}, base shared", both, thin))
    return pd.DataFrame(rows)


def pieces_table(view: View) -> pd.DataFrame:
    """One row a piece: the start of its digest on each occasion, and whether it stays (text)."""
    import pandas as pd

    rows = []
    for group in need(view, "part_bytes", "piece of a box"):
        pieces = group.rows[group.rows["phase"].str.startswith("piece ")]
        named: dict[str, dict[str, str]] = {}
        for row in pieces.to_dict("records"):
            occasion, _, piece = str(row["phase"]).removeprefix("piece ").partition(": ")
            digest = str(row["text"]).removeprefix("sha256:")[:_DIGITS]
            named.setdefault(piece, {})[occasion] = digest
        for piece, digests in named.items():
            rows.append(
                {
                    "series": group.series.label,
                    "piece": piece,
                    "first application": digests.get("whole", "–"),
                    "second": digests.get(SECOND, "–"),
                    "update": digests.get(UPDATE, "–"),
                    "sent again": "no" if len(set(digests.values())) == 1 else "yes",
                    "provenance": group.shown,
                }
            )
    if not rows:
        raise _nothing("piece of a box")
    return pd.DataFrame(rows)


def copy_up_table(view: View) -> pd.DataFrame:
    """One byte appended to a file of the base: where, and what the upper layer grows by (text)."""
    import pandas as pd

    rows = []
    for group in groups(view, "part_bytes"):
        path = next(iter(group.rows.loc[group.rows["phase"] == copy_up.PHASES[0], "text"]), "")
        values = [_phase(group, phase) for phase in copy_up.PHASES]
        place = copy_up.PLACES.get(group.series.platform)
        if place and path and None not in values:
            words = (
                "written by the program",
                f"size of the file it belongs to, {path}",
                "growth of the upper layer",
            )
            rows += [
                {"where": place, "what": what, "bytes": f"{value:,.0f}", "provenance": group.shown}
                for what, value in zip(words, values, strict=True)
            ]
    if not rows:
        raise _nothing("copy-up")
    return pd.DataFrame(rows)


def facts_table(view: View) -> pd.DataFrame:
    """One row a fact: what was tried, whether it held, what the system said, provenance (text)."""
    import pandas as pd

    found = view.values(metric="fact")
    rows = []
    for name, words in FACTS.items():
        for row in found[found["phase"] == name].to_dict("records"):
            rows.append(
                {
                    "what was tried": words,
                    "true": "yes" if row["value"] else "no",
                    "what was read": str(row["text"] or "–").replace("sha256:", "")[:_READ],
                    "provenance": str(row["shown"]),
                }
            )
    if not rows:
        raise _nothing("fact about boxes")
    return pd.DataFrame(rows)


def _boxes(view: View) -> list[Group]:
    found = [
        group
        for group in groups(view, "part_bytes")
        if group.series.platform.is_vm or group.series.platform is Platform.CONTAINER
        if any(_parts(group).values())
    ]
    if not found:
        raise _nothing("box")
    return found


def _weighed(view: View) -> list[Group]:
    return [group for group in need(view, "image_bytes", "box") if len(group.rows)]


def _parts(group: Group) -> Mapping[str, float]:
    return {name: _phase(group, name) or 0.0 for name in categories.CATEGORIES}


def _phase(group: Group, phase: str) -> float | None:
    """The median of a group's values of one phase; exact counts are all the same."""
    values = group.rows.loc[group.rows["phase"] == phase, "value"]
    return float(values.median()) if len(values) else None


def _thin(phase: str, group: Group) -> str:
    """The phase of the same occasion over a shared base; a container has only the one way."""
    way = THIN.get(group.series.platform)
    return f"{phase}-{way}" if way else ""


def _dot(group: Group, phase: str, both: bool, *, hollow: bool = False) -> Dot | None:
    value = _phase(group, phase)
    if not value:
        return None
    way = f", {WAYS[group.series.platform]}" if hollow else ""
    label = group.label(mixed=both)
    return Dot(group.series, label.replace(group.series.label, group.series.label + way), value,
               hollow)  # fmt: skip


def _dots(panels: Mapping[str, Sequence[Dot]], what: str, caption: str) -> Picture:
    filled = {title: found for title, found in panels.items() if found}
    if not filled:
        raise _nothing("size of a box")
    return dots(filled, what=what, caption=caption)


def _sizes_row(
    found: Sequence[Group], name: str, both: bool, phases: Mapping[Platform, str]
) -> dict[str, str]:
    row = {"size": name}
    values = {}
    for group in found:
        value = _phase(group, phases.get(group.series.platform, ""))
        row[group.label(mixed=both)] = _size(value)
        values[group.series.platform, group.run_id] = value
    times = [
        value / below
        for (platform, run), value in values.items()
        if platform is Platform.VM and value and (below := values.get((Platform.CONTAINER, run)))
    ]
    row["vm ÷ container"] = ratio(times[0]) if times else "–"
    row["provenance"] = _provenance(found)
    return row


def _size(value: float | None) -> str:
    return "–" if value is None else size(value)


def _provenance(found: Sequence[Group]) -> str:
    return " and ".join(dict.fromkeys(group.shown for group in found))


def _caption(view: View, metric: str) -> str:
    """Provenance and failures. Exact counts need no more than one run, so no doubt is raised."""
    everyone = groups(view, metric)
    failed = [f"{group.series.label} {group.failed}" for group in everyone if group.failed]
    tail = f" Failed, and not drawn: {', '.join(failed)}." if failed else ""
    return f"{view.caption()}. Bytes of files, counted exactly; no emulation plays a part.{tail}"


def _nothing(what: str) -> Unavailable:
    return Unavailable(
        f"there is no {what} to show", "run the measurement, or load a recording of it"
    )


def value_of(view: View, platform: Platform, phase: str) -> float:
    """One size in bytes, for exercises.

    Raises:
        Unavailable: it is not among the rows shown.
    """
    for group in groups(view, "image_bytes"):
        if group.series.platform is platform and (value := _phase(group, phase)):
            return value
    raise _nothing(f"{phase} size of {platform}")


def _mib(platform: Platform, phase: str) -> Callable[[View], float | None]:
    def find(view: View) -> float | None:
        try:
            return value_of(view, platform, phase) / MIB
        except Unavailable:
            return None

    return find


def _vm_over_container(view: View) -> float | None:
    """Within one run only; both ways of counting are the same everywhere, but runs are not."""
    found = {g.series.platform: g for g in groups(view, "image_bytes")}
    vm, container = found.get(Platform.VM), found.get(Platform.CONTAINER)
    if not vm or not container or vm.run_id != container.run_id:
        return None
    above, below = _phase(vm, COMPRESSED), _phase(container, COMPRESSED)
    return above / below if above and below else None


FIGURES: Mapping[str, Callable[[View], Picture]] = MappingProxyType(
    {"box": box_figure, "sizes": sizes_figure, "shipped": shipped_figure}
)
"""Name → figure of a view."""

TABLES: Mapping[str, Callable[[View], pd.DataFrame]] = MappingProxyType(
    {"box": box_table, "sizes": sizes_table, "pieces": pieces_table, "copy_up": copy_up_table,
     "facts": facts_table}
)  # fmt: skip
"""Name → table of a view; every cell is text."""

WHATIFS: Mapping[str, Callable[[View], WhatIf]] = MappingProxyType(
    {"transfer": transfer, "nodes": nodes, "week": week}
)
"""Name → modelled figure with one slider."""

OUTCOMES: Mapping[str, Outcome] = MappingProxyType(
    {
        "container_mib": Outcome((Platform.CONTAINER,), _mib(Platform.CONTAINER, COMPRESSED)),
        "vm_over_container": Outcome((Platform.VM, Platform.CONTAINER), _vm_over_container),
        "vm_update_mib": Outcome((Platform.VM,), _mib(Platform.VM, UPDATE)),
    }
)
"""Name → what a prediction is set beside (MiB, ratio, MiB); ``None`` where not measured."""
