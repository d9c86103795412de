"""`sandbox.Launcher` for the three kinds of virtual machine."""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from vmcompare.backends.qemu import accel, boots, box, channel, disks, tsc
from vmcompare.backends.qemu.binary import Qemu, find_qemu
from vmcompare.backends.qemu.boots import Boot
from vmcompare.backends.qemu.machine import Machine, Plan
from vmcompare.errors import AbnormalShutdown, LaunchFailure, Unavailable, WaitTimeout
from vmcompare.images import alpine
from vmcompare.images.cache import Cache, Progress
from vmcompare.programs import boot_sector
from vmcompare.sandbox import (
    ALPINE,
    BOOT_SECTOR,
    Completed,
    Event,
    FileFact,
    ImageFacts,
    OnEvent,
    Parcel,
    Phase,
    Platform,
    Sandbox,
    Spec,
    Traits,
    refuse_sysctls,
)
from vmcompare.sandbox import Machine as MachineType

_READY_S = 120.0
"""Seconds from the first byte to the agent's greeting; emulated it needs 0.1 to 1."""

_PUT_S = 120.0
"""Seconds for one :meth:`Sandbox.put`."""

_STOP_S = 15.0
"""Seconds for a hanging command inside to be killed."""


_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
"""What colours a console's text and moves its cursor (ECMA-48, control sequences)."""


class QemuLauncher:
    """Starts virtual machines of one platform with plain QEMU: a mechanism, not a product.

    Args:
        platform: ``VM_DIRECT``, ``VM_TUNED`` or ``VM``.
        small: ``VM_DIRECT`` only: boot BusyBox alone instead of the whole userland.
        options: further arguments for QEMU (a balloon, a panic device).
        progress: is told when an image has to be built.
    """

    def __init__(
        self,
        platform: Platform,
        *,
        small: bool = False,
        options: Sequence[str] = (),
        progress: Progress | None = None,
    ) -> None:
        if not platform.is_vm or (small and platform is not Platform.VM_DIRECT):
            raise ValueError(f"there is no such virtual machine: {platform} (small: {small})")
        self._platform = platform
        self._small = small
        self._options = tuple(options)
        self._progress = progress

    def open(self, spec: Spec, on_event: OnEvent) -> AbstractContextManager[Sandbox]:
        """See :meth:`vmcompare.sandbox.Launcher.open`.

        Whatever has to be found out or built first is done before ``OPEN``: it is not part of a
        start. ``READY`` is stamped when the agent greets, and told at the first use of the sandbox
        or while leaving.
        """
        return self._open(spec, on_event)

    @contextmanager
    def _open(self, spec: Spec, on_event: OnEvent) -> Iterator[Sandbox]:
        refuse_sysctls(spec)
        qemu = find_qemu()
        choice = accel.choose(qemu)
        boot = self._boot(qemu, choice, spec)
        machine = Machine(
            Plan(
                qemu,
                choice,
                boots.plan_arguments(boot, spec, self._options),
                bus=boot.bus,
                on_debug=boot.on_debug,
                on_serial=boot.on_serial,
            )
        )
        on_event(Event(Phase.OPEN, time.perf_counter_ns()))
        try:
            machine.start()
            deadline = time.monotonic() + boot.timeout_s
            reached, greeting = None, None
            while reached is not Phase.FIRST_BYTE:
                mark = machine.next_mark("the first byte", deadline, boot.timeout_s)
                reached = mark.phase
                if reached is Phase.READY:
                    # The guest starts the byte's program and the agent side by side, and each has a
                    # channel of its own: on a busy host the greeting can come first.
                    greeting = mark
                elif reached is not None:
                    on_event(Event(reached, mark.t_ns))
            if greeting is not None:
                machine.put_back(greeting)
            guest = _Guest(machine, on_event, answers=spec.image != BOOT_SECTOR)
            yield guest
            guest.tell_ready()
            on_event(Event(Phase.SHUTDOWN, machine.stop()))
        finally:
            machine.kill()

    def image(self, spec: Spec) -> ImageFacts:
        """Build what is missing; digests of kernel, RAM disk and disks, in the order of use."""
        qemu = find_qemu()
        files = self._boot(qemu, accel.choose(qemu), spec).files
        layers = tuple(alpine.digest(file) for file in files)
        whole = hashlib.sha256("\n".join(layers).encode()).hexdigest()
        size = sum(file.stat().st_size for file in files)
        return ImageFacts("sha256:" + whole, layers, size)

    def contents(self, spec: Spec, added: Mapping[str, bytes]) -> Iterator[FileFact]:
        """See :class:`vmcompare.sandbox.Packer`."""
        self._must_be_boxed(spec)
        if self._platform is Platform.VM_DIRECT:
            return box.direct_contents(added, self._progress)
        return box.disk_contents(*self._chain(added))

    def parcel(self, spec: Spec, added: Mapping[str, bytes]) -> Parcel:
        """See :class:`vmcompare.sandbox.Packer`. Of a disk that holds its kernel, only the disk."""
        self._must_be_boxed(spec)
        if self._platform is Platform.VM_DIRECT:
            return box.direct_parcel(alpine.full_initramfs(self._progress), added)
        return box.disk_parcel(*self._chain(added))

    def _must_be_boxed(self, spec: Spec) -> None:
        if self._small or self._platform is Platform.VM_TUNED or spec.image != ALPINE:
            raise Unavailable(
                "only the whole Alpine userland is weighed",
                f"weigh {Platform.VM} or {Platform.VM_DIRECT} with the image {ALPINE!r}",
            )

    def _chain(self, added: Mapping[str, bytes]) -> tuple[Path, ...]:
        """The files that make the disk of ``vm`` with an application on it, the lowest first."""
        qemu = find_qemu()
        choice = accel.choose(qemu)
        below = disks.overlay(qemu, choice, self._progress)
        above = disks.changed(qemu, choice, added, self._progress)
        return (alpine.sources().disk, below, above)

    def traits(self, spec: Spec) -> Traits:  # noqa: ARG002 - the same for every spec
        """Mechanism, QEMU's version, the accelerator that was proved."""
        qemu = find_qemu()
        return Traits("mechanism", vmm=f"qemu {qemu.version}", accel=accel.choose(qemu).accel)

    def _boot(self, qemu: Qemu, choice: accel.Choice, spec: Spec) -> Boot:
        progress = self._progress
        if spec.image == BOOT_SECTOR:
            return boots.sector(_sector(spec))
        if spec.image != ALPINE:
            raise Unavailable(
                f"a virtual machine of the image {spec.image!r} cannot be made",
                f"use the image {ALPINE!r} or {BOOT_SECTOR!r}",
            )
        if self._platform is Platform.VM:
            return boots.as_made(disks.overlay(qemu, choice, progress))
        if self._platform is Platform.VM_TUNED:
            disk = disks.warm_overlay(qemu, choice, progress)
            return boots.tuned(qemu, disk, network=spec.network, progress=progress)
        userland = alpine.small_initramfs if self._small else alpine.full_initramfs
        khz = None
        if spec.machine is MachineType.MICROVM and choice.accel == accel.SOFTWARE:
            small = QemuLauncher(Platform.VM_DIRECT, small=True, progress=progress)
            khz = tsc.frequency_khz(qemu, small)
        return boots.direct(qemu, spec.machine, userland(progress), tsc_khz=khz, progress=progress)


def _sector(spec: Spec) -> Path:
    """A disk with the 512-byte operating system that prints the first word of the command."""
    said = spec.command[0] if spec.command != Spec().command else boot_sector.MESSAGE
    image = boot_sector.image(said)
    return Cache().get("sector.img", image.hex(), lambda out: out.write_bytes(image))


def _last_line(console: str) -> str:
    """The last line that says something, without colours and control characters."""
    plain = _ESCAPES.sub("", console)
    lines = ("".join(filter(str.isprintable, line)).strip() for line in plain.splitlines())
    return ([line for line in lines if line] or [""])[-1]


class _Guest:
    """A running virtual machine: `sandbox.Sandbox`."""

    def __init__(self, machine: Machine, on_event: OnEvent, *, answers: bool) -> None:
        self._machine = machine
        self._answers = answers
        self._on_event = on_event
        self._agent = machine.agent()
        self._second = machine.agent("second")
        self._session = 0
        self._second_greeted = False

    def run(self, argv: Sequence[str], *, timeout_s: float = 60.0) -> Completed:
        """See :class:`vmcompare.sandbox.Sandbox`. After a ``WaitTimeout`` the command is dead."""
        self._await_ready()
        try:
            return self._agent.run(argv, timeout_s)
        except WaitTimeout as error:
            self._stop_what_runs()
            raise WaitTimeout(error.what, timeout_s, self.console()) from None
        except AbnormalShutdown as error:
            raise self._machine.gone() from error

    def put(self, path: str, data: bytes) -> None:
        """See :class:`vmcompare.sandbox.Sandbox`. Raises ``LaunchFailure`` if it cannot."""
        self._await_ready()
        try:
            done = self._agent.put(path, data, _PUT_S)
        except AbnormalShutdown as error:
            raise self._machine.gone() from error
        if done.exit_code:
            raise LaunchFailure(f"{path} could not be written in the guest", ("put", path))

    def host_pids(self) -> tuple[int, ...]:
        """QEMU is the only process that serves a virtual machine."""
        return (self._machine.pid,)

    def console(self) -> str:
        """The last lines of its serial console."""
        return self._machine.console()

    def tell_ready(self) -> None:
        """Tell of ``READY`` if it has come by now; never waits."""
        for mark in self._machine.marks_so_far():
            if mark.phase is not None:
                self._on_event(Event(mark.phase, mark.t_ns))

    def _await_ready(self) -> None:
        if not self._answers:
            raise Unavailable(
                "this operating system prints one message and runs no commands",
                "read what it printed with console()",
            )
        deadline = time.monotonic() + _READY_S
        while not self._session:
            try:
                mark = self._machine.next_mark("the agent's greeting", deadline, _READY_S)
            except LaunchFailure as error:  # QEMU ended after the first byte
                raise self._machine.gone() from error
            except WaitTimeout as error:  # a row keeps its words alone: let them tell what they can
                what = f"{error.what} (last on its console: {_last_line(error.console)!r})"
                raise WaitTimeout(what, error.timeout_s, error.console) from None
            if mark.phase is not None:
                self._on_event(Event(mark.phase, mark.t_ns))
            if mark.phase is Phase.READY:
                self._session = channel.session_of(self._machine.greeting())

    def _stop_what_runs(self) -> None:
        """Kill what hangs on the first channel, through the second."""
        try:
            if not self._second_greeted:
                self._second.greeted(_STOP_S)
                self._second_greeted = True
            self._second.run_line(channel.stop_line(self._session), _STOP_S)
            self._agent.settle(_STOP_S)
        except (TimeoutError, WaitTimeout):
            pass  # the next command waits for the stale answer first
        except (AbnormalShutdown, OSError) as error:
            raise self._machine.gone() from error
