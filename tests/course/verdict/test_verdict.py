"""Lesson 09 on planted recordings: what its notebook calls shows, keeps and refuses."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from bs4 import BeautifulSoup
from planted import starts
from settled import EACH, LESSONS, RECORDED, Places

from vmcompare.course import answers, text
from vmcompare.course.exercises import works
from vmcompare.course.verdict import Verdict, claims_table, lines
from vmcompare.course.verdict.explain import (
    ABSENT,
    COMPARISONS,
    CUSTOMERS,
    SERVICES,
    choices,
    findings_figure,
    headlines,
    papers,
    ratios_figure,
)
from vmcompare.errors import UnknownName
from vmcompare.evidence import claims
from vmcompare.evidence.claims import Conclusion
from vmcompare.evidence.claims.runs import Evidence
from vmcompare.evidence.statistics import Interval
from vmcompare.evidence.units import written
from vmcompare.paths.lessons import lesson_files
from vmcompare.plots.findings import SIGNS, Against, against, findings
from vmcompare.sandbox import EMULATION

WORDS = text.of_lesson("09")
ALL = len({claim.id for claim in claims.load()})


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Places:
    """Recordings of five lessons, which no test changes."""
    places = Places(tmp_path_factory.mktemp("planted"))
    places.plant()
    return places


@pytest.fixture(scope="module")
def evidence(planted: Places) -> Evidence:
    """Those recordings, judged once for all tests."""
    found = planted.gather()
    assert {claim.finding.verdict for claim in found.claims} >= {
        Conclusion.WITH_CAVEATS, Conclusion.REFUTED, Conclusion.NOT_MEASURED, Conclusion.JUDGEMENT,
    }  # fmt: skip
    assert set(RECORDED) == {name for names in LESSONS.values() for name in names.split()}
    return found


@pytest.fixture(scope="module")
def nothing(tmp_path_factory: pytest.TempPathFactory) -> Evidence:
    """No recording at all."""
    return Places(tmp_path_factory.mktemp("nothing")).gather()


@pytest.fixture(scope="module")
def table(evidence: Evidence) -> BeautifulSoup:
    return BeautifulSoup(claims_table(evidence.claims).markup, "html.parser")


class Shown:
    """Collects what a notebook page would show, redrawn where it is redrawn."""

    def __init__(self) -> None:
        self.things: list[Any] = []

    def display(self, thing: Any, **_: Any) -> Any:
        self.things.append(thing)
        shown, place = self, len(self.things) - 1

        class Handle:
            def update(self, thing: Any) -> None:
                shown.things[place] = thing

        return Handle()

    def html(self) -> str:
        return "\n".join(
            str(t._repr_html_()) if hasattr(t, "_repr_html_") else str(t) for t in self.things
        )


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch, private_places: Path) -> Shown:
    shown = Shown()
    monkeypatch.setattr("IPython.display.display", shown.display)
    for name in ("VMCOMPARE_MODE", "VMCOMPARE_HANDOUT", "VMCOMPARE_EDITION"):
        monkeypatch.delenv(name, raising=False)
    return shown


@pytest.fixture
def verdict(shown: Shown, evidence: Evidence, monkeypatch: pytest.MonkeyPatch) -> Verdict:
    """The lesson on the planted recordings."""
    monkeypatch.setattr("vmcompare.course.verdict.gather", lambda **_: evidence)
    return Verdict()


# --- the claims ---------------------------------------------------------------------------------


def test_every_claim_is_one_line_that_holds_its_quote_and_all_its_parts(
    table: BeautifulSoup,
) -> None:
    for claim in claims.load():
        line = table.find(id=f"claim-{claim.id}")
        assert line.name == "details"
        assert claim.quote == line.blockquote.get_text()
    assert len(table.select(".vmc-findings > details")) == ALL
    assert len(table.select("h3")) == 7
    assert "Containers start much faster than VMs." in table.find(id="claim-F2").summary.get_text()


def test_what_the_article_does_not_compare_folds_behind_what_it_does(table: BeautifulSoup) -> None:
    line = table.find(id="claim-F1")
    [fold] = line.select("details")
    assert "5 parts" in fold.summary.get_text()
    before, _, behind = line.get_text().partition(fold.get_text())
    assert "Memory:" in before
    assert "Processor; system calls; fork and exec; disk; network:" in fold.get_text()
    assert "Disk:" in before  # what others measured of a part says of which
    assert "Disk" not in behind
    assert "against a plain process" not in before.lower()


def test_a_finding_has_its_sign_and_its_words(table: BeautifulSoup) -> None:
    assert len(set(SIGNS.values())) == len(Conclusion)
    for sign in table.find_all(attrs={"aria-hidden": "true"}):
        words = sign.parent.get_text(" ", strip=True)
        assert SIGNS[Conclusion(words.partition(" ")[2])] == sign.get_text()


def test_value_bound_and_limits_of_a_part_stand_apart(evidence: Evidence) -> None:
    memory, start, facts, open_ = (
        {name: "; ".join(entries) for name, entries in lines(part)}
        for key in (("O1", "memory"), ("F2", "start"), ("A2", "its own operating system"),
                    ("S5", "direct access"))
        if (part := evidence.part(*key))
    )  # fmt: skip
    assert "30.0×" in memory["Value"]
    assert "bound" not in memory["Value"]
    assert memory["Bound"] == "at least 2.00×"
    assert "software emulation" in memory["Limited by"]
    assert "cannot settle this claim" in start["Open because"]
    assert "a product" in start["Beside it"]
    assert "software emulation" in start["From"]
    assert facts["Found"].endswith(": yes (the claim needs: no).")
    assert open_ == {"Found": "No lesson measures this yet."}


@pytest.mark.parametrize(
    ("edition", "name"), [("", "04-boot-speed.ipynb"), ("student", "04-boot-speed.html"),
                          ("instructor", "04-boot-speed-instructor.html")]
)  # fmt: skip
def test_a_claim_leads_to_its_lesson(
    evidence: Evidence, monkeypatch: pytest.MonkeyPatch, edition: str, name: str
) -> None:
    if edition:
        monkeypatch.setenv("VMCOMPARE_HANDOUT", "1")
        monkeypatch.setenv("VMCOMPARE_EDITION", edition)
    [claim] = [one for one in evidence.claims if one.id == "F2"]
    assert f'href="{name}"' in claims_table([claim]).markup


# --- recordings ---------------------------------------------------------------------------------


def test_without_any_recording_every_step_still_shows_something(
    shown: Shown, nothing: Evidence, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vmcompare.course.verdict.gather", lambda **_: nothing)
    verdict = Verdict()
    verdict.check()
    verdict.predict("supported", "How many?", guess=3)
    verdict.table()
    verdict.figure("ratios")
    verdict.compare()
    verdict.choose()
    verdict.check_answer("sentence", "A VM is heavy.")
    verdict.solution("sentence")
    assert "There is no recording of lesson 04 here." in shown.html()
    assert "No lesson measures this yet." in shown.html()
    assert "No recording is here to judge by." in shown.html()
    assert "do lesson 01 first" in shown.html()
    assert choices(nothing)["both"] == ABSENT


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Places:
    places = Places(tmp_path)
    monkeypatch.setattr("vmcompare.evidence.claims.runs.data_dir", lambda: tmp_path / "data")
    monkeypatch.setattr("vmcompare.evidence.claims.runs.user_recordings_dir", lambda: places.own)
    monkeypatch.setattr(
        "vmcompare.evidence.claims.runs.lesson_files", lambda _: lesson_files(places.notebooks)
    )
    return places


def test_checking_again_reads_what_was_recorded_meanwhile(shown: Shown, places: Places) -> None:
    path = places.project / "image_size" / "x.jsonl"
    path.parent.mkdir(parents=True)
    path.write_text("{broken\n")
    verdict = Verdict()
    own = places.add("boot_speed", starts(rounds=1), own=True)
    verdict.check()
    page = BeautifulSoup(shown.html(), "html.parser")
    assert f"{path.name}, line 1" in page.get_text()
    rows = {row.td.get_text(): row.get_text(" ") for row in page.select("tbody tr")}
    assert own.run_id in rows["04 boot speed"]
    assert "recorded on the computer that ran this lesson" in rows["04 boot speed"]
    assert "line 1" in rows["03 image size"]


def test_while_recordings_are_replayed_own_runs_do_not_count(
    shown: Shown, places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = places.add("boot_speed", starts(rounds=1), own=True)
    Verdict(mode="replay").check()
    monkeypatch.setenv("VMCOMPARE_MODE", "replay")
    Verdict().check()
    assert own.run_id not in shown.html()


# --- predictions --------------------------------------------------------------------------------


def test_predictions_are_kept_and_set_beside_the_result(verdict: Verdict, shown: Shown) -> None:
    verdict.predict("refuted", "Refuted claims", guess=0)
    verdict.compare()
    assert answers.kept("09") == {"refuted": 0}
    row = BeautifulSoup(shown.html(), "html.parser").select_one("tbody tr")
    assert [cell.get_text() for cell in row.find_all("td")] == [
        f"Refuted claims (of {ALL} in all)", "0", "2", "2 more",
    ]  # fmt: skip
    verdict.predict("refuted", "Refuted claims", guess=2)
    assert "as predicted" in str(shown.things[1]._repr_html_())


@pytest.mark.parametrize("guess", [-1, 1.5])
def test_what_is_no_prediction_is_not_kept(verdict: Verdict, guess: float) -> None:
    verdict.predict("refuted", "Refuted claims", guess=guess)
    assert answers.kept("09") == {}


@pytest.mark.parametrize(
    "step", [lambda v: v.predict("F99", "?"), lambda v: v.figure("f"), lambda v: v.solution("s")]
)
def test_a_misspelt_name_is_told_with_those_that_exist(
    verdict: Verdict, step: Callable[[Verdict], None]
) -> None:
    with pytest.raises(UnknownName, match="choose from"):
        step(verdict)


# --- pictures -----------------------------------------------------------------------------------


def test_the_alt_text_of_the_findings_names_every_claim_once(evidence: Evidence) -> None:
    alt = findings_figure(evidence).alt
    for claim_id in {claim.id for claim in claims.load()}:
        assert len([word for word in alt.replace(",", " ").replace("(", " ").replace(")", " ")
                    .split() if word == claim_id]) == 1  # fmt: skip
    assert "refuted: 2 (A2, O6a)" in alt


def test_a_finding_is_told_by_its_sign_and_words() -> None:
    svg = findings({"X1": Conclusion.REFUTED}).svg()
    assert "✗" in svg
    assert "refuted: 1" in svg
    assert ">X1<" in svg


def test_ratios_stand_beside_their_bounds_and_undecided_ones_say_why(evidence: Evidence) -> None:
    picture = ratios_figure(evidence)
    assert "O1 memory (also F1, T1h): 30.0×" in picture.alt
    assert "bound 2.00×" in picture.alt
    assert "P3 boot (also F2): 250×" in picture.alt
    assert "not decided: software emulation" in picture.alt
    assert "O4" in picture.caption


def test_an_undecided_point_is_open_and_a_decided_one_filled() -> None:
    interval = Interval(3, 2, 4, 10)
    colours = []
    for finding in (Conclusion.NOT_MEASURED, Conclusion.SUPPORTED):
        picture = against([Against("X1", interval, 2, finding, emulated=True)])
        [points] = [x for x in picture.figure.axes[0].lines if x.get_marker() == "o"]
        colours.append(points.get_markerfacecolor())
    assert colours[0] == "white" != colours[1]


def test_one_run_without_an_interval_is_drawn_without_one() -> None:
    lonely = Interval(3, -math.inf, math.inf, 1)
    picture = against([Against("X1", lonely, 2, Conclusion.INCONCLUSIVE, emulated=False)])
    assert "no interval" in picture.alt


# --- what to choose -----------------------------------------------------------------------------


def test_the_headline_figures_are_those_of_the_runs_that_decide(evidence: Evidence) -> None:
    vm = "VM (÷ container)"
    rows = {row["lesson"] + row["claim"][:2]: row for row in headlines(evidence)}
    memory, start, kernel, device = (rows[name] for name in ("01O1", "04F2", "02O2", "05aS5"))
    for platform, cell in (("container", memory["container"]), ("vm", memory[vm])):
        number, unit = cell.split()[:2]
        assert unit == "MiB"
        assert float(number) * 2**20 == pytest.approx(EACH[platform], rel=0.05)
    assert "(30.0×), software emulation" in memory[vm]
    assert start[vm] == "25.0 s (250×), software emulation"
    assert start["claim"] == "F2, start: ○ not measured here"
    assert [kernel["container"], kernel[vm]] == ["no", "yes"]
    assert device["container"] == ABSENT


def test_only_what_is_decided_here_has_a_figure_beside_the_papers(evidence: Evidence) -> None:
    for one, row in zip(COMPARISONS, papers(evidence), strict=True):
        part = evidence.part(*one.part)
        assert part is not None
        decided = part.finding.verdict is not Conclusion.NOT_MEASURED
        value = part.finding.value
        if one.vm_alone:
            assert "÷" not in row["here"]
        else:
            assert row["here"].startswith(value if decided else ABSENT)
        assert (EMULATION in row["here"]) is (decided and part.emulated)
        assert (row["done otherwise here"] == "–") is not decided
        assert "et al., 20" in row["measured by others"]


def test_many_customers_cost_a_vm_each_and_a_container_for_every_service(
    evidence: Evidence,
) -> None:
    said = choices(evidence)
    many = CUSTOMERS * SERVICES
    for name, expected in (
        ("all_vms", many * EACH["vm"]),
        ("both", CUSTOMERS * EACH["vm"] + many * EACH["container"]),
    ):
        number, unit = said[name].split()
        assert unit == written(expected, "bytes").split()[1]
        assert float(number) == pytest.approx(float(written(expected, "bytes").split()[0]), rel=0.1)


def test_of_six_pieces_of_work_two_are_best_done_by_each_and_two_by_both(
    evidence: Evidence,
) -> None:
    assert WORDS
    asked = works(WORDS, choices(evidence))
    right = [choice.text for work in asked for choice in work.choices if choice.right]
    assert sorted(right) == sorted(2 * [choice.text for choice in asked[0].choices])
    assert all(len(work.choices) == 3 for work in asked)
    said = " ".join(choice.feedback for work in asked for choice in work.choices)
    assert "{" not in said
    assert choices(evidence)["both"] in said


def test_choosing_shows_figures_and_answers_every_choice(
    verdict: Verdict, shown: Shown, monkeypatch: pytest.MonkeyPatch
) -> None:
    verdict.choose()
    monkeypatch.setenv("VMCOMPARE_HANDOUT", "1")
    verdict.choose()
    page = BeautifulSoup(shown.html(), "html.parser")
    assert "Recorded on" in page.caption.get_text()
    assert len(page.select("fieldset")) == 6
    assert len(page.select(".vmc-said")) == 18
    assert choices(verdict._evidence)["both"] in page.get_text()


# --- exercises ----------------------------------------------------------------------------------


def test_a_sentence_is_kept_and_given_back_with_questions_but_not_judged(
    verdict: Verdict, shown: Shown
) -> None:
    verdict.check_answer("sentence")
    assert "a sentence, between quotation marks" in shown.html()
    verdict.check_answer("sentence", "An idle VM took 30 times the memory.")
    verdict.solution("sentence")
    said = shown.html()
    assert "No program can judge a sentence" in said
    assert "✓" not in said
    assert "✗" not in said
    assert ".solution(&#34;sentence&#34;)" in said
    assert choices(verdict._evidence)["vm_memory"] in said
    kept = answers.kept("09", answers.Kind.EXERCISE)["sentence"]
    assert kept == {"answer": "An idle VM took 30 times the memory.", "wrong": 0}
    verdict.check_answer("sentence", 3)
    assert "Please give a sentence" in shown.html()


def test_on_paper_a_sentence_has_a_field_questions_and_a_model_answer(
    verdict: Verdict, shown: Shown, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VMCOMPARE_HANDOUT", "1")
    verdict.check_answer("sentence")
    verdict.check_answer("blog")
    verdict.quiz()
    page = BeautifulSoup(shown.html(), "html.parser")
    assert page.select_one(".vmc-predict input[type=text]")["id"].startswith("p-")
    folded = [fold.summary.get_text() for fold in page.select("details")]
    assert folded[:4] == ["Check yourself", "Hint 1", "Hint 2", "Model answer"]
    assert "not measured here" in page.select_one(".vmc-quiz").get_text()
