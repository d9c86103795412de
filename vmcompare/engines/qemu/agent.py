"""The host's side of ``images/guest/agent.sh``: commands to a guest, and their output back.

A command that is followed runs in the background, in a session of its own, so the agent has
answered at once and takes further commands: one that kills what hangs on the other port, one that
ends what is followed. Their markers come between the pieces of output and are taken out, and so is
the final one, which says that the command has ended.
"""

from __future__ import annotations

import secrets
import shlex
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from vmcompare.engines.commands import (
    END_S,
    START_S,
    CommandOutput,
    announcing,
    followed_already,
    kill_line,
)
from vmcompare.errors import AbnormalShutdown, WaitTimeout
from vmcompare.sandbox import Completed, OnOutput

HELLO, BACK = b"HELLO ", b"BACK "
"""How the agent greets after a boot, and answers after a resume; its process number follows."""

_PIECE_BYTES = 1 << 16  # at most, of one read
_TOKEN_BYTES = 8  # random ones, in the marker by which an answer is known
_SEND_S = 120.0  # for the guest to take what is sent to it


@dataclass(slots=True)
class _Awaited:
    """Something that the guest will say: ``marker``, a number and the end of the line.

    ``came_ns`` stays 0 where the guest was gone before that.
    """

    marker: bytes
    output: bytearray = field(default_factory=bytearray)  # what came before the marker
    number: int = 0
    came_ns: int = 0
    over: threading.Event = field(default_factory=threading.Event)


class Agent:
    """One port of a guest, read by a thread of its own until the guest is gone.

    A command that was given up leaves its answer to come; it is taken out when it does, so answers
    never get mixed up.

    Args:
        channel: the host's end of the port.
        greeting: what the guest's end says first (:data:`HELLO`, :data:`BACK`), or nothing.
        gone: the error for a guest that is gone.
    """

    def __init__(
        self, channel: socket.socket, greeting: bytes, gone: Callable[[], AbnormalShutdown]
    ) -> None:
        self._channel, self._gone = channel, gone
        self._greeting = _Awaited(greeting)
        self._awaited = [self._greeting] if greeting else []
        self._asking = threading.Lock()
        self._buffer = bytearray()
        self._heard: CommandOutput | None = None  # of the command that is followed
        self._last_word: _Awaited | None = None  # of that command
        self._ended = False
        self._channel.settimeout(_SEND_S)
        self.thread = threading.Thread(target=self._read, name="vmcompare-agent", daemon=True)
        self.thread.start()

    @property
    def greeted_ns(self) -> int:
        """When it greeted (host, ns); 0 before that."""
        return self._greeting.came_ns

    def greeted(self, timeout_s: float) -> int:
        """Wait for the greeting: when it came. Raises ``WaitTimeout`` or ``AbnormalShutdown``."""
        self._wait(self._greeting, "the agent's greeting", timeout_s)
        return self.greeted_ns

    def run(self, argv: Sequence[str], timeout_s: float) -> Completed:
        """Run a command to its end.

        Raises:
            WaitTimeout: it still runs.
            AbnormalShutdown: the guest is gone.
            ValueError: an argument contains a NUL character.
        """
        return self.run_line(" ".join(quote(argument) for argument in argv), timeout_s)

    def run_line(self, line: str, timeout_s: float, data: bytes = b"") -> Completed:
        """The same for a line of shell, or ``PUT`` with the ``data`` behind it."""
        question = self._ask(line, data)
        self._wait(question, f"the end of {line!r} in the guest", timeout_s)
        return Completed(bytes(question.output), question.number)

    def put(self, path: str, data: bytes, timeout_s: float) -> bool:
        """Write ``data`` to ``path``, in a folder that is made where there is none; whether it
        worked. Raises as :meth:`run` does."""
        folder, place = quote(str(PurePosixPath(path).parent)), quote(path)
        busybox = "/bin/busybox"
        made = f"{busybox} mkdir -p {folder} && : >{place} && {busybox} chmod 755 {place}"
        return (
            self.run_line(made, timeout_s).exit_code == 0
            and self.run_line(f"PUT {len(data)} {place}", timeout_s, data).exit_code == 0
        )

    def ask_whether_back(self) -> None:
        """Let the agent of a resumed guest greet."""
        self._ask(f"echo '{BACK.decode()}'$$")

    def stop_what_runs(self, other: Agent, timeout_s: float) -> None:
        """Kill whatever the ``other`` agent has started. Raises as :meth:`run` does."""
        leader = other._greeting.number
        self.run_line(
            f'for p in $(pgrep -s {leader}); do [ "$p" = {leader} ] || kill -9 "$p"; done',
            timeout_s,
        )

    @contextmanager
    def following(self, argv: Sequence[str], on_output: OnOutput) -> Iterator[CommandOutput]:
        """See :class:`vmcompare.sandbox.Follower`. What is run meanwhile must print nothing."""
        if self._ended:
            raise self._gone()
        if self._heard is not None:
            raise followed_already(argv)
        words = " ".join(quote(word) for word in announcing(argv))
        heard = self._heard = CommandOutput(on_output, announced=True)
        token = secrets.token_hex(_TOKEN_BYTES)
        # A control character begins it: output is held back only where it ends in one.
        self._last_word = _Awaited(f"\036{token} ".encode())
        self._awaited.append(self._last_word)
        pid, survived = 0, 0
        try:
            # The shell around the session outlives it and has the last word, however that ended.
            # Its own remarks ("Killed") are nobody's output.
            line = f"( setsid {words}; printf '\\036%s 0\\n' {token} ) 2>/dev/null &"
            self.run_line(line, START_S)
            pid = heard.pid(argv)
            yield heard
        finally:
            heard.silence()  # what a shell remarks while its children are killed is no output
            try:
                if pid:  # though it ended: what it left running goes too
                    survived = self.run_line(kill_line(pid), END_S).exit_code
                if heard.wait(END_S):  # its last word is on its way
                    self._heard = None
            except (AbnormalShutdown, WaitTimeout):
                pass  # it is gone, or does not answer: then nothing more is followed there
        if survived:
            raise AbnormalShutdown(f"{argv[0]} could not be ended in the guest")

    def _ask(self, line: str, data: bytes = b"") -> _Awaited:
        token = secrets.token_hex(_TOKEN_BYTES)
        question = _Awaited(f"\n{token} ".encode())
        with self._asking:  # in the order in which they are answered
            self._awaited.append(question)
            try:
                said = f"{token} {line}\n".encode("utf-8", "surrogateescape")
                self._channel.sendall(said + data)
            except TimeoutError:
                raise WaitTimeout("the guest to take what it was sent", _SEND_S) from None
            except OSError as error:
                raise self._gone() from error
        return question

    def _wait(self, awaited: _Awaited, what: str, timeout_s: float) -> None:
        if not self._ended and not awaited.over.wait(timeout_s):
            raise WaitTimeout(what, timeout_s)
        if not awaited.came_ns:
            raise self._gone()

    def _read(self) -> None:
        try:
            while piece := self._received():
                now = time.perf_counter_ns()
                self._buffer += piece
                while self._take(now):
                    pass
        finally:
            self._ended = True
            for awaited in self._awaited:
                awaited.over.set()
            if self._heard is not None:
                self._heard.end(time.perf_counter_ns())

    def _received(self) -> bytes:
        """The next piece; none once the guest is gone, or we have closed the channel."""
        while True:
            try:
                return self._channel.recv(_PIECE_BYTES)
            except TimeoutError:
                continue  # the limit is for sending
            except OSError:
                return b""

    def _take(self, now: int) -> bool:
        """Hand on what is output for certain; whether what is awaited was taken out behind it."""
        found = [
            (at, awaited)
            for awaited in self._awaited
            if (at := self._buffer.find(awaited.marker)) >= 0
        ]
        if not found:
            held = max((_overlap(self._buffer, one.marker) for one in self._awaited), default=0)
            self._hand_on(len(self._buffer) - held, now)
            return False
        at, awaited = min(found, key=lambda pair: pair[0])
        self._hand_on(at, now)
        end = self._buffer.find(b"\n", len(awaited.marker))
        if end < 0:
            return False
        awaited.number, awaited.came_ns = int(self._buffer[len(awaited.marker) : end]), now
        del self._buffer[: end + 1]
        self._awaited.remove(awaited)
        awaited.over.set()
        if self._heard is not None and awaited is self._last_word:
            self._heard.end(now)
        return True

    def _hand_on(self, size: int, now: int) -> None:
        if self._heard is not None and size:
            self._heard.hand_on(bytes(self._buffer[:size]), now)
        elif self._awaited:
            self._awaited[0].output += self._buffer[:size]
        del self._buffer[:size]


def _overlap(text: bytearray, mark: bytes) -> int:
    """How many bytes at the end of ``text`` may be the beginning of ``mark``."""
    for size in range(min(len(text), len(mark) - 1), 0, -1):
        if text.endswith(mark[:size]):
            return size
    return 0


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
