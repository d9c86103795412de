"""Following a command, below the contract: markers taken out, families ended, owners killed."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import psutil
import pytest
from waiting import until

from vmcompare.engines import cleanup, commands
from vmcompare.engines.cleanup.ledger import own
from vmcompare.engines.commands import CommandOutput, ProcessTree, announcing, kill_line
from vmcompare.engines.qemu.agent import Agent
from vmcompare.errors import AbnormalShutdown, LaunchFailure, WaitTimeout

linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


# -- what is heard --------------------------------------------------------------------------


def test_the_announcement_is_no_output_however_it_arrives() -> None:
    pieces: list[tuple[bytes, int]] = []
    heard = CommandOutput(lambda piece, t_ns: pieces.append((piece, t_ns)), announced=True)
    for t_ns, piece in enumerate((b"4", b"2\nfi", b"rst\n")):
        heard.hand_on(piece, t_ns)
    assert heard.pid(["x"]) == 42
    assert pieces == [(b"fi", 1), (b"rst\n", 2)]


@pytest.mark.parametrize(
    ("said", "error", "words"),
    [
        (b"0\n", LaunchFailure, "no program x"),
        (b"exec failed: no such file\n", LaunchFailure, "exec failed"),
        (b"", AbnormalShutdown, "ended while x was started"),
    ],
)
def test_why_a_command_did_not_begin_is_told(
    said: bytes, error: type[Exception], words: str
) -> None:
    heard = CommandOutput(lambda _piece, _t_ns: None, announced=True)
    if said:
        heard.hand_on(said, 1)
    heard.end(2)
    with pytest.raises(error, match=words):
        heard.pid(["x"])


def test_a_silenced_one_hands_on_nothing_and_its_first_end_counts() -> None:
    pieces: list[bytes] = []
    heard = CommandOutput(lambda piece, _t_ns: pieces.append(piece), announced=False)
    heard.hand_on(b"a", 1)
    heard.silence()
    heard.hand_on(b"b", 2)
    assert heard.ended_ns() is None
    heard.end(3)
    heard.end(4)
    assert (pieces, heard.ended_ns(), heard.wait(0)) == ([b"a"], 3, True)


# -- a guest's channel ----------------------------------------------------------------------


class FakeAgent:
    """The guest's end of a channel, driven by a test."""

    def __init__(self, channel: socket.socket) -> None:
        self.channel = channel
        self._lines = channel.makefile("rb")

    def asked(self) -> tuple[bytes, bytes]:
        """The next line's token and command."""
        token, _, command = self._lines.readline().partition(b" ")
        return token, command

    def said(self, *pieces: bytes) -> None:
        for piece in pieces:
            self.channel.sendall(piece)
            time.sleep(0.02)  # so that each arrives alone

    def close(self) -> None:
        self._lines.close()
        self.channel.close()


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, FakeAgent]]:
    ours, theirs = socket.socketpair()
    agent = FakeAgent(theirs)
    yield ours, agent
    agent.close()
    ours.close()


class Following:
    """An :class:`Agent` that follows a command, in a thread, until it is told to leave."""

    def __init__(self, ours: socket.socket, agent: FakeAgent) -> None:
        self.agent = Agent(ours, b"", lambda: AbnormalShutdown("gone"))
        self.pieces: list[bytes] = []
        self.heard: CommandOutput | None = None
        self.survived = False
        self._leave = threading.Event()
        self._thread = _in_a_thread(self._follow)
        token, command = agent.asked()
        self.last_word = b"\x1e" + command.split(b"036%s 0\\n' ")[1].split()[0]
        agent.said(b"7\n", b"early\n\n" + token[:5], token[5:] + b" 0\n")
        assert until(lambda: self.heard is not None)

    def _follow(self) -> None:
        with contextlib.suppress(AbnormalShutdown):
            hear = self.agent.following(["beat"], lambda piece, _t_ns: self.pieces.append(piece))
            with hear as self.heard:
                self._leave.wait(60)
            return
        self.survived = True

    def leave(self) -> None:
        self._leave.set()

    def left(self) -> bool:
        self._thread.join(60)
        return not self._thread.is_alive()


def _in_a_thread(work: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=work)
    thread.start()
    return thread


def test_markers_between_the_pieces_are_taken_out_and_a_line_s_end_is_not_held_back(
    ends: tuple[socket.socket, FakeAgent],
) -> None:
    ours, agent = ends
    following = Following(ours, agent)
    pieces = following.pieces
    agent.said(b"beat 1\n")
    assert until(lambda: b"".join(pieces) == b"early\nbeat 1\n")
    asking = _in_a_thread(lambda: following.agent.run_line("stop", 10))
    token, command = agent.asked()
    assert command == b"stop\n"
    agent.said(b"beat 2\n", b"\n" + token + b" ", b"0\nbeat 3\n")
    asking.join()
    agent.said(b"\x1e no last word\n")
    assert until(lambda: pieces[-1].endswith(b"no last word\n"))
    agent.said(b"beat 4" + following.last_word[:4], following.last_word[4:] + b" 0\n")
    assert following.heard is not None
    assert following.heard.wait(60)
    following.leave()
    token, command = agent.asked()
    assert command.decode() == f"{kill_line(7)}\n"  # though it ended: what it left running
    agent.said(b"\n" + token + b" 0\n")
    assert following.left()
    assert b"".join(pieces) == b"early\nbeat 1\nbeat 2\nbeat 3\n\x1e no last word\nbeat 4"


def test_leaving_kills_by_the_announced_number_and_the_next_command_can_be_followed(
    ends: tuple[socket.socket, FakeAgent],
) -> None:
    ours, agent = ends
    following = Following(ours, agent)
    with pytest.raises(LaunchFailure, match="followed already"):
        following.agent.following(["another"], lambda _piece, _t_ns: None).__enter__()
    following.leave()
    token, command = agent.asked()
    assert command.decode().strip() == kill_line(7)
    agent.said(b"Killed\n" + following.last_word + b" 0\n", b"\n" + token + b" 0\n")
    assert following.left()
    assert not following.survived
    assert b"Killed" not in b"".join(following.pieces)
    again = _in_a_thread(lambda: following.agent.run_line("next", 10))
    token, command = agent.asked()
    assert command == b"next\n"
    agent.said(b"\n" + token + b" 0\n")
    again.join()


def test_a_guest_that_is_gone_ends_the_output_and_leaving_says_nothing(
    ends: tuple[socket.socket, FakeAgent],
) -> None:
    ours, agent = ends
    following = Following(ours, agent)
    agent.close()
    assert following.heard is not None
    assert following.heard.wait(60)
    assert following.heard.ended_ns() is not None
    with pytest.raises(AbnormalShutdown):
        following.agent.run_line("stop", 5)
    following.leave()
    assert following.left()
    assert not following.survived


def test_a_guest_that_does_not_answer_is_a_timeout(
    ends: tuple[socket.socket, FakeAgent],
) -> None:
    ours, agent = ends
    following = Following(ours, agent)
    with pytest.raises(WaitTimeout):
        following.agent.run_line("stop", 0.1)
    agent.close()
    following.leave()
    assert following.left()


# -- families -------------------------------------------------------------------------------

MARK = str(2_000_000 + os.getpid())
"""How our own sleepers' seconds begin: another run of these tests may go on beside this one."""
FAMILY = (
    f"sleep {MARK}1 & setsid sleep {MARK}2 & setsid sh -c 'sleep {MARK}3; :' & "
    f"( sleep {MARK}4 & ) & wait"
)


def _family() -> list[list[str]]:
    found = []
    for process in psutil.process_iter(["cmdline", "status"]):
        words = process.info["cmdline"] or []
        if words[:1] == ["sleep"] and words[-1].startswith(MARK):
            found.append(words)
    return found


def _from_inside(pid: int) -> bool:
    shell = shutil.which("sh") or "sh"
    return subprocess.run([shell, "-c", kill_line(pid)], check=False).returncode == 0


def _from_outside(pid: int) -> bool:
    return ProcessTree(pid).end()


@linux
@pytest.mark.parametrize("end", [_from_inside, _from_outside])
def test_a_command_and_all_it_has_started_are_ended(end: Callable[[int], bool]) -> None:
    argv: Sequence[str] = announcing(("sh", "-c", FAMILY))
    with subprocess.Popen(argv, stdout=subprocess.PIPE, start_new_session=True) as root:
        assert root.stdout is not None
        assert int(root.stdout.readline()) == root.pid
        assert until(lambda: len(_family()) == 4)
        assert end(root.pid)
        assert _family() == []
    assert root.returncode in (0, -signal.SIGKILL)  # 0: those it waited for were killed first


@linux
def test_those_whose_leader_has_ended_are_known_by_its_session() -> None:
    with subprocess.Popen(
        ["sh", "-c", f"sleep {MARK}5 & echo"], stdout=subprocess.PIPE, start_new_session=True
    ) as root:
        assert root.stdout is not None
        root.stdout.readline()
        descent = ProcessTree(root.pid)
        root.wait()
        assert until(lambda: _family() == [["sleep", f"{MARK}5"]])  # forked, but may not be run yet
        assert ProcessTree(root.pid, among=lambda: ()).end()  # none of its own: spared
        assert _family() == [["sleep", f"{MARK}5"]]
        assert descent.end()
    assert _family() == []


FOLLOWS = """
import sys
from vmcompare.engines import cleanup
from vmcompare.engines.bare import process
from vmcompare.sandbox import Platform, Spec
guard = cleanup.guard(); guard.__enter__()
with process.launchers()[Platform.PROCESS].open(Spec(), lambda _: None) as box:
    with box.follow(["sleep", "4726"], lambda piece, t_ns: None):
        print("up", flush=True)
        sys.stdin.read()
"""


@linux
@pytest.mark.slow
def test_what_a_killed_owner_followed_on_this_computer_is_ended(private_places: Path) -> None:
    from vmcompare.engines.bare import process

    if not (found := process.probe()).ok:
        pytest.skip(found.what)
    before = set(psutil.pids())
    with subprocess.Popen(
        [sys.executable, "-c", FOLLOWS], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == b"up\n"
        assert until(lambda: _followed(before))
        owner.kill()
    assert until(lambda: not _followed(before))
    ours = {own().path}  # the probe above started something, too
    assert until(lambda: set(private_places.rglob("*.jsonl")) <= ours)
    assert not [swept for swept in cleanup.sweep() if swept.kind == "process"]


def _followed(before: set[int]) -> list[int]:
    found = []
    for process in psutil.process_iter(["cmdline"]):
        if process.pid not in before and (process.info["cmdline"] or [])[-2:] == ["sleep", "4726"]:
            found.append(process.pid)
    return found


def test_a_child_is_ended_even_where_a_signal_left_the_lock_of_its_wait_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(commands, "_KILLED_S", 0.2)
    child = subprocess.Popen(["sleep", "60"])
    child._waitpid_lock.acquire()  # type: ignore[attr-defined]
    commands.end_child(child, 0.1)
    child._waitpid_lock.release()  # type: ignore[attr-defined]
    assert child.wait(60) == -signal.SIGKILL
