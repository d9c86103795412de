"""Starts come in seeded, shuffled blocks; a failure is a row and never ends the run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from fake import VM_PHASES, FakeLauncher, FakeSandbox

from vmcompare.errors import LaunchFailure, Unavailable, UnknownName
from vmcompare.evidence.recording import Measurement
from vmcompare.experiments.boot_speed.measure import GIVE_UP_AFTER
from vmcompare.experiments.explanation import explanation
from vmcompare.measuring.experiment import (
    GROUP,
    Context,
    RunProgress,
    Starts,
    arrange,
    discover,
    load,
    recordings_dir,
)
from vmcompare.paths import data_dir
from vmcompare.sandbox import (
    Event,
    Launcher,
    Machine,
    OnEvent,
    Phase,
    Platform,
    Series,
    Spec,
)

STARTS = (
    Starts(Series(Platform.PROCESS), repeats=3),
    Starts(Series(Platform.VM, Machine.PC)),
)


def test_each_block_holds_the_same_starts_in_another_order() -> None:
    plan = [t for t in arrange(STARTS, rounds=20, seed=1) if not t.is_warmup]
    orders = set()
    for block in range(20):
        trials = [t for t in plan if t.block == block]
        assert Counter(t.series for t in trials) == {s.series: s.repeats for s in STARTS}
        assert [t.order_in_block for t in trials] == list(range(4))
        orders.add(tuple((t.series, t.rep) for t in trials))
    assert len(orders) > 5


def test_every_series_warms_up_once_before_the_first_block() -> None:
    plan = arrange(STARTS, rounds=2, seed=1)
    assert [t.series for t in plan if t.is_warmup] == [s.series for s in STARTS]
    assert all(t.is_warmup for t in plan[:2])


def test_a_series_may_do_without_a_warm_up() -> None:
    plan = arrange((*STARTS, Starts(Series(Platform.VM_TUNED), warm_up=False)), rounds=1, seed=1)
    assert [t.series.platform for t in plan if t.is_warmup] == [Platform.PROCESS, Platform.VM]


def test_the_same_seed_gives_the_same_plan_and_another_seed_another() -> None:
    assert arrange(STARTS, 5, seed=3) == arrange(STARTS, 5, seed=3)
    assert arrange(STARTS, 5, seed=3) != arrange(STARTS, 5, seed=4)


def test_experiments_are_found_by_their_folders() -> None:
    assert "boot_speed" in discover()
    for name in discover():
        assert load(name).name == name
        assert explanation(name).figures


def offered(folder: Path, name: str, measure: str) -> None:
    """Lay an installed package into ``folder`` that offers the experiment ``name``."""
    package = folder / f"{name}_package"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "measure.py").write_text(measure)
    facts = folder / f"{name}-1.0.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (facts / "entry_points.txt").write_text(f"[{GROUP}]\n{name} = {package.name}\n")


def test_an_installed_package_offers_an_experiment_and_its_recordings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    offered(tmp_path, "naps", "EXPERIMENT = 'the experiment of naps'")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert "naps" in discover()
    assert load("naps") == "the experiment of naps"
    assert recordings_dir("naps") == tmp_path / "naps_package" / "recordings"
    assert recordings_dir("boot_speed") == data_dir() / "recordings"


def test_a_package_that_cannot_be_imported_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    offered(tmp_path, "broken", "import a_module_that_nobody_has")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(Unavailable, match="experiment broken of the package broken_package"):
        load("broken")


def test_no_package_replaces_an_experiment_of_the_course(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    offered(tmp_path, "boot_speed", "EXPERIMENT = None")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert load("boot_speed").name == "boot_speed"
    assert discover().count("boot_speed") == 1


def test_an_unknown_experiment_is_told_with_those_that_exist() -> None:
    with pytest.raises(UnknownName, match="boot_speed"):
        load("bot_speed")


def measured(launchers: dict[Platform, Launcher], rounds: int = 2) -> list[Measurement]:
    return list(load("boot_speed").measure(Context(launchers, rounds)))


def test_a_start_gives_its_times_and_its_phases() -> None:
    rows = measured({Platform.CONTAINER: FakeLauncher(phase_s=0.01)})
    starts = [r for r in rows if r.metric == "start_to_first_byte_s" and not r.is_warmup]
    assert len(starts) == 6
    assert all(r.value == pytest.approx(0.04) for r in starts)
    assert {r.phase for r in rows if r.metric == "phase_s"} >= {"create", "first-byte", "ready"}
    assert {r.guest_kernel for r in starts} == {"6.0.0-fake"}


def test_ready_is_when_a_command_was_answered_not_when_an_agent_greeted() -> None:
    class Greeting(FakeLauncher):
        @contextmanager
        def open(self, spec: Spec, on_event: OnEvent) -> Iterator[FakeSandbox]:
            with FakeLauncher.open(self, spec, on_event) as box:
                on_event(Event(Phase.READY, 1))
                yield box

    rows = measured({Platform.VM: Greeting(phases=VM_PHASES)}, rounds=1)
    ready = [r for r in rows if r.phase == "ready" and not r.is_warmup]
    assert len(ready) == 1
    assert all(r.value and r.value > 0 for r in rows if r.metric == "ready_s")


def test_a_start_that_fails_is_a_row_and_the_others_go_on() -> None:
    broken = FakeLauncher(
        phases=VM_PHASES, fail_at={Phase.KERNEL: LaunchFailure("no kernel", ["qemu"])}
    )
    good = FakeLauncher()
    rows = measured({Platform.CONTAINER: good, Platform.VM: broken}, rounds=3)
    failed = [r for r in rows if r.platform is Platform.VM]
    assert len(failed) == 3
    assert all(r.status == "error" and r.value is None for r in failed)
    assert failed[0].error == "no kernel"
    assert broken.opened == GIVE_UP_AFTER
    assert sum(r.metric == "start_to_first_byte_s" for r in rows if r.status == "ok") == 10
    assert not broken.running


def test_a_first_byte_that_was_seen_counts_even_if_what_follows_fails() -> None:
    class Mute(FakeLauncher):
        @contextmanager
        def open(self, spec: Spec, on_event: OnEvent) -> Iterator[FakeSandbox]:
            with FakeLauncher.open(self, spec, on_event) as box:
                box.alive = False  # from now on every command finds the instance gone
                yield box

    rows = measured({Platform.CONTAINER: Mute()}, rounds=1)
    by_metric = {r.metric: r.status for r in rows}
    assert by_metric == {"start_to_first_byte_s": "ok", "ready_s": "error"}


def test_the_watcher_hears_of_every_start_and_of_its_phases() -> None:
    heard: list[RunProgress] = []
    context = Context({Platform.PROCESS: FakeLauncher()}, rounds=1, watch=heard.append)
    list(load("boot_speed").measure(context))
    trials = [p for p in heard if p.step == "trial"]
    assert [p.done for p in trials] == [0, 1, 2, 3, 4]
    assert {p.planned for p in trials} == {4}
    assert Phase.FIRST_BYTE in {p.event.phase for p in heard if p.event}


def test_an_interrupt_leaves_nothing_open() -> None:
    launcher = FakeLauncher()

    def watch(progress: RunProgress) -> None:
        if progress.event and progress.event.phase is Phase.START:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(load("boot_speed").measure(Context({Platform.CONTAINER: launcher}, 1, watch=watch)))
    assert launcher.opened
    assert not launcher.running
