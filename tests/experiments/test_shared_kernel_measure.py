"""What lesson 02 asks of instances, and what becomes of answers, refusals and failures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import psutil
import pytest
from fake import FakeLauncher

from vmcompare.engines.programs import not_linux
from vmcompare.errors import AbnormalShutdown, Unavailable
from vmcompare.evidence.recording import Measurement
from vmcompare.experiments.shared_kernel import by_hand
from vmcompare.experiments.shared_kernel.measure import (
    PHASES,
    SLEEPERS,
    Reading,
    hidden_vm,
    understood,
)
from vmcompare.measuring import experiment
from vmcompare.measuring.experiment import Context
from vmcompare.sandbox import OTHER_KERNEL, Completed, OnEvent, Platform, Spec

SAID = """kernel release=6.8.0-generic
boot id=abcdef01-2345-6789-abcd-ef0123456789
userland=Debian GNU/Linux 12
pid namespace=pid:[4026531836]
net namespace=net:[4026531833]
mnt namespace=mnt:[4026531832]
user namespace=user:[4026531837]
cgroup namespace=cgroup:[4026531835]
"""


def reading(boot_id: str = "one", release: str = "6.8.0-generic") -> Reading:
    return {"boot id": boot_id, "kernel release": release}


# ---- one answer -----------------------------------------------------------------------------


def test_of_a_namespaces_number_the_last_digits_are_kept() -> None:
    found = understood(SAID)
    assert found["userland"] == "Debian GNU/Linux 12"
    assert found["pid namespace"] == "…531836"


def test_an_answer_that_is_not_whole_says_what_is_missing() -> None:
    with pytest.raises(Unavailable, match="userland"):
        understood(SAID.replace("userland=", "files="))


# ---- whose host (facts as captured on those systems) -----------------------------------------

DESKTOP, WSL = "6.10.14-linuxkit", "5.15.167.4-microsoft-standard-WSL2"


@pytest.mark.parametrize(
    ("host", "containers", "hidden"),
    [
        pytest.param(reading(), [reading(), reading()], False, id="Docker on Linux"),
        pytest.param(None, [reading("vm", DESKTOP)], True, id="Docker Desktop on a Mac"),
        pytest.param(reading("pc"), [reading("vm", DESKTOP)], True, id="Docker Desktop on Linux"),
        pytest.param(reading("vm", WSL), [reading("vm", WSL)], True, id="inside WSL2"),
        pytest.param(reading(), [], False, id="no containers"),
    ],
)
def test_a_kernel_that_nobody_saw_start_is_recognised(
    host: Reading | None, containers: Sequence[Reading], hidden: bool
) -> None:
    assert hidden_vm(host, containers) is hidden


# ---- a whole look, on instances that exist only in memory ---------------------------------------


@dataclass(slots=True)
class Actor:
    """Answers like an instance with this boot id; ``is_other``: a kernel that is not Linux."""

    boot_id: str
    release: str
    userland: str = "Alpine Linux"
    is_other: bool = False
    mute: bool = False
    own_clock: bool = False
    files: dict[str, bytes] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def run(self, argv: Sequence[str], *, timeout_s: float = 60.0) -> Completed:
        words = " ".join(argv)
        self.asked.append(words)
        if argv[0] == "/srv/application":
            said = self.files[argv[0]].decode().split("echo ")[1].split(";")[0]
            return Completed(f"{said}\n{self.boot_id}\n".encode(), 0)
        if "tell 'kernel release'" in words and self.mute:
            return Completed(b"kernel release=6.8\n", 0)
        if "tell 'kernel release'" in words:
            said = SAID.replace("abcdef01", self.boot_id).replace("6.8.0-generic", self.release)
            return Completed(said.replace("Debian GNU/Linux 12", self.userland).encode(), 0)
        if words.rstrip("'\"").endswith("/bin/see"):
            return Completed(f"kernel release={self.release}\n".encode(), 0)
        if "date -s" in words and self.own_clock:
            return Completed(b"2001\n", 0)
        if "date -s" in words:
            return Completed(b"date: can't set date: Operation not permitted\n2026\n", 0)
        if argv[0] == "cat":
            return Completed(b"17\n", 0)
        if argv[0] == "env":
            return Completed(f"env: can't execute '{argv[1]}': Exec format error\n".encode(), 126)
        return Completed(b"", 0)

    def put(self, path: str, data: bytes) -> None:
        self.files[path] = data

    def host_pids(self) -> tuple[int, ...]:
        return (1,)

    def console(self) -> str:
        return not_linux.MESSAGE if self.is_other else ""


@dataclass(slots=True)
class Stage(FakeLauncher):
    """Opens actors; refuses what it was told to refuse."""

    boot_id: str = "abcdef01"
    release: str = "6.8.0-generic"
    own_kernel: bool = False
    no_image: str = ""
    mute: bool = False
    actors: list[Actor] = field(default_factory=list)

    @contextmanager
    def open(self, spec: Spec, on_event: OnEvent) -> Iterator[Any]:
        if spec.image == self.no_image:
            raise Unavailable("there is no mmdebstrap", "install it")
        self.opened += 1
        boot_id = f"{self.opened:08d}" if self.own_kernel else self.boot_id
        userland = "Debian" if spec.image == "debian" else "Alpine Linux"
        actor = Actor(boot_id, self.release, userland, spec.image == OTHER_KERNEL)
        actor.mute, actor.own_clock = self.mute, self.own_kernel
        self.actors.append(actor)
        number = self.opened
        self.running.add(number)
        try:
            yield actor
        finally:
            self.running.discard(number)


def look(**stages: Stage) -> list[Measurement]:
    """All rows of one look."""
    launchers: Mapping[Platform, Any] = {
        Platform(name.replace("_", "-")): stage for name, stage in stages.items()
    }
    return list(experiment.load("shared_kernel").measure(Context(launchers)))


def vm() -> Stage:
    return Stage(release="6.18-virt", own_kernel=True)


def holds(rows: Sequence[Measurement]) -> dict[str, float | None]:
    return {row.phase: row.value for row in rows if row.metric == "fact"}


@pytest.fixture
def nobody_sleeps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(psutil, "process_iter", lambda _: iter(()))


pytestmark = pytest.mark.usefixtures("nobody_sleeps")


def test_a_usual_computer_gives_the_usual_facts_and_leaves_nothing() -> None:
    stages = {"process": Stage(), "container": Stage(), "vm_direct": vm(), "vm": vm()}
    rows = look(**stages)
    assert holds(rows) == {
        "container_kernel_release_is_hosts": 1, "container_boot_id_is_hosts": 1,
        "container_boot_id_is_a_hidden_vms": 0, "second_distribution_runs_as_container": 1,
        "vm_kernel_release_is_hosts": 0, "vm_boot_id_is_hosts": 0,
        "other_kernel_starts_in_container": 0, "other_kernel_starts_in_vm": 1,
        "ten_different_containers_ran": 1, "containers_report_one_boot_id": 1,
    }  # fmt: skip
    for phase in PHASES:
        assert sum(row.phase == phase for row in rows) == 6
    assert sum(row.phase in by_hand.lines() for row in rows) == 15
    programs = [actor.files.get("/srv/application") for actor in stages["container"].actors]
    assert len({*programs} - {None}) == 10
    clocks = {r.platform: (r.value, r.text) for r in rows if r.phase == "setting the clock"}
    assert clocks["container"] == (0, "refused: date: can't set date: Operation not permitted")
    value, text = clocks["vm-direct"]
    assert value == 1
    assert text.startswith("the year is 2001 inside, 20")
    [dated] = [words for words in stages["container"].actors[0].asked if "date -s" in words]
    assert "@$(date +%s)" in dated  # the time that it is
    assert not any(stage.running for stage in stages.values())


def test_containers_with_kernels_of_their_own_would_be_noticed() -> None:
    found = holds(look(process=Stage(), container=vm()))
    assert found["container_boot_id_is_a_hidden_vms"] == 1
    assert found["container_boot_id_is_hosts"] == 0
    assert found["containers_report_one_boot_id"] == 0


def test_in_a_hidden_vm_containers_are_compared_with_each_other() -> None:
    found = holds(look(container=Stage(boot_id="77777777", release=DESKTOP)))
    assert found["container_boot_id_is_a_hidden_vms"] == 1
    assert found["container_boot_id_is_hosts"] == 1


def test_without_a_second_userland_its_fact_is_an_error_with_the_next_step() -> None:
    rows = look(process=Stage(), container=Stage(no_image="debian"))
    [row] = [r for r in rows if r.phase == "second_distribution_runs_as_container"]
    assert (row.status, row.value) == ("error", None)
    assert "install it" in row.error
    assert holds(rows)["container_boot_id_is_hosts"] == 1


def test_a_vm_alone_is_asked_but_not_compared_with_anybody() -> None:
    rows = look(vm_direct=vm())
    [row] = [r for r in rows if r.phase == "vm_boot_id_is_hosts"]
    assert "neither the host nor a container" in row.error
    assert holds(rows)["other_kernel_starts_in_vm"] == 1


def test_a_host_that_cannot_be_asked_does_not_silence_the_containers() -> None:
    rows = look(process=Stage(release="", mute=True), container=Stage())
    assert sum(r.status == "ok" for r in rows if r.phase == "boot id") == 3
    assert sum(r.status == "error" for r in rows if r.phase == "boot id") == 1


def test_an_engine_that_fails_altogether_becomes_rows_and_the_look_goes_on() -> None:
    class Dead(Stage):
        @contextmanager
        def open(self, spec: Spec, on_event: OnEvent) -> Iterator[Any]:
            raise AbnormalShutdown("the engine is gone")
            yield

    rows = look(process=Stage(), container=Dead(), vm_direct=vm())
    errors = [r for r in rows if r.platform is Platform.CONTAINER]
    assert errors
    assert all(r.status == "error" and "the engine is gone" in r.error for r in errors)
    assert holds(rows)["vm_boot_id_is_hosts"] == 0


# ---- a container made by hand -------------------------------------------------------------------


def test_the_longest_line_is_plain_shell_but_for_the_observer_and_the_filter() -> None:
    line = by_hand.line(by_hand.STEPS)
    assert by_hand.typed(line) == (
        'echo $$ >/sys/fs/cgroup/box/cgroup.procs; exec su -s /bin/sh nobody -c "exec unshare'
        " -U -r -m -p -f -n sh -c 'mount -t proc proc /box/proc;"
        " exec enosys -s mkdir -s mkdirat chroot /box sh'\""
    )
    assert line.count("/bin/see") == line.count("/bin/deny-mkdir") == 1


def test_observations_survive_a_row_whose_line_holds_semicolons() -> None:
    seen = {"userland": "a box", "root is": "user 0 outside", "processes seen": "3"}
    line = {by_hand.LINE: by_hand.line(by_hand.STEPS)}
    assert by_hand.read(by_hand.written(line | seen)) == seen
    assert by_hand.read("files of=a box") == {"userland": "a box"}  # its older name


@pytest.mark.parametrize(
    ("name", "one", "other", "same"),
    [
        ("processes seen", "58", "60", True),
        ("processes seen", "58", "1", False),
        ("mounts seen", "1", "2", False),
        ("processes seen", "58", by_hand.UNKNOWN, False),
    ],
)
def test_counts_of_processes_may_differ_a_little(
    name: str, one: str, other: str, same: bool
) -> None:
    assert by_hand.same(name, one, other) is same


# ---- the real thing -----------------------------------------------------------------------------


@pytest.mark.qemu
@pytest.mark.timeout(900)
def test_every_step_in_a_real_guest_changes_what_belongs_to_it() -> None:
    from vmcompare.engines import qemu
    from vmcompare.sandbox import Machine

    launcher = qemu.launchers()[Platform.VM_DIRECT]
    with launcher.open(Spec(machine=Machine.PC), lambda _: None) as box:
        by_hand.prepare(box)
        seen = {name: by_hand.look(box, name) for name in by_hand.lines()}
    own = {
        "chroot": "userland", "mount": "mounts seen", "pid": "own process number",
        "net": "loopback network", "user": "make a device", "cgroup": "nested processes",
        "seccomp": "make a directory",
    }  # fmt: skip
    before = seen[by_hand.START]
    for step, name in own.items():
        assert not by_hand.same(name, before[name], seen[step][name]), step
        before = seen[step]
    for step, name in own.items():
        gone = seen[by_hand.all_but(step)][name]
        assert not by_hand.same(name, seen["seccomp"][name], gone), step
    assert len({one["boot id"] for one in seen.values()}) == 1


@pytest.mark.docker
@pytest.mark.timeout(900)
def test_a_real_container_shares_the_hosts_kernel_and_shows_its_processes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from vmcompare.engines import docker
    from vmcompare.engines.bare import process

    monkeypatch.undo()  # the real process list
    context = Context({**process.launchers(), **docker.launchers()})
    rows = list(experiment.load("shared_kernel").measure(context))
    found = holds(rows)
    counts = {row.phase: row.value for row in rows if row.metric == "item_count"}
    assert counts["started inside"] == SLEEPERS
    if not found["container_boot_id_is_a_hidden_vms"]:
        assert found["container_boot_id_is_hosts"] == 1
        assert counts["in the host’s list"] == SLEEPERS
    assert found["ten_different_containers_ran"] == 1
    assert found["containers_report_one_boot_id"] == 1
    assert found["other_kernel_starts_in_container"] == 0
    tried = {r.phase: r.text for r in rows if r.platform == "container" and r.value == 0}
    assert "Operation not permitted" in tried["setting the clock"]
    text = " ".join(row.text for row in rows)
    assert "/home/" not in text
