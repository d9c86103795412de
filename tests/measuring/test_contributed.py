"""A recording made elsewhere: good ones pass, each flaw is one sentence, none takes our place."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from planted import planted, starts

from vmcompare.__main__ import main
from vmcompare.course.lesson import Lesson
from vmcompare.evidence.recording import Recording, read, recordings
from vmcompare.measuring import contributed, host
from vmcompare.measuring.experiment import discover
from vmcompare.paths import data_dir

Line = dict[str, Any]


def hardware(directory: Path, *, rounds: int = 10, accel: str = "kvm") -> Recording:
    """A whole recording of a machine with working virtualisation."""
    facts = host.facts({"docker": "28.5", "qemu": "9.2"}, {"qemu": {"accelerator": "kvm"}})
    facts["host_id"] = "0123456789ab"
    return planted(directory, starts(rounds=rounds, accel=accel), rounds=rounds, host=facts)


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Recording:
    return hardware(tmp_path_factory.mktemp("good"))


@pytest.fixture
def edited(good: Recording, tmp_path: Path) -> Callable[[Callable[[list[Line]], object]], Path]:
    """Writes a copy of the good recording after a change was made to its lines."""

    def copy(change: Callable[[list[Line]], object]) -> Path:
        lines = [json.loads(line) for line in good.path.read_text(encoding="utf-8").splitlines()]
        change(lines)
        path = tmp_path / good.path.name
        path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
        return path

    return copy


def test_a_whole_hardware_recording_is_good_and_flaws_of_any_file_make_the_exit_code(
    good: Recording, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert contributed.problems(good.path) == ()
    assert main(["check", str(tmp_path / "gone.jsonl"), str(good.path)]) == 1
    told = capsys.readouterr().out.splitlines()
    assert told[0].startswith("gone.jsonl: ")
    assert told[-1].startswith(f"{good.path.name}: good. boot_speed, 10 rounds")


@pytest.mark.parametrize("experiment", discover())
def test_the_projects_own_recordings_pass_their_own_check(experiment: str) -> None:
    for path in recordings(data_dir() / "recordings", experiment):
        assert contributed.problems(path) == ()


def set_row(column: str, value: Any) -> Callable[[list[Line]], object]:
    return lambda lines: lines[3].update({column: value})


def set_run(name: str, value: Any) -> Callable[[list[Line]], object]:
    return lambda lines: lines[0].update({name: value})


def set_host(name: str, value: Any) -> Callable[[list[Line]], object]:
    return lambda lines: lines[0]["host"].update({name: value})


def without(platform: str) -> Callable[[list[Line]], object]:
    def change(lines: list[Line]) -> None:
        lines[:] = [line for line in lines if line.get("platform") != platform]

    return change


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda lines: lines.pop(), "not complete: it has no end line"),
        (lambda lines: lines[-1].update(status="stopped"), "it ended as 'stopped'"),
        (set_run("experiment", "Boot_Speed"), "There is no experiment called 'Boot_Speed'"),
        (set_row("host_id", "ffffffffffff"), "two runs or two hosts are mixed"),
        (set_host("host_id", "my-laptop"), "host id is not"),
        (set_run("started_utc", "2020-01-01T00:00:00Z"), "run id does not belong"),
        (without("container"), "no valid row of container"),
        (set_row("metric", "speed"), "unknown metric 'speed'"),
        (set_row("platform", "moon"), "unknown platform 'moon'"),
        (set_row("unit", "ms"), "given in 'ms' instead of"),
        (set_row("value", -1.0), "cannot be"),
        (set_row("provenance", "modelled"), "unknown provenance 'modelled'"),
        (set_row("mood", "good"), "does not write: mood"),
        (set_host("owner", "somebody"), "does not write: owner"),
        (lambda lines: lines[0]["host"].pop("kernel"), "lacks facts of the computer: kernel"),
        (set_row("error", "no such file: /home/ada/x"), "home directory: /home/ada"),
        (set_row("text", r"C:\Users\Ada\x"), "home directory"),
        (set_host("details", {}), "which accelerator was proved"),
        (set_host("details", {"qemu": {"accelerator": "tcg"}}), "Rows state kvm"),
    ],
)
def test_each_flaw_is_told_in_one_sentence(
    edited: Callable[..., Path], change: Callable[[list[Line]], object], says: str
) -> None:
    found = contributed.problems(edited(change))
    assert any(says in sentence for sentence in found), found
    assert all(sentence.endswith(".") and "\n" not in sentence for sentence in found)


def test_an_accelerator_that_is_not_stated_is_a_flaw(tmp_path: Path) -> None:
    found = contributed.problems(hardware(tmp_path, accel="").path)
    assert any("does not state its accelerator" in sentence for sentence in found)


def test_too_few_rounds_are_a_flaw(tmp_path: Path) -> None:
    [said] = contributed.problems(hardware(tmp_path, rounds=3).path)
    assert "A verdict takes 10 rounds: 3 were planned" in said


def test_the_names_of_this_user_and_machine_are_found(
    edited: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("getpass.getuser", lambda: "ada")
    monkeypatch.setattr("socket.gethostname", lambda: "analytical")
    path = edited(set_row("text", "ada on analytical, adamant"))
    assert contributed.problems(path) == (
        "It holds the name of this user, ada.", "It holds the name of this computer, analytical.",
    )  # fmt: skip


def test_a_drifting_series_is_a_doubt_and_no_flaw(
    edited: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    def drift(lines: list[Line]) -> None:
        for line in lines:
            if line.get("metric") == "start_to_first_byte_s" and line["platform"] == "vm":
                line["value"] = 10.0 + line["block"]

    path = edited(drift)
    assert contributed.problems(path) == ()
    [said] = contributed.doubts(read(path))
    assert said.startswith("vm pc start_to_first_byte_s: ")
    assert "rose or fell steadily" in said
    assert main(["check", str(path)]) == 0
    assert "doubt" in capsys.readouterr().out


def test_a_contributed_recording_is_shown_when_named_and_never_by_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = planted(tmp_path / "recordings", starts(rounds=3))
    theirs = hardware(tmp_path / "recordings")
    place = theirs.path.parent / "contributed"
    place.mkdir()
    newer = place / "99991231T000000Z-ffffff.jsonl"  # newer than ours, still not the replay
    newer.write_text(theirs.path.read_text().replace(theirs.run_id, newer.stem))
    theirs.path.unlink()
    monkeypatch.setattr("vmcompare.measuring.experiment.data_dir", lambda: tmp_path)
    boot = Lesson("boot_speed", "04")
    assert {source.run_id for source in boot.view.sources} == {ours.run_id}
    boot.replay(newer.stem)
    assert {source.run_id for source in boot.view.sources} == {newer.stem}
    boot.replay()
    assert {source.run_id for source in boot.view.sources} == {ours.run_id}
