"""What set-up decides, for every kind of computer; and that it ends nobody's daemon but ours."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from vmcompare import paths
from vmcompare.engines import cleanup, setup
from vmcompare.engines.docker_connection import EngineUnavailable, Trouble

LACKING = "Docker is not installed. Next step: install it"


class Computer:
    """What set-up finds here, and what it does: nothing is installed or started."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.docker, self.may_start, self.may_install = LACKING, True, True
        self.programs: set[str] = set()
        self.done: list[str] = []
        patch.setattr(setup, "docker_state", lambda: (self.docker, self.may_start))
        patch.setattr(setup, "may_install", lambda: self.may_install)
        patch.setattr(setup.shutil, "which", lambda name: name if name in self.programs else None)
        patch.setattr(setup.platform, "machine", lambda: "x86_64")
        patch.setattr(setup, "_install", lambda packages, _say: self.done.extend(packages))
        patch.setattr(setup, "_start_docker", lambda _say: self.done.append("start"))

    def lines(self) -> list[str]:
        said: list[str] = []
        setup.ensure(said.append)
        return said


@pytest.fixture
def computer(monkeypatch: pytest.MonkeyPatch) -> Computer:
    """Root on Debian with nothing installed."""
    return Computer(monkeypatch)


def test_root_on_debian_installs_what_is_missing_and_starts_it(computer: Computer) -> None:
    assert computer.lines() == []
    assert computer.done == [*setup.DOCKER_PACKAGES, "qemu-system-x86", "start"]


def test_with_both_engines_there_is_one_line_each(computer: Computer) -> None:
    computer.docker, computer.may_start = "Docker 28.5 is ready", False
    computer.programs = {"qemu-system-x86_64"}
    assert computer.lines() == ["Docker 28.5 is ready", "QEMU is ready (qemu-system-x86_64)"]
    assert computer.done == []


@pytest.mark.parametrize("may_install", [True, False])
def test_an_installed_docker_is_started_and_not_installed(
    computer: Computer, may_install: bool
) -> None:
    computer.programs = {"dockerd", "qemu-system-x86_64"}
    computer.may_install = may_install
    assert len(computer.lines()) == 1
    assert computer.done == ["start"]


@pytest.mark.parametrize("may_start", [True, False])
def test_elsewhere_there_is_exactly_one_next_step_for_each_missing_engine(
    computer: Computer, may_start: bool
) -> None:
    computer.may_install, computer.may_start = False, may_start
    assert [line.count("Next step:") for line in computer.lines()] == [1, 1]
    assert computer.done == []


@pytest.mark.parametrize(
    ("trouble", "startable"),
    [(Trouble.ABSENT, True), (Trouble.NOT_RUNNING, True), (Trouble.REFUSED, True),
     (Trouble.HUNG, False), (Trouble.PERMISSION, False), (Trouble.API_VERSION, False)],
)  # fmt: skip
def test_a_docker_that_is_there_in_any_form_is_not_disturbed(
    trouble: Trouble, startable: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def connect(_timeout_s: int) -> None:
        raise EngineUnavailable(trouble, "no Docker", "do this")

    monkeypatch.setattr(setup, "connect", connect)
    monkeypatch.setattr(setup, "endpoint", lambda: "")
    monkeypatch.setattr(setup, "daemons_here", list)
    monkeypatch.setattr(setup, "_is_root", lambda: True)
    assert setup.docker_state() == ("no Docker. Next step: do this", startable)
    monkeypatch.setattr(setup, "endpoint", lambda: "tcp://elsewhere:2375")
    assert not setup.docker_state()[1]
    monkeypatch.setattr(setup, "endpoint", lambda: f"unix://{setup.SOCKET}")
    monkeypatch.setattr(setup, "daemons_here", lambda: ["one"])
    state, may_start = setup.docker_state()
    assert "DOCKER_HOST" in state
    assert not may_start


@pytest.mark.parametrize(
    ("words", "options"),
    [
        ("failed to create NAT chain DOCKER: iptables failed", ("--iptables=false",)),
        ("Could not fetch rule set generation id: nf_tables", ("--iptables=false",)),
        ('Error creating default "bridge" network', ("--iptables=false", "--bridge=none")),
        ("failed to mount overlay: invalid argument", ("--storage-driver=vfs",)),
        ("something nobody knows", ()),
    ],
)
def test_the_daemons_last_words_choose_the_remedy(words: str, options: tuple[str, ...]) -> None:
    assert setup.remedy(words, ()) == options


def test_a_remedy_is_tried_once() -> None:
    assert setup.remedy("iptables", ("--iptables=false",)) == ()


def test_skip_prints_one_line_and_looks_at_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENGINES", "skip")
    monkeypatch.setattr(setup, "docker_state", lambda: pytest.fail("it looked"))
    said: list[str] = []
    setup.ensure(said.append)
    assert said == ["ENGINES=skip: nothing is installed or started"]


@pytest.mark.docker
def test_with_a_docker_that_answers_ensure_changes_nothing(
    private_places: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(setup, "_install", lambda *_: None)
    said: list[str] = []
    setup.ensure(said.append)
    assert said[0].startswith("Docker ")
    assert said[0].endswith(" is ready")
    assert not list(private_places.rglob("daemon.json"))


# --- stop -----------------------------------------------------------------------------------


def pretend(process: int, **changes: str) -> Path:
    """A pid file as set-up writes it."""
    path = paths.state_dir() / "engine" / "daemon.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    entry = {"pid": process, "started": cleanup.started(process), "boot": cleanup.boot()}
    path.write_text(json.dumps({**entry, **changes}))
    return path


def stopped() -> str:
    said: list[str] = []
    setup.stop(said.append)
    (line,) = said
    return line


needs_sleep = pytest.mark.skipif(os.name != "posix", reason="needs sleep(1)")


@needs_sleep
@pytest.mark.usefixtures("private_places")
class TestStop:
    """Never run against a real daemon."""

    def test_it_ends_the_daemon_of_our_pid_file(self) -> None:
        with subprocess.Popen(["sleep", "300"]) as dummy:
            path = pretend(dummy.pid)
            assert "Stopped" in stopped()
            assert dummy.wait(5) != 0
        assert not path.exists()

    def test_it_kills_one_that_does_not_listen(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(setup, "STOP_S", 0.5)
        deaf = ["sh", "-c", "trap '' TERM; echo; while :; do sleep 1; done"]
        with subprocess.Popen(deaf, stdout=subprocess.PIPE) as dummy:
            assert dummy.stdout is not None
            dummy.stdout.readline()
            pretend(dummy.pid)
            try:
                assert "Stopped" in stopped()
                assert dummy.wait(5) == -9
            finally:
                dummy.kill()

    @pytest.mark.parametrize(
        "changes", [{"started": "another time"}, {"boot": "another boot"}, {"pid": "x"}]
    )
    def test_it_spares_a_process_that_is_not_the_one_it_started(
        self, changes: dict[str, str]
    ) -> None:
        with subprocess.Popen(["sleep", "300"]) as dummy:
            try:
                path = pretend(dummy.pid, **changes)
                assert "No Docker of ours" in stopped()
                assert dummy.poll() is None
                assert not path.exists()
            finally:
                dummy.kill()

    def test_without_a_pid_file_there_is_nothing_to_do(self) -> None:
        assert "No Docker of ours" in stopped()
