"""One QEMU process, from its start to its certain end.

Its channels are socket pairs passed by number: no path and no port is left behind, and when this
process dies they close, which the guest's agent notices. A guest too young to have an agent is
ended by the reaper.
"""

from __future__ import annotations

import contextlib
import queue
import socket
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from vmcompare.engines import cleanup
from vmcompare.engines.qemu import channel
from vmcompare.engines.qemu.accel import Choice
from vmcompare.engines.qemu.binary import Qemu
from vmcompare.engines.qemu.interrupts import held_back
from vmcompare.engines.qemu.pump import Mark, Pump, Sign
from vmcompare.engines.qemu.qmp import Qmp
from vmcompare.errors import AbnormalShutdown, LaunchFailure, VmcompareError, WaitTimeout

QUIT_S = 3.0
"""Seconds for QEMU to leave when asked to, before it is killed; it needs about 0.02 s."""

_LAST_WORDS_S = 2.0
"""Seconds for the last output of an ended QEMU to arrive; it is already in the pipes."""

_CHANNELS = ("control", "debug", "serial", "agent", "second")


@dataclass(frozen=True, slots=True)
class Plan:
    """What to start.

    Attributes:
        qemu, accel: with what.
        arguments: machine, processors, memory, kernel, disk: everything but the channels.
        bus: ``"pci"`` or ``"device"`` (microvm): the ending of virtio devices' names.
        on_debug, on_serial: signs of phases; see :class:`Pump`.
    """

    qemu: Qemu
    accel: Choice
    arguments: Sequence[str]
    bus: str = "pci"
    on_debug: Sequence[Sign] = field(default=())
    on_serial: Sequence[Sign] = field(default=())


class Machine:
    """Starts with :meth:`start`; ends with :meth:`stop` or :meth:`kill`, both safe to repeat."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._process: subprocess.Popen[bytes] | None = None
        self._ours: dict[str, socket.socket] = {}
        self._pump: Pump | None = None
        self._qmp: Qmp | None = None
        self.command: tuple[str, ...] = ()

    @property
    def pid(self) -> int:
        """QEMU's process number."""
        assert self._process is not None, "the machine was not started"
        return self._process.pid

    @property
    def qmp(self) -> Qmp:
        """The control channel; usable once ``SPAWN`` was marked."""
        assert self._qmp is not None, "the machine was not started"
        return self._qmp

    def agent(self, name: str = "agent") -> channel.Agent:
        """The host's side of the first (``"agent"``) or second (``"second"``) command channel."""
        return channel.Agent(self._ours[name])

    def second_channel(self) -> socket.socket:
        """The host's end of the second command channel itself, for a reader of its own."""
        return self._ours["second"]

    def greeting(self) -> bytes:
        """The first agent's greeting, once ``READY`` was marked."""
        assert self._pump is not None, "the machine was not started"
        return self._pump.greeting()

    def console(self) -> str:
        """The last lines of the serial port, and what QEMU itself complained about."""
        return (self._pump.console() + self._pump.errors()) if self._pump else ""

    def start(self) -> None:
        """Start QEMU. Raises ``LaunchFailure`` if the program cannot be run."""
        theirs: dict[str, socket.socket] = {}
        try:
            for name in _CHANNELS:
                self._ours[name], theirs[name] = socket.socketpair()
            self.command = self._command(theirs)
            with held_back():  # a process must never exist without being known here
                self._process = subprocess.Popen(
                    self.command,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.PIPE,
                    pass_fds=[end.fileno() for end in theirs.values()],
                    start_new_session=True,
                    env=cleanup.marked(),
                )
        except OSError as error:
            self._close()
            raise LaunchFailure(f"QEMU could not be started ({error})", self.command) from error
        finally:
            for end in theirs.values():
                end.close()
        assert self._process.stderr is not None
        self._pump = Pump(
            control=self._ours["control"],
            debug=self._ours["debug"],
            serial=self._ours["serial"],
            agent=self._ours["agent"],
            errors=self._process.stderr.fileno(),
            on_debug=self._plan.on_debug,
            on_serial=self._plan.on_serial,
        )
        self._pump.start()
        self._qmp = Qmp(self._ours["control"])

    def next_mark(self, what: str, deadline: float, timeout_s: float) -> Mark:
        """The next mark, before ``deadline`` (``time.monotonic``).

        Raises:
            LaunchFailure: QEMU ended; its command line and last words are attached.
            WaitTimeout: nothing came.
        """
        assert self._pump is not None, "the machine was not started"
        try:
            mark = self._pump.marks.get(timeout=max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            raise WaitTimeout(what, timeout_s, self.console()) from None
        if mark.phase is None:
            self.put_back(mark)
            raise LaunchFailure(f"QEMU ended before {what}", self.command, self.console())
        return mark

    def put_back(self, mark: Mark) -> None:
        """Keep a mark that came too soon for whoever asks next."""
        assert self._pump is not None, "the machine was not started"
        self._pump.marks.put(mark)

    def marks_so_far(self) -> list[Mark]:
        """Marks that have come and were not asked for yet, without waiting."""
        found: list[Mark] = []
        with contextlib.suppress(queue.Empty):
            while self._pump is not None:
                mark = self._pump.marks.get_nowait()
                if mark.phase is None:
                    self._pump.marks.put(mark)
                    break
                found.append(mark)
        return found

    def ended_by_itself(self, timeout_s: float) -> None:
        """Wait until QEMU has ended because its guest did. Raises ``WaitTimeout``."""
        assert self._process is not None, "the machine was not started"
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise WaitTimeout("the guest's own end", timeout_s, self.console()) from None
        self.kill()

    def stop(self) -> int:
        """End QEMU in order, else by force; when it had ended (host's clock, ns)."""
        if self._process is not None and self._process.poll() is None:
            # Whatever goes wrong with asking politely, killing follows.
            with contextlib.suppress(VmcompareError):
                self.qmp.command("quit", timeout_s=QUIT_S)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(QUIT_S)
            self._process.kill()
            self._process.wait()
        ended = time.perf_counter_ns()
        self.kill()
        return ended

    def kill(self) -> None:
        """End QEMU by force, wait for it, close every channel."""
        with held_back():
            if self._process is not None:
                self._process.kill()
                self._process.wait()
            if self._pump is not None:
                self._pump.join(_LAST_WORDS_S)
            self._close()

    def gone(self) -> AbnormalShutdown:
        """The error to raise when the guest no longer answers."""
        return AbnormalShutdown("the virtual machine has ended by itself", self.console())

    def _close(self) -> None:
        for end in self._ours.values():
            end.close()
        if self._process is not None and self._process.stderr is not None:
            self._process.stderr.close()

    def _command(self, theirs: dict[str, socket.socket]) -> tuple[str, ...]:
        plan = self._plan
        command = [*plan.qemu.command(), "-nodefaults", "-no-user-config", "-display", "none"]
        command += ["-no-reboot", *plan.accel.arguments(), *plan.arguments]
        for name, end in theirs.items():
            command += ["-chardev", f"socket,id={name},fd={end.fileno()}"]
        command += ["-mon", "chardev=control,mode=control", "-serial", "chardev:serial"]
        # SeaBIOS reports its progress to this port; nothing else in a guest uses it.
        command += ["-device", "isa-debugcon,iobase=0x402,chardev=debug"]
        command += ["-device", f"virtio-serial-{plan.bus}"]
        for name in ("agent", "second"):
            command += ["-device", f"virtserialport,chardev={name},name=vmcompare.{name}"]
        return tuple(command)
