"""A connection that carries a program's input and output, and a thread that reads it."""

from __future__ import annotations

import contextlib
import struct
import threading
import time
from collections.abc import Iterator
from typing import Any, Protocol

CONSOLE_BYTES = 8192
"""How much of a container's output is kept for error messages."""

_FRAME = struct.Struct(">BxxxL")
"""Header of a piece of output without a TTY: stream (1 output, 2 errors) and length. Source: the
Docker Engine API, "Attach to a container", section "Stream format"."""


class _Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


class Stream:
    """A connection that the engine handed over: our bytes in, its framed output back.

    Read through the buffered file of the HTTP response, not through the socket the SDK returns:
    output that arrived together with the response's header is in that buffer already.
    """

    def __init__(self, raw: Any) -> None:
        response = getattr(raw, "_response", None)
        self._response = response
        self._socket = getattr(raw, "_sock", raw)
        self._file: _Readable = response.raw._fp.fp if response is not None else raw

    def timeout(self, seconds: float | None) -> None:
        """Let reads fail with ``TimeoutError`` after ``seconds``."""
        self._socket.settimeout(seconds)

    def frames(self) -> Iterator[tuple[int, bytes]]:
        """Each piece of output with its stream's number, until the end."""
        while len(header := self._file.read(_FRAME.size)) == _FRAME.size:
            kind, length = _FRAME.unpack(header)
            yield kind, self._file.read(length)

    def end_input(self) -> None:
        """Send the end of the input; output may still come."""
        import socket

        with contextlib.suppress(OSError):
            if hasattr(self._socket, "shutdown"):
                self._socket.shutdown(socket.SHUT_WR)
            else:  # an SSH channel
                self._socket.shutdown_write()

    def close(self) -> None:
        """Close the connection; unblocks a reader."""
        import socket

        with contextlib.suppress(OSError):
            if hasattr(self._socket, "shutdown"):
                self._socket.shutdown(socket.SHUT_RDWR)
        with contextlib.suppress(OSError):
            self._socket.close()


class Output:
    """Reads a container's output in a thread; stamps its first byte and its end (host clock)."""

    def __init__(self, stream: Stream) -> None:
        self.first_ns = 0
        self.end_ns = 0
        self.first_or_end = threading.Event()
        self.ended = threading.Event()
        self._tail = bytearray()
        self._stream = stream
        stream.timeout(None)
        threading.Thread(target=self._read, daemon=True, name="vmcompare docker output").start()

    def text(self) -> str:
        """The last of what was printed, errors included."""
        return bytes(self._tail).decode("utf-8", errors="replace")

    def _read(self) -> None:
        try:
            for kind, piece in self._stream.frames():
                if not self.first_ns and kind == 1 and piece:
                    self.first_ns = time.perf_counter_ns()
                    self.first_or_end.set()
                self._tail += piece
                del self._tail[:-CONSOLE_BYTES]
        except (OSError, ValueError):
            pass  # closed by us, or the engine went away: either way this is the end
        finally:
            self.end_ns = time.perf_counter_ns()
            self.ended.set()
            self.first_or_end.set()
