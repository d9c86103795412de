"""What takes more than its share, bounded by itself, in a container or in a guest of its own.

A hog waits for a signal, so that starting it (``runc`` takes a second under emulation) is not part
of what its sibling feels. SIGUSR1: it holds memory, in pieces that it keeps for :data:`HOLD_S`
seconds each and no longer. SIGUSR2: it starts processes that only sleep, and stops at a number; if
nothing stopped it before, it then starts and ends one more at a time, so that forking goes on.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass

from vmcompare.errors import LaunchFailure, WaitTimeout
from vmcompare.experiments.isolation import nested
from vmcompare.experiments.isolation.hosts import first_process
from vmcompare.sandbox import Sandbox

HOLD_S = 2
"""Seconds that a piece of memory is held, from when it is asked for."""

_WAIT_S = 40
_KILLED = 128 + 9  # what a shell says of a program that was ended by SIGKILL

_SCRIPT = """
pieces=$1 piece_mib=$2 forks=$3
trap 'go=memory' USR1
trap 'go=forks' USR2
echo ready
while :; do
  case $go in
    memory) go= n=0
      while [ $n -lt $pieces ]; do
        { dd if=/dev/zero bs=${piece_mib}M count=1 2>/dev/null; echo "piece $?" >&2; } |
          sleep HOLD_S &
        n=$((n + 1))
      done
      wait; echo 'memory done' ;;
    forks) go=
      ( i=0; while [ $i -lt $forks ]; do sleep 30 & i=$((i + 1)); done ) 2>/dev/null
      ended=$?; echo "forks done $ended"; i=0
      while [ $ended = 0 ] && [ $i -lt 20000 ]; do (true); i=$((i + 1)); done ;;
    *) sleep 600 & wait $!; kill $! ;;
  esac
done
""".replace("HOLD_S", str(HOLD_S))
# BusyBox's dd holds a block as a whole and touches every byte of it; its write into a pipe that
# nobody reads keeps it there. One block larger than all memory would be refused beforehand
# (overcommit), as no real hog would ask: hence pieces.


@dataclass(frozen=True, slots=True)
class Appetite:
    """What a hog takes at most.

    Attributes:
        pieces, piece_mib: memory, in MiB.
        forks: processes.
    """

    pieces: int
    piece_mib: int
    forks: int = 200

    @property
    def words(self) -> tuple[str, ...]:
        """Arguments of the script."""
        return (str(self.pieces), str(self.piece_mib), str(self.forks))

    @property
    def asked_mib(self) -> int:
        """All its memory together."""
        return self.pieces * self.piece_mib


@dataclass(frozen=True, slots=True)
class Hog:
    """A hog that waits in an instance.

    Attributes:
        box: the guest in which, or in whose container, it lives.
        out: file in the guest with what it says.
        process: shell that prints its process number in the guest.
        start, end: lines of shell.
        appetite: what it takes.
        name: of its container; empty in a guest of its own.
    """

    box: Sandbox
    out: str
    process: str
    start: str
    end: str
    appetite: Appetite
    name: str = ""

    def wait_ready(self) -> None:
        """Start it. Raises ``LaunchFailure`` or ``WaitTimeout`` where it does not come up."""
        self.sh(self.start)
        self._until("ready")

    def take_memory(self) -> None:
        """Let it begin; returns at once."""
        self.sh(f'kill -USR1 "$({self.process})"')

    def take_processes(self) -> None:
        """Let it begin; returns at once."""
        self.sh(f'kill -USR2 "$({self.process})"')

    def pieces_killed(self) -> int:
        """Wait until it holds no memory any more; how many of its pieces were killed."""
        said = self._until("memory done")
        return said.split("\n").count(f"piece {_KILLED}")

    def processes(self) -> tuple[int, str]:
        """How many processes it has got now, and what became of its loop."""
        count = self.sh("pgrep -x sleep | wc -l").strip()
        said = self.sh(f"cat {self.out}").split("\n")
        ended = next((line for line in said if line.startswith("forks done")), "")
        if not ended:
            became = "still going on"
        else:
            became = "reached its own bound" if ended.endswith(" 0") else "stopped at its limit"
        return int(count), became

    def take_away(self) -> None:
        """End it and all that it started."""
        self.sh(self.end)

    def sh(self, line: str) -> str:
        """Run a line of shell in the guest.

        Raises:
            LaunchFailure: it fails.
        """
        done = self.box.run(["sh", "-c", line], timeout_s=_WAIT_S + 20)
        said = done.output.decode(errors="replace")
        if done.exit_code:
            raise LaunchFailure(f"a line of shell ended with {done.exit_code}", (line,), said)
        return said

    def _until(self, words: str) -> str:
        said = self.sh(
            f"n=0; until grep -q '{words}' {self.out} || [ $n -gt {_WAIT_S * 10} ]; do "
            f"sleep 0.1; n=$((n + 1)); done; cat {self.out}"
        )
        if words not in said:
            raise WaitTimeout(f"“{words}” of the hog", _WAIT_S, said)
        return said


def in_container(
    box: Sandbox,
    name: str,
    appetite: Appetite,
    *,
    memory_mib: int | None = None,
    pids: int | None = None,
    cpus: float | None = None,
) -> Hog:
    """A hog in a container (default but for these limits) of a disposable VM; not started yet."""
    configuration = nested.configuration(
        "",
        args=("sh", "-c", _SCRIPT, "sh", *appetite.words),
        memory_mib=memory_mib,
        pids=pids,
        cpus=cpus,
    )
    nested.write(box, name, configuration)
    out = f"/tmp/{name}.out"
    return Hog(
        box,
        out,
        first_process(name),
        f"{nested.start_line(name)} >{out} 2>&1 &",
        # The kernel ends a whole group at once; runc, in whose foreground it was, then tidies up.
        f"echo 1 > {group(name)}/cgroup.kill; n=0; "
        f"while [ -e /run/runc/{name} ] && [ $n -lt 100 ]; do sleep 0.1; n=$((n + 1)); done",
        appetite,
        name,
    )


def in_guest(box: Sandbox, appetite: Appetite) -> Hog:
    """A hog that has a guest to itself; not started yet."""
    box.put("/tmp/hog", _SCRIPT.encode())
    words = shlex.join(appetite.words)
    return Hog(
        box,
        "/tmp/hog.out",
        "cat /tmp/hog.pid",
        f"sh /tmp/hog {words} </dev/null >/tmp/hog.out 2>&1 & echo $! >/tmp/hog.pid",
        # The brackets keep the pattern from matching the line that says it.
        "pkill -9 -f '[/]tmp/hog'; pkill -9 -x sleep; true",
        appetite,
    )


_LEFT_MIB = 48
"""What is left to a guest that is filled, in MiB."""

_FILL = """
[ "$(cat /proc/sys/vm/overcommit_memory)" != 1 ] || { echo 'this kernel refuses nothing'; exit 3; }
dd if=/dev/zero of=/dev/null bs=$1M count=1 2>/dev/null && exit 4
free=$(sed -n 's/MemAvailable: *\\([0-9]*\\) kB/\\1/p' /proc/meminfo)
take=$((free / 1024 - $2))
dd if=/dev/zero of=/dev/null bs=${take}M count=1 2>/dev/null && echo "$take"
"""


def fill(box: Sandbox, memory_mib: int) -> str:
    """Ask a guest for twice its memory at once, then take all but a little of what it has.

    For a guest that boots from its disk: driven out of memory as the hogs do it, it would throw its
    programs out and read them anew, over and over, for minutes.

    Args:
        memory_mib: what the guest was given.

    Returns:
        What became of it, in words.

    Raises:
        LaunchFailure: its kernel did not refuse, or could not give what it says it has.
    """
    asked = 2 * memory_mib
    argv = ("sh", "-c", _FILL, "sh", str(asked), str(_LEFT_MIB))
    done = box.run(argv, timeout_s=120)
    said = done.output.decode(errors="replace").strip()
    if done.exit_code or not said.isdigit():
        raise LaunchFailure(f"the guest could not be filled (code {done.exit_code})", argv, said)
    return f"{asked} MiB refused by its kernel, {said} MiB taken"


def group(name: str) -> str:
    """The folder of a container's control group (version 2) in the guest."""
    return f"/sys/fs/cgroup/{name}"
