"""Started without a manager: what a process, bubblewrap and runc share. Each is held by its input.

The end of a container's first program is seen through a pidfd, which names a process and not a
number; commands are sent in by a second program (``nsenter``, ``runc exec``).
"""

from __future__ import annotations

import contextlib
import os
import platform
import re
import selectors
import signal
import subprocess
import tempfile
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import IO, ClassVar, Protocol

import psutil

from vmcompare.engines import log
from vmcompare.engines.commands import (
    END_S,
    announcing,
    followed,
    is_ending,
    kill_line,
    one_at_a_time,
    run_to_end,
)
from vmcompare.engines.images import alpine, cache
from vmcompare.engines.images.oci import ENVIRONMENT
from vmcompare.errors import AbnormalShutdown, LaunchFailure, Unavailable, WaitTimeout
from vmcompare.sandbox import (
    ALPINE,
    Completed,
    Event,
    Followed,
    ImageFacts,
    OnEvent,
    OnOutput,
    Phase,
    Sandbox,
    Spec,
    Start,
    Traits,
    refuse_what_only_vms_have,
)

FIRST_BYTE_TIMEOUT_S = 20.0  # from the start to the first byte; 0.005 to 0.05 s is usual
GRACE_S = 2.0  # for a program to end once its standard input ended; 0.01 s is usual
KILLED_S = 10.0  # until a killed program must have ended; 0.01 s is usual
CONSOLE_BYTES = 4000  # as much of the end of what was printed is kept for error messages

# A line of runc's log: time="…" level=error msg="…". The time would make every error a new one.
_LOGGED = re.compile(r'time="[^"]*" level=\w+ msg="((?:[^"\\]|\\.)*)"')

_KILLED = 128 + 9  # SIGKILL, by number: this module is imported where there is none
_WRITE = 'mkdir -p "${1%/*}" && cat >"$1" && chmod 755 "$1"'


class Container(Protocol):
    """One container of a mechanism: how it is started, watched and ended."""

    command: Sequence[str]
    environment: Mapping[str, str] | None

    def watch(self, child: subprocess.Popen[bytes], printed: IO[bytes]) -> Sandbox:
        """What the container is used through, after its first byte."""

    def end(self, child: subprocess.Popen[bytes], *, strict: bool) -> tuple[int, int]:
        """End it, started well or not; when its first program had ended, and all of it (ns).

        Its input has ended. With ``strict`` raises ``AbnormalShutdown`` where it cannot be removed.
        """


class BareLauncher(ABC):
    runtime: ClassVar[str]

    @abstractmethod
    def container(self, spec: Spec) -> AbstractContextManager[Container]:
        """What ``spec`` is started as; all that is no part of a start is done on entering."""

    def refuse(self, spec: Spec) -> None:
        """Raise ``Unavailable`` for what a bare mechanism lacks: networks, images, warmth."""
        refuse_what_only_vms_have(spec)
        name = self.runtime
        if spec.network:
            raise Unavailable(f"{name} brings no network of its own", "choose a start without one")
        if spec.image != ALPINE:
            raise Unavailable(f"{name} has no image called {spec.image}", f"choose {ALPINE}")
        if spec.start is not Start.COLD:
            raise Unavailable(f"{name} has no {spec.start.value} start here", "choose a cold start")

    @contextlib.contextmanager
    def open(self, spec: Spec, on_event: OnEvent) -> Iterator[Sandbox]:
        self.refuse(spec)
        with self.container(spec) as container, tempfile.TemporaryFile() as printed:
            command = container.command
            child, start_ns = started(self.runtime, command, printed, container.environment)
            ended = False
            # Events are told after the start was timed: a watcher costs the container nothing.
            try:
                first_ns = _first_byte_ns(child, command, printed)
                sandbox = container.watch(child, printed)
                on_event(Event(Phase.OPEN, start_ns))
                on_event(Event(Phase.FIRST_BYTE, first_ns))
                yield sandbox
                ended = True
            finally:
                close_pipes(child)
                exit_ns, removed_ns = container.end(child, strict=ended)
        on_event(Event(Phase.EXIT, exit_ns))
        if removed_ns:
            on_event(Event(Phase.REMOVED, removed_ns))

    def image(self, spec: Spec) -> ImageFacts:
        self.refuse(spec)
        size = alpine.rootfs_tar().stat().st_size
        return ImageFacts(cache.digest(alpine.rootfs_tar()), size)

    def traits(self, spec: Spec) -> Traits:  # noqa: ARG002
        return Traits("mechanism", runtime=self.runtime)


class PidHandle:
    """A process of the host that is not our child, by its pidfd. Close it when done."""

    def __init__(self, pid: int) -> None:
        """Raises ``ProcessLookupError`` when there is none."""
        self.pid = pid
        self._pidfd = os.pidfd_open(pid)

    def ended(self, timeout_s: float = 0.0) -> bool:
        """Whether it ended, waiting ``timeout_s`` seconds for that; ``True`` once closed."""
        if self._pidfd < 0:
            return True
        with selectors.DefaultSelector() as ready:
            ready.register(self._pidfd, selectors.EVENT_READ)
            return bool(ready.select(timeout_s))

    def is_ending(self) -> bool:
        """Whether it has ended, or has begun to."""
        return self.ended() or is_ending(self.pid)

    def end(self, grace_s: float) -> None:
        """Wait ``grace_s`` seconds for its end, then kill it."""
        if not self.ended(grace_s):
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
            if not self.ended(KILLED_S):
                raise AbnormalShutdown(f"process {self.pid} does not end, although it was killed")

    def close(self) -> None:
        if self._pidfd >= 0:
            os.close(self._pidfd)
            self._pidfd = -1


@dataclass(slots=True)
class BareSandbox:
    """A container that runs; a :class:`vmcompare.sandbox.Sandbox`.

    Attributes:
        enter: the command that runs another inside: its argv is appended.
        serving: every process of the host that serves it.
        printed: what it and its starter print to standard error.
        environment: of ``enter``.
        cannot: how ``enter`` says that there is no such program; else it ends with 127.
    """

    enter: tuple[str, ...]
    first: PidHandle
    serving: Callable[[], tuple[int, ...]]
    printed: IO[bytes]
    environment: Mapping[str, str] = field(default_factory=lambda: ENVIRONMENT)
    cannot: bytes | None = None
    following: threading.Lock = field(default_factory=threading.Lock, init=False)

    def run(self, argv: Sequence[str], *, timeout_s: float = 60.0) -> Completed:
        done = self._enter(argv, b"", timeout_s)
        if self.cannot is not None and done.exit_code and self.cannot in done.output:
            return Completed(done.output, 127)
        return done

    @contextlib.contextmanager
    def follow(self, argv: Sequence[str], on_output: OnOutput) -> Iterator[Followed]:
        if self.first.is_ending():
            raise AbnormalShutdown("the container has ended")
        following = followed(
            (*self.enter, *announcing(argv)),
            on_output,
            announced=argv,
            end_inside=self._end_inside,
            environment=self.environment,
        )
        with one_at_a_time(self.following, argv), contextlib.ExitStack() as entered:
            try:
                heard = entered.enter_context(following)
            except LaunchFailure as error:  # no such program, or no container any more to look in
                if self.first.is_ending():
                    raise AbnormalShutdown("the container has ended") from error
                raise
            yield heard

    def _end_inside(self, pid: int) -> None:
        with contextlib.suppress(AbnormalShutdown, WaitTimeout):  # gone, or killed from outside
            self._enter(("sh", "-c", kill_line(pid)), b"", END_S)

    def put(self, path: str, data: bytes) -> None:
        """Write ``data`` to ``path``: only /tmp can be written, the rest is read-only."""
        argv = ("/bin/busybox", "sh", "-c", _WRITE, "sh", path)
        done = self._enter(argv, data, 60.0)
        if done.exit_code:
            what = f"{path} could not be written: only /tmp is writable in a bare container"
            raise LaunchFailure(what, argv, done.output.decode(errors="replace"))

    def host_pids(self) -> tuple[int, ...]:
        return () if self.first.is_ending() else self.serving()

    def console(self) -> str:
        return console(self.printed)

    def _enter(self, argv: Sequence[str], data: bytes, timeout_s: float) -> Completed:
        if self.first.is_ending():
            raise AbnormalShutdown("the container has ended")
        output, code = run_to_end(
            [*self.enter, *argv],
            timeout_s=timeout_s,
            data=data,
            environment=self.environment,
            shown=argv,
        )
        code = 128 - code if code < 0 else code  # as shells count a signal
        # Killed: with the whole container, or alone (out of memory)?
        if code and (self.first.ended(0.2 if code == _KILLED else 0.0) or self.first.is_ending()):
            raise AbnormalShutdown("the container ended by itself", self.console())
        return Completed(output, code)


def started(
    what: str,
    command: Sequence[str],
    printed: IO[bytes],
    environment: Mapping[str, str] | None,
) -> tuple[subprocess.Popen[bytes], int]:
    """The command, started in a session of its own with both ends held, and when it was called.

    ``printed`` takes its standard error. Raises ``LaunchFailure``: ``what`` did not start.
    """
    log.command(command)
    start_ns = time.perf_counter_ns()
    try:
        child = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=printed,
            start_new_session=True,
            env=environment,
        )
    except OSError as error:
        raise LaunchFailure(f"{what} did not start", command, cleaned(str(error))) from error
    return child, start_ns


def console(printed: IO[bytes]) -> str:
    """The last lines in a file that a program writes to; empty once it is closed."""
    if printed.closed:
        return ""
    size = os.fstat(printed.fileno()).st_size
    start = max(0, size - CONSOLE_BYTES)
    return cleaned(os.pread(printed.fileno(), CONSOLE_BYTES, start).decode(errors="replace"))


def cleaned(text: str) -> str:
    """What a program printed, fit for a recording: no log dates, no home directory."""
    return log.homeless(_LOGGED.sub(lambda found: found[1].replace('\\"', '"'), text))


def close_pipes(child: subprocess.Popen[bytes]) -> None:
    """End its input, which is the dead-man's switch, and read no more of it."""
    for pipe in (child.stdin, child.stdout):
        with contextlib.suppress(OSError):
            assert pipe is not None
            pipe.close()


def _first_byte_ns(
    starter: subprocess.Popen[bytes], command: Sequence[str], printed: IO[bytes]
) -> int:
    """When the first byte came, on the host's clock. Raises ``WaitTimeout``, ``LaunchFailure``."""
    assert starter.stdout is not None
    with selectors.DefaultSelector() as ready:
        ready.register(starter.stdout, selectors.EVENT_READ)
        in_time = ready.select(FIRST_BYTE_TIMEOUT_S)
    data = os.read(starter.stdout.fileno(), 1) if in_time else b""
    now_ns = time.perf_counter_ns()
    if not in_time:
        what = f"the first byte of {command[0]}"
        raise WaitTimeout(what, FIRST_BYTE_TIMEOUT_S, console(printed))
    if not data:
        what = "the instance ended before its first byte"
        raise LaunchFailure(what, command, console(printed))
    return now_ns


def children(pid: int) -> tuple[int, ...]:
    try:  # at once, where a search through all processes takes milliseconds
        with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as stream:  # noqa: PTH123
            return tuple(map(int, stream.read().split()))
    except OSError:
        try:
            return tuple(child.pid for child in psutil.Process(pid).children())
        except psutil.Error:
            return ()


def refuse_other_systems(name: str) -> None:
    """Raise ``Unavailable`` except on Linux 5.3 and later, where processes can be held."""
    if platform.system() != "Linux":
        raise Unavailable(f"{name} is for Linux only", "replay a recording")
    try:
        os.close(os.pidfd_open(os.getpid()))
    except (AttributeError, OSError):
        what = "this kernel has no pidfd (Linux 5.3 and later have)"
        raise Unavailable(what, "replay a recording") from None
