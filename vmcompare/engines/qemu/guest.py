"""A running VM, controlled through its two agents and QEMU's own channel."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from vmcompare.engines import log
from vmcompare.engines.qemu import moving
from vmcompare.engines.qemu.boots import SPARE
from vmcompare.engines.qemu.process import QemuProcess
from vmcompare.errors import LaunchFailure, Unavailable, WaitTimeout
from vmcompare.sandbox import (
    Channel,
    Completed,
    Event,
    Followed,
    Migration,
    OnEvent,
    OnOutput,
    Phase,
)

_READY_S = 120.0  # from the first byte to the agent's greeting; emulated it needs 0.1 to 1
_PUT_S = 120.0  # for one `put`
_PORT_S = 15.0  # for the guest to have made a further channel's device
_MIB = 1024 * 1024
_STILL_S = 3.0  # memory of which no more was moved for so long: the guest is done
_PAUSE_S = 0.05
_STOP_S = 15.0  # for a hanging command inside to be killed

# The first figure in the name counts virtio devices, so it depends on what else there is.
_FIND_PORT = 'until [ -c "$1" ]; do sleep 0.05; set -- /dev/vport*p{number}; done; printf %s "$1"'

_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")  # colours and moves of the cursor (ECMA-48)


class Guest:
    """A running virtual machine: `sandbox.Sandbox`."""

    def __init__(self, process: QemuProcess, on_event: OnEvent, *, answers: bool) -> None:
        self._process, self._answers, self._on_event = process, answers, on_event
        self._ready_told = process.resumes  # its agents greeted before it was kept

    def run(self, argv: Sequence[str], *, timeout_s: float = 60.0) -> Completed:
        """See :class:`vmcompare.sandbox.Sandbox`. After a ``WaitTimeout`` the command is dead."""
        self._await_ready()
        log.command(argv, "in the VM")
        try:
            return self._process.agent.run(argv, timeout_s)
        except WaitTimeout as error:
            with contextlib.suppress(WaitTimeout):
                self._process.second.stop_what_runs(self._process.agent, _STOP_S)
            raise WaitTimeout(error.what, timeout_s, self.console()) from None

    def put(self, path: str, data: bytes) -> None:
        """See :class:`vmcompare.sandbox.Sandbox`."""
        self._await_ready()
        if not self._process.agent.put(path, data, _PUT_S):
            raise LaunchFailure(f"{path} could not be written in the guest", ("put", path))

    def start_instructions(self) -> int:
        """See :class:`vmcompare.sandbox.Counted`."""
        return self._process.start_instructions()

    @contextmanager
    def follow(self, argv: Sequence[str], on_output: OnOutput) -> Iterator[Followed]:
        """See :class:`vmcompare.sandbox.Follower`. The second channel carries the output."""
        self._await_ready()
        with self._process.second.following(argv, on_output) as heard:
            yield heard

    def channel(self, name: str) -> Channel:
        """See :class:`vmcompare.sandbox.HasChannels`."""
        number, host = self._process.channel(name)
        find = _FIND_PORT.format(number=number)
        found = self.run(["sh", "-c", find, "sh", ""], timeout_s=_PORT_S)
        return Channel(found.output.decode(), host)

    @contextmanager
    def migrate(self) -> Iterator[Migration]:
        """See :class:`vmcompare.sandbox.Migrates`."""
        self._await_ready()
        if not self._process.resumes:  # else both greeted before it was kept
            self._process.second.greeted(_READY_S)
        with moving.migrated(self._process) as (target, pause_s):
            yield Migration(Guest(target, self._on_event, answers=True), pause_s)

    def resize(self, memory_mib: int) -> int:
        """See :class:`vmcompare.sandbox.Resizable`: a driver inside moves a balloon, or memory that
        is spare is plugged in, which the guest may leave unused."""
        qmp, spec = self._process.qmp, self._process.spec
        if spec.spare_mib:
            at = f"/machine/peripheral/{SPARE}"
            wanted = max(0, memory_mib - spec.memory_mib) * _MIB
            qmp.command("qom-set", path=at, property="requested-size", value=wanted)
            plugged = _at_rest(
                lambda: int(qmp.command("qom-get", path=at, property="size")), wanted
            )
            return spec.memory_mib + plugged // _MIB
        try:
            qmp.command("query-balloon")
        except LaunchFailure as error:
            raise Unavailable(
                "this virtual machine has no balloon", "start it with one (Spec.balloon)"
            ) from error
        wanted = memory_mib * _MIB
        qmp.command("balloon", value=wanted)
        return _at_rest(lambda: int(qmp.command("query-balloon")["actual"]), wanted) // _MIB

    def limit_processors(self, cpus: float) -> None:
        """See :class:`vmcompare.sandbox.Resizable`: nothing here does it."""
        raise Unavailable(
            f"QEMU has no command that gives a running guest {cpus:g} processors",
            "limit the control group of QEMU's process",
        )

    def host_pids(self) -> tuple[int, ...]:
        return (self._process.pid,)

    def console(self) -> str:
        return self._process.console()

    def tell_ready(self) -> None:
        """Tell of ``READY`` if it has come by now; never waits."""
        if not self._ready_told and (greeted_ns := self._process.agent.greeted_ns):
            self._ready_told = True
            self._on_event(Event(Phase.READY, greeted_ns))

    def _await_ready(self) -> None:
        if not self._answers:
            raise Unavailable(
                "this image has no agent: it prints, and runs no commands",
                "read what it printed with console()",
            )
        try:
            self._process.agent.greeted(_READY_S)
        except WaitTimeout as error:  # a row keeps its words alone: let them tell what they can
            last = _last_line(self.console())
            what = f"{error.what} (last on its console: {last!r})"
            raise WaitTimeout(what, error.timeout_s, self.console()) from None
        self.tell_ready()


def _last_line(console: str) -> str:
    plain = _ESCAPES.sub("", console)
    lines = ("".join(filter(str.isprintable, line)).strip() for line in plain.splitlines())
    return ([line for line in lines if line] or [""])[-1]


def _at_rest(read: Callable[[], int], wanted: int) -> int:
    """What is read once it is as wanted, or has not changed for :data:`_STILL_S` seconds."""
    actual, moved_s = read(), time.monotonic()
    while actual != wanted and time.monotonic() < moved_s + _STILL_S:
        time.sleep(_PAUSE_S)
        before, actual = actual, read()
        if actual != before:
            moved_s = time.monotonic()
    return actual
