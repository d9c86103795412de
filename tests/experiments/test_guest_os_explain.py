"""What lesson 01 draws, tabulates and models, whatever the view holds."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from explained import Asked
from planted import planted
from planted_ramps import BUBBLEWRAP, CONTAINER, DIRECT, LINES_MIB, VM, ramps

from vmcompare.course.exercises import asked
from vmcompare.errors import Unavailable
from vmcompare.evidence.units import MIB
from vmcompare.evidence.view import View, compose
from vmcompare.experiments.guest_os.explain import explained
from vmcompare.experiments.guest_os.fits import fits

FIGURES, WHATIFS, OUTCOMES = explained.figures, explained.whatifs, explained.outcomes
EXERCISES, _ = asked("guest_os", "01")
EMULATED = "vm (q35) · software emulation"


def table(name: str, view: View) -> pd.DataFrame:
    made = pd.DataFrame(explained.tables[name](view))
    return made.set_index(made.columns[0])


def only(*keys: tuple[str, str, str]) -> Any:
    return {key: LINES_MIB.get(key, (2.0, 1.0)) for key in keys}


MADE: Mapping[str, Mapping[str, Any]] = {
    "full": {},
    "exact": {"spread": False},
    "hardware": {"accel": "kvm"},
    "container": {"lines": only(CONTAINER)},
    "bubblewrap too": {"lines": only(*LINES_MIB, BUBBLEWRAP)},
    "vms": {"lines": only(DIRECT, VM)},
    "container failed": {"failed": ["container"]},
    "all failed": {"failed": ["container", "vm-direct", "vm"]},
    "one round": {"rounds": 1},
    "flat": {"lines": {**LINES_MIB, CONTAINER: (10, 0.0)}, "spread": False},
}
"""Name of a view → what is planted for it."""

WHOLE = ("full", "container", "bubblewrap too", "vms", "one round", "flat", "mixed")
"""Views that differ in what can be made of them."""


@pytest.fixture(scope="module")
def views(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, View]:
    """Every kind of view a lesson can meet."""
    place = tmp_path_factory.mktemp("views")
    own = planted(place, ramps(lines=only(CONTAINER), rounds=1), experiment="guest_os")
    other = planted(place, ramps(), experiment="guest_os")
    return {
        name: compose(planted(place, ramps(**more), experiment="guest_os"), None)
        for name, more in MADE.items()
    } | {"empty": compose(None, None), "mixed": compose(own, other)}


@pytest.mark.parametrize("name", WHOLE)
def test_everything_either_works_or_says_in_one_sentence_what_is_missing(
    views: Mapping[str, View], name: str
) -> None:
    asked = Asked(views[name], drawn=name == "mixed")
    list(asked.figures(FIGURES.values()))
    list(asked.tables(explained.tables.values()))
    assert all(model.placeholders for model, _ in asked.whatifs(WHATIFS.values()))
    asked.outcomes(OUTCOMES)


@pytest.mark.parametrize("name", ["empty", "all failed"])
def test_a_view_without_a_valid_row_makes_everything_unavailable(
    views: Mapping[str, View], name: str
) -> None:
    for make in (*FIGURES.values(), *explained.tables.values(), *WHATIFS.values()):
        with pytest.raises(Unavailable):
            pd.DataFrame(make(views[name]))
    assert [outcome(views[name]) for outcome in OUTCOMES.values()] == [None] * 3


def test_the_outcomes_are_what_was_planted(views: Mapping[str, View]) -> None:
    found = {name: outcome(views["exact"]) for name, outcome in OUTCOMES.items()}
    assert found == pytest.approx({"m512_mib": 185, "container_mib": 3, "aged_mib": 680})


def test_a_fit_gives_back_the_line_that_was_planted(views: Mapping[str, View]) -> None:
    found = {f.column.series.label: f for f in fits(views["exact"], "pss_bytes")}
    for label, (fixed, each) in (("container", (10, 3)), ("vm (q35)", (30, 250))):
        assert found[label].fixed.estimate / MIB == pytest.approx(fixed)
        assert found[label].each.estimate / MIB == pytest.approx(each)


def test_emulators_take_more_than_the_daemons_from_some_vm_on(views: Mapping[str, View]) -> None:
    exercise = EXERCISES["crossover"]
    for name, vms in (("exact", 8), ("hardware", 8)):  # 100 MiB ÷ (a tenth of 160 less a shim)
        assert exercise.check(views[name], vms).right
        assert f"from **{vms}** on. *vm (q35)*" in exercise.solution(views[name])
    assert "16.4 MiB" in exercise.solution(views["exact"])
    assert "16.4 MiB" not in exercise.solution(views["hardware"])
    with pytest.raises(Unavailable):
        exercise.check(views["vms"], 8.0)


def test_the_first_points_of_a_run_are_drawn_before_there_is_a_line(tmp_path: Path) -> None:
    begun = [one for one in ramps(lines=only(DIRECT), rounds=1) if one.rep == 1]
    both = [*ramps(lines=only(CONTAINER), rounds=1), *begun]
    picture = FIGURES["ramps"](compose(planted(tmp_path, both, experiment="guest_os"), None))
    assert "vm-direct (pc) · software emulation, 1 points" in picture.alt
    drawn = picture.figure.axes[1].lines
    points = {m: sum(len(o.get_xdata()) for o in drawn if o.get_marker() == m) for m in "s^"}
    assert points == {"s": 6, "^": 1}


def test_each_number_has_one_name_and_comes_from_the_rows(views: Mapping[str, View]) -> None:
    found = table("numbers", views["exact"])
    fixed = "30.0 MiB (30.0 MiB to 30.0 MiB)"
    assert list(found[EMULATED]) == ["250 MiB", fixed, "–", "280 MiB", "680 MiB", "60.0 MiB"]
    once = "10.0 MiB (10.0 MiB to 10.0 MiB)"
    assert list(found["container"]) == ["3.00 MiB", once, "100 MiB", "–", "–", "–"]
    assert "(" not in table("numbers", views["one round"]).loc["fixed part", "container"]
    said = explained.placeholders["table", "numbers"]
    assert "vm (q35) range of 3: 250 MiB to 250 MiB" in str(said(views["exact"])["spread"])
    assert "container no interval from one ramp" in str(said(views["one round"])["spread"])
    assert found.loc["just booted", "vm-direct (pc) · software emulation"] == "185 MiB"
    assert "code cache" not in table("numbers", views["hardware"]).index


def test_what_one_more_is_made_of_adds_up_to_one_more(views: Mapping[str, View]) -> None:
    for name in ("full", "exact"):
        alt = FIGURES["parts"](views[name]).alt
        for label, number in table("numbers", views[name]).loc["one more"].iloc[1:].items():
            assert f"{label}, {number} in all" in alt
        assert "code cache" not in alt


def test_bare_runtimes_of_older_runs_stand_in_no_picture(views: Mapping[str, View]) -> None:
    for figure in FIGURES.values():
        assert "bubblewrap" not in figure(views["bubblewrap too"]).alt
    container_mib = OUTCOMES["container_mib"]
    assert container_mib(views["bubblewrap too"]) == container_mib(views["full"])


def test_every_emulated_series_says_so_and_no_other(views: Mapping[str, View]) -> None:
    for name, emulated in (("full", True), ("hardware", False)):
        said = table("numbers", views[name]).reset_index().to_csv()
        assert ("software emulation" in said) == emulated
        for key in ("ramps", "parts", "sizes"):
            picture = FIGURES[key](views[name])
            assert ("emulation" in picture.alt + picture.caption) == emulated


def test_live_and_recorded_series_are_marked_and_compared_within_one_run_only(
    views: Mapping[str, View],
) -> None:
    alt = FIGURES["ramps"](views["mixed"]).alt
    assert "container · measured" in alt
    assert "vm (q35) · software emulation · recorded" in alt
    with pytest.raises(Unavailable, match="no run has ramps of both"):
        WHATIFS["application"](views["mixed"])


def test_few_rounds_and_failures_are_said(
    views: Mapping[str, View],
) -> None:
    said = FIGURES["ramps"](views["one round"]).caption
    assert "Fewer than the 3 rounds a verdict takes: container 1" in said
    failed = FIGURES["ramps"](views["container failed"])
    assert "Failed, counted but not drawn: container 3" in failed.caption


def test_the_daemons_are_said_where_there_are_containers(views: Mapping[str, View]) -> None:
    said = FIGURES["ramps"](views["exact"]).placeholders
    assert said["before"] == said["beside"] == "100 MiB"
    assert not FIGURES["ramps"](views["vms"]).placeholders["before"]


def test_the_larger_the_application_the_nearer_to_one(views: Mapping[str, View]) -> None:
    model = WHATIFS["application"](views["exact"])
    assert "vm (q35) 83.3×" in str(model.placeholders["alone"])
    for mib in (1, 300):
        assert f"{EMULATED} {(250 + mib) / (3 + mib):.3g}×" in model.draw(mib).alt


# ---- exercises --------------------------------------------------------------------------------


def view_of(place: Path, **more: Any) -> View:
    return compose(planted(place, ramps(spread=False, **more), experiment="guest_os"), None)


def test_right_answers_follow_the_rows(tmp_path: Path) -> None:
    view = view_of(tmp_path)
    laptop = EXERCISES["laptop"]
    # 30 MiB once, 250 MiB and the application for each.
    assert laptop.check(view, (6 * 1024 - 30) // (250 + 100)).right
    assert not laptop.check(view, (6 * 1024 - 30) // 250).right
    heavier = view_of(tmp_path, lines={CONTAINER: (10.0, 7.0), VM: (30.0, 500.0)})
    assert laptop.check(heavier, 10).right


def test_solutions_carry_the_figures_of_the_rows(tmp_path: Path) -> None:
    view = view_of(tmp_path)
    said = {name: exercise.solution(view) for name, exercise in EXERCISES.items()}
    assert "shown that is 3.00 MiB" in said["flawed_study"]
    assert "**17 full VMs**" in said["laptop"]
    assert "59 containers would fit, 3.5 times as many" in said["laptop"]
    assert "software emulation" in said["laptop"]
    assert "emulation" not in EXERCISES["laptop"].solution(view_of(tmp_path, accel="kvm"))


@pytest.mark.parametrize(("kept", "lacks"), [((CONTAINER,), True), ((DIRECT, VM), False)])
def test_what_the_rows_lack_is_told_with_the_next_step(
    tmp_path: Path, kept: Any, lacks: bool
) -> None:
    view = view_of(tmp_path, lines={key: LINES_MIB[key] for key in kept})
    if lacks:
        with pytest.raises(Unavailable) as caught:
            EXERCISES["laptop"].check(view, 1.0)
        assert caught.value.next_step
    else:
        assert EXERCISES["laptop"].check(view, 1e9).right is False
        assert "containers would fit" not in EXERCISES["laptop"].solution(view)
    assert ("shown that is" in EXERCISES["flawed_study"].solution(view)) == (CONTAINER in kept)
