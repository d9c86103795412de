"""What the first lesson draws, tabulates, models and does on the spot, on every view."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from bs4 import BeautifulSoup
from explained import Asked
from planted import HOST, planted, row
from whole_computer_fakes import full, machine, process, rows

from vmcompare.course import text
from vmcompare.engines.programs import boot_sector
from vmcompare.errors import LaunchFailure, Unavailable, UnknownName, VmcompareError
from vmcompare.evidence.recording import Measurement
from vmcompare.evidence.statistics import coverage
from vmcompare.evidence.view import Computer, View, compose
from vmcompare.experiments.whole_computer import explain
from vmcompare.experiments.whole_computer.explain import explained
from vmcompare.plots.picture import Picture, WhatIf
from vmcompare.sandbox import Platform

DEMO = explained.demos["boot_sector"]
NOTHING = compose(None, None)
WORDS = text.of_lesson("00")


def table(name: str, view: View) -> pd.DataFrame:
    return pd.DataFrame(explained.tables[name](view))


def runs(view: View) -> WhatIf:
    """The what-if with the words of the lesson's text."""
    assert WORDS
    return text.whatif(explained.whatifs["runs"](view), WORDS.find("what-if", "runs"))


def layers(computer: str, view: View = NOTHING) -> Picture:
    """The picture of a computer with the words of the lesson's text."""
    assert WORDS
    made = explained.heres["layers"](COMPUTERS[computer], view)
    return text.caption(made, WORDS.find("here", "layers"))


def facts(computer: str) -> Mapping[str, str]:
    """Fact → what the table says of it."""
    lines = explained.heres["table"](COMPUTERS[computer], NOTHING)
    return {line["what"]: line["this computer"] for line in lines}


def pairs(a: list[float], b: list[float], platform: str = "container") -> list[Measurement]:
    """One block for each place in the lists, with one A and one B."""
    return [
        row(platform, "start_to_first_byte_s", value, phase=label, block=block, rep=rep)
        for rep, (label, values) in enumerate((("A", a), ("B", b)))
        for block, value in enumerate(values)
    ]


def view_of(place: Path, made: list[Measurement], **more: Any) -> View:
    return compose(planted(place, made, experiment="whole_computer", **more), None)


@pytest.fixture(scope="module")
def views(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, View]:
    place = tmp_path_factory.mktemp("views")
    gone = {"fails": LaunchFailure("it is broken", ()), "sector_fails": Unavailable("no", "do")}
    recorded = planted(place, full(), experiment="whole_computer")
    own = planted(place, rows({Platform.PROCESS: process()}, 1), experiment="whole_computer")
    return {
        "empty": compose(None, None),
        "full": view_of(place, full()),
        "hardware": view_of(place, full(accel="kvm")),
        "process": view_of(place, rows({Platform.PROCESS: process()})),
        "one round": view_of(
            place, rows({Platform.PROCESS: process(), Platform.CONTAINER: process()}, 1)
        ),
        "machine": view_of(place, rows({Platform.VM_DIRECT: machine()})),
        "failed": view_of(place, full(**gone)),
        "same": view_of(place, pairs([1.0, 1.0], [1.0, 1.0])),
        "outlier": view_of(place, pairs([1.0, 1.1, 900.0], [1.0, 1.2, 0.9])),
        "mixed": compose(own, recorded),
    }


VIEWS = (
    "empty", "full", "hardware", "process", "one round", "machine", "failed", "same", "outlier",
    "mixed",
)  # fmt: skip

COMPUTERS = {
    "everything": Computer(
        "this computer",
        HOST
        | {
            "kernel": "6.1", "memory_bytes": 8e9, "virtualised": False,
            "virtualisation_flag": "vmx", "cgroup_version": 2,
            "details": {
                "docker": {"default_runtime": "runc", "hidden_vm": "no"},
                "qemu": {"accelerator": "kvm"},
            },
        },
        {},
    ),
    "emulation": Computer(
        "this computer",
        HOST
        | {
            "virtualised": True, "virtualisation_flag": "",
            "details": {"qemu": {"accelerator": "tcg", "rejected kvm": "stalls in 64-bit mode"}},
        },
        {},
    ),
    "desktop": Computer(
        "this computer",
        HOST
        | {
            "virtualised": None, "virtualisation_flag": None, "versions": {"docker": "28"},
            "details": {"docker": {"default_runtime": "runc", "hidden_vm": "yes"}},
        },
        {"qemu": "QEMU is not installed; next step: install it"},
    ),
    "nothing": Computer(
        "this computer",
        {"host_id": "other", "os": "Plan 9", "arch": "mips", "cores": 1, "versions": {}},
        {"docker": "Docker is not installed; next step: install it",
         "qemu": "QEMU is not installed; next step: install it"},
    ),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", VIEWS)
def test_everything_works_or_says_in_one_sentence_what_is_missing(
    views: Mapping[str, View], name: str
) -> None:
    asked = Asked(views[name])
    assert all(picture.alt for picture in asked.figures(explained.figures.values()))
    assert len(list(asked.tables(explained.tables.values()))) >= 2  # the program and the grid
    for model, _ in asked.whatifs(explained.whatifs.values()):
        assert len(model.values) == 20
    asked.outcomes(explained.outcomes)
    asked.made(DEMO.replay)


@pytest.mark.parametrize("computer", COMPUTERS)
@pytest.mark.parametrize("name", ["empty", "full", "mixed"])
def test_the_layers_of_any_computer_can_be_drawn_and_told(
    views: Mapping[str, View], name: str, computer: str
) -> None:
    picture = layers(computer, views[name])
    assert picture.svg().startswith("<svg")
    assert picture.alt.startswith("Layers of this computer, from the bottom up: hardware")
    assert picture.words.startswith("Drawn from facts of this computer, not measured.")
    lines = explained.heres["table"](COMPUTERS[computer], views[name])
    assert all(isinstance(cell, str) and cell for line in lines for cell in line.values())
    assert len({tuple(line) for line in lines}) == 1


def test_a_missing_engine_is_a_gap_with_its_next_step() -> None:
    picture = layers("nothing")
    assert "container: no Docker here" in picture.alt
    assert "virtual machine: no QEMU here" in picture.alt
    assert "next step: install it" in picture.words
    assert "Docker builds" not in picture.words
    assert "Docker builds" in layers("everything").words
    assert facts("nothing")["QEMU"] == "QEMU is not installed; next step: install it"


def test_a_hidden_machine_lies_below_the_container() -> None:
    alt = layers("desktop").alt
    assert alt.index("hidden VM: its kernel") < alt.index("walls, set up by Docker 28")
    assert "hidden VM" not in layers("everything").alt


def test_a_computer_that_is_itself_virtual_has_a_layer_below_its_kernel() -> None:
    alt = layers("emulation").alt
    assert alt.index("itself a VM") < alt.index("host kernel")
    assert "software emulation" in alt
    assert facts("emulation")["accelerator"] == "tcg: software emulation"
    assert "stalls in 64-bit mode" in facts("emulation")["rejected kvm"]
    assert "itself a VM" not in layers("everything").alt
    assert "QEMU 9.2, KVM" in layers("everything").alt


def test_a_recorded_machine_stands_beside_only_where_it_is_another(tmp_path: Path) -> None:
    view = compose(None, planted(tmp_path, full(), experiment="whole_computer"))
    other = layers("nothing", view)
    assert "the recorded computer (run" in other.alt
    assert "Below it: the recorded computer (run" in other.words
    assert "guest kernel: 6.1-guest" in other.alt
    same = layers("everything", view)  # host_id "planted", as recorded
    assert "recorded computer" not in same.alt + same.words
    assert "guest kernel: 6.1-guest" in same.alt


def test_a_and_b_are_set_beside_each_other_by_round(tmp_path: Path) -> None:
    view = view_of(tmp_path, pairs([1.0, 2.0, 4.0], [2.0, 2.0, 2.0]))
    [line] = explained.tables["noise"](view)
    assert line["B ÷ A by round"].startswith("1.00× [")  # of 2, 1 and 0.5
    assert line["slowest ÷ fastest"] == "4.00×"
    # Of the nine pairs, three are 1 apart (0 %) and six are twice as long (100 %).
    assert line["one A and one B differ by"] == "100 %"
    assert explained.outcomes["pair_percent"](view) == pytest.approx(100)


def test_an_interval_that_misses_the_truth_is_pointed_out(tmp_path: Path) -> None:
    apart = view_of(tmp_path, pairs([1.0, 1.01, 1.02], [2.0, 2.01, 2.02]))
    caption = explained.figures["noise"](apart).words
    assert "does not hold 1" in caption
    assert "range of 3 rounds holds the truth in 75% of cases" in caption
    many = view_of(tmp_path, pairs([1.0] * 5 + [1.01], [2.0] * 6))
    assert "of twenty such intervals" in explained.figures["noise"](many).words
    alike = view_of(tmp_path, pairs([1.0, 1.1, 1.2], [1.1, 1.0, 1.2]))
    assert "does not hold 1" not in explained.figures["noise"](alike).words


def test_the_prediction_is_about_the_product_and_not_about_a_bare_mechanism(
    tmp_path: Path,
) -> None:
    bare = [
        replace(r, layer="mechanism", runtime="bubblewrap") for r in pairs([1.0, 2.0], [3.0, 1.0])
    ]
    assert explained.outcomes["pair_percent"](view_of(tmp_path, bare)) is None


def test_the_smallest_operating_system_has_as_many_bytes_of_code_as_its_listing(
    views: Mapping[str, View],
) -> None:
    code = table("code", views["full"])
    assert explained.outcomes["code_bytes"](views["full"]) == sum(
        len(b.split()) for b in code["bytes"]
    )
    assert explained.outcomes["code_bytes"](views["process"]) is None
    assert not explained.outcomes["code_bytes"].platforms


def test_the_span_of_few_rounds_misses_the_truth_as_often_as_it_says() -> None:
    import random

    chance, n, tries = random.Random(1), 3, 4000
    drawn = [[chance.lognormvariate(0, 1) for _ in range(n)] for _ in range(tries)]
    enclosed = sum(min(x) <= 1 <= max(x) for x in drawn) / tries
    assert enclosed == pytest.approx(coverage(n), abs=0.03)
    assert coverage(5) < 0.95 < coverage(6)


@pytest.mark.parametrize("n", [5.0, 500.0])
def test_what_stands_out_follows_the_stated_formula(tmp_path: Path, n: float) -> None:
    times = [1.0, 1.2, 1.4, 1.6, 1.8]
    model = runs(view_of(tmp_path, pairs(times, times)))
    import numpy as np

    spread = float(np.subtract(*np.quantile(times * 2, (0.75, 0.25)))) / 1.349 / 1.4
    by_hand = 1.96 * 2**0.5 * 1.253 * spread / n**0.5 * 100
    shown = re.search(r"container ([\d.,]+) % ", model.draw(n).alt)
    assert shown
    assert float(shown[1]) == pytest.approx(by_hand, rel=0.01)
    assert r"\sqrt{n}" in model.formula


def test_the_grid_names_every_cell_and_who_measured_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, views: Mapping[str, View]
) -> None:
    monkeypatch.setattr(explain, "data_dir", lambda: tmp_path)
    none = table("grid", compose(None, None))
    assert len(none) == 8
    assert set(none["measured in this course"]) == {"not yet"}
    grid = table("grid", views["full"]).set_index(["layer", "start"])["measured in this course"]
    assert grid["product", "cold"] == "whole computer: process, container"  # as the fakes tell
    assert grid["mechanism", "cold"] == "whole computer: vm-direct"
    assert grid["mechanism", "clone"] == "not yet"


def test_hardware_columns_say_emulation_and_provenance(views: Mapping[str, View]) -> None:
    found = table("hardware", views["full"])
    assert found.iloc[0].tolist() == [
        "where from", "measured", "measured", *["measured, software emulation"] * 2,
    ]  # fmt: skip
    assert list(found)[1:] == ["process", "container", "vm-direct, first", "vm-direct, second"]
    hardware = table("hardware", views["hardware"])
    assert "emulation" not in " ".join(hardware.iloc[0])


# ---- the demonstration ------------------------------------------------------------------------


def test_the_demonstration_shows_message_bytes_and_refusals() -> None:
    done = DEMO.run(
        {Platform.VM_DIRECT: machine(), Platform.CONTAINER: process()}, {"message": "<Grüße>"}
    )
    shown = BeautifulSoup(done._repr_html_(), "html.parser")
    assert shown.pre
    assert shown.pre.get_text() == "<Grüße>"
    assert "software emulation (tcg)" in shown.get_text()
    assert "refused: Exec format error (exit code 126)" in shown.get_text()
    assert "under a process" not in shown.get_text()
    plain = DEMO.run({Platform.VM_DIRECT: machine()}, {})
    assert plain.booted.printed == boot_sector.MESSAGE
    assert "No kernel could be asked" in plain._repr_html_()


def test_a_kernel_that_cannot_be_asked_is_a_sentence_in_the_demonstration() -> None:
    gone = process(fails=Unavailable("Docker went away", "start it"))
    html = DEMO.run({Platform.VM_DIRECT: machine(), Platform.CONTAINER: gone}, {})._repr_html_()
    assert "could not be tried: Docker went away" in html


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"message": "x" * 600}, "600 bytes, and 485 fit"),
        ({"message": "a\0b"}, "00 and 06"),
        ({"message": "\ud800"}, "half a character"),
        ({"message": 7}, "is not text"),
        ({"massage": "x"}, "no option called 'massage'"),
    ],
)
def test_a_message_that_cannot_be_is_a_sentence(options: Mapping[str, Any], said: str) -> None:
    assert DEMO.preview is not None
    with pytest.raises(VmcompareError, match=said):
        DEMO.preview(options)
    with pytest.raises((Unavailable, UnknownName), match=said):
        DEMO.run({Platform.VM_DIRECT: machine()}, options)


def test_a_replay_shows_what_was_recorded_and_a_preview_what_nobody_ran(
    views: Mapping[str, View],
) -> None:
    html = DEMO.replay(views["full"])._repr_html_()
    assert boot_sector.MESSAGE in html
    assert html.count("refused: Exec format error") == 3
    with pytest.raises(Unavailable, match="no start of the 512 bytes"):
        DEMO.replay(views["process"])
    assert DEMO.preview is not None
    assert DEMO.preview({}) is None
    own = DEMO.preview({"message": "mine"})._repr_html_()
    assert "started by nobody" in own
    assert "message 4" in own


@pytest.mark.parametrize("message", ["", "x", "x" * 485, "a  b <"])
def test_every_byte_but_rows_of_zeros_is_on_the_page(message: str) -> None:
    """Spaces too: a browser must not fold them, and no colour alone tells the parts."""
    assert DEMO.preview is not None
    page = BeautifulSoup(DEMO.preview({"message": message})._repr_html_(), "html.parser")
    shown, texts = b"", ""
    assert page.tbody
    for line in page.tbody.find_all("tr"):
        cells = line.find_all(["th", "td"])
        _, data, said, part = (cell.get_text() for cell in cells)
        if zeros := re.fullmatch(r"(\d+) rows of zeros", part):
            shown += bytes(8 * int(zeros[1]))
        else:
            shown += bytes.fromhex(data)
            texts += said
            assert len(said) == len(data.split(" ")) == 8
            assert all("white-space:pre;" in cell["style"] for cell in cells[:3])
    assert shown == boot_sector.image(message)
    assert message in texts
    assert "color:#fff" not in str(page)


def test_the_number_of_runs_for_one_per_cent_is_not_given_to_five_digits(tmp_path: Path) -> None:
    model = runs(view_of(tmp_path, pairs([1.0, 1.2, 1.4], [1.6, 1.8, 3.3])))
    needed = re.findall(r"it takes about ([\d,]+) runs", model.draw(10.0).alt)
    assert needed
    assert all(set(n.replace(",", "")[2:]) <= {"0"} for n in needed)
