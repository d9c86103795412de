"""A learner's own copy of the lessons: brought up to date, and never written over."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import unprivileged

from vmcompare import paths
from vmcompare.errors import StorageError, Unavailable, UnknownName
from vmcompare.paths import lessons

LESSONS = paths.lessons_dir()

BOOT = "04-boot-speed.ipynb"
NEWER = "04-boot-speed-new.ipynb"

pytestmark = pytest.mark.usefixtures("private_places")


def cell(source: str, **more: Any) -> dict[str, Any]:
    return {"cell_type": "code", "id": "a", "metadata": {}, "source": [source], **more}


def notebook(*cells: dict[str, Any], **metadata: Any) -> str:
    told = {"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}
    return json.dumps(told, indent=1)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project of two lessons and a figure."""
    place = tmp_path / "project"
    (place / "figures").mkdir(parents=True)
    (place / "text").mkdir()
    (place / lessons.FIRST).write_text(notebook(cell("1")))
    (place / BOOT).write_text(notebook(cell("1"), cell("2")))
    (place / "figures" / "box.svg").write_text("<svg/>")
    (place / "text" / "04-boot-speed.md").write_text("the answers")
    (place / "text" / "glossary.md").write_text("what words mean")
    (place / "Untitled.ipynb").write_text("{}")
    monkeypatch.setattr(paths, "lessons_dir", lambda: place)
    return place


@pytest.fixture
def folder(project: Path, tmp_path: Path) -> Path:
    """A learner's folder with the lessons in it."""
    place = tmp_path / "home" / "lessons"
    assert lessons.give(place) == []
    return place


def visible(folder: Path) -> list[str]:
    every = (p.relative_to(folder) for p in folder.rglob("*") if p.is_file())
    return sorted(p.as_posix() for p in every if not p.name.startswith("."))


def renew(project: Path) -> None:
    """A newer version of lesson 04."""
    (project / BOOT).write_text(notebook(cell("1"), cell("2"), cell("newer")))


def test_it_gets_the_notebooks_and_their_figures_but_no_answers(folder: Path) -> None:
    assert visible(folder) == [lessons.FIRST, BOOT, "figures/box.svg", "glossary.md"]


def test_a_second_time_nothing_is_written_but_what_was_deleted_is_there_again(folder: Path) -> None:
    (folder / BOOT).unlink()
    before = (folder / lessons.FIRST).stat().st_mtime_ns
    assert lessons.give(folder) == []
    assert (folder / lessons.FIRST).stat().st_mtime_ns == before
    assert (folder / BOOT).exists()


def opened(path: Path) -> None:
    """As JupyterLab saves a notebook that was looked at only."""
    told = json.loads(path.read_text())
    told["metadata"] = {"language_info": {"name": "python", "version": "3.11.7"}}
    for number, one in enumerate(told["cells"]):
        one.update(id=f"b{number}", execution_count=None, outputs=[], metadata={"scrolled": True})
        one["source"] = "".join(one["source"])
    path.write_text(json.dumps(told))


def untouched(path: Path) -> None:
    assert path.is_file()


@pytest.mark.parametrize("touch", [untouched, opened], ids=lambda touch: touch.__name__)
def test_a_lesson_that_was_not_changed_is_replaced_by_a_newer_one(
    touch: Callable[[Path], None], folder: Path, project: Path
) -> None:
    touch(folder / BOOT)
    renew(project)
    assert lessons.give(folder) == []
    assert (folder / BOOT).read_text() == (project / BOOT).read_text()
    assert NEWER not in visible(folder)


def another_cell(path: Path) -> None:
    path.write_text(notebook(cell("1"), cell("2"), cell("mine")))


def an_output(path: Path) -> None:
    said = {"output_type": "stream", "name": "stdout", "text": ["measured"]}
    path.write_text(notebook(cell("1", outputs=[said]), cell("2")))


def broken(path: Path) -> None:
    path.write_text("{ no notebook")


CHANGES = [another_cell, an_output, broken]


def test_a_renamed_lesson_takes_the_place_of_an_unchanged_one_only(
    folder: Path, project: Path
) -> None:
    another_cell(folder / BOOT)
    renew(project)
    lessons.give(folder)
    (project / lessons.FIRST).rename(project / "00-begin.ipynb")
    (project / BOOT).rename(project / "04-start.ipynb")
    assert lessons.give(folder) == []
    assert visible(folder) == [
        "00-begin.ipynb", BOOT, "04-start.ipynb", "figures/box.svg", "glossary.md",
    ]  # fmt: skip


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_a_changed_lesson_stays_and_a_newer_one_lies_beside_it_once(
    change: Callable[[Path], None], folder: Path, project: Path
) -> None:
    change(folder / BOOT)
    mine = (folder / BOOT).read_text()
    assert lessons.give(folder) == []
    assert NEWER not in visible(folder)
    renew(project)
    assert lessons.give(folder) == [f"{BOOT} stays as you changed it; the newer one is {NEWER}"]
    assert (folder / BOOT).read_text() == mine
    assert (folder / NEWER).read_text() == (project / BOOT).read_text()
    assert lessons.give(folder) == []


def test_a_newer_one_that_was_changed_too_stays_and_one_that_was_not_is_replaced(
    folder: Path, project: Path
) -> None:
    another_cell(folder / BOOT)
    renew(project)
    lessons.give(folder)
    (project / BOOT).write_text(notebook(cell("newer still")))
    assert lessons.give(folder)[0].endswith(f"the newer one is {NEWER}")
    assert (folder / NEWER).read_text() == (project / BOOT).read_text()
    another_cell(folder / NEWER)
    renew(project)
    assert lessons.give(folder)[0].endswith("the newer one is 04-boot-speed-new-2.ipynb")
    assert "mine" in (folder / NEWER).read_text()


def a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()
    (path / "mine").write_text("mine")


def a_link(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.parent.parent / "elsewhere")


@pytest.mark.parametrize("put", [a_folder, a_link], ids=lambda put: put.__name__)
def test_what_a_learner_put_in_the_place_of_a_lesson_stays(
    put: Callable[[Path], None], folder: Path, project: Path
) -> None:
    (folder.parent / "elsewhere").write_text("mine")
    put(folder / BOOT)
    renew(project)
    assert len(lessons.give(folder)) == 1
    assert (folder / BOOT).is_symlink() or (folder / BOOT / "mine").read_text() == "mine"
    assert (folder.parent / "elsewhere").read_text() == "mine"


def test_what_was_given_is_unknown_once_its_list_is_damaged_and_nothing_is_written_over(
    folder: Path, project: Path
) -> None:
    another_cell(folder / BOOT)
    (folder / lessons.GIVEN).write_text('{"04-boot')
    assert lessons.give(folder) == [f"{BOOT} stays as you changed it; the newer one is {NEWER}"]
    assert "mine" in (folder / BOOT).read_text()


def test_a_copy_that_was_broken_off_is_completed(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, put, done = tmp_path / "lessons", paths.put, []

    def breaks_off(part: Path, path: Path) -> None:
        if len(done) == 2:
            raise OSError(28, "No space left on device")
        done.append(path)
        put(part, path)

    monkeypatch.setattr(paths, "put", breaks_off)
    with pytest.raises(StorageError, match=r"No space left.* Next step: make room there"):
        lessons.give(place)
    monkeypatch.setattr(paths, "put", put)
    assert lessons.give(place) == []
    assert visible(place) == [lessons.FIRST, BOOT, "figures/box.svg", "glossary.md"]


def test_a_folder_with_something_else_in_it_is_left_alone(project: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(Unavailable, match=r"did not put there\. Next step: name a new folder"):
        lessons.give(tmp_path)
    assert not (tmp_path / BOOT).exists()


def test_the_projects_own_lessons_are_no_learners_folder(project: Path) -> None:
    with pytest.raises(Unavailable, match="did not put there"):
        lessons.give(project)


@pytest.mark.parametrize("path", ["file", "file/below"])
def test_what_is_no_folder_is_named(path: str, project: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(StorageError, match=r"file.* Next step: .*name another folder"):
        lessons.give(tmp_path / path)


def test_another_users_folder_is_left_alone(project: Path, tmp_path: Path) -> None:
    if why := unprivileged.impossible():
        pytest.skip(why)
    place = tmp_path / "theirs"
    place.mkdir()
    os.chown(place, unprivileged.NOBODY, unprivileged.NOBODY)
    with pytest.raises(Unavailable, match="belongs to another user"):
        lessons.give(place)
    assert list(place.iterdir()) == []


@pytest.mark.parametrize("options", ["size=16k", "ro"])
def test_a_full_or_read_only_folder_is_one_sentence(options: str, tmp_path: Path) -> None:
    if why := unprivileged.impossible():
        pytest.skip(why)
    place = tmp_path / "lessons"
    place.mkdir()
    command = [sys.executable, "-m", "vmcompare", "lab", str(place), "--no-browser"]
    done = subprocess.run(
        ["unshare", "--mount", "--propagation", "private", "sh", "-ec",
         f'mount -t tmpfs -o {options} tmpfs {place}; exec "$@"', "-", *command],
        env={**os.environ, "ENGINES": "skip"}, capture_output=True, text=True, check=False,
        stdin=subprocess.DEVNULL, timeout=120,
    )  # fmt: skip
    assert done.returncode == 1
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert str(place) in done.stderr
    assert "name another folder (vmcompare lab DIR)" in done.stderr


def test_two_at_a_time_give_each_lesson_once(project: Path, tmp_path: Path) -> None:
    place = tmp_path / "lessons"
    code = (
        "import sys; from pathlib import Path; from vmcompare import paths;"
        "paths.lessons_dir = lambda: Path(sys.argv[1]);"
        "from vmcompare.paths import lessons; print(lessons.give(Path(sys.argv[2])))"
    )
    started = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(project), str(place)], stdout=subprocess.PIPE
        )
        for _ in range(3)
    ]
    assert [child.communicate()[0] for child in started] == [b"[]\n"] * 3
    assert visible(place) == [lessons.FIRST, BOOT, "figures/box.svg", "glossary.md"]


@pytest.mark.parametrize("word", ["04", "04-boot-speed"])
def test_a_lesson_is_found_by_its_number_or_name(word: str, project: Path) -> None:
    assert lessons.named(word) == project / BOOT


def test_an_unknown_lesson_is_told_which_there_are(project: Path) -> None:
    with pytest.raises(UnknownName, match="no lesson called '05'; choose from: 00, 04"):
        lessons.named("05")


def test_every_picture_of_a_lesson_is_in_a_learners_folder(tmp_path: Path) -> None:
    lessons.give(tmp_path / "lessons")
    for path in sorted((tmp_path / "lessons").glob("*.ipynb")):
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        text = "\n".join("".join(one["source"]) for one in cells)
        named = [name for name in re.findall(r"!\[.*?\]\((.*?)\)", text) if "://" not in name]
        assert named, path
        assert all((path.parent / name).is_file() for name in named)


@pytest.mark.slow
def test_a_lesson_runs_from_a_learners_folder_with_its_words_and_recording(
    tmp_path: Path, without_engines: dict[str, str]
) -> None:
    lessons.give(tmp_path / "lessons")
    words = ["handout", str(tmp_path / "lessons" / BOOT), "--mode", "replay"]
    done = subprocess.run(
        [sys.executable, "-m", "vmcompare", *words, "--out", str(tmp_path)],
        env=without_engines, cwd=tmp_path, capture_output=True, text=True, check=False,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "04-boot-speed.html").read_text(encoding="utf-8")
    assert "(recorded, run" in page or "recorded · run" in page
    assert "Model answer" in page


def test_a_lesson_is_known_by_the_experiment_its_notebook_names(tmp_path: Path) -> None:
    (tmp_path / "05a-boundaries.ipynb").write_text(
        notebook(cell('lesson = Lesson("isolation", "05a")'))
    )
    (tmp_path / "09-verdict.ipynb").write_text(notebook(cell("verdict = Verdict()")))
    found = lessons.lesson_files(tmp_path)
    assert [(n, x.experiment) for n, x in found.items()] == [("05a", "isolation"), ("09", "")]


def test_every_lesson_of_the_course_is_found() -> None:
    found = lessons.lesson_files()
    assert {path.stem for path in LESSONS.glob("*.ipynb")} == {
        x.notebook.stem for x in found.values()
    }
