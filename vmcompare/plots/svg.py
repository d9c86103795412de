"""Matplotlib's SVG for a page: fewer bytes, and colours that follow the page's theme.

A drawing stands in the page itself, because CSS variables do not reach into an ``<img>``. Its ids
and classes begin with a name of its own, so that no two drawings mix. Where a page sets none of the
variables (a saved notebook on the web, print), a drawing is dark ink on white.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections import Counter
from collections.abc import Mapping

from markupsafe import Markup

THEME: Mapping[str, tuple[str, str]] = {
    "#000000": ("ink", "#e4e5e9"),
    "#1b1b1f": ("ink", "#e4e5e9"),
    "#ffffff": ("paper", "#16181d"),
    "#595959": ("quiet", "#a9adb7"),
    "#d0d0d0": ("rule", "#3f444f"),
    "#e8e8e8": ("soft", "#2c3039"),
    "#d9d9d9": ("grey", "#3b404a"),
    "#cfe6f5": ("blue", "#1c4460"),
    "#cde8dd": ("green", "#1b4d3e"),
    "#fbe3b5": ("amber", "#574014"),
    "#f6cdb5": ("red", "#5e3420"),
}
"""Colour as drawn → name of its variable (``--vmc-…``), and its value in a dark theme.

All other colours stand out from both papers, and stay.
"""

_TAG = re.compile(r"<style[^>]*>[^<]*|<[^>]*>")
_HEX = re.compile(r"(?<!, )#[0-9a-fA-F]{6}\b")

_NUMBER = re.compile(r"-?\d+\.\d{3,}")
_COORDINATES = re.compile(r'(?<= [dxy]=")[^"]*')
_STYLE = re.compile(r' style="([^"]*)"')
_ID = re.compile(r' id="([^"]*)"')
_DEAD = re.compile(r"<metadata>.*?</metadata>|<!--.*?-->", flags=re.DOTALL)
_VIEW_BOX = re.compile(r'viewBox="[^"]*"')
_CLASS = re.compile(r'<svg[^>]*? class="([^"]*)"')
_RULES = re.compile(r"<style[^>]*>([^<]*)</style>")
_FILLED = re.compile(r'( style="[^"]*?)fill: (url\([^)]*\));?([^"]*)"')
_INLINE = Markup('{rules}<svg class="vmc-svg {own}" role="img" aria-label="{alt}" {box}>{body}')
_DRAWN = re.compile(
    r'<div class="vmc-figure[^>]*>(?:<style>([^<]*)</style>)?<svg class="vmc-svg ([^"]*)" '
    r'role="img" aria-label="([^"]*)" ([^>]*)>(.*?)</svg>\s*<button[^>]*></button></div>',
    flags=re.DOTALL,
)
_REFERENCE = re.compile(r'(\bid="|#)([A-Za-z][\w-]*)(?=["\')])')


def dark() -> str:
    """The variables of a dark theme, as declarations."""
    return ";".join(f"--vmc-{name}:{colour}" for name, colour in dict(THEME.values()).items())


def themed(svg: str) -> str:
    """The same drawing with its ink, paper and tints as CSS variables."""

    def variable(found: re.Match[str]) -> str:
        colour = found[0].lower()
        return f"var(--vmc-{THEME[colour][0]},{colour})" if colour in THEME else found[0]

    # Words are left as they are.
    svg = _TAG.sub(lambda tag: _HEX.sub(variable, tag[0]), svg)
    head, rest = svg.split(">", 1)
    # What has no fill is black: words, and what was drawn black.
    own = "" if " fill=" in head else ' fill="var(--vmc-ink,#000000)"'
    return f"{head}{own}>{rest}"


def name_of(svg: str) -> str:
    """What a drawing's ids and classes begin with: another one for another drawing."""
    return "v" + hashlib.sha256(svg.encode()).hexdigest()[:6]


def shrink(svg: str, name: str = "") -> str:
    """The same drawing in fewer bytes: coordinates to 1/100 point, each style written once.

    Its ids and classes begin with ``name``; by default with one that is its own.
    """

    def rounded(number: re.Match[str]) -> str:
        return f"{float(number[0]):.2f}".rstrip("0").rstrip(".")

    name = name or name_of(svg)
    # Coordinates only: rounding a transform (scale(0.015625) for a glyph) would change sizes.
    short = _COORDINATES.sub(lambda found: _NUMBER.sub(rounded, found[0]), _DEAD.sub("", svg))
    used = set(re.findall(r"#([^\s\"')]+)", short))
    short = _ID.sub(lambda found: found[0] if found[1] in used else "", short)
    short = themed(_named(short.replace("xlink:href=", "href="), name))
    if "</style>" in short:
        short = _styles_once(short, name)
    return "\n".join(line for line in map(str.strip, short.splitlines()) if line)


def _named(svg: str, name: str) -> str:
    """Ids that begin with ``name``; what refers to one stands in an attribute, not in a style."""
    ids = set(re.findall(r'\bid="([^"]*)"', svg))

    def renamed(found: re.Match[str]) -> str:
        return found[1] + (name if found[2] in ids else "") + found[2]

    svg = _FILLED.sub(r'\1\3" fill="\2"', svg)
    return _REFERENCE.sub(renamed, svg)


def _styles_once(svg: str, name: str) -> str:
    """A marker repeats its style for every point: make it a class where that is shorter.

    The styles of a drawing hold for that drawing alone, wherever it stands.
    """
    often = [style for style, n in Counter(_STYLE.findall(svg)).items() if n > 2]
    names = {style: f"{name}s{number}" for number, style in enumerate(often)}

    def named(found: re.Match[str]) -> str:
        return f' class="{names[found[1]]}"' if found[1] in names else found[0]

    rules = "".join(f"\n.{short}{{{style}}}" for style, short in names.items())
    svg = _STYLE.sub(named, svg).replace("</style>", f"{rules}</style>", 1)
    svg = re.sub(r"(<style[^>]*>)\*", rf"\1.{name} *", svg, count=1)
    return svg.replace("<svg ", f'<svg class="{name}" ', 1)


def inline(svg: str, alt: str) -> Markup:
    """A drawing from :func:`shrink` as a page holds it: styles, then an ``<svg>`` with ``alt``."""
    rules = "".join(_RULES.findall(svg))
    head, body = _RULES.sub("", svg).replace("<defs></defs>", "").split(">", 1)
    box, own = _VIEW_BOX.search(head), _CLASS.search(head)
    extra = " ".join(re.findall(r'\b(?:fill|font-[a-z]+|text-anchor)="[^"]*"', head))
    return _INLINE.format(
        rules=Markup(f"<style>{rules}</style>" if rules else ""),
        own=own[1] if own else "",
        alt=alt,
        box=Markup(f"{box[0] if box else ''} {extra}"),
        body=Markup(body),
    )


def as_images(html: str) -> str:
    """The same page with every drawing as an ``<img>``, which no sanitiser takes away."""
    return _DRAWN.sub(_image, html)


def _image(found: re.Match[str]) -> str:
    rules, name, alt, head, body = found.groups()
    box = re.search(r'viewBox="\S+ \S+ (\S+) (\S+)"', head)
    size = f'width="{box[1]}pt" height="{box[2]}pt"' if box else ""
    drawing = (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="{name}" {size} {head}>'
        f"<style>{rules or ''}</style>{body}</svg>"
    )
    data = base64.b64encode(drawing.encode()).decode()
    return (
        f'<img alt="{alt}" style="width:100%;max-width:60rem;background:#fff" '
        f'src="data:image/svg+xml;base64,{data}">'
    )
