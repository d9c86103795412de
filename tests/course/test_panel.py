"""The panel without a browser: what *Run* starts, and when."""

from __future__ import annotations

import asyncio
import contextlib
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from planted import planted, row

from vmcompare.course import page, panel
from vmcompare.engines.bare import process
from vmcompare.errors import VmcompareError
from vmcompare.evidence.recording import Recording
from vmcompare.evidence.view import absent
from vmcompare.measuring import run, session
from vmcompare.sandbox import Platform

pytestmark = pytest.mark.usefixtures("private_places")  # whoever else measures here


@pytest.fixture
def started(private_places: Path, monkeypatch: pytest.MonkeyPatch) -> list[int]:
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
        with run.turn() as tell:
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
    with run.turn() as tell:
        tell(experiment="guest_os")
        there = shown()
    assert there.run.disabled
    assert "guest_os is being measured" in there.status.value


def test_a_click_that_comes_a_moment_after_another_run_began_starts_nothing(
    private_places: Path, started: list[int]
) -> None:
    async def pressed() -> panel.Panel:
        there = shown()
        with run.turn() as tell:
            tell(experiment="guest_os")
            there.run.click()
            assert there.task is not None
            await there.task
        return there

    there = asyncio.run(pressed())
    assert started == []
    assert there.run.disabled
    assert "guest_os is being measured" in there.status.value


@pytest.mark.slow
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
            other.enter_context(run.turn())(experiment="guest_os")
            return start(experiment, **options)

        monkeypatch.setattr(session, "start", overtaken)
        there = asyncio.run(pressed())
    assert there.status.value.startswith("Run has to wait: guest_os is being measured (since")
    assert there.run.disabled
    assert list(private_places.rglob("*.jsonl")) == []


@pytest.mark.slow
@pytest.mark.skipif(not process.probe().ok, reason="the process baseline needs Linux")
def test_a_panel_whose_run_is_on_is_found_and_tells_everybody_of_its_end(
    private_places: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page, "LATE_S", 0.01)
    monkeypatch.setattr(page, "AGAIN_S", (0.01, 0.02))
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
        monkeypatch.setattr(there.status, "send_state", lambda: told.append("sent again"))
        await asyncio.sleep(0.5)
        return there

    there = asyncio.run(attached_and_stopped())
    assert told == ["one: stopped", "two: stopped", "sent again", "sent again"]
    assert there.status.value.endswith(" rows. two")
    assert panel.running("boot_speed") is None


def test_before_run_it_says_how_long_that_many_rounds_take(private_places: Path) -> None:
    there = panel.Panel(
        "boot_speed", lambda _: "", lambda _: "", foretell=lambda rounds: f"{rounds} < many"
    )
    assert there.foretold.value == "3 &lt; many"
    there.rounds.value = 7
    assert there.foretold.value == "7 &lt; many"


def test_what_is_prepared_is_named_with_the_time_it_takes_and_moves_the_bar(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now_s = [50.0]
    monkeypatch.setattr("vmcompare.course.panel.time.monotonic", lambda: now_s[0])
    there = shown()
    message = {"event": "image", "what": "the virtual disk", "planned": 1000}
    there._show(message | {"done": 0, "left_s": 20.0})
    now_s[0] += 12
    assert there._preparing is not None
    there._show_preparing(there._preparing)
    assert there.status.value == (
        "Preparing the virtual disk, once: 12 s so far, about 20 s on the computer that recorded."
    )
    assert (there.bar.value, there.bar.max) == (12, 20)
    now_s[0] += 60
    there._show_preparing(there._preparing)
    assert there.bar.value == 20
    there._show(message | {"done": 1000, "left_s": None})
    assert there._preparing is None


def test_where_it_is_not_known_how_long_a_preparation_takes_the_bar_stands_and_that_is_said() -> (
    None
):
    there = shown()
    there._show({"event": "image", "what": "the Debian file system", "done": 0, "planned": 1000})
    assert there._preparing is not None
    there._show_preparing(there._preparing)
    assert there.status.value.endswith("0 s so far. The bar cannot show how far this is.")
    assert there.bar.value == 0


def test_steps_tell_the_time_to_go_as_the_run_tells_it() -> None:
    there = shown()
    step = {"event": "trial", "what": "vm", "done": 2, "planned": 9}
    there._show(step | {"left_s": 41.0})
    assert there.status.value == "2 of 9 steps. vm · about 40 s to go"
    there._show(step | {"event": "phase", "phase": "kernel"})
    assert there.status.value == "2 of 9 steps. vm, kernel done · about 40 s to go"
    there._show(step | {"left_s": None})
    assert there.status.value == "2 of 9 steps. vm"


def test_there_is_nothing_to_draw_before_the_first_row_and_something_from_then_on(
    tmp_path: Path,
) -> None:
    recorded = planted(tmp_path, [row("process", "pss_bytes", 1e5, is_warmup=True)])
    running: Any = SimpleNamespace(path=recorded.path)

    def chart(recording: Recording) -> str:
        if not recording.rows:
            raise absent("row")
        return f"{len(recording.rows)} rows"

    there = panel.Panel("boot_speed", chart, lambda _: "")
    assert there._draw(running)
    assert there.live.value == "1 rows"
    assert not there._draw(running)  # no row came since
    running.path = planted(tmp_path, []).path
    assert not there._draw(running)
    assert there.live.value == "1 rows"
