"""What lesson 05b draws, tabulates and models: who falls silent, who feels a neighbour."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import planted_isolation as planted_rows
import pytest
from planted import row
from planted_isolation import cells, figure, model, shown

from vmcompare.evidence.recording import Measurement
from vmcompare.evidence.view import View
from vmcompare.experiments.isolation.explain import explained
from vmcompare.experiments.isolation.explain_failures import IN_CLASS, KERNELS, beats
from vmcompare.experiments.isolation.kernel_panic import PRIVILEGED_ASKS

OUTCOMES = explained.outcomes

Show = Callable[[list[Measurement]], View]


@pytest.fixture
def show(tmp_path: Path) -> Show:
    return partial(shown, tmp_path)


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> View:
    rows = [*planted_rows.falls(), *planted_rows.noisy_neighbours()]
    return shown(tmp_path_factory.mktemp("full"), rows)


# ---- heartbeats -------------------------------------------------------------------------------


def test_silence_is_told_from_the_first_second_of_it(full: View) -> None:
    alt = figure("heartbeats", full).alt
    assert "Second 40: a privileged container asks its kernel to panic" in alt
    assert "container B: gaps up to" in alt
    assert f"silent from second {planted_rows.PANIC_S + 1} on" in alt
    assert "silent" not in alt.split("host: ")[1].split(".")[0]


def test_a_heartbeat_that_goes_on_is_not_called_silent(show: Show) -> None:
    view = show(planted_rows.falls(b_goes_on=True))
    said = {line.split(":")[0]: line for line in figure("heartbeats", view).alt.split(". ")}
    assert "silent" not in said["container B"]
    assert "silent" in said["container A"]
    assert OUTCOMES["silent"](view) == 2


def test_a_long_gap_of_the_sibling_is_found(show: Show) -> None:
    view = show(planted_rows.falls(sibling_gap_s=1.6))
    assert OUTCOMES["sibling_gap_s"](view) == 1.6
    assert beats(view).misses("sibling VM", PRIVILEGED_ASKS)
    assert OUTCOMES["silent"](view) == 4


def test_a_run_in_the_making_already_shows_its_heartbeats(show: Show) -> None:
    view = show(planted_rows.falls(until=12))
    assert "host: gaps up to" in figure("heartbeats", view).alt
    assert OUTCOMES["sibling_gap_s"](view) is None


def test_an_event_that_could_not_be_caused_is_said(show: Show) -> None:
    rows = [r for r in planted_rows.falls() if r.phase != "event: faulty VM panics"]
    rows.append(row("vm-direct", "observation", None, phase="event: faulty VM panics", rep=30))
    assert "Not done: the faulty VM asks" in figure("heartbeats", show(rows)).words


# ---- noisy neighbours -------------------------------------------------------------------------


def test_a_neighbour_that_works_feels_who_computes(full: View) -> None:
    picture = figure("noisy", full)
    for said in (
        "container, no limit: 2.00×",
        "container, --cpus=0.2: 1.25×",
        "VM beside VM: 1.00×",
    ):
        assert f"CPU burner, {said}" in picture.alt
    assert "leaves 1.25× to be expected" in picture.words
    assert "pieces of a computation" in picture.words


def test_a_disk_writer_is_said_to_be_missing_until_it_is_recorded(full: View, show: Show) -> None:
    assert "Disk writer: not recorded yet" in figure("noisy", full).brief
    rows = [
        row(platform, "duration_s", write_s, phase=f"write beside a {beside}", machine="pc")
        for platform, busy_s in (("container", 0.008), ("vm-direct", 0.003))
        for beside, write_s in (("quiet program", 0.002), ("disk writer", busy_s))
    ]
    picture = figure("noisy", show(rows))
    assert "disk writer, container, no limit: 4.00×" in picture.alt
    assert "disk writer, VM beside VM: 1.50×" in picture.alt
    assert "not recorded" not in picture.brief
    assert "4 KiB" in picture.words


def test_one_bad_round_is_a_mark_of_its_own(show: Show) -> None:
    rows = [
        row("vm-direct", "duration_s", time_s, phase=f"work beside a {what}", block=block)
        for block, loud_s in enumerate((0.04, 0.5, 0.04))
        for what, time_s in (("quiet program", 0.04), ("CPU burner", loud_s))
    ]
    picture = figure("noisy", show(rows))
    assert "VM beside VM: 1.00×" in picture.alt
    drawn = [line.get_xdata()[0] for line in picture.figure.axes[0].get_lines()]
    assert any(x == pytest.approx(12.5) for x in drawn)


def test_the_most_that_each_got_stands_beside_its_limit(full: View) -> None:
    table = cells("limits", full).set_index("program in")
    assert table.loc["container in a VM, limited"].tolist() == ["64.0 MiB", "64.0 MiB", "24", "24"]
    without = table.loc["container in a VM, no limit"].tolist()
    assert without[:2] == ["that of its VM, 384 MiB", "260 MiB, then its VM was full"]
    assert without[2:] == ["no limit set", "200"]
    assert table.loc["VM, full"].tolist() == ["512 MiB", "502 MiB", "not measured", "–"]


# ---- blast radius -----------------------------------------------------------------------------


@pytest.mark.parametrize(("b_goes_on", "on", "all_at_once"), [(False, "1", 24), (True, "0.5", 12)])
def test_one_panic_stops_what_the_formula_says(
    show: Show, b_goes_on: bool, on: str, all_at_once: int
) -> None:
    view = show(planted_rows.falls(b_goes_on=b_goes_on))
    blast = model("blast", view)
    assert f"panicked {on}, beside it 0;" in blast.source
    for k in KERNELS:
        assert f"one panic stops {all_at_once / k:g} of 24" in blast.draw(k).alt


# ---- published weaknesses ---------------------------------------------------------------------


def test_two_weaknesses_of_each_kind_stand_on_the_page_and_all_are_in_the_homework(
    full: View,
) -> None:
    few, every = cells("cves", full), cells("all_cves", full)
    assert few.groupby("where").size().tolist() == [2, 2, 2]
    assert set(few["vulnerability"].str.extract(r"\[(\S+)\]")[0]) == set(IN_CLASS)
    assert not every["vulnerability"].str.contains("CVE-2016-5195").any()  # known at second hand
    assert every["vulnerability"].str.fullmatch(r"\[CVE-\S+\]\(https://\S+\)").all()
