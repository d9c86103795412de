"""A handout as its readers meet it: by keyboard, in the dark, on a telephone, on paper."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from browser_tools import LEAST_WORDS_PX, SCREEN, Open, check_alone, screenshot, unfold

pytestmark = pytest.mark.browser

WHAT_IF = "figure.vmc-whatif"
NARROW = 360


def state(figure: Any) -> tuple[str, str, str, str]:
    drawing, slider = figure.locator(".vmc-frame svg"), figure.locator("input")
    return (
        drawing.inner_html(),
        drawing.get_attribute("aria-label"),
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
    unfold(page)
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
        assert figure.locator(".vmc-frame svg").bounding_box()["height"] > 100
        assert figure.locator(".vmc-status").text_content() == after[1]
        page.keyboard.press("ArrowLeft")
        assert state(figure)[1:] == before[1:]
        page.keyboard.press("End")
        assert slider.input_value() == slider.get_attribute("max")
        assert figure.locator(".vmc-frame svg path").count()


def test_readable_without_script(open_page: Open, handout: Path) -> None:
    page = open_page(handout, script=False)
    assert page.locator("h1").is_visible()
    unfold(page)
    for figure in page.locator(WHAT_IF).all():
        assert figure.locator(".vmc-frame svg").is_visible()
        assert figure.locator(".vmc-frame svg").bounding_box()["height"] > 100
        assert figure.locator("label").is_hidden()
        assert "Modelled" in figure.locator("figcaption").inner_text()
        assert figure.locator("math").is_visible()
        picture, formula = (
            figure.locator(name).bounding_box() for name in (".vmc-frame svg", "math >> nth=0")
        )
        assert picture["y"] + picture["height"] <= formula["y"]


def test_in_the_dark_it_is_accessible_and_its_figures_are_dark_too(
    open_page: Open, axe: Callable[[Any], list[str]], handout: Path
) -> None:
    page = open_page(handout, dark=True)
    screenshot(page, f"handout-{handout.stem}-dark", whole=True)
    ground = "element => getComputedStyle(element).backgroundColor"
    ink = "element => getComputedStyle(element).fill"
    assert page.locator("body").evaluate(ground) == "rgb(22, 24, 29)"
    for figure in page.locator(".vmc-figure").all():
        assert figure.evaluate(ground) == "rgb(22, 24, 29)"
        assert figure.locator("svg").evaluate(ink) == "rgb(228, 229, 233)"
    assert axe(page) == []
    page.emulate_media(media="print", color_scheme="dark")
    for figure in page.locator(".vmc-figure").all():
        assert figure.evaluate(ground) == "rgb(255, 255, 255)"
        assert figure.locator("svg").evaluate(ink) in ("rgb(0, 0, 0)", "rgb(27, 27, 31)")


def test_a_figure_and_its_caption_fit_the_screen_and_can_be_read(
    open_page: Open, handout: Path
) -> None:
    page = open_page(handout, width=1366)
    for figure in page.locator("figure.vmc-picture:visible").all():
        assert figure.bounding_box()["height"] <= 650
        assert figure.locator("svg").evaluate(LEAST_WORDS_PX) >= 12
    for figure in page.locator(WHAT_IF).all():
        assert figure.locator(".vmc-frame").bounding_box()["height"] <= 560
        assert figure.locator(".vmc-frame svg").evaluate(LEAST_WORDS_PX) >= 12


@pytest.mark.parametrize("script", [False, True], ids=["no script", "script"])
def test_a_figure_fills_the_screen_by_keyboard(
    open_page: Open, handout: Path, script: bool
) -> None:
    page = open_page(handout, script=script)
    page.set_viewport_size(SCREEN)
    if script:
        page.evaluate("document.querySelectorAll('details').forEach(part => { part.open = true })")
    figures = page.locator(".vmc-figure:visible").all()
    if not figures:
        pytest.skip("this page has no figure")
    for figure in figures:
        check_alone(page, figure)
    figures[-1].locator("button").click()
    screenshot(page, f"handout-{handout.stem}-alone")


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
        assert 2 <= figure.locator(".vmc-multiples img:visible").count() <= 3
        assert figure.locator(".vmc-frame").is_hidden()
        assert figure.locator("label").is_hidden()
    if shutil.which("pdftotext"):
        command = ["pdftotext", "-layout", str(pdf), "-"]
        text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        pages = text.count("\f")
        assert f"1/{pages}" in text.replace(" ", "")
        assert "CC BY 4.0" in text
