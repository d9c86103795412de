"""From beats to gaps, and the registered rule of when one was missed."""

from __future__ import annotations

import pytest

from vmcompare.errors import Unavailable
from vmcompare.experiments.isolation import heartbeats
from vmcompare.experiments.isolation.heartbeats import (
    BeatLog,
    longest_gap_s,
    misses,
    silent,
)

S = 1_000_000_000
ZERO = 7 * S


def steady(until_s: float, *, every_s: float = 0.05, begin_s: float = -1.0) -> list[int]:
    """Beats from before second 0 until some second."""
    count = round((until_s - begin_s) / every_s)
    return [ZERO + round((begin_s + i * every_s) * S) for i in range(count)]


def by_second(beats: list[int], seconds: int) -> dict[int, float]:
    found = {k: longest_gap_s(beats, ZERO, k) for k in range(seconds)}
    return {k: gap for k, gap in found.items() if gap is not None}


# ---- listening ----------------------------------------------------------------------------------


def test_several_heartbeats_share_a_stream() -> None:
    log = BeatLog()
    log.add(b"AB", 1)
    log.add(b"BA\n B", 2)
    assert log.beats("A") == (1, 2)
    assert log.beats("B") == (1, 2, 2)
    assert log.beats("C") == ()


def test_what_is_no_letter_is_no_beat() -> None:
    log = BeatLog()
    log.add("1 \r\n\0\xffé".encode(), 1)
    assert [log.beats(letter) for letter in "1\0é\ufffd "] == [()] * 5


# ---- seconds ------------------------------------------------------------------------------------


def test_a_steady_heartbeat_has_the_same_gap_in_every_second() -> None:
    assert by_second(steady(4), 4) == pytest.approx(dict.fromkeys(range(4), 0.05))


def test_a_gap_belongs_to_the_second_in_which_it_ended() -> None:
    beats = [ZERO + round(t * S) for t in (-0.5, 0.5, 0.9, 2.2, 2.3)]
    found = by_second(beats, 3)
    assert found[0] == pytest.approx(1.0)
    assert found[1] == pytest.approx(1.1)  # none ended: from 0.9 to the end of second 1
    assert found[2] == pytest.approx(1.3)


def test_a_beat_at_the_very_beginning_of_a_second_is_of_that_second() -> None:
    beats = [ZERO - S // 2, ZERO, ZERO + S]
    assert by_second(beats, 2) == pytest.approx({0: 0.5, 1: 1.0})


def test_the_gap_of_a_heartbeat_that_stopped_grows_second_by_second() -> None:
    found = by_second(steady(2), 6)
    assert [round(found[k]) for k in range(2, 6)] == [1, 2, 3, 4]


def test_a_heartbeat_that_has_not_begun_has_no_gap() -> None:
    beats = steady(4, begin_s=2.5)
    assert sorted(by_second(beats, 4)) == [2, 3]
    assert longest_gap_s([], ZERO, 0) is None


# ---- the registered rule ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("gap", "before", "was_missed"),
    [
        (0.9, 0.05, False),  # long, but not over a second
        (1.0, 0.05, False),
        (1.1, 0.05, True),
        (1.1, 0.6, False),  # over a second, but this heartbeat is known for such gaps
        (1.3, 0.6, True),
    ],
)
def test_missed_is_over_a_second_and_over_twice_the_longest_before(
    gap: float, before: float, was_missed: bool
) -> None:
    assert misses({29: before, 30: gap}, 30) is was_missed


def test_a_gap_after_the_event_counts_and_one_before_it_does_not() -> None:
    quiet = dict.fromkeys(range(40), 0.06)
    assert not misses(quiet, 30)
    assert misses({**quiet, 34: 1.5}, 30)
    assert not misses({**quiet, 12: 1.5}, 30)
    assert not misses({**quiet, 12: 1.0, 34: 1.5}, 30)


def test_only_the_thirty_seconds_before_are_looked_back_at() -> None:
    found = {**dict.fromkeys(range(40), 0.06), 4: 3.0, 36: 1.5}
    assert misses(found, 35)
    assert not misses(found, 34)


def test_a_heartbeat_that_came_back_missed_a_beat_but_is_not_silent() -> None:
    back = {**dict.fromkeys(range(40), 0.06), 33: 1.5}
    assert misses(back, 30)
    assert not silent(back, 30)
    gone = by_second(steady(31), 36)
    assert silent(gone, 30)
    assert not silent(gone, 30, until=31)


def test_a_silence_is_told_from_a_gap_after_which_the_heartbeat_came_back() -> None:
    steady_then_gone = {**dict.fromkeys(range(30, 45), 0.06), **{40 + n: n + 0.9 for n in range(5)}}
    hiccup = {**dict.fromkeys(range(30), 0.06), **steady_then_gone, 33: 2.6}
    assert heartbeats.silent_seconds({**hiccup, 33: 0.06}, [30, 35, 40]) == {41, 42, 43, 44}
    # The gap of 2.6 s is part of the baseline of the third event, so its silence proves nothing.
    assert heartbeats.silent_seconds(hiccup, [30, 35, 40]) == frozenset()
    assert not silent(hiccup, 40)


def test_a_silence_goes_on_over_later_events_until_a_beat_comes() -> None:
    gone = {**dict.fromkeys(range(30), 0.06), **{30 + n: n + 0.9 for n in range(12)}, 42: 0.06}
    assert heartbeats.silent_seconds(gone, [30, 35, 40]) == frozenset(range(31, 42))


@pytest.mark.parametrize("rule", [misses, silent])
def test_without_a_before_or_an_after_the_rule_says_nothing(rule: object) -> None:
    assert callable(rule)
    with pytest.raises(Unavailable, match="before"):
        rule({5: 0.1}, 5)
    with pytest.raises(Unavailable, match="after"):
        rule({4: 0.1}, 5)
