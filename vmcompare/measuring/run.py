"""A run of an experiment in this process: sweep, probe, measure, write each row as it is made.

Its progress is told as a bar on a terminal, lines in a log, or JSON lines for a program.

One run measures at a time, as two at once would measure each other. Whose turn it is, is told by a
lock of this user's, which the system lets go of when the run's process dies. A small file beside it
says who holds it.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import NoReturn

import msgspec

from vmcompare import engines, paths
from vmcompare.engines import cleanup
from vmcompare.engines.images.cache import report_progress_to
from vmcompare.errors import RecordingError, StorageError, Unavailable
from vmcompare.evidence.recording import Recorder, read
from vmcompare.measuring import host, stop
from vmcompare.measuring.experiment import DEFAULT_SEED, Context, Experiment, RunProgress, Watch
from vmcompare.measuring.forecast import BAR, Clock, forecast, to_go
from vmcompare.sandbox import Platform

Opened = Callable[[Recorder], object]  # told of the recorder of a run once its file is there


def run(
    experiment: Experiment,
    platforms: Sequence[Platform],
    rounds: int,
    out: Path,
    watch: Watch,
    opened: Opened,
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
    clock: Clock | None = None

    def making(what: str, part: float) -> None:
        if clock and (told := clock.image(what, part)):
            watch(told)

    def timed(progress: RunProgress) -> None:
        # Phases are told within what is measured, so nothing is worked out for them.
        if progress.step == "trial" and clock and progress.done < progress.planned:
            progress = replace(progress, left_s=clock.left_s())
        watch(progress)

    # Probes start processes, too.
    with cleanup.guard(), report_progress_to(making):
        found = engines.availability()
        wanted = platforms or experiment.platforms
        launchers = engines.launchers(found, wanted, strict=bool(platforms))
        beside = experiment.runtimes if Platform.CONTAINER in wanted else ()
        bare = engines.runtime_availability(beside)
        runtimes = engines.runtimes(bare)
        there = {**found, **bare}
        facts = host.facts(
            {name: a.version for name, a in there.items() if a.ok and name != "process"},
            {name: dict(a.details) for name, a in there.items() if a.details},
        )
        foretold = forecast(experiment, rounds, launchers, runtimes)
        recorder = Recorder(out, experiment.name, facts, rounds)
        with recorder, host.Standstills() as standstills:
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
    nothing = rows and all(row["status"] != "ok" for row in rows)
    return str(rows[0]["error"]) if nothing else ""


def outcome(path: Path) -> dict[str, object]:
    """What came of a run that was begun, as ``vmcompare record --json`` prints it.

    Empty of a file that cannot be read, as on a disk that failed.
    """
    try:
        run = read(path)
    except RecordingError:
        return {}
    failed = sum(row["status"] != "ok" for row in run.rows)
    told = {"experiment": run.experiment, "run_id": run.run_id, "file": str(path)}
    return {**told, "ended": run.ended, "rows": len(run.rows), "failed_rows": failed}


# ---- how its progress is told --------------------------------------------------------------------


def say(text: str) -> None:
    """On a terminal one line that changes, elsewhere a line each; nothing of an empty text."""
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)
    elif text:
        print(text, file=sys.stderr)


@contextlib.contextmanager
def bar(name: str) -> Iterator[tuple[Watch, Opened]]:
    """Progress on a terminal: a bar on standard error.

    Gives what a run is watched by, and what is told of its file.
    """
    from tqdm import tqdm

    bars: list[tqdm[NoReturn]] = []

    def watch(progress: RunProgress) -> None:
        if progress.step == "estimate":
            print(f"{name}: {progress.what}", file=sys.stderr)
            return
        if not bars:
            # A terminal that does not know its width says 0, with which nothing would be shown.
            known = shutil.get_terminal_size().columns
            bars.append(tqdm(desc=name, file=sys.stderr, ncols=known, bar_format=BAR))
        shown = bars[0]
        if progress.step == "image":
            shown.set_postfix_str(f"preparing {progress.what}" if not progress.done else "")
        elif progress.step == "trial":
            shown.total, shown.n = progress.planned, progress.done
            shown.set_postfix_str(f"{progress.what}{to_go(progress.left_s)}")
            if progress.done == progress.planned:
                shown.close()

    try:
        yield watch, _say_where
    finally:
        for shown in bars:
            shown.close()


@contextlib.contextmanager
def lines(name: str) -> Iterator[tuple[Watch, Opened]]:
    """Progress in a log: a line on standard error for every image and every tenth of the steps."""
    said: set[object] = set()

    def say_once(key: object, text: str) -> None:
        if key not in said:
            said.add(key)
            print(f"{name}: {text}", file=sys.stderr, flush=True)

    def watch(progress: RunProgress) -> None:
        if progress.step == "estimate":
            say_once(progress.what, progress.what)
        elif progress.step == "image":
            say_once(progress.what, f"preparing {progress.what}")
        elif progress.step == "trial" and progress.planned:
            at = f", {progress.what}" if progress.what else ""
            tenth = 10 * progress.done // progress.planned
            say_once(tenth, f"{progress.done} of {progress.planned} steps{at}")

    yield watch, _say_where


@contextlib.contextmanager
def events(name: str) -> Iterator[tuple[Watch, Opened]]:  # noqa: ARG001
    """Progress for programs: JSON lines on standard output, read by a ``Session``."""

    def tell(**message: object) -> None:
        try:
            print(json.dumps(message), flush=True)
        except OSError:  # whoever started the run has gone; not an error of what is measured
            stop.silence(sys.stdout.fileno())
            stop.request()

    def watch(progress: RunProgress) -> None:
        place = {"what": progress.what, "done": progress.done, "planned": progress.planned}
        if progress.event is None:
            tell(event=progress.step, left_s=progress.left_s, **place)
        else:
            tell(event="phase", phase=progress.event.phase.value, **place)

    def opened(recorder: Recorder) -> None:
        tell(event="run", run_id=recorder.run_id, path=str(recorder.path))

    yield watch, opened


def _say_where(recorder: Recorder) -> None:
    print(f"recording to {recorder.path}", file=sys.stderr)


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
    since = datetime.now(UTC).replace(microsecond=0)

    def tell(experiment: str = "", run_id: str = "") -> None:
        held = Holder(pid=os.getpid(), experiment=experiment, run_id=run_id, since=since)
        with contextlib.suppress(OSError):  # whoever asks is told less, and the run goes on
            paths.write(note, msgspec.json.encode(held))

    with contextlib.ExitStack() as stack:
        with paths.as_storage_error(lock, paths.advice(paths.STATE_HOME)):
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
    return paths.state_dir() / "measuring.lock", paths.state_dir() / "measuring.json"


def _noted(note: Path) -> Holder:
    with contextlib.suppress(OSError):
        return paths.understood(paths.read(note, _NOTE_BYTES), Holder) or Holder()
    return Holder()
