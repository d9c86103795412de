"""The command channel: the host's side of ``images/guest/agent.sh`` over virtio-serial."""

from __future__ import annotations

import secrets
import shlex
import socket
import time
from collections.abc import Sequence
from pathlib import PurePosixPath

from vmcompare.errors import AbnormalShutdown, WaitTimeout
from vmcompare.sandbox import Completed

HELLO = b"HELLO "
"""How the agent greets; its process number follows."""

_PIECE = 1 << 16
_TOKEN_BYTES = 8


class Agent:
    """Runs commands through one port. Not safe for two threads at once.

    A command that was given up leaves its answer in the channel; the next call reads up to its
    marker first, so answers never get mixed up.
    """

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        self._buffer = bytearray()
        self._unanswered = b""

    def greeted(self, timeout_s: float) -> int:
        """Wait for the agent's greeting; its process number inside, which leads a session."""
        deadline = time.monotonic() + timeout_s
        try:
            while b"\n" not in self._buffer:
                self._receive(deadline)
        except TimeoutError:
            raise WaitTimeout("the agent's greeting", timeout_s) from None
        line, _, rest = bytes(self._buffer).partition(b"\n")
        self._buffer = bytearray(rest)
        return session_of(line)

    def run(self, argv: Sequence[str], timeout_s: float) -> Completed:
        """Run a command to its end.

        Raises:
            WaitTimeout: it still runs; call :meth:`settle` once it has been stopped.
            AbnormalShutdown: the guest is gone.
            ValueError: an argument contains a NUL character.
        """
        return self.run_line(" ".join(quote(argument) for argument in argv), timeout_s)

    def run_line(self, line: str, timeout_s: float) -> Completed:
        """Like :meth:`run`, for one line of shell."""
        return self._ask(line.encode("utf-8", "surrogateescape"), b"", timeout_s)

    def put(self, path: str, data: bytes, timeout_s: float) -> Completed:
        """Write ``data`` to ``path``; the exit code says whether it worked."""
        head = f"PUT {len(data)} {quote(path)}"
        return self._ask(head.encode("utf-8", "surrogateescape"), data, timeout_s)

    def settle(self, timeout_s: float) -> None:
        """Discard what is left of a command that was given up, up to its marker."""
        if self._unanswered:
            self._answer(self._unanswered, time.monotonic() + timeout_s)
            self._unanswered = b""

    def _ask(self, line: bytes, data: bytes, timeout_s: float) -> Completed:
        deadline = time.monotonic() + timeout_s
        token = secrets.token_hex(_TOKEN_BYTES).encode()
        try:
            self.settle(timeout_s)
            self._unanswered = b"\n" + token + b" "
            self._channel.settimeout(max(0.001, deadline - time.monotonic()))
            self._channel.sendall(token + b" " + line + b"\n" + data)
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
        self._channel.settimeout(left)
        piece = self._channel.recv(_PIECE)
        if not piece:
            raise ConnectionResetError
        self._buffer += piece


def session_of(greeting: bytes) -> int:
    """The agent's process number in its greeting line."""
    return int(greeting.strip().removeprefix(HELLO))


def stop_line(session: int) -> str:
    """A line of shell that kills whatever the agent leading ``session`` has started."""
    return f'for p in $(pgrep -s {session}); do [ "$p" = {session} ] || kill -9 "$p"; done'


def place_line(path: str) -> str:
    """A line of shell that makes an empty program at ``path``, and the folder it lies in."""
    folder, place = quote(str(PurePosixPath(path).parent)), quote(path)
    return f"/bin/busybox mkdir -p {folder} && : >{place} && /bin/busybox chmod 755 {place}"


def quote(argument: str) -> str:
    """Quote one argument for BusyBox's shell, on one line whatever it contains.

    Raises:
        ValueError: it contains a NUL character, which no program can be given.
    """
    if "\0" in argument:
        raise ValueError("an argument cannot contain a NUL character")
    if all(character >= " " and character != "\x7f" for character in argument):
        return shlex.quote(argument)
    escaped = "".join(
        f"\\{ord(character):03o}" if character < " " or character in "\x7f'\\" else character
        for character in argument
    )
    return f"$'{escaped}'"
