"""From one instance to its neighbour: is it seen, can it be read, signalled, reached?

The neighbour is known as well as one could wish: its process by the number that the host gives it,
its file by its path, its program by address and port. What A cannot do then, it cannot do.
"""

from __future__ import annotations

import contextlib
import re
import socket
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from vmcompare.engines.programs.calls import BUFFER, Call, Result
from vmcompare.evidence.recording import Measurement
from vmcompare.experiments.isolation.asking import VM, Arm, make, read
from vmcompare.experiments.isolation.probes import NEIGHBOUR, OWN_KERNEL, PROBES, connect
from vmcompare.experiments.isolation.reading import KINDS, Reading
from vmcompare.measuring.experiment import FAILURES, Context, failed, filled
from vmcompare.sandbox import Platform, Sandbox, Spec

BRIDGE, APART = "default bridge", "own networks"
"""How two containers are laid out: on one network, or each on its own."""

PAIRS: tuple[Arm, ...] = (
    Arm("two processes", Platform.PROCESS, Spec()),
    Arm("two containers, one network", Platform.CONTAINER, Spec(network=True), BRIDGE),
    Arm("two containers, two networks", Platform.CONTAINER,
        Spec(network=True, own_network=True), APART),
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


def facts(pair: Pair, host: Reading | None) -> Iterator[tuple[str, bool | str, str]]:
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
        for kind in KINDS
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


def measured(context: Context, arm: Arm, pair: Pair) -> Iterator[Measurement]:
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
