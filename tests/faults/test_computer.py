"""What befalls the computer, or the interpreter, in mid-run."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

RUN = (sys.executable, "-m", "vmcompare")


def rows_of(out: Path) -> list[dict[str, Any]]:
    """The whole rows written so far below ``out``."""
    texts = [path.read_text(encoding="utf-8") for path in out.rglob("*.jsonl")]
    lines = [json.loads(line) for text in texts for line in text.split("\n")[:-1]]
    return [line for line in lines if line["kind"] == "row"]


@pytest.mark.fault("the run stands still in mid-start, as on a laptop that is closed")
def test_what_was_measured_across_a_standstill_is_a_failed_row(
    attempt: int, without_engines: dict[str, str], tmp_path: Path
) -> None:
    chance, out = random.Random(attempt), tmp_path / "out"
    command = (*RUN, "record", "boot_speed", "--platform", "process", "--rounds", "400")
    with subprocess.Popen(
        [*command, "--out", str(out)], env=without_engines, stderr=subprocess.DEVNULL
    ) as run:
        deadline = time.monotonic() + 60
        while not (out.exists() and rows_of(out)) and time.monotonic() < deadline:
            time.sleep(0.02)
        for _ in range(20):  # one may fall between two starts, where nothing is timed
            time.sleep(chance.uniform(0, 0.3))
            run.send_signal(signal.SIGSTOP)
            time.sleep(2.5)
            before = len(rows_of(out))
            run.send_signal(signal.SIGCONT)
            deadline = time.monotonic() + 60
            while len(rows_of(out)) < before + 5 and time.monotonic() < deadline:
                time.sleep(0.02)
            if any("stood still for" in row["error"] for row in rows_of(out)):
                break
        run.send_signal(signal.SIGINT)
        assert run.wait(60) == 130
    rows = rows_of(out)
    interrupted = [row for row in rows if "stood still for" in row["error"]]
    assert interrupted
    assert all(row["value"] is None and row["status"] == "error" for row in interrupted)
    seconds = [row["value"] for row in rows if row["unit"] == "s" and row["value"]]
    assert seconds
    assert max(seconds) < 2.0


@pytest.mark.fault("Python drops assertions and docstrings")
@pytest.mark.parametrize(
    "words",
    [
        ["--version"],
        ["--help"],
        ["record", "--help"],
        ["check", "--json"],
        ["clean"],
        ["record", "boot_speed", "--platform", "process", "--rounds", "1"],
    ],
    ids=" ".join,
)
def test_every_command_works_without_docstrings_and_assertions(
    words: list[str], without_engines: dict[str, str], tmp_path: Path
) -> None:
    out = ["--out", str(tmp_path)] if "boot_speed" in words else []
    places = {f"XDG_{name}_HOME": str(tmp_path / name) for name in ("STATE", "DATA")}
    environment = {**without_engines, **places, "PYTHONOPTIMIZE": "2"}
    done = subprocess.run(
        [*RUN, *words, *out],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    if "--help" in words:
        assert done.stdout.startswith("usage: vmcompare")


OPEN_TO_ALL = """
c = get_config()
for name in ("ServerApp", "LabApp", "NotebookApp"):
    c[name].ip = "0.0.0.0"
    c[name].token = c[name].password = ""
    c[name].allow_origin = "*"
    c[name].disable_check_xsrf = c[name].allow_remote_access = True
c.IdentityProvider.token = c.PasswordIdentityProvider.token = ""
"""


@pytest.mark.slow
@pytest.mark.fault("Jupyter's configuration switches the token off and listens to the world")
def test_the_lab_asks_for_its_token_whatever_is_configured(
    without_engines: dict[str, str], tmp_path: Path
) -> None:
    configuration = tmp_path / "jupyter"
    configuration.mkdir()
    for name in ("jupyter_server_config.py", "jupyter_lab_config.py", "jupyter_config.py"):
        (configuration / name).write_text(OPEN_TO_ALL, encoding="utf-8")
    environment = {
        **without_engines,
        "JUPYTER_CONFIG_DIR": str(configuration),
        "JUPYTER_RUNTIME_DIR": str(tmp_path / "runtime"),
        "JUPYTER_TOKEN": "",
        "ENGINES": "skip",
    }
    log = tmp_path / "log"
    with (
        log.open("wb") as said,
        subprocess.Popen(
            [*RUN, "lab", str(tmp_path / "lessons"), "--no-browser"],
            env=environment,
            stdout=said,
            stderr=said,
        ) as lab,
    ):
        try:
            port, token = _address(log, lab)
            place = f"http://127.0.0.1:{port}/api/contents"
            assert _status(place) == 403
            assert _status(place, "wrong") == 403
            assert _status(place, token) == 200
            others = [i for i in _own_addresses() if not i.startswith("127.")]
            for address in others:
                with socket.socket() as client:
                    client.settimeout(20)
                    assert client.connect_ex((address, port)) != 0
            arguments = Path(f"/proc/{lab.pid}/cmdline")
            assert not arguments.exists() or token.encode() not in arguments.read_bytes()
        finally:
            lab.terminate()
            lab.wait(60)


def _address(log: Path, lab: subprocess.Popen[bytes]) -> tuple[int, str]:
    """Where the lab says it is, once it listens there."""
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline and lab.poll() is None:
        found = [w for w in log.read_text(errors="replace").split() if "?token=" in w]
        if found:
            port, token = urlsplit(found[0]).port, found[0].partition("?token=")[2]
            with socket.socket() as client:
                if client.connect_ex(("127.0.0.1", port)) == 0:
                    return port, token
        time.sleep(0.1)
    raise AssertionError(log.read_text(errors="replace"))


def _status(place: str, token: str = "") -> int:
    headers = {"Authorization": f"token {token}"} if token else {}
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(urllib.request.Request(place, headers=headers), timeout=20) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def _own_addresses() -> list[str]:
    import psutil

    every = [address for found in psutil.net_if_addrs().values() for address in found]
    return [address.address for address in every if address.family == socket.AF_INET]


@pytest.mark.fault("what /proc tells is restricted, or psutil fails")
def test_facts_that_cannot_be_had_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    import psutil

    from vmcompare.measuring import host

    def refuse(*arguments: object) -> Any:
        raise PermissionError("not for you")

    monkeypatch.setattr(psutil, "sensors_battery", refuse, raising=False)
    for name in ("getloadavg", "cpu_count", "virtual_memory"):
        monkeypatch.setattr(psutil, name, refuse)
    facts = host.facts({}, {})
    assert "load_1min" not in facts
    assert facts["cores"] == (os.cpu_count() or 1)
