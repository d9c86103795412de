"""The what-if: live with widgets, packed in a handout, one sentence where there is no model."""

from __future__ import annotations

import base64
import gzip
import json
from types import SimpleNamespace
from typing import Any

import pytest
from bs4 import BeautifulSoup
from matplotlib.figure import Figure

from vmcompare.course import slider
from vmcompare.errors import Unavailable
from vmcompare.measuring.mode import HANDOUT_ENV
from vmcompare.plots import svg
from vmcompare.plots.picture import Picture, WhatIf

WIDE_LABEL_FROM = 3


def toy(value: float) -> Picture:
    figure = Figure(figsize=(4, 2))
    axes = figure.subplots()
    axes.plot([0, 1, 2], [0, value, 2 * value], "o")
    axes.set_title("Test figure, not measured")
    if value >= WIDE_LABEL_FROM:
        axes.set_ylabel("a label\non two lines")
    return Picture(figure, f"Test figure at {value:g}.", "Made up.")


def nothing(value: float) -> Picture:
    raise Unavailable(f"nothing was measured at {value:g}", "run the measurement first")


def model(draw: Any = toy, **changed: Any) -> WhatIf:
    values = {"label": "Toy <load>", "values": [1, 2, 3, 4, 5, 6], "start": 2, "unit": "s"}
    return WhatIf(**values | changed, draw=draw, formula=r"$y = \frac{a}{b}$", source="a <test>")


class Displayed:
    """What a notebook with a kernel shows: a box with a slider and a picture, and plain output."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv(HANDOUT_ENV, raising=False)
        monkeypatch.setattr("vmcompare.course.page.has_kernel", lambda: True)
        monkeypatch.setattr("IPython.display.display", self._display)
        self.widgets: list[Any] = []
        self.plain: Any = None

    def _display(self, shown: Any, *, display_id: bool = False) -> Any:
        if not display_id:
            self.widgets.append(shown.widget)
            return None
        self.plain = shown
        return SimpleNamespace(update=lambda newer: setattr(self, "plain", newer))

    @property
    def sliders(self) -> tuple[Any, ...]:
        [box] = self.widgets
        return tuple(box.children[0].children)

    @property
    def html(self) -> str:
        """What the widget shows; the plain output says the same, its drawings as pictures."""
        [box] = self.widgets
        shown = box.children[1].value.partition('<div class="vmc-live jp-RenderedHTMLCommon">')[2]
        assert shown
        assert svg.as_images(shown) in self.plain._repr_html_()
        return str(shown)


@pytest.fixture
def displayed(monkeypatch: pytest.MonkeyPatch) -> Displayed:
    return Displayed(monkeypatch)


def test_a_slider_that_is_moved_redraws_the_picture_and_the_plain_output(
    displayed: Displayed,
) -> None:
    slider.show(model)
    [moved] = displayed.sliders
    assert moved.description == "Toy <load>"
    assert moved.label == "3 s"
    assert 'aria-label="Test figure at 3."' in displayed.html
    assert "<mfrac>" in displayed.html
    assert "<strong>Modelled</strong>, not measured." in displayed.html
    assert "Inputs: a &lt;test&gt;" in displayed.html
    moved.value = 5
    assert moved.label == "6 s"
    assert 'aria-label="Test figure at 6."' in displayed.html


def test_a_position_that_cannot_be_drawn_says_why(displayed: Displayed) -> None:
    slider.show(
        lambda: model(lambda value: toy(value) if value < WIDE_LABEL_FROM + 1 else nothing(value))
    )
    [moved] = displayed.sliders
    moved.value = 5
    assert "nothing was measured at 6. Next step: run the measurement first" in displayed.html
    moved.value = 0
    assert 'aria-label="Test figure at 1."' in displayed.html


def test_other_rows_bring_another_slider_and_none_where_there_is_nothing_to_model(
    displayed: Displayed,
) -> None:
    models = [model(nothing), model(unit="min"), model(nothing)]
    redraws: list[Any] = []
    slider.show(lambda: models.pop(), redraws.append)
    [redraw] = redraws
    assert displayed.sliders == ()
    assert "Next step: run the measurement first" in displayed.html
    redraw()
    assert [one.label for one in displayed.sliders] == ["3 min"]
    assert 'aria-label="Test figure at 3."' in displayed.html
    redraw()
    assert displayed.sliders == ()


def test_a_handout_says_why_there_is_nothing_to_model(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[Any] = []
    monkeypatch.setattr("IPython.display.display", shown.append)
    monkeypatch.setenv(HANDOUT_ENV, "1")
    slider.show(lambda: model(nothing))
    [note] = shown
    assert "Next step: run the measurement first" in note._repr_html_()


def test_packed_frames_come_out_whole() -> None:
    soup = BeautifulSoup(slider.handout_html(model()), "html.parser")
    packed = gzip.decompress(base64.b64decode(soup.select_one("script").text))
    content = json.loads(packed)
    assert content["setting"] == ["1 s", "2 s", "3 s", "4 s", "5 s", "6 s"]
    assert content["alt"][5] == "Test figure at 6."
    assert content["print"] == [0, 2, 5]
    frames = content["frames"]
    shown = soup.select_one(".vmc-frame svg")
    assert shown["aria-label"] == "Test figure at 3."
    of_frame = BeautifulSoup(frames[2], "html.parser").svg
    assert [path["d"] for path in shown.select("path")] == [p["d"] for p in of_frame.select("path")]
    heads = {frame.split(">", 1)[0] for frame in frames}
    assert len(heads) == 1, "frames differ in size: the page would jump"
    assert soup.select_one(".vmc-control span").text == "Toy <load>"
    words = " ".join(soup.select_one("figcaption > p").text.split())
    assert words == "Modelled, not measured. Toy <load>: 3 s."
    folded = soup.select_one("figcaption > details")
    assert folded.select_one("mfrac") is not None
    assert "a <test>" in folded.text
    assert "Made up." in folded.text


@pytest.mark.parametrize(
    ("start", "last", "printed"),
    [(0, 0, [0]), (0, 1, [0, 1]), (1, 2, [0, 1, 2]), (8, 38, [0, 8, 38]), (9, 9, [0, 4, 9])],
)
def test_positions_on_paper(start: int, last: int, printed: list[int]) -> None:
    assert slider._printed(start, last) == printed


def test_shrinking_keeps_what_decides_size_and_style() -> None:
    line = '<use xlink:href="#m1" x="1.23456" y="2" style="fill: red"/>'
    drawn = (
        '<svg width="9.87654pt" height="1pt"><defs><style type="text/css">*{a:b}</style>'
        '<path id="m1" d="M 0.123456 -10.999999"/></defs><!-- gone -->\n'
        f'  <g id="figure_1" transform="scale(0.015625)">\n{line}\n{line}\n{line}\n</g></svg>'
    )
    short = svg.shrink(drawn)
    assert 'width="9.87654pt"' in short
    assert "scale(0.015625)" in short
    assert 'd="M 0.12 -11"' in short
    assert short.count('x="1.23"') == 3
    assert short.count("fill: red") == 1
    name = svg.name_of(drawn)
    assert f".{name}s0{{fill: red}}" in short
    assert short.count(f'class="{name}s0"') == 3
    assert f".{name} *{{a:b}}" in short  # of this drawing alone
    assert "figure_1" not in short
    assert "gone" not in short
    assert f'id="{name}m1"' in short
    assert short.count(f'href="#{name}m1"') == 3
