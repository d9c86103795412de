"""Who is asked, and what an instance says of the kernel that answers it.

An observation repeats no names, addresses, paths or tokens of the computer.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from vmcompare.errors import Unavailable
from vmcompare.evidence.recording import Measurement
from vmcompare.measuring.experiment import Context, blank
from vmcompare.sandbox import DEBIAN, Machine, Namespace, Platform, Sandbox, Spec

NAMESPACES = (Namespace.PID, Namespace.NET, Namespace.MNT, Namespace.USER, Namespace.CGROUP)
"""Those that the lesson looks at."""

PHASES: tuple[str, ...] = (
    "kernel release", "boot id", "userland", *(f"{name} namespace" for name in NAMESPACES),
)  # fmt: skip
"""What every instance is asked, in the order of the picture."""


@dataclass(frozen=True, slots=True)
class Who:
    name: str
    platform: Platform
    rep: int
    spec: Spec


INSTANCES: tuple[Who, ...] = (
    Who("host", Platform.PROCESS, 0, Spec()),
    Who("container A", Platform.CONTAINER, 0, Spec()),
    Who("container B", Platform.CONTAINER, 1, Spec()),
    Who("container C", Platform.CONTAINER, 2, Spec(image=DEBIAN)),
    Who("vm-direct", Platform.VM_DIRECT, 0, Spec(machine=Machine.PC)),
    Who("vm", Platform.VM, 0, Spec(machine=Machine.Q35)),
)


def first_of(platform: Platform) -> Who:
    return next(who for who in INSTANCES if who.platform is platform)


@dataclass(frozen=True, slots=True)
class Reading:
    """What an instance said of itself.

    Attributes:
        release, boot_id: of the kernel; the boot id is drawn at random when a kernel starts.
        userland: what ``/etc/os-release`` calls the files around it.
        namespaces: the other phases → what was read. Two equal numbers of namespaces under two
            kernels are two namespaces: compare them together with the boot id.
    """

    release: str
    boot_id: str
    userland: str
    namespaces: Mapping[str, str]


@dataclass(slots=True)
class Run:
    """What is known so far.

    Attributes:
        context: launchers, and who watches.
        kept: leaves the host's process and the ladder's guest, which stay to the end.
        together: leaves the other instances, once they have been compared.
        boxes, readings: by the names of :data:`INSTANCES`; those that failed are not there.
        why: name → why an instance has no reading.
    """

    context: Context
    kept: contextlib.ExitStack
    together: contextlib.ExitStack
    boxes: dict[str, Sandbox] = field(default_factory=dict)
    readings: dict[str, Reading] = field(default_factory=dict)
    why: dict[str, str] = field(default_factory=dict)

    def row(self, who: Who, metric: str, phase: str, spec: Spec | None = None) -> Measurement:
        """A row of an instance to be filled; ``spec`` where it differs from the instance's own."""
        launcher, where = self.context.launchers[who.platform], who.platform
        return blank(launcher, where, spec or who.spec, metric, phase=phase, rep=who.rep)

    def fact(self, platform: Platform, name: str, spec: Spec | None = None) -> Measurement:
        return self.row(first_of(platform), "fact", name, spec)


_SCRIPT = (
    r"""
PATH=$PATH:/usr/sbin:/usr/bin:/sbin:/bin
tell() { echo "$1=$2"; }
tell release "$(uname -r)"
tell boot_id "$(cat /proc/sys/kernel/random/boot_id)"
tell userland "$(. /etc/os-release; echo "$PRETTY_NAME")"
"""
    + "\n".join(f'tell ns_{name} "$(readlink /proc/self/ns/{name})"' for name in NAMESPACES)
    + "\n"
)

_DIGITS = 6
"""Of a namespace's number that are shown; there are never a million of one kind."""


def observe(box: Sandbox) -> Reading:
    """Ask an instance.

    Raises:
        Unavailable: its answer lacks what every Linux tells.
        AbnormalShutdown, WaitTimeout: as :meth:`Sandbox.run`.
    """
    done = box.run(["sh", "-c", _SCRIPT])
    return understood(done.output.decode(errors="replace"))


def understood(said: str) -> Reading:
    """The reading in what the script printed. Raises ``Unavailable`` where it is not whole."""
    told = dict(line.split("=", 1) for line in said.splitlines() if "=" in line)
    try:
        return Reading(
            release=told["release"],
            boot_id=told["boot_id"],
            userland=told["userland"],
            namespaces={f"{n} namespace": _number(told[f"ns_{n}"]) for n in NAMESPACES},
        )
    except KeyError as error:
        raise Unavailable(
            f"an instance did not say all that was asked of it ({error})", "look at a recording"
        ) from error


def _number(link: str) -> str:
    """The last digits of an inode number: the first ones are the same for all namespaces."""
    digits = re.sub(r"\D", "", link)
    return f"…{digits[-_DIGITS:]}" if digits else "none"


_MAKERS = ("linuxkit", "microsoft", "wsl2")
"""In the release of the kernels that Docker Desktop and WSL2 boot in a VM of their own."""


def hidden_vm(host: Reading | None, containers: Sequence[Reading]) -> bool:
    """Whether the containers run under the kernel of a VM that the learner did not start.

    So it is when their boot id is not the host's; when there is no Linux host to ask (macOS,
    Windows); or when the kernel's release names the maker of such a VM. The last tells a session
    inside WSL2, which shares that VM's kernel itself.

    Args:
        host: the host's reading, where it runs Linux.
        containers: those of the containers.
    """
    if host is None or any(one.boot_id != host.boot_id for one in containers):
        return bool(containers)
    return any(maker in one.release.lower() for one in containers for maker in _MAKERS)
