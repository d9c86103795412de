"""Lesson 02's exercises: right answers come from the rows that are shown."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from planted import planted
from planted_kernels import looked

from vmcompare.course import text
from vmcompare.errors import Unavailable
from vmcompare.evidence.view import View, compose

EXERCISES, _ = text.asked("shared_kernel", "02")
NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "02-shared-kernel.ipynb"


def view_of(place: Path, **more: Any) -> View:
    return compose(planted(place, looked(**more), experiment="shared_kernel"), None)


def test_the_observation_that_one_rung_alone_changes_is_right_and_the_reply_quotes_it(
    tmp_path: Path,
) -> None:
    exercise, view = EXERCISES["leave_one_out"], view_of(tmp_path)
    said = {choice: exercise.check(view, choice) for choice in exercise.choices}
    assert [choice for choice, reply in said.items() if reply.right] == ["loopback network"]
    assert "it was “down”, without this one “up”" in said["loopback network"].text
    assert "No rung changes the boot id" in said["boot id"].text
    assert "another rung" in said["files of"].text
    with pytest.raises(Unavailable, match="without net has not been climbed"):
        exercise.check(view_of(tmp_path, broken=["all but net"]), "boot id")


def test_kernels_are_counted_from_the_rows_and_two_miscounts_are_recognised(
    tmp_path: Path,
) -> None:
    exercise, view = EXERCISES["count_kernels"], view_of(tmp_path)
    assert exercise.check(view, 3).text == (
        "Yes: the data shown give 3 kernels. They answered 6 instances."
    )
    assert "number of instances" in exercise.check(view, 6).text
    assert "3 different boot ids among 6" in exercise.solution(view)
    same = {"vm-direct": "22222222", "vm": "22222222"}
    assert exercise.check(view_of(tmp_path, boot_ids=same), 2).right
    with pytest.raises(Unavailable):
        exercise.check(view_of(tmp_path, only=["vm"], broken=["vm"]), 1)


def test_the_cell_runs_unanswered_and_gives_the_right_count_once_completed(tmp_path: Path) -> None:
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    sources = ("".join(cell["source"]) for cell in cells)
    [code] = [source for source in sources if 'check_answer("count_kernels"' in source]
    given: list[Any] = []
    lesson = SimpleNamespace(view=view_of(tmp_path), check_answer=lambda _, one: given.append(one))
    done = code.replace("kernel release", "boot id").replace("...", 'rows["text"].nunique()')
    for source in (code, done):
        exec(source, {"lesson": lesson})
    assert given == [..., 3]


def test_the_reading_that_was_missed_is_shown_beside_the_hosts_where_it_was_asked(
    tmp_path: Path,
) -> None:
    exercise = EXERCISES["wrong_reading"]
    beside = exercise.solution(view_of(tmp_path))
    assert "boot id is 11111111. The host’s boot id is 11111111." in beside
    alone = exercise.solution(view_of(tmp_path, only=["container"]))
    assert "host’s boot id" not in alone
    with pytest.raises(Unavailable):
        exercise.solution(view_of(tmp_path, only=["vm"]))
