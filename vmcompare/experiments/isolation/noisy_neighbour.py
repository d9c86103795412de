"""What a sibling feels when a neighbour takes all it can get, and who bounds the neighbour.

Three neighbourhoods, each with a heart that beats beside a :class:`Hog`: a container without
limits and one with limits, both in a disposable VM, and a VM beside another VM. Each round begins
with a stretch in which all of them are quiet; then, one after the other, each hog takes memory, and
then processes. Docker's own container with limits, on this computer, is asked for more than its
limits too; and a VM that boots a distribution, because that is the kind that findings are about.

A hog waits for a signal, so that starting it (``runc`` takes a second under emulation) is not part
of what its sibling feels. SIGUSR1: it holds memory, in pieces that it keeps for :data:`HOLD_S`
seconds each and no longer. SIGUSR2: it starts processes that only sleep, and stops at a number; if
nothing stopped it before, it then starts and ends one more at a time, so that forking goes on.

Every hog is bounded twice: by what it asks for, and from outside. The outer limit is read back
first, from the files of the control group or from what the guest's kernel says it has; where it is
not there, the demonstration is refused and its rows say so.

Rows, ``block`` = round: ``gap_p50_s`` and ``gap_p99_s`` of the sibling's heart (``phase`` = quiet,
memory hog, fork loop); ``cgroup_bytes``, the peak of the hog's group; ``item_count``, processes it
reached; ``guest_ram_to_limit_ratio``, what the host gives a guest that wants more, per ``-m``;
``host_cpu_to_vcpu_ratio``, host CPU seconds of the emulator (or the container) per vCPU and wall
second, with two busy loops a vCPU; ``observation`` of what became of the hog; and the facts
``container_memory_limit_holds`` and ``container_cpu_limit_holds``.
"""

from __future__ import annotations

import contextlib
import random
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from vmcompare.engines.images.oci import CPU_PERIOD_US
from vmcompare.engines.programs import heartbeat
from vmcompare.errors import LaunchFailure, Unavailable, WaitTimeout
from vmcompare.evidence.recording import Measurement
from vmcompare.evidence.units import MIB, NS_PER_S
from vmcompare.experiments.isolation import guest_containers, heartbeats
from vmcompare.experiments.isolation.boundaries import Step
from vmcompare.experiments.isolation.guest_containers import RUNTIME
from vmcompare.experiments.isolation.heartbeats import (
    DISPOSABLE,
    GUEST,
    Clock,
    Heard,
    Host,
    first_process,
)
from vmcompare.measuring import memory
from vmcompare.measuring.experiment import FAILURES, Context, blank, failed, filled
from vmcompare.sandbox import Launcher, Machine, Platform, Sandbox, Spec

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
    held = guest_containers.configuration(
        "",
        args=("sh", "-c", _SCRIPT, "sh", *appetite.words),
        memory_mib=memory_mib,
        pids=pids,
        cpus=cpus,
    )
    guest_containers.write(box, name, held)
    out = f"/tmp/{name}.out"
    return Hog(
        box,
        out,
        first_process(name),
        f"{guest_containers.start_line(name)} >{out} 2>&1 &",
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


# ---- outer limits, and what instances take of this computer --------------------------------------

CPU_S = 2.5
"""Seconds over which processor time is counted; the kernel counts in hundredths."""

CPU_BOUND = 1.05
"""As claim S4 registers it: host CPU seconds per vCPU and wall second."""

LIMITS_MIB, LIMIT_PIDS, LIMIT_CPUS = 64, 24, 0.5
"""Of the container with limits."""

DOCKER = Spec(memory_mib=LIMITS_MIB)
_DOCKER_ASKS_MIB = LIMITS_MIB + LIMITS_MIB // 2

MEMORY_LIMIT = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
MEMORY_PEAK = ("/sys/fs/cgroup/memory.peak", "/sys/fs/cgroup/memory/memory.max_usage_in_bytes")
CPU_LIMIT = (
    "/sys/fs/cgroup/cpu.max",
    "/sys/fs/cgroup/cpu/cpu.cfs_quota_us /sys/fs/cgroup/cpu/cpu.cfs_period_us",
)
"""Where a container sees its own limits: control groups of version 2, then of version 1."""

# ---- limits, read back --------------------------------------------------------------------------


def limits_hold(wanted: Mapping[str, str], found: Mapping[str, str]) -> None:
    """Raises ``Unavailable`` unless every limit reads as it was asked for."""
    for name, value in wanted.items():
        if found.get(name) != value:
            raise Unavailable(
                f"refused: {name} reads {found.get(name, 'nothing')!r}, not {value!r}",
                "look at the recording: a limit that is not there bounds nothing",
            )


def group_limits(hog: Hog) -> None:
    """Raises ``Unavailable`` unless the limits of the hog’s group read as they were asked for."""
    files = ("memory.max", "pids.max", "cpu.max")
    said = hog.sh(f"cd {group(hog.name)} && cat {' '.join(files)}").splitlines()
    wanted = (
        str(LIMITS_MIB * MIB),
        str(LIMIT_PIDS),
        f"{LIMIT_CPUS * CPU_PERIOD_US:.0f} {CPU_PERIOD_US}",
    )
    limits_hold(dict(zip(files, wanted, strict=True)), dict(zip(files, said, strict=False)))


def given(memory_mib: int, hog: Hog) -> None:
    """Raises ``Unavailable`` unless the guest has no more memory than it was given."""
    said = hog.sh("grep MemTotal /proc/meminfo").split()
    total_mib = int(said[1]) // 1024
    if total_mib > memory_mib:
        raise Unavailable(
            f"refused: the guest has {total_mib} MiB, and was given {memory_mib}",
            "look at the recording",
        )


# ---- what a VM or a container takes of this computer --------------------------------------------


def guest_ram(box: Sandbox, row: Measurement) -> Measurement:
    """The guest's RAM on the host ÷ what it was given, after it wanted more."""
    row = replace(row, metric="guest_ram_to_limit_ratio", confinement="")
    ram_bytes = row.mem_limit_mib * MIB
    try:
        pids = box.host_pids()
        if not pids:
            raise Unavailable(
                "the processes that serve it cannot be seen from here", "replay a recording"
            )
        held = 0
        for pid in pids:
            files = {word.replace(",,", ",") for word in memory.command_line(pid)}
            found = memory.vmm_parts(
                memory.smaps(pid), ram_bytes=ram_bytes, files=files, emulated=row.emulated
            )
            held += found.guest_ram
    except FAILURES as problem:
        return failed(row, str(problem))
    return filled(row, held / ram_bytes)


def busy_loops(box: Sandbox, vcpus: int, clock: Clock) -> float:
    """Host CPU seconds per vCPU and wall second while twice as many loops run as there are vCPUs.

    Raises:
        Unavailable: its processes cannot be seen, or their time not read.
    """
    loop = "timeout -s KILL 20 sh -c 'while :; do :; done' </dev/null >/dev/null 2>&1 &"
    box.run(["sh", "-c", "\n".join([loop] * (2 * vcpus))])
    try:
        clock.sleep(0.5)
        pids = box.host_pids()
        if not pids:
            raise Unavailable("its processes cannot be seen from here", "replay a recording")
        began_ns, before_s = clock.now_ns(), memory.cpu_s(pids)
        clock.sleep(CPU_S)
        took_s, after_s = (clock.now_ns() - began_ns) / NS_PER_S, memory.cpu_s(pids)
    finally:
        box.run(["sh", "-c", "pkill -9 -f '[w]hile :; do'; true"])
    return (after_s - before_s) / (vcpus * took_s)


def docker_memory(box: Sandbox, row: Measurement) -> Iterator[Measurement]:
    limit = _first(box, MEMORY_LIMIT)
    limits_hold({"the memory limit": str(LIMITS_MIB * MIB)}, {"the memory limit": limit})
    hog = (
        f"{{ dd if=/dev/zero bs={_DOCKER_ASKS_MIB}M count=1 2>/dev/null; echo $? >&2; }} | sleep 1"
    )
    said = box.run(["sh", "-c", hog]).output.split()
    killed = said[-1:] == [b"137"]
    what = f"killed at its limit ({_DOCKER_ASKS_MIB} MiB asked)" if killed else "finished"
    yield became(row, what)
    peak = int(_first(box, MEMORY_PEAK))
    yield filled(row, float(peak))
    yield holds_memory(row, killed, peak)


def docker_processor(box: Sandbox, row: Measurement, clock: Clock) -> Iterator[Measurement]:
    wanted = f"{DOCKER.vcpus * CPU_PERIOD_US} {CPU_PERIOD_US}"
    limit = " ".join(_first(box, CPU_LIMIT).split())
    limits_hold({"the processor limit": wanted}, {"the processor limit": limit})
    ratio = busy_loops(box, DOCKER.vcpus, clock)
    yield filled(row, ratio)
    yield filled(
        row,
        float(ratio <= CPU_BOUND),
        metric="fact",
        phase="container_cpu_limit_holds",
        text=f"{ratio:.3f} CPU seconds a second",
    )


def _first(box: Sandbox, places: tuple[str, ...]) -> str:
    """What the first of some files that can be read holds; empty where none can."""
    line = " || ".join(f"cat {files} 2>/dev/null" for files in places)
    return box.run(["sh", "-c", line]).output.decode(errors="replace").strip()


def holds_memory(row: Measurement, killed: bool, peak: int) -> Measurement:
    return filled(
        row,
        float(killed and peak <= LIMITS_MIB * MIB),
        metric="fact",
        phase="container_memory_limit_holds",
        text=f"peak {peak / MIB:.1f} MiB of {LIMITS_MIB}",
    )


BECAME = "what became of the "
"""Beginning of the phase of an observation; what the hog did follows."""


def became(row: Measurement, text: str) -> Measurement:
    return filled(row, 1.0, metric="observation", phase=BECAME + row.phase, text=text)


def tried(row: Measurement, of: Callable[[], Iterator[Measurement]]) -> Iterator[Measurement]:
    try:
        yield from of()
    except FAILURES as problem:
        yield failed(row, str(problem))
    except ValueError as problem:  # a file of the control group holds something else than a number
        yield failed(row, f"its control group cannot be read ({problem})")


# ---- what a sibling feels ------------------------------------------------------------------------

WITHOUT, WITH = "without limits", "with limits"
QUIET, MEMORY, FORKS = "quiet", "memory hog", "fork loop"
STRETCHES = (QUIET, MEMORY, FORKS)

WINDOW_S = 3.0
"""Seconds of a stretch: sixty beats, enough for a median, and a tail of the longest few."""
_WINDOW_NS = int(WINDOW_S * NS_PER_S)

LIMITED = Appetite(pieces=3, piece_mib=48)
UNLIMITED = Appetite(pieces=4, piece_mib=112)
"""448 MiB, more than the whole disposable VM has."""
IN_VM = Appetite(pieces=3, piece_mib=96)
"""288 MiB; the guest has 192."""

DISTRIBUTION = Spec(machine=Machine.Q35)


@dataclass(slots=True)
class Arm:
    """One neighbourhood.

    Attributes:
        words: for a progress line.
        row: what is known beforehand; ``gap_p50_s``.
        place: whose instances these are (a key of ``Neighbourhoods.heard``).
        letter: the sibling's heart.
        make: box and round → the hog, not started yet.
        limits: reads the outer limit back; raises ``Unavailable`` where it does not hold.
        hog: the one that waits now.
        refused: why this round's hog may not be let loose.
    """

    words: str
    row: Measurement
    place: str
    letter: str
    make: Callable[[Sandbox, int], Hog]
    limits: Callable[[Hog], None]
    hog: Hog | None = None
    refused: str = "not started"


@dataclass(slots=True)
class Neighbourhoods:
    """One run of this part: what is open."""

    host: Host
    own: contextlib.ExitStack
    heard: dict[str, Heard] = field(default_factory=dict)
    boxes: dict[str, Sandbox] = field(default_factory=dict)

    # ---- opening --------------------------------------------------------------------------------

    def open(self, place: str) -> Iterator[Measurement]:
        """Open the instances of one place; who needs them says so where that fails."""
        try:
            if place == "their VM":
                beats = guest_containers.configuration("", args=(heartbeat.PATH, "S"))
                self.heard[place] = self.host.hosting(DISPOSABLE, {"S": beats}, "V")
                self.boxes[place] = self.heard[place].box
            elif place == "sibling VM":
                self.heard["VM"] = self.host.beating(Platform.VM_DIRECT, GUEST, "S")
            elif place == "VM":
                self.boxes[place] = self.host.open(Platform.VM_DIRECT, GUEST)
            else:
                self.boxes[place] = self.host.open(Platform.VM, DISTRIBUTION)
        except FAILURES as problem:
            self.host.why[place] = str(problem)
        yield from ()

    # ---- one neighbourhood, one round -----------------------------------------------------------

    def start(self, arm: Arm, block: int) -> Iterator[Measurement]:
        """Start this round's hog, which waits, and read its outer limit back."""
        needed = (arm.place, "sibling VM") if arm.place == "VM" else (arm.place,)
        arm.hog = None
        arm.refused = next((self.host.why[p] for p in needed if p in self.host.why), "")
        if not arm.refused:
            try:
                arm.hog = arm.make(self.boxes[arm.place], block)
                arm.hog.wait_ready()
                arm.limits(arm.hog)
            except FAILURES as problem:
                arm.refused = str(problem)
        yield from ()

    def quiet(self, arms: Sequence[Arm], block: int) -> Iterator[Measurement]:
        """A stretch in which every hog waits."""
        begin_ns = self.host.clock.now_ns()
        self.host.clock.until(begin_ns + _WINDOW_NS)
        for arm in arms:
            row = replace(arm.row, block=block, phase=QUIET)
            if arm.hog is None or arm.refused:
                yield from _no_gaps(row, arm.refused)
            else:
                yield from self._felt(arm, row, begin_ns)

    def stretch(self, arm: Arm, block: int, phase: str) -> Iterator[Measurement]:
        """One stretch of one neighbourhood: let the hog begin, and listen to its sibling."""
        row = replace(arm.row, block=block, phase=phase)
        if arm.hog is None or arm.refused:
            yield from _no_gaps(row, arm.refused)
            return
        try:
            begin_ns = self.host.clock.now_ns()
            if phase == MEMORY:
                arm.hog.take_memory()
            else:
                arm.hog.take_processes()
            self.host.clock.until(begin_ns + _WINDOW_NS)
            yield from self._felt(arm, row, begin_ns)
            if phase == MEMORY:
                yield from self._held(arm, arm.hog, row)
            else:
                count, ended = arm.hog.processes()
                yield filled(replace(row, metric="item_count"), float(count))
                yield became(row, f"{ended}, with {count} processes")
        except FAILURES as problem:
            arm.refused = str(problem)
            yield failed(row, arm.refused)

    def _felt(self, arm: Arm, row: Measurement, begin_ns: int) -> Iterator[Measurement]:
        """Percentiles of the gaps of the sibling's heart."""
        beats = self.heard[arm.place].ears.beats(arm.letter)
        try:
            p50_s, p99_s = heartbeats.percentiles_s(
                heartbeats.gaps_s(beats, begin_ns, begin_ns + _WINDOW_NS)
            )
        except ValueError as problem:  # fewer than two beats
            yield from _no_gaps(row, f"the sibling was silent ({problem})")
            return
        yield filled(row, p50_s)
        yield filled(replace(row, metric="gap_p99_s"), p99_s)

    def _held(self, arm: Arm, hog: Hog, row: Measurement) -> Iterator[Measurement]:
        """What became of a hog that took memory, and how much it got."""
        killed = hog.pieces_killed()
        pieces, asked = hog.appetite.pieces, hog.appetite.asked_mib
        if killed:
            why = "at its limit" if row.confinement == WITH else "when nothing was left"
            yield became(row, f"{killed} of {pieces} pieces killed {why} ({asked} MiB asked)")
        else:
            yield became(row, f"finished ({asked} MiB asked)")
        if row.platform is not Platform.CONTAINER:
            yield guest_ram(self.boxes[arm.place], row)
            return
        peak = int(hog.sh(f"cat {group(hog.name)}/memory.peak"))
        yield filled(replace(row, metric="cgroup_bytes"), float(peak))
        if row.confinement == WITH:
            yield holds_memory(row, killed > 0, peak)

    def take_away(self, arm: Arm) -> Iterator[Measurement]:
        """End the hog of this round."""
        if arm.hog is not None:
            try:
                arm.hog.take_away()
            except FAILURES as problem:
                yield failed(replace(arm.row, phase=QUIET), f"while ending: {problem}")

    # ---- a distribution, and Docker -------------------------------------------------------------

    def distribution(self, block: int) -> Iterator[Measurement]:
        """A VM of the kind that findings are about is asked for more memory than it has."""
        spec, platform = DISTRIBUTION, Platform.VM
        row = self._row(platform, spec, "guest_ram_to_limit_ratio", block, MEMORY)
        try:
            box = self._box("distribution")
            yield became(row, fill(box, spec.memory_mib))
            yield guest_ram(box, row)
        except FAILURES as problem:
            yield failed(row, str(problem))

    def processor(self, place: str, block: int) -> Iterator[Measurement]:
        """Two busy loops a vCPU: what the VM takes of the host's processor."""
        spec, platform = (
            (DISTRIBUTION, Platform.VM) if place == "distribution" else (GUEST, Platform.VM_DIRECT)
        )
        row = self._row(platform, spec, "host_cpu_to_vcpu_ratio", block, "busy loops")
        try:
            box = self._box(place)
            yield filled(row, busy_loops(box, spec.vcpus, self.host.clock))
        except FAILURES as problem:
            yield failed(row, str(problem))

    def docker(self, block: int) -> Iterator[Measurement]:
        """Docker's own container with limits, on this computer."""
        row = self._row(Platform.CONTAINER, DOCKER, "cgroup_bytes", block, MEMORY)
        row = replace(row, confinement=WITH)
        busy = replace(row, metric="host_cpu_to_vcpu_ratio", phase="busy loops")
        launcher = self.host.launcher(Platform.CONTAINER)
        try:
            with launcher.open(DOCKER, self.host.context.on_event) as box:
                yield from tried(row, partial(docker_memory, box, row))
                yield from tried(busy, partial(docker_processor, box, busy, self.host.clock))
        except FAILURES as problem:
            yield failed(row, str(problem))

    def _box(self, place: str) -> Sandbox:
        if place not in self.boxes:
            raise Unavailable(self.host.why.get(place, f"there is no {place}"), "try again")
        return self.boxes[place]

    def _row(
        self, platform: Platform, spec: Spec, metric: str, block: int, phase: str
    ) -> Measurement:
        launcher = self.host.launcher(platform)
        return replace(blank(launcher, platform, spec, metric), block=block, phase=phase)

    def end(self) -> Iterator[Measurement]:
        """Take all of this part down."""
        with contextlib.suppress(*FAILURES):  # every row is made; the clean-up ends what is left
            self.own.close()
        yield from ()


def _no_gaps(row: Measurement, why: str) -> Iterator[Measurement]:
    for metric in ("gap_p50_s", "gap_p99_s"):
        yield failed(replace(row, metric=metric), why)


# ---- the plan -----------------------------------------------------------------------------------


def _name(row: Measurement) -> str:
    """Of the hog's container in one round: no name comes twice in a guest."""
    return f"hog-{row.block}-{row.confinement.split()[0]}"


def _arms(launcher: Launcher) -> list[Arm]:
    vm = blank(launcher, Platform.VM_DIRECT, GUEST, "gap_p50_s")
    inside = replace(
        blank(launcher, Platform.CONTAINER, DISPOSABLE, "gap_p50_s"),
        layer="mechanism",
        runtime=RUNTIME,
    )
    without = replace(inside, confinement=WITHOUT)
    limited = replace(inside, confinement=WITH, mem_limit_mib=LIMITS_MIB)
    return [
        Arm(
            f"container {WITHOUT}",
            without,
            "their VM",
            "S",
            lambda box, block: in_container(box, _name(replace(without, block=block)), UNLIMITED),
            lambda hog: given(DISPOSABLE.memory_mib, hog),
        ),
        Arm(
            f"container {WITH}",
            limited,
            "their VM",
            "S",
            lambda box, block: in_container(
                box,
                _name(replace(limited, block=block)),
                LIMITED,
                memory_mib=LIMITS_MIB,
                pids=LIMIT_PIDS,
                cpus=LIMIT_CPUS,
            ),
            group_limits,
        ),
        Arm(
            "VM",
            vm,
            "VM",
            "S",
            lambda box, block: in_guest(box, IN_VM),  # noqa: ARG005
            lambda hog: given(GUEST.memory_mib, hog),
        ),
    ]


def steps(context: Context, stack: contextlib.ExitStack, clock: Clock | None = None) -> list[Step]:
    """What this part does, step by step, with words for each.

    Without QEMU nothing but Docker's own container with limits, where there is Docker.
    """
    own = stack.enter_context(contextlib.ExitStack())
    neighbourhoods = Neighbourhoods(Host(context, own, clock or Clock()), own)
    chance = random.Random(context.seed)
    plan: list[Step] = []
    arms: list[Arm] = []
    places: list[str] = []
    if Platform.VM_DIRECT in context.launchers:
        arms = _arms(context.launchers[Platform.VM_DIRECT])
        places = ["their VM", "sibling VM", "VM"]
    if Platform.VM in context.launchers:
        places.append("distribution")
    plan += [(f"greed: opening {place}", partial(neighbourhoods.open, place)) for place in places]
    for block in range(context.rounds):
        begun = [
            *(
                (f"{arm.words}, starting", partial(neighbourhoods.start, arm, block))
                for arm in arms
            ),
            *([("all quiet", partial(neighbourhoods.quiet, arms, block))] if arms else ()),
        ]
        groups = [_of_arm(neighbourhoods, arm, block) for arm in arms]
        busiest = next((p for p in ("distribution", "VM") if p in places), "")
        if "distribution" in places:
            groups.append([("a distribution: memory", partial(neighbourhoods.distribution, block))])
        if busiest:
            groups.append(
                [(f"{busiest}: processor", partial(neighbourhoods.processor, busiest, block))]
            )
        if Platform.CONTAINER in context.launchers:
            groups.append(
                [("Docker’s container with limits", partial(neighbourhoods.docker, block))]
            )
        chance.shuffle(groups)
        steps_now = [*begun, *(step for group in groups for step in group)]
        plan += [(f"greed {block + 1}: {words}", step) for words, step in steps_now]
    return [*plan, ("greed: closing", neighbourhoods.end)] if plan else []


def _of_arm(neighbourhoods: Neighbourhoods, arm: Arm, block: int) -> list[Step]:
    return [
        *(
            (f"{arm.words}, {phase}", partial(neighbourhoods.stretch, arm, block, phase))
            for phase in (MEMORY, FORKS)
        ),
        (f"{arm.words}, ending", partial(neighbourhoods.take_away, arm)),
    ]
