"""What the engine says of itself; :mod:`vmcompare.engines.cleanup.connection` reaches it."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from typing import Any

from vmcompare.engines.cleanup.connection import (
    REQUEST_TIMEOUT_S,
    EngineUnavailable,
    Trouble,
    classify,
    connect,
    endpoint,
    engine_errors,
    engine_info,
    plain,
    unavailable,
)
from vmcompare.errors import Unavailable
from vmcompare.sandbox import Availability

__all__ = [
    "PROBE_TIMEOUT_S",
    "REQUEST_TIMEOUT_S",
    "EngineUnavailable",
    "Trouble",
    "classify",
    "connect",
    "endpoint",
    "engine_errors",
    "engine_info",
    "plain",
    "probe",
    "unavailable",
]

PROBE_TIMEOUT_S = 10
"""Seconds an engine has to say who it is; 0.02 s is usual, a hung one never answers."""


def probe(timeout_s: int = PROBE_TIMEOUT_S) -> Availability:
    """Ask the engine who it is, within about ``timeout_s`` seconds. Raises nothing."""
    try:
        info = engine_info(connect(timeout_s))
    except Unavailable as missing:
        return Availability(ok=False, what=missing.what, next_step=missing.next_step)

    def told(key: str) -> str:
        return plain(info.get(key, ""))

    security = str(info.get("SecurityOptions"))
    return Availability(
        ok=True,
        version=told("ServerVersion"),
        details=(
            ("cgroup_version", told("CgroupVersion")),
            ("cgroup_driver", told("CgroupDriver")),
            ("storage_driver", told("Driver")),
            ("rootless", "yes" if "rootless" in security else "no"),
            ("seccomp", "yes" if "seccomp" in security else "no"),
            ("default_runtime", told("DefaultRuntime")),
            ("hidden_vm", "yes" if _in_hidden_vm(info) else "no"),
        ),
    )


def _in_hidden_vm(info: Mapping[str, Any]) -> bool:
    """Whether the engine runs under another kernel than ours (Docker Desktop, WSL, remote)."""
    return (
        platform.system() != "Linux"
        or "Docker Desktop" in str(info.get("OperatingSystem", ""))
        or info.get("KernelVersion") != platform.release()
    )
