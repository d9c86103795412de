"""How the parts of lesson 05 are put one after the other."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import pytest

from vmcompare.evidence.recording import Measurement
from vmcompare.experiments.isolation import (
    boundaries,
    guest_containers,
    kernel_panic,
    measure,
    noisy_neighbour,
)
from vmcompare.measuring.experiment import Context, RunProgress
from vmcompare.sandbox import Platform

PARTS = {
    "boundaries": boundaries,
    "guest_containers": guest_containers,
    "kernel_panic": kernel_panic,
    "noisy_neighbour": noisy_neighbour,
}


@pytest.fixture
def closed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Parts of one step each, which opens something; the names of those that were closed."""
    gone: list[str] = []

    def part(name: str) -> object:
        def steps(
            context: Context,
            stack: contextlib.ExitStack,
        ) -> list[tuple[str, Callable[[], Iterator[Measurement]]]]:
            def step() -> Iterator[Measurement]:
                stack.callback(gone.append, name)
                yield Measurement(
                    platform=Platform.PROCESS, metric="observation", value=1.0, phase=name
                )

            return [(name, step)]

        return steps

    for name, module in PARTS.items():
        monkeypatch.setattr(module, "steps", part(name))
    return gone


def test_the_parts_follow_each_other_under_one_progress_bar(closed: list[str]) -> None:
    told: list[RunProgress] = []
    rows = list(measure.measure(Context({}, watch=told.append)))
    assert [row.phase for row in rows] == list(PARTS)
    assert [(p.what, p.done, p.planned) for p in told] == [
        *((name, place, 4) for place, name in enumerate(PARTS)), ("", 4, 4),
    ]  # fmt: skip
    assert closed == list(reversed(PARTS))


@pytest.mark.parametrize("place", range(4))
def test_whatever_a_part_left_open_is_closed_when_the_run_is_stopped(
    closed: list[str], place: int
) -> None:
    def stop(progress: RunProgress) -> None:
        if progress.done == place:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(measure.measure(Context({}, watch=stop)))
    assert closed == list(reversed(list(PARTS)[:place]))


def test_where_nothing_can_be_launched_there_are_no_rows() -> None:
    assert list(measure.measure(Context({}))) == []
