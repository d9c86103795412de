"""Every notebook in a real JupyterLab: everything runs, sliders redraw, Stop leaves nothing."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
from browser_tools import NOTEBOOKS, missing, screenshot

from vmcompare import paths
from vmcompare.course import text
from vmcompare.course.lesson import Lesson
from vmcompare.experiments.boot_speed.checks import services_share

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]

MARK = "VMCOMPARE_TEST_MARK"  # inherited by all that the server starts, orphans included
START_S, RUN_ALL_S, MEASURE_S, END_S = 60, 240, 120, 60
VM_S = 2
"""How long after its first row a run is given to show a VM: a short run may be over soon after."""

LESSON_04 = pytest.mark.parametrize(
    "name", [p for p in NOTEBOOKS if p.stem.startswith("04")], ids=["04"], indirect=True
)
"""What asks and answers is the same code in every lesson: one of them is asked by keyboard."""

SETTINGS = {
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
    # All cells in the page: the test looks for widgets far below the window.
    "notebook-extension/tracker": {"windowingMode": "none"},
}

CODE_CELLS = """
[...jupyterapp.shell.currentWidget.content.model.cells].filter(cell => cell.type === 'code')
"""
IDLE = "jupyterapp.shell.currentWidget?.sessionContext?.session?.kernel?.status === 'idle'"
ALL_RAN = f"{CODE_CELLS}.every(cell => cell.executionCount) && {IDLE}"
ERRORS = f"""
{CODE_CELLS}.flatMap(cell => cell.outputs.toJSON())
  .filter(output => output.output_type === 'error')
  .map(output => output.ename + ': ' + output.evalue)
"""


@dataclass(frozen=True)
class Lab:
    """A running JupyterLab."""

    url: str
    token: str
    mark: str
    process: subprocess.Popen[bytes]

    def address(self, notebook: str) -> str:
        return f"{self.url}/lab/tree/{notebook}?token={self.token}&reset"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def environment(home: Path, mark: str) -> dict[str, str]:
    """Everything JupyterLab and the lesson keep goes below ``home``; images stay cached."""
    places = {f"JUPYTER_{name}_DIR": name.lower() for name in ("CONFIG", "DATA", "RUNTIME")}
    places |= {
        "JUPYTERLAB_SETTINGS_DIR": "settings",
        "JUPYTERLAB_WORKSPACES_DIR": "workspaces",
        "IPYTHONDIR": "ipython",
        "XDG_DATA_HOME": "xdg-data",
        "XDG_STATE_HOME": "xdg-state",
    }
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("VMCOMPARE_")}
    return inherited | {name: str(home / below) for name, below in places.items()} | {MARK: mark}


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """One JupyterLab for all, on the loopback interface, on a copy of the notebooks."""
    if importlib.util.find_spec("jupyterlab") is None:
        missing("jupyterlab is not installed")
    home = tmp_path_factory.mktemp("lab")
    work = home / "work"
    shutil.copytree(NOTEBOOKS[0].parent, work, ignore=shutil.ignore_patterns(".*"))
    for name, value in SETTINGS.items():
        path = home / "settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(value), encoding="utf-8")
    port, token, mark = free_port(), secrets.token_hex(16), secrets.token_hex(8)
    url = f"http://127.0.0.1:{port}"
    command = [
        *(sys.executable, "-m", "jupyterlab", "--no-browser", "--ip=127.0.0.1"),
        *(f"--port={port}", "--ServerApp.port_retries=0", f"--IdentityProvider.token={token}"),
        *(f"--ServerApp.root_dir={work}", "--LabApp.expose_app_in_browser=True"),
        *("--LabApp.extension_manager=readonly",),
        "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
        *(("--allow-root",) if hasattr(os, "geteuid") and os.geteuid() == 0 else ()),
    ]
    with (home / "log").open("wb") as log:
        server = subprocess.Popen(
            command, env=environment(home, mark), cwd=work, stdout=log, stderr=log
        )
    try:
        wait_for_server(server, f"{url}/api/status?token={token}", home / "log")
        yield Lab(url, token, mark, server)
    finally:
        server.terminate()
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def wait_for_server(server: subprocess.Popen[bytes], status: str, log: Path) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and server.poll() is None:
        try:
            with urllib.request.urlopen(status, timeout=2):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    pytest.fail(f"JupyterLab did not start:\n{log.read_text(errors='replace')[-2000:]}")


@pytest.fixture(scope="module", params=NOTEBOOKS, ids=lambda path: path.stem)
def name(request: pytest.FixtureRequest) -> str:
    """One lesson after the other; the tests of this module take turns on its page."""
    path: Path = request.param
    return path.stem


@pytest.fixture(scope="module")
def notebook(lab: Lab, chromium: Any, name: str) -> Iterator[Any]:
    """The notebook's page after "Run All Cells"; its kernel ends with it."""
    context = chromium.new_context(viewport={"width": 1280, "height": 1000})
    page = context.new_page()
    outside: list[str] = []
    own = (lab.url, lab.url.replace("http", "ws"), "data:", "blob:")
    page.on("request", lambda r: None if r.url.startswith(own) else outside.append(r.url))
    page.goto(lab.address(f"{name}.ipynb"))
    page.wait_for_selector(".jp-Notebook", timeout=START_S * 1000)
    page.wait_for_function(IDLE, timeout=START_S * 1000)
    page.evaluate("jupyterapp.commands.execute('notebook:run-all-cells')")
    page.wait_for_function(ALL_RAN, timeout=RUN_ALL_S * 1000)
    page.wait_for_timeout(1000)  # outputs of widgets come after their cell
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
    picture, handle = box.locator("img").first, box.locator(".noUi-handle").first
    before = (picture.get_attribute("src"), picture.get_attribute("alt"))
    handle.scroll_into_view_if_needed()
    handle.focus()
    notebook.keyboard.press("ArrowRight")
    notebook.wait_for_function(
        "([image, old]) => { const now = document.contains(image) ? image : null;"
        " return !now || now.src !== old }",
        arg=[picture.element_handle(), before[0]],
        timeout=20_000,
    )
    picture.wait_for(state="visible")
    after = (picture.get_attribute("src"), picture.get_attribute("alt"))
    assert after[0] != before[0]
    assert after[1] != before[1]
    assert after[1]
    screenshot(notebook, f"lab-{name}-what-if")


def button(within: Any, text: str) -> Any:
    return within.locator("button.jupyter-button", has_text=re.compile(rf"^\s*{text}\s*$"))


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
    exercises, _ = text.asked("boot_speed", "04")
    asked, call = exercises["services_share"], 'boot.check_answer("services_share"'
    said = notebook.locator(".jp-CodeCell", has_text="services_share").first.locator(
        ".vmc-live .vmc-said"
    )
    assert "Not answered yet. Put a number, in per cent," in said.inner_text()
    for number in range(1, len(asked.hints) + 1):
        run_cell(notebook, call, f"{call}, 3)")
        said.get_by_text(f"Hint {number}.").wait_for(timeout=20_000)
        assert "less than the data shown give" in said.inner_text()
    screenshot(notebook, f"lab-{name}-exercise-wrong")
    right = services_share(Lesson("boot_speed", "04").view)
    run_cell(notebook, call, f"{call}, {right})")
    said.get_by_text("the direct-boot VM does without it").wait_for(timeout=20_000)
    assert "Hint" not in said.inner_text()
    screenshot(notebook, f"lab-{name}-exercise-right")


@LESSON_04
def test_an_exercise_with_choices_answers_every_choice_by_keyboard(
    notebook: Any, name: str
) -> None:
    exercises, _ = text.asked("boot_speed", "04")
    asked = exercises["flawed_study"]
    view = Lesson("boot_speed", "04").view
    box = notebook.locator(".widget-vbox", has_text="Have the image ready beforehand").last
    box.scroll_into_view_if_needed()
    box.locator("input[type=radio]").first.focus()
    for choice in asked.choices:
        notebook.keyboard.press("Space")
        judged = asked.check(view, choice)
        box.get_by_text(judged.text[:30]).wait_for(timeout=20_000)
        assert box.locator(f".vmc-said.vmc-{'right' if judged.right else 'wrong'}").count() == 1
        notebook.keyboard.press("Tab")
    screenshot(notebook, f"lab-{name}-choices")


@LESSON_04
def test_the_quiz_answers_every_choice_by_keyboard(notebook: Any, name: str) -> None:
    question = text.asked("boot_speed", "04")[1][0]
    box = notebook.locator(".widget-vbox").filter(has_text=question.ask).last
    box.scroll_into_view_if_needed()
    radios = box.locator("input[type=radio]")
    assert radios.count() == len(question.choices)
    radios.first.focus()
    for choice in question.choices:
        notebook.keyboard.press("Space")
        box.get_by_text(choice.feedback[:40]).wait_for(timeout=20_000)
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


@pytest.mark.parametrize(
    "name", [p for p in NOTEBOOKS if p.stem.startswith("05a")], ids=["05a"], indirect=True
)
def test_a_grid_is_ticked_by_keyboard_and_set_beside_what_was_found(
    notebook: Any, name: str
) -> None:
    keep = button(notebook, "Keep my ticks")
    box = notebook.locator(".jp-Notebook .widget-vbox").filter(has=keep).last
    ticks = box.locator("input[type=checkbox]")
    assert ticks.count() == 18
    assert box.get_by_label("--privileged").count() == 6  # each box has its word beside it
    ticks.first.scroll_into_view_if_needed()
    ticks.first.focus()
    notebook.keyboard.press("Space")
    assert ticks.first.is_checked()
    keep.focus()
    notebook.keyboard.press("Enter")
    box.get_by_text("Kept. You will see it beside the result.").wait_for(timeout=20_000)
    screenshot(notebook, f"lab-{name}-ticked")
    beside = notebook.locator(".vmc-live table", has_text="as you ticked it")
    beside.wait_for(timeout=20_000)
    assert "✓" in beside.inner_text()
    beside.scroll_into_view_if_needed()
    screenshot(notebook, f"lab-{name}-ticked-beside")


def test_stop_leaves_nothing(lab: Lab, notebook: Any, name: str) -> None:
    panel = notebook.locator(".jp-Notebook .widget-vbox").filter(has=button(notebook, "Run"))
    if not panel.count():
        pytest.skip("the notebook shows no Run button (nothing can be measured on this machine)")
    run, stop = button(panel.last, "Run"), button(panel.last, "Stop")
    before = recordings(lab)
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
    assert [process.cmdline() for process in ours(lab)] == []
    assert containers_of(seen) == []
    notebook.wait_for_function(
        "button => !button.disabled", arg=run.element_handle(), timeout=20_000
    )
    notebook.wait_for_function(IDLE, timeout=20_000)
    assert notebook.evaluate(ERRORS) == []
    screenshot(notebook, f"lab-{name}-stopped")


@LESSON_04
def test_figures_follow_a_run_after_a_reload_and_the_last_ones_stand_without_their_kernel(
    lab: Lab, notebook: Any, name: str
) -> None:
    cell = notebook.locator(".jp-CodeCell", has_text='figure("starts")').last
    picture = cell.locator("img:visible")
    lost = notebook.locator("text=model not found >> visible=true")
    save_and_open_again(lab, notebook, name)
    picture.wait_for(timeout=20_000)
    assert "process · recorded" in picture.get_attribute("alt")
    # As at the end of a run.
    execute(notebook, "boot.live = boot._recorded; boot._page.refresh()")
    cell.locator("img[alt*='process · measured']:visible").wait_for(timeout=20_000)
    assert picture.count() == 1
    notebook.evaluate("jupyterapp.shell.currentWidget.sessionContext.shutdown()")
    save_and_open_again(lab, notebook, name)
    picture.wait_for(timeout=20_000)
    assert picture.count() == 1
    assert lost.count() == 0
    screenshot(notebook, f"lab-{name}-without-its-kernel")


def save_and_open_again(lab: Lab, notebook: Any, name: str) -> None:
    notebook.evaluate("jupyterapp.commands.execute('docmanager:save')")
    notebook.goto(lab.address(f"{name}.ipynb"))
    notebook.wait_for_selector(".jp-Notebook", timeout=START_S * 1000)
    notebook.wait_for_function(IDLE, timeout=START_S * 1000)


def execute(notebook: Any, code: str) -> None:
    """Run code in the kernel of the page, in no cell."""
    notebook.evaluate(
        "code => jupyterapp.shell.currentWidget.sessionContext.session.kernel"
        ".requestExecute({ code }).done",
        code,
    )


def ours(lab: Lab) -> list[psutil.Process]:
    """What the lesson started: all that carry the mark, but the server and its kernels."""
    found = []
    for process in psutil.process_iter():
        try:
            marked = process.environ().get(MARK) == lab.mark
            words = process.cmdline()
        except psutil.Error:
            continue
        server = process.pid == lab.process.pid
        if marked and not server and words and "ipykernel_launcher" not in words:
            found.append(process)
    return found


def vm_in_sight(pids: set[int]) -> bool:
    """Whether one of ``pids`` is a running VM; true as well where there is no QEMU to wait for."""
    if not shutil.which("qemu-system-x86_64"):
        return True
    running = psutil.process_iter(["name"])  # skips what ends meanwhile
    return any(p.pid in pids and (p.info["name"] or "").startswith("qemu") for p in running)


def recordings(lab: Lab) -> frozenset[Path]:
    home = Path(psutil.Process(lab.process.pid).environ()["XDG_DATA_HOME"])
    return frozenset(home.rglob("*.jsonl"))


def rows_written(paths: frozenset[Path]) -> bool:
    return any('"kind":"row"' in path.read_text(encoding="utf-8") for path in paths)


def containers_of(pids: set[int]) -> list[str]:
    """Containers whose label names one of ``pids`` as their owner (none without Docker)."""
    docker = shutil.which("docker")
    if docker is None:
        return []
    listed = subprocess.run(
        [docker, "ps", "-a", "--format", '{{.ID}} {{.Label "vmcompare.pid"}}'],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    return [line for line in listed.stdout.splitlines() if line.split(" ")[-1] in map(str, pids)]
