"""What the lesson on image size draws, tabulates and models, whatever the view holds."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from explained import Asked
from planted import planted
from planted_images import MIB, images

from vmcompare.course import text
from vmcompare.evidence.view import View, compose
from vmcompare.experiments.image_size.explain import NODES, duration, explained

FIGURES, WHATIFS, OUTCOMES = explained.figures, explained.whatifs, explained.outcomes


def table(name: str, view: View) -> pd.DataFrame:
    return pd.DataFrame(explained.tables[name](view))


TABLES = {name: lambda view, name=name: table(name, view) for name in explained.tables}


def view_of(place: Path, **more: Any) -> View:
    return compose(planted(place, images(**more), rounds=1, experiment="image_size"), None)


@pytest.fixture(scope="module")
def views(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, View]:
    """Every kind of view a lesson can meet."""
    place = tmp_path_factory.mktemp("views")

    def run(**more: Any) -> Any:
        return planted(place, images(**more), rounds=1, experiment="image_size")

    return {
        "empty": compose(None, None),
        "full": view_of(place),
        "container": view_of(place, only=["process", "container"]),
        "vms": view_of(place, only=["vm-direct", "vm"]),
        "process": view_of(place, only=["process"]),
        "vm failed": view_of(place, failed=["vm"]),
        "all failed": view_of(place, failed=["container", "vm"], only=["container", "vm"]),
        "mixed": compose(run(only=["process", "container"]), run()),
    }


VIEWS = (
    "empty", "full", "container", "vms", "process", "vm failed", "all failed", "mixed",
)  # fmt: skip


@pytest.mark.parametrize("name", VIEWS)
def test_everything_either_works_or_says_in_one_sentence_what_is_missing(
    views: Mapping[str, View], name: str
) -> None:
    asked = Asked(views[name], drawn=name == "mixed")
    for picture in asked.figures(FIGURES.values()):
        assert "planted" in picture.caption.lower()
    for table in asked.tables(TABLES.values()):
        assert "shown" in table
    assert all(model.placeholders for model, _ in asked.whatifs(WHATIFS.values(), most=21))
    asked.outcomes(OUTCOMES)


def test_outcomes_are_mib_and_a_ratio(views: Mapping[str, View]) -> None:
    found = {name: outcome(views["full"]) for name, outcome in OUTCOMES.items()}
    assert found == pytest.approx({"container_mib": 10, "vm_over_container": 6, "update_mib": 0.6})
    assert {outcome(views["empty"]) for outcome in OUTCOMES.values()} == {None}


def test_sizes_of_two_runs_are_not_made_into_a_ratio(views: Mapping[str, View]) -> None:
    assert OUTCOMES["vm_over_container"](views["mixed"]) is None
    assert set(TABLES["sizes"](views["mixed"])["vm ÷ container"]) == {"–"}
    assert "6.00×" in set(TABLES["sizes"](views["full"])["vm ÷ container"])


def test_mixed_provenance_is_said_at_every_bar_and_column(views: Mapping[str, View]) -> None:
    assert "container · measured" in FIGURES["contents"](views["mixed"]).alt
    assert "vm (q35) · recorded" in TABLES["sizes"](views["mixed"]).columns
    assert set(TABLES["sizes"](views["mixed"])["shown"]) == {"measured and recorded"}


def test_what_failed_is_counted_in_the_caption(views: Mapping[str, View]) -> None:
    assert "Failed, and not drawn: vm (q35) 1" in FIGURES["shipped"](views["vm failed"]).caption


def test_a_single_byte_is_set_beside_what_was_copied(views: Mapping[str, View]) -> None:
    assert list(TABLES["copy_up"](views["full"])["bytes"]) == ["1", "5,000,000", "5,000,001"]


@pytest.mark.parametrize("link", [1.0, 10_000.0])
def test_a_transfer_takes_n_times_8b_over_v(views: Mapping[str, View], link: float) -> None:
    alt = WHATIFS["transfer"](views["full"]).draw(link).alt
    for label, size in (("container", 10 * MIB), ("vm (q35)", 60 * MIB)):
        assert f"{label} {duration(20 * 8 * size / (link * 1e6))}" in alt


def test_the_words_name_the_numbers_that_models_leave_alone() -> None:
    words = text.of_lesson("03")
    assert words
    formula = {s.name: s.fields["Formula"] for s in words.all("what-if")}
    assert f"n = {NODES}" in formula["transfer"]


def test_images_in_daily_use_stand_below_ours(views: Mapping[str, View]) -> None:
    table = TABLES["real"](views["full"])
    assert list(table["image"][:2]) == ["ours: container", "ours: vm (q35)"]
    assert list(table["sent"][:2]) == ["10.0 MiB", "60.0 MiB"]
    assert table["shown"][2:].str.startswith("literature").all()
    assert table["date"][2:].str.fullmatch(r"20\d\d-\d\d-\d\d").all()
