"""A learner's predictions, kept in one local JSON file and never sent anywhere."""

from __future__ import annotations

import json
import os
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from .data import answers_path


def keep(lesson: str, question: str, value: float | str) -> None:
    """Keep ``value`` as the answer to ``question`` of ``lesson``; the newest replaces the older.

    Raises:
        OSError: the learner's data directory cannot be written to.
    """
    path = answers_path()
    everything = _load(path)
    everything.setdefault(lesson, {})[question] = {
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


def kept(lesson: str) -> dict[str, Any]:
    """All answers to ``lesson``, by question; empty where nothing (readable) was kept."""
    answers = _load(answers_path()).get(lesson, {})
    return {question: entry["value"] for question, entry in answers.items()}


def _load(path: Path) -> dict[str, Any]:
    try:
        loaded = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (json.JSONDecodeError, UnicodeDecodeError):
        # A damaged file is put aside, not overwritten: the learner may want to look at it.
        path.replace(path.with_suffix(".damaged.json"))
        return {}
    return loaded if isinstance(loaded, dict) else {}
