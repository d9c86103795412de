"""The command line: exit codes, one sentence for every error, no traceback."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from planted import planted, row

from vmcompare.__main__ import STOPPED, _parser, main
from vmcompare.engines.cleanup import Swept
from vmcompare.errors import Unavailable
from vmcompare.evidence.recording import read
from vmcompare.measuring.experiment import discover
from vmcompare.paths import data_dir
from vmcompare.sandbox import Platform

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
        (
            ["handout", "05"],
            "no lesson called '05'; choose from: 00, 01, 02, 03, 04, 05a, 05b, 06, 07, 08, 09",
        ),
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


def test_check_tells_every_engine_and_runtime_and_why_not(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["check", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert main(["check"]) == 0
    lines = capsys.readouterr().out
    assert {"engines", "accelerator", "rejected", "host", "runtimes"} <= told.keys()
    assert sorted(told["runtimes"]) == ["bubblewrap", "runc"]
    for name, found in {**told["engines"], **told["runtimes"]}.items():
        assert any(line.startswith(name) for line in lines.splitlines())
        assert found["available"] or (found["what"] in lines and found["next_step"] in lines)
    if told["engines"]["qemu"]["available"]:
        assert told["accelerator"] in ("kvm", "hvf", "whpx", "tcg")
        assert told["accelerator"] not in told["rejected"]
        assert all(told["rejected"].values())


def test_a_recording_goes_where_it_was_told_to_and_json_says_where(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["record", "boot_speed", "--platform", "process", "--rounds", "1", "--json"]
    assert main([*words, "--out", str(tmp_path)]) == 0
    [path] = (tmp_path / "boot_speed").glob("*.jsonl")
    document = json.loads(capsys.readouterr().out)
    [told] = document["recordings"]
    assert (told["file"], told["ended"], told["failed_rows"]) == (str(path), "complete", 0)
    assert names_in(document) <= described("record")
    run = read(path)
    assert len(run.rows) == told["rows"]
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


def test_clean_says_when_nothing_was_left(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["clean"]) == 0
    assert capsys.readouterr().out.strip()


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
    monkeypatch.setattr("vmcompare.measuring.run.why_nothing", lambda _: "")
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
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    assert main(["handout", "09", "--out", str(tmp_path / "file" / "d")]) == 1
    said = capsys.readouterr().err
    assert "use another --out" in said
    assert "cell 1" not in said


@pytest.mark.slow
def test_a_handout_is_made_of_a_lessons_number_from_any_folder_in_either_edition(
    tmp_path: Path,
) -> None:
    words = ["handout", "05b", "02-shared-kernel", "--mode", "replay", "--edition", "instructor"]
    done = subprocess.run(
        [sys.executable, "-m", "vmcompare", *words],
        cwd=tmp_path, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    made = sorted(
        path.name
        for path in (tmp_path / "dist").iterdir()
        if not path.name.startswith("browser-lab")  # there where it was built
    )
    lessons = ["02-shared-kernel-instructor.html", "05b-kernel-panics-instructor.html"]
    assert made == [*lessons, "cheat-sheet.html", "glossary.html", "index.html"]
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


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (RuntimeError("can't start new thread"), "can't start new thread. Next step: "),
        (MemoryError(), "there is not enough memory. Next step: "),
        (PermissionError(13, "Permission denied", "/x"), "/x: Permission denied. Next step: "),
        (RuntimeError("dictionary changed size during iteration"), None),
        (NotImplementedError(), None),
    ],
)
def test_what_the_system_refuses_is_a_sentence_and_a_fault_of_ours_keeps_its_traceback(
    error: Exception,
    says: str | None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def check(_: object) -> int:
        raise error

    monkeypatch.setattr("vmcompare.__main__.check", check)
    if says is None:
        with pytest.raises(type(error)):
            main(["check"])
    else:
        assert main(["check"]) == 1
        assert capsys.readouterr().err.startswith(f"vmcompare: {says}")


@pytest.mark.parametrize("port", ["0", "65536", "many", "-1"])
def test_what_is_no_port_is_a_wrong_call(port: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["lab", f"--port={port}"])
    assert ended.value.code == 2
    assert "is no whole number from 1 to 65,535" in capsys.readouterr().err


def test_what_was_kept_is_said_after_a_stop_only_where_a_file_was_begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = planted(tmp_path, [row("process", "start_to_first_byte_s", 0.1)])

    def stopped_late(*given: object) -> None:
        given[-1](SimpleNamespace(path=run.path, run_id=run.run_id))  # type: ignore[operator]
        raise KeyboardInterrupt

    def stopped_early(*_: object) -> None:
        raise KeyboardInterrupt

    for stops, kept in ((stopped_early, False), (stopped_late, True)):
        monkeypatch.setattr("vmcompare.measuring.run.run", stops)
        assert main(["record", "boot_speed", "--json"]) == 130
        said = capsys.readouterr()
        assert ("is kept" in said.err) is kept
        told = json.loads(said.out)["recordings"]
        assert [one["rows"] for one in told] == [len(read(run.path).rows)] * kept


def test_a_stopped_handout_does_not_say_that_measurements_were_kept(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stopped(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("vmcompare.handout.export_all", stopped)
    assert main(["handout", "notebooks/09-verdict.ipynb", "--mode", "replay"]) == STOPPED
    assert capsys.readouterr().err.splitlines() == ["vmcompare: stopped"]


COMMANDS = ("check", "lab", "record", "handout", "export", "clean")


def helped(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    with pytest.raises(SystemExit) as ended:
        main([*words, "--help"])
    assert ended.value.code == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("command", [[], *([name] for name in COMMANDS)], ids=str)
def test_help_is_plain_text_with_examples_that_are_understood(
    command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    said = helped(capsys, *command)
    assert "`" not in said
    examples = said.partition("For example:")[2].splitlines()[1:]
    assert examples
    for line in examples:
        words = line.partition(" > ")[0].split()
        assert words[0] == "vmcompare"
        _parser().parse_args(words[1:])


def test_help_of_record_lists_experiments_and_platforms_and_nothing_internal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    said = helped(capsys, "record")
    assert all(re.search(rf"^  {name} ", said, re.MULTILINE) for name in discover())
    assert f"Platforms: {', '.join(Platform)}" in said
    assert "events" not in said
    assert "stop-on-eof" not in said


def described(command: str) -> set[str]:
    """The names that docs/command-line.md gives for what a command prints as JSON."""
    docs = (Path(__file__).parent.parent / "docs" / "command-line.md").read_text(encoding="utf-8")
    [line] = [one for one in docs.splitlines() if one.startswith(f"| `{command}` |")]
    return set(re.findall(r"`(\w+)`", line.partition("` |")[2]))


def names_in(document: Any) -> set[str]:
    if isinstance(document, list):
        return set().union(*map(names_in, document))
    if isinstance(document, dict):
        return set(document).union(*map(names_in, document.values()))
    return set()


def test_json_of_files_says_of_each_whether_it_is_usable(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = next((data_dir() / "recordings" / "whole_computer").glob("*.jsonl"))
    bad = tmp_path / "no-such.jsonl"
    assert main(["check", "--json", str(good), str(bad)]) == 1
    document = json.loads(capsys.readouterr().out)
    assert names_in(document) == described("check FILE …")
    assert [one["usable"] for one in document["recordings"]] == [True, False]
    assert document["recordings"][1]["problems"] == [
        "It cannot be read: No such file or directory."
    ]
    assert main(["check", "--json", str(good)]) == 0


def test_a_file_that_cannot_be_read_is_named_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", str(tmp_path / "no-such.jsonl")]) == 1
    assert capsys.readouterr().out.count("no-such.jsonl") == 1


def test_json_of_record_names_what_failed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    three_experiments(monkeypatch, Unavailable("QEMU is gone", "install it"))
    assert main(["record", "--json"]) == 1
    failed = json.loads(capsys.readouterr().out)
    assert failed["failed"] == [{"experiment": "b", "why": "QEMU is gone. Next step: install it"}]
    assert names_in(failed) <= described("record")


def test_json_of_handouts_names_the_pages_and_what_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        "vmcompare.handout.export_all",
        lambda _, __, finished, ___, **____: finished(tmp_path / "04.html"),
    )
    assert main(["handout", "04.ipynb", "--json"]) == 0
    good = json.loads(capsys.readouterr().out)
    assert good == {"written": [str(tmp_path / "04.html")], "failed": []}
    monkeypatch.undo()
    assert main(["handout", "no-such.ipynb", "--json", "--out", str(tmp_path)]) == 1
    bad = json.loads(capsys.readouterr().out)
    assert [one["notebook"] for one in bad["failed"]] == ["no-such.ipynb"]
    assert names_in([good, bad]) == described("handout")


def test_json_of_the_other_commands_has_the_fields_that_are_described(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = planted(tmp_path, [row("process", "start_to_first_byte_s", 0.1)]).path
    assert main(["export", str(path), "--csv", str(tmp_path / "x.csv"), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert set(document) <= described("export")
    assert document["rows"] == 1

    swept = Swept()
    swept.add("container", "vmcompare-1")
    swept.refused.append("something was left alone")
    monkeypatch.setattr("vmcompare.engines.cleanup.sweep", lambda: swept)
    assert main(["clean", "--json"]) == 0
    assert names_in(json.loads(capsys.readouterr().out)) == described("clean")
