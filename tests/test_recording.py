"""A recording is on disk row by row, survives a crash, and says what is wrong with it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from vmcompare.errors import RecordingError, StorageError
from vmcompare.recording import COLUMNS, Measurement, Recorder, read, recordings
from vmcompare.sandbox import Platform

HOST = {"host_id": "abc", "os": "Test OS", "cores": 2}


def row(value: float | None = 0.1, **columns: object) -> Measurement:
    wanted = {"platform": Platform.CONTAINER, "metric": "start_to_first_byte_s", "value": value}
    return Measurement(**(wanted | columns))  # type: ignore[arg-type]


def recorded(directory: Path, *rows: Measurement) -> Path:
    with Recorder(directory, "boot_speed", HOST, rounds=1) as recorder:
        for each in rows:
            recorder.append(each)
    return recorder.path


def test_what_was_appended_is_read_back_as_one_tidy_frame(tmp_path: Path) -> None:
    run = read(recorded(tmp_path, row(0.25, block=3), row(0.5)))
    frame = run.frame()
    assert list(frame.columns) == list(COLUMNS)
    assert frame["value"].tolist() == [0.25, 0.5]
    assert frame["block"].tolist() == [3, 0]
    assert set(frame["run_id"]) == {run.run_id}
    assert set(frame["unit"]) == {"s"}
    assert set(frame["provenance"]) == {"measured"}
    assert run.ended == "complete"


def test_a_row_is_on_disk_before_the_next_one_is_made(tmp_path: Path) -> None:
    with Recorder(tmp_path, "boot_speed", HOST, rounds=1) as recorder:
        recorder.append(row(0.25))
        assert [r["value"] for r in read(recorder.path).rows] == [0.25]
        assert read(recorder.path).ended == ""


def test_a_failed_run_is_a_row_with_its_error_and_no_value(tmp_path: Path) -> None:
    run = read(recorded(tmp_path, row(None, status="error", error="it broke")))
    assert run.rows[0]["error"] == "it broke"
    assert run.frame()["value"].isna().all()


@pytest.mark.parametrize(
    ("value", "status"), [(0.0, "error"), (None, "ok"), (float("nan"), "ok"), (float("inf"), "ok")]
)
def test_a_value_and_a_failure_never_go_together(value: float | None, status: str) -> None:
    with pytest.raises(ValueError, match=r"value|finite"):
        row(value, status=status)


def test_an_unknown_metric_is_refused() -> None:
    with pytest.raises(ValueError, match="not a metric"):
        row(metric="seconds")


def test_a_line_that_was_cut_off_by_a_crash_is_left_out(tmp_path: Path) -> None:
    path = recorded(tmp_path, row(0.25), row(0.5))
    path.write_text(path.read_text()[:-60])
    assert [r["value"] for r in read(path).rows] == [0.25]


def test_a_run_that_raised_is_closed_as_failed_and_a_stopped_one_as_stopped(tmp_path: Path) -> None:
    for error, ended in ((ValueError, "failed"), (KeyboardInterrupt, "stopped")):
        with pytest.raises(error), Recorder(tmp_path, "boot_speed", HOST, rounds=1) as recorder:
            raise error
        assert read(recorder.path).ended == ended


def _edit(change: Callable[[list[dict[str, object]]], None]) -> Callable[[str], str]:
    def edit(text: str) -> str:
        lines = [json.loads(line) for line in text.splitlines()]
        change(lines)
        return "".join(json.dumps(line) + "\n" for line in lines)

    return edit


@pytest.mark.parametrize(
    ("damage", "line", "says"),
    [
        (lambda _: "", 1, "run line"),
        (lambda text: text.replace('{"kind":"row"', "{kind", 1), 2, "not JSON"),
        (lambda text: text.replace('"schema":1', '"schema":99'), 1, "schema 99"),
        (_edit(lambda lines: lines[1].update(platform="moon")), 2, "unknown platform 'moon'"),
        (_edit(lambda lines: lines[1].update(value="0.1")), 2, "value must be a whole number or"),
        (_edit(lambda lines: lines[1].update(value=None)), 2, "does not fit"),
        (_edit(lambda lines: lines[1].pop("block")), 2, "lacks block"),
        (_edit(lambda lines: lines[1].update(block="x")), 2, "block must be a whole number"),
        (_edit(lambda lines: lines[1].update(kind="?")), 2, "unknown kind"),
        (_edit(lambda lines: lines[0].pop("host")), 1, "lacks host"),
        (_edit(lambda lines: lines.insert(1, lines[0])), 2, "a second run begins"),
        (_edit(lambda lines: lines.append(lines[2])), 4, "follows the end line"),
        (_edit(lambda lines: lines.append(lines[1])), 4, "follows the end line"),
        (_edit(lambda lines: lines[1].update(run_id="20260101T000000Z-aaaaaa")), 2, "two runs"),
    ],
)
def test_a_damaged_recording_says_where_and_what(
    tmp_path: Path, damage: Callable[[str], str], line: int, says: str
) -> None:
    path = recorded(tmp_path, row())
    path.write_text(damage(path.read_text()))
    with pytest.raises(RecordingError, match=says) as caught:
        read(path)
    assert caught.value.line == line


def test_a_missing_recording_and_a_place_that_cannot_be_written_are_said(tmp_path: Path) -> None:
    with pytest.raises(RecordingError):
        read(tmp_path / "none.jsonl")
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="--out"):
        Recorder(tmp_path / "file", "boot_speed", HOST, rounds=1)


def test_the_newest_recording_comes_first(tmp_path: Path) -> None:
    for name in ("20260101T000000Z-aaaaaa", "20260301T000000Z-bbbbbb"):
        path = tmp_path / "boot_speed" / f"{name}.jsonl"
        path.parent.mkdir(exist_ok=True)
        path.touch()
    assert [p.name[:8] for p in recordings(tmp_path, "boot_speed")] == ["20260301", "20260101"]
