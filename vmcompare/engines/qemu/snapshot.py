"""A booted guest that was stopped and kept, and clones of it: copies that go on from there.

Its memory lies in a file without a name (``memfd_create(2)``). Each clone maps that privately, so
what it does not write to is shared by all. The state of processor and devices, some 100 kB, lies in
another one. Both go when the :class:`Snapshot` does, or this process: nothing is left behind.
"""

from __future__ import annotations

import os
import weakref

from vmcompare.engines.qemu.accel import Accelerator
from vmcompare.engines.qemu.binary import Qemu
from vmcompare.engines.qemu.boots import Boot
from vmcompare.engines.qemu.process import QemuProcess
from vmcompare.errors import LaunchFailure, Unavailable
from vmcompare.sandbox import Phase, Spec


class Snapshot:
    """A guest that is booted until both its agents have greeted, and kept.

    Raises ``Unavailable`` where this is not Linux, and what a start raises.
    """

    def __init__(self, qemu: Qemu, choice: Accelerator, boot: Boot, spec: Spec) -> None:
        if not hasattr(os, "memfd_create"):
            raise Unavailable("a guest can be cloned on Linux only", "choose a cold start")
        self._qemu, self._choice, self._boot, self._spec = qemu, choice, boot, spec
        self._memory = os.memfd_create("vmcompare-memory")
        weakref.finalize(self, os.close, self._memory)
        self._state = os.memfd_create("vmcompare-state")
        weakref.finalize(self, os.close, self._state)
        process = self._process(shared=True)
        try:
            process.start()
            process.reached(Phase.FIRST_BYTE, Phase.READY, timeout_s=boot.timeout_s)
            process.agent("second").greeted(boot.timeout_s)
            process.qmp.command("stop")
            _leave_memory_alone(process)
            process.qmp.command("getfd", fdname="state", file=self._state)
            process.qmp.command("migrate", uri="fd:state")
            ends = ("completed", "failed")
            told = process.qmp.until("query-migrate", *ends, timeout_s=boot.timeout_s)
            if told["status"] != "completed":
                raise LaunchFailure("QEMU cannot keep a guest", process.command, process.console())
            process.stop()
        finally:
            process.kill()

    def clone(self) -> QemuProcess:
        """A process, not started yet, to be handed to :meth:`resume` once it has spawned."""
        return self._process("-incoming", "defer", shared=False)

    def resume(self, process: QemuProcess) -> None:
        """Load the state and let the guest run; ``RESUMED`` comes when its agent says so."""
        _leave_memory_alone(process)
        state = os.open(f"/proc/self/fd/{self._state}", os.O_RDONLY)  # at an offset of its own
        try:
            process.qmp.command("getfd", fdname="state", file=state)
        finally:
            os.close(state)
        process.qmp.command("migrate-incoming", uri="fd:state")
        process.qmp.until("query-status", "paused", "running", timeout_s=self._boot.timeout_s)
        process.qmp.command("cont")
        process.agent().ask_whether_back()

    def _process(self, *more: str, shared: bool) -> QemuProcess:
        path, share = f"/proc/self/fd/{self._memory}", "on" if shared else "off"
        memory = f"memory-backend-file,id=memory,size={self._spec.memory_mib}M"
        memory += f",mem-path={path},share={share}"
        options = ("-object", memory, "-machine", "memory-backend=memory", *more)
        files = (self._memory,)
        return QemuProcess(self._qemu, self._choice, self._boot, self._spec, options, files)


def _leave_memory_alone(process: QemuProcess) -> None:
    """Keep and load only the state: the memory is in its file already."""
    capability = {"capability": "x-ignore-shared", "state": True}
    process.qmp.command("migrate-set-capabilities", capabilities=[capability])
