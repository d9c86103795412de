"""The panel without a browser: what *Run* starts, and when."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from vmcompare.course import page, panel
from vmcompare.errors import VmcompareError
from vmcompare.evidence.recording import Recording


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The rounds of every run that is asked for; none is really started."""
    asked: list[int] = []

    def start(experiment: str, *, rounds: int, **_: Any) -> None:
        asked.append(rounds)
        raise VmcompareError(f"{experiment} is only asked for here")

    monkeypatch.setattr("vmcompare.course.panel.session.start", start)
    monkeypatch.setattr(page, "LATE_S", 0.01)
    return asked


def shown() -> panel.Panel:
    def finished(_: Recording) -> str:
        raise AssertionError("nothing was started, so nothing ends")

    return panel.Panel("boot_speed", lambda _: "", finished)


def test_run_means_the_rounds_that_arrive_just_after_its_click(started: list[int]) -> None:
    async def click_then_value() -> panel.Panel:
        there = shown()
        there.run.click()  # overtakes the value: 3 was never meant
        assert there.run.disabled
        there.rounds.value = 7
        assert there.task is not None
        await there.task
        return there

    there = asyncio.run(click_then_value())
    assert started == [7]
    assert not there.run.disabled
    assert there.stop.disabled
    assert there.status.value == "boot_speed is only asked for here"


def test_a_second_click_while_a_run_begins_starts_no_other(started: list[int]) -> None:
    async def click_twice() -> None:
        there = shown()
        there.run.click()
        there.run.click()
        assert there.task is not None
        await there.task
        there.run.click()  # and it can be tried again
        await there.task

    asyncio.run(click_twice())
    assert started == [3, 3]
