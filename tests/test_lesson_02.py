"""What only lesson 02 promises; what every lesson does is in ``test_lessons``."""

from __future__ import annotations

import pytest
from room import Room


@pytest.mark.slow
def test_with_the_engines_hidden_everything_is_recorded_and_says_so(room: Room) -> None:
    page = room.lesson("02")
    assert "software emulation" in page
    for claim in ("O2 shared kernel", "O5 one kernel", "O6a", "O6b"):
        assert claim in page
    assert "unshare -m -p -f sh -c" in page  # a line that people can type
    assert "Docker is not installed" in page
    assert "next step" in page
    assert "measured ·" not in page
