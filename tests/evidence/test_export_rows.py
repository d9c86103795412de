"""A recording as a frame, and as CSV: all rows, all digits, nothing half-written."""

from __future__ import annotations

import os
import stat
import subprocess
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from planted import planted, row

import vmcompare
from vmcompare.__main__ import main
from vmcompare.errors import RecordingError
from vmcompare.evidence.recording import COLUMNS


@pytest.fixture
def one(tmp_path: Path) -> Path:
    """A run with a value of many digits, a failed row, and a text that CSV must quote."""
    rows = [
        row("process", "start_to_first_byte_s", 0.1 + 0.2),
        row("process", "observation", 1.0, text='say "a, b"'),
        row("container", "start_to_first_byte_s", None, error="no engine"),
    ]
    return planted(tmp_path / "runs", rows).path


@pytest.mark.parametrize("kind", [str, Path])
def test_reading_gives_a_row_for_every_measurement_failed_ones_included(
    one: Path, kind: Any
) -> None:
    frame = vmcompare.read(kind(one))
    assert tuple(frame.columns) == COLUMNS
    assert frame["value"].isna().tolist() == [False, False, True]
    assert frame["error"].tolist() == ["", "", "no engine"]


def test_a_folder_gives_all_recordings_in_and_below_it_in_the_order_of_their_time(
    one: Path,
) -> None:
    other = planted(one.parent / "below", [row("vm", "start_to_first_byte_s", 9.0)])
    frame = vmcompare.read(one.parent.parent)
    assert frame["run_id"].unique().tolist() == sorted([one.stem, other.run_id])
    assert len(frame) == 4


def test_a_folder_without_recordings_says_so(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match="holds no file"):
        vmcompare.read(tmp_path)


def test_what_was_exported_reads_back_as_it_was(one: Path, tmp_path: Path) -> None:
    out = tmp_path / "rows.csv"
    assert main(["export", str(one), "--csv", str(out)]) == 0
    frame = vmcompare.read(one)
    same = pd.read_csv(out, keep_default_na=False, na_values={"value": [""]})
    same = same.astype(frame.dtypes.to_dict())
    pd.testing.assert_frame_equal(same, frame, check_exact=True, check_column_type=False)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([out.name, "runs"])


def test_a_recording_is_never_replaced_by_its_export(
    one: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = one.read_bytes()
    assert main(["export", str(one.parent), "--csv", str(one)]) == 1
    assert "name another file" in capsys.readouterr().err
    assert one.read_bytes() == before


@pytest.mark.parametrize("place", ["", "no-such-folder/rows.csv"])
def test_a_place_that_takes_no_file_is_one_sentence_and_stays_as_it_was(
    one: Path, tmp_path: Path, place: str, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "mine.txt").write_text("mine")
    assert main(["export", str(one), "--csv", str(kept / place)]) == 1
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert [path.name for path in kept.iterdir()] == ["mine.txt"]


def test_a_link_stays_a_link_and_its_file_is_written(one: Path, tmp_path: Path) -> None:
    link, target = tmp_path / "link.csv", tmp_path / "target.csv"
    link.symlink_to(target)
    assert main(["export", str(one), "--csv", str(link)]) == 0
    assert link.is_symlink()
    assert len(target.read_text().splitlines()) == 4


def test_a_pipe_is_written_into_and_left_in_its_place(one: Path, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with subprocess.Popen(["cat", pipe], stdout=subprocess.PIPE) as reader:
        assert main(["export", str(one), "--csv", str(pipe)]) == 0
        said, _ = reader.communicate(timeout=60)
    assert said.startswith(b"run_id,")
    assert stat.S_ISFIFO(pipe.stat().st_mode)
