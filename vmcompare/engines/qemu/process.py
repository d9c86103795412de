"""One QEMU process, from its start to its certain end, and all that is said to it and by it.

Its channels are socket pairs passed by number: no path and no port is left behind, and when this
process dies they close, which the guest's agent notices.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import queue
import selectors
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import FrameType
from typing import Any, Self

from vmcompare.engines import cleanup, log
from vmcompare.engines.commands import end_child, kill_child
from vmcompare.engines.programs import first_byte
from vmcompare.engines.qemu.agent import BACK, HELLO, Agent
from vmcompare.engines.qemu.binary import Qemu
from vmcompare.engines.qemu.boots import Boot, Marker, counting, plan_arguments
from vmcompare.errors import (
    AbnormalShutdown,
    LaunchFailure,
    UnknownName,
    VmcompareError,
    WaitTimeout,
)
from vmcompare.sandbox import BOOT_SECTOR, FIRST_BYTE, Event, OnEvent, Phase, Spec

COUNT_S = 60.0  # from the first byte until the guest has said what it counted
QUIT_S = 3.0  # for QEMU to leave when asked to; it needs about 0.02 s
_LAST_WORDS_S = 2.0  # for the last output of an ended QEMU to arrive; it is in the pipes
_PIECE_BYTES = 1 << 16  # at most, of one read
_PORTS = ("agent", "second")  # of virtio-serial, numbered from 1 in the guest
_FURTHER = "further-"  # begins what the channels of a ``Spec`` are called here
INCOMING = ("-incoming", "defer")
"""Options of a process whose guest was booted in another one."""


class QemuProcess:
    """Starts with :meth:`start`; ends with :meth:`stop`, or by force where a ``with`` is left.

    ``options`` are further arguments for QEMU; ``files`` descriptors that it inherits, which stay
    the caller's to close. Once started it has the guest's two agents: ``agent`` obeys, ``second``
    can stop what hangs there, and follows a command.
    """

    agent: Agent
    second: Agent

    def __init__(
        self,
        qemu: Qemu,
        boot: Boot,
        spec: Spec,
        options: Sequence[str] = (),
        files: Sequence[int] = (),
    ) -> None:
        self._qemu, self._boot, self.spec = qemu, boot, spec
        self._options, self._files = tuple(options), tuple(files)
        self.resumes = set(INCOMING) <= set(options)
        self._ports = (*_PORTS, *(_FURTHER + name for name in spec.channels))
        self._process: subprocess.Popen[bytes] | None = None
        self._ours: dict[str, socket.socket] = {}
        self._reader: OutputReader | None = None
        self._threads: list[threading.Thread] = []
        self.command: tuple[str, ...] = ()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def twin(self) -> QemuProcess:
        """Another one, not started yet, with the same virtual hardware, for the same guest."""
        options = (*self._options, *INCOMING)
        return QemuProcess(self._qemu, self._boot, self.spec, options, self._files)

    @property
    def has_disk(self) -> bool:
        return "-drive" in self._boot.arguments

    @property
    def pid(self) -> int:
        assert self._process is not None, "QEMU was not started"
        return self._process.pid

    @functools.cached_property
    def qmp(self) -> Qmp:
        """The control channel; usable after ``SPAWN``."""
        return Qmp(self._ours["control"])

    def channel(self, name: str) -> tuple[int, socket.socket]:
        """Of a further channel the port's number in the guest, and our end. ``UnknownName``."""
        if name not in self.spec.channels:
            raise UnknownName("channel", name, self.spec.channels)
        key = _FURTHER + name
        return self._ports.index(key) + 1, self._ours[key]

    def console(self) -> str:
        """The last lines of the serial port, and what QEMU itself complained about."""
        return (self._reader.serial.text() + self._reader.errors.text()) if self._reader else ""

    def start_instructions(self) -> int:
        """See :class:`vmcompare.sandbox.Counted`."""
        assert self._reader is not None, "QEMU was not started"
        if self.spec.image == BOOT_SECTOR:  # its processor has stopped for good
            return int(self.qmp.command("query-replay")["icount"])
        deadline = time.monotonic() + COUNT_S
        while self._process is not None and self._process.poll() is None:
            said = bytes(self._reader.serial.kept)
            stamped, idle = first_byte.STAMP.search(said), first_byte.IDLE.findall(said)
            if stamped and len(idle) == 2:
                return first_byte.stamp(stamped) - sum(map(int, idle))
            if time.monotonic() > deadline:
                raise WaitTimeout("the guest's count", COUNT_S, self.console())
            time.sleep(0.05)
        raise self.gone()

    def start(self) -> None:
        """Start QEMU. Raises ``LaunchFailure`` if the program cannot be run."""
        theirs: dict[str, socket.socket] = {}
        try:
            for name in ("control", "debug", "serial", *self._ports):
                self._ours[name], theirs[name] = socket.socketpair()
            self.command = self._command(theirs)
            with held_back():  # a process must never exist without being known here
                self._process = subprocess.Popen(
                    self.command,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.PIPE,
                    pass_fds=[*(end.fileno() for end in theirs.values()), *self._files],
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
        self._reader = OutputReader(self._ours, self._process.stderr.fileno(), self._boot)
        self._threads.append(self._reader.thread)
        hello, again = (BACK, b"") if self.resumes else (HELLO, HELLO)
        self.agent = Agent(self._ours["agent"], hello, self.gone)
        self._threads.append(self.agent.thread)
        self.second = Agent(self._ours["second"], again, self.gone)
        self._threads.append(self.second.thread)
        log.command(self.command)

    def reached(
        self, phase: Phase, what: str, timeout_s: float, tell: OnEvent | None = None
    ) -> Event:
        """Wait for the end of a phase (``what``, in words), and ``tell`` of it and those before.

        Raises ``LaunchFailure`` if QEMU ended or its guest gave up; else ``WaitTimeout``.
        """
        assert self._reader is not None, "QEMU was not started"
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                event = self._reader.events.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                raise WaitTimeout(what, timeout_s, self.console()) from None
            if event is None:
                raise LaunchFailure(f"QEMU ended before {what}", self.command, self.console())
            if event.phase is Phase.EXIT:
                raise LaunchFailure("the VM gave up its boot", self.command, self.console())
            if tell is not None:
                tell(event)
            if event.phase is phase:
                return event

    def ended_by_itself(self, timeout_s: float) -> None:
        """Wait until QEMU has ended because its guest did. Raises ``WaitTimeout``."""
        assert self._process is not None, "QEMU was not started"
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
            end_child(self._process, QUIT_S)
        ended = time.perf_counter_ns()
        self.kill()
        return ended

    def kill(self) -> None:
        """End QEMU by force, wait for it, close every channel."""
        with held_back():
            if self._process is not None:
                kill_child(self._process)
            for thread in self._threads:
                thread.join(_LAST_WORDS_S)
            self._close()

    def gone(self) -> AbnormalShutdown:
        return AbnormalShutdown("the virtual machine has ended by itself", self.console())

    def _close(self) -> None:
        for end in self._ours.values():
            end.close()
        if self._process is not None and self._process.stderr is not None:
            self._process.stderr.close()

    def _command(self, theirs: dict[str, socket.socket]) -> tuple[str, ...]:
        command = [*self._qemu.command(), "-nodefaults", "-no-user-config", "-display", "none"]
        command += ["-no-reboot", *self._qemu.accelerator()]
        command += [*plan_arguments(self._boot, self.spec), *self._options]
        command += counting(self._boot) if self.spec.counted else ()
        for name, end in theirs.items():
            command += ["-chardev", f"socket,id={name},fd={end.fileno()}"]
        command += ["-mon", "chardev=control,mode=control", "-serial", "chardev:serial"]
        if self._boot.on_debug:
            # SeaBIOS reports its progress to this port; nothing else in a guest uses it.
            command += ["-device", "isa-debugcon,iobase=0x402,chardev=debug"]
        command += ["-device", "virtio-serial-pci"]
        for name in self._ports:
            command += ["-device", f"virtserialport,chardev={name},name=vmcompare.{name}"]
        return tuple(command)


KEPT = 64 * 1024  # of the serial port and of standard error (the last ones)


class _Stream:
    """One thing to read: what is kept of it, and the markers that are still awaited in it."""

    def __init__(self, number: int, markers: Sequence[Marker] = ()) -> None:
        self.number = number
        self.kept = bytearray()
        self.awaited = list(markers)

    def feed(self, piece: bytes, tell: Callable[[Phase], None]) -> None:
        before = len(self.kept)
        self.kept += piece
        for phase, text in list(self.awaited):
            # A marker may straddle two pieces.
            if self.kept.find(text, max(0, before - len(text) + 1)) >= 0:
                self.awaited.remove((phase, text))
                tell(phase)
        if len(self.kept) > KEPT:
            del self.kept[: len(self.kept) - KEPT]

    def text(self) -> str:
        return bytes(self.kept).decode(errors="replace")


class OutputReader:
    """The thread that reads what one QEMU says, until it has closed all its channels.

    Of ``control`` only the first line is read here, QEMU's greeting (``SPAWN``).
    """

    def __init__(self, channels: Mapping[str, socket.socket], errors: int, boot: Boot) -> None:
        self.events: queue.SimpleQueue[Event | None] = queue.SimpleQueue()  # None: QEMU has ended
        markers = [*boot.on_serial, (Phase.FIRST_BYTE, FIRST_BYTE)]
        self._control = _Stream(channels["control"].fileno(), [(Phase.SPAWN, b"\n")])
        self.serial = _Stream(channels["serial"].fileno(), markers)
        self.errors = _Stream(errors)
        # In the order of a boot: what is ready at the same moment is told in this order.
        debug = _Stream(channels["debug"].fileno(), boot.on_debug)
        self._streams = (self._control, debug, self.serial, self.errors)
        self.thread = threading.Thread(target=self._run, name="vmcompare-qemu-output", daemon=True)
        self.thread.start()

    def _run(self) -> None:
        with selectors.DefaultSelector() as selector:
            for order, stream in enumerate(self._streams):
                selector.register(stream.number, selectors.EVENT_READ, (order, stream))
            while selector.get_map():
                ready = selector.select()
                now = time.perf_counter_ns()
                for key, _ in sorted(ready, key=lambda pair: pair[0].data[0]):
                    if not self._read(key.data[1], now):
                        selector.unregister(key.fileobj)
        self.events.put(None)

    def _read(self, stream: _Stream, now: int) -> bool:
        """Read what is there; false when nothing more is to be read here."""
        try:
            piece = os.read(stream.number, _PIECE_BYTES)
        except OSError:
            return False
        stream.feed(piece, lambda phase: self.events.put(Event(phase, now)))
        return bool(piece) and (stream is not self._control or bool(stream.awaited))


_PAUSE_S = 0.002  # between two questions to QEMU
ANSWER_S = 10.0  # for QEMU, which needs milliseconds, except on a very busy computer


class Qmp:
    """A client on a connected socket whose greeting has been read."""

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        self._buffer = b""
        self._number = 0
        self._negotiated = False

    def command(
        self,
        name: str,
        *,
        timeout_s: float = ANSWER_S,
        file: int | None = None,
        **arguments: object,
    ) -> Any:
        """Send a command, with a descriptor ``file`` for ``getfd``; wait for its answer.

        Raises:
            LaunchFailure: QEMU refuses the command.
            AbnormalShutdown: QEMU has closed the channel.
            WaitTimeout: no answer in ``timeout_s`` seconds.
        """
        if not self._negotiated:
            self._negotiated = True
            self.command("qmp_capabilities", timeout_s=timeout_s)
        self._number += 1
        request = {"execute": name, "arguments": arguments, "id": self._number}
        deadline = time.monotonic() + timeout_s
        try:
            self._channel.settimeout(timeout_s)
            data = json.dumps(request).encode() + b"\n"
            sent = 0 if file is None else socket.send_fds(self._channel, [data], [file])
            self._channel.sendall(data[sent:])
            while (message := self._message(deadline)).get("id") != self._number:
                pass  # an event, or the answer to a command that was given up
        except TimeoutError:
            raise WaitTimeout(f"QEMU's answer to {name!r}", timeout_s) from None
        except OSError as error:
            raise AbnormalShutdown(f"QEMU closed its control channel at {name!r}") from error
        if "error" in message:
            raise LaunchFailure(f"QEMU refuses {name!r}", (name,), str(message["error"]["desc"]))
        return message["return"]

    def until(self, question: str, *wanted: str, timeout_s: float) -> dict[str, Any]:
        """Ask until the status is one of ``wanted``; the answer. Raises as :meth:`command` does."""
        deadline = time.monotonic() + timeout_s
        while True:
            told: dict[str, Any] = self.command(question, timeout_s=timeout_s)
            if told.get("status") in wanted:
                return told
            if time.monotonic() > deadline:
                raise WaitTimeout(f"QEMU's {' or '.join(wanted)}", timeout_s)
            time.sleep(_PAUSE_S)

    def _message(self, deadline: float) -> dict[str, Any]:
        while b"\n" not in self._buffer:
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError
            self._channel.settimeout(left)
            piece = self._channel.recv(_PIECE_BYTES)
            if not piece:
                raise ConnectionResetError
            self._buffer += piece
        line, _, self._buffer = self._buffer.partition(b"\n")
        message: dict[str, Any] = json.loads(line)
        return message


_HELD = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)


@contextlib.contextmanager
def held_back() -> Iterator[None]:
    """Within a short block SIGINT, SIGTERM and SIGHUP wait; they are delivered when it ends.

    Outside the main thread nothing needs to be done: Python runs handlers in the main thread only.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[tuple[signal.Signals, FrameType | None]] = []

    def hold(number: int, frame: FrameType | None) -> None:
        came.append((signal.Signals(number), frame))

    handlers = {number: signal.getsignal(number) for number in _HELD}
    try:
        with contextlib.ExitStack() as stack:
            for number, handler in handlers.items():
                if callable(handler):
                    stack.callback(signal.signal, number, handler)
                    signal.signal(number, hold)
            yield
    finally:
        for number, frame in came:
            handler = handlers[number]
            if callable(handler):
                handler(number, frame)
