"""The time from asking for ``sleep 0.1`` until it ended, in a process and in a container.

Asking takes time too, and more where an engine carries the command into a container. So each
instance also runs ``true``, which does nothing: what ``sleep`` takes beyond that is sleep.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

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
from vmcompare.sandbox import Platform, Series, Spec

STARTS = (
    Starts(Series(Platform.PROCESS), repeats=3),
    Starts(Series(Platform.CONTAINER), repeats=3),
)
"""What a block holds: three of each, in shuffled order."""

COMMANDS = {"true": ["true"], "sleep 0.1": ["sleep", "0.1"]}
"""What is timed: the name that its row carries in ``phase`` → the command."""


def measure(context: Context) -> Iterator[Measurement]:
    """One row (``duration_s``) for each command in each instance. A failure is a row too."""
    for trial in context.trials(STARTS):
        launcher = context.launcher(trial.series)
        assert launcher is not None  # trials() names only what can be started here
        row = blank(launcher, trial.series.platform, Spec(), "duration_s", **trial.place)
        try:
            with launcher.open(Spec(), context.on_event) as box:
                box.run(["true"])  # the first command in an instance is slower, whatever it is
                order = list(COMMANDS.items())
                for name, argv in order if trial.rep % 2 else reversed(order):
                    began_ns = time.perf_counter_ns()
                    box.run(argv)
                    took_s = (time.perf_counter_ns() - began_ns) / NS_PER_S
                    yield filled(row, took_s, phase=name)
        except FAILURES as problem:
            yield failed(row, str(problem))


EXPERIMENT = Experiment(
    name="my_experiment",
    question="How long does sleep 0.1 really sleep?",
    platforms=(Platform.PROCESS, Platform.CONTAINER),
    measure=measure,
    rounds=5,
    measured_in_handouts=True,
)
