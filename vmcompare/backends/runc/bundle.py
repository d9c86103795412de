"""An OCI bundle: what :class:`vmcompare.sandbox.Spec` means to runc.

Format: the Open Container Initiative's runtime specification 1.0, ``config.json``. Capabilities,
masked and read-only paths are Docker's defaults (moby, ``oci/caps/defaults.go`` and
``oci/defaults.go``), so that the two differ in the manager and not in what is asked of the kernel.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vmcompare.backends.bare import ENVIRONMENT
from vmcompare.backends.docker.options import CPU_PERIOD_US, PIDS_LIMIT
from vmcompare.sandbox import Confinement, Spec
from vmcompare.units import MIB

CAPABILITIES: Sequence[str] = (
    "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FSETID", "CAP_FOWNER", "CAP_MKNOD", "CAP_NET_RAW",
    "CAP_SETGID", "CAP_SETUID", "CAP_SETFCAP", "CAP_SETPCAP", "CAP_NET_BIND_SERVICE",
    "CAP_SYS_CHROOT", "CAP_KILL", "CAP_AUDIT_WRITE",
)  # fmt: skip

_MASKED = (
    "/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
    "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/sys/firmware",
)  # fmt: skip
_READ_ONLY = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")

_MOUNTS: Sequence[tuple[str, str, str]] = (
    ("/proc", "proc", "nosuid,noexec,nodev"),
    ("/dev", "tmpfs", "nosuid,strictatime,mode=755,size=65536k"),
    ("/dev/pts", "devpts", "nosuid,noexec,newinstance,ptmxmode=0666,mode=0620,gid=5"),
    ("/dev/shm", "tmpfs", "nosuid,noexec,nodev,mode=1777,size=65536k"),
    ("/dev/mqueue", "mqueue", "nosuid,noexec,nodev"),
    ("/sys", "sysfs", "nosuid,noexec,nodev,ro"),
    ("/sys/fs/cgroup", "cgroup", "nosuid,noexec,nodev,relatime,ro"),
    ("/tmp", "tmpfs", "nosuid,nodev,mode=1777"),
)
"""Where, file system, options. All but the last are Docker's; /tmp is there as the root is not."""

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
    held = [] if spec.confinement is Confinement.NO_CAPABILITIES else list(CAPABILITIES)
    spaces = ["pid", "network", "ipc", "uts", "mount"]
    if cgroup_version == 2:  # as Docker does: private on v2, the host's on v1
        spaces.append("cgroup")
    return {
        "ociVersion": "1.0.2",
        "process": {
            "terminal": False,
            "user": {"uid": 0, "gid": 0},
            "args": list(spec.command),
            "env": [f"{key}={value}" for key, value in ENVIRONMENT.items()],
            "cwd": "/",
            "capabilities": dict.fromkeys(("bounding", "effective", "permitted"), held),
        },
        "root": {"path": str(root), "readonly": True},
        "hostname": "bare",
        "mounts": [
            {"destination": place, "type": kind, "source": kind, "options": options.split(",")}
            for place, kind, options in _MOUNTS
        ],
        "linux": {
            "cgroupsPath": f"/{name}",
            "namespaces": [{"type": space} for space in spaces],
            "resources": {"devices": [{"allow": False, "access": "rwm"}], **_limits(spec)},
            "maskedPaths": list(_MASKED),
            "readonlyPaths": list(_READ_ONLY),
        },
    }


def _limits(spec: Spec) -> Mapping[str, Any]:
    """The same as Docker is given (``backends.docker.options``)."""
    memory: dict[str, int] = {"limit": spec.memory_mib * MIB}
    if _SWAP.exists() or not _SWAP.parent.exists():
        memory["swap"] = spec.memory_mib * MIB  # of memory and swap together
    return {
        "memory": memory,
        "cpu": {"period": CPU_PERIOD_US, "quota": spec.vcpus * CPU_PERIOD_US},
        "pids": {"limit": PIDS_LIMIT},
    }
