"""Heartbeats: instances that beat, gaps between beats, and the rule of when a beat was missed.

A heart (:mod:`vmcompare.engines.programs.heartbeat`) writes its letter 20 times a second. Each byte
is stamped on the host's clock when it arrives there, so a gap is what somebody outside notices,
whatever the clock inside does. The time axis is the host's, second 0 begins at ``zero_ns``.

:class:`Host` opens the instances whose hearts are heard, and a disposable VM with containers.
"""

from __future__ import annotations

import contextlib
import platform as computer
import re
import statistics
import time
from bisect import bisect_right
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


# ---- instances that beat -------------------------------------------------------------------------

GUEST = Spec(machine=Machine.PC, memory_mib=192)
"""A guest that does nothing but beat."""

DISPOSABLE = Spec(image=CONTAINER_HOST, machine=Machine.PC, memory_mib=384)
"""The VM that hosts containers which may break it."""

SPARE_BYTES = 512 * MIB
"""Memory of this computer that no guest may use up."""

FIRST_BEAT_S = 60.0
"""Seconds until a heart must beat: under emulation on a busy computer a container starts slowly."""

_ERRNO = {
    "Read-only file system": "EROFS",
    "Permission denied": "EACCES",
    "Operation not permitted": "EPERM",
    "No such file or directory": "ENOENT",
    "nonexistent directory": "ENOENT",
}
"""What BusyBox's shell says → the name of the error number."""


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
class Heard:
    """An instance, and what is heard of it.

    Attributes:
        box: the instance.
        ears: its beats, by letter.
        followed: the command that beats.
    """

    box: Sandbox
    ears: Ears
    followed: Followed


@dataclass(slots=True)
class Host:
    """Opens instances for one part of the experiment.

    Attributes:
        context: launchers.
        stack: what closes them.
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

    def beating(self, platform: Platform, spec: Spec, letter: str) -> Heard:
        """An instance with a heart that beats. Raises what :meth:`open` and :meth:`hear` raise."""
        box = self.open(platform, spec)
        put_heart(box, heartbeat.PATH)
        return self.hear(box, (heartbeat.PATH, letter), letter)

    def hosting(self, spec: Spec, containers: Mapping[str, Mapping[str, Any]], own: str) -> Heard:
        """A disposable VM with a heart of its own, and with containers that beat.

        Args:
            containers: letter → OCI configuration of a container that beats with that letter, and
                is called so.
            own: the letter of the VM's own heart.

        Raises:
            LaunchFailure: a container did not begin to beat; what ``runc`` said is attached.
            Unavailable, WaitTimeout, AbnormalShutdown: as :meth:`open`.
        """
        box = self.open(Platform.VM_DIRECT, spec)
        guest_containers.prepare(box)
        put_heart(box, heartbeat.PATH)
        put_heart(box, guest_containers.IMAGE + heartbeat.PATH)
        lines = [f"{heartbeat.PATH} {own} &"]
        for name, configuration in containers.items():
            guest_containers.write(box, name, configuration)
            lines.append(background(name))
        letters = own + "".join(containers)
        try:
            return self.hear(box, ("sh", "-c", "\n".join([*lines, "wait"])), letters)
        except WaitTimeout as silence:
            said = box.run(["sh", "-c", "cat /tmp/*.err"]).output.decode(errors="replace").strip()
            raise LaunchFailure(f"{silence} ({said[-200:]})", ("runc", "run")) from silence

    def hear(self, box: Sandbox, argv: Sequence[str], letters: str) -> Heard:
        """Follow hearts until each has beaten once.

        Raises:
            WaitTimeout: one did not begin to.
            Unavailable: this kind of instance cannot be followed.
            LaunchFailure, AbnormalShutdown: as ``Follower.follow``.
        """
        if not isinstance(box, Follower):
            raise Unavailable("a command in it cannot be followed", "look at the recording")
        ears = Ears()
        followed = self.stack.enter_context(box.follow(argv, ears.hear))
        deadline_ns = self.clock.now_ns() + int(FIRST_BEAT_S * NS_PER_S)
        while mute := [letter for letter in letters if not ears.beats(letter)]:
            if followed.ended_ns() is not None:
                raise LaunchFailure("the hearts ended before they all beat", tuple(argv))
            if self.clock.now_ns() > deadline_ns:
                raise WaitTimeout(f"the first beat of {' and '.join(mute)}", FIRST_BEAT_S)
            self.clock.sleep(0.02)
        return Heard(box, ears, followed)


def background(name: str) -> str:
    """A line of shell that starts a container and leaves what it complains of in a file."""
    return f"{guest_containers.start_line(name)} 2>{complaints(name)} &"


def complaints(name: str) -> str:
    """Where in the guest lies what a container, or ``runc`` itself, wrote to standard error."""
    return f"/tmp/{name}.err"


def first_process(name: str) -> str:
    """Shell that prints the guest's number of a container's first process.

    From the file in which ``runc`` keeps what it knows of the container: ``runc state`` says the
    same, but takes most of a second under emulation.
    """
    return f"""sed 's/.*"init_process_pid":\\([0-9]*\\).*/\\1/' /run/runc/{name}/state.json"""


def put_heart(box: Sandbox, path: str) -> None:
    """Put the heartbeat program into an instance.

    Raises:
        LaunchFailure: it cannot be written there.
        Unavailable: there is none for this processor.
    """
    box.put(path, heartbeat.elf(computer.machine()))


def refused(said: bytes) -> str:
    """``"refused: EROFS"`` from what a shell printed; its last words where they are unknown."""
    text = said.decode(errors="replace").strip()
    for words, name in _ERRNO.items():
        if words in text:
            return f"refused: {name}"
    words = re.sub(r"\s+", " ", text)[-80:]
    return f"refused: {words}" if words else "refused without a word"
