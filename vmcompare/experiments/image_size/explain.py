"""Image size, explained: what a lesson draws, tabulates and models from a view of its rows.

Every function raises ``Unavailable`` where its rows are not there; an outcome is then ``None``.
How long a transfer takes is modelled: ``v`` bits a second carry ``n`` copies of ``B`` bytes in
``n · 8 · B / v`` seconds. Protocols, latency, several senders and caches on the way are left out;
they change the time, not which technique sends more.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from vmcompare.evidence.published import load_figures
from vmcompare.evidence.units import MIB, ratio, size
from vmcompare.evidence.view import Column, View, absent, failures, mixed
from vmcompare.experiments.explanation import Explanation, Row, Values
from vmcompare.experiments.image_size.categories import CATEGORIES
from vmcompare.experiments.image_size.measure import (
    ALLOCATED,
    COMPRESSED,
    COPIED_FILE,
    GROWN,
    SECOND,
    SHARED,
    UNIQUE,
    UPDATE,
    VIRTUAL,
    WRITTEN,
)
from vmcompare.plots.dots import Dot, sizes, sliding_dots
from vmcompare.plots.picture import Picture, WhatIf
from vmcompare.plots.stack import Whole, stack
from vmcompare.sandbox import Platform

KINDS: Mapping[str, str] = {
    VIRTUAL: "virtual: its size seen from inside",
    ALLOCATED: "allocated: on this computer’s disk",
    COMPRESSED: "compressed: sent to a new computer",
    UNIQUE: "unique: on disk, for one more application",
}
"""Phase → what that size is."""

OCCASIONS: Mapping[str, str] = {
    "The first time: nothing is there yet": COMPRESSED,
    "A second application: its base is there": SECOND,
    "An update: its older version is there": UPDATE,
}
"""On what occasion something is sent → phase of its size."""

WAYS: Mapping[Platform, str] = {
    Platform.VM_DIRECT: "archive apart",
    Platform.VM: "on a backing file",
}
"""How a VM shares a base, in words."""

PLACES: Mapping[Platform, str] = {
    Platform.CONTAINER: "a container",
    Platform.VM: "a VM, by hand",
}
"""Where one byte was written."""

COPIED: Mapping[str, str] = {
    WRITTEN: "written by the program",
    COPIED_FILE: "size of the file it belongs to, {path}",
    GROWN: "growth of the upper layer",
}
"""Phase → what was counted."""

NODES, LINK_MBIT_S = 20, 100.0
"""Computers that are sent a copy, and the speed in Mbit/s at which the slider starts."""

_DIGITS = 10
"""Of a digest in a table: enough to tell them apart, few enough for seven columns on a page."""

explained = Explanation[View]()


# ---- what is in an image ------------------------------------------------------------------------


@explained.figure("contents")
def contents(view: View) -> Picture:
    """The files of each image, by category."""
    found = _images(view)
    both = mixed(found)
    wholes = [
        Whole(column.label(mixed=both), {name: _sum(column, [name]) or 0.0 for name in CATEGORIES})
        for column in found
    ]
    what = "What is in each image: bytes of files by category, before compression"
    return stack(wholes, what=what, caption=_caption(view, "part_bytes"))


@explained.table("pieces", lacking="piece of an image")
def pieces(view: View) -> Iterator[Row]:
    """One row a piece: the start of its digest on each occasion, and whether it is sent again."""
    for column in view.need("part_bytes", "piece of an image"):
        named: dict[str, dict[str, str]] = {}
        for phase, digest in column.texts().items():
            if phase.startswith("piece "):
                occasion, _, piece = phase.removeprefix("piece ").partition(": ")
                named.setdefault(piece, {})[occasion] = digest.removeprefix("sha256:")[:_DIGITS]
        for piece, digests in named.items():
            yield {
                "series": column.series.label,
                "piece": piece,
                "first application": digests.get("whole", "–"),
                "second": digests.get(SECOND, "–"),
                "update": digests.get(UPDATE, "–"),
                "sent again": "no" if len(set(digests.values())) == 1 else "yes",
                "provenance": column.provenance,
            }


@explained.values("one_byte")
def _one_byte(view: View) -> Values:
    """What is sent for the application alone, in the model answer of that exercise."""
    if not (sent := _bytes(view, Platform.CONTAINER, SECOND)):
        raise absent(f"{SECOND} size of {Platform.CONTAINER}")
    return {"sent": size(sent)}


@explained.table("copy_up", lacking="copy-up")
def copy_up(view: View) -> Iterator[Row]:
    """One byte appended to a file of the base: where, and what the upper layer grows by."""
    for column in view.columns("part_bytes"):
        for phase, path in column.texts().items():
            if phase in COPIED:
                yield {
                    "where": PLACES.get(column.series.platform, column.series.label),
                    "what": COPIED[phase].format(path=path),
                    "bytes": f"{column.medians()[phase]:,.0f}",
                    "provenance": column.provenance,
                }


# ---- how large it is ----------------------------------------------------------------------------


@explained.figure("shipped")
def shipped(view: View) -> Picture:
    """What is sent on three occasions; hollow: over a base that is shared by an extra step."""
    caption = _caption(view, "image_bytes")
    return sizes(_panels(view, OCCASIONS), what="What is sent", caption=caption)


@explained.table("sizes")
def sizes_by_kind(view: View) -> Iterator[Row]:
    """One row a size: bytes on each platform, VM ÷ container."""
    found = view.need("image_bytes", "image")
    both = mixed(found)

    def row(name: str, phases: Mapping[Platform, str]) -> Row:
        values = {column: column.medians().get(phases[column.series.platform]) for column in found}
        times = _vm_over_container(values)
        return {
            "size": name,
            **{column.label(mixed=both): _size(value) for column, value in values.items()},
            "vm ÷ container": ratio(times) if times else "–",
            "provenance": _provenance(found),
        }

    for phase, name in KINDS.items():
        yield row(name, dict.fromkeys(Platform, phase))
    for phase, name in {SECOND: "a second application", UPDATE: "an update"}.items():
        shared = {platform: _shared(phase, platform) for platform in Platform}
        yield row(f"sent for {name}", dict.fromkeys(Platform, phase))
        yield row(f"sent for {name}, base shared", shared)


@explained.table("real")
def real_images(view: View) -> Iterator[Row]:
    """Our images above some that people download: bytes as sent; only sources that were read."""
    for column in view.need("image_bytes", "image"):
        if column.series.platform is not Platform.VM_DIRECT:
            yield {
                "image": f"ours: {column.series.label}",
                "sent": _size(column.medians().get(COMPRESSED)),
                "date": "–",
                "provenance": column.provenance,
            }
    for figure in load_figures():
        if figure.metric == "image_download" and figure.checked:
            yield {
                "image": figure.system,
                "sent": size(float(figure.value)),
                "date": figure.conditions,
                "provenance": f"literature: {figure.short}",
            }


# ---- what it means on a line --------------------------------------------------------------------


@explained.whatif("transfer")
def transfer(view: View) -> WhatIf:
    """To twenty computers over a line of 1 Mbit/s to 10 Gbit/s: the first time, and an update."""
    titles = {
        f"The first time, to {NODES} computers": COMPRESSED,
        f"An update, to {NODES} computers": UPDATE,
    }
    # Of the ways to share a base only the backing file is modelled, as everybody has it.
    shown = {
        title: [dot for dot in dots if not dot.hollow or dot.series.platform is Platform.VM]
        for title, dots in _panels(view, titles).items()
    }

    def at(dot: Dot, link_mbit_s: float) -> Dot:
        value_s = time_s(NODES, dot.value, link_mbit_s)
        return replace(dot, value=value_s, text=duration(value_s))

    return sliding_dots(
        lambda link: {title: [at(dot, link) for dot in dots] for title, dots in shown.items()},
        [float(f"{10 ** (step / 5):.2g}") for step in range(21)],
        start=LINK_MBIT_S,
        said="A line of {:g} Mbit/s.",
        placeholders={"source": view.caption()},
    )


def time_s(copies: float, sent_bytes: float, link_mbit_s: float) -> float:
    """Seconds in which a line carries ``copies`` of ``sent_bytes``: n · 8 · B / v."""
    return copies * 8 * sent_bytes / (link_mbit_s * 1e6)


def duration(value_s: float) -> str:
    """A duration in the unit that suits it, up to days, three significant figures."""
    for unit, factor in (("days", 86_400.0), ("h", 3600.0), ("min", 60.0), ("s", 1.0)):
        if value_s >= factor:
            return f"{ratio(value_s / factor).rstrip('×')} {unit}"
    return f"{ratio(value_s * 1000).rstrip('×')} ms"


# ---- outcomes -----------------------------------------------------------------------------------


@explained.outcome("container_mib", Platform.CONTAINER)
def _container_mib(view: View) -> float | None:
    found = _bytes(view, Platform.CONTAINER, COMPRESSED)
    return found / MIB if found else None


@explained.outcome("vm_update_mib", Platform.VM)
def _vm_update_mib(view: View) -> float | None:
    found = _bytes(view, Platform.VM, UPDATE)
    return found / MIB if found else None


@explained.outcome("vm_over_container", Platform.VM, Platform.CONTAINER)
def _compressed_vm_over_container(view: View) -> float | None:
    found = view.columns("image_bytes")
    return _vm_over_container({column: column.medians().get(COMPRESSED) for column in found})


def _bytes(view: View, platform: Platform, phase: str) -> float | None:
    found = view.columns("image_bytes", platform=platform, phase=phase)
    return found[0].median.estimate if found else None


def _vm_over_container(values: Mapping[Column, float | None]) -> float | None:
    """Within one run: bytes are exact, but images differ from run to run."""
    below = {
        column.run_id: value
        for column, value in values.items()
        if column.series.platform is Platform.CONTAINER
    }
    for column, value in values.items():
        base = below.get(column.run_id)
        if column.series.platform is Platform.VM and value and base:
            return value / base
    return None


# ---- what they are made of ----------------------------------------------------------------------


def _images(view: View) -> Sequence[Column]:
    """Everything of which parts were weighed."""
    found = [column for column in view.columns("part_bytes") if _sum(column, CATEGORIES)]
    if not found:
        raise absent("image")
    return found


def _sum(column: Column, counted: Iterable[str]) -> float | None:
    """Bytes of these categories together; ``None`` where none of them was weighed."""
    parts = column.medians()
    there = [parts[name] for name in counted if name in parts]
    return sum(there) if there else None


def _shared(phase: str, platform: Platform) -> str:
    """The phase of the same occasion over a shared base; a container has only the one way."""
    return f"{phase}-{SHARED[platform]}" if platform in SHARED else phase


def _panels(view: View, titles: Mapping[str, str]) -> Mapping[str, Sequence[Dot]]:
    """Title → bytes of its phase, each series; then, hollow, those over a shared base."""
    found = view.need("image_bytes", "image")
    both = mixed(found)
    panels: dict[str, list[Dot]] = {}
    for title, phase in titles.items():
        usual, shared = [], []
        for column in found:
            series, weighed = column.series, column.medians()
            label = column.label(mixed=both)
            if value := weighed.get(phase):
                usual.append(Dot(series, label, value, size(value)))
            other = _shared(phase, series.platform)
            if other != phase and (value := weighed.get(other)):
                way = f"{series.label}, {WAYS[series.platform]}"
                label = label.replace(series.label, way)
                shared.append(Dot(series, label, value, size(value), hollow=True))
        if usual or shared:
            panels[title] = [*usual, *shared]
    if not panels:
        raise absent("size of an image")
    return panels


def _size(value: float | None) -> str:
    return "–" if value is None else size(value)


def _provenance(found: Sequence[Column]) -> str:
    return " and ".join(dict.fromkeys(column.provenance for column in found))


def _caption(view: View, metric: str) -> str:
    """Provenance and failures. Exact counts need no more than one run, so no doubt is raised."""
    failed = failures(view.columns(metric, failed_too=True))
    return f"{view.caption()}." + (f" Failed, and not drawn: {failed}." if failed else "")
