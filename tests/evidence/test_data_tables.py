"""The tables in ``data/`` that this project ships."""

from __future__ import annotations

import csv
import math
import re
from pathlib import Path

import pytest

from vmcompare.errors import RecordingError
from vmcompare.evidence import claims, published
from vmcompare.evidence.claims import Rule, rules
from vmcompare.paths import data_dir

CHECKS = ("yes", "secondary", "recalled")
"""First words of how far a source was checked."""

# Every row of the registered rules; none may be dropped, whatever has been measured so far.
ROWS = [
    "A1", "A2", "A3", "O1", "O2", "O3", "O4", "O5", "O6a", "O6b", "O6c", "S1a", "S1b", "S2", "S3",
    "S4", "S5", "P1", "P2", "P3", "P4", "F1", "F2", "F3a", "F3b", "F4", "T1a", "T1b", "T1c",
    "T1d", "T1e", "T1f", "T1g", "T1h", "V1", "V2", "V3", "V4", "V5",
]  # fmt: skip


def test_every_registered_claim_keeps_its_place_in_the_table() -> None:
    assert list(dict.fromkeys(claim.id for claim in claims.load())) == ROWS


def test_every_registered_claim_is_whole() -> None:
    table = claims.load()
    assert len({claim.name for claim in table}) == len(table)
    for claim in table:
        rule, measured = claim.rule, claim.quantity
        assert claim.id
        assert claim.says
        assert claim.quote
        assert claim.lessons
        assert (claim.kind is rules.ClaimKind.JUDGEMENT) == (rule is Rule.JUDGEMENT)
        assert claim.estimand or rule is Rule.JUDGEMENT
        if claim.estimand:
            assert (measured is None) == (rule is Rule.FACTS)
        assert (claim.bound is None) == (rule in (Rule.FACTS, Rule.JUDGEMENT))
        assert claim.bound is None or math.isfinite(claim.bound)
        if rule is Rule.RATIO:
            assert measured
            assert measured.below


def test_the_headline_claims_of_boot_speed_are_registered_as_agreed() -> None:
    by_name = {claim.name: claim for claim in claims.load()}
    f2, work, o3 = by_name["F2 start"], by_name["F2 work"], by_name["O3 start"]
    assert (f2.kind, f2.rule, f2.estimand, f2.bound) == (
        "time", "ratio", rules.parse("start_to_first_byte_s: vm / container"), 5.0,
    )  # fmt: skip
    assert rules.caveat("start_to_first_byte_s: vm-direct@pc / container") in f2.caveats
    assert (work.kind, work.rule, work.estimand, work.bound) == (
        "size", "ratio", rules.parse("start_instructions: vm / container"), 5.0,
    )  # fmt: skip
    below_one = rules.caveat("below 1: start_instructions: vm-direct@pc / container")
    assert below_one in work.caveats
    assert below_one.bound == 1
    assert (o3.kind, o3.rule, o3.estimand, o3.bound) == (
        "time", "bound", rules.parse("start_to_first_byte_s: container"), 3.0,
    )  # fmt: skip


def test_the_table_of_claims_is_plain_csv_with_a_field_in_every_column() -> None:
    with (data_dir() / "claims.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    assert {len(row) for row in rows} == {len(rules.COLUMNS)}


def test_every_fact_that_a_claim_looks_at_has_its_words() -> None:
    with (data_dir() / "facts.csv").open(encoding="utf-8", newline="") as file:
        worded = {row["name"]: row["words"] for row in csv.DictReader(file)}
    named: set[str] = set()
    for claim in claims.load():
        named |= set(claim.estimand.fact_names if claim.estimand else ())
        named |= {c.text for c in claim.caveats if c.kind is rules.CaveatKind.FACT}
    assert set(worded) == named
    assert rules.words_of_fact("vm_boot_id_is_hosts") == "a VM’s boot id is the host’s"


def test_every_published_figure_says_where_it_is_from_and_how_far_it_was_checked() -> None:
    figures = published.load_figures()
    assert len(figures) > 90
    assert {figure.checked for figure in figures} == {True, False}
    for figure in figures:
        assert figure.url.startswith("https://")
        assert figure.verified.startswith(CHECKS)
        assert re.fullmatch(r"20\d\d", figure.year)
        for filled in ("metric", "system", "value", "unit", "citation", "short"):
            assert getattr(figure, filled)


@pytest.mark.parametrize(
    ("verified", "checked"),
    [
        ("yes (abstract; DOI recalled)", True),
        ("recalled (repo raw data say 130.28)", False),
        ("secondary; reproduced from raw pmap files", False),
    ],
)
def test_what_counts_as_checked_is_decided_by_the_first_word(verified: str, checked: bool) -> None:
    figures = published.load_figures()
    assert {f.checked for f in figures if f.verified == verified} == {checked}


def test_a_citation_is_shortened_in_one_way_and_to_words_of_it() -> None:
    short: dict[str, str] = {}
    for figure in published.load_figures():
        assert short.setdefault(figure.citation, figure.short) == figure.short
        words = figure.short.replace(" et al.", "").split(": ")
        assert all(word in figure.citation for word in words)


def test_every_weakness_says_where_it_is_from_and_how_far_that_was_checked() -> None:
    known = published.load_weaknesses()
    assert len(known) == len({one.cve for one in known}) == 32
    assert {one.kind for one in known} == {"container", "kernel", "vm"}
    for one in known:
        assert re.fullmatch(r"CVE-\d{4}-\d{4,}", one.cve)
        assert re.fullmatch(r"\d{4}(-\d\d-\d\d)?", one.published)
        assert one.verified.startswith(CHECKS)
        assert one.component
        assert one.name
        assert one.summary
        assert one.url.startswith("https://")
        assert one.published.startswith(one.cve[4:8])
        assert len(one.published) == 10 or not one.checked
        assert one.component.startswith(one.name.partition(" (")[0])


@pytest.mark.parametrize(
    ("table", "wrong", "what", "line"),
    [
        ("claims.csv", ("vm / container", "vm / ship"), "ship", 2),
        ("claims.csv", ("ratio", "rates"), "rates", 2),
        ("claims.csv", ("id,", "name,"), "columns", 1),
    ],
)
def test_a_damaged_line_is_named_with_what_is_wrong(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    table: str,
    wrong: tuple[str, str],
    what: str,
    line: int,
) -> None:
    head, *lines = (data_dir() / table).read_text(encoding="utf-8").splitlines(keepends=True)
    [first, *_] = [one for one in lines if one.startswith("F2,start,")]
    (tmp_path / table).write_text((head + first).replace(*wrong), encoding="utf-8")
    monkeypatch.setattr("vmcompare.evidence.published.data_dir", lambda: tmp_path)
    with pytest.raises(RecordingError, match=what) as caught:
        claims.load.__wrapped__()
    assert caught.value.line == line


def test_missing_tables_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vmcompare.evidence.published.data_dir", lambda: Path("nowhere"))
    for load in (published.load_figures, published.load_weaknesses, claims.load.__wrapped__):
        with pytest.raises(RecordingError, match=r"(literature|cves|claims)\.csv"):
            load()
