"""Noisy neighbours: hogs are bounded twice or not started, and the rows say what became of all."""

from __future__ import annotations

import contextlib
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from types import SimpleNamespace

import pytest
from isolation_fakes import World, facts

from vmcompare.errors import Unavailable
from vmcompare.evidence.recording import Measurement
from vmcompare.evidence.units import MIB
from vmcompare.experiments.isolation import disk_writer, noisy_neighbour
from vmcompare.experiments.isolation.heartbeats import DISPOSABLE, GUEST
from vmcompare.experiments.isolation.noisy_neighbour import LIMITS
from vmcompare.measuring import memory
from vmcompare.measuring.experiment import Context, RunProgress
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
    assert {(r.phase, r.value) for r in counts} == {("fork loop", 24)}
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


@pytest.mark.parametrize(
    ("refusing", "held"), [(r"-with\b", "with limits"), (r"-without\b", "without limits")]
)
def test_a_limit_that_does_not_read_back_refuses_the_demonstration(
    host: SimpleNamespace, refusing: str, held: str
) -> None:
    rows = rows_of(host, World(refusing=refusing))
    inside = [r for r in rows if r.confinement == held and r.runtime != "runc"]
    assert [r.phase for r in inside] == ["memory hog", noisy_neighbour.WORK_QUIET, "fork loop"]
    assert all("refused" in r.error for r in inside)
    assert len({key for key in worked(rows) if key[1] != held}) == 4


def test_a_burner_that_ended_too_early_is_no_neighbour(host: SimpleNamespace) -> None:
    rows = rows_of(host, World(early="computing"))
    errors = [row.error for row in rows if row.phase.startswith("work")]
    assert len(errors) == 3
    assert all("ended too early to be felt (computing)" in error for error in errors)


@pytest.mark.skipif(sys.platform != "linux", reason="it reads what only Linux tells")
def test_a_hog_looks_at_the_memory_of_its_guest_before_it_begins() -> None:
    argv = ["sh", "-c", noisy_neighbour.HOG, "hog", "memory", "", "1", "1", "1"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 3
    assert re.match(r"refused: its limit reads '\d+ MiB', not 'at most 1 MiB'", done.stdout)


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

        def stop(progress: RunProgress, place: int = place) -> None:
            if progress.done == place and progress.step == "trial":
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            rows_in(Context(world.launchers(*ALL), 1, watch=stop), world)
        assert world.open == []


# ---- the real thing -----------------------------------------------------------------------------


@pytest.mark.qemu
@pytest.mark.timeout(900)
def test_a_real_neighbour_works_beside_real_hogs_that_real_limits_hold(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
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
    assert {row.status for row in rows} == {"ok"}, [row.error for row in rows if row.error]
    work = [row for row in rows if row.metric == "duration_s"]
    assert Counter((row.confinement, row.phase) for row in work) == {
        (confinement, phase): 1
        for confinement in ("without limits", "with limits", "")
        for phase in (noisy_neighbour.WORK_QUIET, noisy_neighbour.WORK_BURNER)
    }
    assert facts(rows) == {"container_memory_limit_holds": 1}
    counts = {row.confinement: row.value for row in rows if row.metric == "item_count"}
    assert counts == {"without limits": 201, "with limits": LIMITS.pids, "": 201}
    with context.launchers[Platform.VM_DIRECT].open(GUEST, lambda _event: None) as box:
        noisy_neighbour.fill(box, GUEST.memory_mib)


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
