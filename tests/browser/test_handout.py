"""A handout as its readers meet it: by keyboard, in the dark, on a telephone, on paper."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from browser_tools import Open, screenshot

pytestmark = pytest.mark.browser

WHAT_IF = "figure.vmc-whatif"
NARROW = 360


def state(figure: Any) -> tuple[str, str, str, str]:
    image, slider = figure.locator(".vmc-frame img"), figure.locator("input")
    return (
        image.get_attribute("src"),
        image.get_attribute("alt"),
        figure.locator("output").inner_text(),
        slider.get_attribute("aria-valuetext"),
    )


def shown(image: Any) -> bool:
    """Whether the browser could draw the picture."""
    return bool(image.evaluate("i => i.decode().then(() => i.naturalWidth > 0, () => false)"))


def test_slider_by_keyboard(page: Any, handout: Path) -> None:
    screenshot(page, f"handout-{handout.stem}-1280", whole=True)
    if not page.locator(WHAT_IF).count():
        pytest.skip("this handout has no what-if")
    for figure in page.locator(WHAT_IF).all():
        label = figure.locator("label span").inner_text()
        assert label
        slider = figure.get_by_role("slider", name=label, exact=True)
        assert slider.is_visible()
        before = state(figure)
        slider.focus()
        page.keyboard.press("ArrowRight")
        after = state(figure)
        assert all(old != new for old, new in zip(before, after, strict=True))
        assert after[2] == after[3]
        assert shown(figure.locator(".vmc-frame img"))
        assert figure.locator(".vmc-status").text_content() == after[1]
        page.keyboard.press("ArrowLeft")
        assert state(figure)[1:] == before[1:]
        page.keyboard.press("End")
        assert slider.input_value() == slider.get_attribute("max")
        assert shown(figure.locator(".vmc-frame img"))


def test_readable_without_script(open_page: Open, handout: Path) -> None:
    page = open_page(handout, script=False)
    assert page.locator("h1").is_visible()
    for figure in page.locator(WHAT_IF).all():
        assert figure.locator(".vmc-frame img").is_visible()
        assert figure.locator(".vmc-frame img").bounding_box()["height"] > 100
        assert figure.locator("label").is_hidden()
        assert "Modelled" in figure.locator("figcaption").inner_text()
        assert figure.locator("math").is_visible()
        picture, formula = (
            figure.locator(name).bounding_box() for name in (".vmc-frame img", "math >> nth=0")
        )
        assert picture["y"] + picture["height"] <= formula["y"]


def test_in_the_dark_it_is_accessible_and_has_its_figures_on_white(
    open_page: Open, axe: Callable[[Any], list[str]], handout: Path
) -> None:
    page = open_page(handout, dark=True)
    colour = "element => getComputedStyle(element).backgroundColor"
    assert page.locator("body").evaluate(colour) == "rgb(22, 24, 29)"
    for card in page.locator(".vmc-picture > img, .vmc-frame").all():
        assert card.evaluate(colour) == "rgb(255, 255, 255)"
    assert axe(page) == []


def test_on_a_telephone_it_is_accessible_and_does_not_scroll_sideways(
    open_page: Open, axe: Callable[[Any], list[str]], handout: Path
) -> None:
    page = open_page(handout, width=NARROW)
    screenshot(page, f"handout-{handout.stem}-{NARROW}", whole=True)
    assert axe(page) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= NARROW
    for region in page.get_by_role("region").all():
        region.focus()
        assert region.evaluate("element => element === document.activeElement")


def test_skip_link(page: Any) -> None:
    page.keyboard.press("Tab")
    assert page.locator(":focus").inner_text() == "Skip to content"
    page.keyboard.press("Enter")
    assert page.locator(":focus").get_attribute("id") == "main"


def test_every_picture_can_be_drawn(page: Any) -> None:
    for image in page.locator("img").all():
        assert shown(image)


def test_print(page: Any, tmp_path: Path) -> None:
    pdf = tmp_path / "handout.pdf"
    page.pdf(path=str(pdf), prefer_css_page_size=True)
    assert pdf.read_bytes().startswith(b"%PDF")
    page.emulate_media(media="print")
    for figure in page.locator(WHAT_IF).all():
        assert 2 <= figure.locator(".vmc-multiples img:visible").count() <= 4
        assert figure.locator(".vmc-frame").is_hidden()
        assert figure.locator("label").is_hidden()
    if shutil.which("pdftotext"):
        command = ["pdftotext", "-layout", str(pdf), "-"]
        text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        pages = text.count("\f")
        assert f"1/{pages}" in text.replace(" ", "")
        assert "CC BY 4.0" in text
