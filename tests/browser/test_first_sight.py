"""``vmcompare lab`` as a new learner meets it: the first lesson, nothing beside it, on a copy."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browser_tools import ROOT, screenshot

pytestmark = [pytest.mark.browser, pytest.mark.timeout(900)]

START_S = 180


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    """Where the lab is that was started in a new home, with the project's folder as its own."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("XDG_", "JUPYTER"))}
    environment = {**inherited, "HOME": str(tmp_path), "ENGINES": "skip"}
    log = tmp_path / "log"
    with log.open("wb") as said:
        lab = subprocess.Popen(
            [sys.executable, "-m", "vmcompare", "lab", "--no-browser"],
            env=environment, cwd=ROOT, stdout=said, stderr=said,
        )  # fmt: skip
    try:
        yield told(log, lab)
    finally:
        lab.terminate()
        lab.wait(60)


def told(log: Path, lab: subprocess.Popen[bytes]) -> str:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and lab.poll() is None:
        if found := re.search(r"http://127\.0\.0\.1:\S+token=\w+", log.read_text(errors="replace")):
            return found[0]
        time.sleep(0.2)
    raise AssertionError(log.read_text(errors="replace"))


def files(folder: Path) -> dict[str, tuple[int, int]]:
    """All that lies in a folder, hidden or not, with size and time of change."""
    every = {path: path.stat() for path in folder.rglob("*")}
    return {str(path): (found.st_size, found.st_mtime_ns) for path, found in every.items()}


def test_the_first_lesson_is_open_alone_and_only_the_learners_copy_is_changed(
    address: str, chromium: Any, tmp_path: Path
) -> None:
    checkout = files(ROOT / "notebooks"), (ROOT / ".jupyter").exists()
    context = chromium.new_context(viewport={"width": 1366, "height": 768})
    page = context.new_page()
    outside: list[str] = []
    own = (address.partition("/lab")[0], "data:", "blob:")
    own = (*own, own[0].replace("http", "ws"))
    page.on("request", lambda r: None if r.url.startswith(own) else outside.append(r.url))
    page.goto(address)
    page.locator(".jp-Notebook h1", has_text="Start here").wait_for(timeout=START_S * 1000)
    page.locator(".jp-Notebook-ExecutionIndicator[data-status=idle]").first.wait_for(
        state="attached", timeout=START_S * 1000
    )
    page.wait_for_timeout(3000)  # a question about news would come late
    screenshot(page, "lab-first-sight")
    tabs = page.locator("#jp-main-dock-panel .lm-TabBar-tabLabel")
    assert tabs.all_inner_texts() == ["00-start-here.ipynb"]
    assert page.locator(".Toastify__toast, .jp-Dialog").count() == 0
    for name in page.locator(".jp-DirListing-itemText").all():  # none is cut
        assert name.evaluate("name => name.scrollWidth <= name.clientWidth"), name.inner_text()
    page.locator(".jp-CodeCell .cm-content").first.click()
    for _ in ("the parameters", "the lesson"):
        page.keyboard.press("Shift+Enter")
    page.locator(".jp-CodeCell .jp-OutputArea-output").first.wait_for(timeout=START_S * 1000)
    page.keyboard.press("Control+s")
    copy = tmp_path / "vmcompare-lessons" / "00-start-here.ipynb"
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and '"output_type"' not in copy.read_text(encoding="utf-8"):
        page.wait_for_timeout(200)
    assert '"output_type"' in copy.read_text(encoding="utf-8")
    context.close()
    assert not outside
    assert (files(ROOT / "notebooks"), (ROOT / ".jupyter").exists()) == checkout
