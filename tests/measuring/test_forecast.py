"""How long a run takes is foretold from a recording, corrected by its own rows, never invented."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from planted import planted, row

from vmcompare import engines
from vmcompare.engines.images import cache
from vmcompare.evidence.recording import Measurement, Recording, read, recordings
from vmcompare.measuring import forecast as module
from vmcompare.measuring.experiment import Experiment, load, recordings_dir
from vmcompare.measuring.forecast import Clock, Forecast, about, forecast, to_go
from vmcompare.sandbox import Platform

METRIC = "start_to_first_byte_s"
BOTH = (Platform.CONTAINER, Platform.VM)


@dataclass
class Time:
    """A clock that stands until it is moved."""

    now_s: float = 1000.0

    def monotonic(self) -> float:
        return self.now_s


@pytest.fixture
def clock_time(monkeypatch: pytest.MonkeyPatch) -> Time:
    told = Time()
    monkeypatch.setattr(module, "time", told)
    return told


def block(number: int, container_s: float = 2.0, vm_s: float = 20.0) -> list[tuple[Any, float]]:
    """The rows of a block, each with the seconds since the one before."""
    return [
        (row("container", METRIC, 0.1, block=number), container_s),
        (row("vm", METRIC, 9.0, block=number), vm_s),
    ]


def recorded(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    timed: Sequence[tuple[Measurement, float]],
    rounds: int = 3,
) -> None:
    """Make this the recording that comes with boot_speed; no image is lacking."""
    made = planted(tmp_path, [measured for measured, _ in timed], rounds=rounds)
    head, *lines = made.path.read_text().splitlines()
    at = datetime(2026, 11, 1, tzinfo=UTC)
    changed = [json.dumps({**json.loads(head), "started_utc": f"{at:%Y-%m-%dT%H:%M:%SZ}"})]
    for line, (_, took_s) in zip(lines, timed, strict=False):
        at += timedelta(seconds=took_s)
        stamp = f"{at:%Y-%m-%dT%H:%M:%S.%f}"[:-3] + "Z"
        changed.append(json.dumps({**json.loads(line), "ts_utc": stamp}))
    made.path.write_text("\n".join([*changed, lines[-1], ""]))
    monkeypatch.setattr(module, "recordings_dir", lambda _: tmp_path)
    monkeypatch.setattr(engines, "lacking_images", lambda _: ())


THREE = [
    (row("container", METRIC, 0.1, is_warmup=True), 4.0),
    *(one for number, vm_s in enumerate((30.0, 20.0, 24.0)) for one in block(number, vm_s=vm_s)),
]


def boot_speed() -> Experiment:
    return load("boot_speed")


def test_the_first_round_counts_with_its_warm_ups_and_later_ones_by_their_median(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorded(tmp_path, monkeypatch, THREE)
    once = forecast(boot_speed(), 1, BOTH, ())
    assert once.total_s == pytest.approx(4 + 2 + 30)
    assert forecast(boot_speed(), 5, BOTH, ()).total_s == pytest.approx(36 + 4 * (2 + 22))
    assert once.sentence() == "About 35 s for 1 round on the computer that recorded."


def test_only_what_is_measured_here_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recorded(tmp_path, monkeypatch, THREE)
    only = forecast(boot_speed(), 3, [Platform.CONTAINER], ())
    assert only.total_s == pytest.approx(4 + 2 + 2 * 2)
    assert only.sentence() == "About 10 s for 3 rounds on the computer that recorded."


def test_what_no_recording_has_is_named_and_no_time_is_invented(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorded(tmp_path, monkeypatch, THREE)
    lacking = forecast(boot_speed(), 3, BOTH, ["runc"])
    assert lacking.total_s is None
    said = "There is no estimate of the time: no recording has container (runc)."
    assert lacking.sentence() == said
    assert Clock(lacking).left_s() is None
    monkeypatch.setattr(module, "recordings_dir", lambda _: tmp_path / "none")
    assert "no recording has container, vm." in forecast(boot_speed(), 3, BOTH, ()).sentence()


def test_one_recorded_round_stands_for_later_ones_where_an_experiment_has_several(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorded(tmp_path, monkeypatch, block(0), rounds=1)
    assert forecast(boot_speed(), 3, BOTH, ()).total_s == pytest.approx(3 * 22)
    facts = replace(boot_speed(), rounds=1)  # does the same whatever number is asked for
    assert forecast(facts, 3, BOTH, ()).total_s == pytest.approx(22)


def test_lacking_images_are_named_with_their_time_and_counted_until_they_are_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clock_time: Time
) -> None:
    recorded(tmp_path, monkeypatch, THREE)
    images = (("the virtual disk", 2.0), ("the disk of vm-tuned", 20.0))
    monkeypatch.setattr(engines, "lacking_images", lambda _: images)
    foretold = forecast(boot_speed(), 1, BOTH, ())
    assert foretold.sentence() == (
        "About 35 s for 1 round on the computer that recorded; preparing the virtual disk and "
        "the disk of vm-tuned first, once, about 20 s."
    )
    clock = Clock(foretold)
    assert clock.left_s() == pytest.approx(36 + 22)
    begun = clock.image("the disk of vm-tuned", 0.0)
    assert begun is not None
    assert (begun.what, begun.left_s) == ("the disk of vm-tuned", 20.0)
    assert clock.image("the first files of vm-tuned", 0.0) is None  # a part of it
    assert clock.image("the first files of vm-tuned", 1.0) is None
    clock_time.now_s += 60
    assert clock.image("the disk of vm-tuned", 1.0) is not None
    assert clock.left_s() == pytest.approx(36 + 2)  # making it was no measuring


def test_rows_of_a_slower_computer_correct_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clock_time: Time
) -> None:
    recorded(tmp_path, monkeypatch, THREE)
    clock = Clock(forecast(boot_speed(), 3, BOTH, ()))
    errors = []
    for place, (measured, took_s) in enumerate(THREE):
        clock_time.now_s += 2 * took_s
        clock.row(measured)
        true_s = 2 * sum(later for _, later in THREE[place + 1 :])
        errors.append(abs((clock.left_s() or 0.0) - true_s))
    assert errors[0] < 15  # from the first row on
    assert errors[-1] == pytest.approx(0, abs=0.01)


def test_each_series_is_corrected_by_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clock_time: Time
) -> None:
    recorded(tmp_path, monkeypatch, THREE)
    clock = Clock(forecast(boot_speed(), 2, BOTH, ()))
    for measured, took_s in THREE[:3]:
        fast = measured.platform.is_vm  # a computer with hardware virtualisation
        clock_time.now_s += took_s / 10 if fast else took_s
        clock.row(measured)
    assert clock.left_s() == pytest.approx(2 + 22 / 10)


def test_a_series_that_is_given_up_does_not_hold_up_the_estimate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clock_time: Time
) -> None:
    ready = [(row("vm", "ready_s", 9.0), 1.0), (row("vm", "ready_s", 9.0, block=1), 1.0)]
    recorded(tmp_path, monkeypatch, [*block(0), ready[0], *block(1), ready[1]], rounds=2)
    clock = Clock(forecast(boot_speed(), 2, BOTH, ()))
    for number in range(2):
        for measured, took_s in block(number, vm_s=0.0):
            clock_time.now_s += took_s
            failed = replace(measured, value=None, status="error", error="it did not start")
            clock.row(failed if measured.platform.is_vm else measured)
    assert clock.left_s() == pytest.approx(0, abs=1)


def test_a_time_to_go_is_never_shown_as_microseconds() -> None:
    assert [about(s) for s in (0.0000004, 9.9, 12, 58, 87, 89, 140, 610)] == [
        "less than 10 s", "less than 10 s", "about 10 s", "about 60 s", "about 85 s",
        "about 1.5 min", "about 2.5 min", "about 10 min",
    ]  # fmt: skip
    assert to_go(None) == ""
    assert to_go(1e-7) == " · less than 10 s to go"
    assert to_go(0) == ""


def test_every_recording_of_the_project_foretells_its_own_run() -> None:
    for name in ("boot_speed", "image_size", "isolation", "shared_kernel"):
        experiment = load(name)
        made = newest(name)
        told = forecast(experiment, made.rounds, experiment.platforms, experiment.runtimes)
        began = datetime.fromisoformat(made.started_utc)
        ended = datetime.fromisoformat(made.rows[-1]["ts_utc"])
        assert told.total_s == pytest.approx((ended - began).total_seconds(), rel=0.05)


def newest(name: str) -> Recording:
    return read(next(recordings(recordings_dir(name), name)))


def test_an_image_that_takes_long_is_called_as_the_cache_calls_it() -> None:
    assert set(cache.TAKES_S) <= set(cache.WORDS.values())
    assert not any("." in words for words in cache.WORDS.values())


def test_a_whole_run_without_any_series_has_no_estimate() -> None:
    assert Forecast(3, {}).sentence() == (
        "There is no estimate of the time: no recording has this experiment."
    )
