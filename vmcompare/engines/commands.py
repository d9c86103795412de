"""What backends share to follow a command: its output handed on, and its certain end.

What a command has started is found by who its parent is, and by whose session it belongs to. A
daemon leaves its parent, and a runtime's container its session; neither leaves both at the same
moment. The search is made anew until it finds nobody.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from vmcompare.engines import cleanup, log
from vmcompare.errors import AbnormalShutdown, LaunchFailure, WaitTimeout
from vmcompare.sandbox import OnOutput

START_S = 60.0  # for a command to follow to begin; emulated it takes about 0.2 s
END_S = 15.0  # for it to be gone once it was killed; emulated it takes about 0.2 s
_PAUSE_S = 0.01

# Errors join the output inside: two pipes would be read in any order.
_BEGIN = 'command -v "$1" >/dev/null 2>&1 || { echo 0; exit 127; }; echo $$; exec "$@" 2>&1'

_SEARCHES = 50  # inside, at most: a crowd of processes needs two or three

# Process, state, parent and session are fields 1, 3, 4 and 6 of /proc/PID/stat (proc(5)); the name
# between them may hold blanks. Any process that was found may lead a session, too.
_FIND = (
    '{p=$1; sub(/^.*\\) /,""); if($1!="Z"&&$1!="X"){par[p]=$2; ses[p]=$4}} '
    'END{n=split(k,w,","); for(i=1;i<=n;i++)known[w[i]]=1; '
    "do{more=0; for(p in ses)if(!(p in hit)&&((ses[p] in known)||(par[p] in hit)||p==root))"
    '{hit[p]=1; more=1; if(!(p in known)){known[p]=1; k=k","p}}}while(more); '
    'printf "%s",k; for(p in hit)printf " %s",p}'
)


class CommandOutput:
    """The output of one command; a :class:`vmcompare.sandbox.Followed`.

    ``on_output`` is told of each piece, never after :meth:`silence` has returned; it must not
    raise. If ``announced``, the first line is not output but the number of the command's process
    inside, as :func:`announcing` prints it. ``host_pid`` is 0 but for a child of this process.
    """

    def __init__(self, on_output: OnOutput, *, announced: bool) -> None:
        self.host_pid = 0
        self._on_output = on_output
        self._lock = threading.Lock()
        self._silent = False
        self._ended_ns: int | None = None
        self._ended = threading.Event()
        self._begun = threading.Event()
        self._head: bytearray | None = bytearray() if announced else None
        self._pid = 0
        self._said = ""

    def ended_ns(self) -> int | None:
        return self._ended_ns

    def wait(self, timeout_s: float) -> bool:
        return self._ended.wait(timeout_s)

    def pid(self, argv: Sequence[str]) -> int:
        """The command's process number inside, once it was announced.

        Raises ``LaunchFailure`` (no such program), ``AbnormalShutdown`` (the output ended before),
        ``WaitTimeout``.
        """
        if not self._begun.wait(START_S):
            raise WaitTimeout(f"the start of {argv[0]}", START_S)
        if self._head is not None:
            raise AbnormalShutdown(f"the instance ended while {argv[0]} was started")
        if "fork failed: Cannot allocate memory" in self._said:
            # What Linux answers whoever enters a process namespace after its process 1 has ended.
            raise AbnormalShutdown(f"the instance ended before {argv[0]} was started")
        if not self._pid:
            raise LaunchFailure(f"there is no program {argv[0]} in the instance", argv, self._said)
        return self._pid

    def hand_on(self, piece: bytes, t_ns: int) -> None:
        if self._head is not None:
            self._head += piece
            line, found, piece = bytes(self._head).partition(b"\n")
            if not found:
                return
            # What is no number comes from whatever was to run the command: it did not.
            self._pid = int(line) if line.isdigit() else 0
            self._said = "" if line.isdigit() else line.decode(errors="replace")
            self._head = None
            self._begun.set()
        with self._lock:
            if piece and not self._silent:
                self._on_output(piece, t_ns)

    def end(self, t_ns: int) -> None:
        """The output ended at ``t_ns``; the first call counts."""
        if self._ended_ns is None:
            self._ended_ns = t_ns
        self._begun.set()
        self._ended.set()

    def silence(self) -> None:
        """Hand on nothing more; returns once nothing is being handed on."""
        with self._lock:
            self._silent = True


def announcing(argv: Sequence[str]) -> tuple[str, ...]:
    """A command that prints its process number (0: no such program) and becomes ``argv``."""
    return ("sh", "-c", _BEGIN, "sh", *argv)


def kill_line(pid: int, *, crowded: bool = False) -> str:
    """A line of shell that kills ``pid``, which leads a session, and whatever it has started.

    Of POSIX, plus BusyBox's (and anybody's) ``awk``, and Linux's ``/proc``. The exit code says
    whether all of it is gone. Where no process more may be started (``crowded``) the shell itself
    kills the group first.
    """
    first = f"kill -9 -- -{pid} 2>/dev/null; " if crowded else ""
    search = f"awk -v root={pid} -v k=\"$k\" '{_FIND}'"
    return (
        f"{first}k={pid}; n=0; while [ $n -lt {_SEARCHES} ]; do n=$((n+1)); "
        f"set -- $(cat /proc/[0-9]*/stat 2>/dev/null | {search}); "
        '[ $# -gt 0 ] || exit 1; k=$1; shift; [ $# -gt 0 ] || exit 0; kill -9 "$@" 2>/dev/null; '
        "done; exit 1"
    )


@contextmanager
def one_at_a_time(following: threading.Lock, argv: Sequence[str]) -> Iterator[None]:
    """One command at a time is followed in an instance. Raises ``LaunchFailure`` if one is."""
    if not following.acquire(blocking=False):
        raise followed_already(argv)
    try:
        yield
    finally:
        following.release()


def followed_already(argv: Sequence[str]) -> LaunchFailure:
    return LaunchFailure("this instance has a command that is followed already", argv)


class ProcessTree:
    """A process of this computer (Linux) that leads a session, and what it starts.

    ``among`` tells which processes it can only be, where the number may be another's by now.
    """

    def __init__(self, pid: int, among: Callable[[], Collection[int]] | None = None) -> None:
        self._pid, self._among = pid, among
        self._sessions = {pid}

    def look(self) -> set[int]:
        """Which of it live now. Sessions seen once are known from then on."""
        alive = _parents_and_sessions()
        allowed = alive.keys() if self._among is None else alive.keys() & set(self._among())
        found: set[int] = set()
        while True:
            more = {
                number
                for number in allowed - found
                if number == self._pid
                or alive[number][1] in self._sessions
                or alive[number][0] in found
            }
            if not more:
                return found
            found |= more
            self._sessions |= {number for number in more if alive[number][1] == number}

    def end(self, timeout_s: float = END_S) -> bool:
        """Kill all of it; whether it is gone in time."""
        deadline = time.monotonic() + timeout_s
        stopped: set[int] = set()
        # A child that leaves the session is known by its parent alone. So nothing is killed while
        # anything can still start a child: what is stopped cannot.
        while (more := self.look() - stopped) and time.monotonic() < deadline:
            _signal(more, signal.SIGSTOP)
            stopped |= more
        while found := self.look():
            if time.monotonic() > deadline:
                return False
            _signal(found, signal.SIGKILL)
            time.sleep(_PAUSE_S)
        return True


def _parents_and_sessions() -> dict[int, tuple[int, int]]:
    """Of each living process of this computer."""
    alive = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # ended meanwhile
            stat = entry.read_text(encoding="utf-8", errors="replace")
            state, parent, _group, session, *_ = stat.rpartition(")")[2].split()
            if state not in "ZX":
                alive[int(entry.parent.name)] = int(parent), int(session)
    return alive


def _signal(pids: Iterable[int], number: signal.Signals) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


_EXITING = 0x4  # PF_EXITING of Linux, in field 9 of /proc/PID/stat (proc(5))


def is_ending(pid: int) -> bool:
    """Whether a process of this computer (Linux) has ended, or has begun to.

    The first one of a container waits until the others are gone: a command that was killed with it
    is seen to end before it, on a busy host long before.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return True
    return bool(int(stat.rpartition(")")[2].split()[6]) & _EXITING)


_KILLED_S = 5.0  # longest wait for a child that was killed
_PIECE = 1 << 16


@contextmanager
def followed(
    command: Sequence[str],
    on_output: OnOutput,
    *,
    announced: Sequence[str] = (),
    end_inside: Callable[[int], object] | None = None,
    environment: Mapping[str, str] | None = None,
) -> Iterator[CommandOutput]:
    """Start ``command`` and listen to it; leaving ends it and all that it has started.

    ``announced`` is what it becomes inside; its first line says whether that is there.
    ``end_inside`` kills, from inside, what was started there, by the number it announced. Raises
    ``LaunchFailure`` (it cannot be started, or there is no such program), ``AbnormalShutdown`` (the
    instance ended meanwhile; or, while leaving, something does not end).
    """
    try:
        child = _child(command, subprocess.DEVNULL, environment)
    except OSError as error:
        raise LaunchFailure(f"{command[0]} could not be run", command, str(error)) from error
    heard = CommandOutput(on_output, announced=bool(announced))
    heard.host_pid = child.pid
    descent = ProcessTree(child.pid)
    inner = 0
    try:
        assert child.stdout is not None
        output = child.stdout
        listen(iter(lambda: os.read(output.fileno(), _PIECE), b""), heard)
        log.command(command)
        if announced:
            inner = heard.pid(announced)
            descent.look()  # for its session, should nothing more be started inside at the end
        yield heard
    finally:
        heard.silence()  # what a shell remarks while its children are killed is no output
        if inner and end_inside is not None:
            end_inside(inner)
        gone = descent.end()
        kill_child(child)
        heard.wait(END_S)
        heard.end(time.perf_counter_ns())
        if child.stdout is not None:
            child.stdout.close()
    if not gone:
        raise AbnormalShutdown(f"something that {command[0]} started does not end")


def _child(
    command: Sequence[str], stdin: int, environment: Mapping[str, str] | None
) -> subprocess.Popen[bytes]:
    """A child in a session of its own; its errors join its output."""
    return subprocess.Popen(
        command,
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        env=cleanup.marked(environment),
    )


def query(
    command: Sequence[str], timeout_s: float, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a program that answers at once. Raises ``OSError``, ``subprocess.TimeoutExpired``."""
    log.command(command)
    return subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        timeout=timeout_s,
        check=False,
        env=environment,
    )


def run_to_end(
    command: Sequence[str],
    *,
    timeout_s: float,
    data: bytes = b"",
    environment: Mapping[str, str] | None = None,
    shown: Sequence[str] = (),
) -> tuple[bytes, int]:
    """Run ``command`` to its end; what it printed, and its exit code as :mod:`subprocess` has it.

    An error names it as it is ``shown``. What did not end in time, or was interrupted, is ended
    with all that it has started. Raises ``OSError`` if it cannot be started, ``WaitTimeout``.
    """
    with _child(command, subprocess.PIPE, environment) as child:
        try:
            log.command(command)
            output, _ = child.communicate(data, timeout_s)
        except BaseException as error:
            ProcessTree(child.pid).end()
            if isinstance(error, subprocess.TimeoutExpired):
                what = f"the end of {shlex.join(shown or command)}"
                raise WaitTimeout(what, timeout_s) from error
            raise
    return output, child.returncode


def end_child(child: subprocess.Popen[bytes], grace_s: float) -> None:
    try:
        child.wait(grace_s)
    except subprocess.TimeoutExpired:
        kill_child(child)


def kill_child(child: subprocess.Popen[Any]) -> None:
    child.kill()
    # With a limit: an exception that a signal raised within an earlier wait can leave Popen's lock
    # taken, and a wait without one would then never return.
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.wait(_KILLED_S)


def listen(pieces: Iterable[bytes], heard: CommandOutput) -> None:
    """Hand on each piece with its time, and the end, from a thread of its own."""

    def hand_on() -> None:
        try:
            for piece in pieces:
                heard.hand_on(piece, time.perf_counter_ns())
        except (OSError, ValueError):
            pass  # closed by us, or the other side went away: either way this is the end
        finally:
            heard.end(time.perf_counter_ns())

    threading.Thread(target=hand_on, name="vmcompare-follow", daemon=True).start()
