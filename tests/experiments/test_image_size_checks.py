"""Lesson 03's exercises: right answers come from the rows, or from the code of the notebook."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from planted import planted
from planted_images import images

from vmcompare.course.exercises import asked
from vmcompare.engines.images import oci
from vmcompare.evidence.view import View, compose

EXERCISES, _ = asked("image_size", "03")
NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "03-image-size.ipynb"


def view_of(place: Path, **more: Any) -> View:
    return compose(planted(place, images(**more), rounds=1, experiment="image_size"), None)


@pytest.fixture
def view(tmp_path: Path) -> View:
    return view_of(tmp_path)


def run(name: str, view: View, **changed: str) -> list[Any]:
    """What the notebook's cell hands over, once a learner changed these words."""
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    [code] = [c for c in ("".join(c["source"]) for c in cells) if f'check_answer("{name}"' in c]
    for before, after in changed.items():
        assert before in code
        code = code.replace(before, after)
    given: list[Any] = []
    lesson = SimpleNamespace(view=view, check_answer=lambda *asked: given.extend(asked[1:]))
    exec(code, {"lesson": lesson, "oci": oci})
    return given


@pytest.mark.parametrize("name", EXERCISES)
def test_a_cell_as_it_stands_runs_and_hands_over_no_answer(view: View, name: str) -> None:
    assert run(name, view) == run(name, compose(None, None))
    assert run(name, view) in ([], [...])


@pytest.mark.parametrize(
    ("changed", "right"),
    [
        ({}, True),
        ({"sha256(layer)": 'sha256(b"hello\\n")'}, False),
        ({"sha256(layer)": 'sha256(b"")'}, False),
        ({"info.mtime = 6, 0": "info.mtime = 6, 1"}, False),
    ],
)
def test_the_choices_are_the_digests_of_the_completed_layer_and_of_likely_mistakes(
    view: View, capsys: pytest.CaptureFixture[str], changed: dict[str, str], right: bool
) -> None:
    run("a_layer", view, **{'"..."': "hashlib.sha256(layer).hexdigest()"}, **changed)
    printed = capsys.readouterr().out.splitlines()[0]
    assert printed in EXERCISES["a_layer"].choices
    assert EXERCISES["a_layer"].check(view, printed).right is right
    assert (f"`sha256:{printed}…`" in EXERCISES["a_layer"].solution(view)) is right


def test_the_two_applications_differ_in_their_digests_alone(
    view: View, capsys: pytest.CaptureFixture[str]
) -> None:
    run("one_byte", view)
    one, other = (line.split() for line in capsys.readouterr().out.splitlines())
    assert one[0] != other[0]
    assert one[1] == other[1]
