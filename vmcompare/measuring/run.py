"""One run of an experiment in this process: probe, sweep, measure, write each row as it is made."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from vmcompare import engines
from vmcompare.engines import cleanup
from vmcompare.errors import RecordingError
from vmcompare.evidence.recording import Recorder, read
from vmcompare.measuring import host, standstill
from vmcompare.measuring.experiment import DEFAULT_SEED, Context, Experiment, Progress, Watch
from vmcompare.sandbox import Platform


def run(
    experiment: Experiment,
    platforms: Sequence[Platform],
    rounds: int,
    out: Path,
    watch: Watch,
    opened: Callable[[Recorder], object],
) -> Path:
    """Measure ``experiment`` and return the recording.

    Args:
        experiment: what to measure.
        platforms: all of these; when empty, those of the experiment's that can be had here.
        rounds: number of blocks.
        out: directory of recordings.
        watch: hears of images, starts and phases.
        opened: is called once the file exists, before anything is measured.

    Raises:
        Unavailable: a platform that was named, or every one, cannot be launched on this machine.
        StorageError: ``out`` cannot be written to, or there is no room left in it.
        KeyboardInterrupt: it was stopped; rows so far are kept and nothing is left running.
    """
    cleanup.sweep()
    with cleanup.guard():  # the trials of what is there start something, too
        found = engines.availability()
        wanted = platforms or experiment.platforms

        def progress(what: str, part: float) -> None:
            watch(Progress("image", what, int(part * 1000), 1000))

        launchers = engines.launchers(found, wanted, progress, strict=bool(platforms))
        beside = experiment.runtimes if Platform.CONTAINER in wanted else ()
        bare = engines.runtime_availability(beside)
        runtimes = engines.runtimes(bare, progress)
        facts = host.facts_with({**found, **bare})
        with (
            Recorder(out, experiment.name, facts, rounds) as recorder,
            standstill.watched() as standstills,
        ):
            opened(recorder)
            context = Context(launchers, rounds, DEFAULT_SEED, watch, runtimes, standstills)
            for row in experiment.measure(context):
                recorder.append(context.checked(row))
    return recorder.path


def why_nothing(path: Path) -> str:
    """The first error of a recording in which every row is one; empty of any other."""
    rows = read(path).rows
    if any(row["status"] == "ok" for row in rows):
        return ""
    return str(rows[0]["error"]) if rows else ""


def outcome(path: Path) -> dict[str, object]:
    """What came of a run that was begun, as ``vmcompare record --json`` prints it.

    Returns:
        JSON-ready: ``experiment``, ``run_id``, ``file``, how it ``ended`` (``"complete"``,
        ``"stopped"``, ``"failed"``; empty: it was cut off), its ``rows`` and ``failed_rows``.
        Empty of a file that cannot be read, as on a disk that failed.
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
