"""A running VM, controlled through its agents; commands in it are run or followed.

What is followed is started in the background, in a session of its own, with its output on the port
of the second agent (:class:`Listener`). So that agent has answered at once and takes further
commands: one that kills what hangs on the other channel, one that ends what is followed. Their
markers come between the pieces of output and are taken out, and so is the final one, which says
that the command has ended.
"""

from __future__ import annotations

import re
import secrets
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from vmcompare.engines import log
from vmcompare.engines.commands import (
    END_S,
    START_S,
    CommandOutput,
    announcing,
    followed_already,
    kill_line,
)
from vmcompare.engines.qemu import moving
from vmcompare.engines.qemu.boots import SPARE
from vmcompare.engines.qemu.process import (
    PIECE_BYTES,
    TOKEN_BYTES,
    QemuProcess,
    place_line,
    quote,
    session_of,
    stop_line,
)
from vmcompare.errors import AbnormalShutdown, LaunchFailure, Unavailable, WaitTimeout
from vmcompare.sandbox import (
    Channel,
    Completed,
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

    def __init__(
        self, process: QemuProcess, on_event: OnEvent, *, answers: bool, resumed: bool = False
    ) -> None:
        self._process = process
        self._answers = answers
        self._on_event = on_event
        self._agent = process.agent()
        self._second = process.agent("second")
        # A resumed guest's agents greeted before it was kept, and do not greet again.
        self._session = session_of(process.greeting()) if resumed else 0
        self._second.has_greeted = resumed
        self._listener: Listener | None = None
        self._lost = False

    def run(self, argv: Sequence[str], *, timeout_s: float = 60.0) -> Completed:
        """See :class:`vmcompare.sandbox.Sandbox`. After a ``WaitTimeout`` the command is dead."""
        self._await_ready()
        log.command(argv, "in the VM")
        try:
            return self._agent.run(argv, timeout_s)
        except WaitTimeout as error:
            self._stop_what_runs()
            raise WaitTimeout(error.what, timeout_s, self.console()) from None
        except AbnormalShutdown as error:
            raise self._process.gone() from error

    def put(self, path: str, data: bytes) -> None:
        """See :class:`vmcompare.sandbox.Sandbox`. Raises ``LaunchFailure`` if it cannot."""
        self._await_ready()
        try:
            done = self._agent.run_line(place_line(path), _PUT_S)
            if not done.exit_code:
                done = self._agent.put(path, data, _PUT_S)
        except AbnormalShutdown as error:
            raise self._process.gone() from error
        if done.exit_code:
            raise LaunchFailure(f"{path} could not be written in the guest", ("put", path))

    def start_instructions(self) -> int:
        """See :class:`vmcompare.sandbox.Counted`."""
        return self._process.start_instructions()

    @contextmanager
    def follow(self, argv: Sequence[str], on_output: OnOutput) -> Iterator[Followed]:
        """See :class:`vmcompare.sandbox.Follower`. The second channel carries the output."""
        self._await_ready()
        if self._lost:
            raise self._process.gone()
        if self._listener is not None:
            raise followed_already(argv)
        try:
            self._second.greeted(_STOP_S)
            self._second.settle(_STOP_S)
        except TimeoutError:
            raise WaitTimeout("the second agent's answer", _STOP_S, self.console()) from None
        except (AbnormalShutdown, OSError) as error:
            raise self._process.gone() from error
        listener = self._listener = Listener(self._second.channel, on_output)
        try:
            try:
                listener.start(argv)
            except AbnormalShutdown as error:
                raise self._process.gone() from error
            yield listener.heard
        finally:
            if listener.end():
                self._listener = None
            else:  # it does not answer: nobody else may use this channel any more
                self._lost = True
        if listener.survived:
            raise AbnormalShutdown(f"{argv[0]} could not be ended in the guest", self.console())

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
        self._second.greeted(_READY_S)
        with moving.migrated(self._process) as (target, took_s, pause_s):
            there = Guest(target, self._on_event, answers=True, resumed=True)
            yield Migration(there, took_s, pause_s)

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
        for event in self._process.events_so_far():
            self._on_event(event)

    def _await_ready(self) -> None:
        if not self._answers:
            raise Unavailable(
                "a boot sector prints one message and runs no commands",
                "read what it printed with console()",
            )
        deadline = time.monotonic() + _READY_S
        while not self._session:
            try:
                event = self._process.next_event("the agent's greeting", deadline, _READY_S)
            except LaunchFailure as error:  # QEMU ended after the first byte
                raise self._process.gone() from error
            except WaitTimeout as error:  # a row keeps its words alone: let them tell what they can
                what = f"{error.what} (last on its console: {_last_line(error.console)!r})"
                raise WaitTimeout(what, error.timeout_s, error.console) from None
            self._on_event(event)
            if event.phase is Phase.READY:
                self._session = session_of(self._process.greeting())

    def _stop_what_runs(self) -> None:
        """Kill what hangs on the first channel, through the second."""
        try:
            if self._listener is not None:
                self._listener.run_line(stop_line(self._session), _STOP_S)
            else:
                self._second.greeted(_STOP_S)
                self._second.run_line(stop_line(self._session), _STOP_S)
            self._agent.settle(_STOP_S)
        except (TimeoutError, WaitTimeout):
            pass  # the next command waits for the stale answer first
        except (AbnormalShutdown, OSError) as error:
            raise self._process.gone() from error


def _last_line(console: str) -> str:
    plain = _ESCAPES.sub("", console)
    lines = ("".join(filter(str.isprintable, line)).strip() for line in plain.splitlines())
    return ([line for line in lines if line] or [""])[-1]


_RS = "\036"  # begins the last word: output is held back only where it ends in one


@dataclass(slots=True)
class _Question:
    """A line sent to the agent: its marker, whether it has come, and the exit code in it."""

    marker: bytes
    last: bool = False
    code: int = 0
    answered: threading.Event = field(default_factory=threading.Event)


class Listener:
    """Reads a channel, in a thread of its own, from :meth:`start` to :meth:`end`.

    Nobody else may use the channel meanwhile. ``heard`` is what the caller sees of the command;
    ``survived`` says whether :meth:`end` could not end all that it started.
    """

    def __init__(self, channel: socket.socket, on_output: OnOutput) -> None:
        self.heard = CommandOutput(on_output, announced=True)
        self._channel = channel
        self._last_word = (_RS + secrets.token_hex(TOKEN_BYTES)).encode()
        self._buffer = bytearray()
        self._questions: deque[_Question] = deque()
        self._asking = threading.Lock()
        self._pid = 0
        self._done = False
        self.survived = False
        self._thread = threading.Thread(target=self._read, name="vmcompare-follow", daemon=True)

    def start(self, argv: Sequence[str]) -> None:
        """Start the command.

        Raises:
            LaunchFailure: there is no such program.
            AbnormalShutdown: the guest is gone.
            WaitTimeout: the guest did not answer.
        """
        words = " ".join(quote(word) for word in announcing(argv))
        last_word = self._last_word[1:].decode()
        # The shell around the session outlives it and has the last word, however that ended. Its
        # own remarks ("Killed") are nobody's output.
        line = f"( setsid {words}; printf '\\036%s' {last_word} ) 2>/dev/null &"
        self._channel.settimeout(None)
        self._thread.start()
        self.run_line(line, START_S)
        self._pid = self.heard.pid(argv)

    def end(self) -> bool:
        """End the command and what it started; whether the channel is as it was before.

        It is not where the guest is gone or does not answer.
        """
        self.heard.silence()  # what a shell remarks while its children are killed is no output
        try:
            if self._pid:  # though it ended: what it left running goes too
                self.survived = self.run_line(kill_line(self._pid), END_S) != 0
            if not self.heard.wait(END_S):  # its last word is on its way
                return False
            self.run_line(":", END_S, last=True)  # its marker is the last thing that is read here
        except (AbnormalShutdown, WaitTimeout):
            return False
        self._thread.join(END_S)
        return not self._thread.is_alive()

    def run_line(self, line: str, timeout_s: float, *, last: bool = False) -> int:
        """Let the agent run a line of shell that prints nothing; its exit code."""
        token = secrets.token_hex(TOKEN_BYTES)
        question = _Question(f"\n{token} ".encode(), last)
        with self._asking:  # in the order in which they are answered
            self._questions.append(question)
            try:
                self._channel.sendall(f"{token} {line}\n".encode("utf-8", "surrogateescape"))
            except OSError as error:
                raise AbnormalShutdown("the guest is gone") from error
        deadline = time.monotonic() + timeout_s
        while not question.answered.wait(0.05):
            if not self._thread.is_alive():
                raise AbnormalShutdown("the guest is gone")
            if time.monotonic() > deadline:
                raise WaitTimeout(f"the end of {line!r} in the guest", timeout_s)
        return question.code

    def _read(self) -> None:
        try:
            while piece := self._channel.recv(PIECE_BYTES):
                now = time.perf_counter_ns()
                self._buffer += piece
                while self._take(now):
                    pass
                if self._done:
                    return
        except OSError:
            pass  # closed by us: the guest is gone
        finally:
            self.heard.end(time.perf_counter_ns())

    def _take(self, now: int) -> bool:
        """Hand on what is output for certain; whether a marker or the last word was taken out."""
        marker = self._questions[0].marker if self._questions else b""
        at = self._buffer.find(marker) if marker else -1
        last = self._buffer.find(self._last_word)
        if last >= 0 and (at < 0 or last < at):
            self._hand_on(last, now)
            del self._buffer[: len(self._last_word)]
            self.heard.end(now)
            return True
        if at >= 0:
            self._hand_on(at, now)
            line_end = self._buffer.find(b"\n", len(marker))
            if line_end < 0:
                return False
            question = self._questions.popleft()
            question.code = int(self._buffer[len(marker) : line_end])
            del self._buffer[: line_end + 1]
            self._done = question.last
            question.answered.set()
            return True
        held = max(_overlap(self._buffer, marker), _overlap(self._buffer, self._last_word))
        self._hand_on(len(self._buffer) - held, now)
        return False

    def _hand_on(self, size: int, now: int) -> None:
        if size:
            self.heard.hand_on(bytes(self._buffer[:size]), now)
            del self._buffer[:size]


def _overlap(text: bytearray, mark: bytes) -> int:
    """How many bytes at the end of ``text`` may be the beginning of ``mark``."""
    for size in range(min(len(text), len(mark) - 1), 0, -1):
        if text.endswith(mark[:size]):
            return size
    return 0


def _at_rest(read: Callable[[], int], wanted: int) -> int:
    """What is read once it is as wanted, or has not changed for :data:`_STILL_S` seconds."""
    actual, moved_s = read(), time.monotonic()
    while actual != wanted and time.monotonic() < moved_s + _STILL_S:
        time.sleep(_PAUSE_S)
        before, actual = actual, read()
        if actual != before:
            moved_s = time.monotonic()
    return actual
