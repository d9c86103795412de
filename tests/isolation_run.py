"""A short run of one part of lesson 05, to be killed in the middle: ``python isolation_run.py``.

Arguments: a folder for the recording, the part, and words: of the part's steps only those with one
of the words in their own are done (all, where no word is given). Each step's words are printed.
"""

from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

from vmcompare.evidence.recording import Measurement
from vmcompare.measuring.experiment import Context, Experiment, RunProgress
from vmcompare.measuring.run import run
from vmcompare.measuring.stop import stoppable, stopped_by_end_of_input
from vmcompare.sandbox import Platform


def main(folder: str, part: str, *kept: str) -> None:
    module = importlib.import_module(f"vmcompare.experiments.isolation.{part}")
    short = {"baseline_s": 1, "apart_s": 1} if part == "kernel_panic" else {}

    def measure(context: Context) -> Iterator[Measurement]:
        with contextlib.ExitStack() as stack:
            plan = module.steps(context, stack, **short)
            wanted = [s for s in plan if not kept or any(word in s[0] for word in kept)]
            for step in context.steps(wanted):
                yield from step()

    def watch(progress: RunProgress) -> None:
        if progress.step == "trial":
            print(progress.what, flush=True)

    docker = part == "boundaries" or "Docker" in kept
    platforms = (Platform.VM_DIRECT, *((Platform.CONTAINER,) if docker else ()))
    experiment = Experiment("isolation", "Is anything left?", platforms, measure)
    with stoppable(), stopped_by_end_of_input():
        run(experiment, platforms, 1, Path(folder), watch, lambda recorder: None)  # noqa: ARG005


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main(*sys.argv[1:])
