"""What a neighbour notices when a program takes all it can get, and which limits hold.

Three times a heartbeat beside a :class:`Hog`: a container without limits and one with limits, both
in a disposable VM, and a VM beside another VM. In each round all are quiet first; then each hog in
turn takes memory, then processor time, and then processes. Docker's own container with limits, on
this computer, and a VM that boots a distribution (the kind that findings are about) are asked for
more than their limits as well.

A hog waits for a signal, because starting it would disturb its neighbour. SIGUSR1: it takes memory
in pieces and holds each for :data:`HOLD_S` seconds. SIGHUP: it computes, for :data:`BURN_S` seconds
at most. SIGUSR2: it starts processes that sleep, up to a number; if it gets there, it goes on to
start and end one at a time.

A neighbour that sleeps hardly feels who computes. So beside a hog that computes it works as well:
from SIGUSR1 to SIGUSR2 it does equal pieces of work, and writes a letter after each.

Every hog is bounded by what it asks for and by a limit from outside. That limit is read back first
(from the control group, or as the memory of the guest); where it is not in force, the hog does not
begin, and its rows say so.

Rows, ``block`` = round: ``gap_p50_s`` and ``gap_p99_s`` of the neighbour's heartbeat (``phase`` =
quiet, memory hog, fork loop); ``duration_s`` of a piece of its work (``phase`` = work beside a
quiet program, work beside a CPU burner); ``cgroup_bytes``, the peak of the hog's control group;
``item_count``, processes it reached; ``guest_ram_to_limit_ratio``, RAM that the host gives a guest
that wants more, per ``-m``; ``host_cpu_to_vcpu_ratio``, host CPU seconds of the emulator (or the
container) per vCPU and second, with two busy loops a vCPU; ``observation`` of what became of the
hog; and the facts ``container_memory_limit_holds`` and ``container_cpu_limit_holds``.
"""

from __future__ import annotations

import contextlib
import random
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from vmcompare.engines.images.oci import CPU_PERIOD_US
from vmcompare.engines.programs import heartbeat
from vmcompare.errors import LaunchFailure, Unavailable, WaitTimeout
from vmcompare.evidence.recording import Measurement
from vmcompare.evidence.units import MIB, NS_PER_S
from vmcompare.experiments.isolation import guest_containers, heartbeats
from vmcompare.experiments.isolation.boundaries import Step
from vmcompare.experiments.isolation.guest_containers import Limits
from vmcompare.experiments.isolation.heartbeats import (
    DISPOSABLE,
    GUEST,
    Beating,
    Clock,
    Instances,
)
from vmcompare.measuring import memory
from vmcompare.measuring.experiment import FAILURES, Context, blank, failed, filled, or_failed
from vmcompare.sandbox import Launcher, Machine, Platform, Sandbox, Spec

WITHOUT, WITH = "without limits", "with limits"
QUIET, MEMORY, FORKS, BURNER = "quiet", "memory hog", "fork loop", "CPU burner"
WORK_QUIET, WORK_BURNER = "work beside a quiet program", "work beside a CPU burner"

# ---- hogs ----------------------------------------------------------------------------------------

HOLD_S = 2
"""Seconds that a piece of memory is held, from its request."""

_WAIT_S = 40
_KILLED = 128 + 9  # exit code, in a shell, of a program that was ended by SIGKILL
_SIGNALS = {MEMORY: "USR1", FORKS: "USR2", BURNER: "HUP"}

BURN_S, BURN_CPUS = 6, 0.2
"""Seconds after which a CPU burner is ended, and the processors of the one with limits."""

_SCRIPT = """
pieces=$1 piece_mib=$2 forks=$3
trap 'go=memory' USR1
trap 'go=forks' USR2
trap 'go=burn' HUP
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
    burn) go=
      timeout -s KILL BURN_S sh -c 'while :; do :; done' & wait $!
      echo 'burn done' ;;
    forks) go=
      ( i=0; while [ $i -lt $forks ]; do sleep 30 & i=$((i + 1)); done ) 2>/dev/null
      ended=$?; echo "forks done $ended"; i=0
      while [ $ended = 0 ] && [ $i -lt 20000 ]; do (true); i=$((i + 1)); done ;;
    *) sleep 600 & wait $!; kill $! ;;
  esac
done
""".replace("HOLD_S", str(HOLD_S)).replace("BURN_S", str(BURN_S))
# BusyBox's dd touches every byte of its one block, and blocks on a pipe that nobody reads. In
# pieces, because the kernel would refuse one block larger than all memory (overcommit).


@dataclass(frozen=True, slots=True)
class Demand:
    """What a hog takes at most: pieces of memory, and processes."""

    pieces: int
    piece_mib: int
    forks: int = 200

    @property
    def args(self) -> tuple[str, ...]:
        """Arguments of the script."""
        return (str(self.pieces), str(self.piece_mib), str(self.forks))

    @property
    def memory_mib(self) -> int:
        """All its memory together."""
        return self.pieces * self.piece_mib


@dataclass(frozen=True, slots=True)
class Hog:
    """A program that waits for a signal to take memory or processes.

    Attributes:
        box: the guest it is in, perhaps in a container.
        output: file in the guest with its output.
        process: shell that prints its process number in the guest.
        start, end: shell that starts and ends it.
        demand: what it takes.
        group: folder of its control group in the guest; empty without a container.
        limited: whether its container has limits.
    """

    box: Sandbox
    output: str
    process: str
    start: str
    end: str
    demand: Demand
    group: str = ""
    limited: bool = False

    def wait_ready(self) -> None:
        """Start it. Raises ``LaunchFailure`` or ``WaitTimeout`` where that fails."""
        self.sh(self.start)
        self._until("ready")

    def limit_processor(self, vcpus: int) -> None:
        """Give a container that has limits :data:`BURN_CPUS`; raises ``Unavailable`` unless the
        container, or else the guest, then has no more processors than it should."""
        wanted, read = str(vcpus), "nproc"
        if self.limited:
            wanted = f"{BURN_CPUS * CPU_PERIOD_US:.0f} {CPU_PERIOD_US}"
            read = f"cd {self.group} && echo '{wanted}' >cpu.max && cat cpu.max"
        limits_hold({"processors": wanted}, {"processors": self.sh(read).strip()})

    def burned(self) -> None:
        """Wait until it computes no more; raises ``Unavailable`` where it had ended before."""
        if self.sh(f"grep 'burn done' {self.output}; true"):
            raise Unavailable("the CPU burner ended too early to be felt", "try again")
        self._until("burn done")

    def begin(self, stretch: str) -> None:
        """Signal it to take memory, processor time or processes."""
        self.sh(f'kill -{_SIGNALS[stretch]} "$({self.process})"')

    def pieces_killed(self) -> int:
        """Wait until it holds no memory any more; how many pieces were killed."""
        return self._until("memory done").split("\n").count(f"piece {_KILLED}")

    def processes(self) -> tuple[int, str]:
        """How many processes it has now, and what became of its loop."""
        count = self.sh("pgrep -x sleep | wc -l").strip()
        lines = self.sh(f"cat {self.output}").split("\n")
        ended = next((line for line in lines if line.startswith("forks done")), "")
        if not ended:
            became = "still going on"
        else:
            became = "reached its own bound" if ended.endswith(" 0") else "stopped at its limit"
        return int(count), became

    def peak_bytes(self) -> int:
        """The peak of its control group."""
        return _number(self.sh(f"cat {self.group}/memory.peak"))

    def sh(self, line: str) -> str:
        """Run a line of shell in the guest.

        Raises:
            LaunchFailure: it fails.
        """
        done = self.box.run(["sh", "-c", line], timeout_s=_WAIT_S + 20)
        output = done.output.decode(errors="replace")
        if done.exit_code:
            raise LaunchFailure(f"a line of shell ended with {done.exit_code}", (line,), output)
        return output

    def _until(self, words: str) -> str:
        output = self.sh(
            f"n=0; until grep -q '{words}' {self.output} || [ $n -gt {_WAIT_S * 10} ]; do "
            f"sleep 0.1; n=$((n + 1)); done; cat {self.output}"
        )
        if words not in output:
            raise WaitTimeout(f"“{words}” of the hog", _WAIT_S, output)
        return output


def in_container(box: Sandbox, name: str, demand: Demand, limits: Limits | None = None) -> Hog:
    """A hog in a container of a disposable VM; not started yet."""
    args = ("sh", "-c", _SCRIPT, "sh", *demand.args)
    guest_containers.write(box, name, guest_containers.configuration(args=args, limits=limits))
    output, group = f"/tmp/{name}.out", f"/sys/fs/cgroup/{name}"
    return Hog(
        box,
        output,
        process=guest_containers.first_process(name),
        start=f"{guest_containers.start_line(name)} >{output} 2>&1 &",
        # runc cleans up when the kernel has ended the group.
        end=f"echo 1 > {group}/cgroup.kill; n=0; "
        f"while [ -e /run/runc/{name} ] && [ $n -lt 100 ]; do sleep 0.1; n=$((n + 1)); done",
        demand=demand,
        group=group,
        limited=limits is not None,
    )


def in_guest(box: Sandbox, demand: Demand) -> Hog:
    """A hog in a guest, outside any container; not started yet."""
    box.put("/tmp/hog", _SCRIPT.encode())
    args = shlex.join(demand.args)
    return Hog(
        box,
        "/tmp/hog.out",
        process="cat /tmp/hog.pid",
        start=f"sh /tmp/hog {args} </dev/null >/tmp/hog.out 2>&1 & echo $! >/tmp/hog.pid",
        # The brackets keep the pattern from matching this line itself.
        end="pkill -9 -f '[/]tmp/hog'; pkill -9 -x sleep; true",
        demand=demand,
    )


_LEFT_MIB = 48
"""Memory that stays free in a guest that is filled."""

_FILL = """
[ "$(cat /proc/sys/vm/overcommit_memory)" != 1 ] || { echo 'this kernel refuses nothing'; exit 3; }
dd if=/dev/zero of=/dev/null bs=$1M count=1 2>/dev/null && exit 4
free=$(sed -n 's/MemAvailable: *\\([0-9]*\\) kB/\\1/p' /proc/meminfo)
take=$((free / 1024 - $2))
dd if=/dev/zero of=/dev/null bs=${take}M count=1 2>/dev/null && echo "$take"
"""


def fill(box: Sandbox, memory_mib: int) -> str:
    """Ask a guest for twice its memory at once, then take nearly all that it has.

    For a guest that boots from its disk: a hog would make it read its programs anew for minutes.

    Returns:
        What became of it, in words.

    Raises:
        LaunchFailure: its kernel did not refuse, or could not give what it says it has.
    """
    asked = 2 * memory_mib
    argv = ("sh", "-c", _FILL, "sh", str(asked), str(_LEFT_MIB))
    done = box.run(argv, timeout_s=120)
    output = done.output.decode(errors="replace").strip()
    if done.exit_code or not output.isdigit():
        raise LaunchFailure(f"the guest could not be filled (code {done.exit_code})", argv, output)
    return f"{asked} MiB refused by its kernel, {output} MiB taken"


# ---- limits, read back ---------------------------------------------------------------------------

LIMITS = Limits(memory_mib=64, pids=24, cpus=0.5)
"""Of the container with limits."""

DOCKER = Spec(memory_mib=LIMITS.memory_mib)
_DOCKER_ASKS_MIB = LIMITS.memory_mib + LIMITS.memory_mib // 2

MEMORY_LIMIT = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
MEMORY_PEAK = ("/sys/fs/cgroup/memory.peak", "/sys/fs/cgroup/memory/memory.max_usage_in_bytes")
CPU_LIMIT = (
    "/sys/fs/cgroup/cpu.max",
    "/sys/fs/cgroup/cpu/cpu.cfs_quota_us /sys/fs/cgroup/cpu/cpu.cfs_period_us",
)
"""Files in which a container sees its limits: control groups of version 2, then of version 1."""


def limits_hold(wanted: Mapping[str, str], found: Mapping[str, str]) -> None:
    """Raises ``Unavailable`` unless every limit was found as ``wanted``."""
    for name, value in wanted.items():
        if found.get(name) != value:
            raise Unavailable(
                f"refused: {name} reads {found.get(name, 'nothing')!r}, not {value!r}",
                "look at the recording: a limit that is not there bounds nothing",
            )


def group_limits(hog: Hog, limits: Limits = LIMITS) -> None:
    """Raises ``Unavailable`` unless the hog’s control group has these limits."""
    wanted = {
        "memory.max": str(limits.memory_mib * MIB),
        "pids.max": str(limits.pids),
        "cpu.max": f"{limits.cpus * CPU_PERIOD_US:.0f} {CPU_PERIOD_US}",
    }
    lines = hog.sh(f"cd {hog.group} && cat {' '.join(wanted)}").splitlines()
    limits_hold(wanted, dict(zip(wanted, lines, strict=False)))


def guest_memory(memory_mib: int, hog: Hog) -> None:
    """Raises ``Unavailable`` unless the guest has no more memory than it was given."""
    total_mib = int(hog.sh("grep MemTotal /proc/meminfo").split()[1]) // 1024
    if total_mib > memory_mib:
        raise Unavailable(
            f"refused: the guest has {total_mib} MiB, and was given {memory_mib}",
            "look at the recording",
        )


# ---- what a VM or a container takes of this computer --------------------------------------------

CPU_S = 2.5
"""Seconds over which processor time is counted."""

CPU_BOUND = 1.05
"""As claim S4 registers it: host CPU seconds per vCPU and wall second."""


def guest_ram(box: Sandbox, row: Measurement) -> Iterator[Measurement]:
    """One row: the guest's RAM on the host ÷ what it was given.

    Raises:
        Unavailable: its processes on the host cannot be seen, or their memory not read.
    """
    ram_bytes, held = row.mem_limit_mib * MIB, 0
    for pid in _host_pids(box):
        files = {word.replace(",,", ",") for word in memory.command_line(pid)}
        found = memory.vmm_parts(
            memory.smaps(pid), ram_bytes=ram_bytes, files=files, emulated=row.emulated
        )
        held += found.guest_ram
    yield filled(row, held / ram_bytes)


def busy_loops(box: Sandbox, vcpus: int, clock: Clock) -> float:
    """Host CPU seconds per vCPU and second, with two busy loops a vCPU.

    Raises:
        Unavailable: its processes on the host cannot be seen, or their time not read.
    """
    loop = "timeout -s KILL 20 sh -c 'while :; do :; done' </dev/null >/dev/null 2>&1 &"
    box.run(["sh", "-c", "\n".join([loop] * (2 * vcpus))])
    try:
        clock.sleep(0.5)
        pids = _host_pids(box)
        began_ns, before_s = clock.now_ns(), memory.cpu_s(pids)
        clock.sleep(CPU_S)
        took_s, after_s = (clock.now_ns() - began_ns) / NS_PER_S, memory.cpu_s(pids)
    finally:
        box.run(["sh", "-c", "pkill -9 -f '[w]hile :; do'; true"])
    return (after_s - before_s) / (vcpus * took_s)


def _host_pids(box: Sandbox) -> tuple[int, ...]:
    if pids := box.host_pids():
        return pids
    raise Unavailable("the processes that serve it cannot be seen from here", "replay a recording")


def docker_memory(box: Sandbox, row: Measurement) -> Iterator[Measurement]:
    """Ask Docker's container for more than its memory limit, which is read back first."""
    limit = _first(box, MEMORY_LIMIT)
    limits_hold({"the memory limit": str(LIMITS.memory_mib * MIB)}, {"the memory limit": limit})
    hog = (
        f"{{ dd if=/dev/zero bs={_DOCKER_ASKS_MIB}M count=1 2>/dev/null; echo $? >&2; }} | sleep 1"
    )
    killed = box.run(["sh", "-c", hog]).output.split()[-1:] == [b"%d" % _KILLED]
    yield became(
        row, f"killed at its limit ({_DOCKER_ASKS_MIB} MiB asked)" if killed else "finished"
    )
    peak = _number(_first(box, MEMORY_PEAK))
    yield filled(row, float(peak))
    yield memory_limit_holds(row, killed, peak)


def docker_processor(box: Sandbox, row: Measurement, clock: Clock) -> Iterator[Measurement]:
    """Run busy loops in Docker's container, once its processor limit has been read back."""
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
    """Content of the first of these files that can be read; empty where none can."""
    line = " || ".join(f"cat {files} 2>/dev/null" for files in places)
    return box.run(["sh", "-c", line]).output.decode(errors="replace").strip()


def _number(text: str) -> int:
    try:
        return int(text)
    except ValueError as problem:
        raise Unavailable(
            f"its control group cannot be read ({problem})", "look at the recording"
        ) from None


def memory_limit_holds(row: Measurement, killed: bool, peak: int) -> Measurement:
    """The fact, from whether anything was killed and the peak of its control group (bytes)."""
    return filled(
        row,
        float(killed and peak <= LIMITS.memory_mib * MIB),
        metric="fact",
        phase="container_memory_limit_holds",
        text=f"peak {peak / MIB:.1f} MiB of {LIMITS.memory_mib}",
    )


BECAME = "what became of the "
"""Beginning of the phase of an observation; the phase of the hog follows."""


def became(row: Measurement, text: str) -> Measurement:
    """The observation of what became of the hog of ``row``."""
    return filled(row, 1.0, metric="observation", phase=BECAME + row.phase, text=text)


# ---- what a neighbour notices --------------------------------------------------------------------

_LETTER, _WORKED = "S", "W"
_PIECES = 50_000
_WORKS = f"""
trap 'work=1' USR1
trap 'work=' USR2
echo $$ >/tmp/neighbour.pid
{heartbeat.PATH} $1 &
while wait $!; [ $? -gt 128 ]; do
  n=0
  while [ "$work" ] && [ $n -lt {_PIECES} ]; do
    i=0; while [ $i -lt 300 ]; do i=$((i + 1)); done
    echo {_WORKED}; n=$((n + 1))
  done
done
"""
"""First program of a neighbour: its heartbeat, and a shell that works between two signals."""

_WORKING = ("sh", "-c", _WORKS, "sh", _LETTER)

WORK_S = 2.0
"""Seconds in which pieces of work are counted."""

WINDOW_S = 3.0
"""Seconds of a phase: sixty beats."""
_WINDOW_NS = int(WINDOW_S * NS_PER_S)

LIMITED = Demand(pieces=3, piece_mib=48)
UNLIMITED = Demand(pieces=4, piece_mib=112)
IN_VM = Demand(pieces=3, piece_mib=96)
"""Each is more than the limit, or than the guest's memory."""

DISTRIBUTION = Spec(machine=Machine.Q35)

_HOSTING, _SIBLING, _VM, _DISTRIBUTION = "their VM", "sibling VM", "VM", "distribution"
"""Names of instances."""


@dataclass(slots=True)
class Neighbourhood:
    """A hog and a neighbour with a heartbeat.

    Attributes:
        name: for a progress line.
        row: a row ``gap_p50_s`` without a value.
        place: the instance that the hog is in.
        neighbour: the instance with the heartbeat.
        demand: what the hog takes.
        limits: of its container, if any.
        hog: the one of this round.
        refused: why the hog may not begin; else empty.
    """

    name: str
    row: Measurement
    place: str
    neighbour: str
    demand: Demand
    limits: Limits | None = None
    hog: Hog | None = None
    refused: str = "not started"


@dataclass(slots=True)
class NoisyNeighbours:
    """One run of this part: what is open, by name."""

    instances: Instances
    beating: dict[str, Beating] = field(default_factory=dict)
    boxes: dict[str, Sandbox] = field(default_factory=dict)

    @property
    def clock(self) -> Clock:
        """Of this computer."""
        return self.instances.clock

    # ---- opening --------------------------------------------------------------------------------

    def open(self, place: str) -> list[Measurement]:
        """Open one instance; the rows of what needs it say why that failed."""
        try:
            if place == _HOSTING:
                works = guest_containers.configuration(args=_WORKING)
                self.beating[place] = self.instances.hosting({_LETTER: works}, "V")
                self.boxes[place] = self.beating[place].box
            elif place == _SIBLING:
                self.beating[place] = self.instances.beating(
                    Platform.VM_DIRECT, GUEST, _LETTER, _WORKING
                )
            elif place == _VM:
                self.boxes[place] = self.instances.open(Platform.VM_DIRECT, GUEST)
            else:
                self.boxes[place] = self.instances.open(Platform.VM, DISTRIBUTION)
        except FAILURES as problem:
            self.instances.why[place] = str(problem)
        return []

    # ---- one neighbourhood, one round -----------------------------------------------------------

    def start(self, one: Neighbourhood, block: int) -> list[Measurement]:
        """Start the hog of this round, and read its limit back; its rows say what failed."""
        why = self.instances.why
        one.hog, one.refused = None, why.get(one.place) or why.get(one.neighbour, "")
        if one.refused:
            return []
        try:
            box = self.boxes[one.place]
            if one.row.platform is Platform.CONTAINER:
                name = f"hog-{block}-{one.row.confinement.split()[0]}"
                one.hog = in_container(box, name, one.demand, one.limits)
            else:
                one.hog = in_guest(box, one.demand)
            one.hog.wait_ready()
            if one.limits:
                group_limits(one.hog, one.limits)
            else:
                guest_memory(one.row.mem_limit_mib, one.hog)
        except FAILURES as problem:
            one.refused = str(problem)
        return []

    def quiet(self, all_of_them: Sequence[Neighbourhood], block: int) -> Iterator[Measurement]:
        """The phase in which every hog waits."""
        begin_ns = self.clock.now_ns()
        self.clock.until(begin_ns + _WINDOW_NS)
        for one in all_of_them:
            row = replace(one.row, block=block, phase=QUIET)
            if one.refused:
                yield from _no_gaps(row, one.refused)
            else:
                yield from self._gaps(one, row, begin_ns)

    def stretch(self, one: Neighbourhood, block: int, phase: str) -> Iterator[Measurement]:
        """Let a hog begin, and listen to its neighbour."""
        row = replace(one.row, block=block, phase=phase)
        if one.hog is None or one.refused:
            yield from _no_gaps(row, one.refused)
            return
        try:
            begin_ns = self.clock.now_ns()
            one.hog.begin(phase)
            self.clock.until(begin_ns + _WINDOW_NS)
            yield from self._gaps(one, row, begin_ns)
            if phase == MEMORY:
                yield from self._memory(one, one.hog, row)
            else:
                count, ended = one.hog.processes()
                yield filled(row, float(count), metric="item_count")
                yield became(row, f"{ended}, with {count} processes")
        except FAILURES as problem:
            one.refused = str(problem)
            yield failed(row, one.refused)

    def work(self, one: Neighbourhood, block: int) -> Iterator[Measurement]:
        """Let the neighbour work, first beside the quiet hog, then while that computes."""
        row = replace(one.row, block=block, phase=WORK_QUIET, metric="duration_s")
        if one.hog is None or one.refused:
            yield failed(row, one.refused)
            return
        try:
            one.hog.limit_processor(row.vcpus)
            self._signal(one.neighbour, "USR1")
            quiet_s = self._piece_s(one)
            one.hog.begin(BURNER)
            self.clock.sleep(0.5)
            busy_s = self._piece_s(one)
            self._signal(one.neighbour, "USR2")
            one.hog.burned()
        except FAILURES as problem:  # the hog ends by itself: it may still take processes
            with contextlib.suppress(*FAILURES):
                self._signal(one.neighbour, "USR2")
            yield failed(row, str(problem))
        else:
            yield filled(row, quiet_s)
            yield filled(row, busy_s, phase=WORK_BURNER)

    def _signal(self, neighbour: str, signal: str) -> None:
        process = "cat /tmp/neighbour.pid"
        if neighbour == _HOSTING:
            process = guest_containers.first_process(_LETTER)
        self.beating[neighbour].box.run(["sh", "-c", f'kill -{signal} "$({process})"'])

    def _piece_s(self, one: Neighbourhood) -> float:
        """How long a piece of work takes, from those of the next seconds; raises ``Unavailable``
        where none was done."""
        begin_ns = self.clock.now_ns()
        self.clock.until(begin_ns + int(WORK_S * NS_PER_S))
        beats = self.beating[one.neighbour].log.beats(_WORKED)
        done = sum(begin_ns <= beat_ns for beat_ns in beats)
        if not done:
            raise Unavailable("the neighbour did no work", "try again")
        return WORK_S / done

    def _gaps(self, one: Neighbourhood, row: Measurement, begin_ns: int) -> Iterator[Measurement]:
        """Percentiles of the gaps of the neighbour's heartbeat."""
        beats = self.beating[one.neighbour].log.beats(_LETTER)
        try:
            p50_s, p99_s = heartbeats.percentiles_s(
                heartbeats.gaps_s(beats, begin_ns, begin_ns + _WINDOW_NS)
            )
        except ValueError as problem:  # fewer than two beats
            yield from _no_gaps(row, f"the sibling was silent ({problem})")
            return
        yield filled(row, p50_s)
        yield filled(row, p99_s, metric="gap_p99_s")

    def _memory(self, one: Neighbourhood, hog: Hog, row: Measurement) -> Iterator[Measurement]:
        """What became of a hog that took memory, and how much it got."""
        killed, text = hog.pieces_killed(), "finished"
        if killed:
            why = "at its limit" if one.limits else "when nothing was left"
            text = f"{killed} of {hog.demand.pieces} pieces killed {why}"
        yield became(row, f"{text} ({hog.demand.memory_mib} MiB asked)")
        if not hog.group:
            row = replace(row, metric="guest_ram_to_limit_ratio")
            yield from or_failed(guest_ram(self.boxes[one.place], row), row)
            return
        peak = hog.peak_bytes()
        yield filled(row, float(peak), metric="cgroup_bytes")
        if one.limits:
            yield memory_limit_holds(row, killed > 0, peak)

    def take_away(self, one: Neighbourhood) -> Iterator[Measurement]:
        """End the hog of this round, and its processes."""
        if one.hog is not None:
            try:
                one.hog.sh(one.hog.end)
            except FAILURES as problem:
                yield failed(replace(one.row, phase=QUIET), f"while ending: {problem}")

    # ---- a distribution, and Docker -------------------------------------------------------------

    def distribution(self, block: int) -> Iterator[Measurement]:
        """Ask a VM that boots a distribution for more memory than it has."""
        row = self._row(Platform.VM, DISTRIBUTION, "guest_ram_to_limit_ratio", block, MEMORY)

        def rows() -> Iterator[Measurement]:
            box = self._box(_DISTRIBUTION)
            yield became(row, fill(box, DISTRIBUTION.memory_mib))
            yield from guest_ram(box, row)

        return or_failed(rows(), row)

    def processor(self, place: str, block: int) -> Iterator[Measurement]:
        """What a VM with two busy loops a vCPU takes of the host's processor."""
        is_full = place == _DISTRIBUTION
        platform, spec = (Platform.VM, DISTRIBUTION) if is_full else (Platform.VM_DIRECT, GUEST)
        row = self._row(platform, spec, "host_cpu_to_vcpu_ratio", block, "busy loops")

        def rows() -> Iterator[Measurement]:
            yield filled(row, busy_loops(self._box(place), spec.vcpus, self.clock))

        return or_failed(rows(), row)

    def docker(self, block: int) -> Iterator[Measurement]:
        """Docker's own container with limits, on this computer."""
        row = self._row(Platform.CONTAINER, DOCKER, "cgroup_bytes", block, MEMORY)
        row = replace(row, confinement=WITH)
        busy = replace(row, metric="host_cpu_to_vcpu_ratio", phase="busy loops")
        context = self.instances.context

        def rows() -> Iterator[Measurement]:
            launcher = self.instances.launcher(Platform.CONTAINER)
            with launcher.open(DOCKER, context.on_event) as box:
                yield from or_failed(docker_memory(box, row), row)
                yield from or_failed(docker_processor(box, busy, self.clock), busy)

        return or_failed(rows(), row)

    def _box(self, place: str) -> Sandbox:
        if place not in self.boxes:
            why = self.instances.why.get(place, f"there is no {place}")
            raise Unavailable(why, "try again")
        return self.boxes[place]

    def _row(
        self, platform: Platform, spec: Spec, metric: str, block: int, phase: str
    ) -> Measurement:
        launcher = self.instances.launcher(platform)
        return replace(blank(launcher, platform, spec, metric), block=block, phase=phase)

    def end(self) -> list[Measurement]:
        """Close all instances; the clean-up of the run ends what that leaves."""
        with contextlib.suppress(*FAILURES):
            self.instances.stack.close()
        return []


def _no_gaps(row: Measurement, why: str) -> Iterator[Measurement]:
    return (failed(row, why, metric=metric) for metric in ("gap_p50_s", "gap_p99_s"))


# ---- the plan -----------------------------------------------------------------------------------


def _neighbourhoods(launcher: Launcher) -> list[Neighbourhood]:
    vm = blank(launcher, Platform.VM_DIRECT, GUEST, "gap_p50_s")
    inside = guest_containers.blank_row(launcher, DISPOSABLE, "gap_p50_s")
    without = replace(inside, confinement=WITHOUT)
    limited = replace(inside, confinement=WITH, mem_limit_mib=LIMITS.memory_mib)
    return [
        Neighbourhood(f"container {WITHOUT}", without, _HOSTING, _HOSTING, UNLIMITED),
        Neighbourhood(f"container {WITH}", limited, _HOSTING, _HOSTING, LIMITED, LIMITS),
        Neighbourhood("VM", vm, _VM, _SIBLING, IN_VM),
    ]


def steps(context: Context, stack: contextlib.ExitStack, clock: Clock | None = None) -> list[Step]:
    """The steps of this part; without QEMU only those of Docker's container with limits."""
    own = stack.enter_context(contextlib.ExitStack())
    run = NoisyNeighbours(Instances(context, own, clock or Clock()))
    chance = random.Random(context.seed)
    direct = context.launchers.get(Platform.VM_DIRECT)
    all_of_them = _neighbourhoods(direct) if direct else []
    places = [_HOSTING, _SIBLING, _VM] if direct else []
    places += [_DISTRIBUTION] if Platform.VM in context.launchers else []
    plan: list[Step] = [
        (f"noisy neighbours: opening {place}", partial(run.open, place)) for place in places
    ]
    for block in range(context.rounds):
        now: list[Step] = [
            (f"{o.name}, starting", partial(run.start, o, block)) for o in all_of_them
        ]
        if all_of_them:
            now.append(("all quiet", partial(run.quiet, all_of_them, block)))
        groups: list[list[Step]] = [
            [
                (f"{one.name}, {MEMORY}", partial(run.stretch, one, block, MEMORY)),
                (f"{one.name}, {BURNER}", partial(run.work, one, block)),
                (f"{one.name}, {FORKS}", partial(run.stretch, one, block, FORKS)),
                (f"{one.name}, ending", partial(run.take_away, one)),
            ]
            for one in all_of_them
        ]
        if _DISTRIBUTION in places:
            groups.append([("a distribution: memory", partial(run.distribution, block))])
        if places:
            busiest = places[-1]  # the kind that findings are about, where there is one
            groups.append([(f"{busiest}: processor", partial(run.processor, busiest, block))])
        if Platform.CONTAINER in context.launchers:
            groups.append([("Docker’s container with limits", partial(run.docker, block))])
        chance.shuffle(groups)
        now += [step for group in groups for step in group]
        plan += [(f"noisy neighbours {block + 1}: {words}", step) for words, step in now]
    return [*plan, ("noisy neighbours: closing", run.end)] if plan else []
