"""A thousand damaged and hostile files; ``make fuzz``, which CI runs too, tries ten thousand."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from thorough import THOROUGH

from tools.fuzz import SEED, fuzz

MUTATIONS = {"recordings": 400, "ledgers": 250, "answers": 250, "notebooks": 100}
"""Target → how many; ten times as many for the table of reliability."""


@pytest.mark.parametrize(
    "target",
    [
        pytest.param(
            target, marks=pytest.mark.fault(f"anything at all in one of the {target} that are read")
        )
        for target in MUTATIONS
    ],
)
def test_a_damaged_file_is_told_in_one_sentence_and_harms_nobody(
    target: str, record_property: Callable[[str, object], None]
) -> None:
    count = MUTATIONS[target] * (10 if THOROUGH else 1)
    record_property("times", count)
    found = [str(failure) for failure in fuzz(target, SEED, range(count))]
    record_property("failures", max(1, len(found)))
    assert not found
