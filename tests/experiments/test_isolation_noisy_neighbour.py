"""Noisy neighbours: hogs are bounded twice or not started, and the rows say what became of all."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace

import pytest
from isolation_fakes import World, facts
from waiting import until

from vmcompare.errors import Unavailable
from vmcompare.evidence.recording import Measurement
from vmcompare.evidence.units import MIB
from vmcompare.experiments.isolation import disk_writer, guest_containers, noisy_neighbour
from vmcompare.experiments.isolation.heartbeats import DISPOSABLE, GUEST
from vmcompare.experiments.isolation.noisy_neighbour import LIMITS, MEMORY
from vmcompare.measuring import memory
from vmcompare.measuring.experiment import Context, Progress
from vmcompare.sandbox import CONTAINER_HOST, Platform

ALL = (Platform.CONTAINER, Platform.VM_DIRECT, Platform.VM)


@pytest.fixture(autouse=True)
def host(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """What this computer says of processes: how fast they use it, and how much RAM a guest has."""
    told = SimpleNamespace(world=World(), cpus=0.97, ram_ratio=1.0)
    monkeypatch.setattr(memory, "available_bytes", lambda: 1 << 40)
    monkeypatch.setattr(memory, "cpu_s", lambda _pids: told.cpus * told.world.now_ns / 1e9)
    monkeypatch.setattr(
        memory,
        "vm_parts",
        lambda _pids, *, ram_bytes, emulated: SimpleNamespace(  # noqa: ARG005
            guest_ram=int(told.ram_ratio * ram_bytes)
        ),
    )
    return told


def rows_of(
    host: SimpleNamespace, world: World, platforms: Sequence[Platform] = ALL, rounds: int = 1
) -> list[Measurement]:
    host.world = world
    return rows_in(Context(world.launchers(*platforms), rounds), world)


def rows_in(context: Context, world: World) -> list[Measurement]:
    with contextlib.ExitStack() as stack:
        plan = noisy_neighbour.steps(context, stack, world.clock)
        return [row for step in context.steps(plan) for row in step()]


def worked(rows: Sequence[Measurement]) -> Counter[tuple[str, str, str]]:
    """Platform, confinement and phase → how often a neighbour's computing was timed."""
    good = [row for row in rows if row.phase.startswith("work") and row.status == "ok"]
    return Counter((str(row.platform), row.confinement, row.phase) for row in good)


# ---- as it should go ----------------------------------------------------------------------------


def test_in_each_neighbourhood_a_hog_takes_memory_then_time_then_processes(
    host: SimpleNamespace,
) -> None:
    rows = rows_of(host, World(), rounds=2)
    arms = [("container", "without limits"), ("container", "with limits"), ("vm-direct", "")]
    phases = (noisy_neighbour.WORK_QUIET, noisy_neighbour.WORK_BURNER)
    assert worked(rows) == {(*arm, phase): 2 for arm in arms for phase in phases}
    inside = [r for r in rows if r.runtime == "runc in a guest" and r.metric != "fact"]
    assert [r.phase for r in inside[:4]] == ["memory hog", *phases, "fork loop"]


def test_all_is_taken_down_and_nothing_failed(host: SimpleNamespace) -> None:
    world = World()
    rows = rows_of(host, world)
    assert {row.status for row in rows} == {"ok"}
    assert world.open == []


def test_what_a_hog_got_is_told(host: SimpleNamespace) -> None:
    rows = rows_of(host, World())
    counts = [r for r in rows if r.metric == "item_count"]
    assert {(r.phase, r.value) for r in counts} == {("fork loop", 23)}
    peaks = {(r.runtime, r.confinement) for r in rows if r.metric == "cgroup_bytes"}
    assert peaks == {
        ("runc in a guest", "without limits"), ("runc in a guest", "with limits"),
        ("runc", "with limits"),
    }  # fmt: skip
    assert facts(rows) == {"container_memory_limit_holds": 1, "container_cpu_limit_holds": 1}


def test_a_neighbour_that_works_is_timed_beside_a_quiet_hog_and_one_that_computes(
    host: SimpleNamespace,
) -> None:
    world = World()
    rows = rows_of(host, world, rounds=2)
    work = [row for row in rows if row.phase.startswith("work")]
    assert len(work) == 2 * 2 * 3
    for arm in {row.confinement for row in work}:
        quiet, loud = (
            {row.block: row.value for row in work if (row.confinement, row.phase) == (arm, phase)}
            for phase in (noisy_neighbour.WORK_QUIET, noisy_neighbour.WORK_BURNER)
        )
        assert [loud[b] / quiet[b] for b in quiet] == pytest.approx([2, 2], rel=0.1)
    assert not any(box.working for box in world.boxes)


def test_a_neighbour_that_writes_is_timed_beside_a_quiet_program_and_a_disk_writer(
    host: SimpleNamespace,
) -> None:
    world = World()
    rows = [row for row in rows_of(host, world, rounds=2) if row.phase.startswith("write")]
    assert Counter(str(row.platform) for row in rows) == {"container": 4, "vm-direct": 4}
    for quiet, loud in zip(rows[::2], rows[1::2], strict=True):
        assert (quiet.phase, loud.phase) == (disk_writer.WRITE_QUIET, disk_writer.WRITE_BUSY)
        assert loud.value / quiet.value == pytest.approx(2, rel=0.1)
    assert world.open == []


def test_a_disk_writer_that_ended_too_early_is_no_neighbour(host: SimpleNamespace) -> None:
    rows = [row for row in rows_of(host, World(writer_ended=True)) if "write" in row.phase]
    assert [row.error.split(".")[0] for row in rows] == [
        "the disk writer ended too early to be felt"
    ] * 2


def test_what_a_vm_takes_of_this_computer_is_told_for_the_kind_findings_are_about(
    host: SimpleNamespace,
) -> None:
    rows = rows_of(host, World())
    ram = {r.platform: r.value for r in rows if r.metric == "guest_ram_to_limit_ratio"}
    cpu = {r.platform: r.value for r in rows if r.metric == "host_cpu_to_vcpu_ratio"}
    assert ram == pytest.approx({Platform.VM_DIRECT: 1.0, Platform.VM: 1.0})
    assert cpu == pytest.approx({Platform.VM: 0.97})


def test_a_guest_that_refuses_nothing_is_not_filled(host: SimpleNamespace) -> None:
    rows = rows_of(host, World(fills=""), (Platform.VM,))
    failed = [r for r in rows if r.metric == "guest_ram_to_limit_ratio"]
    assert [r.status for r in failed] == ["error"]


def test_rounds_are_shuffled_by_the_seed() -> None:
    def words(seed: int) -> list[str]:
        context = Context(World().launchers(*ALL), 3, seed)
        return [what for what, _ in noisy_neighbour.steps(context, contextlib.ExitStack())]

    assert words(1) == words(1)
    assert words(1) != words(2)
    assert sorted(words(1)) == sorted(words(2))


def test_every_hog_asks_for_more_than_it_may_have() -> None:
    limits = {
        noisy_neighbour.LIMITED: LIMITS.memory_mib,
        noisy_neighbour.UNLIMITED: DISPOSABLE.memory_mib,
        noisy_neighbour.IN_VM: GUEST.memory_mib,
    }
    for (pieces, piece_mib), limit_mib in limits.items():
        # One piece has to fit where the next does not, or nothing would be held at all.
        assert piece_mib < limit_mib < pieces * piece_mib
    assert LIMITS.pids < noisy_neighbour.MOST_FORKS <= 1000


# ---- refusals -----------------------------------------------------------------------------------


@pytest.mark.parametrize("limits", ["", "max\nmax\nmax 100000\n", f"{64 * MIB}\n24\nmax 100000\n"])
def test_a_limit_that_does_not_read_back_refuses_the_demonstration(
    host: SimpleNamespace, limits: str
) -> None:
    world = World(limits=limits)
    rows = rows_of(host, world)
    limited = [r for r in rows if r.confinement == "with limits" and r.runtime != "runc"]
    assert limited
    assert all("refused" in r.error for r in limited)
    others = {key for key in worked(rows) if key[1] != "with limits"}
    assert len(others) == 4
    let_loose = [w for w in world.asked if "/runc/hog-0-with/" in w and "kill -USR" in w]
    assert let_loose == []


def test_a_guest_with_more_memory_than_it_was_given_is_no_outer_limit(
    host: SimpleNamespace,
) -> None:
    world = World(total_kb=8 << 20)
    rows = rows_of(host, world)
    assert {key[1] for key in worked(rows)} == {"with limits"}


@pytest.mark.parametrize(
    ("docker", "metric"),
    [
        (("max", "1", "100000 100000"), "cgroup_bytes"),
        (("", "", "100000 100000"), "cgroup_bytes"),
        ((str(64 * MIB), "1", "max 100000"), "fact"),
        ((str(64 * MIB), "1", "-1\n100000"), "fact"),
    ],
)
def test_docker_s_limits_are_read_back_too(
    host: SimpleNamespace, docker: tuple[str, str, str], metric: str
) -> None:
    world = World(docker=docker)
    rows = rows_of(host, world, (Platform.CONTAINER,))
    assert [r.metric for r in rows if "refused" in r.error] == [metric]
    if metric == "cgroup_bytes":
        assert not any("dd if=/dev/zero bs=" in words for words in world.asked)
    else:
        assert not any("while :" in words for words in world.asked)


def test_on_this_computer_nothing_runs_but_docker_s_own_container_with_limits(
    host: SimpleNamespace,
) -> None:
    world = World()
    rows = rows_of(host, world, (Platform.PROCESS, Platform.CONTAINER))
    held = [row for row in rows if not row.phase.startswith("write")]
    assert {(r.platform, r.confinement) for r in held} == {(Platform.CONTAINER, "with limits")}
    assert {box.spec.memory_mib for box in world.boxes if not box.spec.volume} == {
        LIMITS.memory_mib
    }


def test_where_no_guest_can_host_containers_vms_still_are_noisy_neighbours(
    host: SimpleNamespace,
) -> None:
    no_runc = Unavailable("this computer has no runc", "install it")
    rows = rows_of(host, World(missing={CONTAINER_HOST: no_runc}))
    assert {key[0] for key in worked(rows)} == {"vm-direct"}
    inside = [r for r in rows if r.runtime == "runc in a guest"]
    assert inside
    assert all("no runc" in r.error for r in inside)


def test_a_limit_that_is_passed_is_told(host: SimpleNamespace) -> None:
    rows = rows_of(host, World(docker=(str(64 * MIB), str(96 * MIB), "100000 100000"), dd=b"0\n"))
    docker = [r for r in rows if r.runtime == "runc"]
    assert facts(docker)["container_memory_limit_holds"] == 0


def test_stopping_at_any_step_leaves_nothing_open(host: SimpleNamespace) -> None:
    total = len(noisy_neighbour.steps(Context(World().launchers(*ALL), 1), contextlib.ExitStack()))
    for place in range(total):
        host.world = world = World()

        def stop(progress: Progress, place: int = place) -> None:
            if progress.done == place and progress.step == "trial":
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            rows_in(Context(world.launchers(*ALL), 1, watch=stop), world)
        assert world.open == []


# ---- the real thing -----------------------------------------------------------------------------


@pytest.mark.qemu
@pytest.mark.timeout(900)
def test_a_real_hog_is_held_by_real_limits_and_a_real_guest_by_its_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from vmcompare.engines import qemu
    from vmcompare.engines.images.container_host import program_files
    from vmcompare.experiments.isolation import noisy_neighbour

    monkeypatch.undo()  # the real computer
    try:
        program_files("runc")
    except Unavailable as missing:
        pytest.skip(str(missing))
    launcher = qemu.launchers()[Platform.VM_DIRECT]
    with launcher.open(DISPOSABLE, lambda _event: None) as box:
        guest_containers.prepare(box)
        hog = noisy_neighbour.in_container(box, "hog", noisy_neighbour.LIMITED, LIMITS)
        hog.wait_ready()
        hog.check_memory(DISPOSABLE.memory_mib)
        hog.begin(MEMORY)
        assert "piece 137" in hog.until("memory done")
        assert 0 < int(hog.sh(f"cat {hog.group}/memory.peak")) <= LIMITS.memory_mib * MIB
        hog.begin(noisy_neighbour.FORKS)
        assert until(lambda: int(hog.sh("pgrep -x sleep | wc -l")))
        time.sleep(2)  # for more of them than there may be
        assert 0 < int(hog.sh("pgrep -x sleep | wc -l")) <= LIMITS.pids
        hog.sh(hog.end)
        assert hog.sh("pgrep -x sleep | wc -l").strip() == "0"
        noisy_neighbour.fill(box, DISPOSABLE.memory_mib)
        with pytest.raises(Unavailable, match="refused"):
            replace(hog, limits=None).check_memory(DISPOSABLE.memory_mib // 2)


@pytest.mark.qemu
@pytest.mark.timeout(900)
def test_a_real_neighbour_works_beside_real_cpu_burners(monkeypatch: pytest.MonkeyPatch) -> None:
    from vmcompare.engines import qemu
    from vmcompare.engines.images.container_host import program_files

    monkeypatch.undo()  # the real computer
    try:
        program_files("runc")
    except Unavailable as missing:
        pytest.skip(str(missing))
    context = Context({Platform.VM_DIRECT: qemu.launchers()[Platform.VM_DIRECT]}, 1)
    with contextlib.ExitStack() as stack:
        plan = noisy_neighbour.steps(context, stack)
        wanted = [step for words, step in plan if "disk" not in words]
        rows = [row for step in wanted for row in step()]
    assert {row.status for row in rows} == {"ok"}, [row.error for row in rows]
    work = [row for row in rows if row.metric == "duration_s"]
    assert {(row.confinement, row.phase, row.metric) for row in work} == {
        (confinement, phase, "duration_s")
        for confinement in ("without limits", "with limits", "")
        for phase in (noisy_neighbour.WORK_QUIET, noisy_neighbour.WORK_BURNER)
    }


@pytest.mark.qemu
@pytest.mark.docker
@pytest.mark.timeout(300)
@pytest.mark.parametrize("platform", [Platform.CONTAINER, Platform.VM_DIRECT])
def test_a_real_neighbour_writes_beside_a_real_disk_writer(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vmcompare.engines import docker, qemu

    monkeypatch.undo()  # the real computer
    launchers = docker.launchers() | qemu.launchers()
    context = Context({platform: launchers[platform]}, 1)
    with contextlib.ExitStack() as stack:
        [step] = [
            step for words, step in noisy_neighbour.steps(context, stack)
            if "disk writer" in words
        ]  # fmt: skip
        quiet, busy = step()
    assert quiet.value > 0, busy.value
    assert busy.phase == disk_writer.WRITE_BUSY
