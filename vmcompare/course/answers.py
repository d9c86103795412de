"""A learner's predictions and answers, kept in one local JSON file and never sent anywhere.

Several notebooks may answer at once. Where the file cannot be written, answers are held in memory
for as long as this kernel lives; where it is damaged, it is put aside and a new one begun.
"""

from __future__ import annotations

import errno
import json
import math
import os
from contextlib import suppress
from datetime import UTC, datetime
from enum import StrEnum
from numbers import Integral, Number
from pathlib import Path
from typing import Any

import msgspec

from vmcompare import paths
from vmcompare.errors import StorageError

Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]  # whatever JSON can hold

LOCK_S = 20.0  # seconds to wait for other notebooks that write; one needs milliseconds

FILE_BYTES = 16 << 20
"""A larger file is none of answers: one of every lesson's has some ten thousand bytes."""

_NO_FILE = (
    errno.EINVAL, errno.EFBIG, errno.EISDIR, errno.ELOOP, errno.ENXIO, errno.EACCES, errno.EPERM
)  # fmt: skip
"""What the system, or :func:`vmcompare.paths.read`, says where the file itself is to blame."""

Lessons = dict[str, Any]  # what the file holds: lesson → name → `{"value": …, "kept_utc": …}`

_held: dict[str, dict[str, Any]] = {}
"""What could not be written, in the form of the file; it goes before what is in the file."""


class Kind(StrEnum):
    """What was answered. A lesson may give the same name to one of each.

    It stands before the name in the file; predictions, which came first, have their bare name.
    """

    PREDICTION = ""
    EXERCISE = "exercise/"
    QUESTION = "question/"


def keep(lesson: str, name: str, value: Json, kind: Kind = Kind.PREDICTION) -> str:
    """Keep ``value`` as the answer to ``name`` of ``lesson``; the newest replaces the older.

    Returns what became of it, in a sentence: "Kept.", or why it is kept for this session only, or
    that a damaged file was put aside. Raises ``ValueError`` where ``value`` is nothing that JSON
    can hold.
    """
    entry = {"value": value, "kept_utc": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"}
    msgspec.json.decode(json.dumps([lesson, name, entry], allow_nan=False))
    _held.setdefault(lesson, {})[f"{kind}{name}"] = entry
    try:
        path = paths.answers_path()
        lock = path.with_name(path.name + ".lock")
        with (
            paths.as_storage_error(path, paths.advice(paths.DATA_HOME)),
            paths.locked(lock, timeout_s=LOCK_S),
        ):
            everything = _load(path)
            aside = _put_aside(path) if everything is None else None
            everything = everything or {}
            for of, entries in _held.items():
                before = everything.get(of)
                everything[of] = {**(before if isinstance(before, dict) else {}), **entries}
            paths.write(path, json.dumps(everything, indent=2))
    except StorageError as error:
        return f"Kept for this session only: {error}."
    _held.clear()
    if aside is None:
        return "Kept."
    return f"Kept. The file of older answers is damaged and was put aside as {aside.name}."


def kept(lesson: str, kind: Kind = Kind.PREDICTION) -> dict[str, Json]:
    """All answers of one kind to ``lesson``, by name; empty where nothing (readable) was kept."""
    everything: Lessons = {}
    with suppress(OSError, StorageError):
        everything = _load(paths.answers_path()) or {}
    entries = everything.get(lesson)
    entries = {**(entries if isinstance(entries, dict) else {}), **_held.get(lesson, {})}
    return {
        key.removeprefix(kind): entry["value"]
        for key, entry in entries.items()
        if key[: key.rfind("/") + 1] == kind and isinstance(entry, dict) and "value" in entry
    }


def number(value: object) -> int | float | None:
    """An answer as a plain finite number: from Python, NumPy, ``Fraction`` or ``Decimal``.

    ``None`` for everything else; for true and false, text and complex numbers too.
    """
    with suppress(AttributeError, TypeError, ValueError):
        value = value.item()  # type: ignore[attr-defined]  # of NumPy, or an array of one
    if isinstance(value, bool) or not isinstance(value, Number):
        return None
    with suppress(TypeError, ValueError, OverflowError):
        plain = float(value)  # type: ignore[arg-type]  # a complex one raises TypeError
        if math.isfinite(plain):
            return int(value) if isinstance(value, Integral) else plain
    return None


def _load(path: Path) -> Lessons | None:
    """What the file holds, ``{}`` where there is none; ``None`` where it is damaged or no file."""
    try:
        return paths.understood(paths.read(path, FILE_BYTES), Lessons)
    except FileNotFoundError:
        return {}
    except OSError as error:
        if error.errno not in _NO_FILE or not os.access(path.parent, os.X_OK):
            raise
        return None


def _put_aside(path: Path) -> Path:
    """A damaged file is not overwritten: the learner may want to look at it. Raises ``OSError``."""
    aside, number = path.with_suffix(".damaged.json"), 1
    while os.path.lexists(aside):
        number += 1
        aside = path.with_suffix(f".damaged-{number}.json")
    path.rename(aside)
    return aside
