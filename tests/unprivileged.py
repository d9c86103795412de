"""Another user, for real: a command run with the rights of nobody, who owns one directory."""

from __future__ import annotations

import os
import shlex
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

NOBODY = 65534


def impossible() -> str:
    """Why no other user can be had here; empty when one can."""
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        return "only root can become another user"
    lacking = [tool for tool in ("setpriv", "unshare", "mount") if not shutil.which(tool)]
    return f"{lacking[0]} is not on PATH" if lacking else ""


@dataclass(frozen=True, slots=True)
class Nobody:
    """A user without rights.

    Attributes:
        home: the one directory it owns.
        environment: as that user would have it; engines are not hidden.
    """

    home: Path
    environment: Mapping[str, str]

    def run(
        self, command: Sequence[str], *, cwd: Path, needs: Sequence[Path]
    ) -> subprocess.CompletedProcess[str]:
        """Run ``command`` as that user, who can read the directories ``needs``.

        Where a parent of those keeps others out (``/root``, often), the command gets a mount table
        of its own in which an empty directory covers that parent and they are bound into it.
        Nothing on disk changes, and nobody else sees it.
        """
        # Runs of an earlier lesson are no part of the next one.
        shutil.rmtree(self.home / ".local", ignore_errors=True)
        script = [*_covering([path.resolve() for path in needs], self.home)]
        script.append(f"cd {shlex.quote(str(cwd.resolve()))}")
        script.append(
            f"exec setpriv --reuid={NOBODY} --regid={NOBODY} --clear-groups --inh-caps=-all "
            f"--bounding-set=-all {shlex.join(command)}"
        )
        return subprocess.run(
            ["unshare", "--mount", "--propagation", "private", "sh", "-ec", "\n".join(script)],
            env=dict(self.environment), capture_output=True, text=True, check=False,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip


@contextmanager
def nobody(images: Path) -> Iterator[Nobody]:
    """Such a user, with a copy of the derived ``images`` so that they are not made again."""
    # Not below pytest's own directory, which only its owner may enter.
    home = Path(tempfile.mkdtemp(prefix="vmc-nobody-", dir="/tmp"))
    try:
        cache = home / ".cache" / "vmcompare" / "images"
        for directory in (home / "t", cache):
            directory.mkdir(parents=True)
        for path in images.glob("*"):  # files; an unpacked root file system is root's alone
            if path.is_file() and path.suffix not in (".lock", ".part"):
                shutil.copy(path, cache)
        for path in (home, *home.rglob("*")):
            os.chown(path, NOBODY, NOBODY)
        names = ("PATH", "LANG", "LC_ALL", "PYTHONPATH")
        kept = {name: os.environ[name] for name in names if name in os.environ}
        yield Nobody(home, {**kept, "HOME": str(home), "USER": "nobody", "TMPDIR": str(home / "t")})
    finally:
        shutil.rmtree(home, ignore_errors=True)


def interpreter() -> tuple[Path, ...]:
    """The directories this Python needs."""
    return tuple({Path(sys.prefix), Path(sys.base_prefix)})


def _covering(needs: Sequence[Path], home: Path) -> Iterator[str]:
    closed = {path: parent for path in needs if (parent := _closed(path))}
    stages = {path: home / f"stage-{number}" for number, path in enumerate(closed)}
    every = (*closed, *closed.values(), *stages.values())
    quoted = {path: shlex.quote(str(path)) for path in every}
    for path, stage in stages.items():
        yield f"mkdir -p {quoted[stage]}; mount --bind {quoted[path]} {quoted[stage]}"
    for parent in sorted(set(closed.values())):
        yield f"mount -t tmpfs -o mode=755,size=1m tmpfs {quoted[parent]}"
    for path, stage in stages.items():
        yield f"mkdir -p {quoted[path]}; mount --bind {quoted[stage]} {quoted[path]}"


def _closed(path: Path) -> Path | None:
    """The uppermost parent (or ``path`` itself) that others may not enter."""
    for parent in reversed((path, *path.parents)):
        if not parent.stat().st_mode & stat.S_IXOTH:
            return parent
    return None
