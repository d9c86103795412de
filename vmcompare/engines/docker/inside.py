"""Using a container that runs: its output, commands, files, and the processes the host sees.

The engine has no request to end an exec, so a second one kills it inside; where that cannot run (no
process may be started any more) and the engine shares this kernel, it is killed from outside.
"""

from __future__ import annotations

import contextlib
import functools
import io
import shlex
import socket
import struct
import tarfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psutil

from vmcompare.engines.commands import (
    END_S,
    CommandOutput,
    ProcessTree,
    announcing,
    is_ending,
    kill_line,
    listen,
)
from vmcompare.engines.docker_connection import engine_errors
from vmcompare.errors import AbnormalShutdown, LaunchFailure, WaitTimeout
from vmcompare.sandbox import Completed, OnOutput

if TYPE_CHECKING:
    from docker import APIClient


CONSOLE_BYTES = 8192  # kept of a container's output, for error messages
KILLED = 137  # the exit code of a command that was killed: 128 + SIGKILL
ENDED_S = 5.0  # for the end of a container that lets no command in; 0.3 s is usual
_NOT_IN = "OCI runtime exec failed"  # begins what is printed in the place of a command's output
_ENDED = "the container ended by itself"
_FRAME = struct.Struct(">BxxxL")
"""Header of a piece of output without a TTY: stream (1 output, 2 errors) and length. Source: the
Docker Engine API, "Attach to a container", section "Stream format"."""


class Stream:
    """A connection that the engine handed over: our bytes in, its framed output back.

    Read through the buffered file of the HTTP response, not through the socket the SDK returns:
    output that arrived together with the response's header is in that buffer already.
    """

    def __init__(self, raw: Any) -> None:
        response = getattr(raw, "_response", None)
        self._response = response
        self._socket = getattr(raw, "_sock", raw)
        self._file = response.raw._fp.fp if response is not None else raw

    def timeout(self, seconds: float | None) -> None:
        self._socket.settimeout(seconds)

    def frames(self) -> Iterator[tuple[int, bytes]]:
        """Each piece of output with its stream's number, until the end."""
        while len(header := self._file.read(_FRAME.size)) == _FRAME.size:
            kind, length = _FRAME.unpack(header)
            yield kind, self._file.read(length)

    def end_input(self) -> None:
        """Send the end of the input; output may still come."""
        with contextlib.suppress(OSError):
            if hasattr(self._socket, "shutdown"):
                self._socket.shutdown(socket.SHUT_WR)
            else:  # an SSH channel
                self._socket.shutdown_write()

    def close(self) -> None:
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


def _exit_code(api: APIClient, command: str, deadline: float) -> int:
    """The exit code, which the engine knows a moment after the command's output ended."""
    while True:
        found = api.exec_inspect(command)
        if not found["Running"] and found["ExitCode"] is not None:
            return int(found["ExitCode"])
        if time.monotonic() > deadline:
            raise TimeoutError
        time.sleep(0.002)


def archive(path: str, data: bytes) -> bytes:
    """A tar to unpack at the root: one file of root's, mode 755; the engine makes its folder."""
    member = tarfile.TarInfo(path.lstrip("/"))
    member.size, member.mode, member.mtime = len(data), 0o755, int(time.time())
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        tar.addfile(member, io.BytesIO(data))
    return packed.getvalue()


def host_pids(api: APIClient, container: str) -> tuple[int, ...]:
    """The shim and all processes of ``container``; empty where they cannot be seen."""
    if (served := _served(api, container)) is None:
        return ()
    try:
        return (served[0].pid, *sorted(p.pid for p in served[0].children(recursive=True)))
    except psutil.Error:
        return ()


def _served(api: APIClient, container: str) -> tuple[psutil.Process, psutil.Process] | None:
    """The shim and the first process of ``container``; ``None`` where they cannot be seen.

    An engine in a hidden VM or on another computer reports pids of *its* kernel. So the shim is
    believed only if its command line, which anybody may read, names this container.
    """
    try:
        state = api.inspect_container(container)
        first = psutil.Process(int(state["State"]["Pid"]))
        shim = first.parent()
        if shim is None or not any(str(state["Id"]) in part for part in shim.cmdline()):
            return None
        return shim, first
    except engine_errors(psutil.Error, ValueError):
        return None


@dataclass(frozen=True, slots=True)
class Inside:
    """Commands in a container that runs; its own ``output`` tells when it has ended."""

    api: APIClient
    name: str
    output: Output

    def run(self, argv: Sequence[str], timeout_s: float) -> Completed:
        """Run a command to its end.

        Raises ``WaitTimeout`` (it did not end within ``timeout_s`` seconds, and goes on),
        ``AbnormalShutdown`` (the container ended, and the command with it).
        """
        import docker.errors

        deadline = time.monotonic() + timeout_s
        printed = bytearray()
        try:
            command = self.api.exec_create(self.name, list(argv))["Id"]
            stream = Stream(self.api.exec_start(command, socket=True))
        except docker.errors.APIError as error:
            # Newer engines refuse a program that does not exist, older ones print the same.
            if error.status_code == 400 and "executable file not found" in str(error):
                return Completed(str(error.explanation).encode(), 127)
            raise
        try:
            stream.timeout(max(0.001, deadline - time.monotonic()))
            for _, piece in stream.frames():
                printed += piece
                stream.timeout(max(0.001, deadline - time.monotonic()))
            code = _exit_code(self.api, command, deadline)
        except TimeoutError as error:
            what = f"the end of {shlex.join(argv)}"
            raise WaitTimeout(what, timeout_s, printed.decode(errors="replace")) from error
        finally:
            stream.close()
        suspicious = code == KILLED or printed.startswith(_NOT_IN.encode())
        if suspicious and self._ended():
            raise AbnormalShutdown(_ENDED, self.output.text())
        return Completed(bytes(printed), code)

    @contextlib.contextmanager
    def followed(self, argv: Sequence[str], on_output: OnOutput) -> Iterator[CommandOutput]:
        """Start ``argv``, and end it on leaving.

        Needs a shell in the image. Raises what :class:`vmcompare.sandbox.Follower` says; before the
        command has begun also the engine's own errors.
        """
        command = self.api.exec_create(self.name, list(announcing(argv)))["Id"]
        stream = Stream(self.api.exec_start(command, socket=True))
        stream.timeout(None)
        heard = CommandOutput(on_output, announced=True)
        pids = None
        listen((piece for _, piece in stream.frames()), heard)
        try:
            try:
                pids = heard.pid(argv), int(self.api.exec_inspect(command)["Pid"])
            except LaunchFailure as error:
                if error.console.startswith(_NOT_IN) and self._ended():
                    raise AbnormalShutdown(_ENDED, self.output.text()) from error
                raise
            yield heard
        finally:
            heard.silence()  # what a shell remarks while its children are killed is no output
            gone = pids is None or self.output.ended.is_set() or self._end(pids)
            heard.wait(END_S if gone else 0.0)
            stream.close()
            heard.end(time.perf_counter_ns())
        if not gone:
            what = f"{argv[0]} could not be ended in the container"
            raise AbnormalShutdown(what, self.output.text())

    def _end(self, pids: tuple[int, int]) -> bool:
        """Kill the command and all it has started; whether that is gone, or the container is.

        ``pids``: the command's number inside, and the engine's.
        """
        inner, outer = pids
        for line in (kill_line(inner), kill_line(inner, crowded=True)):
            with contextlib.suppress(*engine_errors(AbnormalShutdown, WaitTimeout)):
                done = self.run(("sh", "-c", line), END_S)
                if done.exit_code == 0:
                    return True
            if self.output.ended.wait(0.2):
                return True
        # Only where the shim is seen are the engine's numbers this kernel's.
        serving = functools.partial(host_pids, self.api, self.name)
        return bool(serving()) and ProcessTree(outer, serving).end()

    def _ended(self) -> bool:
        """Whether a command was killed, or not let in, as its whole container ended.

        Else it was killed alone (out of memory), or there is no such program. The engine reports
        its end before that of its container, so the container's first process is looked at. Where
        that cannot be seen, a second command tells: none is let in once the first process dies.
        """
        if self.output.ended.wait(0.05):
            return True
        if (served := _served(self.api, self.name)) is not None:
            return is_ending(served[1].pid)
        try:
            another = self.api.exec_create(self.name, ["true"])["Id"]
            self.api.exec_start(another)
            if _exit_code(self.api, another, time.monotonic() + ENDED_S) == 0:
                return False
        except engine_errors():
            pass  # or there is no room for one more process: the container's output decides
        return self.output.ended.wait(ENDED_S)
