"""What an exported page is made of, and how an export fails."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import lesson_fixture
import psutil
import pytest
from lesson_fixture import export, new_markdown_cell, new_notebook

from vmcompare import handout
from vmcompare.errors import UnknownName
from vmcompare.handout import HandoutError, execution


def short_notebook(directory: Path, *sources: str) -> Path:
    cells = [new_markdown_cell("# A toy"), *(lesson_fixture.code(source) for source in sources)]
    return lesson_fixture.write(directory, new_notebook(cells=cells))


def test_editions(tmp_path: Path) -> None:
    notebook = new_notebook(
        cells=[
            new_markdown_cell("# Toy"),
            new_markdown_cell("<details class='vmc-answer'><summary>A</summary>42</details>"),
        ]
    )
    path = lesson_fixture.write(tmp_path, notebook)
    student = export(path, tmp_path).read_text(encoding="utf-8")
    teacher = export(path, tmp_path, edition="instructor")
    assert teacher.name == "toy-lesson-instructor.html"
    shown = teacher.read_text(encoding="utf-8")
    assert 'class="vmc-answers"' not in shown
    assert 'class="vmc-answers"' in student
    with pytest.raises(UnknownName, match="choose from: student, instructor"):
        export(path, tmp_path, edition="pupil")


def test_cell_error_leaves_no_file(tmp_path: Path) -> None:
    path = short_notebook(tmp_path, "x = 1", "y = 2\nx / 0\nz = 3")
    with pytest.raises(HandoutError, match="ZeroDivisionError: division by zero") as caught:
        export(path, tmp_path / "out")
    assert caught.value.cell == "y = 2"
    assert caught.value.line == "x / 0"
    assert "`y = 2`" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_kernel_death_and_time_out(tmp_path: Path) -> None:
    path = short_notebook(tmp_path, "import os; os._exit(3)")
    with pytest.raises(HandoutError, match="the kernel died"):
        export(path, tmp_path / "out")
    path = short_notebook(tmp_path, "import time; time.sleep(60)")
    with pytest.raises(HandoutError, match="more than 2 s"):
        export(path, tmp_path / "out", timeout_s=2)
    assert not kernels_below(psutil.Process())


def test_a_page_that_would_load_something(tmp_path: Path) -> None:
    notebook = new_notebook(cells=[new_markdown_cell("# T\n\n![a](https://example.org/a.png)")])
    path = lesson_fixture.write(tmp_path, notebook)
    with pytest.raises(HandoutError, match="<img> would load"):
        export(path, tmp_path)
    assert not (tmp_path / "toy-lesson.html").exists()


@pytest.mark.slow
def test_second_try_when_the_kernel_does_not_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = execution.command()
    commands = [[sys.executable, "-c", "print('toy failure')"], right]
    monkeypatch.setattr(execution, "command", lambda: commands.pop(0))
    path = short_notebook(tmp_path, "print('ran')")
    assert "ran" in export(path, tmp_path).read_text(encoding="utf-8")
    commands = [[sys.executable, "-c", "import sys; sys.exit('toy failure')"]] * 2
    with pytest.raises(HandoutError, match="did not start, not even at a second try: toy failure"):
        export(path, tmp_path / "out")


def kernels_below(process: psutil.Process) -> list[psutil.Process]:
    return [
        child
        for child in process.children(recursive=True)
        if child.status() != psutil.STATUS_ZOMBIE and "ipykernel_launcher" in child.cmdline()
    ]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT for one process")
def test_interrupt_leaves_no_kernel(tmp_path: Path) -> None:
    path = short_notebook(tmp_path, "import time; time.sleep(120)")
    program = textwrap.dedent("""
        import sys
        from pathlib import Path
        from vmcompare import handout
        tell = lambda sentence: print(sentence, flush=True)
        handout.export_all([Path(sys.argv[1])], Path(sys.argv[2]), print, tell)
    """)
    temporary = tmp_path / "t"
    temporary.mkdir()
    with subprocess.Popen(
        [sys.executable, "-c", program, str(path), str(tmp_path / "out")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"TMPDIR": str(temporary)},
    ) as exporter:
        assert exporter.stdout is not None
        assert exporter.stdout.readline() == "toy-lesson: cell 1 of 1\n"
        kernels = kernels_below(psutil.Process(exporter.pid))
        assert len(kernels) == 1
        exporter.send_signal(signal.SIGINT)
        _, errors = exporter.communicate(timeout=60)
    assert "KeyboardInterrupt" in errors
    assert not [k for k in kernels if k.is_running() and k.status() != psutil.STATUS_ZOMBIE]
    assert not [p for p in temporary.iterdir() if p.name.startswith("vmc-")]
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_long_cell_tells_how_far_it_is(tmp_path: Path) -> None:
    telling = (
        "import time\nfrom vmcompare.measuring.mode import tell_progress\n"
        "tell_progress('1 of 2 starts: vm')\ntime.sleep(3)"
    )
    told: list[str] = []
    handout.export_all([short_notebook(tmp_path, telling)], tmp_path, print, told.append)
    assert told == ["toy-lesson: cell 1 of 1", "toy-lesson: 1 of 2 starts: vm"]
