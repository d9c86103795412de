"""Facts of this machine that a reader needs to judge a figure. Nothing that names a person."""

from __future__ import annotations

import hashlib
import os
import platform
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import psutil

from vmcompare import __version__, engines
from vmcompare.engines.images.oci import cgroup_version
from vmcompare.errors import printable
from vmcompare.sandbox import Availability

T = TypeVar("T")


def facts(versions: Mapping[str, str], details: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
    """What a recording says of the machine it was made on.

    Args:
        versions: engine name → version, as probed.
        details: engine name → further facts from its probe.

    Returns:
        JSON-ready facts; sizes in bytes, load as the 1-minute average, where it is told.
        ``virtualised``: this system itself runs in a VM; ``virtualisation_flag``: the processor
        offers to run VMs. No user name, no host name, no path: a recording is shared with a class.
    """
    battery = _battery()
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
        "on_battery": battery,
        "python": platform.python_version(),
        "versions": {"vmcompare": __version__, **versions},
        "details": {name: dict(found) for name, found in details.items()},
    }


def facts_with(found: Mapping[str, Availability]) -> dict[str, Any]:
    """:func:`facts` of this machine and of the engines that were ``found`` on it."""
    return facts(
        {name: a.version for name, a in found.items() if a.ok and name != "process"},
        {name: dict(a.details) for name, a in found.items() if a.details},
    )


def report() -> dict[str, Any]:
    """What is on this computer, as ``vmcompare check --json`` prints it.

    Returns:
        JSON-ready: ``engines`` and ``runtimes`` (name → what its probe found), the ``accelerator``
        that was proved (null: none), why others were ``rejected``, and :func:`facts` as ``host``.
    """
    found, bare = engines.availability(), engines.runtime_availability()
    details = dict(found["qemu"].details)
    return {
        "engines": {
            name: {"platforms": [p.value for p in engines.ENGINES[name]], **_told(a)}
            for name, a in found.items()
        },
        "runtimes": {name: _told(a) for name, a in bare.items()},
        "accelerator": details.get("accelerator"),
        "rejected": {
            key.removeprefix("rejected "): why
            for key, why in details.items()
            if key.startswith("rejected ")
        },
        "host": facts({n: a.version for n, a in {**found, **bare}.items() if a.ok}, {}),
    }


def _told(found: Availability) -> dict[str, object]:
    """What a probe found."""
    return {
        "available": found.ok,
        "version": found.version,
        **({} if found.ok else {"what": found.what, "next_step": found.next_step}),
        "details": dict(found.details),
    }


def host_id() -> str:
    """A name for this machine that tells nothing about it: 12 hex digits of a salted hash."""
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
    for line in _read("/proc/cpuinfo").split("\n"):
        name, _, value = line.partition(":")
        if name.strip() == key:
            return printable(value.strip())
    return ""


def _cpu_model() -> str:
    return _cpuinfo("model name") or platform.processor() or platform.machine()


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


def _battery() -> bool | None:
    sensors = getattr(psutil, "sensors_battery", None)
    found = _asked(sensors) if sensors else None
    return None if found is None else not found.power_plugged


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
