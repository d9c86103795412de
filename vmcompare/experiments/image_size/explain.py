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
from vmcompare.evidence.view import Column, Outcome, View, absent, failures, mixed
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
from vmcompare.plots.dots import Dot, sizes
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
    wholes = [Whole(column.label(mixed=both), _parts(column)) for column in found]
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
        row |= {column.label(mixed=both): _size(column.medians().get(name)) for column in found}
        row["starts a computer"] = "yes" if name in categories.ONLY_A_MACHINE else ""
        row["provenance"] = _provenance(found)
        rows.append(row)
    for name, counted in _TOTALS.items():
        row = {"category": name}
        for column in found:
            parts = _parts(column)
            row[column.label(mixed=both)] = size(sum(parts[part] for part in counted))
        rows.append(row | {"starts a computer": "", "provenance": _provenance(found)})
    return pd.DataFrame(rows)


def sizes_figure(view: View) -> Picture:
    """Four sizes of one box: virtual, allocated, compressed, unique."""
    found = _weighed(view)
    both = mixed(found)
    panels = {}
    for phase, title in KINDS.items():
        row = [_dot(column, phase, both) for column in found]
        panels[title[:1].upper() + title[1:]] = [dot for dot in row if dot]
    note = ""
    if any(column.series.platform is Platform.VM for column in found):
        note = " The vm’s disk is compressed by its makers, so it may occupy less than its files."
    return _dots(panels, "Four sizes of the same box", _caption(view, "image_bytes") + note)


def shipped_figure(view: View) -> Picture:
    """What is sent on three occasions; hollow: where a machine shares its base."""
    found = _weighed(view)
    both = mixed(found)
    panels = {}
    for phase, title in OCCASIONS.items():
        row = [_dot(column, phase, both) for column in found]
        row += [_dot(column, _thin(phase, column), both, hollow=True) for column in found]
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
    for column in view.need("part_bytes", "piece of a box"):
        named: dict[str, dict[str, str]] = {}
        for phase, text in column.texts().items():
            if phase.startswith("piece "):
                occasion, _, piece = phase.removeprefix("piece ").partition(": ")
                named.setdefault(piece, {})[occasion] = text.removeprefix("sha256:")[:_DIGITS]
        for piece, digests in named.items():
            rows.append(
                {
                    "series": column.series.label,
                    "piece": piece,
                    "first application": digests.get("whole", "–"),
                    "second": digests.get(SECOND, "–"),
                    "update": digests.get(UPDATE, "–"),
                    "sent again": "no" if len(set(digests.values())) == 1 else "yes",
                    "provenance": column.shown,
                }
            )
    if not rows:
        raise absent("piece of a box")
    return pd.DataFrame(rows)


def copy_up_table(view: View) -> pd.DataFrame:
    """One byte appended to a file of the base: where, and what the upper layer grows by (text)."""
    import pandas as pd

    rows = []
    for column in view.columns("part_bytes"):
        path = column.texts().get(copy_up.PHASES[0])
        values = [column.medians().get(phase) for phase in copy_up.PHASES]
        place = copy_up.PLACES.get(column.series.platform)
        if place and path and None not in values:
            words = (
                "written by the program",
                f"size of the file it belongs to, {path}",
                "growth of the upper layer",
            )
            rows += [
                {"where": place, "what": what, "bytes": f"{value:,.0f}", "provenance": column.shown}
                for what, value in zip(words, values, strict=True)
            ]
    if not rows:
        raise absent("copy-up")
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
        raise absent("fact about boxes")
    return pd.DataFrame(rows)


def _boxes(view: View) -> list[Column]:
    found = [
        column
        for column in view.columns("part_bytes")
        if column.series.platform.is_vm or column.series.platform is Platform.CONTAINER
        if any(_parts(column).values())
    ]
    if not found:
        raise absent("box")
    return found


def _weighed(view: View) -> Sequence[Column]:
    return view.need("image_bytes", "box")


def _parts(column: Column) -> Mapping[str, float]:
    weighed = column.medians()
    return {name: weighed.get(name, 0.0) for name in categories.CATEGORIES}


def _thin(phase: str, column: Column) -> str:
    """The phase of the same occasion over a shared base; a container has only the one way."""
    way = THIN.get(column.series.platform)
    return f"{phase}-{way}" if way else ""


def _dot(column: Column, phase: str, both: bool, *, hollow: bool = False) -> Dot | None:
    value = column.medians().get(phase)
    if not value:
        return None
    way = f", {WAYS[column.series.platform]}" if hollow else ""
    label = column.label(mixed=both)
    label = label.replace(column.series.label, column.series.label + way)
    return Dot(column.series, label, value, size(value), hollow)


def _dots(panels: Mapping[str, Sequence[Dot]], what: str, caption: str) -> Picture:
    filled = {title: found for title, found in panels.items() if found}
    if not filled:
        raise absent("size of a box")
    return sizes(filled, what=what, caption=caption)


def _sizes_row(
    found: Sequence[Column], name: str, both: bool, phases: Mapping[Platform, str]
) -> dict[str, str]:
    row = {"size": name}
    values = {}
    for column in found:
        value = column.medians().get(phases.get(column.series.platform))
        row[column.label(mixed=both)] = _size(value)
        values[column.series.platform, column.run_id] = value
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


def _provenance(found: Sequence[Column]) -> str:
    return " and ".join(dict.fromkeys(column.shown for column in found))


def _caption(view: View, metric: str) -> str:
    """Provenance and failures. Exact counts need no more than one run, so no doubt is raised."""
    failed = failures(view.columns(metric, failed_too=True))
    tail = f" Failed, and not drawn: {failed}." if failed else ""
    return f"{view.caption()}. Bytes of files, counted exactly; no emulation plays a part.{tail}"


def value_of(view: View, platform: Platform, phase: str) -> float:
    """One size in bytes, for exercises.

    Raises:
        Unavailable: it is not among the rows shown.
    """
    for column in view.columns("image_bytes"):
        if column.series.platform is platform and (value := column.medians().get(phase)):
            return value
    raise absent(f"{phase} size of {platform}")


def _mib(platform: Platform, phase: str) -> Callable[[View], float | None]:
    def find(view: View) -> float | None:
        try:
            return value_of(view, platform, phase) / MIB
        except Unavailable:
            return None

    return find


def _vm_over_container(view: View) -> float | None:
    """Within one run only; both ways of counting are the same everywhere, but runs are not."""
    found = {column.series.platform: column for column in view.columns("image_bytes")}
    vm, container = found.get(Platform.VM), found.get(Platform.CONTAINER)
    if not vm or not container or vm.run_id != container.run_id:
        return None
    above, below = vm.medians().get(COMPRESSED), container.medians().get(COMPRESSED)
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
