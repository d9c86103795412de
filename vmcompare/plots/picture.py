"""A figure with its words: what every plot function returns, and what lab and handout both show."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from markupsafe import Markup

from vmcompare.plots import style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Placeholders = Mapping[str, str | bool | int | float]
"""Name of a placeholder in a lesson's text → what stands for it; text is formatted for people."""

MODELLED = "Modelled, not measured."
"""What is said of every picture of a model."""

_NOT_XML = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
"""Characters that no XML may hold: with one of them a browser (or matplotlib) draws nothing."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A matplotlib figure with its text alternative and caption.

    Attributes:
        figure: the figure (made without pyplot, so nothing has to be closed).
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
        from matplotlib.text import Text

        for label in self.figure.findobj(Text):
            assert isinstance(label, Text)
            if _NOT_XML.search(label.get_text()):
                label.set_text(_NOT_XML.sub("\ufffd", label.get_text()))
        buffer = io.StringIO()
        with style.own():
            self.figure.savefig(
                buffer,
                format="svg",
                metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")),
            )
        text = buffer.getvalue()
        return text[text.index("<svg") :].strip()

    def _repr_html_(self) -> str:
        """One ``<figure>`` with alt text, the same in JupyterLab and in a handout."""
        data = base64.b64encode(self.svg().encode()).decode()
        words = Markup("<p>{}</p>").format(self.brief) if self.brief else ""
        if self.caption:
            words += (_FOLDED if self.brief else Markup("<p>{}</p>")).format(self.caption)
        caption = _CAPTION.format(words) if words else ""
        return str(_FIGURE.format(alt=self.alt, data=data, caption=caption))


# Markup escapes what is put into it; templates of pages lie in the course, which plots do not know.
_FIGURE = Markup(
    '<figure class="vmc-picture" style="margin:0"><img alt="{alt}" '
    'style="max-width:100%;background:#fff" src="data:image/svg+xml;base64,{data}">'
    "{caption}</figure>"
)
_CAPTION = Markup("<figcaption>{}</figcaption>")
_FOLDED = Markup(
    '<details class="vmc-more"><summary>Where this comes from</summary><p>{}</p></details>'
)


@dataclass(frozen=True, slots=True)
class WhatIf:
    """A modelled figure with one slider.

    Attributes:
        label, unit, formula, source: words; empty where the lesson's text has them.
        values: its positions, in order (at most about 60, so that a handout stays small).
        start: index of the position shown first.
        draw: position value → picture (its ``alt`` says the result in words; its ``placeholders``
            are values for the words of the text that depend on the position).
        label: what the slider sets.
        unit: written behind the value.
        formula: the model as LaTeX (shown under the figure), in terms of measured quantities.
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
        """A position of the slider, written for people."""
        return f"{value:g} {self.unit}".strip()
