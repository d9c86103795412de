"""Whose turn it is: one run measures at a time, as two at once would measure each other.

The turn is a lock of this user's, whoever starts the run (a lesson, a handout, the command line).
The system lets go of it when the run's process dies. A small file beside it says who holds it.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from vmcompare import paths
from vmcompare.errors import StorageError, Unavailable

WAIT_S = 3.0
"""How long (s) a run waits for one that is just ending."""

NEXT_STEP = "wait until it has ended, or stop it (Stop in its lesson, Ctrl-C in its terminal)"

_NOTE_BYTES = 4096


class Turn(msgspec.Struct, frozen=True, kw_only=True):
    """The run whose turn it is.

    Attributes:
        pid: of its process; 0 where it is not known.
        experiment: its name; empty where it is not known.
        run_id: empty until its file exists.
    """

    pid: int = 0
    experiment: str = ""
    run_id: str = ""

    def __str__(self) -> str:
        names = [f"run {self.run_id}"] * bool(self.run_id) + [f"process {self.pid}"] * bool(
            self.pid
        )
        named = f" ({', '.join(names)})" if names else ""
        return f"{self.experiment or 'another experiment'} is being measured{named}"


@contextlib.contextmanager
def taken() -> Iterator[Callable[..., None]]:
    """Have the turn. Gives what tells the others, as fields of :class:`Turn`, what it is used for.

    Raises:
        Unavailable: another run has it; says which one, and what to do.
        StorageError: there can be no lock.
    """
    lock, note = _places()

    def tell(**run: str) -> None:
        told = msgspec.json.encode(Turn(pid=os.getpid(), **run)).decode()
        with contextlib.suppress(OSError):  # whoever asks is told less, and the run goes on
            paths.write(note, told)

    with contextlib.ExitStack() as stack:
        with paths.said_of(lock, paths.advice(paths.STATE_HOME)):
            try:
                stack.enter_context(paths.locked(lock, timeout_s=WAIT_S))
            except StorageError as error:
                raise Unavailable(str(_noted(note)), NEXT_STEP) from error
        tell()
        try:
            yield tell
        finally:
            with contextlib.suppress(OSError):
                note.unlink()


def whose() -> Turn | None:
    """The run whose turn it is; ``None`` where nothing is being measured.

    Raises:
        StorageError: no place for the lock is known.
    """
    lock, note = _places()
    if not lock.is_file():
        return None
    try:
        with paths.locked(lock, timeout_s=0):
            return None
    except StorageError:
        return _noted(note)
    except OSError:
        return None


def _places() -> tuple[Path, Path]:
    """The lock, and the file that says who holds it."""
    folder = paths.state_dir()
    return folder / "measuring.lock", folder / "measuring.json"


def _noted(note: Path) -> Turn:
    try:
        content = paths.read(note, _NOTE_BYTES)
    except OSError:
        return Turn()
    return paths.understood(content, Turn) or Turn()
