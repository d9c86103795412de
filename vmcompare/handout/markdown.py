"""Markdown as nbconvert reads it, but with formulas as MathML: no script has to draw them.

Pictures that a lesson shows are found beside its notebook, looked at, and put into the page.
"""

from __future__ import annotations

import base64
import html
import re
import unicodedata
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from nbconvert.filters.markdown_mistune import InvalidNotebook, IPythonRenderer, MarkdownWithMath

from vmcompare import paths
from vmcompare.errors import VmcompareError
from vmcompare.evidence.markdown import MATH_BLOCK, TEXT_MAX, mathml, shown_math
from vmcompare.handout import safe

_ENVIRONMENTS_MAX = 200  # the end of each is looked for through all of the text


def to_html(
    source: str, directory: Path, attachments: Mapping[str, Any], *, trusted: bool = True
) -> str:
    """Render Markdown; pictures below the notebook's ``directory`` and the cell's attachments
    (name → type → base64) are put into the page.

    An author, who is ``trusted``, wants to hear of a formula that cannot be drawn. In what a cell
    displays, which values may have gone into, it is shown as LaTeX.

    Raises ``VmcompareError``: a formula of the author's or a picture cannot be shown, or the text
    is too long or too deep; it says so as a clause.
    """
    if len(source) > TEXT_MAX or source.count(r"\begin{") > _ENVIRONMENTS_MAX:
        raise VmcompareError(
            f"its text is longer than {TEXT_MAX:,} characters, or has more than "
            f"{_ENVIRONMENTS_MAX} formulas in environments: split the cell"
        )
    renderer = _Renderer(directory, attachments, trusted=trusted)
    try:
        return safe.clean(str(MarkdownWithMath(renderer=renderer).render(source)))
    except RecursionError as error:
        raise VmcompareError("its text is nested too deeply") from error


class _Renderer(IPythonRenderer):
    def __init__(self, directory: Path, attachments: Mapping[str, Any], *, trusted: bool) -> None:
        super().__init__(
            escape=False,
            exclude_anchor_links=True,
            embed_images=True,
            attachments=dict(attachments),
        )
        self._directory = directory
        self._math = mathml if trusted else shown_math

    def block_math(self, body: str) -> str:
        return MATH_BLOCK.format(self._math(html.unescape(body), block=True))

    def inline_math(self, body: str) -> str:
        return self._math(html.unescape(body))

    def latex_environment(self, name: str, body: str) -> str:
        return self.block_math(rf"\begin{{{name}}}{body}\end{{{name}}}")

    def _embed_image_or_attachment(self, src: str) -> str:
        try:
            return str(super()._embed_image_or_attachment(src))
        except InvalidNotebook as error:
            raise VmcompareError(f"the picture {_called(src)} is not attached") from error

    def _src_to_base64(self, src: str) -> str:
        return picture_address(src, self._directory)

    def _html_embed_images(self, html: str) -> str:
        # It closes every element, which would empty the link in "<a href=…>words</a>".
        return str(super()._html_embed_images(html)) if "<img" in html.lower() else html


# ---- pictures ------------------------------------------------------------------------------------

PICTURE_MAX = 5 * 2**20  # bytes of one picture: a page has to be handed out

_KINDS: Mapping[str, re.Pattern[bytes]] = {
    "image/png": re.compile(rb"\x89PNG\r\n\x1a\n"),
    "image/jpeg": re.compile(rb"\xff\xd8\xff"),
    "image/gif": re.compile(rb"GIF8[79]a"),
    "image/webp": re.compile(rb"RIFF....WEBP", flags=re.DOTALL),
    "image/svg+xml": re.compile(
        rb"(?:\xef\xbb\xbf)?\s*(?:<\?[^>]{0,500}>\s*|<!--.{0,9000}?-->\s*|<![A-Z][^>]{0,500}>\s*){0,9}<svg\b",
        flags=re.DOTALL,
    ),
}
"""How a file of each kind begins: its name may say anything."""

_ELSEWHERE = re.compile(r"(?:[a-z][a-z0-9+.-]*:)?//|data:", flags=re.IGNORECASE)


def picture_address(source: str, directory: Path) -> str:
    """A picture as a ``data:`` address; one on the web is left as it is.

    ``source`` is what the notebook has: a path (percent-coded or not) in or below its
    ``directory``. Raises ``VmcompareError`` where it is not there, not a picture, too large, or
    elsewhere on this computer.
    """
    if _ELSEWHERE.match(source):
        return source
    data = _picture(source, directory)
    kind = next((kind for kind, begins in _KINDS.items() if begins.match(data)), None)
    if kind is None:
        raise VmcompareError(f"{_called(source)} is not a picture (PNG, JPEG, GIF, WebP or SVG)")
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def _candidates(source: str, directory: Path) -> Iterator[Path]:
    """As written; decoded; and, as in an address, without what follows ``?`` or ``#``."""
    for written in (source, unquote(source)):
        for form in (written, re.split(r"[?#]", written)[0], unicodedata.normalize("NFD", written)):
            if form and "\0" not in form and len(form) < 1000:
                yield directory / form


def _picture(source: str, directory: Path) -> bytes:
    try:
        path = next((p for p in _candidates(source, directory) if p.exists()), None)
        if path is None:
            raise VmcompareError(f"there is no picture {_called(source)} beside the notebook")
        if not path.resolve().is_relative_to(directory.resolve()):
            raise VmcompareError(f"{_called(source)} lies outside the notebook's folder")
        return paths.read(path, PICTURE_MAX)
    except OSError as error:
        raise VmcompareError(f"{_called(source)} cannot be read ({error.strerror})") from error


def _called(name: str) -> str:
    """A name in a sentence: on one line, and not endless."""
    shown = "".join(c if c.isprintable() else "�" for c in unquote(name))
    return f"“{shown if len(shown) <= 80 else shown[:80] + '…'}”"
