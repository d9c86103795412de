"""What lesson 01 draws, tabulates, models and asks, whatever the view holds."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from explained import Asked
from planted import planted
from planted_ramps import BUBBLEWRAP, CONTAINER, DIRECT, LINES_MIB, VM, ramps

from vmcompare.errors import Unavailable
from vmcompare.evidence import exercise
from vmcompare.evidence.exercise import Kind
from vmcompare.evidence.published import load_figures
from vmcompare.evidence.statistics import Interval
from vmcompare.evidence.units import MIB
from vmcompare.evidence.view import View, compose
from vmcompare.experiments.guest_os.exercises import EXERCISES, QUESTIONS
from vmcompare.experiments.guest_os.explain import FIGURES, OUTCOMES, TABLES, WHATIFS
from vmcompare.experiments.guest_os.fits import against_noise, fits


def only(*keys: tuple[str, str, str]) -> Mapping[tuple[str, str, str], tuple[float, float]]:
    return {key: LINES_MIB.get(key, (2.0, 1.0)) for key in keys}


@pytest.fixture(scope="module")
def views(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, View]:
    """Every kind of view a lesson can meet."""
    place = tmp_path_factory.mktemp("views")

    def live(**more: Any) -> View:
        return compose(planted(place, ramps(**more), experiment="guest_os"), None)

    own = planted(place, ramps(lines=only(CONTAINER), rounds=1), experiment="guest_os")
    other = planted(place, ramps(), experiment="guest_os")
    return {
        "empty": compose(None, None),
        "full": live(),
        "exact": live(spread=False),
        "hardware": live(accel="kvm"),
        "container": live(lines=only(CONTAINER)),
        "bubblewrap too": live(lines={**LINES_MIB, BUBBLEWRAP: (2.0, 1.0)}),
        "machines": live(lines=only(DIRECT, VM)),
        "container failed": live(failed=["container"]),
        "all failed": live(failed=["container", "vm-direct", "vm"]),
        "one round": live(rounds=1),
        "flat": live(lines={**LINES_MIB, CONTAINER: (10, 0.0)}, spread=False),
        "mixed": compose(own, other),
    }


VIEWS = (
    "empty", "full", "exact", "hardware", "container", "bubblewrap too", "machines",
    "container failed", "all failed", "one round", "flat", "mixed",
)  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", VIEWS)
def test_everything_either_works_or_says_in_one_sentence_what_is_missing(
    views: Mapping[str, View], name: str
) -> None:
    asked = Asked(views[name])
    assert all(picture.alt for picture in asked.figures(FIGURES.values()))
    assert all(len(table) for table in asked.tables(TABLES.values()))
    for _, picture in asked.whatifs(WHATIFS.values()):
        assert picture.caption.startswith("Modelled, not measured.")
    asked.outcomes(OUTCOMES)
    for task in EXERCISES.values():
        asked.made(task.solution)
        if task.unit:
            asked.made(task.check, 1.0)


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


def test_the_code_cache_is_left_out_of_b_and_shown_beside_it(views: Mapping[str, View]) -> None:
    table = TABLES["ramps"](views["exact"]).set_index("series")
    emulated = "vm (q35) · software emulation"
    assert table.loc[emulated, "each, b"] == "250 MiB [250 MiB – 250 MiB]"
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
        "−5.00 MiB [−9.00 MiB – 3.00 MiB]: not told from noise"
    )
    assert "noise" in against_noise(Interval(-9 * MIB, -60 * MIB, -2 * MIB, 3))
    assert against_noise(Interval(5 * MIB, 4 * MIB, 6 * MIB, 3)) == (
        "5.00 MiB [4.00 MiB – 6.00 MiB]"
    )
    assert "noise not known" in against_noise(Interval(5 * MIB, -math.inf, math.inf, 1))
    assert against_noise(None) == "–"


def test_the_literature_says_of_each_figure_what_was_counted(views: Mapping[str, View]) -> None:
    table = TABLES["literature"](views["exact"])
    published = table[table["source"].str.startswith("literature: ")]
    counted = " ".join(published["counted"])
    assert "mapped" in counted
    assert "resident" in counted
    assert not published["conditions"].isin(["same", ""]).any()
    for source in published["source"]:
        assert source.count("(") == source.count(")")


def test_the_laptop_s_solution_answers_both_of_its_questions(views: Mapping[str, View]) -> None:
    solved = EXERCISES["laptop"].solution(views["exact"])
    assert "so 24" in solved
    assert "are paid back against" in solved
    assert "paid back" not in EXERCISES["laptop"].solution(views["machines"])


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
    read = {figure.conditions for figure in load_figures() if figure.checked}
    assert len(published)
    assert set(published["conditions"]) <= read
    assert not published["figure"].str.startswith("~3 / ~13").any()


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
    alt = FIGURES["ramps"](views["bubblewrap too"]).alt
    assert alt.count("container and daemons") == 1
    assert OUTCOMES["container_mib"](views["bubblewrap too"]) == OUTCOMES["container_mib"](
        views["full"]
    )


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
    for name in ("ramps", "managing"):
        caption = FIGURES[name](views["exact"]).caption
        assert "Daemons: 100 MiB before the first container, 100 MiB beside 10." in caption


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


def test_where_a_machine_is_managed_for_less_daemons_are_never_paid_back(tmp_path: Path) -> None:
    rows = ramps(overhead={CONTAINER: (9, 20), VM: (5, 10), DIRECT: (5, 30)}, spread=False)
    view = compose(planted(tmp_path, rows, experiment="guest_os"), None)
    alt = WHATIFS["daemons"](view).draw(150.0).alt
    assert "paid back against vm (q35) never" in alt


def test_it_is_a_whole_lesson_of_exercises() -> None:
    exercise.check_complete(EXERCISES, QUESTIONS)


@pytest.mark.parametrize(
    ("name", "right", "wrong"),
    [
        ("slope_by_hand", 3.0, 4.0),  # 4.0 is the average, which holds the fixed part
        ("given_and_paid", 190 / 180, 8.0),
        ("laptop", 24.0, 30.0),
    ],
)
def test_an_answer_is_checked_on_the_data(
    views: Mapping[str, View], name: str, right: float, wrong: float
) -> None:
    check = EXERCISES[name].check
    assert check(views["exact"], right).right
    assert not check(views["exact"], wrong).right
    with pytest.raises(Unavailable):
        check(views["empty"], right)


def test_other_data_make_another_answer_right(tmp_path: Path) -> None:
    lines = {CONTAINER: (10.0, 7.0), VM: (30.0, 500.0)}
    view = compose(planted(tmp_path, ramps(lines=lines, spread=False), experiment="guest_os"), None)
    assert EXERCISES["slope_by_hand"].check(view, 7.0).right
    assert not EXERCISES["slope_by_hand"].check(view, 3.0).right
    assert EXERCISES["laptop"].check(view, 12.0).right


def test_the_code_of_every_numeric_exercise_gives_its_answer(views: Mapping[str, View]) -> None:
    class Lesson:
        view = views["exact"]

    def run(code: str) -> float:
        *before, last = code.splitlines()
        known: dict[str, Any] = {"lesson": Lesson}
        exec("\n".join(before), known)
        return float(eval(last, known))

    slope, sizes = EXERCISES["slope_by_hand"], EXERCISES["given_and_paid"]
    assert slope.check(Lesson.view, run(slope.code.replace("...", "(10 - 2)"))).right
    large, small = run(sizes.code.replace("128", "1024")), run(sizes.code)
    assert sizes.check(Lesson.view, large / small).right


def test_the_bug_is_found_by_one_answer_only_and_every_other_gets_its_words(
    views: Mapping[str, View],
) -> None:
    [bug] = [e for e in EXERCISES.values() if e.kind is Kind.BUG]
    said = [bug.check(views["full"], choice) for choice in bug.choices]
    assert sum(feedback.right for feedback in said) == 1
    assert len({feedback.text for feedback in said}) == len(bug.choices)


def test_solutions_show_the_figures_of_the_data(views: Mapping[str, View]) -> None:
    assert "**3 MiB**" in EXERCISES["slope_by_hand"].solution(views["exact"])
    assert "so 24" in EXERCISES["laptop"].solution(views["exact"])
    assert "**1.06 times**" in EXERCISES["given_and_paid"].solution(views["exact"])
