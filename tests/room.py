"""A computer without engines, and the lessons' pages made on it: each once, whoever asks for it.

Making a page is running a whole lesson, which takes seconds. Several test modules look at the
same pages, in several processes (pytest-xdist): whoever asks first makes all, by one command,
and the others read them.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from vmcompare.paths import locked

ROOT = Path(__file__).parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))

Run = Callable[[Sequence[str]], "subprocess.CompletedProcess[str]"]


def hidden_engines(directory: Path) -> dict[str, str]:
    """An environment in which Docker and QEMU are hidden, not mocked: a PATH that lacks them.

    The PATH is a folder below ``directory``.
    """
    bare = directory / "bin"
    bare.mkdir(exist_ok=True)
    for tool in ("sh", "env", "uname", "git"):
        found = shutil.which(tool)
        if found and not (bare / tool).exists():
            (bare / tool).symlink_to(found)
    kept = {k: v for k, v in os.environ.items() if k not in ("DOCKER_HOST", "DOCKER_CONTEXT")}
    return {**kept, "PATH": str(bare), "VMCOMPARE_REQUIRE": ""}


def run_with(env: Mapping[str, str], home: Path) -> Run:
    """Runs vmcompare in ``env``; the learner's own files go below ``home``, images stay cached."""
    places = {name: str(home / name.lower()) for name in ("XDG_DATA_HOME", "XDG_STATE_HOME")}
    inherited = {k: v for k, v in env.items() if not k.startswith("VMCOMPARE_")}

    def run(words: Sequence[str]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "vmcompare", *words],
            cwd=ROOT, env=inherited | places, capture_output=True, text=True, check=False,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip

    return run


def handout(run: Run, notebook: Path, out: Path, *words: str) -> Path:
    """The page of a lesson, made by the command that people type."""
    done = run(["handout", str(notebook), "--out", str(out), "--rounds", "1", *words])
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    return out / f"{notebook.stem}.html"


class Room:
    """A computer without engines.

    Args:
        place: a folder that all processes of this test run share.
    """

    def __init__(self, place: Path) -> None:
        self.place = place
        place.mkdir(exist_ok=True)
        with locked(place / "bin.lock"):
            env = hidden_engines(place)
        self.run = run_with(env, place)

    def engines(self) -> dict[str, Any]:
        """What ``vmcompare check`` says of each engine."""
        with locked(self.place / "engines.lock"):
            kept = self.place / "engines.json"
            if not kept.exists():
                told = self.run(["check", "--json"])
                assert told.returncode == 0, told.stderr
                kept.write_text(told.stdout)
        engines: dict[str, Any] = json.loads(kept.read_text())["engines"]
        return engines

    def page(self, notebook: Path) -> Path:
        """The page of a lesson, with whatever the lesson shows where no mode was chosen."""
        said = self.place / "said.txt"
        with locked(self.place / "pages.lock"):
            if not said.exists():
                words = ["handout", *map(str, NOTEBOOKS), "--rounds", "1", "--out", str(self.place)]
                said.write_text(self.run(words).stderr, encoding="utf-8")
        made = self.place / f"{notebook.stem}.html"
        assert made.exists(), said.read_text(encoding="utf-8")
        assert "Traceback" not in said.read_text(encoding="utf-8")
        return made

    def lesson(self, number: str) -> str:
        """The page of the lesson with this number, as text."""
        [notebook] = [path for path in NOTEBOOKS if path.stem.startswith(f"{number}-")]
        return self.page(notebook).read_text(encoding="utf-8")
