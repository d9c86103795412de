"""Two that talk over a network with nothing else on it: what is done for that, and for how long."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace

from vmcompare.errors import LaunchFailure, Unavailable
from vmcompare.evidence.recording import Measurement
from vmcompare.measuring.experiment import filled
from vmcompare.sandbox import (
    FIRST_BYTE_PROGRAM,
    NETWORK_DRIVERS,
    Connects,
    Launcher,
    Machine,
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


def talk(row: Measurement, launcher: Launcher) -> Iterator[Measurement]:
    """Take all steps. Raises ``Unavailable`` where two cannot be connected, and as launchers do."""
    if not isinstance(launcher, Connects):
        raise Unavailable("two instances of this kind cannot be connected", "use Docker or QEMU")
    began, steps = time.perf_counter(), list[str]()
    with ExitStack() as stack:
        heard = (_vms if row.platform.is_vm else _containers)(launcher, stack, steps)
        took_s = time.perf_counter() - began
    if _ANSWER not in heard:
        raise LaunchFailure("the one that was asked did not answer", ("nc",), heard)
    row = replace(row, network=True, phase="")
    yield filled(row, took_s, metric="talk_s")
    yield filled(row, float(len(steps)), metric="step_count", text="; ".join(steps))


# Both tell each step before they take it, and return what the one that asks has heard.


def _containers(launcher: Connects, stack: ExitStack, steps: list[str]) -> str:
    def run(name: str, line: str) -> Sandbox:
        spec = Spec(command=("sh", "-c", f"{line}\nexec {FIRST_BYTE_PROGRAM}"))
        return stack.enter_context(open_on(name, spec, lambda _: None))

    steps.append("create a network")
    open_on = stack.enter_context(launcher.network())
    steps.append("run a container on it that serves")
    run("one", _SERVE)
    steps.append("run a container on it that asks the first by its name")
    return run("two", _ASK.format("one")).console()


def _vms(launcher: Connects, stack: ExitStack, steps: list[str]) -> str:
    steps.append("make a cable")
    open_on = stack.enter_context(launcher.network())
    vms: dict[str, Sandbox] = {}

    def run(name: str, what: str, line: str) -> str:
        steps.append(f"in VM {name}: {what}")
        done = vms[name].run(["sh", "-c", line], timeout_s=_PATIENCE_S)
        heard = done.output.decode(errors="replace")
        if done.exit_code:
            raise LaunchFailure("two could not be made to talk", (line,), heard)
        return heard

    for name in _ADDRESSES:
        steps.append(f"start VM {name} at it")
        vms[name] = stack.enter_context(open_on(name, VM, lambda _: None))
    for name in _ADDRESSES:
        run(name, "load the card’s drivers", _DRIVERS)
    for name, at in _ADDRESSES.items():
        line = f"ip addr add {at}/24 dev eth0 && ip link set eth0 up"
        run(name, f"set the address {at}", line)
    run("one", "serve", _SERVE)
    return run("two", "ask VM one by its address", _ASK.format(_ADDRESSES["one"]))
