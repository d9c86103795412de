"""The tables in ``data/`` that this project ships."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from vmcompare.errors import RecordingError
from vmcompare.evidence import claims, published
from vmcompare.paths import data_dir

# Every row of the registered rules; none may be dropped, whatever has been measured so far.
ROWS = [
    "A1", "A2", "A3", "O1", "O2", "O3", "O4", "O5", "O6a", "O6b", "O6c", "S1a", "S1b", "S2", "S3",
    "S4", "S5", "P1", "P2", "P3", "P4", "F1", "F2", "F3a", "F3b", "F4", "T1", "V1", "V2", "V3",
    "V4", "V5",
]  # fmt: skip


def test_every_registered_claim_keeps_its_place_in_the_table() -> None:
    assert list(dict.fromkeys(claim.id for claim in claims.load())) == ROWS


def test_the_headline_claims_of_boot_speed_are_registered_as_agreed() -> None:
    by_id = {claim.id: claim for claim in claims.load()}
    f2, o3 = by_id["F2"], by_id["O3"]
    assert (f2.kind, f2.rule, f2.estimand, f2.bound) == (
        "time", "ratio", "start_to_first_byte_s: vm / container", 5.0,
    )  # fmt: skip
    assert "start_to_first_byte_s: vm-direct@pc / container" in f2.caveats
    assert (o3.kind, o3.rule, o3.estimand, o3.bound) == (
        "time", "bound", "start_to_first_byte_s: container", 3.0,
    )  # fmt: skip


def test_the_table_of_claims_is_plain_csv_with_a_field_in_every_column() -> None:
    with (data_dir() / "claims.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    assert {len(row) for row in rows} == {len(claims.COLUMNS)}


def test_no_claim_cites_the_literature_as_its_measurement() -> None:
    for claim in claims.load():
        assert "literature" not in claim.estimand
        assert not any("literature" in caveat for caveat in claim.caveats)


def test_every_published_figure_says_where_it_is_from_and_how_far_it_was_checked() -> None:
    figures = published.load_literature()
    assert len(figures) == 86
    assert set(figures["checked"]) == {"checked", "secondary", "recalled"}
    assert (figures["citation"] != "").all()
    assert figures["url"].str.startswith("https://").all()
    assert figures["year"].str.fullmatch(r"20\d\d").all()


@pytest.mark.parametrize(
    ("verified", "checked"),
    [
        ("yes (abstract; DOI recalled)", "checked"),
        ("recalled (repo raw data say 130.28)", "recalled"),
        ("secondary; reproduced from raw pmap files", "secondary"),
    ],
)
def test_what_counts_as_checked_is_decided_by_the_first_word(verified: str, checked: str) -> None:
    figures = published.load_literature()
    assert set(figures.loc[figures["verified"] == verified, "checked"]) == {checked}


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("boot_time,X,1,ms,,someone,2020,https://x,perhaps", "unknown word"),
        ("boot_time,X,1,ms,,,2020,https://x,yes", "nothing in citation"),
    ],
)
def test_a_published_figure_that_cannot_be_cited_is_refused(
    tmp_path: Path, line: str, what: str
) -> None:
    table = tmp_path / "literature.csv"
    table.write_text(",".join(published.LITERATURE_COLUMNS) + "\n" + line + "\n", encoding="utf-8")
    with pytest.raises(RecordingError, match=what) as caught:
        published.load_literature(table)
    assert caught.value.line == 2


def test_every_weakness_says_where_it_is_from_and_how_far_that_was_checked() -> None:
    known = published.load_cves()
    assert len(known) == 32
    assert known["cve"].is_unique
    assert set(known["kind"]) == set(published.KINDS)
    assert set(known["checked"]) == {"checked", "secondary", "recalled"}
    assert known["url"].str.startswith("https://").all()
    assert (known["cve"].str[4:8] == known["year"]).all()
    checked = known[known["checked"] == "checked"]
    assert checked["published"].str.fullmatch(r"20\d\d-\d\d-\d\d").all()


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("CVE-2020-1234,2020,X,kernel,7,s (2020-01-02).,https://x,perhaps", "unknown word"),
        ("CVE-2020-1234,2020,X,cloud,7,s (2020-01-02).,https://x,yes", "unknown kind"),
        ("CVE-20-1,2020,X,vm,7,s (2020-01-02).,https://x,yes", "not the number"),
        ("CVE-2020-1234,2020,,vm,7,s (2020-01-02).,https://x,yes", "nothing in component"),
    ],
)
def test_a_weakness_that_cannot_be_looked_up_is_refused(
    tmp_path: Path, line: str, what: str
) -> None:
    table = tmp_path / "cves.csv"
    table.write_text(",".join(published.CVE_COLUMNS) + "\n" + line + "\n", encoding="utf-8")
    with pytest.raises(RecordingError, match=what) as caught:
        published.load_cves(table)
    assert caught.value.line == 2


def test_missing_tables_are_named() -> None:
    for load in (published.load_literature, claims.load, published.load_cves):
        with pytest.raises(RecordingError, match=r"nowhere\.csv"):
            load(Path("nowhere.csv"))
