"""What only lesson 09 promises; what every lesson does is in ``test_lessons``."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from room import Room

from vmcompare.evidence import claims

ROOT = Path(__file__).parent.parent
NOTEBOOK = ROOT / "notebooks" / "09-verdict.ipynb"


@pytest.fixture
def page(room: Room) -> str:
    return room.lesson("09")


@pytest.mark.slow
def test_it_holds_every_claim_and_links_to_handouts(page: str) -> None:
    for claim_id in {claim.id for claim in claims.load()}:
        assert f'id="claim-{claim_id}"' in page
    names = {path.stem for path in (ROOT / "notebooks").glob("*.ipynb")}
    linked = set(re.findall(r'href="(\d\d-[^"]+)\.html"', page))
    assert "04-boot-speed" in linked
    assert linked <= names


@pytest.mark.slow
def test_its_runs_are_the_projects(page: str) -> None:
    recorded = {path.stem for path in (ROOT / "data" / "recordings").glob("*/*.jsonl")}
    assert set(re.findall(r"\d{8}T\d{6}Z-[0-9a-f]{6}", page)) <= recorded
    assert "software emulation" in page


def test_the_notebook_measures_nothing() -> None:
    code = [
        "".join(cell["source"])
        for cell in json.loads(NOTEBOOK.read_text())["cells"]
        if cell["cell_type"] == "code"
    ]
    assert not any(".measure(" in cell or ".record(" in cell for cell in code)
