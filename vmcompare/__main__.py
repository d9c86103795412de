"""The command line: ``vmcompare check | lab | record | handout | clean``."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from . import __version__
from .errors import VmcompareError

if TYPE_CHECKING:
    from .experiment import Progress, Watch
    from .recording import Recorder
    from .sandbox import Availability

    Opened = Callable[[Recorder], object]

STOPPED = 130
"""Exit code after a stop request, as shells count it (128 + SIGINT)."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; errors are one sentence on standard error and exit code 1."""
    arguments = _parser().parse_args(argv)
    try:
        return int(arguments.command(arguments))
    except VmcompareError as error:
        print(f"vmcompare: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("vmcompare: stopped; what was measured so far is kept", file=sys.stderr)
        return STOPPED


def check(arguments: argparse.Namespace) -> int:
    """What is on this computer, as a table or as JSON; of a recording: whether it can be used."""
    from . import assembly, host

    if arguments.recording:
        return max([_check_recording(path) for path in arguments.recording])
    found = assembly.availability()
    bare = assembly.runtime_availability()
    if arguments.json:
        listed = {
            name: {"platforms": [p.value for p in assembly.ENGINES[name]], **_told(a)}
            for name, a in found.items()
        }
        runtimes = {name: _told(a) for name, a in bare.items()}
        details = dict(found["qemu"].details)
        accelerator = {
            "accelerator": details.get("accelerator"),
            "rejected": {
                key.removeprefix("rejected "): why
                for key, why in details.items()
                if key.startswith("rejected ")
            },
        }
        facts = host.facts({n: a.version for n, a in {**found, **bare}.items() if a.ok}, {})
        told = {"engines": listed, "runtimes": runtimes, **accelerator, "host": facts}
        print(json.dumps(told, indent=2))
        return 0
    for name, a in {**found, **bare}.items():
        print(f"{name:11}{'ready ' + a.version if a.ok else 'not available: ' + a.what}")
        if name in bare:
            print(f"{'':12}a container's bare mechanism: a series of its own, never Docker's")
        for key, value in a.details:
            print(f"{'':12}{key}: {value}")
        if not a.ok:
            print(f"{'':12}next step: {a.next_step}")
    return 0


def _told(found: Availability) -> dict[str, object]:
    """What a probe found, for programs."""
    return {
        "available": found.ok,
        "version": found.version,
        **({} if found.ok else {"what": found.what, "next_step": found.next_step}),
        "details": dict(found.details),
    }


def _check_recording(path: Path) -> int:
    from . import contributed
    from .recording import read

    found = contributed.problems(path)
    for sentence in found:
        print(f"{path.name}: {sentence}")
    if not found:
        recording = read(path)
        for sentence in contributed.doubts(recording):
            print(f"{path.name}: doubt (it may be used all the same): {sentence}")
        print(f"{path.name}: good. {contributed.summary(recording)}")
    return 1 if found else 0


def record(arguments: argparse.Namespace) -> int:
    """Measure one experiment, several, or all; one that fails does not stop the next."""
    from . import assembly
    from .data import user_recordings_dir
    from .experiment import discover, load
    from .run import run, stoppable

    experiments = [load(name) for name in arguments.experiment or discover()]
    wanted = [assembly.platform_named(name) for name in arguments.platform]
    out = arguments.out or user_recordings_dir()
    failed: list[str] = []
    with stoppable(on_eof=arguments.stop_on_eof):
        for experiment in experiments:
            watch, opened = _events() if arguments.events else _bar(experiment.name)
            rounds = arguments.rounds or experiment.rounds
            try:
                path = run(experiment, wanted, rounds, out, watch, opened)
            except VmcompareError as error:
                if len(experiments) == 1:
                    raise
                failed.append(experiment.name)
                print(f"vmcompare: {experiment.name} failed: {error}", file=sys.stderr)
                continue
            if not arguments.events:
                print(f"recorded {path}", flush=True)
    if failed:
        done = len(experiments) - len(failed)
        said = f"{done} of {len(experiments)} experiments recorded; failed: {', '.join(failed)}"
        print(f"vmcompare: {said}", file=sys.stderr)
    return 1 if failed else 0


def clean(arguments: argparse.Namespace) -> int:
    """End and remove whatever earlier runs left behind."""
    from . import reaper

    swept = reaper.sweep()
    for item in swept:
        print(f"removed {item.kind} {item.name}")
    if not swept:
        print("nothing of vmcompare was left behind")
    if arguments.engine:
        from .backends import service

        service.stop()
    return 0


def handout(arguments: argparse.Namespace) -> int:
    """Run lessons and write each as one self-contained HTML file; several get an index page."""
    from . import assembly
    from .handout import HandoutError, export, export_all, index

    if arguments.mode:
        os.environ["VMCOMPARE_MODE"] = arguments.mode
    if arguments.rounds:
        os.environ["VMCOMPARE_ROUNDS"] = str(arguments.rounds)
    if arguments.platform:
        names = [assembly.platform_named(name).value for name in arguments.platform]
        os.environ["VMCOMPARE_PLATFORMS"] = ",".join(names)
    if len(arguments.notebook) > 1 and arguments.out.suffix == ".html":
        raise VmcompareError("several handouts need a directory: give --out DIR")
    failures: list[HandoutError] = []

    def finished(made: Path | HandoutError) -> None:
        _say("")
        if isinstance(made, HandoutError):
            failures.append(made)
            print(f"vmcompare: {made}", file=sys.stderr)
        else:
            print(f"wrote {made}", flush=True)

    if len(arguments.notebook) == 1:
        finished(export(arguments.notebook[0], arguments.out, progress=_say))
        return 0
    export_all(
        arguments.notebook, arguments.out, at_once=_at_once(), finished=finished, progress=_say
    )
    print(f"wrote {index.write(arguments.out)}")
    return 1 if failures else 0


def _at_once() -> int:
    """How many handouts are made side by side: one as soon as anything may be measured."""
    from . import assembly
    from .mode import Mode, mode

    probed = [] if mode() is Mode.REPLAY else [*assembly.availability().items()]
    measuring = any(found.ok for name, found in probed if name != "process")
    return 1 if measuring else os.cpu_count() or 1


def lab(arguments: argparse.Namespace) -> int:
    """Make the engines ready, then open JupyterLab on this computer only, with a token."""
    from .backends import service
    from .data import lessons_dir

    service.ensure()
    command = [sys.executable, "-m", "jupyterlab", "--ServerApp.ip=127.0.0.1"]
    command += [f"--ServerApp.root_dir={lessons_dir()}", "--LabApp.extension_manager=readonly"]
    command += ["--allow-root"] if getattr(os, "geteuid", lambda: 1)() == 0 else []
    command += ["--no-browser"] if arguments.no_browser else []
    os.execv(sys.executable, command)


def _say(text: str) -> None:
    """Progress: on a terminal one line that changes, elsewhere a line each."""
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)
    elif text:
        print(text, file=sys.stderr)


def _bar(name: str) -> tuple[Watch, Opened]:
    """Progress for people: a bar on standard error, once there is progress."""
    from tqdm import tqdm

    bars: list[tqdm[NoReturn]] = []

    def watch(progress: Progress) -> None:
        if not bars:
            bars.append(tqdm(desc=name, unit="start", file=sys.stderr, dynamic_ncols=True))
        bar = bars[0]
        if progress.step == "image":
            bar.set_postfix_str(f"preparing {progress.what}")
        elif progress.step == "trial":
            bar.total, bar.n = progress.planned, progress.done
            bar.set_postfix_str(progress.what)
            if progress.done == progress.planned:
                bar.close()

    def opened(recorder: Recorder) -> None:
        print(f"recording to {recorder.path}", file=sys.stderr)

    return watch, opened


def _events() -> tuple[Watch, Opened]:
    """Progress for programs: JSON lines on standard output, read by a ``Session``."""

    def tell(**message: object) -> None:
        print(json.dumps(message), flush=True)

    def watch(progress: Progress) -> None:
        place = {"what": progress.what, "done": progress.done, "planned": progress.planned}
        if progress.event is None:
            tell(event=progress.step, **place)
        else:
            tell(event="phase", phase=progress.event.phase.value, **place)

    def opened(recorder: Recorder) -> None:
        tell(event="run", run_id=recorder.run_id, path=str(recorder.path))

    return watch, opened


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="vmcompare", description=__doc__)
    parser.add_argument("--version", action="version", version=f"vmcompare {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(
        name: str, function: Callable[[argparse.Namespace], int]
    ) -> argparse.ArgumentParser:
        words = (function.__doc__ or "").splitlines()[0]
        sub = commands.add_parser(name, help=words, description=words)
        sub.set_defaults(command=function)
        return sub

    sub = command("check", check)
    sub.add_argument(
        "recording", nargs="*", type=Path, metavar="FILE.jsonl", help="look at recordings instead"
    )
    sub.add_argument("--json", action="store_true", help="as JSON, for programs")

    sub = command("lab", lab)
    sub.add_argument("--no-browser", action="store_true", help="only print the address")

    sub = command("record", record)
    sub.add_argument("experiment", nargs="*", metavar="EXPERIMENT", help="all when none is named")
    sub.add_argument(
        "--platform", action="append", default=[], metavar="NAME", help="only this one; repeatable"
    )
    sub.add_argument(
        "--rounds", type=_at_least_one, metavar="N", help="blocks (default: what a verdict needs)"
    )
    sub.add_argument("--out", type=Path, metavar="DIR", help="default: your own data directory")
    sub.add_argument(
        "--stop-on-eof", action="store_true", help="stop when standard input is closed"
    )
    sub.add_argument("--events", action="store_true", help="progress as JSON lines, for programs")

    sub = command("handout", handout)
    sub.add_argument("notebook", nargs="+", type=Path, metavar="NOTEBOOK")
    sub.add_argument("--out", type=Path, default=Path("dist"), metavar="DIR", help="default: dist")
    sub.add_argument(
        "--mode", choices=("auto", "live", "replay"), help="run, replay, or both (default: auto)"
    )
    sub.add_argument("--rounds", type=_at_least_one, metavar="N", help="blocks of a live run")
    sub.add_argument(
        "--platform",
        action="append",
        default=[],
        metavar="NAME",
        help="measure only this one and replay the others; repeatable",
    )

    sub = command("clean", clean)
    sub.add_argument(
        "--engine", action="store_true", help="also stop the Docker daemon that set-up started"
    )
    return parser


def _at_least_one(text: str) -> int:
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return number


if __name__ == "__main__":
    sys.exit(main())
