"""The one interface between experiments and engines: what is asked for, and what comes back.

A :class:`Launcher` opens a :class:`Sandbox` from a :class:`Spec`; every instant that matters
reaches the caller as an :class:`Event` stamped with the *host's* clock (``time.perf_counter_ns``).
Experiments start instances by this module alone. Of ``engines`` they import only the programs that
they have run inside (``programs``) and the settings of a container (``images.oci``).
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol, runtime_checkable

from vmcompare.errors import Unavailable


class Platform(StrEnum):
    """What is compared, always in this order (and colour)."""

    PROCESS = "process"
    CONTAINER = "container"
    VM_DIRECT = "vm-direct"
    VM_TUNED = "vm-tuned"
    VM = "vm"

    @property
    def is_vm(self) -> bool:
        """Whether instances of this platform run a kernel of their own."""
        return self in (Platform.VM_DIRECT, Platform.VM_TUNED, Platform.VM)


class Machine(StrEnum):
    """The computer a VM pretends to be, by QEMU's names; ``NONE`` where nothing is emulated.

    ``VIRT`` has an arm64 processor, the others the host's. ``MICROVM`` is started no more: older
    recordings have it.
    """

    NONE = ""
    PC = "pc"
    Q35 = "q35"
    MICROVM = "microvm"
    VIRT = "virt"


@dataclass(frozen=True, slots=True)
class Series:
    """What is started, counted and drawn as one thing; two series are never pooled.

    How warm a start is and which accelerator carries it are columns of its rows.

    Attributes:
        machine: the computer that a VM pretends to be (``vm-direct`` on ``pc`` and on ``microvm``
            are two series).
        runtime: the runtime of a container that is a bare mechanism (``"runc"``, ``"bubblewrap"``);
            empty for the product (``docker run``), which it never stands in for.
    """

    platform: Platform
    machine: Machine = Machine.NONE
    runtime: str = ""

    @classmethod
    def of(cls, platform: str, machine: str, runtime: str, layer: str) -> Series:
        """The series of a row with these columns. Raises ``ValueError`` for an unknown name."""
        bare = platform == Platform.CONTAINER and layer == "mechanism"
        return cls(Platform(platform), Machine(machine), runtime if bare else "")

    @property
    def label(self) -> str:
        """``"vm-direct (pc)"``, ``"container (bubblewrap)"``, ``"vm"``."""
        usual = self.machine == Machine.PC and self.platform is not Platform.VM_DIRECT
        shown = "" if usual else self.machine  # "pc" is how a distribution boots by default
        inside = ", ".join(part for part in (shown, self.runtime) if part)
        return f"{self.platform} ({inside})" if inside else str(self.platform)

    @property
    def order(self) -> tuple[int, bool, str, str]:
        """Sorts series as the course always shows them."""
        place = list(Platform).index(self.platform)
        return (place, self.machine == Machine.MICROVM, self.machine, self.runtime)


class Start(StrEnum):
    """How warm an instance is when the clock starts."""

    COLD = "cold"
    PRE_CREATED = "pre-created"
    RUNNING = "running"
    CLONE = "clone"


class Confinement(StrEnum):
    """How tightly a container is held."""

    DEFAULT = "default"
    NO_CAPABILITIES = "no-capabilities"
    NO_SECCOMP = "no-seccomp"


class Balloon(StrEnum):
    """How a VM can give memory back while it runs: by a device (virtio-balloon), or not."""

    NONE = ""
    PLAIN = "balloon"
    PAGE_REPORTING = "free-page reporting"


class Namespace(StrEnum):
    """Kinds of Linux namespace, named as in /proc/self/ns."""

    MNT = "mnt"
    UTS = "uts"
    IPC = "ipc"
    PID = "pid"
    NET = "net"
    CGROUP = "cgroup"
    USER = "user"
    TIME = "time"


class Phase(StrEnum):
    """What just *ended* when an event is stamped (``OPEN``: the client call, time zero).

    A VM that boots says ``FIRST_BYTE`` and, once its agent greets, ``READY``. One that is resumed
    from a snapshot says neither again: its first byte after the resume is ``RESUMED``.
    """

    OPEN = "open"
    # container
    CREATE = "create"
    ATTACH = "attach"
    START = "start"
    FIRST_BYTE = "first-byte"
    EXIT = "exit"
    REMOVED = "removed"
    # virtual machine
    SPAWN = "spawn"
    FIRMWARE = "firmware"
    KERNEL = "kernel"
    INIT = "init"
    USERLAND = "userland"
    READY = "ready"
    RESUMED = "resumed"
    SHUTDOWN = "shutdown"


SOFTWARE = "tcg"  # the accelerator that is none: QEMU translates every instruction of the guest

EMULATION = "software emulation"  # what a figure says of rows whose accelerator was `SOFTWARE`


def accelerator_words(accel: str) -> str:
    return EMULATION if accel == SOFTWARE else accel


FIRST_BYTE = b"\x06"
"""The byte the first-byte program writes: ASCII ACK, which no boot message contains."""

FIRST_BYTE_PROGRAM = "/sbin/vmcompare-first-byte"  # where that program lies in every image

ALPINE = "alpine"  # the image both sides share: one userland, whatever runs it

DEBIAN = "debian"  # a second userland for containers, where this computer can make one

# These three have no agent, so `Sandbox.run` is refused.
BOOT_SECTOR = "boot-sector"
"""512 bytes that print a message (the first word of ``Spec.command``) without an operating system;
only a VM on ``pc`` starts them."""

OTHER_KERNEL = "other-kernel"
"""A kernel of ours, no Linux, which prints a message; only ``vm-direct`` on ``pc`` starts it."""

FOREIGN = "foreign"
"""A Linux kernel for arm64 with the first-byte program for arm64 as its only one; only
``vm-direct`` on ``virt`` starts it, and only emulated."""

CONTAINER_HOST = "container-host"
"""The Alpine userland with this computer's own ``runc`` in it (at ``/usr/sbin/runc``): a guest
whose root may start real containers, broken ones too, and harm nobody. ``vm-direct`` only."""

RUNC_IN_A_GUEST = "runc in a guest"  # what stands in the column `runtime` of such containers' rows

NETWORK_DRIVERS = tuple(
    f"/lib/modules/{name}.ko" for name in ("failover", "net_failover", "virtio_net")
)
"""Drivers of the card of a guest on a network (:class:`Connects`), in the order of loading,
which is the caller's business."""

DISK_DRIVER = "/lib/modules/virtio_blk.ko"  # in a guest with a disk of its own, ``Spec.disk_mib``

ENGINE_HOST = "engine-host"
"""A :data:`CONTAINER_HOST` with all of this computer's own Docker in it: client, ``dockerd``,
``containerd`` and its shim. It needs a gibibyte."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """One instance, whatever the platform.

    Attributes:
        image: one of the names above, or one that the backend knows.
        command: argv of the first program.
        vcpus, memory_mib: processors and memory (MiB) it may use.
        network: whether it has a network (both sides of a comparison, or neither).
        own_network: where there is a ``network``: one with no other instance in it, removed with
            this one. A VM's is so in any case.
        runtime: container runtime; empty for the engine's default.
        volume: of a container: the absolute path of a volume of its own, which is removed with it.
            Files there lie on the engine's disk, in no layer. Elsewhere that is a common folder.
        balloon: of a VM. Others have no use for it: what a process frees is the host's at once.
        spare_mib: of a VM: memory beyond ``memory_mib`` that ``Resizable.resize`` can plug in while
            it runs (virtio-mem), instead of moving a balloon. At its start it has none of it.
        ide: of ``vm``: whether its disk is an IDE disk, instead of virtio as its makers have it.
        root: of ``vm``: the device that it is told to start from, by default the makers'.
        channels: of a VM alone: names (words) of further channels to this process, see
            :class:`HasChannels`.
        disk_mib: of a VM: the size of an empty virtio disk of its own: of ``vm-direct``
            ``/dev/vda``, once :data:`DISK_DRIVER` is loaded, else ``/dev/vdb``. What is flushed
            reaches the disk of this computer, in a file without a name, which goes with the VM.
        ide_disk_mib: the same of a further, IDE disk, ``/dev/sda``; ``vm-direct`` has no driver.
        counted: of a VM alone: whether its processor counts its instructions, see
            :class:`Counted`: under software emulation, and slower.
    """

    image: str = ALPINE
    command: tuple[str, ...] = (FIRST_BYTE_PROGRAM,)
    vcpus: int = 1
    memory_mib: int = 512
    network: bool = False
    own_network: bool = False
    runtime: str = ""
    machine: Machine = Machine.NONE
    start: Start = Start.COLD
    confinement: Confinement = Confinement.DEFAULT
    channels: tuple[str, ...] = ()
    volume: str = ""
    balloon: Balloon = Balloon.NONE
    spare_mib: int = 0
    ide: bool = False
    root: str = "/dev/vda"
    disk_mib: int = 0
    ide_disk_mib: int = 0
    counted: bool = False

    @property
    def memory_bytes(self) -> int:
        return self.memory_mib * 1024 * 1024


def refuse_what_only_vms_have(spec: Spec) -> None:
    """Raise ``Unavailable`` where ``spec`` asks for something that only a VM has."""
    for wanted, what in (
        (spec.disk_mib or spec.ide_disk_mib, "a disk of its own"),
        (spec.counted, "a processor that counts its instructions"),
        (spec.channels, "further channels"),
    ):
        if wanted:
            raise Unavailable(f"only a virtual machine has {what}", "use a virtual machine")


@dataclass(frozen=True, slots=True)
class Event:
    """``phase`` ended at ``t_ns`` on the host's ``time.perf_counter_ns`` clock."""

    phase: Phase
    t_ns: int


OnEvent = Callable[[Event], None]


@dataclass(frozen=True, slots=True)
class Completed:
    """A command that ran to its end: standard output and error as they came, and the exit code."""

    output: bytes
    exit_code: int


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """What an instance is made of.

    Attributes:
        digest: ``sha256:…`` of what is booted or run.
        size_bytes: bytes on disk of it.
    """

    digest: str
    size_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Traits:
    """How a launcher does it: the columns that keep unlike series apart.

    Attributes:
        layer: ``"mechanism"`` or ``"product"`` (`docker run` is a product, plain QEMU a mechanism).
        runtime: e.g. ``"runc"``; empty for a VM.
        vmm: e.g. ``"qemu 7.2.15"``; empty where there is none.
        accel: ``"kvm"``, ``"hvf"``, ``"whpx"``, ``"tcg"`` (software emulation) or empty.
    """

    layer: str
    runtime: str = ""
    vmm: str = ""
    accel: str = ""

    @property
    def emulated(self) -> bool:
        return self.accel == SOFTWARE


class Sandbox(Protocol):
    """A running instance. Every method raises ``AbnormalShutdown`` once the instance is gone."""

    def run(self, argv: Sequence[str], *, timeout_s: float = 60.0) -> Completed:
        """Run a command inside, wait for its end. Raises ``WaitTimeout``."""

    def put(self, path: str, data: bytes) -> None:
        """Write ``data`` to the absolute ``path`` inside, mode 755; raises ``LaunchFailure``."""

    def host_pids(self) -> tuple[int, ...]:
        """Every host process that serves this instance (VMM; or shim and workload)."""

    def console(self) -> str:
        """The last lines it printed, for error messages."""


@runtime_checkable
class Launcher(Protocol):
    """Opens sandboxes of one platform."""

    def open(self, spec: Spec, on_event: OnEvent) -> AbstractContextManager[Sandbox]:
        """Start an instance; entering returns once its first byte arrived, leaving destroys it.

        ``on_event`` sees ``OPEN`` first, then each phase as it ends, also while leaving.
        Raises ``LaunchFailure``, ``WaitTimeout``, ``AbnormalShutdown`` or ``Unavailable``; whatever
        is raised (``KeyboardInterrupt`` too), nothing of the instance is left.
        """

    def image(self, spec: Spec) -> ImageFacts:
        """Make sure the image is there (building it if need be) and describe it."""

    def traits(self, spec: Spec) -> Traits:
        """How instances of ``spec`` are made."""


@dataclass(frozen=True, slots=True)
class FileFact:
    """One regular file inside an instance, by its absolute path; hard links of one file are one."""

    path: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Piece:
    """One thing that is stored and shipped: a layer, a kernel, a RAM disk, a disk, an overlay.

    Attributes:
        digest: ``sha256:…`` of its bytes before compression.
        virtual_bytes: what it amounts to inside: the size of a disk, the sum of a layer's files.
        allocated_bytes: what it occupies on the disk of this computer, uncompressed by us.
        compressed_bytes: what is sent: gzip level 6 (RFC 1952) on every platform, which is what
            ``docker push`` does to a layer.
    """

    name: str
    digest: str
    virtual_bytes: int
    allocated_bytes: int
    compressed_bytes: int


@dataclass(frozen=True, slots=True)
class Parcel:
    """What has to reach a computer so that an application runs there.

    Attributes:
        whole: all of it, for a computer that has nothing yet.
        again: what is sent once more to one that has the base with another application (or with
            an older one) by the technique's ordinary way.
        thin: the same where a base can be shared by an extra step (a qcow2 backing file); empty
            where there is no such step.
    """

    whole: tuple[Piece, ...]
    again: tuple[Piece, ...]
    thin: tuple[Piece, ...] = ()


@runtime_checkable
class Packer(Protocol):
    """A launcher whose instances come in a box; an ordinary process has none.

    ``added`` is an application put on top of the shared base: absolute path → content. Both raise
    what ``Launcher.image`` raises, and ``LaunchFailure`` where that cannot be put in.
    """

    def contents(self, spec: Spec, added: Mapping[str, bytes]) -> Iterator[FileFact]:
        """Every regular file in the box."""

    def parcel(self, spec: Spec, added: Mapping[str, bytes]) -> Parcel:
        """What is stored and shipped; weighed on real files."""


@dataclass(frozen=True, slots=True)
class Moved:
    """What an image took that was shipped to another place and started there.

    A running instance that moves is a :class:`Migration`.

    Attributes:
        shipped_bytes: the one file that has to travel: gzip level 6 on every platform.
        save_s: from the image as it is kept here to that file.
        load_s: from that file to an image as it is kept there.
        start_s: from the call there to the first byte.
    """

    shipped_bytes: int
    save_s: float
    load_s: float
    start_s: float


@runtime_checkable
class Mover(Protocol):
    """A launcher that can ship an image to a second place, with nothing of it there before.

    No instance runs meanwhile; one that moves while it runs :class:`Migrates`.
    """

    def move(self, spec: Spec) -> Moved:
        """Save, load and start once; nothing stays. Raises as :meth:`Launcher.open` does, and
        ``StorageError`` where there is no room."""


@runtime_checkable
class Saver(Protocol):
    """A launcher that can put an image into one file, for another engine of its kind."""

    def save(self, spec: Spec) -> bytes:
        """What ``docker save`` writes, by gzip. Raises what :meth:`Launcher.open` raises."""


OpenOn = Callable[[str, Spec, OnEvent], AbstractContextManager[Sandbox]]
"""As ``Launcher.open``, of an instance on a network; first comes its name there."""


@runtime_checkable
class Connects(Protocol):
    """A launcher that can put instances on a network with nothing else in it, and no way out."""

    def network(self) -> AbstractContextManager[OpenOn]:
        """Make one; leaving removes it, once all on it have been left.

        Containers find each other by their names. VMs, two at most, have a card each (``eth0``):
        its drivers (:data:`NETWORK_DRIVERS`) and its address are the guest's business.

        Raises ``Unavailable``, and what :meth:`Launcher.open` raises; the opener does so, too.
        """


@dataclass(frozen=True, slots=True)
class Migration:
    """A running instance that has moved, with its memory; a shipped image is a :class:`Moved`.

    Attributes:
        box: where it runs now; the one it came from has stopped.
        pause_s: the time in which the instance ran nowhere.
        by: the program of its own that this took, with its version; empty where there was none.
    """

    box: Sandbox
    pause_s: float
    by: str = ""


@runtime_checkable
class Migrates(Protocol):
    """A sandbox that can move, while it runs, to another process that serves it.

    A :class:`Mover` ships an image instead.
    """

    def migrate(self) -> AbstractContextManager[Migration]:
        """Move; leaving ends what it became. Its channels have new host ends there.

        Raises:
            Unavailable: it cannot be moved.
            VmcompareError: the move failed.
        """


@runtime_checkable
class Layered(Protocol):
    """A sandbox with a writable layer of its own over the image."""

    def written_bytes(self) -> int:
        """Bytes of the files in that layer. Raises ``AbnormalShutdown`` once it is gone."""


@runtime_checkable
class Resizable(Protocol):
    """A sandbox whose limits can be changed while it runs."""

    def resize(self, memory_mib: int) -> int:
        """Ask for another limit of memory; the limit (MiB) that is then in force.

        That may be another one than was asked for. Returns once it no longer changes.

        Raises:
            Unavailable: this instance has nothing to do it by.
            LaunchFailure: it is refused.
            AbnormalShutdown: the instance is gone.
        """

    def limit_processors(self, cpus: float) -> None:
        """Set how many processors it may use, perhaps a part of one. Raises as :meth:`resize`."""


@dataclass(frozen=True, slots=True)
class Channel:
    """One of ``Spec.channels``: a stream of bytes in both directions.

    ``path`` is the device inside, which one program at a time can have open; ``host`` is this end,
    a connected socket, closed when the sandbox is left.
    """

    path: str
    host: socket.socket


@runtime_checkable
class HasChannels(Protocol):
    """A sandbox with the further channels that its spec names."""

    def channel(self, name: str) -> Channel:
        """One of them. Raises ``UnknownName``, and ``AbnormalShutdown`` once it is gone."""


@runtime_checkable
class Counted(Protocol):
    """A sandbox of a spec that is ``counted``."""

    def start_instructions(self) -> int:
        """What its processor executed from power-on to the first byte, waiting left out.

        Raises ``WaitTimeout``, and ``AbnormalShutdown`` once it is gone.
        """


OnOutput = Callable[[bytes, int], None]
"""Told, in a thread of its own, of each piece of output and when it came (host, nanoseconds)."""


class Followed(Protocol):
    """A command that runs on and is listened to."""

    def ended_ns(self) -> int | None:
        """When its output ended (host, ns), or its instance was gone; ``None`` before that."""

    def wait(self, timeout_s: float) -> bool:
        """Wait for that at most so long; whether it came."""


@runtime_checkable
class Follower(Protocol):
    """A sandbox that can let a command run on while others are run beside it."""

    def follow(self, argv: Sequence[str], on_output: OnOutput) -> AbstractContextManager[Followed]:
        """Start a command whose standard output and error are handed on as they come.

        Leaving ends the command, and all that it started, and returns once ``on_output`` will not
        be called again; it does not raise should the instance be gone. One command at a time is
        followed in each instance; ``Sandbox.run`` works meanwhile.

        Raises:
            LaunchFailure: a second one is asked for, or there is no such program.
            AbnormalShutdown: the instance was gone already.
        """


@dataclass(frozen=True, slots=True)
class Availability:
    """What a backend's ``probe()`` found.

    Attributes:
        version: the engine's version, or empty.
        what: when not ok: what is missing, one clause.
        next_step: when not ok: the one thing to do.
        details: facts worth recording (accelerator and why each other one was rejected …).
    """

    ok: bool
    version: str = ""
    what: str = ""
    next_step: str = ""
    details: tuple[tuple[str, str], ...] = ()
