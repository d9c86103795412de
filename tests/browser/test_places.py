"""What a page shows is what was measured: after a reload, in another browser, without a kernel.

In JupyterLab, Notebook 7 and Voilà. Each run measures one round of the bare process and containers.
"""

from __future__ import annotations

import contextlib
import json
import re
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from browser_tools import button, screenshot
from servers import IDLE, RUN_ALL_S, Server, open_notebook, ours, run_all, save, served

from vmcompare.course import panel as panels
from vmcompare.evidence.units import seconds

pytestmark = [pytest.mark.browser, pytest.mark.docker, pytest.mark.timeout(900)]

LESSON, OTHER = "04-boot-speed", "02-shared-kernel"
QUICK = {"VMCOMPARE_PLATFORMS": "process,container"}
RUN_MS, SOON_MS = 240_000, 60_000
SERIES = {"process": ("process", "mechanism"), "container": ("container", "product")}
"""How the alternative text calls a series of starts, and which rows it has."""

STARTS = 3
"""Starts of a series in one round."""


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One JupyterLab for the tests of this module."""
    with served("jupyterlab", tmp_path_factory.mktemp("lab"), **QUICK) as server:
        yield server


class Browsers:
    """Browsers that are opened and closed, one page each."""

    def __init__(self, chromium: Any) -> None:
        self._chromium, self._contexts = chromium, []

    def open(self) -> Any:
        self._contexts.append(self._chromium.new_context(viewport={"width": 1280, "height": 1000}))
        return self._contexts[-1].new_page()

    def close(self) -> None:
        while self._contexts:
            self._contexts.pop().close()


@pytest.fixture
def browsers(chromium: Any, lab: Server) -> Iterator[Browsers]:
    """Browsers; they and the kernels of JupyterLab end with the test."""
    opened = Browsers(chromium)
    yield opened
    opened.close()
    for kernel in kernels(lab):
        with contextlib.suppress(psutil.NoSuchProcess):
            kernel.kill()


def lesson(server: Server, browsers: Browsers, name: str = LESSON) -> Any:
    """The page of a lesson after "Run All Cells"."""
    page = browsers.open()
    open_notebook(server, page, name)
    run_all(page)
    return page


def kernels(server: Server) -> list[psutil.Process]:
    found = []
    for child in psutil.Process(server.process.pid).children(recursive=True):
        with contextlib.suppress(psutil.Error):
            found += [child] if "ipykernel_launcher" in child.cmdline() else []
    return found


# ---- a run, and what its rows say ---------------------------------------------------------------


def panel_of(page: Any) -> Any:
    return page.locator(".vmc-panel").last


def begin(server: Server, page: Any, rounds: int = 1) -> Path:
    """Press *Run*; the file of the run, once there is one."""
    before, panel = recordings(server), panel_of(page)
    panel.scroll_into_view_if_needed()
    field = panel.locator("input[type=number]")
    field.fill(str(rounds))
    field.press("Enter")
    panel.get_by_text(re.compile(rf" for {rounds} rounds? on ")).first.wait_for(timeout=SOON_MS)
    button(panel, "Run").click()
    for _ in range(RUN_MS // 200):
        if new := recordings(server) - before:
            return new.pop()
        page.wait_for_timeout(200)
    raise AssertionError(f"no run has begun: {panel.inner_text()}")


def finished(page: Any, path: Path) -> None:
    """Wait until the page says that this run is over."""
    panel_of(page).get_by_text(f"Done. Run {path.stem}").wait_for(timeout=RUN_MS)


def run(server: Server, page: Any) -> Path:
    """Measure one round with the buttons of the page; the run's file, once the page has it."""
    path = begin(server, page)
    finished(page, path)
    return path


def recordings(server: Server) -> set[Path]:
    return set((server.home / "xdg-data").rglob("*.jsonl"))


def measured(path: Path) -> list[str]:
    """What a figure of starts must say of a run, worked out from the rows of its file alone."""
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    starts = [
        row
        for row in lines
        if row["kind"] == "row"
        and row["metric"] == "start_to_first_byte_s"
        and not row["is_warmup"]
    ]
    said = []
    for name, series in SERIES.items():
        values = [row["value"] for row in starts if (row["platform"], row["layer"]) == series]
        assert len(values) == STARTS
        said.append(f"{name} · measured: median {seconds(statistics.median(values))}, ")
    return said


SHOWN = """
[...document.querySelectorAll("img, svg.vmc-svg")].filter(drawn => drawn.checkVisibility())
  .map(drawn => drawn.getAttribute("alt") ?? drawn.getAttribute("aria-label") ?? "")
  .filter(alt => /process · (measured|recorded): median /.test(alt))
"""
"""Alternative texts of all figures of starts that can be seen."""


def check_shows(page: Any, path: Path) -> None:
    """The page shows the rows of a run, and those of no other one."""
    wanted = measured(path)
    page.wait_for_function(
        f"""wanted => {{ const all = {SHOWN};
          return all.length && all.every(alt => wanted.every(words => alt.includes(words))) }}""",
        arg=wanted,
        timeout=SOON_MS,
    )
    shown = page.evaluate(SHOWN)
    assert all(words in alt for alt in shown for words in wanted)
    assert all(f"n = {STARTS}" in alt for alt in shown)
    assert path.stem in page.locator("body").text_content()  # it may be folded
    assert "Error displaying widget" not in page.locator("body").inner_text()


# ---- figures ------------------------------------------------------------------------------------


def test_in_jupyterlab_figures_show_the_newest_run_after_a_reload_and_in_another_browser(
    lab: Server, browsers: Browsers, tmp_path: Path
) -> None:
    page = lesson(lab, browsers)
    first = run(lab, page)
    check_shows(page, first)
    save(page)
    check_saved(lab.home / "work" / f"{LESSON}.ipynb", first, browsers, tmp_path)
    open_notebook(lab, page, LESSON)
    second = run(lab, page)
    check_shows(page, second)
    save(page)
    third = begin(lab, page)
    browsers.close()  # while the run is on
    page = browsers.open()
    open_notebook(lab, page, LESSON)
    finished(page, third)
    check_shows(page, third)
    screenshot(page, "places-another-browser")


def check_saved(notebook: Path, path: Path, browsers: Browsers, folder: Path) -> None:
    """A notebook opened without a kernel, as GitHub and nbviewer do, shows a run's figures."""
    command = [sys.executable, "-m", "nbconvert", "--to", "html", "--output-dir", str(folder)]
    subprocess.run([*command, str(notebook)], check=True, capture_output=True, timeout=120)
    page = browsers.open()
    page.context.set_offline(True)
    page.goto((folder / f"{notebook.stem}.html").as_uri())
    check_shows(page, path)
    assert panels.GONE in page.locator("body").inner_text()
    screenshot(page, "places-saved")


def test_in_notebook_7_figures_show_the_newest_run_after_a_reload(
    browsers: Browsers, tmp_path: Path
) -> None:
    with served("notebook", tmp_path, **QUICK) as server:
        page = lesson(server, browsers)
        check_shows(page, run(server, page))
        save(page)
        open_notebook(server, page, LESSON)
        check_shows(page, run(server, page))
        screenshot(page, "places-notebook-7")
        browsers.close()


def test_in_voila_figures_show_the_run_that_was_made_after_a_reload_too(
    browsers: Browsers, tmp_path: Path
) -> None:
    with served("voila", tmp_path, **QUICK) as server:
        page = browsers.open()
        for _ in range(2):  # Voilà gives a page that is opened again a new kernel
            page.goto(server.address(f"{LESSON}.ipynb"), timeout=RUN_ALL_S * 1000)
            panel_of(page).wait_for(timeout=RUN_ALL_S * 1000)
            check_shows(page, run(server, page))
        screenshot(page, "places-voila")
        browsers.close()


# ---- panels -------------------------------------------------------------------------------------


def test_a_panel_whose_kernel_was_restarted_during_a_run_says_so_and_offers_no_stop(
    lab: Server, browsers: Browsers
) -> None:
    page = lesson(lab, browsers)
    panel = panel_of(page)
    begin(lab, page, rounds=50)
    panel.get_by_text(re.compile(r"\d of \d+ steps")).wait_for(timeout=RUN_MS)
    page.evaluate("jupyterapp.shell.currentWidget.sessionContext.session.kernel.restart()")
    check_gone(page)
    for _ in range(SOON_MS // 200):
        if not ours(lab):
            break
        page.wait_for_timeout(200)
    assert ours(lab) == []  # as the panel says
    screenshot(page, "places-restarted")
    run_all(page)
    panel_of(page).get_by_text(panels.READY).wait_for(timeout=SOON_MS)
    assert button(panel_of(page), "Run").is_enabled()


@pytest.mark.parametrize("how", ["it was shut down", "it died"])
def test_a_panel_says_that_its_kernel_is_gone(lab: Server, browsers: Browsers, how: str) -> None:
    page = lesson(lab, browsers)
    assert not panel_of(page).get_by_text(panels.GONE).is_visible()
    if how == "it died":
        for kernel in kernels(lab):
            kernel.kill()
    else:
        page.evaluate("jupyterapp.shell.currentWidget.sessionContext.shutdown()")
    check_gone(page)
    if how == "it was shut down":
        page.evaluate("jupyterapp.shell.currentWidget.sessionContext.startKernel()")
        page.wait_for_function(IDLE, timeout=SOON_MS)
        check_gone(page)  # the new kernel knows nothing of it
        screenshot(page, "places-another-kernel")
    save(page)
    open_notebook(lab, page, LESSON)  # with a new kernel
    page.locator(".jp-CodeCell", has_text=".measure()").get_by_text(panels.GONE).wait_for(
        timeout=SOON_MS
    )
    assert "Error displaying widget" not in page.locator("body").inner_text()


NONE_ASKS = """
![...document.querySelectorAll('.vmc-asks :is(button, .noUi-handle, input[type=radio])')]
  .some(one => one.checkVisibility({ visibilityProperty: true }))
"""
"""Whether nothing that a kernel would have to answer can be seen."""


def check_gone(page: Any) -> None:
    panel = panel_of(page)
    panel.get_by_text(panels.GONE).wait_for(timeout=SOON_MS)
    for asks in ("Stop", "Run"):
        button(panel, asks).wait_for(state="hidden", timeout=SOON_MS)
    page.wait_for_function(NONE_ASKS, timeout=SOON_MS)


def test_a_connection_that_was_lost_for_a_moment_takes_nothing_away(
    lab: Server, browsers: Browsers
) -> None:
    page = lesson(lab, browsers)
    page.evaluate("jupyterapp.shell.currentWidget.sessionContext.session.kernel.reconnect()")
    page.wait_for_function(IDLE, timeout=SOON_MS)
    button(panel_of(page), "Run").wait_for(timeout=SOON_MS)
    button(page, "Keep my prediction").first.wait_for(timeout=SOON_MS)


def test_the_panel_of_another_notebook_says_who_measures_and_opens_when_it_has_ended(
    lab: Server, browsers: Browsers
) -> None:
    one, two = lesson(lab, browsers), lesson(lab, browsers, OTHER)
    first, second = panel_of(one), panel_of(two)
    assert button(second, "Run").is_enabled()
    path = begin(lab, one, rounds=50)
    said = second.get_by_text("Run has to wait: boot_speed is being measured (since ")
    said.wait_for(timeout=SOON_MS)
    assert not button(second, "Run").is_enabled()
    first.get_by_text(re.compile(r"\d of \d+ steps")).wait_for(timeout=RUN_MS)
    second.get_by_text(f"run {path.stem}").wait_for(timeout=SOON_MS)
    named = re.search(r"process (\d+)", second.inner_text())
    assert named
    assert int(named[1]) in {process.pid for process in ours(lab)}
    second.scroll_into_view_if_needed()
    screenshot(two, "places-another-notebook-measures")
    button(first, "Stop").click()
    second.get_by_text(panels.READY).wait_for(timeout=RUN_MS)
    assert button(second, "Run").is_enabled()
