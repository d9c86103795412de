"""Reads everything a machine says, in one thread, and stamps the instants that matter.

One reader and one stamp per wake-up make the marks monotonic by construction: whatever is ready
at the same moment gets the same instant, in the order of a boot.
"""

from __future__ import annotations

import os
import queue
import selectors
import socket
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from vmcompare.sandbox import FIRST_BYTE, Phase

KEPT = 64 * 1024
"""Bytes of the serial port and of standard error that are kept (the last ones)."""

_PIECE = 1 << 16


@dataclass(frozen=True, slots=True)
class Mark:
    """``phase`` ended at ``t_ns`` (host's ``perf_counter_ns``); None: the machine has ended."""

    phase: Phase | None
    t_ns: int


@dataclass(frozen=True, slots=True)
class Sign:
    """The first time ``text`` appears on a stream, ``phase`` has ended."""

    phase: Phase
    text: bytes


class _Stream:
    """One thing to read: what is kept of it, and the signs that are still awaited on it.

    ``source`` is a descriptor to read to its end, or a socket of which only the first line (a
    greeting) is read: what follows belongs to somebody else.
    """

    def __init__(self, source: int | socket.socket, signs: Sequence[Sign]) -> None:
        self.kept = bytearray()
        self.is_greeting = not isinstance(source, int)
        self._source = source
        self._awaited = list(signs)

    def fileno(self) -> int:
        return self._source if isinstance(self._source, int) else self._source.fileno()

    def read(self) -> bytes:
        if isinstance(self._source, int):
            return os.read(self._source, _PIECE)
        ahead = self._source.recv(_PIECE, socket.MSG_PEEK)
        line_end = ahead.find(b"\n")
        return self._source.recv(line_end + 1 if line_end >= 0 else max(1, len(ahead)))

    def feed(self, piece: bytes, tell: Callable[[Phase], None]) -> None:
        before = len(self.kept)
        self.kept += piece
        for sign in list(self._awaited):
            # A sign may straddle two pieces.
            if self.kept.find(sign.text, max(0, before - len(sign.text) + 1)) >= 0:
                self._awaited.remove(sign)
                tell(sign.phase)
        if len(self.kept) > KEPT:
            del self.kept[: len(self.kept) - KEPT]

    def text(self) -> str:
        return bytes(self.kept).decode(errors="replace")


class Pump:
    """The reading thread of one machine.

    Args:
        control, debug, serial, agent: host ends of its channels. Of ``control`` and ``agent`` only
            the first line is read here (their greetings: ``SPAWN`` and ``READY``); the rest is
            left to whoever talks over them.
        errors: descriptor of its standard error.
        on_debug, on_serial: signs awaited there. ``FIRST_BYTE`` is always awaited on the serial
            port.
    """

    def __init__(
        self,
        *,
        control: socket.socket,
        debug: socket.socket,
        serial: socket.socket,
        agent: socket.socket,
        errors: int,
        on_debug: Sequence[Sign],
        on_serial: Sequence[Sign],
    ) -> None:
        self.marks: queue.SimpleQueue[Mark] = queue.SimpleQueue()
        first_byte = Sign(Phase.FIRST_BYTE, FIRST_BYTE)
        line_end = b"\n"
        self._agent = _Stream(agent, [Sign(Phase.READY, line_end)])
        self._serial = _Stream(serial.fileno(), [*on_serial, first_byte])
        self._errors = _Stream(errors, [])
        # In the order of a boot: what is ready at the same moment is told in this order.
        self._streams = [
            _Stream(control, [Sign(Phase.SPAWN, line_end)]),
            _Stream(debug.fileno(), on_debug),
            self._serial,
            self._agent,
            self._errors,
        ]
        self._thread = threading.Thread(target=self._run, name="vmcompare-pump", daemon=True)

    def start(self) -> None:
        """Start reading."""
        self._thread.start()

    def join(self, timeout_s: float) -> None:
        """Wait until the machine has closed all its channels."""
        if self._thread.ident is not None:
            self._thread.join(timeout_s)

    def console(self) -> str:
        """What the serial port said last, at most :data:`KEPT` bytes."""
        return self._serial.text()

    def errors(self) -> str:
        """What QEMU itself wrote to standard error."""
        return self._errors.text()

    def greeting(self) -> bytes:
        """The agent's first line, once ``READY`` was marked."""
        return bytes(self._agent.kept)

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
        self.marks.put(Mark(None, time.perf_counter_ns()))

    def _read(self, stream: _Stream, now: int) -> bool:
        """Read what is there; false when nothing more is to be read here."""
        try:
            piece = stream.read()
        except OSError:
            return False
        stream.feed(piece, lambda phase: self.marks.put(Mark(phase, now)))
        return bool(piece) and not (stream.is_greeting and piece.endswith(b"\n"))
