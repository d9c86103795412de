"""A platform that exists only in memory, for tests of everything above the launcher protocol.

It keeps the whole contract (events in order and monotonic, exit codes, destruction on leaving,
every failure the real ones know), so the contract tests run on it and on the real backends alike.
"""

from __future__ import annotations

import itertools
import re
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from types import MappingProxyType

from vmcompare.engines.commands import CommandOutput
from vmcompare.engines.images import oci
from vmcompare.errors import (
    AbnormalShutdown,
    LaunchFailure,
    UnknownName,
    VmcompareError,
    WaitTimeout,
)
from vmcompare.sandbox import (
    Availability,
    Channel,
    Completed,
    Event,
    FileFact,
    Followed,
    ImageFacts,
    OnEvent,
    OnOutput,
    OpenOn,
    Parcel,
    Phase,
    Piece,
    Spec,
    Start,
    Traits,
)

CONTAINER_PHASES = (Phase.CREATE, Phase.ATTACH, Phase.START, Phase.FIRST_BYTE)
BASE: Mapping[str, bytes] = MappingProxyType({"/bin/sh": bytes(range(256)) * 8})
"""All that a fake's box holds but the application."""

CLONE_PHASES = (Phase.SPAWN, Phase.RESUMED)
VM_PHASES = (Phase.SPAWN, Phase.FIRMWARE, Phase.KERNEL, Phase.FIRST_BYTE)


Script = Callable[[Sequence[str]], Iterable[tuple[float, bytes]] | None]
"""What a command that is followed prints: pieces, each with the second since its start at which it
pretends to come (the clock is shifted); an empty piece is the end. ``None``: no such program."""


def nothing_said(argv: Sequence[str]) -> Iterable[tuple[float, bytes]]:
    """The :data:`Script` of commands that print nothing and run on."""
    return ()


def _play(said: Iterable[tuple[float, bytes]], heard: CommandOutput) -> None:
    start_ns = time.perf_counter_ns()
    for second, piece in said:
        t_ns = start_ns + int(second * 1e9)
        if piece:
            heard.hand_on(piece, t_ns)
        else:
            heard.end(t_ns)


@dataclass(slots=True)
class FakeSandbox:
    """Answers ``echo``, ``uname -r``, ``true``, ``false``, ``cat PATH`` and ``sleep SECONDS``."""

    pid: int
    files: dict[str, bytes] = field(default_factory=dict)
    alive: bool = True
    script: Script = nothing_said
    heard: CommandOutput | None = None
    channels: dict[str, tuple[socket.socket, socket.socket]] = field(default_factory=dict)
    neighbours: dict[str, FakeSandbox] = field(default_factory=dict)

    def run(self, argv: Sequence[str], *, timeout_s: float = 60.0) -> Completed:
        if not self.alive:
            raise AbnormalShutdown("the instance is gone")
        match list(argv):
            case ["uname", "-r"]:
                return Completed(b"6.0.0-fake\n", 0)
            case ["echo", *words]:
                return Completed(" ".join(words).encode() + b"\n", 0)
            case ["cat", path] if path in self.files:
                return Completed(self.files[path], 0)
            case ["sleep", seconds] if float(seconds) > timeout_s:
                raise WaitTimeout(f"the end of {' '.join(argv)}", timeout_s)
            case ["sh", "-c", line] if written := re.fullmatch(r"echo (\w+) >/dev/(\w+)", line):
                self.channels[written[2]][1].sendall(written[1].encode() + b"\n")
                return Completed(b"", 0)
            case ["head", "-n1", path]:
                inside = self.channels[path.removeprefix("/dev/")][1]
                return Completed(inside.makefile("rb").readline(), 0)
            case ["ping", *_, name] if name in self.neighbours:
                return Completed(b"", 0 if self.neighbours[name].alive else 1)
            case ["true"] | ["sleep", _]:
                return Completed(b"", 0)
            case ["false"]:
                return Completed(b"", 1)
            case _:
                return Completed(f"{argv[0]}: not found\n".encode(), 127)

    @contextmanager
    def follow(self, argv: Sequence[str], on_output: OnOutput) -> Iterator[Followed]:
        if not self.alive:
            raise AbnormalShutdown("the instance is gone")
        if self.heard is not None:
            raise LaunchFailure("this instance has a command that is followed already", argv)
        said = self.script(argv)
        if said is None:
            raise LaunchFailure(f"there is no program {argv[0]} in the instance", argv)
        heard = self.heard = CommandOutput(on_output, announced=False)
        thread = threading.Thread(target=_play, args=(said, heard), daemon=True)
        thread.start()
        try:
            yield heard
        finally:
            thread.join()
            heard.silence()
            heard.end(time.perf_counter_ns())
            self.heard = None

    def channel(self, name: str) -> Channel:
        if name not in self.channels:
            raise UnknownName("channel", name, list(self.channels))
        if not self.alive:
            raise AbnormalShutdown("the instance is gone")
        return Channel(f"/dev/{name}", self.channels[name][0])

    def die(self) -> None:
        """End the instance, as a test may wish."""
        self.alive = False
        if self.heard is not None:
            self.heard.end(time.perf_counter_ns())

    def put(self, path: str, data: bytes) -> None:
        if not self.alive:
            raise AbnormalShutdown("the instance is gone")
        self.files[path] = bytes(data)

    def host_pids(self) -> tuple[int, ...]:
        return (self.pid,) if self.alive else ()

    def written_bytes(self) -> int:
        if not self.alive:
            raise AbnormalShutdown("the instance is gone")
        return sum(map(len, self.files.values()))

    def console(self) -> str:
        return ""


@dataclass(slots=True)
class FakeLauncher:
    """Opens :class:`FakeSandbox` es.

    Attributes:
        phases: what happens between the call and the first byte.
        phase_s: how long each phase pretends to take, in seconds (the clock is shifted).
        trait: what :meth:`traits` answers.
        script: what commands that are followed print.
        fail_at: phases at which ``open`` raises, with the error it raises.
        running: instances that are open now (empty again when all contexts were left).
    """

    phases: Sequence[Phase] = CONTAINER_PHASES
    phase_s: float = 0.01
    trait: Traits = field(default_factory=lambda: Traits("mechanism", runtime="runc"))
    fail_at: Mapping[Phase, VmcompareError] = field(default_factory=dict)
    script: Script = nothing_said
    running: set[int] = field(default_factory=set)
    opened: int = 0

    @contextmanager
    def open(self, spec: Spec, on_event: OnEvent) -> Iterator[FakeSandbox]:
        self.opened += 1
        box = FakeSandbox(pid=1_000_000_000 + self.opened, script=self.script)
        box.channels = {name: socket.socketpair() for name in spec.channels}
        phases = CLONE_PHASES if spec.start is Start.CLONE else self.phases
        self.running.add(box.pid)
        now_ns = time.perf_counter_ns()
        try:
            on_event(Event(Phase.OPEN, now_ns))
            for phase in phases:
                if phase in self.fail_at:
                    raise self.fail_at[phase]
                now_ns += int(self.phase_s * 1e9)
                on_event(Event(phase, now_ns))
            yield box
        finally:
            box.alive = False
            for end in itertools.chain(*box.channels.values()):
                end.close()
            self.running.discard(box.pid)
        on_event(Event(Phase.EXIT, now_ns + int(self.phase_s * 1e9)))
        on_event(Event(Phase.REMOVED, now_ns + int(2 * self.phase_s * 1e9)))

    @contextmanager
    def network(self) -> Iterator[OpenOn]:
        on_it: dict[str, FakeSandbox] = {}

        @contextmanager
        def open_on(name: str, spec: Spec, on_event: OnEvent) -> Iterator[FakeSandbox]:
            with self.open(spec, on_event) as box:
                on_it[name], box.neighbours = box, on_it
                yield box

        yield open_on

    def image(self, spec: Spec) -> ImageFacts:
        return ImageFacts("sha256:" + "0" * 64)

    def contents(self, spec: Spec, added: Mapping[str, bytes]) -> Iterator[FileFact]:
        for path, data in {**BASE, **added}.items():
            yield FileFact(path, len(data))

    def parcel(self, spec: Spec, added: Mapping[str, bytes]) -> Parcel:
        base, layer = (_piece(n, oci.layer(f)) for n, f in (("base", BASE), ("layer", added)))
        return Parcel((base, layer), (layer,))

    def traits(self, spec: Spec) -> Traits:
        return self.trait


@lru_cache
def _piece(name: str, tar: bytes) -> Piece:
    return Piece(name, oci.digest(tar), len(tar), len(tar), len(oci.compressed(tar)))


def probe() -> Availability:
    """Always there."""
    return Availability(True, version="1")
