"""Heartbeats: instances that send them, gaps between beats, and when a beat was missed.

A heartbeat (:mod:`vmcompare.engines.programs.heartbeat`) writes its letter 20 times a second. Each
beat has the time, by the host's clock, at which it arrived at the host. On the time axis second 0
begins at ``zero_ns`` of that clock.
"""

from __future__ import annotations

import contextlib
import platform as computer
import time
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise, takewhile
from typing import Any

from vmcompare.engines.programs import heartbeat
from vmcompare.errors import LaunchFailure, Unavailable, VmcompareError, WaitTimeout
from vmcompare.evidence.units import MIB, NS_PER_S
from vmcompare.evidence.view import absent
from vmcompare.experiments.isolation import guest_containers
from vmcompare.measuring import memory
from vmcompare.measuring.experiment import Context
from vmcompare.sandbox import (
    CONTAINER_HOST,
    Followed,
    Follower,
    Machine,
    Platform,
    Sandbox,
    Spec,
)

MISSED_OVER_S = 1.0
MISSED_TIMES = 2.0
BEFORE_S = 30
"""The registered rule: a beat was missed where a gap is over 1 s and over twice the longest gap of
the 30 s before an event. See :func:`missed`."""


class BeatLog:
    """Collects the beats of one stream, by letter; a ``Follower`` calls :meth:`add` in a thread."""

    def __init__(self) -> None:
        self._beats: defaultdict[str, list[int]] = defaultdict(list)

    def add(self, output: bytes, t_ns: int) -> None:
        """Note every letter of a piece of output that came at ``t_ns``."""
        for letter in output.decode("ascii", "replace"):
            if letter.isalpha() and letter.isascii():
                self._beats[letter].append(t_ns)

    def beats(self, letter: str) -> Sequence[int]:
        """When this letter came (ns of the host's clock), in order."""
        return tuple(self._beats.get(letter, ()))


def longest_gap_s(beats_ns: Sequence[int], zero_ns: int, second: int) -> float | None:
    """The longest gap (s) that ended in one second of the time axis.

    Where none ended: the time from the last beat to the end of that second; ``None`` before the
    first beat.
    """
    begin_ns = zero_ns + second * NS_PER_S
    end_ns = begin_ns + NS_PER_S
    first, after = bisect_left(beats_ns, begin_ns), bisect_left(beats_ns, end_ns)
    ended = [b - a for a, b in pairwise(beats_ns[max(0, first - 1) : after])]
    if not after:
        return None
    return max(ended, default=end_ns - beats_ns[after - 1]) / NS_PER_S


def missed(
    by_second: Mapping[int, float], event: int, until: int | None = None
) -> Mapping[int, bool]:
    """The registered rule: second, from an event on, → whether a beat was missed in it.

    Args:
        by_second: second → longest gap (s), as in rows ``gap_s``.
        event: the second of the event; the 30 s before it are the baseline.
        until: the second before which to end, if any.

    Raises ``Unavailable``: no beat was recorded in the baseline, or none after it.
    """
    before = [gap for at, gap in by_second.items() if event - BEFORE_S <= at < event]
    after = sorted(s for s in by_second if event <= s and (until is None or s < until))
    if not before or not after:
        raise absent(f"second {'after' if before else 'before'} the event")
    most_s = max(MISSED_OVER_S, MISSED_TIMES * max(before))
    return {second: by_second[second] > most_s for second in after}


def misses(by_second: Mapping[int, float], event: int) -> bool:
    """Whether a beat was missed from ``event`` on; arguments and errors as :func:`missed`."""
    return any(missed(by_second, event).values())


def silent(by_second: Mapping[int, float], event: int, until: int | None = None) -> bool:
    """Whether a heartbeat stopped after ``event`` and had not come back by ``until``."""
    return list(missed(by_second, event, until).values())[-1]


def silent_seconds(by_second: Mapping[int, float], events: Sequence[int]) -> frozenset[int]:
    """The seconds in which a heartbeat was silent.

    After each of the ``events`` (in order): the last seconds before the next event, if a beat is
    missed in all of them, and from then on as long as no beat comes.
    """
    found: set[int] = set()
    for event, until in zip(events, [*events[1:], None], strict=False):
        with contextlib.suppress(Unavailable):
            window = missed(by_second, event, until)
            for second in window:  # a gap that grows is one without a beat
                if second - 1 in found and by_second[second] > by_second[second - 1]:
                    found.add(second)
            found.update(takewhile(window.__getitem__, reversed(window)))
    return frozenset(found)


# ---- instances with a heartbeat ------------------------------------------------------------------

GUEST = Spec(machine=Machine.PC, memory_mib=192)

DISPOSABLE = Spec(image=CONTAINER_HOST, machine=Machine.PC, memory_mib=384)
"""The VM whose containers may break it."""

SPARE_BYTES = 512 * MIB
"""Memory of this computer that stays free."""

FIRST_BEAT_S = 60.0
"""Seconds in which the first beat must come; containers start slowly under emulation."""


@dataclass(frozen=True, slots=True)
class Clock:
    """The host's clock; tests have one of their own."""

    now_ns: Callable[[], int] = time.perf_counter_ns
    sleep: Callable[[float], None] = time.sleep

    def until(self, t_ns: int) -> None:
        """Wait for a point in time."""
        while (left_ns := t_ns - self.now_ns()) > 0:
            self.sleep(left_ns / NS_PER_S)


@dataclass(slots=True)
class Beating:
    """An instance, its heartbeat command and its beats."""

    box: Sandbox
    followed: Followed
    log: BeatLog


@dataclass(slots=True)
class Instances:
    """Opens instances, and closes them with ``stack``; ``why`` has by name why there is none."""

    context: Context
    stack: contextlib.ExitStack
    clock: Clock = field(default_factory=Clock)
    why: dict[str, VmcompareError] = field(default_factory=dict)

    def open(self, platform: Platform, spec: Spec) -> Sandbox:
        """Raises what launchers raise, and ``Unavailable`` where too little memory is free."""
        if platform.is_vm and memory.available_bytes() < spec.memory_mib * MIB + SPARE_BYTES:
            raise Unavailable(
                f"another guest of {spec.memory_mib} MiB would leave this computer too little "
                "memory",
                "close other programs",
            )
        launcher = self.context.launchers[platform]
        return self.stack.enter_context(launcher.open(spec, self.context.on_event))

    def beating(
        self, platform: Platform, spec: Spec, letter: str, argv: Sequence[str] = ()
    ) -> Beating:
        """An instance with a heartbeat of this letter, perhaps within another command.

        Raises what :meth:`open` and ``Follower.follow`` raise, and ``WaitTimeout``: the first beat
        did not come.
        """
        box = self.open(platform, spec)
        box.put(heartbeat.PATH, heartbeat.elf(computer.machine()))
        return self._followed(box, argv or (heartbeat.PATH, letter), letter)

    def hosting(self, containers: Mapping[str, Mapping[str, Any]], own: str) -> Beating:
        """The disposable VM, its own heartbeat, and containers in it (letter, which is the name as
        well → OCI configuration), each with a heartbeat.

        Raises what :meth:`beating` raises; where a first beat did not come, ``LaunchFailure`` with
        what ``runc`` said.
        """
        box = self.open(Platform.VM_DIRECT, DISPOSABLE)
        guest_containers.prepare(box)
        for root in ("", guest_containers.IMAGE):
            box.put(root + heartbeat.PATH, heartbeat.elf(computer.machine()))
        lines = [f"{heartbeat.PATH} {own} &"]
        for name, configuration in containers.items():
            guest_containers.write(box, name, configuration)
            lines.append(f"{guest_containers.start_line(name)} 2>/tmp/{name}.err &")
        argv = ("sh", "-c", "\n".join([*lines, "wait"]))
        try:
            return self._followed(box, argv, own + "".join(containers))
        except WaitTimeout as silence:
            output = box.run(["sh", "-c", "cat /tmp/*.err"]).output.decode(errors="replace")
            what = f"{silence} ({output.strip()[-200:]})"
            raise LaunchFailure(what, ("runc", "run")) from silence

    def _followed(self, box: Sandbox, argv: Sequence[str], letters: str) -> Beating:
        """Follow a command, once each letter has come."""
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
