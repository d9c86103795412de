"""What every launcher promises, asked of the fake and of the real ones alike."""

from __future__ import annotations

import contextlib
import importlib
import os
import platform
import random
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from types import ModuleType

import psutil
import pytest
from fake import FakeLauncher, FakeSandbox
from waiting import until

from vmcompare import engines
from vmcompare.engines.programs import first_byte
from vmcompare.errors import AbnormalShutdown, LaunchFailure, Unavailable, UnknownName, WaitTimeout
from vmcompare.sandbox import (
    FIRST_BYTE,
    NETWORK_DRIVERS,
    Connects,
    Event,
    Follower,
    HasChannels,
    Launcher,
    Layered,
    Machine,
    Packer,
    Phase,
    Platform,
    Sandbox,
    Spec,
    Start,
)

REAL = [
    pytest.param(("process", Platform.PROCESS, Machine.NONE), id="process"),
    pytest.param(
        ("docker", Platform.CONTAINER, Machine.NONE), id="container", marks=pytest.mark.docker
    ),
    pytest.param(("qemu", Platform.VM_DIRECT, Machine.PC), id="vm-direct", marks=pytest.mark.qemu),
    *(
        pytest.param((name, Platform.CONTAINER, Machine.NONE), id=name, marks=pytest.mark.mechanism)
        for name in ("bubblewrap", "runc")
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
        return FakeLauncher(script=_script)
    _available(name)
    launcher: Launcher = _module(name).launchers()[platform]
    return launcher


def _script(argv: Sequence[str]) -> Iterable[tuple[float, bytes]] | None:
    """What the fake prints for the commands that are followed here."""
    if list(argv) == COUNTED:
        return [(0.0, b"out\nerr\n"), (0.2, b"no line end"), (0.2, b"")]
    if argv[0] == "echo":
        return [(0.0, b"fine\n"), (0.0, b"")]
    if argv[0] == "sh":
        if list(argv) == FAMILY:
            return [(0.0, b"born\n")]
        return [(n / 10, b"beat %d\n" % n) for n in range(1, 21)]
    return None


def _module(name: str) -> ModuleType:
    folder = (
        "vmcompare.engines.bare" if name in ("process", *engines.RUNTIMES) else "vmcompare.engines"
    )
    return importlib.import_module(f"{folder}.{name}")


def _available(name: str) -> None:
    if name in ("fake", "process"):
        return
    found = _module(name).probe()
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
    assert until(lambda: not any(psutil.pid_exists(pid) for pid in it.pids))
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
    if opened.engine != "fake":
        done = opened.box.run(["sh", "-c", r"printf 'a\0\377\r\nb'; exit 7"])
        assert (done.output, done.exit_code) == (b"a\0\xff\r\nb", 7)
        assert opened.box.run(["sh", "-c", "echo err >&2"]).output == b"err\n"


def test_the_kernel_says_its_release(opened: Opened) -> None:
    done = opened.box.run(["uname", "-r"])
    assert done.exit_code == 0
    assert done.output.strip()


def test_bytes_that_were_put_come_back_unchanged(opened: Opened) -> None:
    data = bytes(range(256)) * 300 + b"\n\x06\r\n\x00"
    opened.box.put("/tmp/vmcompare-bytes", data)
    assert opened.box.run(["cat", "/tmp/vmcompare-bytes"]).output == data


def test_a_program_that_was_put_into_a_new_folder_can_be_run(opened: Opened) -> None:
    if opened.engine == "fake":
        pytest.skip("a fake runs no programs")
    opened.box.put("/tmp/vmcompare new/deep/program", first_byte.elf(platform.machine()))
    done = opened.box.run(["/tmp/vmcompare new/deep/program"])
    assert (done.output, done.exit_code) == (FIRST_BYTE, 0)


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


def test_a_network_of_its_own_is_had_or_refused(opened: Opened) -> None:
    spec = replace(opened.spec, network=True, own_network=True)
    if opened.engine in ("process", "runc", "bubblewrap"):
        refused = opened.launcher.open(spec, lambda _: None)
        with pytest.raises(Unavailable, match="network of its own"):
            refused.__enter__()
    elif opened.engine == "docker":
        with opened.launcher.open(spec, lambda _: None) as box:
            assert b"eth0" in box.run(["ls", "/sys/class/net"]).output
    else:
        pytest.skip("a virtual machine's network is its own in any case, and a fake has none")


@pytest.mark.parametrize("case", CASES)
def test_two_on_a_network_of_their_own_reach_each_other_and_nothing_else_or_are_refused(
    case: tuple[str, Platform, Machine],
) -> None:
    name, platform, machine = case
    launcher, spec = _launcher(name, platform), Spec(machine=machine, memory_mib=256)
    if name not in ("fake", "docker", "qemu"):
        assert not isinstance(launcher, Connects)
        return
    assert isinstance(launcher, Connects)
    if platform.is_vm and platform is not Platform.VM_DIRECT:
        with pytest.raises(Unavailable, match="connected"), launcher.network():
            pass
        return
    before = {p.pid for p in psutil.Process().children(recursive=True)}
    with (
        launcher.network() as open_on,
        open_on("one", spec, lambda _: None) as one,
        open_on("two", spec, lambda _: None) as two,
    ):
        names = {"one": one, "two": two}
        if platform.is_vm:
            names = {"10.0.0.1": one, "10.0.0.2": two}
            for address, box in names.items():
                _set_address(box, address)
            with pytest.raises(Unavailable, match="two ends"), open_on("x", spec, lambda _: None):
                pass
        for box, other in zip((two, one), names, strict=True):
            assert box.run(["ping", "-c1", "-W5", other]).exit_code == 0
        if platform.is_vm:
            assert b"default" not in one.run(["ip", "route"]).output
        if name == "docker":  # which sets such a route, and lets nothing through
            with launcher.open(Spec(network=True), lambda _: None) as outside:
                address = outside.run(["hostname", "-i"]).output.split()[0].decode()
                assert one.run(["ping", "-c1", "-W1", address]).exit_code == 1
    assert {p.pid for p in psutil.Process().children(recursive=True)} <= before


def _set_address(box: Sandbox, address: str) -> None:
    for path in NETWORK_DRIVERS:
        assert box.run(["insmod", path]).exit_code == 0
    box.run(["ip", "addr", "add", f"{address}/24", "dev", "eth0"])
    assert box.run(["ip", "link", "set", "eth0", "up"]).exit_code == 0


def test_what_a_command_left_running_in_a_container_serves_it_too(opened: Opened) -> None:
    if opened.engine not in ("docker", "bubblewrap", "runc"):
        pytest.skip("only a container's processes are seen by the host one by one")
    opened.box.run(["sh", "-c", "sleep 77 </dev/null >/dev/null 2>&1 &"])

    def commands() -> Iterator[list[str]]:
        for pid in opened.box.host_pids():
            with contextlib.suppress(psutil.Error):
                yield psutil.Process(pid).cmdline()

    assert until(lambda: ["sleep", "77"] in commands())  # forked, but may not be run yet


@pytest.mark.parametrize(
    ("refused", "said"), [(Spec(counted=True), "counts"), (Spec(disk_mib=1), "disk of its own")]
)
def test_what_only_virtual_machines_have_is_refused_elsewhere(refused: Spec, said: str) -> None:
    for name in ("process", "bubblewrap"):
        launcher = next(iter(_module(name).launchers().values()))
        with pytest.raises(Unavailable, match=said), launcher.open(refused, lambda _: None):
            pass


@pytest.mark.parametrize("case", CASES)
def test_further_channels_carry_bytes_both_ways_and_close_or_are_refused(
    case: tuple[str, Platform, Machine],
) -> None:
    name, platform, machine = case
    spec = Spec(machine=machine, channels=("numbers", "words"))
    if name not in ("fake", "qemu"):
        with (
            pytest.raises(Unavailable, match="channels"),
            _launcher(name, platform).open(spec, lambda _: None),
        ):
            pass
        return
    with _launcher(name, platform).open(spec, lambda _: None) as box:
        assert isinstance(box, HasChannels)
        channels = {name: box.channel(name) for name in spec.channels}
        for name, channel in channels.items():
            channel.host.settimeout(60)
            assert box.run(["sh", "-c", f"echo {name} >{channel.path}"]).exit_code == 0
            assert channel.host.recv(100) == name.encode() + b"\n"
            channel.host.sendall(b"to " + name.encode() + b"\n")
            said = box.run(["head", "-n1", channel.path])
            assert said.output == b"to " + name.encode() + b"\n"
        with pytest.raises(UnknownName, match="letters"):
            box.channel("letters")
    assert all(channel.host.fileno() == -1 for channel in channels.values())
    with pytest.raises(AbnormalShutdown):
        box.channel("numbers")


@pytest.mark.parametrize("case", CASES)
def test_a_clone_says_that_it_is_back_and_does_not_greet_or_is_refused(
    case: tuple[str, Platform, Machine],
) -> None:
    name, platform, machine = case
    spec = Spec(machine=machine, start=Start.CLONE)
    events: list[Event] = []
    launcher = _launcher(name, platform)
    if name != "fake" and platform is not Platform.VM_DIRECT:
        with pytest.raises(Unavailable, match="clone"), launcher.open(spec, events.append):
            pass
        return
    for _ in range(2):
        with launcher.open(spec, events.append) as box:
            told = [event.phase for event in events]
            assert box.run(["echo", "again"]).output == b"again\n"
        assert told == [Phase.OPEN, Phase.SPAWN, Phase.RESUMED]
        assert Phase.READY not in [event.phase for event in events]
        events.clear()


class Told:
    """What was heard of a command that is followed."""

    def __init__(self) -> None:
        self.pieces: list[tuple[bytes, int]] = []

    def __call__(self, piece: bytes, t_ns: int) -> None:
        self.pieces.append((piece, t_ns))

    def text(self) -> bytes:
        return b"".join(piece for piece, _ in self.pieces)

    def until(self, text: bytes) -> None:
        assert until(lambda: text in self.text()), self.text()


ENDLESS = ["sh", "-c", "i=0; while :; do i=$((i+1)); echo beat $i; sleep 0.1; done"]
COUNTED = ["sh", "-c", "echo out; echo err >&2; sleep 0.2; printf 'no line end'"]
MARK = f"sleep {1_000_000 + os.getpid()}"
"""How our own sleepers begin: another run of these tests may be seen in the list of processes."""
FAMILY = [
    "sh",
    "-c",
    f"{MARK}1 & setsid {MARK}2 & setsid sh -c '{MARK}3; :' & echo born; {MARK}4; :",
]


@pytest.fixture
def follower(opened: Opened) -> Follower:
    assert isinstance(opened.box, Follower)
    return opened.box


def test_a_followed_command_is_heard_piece_by_piece_while_others_run(
    opened: Opened, follower: Follower
) -> None:
    told = Told()
    begun_ns = time.perf_counter_ns()
    with follower.follow(ENDLESS, told) as followed:
        for number in (1, 2, 3):
            told.until(b"beat %d\n" % number)
            assert opened.box.run(["echo", "beside"]).output == b"beside\n"
        assert followed.ended_ns() is None
        assert not followed.wait(0.01)
    heard = told.text()
    lines = heard.split(b"\n")[:-1]
    assert lines == [b"beat %d" % number for number in range(1, len(lines) + 1)]
    stamps = [begun_ns, *(t_ns for _, t_ns in told.pieces)]
    assert stamps == sorted(stamps)
    time.sleep(0.3)
    assert told.text() == heard  # nothing after leaving
    assert followed.ended_ns() is not None


def test_a_followed_command_s_own_end_is_noticed_and_nothing_is_added(follower: Follower) -> None:
    told = Told()
    with follower.follow(COUNTED, told) as followed:
        assert followed.wait(60)
        ended_ns = followed.ended_ns()
    assert ended_ns is not None
    assert told.pieces[-1][1] <= ended_ns
    text = told.text()
    assert text.endswith(b"no line end")
    assert sorted(text.split(b"\n")) == [b"err", b"no line end", b"out"]
    assert followed.ended_ns() == ended_ns


def test_leaving_ends_all_that_a_followed_command_has_started(
    opened: Opened, follower: Follower
) -> None:
    told = Told()
    with follower.follow(FAMILY, told):
        told.until(b"born\n")
        if opened.engine != "fake":
            assert f"{MARK}2".encode() in opened.box.run(["ps"]).output
    assert MARK.encode() not in opened.box.run(["ps"]).output


def test_leaving_ends_what_a_followed_command_left_running_when_it_ended(
    opened: Opened, follower: Follower
) -> None:
    left = ["sh", "-c", f"echo born; {MARK}5 >/dev/null 2>&1 &"]
    with follower.follow(left, Told()) as followed:
        if opened.engine != "fake":
            assert followed.wait(60)
            assert f"{MARK}5".encode() in opened.box.run(["ps"]).output
    assert f"{MARK}5".encode() not in opened.box.run(["ps"]).output


def test_only_one_command_is_followed_at_a_time_and_then_the_next(follower: Follower) -> None:
    with follower.follow(ENDLESS, Told()):
        second = follower.follow(ENDLESS, Told())
        with pytest.raises(LaunchFailure, match="followed already"):
            second.__enter__()
    told = Told()
    with follower.follow(ENDLESS, told):
        told.until(b"beat 2\n")


def test_what_cannot_be_followed_says_so_and_the_next_can(follower: Follower) -> None:
    missing = follower.follow(["/no/such/program"], Told())
    with pytest.raises(LaunchFailure, match="/no/such/program"):
        missing.__enter__()
    told = Told()
    with follower.follow(["echo", "fine"], told) as followed:
        assert followed.wait(60)
    assert told.text() == b"fine\n"


def test_a_command_that_hangs_beside_a_followed_one_is_given_up(
    opened: Opened, follower: Follower
) -> None:
    told = Told()
    with follower.follow(ENDLESS, told):
        with pytest.raises(WaitTimeout):
            opened.box.run(["sleep", "30"], timeout_s=1)
        assert opened.box.run(["echo", "again"]).output == b"again\n"
        count = len(told.pieces)
        told.until(b"beat 15\n")
        assert len(told.pieces) >= count
    assert b"again" not in told.text()


def test_an_error_while_following_ends_the_command_too(opened: Opened, follower: Follower) -> None:
    told = Told()

    def interrupted() -> None:
        with follower.follow(FAMILY, told):
            told.until(b"born\n")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert MARK.encode() not in opened.box.run(["ps"]).output


@pytest.mark.parametrize("case", [c for c in CASES if c.id not in ("vm", "vm-tuned", "process")])
def test_a_follower_learns_that_its_whole_instance_is_gone(
    case: tuple[str, Platform, Machine],
) -> None:
    name, platform, machine = case
    told = Told()
    with (
        pytest.raises(AbnormalShutdown),
        _launcher(name, platform).open(Spec(machine=machine), lambda _: None) as box,
    ):
        assert isinstance(box, Follower)
        with box.follow(ENDLESS, told) as followed:
            told.until(b"beat 2\n")
            _end_of(name, box)
            assert followed.wait(60)
            assert followed.ended_ns() is not None
        gone = box.follow(ENDLESS, told)
        with pytest.raises(AbnormalShutdown):
            gone.__enter__()
        box.run(["true"])


def _end_of(name: str, box: Sandbox) -> None:
    """Make an end of an instance from outside."""
    if isinstance(box, FakeSandbox):
        box.die()
        return
    # Of a container, the shim or bwrap is the first; its workload is what ends.
    pids = box.host_pids()
    psutil.Process(pids[0] if name in ("qemu", "runc") else pids[1]).kill()


@pytest.mark.parametrize("case", [c for c in CASES if c.id not in ("vm", "vm-tuned")])
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
