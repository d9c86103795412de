"""One run measures at a time, and whoever comes second is told who does and what to do."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from waiting import until

from vmcompare.__main__ import main
from vmcompare.errors import Unavailable
from vmcompare.measuring import run
from vmcompare.paths import state_dir

HOLD = """
import sys
from vmcompare.measuring import run
with run.turn() as tell:
    tell(experiment="boot_speed", run_id="20261126T120000Z-aaaaaa")
    print("taken", flush=True)
    sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def _soon(private_places: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "WAIT_S", 0.1)


def test_nobody_has_it_at_first_and_afterwards() -> None:
    assert run.holder() is None
    with run.turn() as tell:
        tell(experiment="boot_speed")
        found = run.holder()
        assert found is not None
        assert (found.pid, found.experiment, found.run_id) == (os.getpid(), "boot_speed", "")
    assert run.holder() is None


def test_the_second_is_told_since_when_process_run_and_what_to_do() -> None:
    before = datetime.now(UTC).replace(microsecond=0)
    with run.turn() as tell:
        tell(experiment="guest_os", run_id="20261126T120000Z-aaaaaa")
        found = run.holder()
        assert found is not None
        assert found.since is not None
        assert before <= found.since <= datetime.now(UTC)
        since = f"{found.since.astimezone():%H:%M}"
        who = (
            f"guest_os is being measured (since {since}, process {os.getpid()}, "
            "run 20261126T120000Z-aaaaaa)"
        )
        assert str(found) == who
        with pytest.raises(Unavailable) as refused, run.turn():
            pass
    assert refused.value.what == who
    assert "wait until it has ended, or stop it" in refused.value.next_step


@pytest.mark.parametrize("note", ["", "{half", "[]", '{"pid": "many"}'])
def test_whatever_its_file_says_somebody_measures(note: str) -> None:
    with run.turn():
        (state_dir() / "measuring.json").write_text(note)
        assert str(run.holder()) == "another experiment is being measured"


def test_it_is_free_again_once_the_process_was_killed() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout
        assert holder.stdout.readline() == "taken\n"
        found = run.holder()
        assert found is not None
        assert (found.pid, found.run_id) == (holder.pid, "20261126T120000Z-aaaaaa")
        holder.kill()
        holder.wait()
    assert until(lambda: run.holder() is None)
    assert not (state_dir() / "measuring.json").exists()
    with run.turn():
        pass


def test_a_recording_is_refused_meanwhile_in_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with run.turn() as tell:
        tell(experiment="guest_os")
        words = ["record", "boot_speed", "--platform", "process", "--out", str(tmp_path / "out")]
        assert main(words) == 1
    [said] = capsys.readouterr().err.splitlines()
    assert said.startswith("vmcompare: guest_os is being measured (since ")
    assert f"process {os.getpid()}). Next step" in said
    assert not (tmp_path / "out").exists()
