"""A guest that hosts containers: the Alpine userland with this computer's own ``runc`` in it.

The program that Docker here starts its containers with is copied, with the shared libraries that
``ldd`` names, each to the path it has here; Alpine's own C library (musl) lies elsewhere. An
archive behind the userland's holds them: Linux unpacks the one over the other.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
import shutil
import struct
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from vmcompare.engines.commands import query
from vmcompare.engines.images import alpine, initramfs
from vmcompare.engines.images.cache import Cache, Progress, code_of
from vmcompare.engines.programs.elf import MACHINES
from vmcompare.errors import Unavailable

RUNC = "/usr/sbin/runc"  # in the guest
LOOP_MODULE = "/lib/modules/loop.ko"
"""Where the kernel's module of loop devices lies in the guest: with it, root there can make a block
device, which is that guest's "host disk" to a container in it. Nothing loads it by itself."""

_SYSTEM_PLACES = ("/usr/sbin", "/usr/local/sbin", "/usr/bin", "/usr/local/bin", "/sbin")
"""Looked at after PATH: an ordinary user's often lacks the first ones."""

_LDD_TIMEOUT_S = 20.0

# "libc.so.6 => /lib/…/libc.so.6 (0x…)", "/lib64/ld-linux-x86-64.so.2 (0x…)", "libx.so => not found"
_LIBRARY = re.compile(r"^\s*(?:(\S+) => )?(/\S+|not found)(?: \(0x[0-9a-f]+\))?\s*$")


def container_host_initramfs(progress: Progress | None = None) -> Path:
    """The whole userland, then ``runc``, its libraries, a module: two cpio archives in one file.

    Raises ``Unavailable`` where there is no ``runc`` here that the guest could run.
    """
    disk = alpine.sources().disk
    files = runc_files()
    userland = alpine.full_initramfs(progress)
    contents = [f"{path} {hashlib.sha256(data).hexdigest()}" for path, data in files.items()]
    key = f"code {code_of(sys.modules[__name__])} {alpine.recipe()} {contents}"

    def build(out: Path) -> None:
        modules = initramfs.read_modules(disk, ("loop",))
        initramfs.write_files({**files, LOOP_MODULE: modules["loop"]}, out)
        second = out.read_bytes()
        with out.open("wb") as both, userland.open("rb") as first:
            shutil.copyfileobj(first, both)
            both.write(second)

    return Cache(progress=progress).get("container-host.cpio", key, build)


def runc_files() -> Mapping[str, bytes]:
    """``runc``, its loader and its libraries: absolute path in the guest → content."""
    program = _program()
    return {RUNC: program.read_bytes()} | {
        path: Path(path).read_bytes() for path in _libraries(program)
    }


def _program() -> Path:
    if platform.system() != "Linux":
        raise Unavailable(
            "containers in a guest need the runc of a Linux computer", "analyse a recording"
        )
    where = os.pathsep.join((os.environ.get("PATH", os.defpath), *_SYSTEM_PLACES))
    found = shutil.which("runc", path=where)
    if found is None:
        raise Unavailable(
            "there is no runc here to put into a guest",
            "install it (on Debian and Ubuntu: sudo apt install runc), or analyse a recording",
        )
    program = Path(found)
    try:
        machine = _elf_machine(program)
    except OSError as error:
        raise Unavailable(
            f"runc cannot be read ({error.strerror})",
            "have an administrator make it readable, or analyse a recording",
        ) from error
    if machine != MACHINES.get(platform.machine().lower()):
        raise Unavailable(
            "the runc here is not a program for this computer's processor",
            "install your distribution's package runc, or analyse a recording",
        )
    return program


def _elf_machine(program: Path) -> int | None:
    """The processor a program is for, by its ELF header; ``None`` where it is no such program."""
    with program.open("rb") as stream:
        head = stream.read(20)
    if len(head) < 20 or head[:4] != b"\x7fELF":
        return None
    return int(struct.unpack_from("<H", head, 18)[0])


def _libraries(program: Path) -> list[str]:
    """What the loader would load, the loader too; nothing for a static program."""
    try:
        said = query(["ldd", str(program)], _LDD_TIMEOUT_S, {**os.environ, "LC_ALL": "C"})
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unavailable(
            "ldd cannot tell which libraries runc needs", "analyse a recording"
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
                f"runc here lacks its library {match[1]}",
                "install your distribution's package runc, or analyse a recording",
            )
        found.add(match[2])
    return sorted(found)
