"""Drawings on a page: they follow its theme, they mix with no other, and they fit a screen."""

from __future__ import annotations

import base64
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest
from bs4 import BeautifulSoup
from test_pictures import all_series

from vmcompare.evidence.recording import read, recordings
from vmcompare.evidence.view import compose
from vmcompare.experiments.explanation import explanation
from vmcompare.measuring.experiment import discover
from vmcompare.paths import data_dir
from vmcompare.plots import style, svg
from vmcompare.plots.picture import Picture, zoomable

FIGURES = [
    (experiment, name) for experiment in discover() for name in explanation(experiment).figures
]
SCREEN_PX, FULL_TEXT_PX = (1920, 1080), 24
HEIGHT_PX = 530
"""What a window of 1366 x 768 leaves beside a caption."""


def luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    """WCAG contrast of two colours ``#RRGGBB``."""
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def of(experiment: str, name: str) -> Picture:
    [path, *_] = recordings(data_dir() / "recordings", experiment)
    picture: Picture = explanation(experiment).figures[name](compose(None, read(path)))
    return picture


@pytest.fixture
def drawn() -> Picture:
    with style.own():
        figure = style.figure(2)
        axes = figure.subplots()
        axes.bar([0, 1], [1, 2], color=style.BLUE, hatch="//", edgecolor="black")
        axes.text(0, 1, "words")
    return Picture(figure, 'Two bars, "a" & <b>.')


def test_ink_and_paper_are_variables_that_fall_back_to_dark_on_white(drawn: Picture) -> None:
    page = drawn._repr_html_()
    assert not re.search(r"(?<!,)#(?:000000|ffffff)", page, re.IGNORECASE)
    assert "var(--vmc-paper,#ffffff)" in page
    root = BeautifulSoup(page, "html.parser").svg
    assert root is not None
    assert root["fill"] == "var(--vmc-ink,#000000)"  # of words, too: they have no fill of their own


def test_colours_that_are_written_in_words_stay_as_they_are(drawn: Picture) -> None:
    drawn.figure.axes[0].texts[0].set_text("colour #000000")
    assert ">colour #000000<" in drawn._repr_html_()


@pytest.mark.parametrize("paper", ["#ffffff", dict(svg.THEME.values())["paper"], "#111111"])
def test_every_series_has_enough_contrast_on_light_and_dark_paper(paper: str) -> None:
    ink = "#000000" if paper == "#ffffff" else dict(svg.THEME.values())["ink"]
    for series in all_series():
        colour = style.look(series).colour
        assert contrast(ink if colour == style.BLACK else colour, paper) >= 3


def test_words_have_enough_contrast_on_every_ground_they_stand_on() -> None:
    dark = dict(svg.THEME.values())
    grounds = {light: dark[name] for light, (name, _) in svg.THEME.items()}
    for ground in (style.SOFT, style.TINT_GREEN, style.TINT_RED):
        assert contrast(style.BLACK, ground) >= 4.5
        assert contrast(dark["ink"], grounds[ground.lower()]) >= 4.5
    assert contrast(style.ON_COLOUR, style.BLUE) >= 4.5
    assert contrast(dark["quiet"], dark["paper"]) >= 4.5


def test_two_drawings_on_a_page_share_neither_ids_nor_styles(drawn: Picture) -> None:
    one = drawn._repr_html_()
    drawn.figure.axes[0].set_title("another")
    other = drawn._repr_html_()
    names = [
        set(re.findall(r'\b(?:id|class)="([^"]*)"', page)) - {"vmc-picture", "vmc-figure"}
        for page in (one, other)
    ]
    assert all(names)
    assert not names[0] & names[1]
    for rules in re.findall(r"<style>(.*?)</style>", one, re.DOTALL):
        assert all(rule.strip().startswith(".v") for rule in rules.split("}") if rule.strip())


def test_a_hatching_survives_where_styles_with_addresses_do_not(drawn: Picture) -> None:
    bars = re.findall(r'<path[^>]* fill="url\(#v[^"]*\)"', drawn._repr_html_())
    assert len(bars) == 2


def test_a_drawing_becomes_a_picture_with_the_same_words_where_markup_is_not_trusted(
    drawn: Picture,
) -> None:
    soup = BeautifulSoup(svg.as_images(drawn._repr_html_()), "html.parser")
    assert not soup.select("svg, style, button, [popover]")
    [image] = soup.select("img")
    assert image["alt"] == drawn.alt
    root = ElementTree.fromstring(base64.b64decode(image["src"].partition(",")[2]))
    assert root.get("width")
    assert "words" in "".join(root.itertext())


def test_the_button_opens_the_popover_that_it_stands_in(drawn: Picture) -> None:
    soup = BeautifulSoup(zoomable(svg.inline(svg.shrink(drawn.svg()), "a")), "html.parser")
    assert soup.div is not None
    assert soup.button is not None
    assert soup.button["popovertarget"] == soup.div["id"]
    assert soup.button["aria-label"]


@pytest.mark.parametrize(("experiment", "name"), FIGURES)
def test_every_figure_is_wide_and_its_smallest_words_can_be_read_from_the_back_row(
    experiment: str, name: str
) -> None:
    picture = of(experiment, name)
    drawing = picture.svg()
    width, height = picture.figure.get_size_inches() * 96
    assert height <= HEIGHT_PX
    assert width > 1.5 * height
    fonts = [float(px) for px in re.findall(r"font(?:-size)?: (?:[a-z0-9]+ )*?([\d.]+)px", drawing)]
    scale = min(SCREEN_PX[0] / width, SCREEN_PX[1] / height)
    assert min(fonts) * 96 / 72 * scale >= FULL_TEXT_PX


def test_diagrams_hold_their_own_dark_theme() -> None:
    for path in sorted((Path(__file__).parents[2] / "notebooks" / "figures").glob("*.svg")):
        text = path.read_text(encoding="utf-8")
        assert f"@media (prefers-color-scheme: dark) {{ svg {{ {svg.dark()} }} }}" in text, (
            path.name
        )
        assert not [colour for colour in svg.THEME if f'"{colour}"' in text.lower()], path.name
