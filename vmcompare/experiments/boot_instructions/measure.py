"""Instructions to the first byte, counted by an emulated processor: much the same anywhere.

A VM is counted from power-on. A process and containers are counted inside a guest that counts and
hosts this computer's own Docker: from the shell that asks for the start to the program's first
instruction, the ``docker`` program and all daemons included. Waiting is left out everywhere.

To say what a count could mean in seconds, one known piece of kernel-heavy work, 500 times fork and
exec, is counted in that guest, and its processor seconds are taken on the host itself.
"""

from __future__ import annotations

import contextlib
import platform
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from vmcompare.engines.programs import first_byte, workload
from vmcompare.errors import LaunchFailure
from vmcompare.evidence.recording import Measurement
from vmcompare.experiments.isolation.guest_containers import (
    IMAGE,
    configuration,
    prepare,
    start_engine,
    write,
)
from vmcompare.measuring import memory
from vmcompare.measuring.experiment import FAILURES, Context, Experiment, blank, filled, or_failed
from vmcompare.sandbox import (
    ALPINE,
    BOOT_SECTOR,
    ENGINE_HOST,
    FIRST_BYTE_PROGRAM,
    Counted,
    Launcher,
    Machine,
    Platform,
    Sandbox,
    Series,
    Spec,
)

ROUNDS = 2
"""Two counts of one boot differ by 0 to 0.3 %, as devices answer when the host gets to it; those
inside the guest differ by some per cent."""

DIRECT = Series(Platform.VM_DIRECT, Machine.PC)
FULL = Series(Platform.VM, Machine.Q35)

GUEST = Spec(image=ENGINE_HOST, machine=Machine.PC, memory_mib=1024, counted=True)
"""The guest in which a process and containers are counted."""

FORKS = 500
FORK_RUNS = 5
"""How often the known work is done natively in each round."""

_WORK = "/tmp/vmcompare-work"
_FORKING = (_WORK, "f", str(FORKS))
_STAMP = f"{FIRST_BYTE_PROGRAM} x"  # an argument: it says its stamp and no more
_PATIENCE_S = 900.0  # for a line in the guest that counts, on a busy computer

_IMPORT = f"tar -C {IMAGE} -c . | docker import - counted"

# A reader waits behind a pipe before the count begins, to see how long the processor has idled
# until the byte arrived. What comes after the first instruction of the program is not counted.
_COUNT = """
idle() {{
  set -- $(sed -n 's/.*_sleeptime *: *\\([0-9]*\\) nsecs.*/\\1/p' /proc/timer_list)
  echo $(($1 + $2))
}}
rm -f /tmp/pipe && mkfifo /tmp/pipe
{{ head -c 17 >/tmp/second; idle >/tmp/idle; cat >/dev/null; }} </tmp/pipe &
exec 4>/tmp/pipe
before=$(idle)
{stamp} </dev/null >/tmp/first
{line} </dev/null >&4 2>/tmp/error
code=$?
{after}
exec 4>&-
wait $!
cat /tmp/first /tmp/second; echo " $before $(cat /tmp/idle) $code"; tail -n 3 /tmp/error
"""


def measure(context: Context) -> Iterator[Measurement]:
    """Rows as each count ends. One that fails is a row; the run goes on."""
    with contextlib.ExitStack() as kept:
        plan = [*_native(context), *_boots(context), *_inside(context, kept)]
        for count in context.steps(plan):
            yield from count()


Step = tuple[str, Callable[[], Iterator[Measurement]]]


def _native(context: Context) -> Iterator[Step]:
    for block in range(context.rounds):
        if (launcher := context.launchers.get(Platform.PROCESS)) is not None:
            row = blank(launcher, Platform.PROCESS, Spec(), "fork_cpu_s", block=block)
            yield "process", partial(or_failed, _forks_here(launcher, row), row)


def _forks_here(launcher: Launcher, row: Measurement) -> Iterator[Measurement]:
    """Processor seconds of the known work on the host: of it and of all that it waited for."""
    with launcher.open(Spec(), lambda _: None) as box:
        box.put(_WORK, workload.elf(platform.machine()))
        for rep in range(FORK_RUNS):
            before_s = memory.own_children_cpu_s()
            done = box.run(_FORKING)
            if done.exit_code:
                raise LaunchFailure(f"the known work ended with {done.exit_code}", _FORKING)
            yield filled(row, memory.own_children_cpu_s() - before_s, rep=rep)


def _boots(context: Context) -> Iterator[Step]:
    for block in range(context.rounds):
        for series, image, metric in (
            (DIRECT, ALPINE, "start_instructions"),
            (FULL, ALPINE, "start_instructions"),
            (DIRECT, BOOT_SECTOR, "sector_instructions"),
        ):
            if (launcher := context.launcher(series)) is not None:
                spec = Spec(image=image, machine=series.machine, counted=True)
                row = blank(launcher, series.platform, spec, metric, block=block)
                count = _boot_counted(context, launcher, spec, row)
                yield series.label, partial(or_failed, count, row)


def _boot_counted(
    context: Context, launcher: Launcher, spec: Spec, row: Measurement
) -> Iterator[Measurement]:
    with launcher.open(spec, context.on_event) as box:
        assert isinstance(box, Counted)
        yield filled(row, float(box.start_instructions()))


# ---- inside a guest that counts ------------------------------------------------------------------


@dataclass(slots=True)
class _Guest:
    """The guest, once it is ready, or why it is not."""

    vm: Sandbox | None = None
    why: str = ""


def _inside(context: Context, kept: contextlib.ExitStack) -> Iterator[Step]:
    """A warm-up of each and then ``rounds`` counts, in a guest that ``kept`` closes. It comes last,
    because it keeps a processor busy even where it waits."""
    launcher = context.launcher(DIRECT)
    if launcher is None:
        return
    guest = _Guest()
    yield "a guest that counts", partial(_open, context, launcher, guest, kept)
    process = Series(Platform.PROCESS, Machine.PC)
    docker = f"docker run --rm --network none counted {_STAMP}"
    for block in range(-1, context.rounds):
        name = f"counted{block + 1}"
        runc = f"runc run --no-pivot --bundle /c/{name} {name}"
        for series, metric, line, after in (
            (process, "start_instructions", _STAMP, ""),
            (Series(Platform.CONTAINER, Machine.PC, "runc"), "start_instructions", runc, ""),
            (Series(Platform.CONTAINER, Machine.PC), "start_instructions", docker, ""),
            (process, "fork_instructions", " ".join(_FORKING), f"{_STAMP} </dev/null >&4"),
        ):
            row = blank(
                *(launcher, series.platform, GUEST, metric),
                layer="product" if line is docker else "mechanism",
                runtime="fork+exec" if series is process else "runc",
                block=max(0, block),
                is_warmup=block < 0,
            )
            count = _count(guest, row, name, line, after)
            yield f"{series.label}, in the guest", partial(or_failed, count, row)


def _open(
    context: Context, launcher: Launcher, guest: _Guest, kept: contextlib.ExitStack
) -> Iterator[Measurement]:
    """Start the guest, and Docker in it; no row. What went wrong is said by the counts in it."""
    try:
        vm = kept.enter_context(launcher.open(GUEST, context.on_event))
        prepare(vm, timeout_s=_PATIENCE_S)
        vm.put(_WORK, workload.elf(platform.machine()))
        start_engine(vm, timeout_s=_PATIENCE_S, then=_IMPORT)
        guest.vm = vm
    except FAILURES as problem:
        guest.why = str(problem)
    return iter(())


def _count(
    guest: _Guest, row: Measurement, name: str, line: str, after: str
) -> Iterator[Measurement]:
    if guest.vm is None:
        raise LaunchFailure(guest.why, ("sh",))
    if line.startswith("runc"):
        write(guest.vm, name, configuration(args=_STAMP.split()))
        guest.vm.run(["sh", "-c", f"mkdir /c/{name} && cp /c/{name}.json /c/{name}/config.json"])
    script = _COUNT.format(stamp=_STAMP, line=line, after=after)
    done = guest.vm.run(["sh", "-c", script], timeout_s=_PATIENCE_S)
    yield filled(row, float(counted(done.output)))


def counted(output: bytes) -> int:
    """Instructions between the two stamps in what the script printed, without idle time.

    Raises ``LaunchFailure``: something of it is missing, or the command failed.
    """
    first, second, *_ = [*first_byte.STAMP.finditer(output), None, None]
    numbers = output[second.end() :].split()[:3] if second else []
    if first is None or second is None or len(numbers) < 3 or numbers[2] != b"0":
        what = "the start in the guest was not counted"
        raise LaunchFailure(what, ("sh",), output.decode(errors="replace")[-500:])
    idle = int(numbers[1]) - int(numbers[0])
    return first_byte.stamp(second) - first_byte.stamp(first) - idle


EXPERIMENT = Experiment(
    name="boot_instructions",
    question="How many instructions does a start take?",
    platforms=(Platform.PROCESS, Platform.CONTAINER, Platform.VM_DIRECT, Platform.VM),
    measure=measure,
    rounds=ROUNDS,
    anchors=(Platform.PROCESS,),
)
