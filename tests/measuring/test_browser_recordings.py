"""What the browser lab saves: a recording of its own kind, never mixed with those of hosts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from vmcompare.__main__ import main
from vmcompare.errors import RecordingError, UnknownName
from vmcompare.evidence.recording import read
from vmcompare.measuring import contributed
from vmcompare.measuring.experiment import discover, load

RUN_ID = "20260131T120000Z-0123ab"
AGENT = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"


def lines(**columns: Any) -> list[dict[str, Any]]:
    """A recording with one row, as the page writes it; ``columns`` change the row."""
    host = {
        "host_id": "0123456789ab",
        "os": "Linux x86_64",
        "cores": 4,
        "versions": {"vmcompare": "0.1.0", "v86": "0.5"},
        "details": {"browser": {"user_agent": AGENT}, "v86": {"accelerator": "v86"}},
    }
    run = {
        **{"kind": "run", "schema": 1, "run_id": RUN_ID, "experiment": "browser_lab"},
        **{"started_utc": "2026-01-31T12:00:00Z", "rounds": 1, "host": host},
    }
    row = {
        **{"kind": "row", "ts_utc": "2026-01-31T12:00:01.000Z", "platform": "browser-vm"},
        **{"metric": "duration_s", "value": 1.5, "unit": "s", "status": "ok"},
        **{"provenance": "measured", "block": 0, "rep": 0, "is_warmup": False},
        **{"layer": "mechanism", "accel": "v86", "phase": "boot of VM 1", **columns},
    }
    return [run, row, {"kind": "end", "status": "complete"}]


def written(folder: Path, content: list[dict[str, Any]]) -> Path:
    path = folder / f"{RUN_ID}.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in content))
    return path


def test_it_is_good_and_its_summary_names_the_browser(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", str(written(tmp_path, lines()))]) == 0
    said = capsys.readouterr().out
    assert "good. browser_lab" in said
    assert "accelerator v86" in said
    assert "Firefox/140.0" in said


def test_one_that_does_not_say_which_browser_it_was_is_refused(tmp_path: Path) -> None:
    content = lines()
    content[0]["host"]["details"]["browser"] = {}
    assert contributed.problems(written(tmp_path, content)) == (
        "It does not say which browser it was measured in.",
    )


def test_one_without_a_row_is_refused(tmp_path: Path) -> None:
    run, _, end = lines()
    assert contributed.problems(written(tmp_path, [run, end])) == ("It holds no row.",)


def test_a_row_of_a_host_is_not_read_in_a_run_of_a_browser(tmp_path: Path) -> None:
    path = written(tmp_path, lines(platform="vm", accel="tcg"))
    with pytest.raises(RecordingError, match="browsers and hosts are never mixed"):
        read(path)


def test_a_row_of_a_browser_is_not_read_in_a_run_of_a_host(tmp_path: Path) -> None:
    content = lines()
    content[0]["experiment"] = "boot_speed"
    with pytest.raises(RecordingError, match="browsers and hosts are never mixed"):
        read(written(tmp_path, content))


@pytest.mark.parametrize(("platform", "accel"), [("browser-vm", "tcg"), ("vm", "v86")])
def test_v86_runs_in_browsers_and_nothing_else_does(
    tmp_path: Path, platform: str, accel: str
) -> None:
    path = written(tmp_path, lines(platform=platform, accel=accel))
    with pytest.raises(RecordingError, match="does not fit accelerator"):
        read(path)


def test_no_command_measures_it_and_no_lesson_pools_it() -> None:
    assert "browser_lab" not in discover()
    with pytest.raises(UnknownName):
        load("browser_lab")
