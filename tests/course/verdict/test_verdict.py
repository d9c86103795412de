"""Lesson 09 on planted recordings: what its notebook calls shows, keeps and refuses."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from bs4 import BeautifulSoup
from planted import starts
from settled import EACH, LESSONS, RECORDED, Places, ramps

from vmcompare.course import answers, text
from vmcompare.course.verdict import Verdict
from vmcompare.course.verdict.checks import HIDDEN, changed
from vmcompare.course.verdict.explain import explained, findings_figure, hosts, ratios_figure
from vmcompare.errors import Unavailable, UnknownName
from vmcompare.evidence import claims
from vmcompare.evidence.claims import Conclusion
from vmcompare.evidence.claims.judged import Evidence
from vmcompare.evidence.exercise import Exercise
from vmcompare.evidence.statistics import Interval
from vmcompare.paths import lessons_dir
from vmcompare.plots.findings import SIGNS, Against, against, findings
from vmcompare.plots.picture import WhatIf

GIB = 2**30
WORDS = text.of_lesson("09")


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
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Places:
    places = Places(tmp_path)
    monkeypatch.setattr("vmcompare.evidence.claims.judged.data_dir", lambda: tmp_path / "data")
    monkeypatch.setattr("vmcompare.evidence.claims.judged.user_recordings_dir", lambda: places.own)
    monkeypatch.setattr("vmcompare.evidence.claims.judged.lessons_dir", lambda: places.notebooks)
    return places


@pytest.fixture
def planted_places(places: Places) -> Places:
    places.plant()
    return places


def soup(shown: Shown) -> BeautifulSoup:
    return BeautifulSoup(shown.html(), "html.parser")


# --- the table ----------------------------------------------------------------------------------


def test_the_table_holds_every_claim_quoted_with_all_its_parts(
    shown: Shown, planted_places: Places
) -> None:
    Verdict().table()
    text = soup(shown).get_text(" ")
    for claim in claims.load():
        assert f"“{claim.quote}”" in text
        assert claim.part in text
    assert soup(shown).find(id="claim-F2") is not None


def test_the_table_is_made_for_screen_readers_too(shown: Shown, planted_places: Places) -> None:
    Verdict().table()
    tables = soup(shown).find_all("table")
    assert len(tables) == 6
    for table in tables:
        assert table.find("caption").get_text(strip=True)
        assert all(th["scope"] == "col" for th in table.thead.find_all("th"))
        for group in table.find_all("tbody"):
            heads = [th["scope"] for th in group.find_all("th")]
            assert heads[0] == "rowgroup"
            assert set(heads[1:]) == {"row"}
            assert len(heads) > 1
        for sign in table.find_all(attrs={"aria-hidden": "true"}):
            words = sign.parent.get_text(" ", strip=True)
            assert SIGNS[Conclusion(words.partition(" ")[2])] == sign.get_text()


def test_what_is_measured_says_run_date_and_emulation_and_links_to_its_lesson(
    shown: Shown, planted_places: Places
) -> None:
    Verdict().table()
    page = soup(shown)
    group = page.find(id="claim-F2").find_parent("tbody").get_text(" ")
    [run] = (planted_places.project / "boot_speed").glob("*.jsonl")
    assert f"recorded · run {run.stem} · " in group
    assert "software emulation" in group
    links = {a["href"] for a in page.find_all("a")}
    assert links == {f"{n}-{name.replace('_', '-')}.ipynb" for n, name in LESSONS.items()}
    assert all((planted_places.notebooks / link).is_file() for link in links)


@pytest.mark.parametrize(
    ("edition", "name"), [("student", "04-boot-speed.html"),
                          ("instructor", "04-boot-speed-instructor.html")]
)  # fmt: skip
def test_in_a_handout_links_go_to_the_handouts_of_the_same_edition(
    shown: Shown, planted_places: Places, monkeypatch: pytest.MonkeyPatch, edition: str, name: str
) -> None:
    monkeypatch.setenv("VMCOMPARE_HANDOUT", "1")
    monkeypatch.setenv("VMCOMPARE_EDITION", edition)
    Verdict().table()
    assert name in {a["href"] for a in soup(shown).find_all("a")}


def test_without_any_recording_every_step_still_shows_something(
    shown: Shown, places: Places
) -> None:
    verdict = Verdict()
    verdict.check()
    verdict.predict("supported", guess=3)
    verdict.table()
    for name in explained.figures:
        verdict.figure(name)
    verdict.compare()
    verdict.whatif("hosts")
    verdict.without(HIDDEN)
    assert "There is no recording of lesson 01 here." in str(shown.things[-1]._repr_html_())
    verdict.check_answer("hide")
    assert math.isnan(verdict.numbers("F2")[0])
    assert "There is no recording of lesson 04 here." in shown.html()
    assert "No lesson measures this yet." in shown.html()
    assert "No recording is here to judge by." in shown.html()


def test_a_damaged_recording_is_said_and_the_rest_goes_on(
    shown: Shown, planted_places: Places
) -> None:
    [path] = (planted_places.project / "image_size").glob("*.jsonl")
    path.write_text("{broken\n")
    verdict = Verdict()
    verdict.check()
    verdict.table()
    assert shown.html().count(f"{path.name}, line 1") > 1
    assert "✓" in shown.html()


def test_checking_again_reads_what_was_recorded_meanwhile(
    shown: Shown, planted_places: Places
) -> None:
    verdict = Verdict()
    verdict.table()
    before = shown.html()
    own = planted_places.add("boot_speed", starts(rounds=3, accel="kvm"), own=True)
    assert own.run_id not in before
    verdict.check()
    assert f"recorded, your own run · run {own.run_id}" in shown.html()
    assert str(shown.things[0]._repr_html_()) not in before


def test_while_recordings_are_replayed_own_runs_do_not_count(
    shown: Shown, planted_places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = planted_places.add("boot_speed", starts(rounds=3), own=True)
    monkeypatch.setenv("VMCOMPARE_MODE", "replay")
    Verdict().table()
    assert own.run_id not in shown.html()
    monkeypatch.delenv("VMCOMPARE_MODE")
    Verdict(own=False).table()
    assert own.run_id not in shown.html()


# --- predictions --------------------------------------------------------------------------------


def test_predictions_are_kept_and_set_beside_the_result(
    shown: Shown, planted_places: Places
) -> None:
    verdict = Verdict()
    verdict.predict("refuted", "Refuted claims", guess=0)
    verdict.predict("A2", guess="supported")
    verdict.compare()
    assert answers.kept("09") == {"refuted": 0, "A2": "supported"}
    rows = [
        [cell.get_text() for cell in row.find_all("td")] for row in soup(shown).find_all("tr")[1:]
    ]
    assert rows[0] == ["Refuted claims (of 32 in all)", "0", "2", "2 more"]
    assert rows[1][1:] == ["supported", "refuted", "different"]
    assert "“Each virtual machine requires" in rows[1][0]
    verdict.predict("A2", guess="refuted")
    assert "as predicted" in str(shown.things[2]._repr_html_())


@pytest.mark.parametrize(("name", "guess"), [("refuted", -1), ("refuted", 1.5), ("A2", "perhaps")])
def test_what_is_no_prediction_is_not_kept(
    shown: Shown, places: Places, name: str, guess: float | str
) -> None:
    Verdict().predict(name, guess=guess)
    assert answers.kept("09") == {}


def test_on_paper_a_finding_is_ticked_and_nothing_is_given_away(
    shown: Shown, planted_places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    verdict = Verdict()
    verdict.predict("A2", guess="refuted")
    monkeypatch.setenv("VMCOMPARE_HANDOUT", "1")
    verdict.predict("A2")
    assert shown.html().count("☐") == len(Conclusion)
    verdict.compare()
    assert "as predicted" not in shown.html()


@pytest.mark.parametrize(
    "step", [lambda v: v.predict("F99"), lambda v: v.figure("f"), lambda v: v.whatif("w"),
             lambda v: v.numbers("F99"), lambda v: v.without("x")]
)  # fmt: skip
def test_a_misspelt_name_is_told_with_those_that_exist(
    shown: Shown, planted_places: Places, step: Callable[[Verdict], None]
) -> None:
    with pytest.raises(UnknownName, match="choose from"):
        step(Verdict())


# --- pictures -----------------------------------------------------------------------------------


def test_the_alt_text_of_the_findings_names_every_claim_once(planted_places: Places) -> None:
    alt = findings_figure(planted_places.gather()).alt
    for claim_id in {claim.id for claim in claims.load()}:
        assert len([word for word in alt.replace(",", " ").replace("(", " ").replace(")", " ")
                    .split() if word == claim_id]) == 1  # fmt: skip
    assert "refuted: 2 (A2, O6a)" in alt


def test_a_finding_is_told_by_its_sign_and_words(planted_places: Places) -> None:
    assert len(set(SIGNS.values())) == len(Conclusion)
    svg = findings({"X1": Conclusion.REFUTED}).svg()
    assert "✗" in svg
    assert "refuted: 1" in svg
    assert ">X1<" in svg


def test_ratios_stand_beside_their_bounds_and_undecided_ones_say_why(
    planted_places: Places,
) -> None:
    picture = ratios_figure(planted_places.gather())
    assert "O1 memory: 30.0×" in picture.alt
    assert "bound 2.00×" in picture.alt
    assert "F2 start: 250×" in picture.alt
    assert "not decided: software emulation" in picture.alt
    assert "O4" in picture.caption


def test_an_undecided_point_is_open_and_a_decided_one_filled() -> None:
    interval = Interval(3, 2, 4, 10)
    colours = []
    for verdict in (Conclusion.NOT_MEASURED, Conclusion.SUPPORTED):
        picture = against([Against("X1", interval, 2, verdict, emulated=True)])
        [points] = [x for x in picture.figure.axes[0].lines if x.get_marker() == "o"]
        colours.append(points.get_markerfacecolor())
    assert colours[0] == "white" != colours[1]


def test_one_run_without_an_interval_is_drawn_without_one() -> None:
    lonely = Interval(3, -math.inf, math.inf, 1)
    picture = against([Against("X1", lonely, 2, Conclusion.INCONCLUSIVE, emulated=False)])
    assert "no interval" in picture.alt


# --- what-if ------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1000.0, 100_000.0])
def test_hosts_follow_the_stated_formula(places: Places, n: float) -> None:
    places.add("guest_os", ramps())
    assert WORDS
    model: WhatIf = hosts(places.gather(), host_gib=16)
    model = text.whatif(model, WORDS.find("what-if", "hosts"))
    assert model.source.startswith("x = 16 GiB; b, what one more instance costs")
    assert n in model.values
    alt = model.draw(n).alt
    each = {**EACH}
    for platform in ("container", "vm"):
        # The planted ramps' slopes, fitted once more by hand.
        import numpy as np

        slopes = []
        for block in range(3):
            points = [(r.rep, r.value) for r in ramps() if r.platform == platform
                      and r.block == block]  # fmt: skip
            slopes.append(np.polyfit(*zip(*points, strict=True), 1)[0])
        b = float(np.median(slopes))
        assert b == pytest.approx(each[platform], rel=0.05)
        needed = math.ceil(n / math.floor(16 * GIB / b))
        assert re.search(rf"[ :;] {platform} \(b = [^)]*\) {needed:,}[;.]", alt)
    assert "software emulation" in alt
    assert "was measured under software emulation" in model.draw(n).words
    assert 10 <= len(model.values) <= 60
    assert r"\lceil" in model.formula


def test_without_a_ramp_no_host_is_modelled(places: Places) -> None:
    places.add("boot_speed", starts(rounds=3))
    with pytest.raises(Unavailable, match="01"):
        hosts(places.gather())


def test_a_host_too_small_for_one_instance_is_said(places: Places) -> None:
    places.add("guest_os", ramps())
    with pytest.raises(Unavailable, match="not one instance"):
        hosts(places.gather(), host_gib=0.001)


# --- exercises ----------------------------------------------------------------------------------


@pytest.fixture
def table(planted_places: Places) -> Evidence:
    return planted_places.gather()


def exercises(evidence: Evidence) -> Mapping[str, Exercise]:
    assert WORDS
    return text.tasks(WORDS, explained, lambda _: evidence)[0]


@pytest.mark.parametrize("hidden", [HIDDEN, "boot_speed"])
def test_hiding_a_recording_counts_the_findings_that_change(
    table: Evidence, monkeypatch: pytest.MonkeyPatch, hidden: str
) -> None:
    monkeypatch.setattr("vmcompare.course.verdict.checks.HIDDEN", hidden)
    hide = exercises(table)["hide"]
    moved = changed(table, hidden)
    flipped = sum(a.finding.verdict != b.finding.verdict for a, b in moved)
    assert 0 < flipped <= len(moved)
    view = table.view()
    assert hide.check(view, flipped).right
    assert "only its reason" not in hide.check(view, flipped + 7).text
    assert not hide.check(view, 0).right  # what the field holds before anybody has counted
    if flipped < len(moved):
        assert "where only its reason did" in hide.check(view, len(moved)).text
    solution = hide.solution(view)
    assert solution.count("→") == flipped
    assert solution.count("only the reason") == len(moved) - flipped


@pytest.mark.parametrize(
    ("vm", "wanted"), [(2.0, Conclusion.SUPPORTED), (0.3, Conclusion.WITH_CAVEATS),
                       (0.05, Conclusion.REFUTED)]
)  # fmt: skip
def test_the_rule_by_hand_follows_the_numbers_shown(
    places: Places, vm: float, wanted: Conclusion
) -> None:
    places.add("boot_speed", starts(times={("container", ""): 0.1, ("vm", "pc"): vm}, whole=False))
    table = places.gather()
    rule, view = exercises(table)["rule"], table.view()
    right = [choice for choice in rule.choices if rule.check(view, choice).right]
    assert right == [str(wanted)]
    assert "software emulation" in rule.check(view, str(wanted)).text
    assert f"**{wanted}**" in rule.solution(view)
    said = {rule.check(view, choice).text for choice in rule.choices}
    assert len(said) == 4, "each wrong choice is told what it would need"


@pytest.mark.parametrize("name", ["rule", "hide"])
def test_a_cell_as_it_stands_runs_and_once_it_is_filled_in_is_right(
    shown: Shown, planted_places: Places, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    cells = json.loads((lessons_dir() / "09-verdict.ipynb").read_text(encoding="utf-8"))["cells"]
    [code] = [c for c in ("".join(c["source"]) for c in cells) if f'check_answer("{name}"' in c]
    exec(code, {"verdict": Verdict()})
    evidence = planted_places.gather()
    flips = sum(a.finding.verdict != b.finding.verdict for a, b in changed(evidence, HIDDEN))
    code = code.replace("# ", "") if name == "rule" else code.replace("...", str(flips))
    for filling in ("theta", "1", "1"):
        code = code.replace("___", filling, 1)
    given: list[Any] = []
    monkeypatch.setattr(Verdict, "check_answer", lambda _, __, answer: given.append(answer))
    exec(code, {"verdict": Verdict()})
    assert exercises(evidence)[name].check(evidence.view(), given[0]).right


def test_without_the_recording_the_exercises_say_what_is_missing(places: Places) -> None:
    table = places.gather()
    for name, answer in (("hide", 1), ("rule", "supported")):
        with pytest.raises(Unavailable, match=r"lesson 0[14]"):
            exercises(table)[name].check(table.view(), answer)


def test_what_would_change_without_a_recording_is_shown_line_by_line(
    shown: Shown, planted_places: Places
) -> None:
    Verdict().without("boot_speed")
    text = soup(shown).get_text(" ")
    assert "O3 start" in text
    assert "The recording of lesson 04 is hidden." in text
    assert "O6a" not in text
    assert "other lines stay as they are" in text


def test_exercises_and_quiz_are_shown_with_and_without_a_kernel(
    shown: Shown, planted_places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    Verdict().quiz()
    Verdict().check_answer("better", 3)
    monkeypatch.setenv("VMCOMPARE_HANDOUT", "1")
    paper = Verdict()
    paper.check_answer("rule")
    paper.quiz()
    assert "by the numbers alone the" in shown.html()
    assert "which is better" in shown.html()


def test_the_planted_recordings_show_most_kinds_of_findings(table: Evidence) -> None:
    assert {row.finding.verdict for row in table.claims} >= {
        Conclusion.WITH_CAVEATS, Conclusion.REFUTED, Conclusion.NOT_MEASURED, Conclusion.JUDGEMENT,
    }  # fmt: skip
    assert set(RECORDED) == set(LESSONS.values())
