"""What engines are asked to do is logged, without the name of anybody, and heard only if wanted."""

from __future__ import annotations

import json
import logging
import shlex
from pathlib import Path
from types import SimpleNamespace

import pytest

from vmcompare.__main__ import main
from vmcompare.engines import commands, log

pytestmark = pytest.mark.usefixtures("private_places")


def test_a_program_that_is_run_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "vmcompare")
    commands.query(["echo", "a b"], 10)
    commands.run_to_end(["cat"], timeout_s=10, data=b"x")
    with commands.followed(["true"], lambda *_: None) as heard:
        heard.wait(10)
    assert [r.getMessage() for r in caplog.records] == ["run: echo 'a b'", "run: cat", "run: true"]
    assert {r.name.partition(".")[0] for r in caplog.records} == {"vmcompare"}


def test_nothing_is_said_by_default(capfd: pytest.CaptureFixture[str]) -> None:
    commands.query(["true"], 10)
    assert capfd.readouterr() == ("", "")


def test_no_home_is_named(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(Path, "home", lambda: Path("/home/ada"))
    caplog.set_level(logging.INFO, "vmcompare")
    log.command(["/home/ada/.cache/x", "file=/home/ada,ro", "-L/home/ada/y", "/home/adam"])
    said = shlex.split(caplog.messages[0].removeprefix("run: "))
    assert said == ["~/.cache/x", "file=~,ro", "-L~/y", "/home/adam"]


@pytest.mark.parametrize("home", ["/root", "/"])
def test_a_home_that_names_nobody_is_left_where_it_is_part_of_a_path(
    home: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(Path, "home", lambda: Path(home))
    caplog.set_level(logging.INFO, "vmcompare")
    log.command(["/tmp/unpacked/root"])
    assert caplog.messages == ["run: /tmp/unpacked/root"]


def test_a_call_of_docker_is_logged_with_what_was_asked_and_without_what_was_sent(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "vmcompare")

    def call(kind: str, body: bytes) -> None:
        headers = {"Content-Type": kind, "X-Registry-Auth": "secret"}
        asked = SimpleNamespace(method="POST", path_url="/x", headers=headers, body=body)
        log.docker_call(SimpleNamespace(request=asked, status_code=201))

    call("application/json", b'{"Image": "a"}')
    call("application/x-tar", b"\x00" * 10_000)
    assert caplog.messages == ['docker: POST /x {"Image": "a"} -> 201', "docker: POST /x  -> 201"]


def test_v_says_it_on_standard_error_and_never_in_the_recording(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["record", "boot_speed", "--platform", "process", "--rounds", "1"]
    assert main([*words, "--out", str(tmp_path), "-v", "--json"]) == 0
    said = capsys.readouterr()
    assert " vmcompare.engines run: " in said.err
    [told] = json.loads(said.out)["recordings"]
    text = Path(told["file"]).read_text(encoding="utf-8")
    assert "vmcompare.engines" not in text
    assert str(Path.home()) not in text
    assert not logging.getLogger("vmcompare").handlers
