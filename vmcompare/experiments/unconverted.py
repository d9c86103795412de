"""DELETE, once every lesson has its text in ``notebooks/text/``: the old form of experiments.

An ``explain.py`` with ``FIGURES``, ``TABLES`` … at its end instead of ``explained``, and an
``exercises.py`` with ``EXERCISES``, ``QUESTIONS`` and ``PARTS``.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from types import ModuleType
from typing import Any

from vmcompare.errors import Unavailable
from vmcompare.evidence.exercise import Exercise, Question, part


def registries(module: ModuleType) -> dict[str, Any]:
    """The registries of an old ``explain.py``, by attribute of an ``Explanation``."""
    old = {
        "figures": "FIGURES",
        "tables": "TABLES",
        "whatifs": "WHATIFS",
        "outcomes": "OUTCOMES",
        "grids": "GRIDS",
        "heres": "HERE",
        "demos": "DEMOS",
    }
    return {new: dict(getattr(module, name, {})) for new, name in old.items()}


def tasks(experiment: str, number: str) -> tuple[Mapping[str, Exercise], tuple[Question, ...]]:
    """The exercises and questions of a lesson.

    Raises:
        Unavailable: it has none yet.
    """
    name = f"vmcompare.experiments.{experiment}.exercises"
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        raise Unavailable(
            f"the lesson on {experiment} has no exercises yet", "go on with the next step"
        ) from None
    parts = getattr(module, "PARTS", {})
    return part(module.EXERCISES, module.QUESTIONS, parts.get(number))
