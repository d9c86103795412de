"""Open Container Initiative formats in plain Python: image layers and container configurations.

*Image layer* (Image Format Specification 1.1, ``layer.md`` and ``config.md``): a tar. Its *diff id*
is the SHA-256 of it; a registry stores it compressed and names that by a digest of its own.

*Runtime configuration* (Runtime Specification 1.0, ``config.json``): what a container is asked for
when no engine stands in between. Capabilities, masked and read-only paths and mounts are Docker's
defaults (moby, ``oci/caps/defaults.go`` and ``oci/defaults.go``), so that it differs from Docker's
in the manager and not in what is asked of the kernel. Docker's call filter is not among them.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

GZIP_LEVEL = 6  # gzip's usual one, and that of `docker push`


def layer(files: Mapping[str, bytes]) -> bytes:
    """A layer with these files (absolute path → content), their folders before them, as a tar.

    Owner root, mode 755, time 0 and sorted names: the same files always give the same bytes.
    """
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for path in sorted({p for name in files for p in _parents(name)} | set(files)):
            info = tarfile.TarInfo(path.lstrip("/"))
            info.mode = 0o755
            if path in files:
                info.size = len(files[path])
                tar.addfile(info, io.BytesIO(files[path]))
            else:
                info.type = tarfile.DIRTYPE
                tar.addfile(info)
    return packed.getvalue()


def digest(data: bytes) -> str:
    """``sha256:`` and 64 hexadecimal digits: how images, layers and manifests are named."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def compressed(data: bytes) -> bytes:
    return gzip.compress(data, GZIP_LEVEL, mtime=0)


def _parents(path: str) -> set[str]:
    return {str(parent) for parent in PurePosixPath(path).parents} - {"/", "."}


CPU_PERIOD_US = 100_000  # for CPU limits: the kernel's and Docker's default
ENVIRONMENT: Mapping[str, str] = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/tmp",
}
"""Of every program inside; nothing of the learner's own environment gets in."""

CAPABILITIES: Sequence[str] = (
    "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FSETID", "CAP_FOWNER", "CAP_MKNOD", "CAP_NET_RAW",
    "CAP_SETGID", "CAP_SETUID", "CAP_SETFCAP", "CAP_SETPCAP", "CAP_NET_BIND_SERVICE",
    "CAP_SYS_CHROOT", "CAP_KILL", "CAP_AUDIT_WRITE",
)  # fmt: skip
"""The fourteen of the kernel's capabilities that Docker leaves a container."""

NAMESPACES: Sequence[str] = ("pid", "network", "ipc", "uts", "mount")
"""The kinds that Docker makes anew whatever the cgroup version, by their OCI names."""

MASKED: Sequence[str] = (
    "/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
    "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/sys/firmware",
)  # fmt: skip
"""What is covered, so that it cannot be read."""

READ_ONLY: Sequence[str] = (
    "/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger",
)  # fmt: skip
"""What cannot be written to."""

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
"""Where, file system, options. All but the last are Docker's."""


def configuration(
    root: str,
    args: Sequence[str],
    name: str,
    limits: Mapping[str, Any],
    *,
    capabilities: Sequence[str] = CAPABILITIES,
    own_cgroups: bool,
    read_only: bool,
) -> dict[str, Any]:
    """The content of ``config.json``.

    Args:
        root: path of the unpacked root file system, absolute or from the bundle's folder.
        args: argv of the first program.
        name: of the container's cgroup, just below the root.
        limits: the part ``linux.resources``, but for devices: Docker's default ones may be used.
        capabilities: that the first program holds.
        own_cgroups: whether it gets a cgroup namespace (Docker: on cgroup v2 only).
        read_only: whether the root file system is.
    """
    spaces = [*NAMESPACES, *(["cgroup"] if own_cgroups else [])]
    return {
        "ociVersion": "1.0.2",
        "process": {
            "terminal": False,
            "user": {"uid": 0, "gid": 0},
            "args": list(args),
            "env": [f"{key}={value}" for key, value in ENVIRONMENT.items()],
            "cwd": "/",
            "capabilities": {
                held: list(capabilities) for held in ("bounding", "effective", "permitted")
            },
        },
        "root": {"path": root, "readonly": read_only},
        "hostname": "bare",
        "mounts": [
            {"destination": place, "type": kind, "source": kind, "options": options.split(",")}
            for place, kind, options in _MOUNTS
        ],
        "linux": {
            "cgroupsPath": f"/{name}",
            "namespaces": [{"type": space} for space in spaces],
            "resources": {"devices": [{"allow": False, "access": "rwm"}], **limits},
            "maskedPaths": list(MASKED),
            "readonlyPaths": list(READ_ONLY),
        },
    }


def cgroup_version() -> int:
    """2 for the unified hierarchy, 1 for the older ones, 0 where there are none."""
    if Path("/sys/fs/cgroup/cgroup.controllers").exists():
        return 2
    return 1 if Path("/proc/self/cgroup").exists() else 0
