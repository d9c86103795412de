"""Markdown as nbconvert reads it, but with formulas as MathML: no script has to draw them."""

from __future__ import annotations

import html
from pathlib import Path

from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath

from ..prose import mathml


def to_html(source: str, directory: Path, attachments: dict[str, dict[str, str]]) -> str:
    """Render Markdown; pictures below ``directory`` and attachments are put into the page."""
    renderer = _Renderer(
        escape=False,
        exclude_anchor_links=True,
        embed_images=True,
        path=str(directory),
        attachments=attachments,
    )
    return str(MarkdownWithMath(renderer=renderer).render(source))


class _Renderer(IPythonRenderer):
    def block_math(self, body: str) -> str:
        return f'<div class="vmc-math">{mathml(html.unescape(body), block=True)}</div>'

    def inline_math(self, body: str) -> str:
        return mathml(html.unescape(body))

    def latex_environment(self, name: str, body: str) -> str:
        return self.block_math(rf"\begin{{{name}}}{body}\end{{{name}}}")
