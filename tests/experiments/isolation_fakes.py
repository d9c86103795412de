"""A world of instances that beat, panic and eat, on a clock of its own: fakes behind the seam."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from vmcompare.engines.programs import heartbeat
from vmcompare.errors import AbnormalShutdown, VmcompareError
from vmcompare.evidence.units import MIB
from vmcompare.experiments.isolation import disk_writer, kernel_panic
from vmcompare.experiments.isolation.heartbeats import Clock
from vmcompare.sandbox import (
    CONTAINER_HOST,
    Completed,
    Event,
    ImageFacts,
    Launcher,
    OnEvent,
    OnOutput,
    Phase,
    Platform,
    Spec,
    Traits,
)

S = 1_000_000_000
BEAT_NS = S // 20
PANIC = "panic"
READ_ONLY = b"sh: can't create /proc/sysrq-trigger: Read-only file system\nasked and lived\n"
HOG = re.compile(r"\bhog(?:-\d+-| )(memory|time|processes)")


@dataclass(slots=True)
class World:
    """Time, and what happens in it.

    Attributes:
        answers: who asks its kernel to crash (letter) → ``PANIC``, or what is printed.
        hiccups: letter → seconds of silence that begin with the first question of that kind.
        bumps: letter → seconds of silence early in the baseline.
        refusing: which hogs find their limit not in force: a regular expression of their command.
        early: what a hog has said that ended before its neighbour was done.
        docker: what Docker's container reads back: limit and peak in bytes, processor limit.
        dd: how its hog ended.
        fills: what a guest says when it is filled.
        writer_ended: whether disk writers are done before their neighbours are.
        missing: platforms (or images) that cannot be opened, and why.
        mute: letters that never begin to beat.
    """

    now_ns: int = 100 * S
    answers: dict[str, str | bytes] = field(
        default_factory=lambda: {"F": PANIC, "A": READ_ONLY, "P": PANIC}
    )
    hiccups: dict[str, float] = field(default_factory=dict)
    bumps: dict[str, float] = field(default_factory=dict)
    refusing: str = "none"
    early: str = ""
    behind: str = ""
    docker: tuple[str, str, str] = (str(64 * MIB), str(64 * MIB), "100000 100000")
    dd: bytes = b"137\n"
    fills: str = "377\n"
    writer_ended: bool = False
    missing: dict[str, VmcompareError] = field(default_factory=dict)
    mute: set[str] = field(default_factory=set)
    boxes: list[Box] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    fell_ns: int = 0
    next_ns: int = 0
    burning: bool = False

    @property
    def clock(self) -> Clock:
        return Clock(lambda: self.now_ns, self.sleep)

    @property
    def open(self) -> list[Box]:
        """Instances that were not left yet."""
        return [box for box in self.boxes if not box.left]

    def sleep(self, time_s: float) -> None:
        until_ns = self.now_ns + int(time_s * S)
        self.next_ns = max(self.next_ns, self.now_ns)
        while self.next_ns <= until_ns:
            self.now_ns = self.next_ns
            for box in self.open:
                box.beat()
            self.next_ns += BEAT_NS
        self.now_ns = until_ns

    def silent(self, letter: str) -> bool:
        bump_s, hiccup_s = self.bumps.get(letter, 0.0), self.hiccups.get(letter, 0.0)
        early = 102 * S
        return (
            letter in self.mute
            or early < self.now_ns < early + bump_s * S
            or (self.fell_ns > 0 and self.fell_ns < self.now_ns < self.fell_ns + hiccup_s * S)
        )

    def launchers(self, *platforms: Platform) -> dict[Platform, Launcher]:
        return {platform: Told(self, platform) for platform in platforms}


@dataclass(slots=True)
class Box:
    """One instance; it can be followed."""

    world: World
    spec: Spec
    letters: str = ""
    on_output: OnOutput | None = None
    alive: bool = True
    left: bool = False
    gone_ns: int | None = None
    working: bool = False

    def beat(self) -> None:
        if self.alive and self.on_output:
            heard = [letter for letter in self.letters if not self.world.silent(letter)]
            half = self.world.burning and self.world.now_ns // BEAT_NS % 2
            heard += ["W"] * (self.working and not half)
            self.on_output("".join(heard).encode(), self.world.now_ns)

    def panic(self) -> None:
        self.alive, self.gone_ns = False, self.world.now_ns + S // 50
        self.world.fell_ns = self.world.fell_ns or self.world.now_ns
        raise AbnormalShutdown("it has ended by itself", "Kernel panic - not syncing")

    def run(self, argv: Sequence[str], *, timeout_s: float = 60.0) -> Completed:
        if not self.alive:
            raise AbnormalShutdown("it is gone")
        words = " ".join(argv)
        self.world.asked.append(words)
        if "/runc/S/" in words or "neighbour.pid" in words:
            self.working = "-USR1" in words
            self.world.burning = False
        if hog := HOG.search(words):
            return self.hog(hog[1], words)
        self.world.burning = self.world.burning or "conv=notrunc" in words
        for letter, signs in (("F", kernel_panic.ASK[2]), ("A", "/runc/A/"), ("P", "/runc/P/")):
            if (
                words.startswith("sh -c")
                and signs in words
                and "USR1" in words + "USR1" * (letter == "F")
            ):
                return self.ask(letter)
        return Completed(self.say(words).encode(), 0)

    def hog(self, what: str, words: str) -> Completed:
        refused = re.search(self.world.refusing, words)
        said = b"refused: its limit reads 'max'" if refused else b""
        if what == "time":
            self.world.burning, self.world.behind = not refused, self.world.early or said.decode()
            return Completed(b"", 0)
        done = {"memory": b"piece 137\npiece 1\n%d\n" % (64 * MIB), "processes": b"24\nno more\n"}
        return Completed(said, 3) if refused else Completed(done[what], 0)

    def ask(self, letter: str) -> Completed:
        answer = self.world.answers[letter]
        self.world.fell_ns = self.world.fell_ns or self.world.now_ns
        if isinstance(answer, bytes):
            return Completed(answer, 1 if answer else 0)
        self.panic()
        raise AssertionError

    def say(self, words: str) -> str:
        world = self.world
        limit, peak, processor = world.docker
        known = {
            "overcommit_memory": world.fills,
            "memory.limit_in_bytes": limit,
            "memory.max_usage_in_bytes": peak,
            "cpu.cfs_quota_us": processor,
            "dd if=/dev/zero": world.dd.decode(),
            "cat /tmp/writer": "ended" * world.writer_ended,
            "cat /tmp/hog": world.behind,
            "cat /tmp/": "runc said no",
        }
        return next((said for sign, said in known.items() if sign in words), "")

    @contextmanager
    def follow(self, argv: Sequence[str], on_output: OnOutput) -> Iterator[Box]:
        assert self.on_output is None, "one command at a time"
        words = " ".join(argv)
        own = re.findall(rf"{heartbeat.PATH} (\w)", words)
        told = [*own, *re.findall(r" (\w)(?: </dev/null|$)", words)]
        self.letters = "".join(dict.fromkeys(told))
        if words == disk_writer.PROGRAM:
            self.working = True
        self.on_output = on_output
        try:
            yield self
        finally:
            self.on_output, self.working = None, False

    def ended_ns(self) -> int | None:
        return self.gone_ns

    def wait(self, timeout_s: float) -> bool:
        return self.gone_ns is not None

    def put(self, path: str, data: bytes) -> None:
        assert data, path

    def host_pids(self) -> tuple[int, ...]:
        return (1_000_000_007,)

    def console(self) -> str:
        return "" if self.alive else "Kernel panic - not syncing: sysrq triggered crash"


@dataclass(slots=True)
class Told:
    """Opens boxes of one platform."""

    world: World
    platform: Platform

    @contextmanager
    def open(self, spec: Spec, on_event: OnEvent) -> Iterator[Box]:
        for name in (self.platform, spec.image):
            if name in self.world.missing:
                raise self.world.missing[name]
        on_event(Event(Phase.OPEN, self.world.now_ns))
        box = Box(self.world, spec)
        self.world.boxes.append(box)
        try:
            yield box
        finally:
            box.left = True

    def image(self, spec: Spec) -> ImageFacts:
        return ImageFacts("sha256:1" if spec.image == CONTAINER_HOST else "sha256:0")

    def traits(self, spec: Spec) -> Traits:
        if self.platform.is_vm:
            return Traits("mechanism", vmm="qemu 9", accel="tcg")
        is_container = self.platform is Platform.CONTAINER
        return Traits("product" if is_container else "mechanism", runtime="runc" * is_container)


def facts(rows: Sequence[object]) -> Mapping[str, float | None]:
    """Name → value of the facts among some rows."""
    return {r.phase: r.value for r in rows if r.metric == "fact"}  # type: ignore[attr-defined]
