"""The exercises of lesson 05a: right answers come from the rows."""

from __future__ import annotations

import json
import re
from pathlib import Path

from vmcompare.course.exercises import asked
from vmcompare.evidence.view import compose
from vmcompare.experiments.isolation.probes import CAPABILITY_NAMES, decoded_capabilities

EXERCISES = asked("isolation", "05a")[0]
NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "05a-boundaries.ipynb"


def test_the_number_on_paper_has_the_two_bits_of_the_right_choice() -> None:
    asked, view = EXERCISES["cap_eff"], compose(None, None)
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    [task] = [c for c in ("".join(c["source"]) for c in cells) if "CapEff on paper" in c]
    found = re.search(r"`([0-9a-f]{16})`", task)
    assert found
    held = decoded_capabilities(found[1])
    [right] = [choice for choice in asked.choices if set(choice.split(" and ")) == set(held)]
    assert [c for c in asked.choices if asked.check(view, c).right] == [right]
    listed = re.findall(r"\| (\d+) \| (\w+)", task)
    assert len(listed) == 6
    assert all(CAPABILITY_NAMES[int(bit)] == name for bit, name in listed)
