"""The command line: exit codes, one sentence for every error, no traceback."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from planted import planted, row

from vmcompare.__main__ import STOPPED, main
from vmcompare.errors import Unavailable
from vmcompare.evidence.recording import read

pytestmark = pytest.mark.usefixtures("private_places")


def vmcompare(*words: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "vmcompare", *words],
        capture_output=True, text=True, check=False, env=env, stdin=subprocess.DEVNULL,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["record", "bot_speed"], "there is no experiment called 'bot_speed'"),
        (["record", "boot_speed", "--platform", "moon"], "there is no platform called 'moon'"),
        (["handout", "no-such.ipynb", "--out", "x"], "no-such.ipynb"),
        (["handout", "05"], "no lesson called '05'; choose from: 00, 01, 02, 03, 04, 05a, 05b, 09"),
    ],
)
def test_a_wrong_name_is_one_sentence_and_exit_code_1(
    words: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 1
    said = capsys.readouterr().err
    assert says in said
    assert len(said.strip().splitlines()) == 1


@pytest.mark.parametrize(
    "words", [["record", "--rounds", "0"], ["record", "--rounds", "many"], ["nonsense"], []]
)
def test_a_wrong_call_is_told_how_and_exits_with_2(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2
    assert "usage" in capsys.readouterr().err


def test_check_tells_every_engine_and_runtime_and_why_not() -> None:
    told, lines = json.loads(vmcompare("check", "--json").stdout), vmcompare("check").stdout
    assert {"engines", "accelerator", "rejected", "host", "runtimes"} <= told.keys()
    assert sorted(told["runtimes"]) == ["bubblewrap", "runc"]
    for name, found in {**told["engines"], **told["runtimes"]}.items():
        assert any(line.startswith(name) for line in lines.splitlines())
        assert found["available"] or (found["what"] in lines and found["next_step"] in lines)
    if told["engines"]["qemu"]["available"]:
        assert told["accelerator"] in ("kvm", "hvf", "whpx", "tcg")
        assert told["accelerator"] not in told["rejected"]
        assert all(told["rejected"].values())


def test_a_recording_goes_where_it_was_told_to(tmp_path: Path) -> None:
    done = vmcompare("record", "boot_speed", "--platform", "process", "--rounds", "1",
                     "--out", str(tmp_path))  # fmt: skip
    assert done.returncode == 0, done.stderr
    [path] = (tmp_path / "boot_speed").glob("*.jsonl")
    assert str(path) in done.stdout
    run = read(path)
    assert {row["platform"] for row in run.rows} == {"process"}
    assert str(Path.home()) not in path.read_text()


def test_an_engine_that_is_hidden_is_missing_with_the_next_step(
    tmp_path: Path, without_engines: dict[str, str]
) -> None:
    done = vmcompare("record", "boot_speed", "--platform", "vm", "--platform", "container",
                     "--out", str(tmp_path), env=without_engines)  # fmt: skip
    assert done.returncode == 1
    assert "Next step" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not list(tmp_path.rglob("*.jsonl"))


def test_clean_says_when_nothing_was_left(private_places: Path) -> None:
    done = vmcompare("clean")
    assert done.returncode == 0
    assert done.stdout.strip()


def three_experiments(monkeypatch: pytest.MonkeyPatch, second: BaseException) -> list[str]:
    """``record`` without a name finds three; the second raises. Returns whose turn came."""
    turns: list[str] = []

    def run(experiment: SimpleNamespace, *_: object) -> Path:
        turns.append(experiment.name)
        if experiment.name == "b":
            raise second
        return Path(f"{experiment.name}.jsonl")

    monkeypatch.setattr("vmcompare.measuring.experiment.discover", lambda: ("a", "b", "c"))
    monkeypatch.setattr(
        "vmcompare.measuring.experiment.load", lambda name: SimpleNamespace(name=name, rounds=1)
    )
    monkeypatch.setattr("vmcompare.measuring.run.run", run)
    monkeypatch.setattr("vmcompare.__main__._why_nothing", lambda _: "")
    return turns


def test_recording_all_goes_on_after_a_failure_and_says_so_at_the_end(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    turns = three_experiments(monkeypatch, Unavailable("QEMU is gone", "install it"))
    assert main(["record"]) == 1
    said = capsys.readouterr()
    assert turns == ["a", "b", "c"]
    assert said.out.splitlines() == ["recorded a.jsonl", "recorded c.jsonl"]
    assert "b failed: QEMU is gone. Next step: install it" in said.err
    assert said.err.splitlines()[-1].endswith("2 of 3 experiments recorded; failed: b")


def test_a_stop_while_recording_all_stops_the_whole(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    turns = three_experiments(monkeypatch, KeyboardInterrupt())
    assert main(["record"]) == STOPPED
    assert turns == ["a", "b"]
    assert "stopped" in capsys.readouterr().err


def test_a_run_in_which_every_start_failed_says_why_and_exits_with_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    failed = row("container", "start_to_first_byte_s", None, error="the disk is full")
    path = planted(tmp_path, [failed]).path
    monkeypatch.setattr("vmcompare.measuring.run.run", lambda *_: path)
    assert main(["record", "boot_speed"]) == 1
    assert "nothing of boot_speed could be measured: the disk is full" in capsys.readouterr().err


def test_a_handout_whose_folder_takes_no_file_is_refused_before_its_notebook_runs(
    tmp_path: Path,
) -> None:
    (tmp_path / "file").touch()
    done = vmcompare("handout", "notebooks/09-verdict.ipynb", "--out", str(tmp_path / "file" / "d"))
    assert done.returncode == 1
    assert "use another --out" in done.stderr
    assert "cell 1" not in done.stderr


@pytest.mark.slow
def test_a_handout_is_made_of_a_lessons_number_from_any_folder_in_either_edition(
    tmp_path: Path,
) -> None:
    words = ["handout", "00", "09-verdict", "--mode", "replay", "--edition", "instructor"]
    done = subprocess.run(
        [sys.executable, "-m", "vmcompare", *words],
        cwd=tmp_path, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    made = sorted(path.name for path in (tmp_path / "dist").iterdir())
    lessons = ["00-start-here-instructor.html", "09-verdict-instructor.html"]
    assert made == [*lessons, "index.html"]
    for name in lessons:
        page = (tmp_path / "dist" / name).read_text(encoding="utf-8")
        assert "Instructor edition, made with vmcompare" in page
    index = (tmp_path / "dist" / "index.html").read_text(encoding="utf-8")
    assert index.count("(instructor edition)") == 2


def test_a_port_that_is_taken_is_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        words = ["lab", str(tmp_path / "lessons"), "--no-browser", "--port", str(port)]
        assert main(words) == 1
    said = capsys.readouterr().err
    assert f"port {port} cannot be used" in said
    assert "Next step: name another one with --port, or none" in said
    assert len(said.strip().splitlines()) == 1


@pytest.mark.parametrize("port", ["0", "65536", "many", "-1"])
def test_what_is_no_port_is_a_wrong_call(port: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["lab", f"--port={port}"])
    assert ended.value.code == 2
    assert "a port is a number from 1 to 65535" in capsys.readouterr().err
