"""Lesson 04's exercises: right answers come from the rows, by hand as by the model answer."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from planted import STARTS_S, planted, starts

from vmcompare.course.exercises import asked
from vmcompare.errors import Unavailable
from vmcompare.evidence.recording import Measurement
from vmcompare.evidence.view import View, compose
from vmcompare.experiments.boot_speed.explain import services_share

NUMBERS = ("services_share", "job_length")
EXERCISES, _ = asked("boot_speed", "04")
NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "04-boot-speed.ipynb"


def view_of(place: Path, rows: list[Measurement] | None = None, **more: Any) -> View:
    return compose(planted(place, starts(**more) if rows is None else rows), None)


def answer(name: str, view: View, answered: str = "...") -> Any:
    """What the notebook's cell hands over, once a learner wrote ``answered``."""
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    [code] = [c for c in ("".join(c["source"]) for c in cells) if f'check_answer("{name}"' in c]
    code = re.sub(r"(?m)^answer = \.\.\..*$", f"answer = {answered}", code)
    given: list[Any] = []
    boot = SimpleNamespace(view=view, check_answer=lambda _, answer: given.append(answer))
    exec(code, {"boot": boot})
    return given[0]


def test_the_completed_cells_give_what_the_checks_want(tmp_path: Path) -> None:
    view = view_of(tmp_path)
    share = EXERCISES["services_share"]
    # As the hints lead: what comes after the first byte is left out.
    total = 'parts.drop(["ready", "shutdown"]).sum()'
    right = answer("services_share", view, f"100 * services / {total}")
    assert share.check(view, right).right
    wrong = answer("services_share", view, "100 * services / parts.sum()")
    assert not share.check(view, wrong).right
    job = EXERCISES["job_length"]
    assert job.check(view, answer("job_length", view, "9 * start")).right
    assert not job.check(view, answer("job_length", view, "10 * start")).right


@pytest.mark.parametrize("name", NUMBERS)
def test_a_cell_as_it_stands_runs_and_hands_over_three_dots(tmp_path: Path, name: str) -> None:
    assert answer(name, view_of(tmp_path)) is ...


def test_other_rows_give_other_right_answers(tmp_path: Path) -> None:
    slow = view_of(tmp_path, times={**STARTS_S, ("container", ""): 0.4})
    assert "3.60 s" in EXERCISES["job_length"].check(slow, 3.6).text
    assert not EXERCISES["job_length"].check(slow, 0.9).right
    assert "works for at least 3.60 s" in EXERCISES["job_length"].solution(slow)


def test_solutions_carry_the_figures_of_the_rows_and_say_emulation_where_it_was(
    tmp_path: Path,
) -> None:
    emulated, hardware = view_of(tmp_path), view_of(tmp_path, accel="kvm")
    assert "software emulation" in EXERCISES["services_share"].solution(emulated)
    assert "software emulation" not in EXERCISES["services_share"].solution(hardware)
    assert f"{services_share(emulated):.1f} %" in EXERCISES["services_share"].solution(emulated)


@pytest.mark.parametrize(
    ("only", "rounds", "lacking"),
    [
        (["process"], 3, NUMBERS),
        (["process", "container"], 3, ("services_share",)),
        (["vm"], 3, ("job_length",)),
    ],
)
def test_what_the_rows_lack_is_told_with_the_next_step(
    tmp_path: Path, only: list[str], rounds: int, lacking: tuple[str, ...]
) -> None:
    view = view_of(tmp_path, only=only, rounds=rounds)
    for name in NUMBERS:
        if name in lacking:
            with pytest.raises(Unavailable) as caught:
                EXERCISES[name].check(view, 1.0)
            assert caught.value.next_step
        else:
            assert EXERCISES[name].check(view, 1e9).right is False
    assert EXERCISES["flawed_study"].solution(view)
