"""Instances of lesson 05 that exist only in memory: what they read and answer is planted."""

from __future__ import annotations

import json
import os
import platform
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fake import FakeLauncher

from vmcompare.engines.programs import BODY_ADDRESS, MACHINES, calls
from vmcompare.errors import AbnormalShutdown, VmcompareError
from vmcompare.evidence.recording import Measurement
from vmcompare.experiments.isolation import guest_containers, probes
from vmcompare.measuring.experiment import Context
from vmcompare.sandbox import Completed, OnEvent, Spec, Traits

MACHINE = platform.machine()
EPERM = -1
HOST_KERNEL = "11111111-aaaa"


@dataclass(frozen=True, slots=True)
class Said:
    """What an instance reads of itself; namespaces count from ``first``."""

    boot_id: str = HOST_KERNEL
    first: int = 0
    uid: int = 0
    outside: int = 0
    no_new_privileges: int = 0
    pci: Sequence[str] = ("0000:00:02.0 0x8086:0x9a49 0x17aa",)
    disks: Sequence[str] = ("loop0 7:0", "sda 8:0")
    shared: Sequence[str] = ("user", "time", "cgroup")
    """Kinds of namespaces that have the host's number whatever ``first`` is."""

    def text(self) -> str:
        spaces = [
            f"{kind} namespace={number + (0 if kind in self.shared else self.first)}"
            for number, kind in enumerate(probes.NAMESPACES, start=100)
        ]
        lines = [
            *spaces, "capabilities=00000000a80425fb", "seccomp=2",
            f"no new privileges={self.no_new_privileges}", f"user={self.uid}",
            f"map=0 {self.outside} 65536", f"boot id={self.boot_id}", "kernel release=6.1.0",
            "vm.swappiness=60", *(f"pci={line}" for line in self.pci),
            *(f"disk={line}" for line in self.disks), probes.END_OF_READING,
        ]  # fmt: skip
        return "\n".join(lines) + "\n"


def count(program: bytes) -> int:
    """How many sequences of calls a program makes."""
    code = calls.CODES[MACHINES[MACHINE.lower()]]
    return int(struct.unpack_from("<Q", program, BODY_ADDRESS % 0x1000 + len(code))[0])


def names(number: int) -> list[str]:
    """The probes of the grid that a program of so many sequences makes, in their order."""
    aimed = probes.targets(probes.parse_reading(Said().text()), 1, 1, "/x")
    for found in (probes.possible(aimed, MACHINE), probes.possible(None, MACHINE)):
        if len(found) == number:
            return list(found)
    return []


def packed(answers: Sequence[int]) -> bytes:
    return struct.pack(f"<{len(answers)}q", *answers)


@dataclass(slots=True)
class Actor:
    """One instance.

    Attributes:
        said: what it reads of itself.
        through: probes whose calls succeed (all others: EPERM).
        stat: what ``/proc/<number>/stat`` of its neighbour holds for it; ``None``: it has no such.
        words: in a guest: word → probes that succeed in its container.
        mute: whether its program of system calls does not run.
        broken: words whose container does not start.
    """

    said: Said
    through: frozenset[str] = frozenset()
    stat: str | None = None
    pids: tuple[int, ...] = ()
    words: Mapping[str, frozenset[str]] = field(default_factory=dict)
    mute: bool = False
    broken: frozenset[str] = frozenset()
    files: dict[str, bytes] = field(default_factory=dict)

    def run(self, argv: Sequence[str], *, timeout_s: float = 60.0) -> Completed:
        match list(argv):
            case ["sh", "-c", line] if line == probes.READING:
                return Completed(self.said.text().encode(), 0)
            case [program] if program == probes.PROGRAM:
                return Completed(b"" if self.mute else self._answers(), 0)
            case ["cat", path] if path.endswith("/stat"):
                return Completed((self.stat or "").encode(), 0 if self.stat else 1)
            case ["ip", *_]:
                return Completed(b"2: eth0    inet 172.17.0.3/16 scope global eth0\n", 0)
            case ["sh", "-c", line] if "nc -lk" in line:
                return Completed(b"431\n", 0)
            case ["sh", "-c", line] if "runc run" in line:
                return self._container(line)
        return Completed(b"", 0)

    def _answers(self) -> bytes:
        number = count(self.files[probes.PROGRAM])
        if found := names(number):
            return packed([1 if name in self.through else EPERM for name in found])
        neighbour = ["neighbour: read"] * (number - 2) + ["neighbour: kill", "neighbour: connect"]
        assert number < 10, f"nobody asks {number} things"
        return packed([1 if name in self.through else EPERM for name in neighbour])

    def _container(self, line: str) -> Completed:
        name = line.split()[-2]
        word = guest_containers.FLAGS[int(name.removeprefix("w"))]
        if word in self.broken:
            return Completed(b"runc run failed: no such thing\n", 1)
        made = json.loads(self.files[f"/c/{name}.json"])
        own = {space["type"] for space in made["linux"]["namespaces"]}
        in_oci = {"mnt": "mount", "net": "network"}
        held = Said(
            boot_id=self.said.boot_id, first=50,
            shared=[kind for kind in probes.NAMESPACES if in_oci.get(kind, kind) not in own],
            uid=made["process"]["user"]["uid"],
            no_new_privileges=int(made["process"].get("noNewPrivileges", False)),
            outside=made["linux"].get("uidMappings", [{"hostID": 0}])[0]["hostID"],
        )  # fmt: skip
        found = names(count(self.files[guest_containers.IMAGE + "/calls"]))
        through = self.words.get(word, frozenset())
        answers = packed([1 if name in through else EPERM for name in found])
        return Completed(held.text().encode() + answers, 0)

    def put(self, path: str, data: bytes) -> None:
        self.files[path] = bytes(data)

    def host_pids(self) -> tuple[int, ...]:
        return self.pids

    def console(self) -> str:
        return ""


@dataclass(slots=True)
class Stage(FakeLauncher):
    """Opens actors made by ``cast`` (of the spec, and how many were opened before)."""

    cast: Callable[[Spec, int], Actor] = lambda _, __: Actor(Said())
    fails: VmcompareError | None = None
    actors: list[Actor] = field(default_factory=list)

    @contextmanager
    def open(self, spec: Spec, on_event: OnEvent) -> Iterator[Any]:
        if self.fails is not None:
            raise self.fails
        actor = self.cast(spec, self.opened)
        self.opened += 1
        number = self.opened
        self.running.add(number)
        self.actors.append(actor)
        try:
            yield actor
        finally:
            self.running.discard(number)

    def traits(self, spec: Spec) -> Traits:
        return self.trait


ALL_PROBES = frozenset(probes.PROBES)


def host() -> Stage:
    """A host whose root may do everything; two of its processes see each other."""
    stat = Path(f"/proc/{os.getpid()}/stat")
    said = stat.read_text() if stat.exists() else "1 (x) S " + "0 " * 30
    return Stage(cast=lambda _, __: Actor(Said(), ALL_PROBES, said, (os.getpid(),)))


def containers(
    through: frozenset[str] = frozenset(), *, boot_id: str = HOST_KERNEL, **more: Any
) -> Stage:
    """Containers with namespaces of their own on the host's kernel."""

    def cast(spec: Spec, number: int) -> Actor:
        said = Said(boot_id=boot_id, first=1000 * (number + 1))
        return Actor(said, through, **({"pids": (1, 2)} | more))

    return Stage(cast=cast)


def machines(through: frozenset[str] = ALL_PROBES, **more: Any) -> Stage:
    """Virtual machines: everything succeeds, by kernels of their own."""

    def cast(spec: Spec, number: int) -> Actor:
        piix = "0000:00:01.0 0x8086:0x7000 0x1af4"
        said = Said(boot_id=f"{number + 2}2222222", pci=(piix,), disks=())
        return Actor(said, through, pids=(3,), **more)

    return Stage(cast=cast, trait=Traits("mechanism", vmm="qemu", accel="tcg"))


def all_rows(part: Any, context: Context) -> list[Measurement]:
    """What a part of the experiment makes, step by step."""
    with ExitStack() as stack:
        return [row for step in context.steps(part.steps(context, stack)) for row in step()]


def dead(why: str = "the instance is gone") -> Stage:
    return Stage(fails=AbnormalShutdown(why))
