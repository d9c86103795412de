"""This computer: facts that a reader needs to judge a figure, and whether it stood still meanwhile.

A time that is measured across a standstill (a laptop that was closed, a run that was stopped and
continued) looks valid but is not. A thread looks at the clock now and then; a look that comes far
too late means that nothing of this process ran meanwhile.
"""

from __future__ import annotations

import hashlib
import os
import platform
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self, TypeVar

import psutil

from vmcompare import __version__, engines
from vmcompare.engines.images.oci import cgroup_version
from vmcompare.errors import printable
from vmcompare.sandbox import Availability

T = TypeVar("T")


def facts(versions: Mapping[str, str], details: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
    """What a recording says of the computer it was made on.

    ``versions`` and ``details`` are those of engines, as probed. JSON-ready; what each fact means
    is told in ``evidence.schema``. No user name, no host name, no path: a recording is shared.
    """
    battery = _asked(getattr(psutil, "sensors_battery", lambda: None))
    load = _asked(lambda: round(psutil.getloadavg()[0], 2))
    return {
        "host_id": host_id(),
        "os": _os_name(),
        "kernel": platform.release(),
        "arch": platform.machine(),
        "cpu": _cpu_model(),
        "cores": _asked(psutil.cpu_count) or os.cpu_count() or 1,
        "memory_bytes": _asked(lambda: psutil.virtual_memory().total) or 0,
        "virtualisation_flag": _virtualisation_flag(),
        "virtualised": "hypervisor" in _cpu_flags() if platform.system() == "Linux" else None,
        "cgroup_version": cgroup_version(),
        "ksm": _read("/sys/kernel/mm/ksm/run") == "1",
        "governor": _read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        **({} if load is None else {"load_1min": load}),
        "on_battery": None if battery is None else not battery.power_plugged,
        "python": platform.python_version(),
        "versions": {"vmcompare": __version__, **versions},
        "details": {name: dict(found) for name, found in details.items()},
    }


def report() -> dict[str, Any]:
    """What is on this computer, as ``vmcompare check --json`` prints it."""
    found, bare = engines.availability(), engines.runtime_availability()
    details, no = dict(found["qemu"].details), "rejected "
    return {
        "engines": {
            name: {"platforms": [p.value for p in engines.ENGINES[name]], **_told(a)}
            for name, a in found.items()
        },
        "runtimes": {name: _told(a) for name, a in bare.items()},
        "accelerator": details.get("accelerator"),
        "rejected": {
            key.removeprefix(no): why for key, why in details.items() if key.startswith(no)
        },
        "host": facts({n: a.version for n, a in {**found, **bare}.items() if a.ok}, {}),
    }


def _told(found: Availability) -> dict[str, object]:
    return {
        "available": found.ok,
        "version": found.version,
        **({} if found.ok else {"what": found.what, "next_step": found.next_step}),
        "details": dict(found.details),
    }


def host_id() -> str:
    """A name for this computer that tells nothing about it: 12 hex digits of a salted hash."""
    seed = _read("/etc/machine-id") or f"{uuid.getnode():x}"
    return hashlib.sha256(f"vmcompare:{seed}:{_cpu_model()}".encode()).hexdigest()[:12]


def _os_name() -> str:
    if platform.system() != "Linux":
        return f"{platform.system()} {platform.release()}"
    try:
        return printable(platform.freedesktop_os_release().get("PRETTY_NAME", "Linux"))
    except (OSError, ValueError):  # there is none, or it is no UTF-8
        return "Linux"


def _cpuinfo(key: str) -> str:
    lines = (line.partition(":") for line in _read("/proc/cpuinfo").split("\n"))
    return next((value.strip() for name, _, value in lines if name.strip() == key), "")


def _cpu_model() -> str:
    return printable(_cpuinfo("model name")) or platform.processor() or platform.machine()


def _cpu_flags() -> frozenset[str]:
    return frozenset(_cpuinfo("flags").split())


def _virtualisation_flag() -> str | None:
    """``"vmx"`` (VT-x) or ``"svm"`` (AMD-V) where the processor shows it, ``""`` where it does not;
    ``None`` where that is not told (other systems and processors)."""
    if platform.system() != "Linux" or platform.machine() not in ("x86_64", "AMD64"):
        return None
    return next((flag for flag in ("vmx", "svm") if flag in _cpu_flags()), "")


def _asked(question: Callable[[], T]) -> T | None:
    """The answer; ``None`` where this system does not tell (a restricted ``/proc``)."""
    try:
        return question()
    except (psutil.Error, OSError, RuntimeError, ValueError, LookupError, NotImplementedError):
        return None


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


# ---- standstills -------------------------------------------------------------------------------

TICK_S = 0.1
"""Seconds between two looks. One takes a few µs of a processor, less than 0.01 % of the run."""

BOUND_S = 1.5
"""Seconds by which a look must be late to count. Tried: with 16 busy processes on 2 processors, and
a main thread that never paused, the latest of 300 looks came 0.52 s late."""

_CLOCK = getattr(time, "CLOCK_BOOTTIME", getattr(time, "CLOCK_MONOTONIC", None))
"""A clock that goes on while the computer is suspended, which Linux's CLOCK_MONOTONIC does not
(clock_gettime(2)); on macOS that one does."""


def now() -> float:
    """Seconds on a clock that goes on while the computer sleeps; its zero means nothing."""
    return time.monotonic() if _CLOCK is None else time.clock_gettime(_CLOCK)


class Standstills:
    """The standstills of this process; while inside, a thread notices them."""

    def __init__(self) -> None:
        self._lock, self._over = threading.Lock(), threading.Event()
        self._looked = now()
        self._found: list[tuple[float, float]] = []  # (when it ended, seconds)

    def _look(self) -> None:
        with self._lock:
            before, self._looked = self._looked, now()
            late = self._looked - before - TICK_S
            if late > BOUND_S:
                self._found.append((self._looked, late))

    def _watch(self) -> None:
        while not self._over.wait(TICK_S):
            self._look()

    def since(self, moment: float) -> float:
        """Seconds of all standstills that ended after ``moment`` (see :func:`now`), until now."""
        self._look()  # the watching thread may not have had its turn since the last one
        return sum(seconds for ended, seconds in self._found if ended > moment)

    def __enter__(self) -> Self:
        threading.Thread(target=self._watch, name="vmcompare standstills", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
