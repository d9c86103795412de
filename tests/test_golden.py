"""What the project's recordings say in the lessons is what it was: see ``tools/golden.py``."""

from __future__ import annotations

import json

import pytest

from tools import golden

MADE = golden.everything()


@pytest.mark.parametrize("name", MADE)
def test_what_a_recording_says_has_not_changed(name: str) -> None:
    kept = json.loads((golden.TARGET / f"{name}.json").read_text(encoding="utf-8"))
    assert json.loads(json.dumps(MADE[name]())) == kept, (
        "if it should have: make golden, and say why"
    )


def test_every_recording_has_its_golden_file_and_no_file_is_left_over() -> None:
    assert {path.stem for path in golden.TARGET.glob("*.json")} == set(MADE)
