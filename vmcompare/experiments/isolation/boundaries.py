"""The boundaries on this computer: probes against the host and a neighbour, and system calls.

Rows (see :mod:`vmcompare.evidence.recording`): ``probe`` and ``observation`` of each variant,
``item_count`` of system calls, and the facts that ``data/claims.csv`` registers for S1b, S3 and S5;
failed ones with the reason where something cannot be measured. There is one round.

The host process comes first, because it tells what probes can be aimed at. Where there is none
(macOS, Windows), probes that name something of the host are not made; nor are they in containers
whose engine runs in a VM of its own, because this computer is not their host.

*Neighbours*: instance A knows the process number, the file's path, the address and the port of
instance B. Does it see, read, signal or reach it?

*System calls*: each call of the table is made once with −1 as every argument, in a container
without a call filter and in a default one. Where the kernel answers the first, and the second gets
another answer, ``EPERM`` or ``ENOSYS``, the filter has refused. A call that lacks a capability in
both is not counted as filtered, so the number let through is an upper bound. ``ENOSYS`` without a
filter counts as not answered: the kernel lacks that call, or (as ``futex``) the command −1.
"""

from __future__ import annotations

import contextlib
import os
import platform
import re
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from vmcompare.engines.programs.calls import BUFFER, Call, Result, written
from vmcompare.engines.programs.system_calls import X86_64
from vmcompare.errors import Unavailable
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
    Targets,
)
from vmcompare.measuring.experiment import FAILURES, Context, blank, failed, filled, or_failed
from vmcompare.sandbox import Confinement, Machine, Platform, Sandbox, Spec

Step = tuple[str, Callable[[], Iterable[Measurement]]]
"""Words for the progress line, and what makes the rows of this step."""


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
        return replace(
            row,
            phase=phase,
            confinement=self.confinement,
            runtime=self.runtime or row.runtime,
        )

    def open(self, context: Context) -> AbstractContextManager[Sandbox]:
        """Start an instance of it; raises what launchers raise."""
        return context.launchers[self.platform].open(self.spec, context.on_event)


VM = Spec(machine=Machine.PC)

_HOST = Variant("host process", Platform.PROCESS)
_CONTAINER = Variant("container", Platform.CONTAINER)
_UNFILTERED = Variant(
    "container, no call filter",
    Platform.CONTAINER,
    Spec(confinement=Confinement.NO_SECCOMP),
    "no-seccomp",
)
_VM = Variant("VM", Platform.VM_DIRECT, VM)

VARIANTS: tuple[Variant, ...] = (
    _HOST,
    _CONTAINER,
    Variant(
        "container, no capabilities",
        Platform.CONTAINER,
        Spec(confinement=Confinement.NO_CAPABILITIES),
        "no-capabilities",
    ),
    _UNFILTERED,
    _VM,
)


@dataclass(slots=True)
class Survey:
    """What instances have answered so far.

    Attributes:
        context: launchers.
        kept: keeps open what the probes are aimed at.
        targets, host: what probes are aimed at, and what the host read; ``None`` where it was not
            asked.
        readings: name of a variant → what it read, unless it failed.
        through: name of a variant → probe → whether it got through.
        why: name of a variant → why it failed.
    """

    context: Context
    kept: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)
    targets: Targets | None = None
    host: BoundaryReading | None = None
    readings: dict[str, BoundaryReading] = field(default_factory=dict)
    through: dict[str, Mapping[str, bool]] = field(default_factory=dict)
    why: dict[str, str] = field(default_factory=dict)

    def ask(
        self,
        variant: Variant,
        respond: Callable[[], tuple[Response, BoundaryReading | None]],
        *,
        observed: bool = True,
    ) -> Iterator[Measurement]:
        """The rows of one variant.

        Args:
            variant: which.
            respond: asks it; its response, and what its host read (``None``: not known).
            observed: whether what it read becomes observations.
        """
        row = variant.row(self.context)
        try:
            response, host = respond()
        except FAILURES as error:
            self.why[variant.name] = str(error)
            yield from (failed(row, str(error), phase=probe.name) for probe in GRID)
            return
        reading = self.readings[variant.name] = response.reading
        own_kernel = variant.platform.is_vm and (host is None or host.boot_id != reading.boot_id)
        rows = list(probes.probe_rows(row, response, host, own_kernel=own_kernel))
        self.through[variant.name] = {r.phase: bool(r.value) for r in rows if r.status == "ok"}
        yield from rows
        if observed:
            yield from probes.observation_rows(row, reading)

    def fact(self, variant: Variant, name: str, holds: bool | None, text: str = "") -> Measurement:
        """A fact with its details, or (where ``holds`` is ``None``) why it was not observed."""
        row = variant.row(self.context, "fact", name)
        return failed(row, text) if holds is None else filled(row, float(holds), text=text)


def steps(context: Context, stack: contextlib.ExitStack) -> list[Step]:
    """The steps of this part. ``stack`` closes what probes were aimed at if the run stops."""
    variants = [one for one in VARIANTS if one.platform in context.launchers]
    if not variants:
        return []
    survey = Survey(context)
    stack.push(survey.kept)
    pairs = {one.name: Pair() for one in PAIRS}
    plan: list[Step] = [(f"boundaries: {one.name}", partial(_ask, survey, one)) for one in variants]
    if Platform.CONTAINER in context.launchers:
        plan.append(("system calls, one by one", partial(system_call_rows, context)))
    plan += [
        (f"neighbours: {one.name}", partial(pair_rows, context, one, pairs[one.name]))
        for one in PAIRS
        if one.platform in context.launchers
    ]
    plan.append(("what the boundaries say", partial(_conclude, survey, pairs)))
    return plan


def _ask(survey: Survey, variant: Variant) -> Iterator[Measurement]:
    def respond() -> tuple[Response, BoundaryReading | None]:
        with variant.open(survey.context) as box:
            if variant is _HOST:
                host = probes.read(box)
                survey.targets = _targets(survey, host)
                # Its own root is not seen below /host.
                response = probes.ask(box, replace(survey.targets, root=""))
                survey.host = response.reading
                return response, survey.host
            known, targets = survey.host, survey.targets
            if (
                variant.platform is Platform.CONTAINER
                and known
                and probes.read(box).boot_id != known.boot_id
            ):
                known = targets = None  # its host is the engine's own VM
            return probes.ask(box, targets), known

    return survey.ask(variant, respond)


def _targets(survey: Survey, host: BoundaryReading) -> Targets:
    """Aim at this process, a port of it, and a file of this course."""
    port = int(listener(survey.kept).getsockname()[1])
    return probes.targets(host, os.getpid(), port, str(Path(__file__).resolve()))


def listener(stack: contextlib.ExitStack) -> socket.socket:
    """A socket that listens on this computer's loopback address until ``stack`` closes it."""
    listening = stack.enter_context(socket.socket())
    listening.bind(("127.0.0.1", 0))
    listening.listen()
    return listening


# ---- the facts -----------------------------------------------------------------------------------


def _conclude(survey: Survey, pairs: Mapping[str, Pair]) -> Iterator[Measurement]:
    """The facts, once nothing is aimed at any more."""
    survey.kept.close()
    launchers = survey.context.launchers
    if Platform.CONTAINER in launchers:
        if Platform.VM_DIRECT in launchers:
            yield from _attack_surface(survey)
        yield from neighbour_facts(survey, _BRIDGED, pairs[_BRIDGED.name])
    if Platform.VM_DIRECT in launchers:
        yield from _direct_access(survey)


def _attack_surface(survey: Survey) -> Iterator[Measurement]:
    """The facts of S1b: what the default container denies, and what the VM denies."""
    names = (
        "vm_denies_all_the_container_denies", "vm_denies_more_than_the_container",
        "container_denies_more_than_the_vm",
    )  # fmt: skip
    container, vm = (survey.through.get(one.name, {}) for one in (_CONTAINER, _VM))
    both = [p.name for p in GRID if p.aim == HOST and p.name in container and p.name in vm]
    if not both:
        why = "no probe was made in both"
        if silent := [one.name for one in (_CONTAINER, _VM) if one.name not in survey.through]:
            why = f"no answer of the {silent[0]}: {survey.why.get(silent[0], 'not asked')}"
        yield from (survey.fact(_VM, name, None, why) for name in names)
        return
    only_container = [name for name in both if not container[name] and vm[name]]
    only_vm = [name for name in both if container[name] and not vm[name]]
    of = f"of {len(both)} probes at the host"
    texts = (
        f"{sum(not container[n] for n in both)} {of}",
        f"{len(only_vm)} {of}: {', '.join(only_vm)}",
        f"{len(only_container)} {of}: {', '.join(only_container)}",
    )
    found = (not only_container, bool(only_vm), bool(only_container))
    for name, holds, text in zip(names, found, texts, strict=True):
        yield survey.fact(_VM, name, holds, text)


def neighbour_facts(survey: Survey, variant: Variant, pair: Pair) -> Iterator[Measurement]:
    """The facts of S3: what container A gets at in B, and which namespaces they share."""
    for name, probe in (
        ("container_reads_sibling", READ),
        ("container_lists_sibling", LIST),
        ("container_kills_sibling", KILL),
    ):
        if probe in pair.answers:
            yield survey.fact(variant, name, pair.answers[probe][0])
        else:
            yield survey.fact(variant, name, None, f"no answer to {probe!r}")
    one, other, host = pair.one, pair.other, survey.host
    if one is None or other is None:
        why = "two containers could not be asked"
        yield survey.fact(variant, "five_namespaces_differ", None, why)
        yield survey.fact(variant, "something_is_not_namespaced", None, why)
        return
    three = [one, other, *([host] if host and host.boot_id == one.boot_id else [])]
    apart = [
        kind
        for kind in NAMESPACES
        if all(kind in reading.namespaces for reading in three)
        and len({reading.namespaces[kind] for reading in three}) == len(three)
    ]
    whose = "A, B and the host" if len(three) == 3 else "A and B (their host could not be asked)"
    text = f"{', '.join(apart)}: {whose}"
    yield survey.fact(variant, "five_namespaces_differ", len(apart) >= 5, text)
    same = {
        "kernel": one.boot_id == other.boot_id,
        "vm.swappiness": one.swappiness == other.swappiness,
        "time namespace": one.namespaces.get("time") == other.namespaces.get("time"),
        "user namespace": one.namespaces.get("user") == other.namespaces.get("user"),
    }
    text = ", ".join(name for name, is_same in same.items() if is_same)
    yield survey.fact(variant, "something_is_not_namespaced", any(same.values()), text)


def _direct_access(survey: Survey) -> Iterator[Measurement]:
    """The facts of S5: whether the VM opens devices of the host's, and whether it sees any."""
    opens, sees = "vm_opens_host_devices", "vm_sees_host_devices"
    vm, host = survey.readings.get(_VM.name), survey.host
    if vm is None:
        why = survey.why.get(_VM.name, "the VM was not asked")
        yield from (survey.fact(_VM, name, None, why) for name in (opens, sees))
        return
    tried = {name: value for name, value in survey.through[_VM.name].items() if name in DEVICES}
    if tried:
        yield survey.fact(_VM, opens, any(tried.values()), f"tried: {', '.join(tried)}")
    else:
        yield survey.fact(_VM, opens, None, "not tried")
    if host is None:
        yield survey.fact(_VM, sees, None, "the host was not asked for its devices")
        return
    shared = probes.shared_devices(host, vm)
    text = ", ".join(f"{one.address} {one.kind}" for one in shared) or (
        f"none of the host's {len(host.devices)} PCI devices has its address and numbers "
        f"among the VM's {len(vm.devices)}; virtual ones of both are not compared"
    )
    yield survey.fact(_VM, sees, bool(shared), text)


# ---- from one instance to its neighbour ----------------------------------------------------------

BRIDGE, OWN_NETWORKS = "default bridge", "own networks"
"""``confinement`` of two containers: on one network, or each on its own."""

_BRIDGED = Variant("two containers, one network", Platform.CONTAINER, Spec(network=True), BRIDGE)
PAIRS: tuple[Variant, ...] = (
    Variant("two processes", Platform.PROCESS),
    _BRIDGED,
    Variant(
        "two containers, two networks",
        Platform.CONTAINER,
        Spec(network=True, own_network=True),
        OWN_NETWORKS,
    ),
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

_HIDDEN = "the neighbour's process has no number here: its engine runs in a virtual machine"


@dataclass(slots=True)
class Pair:
    """What instances A and B have answered.

    Attributes:
        answers: probe that was made → whether A got through to B, and the answer.
        one, other: what A and B read of themselves.
    """

    answers: dict[str, tuple[bool, str]] = field(default_factory=dict)
    one: BoundaryReading | None = None
    other: BoundaryReading | None = None


def pair_rows(context: Context, variant: Variant, pair: Pair) -> Iterator[Measurement]:
    """Start A and B and make all four probes from A against B; fills in ``pair``."""

    def attempt() -> None:
        with contextlib.ExitStack() as stack:
            a, b = (stack.enter_context(variant.open(context)) for _ in range(2))
            is_process = variant.platform is Platform.PROCESS
            port = listener(stack).getsockname()[1] if is_process else None
            try_neighbour(a, b, pair, _stat, port)

    return neighbour_rows(variant.row(context), pair, attempt)


def neighbour_rows(
    row: Measurement, pair: Pair, attempt: Callable[[], None]
) -> Iterator[Measurement]:
    """The rows of four probes, each made of ``row``; ``attempt`` fills in ``pair``."""
    expected = [replace(row, phase=name) for name in (LIST, READ, KILL, CONNECT)]

    def rows() -> Iterator[Measurement]:
        attempt()
        kernel = pair.one.release if pair.one else ""
        for mine in expected:
            if mine.phase in pair.answers:
                through, text = pair.answers[mine.phase]
                yield filled(mine, float(through), text=text, guest_kernel=kernel)
            else:
                yield failed(mine, _HIDDEN)

    return or_failed(rows(), *expected)


def try_neighbour(
    a: Sandbox, b: Sandbox, pair: Pair, stat: Callable[[int], str], port: int | None = None
) -> None:
    """Make all four probes from A against B; fills in ``pair``.

    Args:
        a, b: two instances.
        pair: what they answer.
        stat: process number → ``/proc/<number>/stat`` of the host.
        port: of the loopback address, where A and B are processes.
    """
    pair.one, pair.other = probes.read(a), probes.read(b)
    own_kernel = pair.one.boot_id != pair.other.boot_id

    def outcome(name: str, answer: int) -> tuple[bool, str]:
        value, text = PROBES[name].outcome(answer, own_kernel=own_kernel)
        return bool(value), text

    pids = b.host_pids()
    pid = pids[-1] if pids else 0  # the first one manages it
    if port is None:
        address, paths = _serve(b), [f"/proc/{pid}/root{_MARKER}", _MARKER]
    else:  # a process has no file of its own but its program
        address, paths = (127, 0, 0, 1), [f"/proc/{pid}/exe"]
    reads = [
        [Call("openat", (-100, path.encode(), 0)), Call("read", (Result(0), BUFFER, 1))]
        for path in paths
    ]
    *opened, signalled, connected = probes.make_calls(
        a, [*reads, [Call("kill", (pid, 0))], probes.connect(address, port or _PORT)]
    )
    outcomes = [outcome(READ, answer) for answer in opened]
    successes = (one for one in outcomes if one[0] or one[1] == OWN_KERNEL)
    pair.answers = {
        READ: next(successes, outcomes[0]),
        CONNECT: outcome(CONNECT, connected),
    }
    if pid:
        same = _seen(a, pid, stat(pid))
        pair.answers[LIST] = (same, "ok" if same else "not there")
        pair.answers[KILL] = outcome(KILL, signalled)
        if pair.answers[KILL][0] and not same:
            pair.answers[KILL] = (False, "ok, but another process has that number")


def _serve(b: Sandbox) -> tuple[int, ...]:
    """Make B write a file and listen; its address."""
    b.put(_MARKER, b"the neighbour's\n")
    b.run(["sh", "-c", _LISTEN])
    output = b.run(["ip", "-4", "-o", "addr", "show", "scope", "global"]).output
    found = _ADDRESS.search(output.decode(errors="replace"))
    return tuple(map(int, found.groups())) if found else _NOBODYS


def _stat(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except OSError:
        return ""


def _seen(a: Sandbox, pid: int, here: str) -> bool:
    """Whether that number is the same process in A as on the host, by name and start time."""
    there = a.run(["cat", f"/proc/{pid}/stat"])
    output = there.output.decode(errors="replace")
    return bool(here) and there.exit_code == 0 and _started(output) == _started(here)


def _started(stat: str) -> str:
    """Name, and start in clock ticks (field 22 of proc(5); the name may have blanks in it)."""
    name, _, rest = stat.rpartition(")")
    fields = rest.split()
    return f"{name} {fields[19]}" if len(fields) > 19 else stat


# ---- system calls, one by one --------------------------------------------------------------------

NOT_CALLED: Sequence[str] = (
    "clone", "clone3", "exit", "exit_group", "fork", "pause", "reboot", "restart_syscall",
    "rt_sigreturn", "sync", "uprobe", "uretprobe", "vfork", "vhangup",
)  # fmt: skip
"""Not called: they end, fork or suspend the caller, or concern the whole computer."""

ANSWERED, LET_THROUGH = "system calls answered", "system calls let through"
REFUSED = "system calls refused by the filter"

_NO_SUCH_CALL = "ENOSYS"
_BY_FILTER = ("EPERM", _NO_SUCH_CALL)


def system_call_rows(context: Context) -> Iterator[Measurement]:
    """Two counts, and the calls that the filter refuses."""
    answered = _UNFILTERED.row(context, "item_count", ANSWERED)
    through = _CONTAINER.row(context, "item_count", LET_THROUGH)
    refused = _CONTAINER.row(context, "observation", REFUSED)

    def rows() -> Iterator[Measurement]:
        free, held = (_answers_to_all(context, one) for one in (_UNFILTERED, _CONTAINER))
        known = [name for name, answer in free.items() if answer != _NO_SUCH_CALL]
        filtered = [name for name in known if held[name] in _BY_FILTER and free[name] != held[name]]
        yield filled(answered, len(known))
        yield filled(through, len(known) - len(filtered))
        yield filled(refused, 1.0, text=", ".join(sorted(filtered)))

    return or_failed(rows(), answered, through, refused)


def _answers_to_all(context: Context, variant: Variant) -> Mapping[str, str]:
    """Name of a call → what was answered."""
    if platform.machine().lower() not in ("x86_64", "amd64"):
        raise Unavailable(
            "the table of all system calls is that of x86-64", "look at a recording of one"
        )
    names = [name for name in X86_64 if name not in NOT_CALLED]
    with variant.open(context) as box:
        answers = probes.make_calls(box, [[Call(name, (-1,) * 6)] for name in names])
    return {name: written(answer) for name, answer in zip(names, answers, strict=True)}
