"""Launchers that tell chosen things of their hardware: fakes behind the one seam."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from vmcompare.errors import VmcompareError
from vmcompare.evidence.recording import Measurement
from vmcompare.experiments.whole_computer.measure import measure
from vmcompare.measuring.experiment import Context
from vmcompare.sandbox import (
    BOOT_SECTOR,
    Completed,
    Event,
    ImageFacts,
    Launcher,
    OnEvent,
    Phase,
    Platform,
    Spec,
    Traits,
)

BOOT_ID = "/proc/sys/kernel/random/boot_id"
REFUSED = Completed(b"env: can't execute '/home/someone/tmp/boot.bin': Exec format error\n", 126)


def files(processor: str, device: str, *, flags: str = "fpu", **more: str) -> dict[str, str]:
    """What an instance can read of its hardware."""
    return {
        "/proc/cpuinfo": f"processor\t: 0\nmodel name\t: {processor}\nflags\t\t: {flags}\n"
        "\nprocessor\t: 1\nmodel name\t: another\nflags\t\t: none\n",
        "/proc/bus/pci/devices": f"0000\t{device}\t0\t0\n0008\t80867000\tb\t0\n",
        **more,
    }


HOST = files("Host CPU", "80861111") | {BOOT_ID: "aaaaaaaa-1\n"}
GUEST = files("Host CPU", "80861237", flags="fpu hypervisor")


@dataclass(slots=True)
class Box:
    """A sandbox that knows some files."""

    known: Mapping[str, str]
    kernel: str
    printed: str
    answer: Completed
    placed: dict[str, bytes] = field(default_factory=dict)

    def run(self, argv: Sequence[str], *, timeout_s: float = 60.0) -> Completed:
        match list(argv):
            case ["uname", "-r"]:
                return Completed(f"{self.kernel}\n".encode(), 0)
            case ["cat", path] if path in self.known:
                return Completed(self.known[path].encode(), 0)
            case ["env", path] if len(self.placed[path]) == 512:
                return self.answer
        return Completed(b"no such file\n", 1)

    def put(self, path: str, data: bytes) -> None:
        self.placed[path] = data

    def host_pids(self) -> tuple[int, ...]:
        return ()

    def console(self) -> str:
        return self.printed


@dataclass(slots=True)
class Told:
    """A launcher whose instances have chosen hardware.

    Attributes:
        known: files of an instance; a boot id is made up for each where there is none.
        fails: what opening raises: of the 512 bytes, or of everything else.
        mute: whether the 512 bytes print something else than their message.
        disk_bytes: size of what the 512 bytes are started from.
    """

    known: Mapping[str, str]
    kernel: str = "6.0-host"
    accel: str = ""
    fails: VmcompareError | None = None
    sector_fails: VmcompareError | None = None
    mute: bool = False
    disk_bytes: int = 512
    answer: Completed = REFUSED
    opened: int = 0

    @contextmanager
    def open(self, spec: Spec, on_event: OnEvent) -> Iterator[Box]:
        sector = spec.image == BOOT_SECTOR
        problem = self.sector_fails if sector else self.fails
        self.opened += 1
        now_ns = time.perf_counter_ns()
        on_event(Event(Phase.OPEN, now_ns))
        if problem:
            raise problem
        on_event(Event(Phase.FIRST_BYTE, now_ns + 1_000_000 + 10_000 * self.opened))
        printed = ("?" if self.mute else spec.command[0]) + "\x06" if sector else ""
        known = {BOOT_ID: f"{self.opened:08d}-x\n", **self.known}
        yield Box(known, self.kernel, printed, self.answer)

    def image(self, spec: Spec) -> ImageFacts:
        return ImageFacts(
            "sha256:0", size_bytes=self.disk_bytes if spec.image == BOOT_SECTOR else 9
        )

    def traits(self, spec: Spec) -> Traits:
        layer = "product" if spec.runtime == "" and not self.accel else "mechanism"
        return Traits(layer, vmm="qemu 9" if self.accel else "", accel=self.accel)


def process(**changes: object) -> Told:
    """A plain process of the host."""
    return replace(Told(HOST), **changes)  # type: ignore[arg-type]


def machine(**changes: object) -> Told:
    """A virtual machine under emulation, with other devices than the host."""
    return replace(Told(GUEST, "6.1-guest", "tcg"), **changes)  # type: ignore[arg-type]


def rows(launchers: Mapping[Platform, Launcher], rounds: int = 2) -> list[Measurement]:
    """The rows that the experiment makes of them."""
    return list(measure(Context(launchers, rounds)))


def full(**changes: object) -> list[Measurement]:
    """Rows of all three platforms, the machine with some changes."""
    return rows(
        {
            Platform.PROCESS: process(),
            Platform.CONTAINER: process(),
            Platform.VM_DIRECT: machine(**changes),
        }
    )
