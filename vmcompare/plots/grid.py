"""Who shares what: a grid of letters, in each row the same letter for the same value."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from vmcompare.plots import style
from vmcompare.plots.picture import Picture
from vmcompare.plots.stack import FILLS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NOTHING = "–"  # in a cell of which nothing is known

_WIDE, _ROW, _HEAD, _LETTER = 4.5, 0.265, 0.62, 0.045
"""Width of the grid, height of a row and of the headings, and width of a letter. In the height a
unit is an inch, in the width two."""


@dataclass(frozen=True, slots=True)
class GridRow:
    """One row.

    Attributes:
        values: one a column, in words; ``None`` where it is not known.
        keys: what is compared, one a column; ``values`` where empty. Two columns may show the same
            words and still not be the same thing.
    """

    name: str
    values: tuple[str | None, ...]
    keys: tuple[object, ...] = ()

    def letters(self) -> tuple[str, ...]:
        """The letter of each column: ``a`` for the first value, the next one for each new value."""
        known: dict[object, str] = {}
        found = []
        for value, key in zip(self.values, self.keys or self.values, strict=True):
            if value is None:
                found.append(NOTHING)
                continue
            found.append(known.setdefault(key, chr(ord("a") + len(known))))
        return tuple(found)


def sharing(columns: Sequence[str], rows: Sequence[GridRow], *, caption: str, what: str) -> Picture:
    """Equal values of a row have one letter, one fill and one hatching.

    ``what`` is what the grid is, for the text alternative.
    """

    def look(row: GridRow, place: int) -> _Look:
        colour, hatch = FILLS[(ord(row.letters()[place]) - ord("a")) % len(FILLS)]
        return _Look(colour, hatch, "black")

    alt = ". ".join(_shared(row, columns) for row in rows)
    return Picture(_drawn(columns, rows, look), f"{what} {alt}.", caption)


def changes(columns: Sequence[str], rows: Sequence[GridRow], *, caption: str, what: str) -> Picture:
    """Steps from left to right: a cell stands out where it differs from the one before it.

    ``what`` is what the grid is, for the text alternative.
    """

    still, changed = _Look(style.SOFT, "", style.GREY), _Look(style.BLUE, "", style.ON_COLOUR)

    def moved(row: GridRow, place: int) -> bool:
        one, other = (row.letters()[at] for at in (max(0, place - 1), place))
        return NOTHING not in (one, other) and one != other

    def look(row: GridRow, place: int) -> _Look:
        return changed if moved(row, place) else still

    parts = []
    for place, column in list(enumerate(columns))[1:]:
        words = [
            f"{row.name} from {row.values[place - 1]} to {row.values[place]}"
            for row in rows
            if moved(row, place)
        ]
        parts.append(f"{column} changed {'; '.join(words) or 'nothing'}")
    never = [r.name for r in rows if not any(moved(r, n) for n in range(len(columns)))]
    tail = f" Never changed: {', '.join(never)}." if never else ""
    return Picture(_drawn(columns, rows, look), f"{what} {'. '.join(parts)}.{tail}", caption)


class _Look(NamedTuple):
    fill: str
    hatch: str
    ink: str


_UNKNOWN = _Look("white", "", style.GREY)


@style.own()
def _drawn(
    columns: Sequence[str], rows: Sequence[GridRow], look: Callable[[GridRow, int], _Look]
) -> Figure:
    from matplotlib.patches import Rectangle

    figure = style.figure(_HEAD + _ROW * len(rows))
    axes = figure.subplots()
    names = _LETTER * (max((len(row.name) for row in rows), default=0) + 1)
    width = (_WIDE - names) / len(columns)
    slanted = any(len(part) * _LETTER > width for name in columns for part in name.split("\n"))
    for place, name in enumerate(columns):
        x = names + (place + 0.5) * width
        name = _flat(name) if slanted else name
        axes.text(
            x - (0.06 if slanted else 0), 0.06, name, fontsize=style.LEAST_PT, va="bottom",
            ha="left" if slanted else "center", rotation=50 if slanted else 0,
            rotation_mode="anchor", linespacing=1.05,
        )  # fmt: skip
    for number, row in enumerate(rows):
        y = -(number + 0.5) * _ROW
        axes.text(0, y, row.name, fontsize=style.LEAST_PT, va="center")
        for place, letter in enumerate(row.letters()):
            shown = look(row, place) if letter != NOTHING else _UNKNOWN
            left = names + place * width
            cell = Rectangle(
                (left, y - _ROW * 0.43), width * 0.93, _ROW * 0.86,
                facecolor=shown.fill, hatch=shown.hatch, edgecolor="#707070", linewidth=0.6,
            )  # fmt: skip
            axes.add_artist(cell)  # the limits are set below, so none are looked for here
            cell.set_in_layout(False)  # what is inside the axes needs no room made for it
            plate = {"boxstyle": "circle,pad=0.08", "fc": "white", "ec": "none"}
            mark = axes.text(
                left + width * 0.465, y, letter, fontsize=style.SMALL_PT, ha="center",
                va="center_baseline", color=shown.ink,
                fontweight="bold" if shown.ink == style.ON_COLOUR else "normal",
                bbox=plate if shown.ink == "black" else None,
            )  # fmt: skip
            mark.set_in_layout(False)
    axes.set_xlim(0, _WIDE)
    axes.set_ylim(-_ROW * len(rows), _HEAD - 0.1)
    axes.axis("off")
    return figure


def _flat(heading: str) -> str:
    """A heading of two lines on one."""
    return heading.replace("-\n", "-").replace("\n", " ")


def _shared(row: GridRow, columns: Sequence[str]) -> str:
    """``"boot id: host, container A the same (0322809c); vm another (77)"``, in words."""
    groups: dict[str, list[str]] = {}
    words: dict[str, str] = {}
    for letter, value, column in zip(row.letters(), row.values, columns, strict=True):
        name = _flat(column)
        groups.setdefault(letter, []).append(name)
        words[letter] = value or "not known"
    parts = [f"{', '.join(names)}: {words[letter]}" for letter, names in groups.items()]
    return f"{row.name}, {len(groups)} different: {'; '.join(parts)}"
