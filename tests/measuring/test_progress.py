"""Progress: a bar on a terminal, whole lines in a log, and neither cut short."""

from __future__ import annotations

import contextlib
import io

import pytest

from vmcompare.measuring.experiment import RunProgress, Watch
from vmcompare.measuring.run import bar, lines


class Terminal(io.StringIO):
    """A standard error that is a terminal."""

    def isatty(self) -> bool:
        return True


def run(watch: Watch, steps: int) -> None:
    for part in range(1000):
        watch(RunProgress("image", "disk.cpio", part, 1000))
    for done in range(steps + 1):
        watch(RunProgress("trial", "container" if done < steps else "", done, steps))


def test_a_log_gets_whole_lines_and_few_of_them(capsys: pytest.CaptureFixture[str]) -> None:
    with lines("boot_speed") as (watch, _):
        run(watch, 500)
    said = capsys.readouterr().err
    assert "\r" not in said
    told = said.splitlines()
    assert told[0] == "boot_speed: preparing disk.cpio"
    assert told[1] == "boot_speed: 0 of 500 steps, container"
    assert told[-1] == "boot_speed: 500 of 500 steps"
    assert len(told) == 12


def test_a_short_run_is_told_step_by_step(capsys: pytest.CaptureFixture[str]) -> None:
    with lines("boot_speed") as (watch, _):
        for done in range(4):
            watch(RunProgress("trial", "vm", done, 3))
    assert [line.split()[1] for line in capsys.readouterr().err.splitlines()] == [*"0123"]


def test_a_terminal_that_does_not_know_its_width_shows_the_bar_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "0")
    with contextlib.redirect_stderr(Terminal()) as shown, bar("boot_speed") as (watch, _):
        run(watch, 3)
    assert "boot_speed" in shown.getvalue()
    assert shown.getvalue().endswith("\n")
