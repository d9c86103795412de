"""A recording is on disk row by row, survives a crash, and says what is wrong with it."""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from planted import as_once_recorded

from vmcompare.errors import UNPRINTABLE, RecordingError, Unavailable, printable
from vmcompare.evidence.recording import COLUMNS, Measurement, Recorder, read, recordings
from vmcompare.evidence.schema import ACCELERATORS, RANGES, RUNTIMES, SHORTEST_S, WHOLE_S
from vmcompare.evidence.units import METRICS
from vmcompare.sandbox import Machine, Platform, Start

HOST = {"host_id": "abc", "os": "Test OS", "cores": 2}


def row(value: float | None = 0.1, **columns: object) -> Measurement:
    wanted = {"platform": Platform.CONTAINER, "metric": "start_to_first_byte_s", "value": value}
    return Measurement(**(wanted | columns))  # type: ignore[arg-type]


def recorded(directory: Path, *rows: Measurement, experiment: str = "boot_speed") -> Path:
    with Recorder(directory, experiment, HOST, rounds=1) as recorder:
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


def memory_rows(accel: str) -> list[Measurement]:
    """A container's memory, and a VM's by both metrics as they are recorded today."""
    vm = {"platform": Platform.VM, "accel": accel}
    return [
        row(13.0, metric="pss_bytes"),
        row(780.0, metric="pss_with_code_cache_bytes", **vm),
        row(264.0, metric="pss_bytes", **vm),
    ]


def memory(path: Path) -> list[tuple[str, str, float]]:
    return [(r["platform"], r["metric"], r["value"]) for r in read(path).rows]


def test_a_recording_that_counted_the_code_cache_in_is_read_as_the_metric_that_does(
    tmp_path: Path,
) -> None:
    old = recorded(tmp_path, *as_once_recorded(memory_rows("tcg")))
    assert {r["metric"] for r in map(json.loads, old.read_text().splitlines()[1:-1])} == {
        "pss_bytes"
    }
    assert memory(old) == [
        ("container", "pss_bytes", 13), ("vm", "pss_with_code_cache_bytes", 780),
    ]  # fmt: skip


@pytest.mark.parametrize("cut_off", [False, True])
def test_a_recording_that_tells_the_code_cache_apart_is_read_as_it_stands(
    tmp_path: Path, cut_off: bool
) -> None:
    new = recorded(tmp_path, *memory_rows("tcg"), row(265.0, metric="pss_bytes", accel="tcg"))
    found = [
        ("container", "pss_bytes", 13), ("vm", "pss_with_code_cache_bytes", 780),
        ("vm", "pss_bytes", 264), ("container", "pss_bytes", 265),
    ]  # fmt: skip
    if cut_off:  # between the two rows of one reading
        new.write_text("".join(new.read_text().splitlines(keepends=True)[:3]))
        found = found[:2]
    assert memory(new) == found


@pytest.mark.parametrize(("experiment", "accel"), [("boot_speed", "kvm"), ("guest_os", "tcg")])
def test_memory_that_never_held_a_code_cache_keeps_its_metric(
    tmp_path: Path, experiment: str, accel: str
) -> None:
    with Recorder(tmp_path, experiment, HOST, rounds=1) as recorder:
        recorder.append(row(264.0, metric="pss_bytes", platform=Platform.VM, accel=accel))
    assert memory(recorder.path) == [("vm", "pss_bytes", 264)]


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


def test_the_newest_recording_comes_first(tmp_path: Path) -> None:
    for name in ("20260101T000000Z-aaaaaa", "20260301T000000Z-bbbbbb"):
        path = tmp_path / "boot_speed" / f"{name}.jsonl"
        path.parent.mkdir(exist_ok=True)
        path.touch()
    assert [p.name[:8] for p in recordings(tmp_path, "boot_speed")] == ["20260301", "20260101"]


WORDS = st.text(max_size=300)
COUNTS = st.integers(min_value=0, max_value=10**9)


def values_of(metric: str) -> st.SearchStrategy[tuple[str, float | None]]:
    low, high = RANGES[METRICS[metric]]
    numbers = st.floats(low, high) | st.integers(int(low), int(high))
    possible = numbers.filter(lambda value: value >= SHORTEST_S or metric not in WHOLE_S)
    return st.tuples(st.just(metric), st.none() | possible)


@given(
    measured=st.sampled_from(sorted(METRICS)).flatmap(values_of),
    platform=st.sampled_from(Platform),
    machine=st.sampled_from(Machine),
    warmth=st.sampled_from(Start),
    accel=st.sampled_from(ACCELERATORS),
    runtime=st.sampled_from(sorted(RUNTIMES)),
    texts=st.fixed_dictionaries(
        dict.fromkeys(("text", "error", "phase", "vmm", "guest_kernel", "confinement"), WORDS)
    ),
    counts=st.fixed_dictionaries(
        dict.fromkeys(("block", "rep", "order_in_block", "vcpus", "mem_limit_mib"), COUNTS)
    ),
)
@settings(max_examples=150, deadline=None)
def test_whatever_a_measurement_allows_can_be_read(
    tmp_path_factory: pytest.TempPathFactory,
    measured: tuple[str, float | None],
    texts: dict[str, str],
    counts: dict[str, int],
    **columns: object,
) -> None:
    metric, value = measured
    columns |= {"metric": metric, "status": "error" if value is None else "ok"}
    made = row(value, **columns, **texts, **counts)
    with patch("vmcompare.evidence.recording.os.fsync"):
        # In boot_speed an old row of pss_bytes is read as another metric.
        path = recorded(tmp_path_factory.mktemp("any"), made, experiment="guest_os")
    run = read(path)
    assert run.ended == "complete"
    [found] = run.rows
    for name in (f.name for f in fields(made)):
        assert found[name] == getattr(made, name)


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        ({"value": 10**400}, "value"),
        ({"value": math.nan}, "not JSON"),
        ({"value": None}, "does not fit"),
        ({"status": "error"}, "does not fit"),
        ({"value": 2e9}, "a value of 2000000000.0 s for start_to_first_byte_s cannot be"),
        ({"value": 0}, "a value of 0 s for start_to_first_byte_s cannot be"),
        ({"value": -1.0, "metric": "phase_s"}, "cannot be"),
        ({"value": 2, "metric": "fact"}, "a value of 2 bool for fact cannot be"),
        ({"value": True}, "value must be"),
        ({"metric": "seconds"}, "unknown metric"),
        ({"block": -1}, "block must be at least 0"),
        ({"rep": 10**10}, "rep must be at most"),
        ({"status": "fine"}, "unknown status"),
        ({"runtime": "moon"}, "unknown runtime 'moon'"),
        ({"accel": "moon"}, "unknown accel 'moon'"),
        ({"image_digest": "moon"}, "digest"),
    ],
)
def test_a_row_that_could_not_be_read_is_not_written(
    tmp_path: Path, columns: dict[str, object], says: str
) -> None:
    with Recorder(tmp_path, "boot_speed", HOST, rounds=1) as recorder:
        with pytest.raises(RecordingError, match=says):
            recorder.append(row(**columns))  # type: ignore[arg-type]
        recorder.append(row())
    assert len(read(recorder.path).rows) == 1


def test_an_engines_default_runtime_may_have_any_name(tmp_path: Path) -> None:
    host = HOST | {"details": {"docker": {"default_runtime": "our-own"}}}
    with Recorder(tmp_path, "boot_speed", host, rounds=1) as recorder:
        recorder.append(row(runtime="our-own"))
    assert read(recorder.path).rows[0]["runtime"] == "our-own"


def test_a_run_takes_no_more_rows_than_can_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vmcompare.evidence.schema.MAX_ROWS", 3)
    with Recorder(tmp_path, "boot_speed", HOST, rounds=1) as recorder:
        for block in range(3):
            recorder.append(row(block=block))
        with pytest.raises(Unavailable, match="fewer rounds"):
            recorder.append(row(block=3))
    assert [r["block"] for r in read(recorder.path).rows] == [0, 1, 2]


def test_lines_may_end_as_windows_ends_them(tmp_path: Path) -> None:
    path = recorded(tmp_path, row(0.25))
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert read(path).rows[0]["value"] == 0.25


def test_an_older_recording_lacks_columns_that_came_later(tmp_path: Path) -> None:
    path = recorded(tmp_path, row(0.25))
    path.write_text(path.read_text().replace('"confinement":"",', ""))
    assert read(path).rows[0]["confinement"] == ""


def test_importing_recordings_imports_nothing_large() -> None:
    code = "import vmcompare.evidence.recording, sys; print({'pandas', 'msgspec'} & {*sys.modules})"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "set()"


@given(st.text(), st.integers(1, 50))
def test_printable_text_is_one_short_line_and_stays_as_it_is(text: str, limit: int) -> None:
    made = printable(text, limit)
    assert len(made) <= limit
    assert not re.search(f"[{UNPRINTABLE}]", made)
    assert printable(made, limit) == made
    assert made.encode().decode() == made
