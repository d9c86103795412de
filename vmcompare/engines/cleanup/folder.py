"""A temporary folder that is removed even after a crash."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vmcompare import paths
from vmcompare.engines.cleanup.ledger import forget, is_named_for, new_name, user, watch
from vmcompare.errors import StorageError


@contextmanager
def folder(within: Path | None = None) -> Iterator[Path]:
    """A new folder of our own, mode 700, written down before it exists; leaving removes it.

    ``tempfile.TemporaryDirectory`` tells a folder's name only once it has made it: a ``kill -9``
    then would leave one that no ledger knows. ``within`` is one of :func:`roots`. Raises
    ``StorageError``.
    """
    path = (paths.temporary() if within is None else within.absolute()) / new_name()
    watch(str(path))
    try:
        with paths.said_of(path, paths.TEMPORARY):
            path.mkdir(mode=0o700)
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
        if not path.exists():  # else it stays written down, for whoever cleans up after us
            forget(str(path))


def roots() -> list[Path]:
    """Where folders of ours may lie, and are removed: for temporary files, at run time, derived."""
    named = [os.environ.get("XDG_RUNTIME_DIR", ""), "/tmp", "/var/tmp"]
    places = [Path(name) for name in named if name.startswith("/")]
    with contextlib.suppress(StorageError):
        places.append(paths.temporary())
    return [*places, paths.cache_dir() / "images"]


def remove(text: str, session: str) -> bool:
    """Remove a folder that a ledger of ``session`` names; whether there was one.

    Raises ``ValueError`` with the reason, as a clause, where it is none of that session's, does not
    lie directly in one of our places, or cannot be removed.
    """
    path = Path(text)
    if not path.is_absolute() or not is_named_for(session, path.name):
        raise ValueError("it is not called as our folders are")
    try:
        place = os.path.realpath(path.parent, strict=True)
        known = {os.path.realpath(root) for root in roots()}
    except FileNotFoundError:
        return False
    except (OSError, ValueError) as error:
        raise ValueError("its path cannot be followed") from error
    if place not in known:
        raise ValueError("it does not lie in a folder for temporary files (is TMPDIR another?)")
    try:
        return _remove_in(place, path.name)
    except OSError as error:
        raise ValueError(f"it cannot be removed: {error.strerror}") from error


def _remove_in(place: str, name: str) -> bool:
    # From here on nothing is followed: the place is held open, and so is all that is descended to.
    safe = shutil.rmtree.avoids_symlink_attacks
    held = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC) if safe else None
    try:
        at = name if safe else str(Path(place, name))
        try:
            status = os.stat(at, dir_fd=held, follow_symlinks=False)
        except FileNotFoundError:
            return False
        if not stat.S_ISDIR(status.st_mode):
            raise ValueError("it is no folder")
        if safe and status.st_uid != user():
            raise ValueError("it belongs to another user")
        if _is_mounted_in(str(Path(place, name))):
            raise ValueError("something is mounted in it: unmount that first")
        shutil.rmtree(at, dir_fd=held)
        return True
    finally:
        if held is not None:
            os.close(held)


def _is_mounted_in(path: str) -> bool:
    """Whether a file system is mounted on ``path`` or below; fields as in proc(5)."""
    try:
        table = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    path = path.replace("\\", "\\134").replace(" ", "\\040")
    points = (line.split(" ")[4] for line in table.splitlines())
    return any(point == path or point.startswith(f"{path}/") for point in points)
