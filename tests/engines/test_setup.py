"""What set-up decides, for every kind of computer; and that it ends nobody's daemon but ours."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from vmcompare import paths
from vmcompare.engines import cleanup, setup
from vmcompare.engines.docker_connection import Trouble
from vmcompare.engines.setup import Plan, SystemFacts, main, plan

CLOUD = SystemFacts(root=True, debian=True, apt=True)
"""Root on Debian with nothing installed."""


def with_(**changes: Any) -> SystemFacts:
    """That computer with ``changes``."""
    return dataclasses.replace(CLOUD, **changes)


def nothing_done(facts: SystemFacts) -> tuple[str, ...]:
    """The lines of a plan that installs and starts nothing."""
    found = plan(facts)
    assert (found.packages, found.start) == ((), False)
    return found.lines


def test_with_both_engines_there_is_one_line_each() -> None:
    docker, qemu = nothing_done(with_(docker_version="28.5", qemu=True))
    assert "28.5" in docker
    assert "QEMU is ready" in qemu


def test_root_on_debian_installs_what_is_missing_and_starts_it() -> None:
    expected = ("docker.io", "iptables", "ca-certificates", "qemu-system-x86")
    assert plan(CLOUD) == Plan((), expected, start=True)


def test_only_what_is_missing_is_installed() -> None:
    assert plan(with_(docker_version="28")).packages == ("qemu-system-x86",)
    assert plan(with_(qemu=True, missing=("docker.io",))).packages == ("docker.io",)


def test_an_arm_computer_gets_the_arm_package() -> None:
    assert "qemu-system-arm" in plan(with_(machine="aarch64")).packages


def test_an_installed_docker_is_started_and_nothing_is_installed() -> None:
    found = plan(with_(dockerd=True, qemu=True, missing=(), trouble=Trouble.NOT_RUNNING))
    assert (found.packages, found.start) == ((), True)


def test_root_elsewhere_starts_what_is_there_but_installs_nothing() -> None:
    found = plan(with_(debian=False, apt=False, dockerd=True))
    assert (found.packages, found.start) == ((), True)


@pytest.mark.parametrize(
    "facts",
    [
        with_(root=False),
        with_(root=False, dockerd=True, trouble=Trouble.NOT_RUNNING),
        with_(apt=False),
        with_(debian=False),
        with_(linux=False, debian=False, apt=False, machine="arm64"),
        with_(machine="riscv64", root=False),
    ],
)
def test_elsewhere_there_is_exactly_one_next_step_for_each_missing_engine(
    facts: SystemFacts,
) -> None:
    lines = nothing_done(facts)
    assert [line.count("Next step:") for line in lines] == [1, 1]


@pytest.mark.parametrize(
    "changes",
    [
        {"elsewhere": True},
        {"trouble": Trouble.HUNG},
        {"trouble": Trouble.PERMISSION},
        {"trouble": Trouble.API_VERSION},
        {"other_daemon": True},
    ],
)
def test_a_docker_that_is_there_in_any_form_is_not_disturbed(changes: dict[str, Any]) -> None:
    assert len(nothing_done(with_(qemu=True, dockerd=True, **changes))) == 2


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
    assert setup.remedy(words, (), other_daemon=False) == options


def test_a_remedy_is_tried_once() -> None:
    assert setup.remedy("iptables", ("--iptables=false",), other_daemon=False) == ()


def test_the_bridge_is_never_given_up_beside_another_daemon() -> None:
    assert "--bridge=none" not in setup.remedy("bridge", (), other_daemon=True)
    assert setup.remedy("bridge", ("--iptables=false",), other_daemon=True) == ()


def test_skip_prints_one_line_and_looks_at_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENGINES", "skip")
    monkeypatch.setattr(setup, "facts", lambda: pytest.fail("it looked"))
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


def test_an_unknown_command_is_refused_with_the_usage(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["restart"]) == 2
    assert "ensure|stop" in capsys.readouterr().err
