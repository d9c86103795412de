"""Counted starts: what is read from a guest, drawn and modelled, and the rule of the claim."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from fake import FakeLauncher
from planted import MILLIONS, counted_starts, planted, row

from vmcompare.errors import LaunchFailure, Unavailable
from vmcompare.evidence import claims
from vmcompare.evidence.claims import Conclusion
from vmcompare.evidence.recording import Measurement
from vmcompare.evidence.view import View, compose
from vmcompare.experiments.boot_instructions.explain import explained, speed
from vmcompare.experiments.boot_instructions.measure import counted, measure
from vmcompare.measuring.experiment import Context
from vmcompare.sandbox import Phase, Platform

WORK = next(c for c in claims.load() if c.name == "F2 work")


def seen(place: Path, found: Sequence[Measurement]) -> View:
    return compose(None, planted(place, found, experiment="boot_instructions"))


def test_what_the_guest_says_becomes_a_count_without_the_time_it_idled() -> None:
    said = b"\x06" + b"a" * 14 + b"ba" + b"\x06" + b"a" * 13 + b"baa" + b" 100 150 0\n"
    assert counted(said) == 0x100 - 0x10 - 50


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"\x06aaaaaaaaaaaaaaba 1 2 0\n",
        b"\x06aaaaaaaaaaaaaaba\x06aaaaaaaaaaaaabaa 1 2 125\nno such image",
        b"\x06aaaaaaaaaaaaaaba\x06aaaaaaaaaaaaabaa 1",
    ],
)
def test_a_start_that_failed_or_said_too_little_is_no_count(said: bytes) -> None:
    with pytest.raises(LaunchFailure, match="was not counted"):
        counted(said)


def test_a_guest_that_does_not_start_is_said_by_every_count_in_it() -> None:
    unable = FakeLauncher(fail_at={Phase.CREATE: LaunchFailure("no dockerd here", ("dockerd",))})
    made = list(measure(Context({Platform.VM_DIRECT: unable}, rounds=1)))
    inside = [r for r in made if r.platform is not Platform.VM_DIRECT]
    assert inside
    assert {r.status for r in made} == {"error"}
    assert all("no dockerd here" in r.error for r in made)


def test_the_figure_sets_every_start_in_order_of_its_count(tmp_path: Path) -> None:
    alt = explained.figures["instructions"](seen(tmp_path, counted_starts())).alt
    order = ["process", "(runc)", "vm-direct (pc)", "docker run", "vm (q35) 4,000"]
    places = [alt.index(name) for name in order]
    assert places == sorted(places)
    assert "microvm" not in alt  # of older runs
    assert "software emulation" not in alt  # a count is no time


def test_a_run_without_containers_says_so_and_fills_nothing_in(tmp_path: Path) -> None:
    some = {name: value for name, value in MILLIONS.items() if name not in ("runc", "docker")}
    picture = explained.figures["instructions"](seen(tmp_path, counted_starts(some)))
    assert "docker run" not in picture.alt
    assert "The count of containers is missing" in picture.caption


def test_the_model_divides_a_count_by_the_speed_at_the_known_work(tmp_path: Path) -> None:
    view = seen(tmp_path, counted_starts())
    assert speed(view) == 2e9
    model = explained.whatifs["own_computer"](view)
    assert model.values[model.start] == 2
    alt = model.draw(2).alt
    assert "vm-direct (pc) 400 ms" in alt
    assert "docker run 450 ms" in alt
    assert "QEMU pc (Agache et al., 2020) 244 ms" in alt
    assert "vm-direct (pc) 100 ms" in model.draw(8).alt


def test_ones_own_speed_takes_the_place_of_the_recorded_one(tmp_path: Path) -> None:
    own = [row("process", "fork_cpu_s", 0.5, block=b) for b in range(3)]
    recorded = planted(tmp_path, counted_starts(), experiment="boot_instructions")
    live = planted(tmp_path / "own", own, experiment="boot_instructions")
    both = compose(live, recorded, (Platform.PROCESS,))
    assert speed(both) == 1e9
    assert "process" in explained.figures["instructions"](both).alt


def test_without_rows_everything_is_unavailable() -> None:
    for make in (*explained.figures.values(), *explained.whatifs.values()):
        with pytest.raises(Unavailable):
            make(compose(None, None))


@pytest.mark.parametrize(
    ("changed", "verdict", "said"),
    [
        ({}, Conclusion.WITH_CAVEATS, "not by that much"),
        ({"vm": 9000}, Conclusion.WITH_CAVEATS, "work, not time"),
        ({"vm": 500}, Conclusion.REFUTED, ""),
        ({"pc": 1800}, Conclusion.WITH_CAVEATS, "not by that much"),
    ],
)
def test_the_claim_about_work_follows_the_counts_and_is_never_without_caveats(
    tmp_path: Path, changed: Mapping[str, float], verdict: Conclusion, said: str
) -> None:
    view = seen(tmp_path, counted_starts({**MILLIONS, **changed}))
    found = claims.judge(WORK, view.frame)
    assert found.verdict is verdict
    assert any(said in caveat for caveat in found.caveats) or not said
    leaner = any("vm-direct (pc)" in c and "below 1" in c for c in found.caveats)
    assert leaner is (verdict is not Conclusion.REFUTED and "pc" not in changed)
