"""Engines are real here. Where one is missing, its tests skip and say why; where the environment
variable VMCOMPARE_REQUIRE names it (as in CI), they fail instead."""

from __future__ import annotations

import gc
import os
import shutil
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from room import Room, hidden_engines

sys.modules.setdefault("rfc3987_syntax", None)  # as in vmcompare.handout: nbformat is quick then
# Looking for garbage took an eighth of the time: figures are made of many small objects.
gc.set_threshold(20_000, 50, 100)
ENGINES = ("docker", "qemu", "browser")
REQUIRED = frozenset(filter(None, os.environ.get("VMCOMPARE_REQUIRE", "").split(",")))


def _missing(engine: str) -> str:
    """Why ``engine`` cannot be used here; empty when it can."""
    if engine == "browser":
        return "" if shutil.which("chromium") else "Chromium is not on PATH"
    import importlib

    found = importlib.import_module(f"vmcompare.engines.{engine}").probe()
    return "" if found.ok else f"{found.what}; next step: {found.next_step}"


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """With ``--dist loadscope``: tests that share a VM, a browser or pages stay in one process.

    Every other test is given to whoever is free. (The groups of ``--dist loadgroup`` would say the
    same, but pytest-xdist 3.8 does not find them with pytest 9.2.)
    """
    if config.getoption("dist") != "loadscope":
        return None
    from xdist.scheduler import LoadScopeScheduling

    class BySharedSetUp(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            path = nodeid.partition("::")[0]
            if "/browser/" in path:
                return "the lab" if path.endswith("test_lab.py") else "pages"
            return path if "/engines/" in path or "/experiments/" in path else nodeid

    return BySharedSetUp(config, log)


def pytest_collection_finish() -> None:
    gc.freeze()  # what was imported stays


@pytest.fixture(scope="session")
def _reasons() -> dict[str, str]:
    return {}


@pytest.fixture(autouse=True)
def _engine(request: pytest.FixtureRequest, _reasons: dict[str, str]) -> None:
    for engine in ENGINES:
        if request.node.get_closest_marker(engine):
            if engine not in _reasons:
                _reasons[engine] = _missing(engine)
            if _reasons[engine] and engine in REQUIRED:
                pytest.fail(f"{engine} is required here, but {_reasons[engine]}")
            if _reasons[engine]:
                pytest.skip(_reasons[engine])


@pytest.fixture
def private_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The learner's data and state directories, empty and thrown away (the image cache is kept)."""
    monkeypatch.setattr("vmcompare.course.answers._held", {})
    for name in ("XDG_DATA_HOME", "XDG_STATE_HOME"):
        monkeypatch.setenv(name, str(tmp_path / name.lower()))
    return tmp_path


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """How many tests ran on each backend: a green run that tested no engine should be seen."""
    ran: Counter[str] = Counter()
    for report in terminalreporter.stats.get("passed", []):
        marks = [engine for engine in ENGINES if engine in report.keywords]
        ran.update(marks or ["no engine"])
    words = ", ".join(f"{name}: {ran[name]}" for name in ("no engine", *ENGINES))
    terminalreporter.write_line(f"passed by backend: {words}")


@pytest.fixture
def without_engines(tmp_path: Path) -> dict[str, str]:
    """An environment in which Docker and QEMU are hidden."""
    return hidden_engines(tmp_path)


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder, the same one for all processes of this test run."""
    place = tmp_path_factory.getbasetemp()
    return place.parent if "PYTEST_XDIST_WORKER" in os.environ else place


@pytest.fixture(scope="session")
def room(shared: Path) -> Room:
    """A computer without engines, the same one for all processes of this test run."""
    return Room(shared / "room")


@pytest.fixture(scope="session")
def toy_page(shared: Path) -> Path:
    """The toy lesson of ``tests/handout``, exported once for all processes of this test run."""
    import lesson_fixture

    from vmcompare.paths import locked

    made = shared / "toy" / "out" / "toy-lesson.html"
    with locked(shared / "toy.lock"):
        if not made.exists():
            lesson_fixture.export(lesson_fixture.write(shared / "toy" / "lesson"), made.parent)
    return made
