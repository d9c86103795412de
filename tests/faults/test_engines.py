"""Engines in odd states: settings that cannot be read, daemons that die, programs that hang."""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
from private_engine import private_daemon
from waiting import until

from vmcompare.engines import cleanup, docker, docker_connection
from vmcompare.engines.qemu import QemuLauncher
from vmcompare.sandbox import Machine, Platform, Spec

__all__ = ["private_daemon"]  # a fixture

RUN = (sys.executable, "-m", "vmcompare")


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A home without Docker's settings, and a ``docker`` on PATH; no engine is named."""
    for name in [name for name in os.environ if name.startswith("DOCKER_")]:
        monkeypatch.delenv(name)
    program = tmp_path / "bin" / "docker"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent))
    cache = os.environ.get("XDG_CACHE_HOME", str(Path.home() / ".cache"))
    monkeypatch.setenv("XDG_CACHE_HOME", cache)  # what is built once, is built once
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def refused() -> str:
    """What is said of Docker; nothing is raised."""
    found = docker.probe(2)
    assert not found.ok
    assert "systemctl" not in found.next_step
    docker_connection.endpoint()
    cleanup.sweep()
    return f"{found.what}. Next step: {found.next_step}"


GOOD = {"Name": "mine", "Metadata": {}, "Endpoints": {"docker": {"Host": "unix:///nowhere"}}}


def other(**changes: object) -> bytes:
    return json.dumps({**GOOD, **changes}).encode()


@pytest.mark.fault("the context in use is damaged")
@pytest.mark.parametrize(
    "meta",
    [
        None,
        b"\0" * 300,
        other()[:40],
        b"[]",
        b"5",
        b"null",
        b"[" * 100_000,
        "täxt".encode("utf-16"),
        other(Endpoints=[]),
        other(Endpoints=None),
        other(Endpoints={"docker": 5}),
        other(Endpoints={"docker": {"Host": None}}),
        other(Endpoints={"docker": {"Host": 5}}),
        other(Endpoints={"docker": {"Host": "tcp://127.0.0.1:notaport"}}),
        other(Metadata=None),
        other(),
    ],
    ids=lambda meta: repr(meta)[:30],
)
def test_a_damaged_context_is_named(
    bare: Path, private_places: Path, monkeypatch: pytest.MonkeyPatch, meta: bytes | None
) -> None:
    monkeypatch.setenv("DOCKER_CONFIG", str(bare))
    (bare / "config.json").write_text(json.dumps({"currentContext": "mine"}))
    if meta is not None:
        place = bare / "contexts" / "meta" / hashlib.sha256(b"mine").hexdigest() / "meta.json"
        place.parent.mkdir(parents=True)
        place.write_bytes(meta)
    assert "the context mine" in refused()


@pytest.mark.fault("Docker's file of settings is damaged")
@pytest.mark.parametrize(
    "text",
    [
        "[]",
        '""',
        "1",
        "null",
        '{"proxies": null}',
        '{"proxies": []}',
        '{"proxies": {"default": 5}}',
        '{"auths": [1]}',
        '{"auths": {"x": 5}}',
        '{"auths": {"x": {"auth": "!!"}}}',
        '{"HttpHeaders": 5}',
        '{"HttpHeaders": {"X": 1}}',
        '{"currentContext": 5}',
        '{"currentContext": "\\ud800"}',
        "[" * 100_000,
    ],
    ids=lambda text: text[:30],
)
def test_a_damaged_file_of_settings_is_named(
    bare: Path, private_places: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setenv("DOCKER_CONFIG", str(bare))
    (bare / "config.json").write_text(text)
    assert "config.json" in refused()


@pytest.mark.fault("Docker's file of settings never ends")
@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_a_file_of_settings_that_never_ends_is_named(
    bare: Path, private_places: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setenv("DOCKER_CONFIG", str(bare))
    if kind == "pipe":
        os.mkfifo(bare / "config.json")
    else:
        (bare / "config.json").symlink_to("/dev/zero")
    assert "config.json" in refused()


@pytest.mark.fault("a variable that names the engine holds nonsense")
@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("DOCKER_HOST", "tcp://127.0.0.1:notaport"),
        ("DOCKER_HOST", "tcp://127.0.0.1:99999"),
        ("DOCKER_HOST", "tcp://[::1"),
        ("DOCKER_HOST", "tcp://"),
        ("DOCKER_HOST", "ssh://nowhere"),
        ("DOCKER_HOST", "npipe://"),
        ("DOCKER_HOST", "unix://relative"),
        ("DOCKER_HOST", "fd://"),
        ("DOCKER_HOST", "http+unix:///nowhere"),
        ("DOCKER_HOST", "   "),
        ("DOCKER_HOST", "tcp://user:secret@127.0.0.1:1"),
        ("DOCKER_HOST", "\udcff"),
        ("DOCKER_CONTEXT", "nowhere"),
        ("DOCKER_TLS_VERIFY", "1"),
        ("DOCKER_CERT_PATH", "/nowhere"),
    ],
)
def test_a_variable_that_holds_nonsense_is_named(
    bare: Path,
    private_places: Path,
    monkeypatch: pytest.MonkeyPatch,
    variable: str,
    value: str,
) -> None:
    monkeypatch.setenv(variable, value)
    said = refused()
    assert variable in said
    assert "secret" not in said


@contextmanager
def server(answer: Callable[[socket.socket], object]) -> Iterator[str]:
    """Something listens, and answers every connection with ``answer``; its address."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(20)

        def serve() -> None:
            while True:
                try:
                    client, _ = listening.accept()
                except OSError:
                    return
                threading.Thread(target=one, args=(client,), daemon=True).start()

        def one(client: socket.socket) -> None:
            with client:
                try:
                    client.recv(1 << 16)
                    answer(client)
                except OSError:
                    pass

        threading.Thread(target=serve, daemon=True).start()
        yield f"tcp://127.0.0.1:{listening.getsockname()[1]}"
        listening.shutdown(socket.SHUT_RDWR)


def page(body: str, code: str = "200 OK") -> Callable[[socket.socket], object]:
    whole = f"HTTP/1.1 {code}\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()
    return lambda client: client.sendall(whole)


def trickle(client: socket.socket) -> None:
    client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
    for _ in range(100):
        time.sleep(0.2)
        client.sendall(b" ")


@pytest.mark.fault("what answers in the engine's place is no engine, or never ends")
@pytest.mark.parametrize(
    "answer",
    [
        page("<html>"),
        page("<html>", "502 Bad Gateway"),
        page("[]"),
        page('{"ApiVersion": 5}'),
        page('{"ApiVersion": "abc"}'),
        page('{"ApiVersion": "1.10"}'),
        page('{"ApiVersion": "1.41"}'),
        lambda client: client.sendall(b"\0\1\2 nonsense\r\n\r\n"),
        lambda _client: time.sleep(20),
        trickle,
    ],
    ids=["html", "502", "list", "number", "word", "old", "no facts", "bytes", "silent", "trickle"],
)
def test_what_is_no_engine_is_one_sentence_in_time(
    bare: Path,
    private_places: Path,
    monkeypatch: pytest.MonkeyPatch,
    answer: Callable[[socket.socket], object],
) -> None:
    with server(answer) as address:
        monkeypatch.setenv("DOCKER_HOST", address)
        found = docker.probe(0.4)
    assert not found.ok
    assert "\n" not in found.what
    assert "systemctl" not in found.next_step


@pytest.mark.slow
@pytest.mark.fault("Docker's settings cannot be read while other platforms are measured")
def test_everything_but_docker_goes_on(bare: Path, private_places: Path) -> None:
    config = bare / "config.json"
    config.write_text("[]")
    environment = {**os.environ, "DOCKER_CONFIG": str(bare)}
    for words in (
        ["check"],
        ["clean"],
        ["record", "boot_speed", "--platform", "process", "--rounds", "1", "--out", str(bare)],
    ):
        done = subprocess.run(
            [*RUN, *words], env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        assert "Traceback" not in done.stderr
        if words == ["check"]:
            assert "config.json cannot be understood" in done.stdout


@pytest.mark.fault("QEMU on PATH is broken, or hangs")
@pytest.mark.parametrize("script", ["exit 1", "kill -9 $$", "echo version", "exec sleep 60", ""])
def test_a_broken_qemu_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, script: str
) -> None:
    from vmcompare.engines import qemu
    from vmcompare.engines.qemu import binary

    name = f"qemu-system-{binary._TARGETS[os.uname().machine]}"
    (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n" if script else "nonsense")
    (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}/bin")
    monkeypatch.setattr(binary, "_ANSWER_S", 0.4)
    monkeypatch.setattr(binary, "_candidates", lambda name: [(tmp_path / name, None)])
    found = qemu.probe()
    assert not found.ok
    assert found.what.startswith("QEMU is here but does not start")


@pytest.mark.qemu
@pytest.mark.fault("the path of the cache has characters that QEMU's options give a meaning")
def test_a_machine_starts_whatever_the_cache_is_called(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    cache = tmp_path / "TP, x=1,,snapshot=on '\" % ü"
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    launcher = QemuLauncher(Platform.VM_DIRECT)
    spec = Spec(machine=Machine.PC, memory_mib=256)
    with launcher.open(spec, lambda _event: None) as sandbox:
        assert sandbox.run(["/bin/busybox", "uname"]).output == b"Linux\n"
    assert list(cache.rglob("*.cpio*"))


def shims() -> list[psutil.Process]:
    """What serves containers that this test's private engine began."""
    place, found = os.environ["DOCKER_HOST"].removeprefix("unix://").rpartition("/")[0], []
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or [""]
        if "containerd-shim" in words[0] and any(f"{place}/" in word for word in words):
            found.append(process)
    return found


def rows(out: Path) -> list[dict[str, Any]]:
    texts = [path.read_text(encoding="utf-8") for path in out.rglob("*.jsonl")]
    lines = [json.loads(line) for text in texts for line in text.split("\n")[:-1]]
    return [line for line in lines if line["kind"] == "row" and line["layer"] == "product"]


@pytest.mark.docker
@pytest.mark.fault("the daemon is killed in mid-run and comes back")
def test_a_daemon_that_comes_back_costs_a_run_only_the_starts_meanwhile(
    attempt: int,
    private_daemon: Callable[[], subprocess.Popen[bytes]],
    private_places: Path,
) -> None:
    daemon, out = private_daemon(), private_places / "out"
    docker.DockerLauncher().image(Spec())
    command = (*RUN, "record", "boot_speed", "--platform", "container", "--rounds", "2")
    with subprocess.Popen([*command, "--out", str(out)], stderr=subprocess.DEVNULL) as run:
        assert until(lambda: out.exists() and len(rows(out)) > 2, 60)
        time.sleep(random.Random(attempt).uniform(0, 0.4))
        daemon.kill()
        daemon.wait()
        time.sleep(1.5)
        private_daemon()
        assert run.wait(240) == 0
    starts = [row for row in rows(out) if row["metric"] == "start_to_first_byte_s"]
    removed = [row for row in rows(out) if row["phase"] == "removed"]
    assert len(removed) < len(starts), "one was under way, or about to begin"
    assert starts[-1]["status"] == "ok"
    assert len([row for row in starts if row["status"] != "ok"]) <= 2
    assert until(lambda: not shims())


@pytest.mark.docker
@pytest.mark.alone
@pytest.mark.fault("the daemon is killed, and the run as well")
def test_what_outlived_its_daemon_and_its_run_is_found_by_clean(
    attempt: int,
    private_daemon: Callable[[], subprocess.Popen[bytes]],
    private_places: Path,
) -> None:
    daemon = private_daemon()
    docker.DockerLauncher().image(Spec())
    hold = """if True:
        import sys
        from vmcompare.engines.docker import DockerLauncher
        from vmcompare.sandbox import Spec
        with DockerLauncher().open(Spec(), lambda event: None):
            print("up", flush=True)
            sys.stdin.read()
    """
    held = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with (
        subprocess.Popen([sys.executable, "-c", hold], **held) as run,
        docker.DockerLauncher().open(Spec(), lambda _event: None) as living,
    ):
        assert run.stdout is not None
        assert run.stdout.readline() == b"up\n"
        daemon.kill()
        daemon.wait()
        time.sleep(random.Random(attempt).uniform(0, 0.2))
        assert len(shims()) == 2
        # Its guardian would clean up as well, and may be the first to do so.
        for guardian in psutil.Process(run.pid).children():
            guardian.kill()
        run.send_signal(signal.SIGKILL)
        run.wait()
        done = subprocess.run([*RUN, "clean"], capture_output=True, text=True, check=False)
        assert "removed container" in done.stdout
        assert len(shims()) == 1, "the living owner's container is left alone"
        private_daemon()  # so that leaving can remove it
    assert living is not None
    assert until(lambda: not shims())
