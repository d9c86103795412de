"""One run of an experiment in this process: probe, sweep, measure, write each row as it is made."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from . import assembly, host, reaper
from .experiment import DEFAULT_SEED, Context, Experiment, Progress, Watch
from .recording import Recorder
from .sandbox import Platform


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
        RecordingError: ``out`` cannot be written to.
        KeyboardInterrupt: it was stopped; rows so far are kept and nothing is left running.
    """
    found = assembly.availability()
    wanted = platforms or experiment.platforms

    def progress(what: str, part: float) -> None:
        watch(Progress("image", what, int(part * 1000), 1000))

    launchers = assembly.launchers(found, wanted, progress, strict=bool(platforms))
    beside = experiment.runtimes if Platform.CONTAINER in wanted else ()
    bare = assembly.runtime_availability(beside)
    runtimes = assembly.runtimes(bare, progress)
    facts = host.facts_with({**found, **bare})
    reaper.sweep()
    with reaper.guard(), Recorder(out, experiment.name, facts, rounds) as recorder:
        opened(recorder)
        for row in experiment.measure(Context(launchers, rounds, DEFAULT_SEED, watch, runtimes)):
            recorder.append(row)
    return recorder.path


@contextmanager
def stoppable(on_eof: bool) -> Iterator[None]:
    """While inside, the first stop request raises ``KeyboardInterrupt`` in the main thread, once.

    Stop requests are SIGINT and SIGTERM and, with ``on_eof``, the end of standard input: so a run
    ends in order when the kernel that started it dies. A second request is ignored, because by
    then the sandboxes are being taken down and must not be interrupted in that.
    """
    stopped = threading.Event()

    def stop(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        if not stopped.is_set():
            stopped.set()
            raise KeyboardInterrupt

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    main = threading.main_thread().ident
    over = threading.Event()

    def wait_for_eof() -> None:
        # Not through sys.stdin's buffer: its lock, held by this thread, breaks Python's own exit.
        while os.read(sys.stdin.fileno(), 1 << 10):
            pass
        if not over.is_set() and main is not None:
            _interrupt(main)

    if on_eof:
        threading.Thread(target=wait_for_eof, name="stop-on-eof", daemon=True).start()
    try:
        yield
    finally:
        over.set()
        for number, handler in before.items():
            signal.signal(number, handler)


def _interrupt(thread: int) -> None:
    """SIGINT to that very thread, so that a system call it waits in returns at once."""
    if hasattr(signal, "pthread_kill"):
        signal.pthread_kill(thread, signal.SIGINT)
    else:
        signal.raise_signal(signal.SIGINT)
