"""Nothing is left behind, and nothing that is somebody else's is touched."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from waiting import until

from vmcompare import paths
from vmcompare.engines import cleanup
from vmcompare.engines.cleanup import ending
from vmcompare.engines.cleanup.ledger import Ledger
from vmcompare.errors import StorageError

pytestmark = pytest.mark.skipif(os.name != "posix", reason="uses kill -9")


def alive(pid: int) -> bool:
    return cleanup.started(pid) is not None


def python(code: str) -> subprocess.Popen[bytes]:
    """A child that runs ``code`` with our environment; talks over its standard streams."""
    return subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    """A process that somebody might have to end."""
    process = subprocess.Popen(["sleep", "300"])
    yield process
    process.kill()
    process.wait()


@pytest.fixture
def own_session(private_places: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A fresh session for this very process; gives the folder of ledgers."""
    monkeypatch.setattr("vmcompare.engines.cleanup.ledger._session", None)
    temporary = private_places / "tmp"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    assert paths.state_dir().is_relative_to(private_places)
    return paths.state_dir() / "sessions"


@pytest.fixture
def no_docker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vmcompare.engines.cleanup.containers.docker_is_named", lambda: False)


@pytest.fixture(autouse=True)
def no_cgroups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of another test's killed run are none of these tests' business."""
    monkeypatch.setattr(ending, "CGROUP_ROOT", tmp_path / "no-cgroups")


DEAD = f"1-{os.getpid():08x}"
"""A session whose owner is dead; no other process of this test run has it as well."""


def plant(folder: Path, *entries: object, **owner: object) -> Path:
    """A ledger of a dead owner (unless ``owner`` says otherwise); an entry may be raw bytes."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    head = {"session": DEAD, "pid": 1, "started": "never", "boot": cleanup.boot(), "host": "x"}
    path = folder / f"{DEAD}.jsonl"
    lines = [
        x if isinstance(x, bytes) else json.dumps(x).encode() for x in [{**head, **owner}, *entries]
    ]
    path.write_bytes(b"".join(line + b"\n" for line in lines))
    path.chmod(0o600)
    return path


def ours(name: str = "", session: str = DEAD) -> Path:
    """A folder with something in it, called as a session's folders are, in the temporary one."""
    path = Path(tempfile.gettempdir(), name or f"vmcompare-{session}-0123abcd")
    path.mkdir()
    (path / "disk").write_bytes(b"x")
    return path


WATCHES = """
import os, subprocess, sys
from vmcompare.engines import cleanup
{before}
sleeper = subprocess.Popen(["sleep", "300"], env=cleanup.marked())
print(sleeper.pid, flush=True)
sys.stdin.read()
{after}
"""


@pytest.mark.usefixtures("no_docker")
def test_the_ledger_survives_kill_9_and_the_sweep_ends_what_it_names(own_session: Path) -> None:
    owner = python(WATCHES.format(before="", after=""))
    assert owner.stdout is not None
    pid = int(owner.stdout.readline())
    owner.kill()
    owner.wait()
    assert len(list(own_session.glob("*.jsonl"))) == 1
    assert alive(pid)

    swept = cleanup.sweep()

    assert ("process", str(pid)) in [(ended.kind, ended.name) for ended in swept]
    assert not alive(pid)
    assert not list(own_session.glob("*.jsonl"))


@pytest.mark.usefixtures("private_places")
def test_the_guardian_ends_a_watched_process_after_kill_9_of_its_owner() -> None:
    owner = python(WATCHES.format(before="guard = cleanup.guard(); guard.__enter__()", after=""))
    assert owner.stdout is not None
    pid = int(owner.stdout.readline())
    owner.kill()
    owner.wait()

    assert until(lambda: not alive(pid))
    assert until(lambda: not list((paths.state_dir() / "sessions").glob("*.jsonl")))


@pytest.mark.usefixtures("private_places")
def test_the_guardian_ignores_the_terminal_and_outlives_its_owners_group() -> None:
    code = WATCHES.format(before="guard = cleanup.guard(); guard.__enter__()", after="")
    owner = subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    assert owner.stdout is not None
    pid = int(owner.stdout.readline())
    # The sleeper is in the owner's group too: one more that the guardian need not end.
    os.killpg(owner.pid, signal.SIGKILL)
    owner.wait()

    assert until(lambda: not alive(pid))
    assert until(lambda: not list((paths.state_dir() / "sessions").glob("*.jsonl")))


@pytest.mark.usefixtures("private_places")
def test_an_orderly_end_leaves_no_ledger() -> None:
    after = "sleeper.kill(); sleeper.wait()"
    owner = python(WATCHES.format(before="", after=after))
    owner.communicate()
    assert owner.returncode == 0
    assert not list((paths.state_dir() / "sessions").glob("*.jsonl"))


def test_leaving_a_guard_ends_what_was_started_meanwhile(own_session: Path) -> None:
    with cleanup.guard():
        sleeper = subprocess.Popen(["sleep", "300"])
        stack = contextlib.ExitStack()
        overlay = stack.enter_context(cleanup.folder())
        (overlay / "disk").write_bytes(b"x")
    assert sleeper.wait(60) != 0
    assert not overlay.exists()
    assert not list(own_session.glob("*.jsonl"))
    assert "VMCOMPARE_SESSION" not in os.environ


def test_a_guard_that_has_nothing_to_do_leaves_nothing(own_session: Path) -> None:
    with cleanup.guard(), cleanup.guard():
        assert cleanup.session_id()
    assert not list(own_session.glob("*.jsonl"))


@pytest.mark.usefixtures("no_docker")
def test_a_process_whose_owner_lives_is_spared(own_session: Path) -> None:
    owner = python(WATCHES.format(before="", after=""))
    assert owner.stdout is not None
    pid = int(owner.stdout.readline())
    try:
        assert len(cleanup.sweep()) == 0
        assert alive(pid)
    finally:
        os.kill(pid, signal.SIGKILL)
        owner.communicate()
    assert own_session.exists()


def marked(session: str) -> subprocess.Popen[bytes]:
    """A process that was started by ``session``."""
    return subprocess.Popen(["sleep", "300"], env={**os.environ, "VMCOMPARE_SESSION": session})


@pytest.mark.usefixtures("no_docker")
def test_a_process_of_another_boot_is_spared(own_session: Path) -> None:
    sleeper = marked(DEAD)
    ledger = plant(own_session, boot="other", host=platform.node())
    try:
        assert len(cleanup.sweep()) == 0
        assert sleeper.poll() is None
        assert not ledger.exists()
    finally:
        sleeper.kill()
        sleeper.wait()


@pytest.mark.usefixtures("no_docker")
def test_another_computers_ledger_in_a_shared_home_is_left_alone(own_session: Path) -> None:
    ledger = plant(own_session, boot="other", host="another-computer")
    cleanup.sweep()
    assert ledger.exists()


@pytest.mark.usefixtures("no_docker")
def test_what_a_process_has_started_ends_with_it_though_it_forgot_whose_it_is(
    own_session: Path,
) -> None:
    shell = "(exec -c sleep 301) & (exec -c setsid sleep 302) & echo $$; wait"
    parent = subprocess.Popen(
        ["bash", "-c", shell],
        stdout=subprocess.PIPE,
        start_new_session=True,
        env={**os.environ, "VMCOMPARE_SESSION": DEAD},
    )
    assert parent.stdout is not None
    parent.stdout.readline()
    assert until(lambda: len(psutil.Process(parent.pid).children()) == 2)
    children = psutil.Process(parent.pid).children()
    plant(own_session)
    cleanup.sweep()
    parent.wait(60)
    assert until(lambda: not any(alive(child.pid) for child in children))


@pytest.mark.usefixtures("no_docker")
def test_a_crossed_out_folder_is_spared(own_session: Path) -> None:
    path = ours()
    plant(own_session, {"watch": str(path)}, {"forget": str(path)})
    assert len(cleanup.sweep()) == 0
    assert path.exists()


@pytest.mark.usefixtures("no_docker")
def test_a_torn_last_line_does_not_hide_the_others(own_session: Path) -> None:
    path = ours()
    ledger = plant(own_session, {"watch": str(path)})
    with ledger.open("a") as file:
        file.write('{"watch": "/tmp')
    swept = cleanup.sweep()
    assert [ended.kind for ended in swept] == ["path"]
    assert swept.refused == []
    assert not path.exists()


@pytest.mark.usefixtures("no_docker")
def test_a_link_is_neither_followed_nor_removed(own_session: Path, tmp_path: Path) -> None:
    target = tmp_path / "precious"
    target.mkdir()
    link = Path(tempfile.gettempdir(), f"vmcompare-{DEAD}-0123abcd")
    link.symlink_to(target)
    plant(own_session, {"watch": str(link)})
    swept = cleanup.sweep()
    assert target.is_dir()
    assert link.is_symlink()
    assert "no folder" in swept.refused[0]


@pytest.mark.usefixtures("no_docker")
def test_what_a_link_inside_points_to_stays(own_session: Path, tmp_path: Path) -> None:
    target = tmp_path / "precious"
    target.mkdir()
    (target / "file").touch()
    path = ours()
    (path / "link").symlink_to(target)
    plant(own_session, {"watch": str(path)})
    cleanup.sweep()
    assert not path.exists()
    assert (target / "file").exists()


@pytest.mark.usefixtures("no_docker")
def test_containers_announced_twice_must_be_taken_back_twice(own_session: Path) -> None:
    for _ in range(2):
        cleanup.watch(cleanup.CONTAINERS)
    cleanup.forget(cleanup.CONTAINERS)
    [path] = own_session.glob("*.jsonl")
    assert Ledger.read(path).watched == {"containers": 1}
    cleanup.forget(cleanup.CONTAINERS)
    assert Ledger.read(path).watched == {}


def test_a_folder_that_cannot_be_removed_stays_written_down(
    own_session: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as broken:
        broken.setattr("shutil.rmtree", lambda *_, **__: None)
        with cleanup.folder() as path:
            pass
    [ledger] = own_session.glob("*.jsonl")
    assert Ledger.read(ledger).watched == {str(path): 1}


def test_a_ledger_whose_folder_was_emptied_is_written_again(
    own_session: Path, tmp_path: Path
) -> None:
    with cleanup.folder() as one:
        (ledger,) = own_session.glob("*.jsonl")
        ledger.unlink()
        with cleanup.folder() as two:
            assert Ledger.read(ledger).watched == {str(one): 1, str(two): 1}


def test_a_place_that_cannot_be_written_is_said_with_the_next_step(
    own_session: Path, tmp_path: Path
) -> None:
    own_session.parent.mkdir(parents=True, exist_ok=True)
    own_session.write_text("a file where a folder should be")
    with pytest.raises(StorageError, match="XDG_STATE_HOME"):
        cleanup.watch(cleanup.CONTAINERS)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.usefixtures("own_session")
def test_a_forked_child_has_a_session_of_its_own() -> None:
    code = """
import os
from vmcompare.engines import cleanup
mine = cleanup.session_id()
child = os.fork()
if child == 0:
    os._exit(0 if cleanup.session_id() != mine else 1)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
"""
    owner = python(code)
    owner.communicate()
    assert owner.returncode == 0


@pytest.mark.parametrize(
    ("boot_id", "created", "abandoned"),
    [
        (cleanup.boot(), "2999-01-01T00:00:00Z", True),
        ("another boot", "2999-01-01T00:00:00Z", False),
        ("another boot", "2020-01-01T00:00:00.123456789+02:00", True),
        ("another boot", "unknown", False),
    ],
    ids=["dead owner", "another's, new", "another's, old", "another's, of unknown age"],
)
def test_a_network_is_abandoned_where_its_owner_is_dead_for_certain(
    boot_id: str, created: str, abandoned: bool
) -> None:
    from vmcompare.engines.cleanup.containers import _is_abandoned

    labels = {**cleanup.labels(), "vmcompare.boot": boot_id, "vmcompare.pid": "1"}
    assert set(labels) == set(cleanup.labels())
    assert _is_abandoned({"Labels": labels, "Created": created}, network=True) is abandoned


@pytest.mark.parametrize("labels", [None, {}, {"vmcompare.pid": "no number"}])
def test_a_network_without_an_owner_s_labels_is_not_ours(labels: dict[str, str] | None) -> None:
    from vmcompare.engines.cleanup.containers import _is_abandoned

    assert not _is_abandoned({"Labels": labels, "Created": "2020-01-01T00:00:00Z"}, network=True)


def test_a_network_whose_owner_lives_is_spared() -> None:
    from vmcompare.engines.cleanup.containers import _is_abandoned

    found = {"Labels": cleanup.labels(), "Created": "2020-01-01T00:00:00Z"}
    assert not _is_abandoned(found, network=True)


def test_importing_it_costs_no_docker_sdk() -> None:
    code = "import sys, vmcompare.engines.cleanup; sys.exit('docker' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
