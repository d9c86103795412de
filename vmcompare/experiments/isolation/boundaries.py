"""The boundaries on this computer: probes against the host and against a neighbour.

Rows, one round: ``probe`` and ``observation`` of each variant, and the facts of claims S1b, S3 and
S5.

The host process comes first, because it tells what probes can be aimed at. Without it (macOS,
Windows), and in containers whose engine runs in a VM of its own, probes that name something of the
host are not made.

*Neighbours*: instance A knows the process number, the file's path, the address and the port of
instance B. Does it see, read, signal or reach it?
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from vmcompare.errors import Unavailable, VmcompareError
from vmcompare.evidence.recording import Measurement
from vmcompare.experiments.isolation import probes
from vmcompare.experiments.isolation.probes import (
    DEVICES,
    GRID,
    HOST,
    NAMESPACES,
    NEIGHBOUR,
    OWN_KERNEL,
    PROBES,
    BoundaryReading,
    Response,
    Words,
)
from vmcompare.measuring.experiment import FAILURES, Context, blank, failed, filled, or_failed
from vmcompare.sandbox import Confinement, Machine, Platform, Sandbox, Spec

Step = tuple[str, Callable[[], Iterable[Measurement]]]
"""Words for the progress line, and what makes the rows of this step."""

Found = Sequence[tuple[bool, str]]
"""Of some facts whether each holds, and its details."""


@dataclass(frozen=True, slots=True)
class Variant:
    """A kind of instance that is probed.

    Attributes:
        name: in words.
        platform, spec: what is opened.
        confinement: how it differs from the default, as in rows.
        runtime: as in rows, of a container of the disposable VM; else empty.
    """

    name: str
    platform: Platform
    spec: Spec = field(default_factory=Spec)
    confinement: str = ""
    runtime: str = ""

    def row(self, context: Context, metric: str = "probe", phase: str = "") -> Measurement:
        """A row of it without a value."""
        launched_by = Platform.VM_DIRECT if self.runtime else self.platform
        row = blank(context.launchers[launched_by], self.platform, self.spec, metric)
        runtime = self.runtime or row.runtime
        return replace(row, phase=phase, confinement=self.confinement, runtime=runtime)


VM = Spec(machine=Machine.PC)

_HOST = Variant("host process", Platform.PROCESS)
_CONTAINER = Variant("container", Platform.CONTAINER)
_VM = Variant("VM", Platform.VM_DIRECT, VM)

VARIANTS: tuple[Variant, ...] = (
    _HOST,
    _CONTAINER,
    *(
        Variant(f"container, {held}", Platform.CONTAINER, Spec(confinement=held), str(held))
        for held in (Confinement.NO_CAPABILITIES, Confinement.NO_SECCOMP)
    ),
    _VM,
)


@dataclass(slots=True)
class Survey:
    """What instances have answered so far, by the name of the variant.

    ``kept`` keeps open what the probes are aimed at; ``targets`` and ``host`` are that, and what
    the host read (``None`` where it was not asked).
    """

    context: Context
    kept: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)
    targets: Words | None = None
    host: BoundaryReading | None = None
    readings: dict[str, BoundaryReading] = field(default_factory=dict)
    through: dict[str, Mapping[str, bool]] = field(default_factory=dict)
    why: dict[str, VmcompareError] = field(default_factory=dict)
    pairs: dict[str, Pair] = field(default_factory=dict)

    def open(self, variant: Variant, stack: contextlib.ExitStack) -> Sandbox:
        """Start an instance that ``stack`` ends; raises what launchers raise."""
        launcher = self.context.launchers[variant.platform]
        return stack.enter_context(launcher.open(variant.spec, self.context.on_event))

    def ask(
        self,
        variant: Variant,
        respond: Callable[[], tuple[Response, BoundaryReading | None]],
        *,
        observed: bool = True,
    ) -> Iterator[Measurement]:
        """The rows of one variant, whose capabilities are told if ``observed``.

        ``respond`` asks it: its response, and what its host read (``None``: not known).
        """
        row = variant.row(self.context)
        try:
            response, host = respond()
        except FAILURES as error:
            self.why[variant.name] = error
            yield from (failed(row, str(error), phase=probe.name) for probe in GRID)
            return
        reading = self.readings[variant.name] = response.reading
        own_kernel = variant.platform.is_vm and (host is None or host.boot_id != reading.boot_id)
        rows = list(probes.probe_rows(row, response, host, own_kernel=own_kernel))
        self.through[variant.name] = {r.phase: bool(r.value) for r in rows if r.status == "ok"}
        yield from rows
        if observed:
            yield probes.capabilities_row(row, reading)

    def answers(self, variant: Variant) -> Mapping[str, bool]:
        """Probe → whether it got through there; raises why it was not asked."""
        if variant.name not in self.through:
            raise self.why.get(variant.name) or Unavailable(
                f"there was no {variant.name} to ask", "look at a recording"
            )
        return self.through[variant.name]

    def facts(
        self, variant: Variant, names: Sequence[str], find: Callable[[], Found]
    ) -> Iterator[Measurement]:
        """A row for each of these facts; ``find`` may raise ``FAILURES``."""
        rows = [variant.row(self.context, "fact", name) for name in names]

        def found() -> Iterator[Measurement]:
            for row, (holds, text) in zip(rows, find(), strict=True):
                yield filled(row, float(holds), text=text)

        return or_failed(found(), *rows)


def steps(context: Context, stack: contextlib.ExitStack) -> list[Step]:
    """The steps of this part. ``stack`` closes what probes were aimed at if the run stops."""
    survey = Survey(context)
    stack.push(survey.kept)
    plan: list[Step] = [
        (f"{what}: {one.name}", partial(rows, survey, one))
        for what, rows, variants in (
            ("boundaries", _ask, VARIANTS), ("neighbours", pair_rows, PAIRS),
        )
        for one in variants
        if one.platform in context.launchers
    ]  # fmt: skip
    return [*plan, ("what the boundaries say", partial(_conclude, survey))] if plan else []


def _ask(survey: Survey, variant: Variant) -> Iterator[Measurement]:
    def respond() -> tuple[Response, BoundaryReading | None]:
        with contextlib.ExitStack() as stack:
            box = survey.open(variant, stack)
            if variant is _HOST:
                # Aim at this process, a port of it, and a file of this course.
                port, host = listener(survey.kept).getsockname()[1], probes.read(box)
                file = str(Path(__file__).resolve())
                aim = partial(probes.targets, host, os.getpid(), port, file)
                response = probes.ask(box, aim(root=""))
                survey.targets, survey.host = aim(), response.reading
                return response, survey.host
            known, targets = survey.host, survey.targets
            is_container = variant.platform is Platform.CONTAINER
            if is_container and known and probes.read(box).boot_id != known.boot_id:
                known = targets = None  # its host is the engine's own VM
            return probes.ask(box, targets), known

    return survey.ask(variant, respond)


def listener(stack: contextlib.ExitStack) -> socket.socket:
    """A socket that listens on this computer's loopback address until ``stack`` closes it."""
    return stack.enter_context(socket.create_server(("127.0.0.1", 0)))


# ---- the facts -----------------------------------------------------------------------------------


def _conclude(survey: Survey) -> Iterator[Measurement]:
    """The facts, once nothing is aimed at any more."""
    survey.kept.close()
    launchers = survey.context.launchers
    if Platform.CONTAINER in launchers and Platform.VM_DIRECT in launchers:
        names = [
            "vm_denies_all_the_container_denies", "vm_denies_more_than_the_container",
            "container_denies_more_than_the_vm",
        ]  # fmt: skip
        yield from survey.facts(_VM, names, partial(_attack_surface, survey))
    if Platform.CONTAINER in launchers:
        for name, probe in (
            ("container_reads_sibling", READ),
            ("container_lists_sibling", LIST),
            ("container_kills_sibling", KILL),
        ):
            yield from survey.facts(_BRIDGED, [name], partial(_gets_at, survey, probe))
        names = ["five_namespaces_differ", "something_is_not_namespaced"]
        yield from survey.facts(_BRIDGED, names, partial(_shared, survey))
    if Platform.VM_DIRECT in launchers:
        for name, find in (("vm_opens_host_devices", _opens), ("vm_sees_host_devices", _sees)):
            yield from survey.facts(_VM, [name], partial(find, survey))


def _attack_surface(survey: Survey) -> Found:
    """S1b: what the default container denies, and what the VM denies."""
    container, vm = survey.answers(_CONTAINER), survey.answers(_VM)
    both = [p.name for p in GRID if p.aim == HOST and p.name in container and p.name in vm]
    if not both:
        raise Unavailable("no probe was made in both", "look at a recording")
    denied = [name for name in both if not container[name]]
    only_container = [name for name in denied if vm[name]]
    only_vm = [name for name in both if container[name] and not vm[name]]
    of = f"of {len(both)} probes at the host"
    return (
        (not only_container, f"{len(denied)} {of}"),
        (bool(only_vm), f"{len(only_vm)} {of}: {', '.join(only_vm)}"),
        (bool(only_container), f"{len(only_container)} {of}: {', '.join(only_container)}"),
    )


def _gets_at(survey: Survey, probe: str) -> Found:
    """S3: whether container A gets at something of container B."""
    pair = survey.pairs.get(_BRIDGED.name)
    if pair is None or probe not in pair.answers:
        raise Unavailable(f"no answer to {probe!r}", "look at a recording")
    return [(pair.answers[probe][0], "")]


def _shared(survey: Survey) -> Found:
    """S3: which namespaces A and B (and their host) have apart, and what they share."""
    pair, host = survey.pairs.get(_BRIDGED.name), survey.host
    if pair is None:
        raise Unavailable("two containers could not be asked", "look at a recording")
    readings, whose = [pair.one, pair.other], "A and B (their host could not be asked)"
    if host and host.boot_id == pair.one.boot_id:
        readings, whose = [*readings, host], "A, B and the host"
    numbers = {kind: [reading.namespace(kind) for reading in readings] for kind in NAMESPACES}
    apart = [k for k, some in numbers.items() if all(some) and len({*some}) == len(readings)]
    same = ["kernel"] * (pair.one.boot_id == pair.other.boot_id)
    for what in ("vm.swappiness", "time namespace", "user namespace"):
        same += [what] * (pair.one.said.get(what) == pair.other.said.get(what))
    return (len(apart) >= 5, f"{', '.join(apart)}: {whose}"), (bool(same), ", ".join(same))


def _opens(survey: Survey) -> Found:
    """S5: whether the VM opens devices of the host's."""
    tried = {name: value for name, value in survey.answers(_VM).items() if name in DEVICES}
    if not tried:
        raise Unavailable("no probe at a device was made", "look at a recording")
    return [(any(tried.values()), f"tried: {', '.join(tried)}")]


def _sees(survey: Survey) -> Found:
    """S5: whether the VM sees devices of the host's."""
    survey.answers(_VM)
    vm, host = survey.readings[_VM.name], survey.host
    if host is None:
        raise Unavailable("the host was not asked for its devices", "look at a recording")
    shared = probes.shared_devices(host, vm)
    text = ", ".join(f"{one.address} {one.kind}" for one in shared) or (
        f"none of the host's {len(host.devices)} PCI devices has its address and numbers "
        f"among the VM's {len(vm.devices)}; virtual ones of both are not compared"
    )
    return [(bool(shared), text)]


# ---- from one instance to its neighbour ----------------------------------------------------------

BRIDGE, OWN_NETWORKS = "default bridge", "own networks"
"""``confinement`` of two containers: on one network, or each on its own."""

_BRIDGED = Variant("two containers, one network", Platform.CONTAINER, Spec(network=True), BRIDGE)
_APART = Spec(network=True, own_network=True)
PAIRS: tuple[Variant, ...] = (
    Variant("two processes", Platform.PROCESS),
    _BRIDGED,
    Variant("two containers, two networks", Platform.CONTAINER, _APART, OWN_NETWORKS),
    Variant("two VMs", Platform.VM_DIRECT, VM),
)
"""The VMs, of one RAM disk without a driver of a network card, reach nobody by a network."""

LIST, READ, KILL, CONNECT = (name for name in PROBES if PROBES[name].aim == NEIGHBOUR)

_MARKER = "/tmp/vmcompare-of-the-neighbour"
_PORT = 8099
_LISTEN = f"nc -l -p {_PORT} </dev/null >/dev/null 2>&1 &"
_ADDRESS = re.compile(r"inet (\d+)\.(\d+)\.(\d+)\.(\d+)/")
_NOBODYS = (192, 0, 2, 1)
"""The address taken for a neighbour without one: it is reserved for documentation (RFC 5737)."""


@dataclass(frozen=True, slots=True)
class Pair:
    """What A and B read of themselves; and probe that was made → whether A got through, answer."""

    one: BoundaryReading
    other: BoundaryReading
    answers: Mapping[str, tuple[bool, str]]


def pair_rows(survey: Survey, variant: Variant) -> Iterator[Measurement]:
    """Start instances A and B, and make all four probes from A against B."""
    row = variant.row(survey.context)
    expected = [replace(row, phase=name) for name in (LIST, READ, KILL, CONNECT)]

    def rows() -> Iterator[Measurement]:
        with contextlib.ExitStack() as stack:
            a, b = (survey.open(variant, stack) for _ in range(2))
            is_process = variant.platform is Platform.PROCESS
            port = listener(stack).getsockname()[1] if is_process else None
            pair = survey.pairs[variant.name] = _try_neighbour(a, b, port)
        for mine in expected:
            if mine.phase in pair.answers:
                through, text = pair.answers[mine.phase]
                kernel = pair.one.said["kernel release"]
                yield filled(mine, float(through), text=text, guest_kernel=kernel)
            else:
                yield failed(mine, "it has no number here: its engine runs in a virtual machine")

    return or_failed(rows(), *expected)


def _try_neighbour(a: Sandbox, b: Sandbox, port: int | None) -> Pair:
    """Make the probes; ``port`` (of the loopback address) is that of B where both are processes."""
    one, other = probes.read(a), probes.read(b)

    def outcome(name: str, answer: int) -> tuple[bool, str]:
        own_kernel = one.boot_id != other.boot_id
        value, text = PROBES[name].outcome(answer, own_kernel=own_kernel)
        return bool(value), text

    pid = b.host_pids()[-1] if b.host_pids() else 0  # the first one manages it
    if port is None:
        ip, paths = _serve(b), [f"/proc/{pid}/root{_MARKER}", _MARKER]
    else:  # a process has no file of its own but its program
        ip, paths = (127, 0, 0, 1), [f"/proc/{pid}/exe"]
    words: Words = {"{pid}": pid, "{address}": probes.address(ip, port or _PORT)}
    tried = [f"openat HERE {path} 0; read $0 BUFFER 1" for path in paths]
    tried += [PROBES[name].calls for name in ("process: signal", "network: connect")]
    *opened, signalled, connected = probes.make_calls(
        a, [probes.calls_of(line, words) for line in tried]
    )
    reads = [outcome(READ, answer) for answer in opened]
    successes = (one for one in reads if one[0] or one[1] == OWN_KERNEL)
    answers = {READ: next(successes, reads[0]), CONNECT: outcome(CONNECT, connected)}
    if pid:
        same = _seen(a, pid)
        answers[LIST] = (same, "ok" if same else "not there")
        answers[KILL] = outcome(KILL, signalled)
        if answers[KILL][0] and not same:
            answers[KILL] = (False, "ok, but another process has that number")
    return Pair(one, other, answers)


def _serve(b: Sandbox) -> tuple[int, ...]:
    """Make B write a file and listen; its address."""
    b.put(_MARKER, b"the neighbour's\n")
    b.run(["sh", "-c", _LISTEN])
    output = b.run(["ip", "-4", "-o", "addr", "show", "scope", "global"]).output
    found = _ADDRESS.search(output.decode(errors="replace"))
    return tuple(map(int, found.groups())) if found else _NOBODYS


def _seen(a: Sandbox, pid: int) -> bool:
    """Whether that number is the same process in A as on the host, by its start time."""
    try:
        here = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except OSError:  # there is no such process
        return False
    there = a.run(["cat", f"/proc/{pid}/stat"])
    return there.exit_code == 0 and _started(there.output.decode(errors="replace")) == _started(
        here
    )


def _started(stat: str) -> list[str]:
    """When it started, in clock ticks: field 22 of proc(5); the name may have blanks in it."""
    return stat.rpartition(")")[2].split()[19:20]
