"""What every launcher promises, asked of the fake and of the real ones alike."""

from __future__ import annotations

import importlib
import random
import time
from collections.abc import Iterator
from dataclasses import replace

import psutil
import pytest

from vmcompare.backends.fake import FakeLauncher
from vmcompare.errors import AbnormalShutdown, Unavailable, WaitTimeout
from vmcompare.sandbox import (
    Event,
    Launcher,
    Layered,
    Machine,
    Packer,
    Phase,
    Platform,
    Sandbox,
    Spec,
)

REAL = [
    pytest.param(("process", Platform.PROCESS, Machine.NONE), id="process"),
    pytest.param(
        ("docker", Platform.CONTAINER, Machine.NONE), id="container", marks=pytest.mark.docker
    ),
    pytest.param(("qemu", Platform.VM_DIRECT, Machine.PC), id="vm-direct", marks=pytest.mark.qemu),
    pytest.param(("bubblewrap", Platform.CONTAINER, Machine.NONE), id="bubblewrap"),
    pytest.param(("runc", Platform.CONTAINER, Machine.NONE), id="runc"),
    pytest.param(
        ("qemu", Platform.VM_DIRECT, Machine.MICROVM), id="vm-microvm", marks=pytest.mark.qemu
    ),
    pytest.param(("qemu", Platform.VM_TUNED, Machine.PC), id="vm-tuned", marks=pytest.mark.qemu),
    pytest.param(("qemu", Platform.VM, Machine.Q35), id="vm", marks=pytest.mark.qemu),
]
CASES = [pytest.param(("fake", Platform.CONTAINER, Machine.NONE), id="fake"), *REAL]


Packed = tuple[Packer, Spec]
PACKERS = [case for case in CASES if case.id in ("fake", "container", "vm-direct", "vm")]
RANDOM_BYTES = 50_000
APPLICATION: dict[str, bytes] = {
    "/opt/app/run": b"#!/bin/sh\necho application\n",
    "/opt/app/data": random.Random(3).randbytes(RANDOM_BYTES),
}


class Opened:
    """A sandbox that all tests of one launcher share (a guest takes seconds to boot)."""

    def __init__(self, engine: str, launcher: Launcher, machine: Machine) -> None:
        self.engine = engine
        self.events: list[Event] = []
        self.launcher, self.spec = launcher, Spec(machine=machine)
        self.context = launcher.open(self.spec, self.events.append)
        self.box: Sandbox = self.context.__enter__()
        self.pids = self.box.host_pids()

    def close(self) -> None:
        self.context.__exit__(None, None, None)


def _launcher(name: str, platform: Platform) -> Launcher:
    if name == "fake":
        return FakeLauncher()
    _available(name)
    launcher: Launcher = importlib.import_module(f"vmcompare.backends.{name}").launchers()[platform]
    return launcher


def _available(name: str) -> None:
    if name in ("fake", "process"):
        return
    found = importlib.import_module(f"vmcompare.backends.{name}").probe()
    if not found.ok:
        pytest.skip(f"{found.what}; next step: {found.next_step}")  # the autouse check fails CI


@pytest.fixture(scope="module", params=PACKERS)
def packed(request: pytest.FixtureRequest) -> Packed:
    name, platform, machine = request.param
    launcher = _launcher(name, platform)
    assert isinstance(launcher, Packer)
    return launcher, Spec(machine=machine)


@pytest.fixture(scope="module", params=CASES)
def opened(request: pytest.FixtureRequest) -> Iterator[Opened]:
    name, platform, machine = request.param
    it = Opened(name, _launcher(name, platform), machine)
    yield it
    it.close()
    _check_the_end(it)


def _check_the_end(it: Opened) -> None:
    """After leaving: the end was told, the clock never went back, and no process is left."""
    stamps = [event.t_ns for event in it.events]
    assert stamps == sorted(stamps)
    assert it.events[-1].phase in (Phase.EXIT, Phase.REMOVED, Phase.SHUTDOWN)
    deadline = time.monotonic() + 5
    while any(psutil.pid_exists(pid) for pid in it.pids) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(psutil.pid_exists(pid) for pid in it.pids)
    with pytest.raises(AbnormalShutdown):
        it.box.run(["true"])


def test_it_is_a_launcher(opened: Opened) -> None:
    assert isinstance(opened.launcher, Launcher)


def test_the_first_event_is_the_call_and_the_first_byte_was_seen(opened: Opened) -> None:
    assert opened.events[0].phase is Phase.OPEN
    assert Phase.FIRST_BYTE in [event.phase for event in opened.events]


def test_events_come_in_the_order_of_the_clock(opened: Opened) -> None:
    stamps = [event.t_ns for event in opened.events]
    assert stamps == sorted(stamps)


def test_a_command_s_output_and_exit_code_come_back(opened: Opened) -> None:
    done = opened.box.run(["echo", "hello", "world"])
    assert (done.output, done.exit_code) == (b"hello world\n", 0)
    assert opened.box.run(["false"]).exit_code == 1


def test_the_kernel_says_its_release(opened: Opened) -> None:
    done = opened.box.run(["uname", "-r"])
    assert done.exit_code == 0
    assert done.output.strip()


def test_bytes_that_were_put_come_back_unchanged(opened: Opened) -> None:
    data = bytes(range(256)) * 300 + b"\n\x06\r\n\x00"
    opened.box.put("/tmp/vmcompare-bytes", data)
    assert opened.box.run(["cat", "/tmp/vmcompare-bytes"]).output == data


def test_a_command_that_does_not_end_is_a_timeout_and_the_next_one_answers(opened: Opened) -> None:
    with pytest.raises(WaitTimeout):
        opened.box.run(["sleep", "30"], timeout_s=1)
    assert opened.box.run(["echo", "again"]).output == b"again\n"


def test_the_image_has_a_digest_and_the_traits_name_the_layer(opened: Opened) -> None:
    assert opened.launcher.image(opened.spec).digest.startswith("sha256:")
    assert opened.launcher.traits(opened.spec).layer in ("mechanism", "product")


def test_a_box_holds_the_application_that_was_put_in(packed: Packed) -> None:
    packer, spec = packed
    files = {fact.path: fact.size_bytes for fact in packer.contents(spec, APPLICATION)}
    assert files["/opt/app/run"] == len(APPLICATION["/opt/app/run"])
    assert len(files) > len(APPLICATION)


def test_a_box_is_weighed_whole_and_what_is_sent_again_is_part_of_it(packed: Packed) -> None:
    packer, spec = packed
    parcel = packer.parcel(spec, APPLICATION)
    assert set(parcel.again) <= set(parcel.whole)
    for piece in (*parcel.whole, *parcel.again, *parcel.thin):
        assert piece.digest.startswith("sha256:")
        assert len(piece.digest) == 71
        assert piece.compressed_bytes > 0
        # What an application adds cannot be sent in fewer bytes than its random part has.
        if piece not in parcel.whole or piece in parcel.again:
            assert piece.compressed_bytes >= RANDOM_BYTES


def test_another_application_changes_what_carries_it_and_nothing_else(packed: Packed) -> None:
    packer, spec = packed
    one = packer.parcel(spec, APPLICATION)
    other = packer.parcel(spec, APPLICATION | {"/opt/app/run": b"#!/bin/sh\necho other\n"})
    changed = [a.name for a, b in zip(one.whole, other.whole, strict=True) if a.digest != b.digest]
    assert changed == [piece.name for piece in one.again]


def test_what_is_written_shows_in_the_layer_of_its_own(opened: Opened) -> None:
    if not isinstance(opened.box, Layered):
        pytest.skip("only a container has a writable layer of its own")
    before = opened.box.written_bytes()
    opened.box.put("/tmp/vmcompare-written", bytes(100_000))
    assert opened.box.written_bytes() - before == 100_000


def test_an_instance_is_served_by_processes_of_the_host(opened: Opened) -> None:
    assert opened.box.host_pids()


def test_kernel_settings_from_outside_are_for_container_engines_only(opened: Opened) -> None:
    spec = replace(opened.spec, sysctls=(("net.ipv4.ip_default_ttl", "77"),))
    if opened.engine == "docker":
        with opened.launcher.open(spec, lambda _: None) as box:
            said = box.run(["cat", "/proc/sys/net/ipv4/ip_default_ttl"])
        assert said.output == b"77\n"
        return
    with (
        pytest.raises(Unavailable, match="from outside"),
        opened.launcher.open(spec, lambda _: None),
    ):
        pass


def test_what_a_command_left_running_in_a_container_serves_it_too(opened: Opened) -> None:
    if opened.engine not in ("docker", "bubblewrap", "runc"):
        pytest.skip("only a container's processes are seen by the host one by one")
    opened.box.run(["sh", "-c", "sleep 77 </dev/null >/dev/null 2>&1 &"])
    commands = [psutil.Process(pid).cmdline() for pid in opened.box.host_pids()]
    assert ["sleep", "77"] in commands


@pytest.mark.parametrize("case", [c for c in CASES if c.id not in ("vm", "vm-tuned", "vm-microvm")])
def test_an_interrupt_at_any_phase_leaves_nothing(case: tuple[str, Platform, Machine]) -> None:
    name, platform, machine = case
    launcher = _launcher(name, platform)
    phases: list[Phase] = []
    with launcher.open(Spec(machine=machine), lambda e: phases.append(e.phase)):
        pass
    before = {p.pid for p in psutil.Process().children(recursive=True)}
    for wanted in [p for p in phases if p not in (Phase.EXIT, Phase.REMOVED, Phase.SHUTDOWN)]:

        def stop(event: Event, wanted: Phase = wanted) -> None:
            if event.phase is wanted:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt), launcher.open(Spec(machine=machine), stop) as box:
            box.run(["true"])
            if wanted is Phase.READY:
                raise KeyboardInterrupt  # told later by launchers that learn of it lazily
        left = {p.pid for p in psutil.Process().children(recursive=True)} - before
        assert not left, f"interrupted at {wanted}"
    if isinstance(launcher, FakeLauncher):
        assert not launcher.running
