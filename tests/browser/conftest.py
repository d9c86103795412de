"""Chromium with the network off, axe-core, and the pages to look at."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from browser_tools import NOTEBOOKS, ROOT, Open, missing

AXE = ROOT / "node_modules" / "axe-core" / "axe.min.js"
FLAGS = (
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)

sys.path.insert(0, str(ROOT / "tests" / "handout"))


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """A running headless Chromium."""
    executable = shutil.which("chromium") or "/usr/bin/chromium"
    if not Path(executable).exists():
        missing("Chromium is not on PATH")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        missing("playwright is not installed (uv sync --group dev)")
    # Chromium's own sandbox does not work for root, which containers in CI usually are.
    root = ("--no-sandbox",) if hasattr(os, "geteuid") and os.geteuid() == 0 else ()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=[*FLAGS, *root])
        yield browser
        browser.close()


@pytest.fixture
def open_page(chromium: Any) -> Iterator[Open]:
    """``open_page(path, width=…, dark=…, script=…)``: a file from disk, with the network off.

    Dialogs are noted in ``watch``.

    The test fails if the page asked for anything from elsewhere or complained on its console.
    """
    contexts: list[Any] = []
    asked: list[str] = []
    complaints: list[str] = []

    def opened(
        path: Path,
        *,
        width: int = 1280,
        dark: bool = False,
        script: bool = True,
        watch: list[Any] | None = None,
    ) -> Any:
        context = chromium.new_context(
            viewport={"width": width, "height": 900},
            color_scheme="dark" if dark else "light",
            java_script_enabled=script,
            offline=True,
        )
        contexts.append(context)
        page = context.new_page()
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda said: complaints.append(f"{said.type}: {said.text}"))
        if watch is not None:
            page.on("dialog", lambda dialog: (watch.append(dialog.message), dialog.dismiss()))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(path.as_uri())
        if script:
            page.wait_for_function(
                "[...document.querySelectorAll('figure.vmc-whatif')]"
                ".every(figure => 'ready' in figure.dataset)"
            )
        return page

    yield opened
    for context in contexts:
        context.close()
    assert not [url for url in asked if not url.startswith(("file:", "data:", "blob:"))]
    assert not complaints


@pytest.fixture
def page(open_page: Open, handout: Path) -> Any:
    """The handout in a light window of 1280 pixels."""
    return open_page(handout)


@pytest.fixture(scope="session")
def replayed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with every lesson, exported from its recordings, and the index page."""
    out = tmp_path_factory.mktemp("lessons")
    command = [sys.executable, "-m", "vmcompare", "handout", *map(str, NOTEBOOKS)]
    done = subprocess.run(
        [*command, "--out", str(out), "--mode", "replay"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return out


@pytest.fixture(scope="session")
def lesson_04_page(replayed: Path) -> Path:
    """The lesson on whose page exercises and quiz are tried."""
    return replayed / "04-boot-speed.html"


@pytest.fixture(params=["toy", *(path.stem for path in NOTEBOOKS), "index"])
def handout(request: pytest.FixtureRequest) -> Path:
    """Each page to look at: the toy lesson, the real ones, and the one that ties them together."""
    if request.param == "toy":
        toy: Path = request.getfixturevalue("toy_page")
        return toy
    made: Path = request.getfixturevalue("replayed") / f"{request.param}.html"
    if request.param == "index" and len(NOTEBOOKS) < 2:
        pytest.skip("an index is written for several handouts only")
    return made


@pytest.fixture(scope="session")
def axe() -> Callable[[Any], list[str]]:
    """``axe(page)``: what axe-core's default rules find wrong, one line each."""
    if not AXE.exists():
        missing("axe-core is not installed (npm ci)")
    program = AXE.read_text(encoding="utf-8")

    def check(page: Any) -> list[str]:
        page.evaluate(program)
        found = page.evaluate("axe.run().then(result => result.violations)")
        return [
            f"{rule['id']}: {node['html'][:200]} ({node['failureSummary'][:200]})"
            for rule in found
            for node in rule["nodes"]
        ]

    return check
