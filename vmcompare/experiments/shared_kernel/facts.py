"""Facts that need more than one instance: who shares, who sees whom, what is refused."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace

import psutil

from vmcompare.engines.programs import boot_sector
from vmcompare.evidence.recording import Measurement
from vmcompare.experiments.shared_kernel.instances import INSTANCES, Run, Who
from vmcompare.experiments.shared_kernel.kernels import hidden_vm
from vmcompare.experiments.shared_kernel.observer import Reading
from vmcompare.measuring.experiment import FAILURES, blank, failed, filled
from vmcompare.sandbox import BOOT_SECTOR, Confinement, Machine, Platform, Sandbox, Spec

SLEEPERS = 3
"""Processes started in an instance, to be looked for in the host's list."""

_SLEEPER = "86399.02"
"""Seconds they would sleep, if they were not ended: a number that nobody else sleeps for."""

DIFFERENT = 10
"""Containers that run at the same time, each with another program in it."""

OWN_SETTING = ("net.ipv4.ip_default_ttl", "77")
"""A kernel setting that every network namespace has for itself."""

SHARED_SETTING = ("vm.swappiness", "17")
"""One that the whole kernel has once."""


def _phase(setting: str) -> str:
    return f"setting {setting}"


SETTINGS = {_phase(name): name for name, _ in (OWN_SETTING, SHARED_SETTING)}
"""Phase of the observation → the setting that was tried."""


def look(run: Run) -> Iterator[Measurement]:
    """Facts that need more than one instance, while all of them run."""
    if Platform.CONTAINER in run.context.launchers:
        yield from _kernel_facts(run)
        yield from _second_userland(run)
    for name in ("vm-direct", "vm"):
        who = next(who for who in INSTANCES if who.name == name)
        if who.platform in run.context.launchers:
            yield from _own_kernel(run, who)
    for name in ("container A", "vm-direct"):
        if name in run.boxes:
            yield from _sleepers(run, next(who for who in INSTANCES if who.name == name))
    if "vm-direct" in run.boxes:
        yield from _vm_settings(run)
    if "container A" in run.boxes:
        yield from _sector_in_container(run)


def _containers(run: Run) -> list[Reading]:
    return [found for name, found in run.readings.items() if name.startswith("container")]


def _kernel_facts(run: Run) -> Iterator[Measurement]:
    """O2: release and boot id are the host's; a hidden VM's are told apart."""
    names = (
        "container_kernel_release_is_hosts", "container_boot_id_is_hosts",
        "container_boot_id_is_a_hidden_vms",
    )  # fmt: skip
    found, host = _containers(run), run.readings.get("host")
    if not found:
        why = run.why.get("container A", "no container answered")
        for name in names:
            yield run.fact(Platform.CONTAINER, name, why)
        return
    hidden = hidden_vm(host, found)
    # In a hidden VM its kernel is the host's, and the containers are all there is to ask.
    base = found[0] if hidden or host is None else host
    release = all(one.release == base.release for one in found)
    boot = all(one.boot_id == base.boot_id for one in found)
    for name, holds in zip(names, (release, boot, hidden), strict=True):
        yield run.fact(Platform.CONTAINER, name, holds)


def _own_kernel(run: Run, who: Who) -> Iterator[Measurement]:
    """O2 and O6b: the machine's release and boot id, held against the host's."""
    reading = run.readings.get(who.name)
    others = [found for name, found in run.readings.items() if not name.startswith("vm")]
    for name, part in (
        ("vm_kernel_release_is_hosts", "release"),
        ("vm_boot_id_is_hosts", "boot_id"),
    ):
        if reading is None:
            yield run.fact(who.platform, name, run.why.get(who.name, "it did not answer"))
        elif not others:
            yield run.fact(who.platform, name, "neither the host nor a container could be asked")
        else:
            same = any(getattr(reading, part) == getattr(other, part) for other in others)
            yield run.fact(who.platform, name, same)


def _second_userland(run: Run) -> Iterator[Measurement]:
    """O6a: another distribution's files as a container, on the kernel that runs already."""
    name = "second_distribution_runs_as_container"
    second, first = run.readings.get("container C"), run.readings.get("container A")
    if second is None or first is None:
        why = run.why.get("container C") or run.why.get("container A", "it did not answer")
        yield run.fact(Platform.CONTAINER, name, why)
        return
    holds = second.userland != first.userland and second.boot_id == first.boot_id
    yield run.fact(Platform.CONTAINER, name, holds, f"{first.userland}; {second.userland}")


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


def _vm_settings(run: Run) -> Iterator[Measurement]:
    """Root in a machine sets what its kernel has once; the host's own value stays."""
    who = next(who for who in INSTANCES if who.name == "vm-direct")
    name, value = SHARED_SETTING
    row = run.row(who, "observation", _phase(name))
    path = "/proc/sys/" + name.replace(".", "/")
    try:
        done = run.boxes[who.name].run(["sysctl", "-w", f"{name}={value}"])
        inside = _word(run.boxes[who.name], path)
        outside = _word(run.boxes["host"], path) if "host" in run.boxes else "not asked"
    except FAILURES as error:
        yield failed(row, str(error))
        return
    made = not done.exit_code and inside == value
    yield filled(row, float(made), text=f"{inside} inside, {outside} on the host")


def container_settings(run: Run) -> Iterator[Measurement]:
    """Two settings asked of the engine: one that a namespace has, one that only the kernel has."""
    launcher = run.context.launchers[Platform.CONTAINER]
    for name, value in (OWN_SETTING, SHARED_SETTING):
        spec = Spec(sysctls=((name, value),))
        row = replace(blank(launcher, Platform.CONTAINER, spec, "observation"), phase=_phase(name))
        path = "/proc/sys/" + name.replace(".", "/")
        try:
            with launcher.open(spec, run.context.on_event) as box:
                inside = _word(box, path)
                outside = _word(run.boxes["host"], path) if "host" in run.boxes else "not asked"
        except FAILURES as error:
            said = str(error)
            if name in said:  # refused by its name: that is what was to be seen
                yield filled(row, 0.0, text=f"refused: {_refusal(said, name)}")
            else:
                yield failed(row, said)
            continue
        yield filled(row, float(inside == value), text=f"{inside} inside, {outside} on the host")


def _refusal(said: str, name: str) -> str:
    """The engine's words from the setting's name on, without the code they end in."""
    return said[said.index(name) :].replace('"', "").removesuffix(": unknown")[:90]


def _word(box: Sandbox, path: str) -> str:
    return box.run(["cat", path]).output.decode(errors="replace").strip()


def ten(run: Run) -> Iterator[Measurement]:
    """O5: ten containers at once, each with a program, a limit and a filter of its own."""
    launcher = run.context.launchers[Platform.CONTAINER]
    said: list[str] = []
    boot_ids: set[str] = set()
    error = ""
    kinds = tuple(Confinement)
    try:
        with contextlib.ExitStack() as all_of_them:
            boxes = []
            for number in range(DIFFERENT):
                spec = Spec(memory_mib=64 + 16 * number, confinement=kinds[number % len(kinds)])
                box = all_of_them.enter_context(launcher.open(spec, run.context.on_event))
                text = f"echo {number * number + 41}; cat /proc/sys/kernel/random/boot_id"
                box.put("/srv/application", f"#!/bin/sh\n{text}\n".encode())
                boxes.append(box)
            for box in boxes:
                answer = box.run(["/srv/application"]).output.decode(errors="replace").split()
                said.append(answer[0] if answer else "")
                boot_ids.update(answer[1:])
    except FAILURES as problem:
        error = str(problem)
    expected = [str(number * number + 41) for number in range(DIFFERENT)]
    yield run.fact(Platform.CONTAINER, "ten_different_containers_ran", error or said == expected)
    yield run.fact(
        Platform.CONTAINER, "containers_report_one_boot_id", error or len(boot_ids) == 1,
        f"{len(boot_ids)} boot id among {len(said)}",
    )  # fmt: skip


def boots_on_a_machine(run: Run) -> Iterator[Measurement]:
    """O6b: a program that is its own operating system, on a machine."""
    name = "non_linux_program_boots_in_vm"
    spec = Spec(image=BOOT_SECTOR, machine=Machine.PC)
    launcher = run.context.launchers[Platform.VM_DIRECT]
    row = replace(blank(launcher, Platform.VM_DIRECT, spec, "fact"), phase=name)
    try:
        with launcher.open(spec, run.context.on_event) as box:
            yield filled(row, float(boot_sector.MESSAGE in box.console()))
    except FAILURES as error:
        yield failed(row, str(error))


def _sector_in_container(run: Run) -> Iterator[Measurement]:
    """O6b: the same 512 bytes, handed to the kernel that the container shares."""
    name, box = "non_linux_program_boots_in_container", run.boxes["container A"]
    try:
        box.put("/tmp/boot.bin", boot_sector.image(boot_sector.MESSAGE))
        said = box.run(["env", "/tmp/boot.bin"]).output.decode(errors="replace").strip()
    except FAILURES as error:
        yield run.fact(Platform.CONTAINER, name, str(error))
        return
    ran = boot_sector.MESSAGE in said
    yield run.fact(Platform.CONTAINER, name, ran, said.splitlines()[-1][:90] if said else "")
