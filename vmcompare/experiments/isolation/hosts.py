"""Instances whose hearts are heard: opening them, and hosting containers in a disposable VM."""

from __future__ import annotations

import contextlib
import platform as computer
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from vmcompare.engines.programs import heartbeat
from vmcompare.errors import LaunchFailure, Unavailable, WaitTimeout
from vmcompare.evidence.units import MIB, NS_PER_S
from vmcompare.experiments.isolation import nested
from vmcompare.experiments.isolation.hearts import Ears
from vmcompare.measuring import memory
from vmcompare.measuring.experiment import Context
from vmcompare.sandbox import (
    CONTAINER_HOST,
    Followed,
    Follower,
    Launcher,
    Machine,
    Platform,
    Sandbox,
    Spec,
)

GUEST = Spec(machine=Machine.PC, memory_mib=192)
"""A guest that does nothing but beat."""

DISPOSABLE = Spec(image=CONTAINER_HOST, machine=Machine.PC, memory_mib=384)
"""The VM that hosts containers which may break it."""

SPARE_BYTES = 512 * MIB
"""Memory of this computer that no guest may use up."""

FIRST_BEAT_S = 60.0
"""Seconds until a heart must beat: under emulation on a busy computer a container starts slowly."""

IN_A_GUEST = "runc in a guest"
"""What stands in the column ``runtime`` of containers in the disposable VM."""

_ERRNO = {
    "Read-only file system": "EROFS",
    "Permission denied": "EACCES",
    "Operation not permitted": "EPERM",
    "No such file or directory": "ENOENT",
    "nonexistent directory": "ENOENT",
}
"""What BusyBox's shell says → the name of the error number."""


@dataclass(frozen=True, slots=True)
class Clock:
    """The host's clock; tests have one of their own."""

    now_ns: Callable[[], int] = time.perf_counter_ns
    sleep: Callable[[float], None] = time.sleep

    def until(self, t_ns: int) -> None:
        """Wait for an instant; returns at once where it has passed."""
        while (left_ns := t_ns - self.now_ns()) > 0:
            self.sleep(left_ns / NS_PER_S)


@dataclass(slots=True)
class Heard:
    """An instance, and what is heard of it.

    Attributes:
        box: the instance.
        ears: its beats, by letter.
        followed: the command that beats.
    """

    box: Sandbox
    ears: Ears
    followed: Followed


@dataclass(slots=True)
class Host:
    """Opens instances for one part of the experiment.

    Attributes:
        context: launchers.
        stack: what closes them.
        clock: of this computer.
        why: name of an instance → why there is none.
    """

    context: Context
    stack: contextlib.ExitStack
    clock: Clock = field(default_factory=Clock)
    why: dict[str, str] = field(default_factory=dict)

    def launcher(self, platform: Platform) -> Launcher:
        """Raises ``Unavailable`` where there is none."""
        try:
            return self.context.launchers[platform]
        except KeyError:
            raise Unavailable(
                f"there is no {platform} on this computer", "look at the recording"
            ) from None

    def open(self, platform: Platform, spec: Spec) -> Sandbox:
        """Raises what launchers raise, and ``Unavailable`` where memory would get short."""
        if platform.is_vm and memory.available_bytes() < spec.memory_mib * MIB + SPARE_BYTES:
            raise Unavailable(
                f"another guest of {spec.memory_mib} MiB would leave this computer too little "
                "memory",
                "close other programs",
            )
        launcher = self.launcher(platform)
        return self.stack.enter_context(launcher.open(spec, self.context.on_event))

    def beating(self, platform: Platform, spec: Spec, letter: str) -> Heard:
        """An instance with a heart that beats. Raises what :meth:`open` and :meth:`hear` raise."""
        box = self.open(platform, spec)
        put_heart(box, heartbeat.PATH)
        return self.hear(box, (heartbeat.PATH, letter), letter)

    def hosting(self, spec: Spec, containers: Mapping[str, Mapping[str, Any]], own: str) -> Heard:
        """A disposable VM with a heart of its own, and with containers that beat.

        Args:
            containers: letter → OCI configuration of a container that beats with that letter, and
                is called so.
            own: the letter of the VM's own heart.

        Raises:
            LaunchFailure: a container did not begin to beat; what ``runc`` said is attached.
            Unavailable, WaitTimeout, AbnormalShutdown: as :meth:`open`.
        """
        box = self.open(Platform.VM_DIRECT, spec)
        nested.prepare(box)
        put_heart(box, heartbeat.PATH)
        put_heart(box, nested.IMAGE + heartbeat.PATH)
        lines = [f"{heartbeat.PATH} {own} &"]
        for name, configuration in containers.items():
            nested.write(box, name, configuration)
            lines.append(background(name))
        letters = own + "".join(containers)
        try:
            return self.hear(box, ("sh", "-c", "\n".join([*lines, "wait"])), letters)
        except WaitTimeout as silence:
            said = box.run(["sh", "-c", "cat /tmp/*.err"]).output.decode(errors="replace").strip()
            raise LaunchFailure(f"{silence} ({said[-200:]})", ("runc", "run")) from silence

    def hear(self, box: Sandbox, argv: Sequence[str], letters: str) -> Heard:
        """Follow hearts until each has beaten once.

        Raises:
            WaitTimeout: one did not begin to.
            Unavailable: this kind of instance cannot be followed.
            LaunchFailure, AbnormalShutdown: as ``Follower.follow``.
        """
        if not isinstance(box, Follower):
            raise Unavailable("a command in it cannot be followed", "look at the recording")
        ears = Ears()
        followed = self.stack.enter_context(box.follow(argv, ears.hear))
        deadline_ns = self.clock.now_ns() + int(FIRST_BEAT_S * NS_PER_S)
        while mute := [letter for letter in letters if not ears.beats(letter)]:
            if followed.ended_ns() is not None:
                raise LaunchFailure("the hearts ended before they all beat", tuple(argv))
            if self.clock.now_ns() > deadline_ns:
                raise WaitTimeout(f"the first beat of {' and '.join(mute)}", FIRST_BEAT_S)
            self.clock.sleep(0.02)
        return Heard(box, ears, followed)


def background(name: str) -> str:
    """A line of shell that starts a container and leaves what it complains of in a file."""
    return f"{nested.start_line(name)} 2>{complaints(name)} &"


def complaints(name: str) -> str:
    """Where in the guest lies what a container, or ``runc`` itself, wrote to standard error."""
    return f"/tmp/{name}.err"


def first_process(name: str) -> str:
    """Shell that prints the guest's number of a container's first process.

    From the file in which ``runc`` keeps what it knows of the container: ``runc state`` says the
    same, but takes most of a second under emulation.
    """
    return f"""sed 's/.*"init_process_pid":\\([0-9]*\\).*/\\1/' /run/runc/{name}/state.json"""


def put_heart(box: Sandbox, path: str) -> None:
    """Put the heartbeat program into an instance.

    Raises:
        LaunchFailure: it cannot be written there.
        Unavailable: there is none for this processor.
    """
    box.put(path, heartbeat.elf(computer.machine()))


def refused(said: bytes) -> str:
    """``"refused: EROFS"`` from what a shell printed; its last words where they are unknown."""
    text = said.decode(errors="replace").strip()
    for words, name in _ERRNO.items():
        if words in text:
            return f"refused: {name}"
    words = re.sub(r"\s+", " ", text)[-80:]
    return f"refused: {words}" if words else "refused without a word"
