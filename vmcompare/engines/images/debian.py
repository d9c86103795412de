"""A second userland: Debian or Ubuntu, as ``mmdebstrap`` makes it from this computer's own mirror.

Nothing here names a mirror: release and sources are those of this computer's apt. Where the tool,
or Debian itself, is missing, the error says so, and lessons show a recording.
"""

from __future__ import annotations

import io
import platform
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

from vmcompare.engines import cleanup
from vmcompare.engines.commands import query
from vmcompare.engines.images import cache
from vmcompare.engines.programs import first_byte
from vmcompare.errors import Unavailable
from vmcompare.sandbox import FIRST_BYTE_PROGRAM

PACKAGES = ("base-files", "coreutils", "dash", "grep", "libc-bin", "sed", "mawk")
"""Enough for a shell that looks around; unpacked and not configured, so that no root is needed."""

LINKS = {"bin/sh": "dash", "usr/bin/awk": "mawk"}  # what configuring the packages would have linked
TIMEOUT_S = 600.0  # for fetching and unpacking: 3 s were measured, a slow line takes minutes


def rootfs_tar() -> Path:
    """The userland with the first-byte program, as a tar for ``docker import``; cached.

    Raises ``Unavailable`` (no ``mmdebstrap``, no Debian, no answer of the mirror) or
    ``StorageError``.
    """
    tool, suite = _tool(), _suite()
    program = first_byte.elf(platform.machine())
    key = f"code {cache.code_of(sys.modules[__name__])} {suite} {program.hex()}"
    return cache.get("debian.tar", key, lambda out: _build(tool, suite, program, out))


def _tool() -> str:
    tool = shutil.which("mmdebstrap")
    if tool is None:
        raise Unavailable(
            "a second userland needs mmdebstrap, which is not on this computer",
            "on Debian or Ubuntu run: sudo apt-get install mmdebstrap, or look at a recording",
        )
    return tool


def _suite() -> str:
    """This computer's own release ("bookworm", "noble"): the one its apt can fetch."""
    try:
        suite = platform.freedesktop_os_release().get("VERSION_CODENAME", "")
    except OSError:
        suite = ""
    if not suite:
        raise Unavailable(
            "this computer has no Debian or Ubuntu release to make a second userland of",
            "look at a recording",
        )
    return suite


def _build(tool: str, suite: str, program: bytes, out: Path) -> None:
    raw = out.with_name("raw.tar")
    command = [tool, "--quiet", "--variant=extract", f"--include={','.join(PACKAGES)}"]
    try:
        done = query([*command, suite, str(raw)], TIMEOUT_S, cleanup.marked())
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["no reason"])[-1]
            raise Unavailable(
                f"mmdebstrap could not make a userland ({last[:160]})",
                "check that apt-get update works, or look at a recording",
            )
        with tarfile.open(raw) as source, tarfile.open(out, "w") as target:
            _copy(source, target)
            info = tarfile.TarInfo(FIRST_BYTE_PROGRAM.lstrip("/"))
            info.mode, info.size = 0o755, len(program)
            target.addfile(info, io.BytesIO(program))
    except subprocess.TimeoutExpired as error:
        raise Unavailable(
            f"mmdebstrap did not end within {TIMEOUT_S:g} s",
            "check that apt-get update works, or look at a recording",
        ) from error
    finally:
        raw.unlink(missing_ok=True)


def _copy(source: tarfile.TarFile, target: tarfile.TarFile) -> None:
    """What is userland: no device nodes (an engine makes its own); missing links are added."""
    there = set()
    for member in source:
        member.name = member.name.removeprefix("./")
        if member.name in ("", ".") or member.isdev() or member.name.startswith("dev/"):
            continue
        if member.islnk():
            member.linkname = member.linkname.removeprefix("./")
        there.add(member.name)
        target.addfile(member, source.extractfile(member) if member.isreg() else None)
    for name, to in LINKS.items():
        if name not in there:
            info = tarfile.TarInfo(name)
            info.type, info.linkname = tarfile.SYMTYPE, to
            target.addfile(info)
