"""A kernel panics: whose hearts stop, and whose go on.

Four instances beat at once, heard on the host's clock: a process of this computer, a sibling VM, a
VM whose kernel will panic, and a disposable VM that hosts containers A and B. Second 0 of the time
axis begins once all beat. After a baseline the faulty VM's kernel panics; then container A, held as
an engine holds it by default, asks for a panic; then a privileged container does. Nothing here can
hurt this computer: every kernel that panics is a guest's own.

Rows: ``gap_s`` (``phase`` = whose heart, ``rep`` = second), ``observation`` of each event (``rep``
= its second), ``detection_s`` of the two kernels that fell, and the facts of claims S1a and S2. A
heart's later silences count as misses to the end of the run, so the host and the sibling VM must
live through the panic of the disposable VM as well.

"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial

from vmcompare.engines.programs import heartbeat
from vmcompare.errors import AbnormalShutdown, WaitTimeout
from vmcompare.evidence.recording import Measurement
from vmcompare.evidence.units import NS_PER_S
from vmcompare.experiments.isolation import guest_containers, heartbeats
from vmcompare.experiments.isolation.boundaries import Step
from vmcompare.experiments.isolation.guest_containers import RUNTIME
from vmcompare.experiments.isolation.heartbeats import (
    DISPOSABLE,
    GUEST,
    Clock,
    Heard,
    Host,
    complaints,
    first_process,
    refused,
)
from vmcompare.measuring.experiment import FAILURES, Context, blank, failed, filled
from vmcompare.sandbox import Launcher, Platform, Sandbox, Spec

HOST, SIBLING, FAULTY = "host", "sibling VM", "faulty VM"
A, B, THEIRS = "container A", "container B", "their VM"
PHASES = (HOST, SIBLING, FAULTY, A, B, THEIRS)
"""Whose hearts, in the order in which they are shown."""

EVENT = "event: "
FAULTY_PANICS = EVENT + "faulty VM panics"
DEFAULT_ASKS = EVENT + "default container tries sysrq"
PRIVILEGED_ASKS = EVENT + "privileged container tries sysrq"
EVENTS = (FAULTY_PANICS, DEFAULT_ASKS, PRIVILEGED_ASKS)
"""Phases of the observations that say what happened, in their order."""

_CRASH = "echo c > /proc/sysrq-trigger"
ASK = ("sh", "-c", _CRASH)
"""Asks the kernel to crash on the spot (Linux, ``Documentation/admin-guide/sysrq.rst``)."""

_ASKED = "asked and lived"
_BEATS_AND_ASKS = f"""
trap '{_CRASH}; echo {_ASKED} >&2' USR1
{heartbeat.PATH} $1 &
while wait $!; [ $? -gt 128 ]; do :; done
"""
"""First process of a container: a heart beside a shell that asks for the crash when it is told to.

So an event is there within a moment of its second; to start a container takes one."""

ASKED_S = 20
"""Seconds to wait for the answer of a container that asked; a kernel that panicked gives none."""

BUSY_S = heartbeats.MISSED_OVER_S / 2
"""A gap of the baseline as long as that is told: the rule asks for more than twice as much."""

_LETTERS = {HOST: "H", SIBLING: "S", FAULTY: "F", A: "A", B: "B", THEIRS: "V"}
_PRIVILEGED = "P"
_CONTAINERS = {_LETTERS[A]: "", _LETTERS[B]: "", _PRIVILEGED: "--privileged"}
"""Letter → the word in which a container differs from the default: they are alike otherwise."""


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds of the baseline, and from each event to the next and to the end."""

    baseline_s: int = heartbeats.BEFORE_S
    apart_s: int = 5

    @property
    def events(self) -> tuple[int, int, int]:
        """The seconds of the three events."""
        first = self.baseline_s
        return first, first + self.apart_s, first + 2 * self.apart_s

    @property
    def total_s(self) -> int:
        """Seconds of the whole time axis."""
        return self.baseline_s + 3 * self.apart_s


TIMING = Timing()


@dataclass(slots=True)
class Voice:
    """One heart: the rows it makes, and what was heard of it so far."""

    row: Measurement
    letter: str
    heard: Heard
    by_second: dict[int, float] = field(default_factory=dict)


@dataclass(slots=True)
class Panics:
    """One run of this part.

    Attributes:
        host, own: what opens and closes the instances.
        timing: how long it listens.
        zero_ns: where second 0 of the axis begins.
        voices: phase → the heart that is heard.
        happened: event → what became of it.
        at: event → its second.
        told: seconds of the axis whose rows are made.
        rows: phase → what is known of that heart beforehand.
    """

    host: Host
    own: contextlib.ExitStack
    timing: Timing
    zero_ns: int = 0
    voices: dict[str, Voice] = field(default_factory=dict)
    happened: dict[str, str] = field(default_factory=dict)
    at: dict[str, int] = field(default_factory=dict)
    told: int = 0
    rows: dict[str, Measurement] = field(default_factory=dict)

    @property
    def clock(self) -> Clock:
        """Of this computer."""
        return self.host.clock

    # ---- opening ------------------------------------------------------------------------------

    def row(self, phase: str, metric: str = "gap_s") -> Measurement:
        """What is known of a heart beforehand.

        Asked for once each heart: describing an image may read all of it, which would be heard.
        """
        if phase not in self.rows:
            platform, spec = _kind(phase)
            row = replace(
                blank(self._launcher(platform, phase), platform, spec, metric), phase=phase
            )
            if phase in (A, B):
                row = replace(row, layer="mechanism", runtime=RUNTIME)
            self.rows[phase] = row
        return replace(self.rows[phase], metric=metric)

    def _launcher(self, platform: Platform, phase: str) -> Launcher:
        return self.host.launcher(Platform.VM_DIRECT if phase in (A, B) else platform)

    def begin(self, phases: tuple[str, ...]) -> Iterator[Measurement]:
        """Open the instance of some hearts; failed rows where that fails."""
        platform, spec = _kind(phases[-1])
        try:
            if THEIRS in phases:
                containers = {
                    letter: guest_containers.configuration(
                        word, args=("sh", "-c", _BEATS_AND_ASKS, "sh", letter)
                    )
                    for letter, word in _CONTAINERS.items()
                }
                heard = self.host.hosting(spec, containers, _LETTERS[THEIRS])
            else:
                heard = self.host.beating(platform, spec, _LETTERS[phases[0]])
        except FAILURES as problem:
            for phase in phases:
                self.host.why[phase] = str(problem)
                yield failed(self.row(phase), str(problem))
            return
        for phase in phases:
            self.voices[phase] = Voice(self.row(phase), _LETTERS[phase], heard)

    # ---- the time axis ------------------------------------------------------------------------

    def second(self, event: str) -> Iterator[Measurement]:
        """What happens now, if anything, then the rest of this second; rows up to the last one.

        The rows of a second come one later, when nothing of it can still be on its way.
        """
        if not self.voices:
            return
        if not self.zero_ns:
            self.zero_ns = self.clock.now_ns()
        if event:
            yield from self._event(event)
        second = self._now()
        self.clock.until(self.zero_ns + (second + 1) * NS_PER_S)
        yield from self._gaps(second)

    def _now(self) -> int:
        return (self.clock.now_ns() - self.zero_ns) // NS_PER_S

    def _gaps(self, until: int) -> Iterator[Measurement]:
        """Rows of all seconds before ``until`` that have none yet."""
        for second in range(self.told, until):
            for voice in self.voices.values():
                beats = voice.heard.ears.beats(voice.letter)
                gap_s = heartbeats.longest_gap_s(beats, self.zero_ns, second)
                if gap_s is not None:
                    voice.by_second[second] = gap_s
                    yield filled(voice.row, gap_s, rep=second)
        self.told = max(self.told, until)

    # ---- what happens -------------------------------------------------------------------------

    def _event(self, event: str) -> Iterator[Measurement]:
        whose = FAULTY if event == FAULTY_PANICS else THEIRS if event == PRIVILEGED_ASKS else A
        second = self._now()
        row = replace(self.row(whose, "observation"), phase=event, rep=second)
        voice = self.voices.get(whose)
        if voice is None:
            yield failed(row, f"there was no {whose}: {self.host.why.get(whose, 'not opened')}")
            return
        if voice.heard.followed.ended_ns() is not None:
            yield failed(row, f"{whose} was gone already")
            return
        argv = {
            FAULTY_PANICS: ASK,
            DEFAULT_ASKS: ("sh", "-c", _told_to_ask(_LETTERS[A])),
            PRIVILEGED_ASKS: ("sh", "-c", _told_to_ask(_PRIVILEGED)),
        }[event]
        try:
            text = _ask(voice.heard.box, argv)
        except FAILURES as problem:
            yield failed(row, str(problem))
            return
        self.happened[event], self.at[event] = text, second
        yield filled(row, 1.0, text=text)

    # ---- what became of them ------------------------------------------------------------------

    def end(self) -> Iterator[Measurement]:
        """The last second, the facts, the times to detection; then all is taken down."""
        if self.voices:
            self.clock.sleep(0.1)  # what came at the end of the last second has to be handed on
            yield from self._gaps(self._now())
            yield from self._busy()
        yield from self._facts()
        for phase in (FAULTY, THEIRS):
            if phase in self.voices:
                yield self._detection(phase)
        try:
            self.own.close()
        except FAILURES as problem:
            yield failed(self.row(THEIRS), f"while ending: {problem}")

    def _busy(self) -> Iterator[Measurement]:
        first = self.at.get(FAULTY_PANICS, self.told)
        for phase, voice in self.voices.items():
            longest = max((g for s, g in voice.by_second.items() if s < first), default=0.0)
            if longest >= BUSY_S:
                text = f"{phase}: a gap of {longest:.2f} s before anything happened"
                yield filled(self.row(phase, "observation"), 1.0, phase="busy baseline", text=text)

    def _facts(self) -> Iterator[Measurement]:
        first, second, third = (self.at.get(event, -1) for event in EVENTS)
        tried = [
            "" if event in self.happened else f"“{event.removeprefix('event: ')}” did not happen"
            for event in EVENTS
        ]
        fell = tried[0] or self._alive(FAULTY, first)
        for phase, name in (
            (HOST, "host_misses_no_heartbeat"),
            (SIBLING, "sibling_vm_misses_no_heartbeat"),
        ):
            if _kind(phase)[0] in self.host.context.launchers:
                yield self._fact(phase, name, fell, lambda v: not heartbeats.misses(v, first))
        panicked = tried[2] or self._alive(THEIRS, third)
        a = self.voices.get(A)
        yield self._fact(
            B,
            "container_kernel_panic_stops_both_containers",
            panicked,
            lambda v: (
                heartbeats.silent(v, third) and heartbeats.silent(a.by_second if a else {}, third)
            ),
        )
        yield self._fact(
            B,
            "privileged_container_sysrq_takes_sibling_down",
            tried[2],
            lambda v: heartbeats.silent(v, third),
        )
        yield self._fact(
            B,
            "default_container_sysrq_takes_sibling_down",
            tried[1],
            lambda v: heartbeats.silent(v, second, until=third if third > second else None),
        )

    def _fact(
        self, phase: str, name: str, lacking: str, holds: Callable[[dict[int, float]], bool]
    ) -> Measurement:
        """A fact by the heart of ``phase``; a failed row where ``lacking`` says what for."""
        row = replace(self.row(phase, "fact"), phase=name)
        voice = self.voices.get(phase)
        if voice is None:
            return failed(row, f"{phase} was not heard: {self.host.why.get(phase, 'not opened')}")
        if lacking:
            return failed(row, lacking)
        try:
            return filled(row, float(holds(voice.by_second)))
        except ValueError as problem:
            return failed(row, f"{phase}: {problem}")

    def _alive(self, phase: str, event: int) -> str:
        """Why the fall of a kernel is not proved; empty where its own heart stopped."""
        voice = self.voices.get(phase)
        try:
            gone = voice is not None and heartbeats.silent(voice.by_second, event)
        except ValueError as problem:
            return f"{phase}: {problem}"
        return "" if gone else f"the heart of {phase} did not stop"

    def _detection(self, phase: str) -> Measurement:
        voice = self.voices[phase]
        row = replace(self.row(phase, "detection_s"))
        ended_ns = voice.heard.followed.ended_ns()
        beats = voice.heard.ears.beats(voice.letter)
        if ended_ns is None or not beats:
            return failed(row, "its output did not end, so nothing but its silence told of it")
        return filled(row, (ended_ns - beats[-1]) / NS_PER_S, text="its output ended")


def _kind(phase: str) -> tuple[Platform, Spec]:
    return {
        HOST: (Platform.PROCESS, Spec()),
        SIBLING: (Platform.VM_DIRECT, GUEST),
        FAULTY: (Platform.VM_DIRECT, GUEST),
        THEIRS: (Platform.VM_DIRECT, DISPOSABLE),
    }.get(phase, (Platform.CONTAINER, DISPOSABLE))


def _told_to_ask(name: str) -> str:
    """Shell for the guest: tell a container's first process to ask, wait for what it says."""
    file, tenths = complaints(name), ASKED_S * 10
    return f"""kill -USR1 "$({first_process(name)})" || exit 2
n=0
until grep -q '{_ASKED}' {file} || [ $n -gt {tenths} ]; do sleep 0.1; n=$((n + 1)); done
cat {file}
! grep -q sysrq {file}"""


def _ask(box: Sandbox, argv: tuple[str, ...]) -> str:
    """What became of whoever asked its kernel to crash; raises ``LaunchFailure``."""
    try:
        done = box.run(argv, timeout_s=2 * ASKED_S)
    except (AbnormalShutdown, WaitTimeout) as gone:
        # Both carry the last lines of the console, where a kernel says why it stops (Linux,
        # kernel/panic.c). Not "panic" alone: the kernel's own command line has that word.
        said = str(gone) + box.console()
        return "its kernel panicked" if "Kernel panic" in said else "it went silent"
    if done.exit_code == 0:
        return "nothing happened"
    return refused(done.output.replace(_ASKED.encode(), b""))


def steps(
    context: Context,
    stack: contextlib.ExitStack,
    timing: Timing = TIMING,
    clock: Clock | None = None,
) -> list[Step]:
    """What this part does, step by step, with words for each; nothing at all without QEMU."""
    if Platform.VM_DIRECT not in context.launchers:
        return []
    own = stack.enter_context(contextlib.ExitStack())
    panics = Panics(Host(context, own, clock or Clock()), own, timing)
    plan: list[Step] = []
    opened = (
        *(((HOST,),) if Platform.PROCESS in context.launchers else ()),
        (SIBLING,),
        (FAULTY,),
        (A, B, THEIRS),
    )
    for phases in opened:
        plan.append((f"falls: opening {phases[-1]}", partial(panics.begin, phases)))
    happens = dict(zip(timing.events, EVENTS, strict=True))
    for second in range(timing.total_s):
        event = happens.get(second, "")
        words = event.removeprefix(EVENT) or f"listening ({second + 1} of {timing.total_s} s)"
        plan.append((f"falls: {words}", partial(panics.second, event)))
    plan.append(("falls: what became of them", panics.end))
    return plan
