"""A guest that hosts containers: the Alpine userland with this computer's own ``runc`` in it.

The programs that Docker here starts its containers with (and Docker itself, for a guest that hosts
an engine) are copied, with the shared libraries that ``ldd`` names, each to the path it has here;
Alpine's own C library (musl) lies elsewhere.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from vmcompare.engines.commands import query
from vmcompare.errors import Unavailable

RUNC = "/usr/sbin/runc"  # in the guest
ENGINE = ("docker", "dockerd", "containerd", "containerd-shim-runc-v2")
"""Docker's programs; they lie beside ``runc`` in the guest."""
LOOP_MODULE = "/lib/modules/loop.ko"
"""Where the kernel's module of loop devices lies in the guest: with it, root there can make a block
device, which is that guest's "host disk" to a container in it. Nothing loads it by itself."""

_OVERLAY_MODULE = "/lib/modules/overlay.ko"
_INSTALL = {"runc": "it (on Debian and Ubuntu: sudo apt install runc)"} | dict.fromkeys(
    ENGINE, "Docker (on Debian and Ubuntu: sudo apt install docker.io)"
)

_SYSTEM_PLACES = ("/usr/sbin", "/usr/local/sbin", "/usr/bin", "/usr/local/bin", "/sbin")
"""Looked at after PATH: an ordinary user's often lacks the first ones."""

_LDD_TIMEOUT_S = 20.0

# "libc.so.6 => /lib/…/libc.so.6 (0x…)", "/lib64/ld-linux-x86-64.so.2 (0x…)", "libx.so => not found"
_LIBRARY = re.compile(r"^\s*(?:(\S+) => )?(/\S+|not found)(?: \(0x[0-9a-f]+\))?\s*$")


def files(*, engine: bool) -> tuple[Mapping[str, bytes], Sequence[str]]:
    """``runc`` and its libraries (absolute path in the guest → content), and modules of the kernel.

    With ``engine`` also Docker's programs. Raises as :func:`program_files` does.
    """
    if engine:
        return program_files("runc", *ENGINE), (LOOP_MODULE, _OVERLAY_MODULE)
    return program_files("runc"), (LOOP_MODULE,)


def program_files(*names: str) -> Mapping[str, bytes]:
    """Programs, their loader and their libraries: absolute path in the guest → content.

    Raises ``Unavailable``: no Linux here, no such program, or a library missing.
    """
    found = {}
    for name in names:
        program = _program(name)
        try:
            found[str(PurePosixPath(RUNC).with_name(name))] = program.read_bytes()
        except OSError as error:
            raise Unavailable(
                f"{name} cannot be read ({error.strerror})",
                "have an administrator make it readable, or analyse a recording",
            ) from error
        found |= {path: Path(path).read_bytes() for path in _libraries(program)}
    return found


def _program(name: str) -> Path:
    if platform.system() != "Linux":
        raise Unavailable(
            "containers in a guest need the runc of a Linux computer", "analyse a recording"
        )
    where = os.pathsep.join((os.environ.get("PATH", os.defpath), *_SYSTEM_PLACES))
    found = shutil.which(name, path=where)
    if found is None:
        raise Unavailable(
            f"there is no {name} here to put into a guest",
            f"install {_INSTALL[name]}, or analyse a recording",
        )
    return Path(found)


def _libraries(program: Path) -> list[str]:
    """What the loader would load, the loader too; nothing for a static program."""
    try:
        said = query(["ldd", str(program)], _LDD_TIMEOUT_S, {**os.environ, "LC_ALL": "C"})
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unavailable(
            f"ldd cannot tell which libraries {program.name} needs", "analyse a recording"
        ) from error
    if said.returncode:  # glibc's: "not a dynamic executable", musl's: "Not a valid …"
        return []
    return needed(said.stdout)


def needed(listing: str) -> list[str]:
    """The files that ``ldd`` lists, sorted. Raises ``Unavailable`` for a library not found."""
    found = set()
    for line in listing.splitlines():
        match = _LIBRARY.match(line)
        if match is None:  # linux-vdso.so.1, which the kernel brings; "statically linked"
            continue
        if match[2] == "not found":
            raise Unavailable(
                f"a program here lacks its library {match[1]}",
                "install your distribution's packages of runc and Docker, or analyse a recording",
            )
        found.add(match[2])
    return sorted(found)
