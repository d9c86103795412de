"""What the lesson on image size draws, tabulates, models and asks, whatever the view holds."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from explained import Asked
from planted import planted
from planted_boxes import MIB, boxes

from vmcompare.evidence import exercise, units
from vmcompare.evidence.exercise import Answer
from vmcompare.evidence.view import View, compose
from vmcompare.experiments.image_size.categories import CATEGORIES, ONLY_A_MACHINE
from vmcompare.experiments.image_size.exercises import EXERCISES, QUESTIONS
from vmcompare.experiments.image_size.explain import FIGURES, OUTCOMES, TABLES, WHATIFS
from vmcompare.experiments.image_size.measure import NAMED_BY_TAR
from vmcompare.experiments.image_size.models import duration


@pytest.fixture(scope="module")
def views(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, View]:
    """Every kind of view a lesson can meet."""
    place = tmp_path_factory.mktemp("views")

    def live(**more: Any) -> View:
        rows = boxes(**more)
        return compose(planted(place, rows, rounds=1, experiment="image_size"), None)

    def run(**more: Any) -> Any:
        return planted(place, boxes(**more), rounds=1, experiment="image_size")

    return {
        "empty": compose(None, None),
        "full": live(),
        "container": live(only=["process", "container"]),
        "vms": live(only=["vm-direct", "vm"]),
        "process": live(only=["process"]),
        "vm failed": live(failed=["vm"]),
        "all failed": live(failed=["container", "vm-direct", "vm"], only=["container", "vm"]),
        "mixed": compose(run(only=["process", "container"]), run()),
        "byte in a vm beside a recording": compose(run(only=["process", "vm-direct", "vm"]), run()),
    }


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        "empty",
        "full",
        "container",
        "vms",
        "process",
        "vm failed",
        "all failed",
        "mixed",
        "byte in a vm beside a recording",
    ],
)
def test_everything_either_works_or_says_in_one_sentence_what_is_missing(
    views: Mapping[str, View], name: str
) -> None:
    asked = Asked(views[name])
    for picture in asked.figures(FIGURES.values()):
        assert "planted" in picture.caption.lower()
    for table in asked.tables(TABLES.values()):
        assert "provenance" in table
    assert all(model.formula for model, _ in asked.whatifs(WHATIFS.values(), most=21))
    for one in EXERCISES.values():
        for answer in (*one.choices, 1.0):
            asked.made(one.check, answer)
        asked.made(one.solution)
    asked.outcomes(OUTCOMES)


def test_the_full_view_has_every_figure_table_model_and_outcome(
    views: Mapping[str, View],
) -> None:
    for make in (*FIGURES.values(), *TABLES.values(), *WHATIFS.values()):
        make(views["full"])
    found = {name: outcome(views["full"]) for name, outcome in OUTCOMES.items()}
    assert found == pytest.approx(
        {"container_mib": 10, "vm_over_container": 6, "vm_update_mib": 60}
    )


def test_sizes_of_two_runs_are_not_made_into_a_ratio(views: Mapping[str, View]) -> None:
    assert OUTCOMES["vm_over_container"](views["mixed"]) is None
    assert set(TABLES["sizes"](views["mixed"])["vm ÷ container"]) == {"–"}
    assert "6.00×" in set(TABLES["sizes"](views["full"])["vm ÷ container"])


def test_mixed_provenance_is_said_at_every_bar_and_column(views: Mapping[str, View]) -> None:
    assert "container · measured" in FIGURES["box"](views["mixed"]).alt
    assert "vm (q35) · recorded" in TABLES["sizes"](views["mixed"]).columns
    assert set(TABLES["sizes"](views["mixed"])["provenance"]) == {"measured and recorded"}


def test_what_failed_is_counted_in_the_caption(views: Mapping[str, View]) -> None:
    assert "Failed, and not drawn: vm (q35) 1" in FIGURES["sizes"](views["vm failed"]).caption


def test_pieces_that_keep_their_digest_are_not_sent_again(views: Mapping[str, View]) -> None:
    table = TABLES["pieces"](views["full"])
    again = dict(zip(table["piece"], table["sent again"], strict=True))
    assert again == {"base": "no", "top": "yes"}


def test_a_single_byte_is_set_beside_what_was_copied(views: Mapping[str, View]) -> None:
    assert list(TABLES["copy_up"](views["full"])["bytes"]) == ["1", "5,000,000", "5,000,001"]


@pytest.mark.parametrize("link", [1.0, 10_000.0])
def test_a_transfer_takes_n_times_8b_over_v(views: Mapping[str, View], link: float) -> None:
    alt = WHATIFS["transfer"](views["full"]).draw(link).alt
    for label, size in (("container", 10 * MIB), ("vm (q35)", 60 * MIB)):
        assert f"{label} {duration(20 * 8 * size / (link * 1e6))}" in alt


@pytest.mark.parametrize("nodes", [1.0, 1000.0])
def test_more_computers_take_longer_by_their_number(
    views: Mapping[str, View], nodes: float
) -> None:
    alt = WHATIFS["nodes"](views["full"]).draw(nodes).alt
    assert f"vm (q35) {duration(nodes * 8 * 60 * MIB / 100e6)}" in alt


@pytest.mark.parametrize(("updates", "said"), [(1.0, "1.17 GiB"), (700.0, "820 GiB")])
def test_a_week_s_traffic_is_updates_times_computers_times_bytes(
    views: Mapping[str, View], updates: float, said: str
) -> None:
    assert f"vm (q35) {said}" in WHATIFS["week"](views["full"]).draw(updates).alt


def test_the_lesson_has_its_exercises_and_questions() -> None:
    exercise.check_complete(EXERCISES, QUESTIONS)


@pytest.mark.parametrize(
    ("name", "right", "wrong"),
    [
        ("one_byte", EXERCISES["one_byte"].choices[2], EXERCISES["one_byte"].choices[1]),
        ("unlike_sizes", 6.0, 102.4),
        ("twenty_nodes", 20 * 8 * 60 * MIB / 50e6, 20 * 60 * MIB / 50e6),
    ],
)
def test_an_exercise_tells_right_from_wrong_by_the_data(
    views: Mapping[str, View], name: str, right: Answer, wrong: Answer
) -> None:
    one = EXERCISES[name]
    assert one.check(views["full"], right).right
    said = one.check(views["full"], wrong)
    assert not said.right
    assert said.text
    assert one.solution(views["full"])


def test_the_numbers_of_exercises_follow_the_data(tmp_path: Path) -> None:
    rows = boxes(sizes={("vm", "compressed"): 30 * MIB})
    view = compose(planted(tmp_path, rows, experiment="image_size"), None)
    assert EXERCISES["unlike_sizes"].check(view, 3.0).right
    assert not EXERCISES["unlike_sizes"].check(view, 6.0).right


def test_the_study_s_own_number_is_met_with_a_question(views: Mapping[str, View]) -> None:
    said = EXERCISES["unlike_sizes"].check(views["full"], 102.4)
    assert "kinds of size" in said.text


def test_the_code_of_the_layer_exercise_gives_the_digest_that_counts_as_right(
    views: Mapping[str, View], capsys: pytest.CaptureFixture[str]
) -> None:
    one = EXERCISES["a_layer"]
    code = one.code.replace("...", "hashlib.sha256(layer).hexdigest()", 1)
    exec(code, {})
    printed = capsys.readouterr().out.splitlines()[0]
    right = [choice for choice in one.choices if one.check(views["full"], choice).right]
    assert right == [printed]
    assert len(set(one.choices)) == 4


def test_the_right_layer_is_set_beside_what_the_engine_said(tmp_path: Path) -> None:
    one, said = EXERCISES["a_layer"], {}
    for value in (1.0, 0.0, None):
        rows = boxes(facts={NAMED_BY_TAR: value})
        view = compose(planted(tmp_path, rows, experiment="image_size"), None)
        [said[value]] = [r.text for c in one.choices if (r := one.check(view, c)).right]
    assert "the same name." in said[1.0].rpartition("engine")[2]
    assert "another name" in said[0.0]
    assert "engine" not in said[None]


def test_facts_are_shown_as_they_were_found(tmp_path: Path) -> None:
    rows = boxes(facts={"musl_program_fails_on_host": 0.0})
    view = compose(planted(tmp_path, rows, experiment="image_size"), None)
    assert list(TABLES["facts"](view)["true"]) == ["no", "yes", "yes"]


def test_the_code_of_the_study_gives_the_number_it_is_accused_of(
    views: Mapping[str, View], capsys: pytest.CaptureFixture[str]
) -> None:
    class Lesson:
        view = views["full"]

    exec(EXERCISES["unlike_sizes"].code, {"lesson": Lesson})
    assert float(capsys.readouterr().out) == pytest.approx(102.4)


def test_the_code_of_the_tweak_prints_two_digests(capsys: pytest.CaptureFixture[str]) -> None:
    exec(EXERCISES["one_byte"].code, {})
    one, other = capsys.readouterr().out.splitlines()
    assert one.split()[0] != other.split()[0]
    assert one.split()[1] == other.split()[1]


def test_totals_below_the_categories_add_up(views: Mapping[str, View]) -> None:
    table = TABLES["box"](views["full"]).set_index("category")
    planted_bytes = {name: 1000.0 * place for place, name in enumerate(CATEGORIES)}
    assert table.loc["all together", "vm (q35)"] == units.size(sum(planted_bytes.values()))
    assert table.loc["of these: starts a computer", "vm (q35)"] == units.size(
        sum(planted_bytes[name] for name in ONLY_A_MACHINE)
    )
    assert (table["provenance"] == "measured").all()


def test_a_byte_in_a_machine_is_told_from_one_in_a_container(views: Mapping[str, View]) -> None:
    both = TABLES["copy_up"](views["byte in a vm beside a recording"])
    assert dict.fromkeys(zip(both["where"], both["provenance"], strict=True)) == dict.fromkeys(
        [("a container", "recorded"), ("a machine, by hand", "measured")]
    )


def test_what_a_week_carries_knows_no_line(views: Mapping[str, View]) -> None:
    caption = WHATIFS["week"](views["full"]).draw(5).caption
    assert "line" not in caption
    assert "u: updates a week" in caption
    assert "v: speed of the line" in WHATIFS["nodes"](views["full"]).draw(5).caption


def test_the_right_choice_of_the_quiz_has_no_usual_place() -> None:
    places = {[c.right for c in question.choices].index(True) for question in QUESTIONS}
    assert len(places) > 1
