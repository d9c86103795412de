"""What a :class:`vmcompare.sandbox.Spec` means in Docker's terms."""

from __future__ import annotations

from typing import Any

from vmcompare.engines.images.oci import CPU_PERIOD_US
from vmcompare.sandbox import Confinement, Spec

PIDS_LIMIT = 512
"""Processes a container may have: enough for every exercise, too few for a fork bomb to hurt."""


def host_options(spec: Spec) -> dict[str, Any]:
    """What ``spec`` means in Docker's terms: the host configuration."""
    memory = spec.memory_bytes
    options: dict[str, Any] = {
        "auto_remove": True,
        "init": True,  # PID 1 ignores signals unless it handles them: leave that to docker-init
        "network_mode": "default" if spec.network else "none",
        "mem_limit": memory,
        "memswap_limit": memory,  # or a container could use as much again in swap
        # update() knows these two but not nano_cpus: the same pair throughout.
        "cpu_period": CPU_PERIOD_US,
        "cpu_quota": spec.vcpus * CPU_PERIOD_US,
        "pids_limit": PIDS_LIMIT,
    }
    if spec.sysctls:
        options["sysctls"] = dict(spec.sysctls)
    if spec.runtime:
        options["runtime"] = spec.runtime
    if spec.confinement is Confinement.NO_CAPABILITIES:
        options["cap_drop"] = ["ALL"]
    elif spec.confinement is Confinement.NO_SECCOMP:
        options["security_opt"] = ["seccomp=unconfined"]
    return options
