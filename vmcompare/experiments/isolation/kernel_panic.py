"""A kernel panics: whose heartbeats stop, and whose go on.

Heartbeats come from a process of this computer, a sibling VM, a faulty VM, and a disposable VM with
containers A and B in it. After a baseline the faulty VM's kernel panics; then container A, a
default one, asks its kernel for a panic; then a privileged container does. Every kernel that may
panic is a guest's.

Rows: ``gap_s`` (``phase`` = whose heartbeat, ``rep`` = second), ``observation`` of each event
(``rep`` = its second), and the facts of claims S1a and S2, for which host and sibling VM must miss
no beat from the first event to the end.
"""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from vmcompare.engines.programs import heartbeat
from vmcompare.errors import AbnormalShutdown, Unavailable, WaitTimeout
from vmcompare.evidence.recording import Measurement
from vmcompare.evidence.units import NS_PER_S
from vmcompare.experiments.isolation import guest_containers, heartbeats
from vmcompare.experiments.isolation.boundaries import Step, Variant
from vmcompare.experiments.isolation.heartbeats import (
    DISPOSABLE,
    GUEST,
    Beating,
    Clock,
    Instances,
)
from vmcompare.measuring.experiment import FAILURES, Context, failed, filled, or_failed
from vmcompare.sandbox import Platform, Sandbox

HOST, SIBLING, FAULTY = "host", "sibling VM", "faulty VM"
A, B, THEIRS = "container A", "container B", "their VM"


SOURCES: Mapping[str, Variant] = {
    one.name: one
    for one in (
        Variant(HOST, Platform.PROCESS),
        Variant(SIBLING, Platform.VM_DIRECT, GUEST),
        Variant(FAULTY, Platform.VM_DIRECT, GUEST),
        Variant(THEIRS, Platform.VM_DIRECT, DISPOSABLE),
        Variant(A, Platform.CONTAINER, DISPOSABLE, runtime=guest_containers.RUNTIME),
        Variant(B, Platform.CONTAINER, DISPOSABLE, runtime=guest_containers.RUNTIME),
    )
}
"""Phase → whose heartbeat it is, from top to bottom in a figure."""

_LETTERS = dict(zip(SOURCES, "HSFVAB", strict=True))

EVENT = "event: "
FAULTY_PANICS = EVENT + "faulty VM panics"
DEFAULT_ASKS = EVENT + "default container tries sysrq"
PRIVILEGED_ASKS = EVENT + "privileged container tries sysrq"
EVENTS = (FAULTY_PANICS, DEFAULT_ASKS, PRIVILEGED_ASKS)
"""Phases of the observations of events, in their order."""

_WHO = {FAULTY_PANICS: FAULTY, DEFAULT_ASKS: A, PRIVILEGED_ASKS: THEIRS}
"""Event → whose kernel is asked."""

_FACTS: Mapping[str, tuple[Sequence[str], str, str]] = {
    "host_misses_no_heartbeat": ((HOST,), FAULTY_PANICS, FAULTY),
    "sibling_vm_misses_no_heartbeat": ((SIBLING,), FAULTY_PANICS, FAULTY),
    "container_kernel_panic_stops_both_containers": ((B, A), PRIVILEGED_ASKS, THEIRS),
    "privileged_container_sysrq_takes_sibling_down": ((B,), PRIVILEGED_ASKS, ""),
    "default_container_sysrq_takes_sibling_down": ((B,), DEFAULT_ASKS, ""),
}
"""Fact → whose heartbeats decide it, after which event, and whose kernel must have panicked."""

_CRASH = "echo c > /proc/sysrq-trigger"
ASK = ("sh", "-c", _CRASH)
"""Asks the kernel to crash on the spot (Linux, ``Documentation/admin-guide/sysrq.rst``)."""

_ASKED = "asked and lived"
_BEATS_AND_ASKS = f"""
trap '{_CRASH}; echo {_ASKED} >&2' USR1
{heartbeat.PATH} $1 &
while wait $!; [ $? -gt 128 ]; do :; done
"""
"""First process of a container: a heartbeat, and a shell that asks for the crash at a signal.

Starting another container for that would take a second."""

ASKED_S = 20
"""Seconds to wait for what a container says of its attempt."""

_PRIVILEGED = "P"
_CONTAINERS = {_LETTERS[A]: "", _LETTERS[B]: "", _PRIVILEGED: "--privileged"}
"""Letter → the flag in which the container differs from the default."""

APART_S = 5
"""Seconds from each event to the next and to the end."""


@dataclass(slots=True)
class Panics:
    """One run of this part.

    Attributes:
        zero_ns: where second 0 of the time axis begins.
        heard: phase → the instance whose heartbeat is listened to.
        gaps: phase → second → longest gap (s) so far.
        happened: event → its second.
        done: how many seconds have their rows.
        rows: phase → a row without a value.
    """

    instances: Instances
    zero_ns: int = 0
    heard: dict[str, Beating] = field(default_factory=dict)
    gaps: dict[str, dict[int, float]] = field(default_factory=lambda: defaultdict(dict))
    happened: dict[str, int] = field(default_factory=dict)
    done: int = 0
    rows: dict[str, Measurement] = field(default_factory=dict)

    def row(self, phase: str, metric: str = "gap_s") -> Measurement:
        """A row without a value; kept, because describing an image may take long enough to delay
        beats."""
        if phase not in self.rows:
            self.rows[phase] = SOURCES[phase].row(self.instances.context, phase=phase)
        return replace(self.rows[phase], metric=metric)

    def begin(self, phases: tuple[str, ...]) -> list[Measurement]:
        """Open the instance of these heartbeats; failed rows where that fails."""
        source = SOURCES[phases[-1]]
        try:
            if THEIRS in phases:
                containers = {
                    letter: guest_containers.configuration(
                        flag, args=("sh", "-c", _BEATS_AND_ASKS, "sh", letter)
                    )
                    for letter, flag in _CONTAINERS.items()
                }
                beating = self.instances.hosting(containers, _LETTERS[phases[-1]])
            else:
                beating = self.instances.beating(source.platform, source.spec, _LETTERS[phases[-1]])
        except FAILURES as problem:
            self.instances.why |= dict.fromkeys(phases, problem)
            return [failed(self.row(phase), str(problem)) for phase in phases]
        for phase in phases:
            self.row(phase)
            self.heard[phase] = beating
        return []

    def second(self, event: str) -> Iterator[Measurement]:
        """Cause the event, if any, and wait for the end of this second; rows of the seconds before,
        of which every beat has arrived by now."""
        if not self.heard:
            return
        clock = self.instances.clock
        self.zero_ns = self.zero_ns or clock.now_ns()
        if event:
            who = _WHO[event]
            row = replace(self.row(who, "observation"), phase=event, rep=self._now())
            yield from or_failed(self._event(event, who, row), row)
        second = self._now()
        clock.until(self.zero_ns + (second + 1) * NS_PER_S)
        yield from self._gaps(second)

    def _now(self) -> int:
        return (self.instances.clock.now_ns() - self.zero_ns) // NS_PER_S

    def _gaps(self, until: int) -> Iterator[Measurement]:
        """Rows of all seconds before ``until`` that have none yet."""
        for second in range(self.done, until):
            for phase in self.heard:
                gap_s = heartbeats.longest_gap_s(self._beats(phase), self.zero_ns, second)
                if gap_s is not None:
                    self.gaps[phase][second] = gap_s
                    yield filled(self.row(phase), gap_s, rep=second)
        self.done = max(self.done, until)

    def _event(self, event: str, who: str, row: Measurement) -> Iterator[Measurement]:
        beating = self._heard(who)
        if beating.followed.ended_ns() is not None:
            raise Unavailable(f"{who} was gone already", "look at the recording")
        letter = _PRIVILEGED if event == PRIVILEGED_ASKS else _LETTERS[who]
        text = _ask(beating.box, ASK if event == FAULTY_PANICS else _signal(letter))
        self.happened[event] = row.rep
        yield filled(row, 1.0, text=text)

    def _heard(self, phase: str) -> Beating:
        if phase not in self.heard:
            raise self.instances.why[phase]
        return self.heard[phase]

    def _beats(self, phase: str) -> Sequence[int]:
        return self.heard[phase].log.beats(_LETTERS[phase])

    # ---- results ------------------------------------------------------------------------------

    def end(self) -> Iterator[Measurement]:
        """The last second and the facts; then all is closed."""
        if self.heard:
            self.instances.clock.sleep(0.1)  # for the last beats to arrive
            yield from self._gaps(self._now())
        for name, (phases, event, fallen) in _FACTS.items():
            if phases != (HOST,) or Platform.PROCESS in self.instances.context.launchers:
                row = replace(self.row(phases[0], "fact"), phase=name)
                yield from or_failed(self._fact(row, phases, event, fallen), row)
        try:
            self.instances.stack.close()
        except FAILURES as problem:
            yield failed(self.row(THEIRS), f"while ending: {problem}")

    def _fact(
        self, row: Measurement, phases: Sequence[str], event: str, fallen: str
    ) -> Iterator[Measurement]:
        for phase in phases:
            self._heard(phase)
        if event not in self.happened:
            why = f"“{event.removeprefix(EVENT)}” did not happen"
            raise Unavailable(why, "look at the recording")
        second = self.happened[event]
        # That a kernel panicked is certain only where its own heartbeat stopped.
        if fallen and not heartbeats.silent(self.gaps[fallen], second):
            raise Unavailable(f"the heartbeat of {fallen} did not stop", "look at the recording")
        if fallen == FAULTY:
            holds = not any(heartbeats.misses(self.gaps[phase], second) for phase in phases)
        else:
            until = min((at for at in self.happened.values() if at > second), default=None)
            holds = all(heartbeats.silent(self.gaps[phase], second, until) for phase in phases)
        yield filled(row, float(holds))


def _signal(name: str) -> tuple[str, ...]:
    """For the guest: signal a container's first process to ask, and print what it says."""
    file, tenths = f"/tmp/{name}.err", ASKED_S * 10
    line = f"""kill -USR1 "$({guest_containers.first_process(name)})" || exit 2
n=0
until grep -q '{_ASKED}' {file} || [ $n -gt {tenths} ]; do sleep 0.1; n=$((n + 1)); done
cat {file}
! grep -q sysrq {file}"""
    return ("sh", "-c", line)


def _ask(box: Sandbox, argv: tuple[str, ...]) -> str:
    """What happened when a program asked its kernel to crash; raises ``LaunchFailure``."""
    try:
        done = box.run(argv, timeout_s=2 * ASKED_S)
    except (AbnormalShutdown, WaitTimeout) as gone:
        # As kernel/panic.c prints it; the word alone is in the kernel's command line as well.
        output = str(gone) + box.console()
        return "its kernel panicked" if "Kernel panic" in output else "it went silent"
    if done.exit_code == 0:
        return "nothing happened"
    return _refused(done.output.replace(_ASKED.encode(), b""))


def _refused(output: bytes) -> str:
    """``"refused: EROFS"``, or the end of what the shell printed."""
    text = " ".join(output.decode(errors="replace").split())
    return f"refused: {'EROFS' if 'Read-only file system' in text else text[-80:]}"


def steps(
    context: Context,
    stack: contextlib.ExitStack,
    clock: Clock | None = None,
    *,
    baseline_s: int = heartbeats.BEFORE_S,
    apart_s: int = APART_S,
) -> list[Step]:
    """The steps of this part; none without QEMU."""
    if Platform.VM_DIRECT not in context.launchers:
        return []
    own = stack.enter_context(contextlib.ExitStack())
    panics = Panics(Instances(context, own, clock or Clock()))
    opened: list[tuple[str, ...]] = [(SIBLING,), (FAULTY,), (A, B, THEIRS)]
    if Platform.PROCESS in context.launchers:
        opened.insert(0, (HOST,))
    plan: list[Step] = [
        (f"falls: opening {phases[-1]}", partial(panics.begin, phases)) for phases in opened
    ]
    happens = {baseline_s + n * apart_s: event for n, event in enumerate(EVENTS)}
    total_s = baseline_s + len(EVENTS) * apart_s
    for second in range(total_s):
        event = happens.get(second, "")
        words = event.removeprefix(EVENT) or f"listening ({second + 1} of {total_s} s)"
        plan.append((f"falls: {words}", partial(panics.second, event)))
    plan.append(("falls: what became of them", panics.end))
    return plan
