"""Lessons in clients that are not ours: papermill chooses, and what hangs is found and ended."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import nbformat
import psutil
import pytest
from room import ROOT

from tools import foreign_clients
from tools.foreign_clients import Ending

LESSON = ROOT / "notebooks" / "04-boot-speed.ipynb"


def notebook(path: Path, code: str) -> Path:
    cell = nbformat.v4.new_code_cell(code)
    spec = {"kernelspec": {"name": "python3", "display_name": "", "language": "python"}}
    nbformat.write(nbformat.v4.new_notebook(cells=[cell], metadata=spec), path)
    return path


@pytest.mark.slow
def test_a_notebook_that_never_ends_is_counted_and_ended_with_its_kernel(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    begin = f"import os, pathlib, time; pathlib.Path({str(pid)!r}).write_text(str(os.getpid()))"
    hangs = notebook(tmp_path / "hangs.ipynb", f"{begin}\nwhile True:\n    time.sleep(1)")
    ending, _ = foreign_clients.execute(hangs, limit_s=30)
    assert ending is Ending.HUNG
    assert not psutil.pid_exists(int(pid.read_text()))


@pytest.mark.slow
def test_notebooks_that_end_and_that_fail_are_told_apart(tmp_path: Path) -> None:
    ends = notebook(tmp_path / "ends.ipynb", "import os; assert os.environ['VMCOMPARE_MODE']")
    fails = notebook(tmp_path / "fails.ipynb", "1 / 0")
    told: list[str] = []
    found = foreign_clients.executions(2, [ends, fails], tell=told.append)
    assert found == {Ending.ENDED: 1, Ending.FAILED: 1}
    assert "ZeroDivisionError" in told[1]


@pytest.mark.parametrize(("ending", "code"), [(e, int(e is not Ending.ENDED)) for e in Ending])
def test_its_exit_code_is_zero_only_if_all_ended(
    ending: Ending, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(foreign_clients, "execute", lambda *_: (ending, ""))
    assert foreign_clients.main(["-n", "3"]) == code
    assert capsys.readouterr().out.splitlines()[-1].count(f"3 {ending}") == 1


@pytest.mark.slow
def test_papermill_chooses_rounds_and_mode(private_places: Path) -> None:
    out, begun = private_places / "out.ipynb", nbformat.read(LESSON, 4)
    measured = next(n for n, cell in enumerate(begun.cells) if ".measure(" in cell.source)
    del begun.cells[measured + 1 :]  # what follows is drawn from the rows shown here
    nbformat.write(begun, private_places / LESSON.name)
    words = [LESSON.name, str(out), "-p", "rounds", "2", "-p", "mode", "replay"]
    subprocess.run(
        [sys.executable, "-m", "papermill", *words, "--no-progress-bar"],
        cwd=private_places, check=True, capture_output=True, timeout=250,
    )  # fmt: skip
    cells = [c for c in nbformat.read(out, 4).cells if c.cell_type == "code"]
    [given] = [c for c in cells if "injected-parameters" in c.metadata.get("tags", ())]
    assert given.source.splitlines()[-2:] == ["rounds = 2", 'mode = "replay"']
    said = str([output for cell in cells for output in cell.outputs])
    assert "only recordings are shown here" in said
    assert "This session replays recordings" in said
    assert not list(private_places.rglob("*.jsonl"))
