"""Identifies a process by its pid, when it started and the boot it belongs to.

So a process that was given the pid of one of ours by chance is spared. The moment is the kernel's
tick count where there is one (Linux): ``create_time()`` comes from the wall clock and moves with
it.
"""

from __future__ import annotations

import platform
import sys
from pathlib import Path


def boot() -> str:
    """This boot and process-id namespace: pids can be compared only where this is equal.

    Elsewhere than on Linux the boot time in minutes (seconds jitter by one).
    """
    try:
        boot_id = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot_id}.{Path('/proc/self/ns/pid').stat().st_ino}"
    except OSError:
        import psutil

        return f"{platform.node()}.{round(psutil.boot_time() / 60)}"


def started(pid: int) -> str | None:
    """When ``pid`` was started, in a form to compare for equality; ``None`` if it is not alive."""
    import psutil

    try:
        if sys.platform == "linux":
            stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
            state, *rest = stat.rpartition(")")[2].split()
            return None if state in "ZX" else rest[18]  # field 22 of proc(5): starttime
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else repr(process.create_time())
    except (OSError, psutil.Error):
        return None


def is_same_process(pid: int, start: str) -> bool:
    """Whether ``pid`` is alive and still the process that was ``started`` at ``start``."""
    return start != "" and started(pid) == start
