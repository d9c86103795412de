"""What stands between neighbours, and what happens when it breaks.

Four parts, one after the other, each with its rows described in its own module:

1. :mod:`.boundaries`: harmless probes on this computer, from a process, containers and a VM;
2. :mod:`.guest_containers`: the same in containers of a disposable VM, one misconfiguration at a
   time;
3. :mod:`.kernel_panic`: kernels panic, and heartbeats stop or go on;
4. :mod:`.noisy_neighbour`: what a neighbour feels when another takes all it can (once a round).

A part that cannot be had on this computer has no rows; the others go on. What could hurt a computer
(a weakened container, a hog without limits, a panic) happens in a disposable VM or not at all.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from vmcompare.evidence.recording import Measurement
from vmcompare.experiments.isolation import (
    boundaries,
    guest_containers,
    kernel_panic,
    noisy_neighbour,
)
from vmcompare.measuring.experiment import Context, Experiment
from vmcompare.sandbox import Platform


def measure(context: Context) -> Iterator[Measurement]:
    """Rows of all parts, as they are made; whatever is still open when it ends is closed."""
    with contextlib.ExitStack() as stack:
        parts = (boundaries, guest_containers, kernel_panic, noisy_neighbour)
        plan = [step for part in parts for step in part.steps(context, stack)]
        for step in context.steps(plan):
            yield from step()


EXPERIMENT = Experiment(
    name="isolation",
    question="What stands between neighbours, and what happens when it breaks?",
    platforms=(Platform.PROCESS, Platform.CONTAINER, Platform.VM_DIRECT, Platform.VM),
    measure=measure,
    rounds=3,
    anchors=(Platform.PROCESS,),
)
