"""Ten thousand damaged and hostile files; ``make fuzz`` tries more."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tools.fuzz import SEED, fuzz

PARTS = {
    "recordings": (4, 1000), "ledgers": (2, 1250), "answers": (1, 2500), "notebooks": (4, 250),
}  # fmt: skip
"""Target → parts, for the workers of the test run to share, and mutations in each."""


@pytest.mark.parametrize(
    ("target", "first", "count"),
    [
        pytest.param(
            target, part * count, count,
            marks=pytest.mark.fault(f"anything at all in one of the {target} that are read"),
        )
        for target, (parts, count) in PARTS.items()
        for part in range(parts)
    ],
)  # fmt: skip
def test_a_damaged_file_is_told_in_one_sentence_and_harms_nobody(
    target: str, first: int, count: int, record_property: Callable[[str, object], None]
) -> None:
    record_property("times", count)
    found = [str(failure) for failure in fuzz(target, SEED, range(first, first + count))]
    record_property("failures", max(1, len(found)))
    assert not found
