"""What every container must do and never do, on a real Docker; and what is said without one."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
from private_engine import private_daemon
from waiting import until

from vmcompare.engines import cleanup, commands, docker_connection
from vmcompare.engines import docker as backend
from vmcompare.engines.docker import container, inside
from vmcompare.engines.docker import launcher as launching
from vmcompare.engines.images.cache import report_progress_to
from vmcompare.engines.images.oci import CPU_PERIOD_US
from vmcompare.errors import AbnormalShutdown, LaunchFailure, Unavailable, WaitTimeout
from vmcompare.evidence.units import MIB
from vmcompare.sandbox import (
    DEBIAN,
    Confinement,
    Event,
    Follower,
    Launcher,
    Phase,
    Platform,
    Resizable,
    Sandbox,
    Spec,
    Start,
)

__all__ = ["private_daemon"]  # a fixture

ORDER = [
    Phase.OPEN,
    Phase.CREATE,
    Phase.ATTACH,
    Phase.START,
    Phase.FIRST_BYTE,
    Phase.EXIT,
    Phase.REMOVED,
]
ECHO = ("sh", "-c", "echo up; cat")
"""A program other than ours that ends with its input, too."""


def ignore(event: Event) -> None:
    """An ``on_event`` for those who do not care."""


def containers(session: str = "") -> list[Any]:
    """What is there of ``session``, this process's by default, in any state."""
    label = f"{cleanup.LABEL}={session or cleanup.session_id()}"
    return list(docker_connection.connect().api.containers(all=True, filters={"label": label}))


def networks(session: str = "") -> list[Any]:
    """The same of networks."""
    label = f"{cleanup.LABEL}={session or cleanup.session_id()}"
    return list(docker_connection.connect().api.networks(filters={"label": label}))


@pytest.fixture(scope="module")
def launcher() -> Launcher:
    return backend.DockerLauncher()


# --- a life ---------------------------------------------------------------------------------


@pytest.mark.docker
def test_every_phase_is_told_once_in_order_and_on_one_clock(launcher: Launcher) -> None:
    events: list[Event] = []
    before = time.perf_counter_ns()
    with launcher.open(Spec(), events.append):
        assert [event.phase for event in events] == ORDER[:5]
    stamps = [event.t_ns for event in events]
    assert [event.phase for event in events] == ORDER
    assert stamps == sorted(stamps)
    assert before <= stamps[0]
    assert stamps[-1] <= time.perf_counter_ns()


@pytest.mark.docker
def test_a_pre_created_container_is_timed_from_its_start(launcher: Launcher) -> None:
    events: list[Event] = []
    with launcher.open(Spec(start=Start.PRE_CREATED), events.append):
        pass
    phases = [phase for phase in ORDER if phase not in (Phase.CREATE, Phase.ATTACH)]
    assert [event.phase for event in events] == phases


@pytest.mark.docker
def test_our_program_ends_with_its_input_so_nothing_has_to_be_killed(launcher: Launcher) -> None:
    with launcher.open(Spec(), ignore) as sandbox:
        pass
    assert sandbox.exit_code == 0  # type: ignore[attr-defined]


@pytest.mark.docker
def test_a_program_that_ignores_the_end_of_its_input_is_killed(launcher: Launcher) -> None:
    with launcher.open(Spec(command=("sh", "-c", "echo up; sleep 300")), ignore) as sandbox:
        pass
    assert containers() == []
    assert sandbox.exit_code == 137  # type: ignore[attr-defined]


@pytest.mark.docker
def test_a_program_that_ends_at_once_leaves_nothing(launcher: Launcher) -> None:
    with launcher.open(Spec(command=("sh", "-c", "echo up; exit 3")), ignore) as sandbox:
        assert until(lambda: containers() == [])
    assert sandbox.exit_code == 3  # type: ignore[attr-defined]


@pytest.mark.docker
def test_an_exception_in_the_body_leaves_nothing_and_is_passed_on(launcher: Launcher) -> None:
    with pytest.raises(ZeroDivisionError), launcher.open(Spec(), ignore):
        raise ZeroDivisionError
    assert containers() == []


@pytest.mark.docker
def test_several_containers_live_side_by_side(launcher: Launcher) -> None:
    with contextlib.ExitStack() as stack:
        boxes = [stack.enter_context(launcher.open(Spec(), ignore)) for _ in range(3)]
        names = {box.run(["hostname"]).output for box in boxes}
        assert len(names) == len(containers()) == 3
    assert containers() == []


@pytest.mark.docker
def test_containers_started_from_several_threads_do_not_disturb_each_other(
    launcher: Launcher,
) -> None:
    outputs: list[bytes] = []

    def one(number: int) -> None:
        with launcher.open(Spec(), ignore) as box:
            outputs.append(box.run(["echo", str(number)]).output)

    threads = [threading.Thread(target=one, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outputs) == [b"0\n", b"1\n", b"2\n", b"3\n"]
    assert containers() == []


@pytest.mark.docker
def test_a_followed_crowd_at_its_limit_of_processes_is_ended_all_the_same(
    launcher: Launcher,
) -> None:
    crowd = ["sh", "-c", "while :; do sleep 4731 & done"]
    with launcher.open(Spec(), ignore) as box:
        assert isinstance(box, Follower)
        said: list[bytes] = []
        with box.follow(crowd, lambda piece, _t_ns: said.append(piece)):
            assert until(lambda: any(b"can't fork" in piece for piece in said), 60)
        assert b"sleep 4731" not in box.run(["ps"]).output


# --- using it -------------------------------------------------------------------------------


@pytest.mark.docker
def test_every_byte_put_into_a_file_comes_back(launcher: Launcher) -> None:
    data = bytes(range(256)) * 4096
    with launcher.open(Spec(), ignore) as box:
        for path in ("/tmp/here", "/a/new/folder/there"):
            box.put(path, data)
            assert box.run(["cat", path]).output == data
        assert box.run(["stat", "-c", "%a", "/tmp"]).output == b"1777\n"


@pytest.mark.docker
def test_a_volume_is_no_layer_and_goes_with_its_container(launcher: Launcher) -> None:
    def volumes() -> list[Any]:
        label = f"{cleanup.LABEL}={cleanup.session_id()}"
        return list(docker_connection.connect().api.volumes({"label": label})["Volumes"] or ())

    with launcher.open(Spec(volume="/a/volume"), ignore) as box:
        box.put("/a/volume/file", b"data")
        assert box.run(["cat", "/a/volume/file"]).output == b"data"
        mounted = box.run(["grep", " /a/volume ", "/proc/mounts"]).output
        assert mounted
        assert b"overlay" not in mounted
        assert len(volumes()) == 1
    assert volumes() == []


@pytest.mark.docker
def test_a_command_that_does_not_exist_fails_like_in_a_shell(launcher: Launcher) -> None:
    with launcher.open(Spec(), ignore) as box:
        completed = box.run(["no-such-program"])
        assert completed.exit_code in (126, 127)
        assert b"not found" in completed.output
        assert box.run(["true"]).exit_code == 0


@pytest.mark.docker
def test_a_command_that_takes_too_long_is_a_timeout_and_the_box_goes_on(
    launcher: Launcher,
) -> None:
    def given_up(box: Sandbox, timeout_s: float) -> str:
        with pytest.raises(WaitTimeout) as caught:
            box.run(["sh", "-c", "echo so far; sleep 300"], timeout_s=timeout_s)
        return caught.value.console

    with launcher.open(Spec(), ignore) as box:
        # On a busy host it may not have begun after a second.
        assert any("so far" in given_up(box, timeout_s) for timeout_s in (1.0, 10.0, 60.0))
        assert box.run(["echo", "on"]).output == b"on\n"
    assert containers() == []


@pytest.mark.docker
def test_a_box_whose_program_ended_says_so(launcher: Launcher) -> None:
    with launcher.open(Spec(command=ECHO), ignore) as box:
        with contextlib.suppress(AbnormalShutdown):  # it may end before it has answered
            box.run(["pkill", "cat"])
        assert until(lambda: containers() == [])
        with pytest.raises(AbnormalShutdown):
            box.run(["true"])
        with pytest.raises(AbnormalShutdown):
            box.put("/tmp/x", b"")
        assert box.host_pids() == ()


@pytest.mark.docker
def test_a_command_in_a_box_that_is_killed_meanwhile_is_an_abnormal_shutdown(
    launcher: Launcher,
) -> None:
    with launcher.open(Spec(), ignore) as box:
        (found,) = containers()
        kill = threading.Timer(0.5, docker_connection.connect().api.kill, [found["Id"]])
        kill.start()
        with pytest.raises(AbnormalShutdown):
            box.run(["sleep", "300"])
        kill.join()
    assert containers() == []


@pytest.mark.docker
@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs namespaces")
def test_a_container_that_is_about_to_end_is_an_abnormal_shutdown(launcher: Launcher) -> None:
    """As on a busy host: its first process is dead, and the engine does not know of it yet."""
    with launcher.open(Spec(), ignore) as box, contextlib.ExitStack() as late:
        assert isinstance(box, Follower)
        first = docker_connection.connect().api.inspect_container(containers()[0]["Id"])
        enter = ["nsenter", f"--target={first['State']['Pid']}", "--pid", "sleep", "300"]
        guest = late.enter_context(subprocess.Popen(enter))
        late.callback(guest.kill)
        assert until(lambda: psutil.Process(guest.pid).children())
        guest.send_signal(signal.SIGSTOP)  # the end of its child is waited for
        os.kill(first["State"]["Pid"], signal.SIGKILL)
        assert until(lambda: commands.is_ending(first["State"]["Pid"]))
        with pytest.raises(AbnormalShutdown):
            box.run(["true"])
        followed = box.follow(["true"], lambda _piece, _t_ns: None)
        with pytest.raises(AbnormalShutdown):
            followed.__enter__()
    assert containers() == []


@pytest.mark.docker
def test_the_host_sees_the_shim_and_every_process(launcher: Launcher) -> None:
    def name(pid: int) -> str:
        with contextlib.suppress(psutil.Error):
            return psutil.Process(pid).name()
        return ""

    with launcher.open(Spec(command=ECHO), ignore) as box:
        assert until(lambda: "cat" in map(name, box.host_pids()))  # it says "up" before it begins
        shim, *inside = box.host_pids()
        assert "shim" in name(shim) or "conmon" in name(shim)
    assert until(lambda: not any(map(psutil.pid_exists, inside)))


@pytest.mark.docker
def test_the_console_keeps_the_end_of_what_was_printed(launcher: Launcher) -> None:
    command = ("sh", "-c", "seq 10000; echo last words; cat")
    with launcher.open(Spec(command=command), ignore) as box:
        assert until(lambda: box.console().endswith("last words\n"))
        assert len(box.console()) <= inside.CONSOLE_BYTES


# --- limits and confinement -----------------------------------------------------------------


@pytest.mark.docker
def test_the_memory_limit_is_the_kernels_and_swap_is_no_way_around_it(
    launcher: Launcher,
) -> None:
    with launcher.open(Spec(memory_mib=96), ignore) as box:
        version2 = box.run(["cat", "/sys/fs/cgroup/memory.max"])
        version1 = box.run(["cat", "/sys/fs/cgroup/memory/memory.limit_in_bytes"])
        swap1 = box.run(["cat", "/sys/fs/cgroup/memory/memory.memsw.limit_in_bytes"])
        swap2 = box.run(["cat", "/sys/fs/cgroup/memory.swap.max"])
    limit = version2 if version2.exit_code == 0 else version1
    assert int(limit.output) == 96 * MIB
    if swap1.exit_code == 0:
        assert int(swap1.output) == 96 * MIB
    if swap2.exit_code == 0:
        assert int(swap2.output) == 0


@pytest.mark.docker
def test_a_program_that_takes_more_memory_than_allowed_is_killed(launcher: Launcher) -> None:
    with launcher.open(Spec(memory_mib=64), ignore) as box:
        assert box.run(["tail", "/dev/zero"]).exit_code == 137
        assert box.run(["true"]).exit_code == 0


@pytest.mark.docker
def test_the_processor_limit_is_the_specs(launcher: Launcher) -> None:
    with launcher.open(Spec(vcpus=2), ignore) as box:
        version2 = box.run(["cat", "/sys/fs/cgroup/cpu.max"])
        version1 = box.run(["cat", "/sys/fs/cgroup/cpu/cpu.cfs_quota_us"])
    quota = version2 if version2.exit_code == 0 else version1
    assert int(quota.output.split()[0]) == 2 * CPU_PERIOD_US


@pytest.mark.docker
def test_limits_change_while_it_runs_and_the_kernel_enforces_them(launcher: Launcher) -> None:
    with launcher.open(Spec(memory_mib=512), ignore) as box:
        assert isinstance(box, Resizable)
        assert box.resize(64) == 64
        assert box.run(["tail", "/dev/zero"]).exit_code == 137
        box.limit_processors(0.25)
        version2 = box.run(["cat", "/sys/fs/cgroup/cpu.max"])
        version1 = box.run(["cat", "/sys/fs/cgroup/cpu/cpu.cfs_quota_us"])
    quota = version2 if version2.exit_code == 0 else version1
    assert int(quota.output.split()[0]) == CPU_PERIOD_US // 4


@pytest.mark.docker
@pytest.mark.parametrize("network", [False, True])
def test_a_box_has_a_network_only_if_the_spec_says_so(launcher: Launcher, network: bool) -> None:
    try:
        with launcher.open(Spec(network=network), ignore) as box:
            interfaces = box.run(["ls", "/sys/class/net"]).output.split()
    except LaunchFailure as failure:
        pytest.skip(f"this Docker has no network: {failure}")
    assert (b"eth0" in interfaces) is network


@pytest.mark.docker
@pytest.mark.parametrize(
    ("confinement", "field", "value"),
    [
        (Confinement.DEFAULT, "CapEff", b"00000000a80425fb"),
        (Confinement.NO_CAPABILITIES, "CapEff", b"0000000000000000"),
        (Confinement.DEFAULT, "Seccomp", b"2"),
        (Confinement.NO_SECCOMP, "Seccomp", b"0"),
    ],
)
def test_the_confinement_holds(
    launcher: Launcher, confinement: Confinement, field: str, value: bytes
) -> None:
    with launcher.open(Spec(confinement=confinement), ignore) as box:
        assert box.run(["grep", f"^{field}:", "/proc/self/status"]).output.split()[1] == value


@pytest.mark.docker
def test_the_usual_runtime_can_be_named_and_an_unknown_one_is_refused(
    launcher: Launcher,
) -> None:
    usual = launcher.traits(Spec()).runtime
    with launcher.open(Spec(runtime=usual), ignore) as box:
        assert box.run(["true"]).exit_code == 0
    with (
        pytest.raises(Unavailable, match="choose from"),
        launcher.open(Spec(runtime="no-such"), ignore),
    ):
        pass


# --- nothing left behind --------------------------------------------------------------------


@pytest.mark.docker
@pytest.mark.parametrize("phase", ORDER)
def test_ctrl_c_in_any_phase_leaves_nothing(launcher: Launcher, phase: Phase) -> None:
    def interrupt(event: Event) -> None:
        if event.phase is phase:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), launcher.open(Spec(), interrupt):
        pass
    assert containers() == []


@pytest.mark.docker
@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs an interval timer")
@pytest.mark.parametrize("delay_ms", [1, 5, 10, 20, 30, 50, 100, 150, 200, 260, 300, 330])
def test_ctrl_c_at_any_moment_leaves_nothing(launcher: Launcher, delay_ms: int) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    def arm(event: Event) -> None:
        if event.phase is Phase.OPEN:
            signal.setitimer(signal.ITIMER_REAL, delay_ms / 1000)

    launcher.image(Spec())
    former = signal.signal(signal.SIGALRM, interrupt)
    with contextlib.suppress(KeyboardInterrupt):
        try:
            with launcher.open(Spec(), arm):
                pass
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, former)
    assert until(lambda: containers() == [])


HOLDS = """
import sys
from vmcompare.engines import cleanup
from vmcompare.engines.docker import DockerLauncher
from vmcompare.sandbox import Phase, Spec

def stand_still(event):
    if event.phase is Phase("{phase}"):
        print(cleanup.session_id(), flush=True)
        sys.stdin.read()

{before}
with DockerLauncher().open(Spec({spec}), stand_still):
    pass
"""
ALONE = "network=True, own_network=True"


def killed_at(phase: Phase, *, guarded: bool, spec: str = "") -> str:
    """Let a child die by ``kill -9`` in ``phase`` of a start; the name of its session."""
    before = "guard = cleanup.guard(); guard.__enter__()" if guarded else ""
    code = HOLDS.format(phase=phase.value, before=before, spec=spec)
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as owner:
        assert owner.stdout is not None
        session = owner.stdout.readline().decode().strip()
        assert len(containers(session)) == (phase is not Phase.OPEN)
        assert len(networks(session)) == (spec == ALONE)
        owner.kill()
    return session


@pytest.mark.docker
@pytest.mark.alone
@pytest.mark.skipif(os.name != "posix", reason="uses kill -9")
class TestAfterKill9:
    """The owner dies without a word."""

    def test_a_running_container_ends_by_its_dead_mans_switch(self, private_places: Path) -> None:
        assert private_places.exists()
        session = killed_at(Phase.FIRST_BYTE, guarded=False)
        assert until(lambda: containers(session) == [])

    @pytest.mark.parametrize("phase", [Phase.CREATE, Phase.ATTACH])
    def test_one_that_was_never_started_is_removed_by_the_guardian(
        self, private_places: Path, phase: Phase
    ) -> None:
        session = killed_at(phase, guarded=True)
        assert until(lambda: containers(session) == [])
        assert until(lambda: not list(private_places.rglob("*.jsonl")))

    def test_one_that_was_never_started_is_removed_by_the_sweep(self, private_places: Path) -> None:
        session = killed_at(Phase.CREATE, guarded=False)
        swept = cleanup.sweep()
        assert containers(session) == []
        assert f"vmcompare-{session}-1" in [x.name for x in swept if x.kind == "container"]
        assert not list(private_places.rglob(f"{session}.jsonl"))

    @pytest.mark.parametrize("phase", [Phase.OPEN, Phase.CREATE, Phase.FIRST_BYTE])
    def test_a_network_of_its_own_is_removed_by_the_guardian(
        self, private_places: Path, phase: Phase
    ) -> None:
        session = killed_at(phase, guarded=True, spec=ALONE)
        assert until(lambda: networks(session) == [])
        assert until(lambda: not list(private_places.rglob("*.jsonl")))
        assert containers(session) == []

    @pytest.mark.parametrize("phase", [Phase.OPEN, Phase.FIRST_BYTE])
    def test_a_network_of_its_own_is_removed_by_the_sweep(
        self, private_places: Path, phase: Phase
    ) -> None:
        session = killed_at(phase, guarded=False, spec=ALONE)
        swept = cleanup.sweep()
        assert f"vmcompare-{session}-1" in [x.name for x in swept if x.kind == "network"]
        assert networks(session) == []
        assert not list(private_places.rglob(f"{session}.jsonl"))

    def test_without_its_ledger_the_sweep_knows_a_network_by_its_labels(
        self, private_places: Path
    ) -> None:
        session = killed_at(Phase.OPEN, guarded=False, spec=ALONE)
        for ledger in private_places.rglob(f"{session}.jsonl"):
            ledger.unlink()
        cleanup.sweep()
        assert networks(session) == []


@pytest.mark.docker
def test_two_with_networks_of_their_own_do_not_meet_and_neighbours_on_the_bridge_do(
    launcher: Launcher,
) -> None:
    def reached(spec: Spec) -> bool:
        with launcher.open(spec, ignore) as one, launcher.open(spec, ignore) as two:
            assert len(networks()) == (2 if spec.own_network else 0)
            cleanup.sweep()  # spares those of a living owner
            address = two.run(["hostname", "-i"]).output.split()[0].decode()
            assert one.run(["ping", "-c", "1", "-W", "1", "127.0.0.1"]).exit_code == 0
            patience_s = "3" if spec.own_network else "60"
            answer = one.run(["ping", "-c", "1", "-W", patience_s, address], timeout_s=120)
        return answer.exit_code == 0

    shared = Spec(network=True)
    assert reached(shared)
    assert not reached(replace(shared, own_network=True))
    assert networks() == []


@pytest.mark.docker
def test_an_interrupt_while_a_network_s_container_starts_leaves_neither(
    launcher: Launcher,
) -> None:
    for phase in (Phase.OPEN, Phase.CREATE, Phase.FIRST_BYTE):

        def stop(event: Event, phase: Phase = phase) -> None:
            if event.phase is phase:
                raise KeyboardInterrupt

        with (
            pytest.raises(KeyboardInterrupt),
            launcher.open(Spec(network=True, own_network=True), stop),
        ):
            pass
        assert (networks(), containers()) == ([], [])


@pytest.mark.docker
def test_the_sweep_spares_a_container_whose_owner_lives(launcher: Launcher) -> None:
    with launcher.open(Spec(), ignore) as box:
        cleanup.sweep()
        assert box.run(["true"]).exit_code == 0


@pytest.mark.docker
def test_the_sweep_spares_a_container_made_of_our_image_by_hand(launcher: Launcher) -> None:
    api = docker_connection.connect().api
    made = api.create_container(launcher.image(Spec()).digest)["Id"]
    try:
        assert cleanup.LABEL in api.inspect_container(made)["Config"]["Labels"]
        cleanup.sweep()
        assert api.inspect_container(made)["Id"] == made
    finally:
        api.remove_container(made)


# --- images ---------------------------------------------------------------------------------


@pytest.mark.docker
def test_the_alpine_image_is_made_once_and_described(launcher: Launcher) -> None:
    facts = launcher.image(Spec())
    assert facts.digest.startswith("sha256:")
    assert facts.size_bytes > MIB
    assert backend.DockerLauncher().image(Spec()) == facts


@pytest.mark.docker
def test_making_the_image_is_told_and_finding_it_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launching, "REPOSITORIES", "vmcompare-told")
    told: list[tuple[str, float]] = []

    def ask() -> str:
        with report_progress_to(lambda *step: told.append(step)):
            return backend.launchers()[Platform.CONTAINER].image(Spec()).digest

    image = ask()
    try:
        assert told[-2:] == [("the container image", 0.0), ("the container image", 1.0)]
        told.clear()
        assert ask() == image
        assert told == []
    finally:
        api = docker_connection.connect().api
        for made in api.images("vmcompare-told/alpine"):
            for name in made["RepoTags"]:
                api.remove_image(name)


@pytest.mark.docker
def test_an_image_that_is_not_there_is_unavailable_with_the_next_step(
    launcher: Launcher,
) -> None:
    spec = Spec(image="vmcompare.invalid/none:1")
    for ask in (lambda: launcher.image(spec), lambda: launcher.open(spec, ignore)):
        with pytest.raises(Unavailable) as caught:
            ask()
        assert "docker pull vmcompare.invalid/none:1" in caught.value.next_step


@pytest.mark.docker
def test_a_program_that_does_not_exist_is_a_launch_failure_that_names_it(
    launcher: Launcher,
) -> None:
    with (
        pytest.raises(LaunchFailure) as caught,
        launcher.open(Spec(command=("/no/such/program",)), ignore),
    ):
        pass
    assert "/no/such/program" in caught.value.console + " ".join(caught.value.command)
    assert containers() == []


@pytest.mark.docker
def test_a_program_that_ends_without_a_byte_is_a_launch_failure_with_its_last_words(
    launcher: Launcher,
) -> None:
    with (
        pytest.raises(LaunchFailure, match="exit code 5") as caught,
        launcher.open(Spec(command=("sh", "-c", "echo why >&2; exit 5")), ignore),
    ):
        pass
    assert "why" in caught.value.console
    assert containers() == []


@pytest.mark.docker
def test_a_program_that_says_nothing_is_a_timeout(
    launcher: Launcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(container, "FIRST_BYTE_TIMEOUT_S", 1.0)
    with pytest.raises(WaitTimeout), launcher.open(Spec(command=("sleep", "300")), ignore):
        pass
    assert containers() == []


@pytest.mark.docker
def test_an_image_that_vanished_is_found_again_at_the_next_start() -> None:
    api = docker_connection.connect().api
    api.tag(backend.DockerLauncher().image(Spec()).digest, "vmcompare/vanishing", "1")
    launcher = backend.DockerLauncher()
    spec = Spec(image="vmcompare/vanishing:1")
    launcher.image(spec)
    api.remove_image("vmcompare/vanishing:1")
    with pytest.raises(LaunchFailure), launcher.open(spec, ignore):
        pass
    with pytest.raises(Unavailable, match="docker pull"):
        launcher.image(spec)


# --- an engine that is not there, or goes ---------------------------------------------------


@pytest.mark.docker
def test_the_probe_says_what_the_engine_is() -> None:
    found = backend.probe()
    assert found.ok
    assert found.version
    details = dict(found.details)
    assert details["cgroup_version"] in ("1", "2")
    assert details["hidden_vm"] in ("yes", "no")


def trouble(timeout_s: int = 2) -> docker_connection.Trouble:
    with pytest.raises(docker_connection.EngineUnavailable) as caught:
        docker_connection.connect(timeout_s)
    assert caught.value.what
    assert caught.value.next_step
    assert not backend.probe(timeout_s).ok
    return caught.value.trouble


@pytest.fixture
def address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A socket's path that ``DOCKER_HOST`` names; no socket yet."""
    path = tmp_path / "d.sock"
    if len(str(path)) > 100:
        pytest.skip("the path is too long for a socket")
    monkeypatch.setenv("DOCKER_HOST", f"unix://{path}")
    return path


def test_hiding_docker_from_path_hides_the_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    monkeypatch.setenv("PATH", "/nowhere")
    assert trouble() is docker_connection.Trouble.ABSENT


@pytest.mark.usefixtures("address")
def test_a_missing_socket_means_not_running() -> None:
    assert trouble() is docker_connection.Trouble.NOT_RUNNING


def test_a_socket_nobody_listens_at_means_stopped_or_crashed(address: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(address))
    assert trouble() is docker_connection.Trouble.REFUSED


def test_a_server_that_never_answers_is_hung(address: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(address))
        server.listen()
        assert trouble(timeout_s=0.3) is docker_connection.Trouble.HUNG


AS_NOBODY = """
import os, sys
from vmcompare.engines import docker_connection

def ask(address):
    os.environ["DOCKER_HOST"] = address
    try:
        docker_connection.connect(2)
    except docker_connection.EngineUnavailable as error:
        return f"{error.trouble}: {error.next_step}"

ask("unix:///nowhere")  # imports everything: nobody may be unable to read this Python's packages
if os.geteuid() == 0:  # root may do anything
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
print(ask(sys.argv[1]))
"""


@pytest.mark.skipif(not hasattr(os, "setuid"), reason="needs Unix permissions")
def test_a_socket_out_of_reach_is_a_matter_of_permission(address: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(address))
        server.listen()
        address.chmod(0)
        asked = subprocess.run(
            [sys.executable, "-c", AS_NOBODY, f"unix://{address}"],
            capture_output=True,
            text=True,
            env={**os.environ, "HOME": "/nowhere"},
            check=False,
        )
    assert asked.stdout.startswith("permission: "), asked.stderr
    assert "usermod" in asked.stdout


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ValueError("client version 1.52 is too new"), docker_connection.Trouble.API_VERSION),
        (ValueError("client version 1.10 is too old"), docker_connection.Trouble.API_VERSION),
        (ValueError("anything else"), docker_connection.Trouble.OTHER),
    ],
)
def test_other_troubles_are_told_by_their_words(
    error: Exception, expected: docker_connection.Trouble
) -> None:
    assert docker_connection.classify(error) is expected


def test_importing_the_backend_does_not_import_the_sdk() -> None:
    code = "import sys, vmcompare.engines.docker; sys.exit('docker' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.docker
@pytest.mark.usefixtures("private_places")
def test_a_daemon_that_dies_in_mid_run_is_an_abnormal_shutdown(
    private_daemon: Callable[[], subprocess.Popen[bytes]],
) -> None:
    daemon = private_daemon()
    launcher = backend.DockerLauncher()

    def use_it() -> None:
        with launcher.open(Spec(), ignore) as box:
            daemon.kill()
            daemon.wait()
            with pytest.raises(AbnormalShutdown):
                box.run(["true"])

    with pytest.raises(AbnormalShutdown):
        use_it()
    private_daemon()  # finds the rest and removes it
    assert until(lambda: containers() == [])
    cleanup.forget(cleanup.CONTAINERS)


@pytest.mark.docker
def test_a_second_userland_runs_on_the_same_kernel(launcher: Launcher) -> None:
    try:
        launcher.image(Spec(image=DEBIAN))
    except Unavailable as missing:
        pytest.skip(str(missing))
    with launcher.open(Spec(image=DEBIAN), ignore) as box:
        assert b"ID=alpine" not in box.run(["cat", "/etc/os-release"]).output
        assert box.run(["uname", "-r"]).output.decode().strip() == os.uname().release
