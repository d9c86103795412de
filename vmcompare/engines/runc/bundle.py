"""What :class:`vmcompare.sandbox.Spec` means to runc: an OCI bundle with Docker's defaults.

See :mod:`vmcompare.engines.images.oci` for the defaults. Two things are not Docker's: the root file
system is the shared userland itself, so it is read-only, and /tmp is a tmpfs, as the root cannot be
written.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vmcompare.engines.docker.options import PIDS_LIMIT
from vmcompare.engines.images.oci import CAPABILITIES, CPU_PERIOD_US, configuration
from vmcompare.sandbox import Confinement, Spec

_SWAP = Path("/sys/fs/cgroup/memory/memory.memsw.limit_in_bytes")
"""Exists on cgroup v1 where the kernel accounts swap; without it runc refuses a limit of both."""


def write(folder: Path, root: Path, spec: Spec, name: str, cgroup_version: int) -> None:
    """Write ``config.json`` into the new ``folder``.

    Args:
        folder: where the bundle is to lie.
        root: the unpacked root file system.
        spec: what is started; its limits and its confinement are heeded.
        name: of the container and of its cgroup.
        cgroup_version: 1 or 2, of this host.
    """
    folder.mkdir(mode=0o700)
    text = json.dumps(config(root, spec, name, cgroup_version))
    (folder / "config.json").write_text(text, encoding="utf-8")


def config(root: Path, spec: Spec, name: str, cgroup_version: int) -> dict[str, Any]:
    """The content of ``config.json``; arguments as in :func:`write`."""
    return configuration(
        str(root),
        spec.command,
        name,
        _limits(spec),
        capabilities=[] if spec.confinement is Confinement.NO_CAPABILITIES else CAPABILITIES,
        own_cgroups=cgroup_version == 2,  # as Docker does: private on v2, the host's on v1
        read_only=True,
    )


def _limits(spec: Spec) -> Mapping[str, Any]:
    """The same as Docker is given (``backends.docker.options``)."""
    memory: dict[str, int] = {"limit": spec.memory_bytes}
    if _SWAP.exists() or not _SWAP.parent.exists():
        memory["swap"] = spec.memory_bytes  # of memory and swap together
    return {
        "memory": memory,
        "cpu": {"period": CPU_PERIOD_US, "quota": spec.vcpus * CPU_PERIOD_US},
        "pids": {"limit": PIDS_LIMIT},
    }
