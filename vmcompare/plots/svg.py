"""Matplotlib's SVG in fewer bytes; the drawing stays the same."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from urllib.parse import quote

_NUMBER = re.compile(r"-?\d+\.\d{3,}")
_COORDINATES = re.compile(r'(?<= [dxy]=")[^"]*')
_STYLE = re.compile(r' style="([^"]*)"')
_ID = re.compile(r' id="([^"]*)"')
_DEAD = re.compile(r"<metadata>.*?</metadata>|<!--.*?-->", flags=re.DOTALL)
_WIDTH = re.compile(r'\bwidth="([\d.]+)pt"')
_HEIGHT = re.compile(r'\bheight="([\d.]+)pt"')
_VIEW_BOX = re.compile(r'viewBox="[^"]*"')
_PATH = re.compile(r'(?<= d=")[^"]*')
_SEGMENT = re.compile(r"([MLQCz])([^MLQCz]*)")
_OTHER_COMMAND = re.compile(r"[^MLQCz\d\s.\-]")
_COMMAND_SIZE = {"M": 2, "L": 2, "Q": 4, "C": 6}
_SHIFTED_USE = re.compile(r'(<use [^>]*?)transform="translate\(([-\d.]+) ([-\d.]+)\)"')
_REFERENCE = re.compile(r'(\bid="|#)([A-Za-z][\w-]*)(?=["\')])')


def shrink(svg: str) -> str:
    """The same drawing in fewer bytes: coordinates to 1/100 point, each style written once."""

    def rounded(number: re.Match[str]) -> str:
        return f"{float(number[0]):.2f}".rstrip("0").rstrip(".")

    # Coordinates only: rounding a transform (scale(0.015625) for a glyph) would change sizes.
    short = _COORDINATES.sub(lambda found: _NUMBER.sub(rounded, found[0]), _DEAD.sub("", svg))
    used = set(re.findall(r"#([^\s\"')]+)", short))
    short = _ID.sub(lambda found: found[0] if found[1] in used else "", short)
    if "</style>" in short:
        short = _styles_once(short)
    return "\n".join(line for line in map(str.strip, short.splitlines()) if line)


def _styles_once(svg: str) -> str:
    """A marker repeats its style for every point: make it a class where that is shorter."""
    often = [style for style, n in Counter(_STYLE.findall(svg)).items() if n > 2]
    names = {style: f"s{number}" for number, style in enumerate(often)}

    def named(found: re.Match[str]) -> str:
        return f' class="{names[found[1]]}"' if found[1] in names else found[0]

    rules = "".join(f"\n.{name}{{{style}}}" for style, name in names.items())
    return _STYLE.sub(named, svg).replace("</style>", f"{rules}</style>", 1)


def address(svg: str) -> str:
    """The drawing as a ``data:`` address with as little coded as HTML and addresses allow."""
    text = _PATH.sub(lambda found: _relative(found[0]), shrink(svg)).replace("\n", " ")
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


def same_size(frames: Sequence[str]) -> list[str]:
    """All frames on a canvas of one size, so that the page does not jump under the slider."""
    sizes = [match for match in map(size, frames) if match]
    if len(sizes) < len(frames):
        return list(frames)
    width, height = max(w for w, _ in sizes), max(h for _, h in sizes)
    return [_resized(frame, width, height) for frame in frames]


def size(svg: str) -> tuple[float, float] | None:
    head = svg.split(">", 1)[0]
    width, height = _WIDTH.search(head), _HEIGHT.search(head)
    return (float(width[1]), float(height[1])) if width and height else None


def _resized(svg: str, width: float, height: float) -> str:
    head, tail = svg.split(">", 1)
    head = _WIDTH.sub(f'width="{width:g}pt"', head, count=1)
    head = _HEIGHT.sub(f'height="{height:g}pt"', head, count=1)
    return _VIEW_BOX.sub(f'viewBox="0 0 {width:g} {height:g}"', head, count=1) + ">" + tail
