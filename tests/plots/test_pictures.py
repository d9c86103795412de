"""The primitives: what they show, what they say, and that nobody has to see colours."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from planted import planted, row, starts

from vmcompare.evidence.view import View, compose
from vmcompare.plots import marks, style
from vmcompare.plots.picture import Picture
from vmcompare.plots.times import FILLS, noise, phases, strip
from vmcompare.sandbox import Machine, Phase, Platform, Series

START = "start_to_first_byte_s"


def look(tmp_path: Path, rows: Sequence[Any]) -> View:
    return compose(planted(tmp_path, rows), None)


def words(picture: Picture) -> str:
    """All text drawn in the figure."""
    return "\n".join(
        text.get_text() for axes in picture.figure.axes for text in axes.texts if text.get_text()
    )


def all_series() -> list[Series]:
    machines = {True: (Machine.PC, Machine.MICROVM), False: (Machine.NONE,)}
    found = [Series(p, m) for p in Platform for m in machines[p.is_vm]]
    bare = [Series(Platform.CONTAINER, runtime=name) for name in ("bubblewrap", "runc", "other")]
    return [*found, *bare]


def test_every_series_has_a_marker_and_a_hatching_of_its_own() -> None:
    looks = [style.look(series) for series in all_series()]
    assert len({item.marker for item in looks}) == len(looks)
    assert len({item.hatch for item in looks}) == len(looks)


def test_only_the_machine_microvm_is_called_a_microvm() -> None:
    assert Series(Platform.VM_DIRECT, Machine.PC).label == "vm-direct (pc)"
    assert Series(Platform.VM_DIRECT, Machine.MICROVM).label == "vm-direct (microvm)"
    assert Series(Platform.VM, Machine.PC).label == "vm"
    assert Series(Platform.CONTAINER, runtime="bubblewrap").label == "container (bubblewrap)"


def test_series_come_in_the_courses_order_whatever_the_order_measured(tmp_path: Path) -> None:
    view = look(tmp_path, starts(rounds=2, whole=False)[::-1])
    assert [group.series.label for group in view.columns(START)] == [
        "process", "container", "vm-direct (pc)", "vm-direct (microvm)", "vm-tuned", "vm",
    ]  # fmt: skip


def test_the_strip_shows_every_run(tmp_path: Path) -> None:
    rows = starts(only=["container"], whole=False)
    rows[7] = replace(rows[7], value=2.0)
    picture = strip(look(tmp_path, rows), START, what="start")
    points = [line for line in picture.figure.axes[0].lines if line.get_marker() == "s"]
    assert len(points) == 30
    assert max(float(line.get_xdata()[0]) for line in points) == 2.0


def test_the_strips_time_axis_is_logarithmic_and_named(tmp_path: Path) -> None:
    picture = strip(look(tmp_path, starts(whole=False)), START, what="start")
    [axes] = picture.figure.axes
    assert axes.get_xscale() == "log"
    assert "logarithmic" in axes.get_xlabel()


def test_warm_ups_are_drawn_pale_and_counted_nowhere(tmp_path: Path) -> None:
    warm = replace(row("container", START, 0.9), is_warmup=True)
    counted = starts(only=["container"], whole=False)
    with_it = strip(look(tmp_path, [warm, *counted]), START, what="start")
    without = strip(look(tmp_path, counted), START, what="start")
    pale = [line for line in with_it.figure.axes[0].lines if line.get_alpha() == marks.PALE]
    assert [float(line.get_xdata()[0]) for line in pale] == [0.9]
    assert with_it.alt == without.alt
    assert "n = 30" in words(with_it)
    assert (with_it.placeholders, without.placeholders) == ({"warmed": True}, {"warmed": False})


def test_a_first_picture_is_there_with_the_first_warm_up(tmp_path: Path) -> None:
    warm = replace(row("process", START, 0.001), is_warmup=True)
    view = look(tmp_path, [warm])
    picture = strip(view, START, what="start")
    assert "process · measured: only warm-ups so far" in picture.alt
    assert view.columns(START, failed_too=True) == []  # no other figure takes it for a start
    beside = compose(planted(tmp_path, [warm]), planted(tmp_path, starts(whole=False)))
    assert "only warm-ups" not in strip(beside, START, what="start").alt


def test_failed_runs_are_counted_in_the_label_the_caption_and_the_alt_text(
    tmp_path: Path,
) -> None:
    rows = starts(failures={"vm": 2, "vm-tuned": 10}, whole=False)
    picture = strip(look(tmp_path, rows), START, what="start")
    assert "n = 8, 2 failed" in words(picture)
    assert "n = 0, 10 failed" in words(picture)
    assert "vm-tuned 10, vm 2" in picture.caption
    assert "every run failed (10)" in picture.alt


def test_the_alt_text_is_made_from_the_data(tmp_path: Path) -> None:
    one = strip(look(tmp_path, starts(whole=False)), START, what="start").alt
    assert "vm · software emulation · measured: median 25.0 s, 95 % interval" in one
    assert "250× the container’s" in one
    assert "n = 30" in one
    times = {("container", ""): 0.2, ("vm", "pc"): 1.0}
    two = strip(look(tmp_path, starts(accel="kvm", times=times, whole=False)), START, what="start")
    assert "median 1.00 s" in two.alt
    assert "5.00× the container’s" in two.alt


def test_every_emulated_series_says_so_in_its_label_and_no_other_does(tmp_path: Path) -> None:
    for make in (
        lambda view: strip(view, START, what="start"),
        phases,
    ):
        drawn = words(make(look(tmp_path, starts())))
        lines = [line for line in drawn.splitlines() if re.match(r"(vm|process|container)", line)]
        assert len(lines) >= 6
        for line in lines:
            assert line.startswith("vm") == ("software emulation" in line), line


def test_live_and_recorded_series_are_marked_where_they_stand_side_by_side(
    tmp_path: Path,
) -> None:
    own = planted(tmp_path, starts(only=["process", "container"], rounds=2, whole=False))
    other = planted(tmp_path, starts(whole=False))
    drawn = words(strip(compose(own, other), START, what="start"))
    assert "container · measured" in drawn
    assert "vm · software emulation · recorded" in drawn
    alone = words(strip(compose(own, None), START, what="start"))
    assert "measured" not in alone


def test_series_of_two_runs_are_never_paired(tmp_path: Path) -> None:
    own = planted(tmp_path, starts(only=["container"], whole=False))
    other = planted(tmp_path, starts(only=["vm"], whole=False))
    container, vm = compose(own, other).columns(START)
    assert vm.over(container) is None
    assert "×" not in strip(compose(own, other), START, what="start").alt


def test_a_result_doubts_itself_when_three_runs_are_few(tmp_path: Path) -> None:
    few = strip(look(tmp_path, starts(rounds=3, whole=False)), START, what="start")
    assert "Few runs, which limit a verdict" in few.caption
    assert "3 where 10 are needed: vm-direct (pc)" in few.caption
    many = strip(look(tmp_path, starts(rounds=10, whole=False)), START, what="start")
    assert "doubts itself" not in many.caption


def test_one_run_has_no_interval_and_none_is_invented(tmp_path: Path) -> None:
    picture = strip(look(tmp_path, starts(rounds=1, whole=False)), START, what="start")
    assert "no interval from one run" in picture.alt


def test_the_noise_floor_sets_the_same_thing_against_itself_in_every_block(
    tmp_path: Path,
) -> None:
    base = look(tmp_path, starts(only=["container"], whole=False)).columns(START)[0]
    floor = noise(base)
    assert len(floor) == 10
    assert min(floor) <= 1 <= max(floor)
    assert noise(base) == floor  # the draw is seeded


def test_phases_are_stacked_in_the_order_they_happen_and_named_without_colour(
    tmp_path: Path,
) -> None:
    picture = phases(look(tmp_path, starts(rounds=2)))
    drawn = words(picture).replace("\u00a0", " ")
    assert drawn.index("firmware") < drawn.index("kernel and initrd")
    assert "create" in drawn
    assert "ready" not in drawn  # it comes after the first byte
    assert re.search(r"vm · software emulation · measured, [\d.]+ s: spawn", picture.alt)


def test_a_start_fills_its_thick_bar_and_its_thin_one_has_one_scale_for_all(
    tmp_path: Path,
) -> None:
    picture = phases(look(tmp_path, starts(rounds=2)))
    thick: dict[float, float] = {}
    thin = []
    for patch in picture.figure.axes[0].patches:
        place = round(patch.get_y(), 3)
        if patch.get_height() > 0.1:
            thick[place] = thick.get(place, 0.0) + patch.get_width()
        elif patch.get_facecolor()[:3] == (0, 0, 0):
            thin.append(patch.get_width())
    assert list(thick.values()) == pytest.approx([1.0] * 6)
    assert max(thin) == pytest.approx(1.0)
    assert thin[0] < 0.01  # a process beside a VM


def test_every_phase_has_a_place_in_the_order() -> None:
    assert set(FILLS) == set(Phase)


def test_a_phase_that_took_no_time_does_not_break_the_picture(tmp_path: Path) -> None:
    rows = [row("process", "phase_s", 0.0, phase=phase) for phase in ("spawn", "first-byte")]
    assert "0" in phases(look(tmp_path, rows)).alt


def test_the_same_recording_always_gives_the_same_bytes(tmp_path: Path) -> None:
    view = look(tmp_path, starts(rounds=2, only=["process", "container"]))
    assert phases(view).svg() == phases(view).svg()


def test_a_bare_mechanism_spends_its_first_phase_on_namespaces(tmp_path: Path) -> None:
    rows = [
        row("container", "phase_s", value, phase=phase, layer="mechanism", runtime="bubblewrap")
        for phase, value in (("first-byte", 0.003), ("ready", 0.002))
    ]
    picture = phases(look(tmp_path, rows))
    assert "namespaces and exec 3.00 ms" in picture.alt
    assert "had answered" not in picture.caption


def test_a_first_byte_of_no_time_is_explained(tmp_path: Path) -> None:
    rows = [
        row("container", "phase_s", value, phase=phase)
        for phase, value in (("start", 0.1), ("first-byte", 0.0))
    ]
    assert "before the engine had answered" in phases(look(tmp_path, rows)).caption
