"""Heartbeats: from bytes with their instants to gaps, and the rule of when a beat was missed.

A heart (:mod:`vmcompare.engines.programs.heartbeat`) writes its letter 20 times a second. Each byte
is stamped on the host's clock when it arrives there, so a gap is what somebody outside notices,
whatever the clock inside does. The time axis is the host's, second 0 begins at ``zero_ns``.
"""

from __future__ import annotations

import statistics
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import pairwise

from vmcompare.evidence.units import NS_PER_S

BEATS_PER_S = 20
"""As claim S1a registers it; the program waits 50 ms between two beats."""

MISSED_OVER_S = 1.0
MISSED_TIMES = 2.0
BEFORE_S = 30
"""The registered rule: a beat was missed where a gap is over 1 s and over twice the longest gap of
the 30 s before the event whose effect is looked for. Fact, figure and table all ask
:func:`missed_in`."""


class Ears:
    """Collects the beats of one stream, by letter.

    :meth:`hear` is what a ``Follower`` calls in its own thread; appending to a list is atomic, and
    readers only ever look at what lies before an instant that has passed.
    """

    def __init__(self) -> None:
        self._beats: defaultdict[str, list[int]] = defaultdict(list)

    def hear(self, output: bytes, t_ns: int) -> None:
        """Note every letter of a piece of output that came at ``t_ns``; white space is no beat."""
        for letter in output.decode("ascii", "replace"):
            if letter.isalpha() and letter.isascii():
                self._beats[letter].append(t_ns)

    def beats(self, letter: str) -> Sequence[int]:
        """When this heart beat, in order (host's ``perf_counter_ns``); empty for an unheard one."""
        return tuple(self._beats[letter]) if letter in self._beats else ()


def longest_gap_s(beats_ns: Sequence[int], zero_ns: int, second: int) -> float | None:
    """The longest gap (s) between two beats that ended in one second of the time axis.

    Where none ended: the time from the last beat to the end of that second. ``None`` where the
    heart had not begun to beat by then.

    Args:
        beats_ns: instants of its beats, in order.
        zero_ns: where second 0 begins.
        second: which.
    """
    begin_ns = zero_ns + second * NS_PER_S
    end_ns = begin_ns + NS_PER_S
    first, after = bisect_right(beats_ns, begin_ns - 1), bisect_right(beats_ns, end_ns - 1)
    ended = [b - a for a, b in pairwise(beats_ns[max(0, first - 1) : after])]
    if ended:
        return max(ended) / NS_PER_S
    if after == 0:
        return None
    return (end_ns - beats_ns[after - 1]) / NS_PER_S


def gaps_s(beats_ns: Sequence[int], begin_ns: int, end_ns: int) -> list[float]:
    """All gaps (s) that ended in a stretch.

    The one that is still open at its end counts too where it is longer than all of them: a silence
    that nobody waited out is a gap of at least so long.
    """
    first, after = bisect_right(beats_ns, begin_ns - 1), bisect_right(beats_ns, end_ns - 1)
    found = [(b - a) / NS_PER_S for a, b in pairwise(beats_ns[max(0, first - 1) : after])]
    if after:
        still_open = (end_ns - beats_ns[after - 1]) / NS_PER_S
        if still_open > max(found, default=0.0):
            found.append(still_open)
    return found


def percentiles_s(gaps: Sequence[float]) -> tuple[float, float]:
    """The 50th and the 99th percentile of gaps (s), interpolated linearly between two of them.

    Method 7 of Hyndman and Fan (1996), as numpy and spreadsheets do by default.

    Raises:
        ValueError: there are fewer than two.
    """
    if len(gaps) < 2:
        raise ValueError(f"percentiles of {len(gaps)} gaps say nothing")
    cuts = statistics.quantiles(gaps, n=100, method="inclusive")
    return cuts[49], cuts[98]


def missed_in(by_second: Mapping[int, float], second: int, event: int) -> bool:
    """The registered rule: whether a heart missed a beat in a second from ``event`` on.

    Args:
        by_second: second → longest gap, as the rows ``gap_s`` have it; holds ``second``.
        second: which.
        event: the second in which something happened; the 30 s before it are the baseline.

    Raises:
        ValueError: there is nothing before the event to compare with.
    """
    gap_s = by_second[second]
    return gap_s > MISSED_OVER_S and gap_s > MISSED_TIMES * longest_before_s(by_second, event)


def misses(by_second: Mapping[int, float], event: int, until: int | None = None) -> bool:
    """Whether a heart missed a beat from the second ``event`` on, before ``until``.

    Args:
        by_second: second → longest gap, as the rows ``gap_s`` have it.
        event: the second in which something happened; the seconds before it are the baseline.
        until: the second at which one stops looking; by default all are looked at.

    Raises:
        ValueError: there is nothing before the event to compare with, or nothing after it.
    """
    return any(missed_in(by_second, second, event) for second in _after(by_second, event, until))


def silent(by_second: Mapping[int, float], event: int, until: int | None = None) -> bool:
    """Whether a heart that beat before ``event`` missed a beat and had not come back at the end.

    Arguments and errors as :func:`misses`.
    """
    return missed_in(by_second, max(_after(by_second, event, until)), event)


def silent_seconds(by_second: Mapping[int, float], events: Sequence[int]) -> frozenset[int]:
    """The seconds in which a heart was silent, for a picture of several events in a row.

    After an event: the last seconds before the next one, if in all of them a beat is missed (so a
    heart that came back was not silent). From then on as long as no beat comes, whatever else
    happens meanwhile.

    Args:
        by_second: as for :func:`missed_in`.
        events: the seconds of all events, in order.
    """
    found: set[int] = set()
    for event, until in zip(events, [*events[1:], None], strict=False):
        try:
            window = sorted(_after(by_second, event, until))
        except ValueError:
            continue
        for second in window:  # without a beat a gap grows by a second every second
            if second - 1 in found and by_second[second] > by_second[second - 1]:
                found.add(second)
        for second in reversed(window):
            if not missed_in(by_second, second, event):
                break
            found.add(second)
    return frozenset(found)


def longest_before_s(by_second: Mapping[int, float], event: int) -> float:
    """The longest gap (s) of the 30 s before an event: the baseline of the registered rule.

    Raises:
        ValueError: nothing was listened to in that time.
    """
    before = [gap for second, gap in by_second.items() if event - BEFORE_S <= second < event]
    if not before:
        raise ValueError("no second before the event was listened to")
    return max(before)


def _after(by_second: Mapping[int, float], event: int, until: int | None) -> list[int]:
    longest_before_s(by_second, event)  # without a baseline nothing after it can be judged
    after = [s for s in by_second if event <= s and (until is None or s < until)]
    if not after:
        raise ValueError("no second after the event was listened to")
    return after
