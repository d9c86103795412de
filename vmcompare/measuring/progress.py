"""How a run's progress is told: a bar on a terminal, lines in a log, JSON lines for a program."""

from __future__ import annotations

import contextlib
import json
import shutil
import sys
from collections.abc import Callable, Iterator
from typing import NoReturn

from vmcompare.evidence.recording import Recorder
from vmcompare.measuring import stop
from vmcompare.measuring.experiment import RunProgress, Watch
from vmcompare.measuring.forecast import BAR, to_go

Opened = Callable[[Recorder], object]  # is called with the recorder of a run once its file is there


def say(text: str) -> None:
    """On a terminal one line that changes, elsewhere a line each; nothing of an empty text."""
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)
    elif text:
        print(text, file=sys.stderr)


@contextlib.contextmanager
def bar(name: str) -> Iterator[tuple[Watch, Opened]]:
    """Progress on a terminal: a bar on standard error, once there is progress; its line is ended.

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
