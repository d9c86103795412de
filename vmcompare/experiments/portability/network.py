"""Two that talk over a network with nothing else on it: what is done for that, and for how long.

A list of steps is what is done, and what the rows tell of it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial

from vmcompare.errors import LaunchFailure, Unavailable
from vmcompare.evidence.recording import Measurement
from vmcompare.measuring.experiment import filled
from vmcompare.sandbox import (
    FIRST_BYTE_PROGRAM,
    NETWORK_DRIVERS,
    Connects,
    Launcher,
    Machine,
    OpenOn,
    Sandbox,
    Spec,
)

VM = Spec(machine=Machine.PC, memory_mib=256)
"""Each of the two VMs."""

_ADDRESSES = {"one": "10.0.0.1", "two": "10.0.0.2"}
_ANSWER, _PORT, _PATIENCE_S = "hello", 7000, 60.0
_SERVE = f"(while :; do echo {_ANSWER} | nc -l -p {_PORT}; done) </dev/null >/dev/null 2>&1 &"
_ASK = (  # again and again: it may take the one that serves a moment to listen
    f"for i in $(seq 1000); do nc -w 1 {{}} {_PORT} </dev/null 2>/dev/null | grep . && break; "
    "usleep 20000; done"
)
_DRIVERS = " && ".join(f"insmod {path}" for path in NETWORK_DRIVERS)
_ADDRESS = "ip addr add {}/24 dev eth0 && ip link set eth0 up"


@dataclass(slots=True)
class _Both:
    """The two, as far as they are there: ``stack`` ends them, and then their network."""

    launcher: Connects
    spec: Spec
    stack: ExitStack
    open_on: OpenOn | None = None
    boxes: dict[str, Sandbox] = field(default_factory=dict)
    heard: str = ""

    def connect(self) -> None:
        self.open_on = self.stack.enter_context(self.launcher.network())

    def start(self, name: str, line: str = "") -> None:
        """Start one; in a container, a ``line`` of shell comes before its usual program."""
        assert self.open_on is not None
        command = ("sh", "-c", f"{line}\nexec {FIRST_BYTE_PROGRAM}") if line else self.spec.command
        opened = self.open_on(name, replace(self.spec, command=command), lambda _: None)
        self.boxes[name] = self.stack.enter_context(opened)
        self.heard = self.boxes[name].console()

    def run(self, name: str, line: str) -> None:
        """Run a ``line`` of shell in one of them. Raises ``LaunchFailure`` if it fails."""
        done = self.boxes[name].run(["sh", "-c", line], timeout_s=_PATIENCE_S)
        self.heard = done.output.decode(errors="replace")
        if done.exit_code:
            raise LaunchFailure("two could not be made to talk", (line,), self.heard)


Steps = Sequence[tuple[str, Callable[[_Both], None]]]

CONTAINERS: Steps = (
    ("create a network", _Both.connect),
    ("run a container on it that serves", partial(_Both.start, name="one", line=_SERVE)),
    (
        "run a container on it that asks the first by its name",
        partial(_Both.start, name="two", line=_ASK.format("one")),
    ),
)
VMS: Steps = (
    ("make a cable", _Both.connect),
    *((f"start VM {name} at it", partial(_Both.start, name=name)) for name in _ADDRESSES),
    *(
        (f"in VM {name}: load the card’s drivers", partial(_Both.run, name=name, line=_DRIVERS))
        for name in _ADDRESSES
    ),
    *(
        (f"in VM {name}: set the address {at}", partial(_Both.run, name=name, line=line))
        for name, at in _ADDRESSES.items()
        for line in [_ADDRESS.format(at)]
    ),
    ("in VM one: serve", partial(_Both.run, name="one", line=_SERVE)),
    (
        "in VM two: ask VM one by its address",
        partial(_Both.run, name="two", line=_ASK.format(_ADDRESSES["one"])),
    ),
)


def talk(row: Measurement, launcher: Launcher, spec: Spec, steps: Steps) -> Iterator[Measurement]:
    """Take all steps. Raises ``Unavailable`` where two cannot be connected, and as launchers do."""
    if not isinstance(launcher, Connects):
        raise Unavailable("two instances of this kind cannot be connected", "use Docker or QEMU")
    began = time.perf_counter()
    with ExitStack() as stack:
        both = _Both(launcher, spec, stack)
        for _, take in steps:
            take(both)
        took_s = time.perf_counter() - began
        if _ANSWER not in both.heard:
            what = "the one that was asked did not answer"
            raise LaunchFailure(what, ("nc",), both.heard)
    row = replace(row, network=True)
    yield filled(row, took_s, metric="talk_s", phase="")
    words = "; ".join(words for words, _ in steps)
    yield filled(row, float(len(steps)), metric="step_count", phase="", text=words)
