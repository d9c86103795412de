"""Exercises and quiz of a handout: by keyboard and without a script, read aloud, on paper."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from browser_tools import NOTEBOOKS, ROOT, Open, unfold

from vmcompare.course.exercises import asked

pytestmark = pytest.mark.browser

EXERCISES, QUESTIONS = asked("boot_speed", "04")
TITLES = (
    "Exercise: the services’ share of a boot",
    "How short may a job be?",
    "A boot that was none",
    "How short may a job be?",
)
SCREENSHOTS = ROOT / "dist" / "screenshots"
NARROW = 360


@pytest.mark.parametrize("script", [False, True], ids=["no script", "script"])
def test_every_choice_is_answered_by_keyboard(
    open_page: Open, lesson_04_page: Path, script: bool
) -> None:
    page = open_page(lesson_04_page, script=script)
    for question in QUESTIONS:
        group = page.locator(".vmc-quiz fieldset").filter(has_text=question.choices[0].text)
        radios = group.get_by_role("radio")
        assert radios.count() == len(question.choices)
        assert group.locator(".vmc-said:visible").count() == 0
        radios.first.focus()
        page.keyboard.press("Space")
        for number, choice in enumerate(question.choices):
            assert radios.nth(number).is_checked()
            [said] = group.locator(".vmc-said:visible").all()
            sign = said.get_by_role("img")
            assert sign.get_attribute("aria-label") == ("Right:" if choice.right else "Not right:")
            beginning = choice.feedback.partition("*")[0]
            assert beginning.strip() in said.inner_text()
            page.keyboard.press("ArrowDown")


def test_what_is_said_is_where_a_screen_reader_is_told_of_changes(
    open_page: Open, lesson_04_page: Path
) -> None:
    page = open_page(lesson_04_page)
    group = page.locator(".vmc-quiz fieldset").first
    regions = group.get_by_role("status")
    assert regions.count() == len(QUESTIONS[0].choices)  # there before anything is chosen
    assert [region.inner_text() for region in regions.all()] == [""] * regions.count()
    group.get_by_role("radio", name=QUESTIONS[0].choices[1].text).check()
    assert QUESTIONS[0].choices[1].feedback[:30] in regions.nth(1).inner_text()
    name = page.get_by_role("group", name=QUESTIONS[0].prose)
    assert name.count() == 1  # the question names its choices


def test_hints_and_model_answers_unfold_by_keyboard_without_a_script(
    open_page: Open, lesson_04_page: Path
) -> None:
    page = open_page(lesson_04_page, script=False)
    section = page.locator("section.vmc-task").first
    for summary in section.locator("summary").all():
        body = summary.locator("xpath=following-sibling::*").first
        assert body.is_hidden()
        summary.focus()
        page.keyboard.press("Enter")
        assert body.is_visible()


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
@pytest.mark.parametrize(
    ("width", "dark"), [(1280, False), (NARROW, True)], ids=["wide", "narrow and dark"]
)
def test_answered_and_unfolded_it_is_accessible_and_fits(
    open_page: Open,
    axe: Callable[[Any], list[str]],
    replayed: Path,
    notebook: Path,
    dark: bool,
    width: int,
) -> None:
    """Light and wide, dark and narrow: ``test_handout`` has the other two."""
    page = open_page(replayed / f"{notebook.stem}.html", dark=dark, width=width)
    wanted = notebook.read_text(encoding="utf-8").count(".check_answer(")
    assert page.locator("section.vmc-task").count() == wanted >= 1
    unfold(page)
    for number, group in enumerate(page.locator("fieldset").all()):
        group.get_by_role("radio").nth(number % 2).check()
    assert axe(page) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    if not page.locator(".vmc-task, .vmc-quiz").count():
        return
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    shade = "dark" if dark else "light"
    for name in ("task", "quiz"):
        cell = page.locator(f".vmc-cell:has(.vmc-{name})").first
        cell.screenshot(path=str(SCREENSHOTS / f"{notebook.stem}-{name}-{width}-{shade}.png"))


def test_on_paper_answers_are_on_the_last_pages_only(
    open_page: Open, lesson_04_page: Path, tmp_path: Path
) -> None:
    page = open_page(lesson_04_page)
    page.locator(".vmc-quiz input").first.check()  # somebody tried the quiz before printing
    page.emulate_media(media="print")
    assert page.locator(".vmc-said:visible").count() == 0
    assert page.locator("details.vmc-answer:visible").count() == 0
    answers = page.locator(".vmc-answers")
    words = " ".join(answers.inner_text().split())
    for question in QUESTIONS:
        [right] = [choice for choice in question.choices if choice.right]
        assert right.text in words
        assert right.feedback.partition("*")[0].strip() in words
    for title in TITLES:
        assert title in words
    if shutil.which("pdftotext"):
        pdf = tmp_path / "handout.pdf"
        page.pdf(path=str(pdf), prefer_css_page_size=True)
        command = ["pdftotext", "-layout", str(pdf), "-"]
        text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        before, after = text.split("\nAnswers\n", 1) if "\nAnswers\n" in text else ("", "")
        if not before:
            before, after = text.split("\x0cAnswers\n", 1)
        assert "Model answer" not in before
        assert after.count("Model answer") == len(EXERCISES)
        assert "Your answer: ____" in before


def test_a_prediction_is_kept_in_the_browser_and_set_beside_what_was_found(
    open_page: Open, lesson_04_page: Path
) -> None:
    page = open_page(lesson_04_page)
    field = page.get_by_label("From request to first byte, a container takes …")
    table = page.locator(".vmc-reveal table")
    assert table.is_hidden()  # until the reader wants to know
    field.fill("0.5")
    page.reload()
    assert field.input_value() == "0.5"
    page.locator(".vmc-reveal summary").first.click()
    question, own, found, times = table.locator("tbody tr").first.locator("td").all_inner_texts()
    assert question.startswith("From request")
    assert own == "0.5"
    found_s = float(found.removesuffix(" ms")) / 1000
    assert times.endswith("×")
    assert float(times[:-1]) == pytest.approx(found_s / 0.5, rel=0.06)
    field.fill("")
    assert table.locator("tbody tr").first.locator("td").nth(1).inner_text() == "–"


def test_a_number_is_checked_on_the_page(open_page: Open, lesson_04_page: Path) -> None:
    page = open_page(lesson_04_page)
    [name, *_] = EXERCISES
    task = page.locator(f"section.vmc-task:has(#q-04-{name})")
    field = task.get_by_label("Your answer:")
    low, high = map(float, task.locator("data").get_attribute("value").split())
    for answer, sign in ((low * 0.9, "wrong"), ((low + high) / 2, "right"), (high * 1.1, "wrong")):
        field.fill(f"{answer}")
        field.press("Enter")
        [said] = task.locator(".vmc-checked .vmc-said:visible").all()
        assert f"vmc-{sign}" in said.get_attribute("class")
    field.fill("")
    field.press("Enter")
    assert task.locator(".vmc-checked .vmc-said:visible").count() == 0


def test_slides_show_one_figure_or_question_each_and_give_it_back(
    open_page: Open, lesson_04_page: Path
) -> None:
    page = open_page(lesson_04_page)
    before = page.locator("main").inner_text()
    page.get_by_role("button", name="Slides").click()
    dialog = page.get_by_role("dialog")
    place = dialog.locator("nav output")
    count = int(place.inner_text().split(" of ")[1])
    figures, questions = 0, 0
    for number in range(1, count + 1):
        assert place.inner_text() == f"{number} of {count}"
        *before_it, shown = dialog.locator(":scope > div > *").all()
        predicted = shown.evaluate("e => e.matches('.vmc-predict')")
        assert bool(before_it) == predicted, "what is to be predicted is told, and nothing else"
        figures += shown.evaluate("e => e.matches('figure, .vmc-diagram')")
        questions += shown.evaluate("e => e.matches('fieldset')")
        page.keyboard.press("ArrowRight")
    assert figures >= 2
    assert questions == len(QUESTIONS)
    page.keyboard.press("ArrowLeft")
    assert place.inner_text() == f"{count - 1} of {count}"
    page.keyboard.press("Escape")
    page.locator("dialog").wait_for(state="detached")
    assert page.locator("main").inner_text() == before
