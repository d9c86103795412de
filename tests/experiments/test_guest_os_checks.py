"""Lesson 01's exercises: right answers come from the rows, by hand as by the model answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from planted import planted
from planted_ramps import CONTAINER, DIRECT, LINES_MIB, VM, ramps

from vmcompare.course import text
from vmcompare.errors import Unavailable
from vmcompare.evidence.view import View, compose

EXERCISES, _ = text.asked("guest_os", "01")


def view_of(place: Path, **more: Any) -> View:
    return compose(planted(place, ramps(spread=False, **more), experiment="guest_os"), None)


def test_right_answers_follow_the_rows(tmp_path: Path) -> None:
    view = view_of(tmp_path)
    laptop = EXERCISES["laptop"]
    # 30 MiB once, 250 MiB and the application for each.
    assert laptop.check(view, (6 * 1024 - 30) // (250 + 100)).right
    assert not laptop.check(view, (6 * 1024 - 30) // 250).right
    heavier = view_of(tmp_path, lines={CONTAINER: (10.0, 7.0), VM: (30.0, 500.0)})
    assert laptop.check(heavier, 10).right


def test_solutions_carry_the_figures_of_the_rows(tmp_path: Path) -> None:
    view = view_of(tmp_path)
    said = {name: exercise.solution(view) for name, exercise in EXERCISES.items()}
    assert "shown that is 3.00 MiB" in said["flawed_study"]
    assert "**17 full VMs**" in said["laptop"]
    assert "59 containers would fit, 3.5 times as many" in said["laptop"]
    assert "software emulation" in said["laptop"]
    assert "emulation" not in EXERCISES["laptop"].solution(view_of(tmp_path, accel="kvm"))


@pytest.mark.parametrize(("kept", "lacks"), [((CONTAINER,), True), ((DIRECT, VM), False)])
def test_what_the_rows_lack_is_told_with_the_next_step(
    tmp_path: Path, kept: Any, lacks: bool
) -> None:
    view = view_of(tmp_path, lines={key: LINES_MIB[key] for key in kept})
    if lacks:
        with pytest.raises(Unavailable) as caught:
            EXERCISES["laptop"].check(view, 1.0)
        assert caught.value.next_step
    else:
        assert EXERCISES["laptop"].check(view, 1e9).right is False
        assert "containers would fit" not in EXERCISES["laptop"].solution(view)
    assert ("shown that is" in EXERCISES["flawed_study"].solution(view)) == (CONTAINER in kept)
