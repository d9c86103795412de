"""A what-if: a slider that redraws where a kernel runs, or ready-made frames in a handout.

A handout's own script unpacks the SVG frames behind a native ``<input type=range>``.
"""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Callable

from markupsafe import Markup

from vmcompare.course import page
from vmcompare.course.templates import render
from vmcompare.evidence.markdown import shown_math
from vmcompare.measuring.mode import is_handout
from vmcompare.plots import svg
from vmcompare.plots.picture import WhatIf, zoomable


def show(
    model: Callable[[], WhatIf],
    follow: Callable[[Callable[[], None]], object] = lambda redraw: None,  # noqa: ARG005
) -> None:
    """Display a modelled figure with its slider, its formula and the source of its inputs.

    ``follow`` is given what to call when other rows are shown; by default nobody is.
    """
    if is_handout():
        page.display(page.safely(lambda: page.Html(handout_html(model()))))
    else:
        follow(_live(model))


def handout_html(whatif: WhatIf) -> Markup:
    """The what-if as one ``<figure>`` that needs no kernel; without a script its start shows."""
    pictures = [whatif.draw(value) for value in whatif.values]
    drawn = [picture.svg() for picture in pictures]
    name = svg.name_of(drawn[0])  # one for all frames, which so have more in common
    frames = [svg.shrink(drawing, name) for drawing in drawn]
    texts = [whatif.text(value) for value in whatif.values]
    start, last = whatif.start, len(frames) - 1
    content = {
        "frames": frames,
        "setting": texts,
        "alt": [picture.alt for picture in pictures],
        "caption": [picture.brief for picture in pictures],
        "notes": [picture.caption for picture in pictures],
        "print": _printed(start, last),
    }
    raw = json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
    packed = base64.b64encode(gzip.compress(raw, 9, mtime=0)).decode()
    shown = zoomable(svg.inline(frames[start], pictures[start].alt), f"{name}-{start}")
    return render(
        "what-if",
        label=whatif.label, last=last, start=start, setting=texts[start],
        drawing=shown, caption=pictures[start].brief,
        notes=pictures[start].caption, packed=packed,
        formula=shown_math(whatif.formula, block=True), source=whatif.source,
    )  # fmt: skip


def _live(model: Callable[[], WhatIf]) -> Callable[[], None]:
    """A slider above the picture of its position. Returns what begins it anew, for other rows."""
    import ipywidgets as widgets

    # It holds the slider, if there is anything to model.
    above = page.needs_kernel(widgets.VBox())

    def begun() -> page.Html:
        for old in above.children:
            old.close()
        above.children = ()
        whatif = model()
        shown = _modelled(whatif, whatif.start)
        slider = widgets.SelectionSlider(
            # Positions, not values: two values may be written alike.
            options=[(whatif.text(value), index) for index, value in enumerate(whatif.values)],
            value=whatif.start,
            description=whatif.label,
            continuous_update=False,
            style={"description_width": "initial"},
            layout={"width": "100%", "max_width": "44em"},
        )
        slider.observe(
            lambda change: place.show(page.safely(lambda: _modelled(whatif, change["new"]))),
            names="value",
        )
        above.children = (slider,)
        return shown

    place = page.Place(page.safely(begun), lambda picture: widgets.VBox([above, picture]))
    return lambda: place.show(page.safely(begun))


def _modelled(whatif: WhatIf, position: int) -> page.Html:
    drawn = Markup(whatif.draw(whatif.values[position])._repr_html_())
    formula = shown_math(whatif.formula, block=True)
    return page.Html(_MODELLED.format(drawn, formula, whatif.source))


_MODELLED = Markup(
    "{}<p><strong>Modelled</strong>, not measured.</p>"
    '<details class="vmc-more"><summary>The model</summary>{}<p>Inputs: {}</p></details>'
)


def _printed(start: int, last: int) -> list[int]:
    """Positions shown on paper, one below the other: both ends, and the start or the middle."""
    return sorted({0, start if 0 < start < last else last // 2, last})
