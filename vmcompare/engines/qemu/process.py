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
import secrets
import selectors
import shlex
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from types import FrameType
from typing import Any

from vmcompare.engines import cleanup, log
from vmcompare.engines.commands import end_child, kill_child
from vmcompare.engines.programs import first_byte
from vmcompare.engines.qemu.accel import Accelerator
from vmcompare.engines.qemu.binary import Qemu
from vmcompare.engines.qemu.boots import Boot, PhaseMarker, counting, plan_arguments
from vmcompare.errors import (
    AbnormalShutdown,
    LaunchFailure,
    UnknownName,
    VmcompareError,
    WaitTimeout,
)
from vmcompare.sandbox import BOOT_SECTOR, FIRST_BYTE, Completed, Event, Phase, Spec

COUNT_S = 60.0  # from the first byte until the guest has said what it counted
QUIT_S = 3.0  # for QEMU to leave when asked to; it needs about 0.02 s
_LAST_WORDS_S = 2.0  # for the last output of an ended QEMU to arrive; it is in the pipes
PIECE_BYTES = 1 << 16  # at most, of one read from a channel
TOKEN_BYTES = 8  # random ones, in the marker by which an answer of the guest is known
_PORTS = ("agent", "second")  # of virtio-serial, numbered from 1 in the guest
_FURTHER = "further-"  # begins what the channels of a ``Spec`` are called here


class QemuProcess:
    """Starts with :meth:`start`; ends with :meth:`stop` or :meth:`kill`, both safe to repeat.

    ``options`` are further arguments for QEMU; ``files`` descriptors that it inherits, which stay
    the caller's to close.
    """

    def __init__(
        self,
        qemu: Qemu,
        accel: Accelerator,
        boot: Boot,
        spec: Spec,
        options: Sequence[str] = (),
        files: Sequence[int] = (),
    ) -> None:
        self._qemu, self._accel, self._boot, self.spec = qemu, accel, boot, spec
        self._options, self._files = tuple(options), tuple(files)
        self._ports = (*_PORTS, *(_FURTHER + name for name in spec.channels))
        self._agents: dict[str, Agent] = {}
        self._process: subprocess.Popen[bytes] | None = None
        self._ours: dict[str, socket.socket] = {}
        self._reader: OutputReader | None = None
        self.command: tuple[str, ...] = ()

    def twin(self, *options: str) -> QemuProcess:
        """Another one, not started yet, with the same virtual hardware and further ``options``."""
        every = (*self._options, *options)
        return QemuProcess(self._qemu, self._accel, self._boot, self.spec, every, self._files)

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

    def agent(self, name: str = "agent") -> Agent:
        if name not in self._agents:
            self._agents[name] = Agent(self._ours[name])
        return self._agents[name]

    def channel(self, name: str) -> tuple[int, socket.socket]:
        """Of a further channel the port's number in the guest, and our end. ``UnknownName``."""
        if name not in self.spec.channels:
            raise UnknownName("channel", name, self.spec.channels)
        key = _FURTHER + name
        return self._ports.index(key) + 1, self._ours[key]

    def greeting(self) -> bytes:
        """The first agent's first line, after ``READY`` or ``RESUMED``."""
        assert self._reader is not None, "QEMU was not started"
        return bytes(self._reader.agent.kept)

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
        log.command(self.command)

    def next_event(self, what: str, deadline: float, timeout_s: float) -> Event:
        """The end of the next phase, before ``deadline`` (``time.monotonic``).

        Raises ``LaunchFailure`` if QEMU ended or its guest gave up; else ``WaitTimeout``.
        """
        assert self._reader is not None, "QEMU was not started"
        try:
            event = self._reader.events.get(timeout=max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            raise WaitTimeout(what, timeout_s, self.console()) from None
        if event is None:
            self.put_back(event)
            raise LaunchFailure(f"QEMU ended before {what}", self.command, self.console())
        if event.phase is Phase.EXIT:
            raise LaunchFailure("the VM gave up its boot", self.command, self.console())
        return event

    def reached(self, *phases: Phase, timeout_s: float) -> Event:
        """The event of the last of ``phases`` to end. Raises as :meth:`next_event` does."""
        deadline, awaited = time.monotonic() + timeout_s, set(phases)
        while True:
            event = self.next_event(f"the end of {' and '.join(phases)}", deadline, timeout_s)
            awaited.discard(event.phase)
            if not awaited:
                return event

    def put_back(self, event: Event | None) -> None:
        """Keep an event that came too soon for whoever asks next."""
        assert self._reader is not None, "QEMU was not started"
        self._reader.events.put(event)

    def events_so_far(self) -> list[Event]:
        """Events that have come and were not asked for yet, without waiting."""
        found: list[Event] = []
        with contextlib.suppress(queue.Empty):
            while self._reader is not None:
                event = self._reader.events.get_nowait()
                if event is None:
                    self.put_back(event)
                    break
                found.append(event)
        return found

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
            if self._reader is not None:
                self._reader.thread.join(_LAST_WORDS_S)
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
        command += ["-no-reboot", *self._accel.arguments()]
        command += [*plan_arguments(self._boot, self.spec), *self._options]
        command += counting(self._boot) if self.spec.counted else ()
        for name, end in theirs.items():
            command += ["-chardev", f"socket,id={name},fd={end.fileno()}"]
        command += ["-mon", "chardev=control,mode=control", "-serial", "chardev:serial"]
        if self._boot.is_pc:
            # SeaBIOS reports its progress to this port; nothing else in a guest uses it.
            command += ["-device", "isa-debugcon,iobase=0x402,chardev=debug"]
        command += ["-device", "virtio-serial-pci"]
        for name in self._ports:
            command += ["-device", f"virtserialport,chardev={name},name=vmcompare.{name}"]
        return tuple(command)


KEPT = 64 * 1024  # of the serial port and of standard error (the last ones)


class _Stream:
    """One thing to read: what is kept of it, and the markers that are still awaited in it.

    Of a socket only the first line (a greeting) is read: what follows belongs to somebody else.
    """

    def __init__(self, source: int | socket.socket, markers: Sequence[PhaseMarker]) -> None:
        self.kept = bytearray()
        self.is_greeting = not isinstance(source, int)
        self._source = source
        self._awaited = list(markers)

    def fileno(self) -> int:
        return self._source if isinstance(self._source, int) else self._source.fileno()

    def read(self) -> bytes:
        if isinstance(self._source, int):
            return os.read(self._source, PIECE_BYTES)
        ahead = self._source.recv(PIECE_BYTES, socket.MSG_PEEK)
        line_end = ahead.find(b"\n")
        return self._source.recv(line_end + 1 if line_end >= 0 else max(1, len(ahead)))

    def feed(self, piece: bytes, tell: Callable[[Phase], None]) -> None:
        before = 0 if self.is_greeting else len(self.kept)
        self.kept += piece
        if self.is_greeting and not self.kept.endswith(b"\n"):
            return  # of a greeting, the whole line is awaited
        for marker in list(self._awaited):
            # A marker may straddle two pieces.
            if self.kept.find(marker.text, max(0, before - len(marker.text) + 1)) >= 0:
                self._awaited.remove(marker)
                tell(marker.phase)
        if len(self.kept) > KEPT:
            del self.kept[: len(self.kept) - KEPT]

    def text(self) -> str:
        return bytes(self.kept).decode(errors="replace")


class OutputReader:
    """The thread that reads what one QEMU says, until it has closed all its channels.

    Of ``control`` and ``agent`` only the first line is read here: QEMU's greeting (``SPAWN``), the
    agent's after a boot (``READY``), or what it says after a resume (``RESUMED``).
    """

    def __init__(self, channels: Mapping[str, socket.socket], errors: int, boot: Boot) -> None:
        self.events: queue.SimpleQueue[Event | None] = queue.SimpleQueue()  # None: QEMU has ended
        markers = [*boot.on_serial, PhaseMarker(Phase.FIRST_BYTE, FIRST_BYTE)]
        back = [PhaseMarker(Phase.READY, HELLO), PhaseMarker(Phase.RESUMED, BACK)]
        self.serial = _Stream(channels["serial"].fileno(), markers)
        self.agent = _Stream(channels["agent"], back)
        self.errors = _Stream(errors, [])
        # In the order of a boot: what is ready at the same moment is told in this order.
        self._streams = [
            _Stream(channels["control"], [PhaseMarker(Phase.SPAWN, b"\n")]),
            _Stream(channels["debug"].fileno(), boot.on_debug),
            self.serial,
            self.agent,
            self.errors,
        ]
        self.thread = threading.Thread(target=self._run, name="vmcompare-qemu-output", daemon=True)
        self.thread.start()

    def _run(self) -> None:
        with selectors.DefaultSelector() as selector:
            for order, stream in enumerate(self._streams):
                selector.register(stream, selectors.EVENT_READ, (order, stream))
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
            piece = stream.read()
        except OSError:
            return False
        stream.feed(piece, lambda phase: self.events.put(Event(phase, now)))
        return bool(piece) and not (stream.is_greeting and piece.endswith(b"\n"))


_PAUSE_S = 0.002  # between two questions to QEMU
ANSWER_S = 10.0  # for QEMU, which needs milliseconds, except on a very busy computer


class Qmp:
    """A client on a connected socket whose greeting has been read."""

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        self._buffer = b""
        self._number = 0
        self._negotiated = False
        self.events: list[dict[str, Any]] = []

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
            while True:
                message = self._message(deadline)
                if "event" in message:
                    self.events.append(message)
                elif message.get("id") == self._number:
                    break
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
            piece = self._channel.recv(65536)
            if not piece:
                raise ConnectionResetError
            self._buffer += piece
        line, _, self._buffer = self._buffer.partition(b"\n")
        message: dict[str, Any] = json.loads(line)
        return message


HELLO, BACK = b"HELLO ", b"BACK "
"""How the agent greets after a boot, and answers after a resume; its process number follows."""


class Agent:
    """The host's side of ``images/guest/agent.sh``, on one port. Not safe for two threads at once.

    A command that was given up leaves its answer in the channel; the next call reads up to its
    marker first, so answers never get mixed up.
    """

    def __init__(self, channel: socket.socket) -> None:
        self.has_greeted = False  # the greeting of the first agent is read elsewhere
        self.channel = channel
        self._buffer = bytearray()
        self._unanswered = b""

    def greeted(self, timeout_s: float) -> None:
        """Wait for the agent's greeting, unless it has come. Raises ``WaitTimeout``."""
        if self.has_greeted:
            return
        deadline = time.monotonic() + timeout_s
        try:
            while b"\n" not in self._buffer:
                self._receive(deadline)
        except TimeoutError:
            raise WaitTimeout("the agent's greeting", timeout_s) from None
        del self._buffer[: self._buffer.index(b"\n") + 1]
        self.has_greeted = True

    def run(self, argv: Sequence[str], timeout_s: float) -> Completed:
        """Run a command to its end.

        Raises:
            WaitTimeout: it still runs; call :meth:`settle` once it has been stopped.
            AbnormalShutdown: the guest is gone.
            ValueError: an argument contains a NUL character.
        """
        return self.run_line(" ".join(quote(argument) for argument in argv), timeout_s)

    def run_line(self, line: str, timeout_s: float) -> Completed:
        return self._ask(line.encode("utf-8", "surrogateescape"), b"", timeout_s)

    def put(self, path: str, data: bytes, timeout_s: float) -> Completed:
        """Write ``data`` to ``path``; the exit code says whether it worked."""
        head = f"PUT {len(data)} {quote(path)}"
        return self._ask(head.encode("utf-8", "surrogateescape"), data, timeout_s)

    def ask_whether_back(self) -> None:
        """Let the agent of a resumed guest say :data:`BACK`; the next call reads the rest."""
        token = secrets.token_hex(TOKEN_BYTES).encode()
        self._unanswered = b"\n" + token + b" "
        self.channel.sendall(token + b" echo " + BACK + b"$$\n")

    def settle(self, timeout_s: float) -> None:
        """Discard what is left of a command that was given up, up to its marker."""
        if self._unanswered:
            self._answer(self._unanswered, time.monotonic() + timeout_s)
            self._unanswered = b""

    def _ask(self, line: bytes, data: bytes, timeout_s: float) -> Completed:
        deadline = time.monotonic() + timeout_s
        token = secrets.token_hex(TOKEN_BYTES).encode()
        try:
            self.settle(timeout_s)
            self._unanswered = b"\n" + token + b" "
            self.channel.settimeout(max(0.001, deadline - time.monotonic()))
            self.channel.sendall(token + b" " + line + b"\n" + data)
            done = self._answer(self._unanswered, deadline)
        except TimeoutError:
            text = line.decode(errors="replace")
            raise WaitTimeout(f"the end of {text!r} in the guest", timeout_s) from None
        except OSError as error:  # closed by the guest's end, or by ours after leaving
            raise AbnormalShutdown("the guest is gone") from error
        self._unanswered = b""
        return done

    def _answer(self, marker: bytes, deadline: float) -> Completed:
        searched = 0
        while True:
            at = self._buffer.find(marker, searched)
            if at >= 0:
                end = self._buffer.find(b"\n", at + len(marker))
                if end >= 0:
                    break
            else:
                searched = max(0, len(self._buffer) - len(marker))
            self._receive(deadline)
        output, code = bytes(self._buffer[:at]), int(self._buffer[at + len(marker) : end])
        del self._buffer[: end + 1]
        return Completed(output, code)

    def _receive(self, deadline: float) -> None:
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self.channel.settimeout(left)
        piece = self.channel.recv(PIECE_BYTES)
        if not piece:
            raise ConnectionResetError
        self._buffer += piece


def session_of(greeting: bytes) -> int:
    return int(greeting.split()[1])


def stop_line(session: int) -> str:
    """A line of shell that kills whatever the agent leading ``session`` has started."""
    return f'for p in $(pgrep -s {session}); do [ "$p" = {session} ] || kill -9 "$p"; done'


def place_line(path: str) -> str:
    """A line of shell that makes an empty program at ``path``, and the folder it lies in."""
    folder, place = quote(str(PurePosixPath(path).parent)), quote(path)
    return f"/bin/busybox mkdir -p {folder} && : >{place} && /bin/busybox chmod 755 {place}"


def quote(argument: str) -> str:
    """Quote one argument for BusyBox's shell, on one line; ``ValueError`` if it has a NUL."""
    if "\0" in argument:
        raise ValueError("an argument cannot contain a NUL character")
    if all(character >= " " and character != "\x7f" for character in argument):
        return shlex.quote(argument)
    escaped = "".join(
        f"\\{ord(character):03o}" if character < " " or character in "\x7f'\\" else character
        for character in argument
    )
    return f"$'{escaped}'"


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
