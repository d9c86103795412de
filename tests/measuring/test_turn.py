"""One run measures at a time, and whoever comes second is told who does and what to do."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from waiting import until

from vmcompare.__main__ import main
from vmcompare.errors import Unavailable
from vmcompare.measuring import turn
from vmcompare.paths import state_dir

HOLD = """
import sys
from vmcompare.measuring import turn
with turn.taken() as tell:
    tell(experiment="boot_speed", run_id="20261126T120000Z-aaaaaa")
    print("taken", flush=True)
    sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def _soon(private_places: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turn, "WAIT_S", 0.1)


def test_nobody_has_it_at_first_and_afterwards() -> None:
    assert turn.whose() is None
    with turn.taken() as tell:
        tell(experiment="boot_speed")
        assert turn.whose() == turn.Turn(pid=os.getpid(), experiment="boot_speed")
    assert turn.whose() is None


def test_the_second_is_told_run_process_and_what_to_do() -> None:
    with turn.taken() as tell:
        tell(experiment="guest_os", run_id="20261126T120000Z-aaaaaa")
        who = f"guest_os is being measured (run 20261126T120000Z-aaaaaa, process {os.getpid()})"
        assert str(turn.whose()) == who
        with pytest.raises(Unavailable) as refused, turn.taken():
            pass
    assert refused.value.what == who
    assert "wait until it has ended, or stop it" in refused.value.next_step


@pytest.mark.parametrize("note", ["", "{half", "[]", '{"pid": "many"}'])
def test_whatever_its_file_says_somebody_measures(note: str) -> None:
    with turn.taken():
        (state_dir() / "measuring.json").write_text(note)
        assert str(turn.whose()) == "another experiment is being measured"


def test_it_is_free_again_once_the_process_was_killed() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout
        assert holder.stdout.readline() == "taken\n"
        assert turn.whose() == turn.Turn(
            pid=holder.pid, experiment="boot_speed", run_id="20261126T120000Z-aaaaaa"
        )
        holder.kill()
        holder.wait()
    assert until(lambda: turn.whose() is None)
    with turn.taken():
        pass


def test_a_recording_is_refused_meanwhile_in_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with turn.taken() as tell:
        tell(experiment="guest_os")
        words = ["record", "boot_speed", "--platform", "process", "--out", str(tmp_path / "out")]
        assert main(words) == 1
    [said] = capsys.readouterr().err.splitlines()
    assert said.startswith(f"vmcompare: guest_os is being measured (process {os.getpid()}). Next")
    assert not (tmp_path / "out").exists()
