"""JupyterLab, Notebook 7 and Voilà as a browser test meets them, on a copy of the lessons."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import secrets
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
from browser_tools import NOTEBOOKS, missing

MARK = "VMCOMPARE_TEST_MARK"  # inherited by all that the server starts, orphans included
START_S, RUN_ALL_S = 180, 300

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
SETTLED = """
async () => {
  const now = () => document.querySelector('.jp-Notebook').innerHTML;
  const before = now();
  await new Promise(resolve => setTimeout(resolve, 1000));
  return now() === before;
}
"""
"""Whether a second passes in which nothing of the notebook's page changes."""


EXPOSED = {
    "jupyterlab": (
        "--LabApp.expose_app_in_browser=True",
        "--LabApp.extension_manager=readonly",
        "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
    ),
    "notebook": ("--JupyterNotebookApp.expose_app_in_browser=True",),
    # Voilà embeds pictures by a blocking call, which the server's usual manager of files is not.
    "voila": (
        "--ServerApp.contents_manager_class="
        "jupyter_server.services.contents.largefilemanager.LargeFileManager",
    ),
}
"""Options of each application; the tests drive the first two through ``jupyterapp``."""

PAGES = {"jupyterlab": "lab/tree", "notebook": "notebooks", "voila": "voila/render"}
"""Where each application shows a notebook."""


@dataclass(frozen=True)
class Server:
    """A running JupyterLab, Notebook 7 or Voilà."""

    application: str
    url: str
    token: str
    mark: str
    process: subprocess.Popen[bytes]
    home: Path

    def address(self, notebook: str) -> str:
        reset = "&reset" if self.application == "jupyterlab" else ""
        return f"{self.url}/{PAGES[self.application]}/{notebook}?token={self.token}{reset}"


def environment(home: Path, mark: str) -> dict[str, str]:
    """Everything that Jupyter and the lesson keep goes below ``home``; images stay cached."""
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


@contextlib.contextmanager
def served(application: str, home: Path, **env: str) -> Iterator[Server]:
    """One server on the loopback interface; it ends with the context.

    Args:
        application: a key of :data:`EXPOSED`.
        home: an empty folder for all that the server and its kernels keep.
        env: added to their environment.
    """
    if importlib.util.find_spec(application) is None:
        missing(f"{application} is not installed")
    work = home / "work"
    shutil.copytree(NOTEBOOKS[0].parent, work, ignore=shutil.ignore_patterns(".*"))
    for name, value in SETTINGS.items():
        path = home / "settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(value), encoding="utf-8")
    token, mark = secrets.token_hex(16), secrets.token_hex(8)
    with (home / "log").open("wb") as log:
        server = subprocess.Popen(
            _command(application, token, work),
            env=environment(home, mark) | env, cwd=work, stdout=log, stderr=log,
        )  # fmt: skip
    try:
        url = _address(server, home)
        yield Server(application, url, token, mark, server, home)
    finally:
        server.terminate()
        try:
            server.wait(60)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def _command(application: str, token: str, work: Path) -> list[str]:
    # Voilà runs as an extension of the same server, as it does where a class uses it.
    name = "jupyter_server" if application == "voila" else application
    root = ("--allow-root",) if hasattr(os, "geteuid") and os.geteuid() == 0 else ()
    return [
        *(sys.executable, "-m", name, "--no-browser", "--ip=127.0.0.1"),
        f"--IdentityProvider.token={token}",
        *(f"--ServerApp.root_dir={work}", *EXPOSED[application], *root),
    ]


def _address(server: subprocess.Popen[bytes], home: Path) -> str:
    """Where the server says that it is, once it answers there."""
    told = home / "runtime" / f"jpserver-{server.pid}.json"
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and server.poll() is None:
        try:
            said = json.loads(told.read_text(encoding="utf-8"))
            url = f"http://127.0.0.1:{said['port']}"
            with urllib.request.urlopen(f"{url}/api/status?token={said['token']}", timeout=20):
                return url
        except (OSError, ValueError):  # not written yet, or written by half; or nobody answers
            time.sleep(0.2)
    pytest.fail(f"the server did not start:\n{(home / 'log').read_text(errors='replace')[-2000:]}")


def ours(server: Server) -> list[psutil.Process]:
    """What the lesson started: all that carry the mark, but the server and its kernels."""
    found = []
    for process in psutil.process_iter():
        try:
            marked = process.environ().get(MARK) == server.mark
            words = process.cmdline()
        except psutil.Error:
            continue
        is_server = process.pid == server.process.pid
        if marked and not is_server and words and "ipykernel_launcher" not in words:
            found.append(process)
    return found


# ---- the pages of JupyterLab and Notebook 7 -----------------------------------------------------


def open_notebook(server: Server, page: Any, name: str) -> None:
    """Open a notebook, and wait for its kernel."""
    page.goto(server.address(f"{name}.ipynb"))
    page.wait_for_selector(".jp-Notebook", timeout=START_S * 1000)
    page.wait_for_function(IDLE, timeout=START_S * 1000)


def run_all(page: Any) -> None:
    """Run all cells, to the end of the last one."""
    page.evaluate("jupyterapp.commands.execute('notebook:run-all-cells')")
    page.wait_for_function(ALL_RAN, timeout=RUN_ALL_S * 1000)
    page.wait_for_function(SETTLED, timeout=START_S * 1000)  # widgets come after their cell


def save(page: Any) -> None:
    """Save the notebook of the page."""
    page.evaluate("jupyterapp.commands.execute('docmanager:save')")
