"""What the first lesson draws, tabulates, models and does on the spot, on every view."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from bs4 import BeautifulSoup
from explained import Asked
from planted import planted, row
from whole_computer_fakes import full, machine, process, rows

from vmcompare.course import text
from vmcompare.course.exercises import asked
from vmcompare.engines.programs import boot_sector
from vmcompare.errors import LaunchFailure, Unavailable, UnknownName, VmcompareError
from vmcompare.evidence.recording import Measurement
from vmcompare.evidence.view import View, compose
from vmcompare.experiments.whole_computer.explain import explained
from vmcompare.plots.picture import WhatIf
from vmcompare.sandbox import Platform

DEMO = explained.demos["boot_sector"]
NOTHING = compose(None, None)
WORDS = text.of_lesson("00")
EXERCISES, _ = asked("whole_computer", "00")


def table(name: str, view: View) -> pd.DataFrame:
    return pd.DataFrame(explained.tables[name](view))


def runs(view: View) -> WhatIf:
    """The what-if with the words of the lesson's text."""
    assert WORDS
    return text.whatif(explained.whatifs["runs"](view), WORDS.find("what-if", "runs"))


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
    own = planted(place, rows({Platform.CONTAINER: process()}, 1), experiment="whole_computer")
    return {
        "empty": NOTHING,
        "full": view_of(place, full()),
        "process": view_of(place, rows({Platform.PROCESS: process()})),
        "one round": view_of(
            place, rows({Platform.PROCESS: process(), Platform.CONTAINER: process()}, 1)
        ),
        "machine": view_of(place, rows({Platform.VM_DIRECT: machine()})),
        "failed": view_of(place, full(**gone)),
        "outlier": view_of(place, pairs([1.0, 1.1, 900.0], [1.0, 1.2, 0.9])),
        "mixed": compose(own, recorded),
    }


VIEWS = ("empty", "full", "process", "one round", "machine", "failed", "outlier", "mixed")


@pytest.mark.parametrize("name", VIEWS)
def test_everything_works_or_says_in_one_sentence_what_is_missing(
    views: Mapping[str, View], name: str
) -> None:
    asked = Asked(views[name], drawn=name == "failed")
    assert all(picture.alt for picture in asked.figures(explained.figures.values()))
    list(asked.tables(explained.tables.values()))
    for model, _ in asked.whatifs(explained.whatifs.values()):
        assert len(model.values) == 20
    asked.outcomes(explained.outcomes)
    asked.made(DEMO.replay)


def test_a_container_answers_as_the_process_does_and_a_vm_otherwise(
    views: Mapping[str, View],
) -> None:
    found = table("hardware", views["full"]).set_index("asked for")
    assert list(found) == ["process", "container", "first VM", "second VM"]
    different = (found["process"] != found["first VM"]) & ~found.eq("–").any(axis="columns")
    assert explained.outcomes["container_differs"](views["full"]) == 0
    assert explained.outcomes["vm_differs"](views["full"]) == different.sum() > 0
    # This run's container beside another run's process: not compared.
    assert explained.outcomes["container_differs"](views["mixed"]) is None
    assert explained.outcomes["container_differs"](views["machine"]) is None


def test_a_and_b_are_compared_by_round(tmp_path: Path) -> None:
    view = view_of(tmp_path, pairs([1.0, 2.0, 4.0], [2.0, 2.0, 2.0]))
    alt = explained.figures["noise"](view).alt
    assert "B ÷ A is 1.00× (range of 3: 0.500× to 2.00×)" in alt  # of 2, 1 and 0.5
    assert "the slowest start took 4.00×" in alt
    # Of the nine pairs, three are 1 apart (0 %) and six are twice as long (100 %).
    assert explained.outcomes["pair_percent"](view) == pytest.approx(100)


def test_the_prediction_is_about_the_product_and_not_about_a_bare_mechanism(
    tmp_path: Path,
) -> None:
    bare = [
        replace(r, layer="mechanism", runtime="bubblewrap") for r in pairs([1.0, 2.0], [3.0, 1.0])
    ]
    assert explained.outcomes["pair_percent"](view_of(tmp_path, bare)) is None


@pytest.mark.parametrize("n", [5.0, 500.0])
def test_what_stands_out_follows_the_stated_formula(tmp_path: Path, n: float) -> None:
    times = [1.0, 1.2, 1.4, 1.6, 1.8]
    model = runs(view_of(tmp_path, pairs(times, times)))
    import numpy as np

    spread = float(np.subtract(*np.quantile(times * 2, (0.75, 0.25)))) / 1.349 / 1.4
    by_hand = 1.96 * 2**0.5 * 1.253 * spread / n**0.5 * 100
    drawn = model.draw(n)
    shown = re.search(r"container ([\d.,]+) %", drawn.brief)
    assert shown
    assert float(shown[1]) == pytest.approx(by_hand, rel=0.01)
    assert r"\sqrt{n}" in model.formula


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
    assert "as a plain process" not in shown.get_text()
    plain = DEMO.run({Platform.VM_DIRECT: machine()}, {})
    assert plain.printed == boot_sector.MESSAGE
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
        ({"message": "\ud800"}, "choose another message"),
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


@pytest.mark.parametrize("message", ["", "x" * 485, "a  b <"])
def test_the_bytes_are_shown_as_hexdump_prints_them(message: str, tmp_path: Path) -> None:
    assert DEMO.preview is not None
    page = BeautifulSoup(DEMO.preview({"message": message})._repr_html_(), "html.parser")
    assert page.pre
    shown, at, before = b"", 0, b""
    for line in page.pre.get_text().splitlines():
        if line != "*":
            place = int(line[:8], 16)
            shown += before * ((place - at) // 16)  # a star stood for these rows
            before = bytes.fromhex(line[10:58])
            shown, at = shown + before, place + 16
    assert shown == boot_sector.image(message)
    assert f"message {len(message)}, end mark 2" in page.get_text()
    file = tmp_path / "boot.bin"
    file.write_bytes(shown)
    if tool := shutil.which("hexdump"):
        printed = subprocess.run([tool, "-C", file], capture_output=True, text=True, check=True)
        assert page.pre.get_text() == printed.stdout.rstrip("\n")


# ---- exercises --------------------------------------------------------------------------------


def test_the_longest_message_is_what_the_fixed_parts_leave() -> None:
    asked, view = EXERCISES["longest_message"], NOTHING
    assert asked.check(view, boot_sector.MESSAGE_MAX_BYTES).right
    assert not asked.check(view, 484.0).right
    assert "512 − 23 (code) − 2 (end mark) − 2 (signature) = **485 bytes**" in asked.solution(view)


def test_the_accelerators_that_the_rows_carry_are_named(tmp_path: Path) -> None:
    asked = EXERCISES["kvm_exists"]
    right = next(c for c in asked.choices if c.startswith("Let a guest run"))
    for made, said in (
        (full(), "tcg (software emulation)"),
        (full(accel="kvm"), "ran on: kvm."),
        (rows({Platform.PROCESS: process()}), "hold no VM"),
    ):
        view = view_of(tmp_path, made)
        assert said in asked.check(view, right).text
        assert said in asked.solution(view)
