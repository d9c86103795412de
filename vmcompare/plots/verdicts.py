"""Pictures of findings: one mark a claim, and every ratio against the bound it is judged by.

A finding is told by its sign, its words and its hatching, never by its colour alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from vmcompare.evidence.claims import EMULATION, Verdict
from vmcompare.evidence.statistics import Interval
from vmcompare.evidence.units import ratio
from vmcompare.plots import style
from vmcompare.plots.picture import Picture

SIGNS: Mapping[Verdict, str] = MappingProxyType(
    {
        Verdict.SUPPORTED: "✓",
        Verdict.WITH_CAVEATS: "(✓)",
        Verdict.REFUTED: "✗",
        Verdict.INCONCLUSIVE: "?",
        Verdict.NOT_MEASURED: "○",
        Verdict.JUDGEMENT: "◇",
    }
)
"""A sign a finding, always shown beside its words."""

_FILLS: Mapping[Verdict, tuple[str, str]] = MappingProxyType(
    {
        Verdict.SUPPORTED: ("#BFE3D6", ""),
        Verdict.WITH_CAVEATS: ("#E3F2EC", "//"),
        Verdict.REFUTED: ("#F6CDB5", "xx"),
        Verdict.INCONCLUSIVE: ("#FFFFFF", ".."),
        Verdict.NOT_MEASURED: ("#FFFFFF", ""),
        Verdict.JUDGEMENT: ("#E4E4E4", ""),
    }
)
"""Colour and hatching of a mark; the words above it say the same."""

_PLATE = {"boxstyle": "square,pad=0.25", "edgecolor": "none"}
_A_LINE = 9  # marks that fit side by side


@dataclass(frozen=True, slots=True)
class Against:
    """An estimated ratio beside its bound.

    Attributes:
        label: claim and part.
        interval: the ratio, without a unit.
        bound: what it is judged by, θ.
        verdict: the finding.
        emulated: whether rows of VMs under software emulation went in.
        note: shown behind the finding, perhaps empty.
    """

    label: str
    interval: Interval
    bound: float
    verdict: Verdict
    emulated: bool
    note: str = ""

    @property
    def decided(self) -> bool:
        """Whether the rule came to a yes or a no."""
        return self.verdict not in (Verdict.NOT_MEASURED, Verdict.INCONCLUSIVE)

    @property
    def words(self) -> str:
        """Sign and words of the finding, with the reason where there is none."""
        if self.verdict is Verdict.NOT_MEASURED:
            return f"not decided: {EMULATION}"
        under = f", {EMULATION}" if self.emulated else ""
        return f"{SIGNS[self.verdict]} {self.verdict}{under}"


@style.own()
def marks(found: Mapping[str, Verdict], *, caption: str = "") -> Picture:
    """One mark a claim (its id in a box), below the finding it has.

    Args:
        found: id of the claim → finding, in the table's order.
        caption: where the findings come from.
    """
    from matplotlib.patches import Rectangle

    by_verdict = {v: [i for i, has in found.items() if has is v] for v in Verdict}
    lines = sum(1.0 + 1.15 * max(1, math.ceil(len(ids) / _A_LINE)) for ids in by_verdict.values())
    figure = style.figure(0.29 * lines)
    axes = figure.subplots()
    y = 0.0
    for verdict, ids in by_verdict.items():
        colour, hatch = _FILLS[verdict]
        axes.text(
            0, y - 0.55, f"{SIGNS[verdict]}  {verdict}: {len(ids)}", fontsize=style.SMALL_PT,
            fontweight="bold", va="center",
        )  # fmt: skip
        y -= 1.0
        if not ids:
            axes.text(
                0.05, y - 0.45, "none", fontsize=style.SMALL_PT, va="center", color=style.GREY
            )
        for place, name in enumerate(ids):
            x, down = place % _A_LINE, 1.15 * (place // _A_LINE)
            axes.add_patch(
                Rectangle(
                    (x + 0.04, y - down - 0.92), 0.92, 0.84, facecolor=colour, hatch=hatch,
                    edgecolor=style.GREY, linewidth=0.8,
                    linestyle="--" if verdict is Verdict.NOT_MEASURED else "-",
                )
            )  # fmt: skip
            axes.text(
                x + 0.5, y - down - 0.51, name, ha="center", va="center", fontsize=style.SMALL_PT,
                bbox={**_PLATE, "facecolor": colour} if hatch else None,
            )  # fmt: skip
        y -= 1.15 * max(1, math.ceil(len(ids) / _A_LINE))
    axes.set_xlim(0, _A_LINE)
    axes.set_ylim(y, 0)
    axes.axis("off")
    return Picture(figure, _marks_alt(by_verdict), caption)


def _marks_alt(by_verdict: Mapping[Verdict, Sequence[str]]) -> str:
    total = sum(len(ids) for ids in by_verdict.values())
    parts = [
        f"{verdict}: {len(ids)}" + (f" ({', '.join(ids)})" if ids else "")
        for verdict, ids in by_verdict.items()
    ]
    return f"The {total} claims of the article by finding. {'; '.join(parts)}."


@style.own()
def against(found: Sequence[Against], *, caption: str = "") -> Picture:
    """Every ratio with its interval on one log axis, and the bound it is judged by.

    A filled point was decided, an open one was not; the thick tick marked θ is the bound.

    Args:
        found: at least one ratio, all positive.
        caption: where the figures come from.
    """
    figure = style.figure(0.58 * len(found) + 0.75)
    axes = figure.subplots()
    across = axes.get_yaxis_transform()
    ends = [1.0]
    for place, one in enumerate(found):
        y, i = len(found) - 1 - place, one.interval
        ends += [i.estimate, one.bound]
        shared: dict[str, Any] = {
            "va": "center", "fontsize": style.SMALL_PT, "bbox": style.PLATE, "transform": across,
        }  # fmt: skip
        axes.text(0, y + 0.4, one.label, fontweight="bold", **shared)
        axes.text(1, y + 0.4, ratio(i.estimate), ha="right", fontweight="bold", **shared)
        axes.text(0, y + 0.12, one.words, **shared)
        if math.isfinite(i.low) and math.isfinite(i.high):
            ends += [end for end in (i.low, i.high) if end > 0]
            axes.plot([i.low, i.high], [y - 0.2] * 2, color=style.BLUE, linewidth=3)
        axes.plot(
            i.estimate, y - 0.2, "o", markersize=8, markeredgecolor=style.BLUE,
            markeredgewidth=1.6, color=style.BLUE if one.decided else "white",
        )  # fmt: skip
        axes.plot([one.bound] * 2, [y - 0.36, y - 0.04], color="black", linewidth=2.4)
        away = -1 if i.estimate >= one.bound else 1  # from the point, which may lie close
        axes.annotate(
            "θ", (one.bound, y - 0.2), xytext=(4 * away, 0), textcoords="offset points",
            va="center", ha="left" if away > 0 else "right", fontsize=style.SMALL_PT,
        )  # fmt: skip
    low, high = min(ends) / 1.6, max(ends) * 1.6
    axes.set_xscale("log")
    axes.set_xlim(low, high)
    style.log_ticks(axes, low, high)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}×")
    axes.axvline(1, color=style.GREY, linewidth=1, linestyle="--", zorder=0)
    axes.set_ylim(-0.5, len(found) - 0.42)
    axes.set_yticks([])
    style.plain(axes)
    axes.set_xlabel("VM ÷ container (logarithmic); θ is the bound", fontsize=style.SMALL_PT)
    return Picture(figure, _against_alt(found), caption)


def _against_alt(found: Sequence[Against]) -> str:
    parts = []
    for one in found:
        i = one.interval
        span = (
            f"95 % interval {ratio(i.low)} to {ratio(i.high)}"
            if math.isfinite(i.low)
            else "no interval"
        )
        parts.append(
            f"{one.label}: {ratio(i.estimate)}, {span}, bound {ratio(one.bound)}, {one.words}"
        )
    return f"Ratios on a logarithmic axis, each with its bound. {'. '.join(parts)}."
