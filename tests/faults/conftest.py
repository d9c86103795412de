"""One test a kind of fault, named as a sentence, and counted for ``docs/reliability.md``.

A fault that strikes at a moment takes ``attempt``: the test then runs several times, each with
another number to choose the moment by (``random.Random(attempt)``). A fault that comes in several
forms is parametrized over them, and every form counts as one try.
"""

from __future__ import annotations

import pytest
from thorough import THOROUGH

STARTS_COMMANDS = {
    "test_cleanup", "test_computer", "test_fuzz", "test_pipes_and_limits", "test_signals",
    "test_storage", "test_working_folder",
}  # fmt: skip
"""Modules whose tests kill what they start, or run for long: too slow for every little change."""

TRIES = 5 if THOROUGH else 2
"""How often a fault that strikes at a moment is tried."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "attempt" in metafunc.fixturenames:
        mark = metafunc.definition.get_closest_marker("fault")
        assert mark is not None, f"{metafunc.function.__name__} is not marked with its fault"
        metafunc.parametrize("attempt", range(TRIES))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What ``tools/reliability.py`` reads: the area (the module) and the kind of fault."""
    for item in items:
        if item.path.parent.name == "faults" and item.path.stem in STARTS_COMMANDS:
            item.add_marker("slow")
        mark = item.get_closest_marker("fault")
        if mark is not None:
            area = item.path.stem.removeprefix("test_").replace("_", " ")
            item.user_properties.append(("fault", f"{area}: {mark.args[0]}"))
