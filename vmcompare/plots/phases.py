"""Where the time of a start goes: one bar a series, each its own 100 %, its total written beside.

Bars as shares let a container's 100 ms be read beside a VM's 25 s; their length is in the words.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from vmcompare.evidence.units import seconds
from vmcompare.evidence.view import View
from vmcompare.plots import style
from vmcompare.plots.groups import Group, caption, mixed, need
from vmcompare.plots.picture import Picture
from vmcompare.sandbox import Phase, Platform

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# In the order in which they can happen; a platform has some of them.
ORDER: Sequence[Phase] = (
    Phase.OPEN, Phase.CREATE, Phase.ATTACH, Phase.START, Phase.SPAWN, Phase.FIRMWARE, Phase.KERNEL,
    Phase.INIT, Phase.USERLAND, Phase.FIRST_BYTE, Phase.READY, Phase.EXIT, Phase.SHUTDOWN,
    Phase.REMOVED,
)  # fmt: skip

_ENDING = frozenset({Phase.EXIT, Phase.SHUTDOWN, Phase.REMOVED})

# Fill and hatching; every segment has a number too, so none is told apart by its colour alone.
_FILLS: Mapping[Phase, tuple[str, str]] = MappingProxyType(
    {
        Phase.OPEN: ("#FFFFFF", ""),
        Phase.CREATE: ("#56B4E9", ""),
        Phase.ATTACH: ("#F0E442", "//"),
        Phase.START: ("#0072B2", ""),
        Phase.SPAWN: ("#56B4E9", "\\\\"),
        Phase.FIRMWARE: ("#F0E442", ""),
        Phase.KERNEL: ("#D55E00", "//"),
        Phase.INIT: ("#CC79A7", ""),
        Phase.USERLAND: ("#CC79A7", "xx"),
        Phase.FIRST_BYTE: ("#009E73", ""),
        Phase.READY: ("#E69F00", ".."),
        Phase.EXIT: ("#BBBBBB", ""),
        Phase.SHUTDOWN: ("#BBBBBB", "\\\\"),
        Phase.REMOVED: ("#BBBBBB", ".."),
    }
)

# What a phase is called where its general name would not say what happens in it.
_NAMES: Mapping[tuple[Platform, Phase], str] = MappingProxyType(
    {
        (Platform.PROCESS, Phase.FIRST_BYTE): "fork and exec",
        (Platform.VM, Phase.KERNEL): "kernel and initrd",
        (Platform.VM_TUNED, Phase.FIRST_BYTE): "services",
        (Platform.VM, Phase.FIRST_BYTE): "services",
    }
)


def name(group: Group, phase: Phase) -> str:
    """What happens in ``phase`` on this platform, in one or two words."""
    if group.series.runtime and phase is Phase.FIRST_BYTE:
        return "walls and exec"  # a bare mechanism: no engine stands between
    return _NAMES.get((group.series.platform, phase), str(phase))


def medians(group: Group) -> dict[Phase, float]:
    """Phase → median seconds of one series, in the order in which they happen."""
    found = group.rows.groupby("phase")["value"].median()
    return {phase: float(found[phase]) for phase in ORDER if phase in found.index}


def ending(phase: Phase) -> bool:
    """Whether a phase belongs to taking the instance away, not to starting it."""
    return phase in _ENDING


@style.own()
def phases(view: View) -> Picture:
    """Medians of ``phase_s`` (s), stacked: a row a series, each bar its own 100 %.

    A triangle marks the first byte, where the headline metric ends; what comes after it is the
    command channel and the clean-up.

    Raises:
        Unavailable: the view holds no phases.
    """
    found = [group for group in need(view, "phase_s", "phase of a start") if len(group.rows)]
    words = [_listed(group) for group in found]
    # The y axis is in inches, so that text of a fixed size never meets the next row.
    heights = [0.74 + 0.165 * text.count("\n") + 0.165 for text in words]
    figure = style.figure(sum(heights))
    axes = figure.subplots()
    top = sum(heights)
    for group, text, height in zip(found, words, heights, strict=True):
        _bar(axes, top, group, text, mixed=mixed(found))
        top -= height
    axes.set_ylim(0, sum(heights))
    axes.set_xlim(0, 1)
    axes.axis("off")
    note = (
        "Each bar is its own 100 %: medians, phase by phase, so they may not add up to the median "
        "of whole starts. A triangle marks the first byte, with the time until then."
    )
    if any(medians(group).get(Phase.FIRST_BYTE) == 0 for group in found):
        note += " A first byte of 0 was there before the engine had answered."
    return Picture(figure, _alt(found), caption(view, _starts(found), note))


def _starts(found: Sequence[Group]) -> list[Group]:
    """The groups reduced to one phase each, so that doubts count starts and not their pieces."""
    from dataclasses import replace

    reduced = []
    for group in found:
        longest = max(medians(group).items(), key=lambda item: item[1])[0]
        rows = group.rows[group.rows["phase"] == longest]
        reduced.append(replace(group, rows=rows))
    return reduced


def _listed(group: Group) -> str:
    """Numbered phases with their medians, wrapped to the figure's width."""
    import textwrap

    words = [
        f"{number} {name(group, phase)} {seconds(value)}".replace(" ", "\u00a0")
        for number, (phase, value) in enumerate(medians(group).items(), start=1)
    ]
    return textwrap.fill(" · ".join(words), 66, break_on_hyphens=False)


def _bar(axes: Axes, top: float, group: Group, listed: str, *, mixed: bool) -> None:
    """One series, from ``top`` (inches) downwards: title, bar, numbered words."""
    parts = medians(group)
    total = sum(parts.values()) or 1.0
    n = max(int((group.rows["phase"] == phase).sum()) for phase in parts)
    title = top - 0.11
    bold: dict[str, Any] = {"fontsize": style.SMALL_PT, "fontweight": "bold", "va": "center"}
    label = group.label(mixed=mixed)
    axes.text(0, title, label if len(label) > 45 else f"{label} · n = {n}", **bold)
    axes.text(1, title, f"{seconds(total)}", ha="right", **bold)
    left, middle = 0.0, top - 0.35
    for number, (phase, value) in enumerate(parts.items(), start=1):
        fill, hatch = _FILLS[phase]
        share = value / total
        axes.barh(
            middle, share, left=left, height=0.25, color=fill, hatch=hatch, edgecolor="black",
            linewidth=0.8,
        )  # fmt: skip
        if share >= 0.045:
            axes.text(
                left + share / 2, middle, str(number), fontsize=style.SMALL_PT, ha="center",
                va="center", bbox={"boxstyle": "circle,pad=0.12", "fc": "white", "ec": "none"},
            )  # fmt: skip
        left += share
        if phase is Phase.FIRST_BYTE:
            axes.plot(left, middle - 0.18, "^", color="black", markersize=5, clip_on=False)
            right = left < 0.75
            axes.text(
                left + (0.015 if right else -0.015), middle - 0.2, seconds(left * total),
                fontsize=style.SMALL_PT - 0.5, va="center", ha="left" if right else "right",
            )  # fmt: skip
    axes.text(0, top - 0.64, listed, fontsize=style.SMALL_PT - 0.5, va="top", linespacing=1.2)


def _alt(found: Sequence[Group]) -> str:
    parts = []
    for group in found:
        values = medians(group)
        total = sum(values.values())
        listed = ", ".join(
            f"{name(group, phase)} {seconds(value)}" + (f" ({value / total:.0%})" if total else "")
            for phase, value in values.items()
        )
        parts.append(f"{group.label(mixed=True)}, {seconds(total)} in all: {listed}")
    return "Median seconds of each phase of a start. " + ". ".join(parts) + "."
