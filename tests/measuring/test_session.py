"""A recording runs in a child process that is followed, stopped, and never outlives its owner."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from waiting import until

from vmcompare.engines.bare import process
from vmcompare.errors import AbnormalShutdown
from vmcompare.evidence.recording import read
from vmcompare.measuring import session
from vmcompare.sandbox import Platform

pytestmark = [
    pytest.mark.skipif(not process.probe().ok, reason="the process baseline needs Linux"),
    pytest.mark.usefixtures("private_places"),
]


def begin(tmp_path: Path, rounds: int = 1, *platforms: Platform) -> session.Session:
    wanted = platforms or (Platform.PROCESS,)
    return session.start("boot_speed", rounds=rounds, platforms=wanted, out=tmp_path / "out")


def test_a_run_is_followed_from_its_first_message_to_its_recording(tmp_path: Path) -> None:
    with begin(tmp_path, 2) as running:
        messages = list(running.messages())
        recording = running.recording()
    assert messages[0]["event"] == "run"
    assert messages[-1]["done"] == messages[-1]["planned"] == 7
    assert {m["phase"] for m in messages if m["event"] == "phase"} >= {"open", "first-byte"}
    assert recording.ended == "complete"
    assert recording.run_id == messages[0]["run_id"]
    # The time is foretold before the first step, and told with every one.
    foretold = next(place for place, m in enumerate(messages) if m["event"] == "estimate")
    first = next(place for place, m in enumerate(messages) if m["event"] == "trial")
    assert foretold < first
    said = "Less than 10 s for 2 rounds on the computer that recorded."
    assert messages[foretold]["what"] == said
    steps = [m for m in messages if m["event"] == "trial"]
    assert all(m["left_s"] is not None for m in steps[:-1])
    assert steps[-1]["left_s"] is None  # it is over


@pytest.mark.slow
def test_rows_can_be_read_meanwhile_and_stop_ends_it_in_order_and_keeps_them(
    tmp_path: Path,
) -> None:
    running = begin(tmp_path, 200)
    next(m for m in running.messages() if m.get("done") == 3)
    assert running.running
    assert running.path is not None
    assert read(running.path).rows
    running.stop()
    recording = running.recording()
    assert recording.ended == "stopped"
    assert recording.rows
    assert running.child.returncode == 130


def test_a_run_that_cannot_start_says_why_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("in the way")
    with begin(tmp_path) as running:
        list(running.messages())
    with pytest.raises(AbnormalShutdown, match="--out"):
        running.recording()


@pytest.mark.slow
def test_a_signal_stops_it_without_the_flag_and_end_of_input_does_not(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "vmcompare", "record", "boot_speed", "--events"]
    command += ["--platform", "process", "--rounds", "500", "--out", str(tmp_path)]
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        for _ in range(20):
            assert child.stdout.readline()
        child.send_signal(signal.SIGTERM)
        _, said = child.communicate(timeout=60)
    assert child.returncode == 130
    assert said.strip().endswith(b"kept")
    assert b"Traceback" not in said


@pytest.mark.slow
def test_when_its_owner_is_killed_the_run_ends_by_itself(tmp_path: Path) -> None:
    owner_code = (
        "import sys, time; from pathlib import Path; from vmcompare.measuring import session;"
        "from vmcompare.sandbox import Platform;"
        f"s = session.start('boot_speed', rounds=500, platforms=[Platform.PROCESS],"
        f" out=Path({str(tmp_path)!r}));"
        "next(s.messages()); print(s.child.pid, flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", owner_code], stdout=subprocess.PIPE) as owner:
        assert owner.stdout is not None
        pid = int(owner.stdout.readline())
        assert psutil.pid_exists(pid)
        os.kill(owner.pid, signal.SIGKILL)
    assert until(lambda: not psutil.pid_exists(pid))
    [path] = (tmp_path / "boot_speed").glob("*.jsonl")
    assert read(path).ended == "stopped"
