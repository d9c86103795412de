"""Two ways to move a VM: as a file that is booted elsewhere, and while it runs.

A running VM goes from one QEMU to another over a pair of sockets that both are handed: no path and
no port. Memory is sent while the guest runs on; what it writes meanwhile is sent again; at last the
guest is paused for a moment, the rest is sent, and the other QEMU lets it run on.
"""

from __future__ import annotations

import gzip
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from vmcompare.engines import cleanup
from vmcompare.engines.images import weigh
from vmcompare.engines.qemu import boots, contents, disks
from vmcompare.engines.qemu.accel import Accelerator
from vmcompare.engines.qemu.binary import Qemu
from vmcompare.engines.qemu.process import QemuProcess
from vmcompare.errors import LaunchFailure, Unavailable
from vmcompare.sandbox import Moved, Phase, Spec

MIGRATION_S = 120.0  # for a VM to move; 0.5 s is usual
_SPAWN_S = 30.0  # for a second QEMU to be there
START_S = 300.0  # for the moved disk's first byte
_NO_LIMIT = 1 << 40  # bytes a second; QEMU's own limit is 128 MiB
_DOWNTIME_MS = 300  # QEMU's usual limit of the pause


def move(qemu: Qemu, choice: Accelerator, spec: Spec, chain: Sequence[Path]) -> Moved:
    """A disk, made flat and packed; unpacked, and booted by another QEMU. ``chain``: lowest first.

    Raises what ``Launcher.open`` raises.
    """
    with cleanup.folder() as folder:
        parcel, disk = folder / "disk.gz", folder / "disk.img"
        began = time.perf_counter()
        with disks.opened(*chain) as raw:
            shipped_bytes = weigh.pack(weigh.disk_stream(raw), parcel)
            shipped_bytes += sum(piece.compressed_bytes for piece in contents.pieces_beside(raw))
            size, cluster_bytes = raw.size, raw.cluster_bytes
        saved = time.perf_counter()
        with gzip.open(parcel) as stream:
            weigh.write_disk(stream, disk, size, cluster_bytes)
        loaded = time.perf_counter()
        process = QemuProcess(qemu, choice, boots.as_made(disk, spec), spec)
        try:
            called_ns = time.perf_counter_ns()
            process.start()
            first = process.reached(Phase.FIRST_BYTE, timeout_s=START_S)
            start_s = (first.t_ns - called_ns) / 1e9
            process.stop()
        finally:
            process.kill()
    return Moved(shipped_bytes, saved - began, loaded - saved, start_s)


@contextmanager
def migrated(source: QemuProcess) -> Iterator[tuple[QemuProcess, float, float]]:
    """Move the guest of ``source``, whose agents have greeted.

    Yields:
        Where it runs now (ended on leaving), seconds of the whole move, and of its pause.

    Raises:
        Unavailable: it has a disk.
        VmcompareError: the second QEMU does not start, or the move fails.
    """
    if source.has_disk:
        raise Unavailable(
            "a VM that runs on a disk moves only where both computers reach that disk",
            "move one without a disk: vm-direct",
        )
    target = source.twin("-incoming", "defer")
    try:
        target.start()
        target.reached(Phase.SPAWN, timeout_s=_SPAWN_S)
        ours, theirs = socket.socketpair()
        with ours, theirs:
            source.qmp.command("getfd", fdname="out", file=ours.fileno())
            target.qmp.command("getfd", fdname="in", file=theirs.fileno())
        limits = {"max-bandwidth": _NO_LIMIT, "downtime-limit": _DOWNTIME_MS}
        source.qmp.command("migrate-set-parameters", **limits)
        target.qmp.command("migrate-incoming", uri="fd:in")
        began = time.perf_counter()
        source.qmp.command("migrate", uri="fd:out")
        ends = ("completed", "failed", "cancelled")
        told = source.qmp.until("query-migrate", *ends, timeout_s=MIGRATION_S)
        if told["status"] != "completed":
            why = str(told.get("error-desc", "QEMU does not say why"))
            raise LaunchFailure("the VM could not be moved", source.command, why)
        target.qmp.until("query-status", "running", timeout_s=MIGRATION_S)
        took_s = time.perf_counter() - began
        target.agent().ask_whether_back()
        target.reached(Phase.RESUMED, timeout_s=MIGRATION_S)
        yield target, took_s, float(told["downtime"]) / 1e3
        target.stop()
    finally:
        target.kill()
