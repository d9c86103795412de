"""The boundaries on this computer: the grid of probes, neighbours, and calls to the shared kernel.

Rows (see :mod:`vmcompare.evidence.recording`): ``probe`` and ``observation`` of each arm,
``item_count`` of system calls, and the facts that ``data/claims.csv`` registers for S1b, S3 and S5.
One pass; what cannot be asked becomes rows with the reason.

The host process is asked first: it tells what there is to aim at. Where it cannot be (macOS,
Windows), probes that must name something of the host are not made. A container's host is the
machine that its engine runs on; where that is a virtual machine that nobody here started, this
computer's processes and disks are not its host's, so those probes are not made either.

*From one instance to its neighbour*: is it seen, can it be read, signalled, reached? The neighbour
is known as well as one could wish: its process by the number that the host gives it, its file by
its path, its program by address and port. What A cannot do then, it cannot do.

*How many system calls a shared kernel answers, and to whom*: every number of the table is called
once with nothing but −1 as arguments, in containers only: one without a call filter, one with the
engine's own. Where the first gets an answer of the kernel and the second ``EPERM`` or ``ENOSYS``,
the filter has refused. A call that is refused for want of a capability in both is not counted as
filtered, so the filter's own list is at least this long, and what it lets through is an upper bound
("at most"). ``ENOSYS`` without a filter counts as not answered: the kernel was built without that
call, or (as ``futex``) says so of the command −1; such calls are in neither count.
"""

from __future__ import annotations

import contextlib
import os
import platform
import re
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from vmcompare.engines.programs.calls import BUFFER, Call, Result, written
from vmcompare.engines.programs.system_calls import X86_64
from vmcompare.errors import Unavailable
from vmcompare.evidence.recording import Measurement
from vmcompare.experiments.isolation.probes import (
    DEVICES,
    GRID,
    HOST,
    NAMESPACES,
    NEIGHBOUR,
    OWN_KERNEL,
    PROBES,
    VM,
    Arm,
    Reading,
    Targets,
    Told,
    connect,
    failed_rows,
    make,
    observation_rows,
    probe_rows,
    read,
    shared_devices,
    targets,
    tell,
)
from vmcompare.measuring.experiment import FAILURES, Context, failed, filled
from vmcompare.sandbox import Confinement, Platform, Sandbox, Spec

ARMS: tuple[Arm, ...] = (
    Arm("host process", Platform.PROCESS, Spec()),
    Arm("container", Platform.CONTAINER, Spec()),
    Arm("container, no capabilities", Platform.CONTAINER,
        Spec(confinement=Confinement.NO_CAPABILITIES), "no-capabilities"),
    Arm("container, no call filter", Platform.CONTAINER,
        Spec(confinement=Confinement.NO_SECCOMP), "no-seccomp"),
    Arm("VM", Platform.VM_DIRECT, VM),
)  # fmt: skip
"""The columns of the grid, in the order of the table."""

_HOST_ARM, _CONTAINER_ARM, _, _UNFILTERED_ARM, _VM_ARM = ARMS

Step = tuple[str, Callable[[], Iterator[Measurement]]]
"""A part of a run: words for the progress line, and what makes its rows."""


@dataclass(slots=True)
class Boundaries:
    """What is known so far.

    Attributes:
        context: launchers, and who watches.
        kept: holds what the probes are aimed at, to the end of this part.
        targets: those; ``None`` where the host was not asked.
        told: arm → its answers; those that failed are not there.
        values: arm → probe → whether it got through.
        pairs: a pair's name → what it showed.
        why: arm → why it failed.
    """

    context: Context
    kept: contextlib.ExitStack
    targets: Targets | None = None
    told: dict[str, Told] = field(default_factory=dict)
    values: dict[str, Mapping[str, bool]] = field(default_factory=dict)
    pairs: dict[str, Pair] = field(default_factory=dict)
    why: dict[str, str] = field(default_factory=dict)

    @property
    def host(self) -> Reading | None:
        """What the host read, if it was asked."""
        told = self.told.get(_HOST_ARM.name)
        return told.reading if told else None


def measured(context: Context) -> Iterator[Measurement]:
    """All rows of this part."""
    with contextlib.ExitStack() as stack:
        for step in context.steps(steps(context, stack)):
            yield from step()


def steps(context: Context, stack: contextlib.ExitStack) -> list[Step]:
    """This part's steps in their order; empty where there is nobody to ask.

    The stack is entered by the steps alone, and by the last one left for what only they need.
    """
    there = [arm for arm in ARMS if arm.platform in context.launchers]
    pairs = [arm for arm in PAIRS if arm.platform in context.launchers]
    if not there:
        return []
    known = Boundaries(context, contextlib.ExitStack())
    stack.push(known.kept)
    plan: list[Step] = [(f"walls: {arm.name}", partial(_ask, known, arm)) for arm in there]
    if Platform.CONTAINER in context.launchers:
        plan.append(("system calls, one by one", partial(system_call_rows, context)))
    plan += [(f"neighbours: {arm.name}", partial(_neighbours, known, arm)) for arm in pairs]
    plan.append(("what the walls say", partial(_conclude, known)))
    return plan


def _ask(known: Boundaries, arm: Arm) -> Iterator[Measurement]:
    launcher = known.context.launchers[arm.platform]
    try:
        with launcher.open(arm.spec, known.context.on_event) as box:
            if arm is _HOST_ARM:
                known.targets = _aim(known, read(box))
            told, host = _tell(known, arm, box)
    except FAILURES as error:
        known.why[arm.name] = str(error)
        yield from failed_rows(arm, launcher, str(error))
        return
    known.told[arm.name] = told
    own_kernel = arm.platform.is_vm and (
        known.host is None or known.host.boot_id != told.reading.boot_id
    )
    rows = list(probe_rows(arm, launcher, told, host, own_kernel=own_kernel))
    known.values[arm.name] = {row.phase: bool(row.value) for row in rows if row.status == "ok"}
    yield from rows
    yield from observation_rows(arm, launcher, told.reading)


def _tell(known: Boundaries, arm: Arm, box: Sandbox) -> tuple[Told, Reading | None]:
    """What an instance tells, and the host that it is held against (``None``: unknown)."""
    if arm is _HOST_ARM:
        assert known.targets is not None
        told = tell(box, _replaced_root(known.targets))
        return told, told.reading
    host, targets = known.host, known.targets
    if arm.platform is Platform.CONTAINER and host and read(box).boot_id != host.boot_id:
        host = targets = None  # the engine's own, hidden machine
    return tell(box, targets), host


def _replaced_root(targets: Targets) -> Targets:
    """The same targets as the host itself sees them: its root is not below /host."""
    return replace(targets, root="")


def _aim(known: Boundaries, host: Reading) -> Targets:
    """What there is to aim at: this very process, a port of ours, a file of this course."""
    port = int(listener(known.kept).getsockname()[1])
    return targets(host, os.getpid(), port, str(Path(__file__).resolve()))


def _neighbours(known: Boundaries, arm: Arm) -> Iterator[Measurement]:
    pair = known.pairs[arm.name] = Pair()
    yield from neighbour_rows(known.context, arm, pair)


def _conclude(known: Boundaries) -> Iterator[Measurement]:
    """The facts; then what only this part needed is let go."""
    known.kept.close()
    if Platform.CONTAINER in known.context.launchers:
        yield from _surface(known)
        yield from _siblings(known)
    if Platform.VM_DIRECT in known.context.launchers:
        yield from _direct_access(known)


def _fact(known: Boundaries, arm: Arm, name: str, holds: bool | str, text: str = "") -> Measurement:
    """A fact, or (where ``holds`` is text) why it was not observed."""
    row = arm.row(known.context.launchers[arm.platform], "fact", name)
    return failed(row, holds) if isinstance(holds, str) else filled(row, float(holds), text=text)


def _surface(known: Boundaries) -> Iterator[Measurement]:
    """S1b: what the default container denies, against what the VM denies.

    The facts are the VM's rows: so it is told beside them whether that one was emulated.
    """
    names = (
        "vm_denies_all_the_container_denies", "vm_denies_more_than_the_container",
        "container_denies_more_than_the_vm",
    )  # fmt: skip
    arm = _CONTAINER_ARM
    if Platform.VM_DIRECT not in known.context.launchers:
        return
    missing = [one.name for one in (arm, _VM_ARM) if one.name not in known.values]
    if missing:
        why = f"no answer of the {missing[0]}: {known.why.get(missing[0], 'not asked')}"
        yield from (_fact(known, _VM_ARM, name, why) for name in names)
        return
    container, vm = known.values[arm.name], known.values[_VM_ARM.name]
    both = [p.name for p in GRID if p.aim == HOST and p.name in container and p.name in vm]
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
        yield _fact(known, _VM_ARM, name, holds if both else "no probe was made in both", text)


def _siblings(known: Boundaries) -> Iterator[Measurement]:
    """S3: A against B on the default bridge; namespaces; what no namespace keeps apart."""
    bridge = next(arm for arm in PAIRS if arm.confinement == BRIDGE)
    pair = known.pairs.get(bridge.name, Pair())
    for name, holds, text in neighbour_facts(pair, known.host):
        yield _fact(known, bridge, name, holds, text)


def _direct_access(known: Boundaries) -> Iterator[Measurement]:
    """S5: whether the VM opens devices of the host's, and whether it sees them at all."""
    opens, sees = "vm_opens_host_devices", "vm_sees_host_devices"
    vm, host = known.told.get(_VM_ARM.name), known.host
    if vm is None:
        why = known.why.get(_VM_ARM.name, "the VM was not asked")
        yield from (_fact(known, _VM_ARM, name, why) for name in (opens, sees))
        return
    tried = {n: v for n, v in known.values[_VM_ARM.name].items() if n in DEVICES}
    text = f"tried: {', '.join(tried)}"
    yield _fact(known, _VM_ARM, opens, any(tried.values()) if tried else "not tried", text)
    if host is None:
        yield _fact(known, _VM_ARM, sees, "the host was not asked for its devices")
        return
    shared = shared_devices(host, vm.reading)
    text = ", ".join(f"{one.address} {one.kind}" for one in shared) or (
        f"none of the host's {len(host.devices)} PCI devices has its address and numbers "
        f"among the VM's {len(vm.reading.devices)}; virtual ones of both are not compared"
    )
    yield _fact(known, _VM_ARM, sees, bool(shared), text)


# ---- from one instance to its neighbour ----------------------------------------------------------

BRIDGE, OWN_NETWORKS = "default bridge", "own networks"
"""How two containers are laid out: on one network, or each on its own."""

PAIRS: tuple[Arm, ...] = (
    Arm("two processes", Platform.PROCESS, Spec()),
    Arm("two containers, one network", Platform.CONTAINER, Spec(network=True), BRIDGE),
    Arm("two containers, two networks", Platform.CONTAINER,
        Spec(network=True, own_network=True), OWN_NETWORKS),
    Arm("two VMs", Platform.VM_DIRECT, VM),
)  # fmt: skip
"""A VM booted straight into its RAM disk has no driver of a network card: it reaches nobody."""

LIST, READ, KILL, CONNECT = (name for name in PROBES if PROBES[name].aim == NEIGHBOUR)

_MARKER = "/tmp/vmcompare-of-the-neighbour"
_PORT = 8099
_LISTEN = f"nc -l -p {_PORT} </dev/null >/dev/null 2>&1 &"
_ADDRESS = re.compile(r"inet (\d+)\.(\d+)\.(\d+)\.(\d+)/")
_NOBODYS = (192, 0, 2, 1)
"""An address for documentation (RFC 5737): that of a neighbour without one. Nobody has it."""

_HIDDEN = "the neighbour's process has no number here: its engine runs in a virtual machine"


@dataclass(slots=True)
class Pair:
    """What a pair showed.

    Attributes:
        values: probe → whether A got through; only those that could be made.
        one, other: what A and B read of themselves.
    """

    values: dict[str, bool] = field(default_factory=dict)
    one: Reading | None = None
    other: Reading | None = None


def neighbour_facts(pair: Pair, host: Reading | None) -> Iterator[tuple[str, bool | str, str]]:
    """What two containers say of S3: the fact's name, whether it holds (or why it is not known),
    and what was seen. ``host``: what their host read, ``None`` where it could not be asked."""
    for name, probe in (
        ("container_reads_sibling", READ),
        ("container_lists_sibling", LIST),
        ("container_kills_sibling", KILL),
    ):
        yield name, pair.values.get(probe, f"no answer to {probe!r}"), ""
    one, other = pair.one, pair.other
    if one is None or other is None:
        why = "two containers could not be asked"
        yield "five_namespaces_differ", why, ""
        yield "something_is_not_namespaced", why, ""
        return
    three = [one, other, *([host] if host and host.boot_id == one.boot_id else [])]
    apart = [
        kind
        for kind in NAMESPACES
        if all(kind in reading.namespaces for reading in three)
        and len({reading.namespaces[kind] for reading in three}) == len(three)
    ]
    whose = "A, B and the host" if len(three) == 3 else "A and B (their host could not be asked)"
    yield "five_namespaces_differ", len(apart) >= 5, f"{', '.join(apart)}: {whose}"
    shared = [
        words
        for words, same in (
            ("kernel", one.boot_id == other.boot_id),
            ("vm.swappiness", one.swappiness == other.swappiness),
            ("time namespace", one.namespaces.get("time") == other.namespaces.get("time")),
            ("user namespace", one.namespaces.get("user") == other.namespaces.get("user")),
        )
        if same
    ]
    yield "something_is_not_namespaced", bool(shared), ", ".join(shared)


def neighbour_rows(context: Context, arm: Arm, pair: Pair) -> Iterator[Measurement]:
    """Start A and B, try all four from A against B; fills in ``pair``."""
    launcher = context.launchers[arm.platform]
    rows = {name: arm.row(launcher, "probe", name) for name in (LIST, READ, KILL, CONNECT)}
    try:
        with contextlib.ExitStack() as stack:
            a, b = (
                stack.enter_context(launcher.open(arm.spec, context.on_event)) for _ in range(2)
            )
            port = listener(stack).getsockname()[1] if arm.platform is Platform.PROCESS else None
            told = between(a, b, pair, _stat, port)
    except FAILURES as error:
        for row in rows.values():
            yield failed(row, str(error))
        return
    for name, row in rows.items():
        if name not in told:
            yield failed(row, _HIDDEN)
            continue
        value, text = told[name]
        kernel = pair.one.release if pair.one else ""
        yield filled(row, float(value), text=text, guest_kernel=kernel)


def between(
    a: Sandbox, b: Sandbox, pair: Pair, stat: Callable[[int], str], port: int | None = None
) -> Mapping[str, tuple[bool, str]]:
    """Try all four from A against B; fills in ``pair``.

    Args:
        a, b: two instances.
        pair: what they show.
        stat: what the host has in ``/proc/<number>/stat``.
        port: at which a process, where both are that, listens on the loopback address.

    Returns:
        Probe → whether A got through, and the answer; only those that could be made.
    """
    pair.one, pair.other = read(a), read(b)
    own_kernel = pair.one.boot_id != pair.other.boot_id
    pids = b.host_pids()
    pid = pids[-1] if pids else 0  # the first is what manages it
    if port is None:
        address, paths = _serve(b), [f"/proc/{pid}/root{_MARKER}", _MARKER]
    else:  # a process has no file of its own but its program
        address, paths = (127, 0, 0, 1), [f"/proc/{pid}/exe"]
    reads = [
        [Call("openat", (-100, path.encode(), 0)), Call("read", (Result(0), BUFFER, 1))]
        for path in paths
    ]
    *opened, signalled, connected = make(
        a, [*reads, [Call("kill", (pid, 0))], connect(address, port or _PORT)]
    )
    told = {
        READ: _best([_outcome(READ, answer, own_kernel) for answer in opened]),
        CONNECT: _outcome(CONNECT, connected, own_kernel),
    }
    if pid:
        same = _seen(a, pid, stat(pid))
        told[LIST] = (same, "ok" if same else "not there")
        told[KILL] = _outcome(KILL, signalled, own_kernel)
        if told[KILL][0] and not same:
            told[KILL] = (False, "ok, but another process has that number")
    pair.values = {name: value for name, (value, _) in told.items()}
    return told


def _outcome(name: str, answer: int, own_kernel: bool) -> tuple[bool, str]:
    value, text = PROBES[name].outcome(answer, own_kernel=own_kernel)
    return bool(value), text


def _best(outcomes: list[tuple[bool, str]]) -> tuple[bool, str]:
    """The one that got through, else the first."""
    return next((one for one in outcomes if one[0] or one[1] == OWN_KERNEL), outcomes[0])


def listener(stack: contextlib.ExitStack) -> socket.socket:
    """A socket that listens on this computer's loopback address until the stack is left."""
    heard = stack.enter_context(socket.socket())
    heard.bind(("127.0.0.1", 0))
    heard.listen()
    return heard


def _serve(b: Sandbox) -> tuple[int, ...]:
    """Let B write its file and listen; its address."""
    b.put(_MARKER, b"the neighbour's\n")
    b.run(["sh", "-c", _LISTEN])
    said = b.run(["ip", "-4", "-o", "addr", "show", "scope", "global"])
    found = _ADDRESS.search(said.output.decode(errors="replace"))
    return tuple(map(int, found.groups())) if found else _NOBODYS


def _stat(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except OSError:
        return ""


def _seen(a: Sandbox, pid: int, here: str) -> bool:
    """Whether that number is the same process to A as to the host: its start time is."""
    there = a.run(["cat", f"/proc/{pid}/stat"])
    said = there.output.decode(errors="replace")
    return bool(here) and there.exit_code == 0 and _started(said) == _started(here)


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
"""Not tried: they end, split or suspend the caller, or concern the whole computer."""

FREE, HELD = _UNFILTERED_ARM, _CONTAINER_ARM

ANSWERED, LET_THROUGH = "system calls answered", "system calls let through"
REFUSED, NOT_TRIED = "system calls refused by the filter", "system calls not tried"

_NO_SUCH_CALL = "ENOSYS"
_BY_FILTER = ("EPERM", _NO_SUCH_CALL)


def system_call_rows(context: Context) -> Iterator[Measurement]:
    """Two counts, the calls that the filter refuses, and those that were not tried."""
    launcher = context.launchers[Platform.CONTAINER]
    answered, through = (
        arm.row(launcher, "item_count", phase)
        for arm, phase in ((FREE, ANSWERED), (HELD, LET_THROUGH))
    )
    refused, not_tried = (HELD.row(launcher, "observation", p) for p in (REFUSED, NOT_TRIED))
    try:
        free, held = (_answers_to_all(context, arm) for arm in (FREE, HELD))
    except FAILURES as error:
        yield from (failed(row, str(error)) for row in (answered, through, refused, not_tried))
        return
    known = [name for name, said in free.items() if said != _NO_SUCH_CALL]
    filtered = [name for name in known if held[name] in _BY_FILTER and free[name] != held[name]]
    yield filled(answered, len(known))
    yield filled(through, len(known) - len(filtered))
    yield filled(refused, 1.0, text=", ".join(sorted(filtered)))
    yield filled(not_tried, 1.0, text=", ".join(NOT_CALLED))


def _answers_to_all(context: Context, arm: Arm) -> Mapping[str, str]:
    """Name of a call → what was answered."""
    if platform.machine().lower() not in ("x86_64", "amd64"):
        raise Unavailable(
            "the table of all system calls is that of x86-64", "look at a recording of one"
        )
    names = [name for name in X86_64 if name not in NOT_CALLED]
    launcher = context.launchers[arm.platform]
    with launcher.open(arm.spec, context.on_event) as box:
        answers = make(box, [[Call(name, (-1,) * 6)] for name in names])
    return {name: written(answer) for name, answer in zip(names, answers, strict=True)}
