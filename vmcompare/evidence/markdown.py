"""Markdown and formulas as HTML that needs no script and carries none.

What comes out is safe whatever went in: raw HTML is shown, pictures become their words, and links
lead to web pages or within the course. Text that is no Markdown of ours goes through
:func:`literal` or :func:`code`, so that it is shown as it was written.
"""

from __future__ import annotations

import html
import re
from functools import cache
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from vmcompare.errors import VmcompareError

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

    from mistune import Markdown

TEXT_MAX = 30_000
"""Characters of Markdown that are rendered; its parsers take quadratic time for some texts."""

MATH_BLOCK = Markup('<div class="vmc-math">{}</div>')
"""What stands around a formula on a line of its own."""

_TEX_MAX = 2_000
_ANYWHERE = re.compile(r"([\\`*_\[\]<>|$&~!])")
_AT_BEGINNING = re.compile(r"^(?:(?=[#+=-])|\d+(?=[.)](?:\s|$)))")
"""What stands before a mark that begins a heading or a list: nothing, or the number of ``1.``"""
_ESCAPED = re.compile(r"\\([\\`*_\[\]<>|$&~!#+=.)-])")
_DEFINING = re.compile(r"\\(?:(?:re)?new|provide|[egx]?def|let|declare|require)", re.IGNORECASE)
"""Macros can double a formula at every step; a lesson's formulas need none."""

_SCHEME = re.compile(r"^([a-z][a-z0-9+.-]*):", re.IGNORECASE)
_IGNORED = re.compile(r"[\x00-\x20\x7f-\x9f\u2028\u2029]")
"""What browsers leave out of the beginning of an address, or anywhere in it."""


def names(words: str) -> frozenset[str]:
    return frozenset(words.split())


MATHML_ELEMENTS = names(
    "math menclose mfrac mi mmultiscripts mn mo mover mpadded mphantom mprescripts mroot mrow "
    "ms mspace msqrt mstyle msub msubsup msup mtable mtd mtext mtr munder munderover none"
)
"""Elements of MathML that draw something; none leads away, and none holds HTML."""

MATHML_ATTRIBUTES = names(
    "accent accentunder align columnalign columnlines columnspacing columnspan depth display "
    "displaystyle fence form height largeop linethickness lspace mathbackground mathcolor "
    "mathsize mathvariant maxsize minsize movablelimits notation rowlines rowspacing rowspan "
    "rspace scriptlevel separator stretchy symmetric voffset width xmlns"
)
"""Their attributes that say how; neither ``href`` nor ``style`` nor what runs a script."""


class FormulaError(VmcompareError):
    def __init__(self, tex: str) -> None:
        self.tex = tex
        shown = " ".join(tex.split())
        shown = shown if len(shown) <= 60 else f"{shown[:60]}…"
        super().__init__(f"the formula `{shown}` cannot be drawn")


def literal(text: object) -> str:
    """``text`` as Markdown that shows it as it is written, on one line."""
    words = " ".join(str(text).split())
    return _AT_BEGINNING.sub(r"\g<0>\\", _ANYWHERE.sub(r"\\\1", words))


def code(text: object) -> str:
    """``text`` as Markdown that shows it as code, whatever it holds."""
    words = " ".join(str(text).split())
    # A value that holds backticks is told apart by more of them, and by a space at both ends.
    fence = "`" * (max(map(len, re.findall("`+", words)), default=0) + 1)
    return f"{fence}{words}{fence}" if fence == "`" else f"{fence} {words} {fence}"


def unescaped(text: str) -> str:
    """Markdown for a terminal: without the backslashes that :func:`literal` put in."""
    return _ESCAPED.sub(r"\1", text)


def to_html(text: str) -> Markup:
    """Markdown (with tables, and formulas between dollar signs) as HTML; raw HTML is shown.

    What cannot be rendered, or is longer than :data:`TEXT_MAX`, is shown as it is written.
    """
    if len(text) <= TEXT_MAX:
        try:
            return Markup(str(_markdown()(text)).strip())
        except RecursionError:
            pass
    return Markup("<pre>{}</pre>").format(text)


def inline(text: str) -> Markup:
    """The same without the paragraph around it, where there is only one."""
    markup = to_html(text)
    alone = markup.startswith("<p>") and markup.endswith("</p>") and markup.count("<p>") == 1
    return markup[3:-4] if alone else markup


def plain(text: str) -> str:
    """Markdown as words, for labels that can hold nothing else."""
    return html.unescape(re.sub(r"<[^>]+>", "", str(inline(text))))


def mathml(tex: str, *, block: bool = False) -> Markup:
    """LaTeX as a ``<math>`` element, which browsers draw without any script.

    Only :data:`MATHML_ELEMENTS` with :data:`MATHML_ATTRIBUTES` come out; all text is escaped.
    Raises ``FormulaError`` where it is none, or too long or too deep to be one.
    """
    from latex2mathml.converter import convert_to_element

    bare = tex.strip().strip("$").strip()
    if not bare or len(bare) > _TEX_MAX or _DEFINING.search(bare):
        raise FormulaError(tex)
    try:
        # Not its convert(): that undoes the escaping of what stands in the formula.
        return Markup(_serialised(convert_to_element(bare, display="block" if block else "inline")))
    except Exception as error:
        raise FormulaError(tex) from error


def shown_math(tex: str, *, block: bool = False) -> Markup:
    """The same; a formula that cannot be drawn is shown as LaTeX."""
    try:
        return mathml(tex, block=block)
    except FormulaError:
        mark = "$$" if block else "$"
        return Markup("<code>{}{}{}</code>").format(mark, tex, mark)


def leads_out(address: str) -> bool:
    """Whether an address is neither a web page's (or e-mail) nor one within the course."""
    scheme = _SCHEME.match(_IGNORED.sub("", address))
    return scheme is not None and scheme[1].lower() not in ("http", "https", "mailto")


def _serialised(element: Element) -> str:
    # Text comes with entities in it ("&#x0003D;"), which are meant as characters.
    within = (_serialised(child) + _text(child.tail) for child in element)
    inner = "".join([_text(element.text), *within])
    if element.tag not in MATHML_ELEMENTS:
        return inner
    attributes = "".join(
        f' {name}="{html.escape(value)}"'
        for name, value in element.attrib.items()
        if name in MATHML_ATTRIBUTES
    )
    if not inner:
        return f"<{element.tag}{attributes} />"
    return f"<{element.tag}{attributes}>{inner}</{element.tag}>"


def _text(text: str | None) -> str:
    return html.escape(html.unescape(text or ""), quote=False)


@cache
def _markdown() -> Markdown:
    import mistune

    markdown = mistune.create_markdown(escape=True, plugins=["table", "math"])
    renderer: Any = markdown.renderer
    renderer.register("inline_math", lambda _, tex: shown_math(html.unescape(tex)))
    renderer.register(
        "block_math",
        lambda _, tex: MATH_BLOCK.format(shown_math(html.unescape(tex), block=True)) + "\n",
    )
    drawn_link = renderer.link

    def link(text: str, url: str, title: str | None = None) -> str:
        return text if leads_out(html.unescape(url)) else str(drawn_link(text, url, title))

    renderer.link = link
    renderer.image = lambda text, url, title=None: text  # noqa: ARG005 - mistune's signature
    return markdown
