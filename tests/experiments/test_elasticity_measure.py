"""What lesson 07 records: moments of memory, limits that are asked for, failures as rows."""

from __future__ import annotations

import math
import platform
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest
from fake import FakeLauncher, FakeSandbox

from vmcompare.engines.bare.process import ProcessLauncher
from vmcompare.engines.docker import DockerLauncher
from vmcompare.engines.programs import workload
from vmcompare.errors import LaunchFailure
from vmcompare.evidence.recording import Measurement
from vmcompare.evidence.units import MIB
from vmcompare.experiments.elasticity import measure
from vmcompare.experiments.elasticity.measure import (
    ARMS,
    IDE,
    NO_FILTER,
    REPEATS,
    VOLUME,
    WORK,
    WRITES,
)
from vmcompare.measuring.experiment import Context, load
from vmcompare.sandbox import Balloon, Completed, OnEvent, Platform, Spec, Traits


@dataclass(slots=True)
class Box(FakeSandbox):
    """An instance whose memory follows what the program in it has said."""

    spec: Spec = field(default_factory=Spec)
    disk: bytes = b"1"
    limit_mib: int = 0
    said: str = ""
    told: int = 0
    read: float = 0

    def run(self, argv: Sequence[str], *, timeout_s: float = 60.0) -> Completed:
        line = argv[-1]
        if "MemTotal" in line:
            shrinks = self.spec.machine and self.limit_mib
            total = self.limit_mib if shrinks else 8192
            return Completed(f"MemTotal: {total * 1024} kB\n".encode(), 0)
        if line == "nproc":
            return Completed(b"4\n", 0)
        if "cpu.stat" in line:
            self.told += 1
            return Completed(f"nr_periods {10 * self.told}\nnr_throttled {self.told}\n".encode(), 0)
        if argv[0] == "stat":
            return Completed(self.disk, 0)
        return Completed(b"\0" * 312 + (10**9 // 4).to_bytes(8, "little"), 0)

    def resize(self, memory_mib: int) -> int:
        if memory_mib < 200 and not self.spec.machine:
            raise LaunchFailure("Docker refused", (), "too low")
        self.limit_mib = min(memory_mib, self.spec.memory_mib + self.spec.spare_mib)
        return self.limit_mib

    def limit_processors(self, cpus: float) -> None:
        assert cpus < 1

    def taker(self, argv: Sequence[str]) -> Iterable[tuple[float, bytes]]:
        """The program that takes memory; it waits until the host has looked twice at each state."""
        began_s = time.perf_counter()
        for letter in "atf" if argv[0].endswith("taker") else "":
            enough = self.read + 2
            while argv[2] != "0" and self.read < enough:
                time.sleep(0.001)
            self.said += letter
            yield time.perf_counter() - began_s, letter.encode()


@dataclass(slots=True)
class Launcher(FakeLauncher):
    """Opens such boxes."""

    def made(self, spec: Spec) -> Box:
        return Box(pid=1, spec=spec)

    @contextmanager
    def open(self, spec: Spec, on_event: OnEvent) -> Iterator[Box]:
        self.opened += 1
        box = self.made(spec)
        box.script = box.taker
        yield box


def paid(box: Box, row: Measurement) -> int:
    """A process gives back at once, a VM when its balloon is inflated."""
    box.read += 1
    taken = "t" in box.said and "f" not in box.said
    if row.platform.is_vm and "t" in box.said:
        taken = not (box.limit_mib or (box.spec.balloon is Balloon.PAGE_REPORTING and not taken))
    return (300 if taken else 100) * MIB


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "host_bytes", paid)
    for name, value in {"EVERY_S": 0.002, "AFTER_S": 0.02, "THROTTLE_S": 0.0}.items():
        monkeypatch.setattr(measure, name, value)


def run(*platforms: Platform, rounds: int = 1) -> list[Measurement]:
    """Rows of a run on these platforms."""
    tcg = Traits("mechanism", vmm="qemu 9", accel="tcg")
    launchers = {p: Launcher(trait=tcg if p.is_vm else Traits("product")) for p in platforms}
    return list(measure.measure(Context(launchers, rounds=rounds)))


def values(rows: list[Measurement], metric: str) -> dict[str, float | None]:
    return {r.phase: r.value for r in rows if r.metric == metric and "over time" not in r.phase}


def test_a_process_has_its_moments_and_gives_all_of_it_back() -> None:
    rows = run(Platform.PROCESS)
    moments = values(rows, "host_bytes")
    assert moments == {"before": 100 * MIB, "peak": 300 * MIB, "freed": 100 * MIB}
    assert values(rows, "returned_ratio") == {"freed": 1.0}
    assert all(r.status == "ok" for r in rows)


def test_a_vm_keeps_it_until_its_balloon_is_inflated_or_its_kernel_reports() -> None:
    rows = run(Platform.VM)
    assert values(rows, "returned_ratio") == {
        "freed": 0.0, "freed-balloon": 1.0, "freed-page-reporting": 1.0,
    }  # fmt: skip
    assert values(rows, "host_bytes_to_limit_ratio")["start"] == pytest.approx(100 / 1024)


def test_what_was_asked_stands_beside_what_came_of_it_and_what_was_seen() -> None:
    rows = run(Platform.CONTAINER, Platform.VM)
    came = {r.phase: r.text for r in rows if r.metric == "observation"}
    assert came == {
        "update: 1024 → 512 MiB": "512 MiB | 8192 → 8192 MiB",
        "update: 512 → 128 MiB, 200 in use": "refused | 8192 → 8192 MiB",
        "update: 1 → 0.2 processors": "throttled in 10% of its periods | 4 → 4 processors",
        "balloon: 1024 → 256 MiB": "256 MiB | 8192 → 256 MiB",
        "balloon: 256 → 2048 MiB": "1024 MiB | 256 → 1024 MiB",
        "virtio-mem: 1024 → 1280 MiB": "1280 MiB | 8192 → 1280 MiB",
        "inside: put it to use": "1280 MiB | 1280 → 1280 MiB",
        "virtio-mem: 1280 → 1024 MiB": "1024 MiB | 1280 → 1024 MiB",
    }
    timed = {r.phase for r in rows if r.metric == "duration_s"}
    assert timed - {WRITES + IDE} == set(came)


def test_work_is_counted_in_a_process_and_in_containers_with_and_without_the_filter() -> None:
    rows = [r for r in run(Platform.PROCESS, Platform.CONTAINER) if r.metric == "work_cpu_s"]
    bare = {r.phase for r in rows if r.platform is Platform.CONTAINER and r.confinement}
    assert bare == {piece + NO_FILTER for piece in WORK if VOLUME not in piece}
    assert len(rows) == REPEATS * (3 * len(WORK) - 2)
    assert WRITES + VOLUME in {r.phase for r in rows}


@pytest.mark.docker
def test_gzip_is_the_same_program_in_a_process_and_in_a_container() -> None:
    programs = set()
    for launcher in (ProcessLauncher(), DockerLauncher()):
        with launcher.open(Spec(), lambda _event: None) as box:
            box.put(measure._WORK, workload.elf(platform.machine()))
            box.put(measure._TEXT, b"words " * 99_999)
            assert workload.spent(box.run((measure._WORK, *WORK["gzip"])).output).cpu_s > 0
            programs.add(box.run(("sha256sum", "/bin/busybox")).output.split()[0])
    assert len(programs) == 1


def test_a_vm_writes_to_two_disks_and_only_one_of_them_is_what_claims_are_about() -> None:
    rows = [r for r in run(Platform.VM) if WRITES in r.phase]
    assert {(r.metric, r.phase, r.value, r.accel) for r in rows if r.metric != "work_cpu_s"} == {
        ("disk_s", WRITES, 0.25, "tcg"), ("duration_s", WRITES + IDE, 0.25, "tcg")
    }  # fmt: skip
    assert len(rows) == 4 * REPEATS


def test_a_disk_on_which_no_file_system_can_be_made_is_a_row(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    work = Box.run

    def fails(box: Box, argv: Sequence[str], *, timeout_s: float = 60.0) -> Completed:
        made = any("mkfs" in word for word in argv)
        return Completed(b"no such disk", 1) if made else work(box, argv, timeout_s=timeout_s)

    monkeypatch.setattr(Box, "run", fails)
    [row] = [r for r in run(Platform.VM) if r.status != "ok"]
    assert (row.metric, row.phase) == ("disk_s", WRITES)
    assert "no file system" in row.error


@pytest.mark.parametrize("metric", ["disk_s", "network_s"])
def test_waiting_is_timed_in_the_process_and_in_a_container_as_docker_starts_it(
    metric: str,
) -> None:
    rows = [r for r in run(Platform.PROCESS, Platform.CONTAINER) if r.metric == metric]
    assert [r.value for r in rows] == [0.25] * (2 * REPEATS)
    assert {(r.platform, r.confinement) for r in rows} == {
        (Platform.PROCESS, ""), (Platform.CONTAINER, "")
    }  # fmt: skip


def test_writes_to_two_file_systems_are_not_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        Launcher, "made", lambda _, spec: Box(pid=1, spec=spec, disk=spec.volume.encode())
    )
    rows = run(Platform.PROCESS, Platform.CONTAINER)
    wrong = [r for r in rows if r.status != "ok"]
    assert {(r.platform, r.metric) for r in wrong} == {
        (Platform.PROCESS, "work_cpu_s"), (Platform.PROCESS, "disk_s")
    }  # fmt: skip
    assert all(r.phase == WRITES and "another file system" in r.error for r in wrong)


def test_memory_that_cannot_be_read_is_a_row_and_the_run_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def unreadable(box: Box, _: Measurement) -> int:
        box.read = math.inf  # nobody looks again
        raise LaunchFailure("unreadable", ())

    monkeypatch.setattr(measure, "host_bytes", unreadable)
    rows = run(Platform.PROCESS, Platform.VM)
    assert [r.error for r in rows if r.status != "ok"] == ["unreadable"] * 3
    assert values(rows, "work_cpu_s")


def test_each_round_visits_every_arm_in_an_order_of_its_own() -> None:
    context = Context({p: Launcher() for p in Platform}, rounds=4)
    plan = [step for _, step in measure.plan(context)]
    assert plan == [step for _, step in measure.plan(context)]
    for block in range(4):
        assert {arm for at, _, arm in plan if at == block} == {*ARMS, None}
    assert load("elasticity").rounds == 3
