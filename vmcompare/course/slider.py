"""A what-if: a slider that redraws where a kernel runs, or ready-made frames in a handout.

In JupyterLab :func:`show` redraws the figure whenever the slider moves. While a handout is made
(``VMCOMPARE_HANDOUT=1``) it draws every position once and emits them as SVG frames, which the
handout's own script unpacks behind a native ``<input type=range>``.
"""

from __future__ import annotations

import base64
import gzip
import itertools
import json
from collections.abc import Sequence
from typing import Any

from markupsafe import Markup

from vmcompare.course import page
from vmcompare.course.templates import render
from vmcompare.errors import VmcompareError
from vmcompare.evidence.markdown import shown_math
from vmcompare.measuring.mode import is_handout
from vmcompare.plots import svg
from vmcompare.plots.picture import MODELLED, Picture, WhatIf

_PRINTED, _PRINTED_TALL = 4, 3  # frames on paper: two by two, or tall ones in a row


def show(whatif: WhatIf) -> None:
    """Display a modelled figure with its slider, its formula and the source of its inputs.

    If there is nothing to model (the drawing raises :class:`VmcompareError`), its sentence is shown
    instead.
    """
    try:
        if is_handout():
            page.display(page.Html(handout_html(whatif)))
        else:
            _show_live(whatif)
    except VmcompareError as error:
        page.display(page.Note(str(error)))


def handout_html(whatif: WhatIf) -> Markup:
    """The what-if as one ``<figure>`` that needs no kernel; without a script its start shows.

    Raises:
        VmcompareError: there is nothing to model.
    """
    pictures = [whatif.draw(value) for value in whatif.values]
    frames = svg.same_size([svg.shrink(picture.svg()) for picture in pictures])
    texts = [whatif.text(value) for value in whatif.values]
    # What a figure says itself is not said twice.
    captions = [picture.caption.removeprefix(MODELLED).strip() for picture in pictures]
    start, last = whatif.start, len(frames) - 1
    width, height = svg.size(frames[0]) or (1, 1)
    tall = height > width
    packed = _pack(
        frames,
        text=texts,
        alt=[picture.alt for picture in pictures],
        caption=captions,
        print=_printed(start, last, _PRINTED_TALL if tall else _PRINTED),
    )
    image = base64.b64encode(frames[start].encode()).decode()
    return render(
        "what-if",
        tall=tall, label=whatif.label, last=last, start=start, setting=texts[start],
        image=image, alt=pictures[start].alt, caption=captions[start], packed=packed,
        formula=shown_math(whatif.formula, block=True), source=whatif.source,
    )  # fmt: skip


def _show_live(whatif: WhatIf) -> None:
    import ipywidgets as widgets
    from IPython.display import Math

    first = whatif.draw(whatif.values[whatif.start])
    slider = widgets.SelectionSlider(
        # Positions, not values: two values may be written alike.
        options=[(whatif.text(value), index) for index, value in enumerate(whatif.values)],
        value=whatif.start,
        description=whatif.label,
        continuous_update=False,
        style={"description_width": "initial"},
        layout={"width": "100%", "max_width": "44em"},
    )
    output = widgets.Output()
    output.outputs = (_output(first, first.alt),)

    def redraw(change: dict[str, Any]) -> None:
        try:
            picture = whatif.draw(whatif.values[change["new"]])
            shown = _output(picture, picture.alt)
        except VmcompareError as error:
            shown = _output(page.Note(str(error)), str(error))
        # Assigned in one go: clearing first would make the page jump.
        output.outputs = (shown,)

    slider.observe(redraw, names="value")
    page.display(widgets.VBox([slider, output]))
    page.display(Math(whatif.formula.strip().strip("$")))
    words = Markup("<p><strong>Modelled</strong>, not measured. Inputs: {}</p>")
    page.display(page.Html(words.format(whatif.source)))


def _output(shown: Picture | page.Note, plain: str) -> dict[str, Any]:
    data = {"text/html": shown._repr_html_(), "text/plain": plain}
    return {"output_type": "display_data", "data": data, "metadata": {}}


def _printed(start: int, last: int, count: int) -> list[int]:
    """Positions shown on paper: both ends, the start, and what fills the widest gaps."""
    chosen = sorted({0, start, last})
    while len(chosen) < min(count, last + 1):
        low, high = max(itertools.pairwise(chosen), key=lambda gap: gap[1] - gap[0])
        chosen = sorted({*chosen, (low + high) // 2})
    return chosen


def _pack(frames: Sequence[str], **texts: Sequence[Any]) -> str:
    """Frames as runs of lines in one table (a line that frames share is stored once), zipped."""
    table: dict[str, int] = {}
    runs: list[list[int]] = []
    for frame in frames:
        run: list[int] = []
        for line in frame.splitlines():
            number = table.setdefault(line, len(table))
            if run and run[-2] + run[-1] == number:
                run[-1] += 1
            else:
                run += [number, 1]
        runs.append(run)
    content = {"lines": list(table), "frames": runs, **texts}
    raw = json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
    return base64.b64encode(gzip.compress(raw, 9, mtime=0)).decode()
