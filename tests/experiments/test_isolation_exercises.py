"""Lesson 05's exercises: right answers come from the rows, by hand as by the model answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import planted_isolation as planted_rows
import pytest
from planted import planted, row

from vmcompare.errors import Unavailable
from vmcompare.evidence.exercise import check_complete
from vmcompare.evidence.markdown import plain
from vmcompare.evidence.recording import Measurement
from vmcompare.evidence.view import View, compose
from vmcompare.experiments.isolation.exercises import EXERCISES, LINE, PARTS, QUESTIONS, TURNED


def shown(place: Path, rows: list[Measurement]) -> View:
    return compose(planted(place, rows, experiment="isolation"), None)


def run(code: str, view: View) -> Any:
    """A learner's cell: the value of its last line."""

    class Lesson:
        pass

    names: dict[str, Any] = {"lesson": Lesson()}
    names["lesson"].view = view
    *before, last = code.splitlines()
    exec("\n".join(before), names)
    return eval(last, names)


def test_each_half_is_whole() -> None:
    check_complete(EXERCISES, QUESTIONS, PARTS)
    assert set(PARTS) == {"05a", "05b"}


def test_the_completed_code_counts_the_bits(tmp_path: Path) -> None:
    view = shown(tmp_path, [*planted_rows.walls(), *planted_rows.words()])
    asked = EXERCISES["cap_eff"]
    right = run(asked.code.replace("...", '"1"'), view)
    assert right == 14
    assert asked.check(view, right).right
    assert not asked.check(view, run(asked.code.replace("...", '"0"'), view)).right
    assert "**14**" in asked.solution(view)


def test_other_rows_give_other_right_answers(tmp_path: Path) -> None:
    kept = [r for r in planted_rows.walls() if r.phase != "capabilities"]
    other = row("container", "observation", 1.0, phase="capabilities", text="0000000000000003")
    view = shown(tmp_path, [*kept, other])
    assert EXERCISES["cap_eff"].check(view, 2).right
    assert "CHOWN and DAC_OVERRIDE" in plain(EXERCISES["cap_eff"].solution(view))


def test_without_docker_the_guests_default_container_has_the_bits(tmp_path: Path) -> None:
    """A run on a computer with QEMU only shows no container of Docker's, recorded or not."""
    nested = row("container", "observation", 1.0, phase="capabilities", text="000000000000000b",
                 layer="mechanism", runtime="runc in a guest")  # fmt: skip
    rows = [*planted_rows.walls(only=["process", "vm-direct"]), *planted_rows.words(), nested]
    view, asked = shown(tmp_path, rows), EXERCISES["cap_eff"]
    right = run(asked.code.replace("...", '"1"'), view)
    assert right == 3
    assert asked.check(view, right).right


def test_the_one_word_is_the_one_that_turned_the_probe(tmp_path: Path) -> None:
    asked = EXERCISES["one_word"]
    view = shown(tmp_path, planted_rows.words())
    found = run(asked.code.replace("namespace: uts", TURNED), view)
    [right] = set(found) & set(LINE)
    assert right == "--pid=host"
    said = {word: asked.check(view, word) for word in LINE}
    assert [word for word, feedback in said.items() if feedback.right] == [right]
    assert "It opens namespace: uts" in said["--uts=host"].text
    base = [*planted_rows.OPEN_BY_DEFAULT, *planted_rows.ITSELF]
    turned = {"--pid=host": base, "--network=host": [*base, TURNED]}
    other = shown(tmp_path, planted_rows.words(through=turned))
    assert asked.check(other, "--network=host").right
    assert not asked.check(other, "--pid=host").right


def test_what_the_rows_lack_is_told_with_the_next_step(tmp_path: Path) -> None:
    view = shown(tmp_path, planted_rows.words(without=["--pid=host"]))
    for name, answer in (("one_word", "--uts=host"), ("cap_eff", 14)):
        with pytest.raises(Unavailable) as caught:
            EXERCISES[name].check(view, answer)
        assert caught.value.next_step
    for name in ("root_study", "three_tenants"):
        assert EXERCISES[name].solution(compose(None, None))


def test_solutions_carry_the_figures_of_the_rows(tmp_path: Path) -> None:
    view = shown(tmp_path, planted_rows.whole())
    assert "neighbour: read ESRCH" in EXERCISES["root_study"].solution(view)
    hosts = len(planted_rows.HOST)
    assert f"a virtual machine: 0 of {hosts} probes" in EXERCISES["three_tenants"].solution(view)
