"""System calls by name: their numbers differ from one kind of processor to another.

Sources: Linux 6.18, ``arch/x86/entry/syscalls/syscall_64.tbl`` and ``scripts/syscall.tbl`` (arm64).
"""

from __future__ import annotations

from collections.abc import Mapping

X86_64: Mapping[str, int] = {
    "read": 0, "write": 1, "close": 3, "shmget": 29, "shmctl": 31, "nanosleep": 35, "getpid": 39,
    "socket": 41, "connect": 42, "kill": 62, "fchown": 93, "syslog": 103, "getppid": 110,
    "setpriority": 141, "prctl": 157, "chroot": 161, "acct": 163, "settimeofday": 164,
    "mount": 165, "swapon": 167, "reboot": 169, "sethostname": 170, "ioperm": 173,
    "init_module": 175, "exit_group": 231, "kexec_load": 246, "add_key": 248, "keyctl": 250,
    "openat": 257, "mkdirat": 258, "mknodat": 259, "unlinkat": 263, "faccessat": 269,
    "unshare": 272, "perf_event_open": 298, "open_by_handle_at": 304, "setns": 308,
    "memfd_create": 319, "bpf": 321, "userfaultfd": 323,
}  # fmt: skip

ARM64: Mapping[str, int] = {
    "mknodat": 33, "mkdirat": 34, "unlinkat": 35, "mount": 40, "faccessat": 48, "chroot": 51,
    "fchown": 55, "openat": 56, "close": 57, "read": 63, "write": 64, "acct": 89,
    "exit_group": 94, "unshare": 97, "nanosleep": 101, "kexec_load": 104, "init_module": 105,
    "syslog": 116, "kill": 129, "setpriority": 140, "reboot": 142, "sethostname": 161,
    "prctl": 167, "settimeofday": 170, "getpid": 172, "getppid": 173, "shmget": 194, "shmctl":
    195, "socket": 198, "connect": 203, "add_key": 217, "keyctl": 219, "swapon": 224,
    "perf_event_open": 241, "open_by_handle_at": 265, "setns": 268, "memfd_create": 279,
    "bpf": 280, "userfaultfd": 282,
}  # fmt: skip
"""Of each kind of processor those that the course makes."""

NUMBERS: Mapping[str, Mapping[str, int]] = {
    "x86_64": X86_64,
    "amd64": X86_64,
    "aarch64": ARM64,
    "arm64": ARM64,
}
"""``platform.machine()``, in small letters → the numbers."""
