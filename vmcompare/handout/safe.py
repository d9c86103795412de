"""What a cell may put into a page: words, tables, pictures and formulas, but nothing that runs.

Two barriers stand one behind the other: :func:`clean` lets through only what is known to be
harmless, and :func:`policy` tells the browser to run the page's own script alone and to load
nothing.
"""

from __future__ import annotations

import base64
import hashlib
import html
import re
from collections.abc import Sequence
from html.parser import HTMLParser

from vmcompare.errors import VmcompareError
from vmcompare.evidence.markdown import MATHML_ATTRIBUTES, MATHML_ELEMENTS, leads_out, names

FRAMES = "application/gzip+base64"
"""Type of the one ``<script>`` that a cell may bring: packed frames, which no browser runs."""

TAGS_MAX = 10_000
"""Tags of one fragment, at their beginning and end; a table of 100 lines has a fifth of that."""

_HTML = names(
    "a abbr b bdi bdo blockquote br caption center cite code col colgroup data dd del details "
    "dfn div dl dt em fieldset figcaption figure font footer h1 h2 h3 h4 h5 h6 header hr i img "
    "input ins kbd label legend li mark meter nav ol optgroup option output p pre progress q s "
    "samp section select small span strike strong style sub summary sup table tbody td tfoot th "
    "thead time tr tt u ul var wbr"
)
_SVG = names(
    "svg g path rect circle ellipse line polyline polygon text tspan textpath defs clippath "
    "mask pattern marker symbol use image lineargradient radialgradient stop"
)
_GONE = names(
    "script style iframe object applet noscript noembed noframes frameset template xmp "
    "plaintext textarea title audio video canvas annotation annotation-xml foreignobject desc "
    "animate animatemotion animatetransform set"
)
"""Elements that go with all that is in them. Of others that are not known, the words stay."""

_VOID = names("br col hr img input wbr")
_ATTRIBUTES = MATHML_ATTRIBUTES | names(
    "abbr align alt autocomplete border cellpadding cellspacing checked class color colspan "
    "datetime dir disabled for headers height hidden high id label lang low max min open "
    "optimum rel reversed role rowspan rules scope selected size span start step style tabindex "
    "title type valign value width"
)
_NAME = re.compile(r"[a-z][a-z0-9:_.-]*")
_UNSEEN = re.compile(r"<!--.*?(?:-->|$)|<[!?][^>]*>?", flags=re.DOTALL)
"""Comments, declarations and instructions."""

_LOADS = re.compile(r"url\s*\(|image-set|@import|\\", flags=re.IGNORECASE)
"""In a style: what loads something, or a backslash, by which it could be written otherwise."""

_PACKED = re.compile(r"[A-Za-z0-9+/=\s]*")
_DEPTH_MAX = 200


def clean(fragment: str) -> str:
    """The same HTML with every element closed, without what could run, load, send or pretend.

    Raises ``VmcompareError`` where it has more than :data:`TAGS_MAX` tags.
    """
    # What no ">" follows is no tag; Python's parser looks for its end again and again.
    tags, end, words = _UNSEEN.sub("", fragment).rpartition(">")
    bare = tags + end + words.replace("<", "&lt;")
    if bare.count("<") > TAGS_MAX:
        raise VmcompareError(f"it has more than {TAGS_MAX:,} tags")
    parser = _Cleaner()
    parser.feed(bare)
    parser.close()
    return parser.text()


def policy(scripts: Sequence[str]) -> str:
    """A Content-Security-Policy under which only these scripts run, and nothing is loaded."""
    digests = [base64.b64encode(hashlib.sha256(s.encode()).digest()).decode() for s in scripts]
    allowed = " ".join(f"'sha256-{digest}'" for digest in digests) or "'none'"
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data:; "
        "object-src 'none'; base-uri 'none'; form-action 'none'"
    )


class _Cleaner(HTMLParser):
    """Writes down again what it lets through. One pass, so that no input takes long."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self._out: list[str] = []
        self._open: list[str] = []
        self._gone: list[str] = []
        self._packed: list[str] | None = None

    def text(self) -> str:
        return "".join(self._out) + "".join(f"</{name}>" for name in reversed(self._open))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        foreign = "math" in self._open or "svg" in self._open
        if self._gone:
            self._gone += [tag] if tag == self._gone[-1] else []
        elif tag == "script" and not foreign and dict(attrs).get("type") == FRAMES:
            self._packed = []
        elif tag == "style" and not foreign:
            self._begin(tag, [])
        elif tag in _GONE:
            self._gone.append(tag)
        elif tag in _HTML or tag in MATHML_ELEMENTS or tag in _SVG:
            self._begin(tag, attrs)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        # Outside of drawings and formulas "<p/>" opens an element; so it does in a browser.
        if tag in _GONE or "math" in self._open or "svg" in self._open:
            self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        if self._packed is not None:
            packed = "".join(self._packed)
            if tag == "script" and _PACKED.fullmatch(packed):
                self._out.append(f'<script type="{FRAMES}">{packed}</script>')
            self._packed = None
        elif self._gone:
            if tag == self._gone[-1]:
                self._gone.pop()
        elif tag in self._open:
            while (name := self._open.pop()) != tag:
                self._out.append(f"</{name}>")
            self._out.append(f"</{tag}>")

    def handle_data(self, data: str) -> None:
        if self._packed is not None:
            self._packed.append(data)
        elif self._gone:
            pass
        elif self._open and self._open[-1] == "style":
            self._out.append("" if _LOADS.search(data) else data)
        else:
            self._out.append(html.escape(data, quote=False))

    def _begin(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if len(self._open) >= _DEPTH_MAX:
            return
        kept = "".join(
            f' {name}="{html.escape(value or "")}"'
            for name, value in dict(attrs).items()
            if _NAME.fullmatch(name) and _harmless(tag, name, value or "")
        )
        self._out.append(f"<{tag}{kept}>")
        if tag not in _VOID:
            self._open.append(tag)


def _harmless(element: str, attribute: str, value: str) -> bool:
    if attribute == "style" and _LOADS.search(value):
        return False
    if attribute in ("href", "src", "xlink:href"):
        if element == "a":
            return attribute == "href" and not leads_out(value)
        # What would load something stays, so that it can be refused by name (see page).
        return element in ("img", "image", "use")
    if attribute == "name":
        # Elsewhere a name takes the place of one of the document's own properties.
        return element == "input"
    if attribute.startswith(("data-", "aria-")):
        return True
    if element in _SVG:
        return not attribute.startswith("on")
    return attribute in _ATTRIBUTES
