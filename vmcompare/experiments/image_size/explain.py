"""Image size, explained: what a lesson draws, tabulates and models from a view of its rows.

Every function raises ``Unavailable`` where its rows are not there; an outcome is then ``None``.
How long a transfer takes is modelled: ``v`` bits a second carry ``n`` copies of ``B`` bytes in
``n · 8 · B / v`` seconds. Protocols, latency, several senders and caches on the way are left out;
they change the time, not which technique sends more.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial

from vmcompare.evidence.published import load_figures
from vmcompare.evidence.units import MIB, ratio, seconds, size
from vmcompare.evidence.view import View, absent, failures, mixed
from vmcompare.experiments.explanation import Explanation, Row
from vmcompare.experiments.image_size.measure import (
    ALLOCATED,
    CATEGORIES,
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
from vmcompare.plots.marks import Dot, amounts, sliding_dots
from vmcompare.plots.picture import Picture, WhatIf
from vmcompare.plots.stack import Whole, stack
from vmcompare.sandbox import Platform

KINDS: Mapping[str, str] = {
    VIRTUAL: "virtual: bytes of its files; of vm the disk it sees, full or not",
    ALLOCATED: "allocated: on this computer’s disk",
    COMPRESSED: "compressed: sent to a new computer",
    UNIQUE: "unique: on disk, for one more application over a shared base",
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

COPIED: Mapping[str, str] = {
    WRITTEN: "written by the program, at the end of the file",
    COPIED_FILE: "size of the file it belongs to, {path}",
    GROWN: "growth of the upper layer, as length of its files",
}
"""Phase → what was counted."""

NODES, LINK_MBIT_S = 20, 100.0
"""Computers that are sent a copy, and the speed in Mbit/s at which the slider starts."""

explained = Explanation[View]()


# ---- what is in an image ------------------------------------------------------------------------


@explained.figure("contents")
def contents(view: View) -> Picture:
    """The files of each image, by category."""
    found = [c for c in view.columns("part_bytes") if c.medians().keys() & set(CATEGORIES)]
    if not found:
        raise absent("image")
    both = mixed(found)
    wholes = [
        Whole(c.label(mixed=both), {name: c.medians().get(name, 0.0) for name in CATEGORIES})
        for c in found
    ]
    what = "What is in each image: bytes of files by category, before compression"
    return stack(wholes, what=what, caption=_caption(view, "part_bytes"))


@explained.table("copy_up", lacking="copy-up")
def copy_up(view: View) -> Iterator[Row]:
    """One byte appended to a file of a container's base, and what the upper layer grows by."""
    for column in view.columns("part_bytes", platform=Platform.CONTAINER):
        for phase, path in column.texts().items():
            if phase in COPIED:
                yield {
                    "what": COPIED[phase].format(path=path),
                    "bytes": f"{column.medians()[phase]:,.0f}",
                    "shown": column.provenance,
                }


# ---- how large it is ----------------------------------------------------------------------------


@explained.figure("shipped")
def shipped(view: View) -> Picture:
    """What is sent on three occasions; hollow: over a base that is shared by an extra step."""
    caption = _caption(view, "image_bytes")
    return amounts(_panels(view, OCCASIONS), what="What is sent", caption=caption)


@explained.table("sizes")
def sizes_by_kind(view: View) -> Iterator[Row]:
    """One row a size: bytes on each platform, VM ÷ container."""
    found = view.need("image_bytes", "image")
    both = mixed(found)
    provenance = " and ".join(dict.fromkeys(column.provenance for column in found))
    for phase, name in KINDS.items():
        weighed = {c.label(mixed=both): c.medians().get(phase) for c in found}
        # A disk that is empty for the most part is no multiple of a container's files.
        times = None if phase == VIRTUAL else _vm_over_container(view, phase)
        yield {
            "size": name,
            **{label: "–" if value is None else size(value) for label, value in weighed.items()},
            "vm ÷ container": ratio(times) if times else "–",
            "shown": provenance,
        }


@explained.table("real")
def real_images(view: View) -> Iterator[Row]:
    """Our images above some that people download: bytes as sent; only sources that were read."""
    view.need("image_bytes", "image")
    for column in view.columns("image_bytes", phase=COMPRESSED):
        if column.series.platform is not Platform.VM_DIRECT:
            yield {
                "image": f"ours: {column.series.label}",
                "sent": size(column.median.estimate),
                "date": "–",
                "shown": column.provenance,
            }
    for figure in load_figures():
        if figure.metric == "image_download" and figure.checked:
            yield {
                "image": figure.system,
                "sent": size(float(figure.value)),
                "date": figure.conditions,
                "shown": f"literature: {figure.short}",
            }


# ---- what it means on a connection --------------------------------------------------------------


@explained.whatif("transfer")
def transfer(view: View) -> WhatIf:
    """To twenty computers over 1 Mbit/s to 10 Gbit/s: the first time, and an update."""
    titles = {
        f"The first time, to {NODES} computers": COMPRESSED,
        f"An update, to {NODES} computers": UPDATE,
    }
    panels = _panels(view, titles)

    def at(dot: Dot, link_mbit_s: float) -> Dot:
        value_s = NODES * 8 * dot.value / (link_mbit_s * 1e6)
        return replace(dot, value=value_s, text=duration(value_s))

    # Of the ways to share a base only the backing file is modelled, as everybody has it.
    return sliding_dots(
        lambda link: {
            title: [at(d, link) for d in dots if not d.hollow or d.series.platform is Platform.VM]
            for title, dots in panels.items()
        },
        [float(f"{10 ** (step / 5):.2g}") for step in range(21)],
        start=LINK_MBIT_S,
        said="A connection of {:g} Mbit/s.",
        placeholders={"source": view.caption()},
    )


def duration(value_s: float) -> str:
    """A duration in the unit that suits it, up to days, three significant figures."""
    for unit, factor in (("days", 86_400.0), ("h", 3600.0), ("min", 60.0)):
        if value_s >= factor:
            return f"{ratio(value_s / factor).rstrip('×')} {unit}"
    return seconds(value_s)


# ---- outcomes -----------------------------------------------------------------------------------


def _container_mib(view: View, phase: str) -> float | None:
    found = view.columns("image_bytes", platform=Platform.CONTAINER, phase=phase)
    return found[0].median.estimate / MIB if found else None


explained.outcome("container_mib", Platform.CONTAINER)(partial(_container_mib, phase=COMPRESSED))
explained.outcome("update_mib", Platform.CONTAINER)(partial(_container_mib, phase=UPDATE))


@explained.outcome("vm_over_container", Platform.VM, Platform.CONTAINER)
def _vm_over_container(view: View, phase: str = COMPRESSED) -> float | None:
    """Within one run: bytes are exact, but images differ from run to run."""
    above, below = (
        {c.run_id: c.median.estimate for c in view.columns("image_bytes", platform=p, phase=phase)}
        for p in (Platform.VM, Platform.CONTAINER)
    )
    return next((value / below[run] for run, value in above.items() if below.get(run)), None)


# ---- what they are made of ----------------------------------------------------------------------


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
            way = SHARED.get(series.platform)
            if way and (value := weighed.get(f"{phase}-{way}")):
                label = label.replace(series.label, f"{series.label}, {WAYS[series.platform]}")
                shared.append(Dot(series, label, value, size(value), hollow=True))
        if usual or shared:
            panels[title] = [*usual, *shared]
    if not panels:
        raise absent("size of an image")
    return panels


def _caption(view: View, metric: str) -> str:
    """Provenance and failures. Exact counts need no more than one run, so no doubt is raised."""
    failed = failures(view.columns(metric, failed_too=True))
    return f"{view.caption()}." + (f" Failed, and not drawn: {failed}." if failed else "")
