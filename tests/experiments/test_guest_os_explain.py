"""What lesson 01 draws, tabulates and models, whatever the view holds."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from explained import Asked
from planted import planted
from planted_ramps import BUBBLEWRAP, CONTAINER, DIRECT, LINES_MIB, VM, ramps

from vmcompare.errors import Unavailable
from vmcompare.evidence.published import load_figures
from vmcompare.evidence.statistics import Interval
from vmcompare.evidence.units import MIB
from vmcompare.evidence.view import View, compose
from vmcompare.experiments.guest_os.explain import against_noise, explained
from vmcompare.experiments.guest_os.fits import fits

FIGURES, WHATIFS, OUTCOMES = explained.figures, explained.whatifs, explained.outcomes


def table(name: str, view: View) -> pd.DataFrame:
    return pd.DataFrame(explained.tables[name](view))


TABLES = {name: lambda view, name=name: table(name, view) for name in explained.tables}


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
    "light emulators": {"overhead": {CONTAINER: (9, 20), VM: (5, 10), DIRECT: (5, 30)}},
    "flat": {"lines": {**LINES_MIB, CONTAINER: (10, 0.0)}, "spread": False},
}
"""Name of a view → what is planted for it."""


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


@pytest.mark.slow
@pytest.mark.parametrize("name", [*MADE, "empty", "mixed"])
def test_everything_either_works_or_says_in_one_sentence_what_is_missing(
    views: Mapping[str, View], name: str
) -> None:
    asked = Asked(views[name])
    list(asked.figures(FIGURES.values()))
    list(asked.tables(TABLES.values()))
    assert all(model.placeholders for model, _ in asked.whatifs(WHATIFS.values()))
    asked.outcomes(OUTCOMES)


@pytest.mark.parametrize("name", ["empty", "all failed"])
def test_a_view_without_a_valid_row_makes_everything_unavailable(
    views: Mapping[str, View], name: str
) -> None:
    for make in (*FIGURES.values(), *TABLES.values(), *WHATIFS.values()):
        with pytest.raises(Unavailable):
            make(views[name])
    assert [outcome(views[name]) for outcome in OUTCOMES.values()] == [None] * 3


def test_the_outcomes_are_what_was_planted(views: Mapping[str, View]) -> None:
    found = {name: outcome(views["exact"]) for name, outcome in OUTCOMES.items()}
    assert found == pytest.approx({"m512_mib": 185, "container_mib": 3, "kernel_threads": 69})


def test_a_fit_gives_back_the_line_that_was_planted(views: Mapping[str, View]) -> None:
    found = {f.column.series.label: f for f in fits(views["exact"], "pss_bytes")}
    for label, (a, b) in (("container", (10, 3)), ("vm (q35)", (30, 250))):
        assert found[label].fixed / MIB == pytest.approx(a)
        assert found[label].each.estimate / MIB == pytest.approx(b)
        assert found[label].ramps == 3


def test_every_point_of_every_ramp_is_drawn(views: Mapping[str, View]) -> None:
    axes = FIGURES["ramps"](views["full"]).figure.axes[1]
    counts = {m: sum(len(line.get_xdata()) for line in axes.lines if line.get_marker() == m)
              for m in "s^h"}  # fmt: skip
    assert counts == {"s": 18, "^": 9, "h": 6}


def test_the_first_points_of_a_run_are_drawn_before_there_is_a_line(tmp_path: Path) -> None:
    begun = [one for one in ramps(lines=only(DIRECT), rounds=1) if one.rep == 1]
    picture = FIGURES["ramps"](compose(planted(tmp_path, begun, experiment="guest_os"), None))
    assert "1 points from x = 1 to 1" in picture.alt
    both = [*ramps(lines=only(CONTAINER), rounds=1), *begun]
    beside = FIGURES["ramps"](compose(planted(tmp_path, both, experiment="guest_os"), None))
    assert "vm-direct (pc) · software emulation, 1 points" in beside.alt


def test_the_code_cache_is_left_out_of_b_and_shown_beside_it(views: Mapping[str, View]) -> None:
    table = TABLES["ramps"](views["exact"]).set_index("series")
    emulated = "vm (q35) · software emulation"
    assert table.loc[emulated, "each, b"] == "250 MiB [range of 3: 250 MiB – 250 MiB]"
    assert table.loc[emulated, "b with code cache"] == "310 MiB"
    assert table.loc["container", "b with code cache"] == "3.00 MiB"
    hardware = TABLES["ramps"](views["hardware"]).set_index("series")
    each = str(hardware.loc["vm (q35)", "each, b"])
    assert each.startswith(f"{hardware.loc['vm (q35)', 'b with code cache']} [")


def test_three_ways_of_counting_stand_side_by_side(views: Mapping[str, View]) -> None:
    table = TABLES["counting"](views["exact"]).set_index("series")
    row = table.loc["container"]
    assert list(row)[:2] == ["3.00 MiB", "586 KiB"]
    assert str(row["less left on the host"]).startswith("3.30 MiB [")
    assert table.loc["vm (q35)", "its control group"] == "–"


def test_what_the_host_has_left_says_when_it_is_noise() -> None:
    assert against_noise(Interval(-5 * MIB, -9 * MIB, 3 * MIB, 3)).endswith(
        "−5.00 MiB [range of 3: −9.00 MiB – 3.00 MiB]: not told from noise"
    )
    assert "noise" in against_noise(Interval(-9 * MIB, -60 * MIB, -2 * MIB, 3))
    assert against_noise(Interval(5 * MIB, 4 * MIB, 6 * MIB, 3)) == (
        "5.00 MiB [range of 3: 4.00 MiB – 6.00 MiB]"
    )
    assert "noise not known" in against_noise(Interval(5 * MIB, -math.inf, math.inf, 1))


def test_what_is_inside_is_counted_and_idle_is_said_in_per_cent(
    views: Mapping[str, View],
) -> None:
    table = TABLES["inside"](views["full"]).set_index("series")
    assert list(table.loc["vm (q35)"])[:4] == ["69", "9", "1507", "1.0 %"]
    assert list(table.loc["container"])[:4] == ["0", "1", "593", "0.0 %"]


def test_the_literature_stands_below_the_views_own_and_only_where_it_was_read(
    views: Mapping[str, View],
) -> None:
    table = TABLES["literature"](views["exact"])
    own = table[~table["source"].str.startswith("literature: ")]
    assert list(own["figure"])[:3] == ["3.00 MiB", "160 MiB", "250 MiB"]
    assert set(own["counted"]) == {"PSS, one more", "PSS, managing one more"}
    published = table[table["source"].str.startswith("literature: ")]
    assert set(published["conditions"]) <= {f.conditions for f in load_figures() if f.checked}


def test_every_emulated_series_says_so_and_no_other(views: Mapping[str, View]) -> None:
    for name, emulated in (("full", 2), ("hardware", 0)):
        for key, table in TABLES.items():
            if key == "literature":
                continue  # it has two rows a series
            cells = table(views[name])
            said = cells.apply(lambda row: "software emulation" in " ".join(row), axis=1).sum()
            assert said == emulated
        for figure in FIGURES.values():
            picture = figure(views[name])
            if "sharing" not in figure.__name__:
                assert ("emulation" in picture.alt + picture.caption) == bool(emulated)


def test_live_and_recorded_series_are_marked_and_daemons_pay_back_within_one_run_only(
    views: Mapping[str, View],
) -> None:
    alt = FIGURES["ramps"](views["mixed"]).alt
    assert "container · measured" in alt
    assert "vm (q35) · software emulation · recorded" in alt
    assert "paid back" not in alt
    with pytest.raises(Unavailable, match="no run has ramps of both"):
        WHATIFS["daemons"](views["mixed"])


def test_bubblewrap_is_a_series_of_its_own_without_daemons(views: Mapping[str, View]) -> None:
    table = TABLES["ramps"](views["bubblewrap too"])
    assert "container (bubblewrap)" in set(table["series"])
    assert FIGURES["ramps"](views["bubblewrap too"]).alt.count("container and daemons") == 1
    container_mib = OUTCOMES["container_mib"]
    assert container_mib(views["bubblewrap too"]) == container_mib(views["full"])


def test_few_rounds_and_failures_are_said_under_the_figure(views: Mapping[str, View]) -> None:
    caption = FIGURES["ramps"](views["one round"]).caption
    assert "Fewer than the 3 rounds a verdict takes: container 1" in caption
    assert "Failed, counted but not drawn: container 3" in (
        FIGURES["ramps"](views["container failed"]).caption
    )
    assert "Fewer" not in FIGURES["ramps"](views["full"]).caption
    table = TABLES["ramps"](views["container failed"]).set_index("series")
    assert table.loc["container", "ramps"] == "every ramp failed (3 times)"


def test_what_the_daemons_held_before_and_beside_containers_is_said(
    views: Mapping[str, View],
) -> None:
    held = {"before": "100 MiB", "beside": "100 MiB", "last": 10}
    for name in ("ramps", "managing"):
        assert FIGURES[name](views["exact"]).placeholders == held
        assert not FIGURES[name](views["vms"]).placeholders["before"]


def test_pages_that_containers_share_make_each_ones_share_fall(
    views: Mapping[str, View],
) -> None:
    alt = FIGURES["sharing"](views["exact"]).alt
    # The workload is 1 + 0.15·N MiB here: 1.15 MiB for one alone, 0.25 MiB each for ten.
    assert "container 1.15 MiB → 256 KiB" in alt
    assert "vm" not in alt


def test_how_many_fit_is_the_room_less_a_and_daemons_divided_by_b(
    views: Mapping[str, View],
) -> None:
    model = WHATIFS["how_many"](views["exact"])
    for room_gib in (1, 64):
        room = room_gib * 1024
        alt = model.draw(room_gib).alt
        assert f"container {math.floor((room - 100 - 10) / 3):,};" in alt
        assert f"vm (q35) · software emulation {math.floor((room - 30) / 250):,}." in alt


def test_daemons_are_paid_back_where_the_formula_says(views: Mapping[str, View]) -> None:
    model = WHATIFS["daemons"](views["exact"])
    assert model.values[model.start] == pytest.approx(100, abs=8)  # measured: 100 MiB
    for daemons in (150.0, 300.0):
        star = (daemons + 9 - 2) / (16 - 2.85)  # overhead: 9 + 2.85·N against 2 + 16·N
        alt = model.draw(daemons).alt
        assert f"paid back against vm-direct (pc) from N* = {star:.1f}" in alt
    assert "paid back against vm (q35) from the first" in model.draw(0.0).alt
    light = WHATIFS["daemons"](views["light emulators"])
    assert "paid back against vm (q35) never" in light.draw(150.0).alt
