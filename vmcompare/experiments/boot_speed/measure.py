"""From the client's call to the first byte of the same tiny program, on every platform.

A block holds 3 starts of a process, of a container and of each bare container runtime, and 1 of
each VM, in shuffled order. Each start also tells when a command was answered.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import pairwise

from vmcompare.evidence.recording import Measurement
from vmcompare.evidence.units import NS_PER_S
from vmcompare.measuring.experiment import (
    FAILURES,
    Context,
    Experiment,
    Starts,
    blank,
    failed,
    filled,
)
from vmcompare.sandbox import Event, Machine, OnEvent, Phase, Platform, Series, Spec

STARTS = (
    Starts(Series(Platform.PROCESS), repeats=3),
    Starts(Series(Platform.CONTAINER), repeats=3),
    # The mechanism under the product, in two sizes: what Docker calls, and what needs no rights.
    Starts(Series(Platform.CONTAINER, runtime="bubblewrap"), repeats=3),
    Starts(Series(Platform.CONTAINER, runtime="runc"), repeats=3),
    Starts(Series(Platform.VM_DIRECT, Machine.PC)),
    Starts(Series(Platform.VM_TUNED, Machine.PC)),
    # Describing its image has just read every byte that it boots, so the page cache is warm; a
    # warm-up would cost a class half a minute and change nothing.
    Starts(Series(Platform.VM, Machine.Q35), warm_up=False),
)

GIVE_UP_AFTER = 2
"""A series that failed this often in a row is not tried again: its remaining starts become rows
that say so, and the lesson does not wait for the same time-out in every block."""


@dataclass(slots=True)
class Stopwatch:
    """Collects the events of one start and passes them on.

    Ready means here that a command was answered, on every platform alike: the greeting by which
    some launchers learn that an agent is there is passed on, but not counted.
    """

    pass_on: OnEvent
    events: list[Event] = field(default_factory=list)

    def __call__(self, event: Event) -> None:
        if event.phase is not Phase.READY:
            self.events.append(event)
        self.pass_on(event)

    def answered(self) -> None:
        """A command was answered: the instance is ready now, and the phases of its end follow."""
        ready = Event(Phase.READY, time.perf_counter_ns())
        self.events.append(ready)
        self.pass_on(ready)

    def since_open_s(self, phase: Phase) -> float | None:
        """Seconds from the client's call to the end of ``phase``; ``None`` if it was not seen."""
        stamps = {e.phase: e.t_ns for e in self.events}
        if phase not in stamps or Phase.OPEN not in stamps:
            return None
        return (stamps[phase] - stamps[Phase.OPEN]) / NS_PER_S

    def phases_s(self) -> Iterator[tuple[Phase, float]]:
        """Each phase with the seconds since the event before it, in the order of the stamps."""
        for before, event in pairwise(sorted(self.events, key=lambda e: e.t_ns)):
            yield event.phase, (event.t_ns - before.t_ns) / NS_PER_S


def measure(context: Context) -> Iterator[Measurement]:
    """Rows of every start, as each ends. A start that fails is a row; the run goes on."""
    failures: Counter[Series] = Counter()
    for trial in context.trials(STARTS):
        series, launcher = trial.series, context.launcher(trial.series)
        assert launcher is not None  # trials() gives only what can be launched
        spec = Spec(machine=series.machine, runtime=series.runtime)
        row = blank(launcher, series.platform, spec, "start_to_first_byte_s", **trial.place)
        if failures[series] >= GIVE_UP_AFTER:
            yield failed(row, "not tried again after repeated failure")
            continue
        watch, error = Stopwatch(context.on_event), ""
        try:
            with launcher.open(spec, watch) as box:
                kernel = box.run(["uname", "-r"]).output.decode(errors="replace").strip()
                watch.answered()
                row = replace(row, guest_kernel=kernel)
        except FAILURES as problem:
            error = str(problem)
        seen = watch.since_open_s(Phase.FIRST_BYTE) is not None
        failures[series] = 0 if seen else failures[series] + 1
        yield from _times(row, watch, error)


def _times(row: Measurement, watch: Stopwatch, error: str) -> Iterator[Measurement]:
    first_s, ready_s = watch.since_open_s(Phase.FIRST_BYTE), watch.since_open_s(Phase.READY)
    for metric, value in (("start_to_first_byte_s", first_s), ("ready_s", ready_s)):
        if value is None:
            yield failed(row, error or f"{metric} was not seen", metric=metric)
            return
        yield filled(row, value, metric=metric)
    for phase, value in watch.phases_s():
        yield filled(row, value, metric="phase_s", phase=phase.value)


EXPERIMENT = Experiment(
    name="boot_speed",
    question="Where do the milliseconds of a start go?",
    platforms=tuple(dict.fromkeys(starts.series.platform for starts in STARTS)),
    measure=measure,
    runtimes=("bubblewrap", "runc"),
    measured_in_handouts=True,
)
