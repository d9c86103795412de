"""Whose heartbeats stop: what the rows say of a world in which chosen things happen."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

import pytest
from isolation_fakes import PANIC, World, facts

from vmcompare.errors import Unavailable
from vmcompare.evidence.recording import Measurement
from vmcompare.experiments.isolation import kernel_panic
from vmcompare.measuring import memory
from vmcompare.measuring.experiment import Context, RunProgress
from vmcompare.sandbox import CONTAINER_HOST, Platform

BOTH = (Platform.PROCESS, Platform.VM_DIRECT)


@pytest.fixture(autouse=True)
def plenty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "available_bytes", lambda: 1 << 40)


def fall(world: World, platforms: Sequence[Platform] = BOTH, **timing: int) -> list[Measurement]:
    return fall_in(Context(world.launchers(*platforms)), world, **timing)


def fall_in(context: Context, world: World, **timing: int) -> list[Measurement]:
    with contextlib.ExitStack() as stack:
        plan = kernel_panic.steps(context, stack, world.clock, **timing)
        return [row for step in context.steps(plan) for row in step()]


def errors(rows: Sequence[Measurement]) -> dict[str, str]:
    return {row.phase: row.error for row in rows if row.status != "ok"}


# ---- as it should go ----------------------------------------------------------------------------


def test_every_heartbeat_has_a_row_a_second_and_all_is_taken_down() -> None:
    world = World()
    rows = fall(world)
    gaps = [row for row in rows if row.metric == "gap_s"]
    for phase in kernel_panic.SOURCES:
        assert [row.rep for row in gaps if row.phase == phase] == list(range(45)), phase
    assert {row.status for row in rows} == {"ok"}
    assert world.open == []


def test_heartbeats_in_the_disposable_vm_are_told_from_those_of_this_computer() -> None:
    rows = fall(World())
    kinds = {row.phase: (row.platform, row.runtime) for row in rows if row.metric == "gap_s"}
    assert kinds["container A"] == kinds["container B"] == (Platform.CONTAINER, "runc in a guest")
    assert kinds["host"][0] is Platform.PROCESS
    assert {kinds[p][0] for p in ("sibling VM", "faulty VM", "their VM")} == {Platform.VM_DIRECT}
    assert {row.accel for row in rows if row.phase == "container A"} == {"tcg"}


def test_events_come_in_their_seconds_and_say_what_happened() -> None:
    rows = fall(World())
    events = {row.phase: (row.rep, row.text) for row in rows if row.phase in kernel_panic.EVENTS}
    assert events == {
        kernel_panic.EVENTS[0]: (30, "its kernel panicked"),
        kernel_panic.EVENTS[1]: (35, "refused: EROFS"),
        kernel_panic.EVENTS[2]: (40, "its kernel panicked"),
    }


def test_only_what_fell_fell_silent() -> None:
    rows = fall(World())
    last = {row.phase: row.value for row in rows if row.metric == "gap_s" and row.rep == 44}
    assert {p for p, gap in last.items() if gap and gap > 3} == {
        "faulty VM", "container A", "container B", "their VM",
    }  # fmt: skip
    assert facts(rows) == {
        "host_misses_no_heartbeat": 1,
        "sibling_vm_misses_no_heartbeat": 1,
        "container_kernel_panic_stops_both_containers": 1,
        "privileged_container_sysrq_takes_sibling_down": 1,
        "default_container_sysrq_takes_sibling_down": 0,
    }


# ---- as it may go -------------------------------------------------------------------------------


@pytest.mark.parametrize("letter", ["H", "S"])
def test_a_heartbeat_that_stops_for_two_seconds_with_the_panic_missed_a_beat(letter: str) -> None:
    found = facts(fall(World(hiccups={letter: 2.0})))
    assert found["host_misses_no_heartbeat"] == (letter != "H")
    assert found["sibling_vm_misses_no_heartbeat"] == (letter != "S")


def test_a_heartbeat_that_was_known_for_such_gaps_missed_none() -> None:
    rows = fall(World(hiccups={"H": 2.0}, bumps={"H": 1.4}))
    assert facts(rows)["host_misses_no_heartbeat"] == 1


def test_without_a_panic_there_is_nothing_to_survive() -> None:
    rows = fall(World(answers={"F": b"refused", "A": b"", "P": b"refused"}))
    found = facts(rows)
    assert found["host_misses_no_heartbeat"] is None
    assert found["container_kernel_panic_stops_both_containers"] is None
    assert found["privileged_container_sysrq_takes_sibling_down"] == 0
    assert "did not stop" in errors(rows)["sibling_vm_misses_no_heartbeat"]


def test_a_default_container_that_gets_through_takes_its_sibling_down() -> None:
    rows = fall(World(answers={"F": PANIC, "A": PANIC, "P": PANIC}))
    found = facts(rows)
    assert found["default_container_sysrq_takes_sibling_down"] == 1
    assert found["privileged_container_sysrq_takes_sibling_down"] is None  # nobody was left to try
    assert kernel_panic.EVENTS[2] in errors(rows)


def test_where_no_guest_can_host_containers_the_rest_is_measured() -> None:
    no_runc = Unavailable("this computer has no runc", "install it")
    rows = fall(World(missing={CONTAINER_HOST: no_runc}))
    assert facts(rows)["host_misses_no_heartbeat"] == 1
    assert "no runc" in errors(rows)["container A"]
    assert "no runc" in errors(rows)["default_container_sysrq_takes_sibling_down"]


def test_a_heartbeat_that_never_begins_is_a_failed_row() -> None:
    rows = fall(World(mute={"B"}))
    assert "first beat of B" in errors(rows)["container B"]
    assert facts(rows)["host_misses_no_heartbeat"] == 1


def test_where_there_is_no_process_platform_the_host_has_no_rows() -> None:
    rows = fall(World(), (Platform.VM_DIRECT,))
    assert not [row for row in rows if row.platform is Platform.PROCESS]
    assert "host_misses_no_heartbeat" not in facts(rows)


def test_without_qemu_nothing_at_all_is_run() -> None:
    world = World()
    assert fall(world, (Platform.PROCESS, Platform.CONTAINER)) == []
    assert world.boxes == world.asked == []


def test_this_computer_is_never_asked_to_crash() -> None:
    world = World()
    fall(world)
    vms = [box for box in world.boxes if box.spec.machine]
    assert len(vms) == 3
    by_command = [words for words in world.asked if kernel_panic.ASK[2] in words]
    assert len(by_command) == 1  # containers are told by a signal


def test_stopping_at_any_step_leaves_nothing_open() -> None:
    total = len(kernel_panic.steps(Context(World().launchers(*BOTH)), contextlib.ExitStack()))
    for place in range(total):
        world = World()

        def stop(progress: RunProgress, place: int = place) -> None:
            if progress.done == place and progress.step == "trial":
                raise KeyboardInterrupt

        context = Context(world.launchers(*BOTH), watch=stop)
        with pytest.raises(KeyboardInterrupt):
            fall_in(context, world)
        assert world.open == []


# ---- the real thing -----------------------------------------------------------------------------


@pytest.mark.qemu
@pytest.mark.timeout(900)
def test_real_kernels_fall_and_their_neighbours_do_not() -> None:
    from vmcompare.engines import qemu
    from vmcompare.engines.bare import process
    from vmcompare.engines.images.container_host import program_files

    try:
        program_files("runc")
    except Unavailable as missing:
        pytest.skip(str(missing))
    launchers = {**process.launchers(), Platform.VM_DIRECT: qemu.launchers()[Platform.VM_DIRECT]}
    context = Context(launchers)
    with contextlib.ExitStack() as stack:
        plan = kernel_panic.steps(context, stack, baseline_s=3, apart_s=4)
        rows = [row for step in context.steps(plan) for row in step()]
    events = {row.phase: row.text for row in rows if row.phase in kernel_panic.EVENTS}
    assert events == dict(
        zip(kernel_panic.EVENTS, ("its kernel panicked", "refused: EROFS", "its kernel panicked"),
            strict=True)
    )  # fmt: skip
    found = facts(rows)
    assert found["container_kernel_panic_stops_both_containers"] == 1
    assert found["privileged_container_sysrq_takes_sibling_down"] == 1
    assert found["default_container_sysrq_takes_sibling_down"] == 0
    assert {row.phase for row in rows if row.metric == "gap_s"} == set(kernel_panic.SOURCES)
