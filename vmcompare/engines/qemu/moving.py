"""A running guest that goes on in another QEMU: moved there, or cloned from one that was kept.

A moved VM goes over a pair of sockets that both are handed: no path and no port. Memory is sent
while the guest runs on; what it writes meanwhile is sent again; at last the guest is paused for a
moment, the rest is sent, and the other QEMU lets it run on.

The memory of a guest that was kept lies in a file without a name (``memfd_create(2)``). Each clone
maps that privately, so what it does not write to is shared by all. The state of processor and
devices, some 100 kB, lies in another one. Both go when the :class:`Snapshot` does, or this process:
nothing is left behind.
"""

from __future__ import annotations

import os
import socket
import weakref
from collections.abc import Iterator
from contextlib import contextmanager

from vmcompare.engines.qemu.binary import Qemu
from vmcompare.engines.qemu.boots import Boot
from vmcompare.engines.qemu.process import INCOMING, QemuProcess
from vmcompare.errors import LaunchFailure, Unavailable
from vmcompare.sandbox import Phase, Spec

MIGRATION_S = 120.0  # for a VM to move; 0.5 s is usual
_SPAWN_S = 30.0  # for a second QEMU to be there
_NO_LIMIT = 1 << 40  # bytes a second; QEMU's own limit is 128 MiB
_DOWNTIME_MS = 300  # QEMU's usual limit of the pause


@contextmanager
def migrated(source: QemuProcess) -> Iterator[tuple[QemuProcess, float]]:
    """Move the guest of ``source``, whose agents have greeted.

    Yields:
        Where it runs now (ended on leaving), and seconds of the pause.

    Raises:
        Unavailable: it has a disk.
        VmcompareError: the second QEMU does not start, or the move fails.
    """
    if source.has_disk:
        raise Unavailable(
            "a VM that runs on a disk moves only where both computers reach that disk",
            "move one without a disk: vm-direct",
        )
    with source.twin() as target:
        target.start()
        target.reached(Phase.SPAWN, "the start of a second QEMU", _SPAWN_S)
        ours, theirs = socket.socketpair()
        with ours, theirs:
            source.qmp.command("getfd", fdname="out", file=ours.fileno())
            target.qmp.command("getfd", fdname="in", file=theirs.fileno())
        limits = {"max-bandwidth": _NO_LIMIT, "downtime-limit": _DOWNTIME_MS}
        source.qmp.command("migrate-set-parameters", **limits)
        target.qmp.command("migrate-incoming", uri="fd:in")
        source.qmp.command("migrate", uri="fd:out")
        ends = ("completed", "failed", "cancelled")
        told = source.qmp.until("query-migrate", *ends, timeout_s=MIGRATION_S)
        if told["status"] != "completed":
            why = str(told.get("error-desc", "QEMU does not say why"))
            raise LaunchFailure("the VM could not be moved", source.command, why)
        target.qmp.until("query-status", "running", timeout_s=MIGRATION_S)
        target.agent.ask_whether_back()
        target.agent.greeted(MIGRATION_S)
        yield target, float(told["downtime"]) / 1e3
        target.stop()


class Snapshot:
    """A guest that is booted until both its agents have greeted, and kept.

    Raises ``Unavailable`` where this is not Linux, and what a start raises.
    """

    def __init__(self, qemu: Qemu, boot: Boot, spec: Spec) -> None:
        if not hasattr(os, "memfd_create"):
            raise Unavailable("a guest can be cloned on Linux only", "choose a cold start")
        self._qemu, self._boot, self._spec = qemu, boot, spec
        self._memory = os.memfd_create("vmcompare-memory")
        weakref.finalize(self, os.close, self._memory)
        self._state = os.memfd_create("vmcompare-state")
        weakref.finalize(self, os.close, self._state)
        with self._process(shared=True) as process:
            process.start()
            process.reached(Phase.FIRST_BYTE, "the first byte", boot.timeout_s)
            for agent in (process.agent, process.second):
                agent.greeted(boot.timeout_s)
            process.qmp.command("stop")
            _leave_memory_alone(process)
            process.qmp.command("getfd", fdname="state", file=self._state)
            process.qmp.command("migrate", uri="fd:state")
            ends = ("completed", "failed")
            told = process.qmp.until("query-migrate", *ends, timeout_s=boot.timeout_s)
            if told["status"] != "completed":
                raise LaunchFailure("QEMU cannot keep a guest", process.command, process.console())
            process.stop()

    def clone(self) -> QemuProcess:
        """A process, not started yet, to be handed to :meth:`resume` once it has spawned."""
        return self._process(*INCOMING, shared=False)

    def resume(self, process: QemuProcess) -> int:
        """Load the state and let the guest run; when its agent said so (host, ns)."""
        _leave_memory_alone(process)
        state = os.open(f"/proc/self/fd/{self._state}", os.O_RDONLY)  # at an offset of its own
        try:
            process.qmp.command("getfd", fdname="state", file=state)
        finally:
            os.close(state)
        process.qmp.command("migrate-incoming", uri="fd:state")
        process.qmp.until("query-status", "paused", "running", timeout_s=self._boot.timeout_s)
        process.qmp.command("cont")
        process.agent.ask_whether_back()
        return process.agent.greeted(self._boot.timeout_s)

    def _process(self, *more: str, shared: bool) -> QemuProcess:
        path, share = f"/proc/self/fd/{self._memory}", "on" if shared else "off"
        memory = f"memory-backend-file,id=memory,size={self._spec.memory_mib}M"
        memory += f",mem-path={path},share={share}"
        options = ("-object", memory, "-machine", "memory-backend=memory", *more)
        files = (self._memory,)
        return QemuProcess(self._qemu, self._boot, self._spec, options, files)


def _leave_memory_alone(process: QemuProcess) -> None:
    """Keep and load only the state: the memory is in its file already."""
    capability = {"capability": "x-ignore-shared", "state": True}
    process.qmp.command("migrate-set-capabilities", capabilities=[capability])
