"""A program that counts, while what it runs in is moved, or destroyed and created again."""

from __future__ import annotations

import re
import socket
import time
from dataclasses import dataclass

from vmcompare.errors import Unavailable, VmcompareError
from vmcompare.sandbox import (
    FIRST_BYTE_PROGRAM,
    Follower,
    HasChannels,
    Launcher,
    Machine,
    Migrates,
    Platform,
    Sandbox,
    Series,
    Spec,
)

MOVING = Series(Platform.VM_DIRECT, Machine.PC)
"""The VM that is moved: it has no disk, so nothing but its memory has to go along."""

COUNTING_S = 1.0
"""How long it counts before, and again after."""

CONTINUED = Series(Platform.CONTAINER, runtime="runc")
"""The container that is saved and continued: Docker itself calls its checkpoints experimental."""

_CHANNEL, _KEPT = "count", "/tmp/count"
VM = Spec(machine=MOVING.machine, memory_mib=256, channels=(_CHANNEL,))
_COUNT = "i=0; while :; do i=$((i+1)); echo $i; usleep 20000; done"


@dataclass(frozen=True, slots=True)
class Counted:
    """What was counted on either side of a move.

    Attributes:
        before, after: the numbers, in the order in which they came.
        pause_s: how long a VM ran nowhere.
    """

    before: tuple[int, ...]
    after: tuple[int, ...]
    pause_s: float = 0.0

    @property
    def goes_on(self) -> bool:
        """Whether every number from 1 came once and in order, some of them on either side."""
        every = self.before + self.after
        return bool(self.before and self.after) and every == tuple(range(1, len(every) + 1))

    @property
    def starts_again(self) -> bool:
        """Whether the second side began at 1."""
        return bool(self.before and self.after) and self.after[0] == 1

    @property
    def text(self) -> str:
        """The last four numbers before, and the first after: ``"44 45 46 47 | 48 49 50 51"``."""
        ends = (self.before[-4:], self.after[:4])
        return " | ".join(" ".join(map(str, numbers)) for numbers in ends)


def moved(launcher: Launcher) -> Counted:
    """Move a VM while it counts.

    Raises:
        Unavailable: this launcher's VMs cannot be moved.
        VmcompareError: it does not start, or the move fails.
    """
    with launcher.open(VM, lambda _: None) as box:
        if not isinstance(box, Migrates) or not isinstance(box, HasChannels):
            raise Unavailable("this kind of instance cannot be moved", "use a VM without a disk")
        here = box.channel(_CHANNEL)
        box.run(["sh", "-c", f"({_COUNT}) >{here.path} 2>/dev/null </dev/null &"])
        time.sleep(COUNTING_S)
        with box.migrate() as there:
            time.sleep(COUNTING_S)
            assert isinstance(there.box, HasChannels)
            after = there.box.channel(_CHANNEL)
            # A line may have been cut in two by the move.
            first, rest = _waiting(here.host), _waiting(after.host)
    whole, cut = first.rpartition(b"\n")[::2]
    return Counted(_numbers(whole), _numbers(cut + rest), there.pause_s)


def created_again(launcher: Launcher) -> Counted:
    """Destroy a container that counts, and create it again. Raises what the launcher raises."""
    return Counted(_counted(launcher), _counted(launcher))


def continued(launcher: Launcher) -> tuple[Counted, str]:
    """Save a container that counts into a file, and continue it: the count, and by what program.

    Raises as :func:`moved`.
    """
    count = f"({_COUNT}) >{_KEPT} </dev/null &"
    line = f"exec 2>/dev/null\n{count}\nexec {FIRST_BYTE_PROGRAM}"
    with launcher.open(Spec(command=("sh", "-c", line)), lambda _: None) as box:
        if not isinstance(box, Migrates):
            raise Unavailable("this kind of container cannot be continued", "use runc, with CRIU")
        time.sleep(COUNTING_S)
        before = _kept(box)
        with box.migrate() as there:
            seen = _kept(there.box)
            time.sleep(COUNTING_S)
            after = _kept(there.box)
            goes_on = len(after) > len(seen) and after[: len(before)] == before
    return Counted(before, after[len(before) :] if goes_on else ()), there.by


def _kept(box: Sandbox) -> tuple[int, ...]:
    # The last line may be half written.
    return _numbers(box.run(["cat", _KEPT]).output.rpartition(b"\n")[0])


def _counted(launcher: Launcher) -> tuple[int, ...]:
    heard = bytearray()
    with launcher.open(Spec(), lambda _: None) as box:
        if not isinstance(box, Follower):
            raise Unavailable("nothing can be followed in this kind of instance", "use Docker")
        with box.follow(["sh", "-c", _COUNT], lambda piece, _: heard.extend(piece)):
            time.sleep(COUNTING_S)
    return _numbers(bytes(heard).rpartition(b"\n")[0])


def _waiting(channel: socket.socket) -> bytes:
    """What has arrived on a channel by now."""
    channel.setblocking(False)
    found = bytearray()
    try:
        while piece := channel.recv(1 << 16):
            found += piece
    except BlockingIOError:
        pass
    return bytes(found)


def _numbers(lines: bytes) -> tuple[int, ...]:
    """Raises ``VmcompareError`` for anything that is no number."""
    words = lines.decode(errors="replace").split()
    if not all(re.fullmatch(r"[0-9]{1,9}", word) for word in words):
        raise VmcompareError("what was counted are no numbers")
    return tuple(map(int, words))
