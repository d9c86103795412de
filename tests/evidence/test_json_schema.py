"""The JSON Schema of a line says what the validator says, of good lines and of damaged ones."""

from __future__ import annotations

import copy
import json
import random
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tools import dictionary, fuzz
from vmcompare.evidence import schema
from vmcompare.paths import data_dir

SHIPPED = sorted((data_dir() / "recordings").rglob("*.jsonl"))
BY_SCHEMA = jsonschema.Draft202012Validator(dictionary.line_schema())

BEYOND = (
    "is no date that exists",
    "unknown runtime",
    "it is longer than",
    "cannot be",
    "must be a whole number, not a number",
    "unknown schema",
    "unknown host.cgroup_version",
)
"""Complaints about what a JSON Schema cannot say; of the last three only ``1.0`` for ``1``."""


def named(lines: list[bytes]) -> frozenset[str]:
    return schema.runtimes(json.loads(lines[0])["host"])


def complaint(line: bytes, runtimes: frozenset[str] = frozenset()) -> str:
    """The validator's, empty where it takes the line."""
    try:
        schema.parse(line, runtimes)
    except ValueError as error:
        return str(error)
    return ""


def strict(line: bytes) -> Any:
    """JSON as its standard has it, without Python's NaN and Infinity."""

    def refuse(word: str) -> None:
        raise ValueError(word)

    return json.loads(line, parse_constant=refuse)


def agree(line: bytes, runtimes: frozenset[str] = frozenset()) -> None:
    said = complaint(line, runtimes)
    try:
        read = strict(line)
    except (ValueError, RecursionError):  # no JSON, or more than Python's own reader takes
        assert said
        return
    valid = BY_SCHEMA.is_valid(read)
    if not said:
        assert valid, "the validator takes what the schema refuses"
    elif not any(words in said for words in BEYOND):
        assert not valid, f"the schema takes what the validator refuses: {said}"


def test_the_file_in_the_docs_is_what_the_code_says() -> None:
    written = dictionary.SCHEMA_TARGET.read_text(encoding="utf-8")
    assert written == dictionary.json_schema(), "run `make dictionary`"


def test_it_is_a_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(dictionary.line_schema())


@pytest.mark.parametrize("path", SHIPPED, ids=lambda p: p.parent.name)
def test_it_takes_every_kind_of_line_of_a_recording_of_the_project(path: Any) -> None:
    lines = path.read_bytes().splitlines()
    # Of thousands of rows, one of each form: which fields there are, and what was measured.
    forms = {
        (tuple(line), line.get("metric"), line.get("platform"), line.get("status")): raw
        for raw in lines
        for line in [json.loads(raw)]
    }
    assert len(forms) >= 3
    for raw in forms.values():
        assert complaint(raw, named(lines)) == ""
        BY_SCHEMA.validate(strict(raw))


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(SHIPPED), st.integers(0, 10**9))
def test_both_judge_a_damaged_line_alike(path: Any, seed: int) -> None:
    chance = random.Random(seed)
    lines = path.read_bytes().splitlines()
    line = json.loads(chance.choice([lines[0], lines[-1], *chance.choices(lines, k=3)]))
    damaged = [copy.deepcopy(line)]
    fuzz.change(chance, damaged)
    for said in damaged:
        agree(fuzz.written([said]).rstrip(b"\n"), named(lines))


@pytest.mark.parametrize(
    "change",
    [
        {"metric": "no_such_metric"},
        {"unit": "bytes"},
        {"value": None},
        {"status": "error"},
        {"value": 1e19},
        {"value": True},
        {"block": -1},
        {"platform": "moon"},
        {"phase": "x\n"},
        {"phase": "x\u202e"},
        {"phase": "x\U000e0001"},
        {"phase": "x" * 101},
        {"ts_utc": "2026-01-31T12:00:00.123Z\n"},
        {"image_digest": "sha256:XYZ"},
        {"secret": 1},
        {"kind": "end"},
    ],
    ids=str,
)
def test_both_refuse_a_row_that_is_damaged_like_this(change: dict[str, Any]) -> None:
    path = next(p for p in SHIPPED if p.parent.name == "boot_speed")
    row = next(
        line
        for line in map(json.loads, path.read_text(encoding="utf-8").splitlines()[1:])
        if line["status"] == "ok" and line["unit"] == "s"
    )
    raw = json.dumps({**row, **change}).encode()
    assert complaint(raw)
    assert not BY_SCHEMA.is_valid(json.loads(raw))
