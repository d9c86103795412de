"""A learner's predictions and answers, kept in one local JSON file and never sent anywhere."""

from __future__ import annotations

import json
import os
import tempfile
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from .data import answers_path

Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]
"""Whatever JSON can hold."""


class Kind(StrEnum):
    """What was answered. A lesson may give the same name to one of each."""

    PREDICTION = "prediction"
    EXERCISE = "exercise"
    QUESTION = "question"


def keep(lesson: str, name: str, value: Json, kind: Kind = Kind.PREDICTION) -> None:
    """Keep ``value`` as the answer to ``name`` of ``lesson``; the newest replaces the older.

    Raises:
        OSError: the learner's data directory cannot be read or written to.
    """
    path = answers_path()
    everything = _load(path)
    of_lesson = everything.get(lesson)
    everything[lesson] = of_lesson if isinstance(of_lesson, dict) else {}
    everything[lesson][_key(kind, name)] = {
        "value": value,
        "kept_utc": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    # Written beside and renamed: a crash leaves the old answers, never half a file.
    with tempfile.NamedTemporaryFile(
        "w", encoding="utf-8", dir=path.parent, suffix=".tmp", delete=False
    ) as file:
        json.dump(everything, file, indent=2, ensure_ascii=False)
    os.replace(file.name, path)  # noqa: PTH105


def kept(lesson: str, kind: Kind = Kind.PREDICTION) -> dict[str, Json]:
    """All answers of one kind to ``lesson``, by name; empty where nothing (readable) was kept."""
    try:
        entries = _load(answers_path()).get(lesson, {})
    except OSError:
        return {}
    if not isinstance(entries, dict):
        return {}
    before = _key(kind, "")
    return {
        key.removeprefix(before): entry["value"]
        for key, entry in entries.items()
        if ("/" in key and key.startswith(before) if before else "/" not in key)
        and isinstance(entry, dict)
        and "value" in entry
    }


def predictions(lesson: str) -> dict[str, float]:
    """The predictions among :func:`kept`: those that are numbers."""
    return {
        name: float(value)
        for name, value in kept(lesson).items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }


def _key(kind: Kind, name: str) -> str:
    """Where it stands in the file. Predictions, which came first, have their bare name."""
    return name if kind is Kind.PREDICTION else f"{kind}/{name}"


def _load(path: Path) -> dict[str, Any]:
    try:
        loaded = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (json.JSONDecodeError, UnicodeDecodeError):
        loaded = None
    if isinstance(loaded, dict):
        return loaded
    # A damaged file is put aside, not overwritten: the learner may want to look at it.
    path.replace(path.with_suffix(".damaged.json"))
    return {}
