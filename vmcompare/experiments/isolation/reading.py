"""What an instance reads about itself: namespaces, rights, devices, and which kernel answers it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from vmcompare.errors import Unavailable

KINDS: tuple[str, ...] = ("mnt", "uts", "ipc", "pid", "net", "cgroup", "user", "time")
"""Kinds of namespaces, by their names in ``/proc/self/ns``."""

END = "end-of-reading"
"""The script's last line; what follows it is no text of its."""

SCRIPT = rf"""
cd /proc/self/ns && stat -L -c "ns %n %i" {" ".join(KINDS)} 2>/dev/null; cd /
while read -r key value rest; do
  case $key in CapEff:|Seccomp:|NoNewPrivs:|Uid:) echo "status $key $value" ;; esac
done </proc/self/status
while read -r first outside count; do echo "map $first $outside $count"; done </proc/self/uid_map
read -r boot_id </proc/sys/kernel/random/boot_id && echo "boot $boot_id"
read -r release </proc/sys/kernel/osrelease && echo "release $release"
echo "swap $(cat /proc/sys/vm/swappiness)"
while read -r what place kind options rest; do
  [ "$place" = / ] && root=${{options%%,*}}
done </proc/mounts
echo "root $root"
for d in /sys/bus/pci/devices/*; do
  [ -r "$d/vendor" ] || continue
  read -r vendor <"$d/vendor"; read -r device <"$d/device"; read -r maker <"$d/subsystem_vendor"
  echo "pci ${{d##*/}} $vendor:$device $maker"
done
for b in /sys/block/*; do
  [ -r "$b/dev" ] && read -r number <"$b/dev" && echo "disk ${{b##*/}} $number"
done
set -- /proc/[0-9]*; echo "processes $#"
echo {END}
"""
"""For any POSIX shell. It starts few programs: that is what takes time in an emulated guest."""

_VIRTUAL_MAKERS = frozenset({"0x1af4", "0x1b36", "0x1234"})
"""PCI vendors of devices that exist in software only: Red Hat (virtio, QEMU) and QEMU's display."""


@dataclass(frozen=True, slots=True)
class Device:
    """A PCI device: its address, ``vendor:device`` and whether it is known to be virtual."""

    address: str
    kind: str
    is_virtual: bool


@dataclass(frozen=True, slots=True)
class Reading:
    """What an instance read.

    Attributes:
        namespaces: kind → inode number; kinds that this kernel does not have are not there.
        capabilities: the effective ones, as the 16 hexadecimal digits of ``CapEff``.
        seccomp: 0 none, 1 strict, 2 a filter.
        no_new_privileges: 0 or 1.
        uid: the user, as seen inside; ``user_map`` are lines of ``uid_map``: first number inside,
            first outside, how many.
        boot_id, release: of the kernel that answered.
        swappiness: a kernel setting that no namespace keeps apart.
        root: ``"rw"`` or ``"ro"``.
        devices: PCI devices seen; ``disks`` are block devices seen, name → ``major:minor``.
        processes: how many are seen.
    """

    namespaces: Mapping[str, int]
    capabilities: str
    seccomp: int
    no_new_privileges: int
    uid: int
    user_map: tuple[tuple[int, int, int], ...]
    boot_id: str
    release: str
    swappiness: str
    root: str
    devices: tuple[Device, ...]
    disks: Mapping[str, str]
    processes: int

    @property
    def outer_uid(self) -> int | None:
        """The user as the initial namespace knows it; ``None`` where it is none of its."""
        for inside, outside, count in self.user_map:
            if inside <= self.uid < inside + count:
                return outside + self.uid - inside
        return None


def understood(said: str) -> Reading:
    """The reading in what the script printed.

    Raises:
        Unavailable: it is not whole.
    """
    lines = [line.split() for line in said.splitlines() if line.strip()]
    if [END] not in lines:
        raise Unavailable("an instance did not say all that was asked of it", "look at a recording")
    told: dict[str, list[list[str]]] = {}
    for first, *rest in lines:
        told.setdefault(first, []).append(rest)
    try:
        status = {line[0]: line[1] for line in told["status"]}
        return Reading(
            namespaces={kind: int(inode) for kind, inode in told.get("ns", [])},
            capabilities=status["CapEff:"],
            seccomp=int(status.get("Seccomp:", "0")),
            no_new_privileges=int(status.get("NoNewPrivs:", "0")),
            uid=int(status["Uid:"]),
            user_map=tuple((int(a), int(b), int(n)) for a, b, n in told["map"]),
            boot_id=told["boot"][0][0],
            release=told["release"][0][0],
            swappiness=told.get("swap", [["unknown"]])[0][0],
            root=told["root"][0][0],
            devices=tuple(
                Device(address, kind, not _VIRTUAL_MAKERS.isdisjoint((kind.split(":")[0], maker)))
                for address, kind, maker in told.get("pci", [])
            ),
            disks={line[0]: line[1] for line in told.get("disk", [])},
            processes=int(told["processes"][0][0]),
        )
    except (KeyError, ValueError, IndexError) as error:
        raise Unavailable(
            f"an instance's answer cannot be understood ({error})", "look at a recording"
        ) from error


def shared_devices(host: Reading, inside: Reading) -> list[Device]:
    """Devices of the host's that an instance sees too: same address, vendor and device number.

    Where both are known to be virtual they are not told apart by these numbers (a host that is a
    virtual machine itself has a virtio disk of its own), so such a pair is not counted.
    """
    seen = {(one.address, one.kind): one for one in inside.devices}
    return [
        one
        for one in host.devices
        if (found := seen.get((one.address, one.kind)))
        and not (one.is_virtual and found.is_virtual)
    ]
