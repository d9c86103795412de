"""What only the two halves of lesson 05 promise; what every lesson does is in ``test_lessons``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from bs4 import BeautifulSoup
from room import Room

from vmcompare.evidence import claims
from vmcompare.experiments.isolation.probes import GRID, HOST

ROOT = Path(__file__).parent.parent
NOTEBOOKS = {path.name[:3]: path for path in (ROOT / "notebooks").glob("05*.ipynb")}
QEMU = (
    "Users with non-virtualization use cases must not rely on QEMU to provide guest isolation or "
    "any security guarantees."
)
"""https://www.qemu.org/docs/master/system/security.html, as its source has it."""


@pytest.fixture
def pages(room: Room) -> dict[str, Any]:
    """Both handouts, replayed, taken apart."""
    return {
        number: BeautifulSoup(room.lesson(number), features="html.parser") for number in NOTEBOOKS
    }


def source(number: str) -> str:
    cells = json.loads(NOTEBOOKS[number].read_text(encoding="utf-8"))["cells"]
    return "\n".join("".join(cell["source"]) for cell in cells)


def findings(page: Any) -> list[Any]:
    """The article's claims on a page, each a line that unfolds."""
    return list(page.select(".vmc-findings summary"))


@pytest.mark.slow
def test_every_claim_of_security_is_judged_in_the_half_that_it_names(pages: dict[str, Any]) -> None:
    for number, page in pages.items():
        ids = {claim.id for claim in claims.load() if number in claim.lessons}
        assert ids
        told = {found.find("strong").get_text().split()[0] for found in findings(page)}
        assert told == ids


@pytest.mark.slow
def test_qemus_makers_are_quoted_to_the_letter_with_the_place(pages: dict[str, Any]) -> None:
    assert QEMU in pages["05a"].get_text()
    for page in pages.values():
        assert page.select('a[href="https://www.qemu.org/docs/master/system/security.html"]')


@pytest.mark.slow
def test_weaknesses_have_links_to_their_records(pages: dict[str, Any]) -> None:
    links = {link["href"]: link.get_text() for link in pages["05b"].select("td a")}
    assert links["https://nvd.nist.gov/vuln/detail/CVE-2019-5736"] == "CVE-2019-5736"


def test_the_heartbeats_grow_while_it_runs_and_the_other_halfs_run_serves() -> None:
    assert 'measure(chart="heartbeats")' in source("05b")
    assert "replay(" in source("05b")
    assert "05b" in source("05a")


def test_the_probes_that_are_to_be_predicted_are_as_many_as_there_are() -> None:
    aimed = [probe for probe in GRID if probe.aim == HOST]
    assert f"{len(aimed)} probes aim at the host" in source("05a")
    assert source("05a").count(f"How many of the {len(aimed)} ") == 2


def test_no_result_stands_in_the_prose() -> None:
    for number in NOTEBOOKS:
        cells = json.loads(NOTEBOOKS[number].read_text(encoding="utf-8"))["cells"]
        prose = "\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "markdown")
        for word in ("refuted", "supported", "EROFS from A", " ms"):
            assert word not in prose
