"""Virtual machines for real: they open, obey, and leave nothing behind."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from waiting import until

from vmcompare.engines import qemu as backend
from vmcompare.engines.images import alpine, initramfs
from vmcompare.engines.qemu import QemuLauncher, accel, process
from vmcompare.engines.qemu.agent import Agent, quote
from vmcompare.engines.qemu.binary import Qemu
from vmcompare.engines.qemu.guest import Guest
from vmcompare.engines.qemu.process import QemuProcess, Qmp, held_back
from vmcompare.errors import AbnormalShutdown, LaunchFailure, Unavailable, WaitTimeout
from vmcompare.sandbox import (
    BOOT_SECTOR,
    SOFTWARE,
    Balloon,
    Counted,
    Event,
    HasChannels,
    Launcher,
    Machine,
    Phase,
    Platform,
    Resizable,
    Sandbox,
    Spec,
    Start,
)

qemu = pytest.mark.qemu
PC = Spec(machine=Machine.PC, memory_mib=256)


def _direct() -> QemuLauncher:
    return QemuLauncher(Platform.VM_DIRECT)


def _add(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    """Further arguments for every QEMU."""
    planned = process.plan_arguments
    monkeypatch.setattr(
        process, "plan_arguments", lambda boot, spec: (*planned(boot, spec), *arguments)
    )


def _with_init(script: bytes, directory: Path, monkeypatch: pytest.MonkeyPatch) -> QemuLauncher:
    """The guest with another PID 1: of two archives the kernel keeps the later file."""
    over, ram_disk = directory / "init.cpio", directory / "ram-disk"
    initramfs.write_files({"/init": script}, over)
    ram_disk.write_bytes(alpine.full_initramfs().read_bytes() + over.read_bytes())
    _add(monkeypatch, "-initrd", str(ram_disk))
    return _direct()


def _ours() -> set[int]:
    """Our QEMU processes."""
    children = psutil.Process().children(recursive=True)
    found = set()
    for child in children:
        with contextlib.suppress(psutil.Error):
            if "qemu-system" in child.name() and child.status() != psutil.STATUS_ZOMBIE:
                found.add(child.pid)
    return found


@pytest.fixture(scope="module")
def guest() -> Iterator[Sandbox]:
    with _direct().open(PC, lambda _event: None) as sandbox:
        yield sandbox


@qemu
def test_two_counts_of_one_boot_agree_within_one_per_cent_and_firmware_alone_is_far_less() -> None:
    def count(spec: Spec) -> int:
        with _direct().open(spec, lambda _event: None) as box:
            assert isinstance(box, Counted)
            return box.start_instructions()

    counted = replace(PC, counted=True)
    first, second = count(counted), count(counted)
    assert first == pytest.approx(second, rel=1e-2)
    assert 50 * count(replace(counted, image=BOOT_SECTOR)) < first < 5_000_000_000
    assert _direct().traits(counted).accel == SOFTWARE


# -- without QEMU ---------------------------------------------------------------------------


def test_every_kind_of_virtual_machine_has_a_launcher() -> None:
    launchers = backend.launchers()
    assert list(launchers) == [Platform.VM_DIRECT, Platform.VM_TUNED, Platform.VM]
    assert all(isinstance(launcher, Launcher) for launcher in launchers.values())


def test_what_is_no_virtual_machine_is_refused() -> None:
    with pytest.raises(ValueError, match="no such virtual machine"):
        QemuLauncher(Platform.CONTAINER)


@pytest.mark.parametrize(
    ("argument", "quoted"),
    [
        ("plain", "plain"),
        ("two words", "'two words'"),
        ("it's", "'it'\"'\"'s'"),
        ("a\nb", r"$'a\012b'"),
        ("\\'\n", r"$'\134\047\012'"),
        ("", "''"),
    ],
)
def test_every_argument_is_quoted_on_one_line(argument: str, quoted: str) -> None:
    assert quote(argument) == quoted


def test_a_nul_character_is_refused_before_anything_is_sent() -> None:
    with pytest.raises(ValueError, match="NUL"):
        quote("a\0b")


def test_a_stale_answer_is_discarded_up_to_its_token() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        agent = Agent(ours, b"", lambda: AbnormalShutdown("gone"))
        with pytest.raises(WaitTimeout):
            agent.run(["hang"], 0.05)
        stale = theirs.recv(1000).split()[0]
        replies = threading.Thread(target=_answer_late, args=(theirs, stale))
        replies.start()
        done = agent.run(["next"], 10)
        replies.join()
    assert (done.output, done.exit_code) == (b"right", 3)


def _answer_late(theirs: socket.socket, stale: bytes) -> None:
    theirs.sendall(b"late\nlines\n" + stale + b" 0\n")
    token = theirs.recv(1000).split()[0]
    for piece in (b"ri", b"ght\n" + token[:5], token[5:] + b" 3", b"\n"):  # in awkward pieces
        theirs.sendall(piece)
        time.sleep(0.01)


def test_a_guest_that_is_gone_is_an_abnormal_shutdown() -> None:
    ours, theirs = socket.socketpair()
    with ours:
        theirs.close()
        with pytest.raises(AbnormalShutdown):
            Agent(ours, b"", lambda: AbnormalShutdown("gone")).run(["true"], 1)


def test_qmp_keeps_events_apart_from_answers_and_names_refusals() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(
            b'{"return": {}, "id": 1}\n{"event": "STOP"}\n{"return": {"status": "ok"}, "id": 2}\n'
            b'{"error": {"class": "GenericError", "desc": "no such thing"}, "id": 3}\n'
        )
        # The numbers of the answers are known: the negotiation counts first.
        client = Qmp(ours)
        assert client.command("query-status") == {"status": "ok"}
        with pytest.raises(LaunchFailure, match="no such thing"):
            client.command("nonsense")
        with pytest.raises(WaitTimeout):
            client.command("silence", timeout_s=0.05)


def test_an_interrupt_waits_until_the_block_ends() -> None:
    steps = []

    def interrupted() -> None:
        with held_back():
            os.kill(os.getpid(), signal.SIGINT)
            steps.append("still going")
        steps.append("never")

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert steps == ["still going"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


# -- with QEMU ------------------------------------------------------------------------------


@qemu
def test_phases_come_in_order_and_nothing_is_left() -> None:
    events: list[Event] = []
    before = _ours()
    with QemuLauncher(Platform.VM_DIRECT).open(PC, events.append) as sandbox:
        (pid,) = sandbox.host_pids()
        assert psutil.Process(pid).is_running()
        assert [event.phase for event in events] == [
            *(Phase.OPEN, Phase.SPAWN, Phase.FIRMWARE, Phase.KERNEL, Phase.FIRST_BYTE)
        ]
        done = sandbox.run(["cat", "/proc/sys/kernel/osrelease"])
        assert done.exit_code == 0
        assert done.output.strip().endswith(b"-virt")
        assert b"busybox" in sandbox.run(["ls", "-l", "/bin/sh"]).output
    assert [event.phase for event in events[5:]] == [Phase.READY, Phase.SHUTDOWN]
    stamps = [event.t_ns for event in events]
    assert stamps == sorted(stamps)
    assert not psutil.pid_exists(pid)
    assert _ours() == before


@qemu
def test_an_agent_that_never_greets_is_an_error_with_the_consoles_last_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    init = initramfs.script("init.sh")
    mute = init.replace(
        b"exec /bin/busybox sh /sbin/vmcompare-agents",
        b"printf '\\033[1mno agent here\\033[0m\\n'; exec /bin/busybox sleep 99",
    )
    assert mute != init
    monkeypatch.setattr("vmcompare.engines.qemu.guest._READY_S", 1.0)
    with _with_init(mute, tmp_path, monkeypatch).open(PC, lambda _event: None) as sandbox:
        assert until(lambda: "no agent here" in sandbox.console())
        with pytest.raises(WaitTimeout) as raised:
            sandbox.run(["true"])
    assert str(raised.value) == (
        "the agent's greeting (last on its console: 'no agent here') did not come within 1 s"
    )


@qemu
def test_an_agent_that_greets_before_the_first_byte_is_heard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The guest starts both side by side; which is first is the guest's scheduler's affair."""
    init = initramfs.script("init.sh")
    late = init.replace(
        b"/sbin/vmcompare-first-byte <",
        b"(until /bin/busybox pgrep -f 'vmcompare-agent /dev' >/dev/null 2>&1; do "
        b"/bin/busybox sleep 0.1; done; /bin/busybox sleep 3; exec /sbin/vmcompare-first-byte) <",
    )
    assert late != init
    events: list[Event] = []
    with _with_init(late, tmp_path, monkeypatch).open(PC, events.append) as sandbox:
        assert events[-1].phase is Phase.FIRST_BYTE
        assert sandbox.run(["true"]).exit_code == 0
    assert [event.phase for event in events[-3:]] == [
        *(Phase.FIRST_BYTE, Phase.READY, Phase.SHUTDOWN)
    ]
    stamps = {event.phase: event.t_ns for event in events}
    assert stamps[Phase.READY] < stamps[Phase.FIRST_BYTE]  # each is told as it was


@qemu
def test_the_accelerator_is_asked_once_for_all_starts_of_a_launcher(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[str] = []
    choose = accel.choose

    def counted(qemu: Qemu) -> accel.Accelerator:
        asked.append(qemu.version)
        return choose(qemu)

    monkeypatch.setattr(accel, "choose", counted)
    launcher = _direct()
    for _ in range(2):
        launcher.image(PC)
        launcher.traits(PC)
        with launcher.open(PC, lambda _event: None):
            pass
    assert len(asked) == 1


@qemu
@pytest.mark.parametrize("machine", [Machine.MICROVM, Machine.Q35, Machine.VIRT])
def test_a_machine_that_would_not_be_started_is_refused_with_the_next_step(
    machine: Machine,
) -> None:
    with pytest.raises(Unavailable, match=f"on {machine}. Next step: use vm-direct, pc"):
        _direct().image(Spec(machine=machine))


@qemu
def test_what_one_clone_writes_the_others_do_not_see_and_nothing_is_left() -> None:
    spec = Spec(machine=Machine.PC, memory_mib=256, start=Start.CLONE, channels=("numbers",))
    gc.collect()  # what earlier tests had
    before, launcher, files = _ours(), _direct(), _files_without_a_name()
    with (
        launcher.open(spec, lambda _event: None) as one,
        launcher.open(spec, lambda _event: None) as other,
    ):
        one.put("/tmp/mark", b"of one alone")
        assert one.run(["cat", "/tmp/mark"]).output == b"of one alone"
        assert other.run(["ls", "/tmp"]).output == b""
        with pytest.raises(WaitTimeout):  # the second agent, which has greeted before, ends it
            other.run(["sleep", "600"], timeout_s=1.0)
        assert other.run(["echo", "fine"]).output == b"fine\n"
        assert isinstance(other, HasChannels)
        channel = other.channel("numbers")
        other.run(["sh", "-c", f"echo 42 >{channel.path}"])
        channel.host.settimeout(60)
        assert channel.host.recv(100) == b"42\n"
    assert _ours() == before
    assert _files_without_a_name() == files + 2  # memory and state
    del launcher
    gc.collect()
    assert _files_without_a_name() == files


def _files_without_a_name() -> int:
    """How many of ours this process holds open."""
    found = 0
    for name in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # the one that lists them is closed by now
            found += "memfd:vmcompare" in str(name.readlink())
    return found


@qemu
def test_a_balloon_is_moved_by_the_guest_alone_and_without_one_nothing_can_be_asked() -> None:
    with _direct().open(replace(PC, balloon=Balloon.PLAIN), lambda _event: None) as guest:
        assert isinstance(guest, Resizable)
        assert guest.resize(PC.memory_mib // 2) == PC.memory_mib  # this guest has no driver
        with pytest.raises(Unavailable, match="processors"):
            guest.limit_processors(0.5)
    with _direct().open(PC, lambda _event: None) as bare:
        assert isinstance(bare, Resizable)
        with pytest.raises(Unavailable, match="no balloon"):
            bare.resize(128)


@qemu
def test_spare_memory_is_plugged_by_the_guest_alone_and_never_more_than_there_is() -> None:
    with _direct().open(replace(PC, spare_mib=128), lambda _event: None) as guest:
        assert isinstance(guest, Resizable)
        assert guest.resize(PC.memory_mib + 128) == PC.memory_mib  # this guest has no driver
        with pytest.raises(LaunchFailure, match="requested-size"):
            guest.resize(PC.memory_mib + 256)


@qemu
def test_what_is_flushed_to_a_disk_of_its_own_is_flushed_on_the_host() -> None:
    spec = Spec(machine=Machine.PC, disk_mib=16, ide_disk_mib=16)
    with QemuLauncher(Platform.VM).open(spec, lambda _event: None) as guest:
        assert isinstance(guest, Guest)
        qmp = guest._process.qmp
        disks = [d for d in qmp.command("query-block") if d["device"].startswith("own")]
        assert [d["inserted"]["cache"]["no-flush"] for d in disks] == [False, False]

        def flushes() -> list[int]:
            every = qmp.command("query-blockstats")
            return [d["stats"]["flush_operations"] for d in every if d["device"].startswith("own")]

        before = flushes()
        for disk in ("/dev/vdb", "/dev/sda"):
            written = ["dd", "if=/dev/zero", f"of={disk}", "bs=4k", "count=1", "conv=fsync"]
            assert guest.run(written).exit_code == 0
        assert all(b > a for a, b in zip(before, flushes(), strict=True))


def test_a_clone_with_a_disk_of_its_own_is_refused() -> None:
    clone = replace(PC, start=Start.CLONE, ide_disk_mib=1)
    with (
        pytest.raises(Unavailable, match="clone has no disk"),
        _direct().open(clone, lambda _event: None),
    ):
        pass


@qemu
@pytest.mark.parametrize("code", [0, 1, 7, 42, 126, 127, 137, 255])
def test_exit_codes_are_exact(guest: Sandbox, code: int) -> None:
    assert guest.run(["sh", "-c", f"exit {code}"]).exit_code == code


@qemu
def test_any_bytes_get_in_and_out_unchanged(guest: Sandbox) -> None:
    data = bytes(range(256)) * 1024 + b"\n0123456789abcdef 0\n" + os.urandom(100_000)
    guest.put("/tmp/some data", data)
    assert guest.run(["cat", "/tmp/some data"]).output == data
    guest.put("/tmp/empty", b"")
    assert guest.run(["wc", "-c", "/tmp/empty"]).output == b"0 /tmp/empty\n"


@qemu
def test_arguments_arrive_as_they_were_given(guest: Sandbox) -> None:
    words = ["a b", "it's", '$HOME `ls` \\ "', "new\nline", "tab\there", "", "ünïcödé", "*"]
    output = guest.run(["printf", "%s|", *words]).output
    assert output.decode() == "".join(f"{word}|" for word in words)


@qemu
@pytest.mark.parametrize("place", ["/proc/no/such/place", "/dev/full"])
def test_what_cannot_be_written_says_so_and_the_channel_lives_on(
    guest: Sandbox, place: str
) -> None:
    """Neither where no folder can be made, nor where the bytes themselves are refused."""
    with pytest.raises(LaunchFailure, match=place):
        guest.put(place, b"echo I was run as a command\n" * 10_000)
    assert guest.run(["echo", "fine"]).output == b"fine\n"


@qemu
def test_a_command_that_hangs_is_killed_and_the_channel_lives_on(guest: Sandbox) -> None:
    for _ in range(2):
        with pytest.raises(WaitTimeout):
            guest.run(["sh", "-c", "trap '' TERM; echo started; sleep 600"], timeout_s=1.0)
        assert guest.run(["echo", "fine"]).output == b"fine\n"
    assert b"sleep 600" not in guest.run(["ps"]).output


@qemu
def test_a_guest_whose_qemu_is_killed_is_an_abnormal_shutdown() -> None:
    with _direct().open(PC, lambda _event: None) as sandbox:
        sandbox.run(["true"])
        os.kill(sandbox.host_pids()[0], signal.SIGKILL)
        with pytest.raises(AbnormalShutdown):
            sandbox.run(["true"])


@qemu
def test_a_guest_that_ends_itself_is_an_abnormal_shutdown() -> None:
    with _direct().open(PC, lambda _event: None) as sandbox, pytest.raises(AbnormalShutdown):
        sandbox.run(["/bin/busybox", "reboot", "-f"], timeout_s=30)


@qemu
def test_a_qemu_that_refuses_its_arguments_says_what_it_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _add(monkeypatch, "-device", "no-such-device")
    before = _ours()
    with pytest.raises(LaunchFailure, match="no-such-device") as caught:
        _direct().open(PC, lambda _event: None).__enter__()
    assert "-M" in caught.value.command
    assert _ours() == before


@qemu
@pytest.mark.parametrize("delay_s", [0.0, 0.01, 0.05, 0.3, 1.0])
def test_an_interrupt_while_opening_leaves_nothing(delay_s: float) -> None:
    launcher = _direct()
    launcher.image(PC)  # so that only the start is interrupted
    before = _ours()
    timer = threading.Timer(delay_s, os.kill, (os.getpid(), signal.SIGINT))

    def interrupted() -> None:
        timer.start()
        with launcher.open(PC, lambda _event: None) as sandbox:
            sandbox.run(["sleep", "60"])

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    timer.join()
    assert _ours() == before


@qemu
def test_an_error_in_the_listener_leaves_nothing() -> None:
    def listener(event: Event) -> None:
        if event.phase is Phase.KERNEL:
            raise RuntimeError("a bug of the caller")

    before = _ours()
    with pytest.raises(RuntimeError, match="a bug"), _direct().open(PC, listener):
        pass
    assert _ours() == before


@qemu
def test_a_guest_ends_by_itself_when_its_owner_is_killed(tmp_path: Path) -> None:
    script = """
import sys, time
from vmcompare.engines.qemu import QemuLauncher, accel
from vmcompare.engines.qemu.binary import Qemu
from vmcompare.sandbox import Machine, Platform, Spec
with QemuLauncher(Platform.VM_DIRECT).open(
    Spec(machine=Machine.PC, memory_mib=256), lambda event: None
) as guest:
    guest.run(["true"])
    print(guest.host_pids()[0], flush=True)
    time.sleep(600)
"""
    environment = {**os.environ, "XDG_STATE_HOME": str(tmp_path)}
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, env=environment
    ) as owner:
        assert owner.stdout is not None
        pid = int(owner.stdout.readline())
        assert psutil.pid_exists(pid)
        owner.kill()
    process = _process(pid)
    if process is not None:
        process.wait(60)
    assert not psutil.pid_exists(pid)


def _process(pid: int) -> psutil.Process | None:
    try:
        return psutil.Process(pid)
    except psutil.NoSuchProcess:
        return None


@qemu
def test_the_image_is_described_by_what_is_booted() -> None:
    facts = QemuLauncher(Platform.VM_DIRECT).image(PC)
    assert facts == QemuLauncher(Platform.VM_DIRECT).image(PC)
    assert facts.digest.startswith("sha256:")
    assert facts.size_bytes > 20_000_000


@qemu
def test_another_image_is_unavailable() -> None:
    with pytest.raises(Unavailable, match="debian"):
        _direct().image(Spec(image="debian", machine=Machine.PC))


@qemu
def test_the_accelerator_is_told_with_every_figure() -> None:
    traits = _direct().traits(PC)
    details = dict(backend.probe().details)
    assert traits.layer == "mechanism"
    assert traits.vmm == f"qemu {details['qemu']}"
    assert traits.accel == details["accelerator"]


@qemu
@pytest.mark.timeout(900)
def test_the_tuned_distribution_starts_its_last_service_and_writes_to_no_disk() -> None:
    launcher = QemuLauncher(Platform.VM_TUNED)
    before = launcher.image(Spec()).digest
    events: list[Event] = []
    with launcher.open(Spec(), events.append) as sandbox:
        assert b"started" in sandbox.run(["rc-service", "vmcompare", "status"]).output
        assert b"/dev/vda on / type ext4" in sandbox.run(["mount"]).output
        sandbox.put("/root/mark", b"gone at the next start")
        sandbox.run(["sync"])
        services = sandbox.run(["rc-status", "-a"]).output
        assert b"syslog" in services
        assert b"networking" not in services  # there is no card, and it would wait for one
        open_files = psutil.Process(sandbox.host_pids()[0]).open_files()
        assert not [file for file in open_files if "vl." in file.path]  # unlinked at once
    assert [event.phase for event in events] == [
        *(Phase.OPEN, Phase.SPAWN, Phase.FIRMWARE, Phase.KERNEL, Phase.INIT, Phase.FIRST_BYTE),
        *(Phase.READY, Phase.SHUTDOWN),
    ]
    assert QemuLauncher(Platform.VM_TUNED).image(Spec()).digest == before


@qemu
def test_the_tuned_distribution_brings_its_network_up_where_there_is_one() -> None:
    with QemuLauncher(Platform.VM_TUNED).open(Spec(network=True), lambda _: None) as sandbox:
        services = sandbox.run(["rc-status", "-a"]).output
        assert b"networking" in services
        assert b"setup-dns" in services


def test_a_program_that_cannot_be_run_is_a_launch_failure(tmp_path: Path) -> None:
    from vmcompare.engines.qemu.boots import Boot

    boot = Boot((), (), timeout_s=1.0)
    process = QemuProcess(Qemu(tmp_path / "no-qemu", "7.2"), boot, Spec())
    with pytest.raises(LaunchFailure, match="could not be started") as caught:
        process.start()
    assert caught.value.command[0].endswith("no-qemu")
    process.kill()
