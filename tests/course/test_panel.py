"""The panel without a browser: what *Run* starts, and when."""

from __future__ import annotations

import asyncio
import contextlib
import os
from pathlib import Path
from typing import Any

import pytest

from vmcompare.course import page, panel
from vmcompare.engines import process
from vmcompare.errors import VmcompareError
from vmcompare.evidence.recording import Recording
from vmcompare.measuring import session, turn
from vmcompare.sandbox import Platform


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


def test_a_run_of_somebody_else_closes_run_says_who_measures_and_run_opens_at_its_end(
    private_places: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(panel, "LOOK_S", 0.01)

    async def watched() -> None:
        there = shown()
        assert (there.status.value, there.run.disabled) == (panel.READY, False)
        there.show()
        with turn.taken() as tell:
            tell(experiment="guest_os", run_id="20261126T120000Z-aaaaaa")
            while not there.run.disabled:
                await asyncio.sleep(0.01)
            said = there.status.value
        assert said.startswith("Run has to wait: guest_os is being measured (since ")
        assert f"process {os.getpid()}, run 20261126T120000Z-aaaaaa" in said
        assert "wait until it has ended, or stop it" in said
        while there.run.disabled:
            await asyncio.sleep(0.01)
        assert there.status.value == panel.READY

    asyncio.run(watched())


def test_a_panel_made_during_a_run_of_somebody_else_offers_no_run(private_places: Path) -> None:
    with turn.taken() as tell:
        tell(experiment="guest_os")
        there = shown()
    assert there.run.disabled
    assert "guest_os is being measured" in there.status.value


def test_a_click_that_comes_a_moment_after_another_run_began_starts_nothing(
    private_places: Path, started: list[int]
) -> None:
    async def pressed() -> panel.Panel:
        there = shown()
        with turn.taken() as tell:
            tell(experiment="guest_os")
            there.run.click()
            assert there.task is not None
            await there.task
        return there

    there = asyncio.run(pressed())
    assert started == []
    assert there.run.disabled
    assert "guest_os is being measured" in there.status.value


def test_a_run_that_is_refused_its_turn_says_who_has_it(
    private_places: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when another one begins between the click and the start."""
    monkeypatch.setattr(page, "LATE_S", 0.01)
    start = session.start

    async def pressed() -> panel.Panel:
        there = shown()
        there.run.click()
        assert there.task is not None
        await there.task
        return there

    with contextlib.ExitStack() as other:

        def overtaken(experiment: str, **options: Any) -> session.Session:
            other.enter_context(turn.taken())(experiment="guest_os")
            return start(experiment, **options)

        monkeypatch.setattr(session, "start", overtaken)
        there = asyncio.run(pressed())
    assert there.status.value.startswith("Run has to wait: guest_os is being measured (since")
    assert there.run.disabled
    assert list(private_places.rglob("*.jsonl")) == []


@pytest.mark.skipif(not process.probe().ok, reason="the process baseline needs Linux")
def test_a_panel_whose_run_is_on_is_found_and_tells_everybody_of_its_end(
    private_places: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page, "LATE_S", 0.01)
    told: list[str] = []

    def follower(name: str) -> Any:
        return lambda recording: told.append(f"{name}: {recording.ended}") or name

    async def attached_and_stopped() -> panel.Panel:
        there = panel.Panel("boot_speed", lambda _: "", follower("one"), [Platform.PROCESS])
        there.rounds.value = 50
        assert panel.running("boot_speed") is None
        there.run.click()
        assert panel.running("boot_speed") is there
        assert panel.running("guest_os") is None
        two = follower("two")
        for _ in range(2):
            there.attach(two)
        while not there.bar.value:
            await asyncio.sleep(0.05)
        there.stop.click()
        assert there.task is not None
        await there.task
        return there

    there = asyncio.run(attached_and_stopped())
    assert told == ["one: stopped", "two: stopped"]
    assert there.status.value.endswith(" rows. two")
    assert panel.running("boot_speed") is None
