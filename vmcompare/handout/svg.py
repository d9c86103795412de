"""Matplotlib's SVG in fewer bytes, for pictures that are not zipped; the drawing stays the same."""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import quote

from ..whatif import shrink_svg

_PATH = re.compile(r'(?<= d=")[^"]*')
_SEGMENT = re.compile(r"([MLQCz])([^MLQCz]*)")
_OTHER_COMMAND = re.compile(r"[^MLQCz\d\s.\-]")
_COMMAND_SIZE = {"M": 2, "L": 2, "Q": 4, "C": 6}
_SHIFTED_USE = re.compile(r'(<use [^>]*?)transform="translate\(([-\d.]+) ([-\d.]+)\)"')
_REFERENCE = re.compile(r'(\bid="|#)([A-Za-z][\w-]*)(?=["\')])')


def address(svg: str) -> str:
    """The drawing as a ``data:`` address with as little coded as HTML and addresses allow."""
    text = _PATH.sub(lambda found: _relative(found[0]), shrink_svg(svg)).replace("\n", " ")
    text = _SHIFTED_USE.sub(_placed, text)
    text = _short_names(text).replace("xlink:href=", "href=")
    if "'" not in text:
        text = text.replace('"', "'")
    return "data:image/svg+xml," + quote(text, safe=" !'()*,-./:;=?@[]^_`{|}~")


def _placed(use: re.Match[str]) -> str:
    """A glyph's shift as coordinates, which mean the same."""
    x, y = (f"{float(number):.2f}".rstrip("0").rstrip(".") for number in use.groups()[1:])
    return f'{use[1]}x="{x}"' + (f' y="{y}"' if y != "0" else "")


def _short_names(svg: str) -> str:
    """Ids of a letter and a number: a glyph's name is repeated wherever the glyph is."""
    names: dict[str, str] = {}
    ids = set(re.findall(r'\bid="([^"]*)"', svg))

    def renamed(found: re.Match[str]) -> str:
        name = found[2]
        return found[1] + (names.setdefault(name, f"i{len(names)}") if name in ids else name)

    return _REFERENCE.sub(renamed, svg)


def _relative(data: str) -> str:
    """Path data by differences, which are short where coordinates are long.

    Each difference is taken to the point really reached, so rounding does not add up.
    """
    if _OTHER_COMMAND.search(data):
        return data
    return "".join(_segments(data))


def _segments(data: str) -> Iterator[str]:
    here = start = (0, 0)  # in hundredths
    for command, numbers in _SEGMENT.findall(data):
        if command == "z":
            here = start
            yield "z"
            continue
        values = [round(float(number) * 100) for number in numbers.split()]
        size = _COMMAND_SIZE[command]
        for at in range(0, len(values), size):
            points = values[at : at + size]
            steps = [value - here[k % 2] for k, value in enumerate(points)]
            here = (points[-2], points[-1])
            if command == "M" and at == 0:
                start = here
            yield (command.lower() if at == 0 else " ") + _joined(steps)


def _joined(steps: list[int]) -> str:
    text = ""
    for step in steps:
        number = f"{step / 100:.2f}".rstrip("0").rstrip(".")
        number = number.replace("-0.", "-.") if number.startswith("-0.") else number
        number = number[1:] if number.startswith("0.") else number
        text += number if not text or number.startswith("-") else f" {number}"
    return text
