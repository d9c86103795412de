"""Outer limits, read back before a hog is let loose, and what instances take of this computer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

from vmcompare.errors import Unavailable
from vmcompare.evidence.recording import Measurement
from vmcompare.evidence.units import MIB, NS_PER_S
from vmcompare.experiments.isolation import hogs
from vmcompare.experiments.isolation.hogs import Hog
from vmcompare.experiments.isolation.hosts import Clock
from vmcompare.measuring import memory
from vmcompare.measuring.experiment import FAILURES, failed, filled
from vmcompare.sandbox import Sandbox, Spec

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
    said = hog.sh(f"cd {hogs.group(hog.name)} && cat {' '.join(files)}").splitlines()
    wanted = (str(LIMITS_MIB * MIB), str(LIMIT_PIDS), f"{LIMIT_CPUS * 100_000:.0f} 100000")
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
                memory.smaps(pid), ram_bytes=ram_bytes, files=files, emulated=row.accel == "tcg"
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
    wanted = f"{DOCKER.vcpus * 100_000} 100000"
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


def became(row: Measurement, text: str) -> Measurement:
    what = f"what became of the {row.phase}"
    return filled(row, 1.0, metric="observation", phase=what, text=text)


def tried(row: Measurement, of: Callable[[], Iterator[Measurement]]) -> Iterator[Measurement]:
    try:
        yield from of()
    except FAILURES as problem:
        yield failed(row, str(problem))
    except ValueError as problem:  # a file of the control group holds something else than a number
        yield failed(row, f"its control group cannot be read ({problem})")
