"""What lesson 05 draws, tabulates and models, whatever the view holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from statistics import mean

import pandas as pd
import planted_isolation as planted_rows
import pytest
from explained import Asked
from planted import planted, row

from vmcompare.course import text
from vmcompare.errors import Unavailable
from vmcompare.evidence.recording import Measurement
from vmcompare.evidence.view import NEXT, View, compose
from vmcompare.experiments.isolation.explain import HARDENINGS, explained, widths
from vmcompare.experiments.isolation.probe_grids import deviations, misconfigured, opens
from vmcompare.experiments.isolation.probes import (
    CAPABILITY_NAMES,
    FLIPS,
    decoded_capabilities,
    ordered_capabilities,
)
from vmcompare.plots.picture import Picture, WhatIf

FIGURES, TABLES, WHATIFS = explained.figures, explained.tables, explained.whatifs
OUTCOMES, GRIDS = explained.outcomes, explained.grids

LITERATURE = ("cves", "all_cves")
"""Figures and tables that need no recording."""


def section(kind: str, name: str) -> text.Section | None:
    """The words of one of the two lessons."""
    lessons = filter(None, map(text.of_lesson, ("05a", "05b")))
    return next(filter(None, (lesson.find(kind, name) for lesson in lessons)), None)


def figure(name: str, view: View) -> Picture:
    return text.caption(FIGURES[name](view), section("figure", name))


def cells(name: str, view: View) -> pd.DataFrame:
    return pd.DataFrame(TABLES[name](view))


def caption_of_table(name: str, view: View) -> str:
    values = explained.placeholders.get(("table", name), lambda _: {})
    return text.table((), section("table", name), lambda: values(view))[1]


def model(name: str, view: View) -> WhatIf:
    return text.whatif(WHATIFS[name](view), section("what-if", name))


def shown(place: Path, rows: list[Measurement]) -> View:
    return compose(planted(place, rows, experiment="isolation"), None)


@pytest.fixture(scope="module")
def views(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, View]:
    """Every kind of view a lesson can meet."""
    place = tmp_path_factory.mktemp("views")
    docker = planted(
        place, planted_rows.boundaries(only=["process", "container"]), experiment="isolation"
    )
    other = planted(place, planted_rows.whole(), experiment="isolation")
    failed = [row("container", "probe", None, phase=name) for name in planted_rows.HOST]
    return {
        "empty": compose(None, None),
        "full": shown(place, planted_rows.whole()),
        "hardware": shown(place, planted_rows.whole(accel="kvm")),
        "process": shown(place, planted_rows.boundaries(only=["process"])),
        "engine": compose(docker, None),
        "mixed": compose(docker, other),
        "guests": shown(
            place,
            [
                *planted_rows.boundaries(only=["vm-direct"]),
                *planted_rows.words(),
                *planted_rows.falls(),
            ],
        ),
        "broken": shown(
            place,
            [
                *planted_rows.boundaries(broken=planted_rows.HOST[:3]),
                *planted_rows.words(broken=["--privileged"]),
            ],
        ),
        "all failed": shown(place, failed),
        "in the making": shown(
            place,
            [*planted_rows.boundaries(), *planted_rows.words(), *planted_rows.falls(until=12)],
        ),
        "one heartbeat": shown(place, [row("process", "gap_s", 0.05, phase="host", rep=0)]),
    }


NAMES_OF_VIEWS = (
    "empty", "full", "hardware", "process", "engine", "mixed", "guests", "broken", "all failed",
    "in the making", "one heartbeat",
)  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES_OF_VIEWS)
def test_everything_either_works_or_says_in_one_sentence_what_is_missing(
    views: Mapping[str, View], name: str
) -> None:
    asked = Asked(views[name])
    pictures = asked.figures([lambda view, name=name: figure(name, view) for name in FIGURES])
    assert all(picture.alt for picture in pictures)
    assert all(len(table) for table in asked.tables(TABLES.values()))
    models = [lambda view, name=name: model(name, view) for name in WHATIFS]
    assert all(one.formula for one, _ in asked.whatifs(models))
    asked.outcomes(OUTCOMES)


@pytest.mark.parametrize("name", ["empty", "all failed"])
def test_without_a_valid_row_only_the_public_record_is_shown(
    views: Mapping[str, View], name: str
) -> None:
    for kind in (FIGURES, TABLES, WHATIFS):
        for key, make in kind.items():
            if key not in LITERATURE:
                with pytest.raises(Unavailable):
                    dict(enumerate(make(views[name])))
    assert all(len(cells(key, views[name])) for key in LITERATURE)
    assert {outcome(views[name]) for outcome in OUTCOMES.values()} == {None}
    with pytest.raises(Unavailable):
        GRIDS["flips"].find(views[name])


def test_the_full_view_has_every_figure_table_model_and_outcome(
    views: Mapping[str, View],
) -> None:
    for make in (*FIGURES.values(), *WHATIFS.values()):
        assert make(views["full"])
    assert all(len(cells(name, views["full"])) for name in TABLES)
    found = {name: outcome(views["full"]) for name, outcome in OUTCOMES.items()}
    turned = FLIPS["--privileged"] & set(planted_rows.HOST)
    assert found == {
        "through": len(planted_rows.OPEN_BY_DEFAULT),
        "flips_privileged": len(turned),
        "sibling_gap_s": 0.07,
        "silent": 3,
    }


# ---- the grids ---------------------------------------------------------------------------------


def test_an_answer_is_told_in_words_and_not_by_colour_alone(views: Mapping[str, View]) -> None:
    picture = figure("walls", views["full"])
    svg = picture.svg()
    for word in ("through", "EPERM", "its own", "works", "refused, with the answer"):
        assert word in svg
    assert "container: " in picture.alt
    assert "promises no security under emulation" in picture.words


def test_a_table_of_probes_has_the_sentence_and_the_plain_answer_of_each(
    views: Mapping[str, View],
) -> None:
    def probed(name: str) -> pd.DataFrame:
        table = cells("walls", views[name])
        table.index = table["what was tried"].str.split(" · ").str[0]
        return table

    table = probed("full")
    assert table.loc["keyring", "what was tried"] == "keyring · ask for the kernel's keyring"
    assert table.loc["keyring", "container"] == "ok"
    assert table.loc["mount", "container"] == "EPERM"
    assert table.loc["mount", "VM (software emulation)"] == "ok, by its own kernel"
    assert table.loc["mount", "held otherwise"] == "the same"
    assert table.loc["keyring", "held otherwise"] == "no capabilities: EPERM"
    assert table.loc["userfaultfd", "held otherwise"] == "no filter: ok"
    assert len(table.columns) == 5
    assert probed("hardware").columns[-1] == "VM"
    assert probed("broken").loc[planted_rows.HOST[0], "container"] == "it did not start"


@pytest.mark.parametrize("name", [name for name in TABLES if name not in LITERATURE])
def test_every_table_of_rows_says_where_they_are_from(views: Mapping[str, View], name: str) -> None:
    caption = caption_of_table(name, views["full"])
    assert "measured · run " in caption
    assert "recorded · run " in caption_of_table("walls", views["mixed"])


def test_without_dockers_container_the_guests_stands_in_and_is_labelled(
    views: Mapping[str, View],
) -> None:
    picture = figure("walls", views["guests"])
    assert "container in a guest" in picture.alt.replace("\n", " ")
    assert "stands in" in picture.words
    assert "stands in" not in figure("walls", views["full"]).words
    assert OUTCOMES["through"](views["guests"]) == len(planted_rows.OPEN_BY_DEFAULT)


def test_recorded_columns_beside_own_ones_have_a_star(views: Mapping[str, View]) -> None:
    assert "VM * (software emulation)" in cells("walls", views["mixed"]).columns
    assert "* Recorded in another run" in figure("walls", views["mixed"]).words


def test_a_word_that_turns_something_else_than_registered_is_named(tmp_path: Path) -> None:
    through = {"--ipc=host": [*planted_rows.OPEN_BY_DEFAULT, *planted_rows.ITSELF, "mount"]}
    view = shown(tmp_path, planted_rows.words(through=through))
    base, *others = misconfigured(view)
    assert deviations(base, others) == [
        ("--ipc=host", "namespace: ipc", False), ("--ipc=host", "mount", True),
    ]  # fmt: skip
    caption = figure("misconfigurations", view).words
    assert "--ipc=host, mount (turned)" in caption
    assert "--ipc=host, namespace: ipc (did not turn)" in caption
    table = cells("misconfigurations", view).set_index("word")
    assert table.loc["--ipc=host", "as registered"] == "no"
    assert table.loc["--ipc=host", "turned"] == "gets through: mount"
    assert table.loc["--read-only", "turned"] == "is refused: root files: write (EPERM)"
    assert "all that is refused by default, but" in table.loc["--privileged", "turned"]
    assert table.loc["--uts=host", "as registered"] == "yes"
    everything = shown(tmp_path, planted_rows.words())
    assert "All turned as registered" in figure("misconfigurations", everything).words


def test_the_ticked_grid_says_what_turned_and_leaves_out_what_was_not_tried(
    tmp_path: Path,
) -> None:
    grid = text.grid(GRIDS["flips"], section("grid", "flips"))
    found = grid.find(shown(tmp_path, planted_rows.words()))
    assert {word: {name for name, yes in rows.items() if yes} for word, rows in found.items()} == {
        word: FLIPS[word] for word in grid.columns
    }
    assert set(grid.rows) <= set(found["--pid=host"])
    assert set(grid.reasons) == {
        (word, name) for word in grid.columns for name in FLIPS[word] & set(grid.rows)
    }
    some = grid.find(shown(tmp_path, planted_rows.words(broken=["--privileged"])))
    assert set(some) == {"--pid=host", "--network=host"}


# ---- capabilities ------------------------------------------------------------------------------


def test_a_default_containers_capabilities_are_the_fourteen_of_docker() -> None:
    assert ordered_capabilities(decoded_capabilities(planted_rows.DEFAULT_CAPS)) == [
        "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETPCAP",
        "NET_BIND_SERVICE", "NET_RAW", "SYS_CHROOT", "MKNOD", "AUDIT_WRITE", "SETFCAP",
    ]  # fmt: skip
    assert decoded_capabilities(planted_rows.NO_CAPS) == frozenset()
    assert decoded_capabilities(planted_rows.ALL_CAPS) == frozenset(CAPABILITY_NAMES)
    assert "bit 63" in decoded_capabilities("8000000000000000")
    with pytest.raises(Unavailable, match="is no number"):
        decoded_capabilities("none")


def test_the_table_of_capabilities_is_told_bit_by_bit(views: Mapping[str, View]) -> None:
    table = cells("capabilities", views["full"]).set_index("who").iloc[:, -1]
    assert table["container"].startswith("14: 0 CHOWN, 1 DAC_OVERRIDE, 3 FOWNER")
    assert "27 MKNOD" in table["container"]
    assert table["host process"] == "all 41"
    assert table["container, no capabilities"] == "none"


# ---- the sentence ------------------------------------------------------------------------------


def sentences(view: View) -> Mapping[str, str]:
    return cells("sentence", view).set_index("about it")["sentence"].to_dict()


def test_the_better_sentence_is_made_of_the_rows(views: Mapping[str, View]) -> None:
    found = sentences(views["full"])
    assert "the host’s own are the namespaces of users and clocks" in found["true in it"]
    assert "reached by: connect" in found["true in it"]
    assert (
        "Namespaced are mounts, host name, shared memory, processes, network" in (found["not true"])
    )
    assert "could not be reached by: list, read and kill" in found["not true"]
    assert "by connect only" in found["better"]
    assert "--privileged opens most" in found["better"]


def test_other_rows_make_another_sentence(tmp_path: Path) -> None:
    open_ = [
        row("container", "probe", 1.0, phase=name, text="ok", confinement="default bridge")
        for name in planted_rows.NEIGHBOUR
    ]
    kept = [r for r in planted_rows.boundaries() if r.confinement != "default bridge"]
    better = sentences(shown(tmp_path, [*kept, *open_]))["better"]
    assert "reaches its neighbour by list, read, kill and connect." in better
    assert "only, unless" not in better
    shared = [
        row(r.platform, "observation", 1.0, phase=r.phase, text="same", confinement=r.confinement)
        if r.phase.endswith(" namespace") else r
        for r in planted_rows.boundaries()
    ]  # fmt: skip
    nothing = sentences(shown(tmp_path, shared))
    assert "have nothing for themselves" in nothing["better"]
    assert "amespaced are" not in nothing["not true"]
    hidden = [
        row("container", "observation", 1.0, phase="boot id", text="other",
            confinement=r.confinement)
        if r.platform == "container" and r.phase == "boot id" else r
        for r in planted_rows.boundaries()
    ]  # fmt: skip
    assert "do not share this host’s kernel" in sentences(shown(tmp_path, hidden))["better"]


# ---- interface -------------------------------------------------------------------------------


def test_only_sources_that_were_read_are_on_the_axis(views: Mapping[str, View]) -> None:
    found = {width.what: width for width in widths(views["full"])}
    assert found["gVisor (its application kernel)"].number == "53 to 68"
    assert found["Firecracker (all its threads)"].most == 50
    assert found["Docker’s default filter"].most == 292
    assert found["a container as Docker starts it"].number == "at most 295"


def test_measured_and_published_widths_are_told_apart(views: Mapping[str, View]) -> None:
    picture = figure("interface", views["full"])
    assert "no filter at all 348 (measured, counted)" in picture.alt
    assert "(literature, 2019)" in picture.alt
    assert "Kata: " in picture.words


@pytest.mark.parametrize("name", ["walls", "neighbours"])
def test_a_machine_without_a_network_is_not_said_to_wall_one_off(
    views: Mapping[str, View], name: str
) -> None:
    assert "have no network card" in figure(name, views["full"]).words
    assert "network card" not in figure(name, views["engine"]).words


def test_emulation_is_told_where_there_was_some_and_nowhere_else(
    views: Mapping[str, View], tmp_path: Path
) -> None:
    def captions(view: View) -> list[str]:
        models = [model(name, view).draw(2).words for name in ("careless",)]
        words = caption_of_table("misconfigurations", view)
        return [figure("misconfigurations", view).words, words, *models]

    assert all("under software emulation" in said for said in captions(views["full"]))
    rows = [replace(one, accel="kvm" if one.accel else "") for one in planted_rows.whole()]
    assert not any("software emulation" in said for said in captions(shown(tmp_path, rows)))


# ---- models ------------------------------------------------------------------------------------


def test_careless_words_add_up_as_its_formula_says(views: Mapping[str, View]) -> None:
    base, *others = misconfigured(views["full"])
    opened = [
        opens(base, one)
        for one in others
        if one.confinement.startswith("-") and one.confinement not in HARDENINGS
    ]
    for k in (1, 3):
        choices = [2 + len(frozenset().union(*some)) for some in combinations(opened, k)]
        alt = model("careless", views["full"]).draw(k).alt
        assert f"{mean(choices):.1f} of" in alt
        assert f"between {min(choices)} and {max(choices)}" in alt


def test_what_is_missing_names_the_next_step(views: Mapping[str, View]) -> None:
    with pytest.raises(Unavailable) as caught:
        figure("misconfigurations", views["engine"])
    assert caught.value.next_step == NEXT
