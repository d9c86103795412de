"""Whose turn it is: one run measures at a time, as two at once would measure each other.

The turn is a lock of this user's, whoever starts the run (a lesson, a handout, the command line).
The system lets go of it when the run's process dies. A small file beside it says who holds it.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from vmcompare import paths
from vmcompare.errors import StorageError, Unavailable

WAIT_S = 3.0  # how long (s) a run waits for one that is just ending

NEXT_STEP = "wait until it has ended, or stop it (Stop in its lesson, Ctrl-C in its terminal)"

_NOTE_BYTES = 4096


class Holder(msgspec.Struct, frozen=True, kw_only=True):
    """The run whose turn it is, as far as it is known; it has no id until its file exists."""

    pid: int = 0
    experiment: str = ""
    run_id: str = ""
    since: datetime | None = None

    def __str__(self) -> str:
        named = [f"since {self.since.astimezone():%H:%M}"] if self.since else []
        named += [f"process {self.pid}"] if self.pid else []
        named += [f"run {self.run_id}"] if self.run_id else []
        known = f" ({', '.join(named)})" if named else ""
        return f"{self.experiment or 'another experiment'} is being measured{known}"


@contextlib.contextmanager
def taken() -> Iterator[Callable[..., None]]:
    """Have the turn. Gives what tells others, as fields of :class:`Holder`, what it is used for.

    Raises ``Unavailable`` if another run has it, ``StorageError`` if there can be no lock.
    """
    lock, note = _places()

    def tell(experiment: str = "", run_id: str = "") -> None:
        held = Holder(pid=os.getpid(), experiment=experiment, run_id=run_id, since=since)
        told = msgspec.json.encode(held).decode()
        with contextlib.suppress(OSError):  # whoever asks is told less, and the run goes on
            paths.write(note, told)

    with contextlib.ExitStack() as stack:
        with paths.said_of(lock, paths.advice(paths.STATE_HOME)):
            try:
                stack.enter_context(paths.locked(lock, timeout_s=WAIT_S))
            except StorageError as error:
                raise Unavailable(str(_noted(note)), NEXT_STEP) from error
        since = datetime.now(UTC).replace(microsecond=0)
        tell()
        try:
            yield tell
        finally:
            with contextlib.suppress(OSError):
                note.unlink()


def whose() -> Holder | None:
    """The run whose turn it is; ``None`` where nothing is measured. Raises ``StorageError``."""
    lock, note = _places()
    if not note.is_file():  # the usual case: nobody takes the lock, not even for a moment
        return None
    try:
        with paths.locked(lock, timeout_s=0):
            note.unlink(missing_ok=True)  # left by a run that was killed
            return None
    except StorageError:
        return _noted(note)
    except OSError:
        return None


def _places() -> tuple[Path, Path]:
    folder = paths.state_dir()
    return folder / "measuring.lock", folder / "measuring.json"


def _noted(note: Path) -> Holder:
    try:
        content = paths.read(note, _NOTE_BYTES)
    except OSError:
        return Holder()
    return paths.understood(content, Holder) or Holder()
