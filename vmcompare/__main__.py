"""The command line: ``vmcompare check | lab | record | handout | export | clean``.

Ctrl-C, SIGTERM and SIGHUP end every command in order, with exit code 130 (``lab``, which ends in no
other way: 0). A command whose output nobody reads any more ends with 141, but for ``record`` and
``handout``, which go on silently.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vmcompare import __version__, paths
from vmcompare.errors import Unavailable, VmcompareError, printable
from vmcompare.measuring import stop

if TYPE_CHECKING:
    from vmcompare.evidence.recording import Recorder
    from vmcompare.measuring.run import Opened

_SENTENCE = 2000  # characters of a sentence, of which what an engine or a file said is a part

STOPPED = 130  # exit code after a stop request of any kind, as shells count Ctrl-C (128 + SIGINT)

UNREAD = 141  # exit code when standard output was closed, as shells count it (128 + SIGPIPE)

LEAST_FILES = 64  # open files that a command needs: modules of a handout, its kernel's channels


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; errors are one sentence on standard error and exit code 1."""
    try:
        with stop.stoppable():
            return _main(argv)
    except KeyboardInterrupt as request:
        _complain(f"stopped{request}")
        return STOPPED


def _main(argv: Sequence[str] | None) -> int:
    stop.open_standard_streams()
    arguments = _parser().parse_args(argv)
    paths.settle_home()
    try:
        if arguments.command is not clean:
            _refuse_few_files()
        with _heard(arguments):
            code = int(arguments.command(arguments))
        sys.stdout.flush()
        return code
    except VmcompareError as error:
        _complain(str(error))
    except BrokenPipeError:
        stop.silence(sys.stdout.fileno())  # or Python would complain while it ends
        return UNREAD
    except (OSError, ImportError, MemoryError, RuntimeError) as error:
        # What no part foresaw: a limit that was reached, a disk or an installation that is broken.
        if isinstance(error, RuntimeError) and "can't start new thread" not in str(error):
            raise  # a fault of ours, which its traceback helps to mend
        if isinstance(error, OSError) and error.errno in paths.NO_ROOM:
            _complain(str(paths.no_room(error)))
        else:
            where = getattr(error, "filename", None) or getattr(error, "name", None)
            why = getattr(error, "strerror", None) or str(error) or "there is not enough memory"
            step = "look at vmcompare check, ulimit -a and df"
            _complain(f"{f'{where}: ' if where else ''}{why}. Next step: {step}")
    try:
        sys.stdout.flush()
    except OSError:
        stop.silence(sys.stdout.fileno())
    return 1


@contextlib.contextmanager
def _heard(arguments: argparse.Namespace) -> Iterator[None]:
    """Have what takes long outlive whoever reads of its progress."""
    with contextlib.ExitStack() as stack:
        if arguments.command in (record, handout):
            stack.enter_context(contextlib.redirect_stderr(stop.Unread(sys.stderr)))
            if not getattr(arguments, "events", False):
                stack.enter_context(contextlib.redirect_stdout(stop.Unread(sys.stdout)))
        if getattr(arguments, "verbose", False):
            from vmcompare.engines import log

            stack.enter_context(log.shown(stop.Unread(sys.stderr)))
        yield


def _complain(sentence: str) -> None:
    """One line on standard error; nothing where that is closed."""
    try:
        said = printable(" ".join(sentence.split()), _SENTENCE)
        print(f"vmcompare: {said}", file=sys.stderr, flush=True)
    except OSError:
        stop.silence(sys.stderr.fileno())


def _refuse_few_files() -> None:
    """Raise ``Unavailable`` before anything is begun that could not be ended in order."""
    try:
        import resource
    except ImportError:  # Windows
        return
    allowed, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if 0 <= allowed < LEAST_FILES:  # it is -1 where there is no limit
        step = "open another one, or raise the limit (ulimit -n 256)"
        raise Unavailable(f"this shell allows only {allowed} open files", step)


def check(arguments: argparse.Namespace) -> int:
    """Say what is on this computer, or of recordings whether they can be used."""
    from vmcompare.measuring import contributed, host

    if arguments.recording:
        told = [contributed.report(path) for path in arguments.recording]
        if arguments.json:
            _print_json(recordings=told)
        else:
            _print_recordings(told)
        return 0 if all(one["usable"] for one in told) else 1
    found = host.report()
    if arguments.json:
        _print_json(**found)
    else:
        _print_computer(found)
    return 0


def _print_json(**document: object) -> None:
    """What ``--json`` prints; ``docs/command-line.md`` has every shape."""
    print(json.dumps(document, indent=2), flush=True)


def _print_computer(found: dict[str, Any]) -> None:
    for name, a in {**found["engines"], **found["runtimes"]}.items():
        said = f"ready {a['version']}" if a["available"] else f"not available: {a['what']}"
        print(f"{name:11}{printable(said, _SENTENCE)}")
        if name in found["runtimes"]:
            print(f"{'':12}a container's bare mechanism: a series of its own, never Docker's")
        for key, value in a["details"].items():
            print(f"{'':12}{printable(f'{key}: {value}', _SENTENCE)}")
        if not a["available"]:
            print(f"{'':12}next step: {printable(a['next_step'], _SENTENCE)}")


def _print_recordings(told: list[dict[str, Any]]) -> None:
    for one in told:
        name = printable(Path(one["file"]).name)
        for sentence in one["problems"]:
            print(f"{name}: {sentence}")
        for sentence in one["doubts"]:
            print(f"{name}: doubt (it may be used all the same): {sentence}")
        if one["usable"]:
            print(f"{name}: good. {one['summary']}")


def record(arguments: argparse.Namespace) -> int:
    """Measure one experiment, several, or all; one that fails does not stop the next."""
    from vmcompare import engines
    from vmcompare.measuring.experiment import discover, load
    from vmcompare.measuring.run import bar, events, lines, outcome, run, turn, why_nothing
    from vmcompare.paths import user_recordings_dir

    experiments = [load(name) for name in arguments.experiment or discover()]
    wanted = [engines.platform_named(name) for name in arguments.platform]
    out = arguments.out or user_recordings_dir()
    people = bar if sys.stderr.isatty() and not arguments.verbose else lines
    shown = events if arguments.events else people
    begun: list[Path] = []
    failed: dict[str, str] = {}

    def print_json() -> None:
        _print_json(
            recordings=[told for path in begun if (told := outcome(path))],
            failed=[{"experiment": name, "why": why} for name, why in failed.items()],
        )

    try:
        with contextlib.ExitStack() as stack:
            if arguments.json and not arguments.events:
                stack.callback(print_json)  # also of a run that was stopped
            if arguments.stop_on_eof:
                stack.enter_context(stop.stopped_by_end_of_input())
            tell = stack.enter_context(turn())
            for experiment in experiments:
                name = experiment.name
                tell(experiment=name)
                try:
                    with shown(name) as (watch, opened):

                        def opened_too(
                            recorder: Recorder, name: str = name, opened: Opened = opened
                        ) -> None:
                            begun.append(recorder.path)
                            tell(experiment=name, run_id=recorder.run_id)
                            opened(recorder)

                        rounds = arguments.rounds or experiment.rounds
                        path = run(experiment, wanted, rounds, out, watch, opened_too)
                except VmcompareError as error:
                    failed[name] = str(error)
                    if len(experiments) == 1:
                        raise
                    _complain(f"{name} failed: {error}")
                    continue
                if arguments.events:
                    continue
                if not arguments.json:
                    print(f"recorded {path}", flush=True)
                if why := why_nothing(path):
                    failed[name] = why
                    _complain(f"nothing of {name} could be measured: {why}")
    except KeyboardInterrupt:
        kept = "; what was measured so far is kept" if begun else ""
        raise KeyboardInterrupt(kept) from None
    if failed and len(experiments) > 1:
        done = len(experiments) - len(failed)
        said = f"{done} of {len(experiments)} experiments recorded; failed: {', '.join(failed)}"
        print(f"vmcompare: {said}", file=sys.stderr)
    return 1 if failed else 0


def export(arguments: argparse.Namespace) -> int:
    """Write the rows of a recording, or of a folder of them, as one CSV file."""
    from vmcompare.evidence import export

    out: Path = arguments.csv
    if any(out.resolve() == path.resolve() for path in export.files(arguments.recording)):
        raise VmcompareError("a recording is not replaced by its export: name another file")
    frame = export.read(arguments.recording)
    export.write(frame, out)
    if arguments.json:
        _print_json(file=str(out), rows=len(frame), columns=[*frame.columns])
    elif out.is_file():  # else it may be standard output itself
        print(f"wrote {out} ({len(frame):,} rows)")
    return 0


def clean(arguments: argparse.Namespace) -> int:
    """End and remove whatever earlier runs left behind."""
    from vmcompare.engines import cleanup

    swept = cleanup.sweep()
    if arguments.json:
        removed = [{"kind": item.kind, "name": item.name} for item in swept]
        _print_json(removed=removed, refused=[*swept.refused])
    else:
        said = [f"removed {item.kind} {printable(item.name)}" for item in swept]
        said += [printable(sentence, _SENTENCE) for sentence in swept.refused]
        print(*said, *([] if swept else ["nothing of vmcompare was left behind"]), sep="\n")
    if arguments.engine:
        from vmcompare.engines import setup

        setup.stop(_complain if arguments.json else print)
    return 0


def handout(arguments: argparse.Namespace) -> int:
    """Run lessons and write each as one self-contained HTML file; several get an index page."""
    from vmcompare import engines
    from vmcompare.handout import HandoutError, export_all, files, index
    from vmcompare.measuring.run import say
    from vmcompare.paths import lessons

    if arguments.mode:
        os.environ["VMCOMPARE_MODE"] = arguments.mode
    if arguments.rounds:
        os.environ["VMCOMPARE_ROUNDS"] = str(arguments.rounds)
    if arguments.platform:
        names = [engines.platform_named(name).value for name in arguments.platform]
        os.environ["VMCOMPARE_PLATFORMS"] = ",".join(names)
    paths_of = ((Path(word), word) for word in arguments.notebook)
    notebooks = [p if p.suffix or p.exists() else lessons.named(word) for p, word in paths_of]
    several = len(notebooks) > 1
    if several and arguments.out.suffix == ".html":
        raise VmcompareError("several handouts need a directory: give --out DIR")
    failures: list[HandoutError] = []
    written: list[Path] = []

    def finished(made: Path | HandoutError) -> None:
        say("")
        if isinstance(made, HandoutError):
            failures.append(made)
            _complain(str(made))
        else:
            written.append(made)
            if not arguments.json:
                print(f"wrote {made}", flush=True)

    export_all(
        notebooks, arguments.out, finished, say,
        at_once=_at_once(), edition=arguments.edition, index=files.INDEX if several else "",
    )  # fmt: skip
    for page in index.write(arguments.out) if several else ():
        finished(page)
    if arguments.json:
        failed = [{"notebook": str(e.notebook), "why": str(e)} for e in failures]
        _print_json(written=[str(page) for page in written], failed=failed)
    return 1 if failures else 0


def _at_once() -> int:
    """How many handouts are made side by side: one as soon as anything may be measured.

    Else one more than there are processors: while a page is written, no kernel waits for it.
    """
    from vmcompare import engines
    from vmcompare.measuring.mode import Mode, mode

    probed = [] if mode() is Mode.REPLAY else [*engines.availability().items()]
    measuring = any(found.ok for name, found in probed if name != "process")
    return 1 if measuring else (os.cpu_count() or 1) + 1


def lab(arguments: argparse.Namespace) -> int:
    """Copy the lessons into a folder of your own, and open JupyterLab there: on this computer only,
    with a token. What you change is never written over."""
    from vmcompare.engines import cleanup, setup
    from vmcompare.engines.child_python import refuse
    from vmcompare.errors import short
    from vmcompare.measuring.mode import drawing_folder
    from vmcompare.paths import lessons, server

    folder = (arguments.folder or lessons.default_folder()).absolute()
    for sentence in lessons.give(folder):
        print(printable(sentence, _SENTENCE))
    print(f"the lessons are in {short(folder)}", flush=True)
    try:
        refuse(folder)
    except VmcompareError as error:
        _complain(str(error))
    if arguments.port:
        server.refuse_taken_port(arguments.port)
    setup.ensure()
    with cleanup.folder() as place, drawing_folder():
        server.serve(folder, place, port=arguments.port, browser=not arguments.no_browser)
    return 0


class _Parser(argparse.ArgumentParser):
    """A parser whose help ends with examples, and with lists that are made when it is asked for."""

    examples: Sequence[str] = ()
    lists: Callable[[], str] = staticmethod(str)

    def format_help(self) -> str:
        shown = "\n".join(f"  vmcompare {line}" for line in self.examples)
        self.epilog = f"{self.lists()}For example:\n{shown}"
        return super().format_help()


def _names() -> str:
    """The experiments and platforms there are, for the help of ``record``."""
    from vmcompare.measuring.experiment import discover, load
    from vmcompare.sandbox import Platform

    lines = ["Experiments:"]
    for name in discover():
        try:
            lines.append(f"  {name:18}{load(name).question}")
        except VmcompareError as error:  # another package's, which is broken
            lines.append(f"  {name:18}{error}")
    lines += ["", f"Platforms: {', '.join(Platform)}", "", ""]
    return "\n".join(lines)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="vmcompare",
        description="Measure, on your own computer, how virtual machines and containers differ.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.examples = ["lab", "check", "record boot_speed --rounds 10", "handout 04"]
    parser.add_argument("--version", action="version", version=f"vmcompare {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    as_json, verbose, measured = (_Parser(add_help=False) for _ in range(3))

    def command(
        function: Callable[[argparse.Namespace], int], shared: Sequence[_Parser], *examples: str
    ) -> _Parser:
        """A command called as its function, whose first sentences are its help."""
        words = " ".join((function.__doc__ or "").split())
        sub: _Parser = commands.add_parser(
            function.__name__,
            help=words,
            description=words,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            parents=shared,
        )
        sub.examples = examples
        sub.set_defaults(command=function)
        return sub

    as_json.add_argument("--json", action="store_true", help="say it as JSON, for programs")
    verbose.add_argument(
        "-v", "--verbose", action="store_true",
        help="say on standard error what engines are asked to do",
    )  # fmt: skip
    measured.add_argument(
        "--platform", action="append", default=[], metavar="NAME",
        help="measure only this one (a handout replays the others); may be given several times",
    )  # fmt: skip
    measured.add_argument(
        "--rounds", type=_whole(1, 1_000_000), metavar="N",
        help="blocks (default: what a verdict needs; in a handout a few)",
    )  # fmt: skip

    sub = command(check, [as_json, verbose], "check", "check my-recordings/*/*.jsonl")
    words = "look at recordings instead"
    sub.add_argument("recording", type=Path, nargs="*", metavar="FILE.jsonl", help=words)

    sub = command(lab, [verbose], "lab")
    words = "your folder of lessons (default: vmcompare-lessons in your home)"
    sub.add_argument("folder", nargs="?", type=Path, metavar="DIR", help=words)
    words = "listen here (default: a free port from 8888 on)"
    sub.add_argument("--port", type=_whole(1, 65535), metavar="N", help=words)
    sub.add_argument("--no-browser", action="store_true", help="only print the address")

    sub = command(
        record,
        [measured, as_json, verbose],
        "record boot_speed --rounds 10",
        "record boot_speed --platform process --platform container",
    )
    sub.lists = _names
    words = "one of those below; all when none is named"
    sub.add_argument("experiment", nargs="*", metavar="EXPERIMENT", help=words)
    sub.add_argument("--out", type=Path, metavar="DIR", help="default: your own data directory")
    # For a lesson, which starts this command and stops it.
    sub.add_argument("--stop-on-eof", action="store_true", help=argparse.SUPPRESS)
    sub.add_argument("--events", action="store_true", help=argparse.SUPPRESS)

    sub = command(
        handout, [measured, as_json], "handout notebooks/*.ipynb --out dist --mode replay"
    )
    words = "04, or 04-boot-speed, or a notebook's path"
    sub.add_argument("notebook", nargs="+", metavar="LESSON", help=words)
    sub.add_argument(
        "--edition", choices=("student", "instructor"), default="student",
        help="student: answers on a last page; instructor: beside each task (default: student)",
    )  # fmt: skip
    sub.add_argument("--out", type=Path, default=Path("dist"), metavar="DIR", help="default: dist")
    words = "run, replay, or both (default: auto)"
    sub.add_argument("--mode", choices=("auto", "live", "replay"), help=words)

    sub = command(export, [as_json], "export 20261125T121524Z-ab32fa.jsonl --csv boot.csv")
    words = "a file, or a folder of recordings"
    sub.add_argument("recording", type=Path, metavar="RECORDING", help=words)
    sub.add_argument("--csv", type=Path, required=True, metavar="FILE", help="what to write")

    sub = command(clean, [as_json, verbose], "clean", "clean --engine")
    words = "also stop the Docker daemon that set-up started"
    sub.add_argument("--engine", action="store_true", help=words)
    return parser


def _whole(least: int, most: int) -> Callable[[str], int]:
    """Reads a whole number within these bounds."""

    def read(text: str) -> int:
        if re.fullmatch(r"[0-9]{1,9}", text) and least <= int(text) <= most:
            return int(text)
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from {least} to {most:,}")

    return read


if __name__ == "__main__":
    sys.exit(main())
