"""One run of an experiment in this process: probe, sweep, measure, write each row as it is made."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from vmcompare import engines
from vmcompare.engines import cleanup
from vmcompare.engines.images.cache import heard_by
from vmcompare.errors import RecordingError
from vmcompare.evidence.recording import Recorder, read
from vmcompare.measuring import host
from vmcompare.measuring.experiment import DEFAULT_SEED, Context, Experiment, Progress, Watch
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

    Args:
        platforms: all of these; when empty, those of the experiment's that can be had here.
        watch: hears of the estimated time, images, starts and phases.
        opened: is called once the file exists, before anything is measured.

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

    # The trials of what is there start something, too.
    with cleanup.guard(), heard_by(making):
        found = engines.availability()
        wanted = platforms or experiment.platforms

        def timed(progress: Progress) -> None:
            # Phases are told within what is measured, so nothing is worked out for them.
            if progress.step == "trial" and clock and progress.done < progress.planned:
                progress = replace(progress, left_s=clock.left_s())
            watch(progress)

        launchers = engines.launchers(found, wanted, strict=bool(platforms))
        beside = experiment.runtimes if Platform.CONTAINER in wanted else ()
        bare = engines.runtime_availability(beside)
        runtimes = engines.runtimes(bare)
        facts = host.facts_with({**found, **bare})
        foretold = forecast(experiment, rounds, launchers, runtimes)
        with (
            Recorder(out, experiment.name, facts, rounds) as recorder,
            host.watched() as standstills,
        ):
            opened(recorder)
            watch(Progress("estimate", foretold.sentence(), 0, 0, left_s=foretold.total_s))
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
