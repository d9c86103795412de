"""Whose kernel answers: the same questions to the host, three containers and two VMs at once.

One pass, whatever the number of rounds: these are facts, and a fact does not become truer by being
asked ten times. Rows:

- ``observation``: what an instance said (phases :data:`PHASES`; containers A, B and C
  are ``rep`` 0, 1 and 2, C with a second distribution's files), what became of the
  clock, and the steps of a container made by hand (phases of :mod:`by_hand`, the
  observations in ``text``).
- ``item_count``: how many of an instance's processes the host's list shows.
- ``fact``: the names that ``data/claims.csv`` registers for O2, O5, O6a and O6b.

**Whose host?** A container's host is the computer its engine runs on. Where that is a VM that the
learner did not start (Docker Desktop, WSL2), nobody outside can ask its kernel; then the
containers are compared with each other, and ``container_boot_id_is_a_hidden_vms`` says so.

An observation repeats no names, addresses, paths or tokens of the computer.
"""

from __future__ import annotations

import contextlib
import re
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import psutil

from vmcompare.engines.programs import not_linux
from vmcompare.errors import Unavailable
from vmcompare.evidence.recording import Measurement
from vmcompare.experiments.shared_kernel import by_hand
from vmcompare.measuring.experiment import (
    FAILURES,
    Context,
    Experiment,
    blank,
    failed,
    filled,
    or_failed,
)
from vmcompare.sandbox import (
    DEBIAN,
    OTHER_KERNEL,
    Confinement,
    Machine,
    Namespace,
    Platform,
    Sandbox,
    Spec,
)

NAMESPACES = (Namespace.PID, Namespace.NET, Namespace.MNT, Namespace.USER, Namespace.CGROUP)
"""Those that the lesson looks at."""

PHASES: tuple[str, ...] = (
    "kernel release", "boot id", "userland", *(f"{name} namespace" for name in NAMESPACES),
)  # fmt: skip
"""What every instance is asked, in the order of the picture."""

Reading = Mapping[str, str]
"""Phase → what an instance said, the boot id whole. Equal numbers of namespaces under two kernels
are two namespaces: compare them together with the boot id."""

SLEEPERS = 3
"""Processes started in an instance, to be looked for in the host's list."""

_SLEEPER = "86399.02"
"""Seconds they would sleep, if they were not ended: a number that nobody else sleeps for."""

_DIFFERENT = 10
"""Containers that run at the same time, each with another program in it."""

CLOCK = "setting the clock"
"""Phase of the observation of what became of an attempt to set it."""

_LONG_AGO_S, _LONG_AGO_YEAR = 981173106, "2001"
"""A moment of the year 2001, in seconds since 1970."""


@dataclass(frozen=True, slots=True)
class Who:
    name: str
    platform: Platform
    rep: int
    spec: Spec


INSTANCES: tuple[Who, ...] = (
    Who("host", Platform.PROCESS, 0, Spec()),
    Who("container A", Platform.CONTAINER, 0, Spec()),
    Who("container B", Platform.CONTAINER, 1, Spec()),
    Who("container C", Platform.CONTAINER, 2, Spec(image=DEBIAN)),
    Who("vm-direct", Platform.VM_DIRECT, 0, Spec(machine=Machine.PC)),
    Who("vm", Platform.VM, 0, Spec(machine=Machine.Q35)),
)


def first_of(platform: Platform) -> Who:
    return next(who for who in INSTANCES if who.platform is platform)


@dataclass(slots=True)
class Run:
    """What is known so far.

    Attributes:
        context: launchers, and who watches.
        stack: leaves the instances once they have been compared; later, the guest of a container
            made by hand.
        boxes, readings: by the names of :data:`INSTANCES`; those that failed are not there.
        why: name → why an instance has no reading.
    """

    context: Context
    stack: contextlib.ExitStack
    boxes: dict[str, Sandbox] = field(default_factory=dict)
    readings: dict[str, Reading] = field(default_factory=dict)
    why: dict[str, str] = field(default_factory=dict)

    def row(self, who: Who, metric: str, phase: str, spec: Spec | None = None) -> Measurement:
        """A row of an instance to be filled; ``spec`` where it differs from the instance's own."""
        launcher, where = self.context.launchers[who.platform], who.platform
        return blank(launcher, where, spec or who.spec, metric, phase=phase, rep=who.rep)

    def fact(self, platform: Platform, name: str, spec: Spec | None = None) -> Measurement:
        return self.row(first_of(platform), "fact", name, spec)


_SCRIPT = r"""
PATH=$PATH:/usr/sbin:/usr/bin:/sbin:/bin
tell() { echo "$1=$2"; }
tell 'kernel release' "$(uname -r)"
tell 'boot id' "$(cat /proc/sys/kernel/random/boot_id)"
tell userland "$(. /etc/os-release; echo "$PRETTY_NAME")"
""" + "".join(f"tell '{n} namespace' \"$(readlink /proc/self/ns/{n})\"\n" for n in NAMESPACES)

_DIGITS = 6
"""Of a namespace's number that are shown; there are never a million of one kind."""


def understood(said: str) -> Reading:
    """The reading in what the script printed. Raises ``Unavailable`` where it is not whole."""
    told = dict(line.split("=", 1) for line in said.splitlines() if "=" in line)
    if missing := [phase for phase in PHASES if phase not in told]:
        why = f"an instance did not say all that was asked of it ({', '.join(missing)})"
        raise Unavailable(why, "look at a recording")
    return {p: _number(told[p]) if p.endswith(" namespace") else told[p] for p in PHASES}


def _number(link: str) -> str:
    """The last digits of an inode number: the first ones are the same for all namespaces."""
    digits = re.sub(r"\D", "", link)
    return f"…{digits[-_DIGITS:]}" if digits else "none"


_MAKERS = ("linuxkit", "microsoft", "wsl2")
"""In the release of the kernels that Docker Desktop and WSL2 boot in a VM of their own."""


def hidden_vm(host: Reading | None, containers: Sequence[Reading]) -> bool:
    """Whether the containers run under the kernel of a VM that the learner did not start.

    So it is when their boot id is not the host's; when there is no Linux host to ask (macOS,
    Windows); or when the kernel's release names the maker of such a VM. The last tells a session
    inside WSL2, which shares that VM's kernel itself.

    Args:
        host: the host's reading, where it runs Linux.
        containers: those of the containers.
    """
    if host is None or any(one["boot id"] != host["boot id"] for one in containers):
        return bool(containers)
    return any(maker in one["kernel release"].lower() for one in containers for maker in _MAKERS)


# ---- facts ------------------------------------------------------------------------------------


def _compare(run: Run) -> Iterator[Measurement]:
    """Facts that need more than one instance, while all of them run; then let them go."""
    launchers = run.context.launchers
    if Platform.CONTAINER in launchers:
        yield from _kernel_of_containers(run)
        yield from _second_userland(run)
    for platform in (Platform.VM_DIRECT, Platform.VM):
        if platform in launchers:
            yield from _kernel_of_vm(run, first_of(platform))
    for platform in (Platform.CONTAINER, Platform.VM_DIRECT):
        if first_of(platform).name in run.boxes:
            yield from _sleepers(run, first_of(platform))
    if "container A" in run.boxes:
        row = run.fact(Platform.CONTAINER, "other_kernel_starts_in_container")
        yield from _tried(row, lambda: _other_kernel_as_program(run))
    for platform in (Platform.CONTAINER, Platform.VM_DIRECT):
        if first_of(platform).name in run.boxes:
            row = run.row(first_of(platform), "observation", CLOCK)
            yield from _tried(row, partial(_clock_set, run, platform))
    with contextlib.suppress(*FAILURES):  # what they were asked is on record already
        run.stack.close()


def _tried(row: Measurement, attempt: Callable[[], tuple[bool, str]]) -> Iterator[Measurement]:
    """The row with what came of an attempt: whether it succeeded, and in words."""
    try:
        holds, text = attempt()
    except FAILURES as error:
        yield failed(row, str(error))
    else:
        yield filled(row, float(holds), text=text)


def _kernel_of_containers(run: Run) -> Iterator[Measurement]:
    """O2: release and boot id are the host's; a hidden VM's are told apart."""
    release = run.fact(Platform.CONTAINER, "container_kernel_release_is_hosts")
    boot_id = run.fact(Platform.CONTAINER, "container_boot_id_is_hosts")
    hidden = run.fact(Platform.CONTAINER, "container_boot_id_is_a_hidden_vms")
    found = [one for name, one in run.readings.items() if name.startswith("container")]
    host = run.readings.get("host")
    if not found:
        yield from (failed(row, run.why["container A"]) for row in (release, boot_id, hidden))
        return
    in_hidden = hidden_vm(host, found)
    # In a hidden VM its kernel is the host's, and the containers are all there is to ask.
    base = found[0] if in_hidden or host is None else host
    for row, phase in ((release, "kernel release"), (boot_id, "boot id")):
        yield filled(row, float(all(one[phase] == base[phase] for one in found)))
    yield filled(hidden, float(in_hidden))


def _kernel_of_vm(run: Run, who: Who) -> Iterator[Measurement]:
    """O2 and O6b: the VM's release and boot id beside the host's."""
    release = run.fact(who.platform, "vm_kernel_release_is_hosts")
    boot_id = run.fact(who.platform, "vm_boot_id_is_hosts")
    own = run.readings.get(who.name)
    others = [found for name, found in run.readings.items() if not name.startswith("vm")]
    if own is None or not others:
        alone = "neither the host nor a container could be asked"
        why = alone if own else run.why.get(who.name, "it did not answer")
        yield from (failed(row, why) for row in (release, boot_id))
        return
    for row, phase in ((release, "kernel release"), (boot_id, "boot id")):
        yield filled(row, float(any(own[phase] == other[phase] for other in others)))


def _second_userland(run: Run) -> Iterator[Measurement]:
    """O6a: another distribution's files as a container, on the kernel that runs already."""
    row = run.fact(Platform.CONTAINER, "second_distribution_runs_as_container")
    first, second = run.readings.get("container A"), run.readings.get("container C")
    if second is None or first is None:
        why = run.why.get("container C") or run.why.get("container A", "it did not answer")
        yield failed(row, why)
        return
    one, other = first["userland"], second["userland"]
    holds = one != other and first["boot id"] == second["boot id"]
    yield filled(row, float(holds), text=f"{one}; {other}")


def _sleepers(run: Run, who: Who) -> Iterator[Measurement]:
    """Start a few processes inside, and look for them in this computer's own list."""
    script = f"sleep {_SLEEPER} </dev/null >/dev/null 2>&1 & " * SLEEPERS
    inside, here = (
        run.row(who, "item_count", phase) for phase in ("started inside", "in the host’s list")
    )
    try:
        run.boxes[who.name].run(["sh", "-c", script])
    except FAILURES as error:
        yield failed(inside, str(error))
        return
    yield filled(inside, float(SLEEPERS))
    commands = (process.info["cmdline"] or [] for process in psutil.process_iter(["cmdline"]))
    yield filled(here, float(sum(words[-2:] == ["sleep", _SLEEPER] for words in commands)))
    with contextlib.suppress(*FAILURES):  # the next instance starts with none in the list
        run.boxes[who.name].run(["killall", "sleep"])


def _clock_set(run: Run, platform: Platform) -> tuple[bool, str]:
    """Root inside sets the wall clock, which a kernel has once: a VM's own, or everybody's."""
    # A container gets the time that it is: nobody is harmed should it be allowed to set it.
    to = str(_LONG_AGO_S) if platform.is_vm else "$(date +%s)"
    typed = f'date -s "@{to}" 2>&1 >/dev/null; date +%Y'
    done = run.boxes[first_of(platform).name].run(["sh", "-c", typed])
    *refusal, year = done.output.decode(errors="replace").split("\n")[:-1] or [""]
    if not year:
        raise Unavailable("the clock did not answer", "look at a recording")
    if refusal:
        return False, f"refused: {refusal[0][:90]}"
    here = time.strftime("%Y", time.gmtime())
    if platform.is_vm:
        return year == _LONG_AGO_YEAR != here, f"the year is {year} inside, {here} on the host"
    return True, "it was set"


def _other_kernel_as_program(run: Run) -> tuple[bool, str]:
    """O6b: the kernel that a VM starts, handed to the kernel that a container shares."""
    box = run.boxes["container A"]
    box.put("/tmp/kernel.elf", not_linux.kernel())
    done = box.run(["env", "/tmp/kernel.elf"])
    code, said = done.exit_code, done.output.decode(errors="replace").strip().splitlines()
    return not_linux.MESSAGE in "".join(said), said[-1][:90] if said else _ended(code)


def _ended(code: int) -> str:
    """A program's end in words; engines tell a signal as 128 and its number, or as minus it."""
    number = code - 128 if code > 128 else -code
    if number not in {*signal.Signals}:
        return f"it ended with exit code {code}"
    return f"ended by the kernel: {signal.strsignal(number)} ({signal.Signals(number).name})"


def other_kernel_on_vm(run: Run) -> Iterator[Measurement]:
    """O6b: a VM that starts another kernel."""
    spec = Spec(image=OTHER_KERNEL, machine=Machine.PC)
    row = run.fact(Platform.VM_DIRECT, "other_kernel_starts_in_vm", spec)

    def attempt() -> tuple[bool, str]:
        with run.context.launchers[Platform.VM_DIRECT].open(spec, run.context.on_event) as box:
            return not_linux.MESSAGE in box.console(), ""

    yield from _tried(row, attempt)


def different_containers(run: Run) -> Iterator[Measurement]:
    """O5: ten containers at once, each with a program, a limit and a filter of its own."""
    names = ("ten_different_containers_ran", "containers_report_one_boot_id")
    ran, one_boot_id = (run.fact(Platform.CONTAINER, name) for name in names)
    yield from or_failed(_run_different(run, ran, one_boot_id), ran, one_boot_id)


def _run_different(run: Run, ran: Measurement, one_boot_id: Measurement) -> Iterator[Measurement]:
    launcher = run.context.launchers[Platform.CONTAINER]
    numbers = [str(number * number + 41) for number in range(_DIFFERENT)]
    kinds = tuple(Confinement)
    boxes, said, boot_ids = [], [], set()
    with contextlib.ExitStack() as all_of_them:
        for place, number in enumerate(numbers):
            spec = Spec(memory_mib=64 + 16 * place, confinement=kinds[place % len(kinds)])
            box = all_of_them.enter_context(launcher.open(spec, run.context.on_event))
            program = f"#!/bin/sh\necho {number}; cat /proc/sys/kernel/random/boot_id\n"
            box.put("/srv/application", program.encode())
            boxes.append(box)
        for box in boxes:
            answer = box.run(["/srv/application"]).output.decode(errors="replace").split()
            said.append(answer[0] if answer else "")
            boot_ids.update(answer[1:])
    yield filled(ran, float(said == numbers))
    text = f"{len(boot_ids)} boot id among {len(said)}"
    yield filled(one_boot_id, float(len(boot_ids) == 1), text=text)


# ---- one look around ---------------------------------------------------------------------------

_GUEST = "by hand"
"""Name of the guest in which a container is made by hand."""


def measure(context: Context) -> Iterator[Measurement]:
    """Rows of one look around; an instance that fails is a row, and the look goes on."""
    with contextlib.ExitStack() as stack:
        run = Run(context, stack)
        plan: list[tuple[str, Callable[[], Iterator[Measurement]]]] = [
            (who.name, partial(_ask, run, who))
            for who in INSTANCES
            if who.platform in context.launchers
        ]
        plan.append(("who sees whom", partial(_compare, run)))
        if Platform.CONTAINER in context.launchers:
            plan.append(("ten different containers", partial(different_containers, run)))
        if Platform.VM_DIRECT in context.launchers:
            plan.append(("a kernel that is not Linux", partial(other_kernel_on_vm, run)))
            plan.append(("a container by hand: preparing", partial(_prepare, run)))
            plan += [
                (f"a container by hand: {name}", partial(_step, run, name, place))
                for place, name in enumerate(by_hand.lines())
            ]
        for step in context.steps(plan):
            yield from step()


def _open(run: Run, who: Who) -> Sandbox:
    launcher = run.context.launchers[who.platform]
    return run.stack.enter_context(launcher.open(who.spec, run.context.on_event))


def _ask(run: Run, who: Who) -> Iterator[Measurement]:
    try:
        box = run.boxes[who.name] = _open(run, who)
        said = box.run(["sh", "-c", _SCRIPT]).output.decode(errors="replace")
        reading = run.readings[who.name] = understood(said)
    except FAILURES as error:
        run.why[who.name] = str(error)
        for phase in PHASES:
            yield failed(run.row(who, "observation", phase), str(error))
        return
    release = reading["kernel release"]
    for phase, text in reading.items():
        short = text[:8] if phase == "boot id" else text
        yield filled(run.row(who, "observation", phase), 1.0, text=short, guest_kernel=release)


def _prepare(run: Run) -> Iterator[Measurement]:
    """Start a guest of its own: what is done in it stays in it."""
    try:
        box = _open(run, first_of(Platform.VM_DIRECT))
        by_hand.prepare(box)
        run.boxes[_GUEST] = box
    except FAILURES as error:
        run.why[_GUEST] = str(error)
    yield from ()


def _step(run: Run, name: str, place: int) -> Iterator[Measurement]:
    row = replace(run.row(first_of(Platform.VM_DIRECT), "observation", name), rep=place)
    if _GUEST not in run.boxes:
        yield failed(row, run.why[_GUEST])
        return
    try:
        seen = by_hand.look(run.boxes[_GUEST], name)
        yield filled(row, 1.0, text=by_hand.written(seen))
    except FAILURES as error:
        yield failed(row, str(error))


EXPERIMENT = Experiment(
    name="shared_kernel",
    question="Whose kernel answers?",
    platforms=tuple(dict.fromkeys(who.platform for who in INSTANCES)),
    measure=measure,
    rounds=1,
    anchors=(Platform.PROCESS,),
)
