"""What lesson 05 draws, tabulates and models, whatever the view holds."""

from __future__ import annotations

import re
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
from planted_isolation import cells, figure, model, section, shown

from vmcompare.course import text
from vmcompare.errors import Unavailable
from vmcompare.evidence.view import NEXT, View, compose
from vmcompare.experiments.explanation import of_table
from vmcompare.experiments.isolation.explain import explained
from vmcompare.experiments.isolation.probe_grids import deviations, misconfigured, opens
from vmcompare.experiments.isolation.probes import (
    CAPABILITY_NAMES,
    PROBES,
    decoded_capabilities,
)

FIGURES, TABLES, WHATIFS = explained.figures, explained.tables, explained.whatifs
OUTCOMES = explained.outcomes

LITERATURE = ("cves", "all_cves")
"""Figures and tables that need no recording."""


def caption_of_table(name: str, view: View) -> str:
    return text.table((), section("table", name), lambda: of_table(explained, name, view))[1]


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


@pytest.mark.parametrize("name", ["full", "broken"])
def test_everything_either_works_or_says_in_one_sentence_what_is_missing(
    views: Mapping[str, View], name: str
) -> None:
    asked = Asked(views[name], drawn=name == "broken")
    drawn = [lambda view, name=name: figure(name, view) for name in FIGURES]
    pictures = list(asked.figures(drawn))
    models = [lambda view, name=name: model(name, view) for name in WHATIFS]
    found = [one for one, _ in asked.whatifs(models)]
    assert all(one.formula for one in found)
    if name == "full":
        assert len(pictures) == len(FIGURES)
        assert len(found) == 2 * len(WHATIFS)  # each at both ends


@pytest.mark.parametrize(
    "name",
    ["full", "guests", "broken", "process", "engine", "mixed", "in the making", "one heartbeat"],
)
def test_every_table_and_outcome_either_is_there_or_says_what_is_missing(
    views: Mapping[str, View], name: str
) -> None:
    asked = Asked(views[name])
    tables = list(asked.tables(TABLES.values()))
    assert name != "full" or len(tables) == len(TABLES)
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


def test_the_full_view_has_every_outcome(views: Mapping[str, View]) -> None:
    found = {name: outcome(views["full"]) for name, outcome in OUTCOMES.items()}
    _, *others = misconfigured(views["full"])
    [privileged] = [one for one in others if one.confinement == "--privileged"]
    assert found == {
        "through": len(planted_rows.OPEN_BY_DEFAULT),
        "through_privileged": len(privileged.through()),
        "sibling_gap_s": 0.07,
        "silent": 3,
    }


# ---- probes ------------------------------------------------------------------------------------


def test_twelve_probes_are_shown_one_for_each_boundary_first() -> None:
    shown = sorted((probe for probe in PROBES.values() if probe.place), key=lambda p: p.place)
    assert [probe.place for probe in shown] == list(range(1, 13))
    assert {probe.boundary for probe in shown[:8]} == {
        probe.boundary for probe in PROBES.values() if probe.aim == "host"
    }


def test_an_answer_is_told_in_plain_words_and_not_by_colour_alone(
    views: Mapping[str, View],
) -> None:
    picture = figure("boundaries", views["full"])
    svg = picture.svg()
    for word in ("gets through", "not permitted", "its own kernel", "call filter"):
        assert word in svg
    assert "container: signal a process of the host: not permitted" in picture.alt
    assert "promises no security under emulation" in picture.words


def test_all_answers_stand_in_one_table(views: Mapping[str, View]) -> None:
    def probed(name: str) -> pd.DataFrame:
        return cells("probes", views[name]).set_index("what is tried")

    table = probed("full")
    assert table.loc["mount a file system"].tolist() == [
        "ok", "EPERM: not permitted", "EPERM: not permitted", "EPERM: not permitted",
        "ok, by its own kernel",
    ]  # fmt: skip
    assert table.loc["ask for the kernel's keyring", "no capabilities"] == "EPERM: not permitted"
    assert table.columns[-1] == "VM (software emulation)"
    assert probed("hardware").columns[-1] == "VM"
    assert probed("mixed").columns[-1] == "VM * (software emulation)"
    assert "* Recorded in another run" in figure("boundaries", views["mixed"]).words
    says = PROBES[planted_rows.HOST[0]].says
    assert probed("broken").loc[says, "container"] == "it did not start"


def test_each_probe_is_told_with_its_error_and_the_one_flag_that_lets_it_through(
    views: Mapping[str, View],
) -> None:
    table = cells("answers", views["full"]).set_index("what is tried")
    flags = table["one flag that lets it through"]
    assert table.loc["signal a process of the host"].tolist() == [
        "signal process", "namespace", "EPERM: not permitted", "--pid=host",
    ]  # fmt: skip
    assert flags["make a user namespace"] == (
        "--cap-add=SYS_ADMIN or --security-opt=seccomp=unconfined"
    )
    assert flags["set the clock"] == "--privileged"
    assert flags["act as user 0 of the host"] == "not needed"
    assert flags["be in the host's list of mounts"] == "none of those tried"
    untried = cells("answers", views["engine"]).set_index("what is tried")
    assert untried.loc["set the clock"].iloc[-1] == "not tried"
    assert len(table) == len(planted_rows.HOST)


def test_every_table_of_rows_says_where_they_are_from(views: Mapping[str, View]) -> None:
    for name in ("answers", "probes", "neighbours", "capabilities"):
        caption = caption_of_table(name, views["full"])
        assert caption.startswith("Measured on 20")
        assert "measured · run " in caption
    assert "recorded · run " in caption_of_table("probes", views["mixed"])


def test_without_dockers_container_the_guests_stands_in_and_is_labelled(
    views: Mapping[str, View],
) -> None:
    picture = figure("boundaries", views["guests"])
    assert "container in a guest" in picture.alt
    assert "stands in" in picture.words
    assert "stands in" not in figure("boundaries", views["full"]).words
    assert OUTCOMES["through"](views["guests"]) == len(planted_rows.OPEN_BY_DEFAULT)


def test_a_flag_that_changes_something_else_than_registered_is_named(
    tmp_path: Path, views: Mapping[str, View]
) -> None:
    through = {"--ipc=host": [*planted_rows.OPEN_BY_DEFAULT, *planted_rows.ITSELF, "mount"]}
    view = shown(tmp_path, planted_rows.words(through=through))
    base, *others = misconfigured(view)
    assert deviations(base, others) == [
        ("--ipc=host", "namespace: ipc", False), ("--ipc=host", "mount", True),
    ]  # fmt: skip
    picture = figure("flags", view)
    assert "--ipc=host lets through 3 and opens mount" in picture.alt
    assert "--ipc=host, mount (changed)" in picture.words
    assert "--ipc=host, namespace: ipc (not changed)" in picture.words
    assert "changed exactly the probes" in figure("flags", views["full"]).words


def test_what_a_flag_opens_stands_beside_its_mark(views: Mapping[str, View]) -> None:
    drawn = [text.get_text() for text in figure("flags", views["full"]).figure.axes[0].texts]
    assert "pid namespace, signal process" in drawn
    assert any(re.search(r"\d+ more$", said) for said in drawn)


def test_a_container_that_could_only_connect_to_its_neighbour_is_said(
    views: Mapping[str, View],
) -> None:
    said = "could only connect to B" in caption_of_table("neighbours", views["full"])
    table = cells("neighbours", views["full"]).set_index("what is tried")
    assert said == (table["container, one network"].eq("ok").sum() == 1)


# ---- capabilities ------------------------------------------------------------------------------


def test_a_default_containers_capabilities_are_the_fourteen_of_docker() -> None:
    assert decoded_capabilities(planted_rows.DEFAULT_CAPS) == (
        "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETPCAP",
        "NET_BIND_SERVICE", "NET_RAW", "SYS_CHROOT", "MKNOD", "AUDIT_WRITE", "SETFCAP",
    )  # fmt: skip
    assert decoded_capabilities(planted_rows.NO_CAPS) == ()
    assert decoded_capabilities(planted_rows.ALL_CAPS) == CAPABILITY_NAMES
    assert "bit 63" in decoded_capabilities("8000000000000000")
    with pytest.raises(Unavailable, match="is no number"):
        decoded_capabilities("none")


def test_what_root_may_do_stands_beside_the_number_of_its_capabilities(
    views: Mapping[str, View],
) -> None:
    table = cells("capabilities", views["full"]).set_index("who")
    assert table.loc["container", "capabilities"].startswith("14: CHOWN, DAC_OVERRIDE, FOWNER")
    assert table.loc["host process", "capabilities"].startswith("41: CHOWN")
    none = table.loc["container, no capabilities"]
    assert none["write into /"] == "ok"
    assert none["send raw packets"] == "EPERM: not permitted"


def test_a_vm_without_a_network_is_not_said_to_be_a_boundary_by_it(
    views: Mapping[str, View],
) -> None:
    assert "have no network card" in figure("boundaries", views["full"]).words
    assert "network card" not in figure("boundaries", views["engine"]).words


def test_emulation_is_told_where_there_was_some_and_nowhere_else(
    views: Mapping[str, View], tmp_path: Path
) -> None:
    def captions(view: View) -> list[str]:
        return [figure("flags", view).words, model("several_flags", view).draw(2).words]

    assert all("under software emulation" in said for said in captions(views["full"]))
    rows = [replace(one, accel="kvm" if one.accel else "") for one in planted_rows.whole()]
    assert not any("software emulation" in said for said in captions(shown(tmp_path, rows)))


# ---- models ------------------------------------------------------------------------------------


def test_what_several_flags_open_adds_up_as_its_formula_says(views: Mapping[str, View]) -> None:
    base, *others = misconfigured(views["full"])
    opened = [opens(base, one) for one in others if one.confinement.startswith("-")]
    for k in (1, 3):
        choices = [2 + len(frozenset().union(*some)) for some in combinations(opened, k)]
        alt = model("several_flags", views["full"]).draw(k).alt
        assert f"{mean(choices):.1f} of" in alt
        assert f"between {min(choices)} and {max(choices)}" in alt


def test_what_is_missing_names_the_next_step(views: Mapping[str, View]) -> None:
    with pytest.raises(Unavailable) as caught:
        figure("flags", views["engine"])
    assert caught.value.next_step == NEXT
