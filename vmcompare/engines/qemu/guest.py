"""A running virtual machine, obeyed through its agents."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from vmcompare.engines.qemu import channel
from vmcompare.engines.qemu.listener import Listener, refused
from vmcompare.engines.qemu.machine import Machine
from vmcompare.errors import AbnormalShutdown, LaunchFailure, Unavailable, WaitTimeout
from vmcompare.sandbox import Completed, Event, Followed, OnEvent, OnOutput, Phase

_READY_S = 120.0
"""Seconds from the first byte to the agent's greeting; emulated it needs 0.1 to 1."""

_PUT_S = 120.0
"""Seconds for one :meth:`Guest.put`."""

_STOP_S = 15.0
"""Seconds for a hanging command inside to be killed."""

_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
"""What colours a console's text and moves its cursor (ECMA-48, control sequences)."""


class Guest:
    """A running virtual machine: `sandbox.Sandbox`."""

    def __init__(self, machine: Machine, on_event: OnEvent, *, answers: bool) -> None:
        self._machine = machine
        self._answers = answers
        self._on_event = on_event
        self._agent = machine.agent()
        self._second = machine.agent("second")
        self._session = 0
        self._second_greeted = False
        self._listener: Listener | None = None
        self._lost = False

    def run(self, argv: Sequence[str], *, timeout_s: float = 60.0) -> Completed:
        """See :class:`vmcompare.sandbox.Sandbox`. After a ``WaitTimeout`` the command is dead."""
        self._await_ready()
        try:
            return self._agent.run(argv, timeout_s)
        except WaitTimeout as error:
            self._stop_what_runs()
            raise WaitTimeout(error.what, timeout_s, self.console()) from None
        except AbnormalShutdown as error:
            raise self._machine.gone() from error

    def put(self, path: str, data: bytes) -> None:
        """See :class:`vmcompare.sandbox.Sandbox`. Raises ``LaunchFailure`` if it cannot."""
        self._await_ready()
        try:
            done = self._agent.run_line(channel.place_line(path), _PUT_S)
            if not done.exit_code:
                done = self._agent.put(path, data, _PUT_S)
        except AbnormalShutdown as error:
            raise self._machine.gone() from error
        if done.exit_code:
            raise LaunchFailure(f"{path} could not be written in the guest", ("put", path))

    @contextmanager
    def follow(self, argv: Sequence[str], on_output: OnOutput) -> Iterator[Followed]:
        """See :class:`vmcompare.sandbox.Follower`. The second channel carries the output."""
        self._await_ready()
        if self._lost:
            raise self._machine.gone()
        if self._listener is not None:
            raise refused(argv)
        try:
            self._greet_second()
            self._second.settle(_STOP_S)
        except TimeoutError:
            raise WaitTimeout("the second agent's answer", _STOP_S, self.console()) from None
        except (AbnormalShutdown, OSError) as error:
            raise self._machine.gone() from error
        listener = self._listener = Listener(self._machine.second_channel(), on_output)
        try:
            try:
                listener.start(argv)
            except AbnormalShutdown as error:
                raise self._machine.gone() from error
            yield listener.heard
        finally:
            if listener.end():
                self._listener = None
            else:  # it does not answer: nobody else may use this channel any more
                self._lost = True
        if listener.survived:
            raise AbnormalShutdown(f"{argv[0]} could not be ended in the guest", self.console())

    def host_pids(self) -> tuple[int, ...]:
        """QEMU is the only process that serves a virtual machine."""
        return (self._machine.pid,)

    def console(self) -> str:
        """The last lines of its serial console."""
        return self._machine.console()

    def tell_ready(self) -> None:
        """Tell of ``READY`` if it has come by now; never waits."""
        for mark in self._machine.marks_so_far():
            if mark.phase is not None:
                self._on_event(Event(mark.phase, mark.t_ns))

    def _await_ready(self) -> None:
        if not self._answers:
            raise Unavailable(
                "this operating system prints one message and runs no commands",
                "read what it printed with console()",
            )
        deadline = time.monotonic() + _READY_S
        while not self._session:
            try:
                mark = self._machine.next_mark("the agent's greeting", deadline, _READY_S)
            except LaunchFailure as error:  # QEMU ended after the first byte
                raise self._machine.gone() from error
            except WaitTimeout as error:  # a row keeps its words alone: let them tell what they can
                what = f"{error.what} (last on its console: {_last_line(error.console)!r})"
                raise WaitTimeout(what, error.timeout_s, error.console) from None
            if mark.phase is not None:
                self._on_event(Event(mark.phase, mark.t_ns))
            if mark.phase is Phase.READY:
                self._session = channel.session_of(self._machine.greeting())

    def _stop_what_runs(self) -> None:
        """Kill what hangs on the first channel, through the second."""
        try:
            if self._listener is not None:
                self._listener.run_line(channel.stop_line(self._session), _STOP_S)
            else:
                self._greet_second()
                self._second.run_line(channel.stop_line(self._session), _STOP_S)
            self._agent.settle(_STOP_S)
        except (TimeoutError, WaitTimeout):
            pass  # the next command waits for the stale answer first
        except (AbnormalShutdown, OSError) as error:
            raise self._machine.gone() from error

    def _greet_second(self) -> None:
        if not self._second_greeted:
            self._second.greeted(_STOP_S)
            self._second_greeted = True


def _last_line(console: str) -> str:
    """The last line that says something, without colours and control characters."""
    plain = _ESCAPES.sub("", console)
    lines = ("".join(filter(str.isprintable, line)).strip() for line in plain.splitlines())
    return ([line for line in lines if line] or [""])[-1]
