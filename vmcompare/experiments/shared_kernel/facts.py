"""Facts that need more than one instance: who shares, who sees whom, what is refused."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Callable, Iterator
from functools import partial

import psutil

from vmcompare.engines.programs import not_linux
from vmcompare.errors import Unavailable
from vmcompare.evidence.recording import Measurement
from vmcompare.experiments.shared_kernel.instances import Run, Who, first_of, hidden_vm
from vmcompare.measuring.experiment import FAILURES, failed, filled, or_failed
from vmcompare.sandbox import OTHER_KERNEL, Confinement, Machine, Platform, Spec

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


def _holds(row: Measurement, holds: bool, text: str = "") -> Measurement:
    return filled(row, float(holds), text=text)


def compare(run: Run) -> Iterator[Measurement]:
    """Facts that need more than one instance, while all of them run."""
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
    container = Platform.CONTAINER
    if "container A" in run.boxes:
        row = run.fact(container, "other_kernel_starts_in_container")
        yield from _tried(row, lambda: _other_kernel_as_program(run))
    for platform in (container, Platform.VM_DIRECT):
        if first_of(platform).name in run.boxes:
            row = run.row(first_of(platform), "observation", CLOCK)
            yield from _tried(row, partial(_clock_set, run, platform))


def _tried(row: Measurement, attempt: Callable[[], tuple[bool, str]]) -> Iterator[Measurement]:
    """The row with what came of an attempt: whether it succeeded, and in words."""
    try:
        holds, text = attempt()
    except FAILURES as error:
        yield failed(row, str(error))
    else:
        yield _holds(row, holds, text)


def _kernel_of_containers(run: Run) -> Iterator[Measurement]:
    """O2: release and boot id are the host's; a hidden VM's are told apart."""
    release, boot_id, hidden = (
        run.fact(Platform.CONTAINER, name)
        for name in (
            "container_kernel_release_is_hosts",
            "container_boot_id_is_hosts",
            "container_boot_id_is_a_hidden_vms",
        )
    )
    found = [one for name, one in run.readings.items() if name.startswith("container")]
    host = run.readings.get("host")
    if not found:
        why = run.why.get("container A", "no container answered")
        yield from (failed(row, why) for row in (release, boot_id, hidden))
        return
    in_hidden = hidden_vm(host, found)
    # In a hidden VM its kernel is the host's, and the containers are all there is to ask.
    base = found[0] if in_hidden or host is None else host
    yield _holds(release, all(one.release == base.release for one in found))
    yield _holds(boot_id, all(one.boot_id == base.boot_id for one in found))
    yield _holds(hidden, in_hidden)


def _kernel_of_vm(run: Run, who: Who) -> Iterator[Measurement]:
    """O2 and O6b: the VM's release and boot id beside the host's."""
    release, boot_id = (
        run.fact(who.platform, name)
        for name in ("vm_kernel_release_is_hosts", "vm_boot_id_is_hosts")
    )
    own = run.readings.get(who.name)
    others = [found for name, found in run.readings.items() if not name.startswith("vm")]
    if own is None or not others:
        alone = "neither the host nor a container could be asked"
        why = alone if own else run.why.get(who.name, "it did not answer")
        yield from (failed(row, why) for row in (release, boot_id))
        return
    yield _holds(release, any(own.release == other.release for other in others))
    yield _holds(boot_id, any(own.boot_id == other.boot_id for other in others))


def _second_userland(run: Run) -> Iterator[Measurement]:
    """O6a: another distribution's files as a container, on the kernel that runs already."""
    row = run.fact(Platform.CONTAINER, "second_distribution_runs_as_container")
    first, second = run.readings.get("container A"), run.readings.get("container C")
    if second is None or first is None:
        why = run.why.get("container C") or run.why.get("container A", "it did not answer")
        yield failed(row, why)
        return
    holds = second.userland != first.userland and second.boot_id == first.boot_id
    yield _holds(row, holds, text=f"{first.userland}; {second.userland}")


def _sleepers(run: Run, who: Who) -> Iterator[Measurement]:
    """Start a few processes inside, and look for them in this computer's own list."""
    script = f"for n in {' '.join(map(str, range(SLEEPERS)))}; do"
    script += f" sleep {_SLEEPER} </dev/null >/dev/null 2>&1 & done"
    inside, here = (
        run.row(who, "item_count", phase) for phase in ("started inside", "in the host’s list")
    )
    try:
        run.boxes[who.name].run(["sh", "-c", script])
    except FAILURES as error:
        yield failed(inside, str(error))
        return
    yield filled(inside, float(SLEEPERS))
    yield filled(here, _sleepers_here())
    with contextlib.suppress(*FAILURES):  # the next instance starts with none in the list
        run.boxes[who.name].run(["killall", "sleep"])


def _sleepers_here() -> float:
    """Processes of this computer's list that sleep for our number of seconds."""
    found = 0
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []
        found += words[-2:] == ["sleep", _SLEEPER]
    return float(found)


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

    def attempt() -> tuple[bool, str]:
        with run.context.launchers[Platform.VM_DIRECT].open(spec, run.context.on_event) as box:
            return not_linux.MESSAGE in box.console(), ""

    row = run.fact(Platform.VM_DIRECT, "other_kernel_starts_in_vm", spec)
    yield from _tried(row, attempt)


def different_containers(run: Run) -> Iterator[Measurement]:
    """O5: ten containers at once, each with a program, a limit and a filter of its own."""
    ran = run.fact(Platform.CONTAINER, "ten_different_containers_ran")
    one_boot_id = run.fact(Platform.CONTAINER, "containers_report_one_boot_id")
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
    yield _holds(ran, said == numbers)
    text = f"{len(boot_ids)} boot id among {len(said)}"
    yield _holds(one_boot_id, len(boot_ids) == 1, text=text)
