"""What lesson 08 records: copies that are let go together, failures as rows, nothing left."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from types import SimpleNamespace

import pytest
from fake import VM_PHASES, FakeLauncher, FakeSandbox

from vmcompare.errors import LaunchFailure
from vmcompare.evidence.recording import Measurement
from vmcompare.evidence.units import MIB
from vmcompare.experiments.scaling import measure
from vmcompare.experiments.scaling.measure import CELLS, GIVE_UP_AFTER, KILLED, WANTED, Copies
from vmcompare.measuring.experiment import Context, load
from vmcompare.sandbox import Event, OnEvent, Phase, Platform, Spec, Start, Traits


@dataclass(slots=True)
class Launcher(FakeLauncher):
    """Starts in real time, and fails to prepare the instances whose numbers are ``broken``."""

    broken: set[int] = field(default_factory=set)
    prepared_ns: list[int] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    @contextmanager
    def open(self, spec: Spec, on_event: OnEvent) -> Iterator[FakeSandbox]:
        with self.lock:
            self.opened += 1
            number = self.opened
            self.running.add(number)
        try:
            time.sleep(0.01 * (number % 3))  # some are prepared sooner than others
            if number in self.broken:
                raise LaunchFailure("it could not be prepared", ("fake",))
            self.prepared_ns.append(time.perf_counter_ns())
            on_event(Event(Phase.OPEN, time.perf_counter_ns()))
            first = Phase.RESUMED if spec.start is Start.CLONE else Phase.FIRST_BYTE
            on_event(Event(first, time.perf_counter_ns()))
            yield FakeSandbox(pid=number)
        finally:
            with self.lock:
                self.running.discard(number)


class TestCopies:
    def test_all_are_let_go_when_the_last_one_is_prepared(self) -> None:
        launcher = Launcher()
        with Copies(launcher, Spec()) as made:
            made.add(6)
            assert len(made.here) == len(launcher.running) == 6
            assert min(c.started_ns for c in made.here) >= max(launcher.prepared_ns)
        assert launcher.running == set()

    def test_a_copy_s_own_time_begins_with_the_others(self) -> None:
        with Copies(Launcher(), Spec()) as made:
            wall_s = made.add(4)
            assert all(0 <= copy.start_s <= wall_s + 1e-6 for copy in made.here)

    def test_one_that_cannot_be_prepared_stops_the_others_and_nothing_stays(self) -> None:
        launcher = Launcher(broken={2})
        with (
            Copies(launcher, Spec()) as made,
            pytest.raises(LaunchFailure, match="copies did not start: "),
        ):
            made.add(3)
        assert launcher.running == set()

    def test_those_that_are_ended_have_gone_and_the_others_stay(self) -> None:
        launcher = Launcher()
        with Copies(launcher, Spec()) as made:
            made.add(5)
            made.end(2)
            assert len(made.here) == len(launcher.running) == 3

    def test_whatever_interrupts_them_they_are_ended(self) -> None:
        launcher = Launcher()
        stopped = pytest.raises(KeyboardInterrupt, match="Stop")
        with stopped, Copies(launcher, Spec()) as made:
            made.add(3)
            raise KeyboardInterrupt("Stop")
        assert launcher.running == set()


@pytest.fixture(autouse=True)
def books(monkeypatch: pytest.MonkeyPatch) -> None:
    """A large computer. A copy of a VM holds 40 MiB, a container 3; a process has used 0.2 s."""
    monkeypatch.setattr(measure.memory, "available_bytes", lambda: 2**40)
    monkeypatch.setattr(
        measure.memory,
        "vm_parts",
        lambda pids, **_: SimpleNamespace(pss_bytes=40 * MIB * len(pids)),
    )
    monkeypatch.setattr(measure.memory, "pss_bytes", lambda pids: 3 * MIB * len(pids))
    monkeypatch.setattr(measure.memory, "docker_daemons", lambda: (1, 2))
    monkeypatch.setattr(measure.memory, "cpu_s", lambda pids, **_: 0.2 * len(pids))
    monkeypatch.setattr(measure, "SETTLE_S", 0.0)


def run(rounds: int = 1, **launchers: Launcher) -> list[Measurement]:
    """Rows of a run with these launchers, by platform ("vm_direct")."""
    found = {Platform(name.replace("_", "-")): one for name, one in launchers.items()}
    return list(measure.measure(Context(found, rounds=rounds)))


def of(rows: list[Measurement], metric: str, start: Start) -> list[Measurement]:
    return [r for r in rows if r.metric == metric and r.warmth == start and not r.is_warmup]


def test_every_n_has_its_wall_time_and_one_row_a_copy() -> None:
    rows = run(container=Launcher())
    walls = of(rows, "scale_wall_s", Start.COLD)
    assert [row.phase for row in walls] == ["1", "2", "5", "10", "20"]
    each = of(rows, "scale_each_s", Start.COLD)
    assert [row.rep for row in each if row.phase == "10"] == list(range(10))
    assert all(row.status == "ok" for row in rows)


def test_memory_is_of_all_copies_and_the_last_one_s_is_the_difference() -> None:
    rows = run(vm_direct=Launcher(trait=Traits("mechanism", vmm="qemu 9", accel="tcg")))
    ramp = of(rows, "pss_bytes", Start.CLONE)
    assert [(row.rep, row.value) for row in ramp][-1] == (20, 20 * 40 * MIB)
    assert {row.phase for row in ramp} == {"ramp"}
    each = {row.phase: row.value for row in of(rows, "each_bytes", Start.CLONE)}
    assert each == {"first": 40 * MIB, "last": 40 * MIB}


def test_the_work_of_a_container_s_start_holds_its_part_of_the_daemons() -> None:
    work = of(run(container=Launcher()), "start_cpu_s", Start.PRE_CREATED)
    assert {row.phase: row.value for row in work}["5"] == pytest.approx(0.2)


def test_five_are_healed_once_a_block_in_each_cell() -> None:
    launcher = Launcher()
    healed = [r for r in run(rounds=2, container=launcher) if r.metric == "heal_s"]
    assert [(r.phase, r.status) for r in healed] == [(str(KILLED), "ok")] * 4
    assert launcher.running == set()
    assert WANTED > KILLED


def test_a_step_that_fails_is_a_row_and_a_cell_that_fails_often_is_given_up() -> None:
    rows = run(vm=Launcher(broken=set(range(1, 99))))
    assert all(row.status == "error" for row in rows)
    assert [row.error for row in rows][GIVE_UP_AFTER:] == [
        "not tried again after repeated failure"
    ] * (len(rows) - GIVE_UP_AFTER)


def test_vms_that_would_leave_too_little_memory_are_not_started(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(measure.memory, "available_bytes", lambda: 2048 * MIB)
    launcher = Launcher()
    rows = run(vm=launcher)
    assert {r.phase: r.status for r in rows if r.metric == "scale_wall_s" and not r.is_warmup} == {
        "1": "ok", "2": "ok", "5": "error",
    }  # fmt: skip
    assert "too little memory" in rows[-1].error


def test_daemons_out_of_sight_cost_the_work_and_not_the_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(measure.memory, "docker_daemons", lambda: ())
    rows = run(container=Launcher())
    assert {r.status for r in rows if r.metric == "start_cpu_s"} == {"error"}
    assert {r.status for r in rows if r.metric == "scale_wall_s"} == {"ok"}


def test_the_plan_shuffles_cells_which_begin_with_a_copy_that_does_not_count() -> None:
    context = Context({Platform.CONTAINER: Launcher(), Platform.VM: Launcher(VM_PHASES)}, rounds=3)
    steps = [*measure.plan(context)]
    assert steps == [*measure.plan(context)]
    for block in range(3):
        for cell in CELLS:
            ns = [
                (n, place["is_warmup"])
                for one, n, place in steps
                if place["block"] == block and one == cell
            ]
            assert ns in ([(1, True), *((n, False) for n in cell.ns)], [])
    assert load("scaling").rounds == 3
    assert replace(CELLS[0], ns=(1,)).label == "container, cold"
