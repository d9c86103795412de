"""What the boot-speed lesson draws, tabulates and models, whatever the view holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from explained import Asked
from planted import STARTS_S, as_once_recorded, planted, row, starts

from vmcompare.errors import Unavailable
from vmcompare.evidence.published import load_figures
from vmcompare.evidence.units import seconds
from vmcompare.evidence.view import View, compose
from vmcompare.experiments.boot_speed.explain import START, explained, five
from vmcompare.experiments.boot_speed.race import runners

FIGURES, OUTCOMES = explained.figures, explained.outcomes


def table(name: str, view: View) -> pd.DataFrame:
    return pd.DataFrame(explained.tables[name](view))


TABLES = {name: lambda view, name=name: table(name, view) for name in explained.tables}


FAST = {key: value / 8 if value > 1 else value for key, value in STARTS_S.items()}


@pytest.fixture(scope="module")
def views(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, View]:
    """Every kind of view a lesson can meet."""
    place = tmp_path_factory.mktemp("views")

    def live(**more: Any) -> View:
        return compose(planted(place, starts(**more)), None)

    own = planted(place, starts(only=["process", "container"], rounds=1))
    other = planted(place, starts())
    return {
        "empty": compose(None, None),
        "full": live(),
        "hardware": live(accel="kvm", times=FAST),
        "old": compose(planted(place, as_once_recorded(starts())), None),
        "process": live(only=["process"]),
        "container": live(only=["container"]),
        "vms": live(only=["vm-direct", "vm-tuned", "vm"]),
        "failures": live(failures={"vm": 2, "container": 30}),
        "all failed": live(only=["vm"], failures={"vm": 10}),
        "one round": live(rounds=1),
        "mixed": compose(own, other),
    }


VIEWS = ("old", "process", "container", "vms", "failures", "one round", "mixed")


@pytest.mark.parametrize("name", VIEWS)
def test_everything_either_works_or_says_in_one_sentence_what_is_missing(
    views: Mapping[str, View], name: str
) -> None:
    asked = Asked(views[name], drawn=name == "mixed")
    for picture in asked.figures(FIGURES.values()):
        assert "inf" not in picture.alt.replace("information", "")
    assert all(len(table) for table in asked.tables(TABLES.values()))
    asked.outcomes(OUTCOMES)


@pytest.mark.parametrize("name", ["empty", "all failed"])
def test_a_view_without_a_valid_start_makes_everything_unavailable(
    views: Mapping[str, View], name: str
) -> None:
    for make in (*FIGURES.values(), TABLES["adds"]):
        with pytest.raises(Unavailable):
            make(views[name])
    assert [outcome(views[name]) for outcome in OUTCOMES.values()] == [None] * 2


def test_the_full_view_has_every_figure_table_model_and_outcome(
    views: Mapping[str, View],
) -> None:
    for make in (*FIGURES.values(), *TABLES.values()):
        make(views["full"])
    found = {name: outcome(views["full"]) for name, outcome in OUTCOMES.items()}
    assert found == pytest.approx({"container_s": 0.1, "vm_over_container": 250})


def test_outcomes_of_two_runs_are_not_made_into_a_ratio(views: Mapping[str, View]) -> None:
    assert OUTCOMES["container_s"](views["mixed"]) is not None
    assert OUTCOMES["vm_over_container"](views["mixed"]) is None


def test_bubblewrap_is_a_series_of_its_own_and_no_outcome(tmp_path: Path) -> None:
    rows = [
        replace(r, layer="mechanism", runtime="bubblewrap") if r.platform == "container" else r
        for r in starts(whole=False)
    ]
    view = compose(planted(tmp_path, rows), None)
    assert "container (bubblewrap)" in FIGURES["all_starts"](view).alt
    assert OUTCOMES["container_s"](view) is None


def test_two_bare_runtimes_are_two_series_beside_the_product(tmp_path: Path) -> None:
    containers = [r for r in starts(rounds=3) if r.platform == "container"]
    rows = [
        *containers,
        *(replace(r, layer="mechanism", runtime="runc") for r in containers),
        *(replace(r, layer="mechanism", runtime="bubblewrap") for r in containers),
    ]
    view = compose(planted(tmp_path, rows), None)
    said = FIGURES["all_starts"](view).alt
    assert all(f"container ({name})" in said for name in ("bubblewrap", "runc"))
    assert OUTCOMES["container_s"](view) == pytest.approx(0.1, rel=0.05)


def test_of_the_literature_only_what_was_read_is_shown(views: Mapping[str, View]) -> None:
    published = TABLES["literature"](views["empty"])
    assert published["source"].str.contains(r"^literature: .*20\d\d$").all()
    shown = set(zip(published["what"], published["conditions"], strict=True))
    assert not shown & {(f.system, f.conditions) for f in load_figures() if not f.checked}
    text = published.to_string()  # arrows and bounds are set as such
    assert "≤125" in text
    assert "->" not in text
    assert "<=" not in text


def test_the_noise_floor_is_said_under_the_starts(views: Mapping[str, View]) -> None:
    assert "Noise floor: two container starts" in FIGURES["starts"](views["full"]).words


def test_the_headline_leaves_out_the_series_that_fold(views: Mapping[str, View]) -> None:
    alt = FIGURES["starts"](views["full"]).alt
    assert "vm-direct (pc)" in alt
    assert "microvm" not in alt
    assert "vm-tuned" not in alt
    assert "vm-tuned" in FIGURES["all_starts"](views["full"]).alt


def test_each_layer_adds_the_difference_of_two_medians_of_one_run(tmp_path: Path) -> None:
    rows = [
        row("process", "start_to_first_byte_s", 0.001),
        row("container", "start_to_first_byte_s", 0.02, layer="mechanism", runtime="runc"),
        row("container", "start_to_first_byte_s", 0.1),
    ]
    table = TABLES["adds"](compose(planted(tmp_path, rows), None))
    assert list(table["start"]) == ["process", "container (runc)", "container"]
    assert list(table["adds"]) == ["1.00 ms", "19.0 ms", "80.0 ms"]


def test_layers_of_two_runs_are_not_subtracted(tmp_path: Path) -> None:
    own = planted(tmp_path, [row("process", "start_to_first_byte_s", 0.001)])
    other = planted(tmp_path, [row("container", "start_to_first_byte_s", 0.1)])
    assert "another run" in TABLES["adds"](compose(own, other))["adds"].iloc[-1]


def test_the_race_plays_the_stamps_of_one_start_and_slows_down_what_has_no_vm(
    views: Mapping[str, View],
) -> None:
    lanes = {lane.column.series.label: lane for lane in runners(five(views["full"]))}
    for label, lane in lanes.items():
        assert lane.factor == (1 if label.startswith("vm") else 100)
        whole = next(c for c in views["full"].columns(START) if c.series == lane.column.series)
        assert lane.total_s in [pytest.approx(value) for value in whole.values]
    html = str(explained.scenes["race"](views["full"]))
    assert "<script" not in html
    assert "prefers-reduced-motion: no-preference" in html
    for lane in lanes.values():
        for took_s in lane.parts.values():
            if took_s:
                assert f"animation-duration:{took_s * lane.factor:.4f}s" in html
        assert f"first byte after {seconds(lane.total_s)}" in html


def test_without_a_start_there_is_no_race(views: Mapping[str, View]) -> None:
    with pytest.raises(Unavailable):
        explained.scenes["race"](views["empty"])


def test_pictures_under_hardware_virtualisation_do_not_mention_emulation(
    views: Mapping[str, View],
) -> None:
    for figure in FIGURES.values():
        picture = figure(views["hardware"])
        assert "emulation" not in picture.alt + picture.words
