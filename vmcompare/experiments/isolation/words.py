"""What a word of a ``docker run`` line means to runc: OCI configurations.

Docker's defaults (:mod:`vmcompare.engines.images.oci`) with a short call filter of our own; then
one word at a time is changed, as Docker changes it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from vmcompare.engines.images.oci import CAPABILITIES, CPU_PERIOD_US
from vmcompare.engines.images.oci import configuration as by_default
from vmcompare.errors import UnknownName
from vmcompare.evidence.units import MIB

IMAGE = "/c/image"
"""Where, in the guest, the root file system of all containers lies; put programs into it."""

IMAGE_OF_USER = "/c/image-of-user"
"""The same where a container's root is another user outside: the files belong to that one."""

FIRST_SUBORDINATE, _SUBORDINATES = 100_000, 65_536
"""What ``/etc/subuid`` gives a user on common distributions, and so to a rootless engine."""

FILTERED: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        **dict.fromkeys(
            ("fanotify_init", "fsconfig", "fsmount", "fsopen", "fspick", "lookup_dcookie", "mount",
             "mount_setattr", "move_mount", "open_tree", "quotactl", "setdomainname",
             "sethostname", "setns", "umount", "umount2", "unshare"),
            ("CAP_SYS_ADMIN",)),
        "bpf": ("CAP_SYS_ADMIN", "CAP_BPF"),
        "perf_event_open": ("CAP_SYS_ADMIN", "CAP_PERFMON"),
        "syslog": ("CAP_SYS_ADMIN", "CAP_SYSLOG"),
        **dict.fromkeys(("delete_module", "finit_module", "init_module"), ("CAP_SYS_MODULE",)),
        **dict.fromkeys(("kexec_file_load", "kexec_load", "reboot"), ("CAP_SYS_BOOT",)),
        **dict.fromkeys(("get_mempolicy", "mbind", "set_mempolicy"), ("CAP_SYS_NICE",)),
        **dict.fromkeys(("clock_adjtime", "clock_settime", "settimeofday"), ("CAP_SYS_TIME",)),
        **dict.fromkeys(("ioperm", "iopl"), ("CAP_SYS_RAWIO",)),
        "acct": ("CAP_SYS_PACCT",), "kcmp": ("CAP_SYS_PTRACE",),
        "open_by_handle_at": ("CAP_DAC_READ_SEARCH",), "vhangup": ("CAP_SYS_TTY_CONFIG",),
        **dict.fromkeys(
            ("add_key", "keyctl", "move_pages", "nfsservctl", "pivot_root", "request_key",
             "swapoff", "swapon", "sysfs", "uselib", "userfaultfd", "ustat"),
            ()),
    }
)  # fmt: skip
"""System call → the capabilities each of which lifts the filter from it (none: nothing does).

Source: https://docs.docker.com/engine/security/seccomp/ (the calls that its table lists as
blocked), with the capabilities of moby's ``profiles/seccomp/default.json``. Docker's profile names
what it allows and refuses all the rest; ours names what it refuses, so it is the wider one.
"""

_NEW_NAMESPACES = (
    0x00020000, 0x02000000, 0x04000000, 0x08000000, 0x10000000, 0x20000000, 0x40000000,
)  # fmt: skip
"""The ``CLONE_NEW…`` bits (Linux, ``sched.h``): mnt, cgroup, uts, ipc, user, pid, net."""

ALL_CAPABILITIES: Sequence[str] = (
    *CAPABILITIES, "CAP_DAC_READ_SEARCH", "CAP_LINUX_IMMUTABLE", "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN", "CAP_IPC_LOCK", "CAP_IPC_OWNER", "CAP_SYS_MODULE", "CAP_SYS_RAWIO",
    "CAP_SYS_PTRACE", "CAP_SYS_PACCT", "CAP_SYS_ADMIN", "CAP_SYS_BOOT", "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE", "CAP_SYS_TIME", "CAP_SYS_TTY_CONFIG", "CAP_LEASE", "CAP_AUDIT_CONTROL",
    "CAP_MAC_OVERRIDE", "CAP_MAC_ADMIN", "CAP_SYSLOG", "CAP_WAKE_ALARM", "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ", "CAP_PERFMON", "CAP_BPF", "CAP_CHECKPOINT_RESTORE",
)  # fmt: skip
"""The kernel's 41 capabilities (Linux 5.9 and later, ``linux/capability.h``)."""

_NOBODY = 65534

_WITHOUT_NAMESPACE = {
    "--pid=host": "pid",
    "--network=host": "network",
    "--ipc=host": "ipc",
    "--uts=host": "uts",
}

WORDS: tuple[str, ...] = (
    "", *_WITHOUT_NAMESPACE, "--cap-add=SYS_ADMIN", "--security-opt=seccomp=unconfined",
    "--security-opt=systempaths=unconfined", "--device-cgroup-rule='b *:* rmw'", "-v /:/host",
    "--privileged", "--cap-drop=ALL", "--user=65534", "--read-only",
    "--security-opt=no-new-privileges", "--userns",
)  # fmt: skip
"""The one word that differs, weakenings before hardenings; empty: the defaults."""


def configuration(
    word: str = "",
    *,
    args: Sequence[str],
    memory_mib: int | None = None,
    pids: int | None = None,
    cpus: float | None = None,
) -> dict[str, Any]:
    """An OCI configuration: Docker's defaults with one ``docker run`` word changed.

    Args:
        word: of :data:`WORDS`.
        args: argv of the first program; its standard output is the line's that starts it.
        memory_mib, pids, cpus: limits, as ``--memory``, ``--pids-limit``, ``--cpus``; ``None``: no
            limit. The cgroup's name is the container's: see :func:`nested.write`.

    Raises:
        UnknownName: there is no such word.
    """
    if word not in WORDS:
        raise UnknownName("word", word, WORDS)
    held = ALL_CAPABILITIES if word == "--privileged" else CAPABILITIES
    if word == "--cap-add=SYS_ADMIN":
        held = (*CAPABILITIES, "CAP_SYS_ADMIN")
    elif word == "--cap-drop=ALL":
        held = ()
    made = by_default(
        IMAGE_OF_USER if word == "--userns" else IMAGE,
        args,
        "unnamed",
        _limits(memory_mib, pids, cpus),
        capabilities=held,
        own_cgroups=True,
        read_only=word == "--read-only",
    )
    if word not in ("--security-opt=seccomp=unconfined", "--privileged"):
        made["linux"]["seccomp"] = call_filter(held)
    _change(word, made)
    return made


def _limits(memory_mib: int | None, pids: int | None, cpus: float | None) -> dict[str, Any]:
    limits: dict[str, Any] = {}
    if memory_mib is not None:
        limits["memory"] = {"limit": memory_mib * MIB}
    if pids is not None:
        limits["pids"] = {"limit": pids}
    if cpus is not None:
        limits["cpu"] = {"period": CPU_PERIOD_US, "quota": round(cpus * CPU_PERIOD_US)}
    return limits


def _change(word: str, made: dict[str, Any]) -> None:
    """What a word changes beside capabilities, filter and root file system."""
    linux, process = made["linux"], made["process"]
    if word in _WITHOUT_NAMESPACE:
        kind = _WITHOUT_NAMESPACE[word]
        linux["namespaces"] = [space for space in linux["namespaces"] if space["type"] != kind]
        if kind == "uts":
            del made["hostname"]
    elif word == "--security-opt=systempaths=unconfined":
        linux["maskedPaths"] = linux["readonlyPaths"] = []
    elif word.startswith("--device-cgroup-rule"):
        rule = {"allow": True, "type": "b", "access": "rwm"}
        linux["resources"]["devices"].append(rule)
    elif word == "-v /:/host":
        bind = {"destination": "/host", "type": "none", "source": "/"}
        made["mounts"].append({**bind, "options": ["rbind", "rprivate"]})
    elif word == "--privileged":
        linux["maskedPaths"] = linux["readonlyPaths"] = []
        linux["resources"]["devices"].append({"allow": True, "access": "rwm"})
        for mount in made["mounts"]:
            mount["options"] = [option for option in mount["options"] if option != "ro"]
    elif word == "--user=65534":
        process["user"] = {"uid": _NOBODY, "gid": _NOBODY}
        process["capabilities"] |= {"effective": [], "permitted": []}
    elif word == "--security-opt=no-new-privileges":
        process["noNewPrivileges"] = True
    elif word == "--userns":
        linux["namespaces"].append({"type": "user"})
        mapping = {
            "containerID": 0, "hostID": FIRST_SUBORDINATE, "size": _SUBORDINATES,
        }  # fmt: skip
        linux["uidMappings"] = linux["gidMappings"] = [mapping]


def call_filter(held: Sequence[str]) -> dict[str, Any]:
    """The part ``linux.seccomp``: everything is let through but what :data:`FILTERED` names."""
    refused = sorted(call for call, by in FILTERED.items() if not set(by) & set(held))
    calls: list[dict[str, Any]] = [{"names": refused, "action": "SCMP_ACT_ERRNO"}]
    if "CAP_SYS_ADMIN" not in held:
        # clone is refused with any of those bits; clone3, whose bits lie in memory where a filter
        # cannot look, is said not to exist, and libraries fall back to clone. So does Docker's.
        calls += [
            {
                "names": ["clone"],
                "action": "SCMP_ACT_ERRNO",
                "args": [{"index": 0, "value": bit, "valueTwo": bit, "op": "SCMP_CMP_MASKED_EQ"}],
            }
            for bit in _NEW_NAMESPACES
        ]
        calls.append({"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38})
    return {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": calls}
