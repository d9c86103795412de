"""The exercises of lesson 05a: right answers come from the rows."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import planted_isolation as planted_rows
import pytest
from planted import planted, row

from vmcompare.course import text
from vmcompare.errors import Unavailable
from vmcompare.evidence.markdown import plain
from vmcompare.evidence.recording import Measurement
from vmcompare.evidence.view import View, compose
from vmcompare.experiments.isolation.checks import ASKED, FLAGS

EXERCISES = text.asked("isolation", "05a")[0]
NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "05a-walls.ipynb"


def shown(place: Path, rows: list[Measurement]) -> View:
    return compose(planted(place, rows, experiment="isolation"), None)


def cell(name: str) -> str:
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    [code] = [c for c in ("".join(c["source"]) for c in cells) if f'check_answer("{name}"' in c]
    return code


def bits_counted(view: View, answered: str = "...") -> Any:
    """What the cell on capabilities hands over, once a learner wrote ``answered``."""
    given: list[Any] = []
    walls = SimpleNamespace(view=view, check_answer=lambda _, answer: given.append(answer))
    code = re.sub(r"(?m)^answer = \.\.\..*$", f"answer = {answered}", cell("cap_eff"))
    exec(code, {"walls": walls})
    return given[0]


def test_the_completed_cell_counts_the_bits(tmp_path: Path) -> None:
    view = shown(tmp_path, [*planted_rows.boundaries(), *planted_rows.words()])
    asked = EXERCISES["cap_eff"]
    right = bits_counted(view, 'bin(bits).count("1")')
    assert right == 14
    assert asked.check(view, right).right
    assert not asked.check(view, bits_counted(view, 'bin(bits).count("0")')).right
    assert "**14**" in asked.solution(view)


def test_a_cell_as_it_stands_runs_whatever_the_view_holds(tmp_path: Path) -> None:
    assert bits_counted(shown(tmp_path, planted_rows.boundaries())) is ...
    assert bits_counted(shown(tmp_path, planted_rows.boundaries(only=["process"]))) is ...


def test_other_rows_give_other_right_answers(tmp_path: Path) -> None:
    kept = [r for r in planted_rows.boundaries() if r.phase != "capabilities"]
    other = row("container", "observation", 1.0, phase="capabilities", text="0000000000000003")
    view = shown(tmp_path, [*kept, other])
    assert EXERCISES["cap_eff"].check(view, 2).right
    assert "CHOWN and DAC_OVERRIDE" in plain(EXERCISES["cap_eff"].solution(view))


def test_without_docker_the_guests_default_container_has_the_bits(tmp_path: Path) -> None:
    nested = row("container", "observation", 1.0, phase="capabilities", text="000000000000000b",
                 layer="mechanism", runtime="runc in a guest")  # fmt: skip
    rows = [*planted_rows.boundaries(only=["process", "vm-direct"]), *planted_rows.words(), nested]
    view = shown(tmp_path, rows)
    right = bits_counted(view, 'bin(bits).count("1")')
    assert right == 3
    assert EXERCISES["cap_eff"].check(view, right).right


def test_the_one_flag_is_the_one_that_lets_the_probe_through(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = EXERCISES["one_word"]
    view = shown(tmp_path, planted_rows.words())
    walls = SimpleNamespace(view=view, check_answer=lambda _: None)
    exec(cell("one_word").replace("namespace: uts", ASKED), {"walls": walls})
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
    for name, answer in (("one_word", "--uts=host"), ("cap_eff", 14)):
        with pytest.raises(Unavailable) as caught:
            EXERCISES[name].check(view, answer)
        assert caught.value.next_step
