"""Every notebook in a real JupyterLab: everything runs, sliders redraw, Stop leaves nothing."""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from browser_tools import (
    LEAST_WORDS_PX,
    NOTEBOOKS,
    SCREEN,
    button,
    check_alone,
    missing,
    screenshot,
)
from servers import CODE_CELLS, IDLE, SETTLED, Server, open_notebook, ours, run_all, save, served
from waiting import until

from vmcompare import paths
from vmcompare.course.exercises import asked
from vmcompare.course.lesson import Lesson
from vmcompare.experiments.boot_speed.explain import services_share

pytestmark = [pytest.mark.browser, pytest.mark.timeout(900)]

MEASURE_S, END_S = 240, 120
VM_S = 2
"""How long after its first row a run is given to show a VM: a short run may be over soon after."""

LESSON_04 = pytest.mark.parametrize(
    "name", [p for p in NOTEBOOKS if p.stem.startswith("04")], ids=["04"], indirect=True
)
"""What asks and answers is the same code in every lesson: one of them is asked by keyboard."""

BOOT_SPEED = asked("boot_speed", "04")
"""Exercises and questions of lesson 04."""

ERRORS = f"""
{CODE_CELLS}.flatMap(cell => cell.outputs.toJSON())
  .filter(output => output.output_type === 'error')
  .map(output => output.ename + ': ' + output.evalue)
"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One JupyterLab for all, on the loopback interface, on a copy of the notebooks."""
    with served("jupyterlab", tmp_path_factory.mktemp("lab")) as server:
        yield server


@pytest.fixture(scope="module", params=NOTEBOOKS, ids=lambda path: path.stem)
def name(request: pytest.FixtureRequest) -> str:
    """One lesson after the other; the tests of this module take turns on its page."""
    path: Path = request.param
    return path.stem


@pytest.fixture(scope="module")
def notebook(lab: Server, chromium: Any, name: str) -> Iterator[Any]:
    """The notebook's page after "Run All Cells"; its kernel ends with it."""
    context = chromium.new_context(viewport={"width": 1280, "height": 1000})
    page = context.new_page()
    outside: list[str] = []
    own = (lab.url, lab.url.replace("http", "ws"), "data:", "blob:")
    page.on("request", lambda r: None if r.url.startswith(own) else outside.append(r.url))
    open_notebook(lab, page, name)
    run_all(page)
    page.evaluate("jupyterapp.commands.execute('notebook:expand-all-headings')")  # homework
    yield page
    page.evaluate("jupyterapp.shell.currentWidget.sessionContext.shutdown()")
    context.close()
    assert not outside


def test_all_cells_run_without_an_error(notebook: Any, name: str) -> None:
    assert notebook.evaluate(ERRORS) == []
    assert "Traceback" not in notebook.locator(".jp-Notebook").inner_text()
    screenshot(notebook, f"lab-{name}-after-run-all")


def test_what_if_slider_redraws_its_picture(notebook: Any, name: str) -> None:
    boxes = notebook.locator(".widget-vbox").filter(has=notebook.locator(".noUi-handle"))
    if not boxes.count():
        pytest.skip("the notebook shows no what-if slider (nothing to model on this machine)")
    box = boxes.first
    picture, handle = box.locator("svg.vmc-svg").first, box.locator(".noUi-handle").first
    before = (picture.inner_html(), picture.get_attribute("aria-label"))
    handle.scroll_into_view_if_needed()
    drawn = picture.element_handle()  # before the press: the next drawing may be there at once
    handle.press("ArrowRight")
    notebook.wait_for_function("drawing => !document.contains(drawing)", arg=drawn, timeout=60_000)
    picture.wait_for(state="visible")
    after = (picture.inner_html(), picture.get_attribute("aria-label"))
    assert after[0] != before[0]
    assert after[1] != before[1]
    assert after[1]
    screenshot(notebook, f"lab-{name}-what-if")


DARK = "JupyterLab Dark"
THEMES = {"JupyterLab Light": ("rgb(255, 255, 255)", 0), DARK: ("rgb(17, 17, 17)", 255)}
"""Paper, and the red of the ink."""


def use_theme(notebook: Any, theme: str) -> None:
    notebook.evaluate(
        "theme => jupyterapp.commands.execute('apputils:change-theme', { theme })", theme
    )
    light = "false" if theme == DARK else "true"
    notebook.locator(f"body[data-jp-theme-light={light}]").wait_for(state="attached")
    notebook.wait_for_timeout(500)


def test_figures_have_the_colours_of_the_theme_and_fit_the_screen(notebook: Any, name: str) -> None:
    size = notebook.viewport_size
    notebook.set_viewport_size({"width": 1366, "height": 768})
    figures = notebook.locator(".vmc-live .vmc-figure:visible").all()
    assert figures
    for theme, (paper, red) in [*THEMES.items()][::-1]:
        use_theme(notebook, theme)
        for number, figure in enumerate(figures):
            assert figure.evaluate("e => getComputedStyle(e).backgroundColor") == paper
            ink = figure.locator("svg").evaluate("e => getComputedStyle(e).fill")
            assert re.match(rf"rgba?\({red}, {red}, {red}\b", ink)
            assert figure.bounding_box()["height"] <= 560
            assert figure.locator("svg").evaluate(LEAST_WORDS_PX) >= 12
            if number < 3:
                figure.scroll_into_view_if_needed()
                screenshot(notebook, f"lab-{name}-{theme[11:].lower()}-{number}")
    notebook.set_viewport_size(size)


def test_a_figure_fills_the_screen_by_keyboard(notebook: Any, name: str) -> None:
    size = notebook.viewport_size
    notebook.set_viewport_size(SCREEN)
    for figure in notebook.locator(".vmc-live .vmc-figure:visible").all():
        check_alone(notebook, figure)
    figure = notebook.locator(".vmc-live .vmc-figure:visible").first
    figure.locator("button").click()
    screenshot(notebook, f"lab-{name}-alone")
    notebook.keyboard.press("Escape")
    notebook.set_viewport_size(size)


def run_cell(notebook: Any, holding: str, source: str) -> None:
    """Give the cell that holds some words another source, and run it."""
    notebook.evaluate(
        """async ([holding, source]) => {
          const { content, context } = jupyterapp.shell.currentWidget;
          const found = content.widgets.findIndex(
            cell => cell.model.sharedModel.source.includes(holding));
          content.activeCellIndex = found;
          content.widgets[found].model.sharedModel.setSource(source);
          await jupyterapp.commands.execute('notebook:run-cell');
        }""",
        [holding, source],
    )


@LESSON_04
def test_an_exercise_answers_wrong_with_hints_and_right_with_the_reason(
    notebook: Any, name: str
) -> None:
    asked, call = BOOT_SPEED[0]["services_share"], 'boot.check_answer("services_share"'
    said = notebook.locator(".jp-CodeCell", has_text="services_share").first.locator(
        ".vmc-live .vmc-said"
    )
    assert "Not answered yet. Put a number, in per cent," in said.inner_text()
    for number in range(1, len(asked.section.hints) + 1):
        run_cell(notebook, call, f"{call}, 3)")
        said.get_by_text(f"Hint {number}.").wait_for(timeout=60_000)
        assert "less than the data shown give" in said.inner_text()
    screenshot(notebook, f"lab-{name}-exercise-wrong")
    right = services_share(Lesson("boot_speed", "04").view)
    run_cell(notebook, call, f"{call}, {right})")
    said.get_by_text("the direct-boot VM does without it").wait_for(timeout=60_000)
    assert "Hint" not in said.inner_text()
    screenshot(notebook, f"lab-{name}-exercise-right")


@LESSON_04
def test_an_exercise_with_choices_answers_every_choice_by_keyboard(
    notebook: Any, name: str
) -> None:
    asked = BOOT_SPEED[0]["flawed_study"]
    view = Lesson("boot_speed", "04").view
    box = notebook.locator(".widget-vbox", has_text="Have the image ready beforehand").last
    box.scroll_into_view_if_needed()
    box.locator("input[type=radio]").first.focus()
    for choice in asked.choices:
        notebook.keyboard.press("Space")
        judged = asked.check(view, choice)
        box.get_by_text(judged.text[:30]).wait_for(timeout=60_000)
        assert box.locator(f".vmc-said.vmc-{'right' if judged.right else 'wrong'}").count() == 1
        notebook.keyboard.press("Tab")
    screenshot(notebook, f"lab-{name}-choices")


@LESSON_04
def test_the_quiz_answers_every_choice_by_keyboard(notebook: Any, name: str) -> None:
    question = BOOT_SPEED[1][0]
    box = notebook.locator(".widget-vbox").filter(has_text=question.prose).last
    box.scroll_into_view_if_needed()
    radios = box.locator("input[type=radio]")
    assert radios.count() == len(question.choices)
    radios.first.focus()
    for choice in question.choices:
        notebook.keyboard.press("Space")
        box.get_by_text(choice.feedback[:40]).wait_for(timeout=60_000)
        assert box.locator(".vmc-said").count() == 1
        assert box.locator(f".vmc-{'right' if choice.right else 'wrong'}").count() == 1
        notebook.keyboard.press("Tab")
    screenshot(notebook, f"lab-{name}-quiz")


@LESSON_04
def test_the_browser_lab_runs_a_vm_in_its_frame(notebook: Any, name: str) -> None:
    if not paths.browser_lab_page().exists():
        missing("the browser lab was not built (make browser-lab)")
    notebook.locator("iframe[src*=browser-lab]").scroll_into_view_if_needed()
    frame = notebook.frame_locator("iframe[src*=browser-lab]")
    frame.get_by_role("button", name="Resume VM 2").click()
    frame.locator('#vm2[data-state="running"]').wait_for(timeout=60_000)
    screenshot(notebook, f"lab-{name}-browser-lab")


def test_stop_leaves_nothing(lab: Server, notebook: Any, name: str) -> None:
    panel = notebook.locator(".jp-Notebook .widget-vbox").filter(has=button(notebook, "Run"))
    if not panel.count():
        pytest.skip("the notebook shows no Run button (nothing can be measured on this machine)")
    run, stop = button(panel.last, "Run"), button(panel.last, "Stop")
    before = recordings(lab)
    rounds = panel.last.locator("input[type=number]")
    rounds.fill("50")  # so that it is not over before Stop is pressed, however late that is
    rounds.press("Enter")
    run.scroll_into_view_if_needed()
    notebook.wait_for_timeout(1000)  # as a reader does: JupyterLab moves the page once more
    run.click()
    seen: set[int] = set()
    deadline, enough = time.monotonic() + MEASURE_S, False
    while time.monotonic() < deadline and not (enough and vm_in_sight(seen)):
        seen |= {process.pid for process in ours(lab)}
        notebook.wait_for_timeout(200)
        if not enough and rows_written(recordings(lab) - before):
            enough, deadline = True, time.monotonic() + VM_S
    assert enough, "Run wrote no row"
    assert seen, "no recording process was seen"
    screenshot(notebook, f"lab-{name}-measuring")
    stop.click()
    deadline = time.monotonic() + END_S
    while time.monotonic() < deadline and ours(lab):
        seen |= {process.pid for process in ours(lab)}
        notebook.wait_for_timeout(200)
    assert [process.pid for process in ours(lab)] == []
    assert until(lambda: not containers_of(seen)), containers_of(seen)
    notebook.wait_for_function(
        "button => !button.disabled", arg=run.element_handle(), timeout=60_000
    )
    notebook.wait_for_function(IDLE, timeout=60_000)
    assert notebook.evaluate(ERRORS) == []
    screenshot(notebook, f"lab-{name}-stopped")


SHOWN = """
[...document.querySelectorAll('.jp-CodeCell .jp-Cell-outputArea')].map(output => output.innerText)
  .concat([...document.querySelectorAll('svg.vmc-svg')].map(e => e.getAttribute('aria-label')))
"""
"""All that the cells of a notebook show, in words."""


def test_a_reload_changes_nothing_and_a_restart_leaves_no_dead_control(
    lab: Server, notebook: Any, name: str
) -> None:
    keep = button(notebook, "Keep my prediction").first
    keep.locator("xpath=..").locator("input").fill("7")
    keep.click()
    notebook.get_by_text("Kept. You will see it").first.wait_for(timeout=60_000)
    notebook.wait_for_function(SETTLED, timeout=60_000)
    before = notebook.evaluate(SHOWN)
    save(notebook)
    notebook.wait_for_function("!jupyterapp.shell.currentWidget.context.model.dirty")
    open_notebook(lab, notebook, name)
    notebook.wait_for_function(
        f"before => {SHOWN}.join() === before.join()", arg=before, timeout=60_000
    )
    notebook.evaluate("jupyterapp.shell.currentWidget.sessionContext.session.kernel.restart()")
    notebook.locator(".vmc-asks.jupyter-widgets-disconnected").first.wait_for(state="attached")
    notebook.wait_for_function(
        """![...document.querySelectorAll('.vmc-asks :is(button, input), .vmc-controls button')]
        .some(control => control.checkVisibility({ visibilityProperty: true }))""",
        timeout=60_000,
    )
    screenshot(notebook, f"lab-{name}-restarted")


def vm_in_sight(pids: set[int]) -> bool:
    """Whether one of ``pids`` is a running VM; true as well where there is no QEMU to wait for."""
    if not shutil.which("qemu-system-x86_64"):
        return True
    running = psutil.process_iter(["name"])  # skips what ends meanwhile
    return any(p.pid in pids and (p.info["name"] or "").startswith("qemu") for p in running)


def recordings(lab: Server) -> frozenset[Path]:
    home = Path(psutil.Process(lab.process.pid).environ()["XDG_DATA_HOME"])
    return frozenset(home.rglob("*.jsonl"))


def rows_written(paths: frozenset[Path]) -> bool:
    return any(b'"kind":"row"' in path.read_bytes() for path in paths)


def containers_of(pids: set[int]) -> list[str]:
    """Containers whose label names one of ``pids`` as their owner (none without Docker)."""
    docker = shutil.which("docker")
    if docker is None:
        return []
    listed = subprocess.run(
        [docker, "ps", "-a", "--format", '{{.ID}} {{.Label "vmcompare.pid"}}'],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return [line for line in listed.stdout.splitlines() if line.split(" ")[-1] in map(str, pids)]
