"""Markdown and formulas as HTML that needs no script."""

from __future__ import annotations

import html
import re
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mistune import Markdown


def to_html(text: str) -> str:
    """Markdown (with tables, and formulas between dollar signs) as HTML; raw HTML is shown."""
    return str(_markdown()(text)).strip()


def inline(text: str) -> str:
    """The same without the paragraph around it, where there is only one."""
    markup = to_html(text)
    alone = markup.startswith("<p>") and markup.endswith("</p>") and markup.count("<p>") == 1
    return markup[3:-4] if alone else markup


def plain(text: str) -> str:
    """Markdown as words, for labels that can hold nothing else."""
    return html.unescape(re.sub(r"<[^>]+>", "", inline(text)))


def mathml(tex: str, *, block: bool = False) -> str:
    """LaTeX as a ``<math>`` element, which browsers draw without any script."""
    from latex2mathml.converter import convert

    return str(convert(tex.strip().strip("$").strip(), display="block" if block else "inline"))


@cache
def _markdown() -> Markdown:
    import mistune

    markdown = mistune.create_markdown(escape=True, plugins=["table", "math"])
    renderer: Any = markdown.renderer
    renderer.register("inline_math", lambda _, tex: mathml(html.unescape(tex)))
    renderer.register(
        "block_math",
        lambda _, tex: f'<div class="vmc-math">{mathml(html.unescape(tex), block=True)}</div>\n',
    )
    return markdown
