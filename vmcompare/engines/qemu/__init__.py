"""Virtual machines by plain QEMU: `launchers()` and `probe()`.

One start, from the call to the first byte, is read in five files: ``launcher.py`` (``open``),
``accel.py`` and ``binary.py`` (with what: found once for all starts of a launcher), ``boots.py``
(what is booted) and ``process.py`` (QEMU, and what is heard of it). Then ``guest.py`` obeys the
sandbox's caller, by ``agent.py``. A clone goes through ``moving.py`` as well; ``disks.py`` makes
and weighs images.
"""

from __future__ import annotations

from vmcompare.engines.images import alpine
from vmcompare.engines.qemu import accel
from vmcompare.engines.qemu.binary import find_qemu
from vmcompare.engines.qemu.launcher import QemuLauncher
from vmcompare.errors import Unavailable
from vmcompare.sandbox import Availability, Launcher, Platform

__all__ = ["QemuLauncher", "launchers", "probe"]


def launchers() -> dict[Platform, Launcher]:
    """One launcher for each kind of VM."""
    platforms = (Platform.VM_DIRECT, Platform.VM_TUNED, Platform.VM)
    return {platform: QemuLauncher(platform) for platform in platforms}


def probe() -> Availability:
    """Whether virtual machines can be run here, and how; takes a second at the first call."""
    version = ""
    details: list[tuple[str, str]] = []
    try:
        qemu = find_qemu()
        version = qemu.version
        details.append(("qemu", version))
        choice = accel.choose(qemu)
        details.append(("accelerator", choice.accel))
        details += [(f"rejected {name}", why) for name, why in choice.rejected]
        alpine.sources()
    except Unavailable as error:
        return Availability(False, version, error.what, error.next_step, tuple(details))
    return Availability(True, version, details=tuple(details))
