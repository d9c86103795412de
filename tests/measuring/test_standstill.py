"""A look at the clock that comes far too late is a standstill; one that comes in time is none."""

from __future__ import annotations

import pytest

from vmcompare.evidence.recording import Measurement
from vmcompare.measuring import host
from vmcompare.measuring.experiment import Context
from vmcompare.measuring.host import BOUND_S, Standstills
from vmcompare.sandbox import Platform

ROW = Measurement(platform=Platform.PROCESS, metric="start_to_first_byte_s", value=20.0)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What the clock says: its one item."""
    time = [1000.0]
    monkeypatch.setattr(host, "now", lambda: time[0])
    monkeypatch.setattr("vmcompare.measuring.experiment.now", lambda: time[0])
    return time


@pytest.mark.parametrize("late_s", [0.0, BOUND_S / 2, 20.0])
def test_a_row_across_a_standstill_is_a_failed_one(clock: list[float], late_s: float) -> None:
    context = Context({}, standstills=Standstills())
    for _ in context.steps([("a start", 1)]):
        clock[0] += host.TICK_S + late_s
        row = context.checked(ROW)
        assert (row.status == "ok") == (late_s < BOUND_S)
        assert ("stood still for 20 s" in row.error) == (late_s == 20.0)


def test_a_standstill_before_a_step_does_not_touch_it(clock: list[float]) -> None:
    context = Context({}, standstills=Standstills())
    clock[0] += 20
    context.checked(ROW)
    for _ in context.steps([("a start", 1)]):
        clock[0] += host.TICK_S
        assert context.checked(ROW) == ROW
