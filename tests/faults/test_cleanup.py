"""A ledger is input: whatever it says, nothing is touched that its session did not make."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vmcompare import paths
from vmcompare.engines import cleanup

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")

DEAD = f"1-{os.getpid():08x}"  # marks processes that another test's sweep must not end
NAME = f"vmcompare-{DEAD}-0123abcd"


@pytest.fixture
def sessions(private_places: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of ledgers, empty; folders for temporary files are private as well."""
    temporary = private_places / "tmp"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    monkeypatch.setattr("vmcompare.engines.cleanup.containers.docker_is_named", lambda: False)
    # Cgroups of another test's killed run are none of these tests' business.
    monkeypatch.setattr(
        "vmcompare.engines.cleanup.ending.CGROUP_ROOT", private_places / "no-cgroups"
    )
    folder = paths.state_dir() / "sessions"
    folder.mkdir(mode=0o700, parents=True)
    return folder


@pytest.fixture
def bystander() -> Iterator[psutil.Process]:
    """A process of the same user that is nobody's business."""
    with subprocess.Popen(["sleep", "300"], start_new_session=True) as process:
        yield psutil.Process(process.pid)
        process.kill()


def owner(**changed: object) -> dict[str, object]:
    head = {"session": DEAD, "pid": 1, "started": "0", "boot": cleanup.boot(), "host": "x"}
    return {**head, **changed}


def plant(sessions: Path, *lines: object, name: str = f"{DEAD}.jsonl") -> Path:
    """A ledger with these lines: raw bytes, or anything that JSON can say."""
    text = b"".join(
        (line if isinstance(line, bytes) else json.dumps(line).encode()) + b"\n" for line in lines
    )
    path = sessions / name
    path.write_bytes(text)
    path.chmod(0o600)
    return path


def folder(path: Path) -> Path:
    """A folder with a file in it."""
    path.mkdir(parents=True)
    (path / "precious").write_text("x")
    return path


def test_what_is_ours_goes_so_that_the_other_tests_say_something(sessions: Path) -> None:
    path = folder(Path(tempfile.gettempdir(), NAME))
    with subprocess.Popen(
        ["sleep", "300"], env={**os.environ, "VMCOMPARE_SESSION": DEAD}
    ) as process:
        plant(sessions, owner(), {"watch": str(path)})
        swept = cleanup.sweep()
        process.wait(60)
    assert [ended.kind for ended in swept] == ["process", "path"]
    assert swept.refused == []
    assert not path.exists()
    assert not list(sessions.iterdir())


@pytest.mark.fault("a forged ledger names a folder that is not ours")
@pytest.mark.parametrize(
    "spelled",
    [
        "{home}",
        "{home}/../{home_name}",
        "{tmp}",
        "{tmp}/..",
        "{tmp}/{name}/../../precious",
        "{tmp}/stranger",
        "{tmp}/vmcompare-notes",
        "{tmp}/vmcompare-2-deadbeef-0123abcd",
        "{home}/{name}",
        "{tmp}/link/{name}",
        "{tmp}/sub/{name}",
        "relative/{name}",
        "/",
        "",
        "/tmp/\x00",
        "/proc/self/root/{home}",
    ],
)
def test_a_strangers_folder_stays(
    spelled: str, sessions: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, temporary = tmp_path / "home", Path(tempfile.gettempdir())
    monkeypatch.setenv("HOME", str(home))
    kept = [
        folder(home),
        folder(home / NAME),
        folder(tmp_path / "precious"),
        *(folder(temporary / name) for name in ("stranger", "vmcompare-notes", f"sub/{NAME}")),
        folder(temporary / "vmcompare-2-deadbeef-0123abcd"),
    ]
    (temporary / "link").symlink_to(home)
    path = spelled.format(home=home, home_name=home.name, tmp=temporary, name=NAME)
    plant(sessions, owner(), {"watch": path})
    cleanup.sweep()
    assert all((place / "precious").exists() for place in kept)


@pytest.mark.fault("a forged ledger names a process that is not ours")
@pytest.mark.parametrize(
    "form",
    [
        "number and start", "owner's number", "its folder", "our own session", "its parent",
        "a stranger's mark",
    ],
)  # fmt: skip
def test_a_bystander_lives(form: str, sessions: Path, bystander: psutil.Process) -> None:
    start = cleanup.started(bystander.pid)
    entry = {"watch": f"process {bystander.pid}", "pid": bystander.pid, "started": start}
    lines: dict[str, tuple[object, ...]] = {
        "number and start": (owner(), entry, {**entry, "watch": "process"}),
        "owner's number": (owner(pid=bystander.pid),),
        "its folder": (owner(), {"watch": bystander.cwd()}, {"watch": bystander.exe()}),
        "our own session": (owner(pid=os.getpid()), {**entry, "pid": os.getpid()}),
        "its parent": (owner(), {"watch": f"process {bystander.ppid()}", "pid": bystander.ppid()}),
        "a stranger's mark": (owner(session="*"), owner(session="")),
    }
    plant(sessions, *lines[form])
    cleanup.sweep()
    assert bystander.is_running()
    assert bystander.status() != psutil.STATUS_ZOMBIE


@pytest.mark.fault("a process of another user carries the mark of a dead session")
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_another_users_process_lives(sessions: Path) -> None:
    with subprocess.Popen(
        ["sleep", "300"], user=65534, env={**os.environ, "VMCOMPARE_SESSION": DEAD}
    ) as process:
        plant(sessions, owner())
        cleanup.sweep()
        assert process.poll() is None
        process.kill()


@pytest.mark.fault("a ledger or its folder belongs to another user, or others can write to it")
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
@pytest.mark.parametrize(
    "form", ["file given away", "folder given away", "file open", "folder open", "link", "home"]
)
def test_a_foreign_ledger_is_not_obeyed_and_is_named(
    form: str, sessions: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = folder(Path(tempfile.gettempdir(), NAME))
    ledger = plant(sessions, owner(), {"watch": str(path)})
    if form == "file given away":
        os.chown(ledger, 65534, 65534)
    elif form == "file open":
        ledger.chmod(0o666)
    elif form == "folder open":
        sessions.chmod(0o777)
    elif form == "link":
        ledger.rename(tmp_path / "elsewhere")
        ledger.symlink_to(tmp_path / "elsewhere")
    elif form == "folder given away":
        os.chown(sessions, 65534, 65534)
    else:  # as sudo keeps HOME
        for place in (sessions, sessions.parent, sessions.parent.parent):
            os.chown(place, 65534, 65534)
        monkeypatch.setattr("pwd.getpwuid", lambda _: type("Root", (), {"pw_dir": tmp_path / "r"}))
    swept = cleanup.sweep()
    assert path.exists()
    assert len(swept) == 0
    if form != "home":  # that one is not even looked into: root has places of its own
        [said] = swept.refused
        assert "left alone" in said or "belongs to another user" in said


@pytest.mark.fault("root works in a learner's home")
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_what_root_starts_in_a_learners_home_locks_nobody_out(
    sessions: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = (sessions, sessions.parent, sessions.parent.parent)
    for place in places:
        os.chown(place, 65534, 65534)
    monkeypatch.setattr("pwd.getpwuid", lambda _: type("Root", (), {"pw_dir": tmp_path / "r"}))
    monkeypatch.setattr("vmcompare.engines.cleanup.ledger._session", None)
    with cleanup.guard(), cleanup.folder():
        assert list((tmp_path / "r").rglob("*.jsonl"))
    assert not list(sessions.iterdir())
    assert not list((tmp_path / "r").rglob("*.jsonl"))
    assert {place.stat().st_uid for place in places} == {65534}


@pytest.mark.fault("the pid file of a Docker daemon says anything at all")
@pytest.mark.parametrize(
    "form",
    ["folder", "FIFO", "given away", b"[]", b"[" * 100_000, b'{"pid": %d}' % 10**400, b"\xff"],
)
def test_an_odd_pid_file_stops_no_daemon(form: str | bytes, sessions: Path) -> None:
    from vmcompare.engines import setup

    path = sessions.parent / "engine" / "daemon.json"
    path.parent.mkdir()
    if form == "folder":
        path.mkdir()
    elif form == "FIFO":
        os.mkfifo(path, 0o600)
    else:
        path.write_bytes(form if isinstance(form, bytes) else b"{}")
        path.chmod(0o600)
    if form == "given away":
        path.chmod(0o666)
    said: list[str] = []
    setup.stop(said.append)
    [sentence] = said
    assert sentence.startswith("No Docker of ours")


@pytest.mark.fault("a ledger is damaged")
@pytest.mark.parametrize(
    "form",
    [
        b"", b"\n", b"[" * 200_000, b"[1, 2", b"\xff\xfe\x00", b"\x00" * 5000, b"null", b"{}",
        b'{"session": ["1-deadbeef"]}', b'{"session": "1-deadbeef", "pid": [1]}',
        b'{"session": "../../x", "pid": 1, "started": "", "boot": "", "host": ""}',
        json.dumps(owner(pid=10**400)).encode(), json.dumps(owner(started={})).encode(),
        json.dumps(owner(session="2-deadbeef")).encode(), b"x" * (9 << 20),
    ],
    ids=range(15),
)  # fmt: skip
def test_a_damaged_ledger_is_named_and_the_others_are_obeyed(form: bytes, sessions: Path) -> None:
    path = folder(Path(tempfile.gettempdir(), "vmcompare-3-deadbeef-0123abcd"))
    plant(sessions, form)
    plant(sessions, owner(session="3-deadbeef"), {"watch": str(path)}, name="3-deadbeef.jsonl")
    swept = cleanup.sweep()
    assert not path.exists()
    assert [f"{DEAD}.jsonl was left alone" in said for said in swept.refused] == [True]
    assert "\n" not in swept.refused[0]


@pytest.mark.fault("a line of a ledger is damaged")
@pytest.mark.parametrize(
    "line",
    [
        b"[" * 200_000, b"nonsense", b"\xff", b"1", b"[]", b'{"watch": 1}', b'{"watch": {"a": 1}}',
        b'{"forget": null}', b'{"watch": "x", "forget": "y"}', b'{"watch": "a", "pid": 1}',
        b'{"watch": "containers", "watch": ["containers"]}', b'{"watch": "\xed\xa0\x80"}',
    ],
    ids=range(12),
)  # fmt: skip
def test_a_damaged_line_is_skipped_and_named(line: bytes, sessions: Path) -> None:
    path = folder(Path(tempfile.gettempdir(), NAME))
    plant(sessions, owner(), line, {"watch": str(path)})
    swept = cleanup.sweep()
    assert [ended.kind for ended in swept] == ["path"]
    [said] = swept.refused
    assert "line 2: it is not understood" in said


@pytest.mark.fault("something that is no file lies among the ledgers")
@pytest.mark.parametrize("form", ["folder", "FIFO", "socket", "device", "dangling link", "name"])
def test_what_is_no_file_is_named_and_nobody_waits_for_it(form: str, sessions: Path) -> None:
    path = sessions / f"{DEAD}.jsonl"
    if form == "folder":
        path.mkdir()
    elif form == "FIFO":
        os.mkfifo(path, 0o600)
    elif form == "socket":
        with socket.socket(socket.AF_UNIX) as server:
            here = Path.cwd()
            os.chdir(sessions)  # the path of a socket must be short
            server.bind(path.name)
            os.chdir(here)
        path.chmod(0o600)
    elif form == "device":
        path.symlink_to("/dev/zero")
    elif form == "dangling link":
        path.symlink_to("nowhere")
    else:
        (sessions / "\x1b[31mhello\n.jsonl").write_text("{}")
    done = subprocess.run(
        [sys.executable, "-m", "vmcompare", "clean"],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert done.stdout.count("was left alone") == 1
    assert "\x1b" not in done.stdout
    assert done.stderr == ""
    with cleanup.guard():  # and a run goes on
        pass


@pytest.mark.fault("a file system is mounted in a folder that is to be removed")
@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("mount"), reason="only root can mount")
def test_what_is_mounted_stays(sessions: Path, tmp_path: Path) -> None:
    path, precious = folder(Path(tempfile.gettempdir(), NAME)), folder(tmp_path / "elsewhere")
    (path / "in").mkdir()
    mounted = subprocess.run(
        ["mount", "--bind", str(precious), str(path / "in")], check=False, capture_output=True
    )
    if mounted.returncode:
        pytest.skip("nothing can be mounted here")
    try:
        plant(sessions, owner(), {"watch": str(path)})
        assert "mounted" in cleanup.sweep().refused[0]
        assert (precious / "precious").exists()
    finally:
        subprocess.run(["umount", str(path / "in")], check=True)


# What JSON can say, our own words among it more often than chance would have them.
_WORDS = st.sampled_from(
    ["watch", "forget", "session", "containers", "path /", "pid", "started", DEAD, NAME, "..", "/"]
)
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | _WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_WORDS, inner, max_size=4),
    max_leaves=8,
)
_PATHS = st.lists(st.sampled_from(["..", ".", "home", "tmp", "precious", NAME, "link", "", "a\0"]))


@pytest.mark.fault("a ledger says anything at all")
@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_whatever_is_written_there_nothing_of_others_is_touched(
    data: st.DataObject, sessions: Path, tmp_path: Path, bystander: psutil.Process
) -> None:
    temporary = Path(tempfile.gettempdir())
    strange = (temporary / "precious", tmp_path / "precious", tmp_path / "home" / NAME)
    for place in strange:
        place.mkdir(parents=True, exist_ok=True)
    start = cleanup.started(bystander.pid)
    head = st.just(owner()) | st.dictionaries(_WORDS, _JSON).map(lambda odd: owner(**odd))
    paths = st.tuples(st.sampled_from([temporary, tmp_path, Path("/proc/self/root")]), _PATHS).map(
        lambda parts: "/".join([str(parts[0]), *parts[1]])
    )
    entries = (
        paths.map(lambda path: {"watch": path})
        | _JSON
        | st.binary(max_size=40)
        | st.just({"watch": f"process {bystander.pid}", "pid": bystander.pid, "started": start})
    )
    lines = [data.draw(head | _JSON), *data.draw(st.lists(entries, max_size=6))]
    plant(sessions, *lines)
    swept = cleanup.sweep()
    assert all(place.is_dir() for place in strange)
    assert bystander.is_running()
    assert all("\n" not in said for said in swept.refused)
    shutil.rmtree(temporary / NAME, ignore_errors=True)
