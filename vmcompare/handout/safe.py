"""What a cell may put into a page: words, tables, pictures and formulas, but nothing that runs.

Two barriers stand one behind the other: :func:`clean` lets through only what is known to be
harmless, and :func:`policy` tells the browser to run the page's own script alone and to load
nothing.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Sequence

from bs4 import BeautifulSoup
from bs4.element import PreformattedString, Tag

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

_ATTRIBUTES = MATHML_ATTRIBUTES | names(
    "abbr align alt autocomplete border cellpadding cellspacing checked class color colspan "
    "datetime dir disabled for headers height hidden high id label lang low max min open "
    "optimum rel reversed role rowspan rules scope selected size span start step style tabindex "
    "title type valign value width"
)
_NAME = re.compile(r"[a-z][a-z0-9:_.-]*")
_UNSEEN = re.compile(r"<!--.*?(?:-->|$)|<[!?][^>]*>?", flags=re.DOTALL)
"""Comments, declarations and instructions."""

_LOADS = re.compile(r"url\s*\(|image-set|@import|\\|<", flags=re.IGNORECASE)
"""In a style: what loads something; a backslash, by which it could be written otherwise; the
beginning of a tag, as browsers end a style where Python's parser does not (``</style/>``)."""

_PACKED = re.compile(r"[A-Za-z0-9+/=\s]*")
_DEPTH_MAX = 200
_KNOWN = _HTML | _SVG | MATHML_ELEMENTS


def clean(fragment: str) -> str:
    """The same HTML with every element closed, without what could run, load, send or pretend.

    Raises ``VmcompareError`` where it has more than :data:`TAGS_MAX` tags.
    """
    # What no ">" follows is no tag; Python's parser looks for its end again and again.
    tags, end, words = _UNSEEN.sub("", fragment).rpartition(">")
    bare = tags + end + words.replace("<", "&lt;")
    if bare.count("<") > TAGS_MAX:
        raise VmcompareError(f"it has more than {TAGS_MAX:,} tags")
    if "<" not in bare:
        return bare  # of words alone the parser would warn: they may be the name of a file
    soup = BeautifulSoup(bare, features="html.parser", multi_valued_attributes=None)
    for unseen in soup.find_all(string=lambda words: isinstance(words, PreformattedString)):
        unseen.extract()
    _clean_below(soup)
    return str(soup)


def _clean_below(soup: BeautifulSoup) -> None:
    below: list[tuple[Tag, int, bool]] = [(soup, 0, False)]
    while below:
        above, depth, foreign = below.pop()
        for tag in above.find_all(True, recursive=False):
            attributes, tag.attrs = {n: str(v) for n, v in tag.attrs.items()}, {}
            if not foreign and tag.name == "style" and not _LOADS.search(tag.get_text()):
                continue
            if not foreign and tag.name == "script" and attributes.get("type") == FRAMES:
                tag.attrs = {"type": FRAMES} if _PACKED.fullmatch(tag.get_text()) else {}
            if tag.name in _GONE and not tag.attrs:
                tag.decompose()
            elif tag.name not in _GONE:
                tag.hidden = tag.name not in _KNOWN or depth >= _DEPTH_MAX  # its words stay
                tag.attrs = {n: v for n, v in attributes.items() if _harmless(tag.name, n, v)}
                inner = foreign or tag.name in ("math", "svg")
                below.append((tag, depth + (not tag.hidden), inner))


def policy(scripts: Sequence[str]) -> str:
    """A Content-Security-Policy under which only these scripts run, and nothing is loaded."""
    digests = [base64.b64encode(hashlib.sha256(s.encode()).digest()).decode() for s in scripts]
    allowed = " ".join(f"'sha256-{digest}'" for digest in digests) or "'none'"
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data:; "
        "object-src 'none'; base-uri 'none'; form-action 'none'"
    )


def _harmless(element: str, attribute: str, value: str) -> bool:
    if not _NAME.fullmatch(attribute) or (attribute == "style" and _LOADS.search(value)):
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
