"""The registered probes (``data/probes.csv``): what is tried in an instance, and what is read.

A probe is a short sequence of system calls (:mod:`vmcompare.engines.programs.calls`), or something
read. It asks for a permission and does not use it: invalid pointers, numbers that do not exist,
signal 0, files opened and not written to, one byte read. Each is harmless even where root asks.
``given`` names the errors that the kernel (sources of Linux 5.10 to 6.18) returns only *after* it
has checked the permission. ``mount`` binds without a source (``MS_BIND``), which is refused after
the right to mount was checked; ``clock: set`` gives neither a time nor a zone, so nothing is set.

A call that succeeds in a VM reached the VM's own kernel and not the host: the boot id tells which
kernel it was, and the answer then reads "ok, by its own kernel".
"""

from __future__ import annotations

import contextlib
import os
import platform
import re
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from vmcompare.engines.programs import calls
from vmcompare.engines.programs.calls import BUFFER, Call, Result, has, written
from vmcompare.errors import Unavailable
from vmcompare.evidence.published import table
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
    NoNewPrivs:) echo "no new privileges=$value" ;;
    Uid:) echo "user=$value" ;;
  esac
done </proc/self/status
while read -r first outside count; do echo "map=$first $outside $count"; done </proc/self/uid_map
read -r boot_id </proc/sys/kernel/random/boot_id && echo "boot id=$boot_id"
read -r release </proc/sys/kernel/osrelease && echo "kernel release=$release"
echo "vm.swappiness=$(cat /proc/sys/vm/swappiness)"
for d in /sys/bus/pci/devices/*; do
  [ -r "$d/vendor" ] || continue
  read -r vendor <"$d/vendor"; read -r device <"$d/device"; read -r maker <"$d/subsystem_vendor"
  echo "pci=${{d##*/}} $vendor:$device $maker"
done
for b in /sys/block/*; do
  [ -r "$b/dev" ] && read -r number <"$b/dev" && echo "disk=${{b##*/}} $number"
done
echo {END_OF_READING}
"""
"""For any POSIX shell. It starts few programs, because that takes time in an emulated guest."""

_LISTS = ("map", "pci", "disk")
_NEEDED = ("capabilities", "user", "boot id", "kernel release")
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
        devices, disks: PCI devices seen; block devices seen, name → ``major:minor``.
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
    """The reading in what the script printed. Raises ``Unavailable``: it is not whole."""
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
            said={"no new privileges": "0"} | {what: values[0] for what, values in found.items()},
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

    A bit beyond the last known name is called ``"bit 41"``. Raises ``Unavailable``: the text is not
    hexadecimal.
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

_COLUMNS = (
    "name", "boundary", "aim", "place", "says", "calls", "given", "names_host", "flags",
)  # fmt: skip
_HANDLE = (8).to_bytes(4, "little") + (0x7F).to_bytes(4, "little") + bytes(8)
"""A ``struct file_handle`` of a type that does not exist."""

NODE = f"/dev/vmcompare-{secrets.token_hex(8)}".encode()
"""A device node that nobody else makes."""

Words = Mapping[str, int | bytes]
"""What, on the host, probes are aimed at: word of the table → what stands for it in a call. A word
is lacking where there is nothing of that kind."""

_WORDS: Words = {"HERE": -100, "BUFFER": BUFFER, "{handle}": _HANDLE, "{node}": NODE}
"""``HERE`` is ``AT_FDCWD``: paths count from the working directory."""


def address(ip: tuple[int, ...], port: int) -> bytes:
    """A ``struct sockaddr_in`` (IPv4)."""
    return b"\x02\0" + port.to_bytes(2, "big") + bytes(ip) + bytes(8)


def calls_of(text: str, words: Words) -> list[Call]:
    """The calls that a line of the table describes.

    Calls are parted by semicolons, their arguments by blanks: a number, an absolute path, ``$0``
    (what the first call of the line returned), ``HERE``, ``BUFFER``, or a word in braces. A call
    after ``always`` is made although one before it failed. Raises ``KeyError``: there is nothing of
    that kind to aim at.
    """

    def argument(word: str) -> int | bytes | Result:
        if word[0] in "{HB":
            return _WORDS[word] if word in _WORDS else words[word]
        if word[0] == "$":
            return Result(int(word[1:]))
        return word.encode() if word[0] == "/" else int(word, 0)

    found = []
    for call in text.split("; "):
        name, *arguments = call.removeprefix("always ").split()
        args = tuple(argument(word) for word in arguments)
        found.append(Call(name, args, always=call.startswith("always ")))
    return found


@dataclass(frozen=True, slots=True)
class Probe:
    """One thing that is tried: a line of ``data/probes.csv``.

    Attributes:
        name: the row's ``phase``.
        boundary: what a default container has against it (``"capability"``, ``"mounts"`` …); the
            call filter only where nothing else is.
        aim: host, itself or neighbour.
        place: from 1 on, its place among the twelve that a lesson shows; 0 for all others.
        says: what is tried, in words.
        calls: how, see :func:`calls_of`; empty where the answer is read.
        given: errors that mean that the permission was there.
        names_host: whether the host must be known, to name something of it.
        flags: of ``docker run``, those that are expected to change its outcome.
    """

    name: str
    boundary: str
    aim: str
    place: int
    says: str
    calls: str
    given: frozenset[str]
    names_host: bool
    flags: frozenset[str]

    def outcome(self, answer: int, *, own_kernel: bool) -> tuple[float, str]:
        """Value and text of a row, from the answer of its calls."""
        said = written(answer)
        if said == OK and not answer and self.calls.rpartition("; ")[2].startswith("read "):
            return 0.0, EMPTY
        if said != OK and said not in self.given:
            return 0.0, said
        return self._through(OK if said == OK else f"{OK} ({said})", own_kernel)

    def read_outcome(
        self, inside: BoundaryReading, host: BoundaryReading, *, own_kernel: bool
    ) -> tuple[float, str]:
        """Value and text of a row, from what an instance read. The first namespaces have the same
        numbers in every kernel, hence ``own_kernel``."""
        kind, otherwise = self.name.removeprefix("namespace: "), "not there"
        if kind != self.name:
            kind = {"mount": "mnt", "network": "net"}.get(kind, kind)
            through = inside.namespace(kind) == host.namespace(kind)
        elif self.name == "devices: see":
            # The same address and numbers, or a disk of the same name and number.
            listed = [{(one.address, one.kind) for one in who.devices} for who in (inside, host)]
            disks = [set(who.disks.items()) for who in (inside, host)]
            through = bool(listed[0] & listed[1] or disks[0] & disks[1])
        else:
            otherwise = "no"
            through = {
                "kernel: the host's": inside.boot_id == host.boot_id,
                "host's root": inside.outer_uid == 0,
                "set-uid: gain": inside.said["no new privileges"] == "0",
            }[self.name]
        return self._through(OK, own_kernel) if through else (0.0, otherwise)

    def _through(self, text: str, own_kernel: bool) -> tuple[float, str]:
        if own_kernel:
            return float(self.aim == ITSELF), OWN_KERNEL
        return 1.0, text


def _probe(line: Mapping[str, str]) -> Probe:
    several = {name: frozenset(filter(None, line[name].split("; "))) for name in ("given", "flags")}
    return Probe(
        line["name"], line["boundary"], line["aim"], int(line["place"] or 0), line["says"],
        line["calls"], several["given"], line["names_host"] == "yes", several["flags"],
    )  # fmt: skip


PROBES: Mapping[str, Probe] = {probe.name: probe for probe in table("probes.csv", _COLUMNS, _probe)}
"""All of them by name, in the order of the table."""

GRID: tuple[Probe, ...] = tuple(probe for probe in PROBES.values() if probe.aim != NEIGHBOUR)
"""What one instance by itself can try."""

DEVICES = ("disk: read", "memory: open", "kmsg: open", "PCI: open", "ports: use")
"""What reaches for hardware, whichever boundary is against it."""

WEAKENINGS = (
    "--pid=host", "--network=host", "--ipc=host", "--uts=host", "--cap-add=SYS_ADMIN",
    "--security-opt=seccomp=unconfined", "--security-opt=systempaths=unconfined",
    "--device-cgroup-rule='b *:* rmw'", "-v /:/host",
)  # fmt: skip
"""Flags that remove one boundary; ``--privileged`` removes nearly all."""

FLIPS: Mapping[str, frozenset[str]] = {
    flag: frozenset(probe.name for probe in GRID if flag in probe.flags)
    for flag in (*WEAKENINGS, "--privileged")
}
"""Flag of ``docker run`` → the probes whose outcome it is expected to change.

Registered before measuring, for x86-64 and the guest's kernel, Alpine's ``virt``: it has no
``/proc/kcore`` and no ``userfaultfd``, and its log needs ``CAP_SYSLOG`` (``kernel.dmesg_restrict``
is 1), so SYS_ADMIN lifts Docker's filter from that call and the kernel still refuses it. A first
version, before a trial run, had expected the log there and ``userfaultfd`` without the filter."""


def changed(before: Mapping[str, bool], after: Mapping[str, bool]) -> frozenset[str]:
    """The probes made both times (name → whether it got through) with another outcome."""
    return frozenset(name for name in before if before[name] != after.get(name, before[name]))


def possible(targets: Words | None, machine: str) -> Mapping[str, Sequence[Call]]:
    """Probe of :data:`GRID` → its calls, of those that ``machine``, a processor, can make.

    ``targets`` are what they are aimed at; ``None``, where the host is not known, leaves out those
    that name something of it.
    """
    made = {}
    for probe in GRID:
        if probe.calls and (targets is not None or not probe.names_host):
            with contextlib.suppress(KeyError):
                made[probe.name] = calls_of(probe.calls, targets or {})
    return {name: calls for name, calls in made.items() if has(machine, calls)}


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

    Raises what :meth:`Sandbox.run` raises, and ``Unavailable``: its answer is not whole.
    """
    return parse_reading(box.run(["sh", "-c", READING]).output.decode(errors="replace"))


def make_calls(box: Sandbox, sequences: Sequence[Sequence[Call]]) -> tuple[int, ...]:
    """Make calls in an instance; one answer a sequence.

    Raises what :meth:`Sandbox.run` and ``put`` raise, and ``Unavailable``: the program did not run,
    or there is none for this processor.
    """
    box.put(PROGRAM, calls.elf(platform.machine(), sequences))
    done = box.run([PROGRAM], timeout_s=CALLS_TIMEOUT_S)
    return calls.decode(done.output, len(sequences))


def ask(box: Sandbox, targets: Words | None) -> Response:
    """What an instance reads, and the answers to all probes that can be made in it.

    Raises what :func:`read` and :func:`make_calls` raise.
    """
    reading = read(box)
    wanted = possible(targets, platform.machine())
    answers = make_calls(box, tuple(wanted.values()))
    return Response(reading, dict(zip(wanted, answers, strict=True)))


def targets(
    host: BoundaryReading, pid: int, port: int, host_file: str, *, root: str = "/host"
) -> Words:
    """What probes of an instance are aimed at, on a host that read ``host``.

    Args:
        host: has the addresses of devices, and numbers of disks.
        pid: of a process of the host.
        port: at which a program listens on the host's loopback address (IPv4).
        host_file: absolute path of a file that the host has and no image holds.
        root: where the host's root file system would be seen; empty for the host itself.
    """
    found: dict[str, int | bytes] = {
        "{pid}": pid,
        "{address}": address((127, 0, 0, 1), port),
        "{file}": os.fsencode(root + host_file),
    }
    if host.devices:
        found["{pci}"] = f"/sys/bus/pci/devices/{host.devices[0].address}/config".encode()
    for name, number in host.disks.items():
        if not name.startswith(_NO_DISK):
            major, minor = map(int, number.split(":"))  # in one number, as the system call wants it
            found.setdefault("{disk}", major << 8 | minor & 0xFF | (minor & ~0xFF) << 12)
    return found


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
        if probe.names_host and host is None:
            yield failed(mine, _NO_HOST)
            continue
        if not probe.calls:
            value, text = probe.read_outcome(reading, host or reading, own_kernel=own_kernel)
        elif probe.name in response.answers:
            value, text = probe.outcome(response.answers[probe.name], own_kernel=own_kernel)
        else:
            yield failed(mine, _NOTHING_TO_AIM_AT)
            continue
        yield filled(mine, value, text=text, guest_kernel=reading.said["kernel release"])


def capabilities_row(row: Measurement, reading: BoundaryReading) -> Measurement:
    """The capabilities that an instance read, in a row made of ``row``."""
    row = replace(row, metric="observation", guest_kernel=reading.said["kernel release"])
    return filled(row, 1.0, phase="capabilities", text=reading.said["capabilities"])
