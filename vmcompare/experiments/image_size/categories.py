"""To which part of a system a file belongs, by its path: the rules, with their reasons."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping

from vmcompare.sandbox import FIRST_BYTE_PROGRAM, FileFact

APPLICATION, KERNEL, RAM_DISK = "application", "kernel", "initial RAM disk"
MODULES, FIRMWARE, INIT = "modules", "firmware", "init and services"
PACKAGES, LIBRARIES, PROGRAMS = "package manager", "libraries", "programs"
REST = "data and settings"

ONLY_VM = (KERNEL, RAM_DISK, MODULES, FIRMWARE)
"""What starts a computer: a container's kernel runs already, so it needs none of it."""

CATEGORIES = (
    APPLICATION, LIBRARIES, PROGRAMS, REST, PACKAGES, INIT, FIRMWARE, MODULES, RAM_DISK, KERNEL,
)  # fmt: skip
"""All of them, the application first and what is closest to the hardware last."""

RULES: tuple[tuple[str, str], ...] = (
    # What is shipped for its own sake: ours, and the tiny program that every start waits for.
    (APPLICATION, r"/opt/|" + re.escape(FIRST_BYTE_PROGRAM) + r"$"),
    # mkinitfs writes it; it unpacks into RAM, finds the disk and hands over.
    (RAM_DISK, r"/boot/initramfs"),
    # The rest of /boot: the kernel, its symbol table and its configuration.
    (KERNEL, r"/boot/"),
    (MODULES, r"(/usr)?/lib/modules/"),
    (FIRMWARE, r"(/usr)?/lib/firmware/"),
    # OpenRC, BusyBox init's table, what they start, and the two agents that take commands.
    (
        INIT,
        r"/init$|/etc/(init\.d|conf\.d|runlevels|inittab|rc\.conf|local\.d)|/(usr/)?lib(exec)?/rc/"
        r"|/s?bin/(openrc|rc-|rc$|supervise-daemon|start-stop-daemon|vmcompare-agent)"
        r"|/(usr/)?lib/lib(rc|einfo)\.|/etc/init\.d/|/usr/local/bin/quicksand-guest-agent",
    ),
    # apk, its library, its database of what is installed, its keys.
    (PACKAGES, r"/s?bin/apk|/(usr/)?lib/(apk|libapk)|/etc/apk|/var/cache/apk|/usr/share/apk"),
    # Shared objects wherever they lie; the C library is also the loader.
    (LIBRARIES, r".*\.so(\.|$)|/lib/ld-musl|(/usr)?/lib/"),
    (PROGRAMS, r"(/usr(/local)?)?/s?bin/|/usr/libexec/"),
)
"""(category, pattern matched from the start of the path); the first that matches counts, and what
none matches is :data:`REST`."""

_COMPILED = tuple((category, re.compile(pattern)) for category, pattern in RULES)


def category(path: str) -> str:
    return next((name for name, pattern in _COMPILED if pattern.match(path)), REST)


def weigh(files: Iterable[FileFact]) -> Mapping[str, int]:
    """Category → bytes of its files, every category once, zeros too."""
    found: Counter[str] = Counter()
    for file in files:
        found[category(file.path)] += file.size_bytes
    return {name: found[name] for name in CATEGORIES}
