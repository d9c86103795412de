"""What a ``CapEff`` says: one bit a capability, in the order of Linux's ``capability.h``."""

from __future__ import annotations

import re

from vmcompare.errors import Unavailable

NAMES: tuple[str, ...] = (
    "CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID",
    "SETPCAP", "LINUX_IMMUTABLE", "NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW",
    "IPC_LOCK", "IPC_OWNER", "SYS_MODULE", "SYS_RAWIO", "SYS_CHROOT", "SYS_PTRACE", "SYS_PACCT",
    "SYS_ADMIN", "SYS_BOOT", "SYS_NICE", "SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "MKNOD",
    "LEASE", "AUDIT_WRITE", "AUDIT_CONTROL", "SETFCAP", "MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG",
    "WAKE_ALARM", "BLOCK_SUSPEND", "AUDIT_READ", "PERFMON", "BPF", "CHECKPOINT_RESTORE",
)  # fmt: skip
"""Bit 0 first. Source: ``include/uapi/linux/capability.h`` of Linux 5.9 and later."""


def decoded(cap_eff: str) -> frozenset[str]:
    """The capabilities that a ``CapEff`` line of ``/proc/<pid>/status`` grants.

    Args:
        cap_eff: hexadecimal, as read; a bit beyond the last known name is called ``"bit 41"``.

    Raises:
        Unavailable: it is not hexadecimal, as what a stranger recorded may be.
    """
    if not re.fullmatch(r"[0-9a-fA-F]{1,32}", cap_eff.strip()):
        raise Unavailable("what was read of the capabilities is no number", "replay another run")
    bits = int(cap_eff, 16)
    names = (NAMES[n] if n < len(NAMES) else f"bit {n}" for n in range(bits.bit_length()))
    return frozenset(name for n, name in enumerate(names) if bits >> n & 1)


def ordered(names: frozenset[str]) -> list[str]:
    """In the order of their bits."""
    return sorted(names, key=lambda n: NAMES.index(n) if n in NAMES else len(NAMES))
