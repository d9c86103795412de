"""What a whole is made of: one bar a row, its parts stacked, numbered and listed in words."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

from vmcompare.evidence.units import size
from vmcompare.plots import style
from vmcompare.plots.picture import Picture

# Okabe–Ito fills; neighbours differ in hatching too, and every segment is numbered.
FILLS: Sequence[tuple[str, str]] = (
    ("#56B4E9", ""), ("#E69F00", "//"), ("#009E73", ""), ("#F0E442", "\\\\"), ("#CC79A7", ""),
    ("#D55E00", "//"), ("#0072B2", ""), ("#BBBBBB", ".."), ("#FFFFFF", "xx"), ("#999999", ""),
)  # fmt: skip

_CHARACTERS = 54  # that fit in one line of half the figure's width
_WORDS_PT = 12.0
_AS_ABOVE = 3  # so many first parts that are equal in two bars are listed once


@dataclass(frozen=True, slots=True)
class Whole:
    """One bar: name → amount of its parts, in the order in which they are stacked."""

    label: str
    parts: Mapping[str, float]

    @property
    def total(self) -> float:
        return sum(self.parts.values())


@style.own()
def stack(
    wholes: Sequence[Whole],
    *,
    what: str,
    caption: str,
    written: Callable[[float], str] = size,
    order: Sequence[str] = (),
) -> Picture:
    """Stacked bars on one common scale, from top to bottom, parts of one name in one fill.

    There are at most ten different names of parts. ``what`` is stacked, for the text alternative;
    ``written`` writes an amount. Another figure may have more parts: ``order`` names all, so that a
    part has one number and one fill in both.
    """
    names = [*order] or list(dict.fromkeys(name for whole in wholes for name in whole.parts))
    fills = {name: FILLS[place % len(FILLS)] for place, name in enumerate(names)}
    # One number a part, the same in every bar; parts that no bar has are not counted.
    shown = (name for name in names if any(whole.parts.get(name, 0) > 0 for whole in wholes))
    there = order or list(shown)
    numbers = {name: number for number, name in enumerate(there, start=1)}
    pairs = zip(wholes, (None, *wholes[:-1]), strict=True)
    words = [_listed(whole, above, numbers, written) for whole, above in pairs]
    # Lines of the words decide how high a row is.
    heights = [0.92 + 0.2 * text.count("\n") for text in words]
    figure = style.figure(0.8 * sum(heights))
    axes = figure.subplots()
    longest = max((whole.total for whole in wholes), default=0) or 1.0
    bold: dict[str, Any] = {"fontsize": style.SMALL_PT, "fontweight": "bold", "va": "center"}
    top = sum(heights)
    for whole, text, height in zip(wholes, words, heights, strict=True):
        axes.text(0, top - 0.11, whole.label, **bold)
        axes.text(1, top - 0.11, written(whole.total), ha="right", **bold)
        left = 0.0
        for name, amount in _shown(whole):
            colour, hatch = fills[name]
            width = amount / longest
            axes.barh(
                top - 0.38, width, left=left, height=0.3, color=colour, hatch=hatch,
                edgecolor="black", linewidth=0.8,
            )  # fmt: skip
            if width >= 0.045:
                axes.text(
                    left + width / 2, top - 0.38, str(numbers[name]), fontsize=style.SMALL_PT,
                    ha="center", va="center",
                    bbox={"boxstyle": "circle,pad=0.12", "fc": "white", "ec": "none"},
                )  # fmt: skip
            left += width
        axes.text(1.03, top - 0.2, text, fontsize=_WORDS_PT, va="top", linespacing=1.15)
        top -= height
    axes.set_xlim(0, 1)
    axes.set_ylim(0, sum(heights))
    axes.axis("off")
    return Picture(figure, _alt(wholes, what, written), caption)


def _shown(whole: Whole) -> list[tuple[str, float]]:
    return [(name, amount) for name, amount in whole.parts.items() if amount > 0]


def _listed(
    whole: Whole,
    above: Whole | None,
    numbers: Mapping[str, int],
    written: Callable[[float], str],
) -> str:
    words, before = (
        [f"{numbers[name]} {name} {written(amount)}" for name, amount in _shown(one)] if one else []
        for one in (whole, above)
    )
    pairs = zip(words, before, strict=False)
    equal = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
    if equal >= _AS_ABOVE and words[equal - 1].startswith(f"{equal} "):
        words[:equal] = [f"1–{equal} as above"]
    words = [word.replace(" ", "\u00a0") for word in words]
    return textwrap.fill(" · ".join(words), _CHARACTERS, break_on_hyphens=False)


def _alt(wholes: Sequence[Whole], what: str, written: Callable[[float], str]) -> str:
    rows = []
    for whole in wholes:
        total = whole.total
        parts = ", ".join(
            f"{name} {written(amount)} ({amount / total:.0%})" for name, amount in _shown(whole)
        )
        rows.append(f"{whole.label}, {written(total)} in all: {parts}")
    return f"{what}. " + ". ".join(rows) + "."
