"""Lesson 00's exercises: right answers come from the rows, by hand as by the model answer."""

from __future__ import annotations

from pathlib import Path

from planted import planted
from whole_computer_fakes import full, process, rows

from vmcompare.course import text
from vmcompare.engines.programs import boot_sector
from vmcompare.evidence.view import compose
from vmcompare.sandbox import Platform

EXERCISES, _ = text.asked("whole_computer", "00")


def test_the_longest_message_is_what_the_fixed_parts_leave() -> None:
    asked, view = EXERCISES["longest_message"], compose(None, None)
    assert asked.check(view, boot_sector.MESSAGE_MAX_BYTES).right
    assert not asked.check(view, 484.0).right
    assert "512 − 23 (code) − 2 (end mark) − 2 (signature) = **485 bytes**" in asked.solution(view)


def test_the_accelerators_that_the_rows_carry_are_named(tmp_path: Path) -> None:
    asked = EXERCISES["kvm_exists"]
    right = next(c for c in asked.choices if c.startswith("Let a guest run"))
    for made, said in (
        (full(), "tcg (software emulation)"),
        (full(accel="kvm"), "ran on: kvm."),
        (rows({Platform.PROCESS: process()}), "hold no VM"),
    ):
        view = compose(planted(tmp_path, made, experiment="whole_computer"), None)
        assert said in asked.check(view, right).text
        assert said in asked.solution(view)
