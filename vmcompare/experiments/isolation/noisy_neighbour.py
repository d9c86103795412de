"""What a neighbour notices when a program takes all it can get, and which limits hold.

Three times a neighbour beside a hog, a program that takes: in a container without limits and in one
with limits, both in a disposable VM, and in a VM beside another VM. In each round each hog takes
memory in pieces, then processor time while the neighbour works as well, and then processes that
sleep. Docker's own container with limits, on this computer, and a VM that boots a distribution are
asked for more than their limits, too. For a writer to the disk see :mod:`.disk_writer`.

A hog is bounded by what it asks for and by a limit from outside, which it reads back first; where
that is not in force, it does not begin, and its rows say so.

Rows, ``block`` = round: ``duration_s`` of a piece of the neighbour's work (``phase`` = work beside
a quiet program, work beside a CPU burner); ``cgroup_bytes``, the peak of the hog's control group;
``item_count``, processes it reached; ``guest_ram_to_limit_ratio``, RAM that the host gives a guest
that wants more, per ``-m``; ``host_cpu_to_vcpu_ratio``, host CPU seconds of the emulator per vCPU
and second, with two busy loops; and the facts ``container_memory_limit_holds`` and
``container_cpu_limit_holds``. Older recordings also have ``gap_p99_s``, of a heartbeat.
"""

from __future__ import annotations

import contextlib
import random
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from vmcompare.engines.images.oci import CPU_PERIOD_US
from vmcompare.engines.programs import heartbeat
from vmcompare.errors import LaunchFailure, Unavailable
from vmcompare.evidence.recording import Measurement
from vmcompare.evidence.units import MIB, NS_PER_S
from vmcompare.experiments.isolation import disk_writer, guest_containers
from vmcompare.experiments.isolation.boundaries import Step, Variant
from vmcompare.experiments.isolation.guest_containers import Limits
from vmcompare.experiments.isolation.heartbeats import (
    DISPOSABLE,
    GUEST,
    Beating,
    Clock,
    Instances,
)
from vmcompare.measuring import memory
from vmcompare.measuring.experiment import FAILURES, Context, filled, or_failed
from vmcompare.sandbox import Machine, Platform, Sandbox, Spec

WITHOUT, WITH = "without limits", "with limits"
MEMORY, FORKS, BURNER = "memory hog", "fork loop", "CPU burner"
WORK_QUIET, WORK_BURNER = "work beside a quiet program", "work beside a CPU burner"

# ---- hogs ----------------------------------------------------------------------------------------

HOLD_S, BURN_S, MOST_FORKS = 5, 6, 200
"""Bounds that a hog sets itself: seconds it holds a piece of memory, seconds it computes, and the
processes it starts."""

BURN_CPUS = 0.2
"""Processors of a hog that computes with limits."""

_KILLED = 128 + 9  # exit code, in a shell, of a program that was ended by SIGKILL
_REFUSED = 3  # exit code of a hog whose limit is not in force

HOG = f"""
what=$1 limits=$2 memory_mib=$3 pieces=$4 piece_mib=$5
cd /sys/fs/cgroup
if [ "$limits" ]; then found=$(echo $(cat memory.max pids.max cpu.max))
else
  mib=$(($(sed -n 's/MemTotal: *\\([0-9]*\\) kB/\\1/p' /proc/meminfo) / 1024))
  limits="at most $memory_mib MiB" found="$mib MiB"
  [ $mib -gt $memory_mib ] || found=$limits
fi
if [ "$found" != "$limits" ]; then
  echo "refused: its limit reads '$found', not '$limits'"; exit {_REFUSED}
fi
case $what in
  memory)
    n=0
    while [ $n -lt $pieces ]; do
      {{ dd if=/dev/zero bs=${{piece_mib}}M count=1 2>/dev/null; echo "piece $?" >&2; }} |
        sleep {HOLD_S} &
      n=$((n + 1))
    done
    wait; cat memory.peak 2>/dev/null; exit 0 ;;
  time)
    echo computing; timeout -s KILL {BURN_S} sh -c 'while :; do :; done' ;;
  processes)
    trap 'printf "\\n%d\\n" $((i + 1)); exit 0' EXIT
    i=0; while [ $i -lt {MOST_FORKS} ]; do sleep 30 >/dev/null 2>&1 & i=$((i + 1)); done ;;
esac
"""
# BusyBox's dd touches every byte of its one block, and blocks on a pipe that nobody reads. In
# pieces, because the kernel would refuse one block larger than all memory (overcommit). A shell
# that may start no more processes ends, and says then how many it had, itself among them, on a
# line of its own: the shell's complaint may not have ended its line yet.

_BEHIND = """
rm -f /tmp/hog /tmp/ended
{{ {}; echo it ended >/tmp/ended; }} </dev/null >/tmp/hog 2>&1 &
until grep -q computing /tmp/hog || [ -e /tmp/ended ]; do sleep 0.1; done
"""

Demand = tuple[int, int]
"""The memory that a hog takes at most: how many pieces, and MiB of each."""


_LEFT_MIB = 48
"""Memory that stays free in a guest that is filled."""

_FILL = """
[ "$(cat /proc/sys/vm/overcommit_memory)" != 1 ] || { echo 'this kernel refuses nothing'; exit 3; }
dd if=/dev/zero of=/dev/null bs=$1M count=1 2>/dev/null && exit 4
free=$(sed -n 's/MemAvailable: *\\([0-9]*\\) kB/\\1/p' /proc/meminfo)
take=$((free / 1024 - $2))
dd if=/dev/zero of=/dev/null bs=${take}M count=1 2>/dev/null && echo "$take"
"""


def fill(box: Sandbox, memory_mib: int) -> None:
    """Ask a guest for twice its memory at once, then take nearly all that it has.

    For a guest that boots from its disk: a hog would make it read its programs anew for minutes.
    Raises ``LaunchFailure``: its kernel did not refuse, or could not give what it says it has.
    """
    argv = ("sh", "-c", _FILL, "sh", str(2 * memory_mib), str(_LEFT_MIB))
    done = box.run(argv, timeout_s=120)
    output = done.output.decode(errors="replace").strip()
    if done.exit_code or not output.isdigit():
        raise LaunchFailure(f"the guest could not be filled (code {done.exit_code})", argv, output)


# ---- limits, read back ---------------------------------------------------------------------------

LIMITS = Limits(memory_mib=64, pids=24, cpus=0.5)
"""Of the container with limits."""

DOCKER = Spec(memory_mib=LIMITS.memory_mib)

MEMORY_LIMIT = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
MEMORY_PEAK = ("/sys/fs/cgroup/memory.peak", "/sys/fs/cgroup/memory/memory.max_usage_in_bytes")
CPU_LIMIT = (
    "/sys/fs/cgroup/cpu.max",
    "/sys/fs/cgroup/cpu/cpu.cfs_quota_us /sys/fs/cgroup/cpu/cpu.cfs_period_us",
)
"""Files in which a container sees its limits: control groups of version 2, then of version 1."""

CPU_S = 2.5
"""Seconds over which processor time is counted."""

CPU_BOUND = 1.05
"""As claim S4 registers it: host CPU seconds per vCPU and wall second."""


def _must_be(name: str, wanted: str, found: str) -> None:
    """Raises ``Unavailable`` unless a limit was read back as ``wanted``."""
    if found.split() != wanted.split():
        raise Unavailable(
            f"refused: {name} reads {found.strip()!r}, not {wanted!r}",
            "look at the recording: a limit that is not there bounds nothing",
        )


def guest_ram_ratio(box: Sandbox, row: Measurement) -> float:
    """The guest's RAM on the host ÷ what it was given. Raises ``Unavailable``."""
    ram_bytes = row.mem_limit_mib * MIB
    held = memory.vm_parts(memory.serving(box), ram_bytes=ram_bytes, emulated=row.emulated)
    return held.guest_ram / ram_bytes


def busy_loops(box: Sandbox, clock: Clock) -> float:
    """Host CPU seconds a second, of two busy loops on one vCPU. Raises ``Unavailable``."""
    loop = "timeout -s KILL 20 sh -c 'while :; do :; done' </dev/null >/dev/null 2>&1 &"
    box.run(["sh", "-c", f"{loop}\n{loop}"])
    try:
        clock.sleep(0.5)
        pids = memory.serving(box)
        began_ns, before_s = clock.now_ns(), memory.cpu_s(pids)
        clock.sleep(CPU_S)
        took_s, after_s = (clock.now_ns() - began_ns) / NS_PER_S, memory.cpu_s(pids)
    finally:
        box.run(["sh", "-c", "pkill -9 -f '[w]hile :; do'; true"])
    return (after_s - before_s) / took_s


def _first(box: Sandbox, places: tuple[str, ...]) -> str:
    """Content of the first of these files that can be read; empty where none can."""
    line = " || ".join(f"cat {files} 2>/dev/null" for files in places)
    return box.run(["sh", "-c", line]).output.decode(errors="replace").strip()


def _number(said: str) -> str:
    """The line that is a number, among errors that may come before it or after; or all of it."""
    return next((line for line in said.split("\n") if line.isdigit()), said)


def _peak(row: Measurement, read: str, *, killed: bool | None) -> Iterator[Measurement]:
    """The peak of a control group (bytes), and whether its limits held: ``killed`` is whether they
    ended anything, ``None`` where there are none."""
    if not read.strip().isdigit():
        raise Unavailable(f"its control group reads {read!r}", "look at the recording")
    peak = int(read)
    yield filled(row, float(peak), metric="cgroup_bytes")
    if killed is not None:
        text = f"peak {peak / MIB:.1f} MiB of {LIMITS.memory_mib}"
        fact = replace(row, metric="fact", phase="container_memory_limit_holds")
        yield filled(fact, float(killed and peak <= LIMITS.memory_mib * MIB), text=text)


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

LIMITED, UNLIMITED, IN_VM = (3, 48), (4, 112), (3, 96)
"""Each is more than the limit, or than the guest's memory."""

_FULL = Spec(machine=Machine.Q35)
"""A VM that boots a distribution."""

_HOSTING, _SIBLING, _VM, _DISTRIBUTION = "their VM", "sibling VM", "VM", "distribution"
"""Names of instances."""


@dataclass(frozen=True, slots=True)
class Neighbourhood:
    """A hog and a neighbour.

    Attributes:
        name: for a progress line.
        row: a row without a value, of the memory that the hog gets.
        place, neighbour: names of the instances with the hog, and with the neighbour.
        demand, limits: what the hog takes, and the limits of its container, if any.
    """

    name: str
    row: Measurement
    place: str
    neighbour: str
    demand: Demand
    limits: Limits | None = None


@dataclass(slots=True)
class NoisyNeighbours:
    """One run of this part: what is open, by name."""

    instances: Instances
    beating: dict[str, Beating] = field(default_factory=dict)
    boxes: dict[str, Sandbox] = field(default_factory=dict)

    def open(self, place: str) -> list[Measurement]:
        """Open one instance; the rows of what needs it say why that failed."""
        opening = self.instances
        try:
            if place == _HOSTING:
                works = guest_containers.configuration(args=_WORKING)
                self.beating[place] = opening.hosting({_LETTER: works}, "V")
                self.boxes[place] = self.beating[place].box
            elif place == _SIBLING:
                of = (Platform.VM_DIRECT, GUEST, _LETTER, _WORKING)
                self.beating[place] = opening.beating(*of)
            else:
                wanted = (Platform.VM_DIRECT, GUEST) if place == _VM else (Platform.VM, _FULL)
                self.boxes[place] = opening.open(*wanted)
        except FAILURES as problem:
            opening.why[place] = problem
        return []

    @property
    def clock(self) -> Clock:
        return self.instances.clock

    # ---- one neighbourhood, one round -----------------------------------------------------------

    def disturb(self, one: Neighbourhood, block: int) -> Iterator[Measurement]:
        """Let a hog take memory, then processor time beside its neighbour, then processes."""
        took = replace(one.row, block=block)
        work = replace(took, metric="duration_s", phase=WORK_QUIET)
        forks = replace(took, metric="item_count", phase=FORKS)
        hog = partial(self._hog, one, block)

        def rows() -> Iterator[Measurement]:
            for place in (one.place, one.neighbour):
                if place in self.instances.why:
                    raise self.instances.why[place]
            yield from or_failed(self._memory(one, hog("memory"), took), took)
            yield from or_failed(self._work(one, hog("time"), work), work)
            yield from or_failed(self._forks(one, hog("processes"), forks), forks)

        return or_failed(rows(), took, work, forks)

    def _hog(self, one: Neighbourhood, block: int, what: str) -> list[str]:
        """The command, for the guest, that takes memory, time or processes."""
        limits = one.limits
        if limits and what == "time":
            limits = replace(limits, cpus=BURN_CPUS)
        read = limits.read_back if limits else ""
        numbers = map(str, (one.row.mem_limit_mib, *one.demand))
        argv = ["sh", "-c", HOG, "hog", what, read, *numbers]
        if one.row.platform is not Platform.CONTAINER:
            return argv
        name = f"hog-{block}-{what}-{one.row.confinement.split()[0]}"
        configuration = guest_containers.configuration(args=argv, limits=limits)
        guest_containers.write(self.boxes[one.place], name, configuration)
        return ["sh", "-c", guest_containers.start_line(name)]

    def _said(self, one: Neighbourhood, argv: Sequence[str]) -> str:
        """What a command prints in the guest; raises ``Unavailable`` where a hog refuses."""
        done = self.boxes[one.place].run(argv, timeout_s=60)
        said = done.output.decode(errors="replace").strip()
        if done.exit_code == _REFUSED:
            raise Unavailable(said, "look at the recording: a limit that is not there is none")
        if done.exit_code:
            raise LaunchFailure(f"a hog ended with {done.exit_code}", argv, said)
        return said

    def _memory(
        self, one: Neighbourhood, hog: Sequence[str], row: Measurement
    ) -> Iterator[Measurement]:
        said = self._said(one, hog)
        if row.platform is Platform.CONTAINER:
            killed = f"piece {_KILLED}" in said.split("\n")
            yield from _peak(row, _number(said), killed=killed if one.limits else None)
        else:
            yield filled(row, guest_ram_ratio(self.boxes[one.place], row))

    def _work(
        self, one: Neighbourhood, hog: Sequence[str], row: Measurement
    ) -> Iterator[Measurement]:
        """Let the neighbour work, first beside a quiet guest, then while a hog computes."""
        with self._working(one):
            quiet_s = self._piece_s(one)
            self._said(one, ["sh", "-c", _BEHIND.format(shlex.join(hog))])
            busy_s = self._piece_s(one)
        if said := self._said(one, ["sh", "-c", "[ ! -e /tmp/ended ] || cat /tmp/hog"]):
            raise Unavailable(f"the CPU burner ended too early to be felt ({said})", "try again")
        self._said(one, ["sh", "-c", "until [ -e /tmp/ended ]; do sleep 0.1; done"])
        yield filled(row, quiet_s)
        yield filled(row, busy_s, phase=WORK_BURNER)

    def _forks(
        self, one: Neighbourhood, hog: Sequence[str], row: Measurement
    ) -> Iterator[Measurement]:
        said = self._said(one, hog)
        if not (count := _number(said)).isdigit():
            raise Unavailable(f"the fork loop did not count ({said[-100:]})", "try again")
        yield filled(row, float(count))
        self.boxes[one.place].run(["sh", "-c", "pkill -9 -x sleep; true"])

    @contextlib.contextmanager
    def _working(self, one: Neighbourhood) -> Iterator[None]:
        """Signal the neighbour to work, and to sleep again."""
        process = "cat /tmp/neighbour.pid"
        if one.neighbour == _HOSTING:
            process = guest_containers.first_process(_LETTER)
        box = self.beating[one.neighbour].box
        box.run(["sh", "-c", f'kill -USR1 "$({process})"'])
        try:
            yield
        finally:
            box.run(["sh", "-c", f'kill -USR2 "$({process})"'])

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

    # ---- a distribution, and Docker -------------------------------------------------------------

    def distribution(self, block: int, phase: str) -> Iterator[Measurement]:
        """Ask a VM that boots a distribution for more memory or processor time than it has."""
        metric = "guest_ram_to_limit_ratio" if phase == MEMORY else "host_cpu_to_vcpu_ratio"
        full = Variant(_DISTRIBUTION, Platform.VM, _FULL)
        row = replace(full.row(self.instances.context, metric, phase), block=block)

        def rows() -> Iterator[Measurement]:
            if _DISTRIBUTION not in self.boxes:
                raise self.instances.why[_DISTRIBUTION]
            box = self.boxes[_DISTRIBUTION]
            if phase == MEMORY:
                fill(box, _FULL.memory_mib)
                yield filled(row, guest_ram_ratio(box, row))
            else:
                yield filled(row, busy_loops(box, self.clock))

        return or_failed(rows(), row)

    def docker(self, block: int) -> Iterator[Measurement]:
        """Ask Docker's own container, on this computer, for more than its limits; each of them is
        read back first."""
        limited = Variant("", Platform.CONTAINER, DOCKER, WITH)
        row = replace(limited.row(self.instances.context, "cgroup_bytes", MEMORY), block=block)
        busy = replace(row, metric="fact", phase="container_cpu_limit_holds")

        def of_memory(box: Sandbox) -> Iterator[Measurement]:
            _must_be("the memory limit", f"{LIMITS.memory_mib * MIB}", _first(box, MEMORY_LIMIT))
            asks = f"dd if=/dev/zero bs={LIMITS.memory_mib * 3 // 2}M count=1 2>/dev/null"
            said = box.run(["sh", "-c", f"{{ {asks}; echo $? >&2; }} | sleep 1"]).output.split()
            yield from _peak(row, _first(box, MEMORY_PEAK), killed=said[-1:] == [b"%d" % _KILLED])

        def of_processor(box: Sandbox) -> Iterator[Measurement]:
            wanted = f"{CPU_PERIOD_US} {CPU_PERIOD_US}"
            _must_be("the processor limit", wanted, _first(box, CPU_LIMIT))
            used = busy_loops(box, self.clock)
            yield filled(busy, float(used <= CPU_BOUND), text=f"{used:.3f} CPU seconds a second")

        def rows() -> Iterator[Measurement]:
            launcher = self.instances.context.launchers[Platform.CONTAINER]
            with launcher.open(DOCKER, self.instances.context.on_event) as box:
                yield from or_failed(of_memory(box), row)
                yield from or_failed(of_processor(box), busy)

        return or_failed(rows(), row)

    def end(self) -> list[Measurement]:
        """Close all instances; the clean-up of the run ends what that leaves."""
        with contextlib.suppress(*FAILURES):
            self.instances.stack.close()
        return []


# ---- the plan -----------------------------------------------------------------------------------


def _neighbourhoods(context: Context) -> list[Neighbourhood]:
    kind = (Platform.CONTAINER, DISPOSABLE, WITHOUT, guest_containers.RUNTIME)
    without = Variant("", *kind).row(context, "cgroup_bytes", MEMORY)
    limited = replace(without, confinement=WITH, mem_limit_mib=LIMITS.memory_mib)
    vm = Variant("", Platform.VM_DIRECT, GUEST).row(context, "guest_ram_to_limit_ratio", MEMORY)
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
    has_vms = Platform.VM_DIRECT in context.launchers
    all_of_them = _neighbourhoods(context) if has_vms else []
    places = [_HOSTING, _SIBLING, _VM] if has_vms else []
    places += [_DISTRIBUTION] if Platform.VM in context.launchers else []
    plan: list[Step] = [(f"opening {place}", partial(run.open, place)) for place in places]
    for block in range(context.rounds):
        trials = [(one.name, partial(run.disturb, one, block)) for one in all_of_them]
        if _DISTRIBUTION in places:
            trials += [
                (f"a distribution: {phase}", partial(run.distribution, block, phase))
                for phase in (MEMORY, "busy loops")
            ]
        if Platform.CONTAINER in context.launchers:
            trials.append(("Docker’s container with limits", partial(run.docker, block)))
        trials += [
            (f"disk writer, {platform}", partial(disk_writer.rows, run.instances, platform, block))
            for platform in disk_writer.INSTANCES
            if platform in context.launchers
        ]
        chance.shuffle(trials)
        plan += trials
    if plan:
        plan.append(("closing", run.end))
    return [(f"noisy neighbours: {words}", step) for words, step in plan]
