"""Pictures of findings: one mark a claim, and every ratio against the bound it is judged by.

A finding is told by its sign, its words and its hatching, never by its colour alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from vmcompare.evidence.claims import Conclusion
from vmcompare.evidence.statistics import Interval
from vmcompare.evidence.units import ratio
from vmcompare.plots import marks, style
from vmcompare.plots.picture import Picture
from vmcompare.sandbox import EMULATION

SIGNS: Mapping[Conclusion, str] = {
    Conclusion.SUPPORTED: "✓",
    Conclusion.WITH_CAVEATS: "(✓)",
    Conclusion.REFUTED: "✗",
    Conclusion.INCONCLUSIVE: "?",
    Conclusion.NOT_MEASURED: "○",
    Conclusion.JUDGEMENT: "◇",
}
"""A sign a finding, always shown beside its words."""

_FILLS: Mapping[Conclusion, tuple[str, str]] = {
    Conclusion.SUPPORTED: (style.TINT_GREEN, ""),
    Conclusion.WITH_CAVEATS: (style.TINT_GREEN, "//"),
    Conclusion.REFUTED: (style.TINT_RED, "xx"),
    Conclusion.INCONCLUSIVE: ("#FFFFFF", ".."),
    Conclusion.NOT_MEASURED: ("#FFFFFF", ""),
    Conclusion.JUDGEMENT: (style.SOFT, ""),
}
"""Colour and hatching of a mark; the words above it say the same."""

_PLATE = {"boxstyle": "square,pad=0.25", "edgecolor": "none"}
_A_LINE = 9  # marks that fit side by side


class Against(NamedTuple):
    """An estimated ratio, the bound θ it is judged by, and whether rows of emulated VMs went in."""

    label: str
    interval: Interval
    bound: float
    verdict: Conclusion
    emulated: bool


@style.own()
def findings(found: Mapping[str, Conclusion], *, caption: str = "") -> Picture:
    """One mark a claim (its id in a box), below the finding it has, in the table's order."""
    from matplotlib.patches import Rectangle

    by_verdict = {v: [i for i, has in found.items() if has is v] for v in Conclusion}
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
                    linestyle="--" if verdict is Conclusion.NOT_MEASURED else "-",
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
    return Picture(figure, _findings_alt(by_verdict), caption)


def _findings_alt(by_verdict: Mapping[Conclusion, Sequence[str]]) -> str:
    total = sum(len(ids) for ids in by_verdict.values())
    parts = [
        f"{verdict}: {len(ids)}" + (f" ({', '.join(ids)})" if ids else "")
        for verdict, ids in by_verdict.items()
    ]
    return f"The {total} claims of the article by finding. {'; '.join(parts)}."


@style.own()
def against(found: Sequence[Against], *, caption: str = "") -> Picture:
    """Every ratio with its interval on one log axis, and the bound it is judged by.

    The sign behind a label tells the finding. A filled point was decided, an open one was not; the
    thick tick marked θ is the bound. There is at least one ratio, and all are positive.
    """
    figure = style.figure(marks.HEIGHT_IN * len(found) + 0.7)
    axes = figure.subplots()
    look = style.Look(style.BLUE, "o", "")
    rows = [
        marks.Row(
            f"{one.label} {SIGNS[one.verdict]}",
            ratio(one.interval.estimate),
            look,
            one.interval.estimate,
            hollow=one.verdict in (Conclusion.NOT_MEASURED, Conclusion.INCONCLUSIVE),
            span=(one.interval.low, one.interval.high),
            bound=one.bound,
            strong="both",
        )
        for one in found
    ]
    marks.draw(axes, rows)
    intervals = [one.interval for one in found]
    ends = [one.bound for one in found] + [i.estimate for i in intervals]
    ends += [end for i in intervals if i.known for end in (i.low, i.high) if end > 0]
    style.log_ratios(axes, ends)
    axes.set_xlabel("VM ÷ container (logarithmic); θ is the bound", fontsize=style.SMALL_PT)
    return Picture(figure, _against_alt(found), caption)


def _against_alt(found: Sequence[Against]) -> str:
    parts = []
    for one in found:
        said = f"{SIGNS[one.verdict]} {one.verdict}{f', {EMULATION}' if one.emulated else ''}"
        if one.verdict is Conclusion.NOT_MEASURED:
            said = f"not decided: {EMULATION}"
        estimate, span = ratio(one.interval.estimate), one.interval.words(ratio)
        parts.append(f"{one.label}: {estimate}, {span}, bound {ratio(one.bound)}, {said}")
    return f"Ratios on a logarithmic axis, each with its bound. {'. '.join(parts)}."
