"""What lesson 01 records: rows of ramps, failures as rows, and nothing left behind."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from fake import VM_PHASES, FakeLauncher, FakeSandbox

from vmcompare import engines
from vmcompare.errors import LaunchFailure, Unavailable
from vmcompare.evidence.recording import Measurement
from vmcompare.evidence.units import MIB
from vmcompare.experiments.guest_os import measure
from vmcompare.experiments.guest_os.measure import (
    CODE_CACHE,
    DAEMONS,
    GUEST_RAM,
    SHIM,
    Weight,
    overhead_bytes,
    weigh,
)
from vmcompare.measuring import memory
from vmcompare.measuring.experiment import Context, RunProgress, load
from vmcompare.sandbox import Completed, OnEvent, Phase, Platform, Spec, Traits


class Box(FakeSandbox):
    """Answers what the experiment asks inside."""

    def run(self, argv: Sequence[str], *, timeout_s: float = 60.0) -> Completed:
        match list(argv):
            case ["cat", "/sys/block/vda/size"]:
                return Completed(b"2097152\n", 0)
            case ["sh", "-c", _]:
                return Completed(b"", 0)
        return super().run(argv, timeout_s=timeout_s)


@dataclass(slots=True)
class Launcher(FakeLauncher):
    """Opens :class:`Box` es; from the ``breaks_at``-th on, or only one time, it fails."""

    breaks_at: int = 10**6
    breaks_only_at: int = 0
    given_mib: list[int] = field(default_factory=list)

    @contextmanager
    def open(self, spec: Spec, on_event: OnEvent) -> Iterator[FakeSandbox]:
        with FakeLauncher.open(self, spec, on_event) as plain:
            if self.opened >= self.breaks_at or self.opened == self.breaks_only_at:
                raise LaunchFailure("it did not start", ("fake",))
            self.given_mib.append(spec.memory_mib)
            box = Box(plain.pid)
            try:
                yield box
            finally:
                box.alive = False


def docker(**more: Any) -> Launcher:
    return Launcher(trait=Traits("product", runtime="runc"), **more)


def machine(**more: Any) -> Launcher:
    trait = Traits("mechanism", vmm="qemu 7.2", accel="tcg")
    return Launcher(phases=VM_PHASES, trait=trait, **more)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """No waiting, and made-up weights: 3 MiB of shim; 100 MiB of guest RAM and 60 of code cache."""

    def weigh(box: object, spec: Spec, *, is_vm: bool, emulated: bool) -> Weight:
        if is_vm:
            cache = {CODE_CACHE: 60 * MIB} if emulated else {}
            return {"emulator": 20 * MIB, GUEST_RAM: 100 * MIB, **cache}
        return {SHIM: 3 * MIB, "workload": MIB}

    monkeypatch.setattr(measure, "SETTLE_S", 0.0)
    monkeypatch.setattr(measure, "weigh", weigh)
    for name, value in {
        "docker_daemons": lambda: (1, 2),
        "pss_bytes": lambda pids: 50 * MIB * len(pids), "available_bytes": lambda: 2**40,
    }.items():  # fmt: skip
        monkeypatch.setattr(memory, name, value)


def rows_of(launchers: Mapping[Platform, Launcher], rounds: int = 1) -> list[Measurement]:
    return list(measure.measure(Context(launchers, rounds=rounds)))


def picked(rows: Sequence[Measurement], **columns: Any) -> list[Measurement]:
    return [r for r in rows if all(getattr(r, k) == v for k, v in columns.items())]


def values(rows: Sequence[Measurement], **columns: Any) -> dict[int, float | None]:
    return {r.rep: r.value for r in picked(rows, **columns)}


ALL: Mapping[Platform, Callable[[], Launcher]] = {
    Platform.CONTAINER: docker, Platform.VM_DIRECT: machine, Platform.VM: machine,
}  # fmt: skip


def everything(**instead: Launcher) -> dict[Platform, Launcher]:
    made = {platform: make() for platform, make in ALL.items()}
    return made | {Platform(name.replace("_", "-")): launcher for name, launcher in instead.items()}


def test_the_experiment_is_found_and_asks_the_platforms_of_its_claims() -> None:
    found = load("guest_os")
    assert found.platforms == (Platform.CONTAINER, Platform.VM_DIRECT, Platform.VM)
    assert found.rounds == 3


def test_a_ramp_weighs_all_instances_together_at_each_n() -> None:
    rows = rows_of(everything())
    ramp = values(rows, platform=Platform.CONTAINER, metric="pss_bytes", phase="ramp")
    assert ramp == {n: n * 4 * MIB for n in (1, 2, 4, 6, 8, 10)}
    assert values(rows, platform=Platform.VM, metric="overhead_bytes") == {
        1: 20 * MIB, 2: 40 * MIB,
    }  # fmt: skip


def test_the_parts_of_every_point_add_up_to_what_is_paid_and_the_code_cache() -> None:
    rows = rows_of(everything())
    cache = values(rows, platform=Platform.VM_DIRECT, metric="part_bytes", phase=CODE_CACHE)
    assert cache == {n: n * 60 * MIB for n in (1, 2, 3)}
    for row in picked(rows, metric="pss_bytes", phase="ramp"):
        parts = picked(rows, platform=row.platform, metric="part_bytes", rep=row.rep)
        named = {p.phase: p.value or 0 for p in parts if p.phase != DAEMONS}
        assert sum(named.values()) - named.get(CODE_CACHE, 0) == row.value


def test_daemons_are_weighed_before_the_first_container_and_make_a_fact() -> None:
    rows = rows_of(everything())
    daemons = values(rows, metric="part_bytes", phase=DAEMONS)
    assert daemons == dict.fromkeys((0, 1, 2, 4, 6, 8, 10), 100 * MIB)
    [fact] = picked(rows, metric="fact")
    assert fact.phase == "container_daemons_cost_more_below_crossover"
    assert fact.value == 1  # 100 + 3 MiB against 20 MiB
    assert fact.platform is Platform.CONTAINER


def test_the_fact_is_false_of_light_daemons_and_missing_without_both_sides(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(memory, "pss_bytes", lambda *_: 4 * MIB)
    assert [f.value for f in picked(rows_of(everything(), rounds=2), metric="fact")] == [0, 0]
    assert not picked(rows_of({Platform.CONTAINER: docker()}), metric="fact")


def test_daemons_that_cannot_be_seen_are_an_error_and_not_zero(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(memory, "docker_daemons", tuple)
    rows = rows_of(everything())
    assert {r.status for r in picked(rows, phase=DAEMONS)} == {"error"}
    assert not picked(rows, metric="fact")


def test_every_size_is_started_once_in_each_block() -> None:
    rows = rows_of(everything(), rounds=2)
    sized = picked(rows, metric="pss_bytes", phase="size")
    assert sorted((r.block, r.mem_limit_mib) for r in sized) == [
        (b, m) for b in (0, 1) for m in (128, 256, 512, 1024)
    ]


def test_age_is_measured_once_a_ramp() -> None:
    rows = rows_of(everything(), rounds=2)
    for age in ("fresh", "aged"):
        assert [r.block for r in picked(rows, phase=age)] == [0, 1]


def test_an_instance_that_fails_is_a_row_the_rest_of_its_ramp_too_and_the_run_goes_on() -> None:
    launcher = docker(breaks_at=4)
    rows = rows_of(everything(container=launcher))
    ramp = picked(rows, platform=Platform.CONTAINER, metric="pss_bytes", phase="ramp")
    assert [(r.rep, r.status) for r in ramp] == [
        (1, "ok"), (2, "ok"), (4, "error"), (6, "error"), (8, "error"), (10, "error"),
    ]  # fmt: skip
    assert {r.error for r in ramp if r.status != "ok"} == {"it did not start"}
    assert not launcher.running
    assert len(picked(rows, platform=Platform.VM, metric="pss_bytes", phase="ramp")) == 2


def test_a_series_that_keeps_failing_is_not_tried_again() -> None:
    launcher = machine(fail_at={Phase.FIRMWARE: LaunchFailure("no firmware", ("fake",))})
    rows = rows_of(everything(vm=launcher), rounds=4)
    tried = picked(rows, platform=Platform.VM)
    assert {r.status for r in tried} == {"error"}
    assert launcher.opened == 2
    assert tried[-1].error == "not tried again after repeated failure"


def test_a_size_too_small_to_boot_does_not_end_the_ramp(monkeypatch: pytest.MonkeyPatch) -> None:
    grow = measure.Ramp.grow

    def too_small(ramp: measure.Ramp, *rest: Any) -> None:
        if ramp.spec.memory_mib == 128:
            raise LaunchFailure("out of memory", ("fake",))
        grow(ramp, *rest)

    monkeypatch.setattr(measure.Ramp, "grow", too_small)
    rows = picked(rows_of(everything(), rounds=4), platform=Platform.VM_DIRECT, metric="pss_bytes")
    assert {r.mem_limit_mib for r in rows if r.status != "ok"} == {128}
    assert len(picked(rows, phase="ramp", status="ok")) == 12


def test_memory_that_cannot_be_read_ends_a_series_at_its_first_instance(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def unreadable(*_: object, is_vm: bool, **__: object) -> Weight:
        if not is_vm:
            raise Unavailable("the memory of the serving processes cannot be read", "be root")
        return {"emulator": 20 * MIB}

    monkeypatch.setattr(measure, "weigh", unreadable)
    monkeypatch.setattr(memory, "docker_daemons", tuple)
    launcher = docker()
    rows = rows_of(everything(container=launcher), rounds=3)
    assert launcher.opened == 1
    assert {r.status for r in picked(rows, platform=Platform.CONTAINER)} == {"error"}
    assert len(picked(rows, platform=Platform.VM, phase="ramp", metric="pss_bytes")) == 6


def test_a_guest_that_would_use_up_the_host_is_not_started(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(memory, "available_bytes", lambda: 600 * MIB)
    launcher = machine()
    rows = rows_of({Platform.VM: launcher})
    assert launcher.opened == 0
    assert all("too little memory" in r.error for r in rows)


def test_nothing_is_left_open_at_the_end_or_when_the_run_is_stopped() -> None:
    launchers = everything()
    rows_of(launchers)
    assert not any(launcher.running for launcher in launchers.values())
    run = measure.measure(Context(launchers, rounds=1))
    for row in run:
        if row.rep == 2:
            break
    run.close()  # type: ignore[attr-defined]
    assert not any(launcher.running for launcher in launchers.values())


def test_the_watcher_is_told_of_every_step() -> None:
    told: list[RunProgress] = []
    list(measure.measure(Context(everything(), rounds=1, watch=told.append)))
    steps = [p for p in told if p.step == "trial"]
    assert [p.done for p in steps] == list(range(16))
    assert {p.planned for p in steps} == {15}
    assert "container × 10" in {p.what for p in steps}


@pytest.mark.docker
@pytest.mark.qemu
@pytest.mark.timeout(900)
def test_real_instances_are_weighed_part_by_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    found = engines.availability()
    wanted = [Platform.CONTAINER, Platform.VM_DIRECT]
    launchers = engines.launchers(found, wanted)
    rows = list(measure.measure(Context(launchers, rounds=1)))
    assert {r.error for r in rows} == {""}
    ramp = values(rows, platform=Platform.CONTAINER, metric="pss_bytes", phase="ramp")
    assert list(ramp) == [1, 2, 4, 6, 8, 10]
    guest = values(rows, platform=Platform.VM_DIRECT, metric="part_bytes", phase=GUEST_RAM)
    assert all(0 < (value or 0) <= n * 513 * MIB for n, value in guest.items())


def weighed(monkeypatch: pytest.MonkeyPatch, words: Mapping[int, tuple[str, ...]]) -> Weight:
    """What ``weigh`` makes of a container whose processes have these command lines, 10 MiB each."""
    monkeypatch.setattr(memory, "command_line", lambda pid: words[pid])
    monkeypatch.setattr(memory, "pss_bytes", lambda *_: 10 * MIB)
    box = Box(1)
    monkeypatch.setattr(Box, "host_pids", lambda *_: tuple(words))
    return weigh(box, Spec(), is_vm=False, emulated=False)


CONTAINERS_PROCESSES = {
    1: ("/usr/bin/containerd-shim-runc-v2", "-id", "0aef"),
    2: ("/sbin/docker-init", "--", "/sbin/vmcompare-first-byte"),
    3: ("/sbin/vmcompare-first-byte",),
    4: ("sleep", "86400"),
}


def test_shim_and_init_manage_and_what_was_started_inside_works(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    weight = weighed(monkeypatch, CONTAINERS_PROCESSES)
    assert weight == {SHIM: 20 * MIB, "workload": 20 * MIB}
    assert overhead_bytes(weight) == 20 * MIB


def test_a_container_whose_workload_is_not_seen_is_not_weighed_without_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen = {pid: words for pid, words in CONTAINERS_PROCESSES.items() if pid != 4}
    with pytest.raises(Unavailable, match="workload is not among the processes"):
        weighed(monkeypatch, seen)
    with pytest.raises(Unavailable, match="cannot be seen from here"):
        weighed(monkeypatch, {})
