"""A figure with its words: what every plot function returns, and what lab and handout both show."""

from __future__ import annotations

import io
import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from markupsafe import Markup, escape

from vmcompare.plots import style, svg

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Placeholders = Mapping[str, str | bool | int | float]
"""Name of a placeholder in a lesson's text → what stands for it; text is formatted for people."""

MODELLED = "Modelled, not measured."  # what is said of every picture of a model

_NOT_XML = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
"""Characters that no XML may hold: with one of them a browser (or matplotlib) draws nothing."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A matplotlib figure (made without pyplot) with its text alternative and caption.

    Attributes:
        alt: the text alternative, made from the data the figure shows.
        caption: provenance and warnings, folded away under the figure.
        placeholders: values for the words that the lesson's text adds.
        brief: the few words that stand under the figure; without any, the caption does.
    """

    figure: Figure
    alt: str
    caption: str = ""
    placeholders: Placeholders = field(default_factory=dict)
    brief: str = ""

    @property
    def words(self) -> str:
        """All that stands under the figure, folded or not."""
        return f"{self.brief} {self.caption}".strip()

    def svg(self) -> str:
        """The figure as an ``<svg>`` element; the same figure always gives the same bytes."""
        from matplotlib.backends.backend_svg import FigureCanvasSVG
        from matplotlib.text import Text

        for label in self.figure.findobj(Text):
            assert isinstance(label, Text)
            if _NOT_XML.search(label.get_text()):
                label.set_text(_NOT_XML.sub("\ufffd", label.get_text()))
        buffer = io.StringIO()
        unsaid = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        with style.own():
            # Not savefig: that draws twice, the first time for the layout alone.
            FigureCanvasSVG(self.figure).print_svg(buffer, metadata=unsaid)  # type: ignore[no-untyped-call]
        text = buffer.getvalue()
        return text[text.index("<svg") :].strip()

    def _repr_html_(self) -> str:
        """One ``<figure>`` with alt text, the same in JupyterLab and in a handout."""
        drawing = svg.inline(svg.shrink(self.svg()), self.alt)
        words = Markup("<p>{}</p>").format(whole_dates(self.brief)) if self.brief else ""
        if self.caption:
            words += (_FOLDED if self.brief else Markup("<p>{}</p>")).format(self.caption)
        caption = _CAPTION.format(words) if words else ""
        return str(_FIGURE.format(zoomable(drawing), caption))


def whole_dates(text: str) -> Markup:
    """``text`` as HTML in which no line ends within a date."""
    return Markup(_DATE.sub(_WHOLE, str(escape(text))))


def zoomable(drawing: Markup, name: str = "") -> Markup:
    """A drawing under a button that shows it alone on the whole screen, and shrinks it again.

    It needs no script: the drawing is a popover that is displayed in its place until it is opened.
    So Escape closes it, and it works where a page may run nothing. ``name`` is the id of the
    popover; by default one that no other page has.
    """
    return _ZOOMABLE.format(name=name or f"vmc-{secrets.token_hex(4)}", drawing=drawing)


def figure_css() -> str:
    """How a drawing stands in its page and alone on the screen."""
    return (Path(__file__).parent / "figure.css").read_text(encoding="utf-8")


# Markup escapes what is put into it; templates of pages lie in the course, which plots do not know.
_FIGURE = Markup('<figure class="vmc-picture" style="margin:0">{}{}</figure>')
_ZOOMABLE = Markup(
    # JupyterLab would take Enter and Escape for its own.
    '<div class="vmc-figure" popover id="{name}" data-lm-suppress-shortcuts="true">{drawing}'
    '<button type="button" popovertarget="{name}" title="Full screen"'
    ' aria-label="Full screen, or back"></button></div>'
)
_DATE = re.compile(r"\b\d{4}-\d\d-\d\d\b[.,;]?")
_WHOLE = r'<span style="white-space:nowrap">\g<0></span>'
_CAPTION = Markup("<figcaption>{}</figcaption>")
_FOLDED = Markup(
    '<details class="vmc-more"><summary>Where this comes from</summary><p>{}</p></details>'
)


@dataclass(frozen=True, slots=True)
class WhatIf:
    """A modelled figure with one slider; ``label`` to ``source`` come from the lesson's text.

    Attributes:
        values: its positions, in order (at most about 60, so that a handout stays small).
        start: index of the position shown first.
        draw: position value → picture; its ``alt`` says the result in words.
        formula: the model as LaTeX, in terms of measured quantities.
        source: where the measured inputs come from, one line.
        placeholders: values for the words of the text, whatever the position.
    """

    values: Sequence[float]
    start: int
    draw: Callable[[float], Picture]
    label: str = ""
    unit: str = ""
    formula: str = ""
    source: str = ""
    placeholders: Placeholders = field(default_factory=dict)

    def text(self, value: float) -> str:
        return f"{value:,g} {self.unit}".strip()
