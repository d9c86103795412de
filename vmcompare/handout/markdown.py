"""Markdown as nbconvert reads it, but with formulas as MathML: no script has to draw them."""

from __future__ import annotations

import html
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath

from vmcompare.errors import VmcompareError
from vmcompare.evidence.markdown import TEXT_MAX, mathml, shown_math
from vmcompare.handout import pictures, safe

_ENVIRONMENTS_MAX = 200
"""The end of each is looked for through all of the text."""


class TextError(VmcompareError):
    """Text that cannot be rendered; the text of the error says why, as a clause."""


def to_html(
    source: str, directory: Path, attachments: Mapping[str, Any], *, trusted: bool = True
) -> str:
    """Render Markdown; pictures below ``directory`` and attachments are put into the page.

    Args:
        source: the Markdown.
        directory: the notebook's.
        attachments: of the cell: name → type → base64.
        trusted: whether an author wrote it, who wants to hear of a formula that cannot be drawn.
            In what a cell displays, which values may have gone into, it is shown as LaTeX.

    Raises:
        FormulaError: a formula of the author's cannot be drawn.
        PictureError: a picture cannot be shown.
        TextError: it is too long, or too deep.
    """
    if len(source) > TEXT_MAX or source.count(r"\begin{") > _ENVIRONMENTS_MAX:
        raise TextError(
            f"its text is longer than {TEXT_MAX:,} characters, or has more than "
            f"{_ENVIRONMENTS_MAX} formulas in environments: split the cell"
        )
    renderer = _Renderer(directory, attachments, trusted=trusted)
    try:
        return clean(str(MarkdownWithMath(renderer=renderer).render(source)))
    except RecursionError as error:
        raise TextError("its text is nested too deeply") from error


def clean(fragment: str) -> str:
    """:func:`safe.clean` of what a cell shows.

    Raises:
        TextError: it is too long.
    """
    try:
        return safe.clean(fragment)
    except ValueError as error:
        raise TextError(str(error)) from error


class _Renderer(IPythonRenderer):
    def __init__(self, directory: Path, attachments: Mapping[str, Any], *, trusted: bool) -> None:
        super().__init__(escape=False, exclude_anchor_links=True, embed_images=True)
        self._directory, self._attached = directory, attachments
        self._math = mathml if trusted else shown_math

    def block_math(self, body: str) -> str:
        return f'<div class="vmc-math">{self._math(html.unescape(body), block=True)}</div>'

    def inline_math(self, body: str) -> str:
        return self._math(html.unescape(body))

    def latex_environment(self, name: str, body: str) -> str:
        return self.block_math(rf"\begin{{{name}}}{body}\end{{{name}}}")

    def _embed_image_or_attachment(self, src: str) -> str:
        return pictures.address(src, self._directory, self._attached)

    def _html_embed_images(self, html: str) -> str:
        # It closes every element, which would empty the link in "<a href=…>words</a>".
        return str(super()._html_embed_images(html)) if "<img" in html.lower() else html

    # What nbconvert asks for an <img> in HTML.
    _src_to_base64 = _embed_image_or_attachment
