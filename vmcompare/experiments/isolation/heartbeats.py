"""Heartbeats: instances that beat, gaps between beats, and the rule of when a beat was missed.

A heartbeat (:mod:`vmcompare.engines.programs.heartbeat`) writes its letter 20 times a second. Each
byte is stamped on the host's clock when it arrives there, so a gap is what somebody outside
notices, whatever the clock inside does. The time axis is the host's, second 0 begins at
``zero_ns``.

:class:`Instances` opens the instances that beat, and a disposable VM with containers.
"""

from __future__ import annotations

import contextlib
import platform as computer
import statistics
import time
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from vmcompare.engines.programs import heartbeat
from vmcompare.errors import LaunchFailure, Unavailable, WaitTimeout
from vmcompare.evidence.units import MIB, NS_PER_S
from vmcompare.experiments.isolation import guest_containers
from vmcompare.measuring import memory
from vmcompare.measuring.experiment import Context
from vmcompare.sandbox import (
    CONTAINER_HOST,
    Followed,
    Follower,
    Launcher,
    Machine,
    Platform,
    Sandbox,
    Spec,
)

BEATS_PER_S = 20
"""As claim S1a registers it; the program waits 50 ms between two beats."""

MISSED_OVER_S = 1.0
MISSED_TIMES = 2.0
BEFORE_S = 30
"""The registered rule: a beat was missed where a gap is over 1 s and over twice the longest gap of
the 30 s before the event whose effect is looked for. Fact, figure and table all ask
:func:`missed_in`."""


class BeatLog:
    """Collects the beats of one stream, by letter.

    :meth:`add` is what a ``Follower`` calls in its own thread; appending to a list is atomic, and
    readers only ever look at what lies before an instant that has passed.
    """

    def __init__(self) -> None:
        self._beats: defaultdict[str, list[int]] = defaultdict(list)

    def add(self, output: bytes, t_ns: int) -> None:
        """Note every letter of a piece of output that came at ``t_ns``; white space is no beat."""
        for letter in output.decode("ascii", "replace"):
            if letter.isalpha() and letter.isascii():
                self._beats[letter].append(t_ns)

    def beats(self, letter: str) -> Sequence[int]:
        """When this letter came, in order (host's ``perf_counter_ns``)."""
        return tuple(self._beats.get(letter, ()))


def _ended_s(
    beats_ns: Sequence[int], begin_ns: int, end_ns: int
) -> tuple[list[float], float | None]:
    """The gaps (s) that ended in a stretch, and the one still open at its end, if any beat came."""
    first, after = bisect_left(beats_ns, begin_ns), bisect_left(beats_ns, end_ns)
    ended = [(b - a) / NS_PER_S for a, b in pairwise(beats_ns[max(0, first - 1) : after])]
    return ended, (end_ns - beats_ns[after - 1]) / NS_PER_S if after else None


def longest_gap_s(beats_ns: Sequence[int], zero_ns: int, second: int) -> float | None:
    """The longest gap (s) between two beats that ended in one second of the time axis.

    Where none ended: the time from the last beat to the end of that second. ``None`` where no beat
    had come by then.

    Args:
        beats_ns: instants of the beats, in order.
        zero_ns: where second 0 begins.
        second: which.
    """
    begin_ns = zero_ns + second * NS_PER_S
    ended, still_open = _ended_s(beats_ns, begin_ns, begin_ns + NS_PER_S)
    return max(ended, default=still_open)


def gaps_s(beats_ns: Sequence[int], begin_ns: int, end_ns: int) -> list[float]:
    """All gaps (s) that ended in a stretch.

    The one that is still open at its end counts too where it is longer than all of them: a silence
    that nobody waited out is a gap of at least so long.
    """
    ended, still_open = _ended_s(beats_ns, begin_ns, end_ns)
    if still_open is not None and still_open > max(ended, default=0.0):
        ended.append(still_open)
    return ended


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
    """The registered rule: whether a beat was missed in a second from ``event`` on.

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
    """Whether a beat was missed from the second ``event`` on, before ``until``.

    Args:
        by_second: second → longest gap, as the rows ``gap_s`` have it.
        event: the second in which something happened; the seconds before it are the baseline.
        until: the second at which one stops looking; by default all are looked at.

    Raises:
        ValueError: there is nothing before the event to compare with, or nothing after it.
    """
    return any(missed_in(by_second, second, event) for second in _after(by_second, event, until))


def silent(by_second: Mapping[int, float], event: int, until: int | None = None) -> bool:
    """Whether a heartbeat stopped after ``event`` and had not come back at the end.

    Arguments and errors as :func:`misses`.
    """
    return missed_in(by_second, max(_after(by_second, event, until)), event)


def silent_seconds(by_second: Mapping[int, float], events: Sequence[int]) -> frozenset[int]:
    """The seconds in which a heartbeat was silent, for a picture of several events in a row.

    After an event: the last seconds before the next one, if in all of them a beat is missed (so a
    heartbeat that came back was not silent). From then on as long as no beat comes, whatever else
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


# ---- instances that beat -------------------------------------------------------------------------

GUEST = Spec(machine=Machine.PC, memory_mib=192)
"""A guest that does nothing but beat."""

DISPOSABLE = Spec(image=CONTAINER_HOST, machine=Machine.PC, memory_mib=384)
"""The VM that hosts containers which may break it."""

SPARE_BYTES = 512 * MIB
"""Memory of this computer that no guest may use up."""

FIRST_BEAT_S = 60.0
"""Seconds until the first beat must come: under emulation a container may start slowly."""


@dataclass(frozen=True, slots=True)
class Clock:
    """The host's clock; tests have one of their own."""

    now_ns: Callable[[], int] = time.perf_counter_ns
    sleep: Callable[[float], None] = time.sleep

    def until(self, t_ns: int) -> None:
        """Wait for an instant; returns at once where it has passed."""
        while (left_ns := t_ns - self.now_ns()) > 0:
            self.sleep(left_ns / NS_PER_S)


@dataclass(slots=True)
class Beating:
    """An instance, the command in it that beats, and its beats by letter."""

    box: Sandbox
    followed: Followed
    log: BeatLog


@dataclass(slots=True)
class Instances:
    """Opens the instances of one part of the experiment.

    Attributes:
        context: launchers.
        stack: closes them.
        clock: of this computer.
        why: name of an instance → why there is none.
    """

    context: Context
    stack: contextlib.ExitStack
    clock: Clock = field(default_factory=Clock)
    why: dict[str, str] = field(default_factory=dict)

    def launcher(self, platform: Platform) -> Launcher:
        """Raises ``Unavailable`` where there is none."""
        try:
            return self.context.launchers[platform]
        except KeyError:
            raise Unavailable(
                f"there is no {platform} on this computer", "look at the recording"
            ) from None

    def open(self, platform: Platform, spec: Spec) -> Sandbox:
        """Raises what launchers raise, and ``Unavailable`` where memory would get short."""
        if platform.is_vm and memory.available_bytes() < spec.memory_mib * MIB + SPARE_BYTES:
            raise Unavailable(
                f"another guest of {spec.memory_mib} MiB would leave this computer too little "
                "memory",
                "close other programs",
            )
        launcher = self.launcher(platform)
        return self.stack.enter_context(launcher.open(spec, self.context.on_event))

    def beating(self, platform: Platform, spec: Spec, letter: str) -> Beating:
        """An instance that beats with ``letter``.

        Raises:
            WaitTimeout: the first beat did not come.
            Unavailable: this kind of instance cannot be followed, or as :meth:`open`.
            LaunchFailure, AbnormalShutdown: as ``Follower.follow``.
        """
        box = self.open(platform, spec)
        box.put(heartbeat.PATH, heartbeat.elf(computer.machine()))
        return self._followed(box, (heartbeat.PATH, letter), letter)

    def hosting(self, containers: Mapping[str, Mapping[str, Any]], own: str) -> Beating:
        """The disposable VM, which beats itself, with containers that beat.

        Args:
            containers: letter → OCI configuration of a container that beats with that letter, and
                is called so.
            own: the letter of the VM's own heartbeat.

        Raises:
            LaunchFailure: a container did not begin to beat; what ``runc`` said is attached.
            Unavailable, WaitTimeout, AbnormalShutdown: as :meth:`beating`.
        """
        box = self.open(Platform.VM_DIRECT, DISPOSABLE)
        guest_containers.prepare(box)
        for root in ("", guest_containers.IMAGE):
            box.put(root + heartbeat.PATH, heartbeat.elf(computer.machine()))
        lines = [f"{heartbeat.PATH} {own} &"]
        for name, configuration in containers.items():
            guest_containers.write(box, name, configuration)
            errors = guest_containers.error_file(name)
            lines.append(f"{guest_containers.start_line(name)} 2>{errors} &")
        argv = ("sh", "-c", "\n".join([*lines, "wait"]))
        try:
            return self._followed(box, argv, own + "".join(containers))
        except WaitTimeout as silence:
            output = box.run(["sh", "-c", "cat /tmp/*.err"]).output.decode(errors="replace")
            what = f"{silence} ({output.strip()[-200:]})"
            raise LaunchFailure(what, ("runc", "run")) from silence

    def _followed(self, box: Sandbox, argv: Sequence[str], letters: str) -> Beating:
        """Follow a command until each letter has come once."""
        if not isinstance(box, Follower):
            raise Unavailable("a command in it cannot be followed", "look at the recording")
        log = BeatLog()
        followed = self.stack.enter_context(box.follow(argv, log.add))
        deadline_ns = self.clock.now_ns() + int(FIRST_BEAT_S * NS_PER_S)
        while missing := [letter for letter in letters if not log.beats(letter)]:
            if followed.ended_ns() is not None:
                raise LaunchFailure("the heartbeats ended before they all began", tuple(argv))
            if self.clock.now_ns() > deadline_ns:
                raise WaitTimeout(f"the first beat of {' and '.join(missing)}", FIRST_BEAT_S)
            self.clock.sleep(0.02)
        return Beating(box, followed, log)
