"""A place of its own for commands that are killed: what they leave is seen, and is theirs."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil
from waiting import until

from vmcompare import paths

COMMAND = (str(Path(sys.executable).with_name("vmcompare")),)
GONE_S = 60.0
"""Seconds until all must be gone. Generous: two shared cores; typically it is under two."""


@dataclass(frozen=True)
class Scene:
    """Private folders for temporary files, state, data and what was proved; images are shared."""

    root: Path
    environment: Mapping[str, str]

    @classmethod
    def below(cls, root: Path) -> Scene:
        images = paths.cache_dir() / "images"
        images.mkdir(parents=True, exist_ok=True)
        (root / "cache" / "vmcompare").mkdir(parents=True)
        (root / "cache" / "vmcompare" / "images").symlink_to(images)
        places = {"TMPDIR": "tmp", "XDG_STATE_HOME": "state", "XDG_DATA_HOME": "data"}
        for name in places.values():
            (root / name).mkdir()
        own = {variable: str(root / name) for variable, name in places.items()}
        return cls(root, {**os.environ, **own, "XDG_CACHE_HOME": str(root / "cache")})

    @property
    def out(self) -> Path:
        return self.root / "out"

    def start(
        self, *words: str, command: Sequence[str] = COMMAND, **options: object
    ) -> subprocess.Popen[str]:
        """``vmcompare`` with these words, in a session of its own."""
        streams = {
            "stdin": subprocess.DEVNULL,
            "stdout": subprocess.PIPE,
            "stderr": subprocess.PIPE,
        }
        return subprocess.Popen(  # type: ignore[call-overload, no-any-return]
            [*command, *words], env=self.environment, text=True, start_new_session=True,
            cwd=self.root, **{**streams, **options},
        )  # fmt: skip

    def record(self, *more: str, rounds: int = 500, **options: object) -> subprocess.Popen[str]:
        """A recording of bare processes that does not end by itself."""
        words = ("record", "boot_speed", "--platform", "process", "--rounds", str(rounds))
        return self.start(*words, "--out", str(self.out), *more, **options)

    def shell(self, line: str) -> subprocess.CompletedProcess[str]:
        """A line of bash, in which ``$V`` is the command."""
        environment = {**self.environment, "V": " ".join(COMMAND), "OUT": str(self.out)}
        return subprocess.run(
            ["bash", "-c", line], env=environment, capture_output=True, text=True, timeout=240,
            check=False, stdin=subprocess.DEVNULL, cwd=self.root,
        )  # fmt: skip

    def processes(self, word: str = "") -> list[psutil.Process]:
        """Who lives here, of those in whose command line ``word`` is."""
        found = []
        for process in psutil.process_iter():
            try:
                here = process.environ().get("TMPDIR") == self.environment["TMPDIR"]
                if here and any(word in part for part in process.cmdline()):
                    found.append(process)
            except (psutil.Error, OSError):
                continue
        return found

    def commands(self) -> list[list[str]]:
        """The command lines of who lives here."""
        found = []
        for process in self.processes():
            with contextlib.suppress(psutil.Error):
                found.append(process.cmdline())
        return found

    def left(self) -> list[str]:
        """What is still there: processes, temporary files, ledgers."""
        folders = (self.root / "tmp", self.root / "state" / "vmcompare" / "sessions")
        files = [path for folder in folders if folder.exists() for path in folder.iterdir()]
        return [*map(str, self.processes()), *map(str, files)]

    def left_at_last(self) -> list[str]:
        """What does not go by itself."""
        until(lambda: not self.left(), GONE_S)
        return self.left()

    def clean(self) -> None:
        """``vmcompare clean``."""
        self.start("clean").communicate(timeout=120)


def ended(child: subprocess.Popen[str], *signals: signal.Signals) -> tuple[int, str]:
    """Send these signals; exit code, and what was said on standard error."""
    for number in signals:
        child.send_signal(number)
        time.sleep(0.01)
    _, said = child.communicate(timeout=120)
    return child.returncode, said


def complaints(said: str) -> Iterator[str]:
    """The lines that ``vmcompare`` itself wrote as sentences."""
    return (line for line in said.splitlines() if line.startswith("vmcompare: "))
