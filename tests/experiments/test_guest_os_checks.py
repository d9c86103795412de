"""Lesson 01's exercises: right answers come from the rows, by hand as by the model answer."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from planted import planted
from planted_ramps import CONTAINER, DIRECT, LINES_MIB, VM, ramps

from vmcompare.course import text
from vmcompare.errors import Unavailable
from vmcompare.evidence.view import View, compose

NUMBERS = ("slope_by_hand", "given_and_paid", "laptop")
EXERCISES, _ = text.asked("guest_os", "01")
NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "01-guest-os-overhead.ipynb"


def view_of(place: Path, **more: Any) -> View:
    return compose(planted(place, ramps(spread=False, **more), experiment="guest_os"), None)


def answer(name: str, view: View, answered: str = "...", **changed: str) -> Any:
    """What the notebook's cell hands over, once a learner wrote ``answered`` and changed words."""
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    [code] = [c for c in ("".join(c["source"]) for c in cells) if f'check_answer("{name}"' in c]
    for before, after in {"answer = ...": f"answer = {answered}", **changed}.items():
        assert before in code
        code = code.replace(before, after)
    given: list[Any] = []
    lesson = SimpleNamespace(
        view=view, table=lambda _: None, check_answer=lambda _, answer: given.append(answer)
    )
    exec(code, {"lesson": lesson})
    return given[0]


def test_the_completed_cells_give_what_the_checks_want(tmp_path: Path) -> None:
    view = view_of(tmp_path)
    slope, paid, laptop = (EXERCISES[name] for name in NUMBERS)
    assert slope.check(view, answer("slope_by_hand", view, "(ten - two) / 8")).right
    assert not slope.check(view, answer("slope_by_hand", view, "ten / 10")).right
    median = 'given["value"].median()'
    small = answer("given_and_paid", view, median)
    large = answer("given_and_paid", view, median, **{"== 128": "== 1024"})
    assert paid.check(view, large / small).right
    assert not paid.check(view, 8).right
    # 30 MiB and 250 MiB for each.
    assert laptop.check(view, answer("laptop", view, "(6 * 1024 - 30) // 250")).right
    assert not laptop.check(view, 30).right


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("lines", [LINES_MIB, {}])
def test_a_cell_as_it_stands_runs_and_hands_over_three_dots(
    tmp_path: Path, name: str, lines: Any
) -> None:
    assert answer(name, view_of(tmp_path, lines=lines)) is ...


def test_other_rows_give_other_right_answers(tmp_path: Path) -> None:
    view = view_of(tmp_path, lines={CONTAINER: (10.0, 7.0), VM: (30.0, 500.0)})
    assert EXERCISES["slope_by_hand"].check(view, 7.0).right
    assert EXERCISES["laptop"].check(view, 12.0).right


def test_solutions_carry_the_figures_of_the_rows(tmp_path: Path) -> None:
    view = view_of(tmp_path)
    said = {name: exercise.solution(view) for name, exercise in EXERCISES.items()}
    assert "**3 MiB**" in said["slope_by_hand"]
    assert "**1.06 times**" in said["given_and_paid"]
    assert "shown that is 3.00 MiB" in said["flawed_study"]
    assert "vm (q35) (software emulation, without the code cache)" in said["laptop"]
    assert "so 24" in said["laptop"]
    assert "Daemons of 100 MiB are paid back against" in said["laptop"]
    hardware = EXERCISES["laptop"].solution(view_of(tmp_path, accel="kvm"))
    assert "emulation" not in hardware


@pytest.mark.parametrize(
    ("kept", "lacking"),
    [((CONTAINER,), ("given_and_paid", "laptop")), ((DIRECT, VM), ("slope_by_hand",))],
)
def test_what_the_rows_lack_is_told_with_the_next_step(
    tmp_path: Path, kept: Any, lacking: tuple[str, ...]
) -> None:
    view = view_of(tmp_path, lines={key: LINES_MIB[key] for key in kept})
    for name in NUMBERS:
        if name in lacking:
            with pytest.raises(Unavailable) as caught:
                EXERCISES[name].check(view, 1.0)
            assert caught.value.next_step
        else:
            assert EXERCISES[name].check(view, 1e9).right is False
    assert "paid back" not in EXERCISES["laptop"].solution(view)
    assert ("shown that is" in EXERCISES["flawed_study"].solution(view)) == (CONTAINER in kept)
