"""Real containers in a disposable guest, where one that is badly held can harm nobody.

The guest is ``vm-direct`` with the image ``CONTAINER_HOST``: its root starts containers with this
computer's own ``runc``, without an engine. They are asked for what Docker asks for by default
(:mod:`vmcompare.engines.images.oci`), with a short call filter of our own; then one word of a
``docker run`` line at a time is changed, as Docker changes it.

Differences to Docker, beside the filter: ``runc run --no-pivot``, because a root file system in RAM
cannot be pivoted away; one shared root file system for all of a guest's containers; no network
bridge (a network of one's own holds a loopback interface); memory cgroups are version 2.
"""

from __future__ import annotations

import contextlib
import json
import platform
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from vmcompare.engines.programs import calls
from vmcompare.errors import LaunchFailure, Unavailable
from vmcompare.evidence.recording import Measurement
from vmcompare.experiments.isolation import asking, neighbours
from vmcompare.experiments.isolation.asking import Arm, Told
from vmcompare.experiments.isolation.probes import DEVICES, FLIPS, HOST, PROBES, Targets, possible
from vmcompare.experiments.isolation.reading import END, Reading, understood
from vmcompare.experiments.isolation.reading import SCRIPT as READ
from vmcompare.experiments.isolation.words import (
    FIRST_SUBORDINATE,
    IMAGE,
    IMAGE_OF_USER,
    WORDS,
    configuration,
)
from vmcompare.measuring.experiment import FAILURES, Context, blank, failed, filled
from vmcompare.sandbox import CONTAINER_HOST, Completed, Machine, Platform, Sandbox, Spec

__all__ = ["IMAGE", "WORDS", "configuration", "prepare", "start_line", "steps", "write"]

HOST_FILE = "/srv/of-the-host"
"""A file of the guest that no image holds."""

_PREPARE = f"""
set -e
grep -q '/sys/fs/cgroup ' /proc/mounts || mount -t cgroup2 cgroup /sys/fs/cgroup
ip link set lo up
mkdir -p /c /srv && mount -t tmpfs -o mode=755 tmpfs /c && mkdir -p {IMAGE}
echo 'a file of the host' > {HOST_FILE}
cp -a /bin /sbin /lib /etc {IMAGE}/
cd {IMAGE} && mkdir -p proc sys dev tmp host usr/bin usr/sbin srv root && chmod 1777 tmp
/bin/busybox --install -s {IMAGE}/bin
cp -a {IMAGE} {IMAGE_OF_USER} && chown -R {FIRST_SUBORDINATE}:{FIRST_SUBORDINATE} {IMAGE_OF_USER}
if [ -e /lib/modules/loop.ko ]; then
  insmod /lib/modules/loop.ko && truncate -s 1M /srv/disk && losetup /dev/loop0 /srv/disk
fi
"""


def prepare(vm: Sandbox) -> None:
    """Make a guest of the image ``CONTAINER_HOST`` ready for containers; once each guest.

    Raises:
        LaunchFailure: it could not be made ready.
        AbnormalShutdown, WaitTimeout: as :meth:`Sandbox.run`.
    """
    done = vm.run(["sh", "-c", _PREPARE])
    if done.exit_code:
        what = "the guest could not be made ready for containers"
        raise LaunchFailure(what, ("sh",), done.output.decode(errors="replace")[-500:])


def write(vm: Sandbox, name: str, configuration: Mapping[str, Any]) -> None:
    """Lay down a bundle in a prepared guest; ``name`` becomes the container's and its cgroup's.

    The cgroup is ``/sys/fs/cgroup/<name>`` in the guest while the container runs.
    """
    whole = dict(configuration)
    whole["linux"] = {**configuration["linux"], "cgroupsPath": f"/{name}"}
    vm.put(f"/c/{name}.json", json.dumps(whole).encode())


def start_line(name: str) -> str:
    """The line of shell that runs a container in the foreground, its output where the line's is.

    Its exit code is the first program's, or runc's own where the container did not start.
    """
    folder, written = shlex.quote(f"/c/{name}"), shlex.quote(f"/c/{name}.json")
    return (
        f"mkdir -p {folder} && cp {written} {folder}/config.json && "
        f"runc run --no-pivot --bundle {folder} {shlex.quote(name)} </dev/null"
    )


# ---- the grid: one word at a time --------------------------------------------------------------

GUEST = Spec(image=CONTAINER_HOST, machine=Machine.PC)
"""The guest that is the host here."""

BARE = "no container"
"""The guest's own root process, with nothing around it."""

RUNTIME = "runc in a guest"
WEAKENINGS: tuple[str, ...] = WORDS[1 : WORDS.index("--privileged")]
"""Words that take one wall away; ``--privileged`` takes nearly all of them."""

_PORT = 8098
_LOOP_DEVICE = (7, 0)
_CALLS = "/calls"
# Its process number is far from those of a container's few, and it answers whoever connects.
_SERVE = f"nc -lk -p {_PORT} -e /bin/true </dev/null >/dev/null 2>&1 & echo $!"

_START_TIMEOUT_S = 60.0
"""Seconds for one container; emulated and alone on the machine it needs about two."""

Step = tuple[str, Callable[[], Iterator[Measurement]]]


@dataclass(slots=True)
class Grid:
    """What is known so far.

    Attributes:
        context: launchers, and who watches.
        kept: holds the guest to the end of this part.
        vm: the guest, once it is ready; ``why``: why there is none.
        targets: what probes are aimed at; ``wanted``: those that can be made, in order.
        host: what the guest's own root read.
        values: word → probe → whether it got through.
    """

    context: Context
    kept: contextlib.ExitStack
    vm: Sandbox | None = None
    why: str = ""
    targets: Targets | None = None
    wanted: tuple[str, ...] = ()
    host: Reading | None = None
    values: dict[str, Mapping[str, bool]] = field(default_factory=dict)

    def arm(self, word: str) -> Arm:
        """A column: its rows are containers', made in a virtual machine."""
        return Arm(word, Platform.CONTAINER, GUEST, word)


def measured(context: Context) -> Iterator[Measurement]:
    """All rows of this part."""
    with contextlib.ExitStack() as stack:
        for step in context.steps(steps(context, stack)):
            yield from step()


def steps(context: Context, stack: contextlib.ExitStack) -> list[Step]:
    """This part's steps in their order; empty where no guest can be started.

    The guest is opened by the first step and left by the last; ``stack`` sees to it otherwise.
    """
    if Platform.VM_DIRECT not in context.launchers:
        return []
    grid = Grid(context, contextlib.ExitStack())
    stack.push(grid.kept)
    plan: list[Step] = [("a guest for containers", partial(_open, grid))]
    plan += [(f"in the guest: {word or 'as by default'}", partial(_try, grid, word))
             for word in WORDS]  # fmt: skip
    if Platform.CONTAINER not in context.launchers:  # these two stand in for Docker's
        plan.append(("in the guest: two containers", partial(_neighbours, grid)))
    plan.append(("what the words changed", partial(_conclude, grid)))
    return plan


def _row(grid: Grid, word: str, metric: str, phase: str) -> Measurement:
    launcher = grid.context.launchers[Platform.VM_DIRECT]
    row = blank(launcher, Platform.CONTAINER, GUEST, metric)
    return replace(row, phase=phase, confinement=word, runtime=RUNTIME)


def _marked(rows: Iterator[Measurement]) -> Iterator[Measurement]:
    return (replace(row, runtime=RUNTIME) for row in rows)


def _open(grid: Grid) -> Iterator[Measurement]:
    """Start the guest, make it ready, ask its own root."""
    launcher, arm = grid.context.launchers[Platform.VM_DIRECT], grid.arm(BARE)
    try:
        vm = grid.kept.enter_context(launcher.open(GUEST, grid.context.on_event))
        prepare(vm)
        pid = int(vm.run(["sh", "-c", _SERVE]).output)
        host = asking.read(vm)
        aimed = replace(asking.targets(host, pid, _PORT, HOST_FILE), disk=_LOOP_DEVICE)
        told = asking.tell(vm, replace(aimed, root=""))
        wanted = possible(aimed, platform.machine())
        program = calls.elf(platform.machine(), tuple(wanted.values()))
        for image in (IMAGE, IMAGE_OF_USER):
            vm.put(image + _CALLS, program)
    except (*FAILURES, ValueError) as error:
        grid.why = str(error)
        grid.kept.close()
        yield from _marked(asking.failed_rows(arm, launcher, grid.why))
        return
    grid.vm, grid.targets, grid.wanted, grid.host = vm, aimed, tuple(wanted), host
    yield from _marked(asking.probe_rows(arm, launcher, told, host, own_kernel=False))
    yield from _marked(asking.observation_rows(arm, launcher, host))


def _try(grid: Grid, word: str) -> Iterator[Measurement]:
    """One container, held as the word says."""
    if grid.vm is None:
        return  # said once, by the guest's own rows
    launcher, arm = grid.context.launchers[Platform.VM_DIRECT], grid.arm(word)
    try:
        told = _told(grid, word)
    except FAILURES as error:
        yield from _marked(asking.failed_rows(arm, launcher, str(error)))
        return
    rows = list(_marked(asking.probe_rows(arm, launcher, told, grid.host, own_kernel=False)))
    grid.values[word] = {row.phase: bool(row.value) for row in rows if row.status == "ok"}
    yield from rows
    if not word:  # it stands in for Docker's container where there is none
        yield from _marked(asking.observation_rows(arm, launcher, told.reading))


def _told(grid: Grid, word: str) -> Told:
    assert grid.vm is not None
    name = f"w{WORDS.index(word)}"
    script = f"{READ}exec {_CALLS}"
    write(grid.vm, name, configuration(word, args=["sh", "-c", script]))
    done = grid.vm.run(["sh", "-c", start_line(name)], timeout_s=_START_TIMEOUT_S)
    text, found, answers = done.output.partition(f"\n{END}\n".encode())
    if not found:
        said = done.output.decode(errors="replace").strip()[-300:]
        raise Unavailable(f"the container did not start ({said})", "look at a recording")
    reading = understood(f"{text.decode(errors='replace')}\n{END}\n")
    told = calls.decode(answers, len(grid.wanted))
    return Told(reading, dict(zip(grid.wanted, told, strict=True)))


def flipped(values: Mapping[str, Mapping[str, bool]], word: str) -> frozenset[str]:
    """The probes whose answer a word changed, against the defaults (word → probe → through)."""
    default, changed = values.get("", {}), values.get(word, {})
    return frozenset(name for name in default if name in changed and default[name] != changed[name])


def _conclude(grid: Grid) -> Iterator[Measurement]:
    """S3 and S5: what one word changes, and that a privileged container opens devices."""
    grid.kept.close()
    one = _row(grid, "", "fact", "one_misconfiguration_flips_a_probe")
    opens = _row(grid, "--privileged", "fact", "privileged_container_opens_host_devices")
    if "" not in grid.values or not any(word in grid.values for word in WEAKENINGS):
        yield failed(one, grid.why or "the containers of the guest did not start")
    else:
        told = [word for word in WEAKENINGS if word in grid.values]
        aimed = {name for name in PROBES if PROBES[name].aim == HOST}
        flips = {word: flipped(grid.values, word) & aimed for word in told}
        some = sum(bool(flips[word]) for word in told)
        as_said = sum(flipped(grid.values, word) == FLIPS[word] for word in told)
        text = f"{some} of {len(told)} words, {as_said} as registered"
        yield filled(one, float(some > 0), text=text)
    if "--privileged" not in grid.values:
        yield failed(opens, grid.why or "the privileged container did not start")
    else:
        opened = [name for name in DEVICES if grid.values["--privileged"].get(name)]
        yield filled(opens, float(bool(opened)), text=", ".join(opened))


# ---- neighbours, where Docker has none ---------------------------------------------------------


@dataclass(slots=True)
class Contained:
    """A container of the guest that runs: a :class:`vmcompare.sandbox.Sandbox`."""

    vm: Sandbox
    name: str
    pid: int

    def run(self, argv: Sequence[str], *, timeout_s: float = 60.0) -> Completed:
        return self.vm.run(["runc", "exec", self.name, *argv], timeout_s=timeout_s)

    def put(self, path: str, data: bytes) -> None:
        self.vm.put(f"/proc/{self.pid}/root{path}", data)

    def host_pids(self) -> tuple[int, ...]:
        return (self.pid,)

    def console(self) -> str:
        return self.vm.console()


def contained(vm: Sandbox, name: str) -> Contained:
    """Start a container with the defaults that runs until the guest ends.

    Raises:
        LaunchFailure: it did not start.
    """
    write(vm, name, configuration(args=["sleep", "3600"]))
    written = f"/c/{name}/pid"
    line = start_line(name).replace(
        "runc run", f"runc run --detach --pid-file {shlex.quote(written)}"
    )
    done = vm.run(
        ["sh", "-c", f"{line} >/dev/null 2>/tmp/{name}.err; cat {written} /tmp/{name}.err"]
    )
    try:
        return Contained(vm, name, int(done.output))
    except ValueError:
        what = "a container of the guest did not start"
        raise LaunchFailure(what, ("runc", "run"), done.output.decode(errors="replace")) from None


def _neighbours(grid: Grid) -> Iterator[Measurement]:
    """A against B, both in the guest, each with a network of its own that leads nowhere."""
    pair = neighbours.Pair()
    if grid.vm is None:
        return
    rows = {
        name: _row(grid, neighbours.APART, "probe", name)
        for name in (neighbours.LIST, neighbours.READ, neighbours.KILL, neighbours.CONNECT)
    }
    try:
        a, b = (contained(grid.vm, name) for name in ("one", "other"))
        told = neighbours.between(a, b, pair, lambda pid: _stat(grid.vm, pid))
    except FAILURES as error:
        yield from (failed(row, str(error)) for row in rows.values())
    else:
        for name, (value, text) in told.items():
            yield filled(rows[name], float(value), text=text)
    for name, holds, text in neighbours.facts(pair, grid.host):
        row = _row(grid, neighbours.APART, "fact", name)
        yield failed(row, holds) if isinstance(holds, str) else filled(row, float(holds), text=text)


def _stat(vm: Sandbox | None, pid: int) -> str:
    assert vm is not None
    return vm.run(["cat", f"/proc/{pid}/stat"]).output.decode(errors="replace")
