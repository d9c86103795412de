"""How many different calls can reach a shared kernel: measured here, and published by others."""

from __future__ import annotations

import re
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vmcompare.errors import Unavailable
from vmcompare.evidence.literature import CHECKED
from vmcompare.evidence.literature import load as load_literature
from vmcompare.evidence.view import View
from vmcompare.experiments.isolation.rows import NEXT, count
from vmcompare.plots import style
from vmcompare.plots.picture import Picture
from vmcompare.sandbox import Platform

if TYPE_CHECKING:
    import pandas as pd

ANSWERED, LET_THROUGH = "system calls answered", "system calls let through"

_COUNTED = "Docker default seccomp (counted)"
_LETS_THROUGH = re.compile(r"(\d+) allowed")

LEFT_OUT = (
    "Kata: its guests run on one of several VMMs, and no count with a source was found. "
    "Rootless Docker: the same filter, so the same width; what changes is whose rights a caller "
    "has. A full VM on QEMU: no filter unless it is started with one."
)


@dataclass(frozen=True, slots=True)
class Width:
    """One line of the axis.

    Attributes:
        what: whose calls.
        calls: how many different ones reach the host's kernel.
        fewest: where a range is published, its other end; else the same.
        series: gives its look; ``None`` for a published figure.
        source: where it is from, in words.
        url: of the source, or empty.
        at_most: whether ``calls`` is an upper bound: a call that lacks a capability is refused with
            and without the filter, so counting cannot tell whether the filter would let it through.
    """

    what: str
    calls: float
    fewest: float
    series: style.Series | None
    source: str
    url: str = ""
    at_most: bool = False


def widths(view: View) -> list[Width]:
    """Measured lines first, then the published ones whose source was read, widest first.

    Raises:
        Unavailable: nothing was counted here.
    """
    found = []
    for what, phase, platform in (
        ("no filter at all", ANSWERED, Platform.PROCESS),
        ("a container as Docker starts it", LET_THROUGH, Platform.CONTAINER),
    ):
        calls = count(view, phase)
        if calls is not None:
            shown = str(view.values(metric="item_count", phase=phase)["shown"].iloc[0])
            series, said = style.Series(platform), f"{shown}, counted"
            at_most = phase == LET_THROUGH
            found.append(Width(what, calls, calls, series, said, at_most=at_most))
    if not found:
        raise Unavailable("no system calls have been counted yet", NEXT)
    return found + published()


def published() -> list[Width]:
    """What others counted or stated, only where the source was read; widest first."""
    table = load_literature()
    table = table[table["checked"] == CHECKED]
    found = []
    for row in table[table["metric"] == "host_syscalls"].to_dict("records"):
        numbers = [float(number) for number in re.findall(r"\d+", row["value"])]
        found.append(_published(row["system"], max(numbers), min(numbers), row))
    for row in table[table["system"] == _COUNTED].to_dict("records"):
        if allowed := _LETS_THROUGH.search(row["value"]):
            calls = float(allowed[1])
            found.append(_published("Docker’s default filter", calls, calls, row))
    return sorted(found, key=lambda width: -width.calls)


def _published(what: str, most: float, fewest: float, row: Mapping[Hashable, Any]) -> Width:
    return Width(what, most, fewest, None, f"literature, {row['year']}", row["url"])


@style.own()
def interface(view: View) -> Picture:
    """One axis from no call to all: filled where it was measured, hollow where it was published."""
    found = widths(view)
    figure = style.figure(0.36 * len(found) + 0.75)
    axes = figure.subplots()
    most = max(width.calls for width in found)
    for place, width in enumerate(found):
        y = len(found) - 1 - place
        look = width.series.look if width.series else style.Look(style.GREY, "o", "")
        axes.plot([0, most * 1.05], [y - 0.16] * 2, color="#C8C8C8", linewidth=0.8, zorder=0)
        if width.fewest < width.calls:
            axes.plot([width.fewest, width.calls], [y - 0.16] * 2, color=look.colour, linewidth=2.4)
        axes.plot(
            width.calls, y - 0.16, look.marker, color=look.colour, markersize=7.5,
            markerfacecolor=look.colour if width.series else "white", markeredgewidth=1.5,
        )  # fmt: skip
        axes.text(0, y + 0.22, width.what, fontsize=style.SMALL_PT, va="center")
        axes.text(
            most * 1.05, y + 0.22, f"{_number(width)} · {width.source}", ha="right", va="center",
            fontsize=style.SMALL_PT, fontweight="bold" if width.series else "normal",
        )  # fmt: skip
    axes.set_xlim(-most * 0.02, most * 1.06)
    axes.set_ylim(-0.55, len(found) - 0.4)
    axes.set_yticks([])
    axes.set_xlabel("different system calls that reach the host’s kernel", fontsize=style.SMALL_PT)
    style.plain(axes)
    alt = "; ".join(f"{width.what} {_number(width)} ({width.source})" for width in found)
    caption = (
        f"{view.caption()}. Filled: measured by asking for every call; hollow: literature, counted "
        "or stated by others on other kernels. A narrower interface is less to attack, not no "
        f"risk. Left out: {LEFT_OUT}"
    )
    return Picture(figure, f"How many calls reach the host’s kernel: {alt}.", caption)


def interface_table(view: View) -> pd.DataFrame:
    """The same in words, with sources."""
    import pandas as pd

    return pd.DataFrame(
        [
            {
                "whose calls": width.what,
                "different calls": _number(width),
                "kind": width.source,
                "source": width.url or view.caption(),
            }
            for width in widths(view)
        ]
    )


def _number(width: Width) -> str:
    if width.fewest < width.calls:
        return f"{width.fewest:.0f} to {width.calls:.0f}"
    return f"at most {width.calls:.0f}" if width.at_most else f"{width.calls:.0f}"
