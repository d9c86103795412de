"""From one instance to its neighbour: is it seen, can it be read, signalled, reached?

The neighbour is known as well as one could wish: its process by the number that the host gives it,
its file by its path, its program by address and port. What A cannot do then, it cannot do.
"""

from __future__ import annotations

import contextlib
import re
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ...experiment import FAILURES, Context, failed, filled
from ...programs.calls import BUFFER, Call, Result
from ...recording import Measurement
from ...sandbox import Platform, Sandbox, Spec
from .asking import VM, Arm, make, read
from .probes import NEIGHBOUR, OWN_KERNEL, PROBES, connect
from .reading import Reading

PAIRS: tuple[Arm, ...] = (
    Arm("two processes", Platform.PROCESS, Spec()),
    Arm("two containers, one network", Platform.CONTAINER, Spec(network=True), "default bridge"),
    Arm("two containers, two networks", Platform.CONTAINER,
        Spec(network=True, own_network=True), "own networks"),
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


def measured(context: Context, arm: Arm, pair: Pair) -> Iterator[Measurement]:
    """Start A and B, try all four from A against B; fills in ``pair``."""
    launcher = context.launchers[arm.platform]
    rows = {name: arm.row(launcher, "probe", name) for name in (LIST, READ, KILL, CONNECT)}
    try:
        with contextlib.ExitStack() as stack:
            a, b = (
                stack.enter_context(launcher.open(arm.spec, context.on_event)) for _ in range(2)
            )
            pair.one, pair.other = read(a), read(b)
            own_kernel = pair.one.boot_id != pair.other.boot_id
            told = _tried(a, b, arm.platform, stack, own_kernel=own_kernel)
    except FAILURES as error:
        for row in rows.values():
            yield failed(row, str(error))
        return
    for name, row in rows.items():
        if name not in told:
            yield failed(row, _HIDDEN)
            continue
        value, text = told[name]
        pair.values[name] = value
        yield filled(row, float(value), text=text, guest_kernel=pair.one.release)


def _tried(
    a: Sandbox, b: Sandbox, platform: Platform, stack: contextlib.ExitStack, *, own_kernel: bool
) -> Mapping[str, tuple[bool, str]]:
    """Probe → whether A got through to B, and the answer."""
    process = platform is Platform.PROCESS
    address: tuple[int, ...]
    if process:
        address, port = (127, 0, 0, 1), _listening(stack)
    else:
        address, port = _serve(b), _PORT
    pids = b.host_pids()
    pid = pids[-1] if pids else 0  # the first is what manages it
    paths = [f"/proc/{pid}/root{_MARKER}", _MARKER]
    if process:  # its file is its own program
        paths = [f"/proc/{pid}/exe"]
    reads = [
        [Call("openat", (-100, path.encode(), 0)), Call("read", (Result(0), BUFFER, 1))]
        for path in paths
    ]
    *opened, signalled, connected = make(
        a, [*reads, [Call("kill", (pid, 0))], connect(address, port)]
    )
    told = {
        READ: _best([_outcome(READ, answer, own_kernel) for answer in opened]),
        CONNECT: _outcome(CONNECT, connected, own_kernel),
    }
    if not pid:
        return told
    same = _seen(a, pid)
    told[LIST] = (same, "ok" if same else "not there")
    told[KILL] = _outcome(KILL, signalled, own_kernel)
    if told[KILL][0] and not same:
        told[KILL] = (False, "ok, but another process has that number")
    return told


def _outcome(name: str, answer: int, own_kernel: bool) -> tuple[bool, str]:
    value, text = PROBES[name].outcome(answer, own_kernel=own_kernel)
    return bool(value), text


def _best(outcomes: list[tuple[bool, str]]) -> tuple[bool, str]:
    """The one that got through, else the first."""
    return next((one for one in outcomes if one[0] or one[1] == OWN_KERNEL), outcomes[0])


def _listening(stack: contextlib.ExitStack) -> int:
    """A port at which this process, a process's neighbour, listens on the loopback address."""
    return int(listener(stack).getsockname()[1])


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


def _seen(a: Sandbox, pid: int) -> bool:
    """Whether that number is the same process to A as to the host: its start time is."""
    try:
        here = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except OSError:
        return False
    there = a.run(["cat", f"/proc/{pid}/stat"])
    return there.exit_code == 0 and _started(there.output.decode(errors="replace")) == _started(
        here
    )


def _started(stat: str) -> str:
    """Name, and start in clock ticks (field 22 of proc(5); the name may have blanks in it)."""
    name, _, rest = stat.rpartition(")")
    fields = rest.split()
    return f"{name} {fields[19]}" if len(fields) > 19 else stat
