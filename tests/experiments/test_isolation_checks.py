"""The exercises of lesson 05a: right answers come from the rows."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import SimpleNamespace

import planted_isolation as planted_rows
import pytest
from planted_isolation import shown

from vmcompare.course import text
from vmcompare.errors import Unavailable
from vmcompare.evidence.view import compose
from vmcompare.experiments.isolation.checks import ASKED, FLAGS
from vmcompare.experiments.isolation.probes import CAPABILITY_NAMES, decoded_capabilities

EXERCISES = text.asked("isolation", "05a")[0]
NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "05a-walls.ipynb"


def cell(name: str) -> str:
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    [code] = [c for c in ("".join(c["source"]) for c in cells) if f'check_answer("{name}"' in c]
    return code


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


def test_the_one_flag_is_the_one_that_lets_the_probe_through(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = EXERCISES["one_flag"]
    view = shown(tmp_path, planted_rows.words())
    lesson = SimpleNamespace(view=view, check_answer=lambda _: None)
    exec(cell("one_flag").replace("namespace: uts", ASKED), {"lesson": lesson})
    printed = capsys.readouterr().out
    [right] = [flag for flag in FLAGS if f"'{flag}'" in printed]
    assert right == "--pid=host"
    assert asked.choices == FLAGS
    said = {flag: asked.check(view, flag) for flag in FLAGS}
    assert [flag for flag, feedback in said.items() if feedback.right] == [right]
    assert "`--uts=host` alone" in said["--uts=host"].text
    assert "It opens namespace: uts" in said["--uts=host"].text
    base = [*planted_rows.OPEN_BY_DEFAULT, *planted_rows.ITSELF]
    turned = {"--pid=host": base, "--network=host": [*base, ASKED]}
    other = shown(tmp_path, planted_rows.words(through=turned))
    assert asked.check(other, "--network=host").right
    assert "none of the probes" in asked.check(other, "--pid=host").text


def test_what_the_rows_lack_is_told_with_the_next_step(tmp_path: Path) -> None:
    view = shown(tmp_path, planted_rows.words(without=["--pid=host"]))
    with pytest.raises(Unavailable) as caught:
        EXERCISES["one_flag"].check(view, "--uts=host")
    assert caught.value.next_step
