"""The registered probes: what is tried in an instance, and what is read in it.

A probe is a short sequence of system calls (:mod:`vmcompare.engines.programs.calls`), or something
read. It asks for a permission and does not use it: invalid pointers, numbers that do not exist,
signal 0, files opened and not written to, one byte read. Each is harmless even where root asks.
``given`` names the errors that the kernel (sources of Linux 5.10 to 6.18) returns only *after* it
has checked the permission.

A call that succeeds in a VM reached the VM's own kernel and not the host: the boot id tells which
kernel it was, and the answer then reads "ok, by its own kernel".
"""

from __future__ import annotations

import os
import platform
import re
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from vmcompare.engines.programs import calls
from vmcompare.engines.programs.calls import BUFFER, Call, Result, has, written
from vmcompare.errors import Unavailable
from vmcompare.evidence.recording import Measurement
from vmcompare.measuring.experiment import failed, filled
from vmcompare.sandbox import Namespace, Sandbox

NAMESPACES = tuple(Namespace)
"""Kinds of namespaces: all that a kernel may have."""

END_OF_READING = "end-of-reading"
"""The last line that the script prints."""

READING = rf"""
cd /proc/self/ns && stat -L -c "%n namespace=%i" {" ".join(NAMESPACES)} 2>/dev/null; cd /
while read -r key value rest; do
  case $key in
    CapEff:) echo "capabilities=$value" ;;
    Seccomp:) echo "seccomp=$value" ;;
    NoNewPrivs:) echo "no new privileges=$value" ;;
    Uid:) echo "user=$value" ;;
  esac
done </proc/self/status
while read -r first outside count; do echo "map=$first $outside $count"; done </proc/self/uid_map
read -r boot_id </proc/sys/kernel/random/boot_id && echo "boot id=$boot_id"
read -r release </proc/sys/kernel/osrelease && echo "kernel release=$release"
echo "vm.swappiness=$(cat /proc/sys/vm/swappiness)"
while read -r what place kind options rest; do
  [ "$place" = / ] && root=${{options%%,*}}
done </proc/mounts
echo "root mount=$root"
for d in /sys/bus/pci/devices/*; do
  [ -r "$d/vendor" ] || continue
  read -r vendor <"$d/vendor"; read -r device <"$d/device"; read -r maker <"$d/subsystem_vendor"
  echo "pci=${{d##*/}} $vendor:$device $maker"
done
for b in /sys/block/*; do
  [ -r "$b/dev" ] && read -r number <"$b/dev" && echo "disk=${{b##*/}} $number"
done
set -- /proc/[0-9]*; echo "processes seen=$#"
echo {END_OF_READING}
"""
"""For any POSIX shell. It starts few programs, because that takes time in an emulated guest."""

_LISTS = ("map", "pci", "disk")
_NEEDED = ("capabilities", "user", "boot id", "kernel release", "root mount", "processes seen")
_VIRTUAL_MAKERS = frozenset({"0x1af4", "0x1b36", "0x1234"})
"""PCI vendors of devices that exist in software only: Red Hat (virtio, QEMU) and QEMU's display."""


@dataclass(frozen=True, slots=True)
class Device:
    """A PCI device: its address, ``vendor:device`` and whether it is known to be virtual."""

    address: str
    kind: str
    is_virtual: bool


@dataclass(frozen=True, slots=True)
class BoundaryReading:
    """What an instance read.

    Attributes:
        said: what was read (``"capabilities"``, ``"pid namespace"``, ``"boot id"`` …) → as printed.
        user_map: lines of ``uid_map``: first number inside, first outside, how many.
        devices: PCI devices seen.
        disks: block devices seen, name → ``major:minor``.
    """

    said: Mapping[str, str]
    user_map: tuple[tuple[int, int, int], ...]
    devices: tuple[Device, ...]
    disks: Mapping[str, str]

    @property
    def boot_id(self) -> str:
        """Which start of which kernel answered."""
        return self.said["boot id"]

    def namespace(self, kind: str) -> str | None:
        """The inode number of its namespace; ``None`` where this kernel has no such kind."""
        return self.said.get(f"{kind} namespace")

    @property
    def outer_uid(self) -> int | None:
        """The user's number outside its user namespace; ``None`` where it has none."""
        user = int(self.said["user"])
        for inside, outside, count in self.user_map:
            if inside <= user < inside + count:
                return outside + user - inside
        return None


def parse_reading(text: str) -> BoundaryReading:
    """The reading in what the script printed.

    Raises:
        Unavailable: it is not whole.
    """
    lines = [line.strip() for line in text.splitlines()]
    found: dict[str, list[str]] = {}
    for line in lines:
        what, is_told, value = line.partition("=")
        if is_told:
            found.setdefault(what, []).append(value)
    if END_OF_READING not in lines or not found.keys() >= set(_NEEDED):
        raise Unavailable("an instance did not say all that was asked of it", "look at a recording")
    several = {what: [line.split() for line in found.pop(what, [])] for what in _LISTS}
    try:
        return BoundaryReading(
            said={"seccomp": "0", "no new privileges": "0"}
            | {what: values[0] for what, values in found.items()},
            user_map=tuple((int(a), int(b), int(n)) for a, b, n in several["map"]),
            devices=tuple(
                Device(address, kind, not _VIRTUAL_MAKERS.isdisjoint((kind.split(":")[0], maker)))
                for address, kind, maker in several["pci"]
            ),
            disks=dict(several["disk"]),
        )
    except ValueError as error:
        raise Unavailable(
            f"an instance's answer cannot be understood ({error})", "look at a recording"
        ) from error


def shared_devices(host: BoundaryReading, inside: BoundaryReading) -> list[Device]:
    """Devices of the host's that an instance sees too: same address, vendor and device number.

    A pair of virtual devices is not counted: where the host is a VM itself, both have the same
    numbers (a virtio disk of the host's, say, and one of the VM's).
    """
    seen = {(one.address, one.kind): one for one in inside.devices}
    return [
        one
        for one in host.devices
        if (found := seen.get((one.address, one.kind)))
        and not (one.is_virtual and found.is_virtual)
    ]


CAPABILITY_NAMES: tuple[str, ...] = (
    "CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID",
    "SETPCAP", "LINUX_IMMUTABLE", "NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW",
    "IPC_LOCK", "IPC_OWNER", "SYS_MODULE", "SYS_RAWIO", "SYS_CHROOT", "SYS_PTRACE", "SYS_PACCT",
    "SYS_ADMIN", "SYS_BOOT", "SYS_NICE", "SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "MKNOD",
    "LEASE", "AUDIT_WRITE", "AUDIT_CONTROL", "SETFCAP", "MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG",
    "WAKE_ALARM", "BLOCK_SUSPEND", "AUDIT_READ", "PERFMON", "BPF", "CHECKPOINT_RESTORE",
)  # fmt: skip
"""Bit 0 first. Source: ``include/uapi/linux/capability.h`` of Linux 5.9 and later."""


def decoded_capabilities(cap_eff: str) -> tuple[str, ...]:
    """The capabilities that a ``CapEff`` line of ``/proc/<pid>/status`` grants, bit 0 first.

    A bit beyond the last known name is called ``"bit 41"``.

    Raises:
        Unavailable: the text is not hexadecimal.
    """
    if not re.fullmatch(r"[0-9a-fA-F]{1,32}", cap_eff.strip()):
        raise Unavailable("what was read of the capabilities is no number", "replay another run")
    bits = int(cap_eff, 16)
    names = dict(enumerate(CAPABILITY_NAMES))
    return tuple(names.get(n, f"bit {n}") for n in range(bits.bit_length()) if bits >> n & 1)


# ---- the probes ----------------------------------------------------------------------------------

HOST, ITSELF, NEIGHBOUR = "host", "itself", "neighbour"
"""What a probe is aimed at."""

OK, OWN_KERNEL, EMPTY = "ok", "ok, by its own kernel", "empty"

_HERE = -100  # AT_FDCWD: paths count from the working directory
_READ, _WRITE, _BOTH = 0, 1, 2  # O_RDONLY, O_WRONLY, O_RDWR
_CHARACTERS, _BLOCKS = 0o020400, 0o060400  # S_IFCHR, S_IFBLK; for nobody but the owner to read


@dataclass(frozen=True, slots=True)
class Targets:
    """What, on the host, probes are aimed at.

    Attributes:
        pid: of a process of the host.
        port: at which a program listens on the host's loopback address (IPv4).
        host_file: absolute path of a file that the host has and no image holds.
        root: where the host's root file system would be seen; ``"/host"`` but for the host itself.
        pci: address of a PCI device of the host; empty where it has none.
        disk: ``(major, minor)`` of a block device of the host; ``None`` where it has none.
        place: a name for a device node in /dev that nobody else uses.
    """

    pid: int
    port: int
    host_file: str
    root: str
    pci: str
    disk: tuple[int, int] | None
    place: str


Sequences = Callable[[Targets], Sequence[Call] | None]
"""The calls of a probe; ``None`` where there is nothing to aim at."""


@dataclass(frozen=True, slots=True)
class Probe:
    """One thing that is tried.

    Attributes:
        name: the row's ``phase``.
        boundary: what a default container has against it (``"capability"``, ``"mounts"`` …); the
            call filter only where nothing else is.
        aim: host, itself or neighbour.
        says: what is tried, in words.
        place: from 1 on, its place among the twelve that a lesson shows; 0 for all others.
        calls: how; ``None`` where the answer is read.
        reads: (reading of the instance, reading of its host) → whether it got through; ``None``
            where calls are made.
        given: errors that mean that the permission was there.
        at_least: what the last call must return to count as success (bytes read).
        named: whether the host must be known, to name something of it.
        otherwise: the answer where ``reads`` is false.
    """

    name: str
    boundary: str
    aim: str
    says: str
    place: int = 0
    calls: Sequences | None = None
    reads: Callable[[BoundaryReading, BoundaryReading], bool] | None = None
    given: frozenset[str] = frozenset()
    at_least: int = 0
    named: bool = False
    otherwise: str = "not there"

    def outcome(self, answer: int, *, own_kernel: bool) -> tuple[float, str]:
        """Value and text of a row, from the answer of its calls."""
        said = written(answer)
        if said == OK and answer < self.at_least:
            return 0.0, EMPTY
        if said != OK and said not in self.given:
            return 0.0, said
        return self._through(OK if said == OK else f"{OK} ({said})", own_kernel)

    def read_outcome(
        self, inside: BoundaryReading, host: BoundaryReading, *, own_kernel: bool
    ) -> tuple[float, str]:
        """Value and text of a row, from what an instance read."""
        assert self.reads is not None
        if not self.reads(inside, host):
            return 0.0, self.otherwise
        return self._through(OK, own_kernel)

    def _through(self, text: str, own_kernel: bool) -> tuple[float, str]:
        if own_kernel:
            return float(self.aim == ITSELF), OWN_KERNEL
        return 1.0, text


def _open(path: bytes, how: int, *more: Call) -> Sequences:
    return lambda _: [Call("openat", (_HERE, path, how)), *more]


def _one_byte(call: int = 0) -> Call:
    return Call("read", (Result(call), BUFFER, 1))


def _call(name: str, *args: int | bytes) -> Sequences:
    return lambda _: [Call(name, args)]


def _node(targets: Targets, kind: int, device: tuple[int, int], *more: Call) -> Sequence[Call]:
    """Make a device node, open it for reading, remove it."""
    major, minor = device
    number = major << 8 | minor & 0xFF | (minor & ~0xFF) << 12  # as the system call wants it
    path = f"/dev/{targets.place}".encode()
    return [
        Call("mknodat", (_HERE, path, kind, number)),
        Call("openat", (_HERE, path, _READ)),
        Call("unlinkat", (_HERE, path, 0), always=True),
        *more,
    ]


def _disk(targets: Targets) -> Sequence[Call] | None:
    return targets.disk and _node(targets, _BLOCKS, targets.disk, _one_byte(1))


def _memory_device(minor: int) -> Sequences:
    return lambda targets: _node(targets, _CHARACTERS, (1, minor))


def _connect(targets: Targets) -> Sequence[Call]:
    return connect((127, 0, 0, 1), targets.port)


def connect(address: tuple[int, ...], port: int) -> Sequence[Call]:
    """Calls that connect to a port (TCP over IPv4) and send nothing."""
    where = b"\x02\0" + port.to_bytes(2, "big") + bytes(address) + bytes(8)  # struct sockaddr_in
    return [Call("socket", (2, 1, 0)), Call("connect", (Result(0), where, 16))]


def _pci(targets: Targets) -> Sequence[Call] | None:
    path = f"/sys/bus/pci/devices/{targets.pci}/config".encode()
    return [Call("openat", (_HERE, path, _BOTH))] if targets.pci else None


def _host_file(targets: Targets) -> Sequence[Call]:
    path = os.fsencode(targets.root + targets.host_file)
    return [Call("openat", (_HERE, path, _READ)), _one_byte()]


def _same(kind: str) -> Callable[[BoundaryReading, BoundaryReading], bool]:
    """Whether a namespace is the host's. The initial ones have the same numbers in every kernel:
    see ``own_kernel`` of :meth:`Probe.read_outcome`."""
    return lambda inside, host: inside.namespace(kind) == host.namespace(kind)


def _namespace(kind: str, what: str) -> Probe:
    in_words = {"mnt": "mount", "net": "network"}.get(kind, kind)
    return Probe(f"namespace: {in_words}", "namespace", HOST, f"be in the host's {what}",
                 reads=_same(kind), named=True)  # fmt: skip


def _sees_devices(inside: BoundaryReading, host: BoundaryReading) -> bool:
    """Whether a device of the host's is listed there: the same address and numbers, or a disk of
    the same name and number."""
    listed = [{(one.address, one.kind) for one in who.devices} for who in (inside, host)]
    disks = [set(who.disks.items()) for who in (inside, host)]
    return bool(listed[0] & listed[1] or disks[0] & disks[1])


_HANDLE = (8).to_bytes(4, "little") + (0x7F).to_bytes(4, "little") + bytes(8)
"""A ``struct file_handle`` of a type that does not exist."""

_NONE = "none by default"
"""In place of a boundary."""

_ALL = (
    _namespace("pid", "list of processes"),
    _namespace("net", "network"),
    _namespace("ipc", "shared memory"),
    _namespace("uts", "host name"),
    _namespace("mnt", "list of mounts"),
    Probe("process: signal", "namespace", HOST, "signal a process of the host", 1,
          lambda targets: [Call("kill", (targets.pid, 0))], named=True),
    Probe("network: connect", "namespace", HOST, "connect to the host's loopback", 9,
          _connect, named=True),
    Probe("host file: read", "mounts", HOST, "read a file of the host", 2,
          _host_file, at_least=1, named=True),
    # MS_BIND without a source: refused, but only after the right to mount was checked.
    Probe("mount", "capability", HOST, "mount a file system", 5,
          _call("mount", 0, b"/", 0, 4096, 0), given=frozenset({"EINVAL"})),
    # Neither a time nor a zone is given: the right is checked, then nothing is set.
    Probe("clock: set", "capability", HOST, "set the clock", 0, _call("settimeofday", 0, 0)),
    Probe("module: load", "capability", HOST, "load a module into the kernel (of no bytes)", 0,
          _call("init_module", 1, 0, 1), given=frozenset({"ENOEXEC", "EFAULT"})),
    Probe("priority: raise", "capability", HOST, "raise its own priority", 10,
          _call("setpriority", 0, 0, -1)),
    Probe("restart", "capability", HOST, "restart the computer (with a wrong password)", 0,
          _call("reboot", 0, 0, 0, 0), given=frozenset({"EINVAL"})),
    Probe("file by number", "capability", HOST, "open any file by its number, past all paths", 0,
          _call("open_by_handle_at", _HERE, _HANDLE, 0),
          given=frozenset({"ESTALE", "EOPNOTSUPP"})),
    Probe("user namespace: make", "call filter", HOST, "make a user namespace", 11,
          _call("unshare", 0x10000000)),
    Probe("keyring", "call filter", HOST, "ask for the kernel's keyring", 6,
          _call("keyctl", 0, -3, 0), given=frozenset({"ENOKEY"})),
    Probe("bpf", "call filter", HOST, "hand the kernel a program (a command that is none)", 0,
          _call("bpf", 9999, 0, 0), given=frozenset({"EINVAL", "E2BIG", "EFAULT"})),
    Probe("userfaultfd", "call filter", HOST, "handle page faults (with unknown flags)", 0,
          _call("userfaultfd", 0x7FFFFFFF), given=frozenset({"EINVAL"})),
    Probe("kernel log: read", "capability", HOST, "read the last byte of the kernel's log", 0,
          _call("syslog", 3, BUFFER, 1)),
    Probe("kcore: read", "mounts", HOST, "read the kernel's memory (/proc/kcore)", 0,
          _open(b"/proc/kcore", _READ, _one_byte()), at_least=1),
    Probe("keys: read", "mounts", HOST, "list the kernel's keys", 3,
          _open(b"/proc/keys", _READ, _one_byte()), at_least=1),
    Probe("timers: read", "mounts", HOST, "list the kernel's timers (/proc/timer_list)", 0,
          _open(b"/proc/timer_list", _READ, _one_byte()), at_least=1),
    Probe("sysrq: write", "mounts", HOST, "open /proc/sysrq-trigger for writing", 0,
          _open(b"/proc/sysrq-trigger", _WRITE)),
    Probe("core pattern: write", "mounts", HOST, "change what runs after a crash", 4,
          _open(b"/proc/sys/kernel/core_pattern", _WRITE)),
    Probe("swappiness: write", "mounts", HOST, "open the setting vm.swappiness for writing", 0,
          _open(b"/proc/sys/vm/swappiness", _WRITE)),
    Probe("/sys: write", "mounts", HOST, "open a setting below /sys for writing", 0,
          _open(b"/sys/kernel/rcu_expedited", _WRITE)),
    Probe("disk: read", "device list", HOST, "read the host's disk", 7, _disk,
          at_least=1, named=True),
    Probe("memory: open", "device list", HOST, "open the memory as a device (/dev/mem)", 0,
          _memory_device(1)),
    Probe("kmsg: open", "device list", HOST, "open the kernel's log as a device (/dev/kmsg)", 0,
          _memory_device(11)),
    Probe("PCI: open", "mounts", HOST, "open a PCI device's registers for writing", 0, _pci,
          named=True),
    Probe("ports: use", "capability", HOST, "speak to hardware ports (ioperm)", 0,
          _call("ioperm", 0x80, 1, 1)),
    Probe("kernel: the host's", _NONE, HOST, "be answered by the host's kernel", 8,
          reads=lambda inside, host: inside.boot_id == host.boot_id, named=True, otherwise="no"),
    Probe("devices: see", _NONE, HOST, "see the names of the host's devices (/sys)",
          reads=_sees_devices, named=True),
    Probe("host's root", _NONE, HOST, "act as user 0 of the host", 12,
          reads=lambda inside, _: inside.outer_uid == 0, otherwise="no"),
    Probe("root files: write", _NONE, ITSELF, "write into /", 0,
          _call("faccessat", _HERE, b"/", 2)),
    Probe("set-uid: gain", _NONE, ITSELF, "gain rights by set-uid",
          reads=lambda inside, _: inside.said["no new privileges"] == "0", otherwise="no"),
    Probe("chroot", _NONE, ITSELF, "change its root directory", 0,
          _call("chroot", b"/")),
    Probe("raw socket", _NONE, ITSELF, "send raw packets", 0,
          _call("socket", 2, 3, 1)),
    Probe("neighbour: list", "namespace", NEIGHBOUR, "see the neighbour's process in the list"),
    Probe("neighbour: read", "mounts", NEIGHBOUR, "read a file that the neighbour wrote"),
    Probe("neighbour: kill", "namespace", NEIGHBOUR,
          "ask whether the neighbour's process may be ended"),
    Probe("neighbour: connect", "namespace", NEIGHBOUR, "connect to a program of the neighbour's"),
)  # fmt: skip

PROBES: Mapping[str, Probe] = {probe.name: probe for probe in _ALL}
"""All of them by name, in the order of the table."""

GRID: tuple[Probe, ...] = tuple(probe for probe in _ALL if probe.aim != NEIGHBOUR)
"""What one instance by itself can try."""

DEVICES = ("disk: read", "memory: open", "kmsg: open", "PCI: open", "ports: use")
"""What reaches for hardware, whichever boundary is against it."""

_FILTER = ("user namespace: make", "bpf")
_PATHS = ("keys: read", "timers: read", "sysrq: write", "core pattern: write", "swappiness: write")

FLIPS: Mapping[str, frozenset[str]] = {
    "--pid=host": frozenset({"namespace: pid", "process: signal"}),
    "--network=host": frozenset({"namespace: network", "network: connect"}),
    "--ipc=host": frozenset({"namespace: ipc"}),
    "--uts=host": frozenset({"namespace: uts"}),
    "--cap-add=SYS_ADMIN": frozenset({"mount", *_FILTER}),
    "--security-opt=seccomp=unconfined": frozenset({"keyring", *_FILTER}),
    "--security-opt=systempaths=unconfined": frozenset(_PATHS),
    "--device-cgroup-rule='b *:* rmw'": frozenset({"disk: read"}),
    "-v /:/host": frozenset({"host file: read"}),
    "--privileged": frozenset(
        {"mount", "clock: set", "module: load", "priority: raise", "restart", "file by number",
         "keyring", "kernel log: read", "/sys: write", *DEVICES, *_FILTER, *_PATHS}
    ),
    "--cap-drop=ALL": frozenset({"chroot", "raw socket"}),
    "--user=65534": frozenset({"host's root", "root files: write", "chroot", "raw socket"}),
    "--read-only": frozenset({"root files: write"}),
    "--security-opt=no-new-privileges": frozenset({"set-uid: gain"}),
    "--userns": frozenset({"host's root"}),
}  # fmt: skip
"""Flag of ``docker run`` → the probes whose outcome it is expected to change.

Registered before measuring, for x86-64 and the guest's kernel, Alpine's ``virt``: it has no
``/proc/kcore`` and no ``userfaultfd``, and its log needs ``CAP_SYSLOG`` (``kernel.dmesg_restrict``
is 1), so SYS_ADMIN lifts Docker's filter from that call and the kernel still refuses it. A first
version, before a trial run, had expected the log there and ``userfaultfd`` without the filter."""


def changed(before: Mapping[str, bool], after: Mapping[str, bool]) -> frozenset[str]:
    """The probes made both times (name → whether it got through) with another outcome."""
    return frozenset(name for name in before if before[name] != after.get(name, before[name]))


def possible(targets: Targets | None, machine: str) -> Mapping[str, Sequence[Call]]:
    """Probe of :data:`GRID` → its calls, of those that can be made by calls.

    Args:
        targets: what they are aimed at; ``None``, where the host is not known, leaves out those
            that are ``named``.
        machine: the processor, a ``platform.machine()`` value.
    """
    made = {
        probe.name: probe.calls(targets or _NOTHING)
        for probe in GRID
        if probe.calls is not None and (targets is not None or not probe.named)
    }
    return {name: calls for name, calls in made.items() if calls and has(machine, calls)}


_NOTHING = Targets(0, 0, "/", "", "", None, "vmcompare")


# ---- asking an instance --------------------------------------------------------------------------

PROGRAM = "/tmp/vmcompare-calls"
"""Where the program of system calls lies in an instance."""

CALLS_TIMEOUT_S = 120.0

_NOTHING_TO_AIM_AT = (
    "this probe cannot be made here: there is nothing of that kind on this computer"
)
_NO_HOST = "what it is aimed at cannot be named: the host was not asked"
_NO_DISK = ("ram", "loop", "zram", "sr", "fd", "dm-", "md", "nbd")
"""Beginnings of names of block devices that are no disks."""


@dataclass(frozen=True, slots=True)
class Response:
    """What an instance read, and probe → answer of the calls that were made in it."""

    reading: BoundaryReading
    answers: Mapping[str, int]


def read(box: Sandbox) -> BoundaryReading:
    """What an instance reads about itself.

    Raises:
        Unavailable: its answer is not whole.
        AbnormalShutdown, WaitTimeout: as :meth:`Sandbox.run`.
    """
    return parse_reading(box.run(["sh", "-c", READING]).output.decode(errors="replace"))


def make_calls(box: Sandbox, sequences: Sequence[Sequence[Call]]) -> tuple[int, ...]:
    """Make calls in an instance; one answer a sequence.

    Raises:
        Unavailable: the program did not run, or there is none for this processor.
        AbnormalShutdown, LaunchFailure, WaitTimeout: as :meth:`Sandbox.run` and ``put``.
    """
    box.put(PROGRAM, calls.elf(platform.machine(), sequences))
    done = box.run([PROGRAM], timeout_s=CALLS_TIMEOUT_S)
    return calls.decode(done.output, len(sequences))


def ask(box: Sandbox, targets: Targets | None) -> Response:
    """What an instance reads, and the answers to all probes that can be made in it.

    Raises:
        Unavailable, AbnormalShutdown, LaunchFailure, WaitTimeout: see :func:`read` and
            :func:`make_calls`.
    """
    reading = read(box)
    wanted = possible(targets, platform.machine())
    answers = make_calls(box, tuple(wanted.values()))
    return Response(reading, dict(zip(wanted, answers, strict=True)))


def targets(host: BoundaryReading, pid: int, port: int, host_file: str) -> Targets:
    """What probes of an instance are aimed at, on a host that read ``host``."""
    disks = [
        (int(major), int(minor))
        for name, number in host.disks.items()
        if not name.startswith(_NO_DISK)
        for major, minor in [number.split(":")]
    ]
    return Targets(
        pid=pid,
        port=port,
        host_file=host_file,
        root="/host",
        pci=host.devices[0].address if host.devices else "",
        disk=disks[0] if disks else None,
        place=f"vmcompare-{secrets.token_hex(8)}",
    )


def probe_rows(
    row: Measurement, response: Response, host: BoundaryReading | None, *, own_kernel: bool
) -> Iterator[Measurement]:
    """A row of every probe of the grid, each made of ``row``.

    ``host`` is what the host of the instance read, ``None`` where it was not asked; ``own_kernel``
    is whether another kernel than the host's answered.
    """
    reading = response.reading
    for probe in GRID:
        mine = replace(row, metric="probe", phase=probe.name)
        if probe.named and host is None:
            yield failed(mine, _NO_HOST)
            continue
        if probe.reads is not None:
            value, text = probe.read_outcome(reading, host or reading, own_kernel=own_kernel)
        elif probe.name in response.answers:
            value, text = probe.outcome(response.answers[probe.name], own_kernel=own_kernel)
        else:
            yield failed(mine, _NOTHING_TO_AIM_AT)
            continue
        yield filled(mine, value, text=text, guest_kernel=reading.said["kernel release"])


def observation_rows(row: Measurement, reading: BoundaryReading) -> Iterator[Measurement]:
    """What an instance read, in words; each row made of ``row``."""
    kinds = [device.kind.replace("0x", "") for device in reading.devices]
    disks = [name for name in reading.disks if not name.startswith(_NO_DISK)]
    observed = {
        **{f"{kind} namespace": "this kernel has none" for kind in NAMESPACES},
        **reading.said,
        "boot id": reading.boot_id[:8],
        "user map": "; ".join(" ".join(map(str, line)) for line in reading.user_map),
        "PCI devices seen": f"{len(kinds)}: {', '.join(kinds)}",
        "disks seen": ", ".join(disks) or "none",
    }
    del observed["user"]
    row = replace(row, metric="observation", guest_kernel=reading.said["kernel release"])
    return (filled(row, 1.0, phase=what, text=text) for what, text in observed.items())
