"""Asking one instance: what it reads about itself, and what the kernel answers to its calls."""

from __future__ import annotations

import platform
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from vmcompare.engines.programs import calls
from vmcompare.engines.programs.calls import Call
from vmcompare.evidence.recording import Measurement
from vmcompare.experiments.isolation.probes import GRID, Targets, possible
from vmcompare.experiments.isolation.reading import KINDS, Reading, understood
from vmcompare.experiments.isolation.reading import SCRIPT as READ
from vmcompare.measuring.experiment import blank, failed, filled
from vmcompare.sandbox import Launcher, Machine, Platform, Sandbox, Spec

PROGRAM = "/tmp/vmcompare-calls"
"""Where the program of system calls lies in an instance."""

CALLS_TIMEOUT_S = 120.0
"""Seconds that a table of calls has; it needs well under one, and a few where calls hang."""

_NOT_HERE = "this probe cannot be made here: there is nothing of that kind on this computer"
_NO_HOST = "what it is aimed at cannot be named: the host was not asked"
_NO_DISK = ("ram", "loop", "zram", "sr", "fd", "dm-", "md", "nbd")
"""Beginnings of names of block devices that are no disks."""


@dataclass(frozen=True, slots=True)
class Arm:
    """One column of the grid: an instance, and how it is held."""

    name: str
    platform: Platform
    spec: Spec
    confinement: str = ""

    def row(self, launcher: Launcher, metric: str, phase: str) -> Measurement:
        """An empty row of it."""
        row = blank(launcher, self.platform, self.spec, metric)
        return replace(row, phase=phase, confinement=self.confinement)


VM = Spec(machine=Machine.PC)
"""How this lesson starts a virtual machine."""


@dataclass(frozen=True, slots=True)
class Told:
    """What an instance told: its reading, and probe → answer of the calls that were made."""

    reading: Reading
    answers: Mapping[str, int]


def read(box: Sandbox) -> Reading:
    """What an instance reads about itself.

    Raises:
        Unavailable: its answer is not whole.
        AbnormalShutdown, WaitTimeout: as :meth:`Sandbox.run`.
    """
    return understood(box.run(["sh", "-c", READ]).output.decode(errors="replace"))


def make(box: Sandbox, sequences: Sequence[Sequence[Call]]) -> tuple[int, ...]:
    """Make calls in an instance; their answers.

    Raises:
        Unavailable: the program did not run, or there is none for this processor.
        AbnormalShutdown, LaunchFailure, WaitTimeout: as :meth:`Sandbox.run` and ``put``.
    """
    box.put(PROGRAM, calls.elf(platform.machine(), sequences))
    done = box.run([PROGRAM], timeout_s=CALLS_TIMEOUT_S)
    return calls.decode(done.output, len(sequences))


def tell(box: Sandbox, targets: Targets | None) -> Told:
    """What an instance reads, and the answers to all probes that can be made in it.

    Raises:
        Unavailable, AbnormalShutdown, LaunchFailure, WaitTimeout: see :func:`read`, :func:`make`.
    """
    reading = read(box)
    wanted = possible(targets, platform.machine())
    answers = make(box, tuple(wanted.values()))
    return Told(reading, dict(zip(wanted, answers, strict=True)))


def targets(host: Reading, pid: int, port: int, host_file: str) -> Targets:
    """What probes are aimed at on a host that read this; seen from an instance on it."""
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
    arm: Arm, launcher: Launcher, told: Told, host: Reading | None, *, own_kernel: bool
) -> Iterator[Measurement]:
    """A row of every probe of the grid."""
    for probe in GRID:
        row = arm.row(launcher, "probe", probe.name)
        if probe.reads is not None:
            if host is None and probe.named:
                yield failed(row, _NO_HOST)
                continue
            value, text = probe.read_outcome(
                told.reading, host or told.reading, own_kernel=own_kernel
            )
        elif probe.name in told.answers:
            value, text = probe.outcome(told.answers[probe.name], own_kernel=own_kernel)
        else:
            yield failed(row, _NO_HOST if host is None and probe.named else _NOT_HERE)
            continue
        yield filled(row, value, text=text, guest_kernel=told.reading.release)


def failed_rows(arm: Arm, launcher: Launcher, why: str) -> Iterator[Measurement]:
    """The rows of an instance that could not be asked."""
    for probe in GRID:
        yield failed(arm.row(launcher, "probe", probe.name), why)


def observation_rows(arm: Arm, launcher: Launcher, reading: Reading) -> Iterator[Measurement]:
    """What an instance read, in words."""
    said = {
        "capabilities": reading.capabilities,
        "seccomp": str(reading.seccomp),
        "no new privileges": str(reading.no_new_privileges),
        "user map": "; ".join(" ".join(map(str, line)) for line in reading.user_map),
        "boot id": reading.boot_id[:8],
        "kernel release": reading.release,
        "vm.swappiness": reading.swappiness,
        **{
            f"{kind} namespace": str(reading.namespaces.get(kind, "this kernel has none"))
            for kind in KINDS
        },
        "root mount": reading.root,
        "PCI devices seen": f"{len(reading.devices)}: "
        + ", ".join(one.kind.replace("0x", "") for one in reading.devices),
        "disks seen": ", ".join(n for n in reading.disks if not n.startswith(_NO_DISK)) or "none",
        "processes seen": str(reading.processes),
    }
    for phase, text in said.items():
        row = arm.row(launcher, "observation", phase)
        yield filled(row, 1.0, text=text, guest_kernel=reading.release)
