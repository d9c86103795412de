"""Lesson 00's exercises: right answers come from the rows, by hand as by the model answer."""

from __future__ import annotations

from pathlib import Path

import pytest
from planted import planted, row
from whole_computer_fakes import full, process, rows

from vmcompare.course import text
from vmcompare.engines.programs import boot_sector
from vmcompare.errors import Unavailable
from vmcompare.evidence.recording import Measurement
from vmcompare.evidence.view import View, compose
from vmcompare.sandbox import Platform

EXERCISES, _ = text.asked("whole_computer", "00")


def view_of(place: Path, made: list[Measurement]) -> View:
    return compose(planted(place, made, experiment="whole_computer"), None)


def test_a_number_is_compared_with_what_the_rows_say(tmp_path: Path) -> None:
    extremes = [row("container", "start_to_first_byte_s", s, phase="A", block=9) for s in (1, 4)]
    view = view_of(tmp_path, [*full(), *extremes])
    times = view.values(metric="start_to_first_byte_s", platform="container", layer="product")
    rights = {
        "slowest_over_fastest": times["value"].max() / times["value"].min(),
        "longest_message": boot_sector.MESSAGE_MAX_BYTES,
    }
    for name, right in rights.items():
        assert EXERCISES[name].check(view, right).right, name
        assert not EXERCISES[name].check(view, right * 1.1).right, name
    assert not EXERCISES["longest_message"].check(view, 484.0).right
    assert "**485 bytes**" in EXERCISES["longest_message"].solution(view)
    assert "÷ " in EXERCISES["slowest_over_fastest"].solution(view)


def test_what_the_rows_lack_is_told_with_the_next_step(tmp_path: Path) -> None:
    alone = view_of(tmp_path, rows({Platform.PROCESS: process()}))
    for name in ("slowest_over_fastest", "longest_message"):
        with pytest.raises(Unavailable, match="the data shown"):
            EXERCISES[name].check(alone, 1.0)


def test_the_accelerators_that_the_rows_carry_are_named(tmp_path: Path) -> None:
    asked = EXERCISES["kvm_exists"]
    right = next(c for c in asked.choices if c.startswith("Let a guest run"))
    for made, said in (
        (full(), "tcg (software emulation)"),
        (full(accel="kvm"), "ran on: kvm."),
        (rows({Platform.PROCESS: process()}), "hold no VM"),
    ):
        view = view_of(tmp_path, made)
        assert said in asked.check(view, right).text
        assert said in asked.solution(view)
