"""What lesson 06 records: every step as rows, failures as rows, and what counting comes to."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest
from fake import FakeLauncher, FakeSandbox

from vmcompare.engines.docker import DockerLauncher
from vmcompare.engines.qemu import QemuLauncher
from vmcompare.errors import LaunchFailure, Unavailable
from vmcompare.evidence.recording import Measurement
from vmcompare.experiments.portability import counting, elsewhere
from vmcompare.experiments.portability.counting import Counted
from vmcompare.experiments.portability.measure import STEPS
from vmcompare.measuring.experiment import Context, blank, load
from vmcompare.sandbox import (
    Completed,
    Machine,
    Moved,
    OnEvent,
    Phase,
    Platform,
    Spec,
    Traits,
)


@pytest.fixture(autouse=True)
def _fakes_count_at_once(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if not {"docker", "qemu"} & set(request.keywords):
        monkeypatch.setattr(counting, "COUNTING_S", 0.01)


@dataclass(slots=True)
class Answering(FakeSandbox):
    """Answers a command by what ``said`` has for words of it."""

    said: Mapping[str, bytes] = field(default_factory=dict)

    def run(self, argv: Sequence[str], *, timeout_s: float = 60.0) -> Completed:
        found = [answer for words, answer in self.said.items() if words in " ".join(argv)]
        return Completed(found[0] if found else b"", 0)


@dataclass(slots=True)
class Talking(FakeLauncher):
    """Opens such instances, and can save an image."""

    said: Mapping[str, bytes] = field(default_factory=dict)

    @contextmanager
    def open(self, spec: Spec, on_event: OnEvent) -> Iterator[FakeSandbox]:
        with FakeLauncher.open(self, spec, on_event) as box:
            yield Answering(box.pid, said=self.said)

    def save(self, spec: Spec) -> bytes:
        return b"an image"


class Launcher(FakeLauncher):
    """Moves a file of 1,000 bytes."""

    def move(self, spec: Spec) -> Moved:
        return Moved(1000, 0.1, 0.2, 0.3)


def run(**launchers: FakeLauncher) -> list[Measurement]:
    """Rows of one round with these launchers, by platform ("vm_direct")."""
    found = {Platform(name.replace("_", "-")): one for name, one in launchers.items()}
    return list(load("portability").measure(Context(found, rounds=1)))


def test_a_move_is_a_row_a_step_and_the_bytes_that_travel() -> None:
    rows = [row for row in run(container=Launcher()) if row.status == "ok"]
    steps = {row.phase: row.value for row in rows if row.metric == "duration_s"}
    assert steps == dict(zip(STEPS, (0.1, 0.2, 0.3), strict=True))
    assert [row.value for row in rows if row.metric == "image_bytes"] == [1000]
    assert [row.value for row in rows if row.metric == "load_and_start_s"] == [0.5]


def test_what_cannot_be_moved_is_a_row_and_the_run_goes_on() -> None:
    launcher = FakeLauncher(trait=Traits("mechanism", vmm="qemu 9", accel="tcg"))
    rows = run(vm=launcher, vm_direct=launcher)
    errors = {(row.platform, row.phase): row.error for row in rows if row.status == "error"}
    assert "nothing to move" in errors[Platform.VM, "move"]
    assert "cannot be moved" in errors[Platform.VM_DIRECT, "count"]
    assert launcher.running == set()


@pytest.mark.parametrize(("answer", "status"), [(b"hello\n", "ok"), (b"", "error")])
def test_two_talk_if_the_answer_comes_and_the_row_lists_what_was_done(
    answer: bytes, status: str
) -> None:
    launcher = Talking(said={"nc -w": answer})
    rows = run(vm_direct=launcher)
    [talk] = [row for row in rows if row.metric == "talk_s" or row.phase == "network"]
    assert (talk.status, talk.metric == "talk_s") == (status, status == "ok")
    counts = [row for row in rows if row.metric == "step_count"]
    assert [row.text.count("; ") + 1 for row in counts] == [row.value for row in counts]
    assert launcher.running == set()


@pytest.mark.parametrize(
    ("lacking", "text", "facts"),
    [
        (None, "1 2 | 3 (CRIU 4)", [1.0]),
        (Unavailable("there is no criu", "install CRIU"), "not tried: there is no criu", []),
    ],
)
def test_a_container_that_is_continued_tells_by_what_or_what_it_lacks(
    monkeypatch: pytest.MonkeyPatch, lacking: Unavailable | None, text: str, facts: list[float]
) -> None:
    def continued(_: object) -> tuple[Counted, str]:
        if lacking:
            raise lacking
        return Counted((1, 2), (3,)), "CRIU 4"

    monkeypatch.setattr(counting, "continued", continued)
    context = Context({}, rounds=1, runtimes={"runc": FakeLauncher()})
    seen, *rest = load("portability").measure(context)
    assert text in seen.text
    assert [row.value for row in rest] == facts
    assert seen.status == "ok"


@pytest.mark.parametrize(
    ("before", "after", "goes_on", "again"),
    [
        ((1, 2, 3), (4, 5), True, False),
        ((1, 2, 3), (5, 6), False, False),
        ((1, 2, 3), (3, 4), False, False),
        ((1, 2, 3), (1, 2), False, True),
        ((1, 2, 3), (), False, False),
        ((), (1, 2), False, False),
    ],
)
def test_a_number_that_is_missing_or_comes_twice_is_noticed(
    before: tuple[int, ...], after: tuple[int, ...], goes_on: bool, again: bool
) -> None:
    counted = Counted(before, after)
    assert (counted.goes_on, counted.starts_again) == (goes_on, again)


def test_a_few_numbers_of_either_side_are_kept() -> None:
    assert Counted(tuple(range(1, 48)), (48, 49)).text == "44 45 46 47 | 48 49"


IMAGE = b"sha256:" + b"0" * 64  # as every fake's


@pytest.mark.parametrize(
    ("there", "held"),
    [
        (IMAGE + b"\n6.2\n3.23\n", 1.0),
        (b"sha256:1\n6.2\n3.23\n", 0.0),
        (IMAGE + b"\n6.2\n3.24\n", 0.0),
        (IMAGE + b"\n6.1\n3.23\n", None),
        (b"no such image\n", None),
    ],
)
def test_an_image_runs_elsewhere_if_it_is_the_same_and_says_the_same_under_another_kernel(
    there: bytes, held: float | None
) -> None:
    refusal = b"exec /foreign: exec format error\n"
    vms = Talking(said={"docker load": there, "docker import": refusal})
    rows = run(vm_direct=vms, container=Talking(said={"uname": b"6.1\n3.23\n"}))
    facts = {row.phase: row for row in rows if row.metric == "fact"}
    if held is None:
        assert "saved_image_runs_on_another_kernel" not in facts
        assert [row.status for row in rows if row.phase == "another kernel"] == ["error"]
    else:
        assert facts["saved_image_runs_on_another_kernel"].value == held
        assert facts["saved_image_runs_on_another_kernel"].platform is Platform.CONTAINER
        assert facts["foreign_architecture_image_fails"].value == 1.0
    assert vms.running == set()


@pytest.mark.parametrize(
    ("console", "said"),
    [("mount: mounting /dev/vda on /sysroot failed: No such file", "gives up: /dev/vda: No"),
     ("Kernel panic", "")],
)  # fmt: skip
def test_a_disk_that_is_not_found_is_told_from_a_vm_that_fails(console: str, said: str) -> None:
    failing = FakeLauncher(fail_at={Phase.CREATE: LaunchFailure("QEMU ended", ("qemu",), console)})
    rows = list(load("portability").measure(Context({Platform.VM: failing}, rounds=1)))
    texts = [row.text for row in rows if row.phase in (elsewhere.HARDWARE, elsewhere.IDE)]
    assert len(texts) == (2 if said else 0)
    assert all(said in text for text in texts)


@pytest.mark.parametrize(
    ("output", "text", "facts"),
    [
        (b"registered\n\x06", "it ran", [1.0]),
        (b"registered\nchroot: /foreign: Exec format error\n", "Exec format error", [0.0]),
        (b"no qemu-aarch64-static on PATH\n", "not tried: no qemu", []),
    ],
)
def test_a_container_with_an_emulator_says_what_it_lacks(
    output: bytes, text: str, facts: list[float]
) -> None:
    launcher = Talking(said={"unshare": output})
    row = blank(launcher, Platform.PROCESS, Spec(), "duration_s")
    first, *rest = elsewhere.emulated_program(row, launcher, launcher)
    assert text in first.text
    assert [fact.value for fact in rest] == facts


@pytest.mark.docker
@pytest.mark.qemu
@pytest.mark.timeout(900)
def test_the_image_runs_under_the_kernel_of_a_guest_and_a_disk_on_ide_is_not_found() -> None:
    vms, containers = QemuLauncher(Platform.VM_DIRECT), DockerLauncher()
    row = blank(vms, Platform.VM_DIRECT, elsewhere.GUEST, "duration_s")
    seen, *facts = elsewhere.kernel(row, vms, containers)
    assert os.uname().release in seen.text
    assert [fact.value for fact in facts] == [1.0, 1.0]
    full = QemuLauncher(Platform.VM)
    row = blank(full, Platform.VM, Spec(machine=Machine.PC), "duration_s")
    assert [row.text for row in elsewhere.hardware(row, full)] == [
        "it starts",
        "it gives up: /dev/vda: No such file or directory; with root=/dev/sda it starts",
    ]
