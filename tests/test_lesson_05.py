"""What only the two halves of lesson 05 promise; what every lesson does is in ``test_lessons``."""

from __future__ import annotations

import json
from pathlib import Path

from vmcompare.experiments.isolation.probes import GRID, HOST

ROOT = Path(__file__).parent.parent
NOTEBOOKS = {path.name[:3]: path for path in (ROOT / "notebooks").glob("05*.ipynb")}
QEMU = (
    "Users with non-virtualization use cases must not rely on QEMU to provide guest isolation or "
    "any security guarantees."
)
"""https://www.qemu.org/docs/master/system/security.html, as its source has it."""


def source(number: str) -> str:
    cells = json.loads(NOTEBOOKS[number].read_text(encoding="utf-8"))["cells"]
    return "\n".join("".join(cell["source"]) for cell in cells)


def test_qemus_makers_are_quoted_to_the_letter_with_the_place() -> None:
    assert f"“{QEMU}”" in source("05a")
    for number in NOTEBOOKS:
        assert "https://www.qemu.org/docs/master/system/security.html" in source(number)


def test_the_heartbeats_grow_while_it_runs_and_the_other_halfs_run_serves() -> None:
    assert 'measure(chart="boundaries")' in source("05a")
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
