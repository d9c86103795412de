"""A run of an experiment in this process: probe, sweep, measure, write each row as it is made.

One run measures at a time, as two at once would measure each other. Whose turn it is, is told by a
lock of this user's, whoever starts the run (a lesson, a handout, the command line). The system lets
go of it when the run's process dies. A small file beside it says who holds it.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from vmcompare import engines, paths
from vmcompare.engines import cleanup
from vmcompare.errors import RecordingError, StorageError, Unavailable
from vmcompare.evidence.recording import Recorder, read
from vmcompare.measuring import host
from vmcompare.measuring.experiment import DEFAULT_SEED, Context, Experiment, RunProgress, Watch
from vmcompare.measuring.forecast import Clock, forecast
from vmcompare.sandbox import Platform


def run(
    experiment: Experiment,
    platforms: Sequence[Platform],
    rounds: int,
    out: Path,
    watch: Watch,
    opened: Callable[[Recorder], object],
) -> Path:
    """Measure ``experiment`` in ``rounds`` blocks and return the recording, below ``out``.

    Without ``platforms`` those of the experiment's are measured that can be had here. ``opened`` is
    called once the file exists, before anything is measured.

    Raises:
        Unavailable: a platform that was named, or every one, cannot be launched on this machine.
        StorageError: ``out`` cannot be written to, or there is no room left in it.
        KeyboardInterrupt: it was stopped; rows so far are kept and nothing is left running.
    """
    cleanup.sweep()
    with cleanup.guard():  # the trials of what is there start something, too
        found = engines.availability()
        wanted = platforms or experiment.platforms

        clock: Clock | None = None

        def progress(what: str, part: float) -> None:
            if clock and (told := clock.image(what, part)):
                watch(told)

        def timed(progress: RunProgress) -> None:
            # Phases are told within what is measured, so nothing is worked out for them.
            if progress.step == "trial" and clock and progress.done < progress.planned:
                progress = replace(progress, left_s=clock.left_s())
            watch(progress)

        launchers = engines.launchers(found, wanted, progress, strict=bool(platforms))
        beside = experiment.runtimes if Platform.CONTAINER in wanted else ()
        bare = engines.runtime_availability(beside)
        runtimes = engines.runtimes(bare, progress)
        there = {**found, **bare}
        facts = host.facts(
            {name: a.version for name, a in there.items() if a.ok and name != "process"},
            {name: dict(a.details) for name, a in there.items() if a.details},
        )
        foretold = forecast(experiment, rounds, launchers, runtimes)
        with (
            Recorder(out, experiment.name, facts, rounds) as recorder,
            host.watched() as standstills,
        ):
            opened(recorder)
            watch(RunProgress("estimate", foretold.sentence(), 0, 0, left_s=foretold.total_s))
            clock = Clock(foretold)
            context = Context(launchers, rounds, DEFAULT_SEED, timed, runtimes, standstills)
            for row in experiment.measure(context):
                recorder.append(context.checked(row))
                clock.row(row)
    return recorder.path


def why_nothing(path: Path) -> str:
    """The first error of a recording in which every row is one; empty of any other."""
    rows = read(path).rows
    if any(row["status"] == "ok" for row in rows):
        return ""
    return str(rows[0]["error"]) if rows else ""


def outcome(path: Path) -> dict[str, object]:
    """What came of a run that was begun, as ``vmcompare record --json`` prints it.

    JSON-ready: ``experiment``, ``run_id``, ``file``, how it ``ended`` (``"complete"``,
    ``"stopped"``, ``"failed"``; empty: it was cut off), its ``rows`` and ``failed_rows``. Empty of
    a file that cannot be read, as on a disk that failed.
    """
    try:
        run = read(path)
    except RecordingError:
        return {}
    return {
        "experiment": run.experiment,
        "run_id": run.run_id,
        "file": str(path),
        "ended": run.ended,
        "rows": len(run.rows),
        "failed_rows": sum(row["status"] != "ok" for row in run.rows),
    }


# ---- whose turn it is ----------------------------------------------------------------------------

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
def turn() -> Iterator[Callable[..., None]]:
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


def holder() -> Holder | None:
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
