"""Who is asked, and what is known of them while a run lasts."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field, replace

from vmcompare.evidence.recording import Measurement
from vmcompare.experiments.shared_kernel.observer import NAMESPACES, Reading
from vmcompare.measuring.experiment import Context, blank, failed, filled
from vmcompare.sandbox import DEBIAN, Machine, Platform, Sandbox, Spec

PHASES: tuple[str, ...] = (
    "kernel release", "boot id", "kernel started", "kernel options", "processor", "devices",
    "userland", "process 1", "processes seen", *(f"{name} namespace" for name in NAMESPACES),
)  # fmt: skip
"""What every instance is asked, in the order of the table."""


@dataclass(frozen=True, slots=True)
class Who:
    """One instance of the table."""

    name: str
    platform: Platform
    rep: int
    spec: Spec


INSTANCES: tuple[Who, ...] = (
    Who("host", Platform.PROCESS, 0, Spec()),
    Who("container A", Platform.CONTAINER, 0, Spec()),
    Who("container B", Platform.CONTAINER, 1, Spec()),
    Who("container C", Platform.CONTAINER, 2, Spec(image=DEBIAN)),
    Who("vm-direct", Platform.VM_DIRECT, 0, Spec(machine=Machine.PC)),
    Who("vm", Platform.VM, 0, Spec(machine=Machine.Q35)),
)


@dataclass(slots=True)
class Run:
    """What is known so far.

    Attributes:
        context: launchers, and who watches.
        kept: leaves the host's process and the ladder's guest, which stay to the end.
        together: leaves the other instances, once they have been held against each other.
        boxes, readings: by the names of :data:`INSTANCES`; those that failed are not there.
        why: name → why an instance has no reading.
        before: what goes before each line of the ladder.
    """

    context: Context
    kept: contextlib.ExitStack
    together: contextlib.ExitStack
    boxes: dict[str, Sandbox] = field(default_factory=dict)
    readings: dict[str, Reading] = field(default_factory=dict)
    why: dict[str, str] = field(default_factory=dict)
    before: str = ""

    def row(self, who: Who, metric: str, phase: str) -> Measurement:
        """An empty row of an instance."""
        row = blank(self.context.launchers[who.platform], who.platform, who.spec, metric)
        return replace(row, phase=phase, rep=who.rep)

    def fact(self, platform: Platform, name: str, holds: bool | str, text: str = "") -> Measurement:
        """A fact, or (where ``holds`` is text) why it was not observed."""
        who = next(who for who in INSTANCES if who.platform is platform)
        row = replace(self.row(who, "fact", name), rep=0)
        return (
            failed(row, holds) if isinstance(holds, str) else filled(row, float(holds), text=text)
        )
