"""The tables in ``data/`` that this project ships."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from vmcompare.errors import RecordingError
from vmcompare.evidence import claims, published
from vmcompare.evidence.claims import rules
from vmcompare.paths import data_dir

# Every row of the registered rules; none may be dropped, whatever has been measured so far.
ROWS = [
    "A1", "A2", "A3", "O1", "O2", "O3", "O4", "O5", "O6a", "O6b", "O6c", "S1a", "S1b", "S2", "S3",
    "S4", "S5", "P1", "P2", "P3", "P4", "F1", "F2", "F3a", "F3b", "F4", "T1a", "T1b", "T1c",
    "T1d", "T1e", "T1f", "T1g", "T1h", "V1", "V2", "V3", "V4", "V5",
]  # fmt: skip


def test_every_registered_claim_keeps_its_place_in_the_table() -> None:
    assert list(dict.fromkeys(claim.id for claim in claims.load())) == ROWS


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
        assert re.fullmatch(r"20\d\d", figure.year)


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
    assert {one.kind for one in known} == set(published.KINDS)
    for one in known:
        assert one.url.startswith("https://")
        assert one.published.startswith(one.cve[4:8])
        assert len(one.published) == 10 or not one.checked
        assert one.component.startswith(one.name.partition(" (")[0])


_FIGURE = "boot_time,X,1,ms,,,,,{citation},s,2020,https://x,{verified}"
_WEAKNESS = "{cve},{published},{component},x,{kind},7,s,https://x,{verified}"
_GOOD = {
    "citation": "someone", "cve": "CVE-2020-1234", "published": "2020-01-02", "component": "X",
    "kind": "vm", "verified": "yes",
}  # fmt: skip


@pytest.mark.parametrize(
    ("load", "line", "wrong", "what"),
    [
        (published.load_figures, _FIGURE, {"verified": "perhaps"}, "unknown word"),
        (published.load_figures, _FIGURE, {"citation": ""}, "nothing in citation"),
        (published.load_weaknesses, _WEAKNESS, {"verified": "perhaps"}, "unknown word"),
        (published.load_weaknesses, _WEAKNESS, {"kind": "cloud"}, "unknown kind"),
        (published.load_weaknesses, _WEAKNESS, {"cve": "CVE-20-1"}, "not the number"),
        (published.load_weaknesses, _WEAKNESS, {"component": ""}, "nothing in component"),
        (published.load_weaknesses, _WEAKNESS, {"published": "soon"}, "neither a date"),
    ],
)
def test_a_line_that_cannot_be_cited_is_refused(
    tmp_path: Path, load: Callable[[Path], object], line: str, wrong: dict[str, str], what: str
) -> None:
    columns = published.FIGURE_COLUMNS if line is _FIGURE else published.WEAKNESS_COLUMNS
    table = tmp_path / "table.csv"
    table.write_text(f"{','.join(columns)}\n{line.format(**_GOOD | wrong)}\n", encoding="utf-8")
    with pytest.raises(RecordingError, match=what) as caught:
        load(table)
    assert caught.value.line == 2


def test_missing_tables_are_named() -> None:
    for load in (published.load_figures, published.load_weaknesses, claims.load):
        with pytest.raises(RecordingError, match=r"nowhere\.csv"):
            load(Path("nowhere.csv"))
