"""What one instance says of the kernel that answers it: the same questions on every platform."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from vmcompare.errors import Unavailable
from vmcompare.sandbox import Sandbox

NAMESPACES: tuple[str, ...] = ("pid", "net", "mnt", "user", "cgroup")

_SCRIPT = (
    r"""
PATH=$PATH:/usr/sbin:/usr/bin:/sbin:/bin
tell() { echo "$1=$2"; }
set -- /proc/[0-9]*
tell processes $#
tell release "$(uname -r)"
tell boot_id "$(cat /proc/sys/kernel/random/boot_id)"
tell uptime "$(cut -d ' ' -f 1 /proc/uptime)"
tell cmdline "$(cat /proc/cmdline)"
tell userland "$(. /etc/os-release; echo "$PRETTY_NAME")"
tell cpu "$(grep -m 1 '^model name' /proc/cpuinfo | cut -d : -f 2-)"
tell pci "$(ls /sys/bus/pci/devices 2>/dev/null | wc -l)"
tell blocks "$(ls /sys/block 2>/dev/null | sed 's/[0-9]*$//' | sort -u | tr '\n' ' ')"
tell pid1 "$(cat /proc/1/comm)"
"""
    + "\n".join(f'tell ns_{name} "$(readlink /proc/self/ns/{name})"' for name in NAMESPACES)
    + "\n"
)

_DIGITS = 6
"""Of a namespace's number that are shown; there are never a million of one kind."""

# A kernel's command line may name disks, addresses and tools; only these words are repeated.
_KNOWN_OPTIONS = (
    "quiet", "console", "root", "rootfstype", "ro", "rw", "init", "initrd", "panic", "reboot",
    "mitigations", "splash",
)  # fmt: skip


_KNOWN_FIRST = (
    "init", "systemd", "docker-init", "tini", "busybox", "openrc-init", "runit", "launchd", "sh",
    "bash",
)  # fmt: skip
"""Names of a first program that tell nothing about whose computer it is."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What an instance said of itself.

    Attributes:
        release, boot_id: of the kernel; the boot id is drawn at random when a kernel starts.
        uptime_s: seconds since that start.
        options: of its command line: how many there are, and the names of common ones.
        userland: what ``/etc/os-release`` calls the files around it.
        cpu: the processor's name.
        devices: number of PCI devices, and kinds of disks.
        first: name of process number 1.
        processes: how many it sees.
        namespaces: kind → end of the inode number, as text. Two equal numbers under two
            kernels are two namespaces: compare them together with the boot id.
    """

    release: str
    boot_id: str
    uptime_s: float
    options: str
    userland: str
    cpu: str
    devices: str
    first: str
    processes: int
    namespaces: Mapping[str, str]


def observe(box: Sandbox) -> Reading:
    """Ask an instance.

    Raises:
        Unavailable: its answer lacks what every Linux tells.
        AbnormalShutdown, WaitTimeout: as :meth:`Sandbox.run`.
    """
    done = box.run(["sh", "-c", _SCRIPT])
    return understood(done.output.decode(errors="replace"))


def understood(said: str) -> Reading:
    """The reading in what the script printed. Raises ``Unavailable`` where it is not whole."""
    told = dict(line.split("=", 1) for line in said.splitlines() if "=" in line)
    try:
        return Reading(
            release=told["release"],
            boot_id=told["boot_id"],
            uptime_s=float(told["uptime"]),
            options=options(told["cmdline"]),
            userland=told["userland"],
            cpu=" ".join(told["cpu"].split()) or "not told",
            devices=f"{told['pci'].strip()} PCI, disks {told['blocks'].strip() or 'none'}",
            first=told["pid1"] if told["pid1"] in _KNOWN_FIRST else "another program",
            processes=int(told["processes"]),
            namespaces={n: _number(told[f"ns_{n}"]) for n in NAMESPACES},
        )
    except (KeyError, ValueError) as error:
        raise Unavailable(
            f"an instance did not say all that was asked of it ({error})", "look at a recording"
        ) from error


def _number(link: str) -> str:
    """The last digits of an inode number: the first ones are the same for all namespaces."""
    digits = re.sub(r"\D", "", link)
    return f"…{digits[-_DIGITS:]}" if digits else "none"


def options(cmdline: str) -> str:
    """How many options a kernel's command line has, and the common ones among their names.

    No values: they name disks and paths. What follows ``--`` is for the first program.
    """
    words = cmdline.split(" -- ", 1)[0].split()
    names = dict.fromkeys(word.split("=", 1)[0] for word in words)
    known = [name for name in names if name in _KNOWN_OPTIONS]
    return f"{len(words)}" + (f": {', '.join(known[:2])} …" if known else "")
