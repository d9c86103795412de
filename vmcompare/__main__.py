"""The command line: ``vmcompare check | lab | record | handout | clean``.

Ctrl-C, SIGTERM and SIGHUP end every command in order, with exit code 130. A command whose output
nobody reads any more ends with 141, but for ``record`` and ``handout``, which go on silently.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import secrets
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from vmcompare import __version__, paths
from vmcompare.errors import Unavailable, VmcompareError, printable
from vmcompare.measuring import stop

if TYPE_CHECKING:
    from vmcompare.evidence.recording import Recorder
    from vmcompare.measuring.experiment import Progress, Watch
    from vmcompare.sandbox import Availability

    Opened = Callable[[Recorder], object]

LAB_SERVER = {
    "ip": "127.0.0.1",
    "sock": "",
    "allow_remote_access": False,
    "allow_origin": "",
    "allow_origin_pat": "",
    "allow_credentials": False,
    "disable_check_xsrf": False,
}
"""Who may come in is never a matter of the user's configuration of Jupyter, which may switch tokens
off or listen to the world. These go before what stands there, and are looked at once more."""

WORDS = {
    "check": "What is on this computer, as a table or as JSON; "
    "of a recording: whether it can be used.",
    "lab": "Make the engines ready, then open JupyterLab on this computer only, with a token.",
    "record": "Measure one experiment, several, or all; one that fails does not stop the next.",
    "handout": "Run lessons and write each as one self-contained HTML file; "
    "several get an index page.",
    "clean": "End and remove whatever earlier runs left behind.",
}
"""What each command does, as ``--help`` says it."""

_SENTENCE = 2000
"""Characters of a sentence on the terminal; what an engine or a file said is a part of it."""

STOPPED = 130
"""Exit code after a stop request of any kind, as shells count Ctrl-C (128 + SIGINT)."""

UNREAD = 141
"""Exit code when standard output was closed, as shells count it (128 + SIGPIPE)."""

LEAST_FILES = 64
"""Open files that a command needs, at most: the modules of a handout, its kernel's channels."""

LEAST_FILE_BYTES = 64 << 20
"""Size of the largest file that a command writes: the userland's archive has 24 MB."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; errors are one sentence on standard error and exit code 1."""
    try:
        with stop.stoppable():
            return _main(argv)
    except KeyboardInterrupt:
        _complain("stopped")
        return STOPPED


def _main(argv: Sequence[str] | None) -> int:
    stop.open_standard_streams()
    arguments = _parser().parse_args(argv)
    paths.settle_home()
    try:
        if arguments.command is not clean:
            _refuse_tight_limits()
        with _heard(arguments):
            code = int(arguments.command(arguments))
        sys.stdout.flush()
        return code
    except VmcompareError as error:
        _complain(str(error))
    except BrokenPipeError:
        stop.silence(sys.stdout.fileno())  # or Python would complain while it ends
        return UNREAD
    except KeyboardInterrupt:
        kept = "; what was measured so far is kept" if arguments.command is record else ""
        _complain(f"stopped{kept}")
        return STOPPED
    except (OSError, ImportError, MemoryError, RuntimeError) as error:
        # What no part foresaw: a limit that was reached, a disk or an installation that is broken.
        # RuntimeError is how Python says that no further thread can be started.
        if isinstance(error, OSError) and error.errno in paths.NO_ROOM:
            _complain(str(paths.no_room(error)))
            return 1
        where = getattr(error, "filename", None) or getattr(error, "name", None)
        why = getattr(error, "strerror", None) or str(error) or "there is not enough memory"
        step = "look at vmcompare check, ulimit -a and df"
        _complain(f"{f'{where}: ' if where else ''}{why}. Next step: {step}")
    with contextlib.suppress(OSError):
        sys.stdout.flush()
        return 1
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
        yield


def _complain(sentence: str) -> None:
    """One line on standard error; nothing where that is closed."""
    try:
        said = printable(" ".join(sentence.split()), _SENTENCE)
        print(f"vmcompare: {said}", file=sys.stderr, flush=True)
    except OSError:
        stop.silence(sys.stderr.fileno())


def _refuse_tight_limits() -> None:
    """Raise ``Unavailable`` before anything is begun that could not be ended in order."""
    try:
        import resource
    except ImportError:  # Windows
        return
    for limit, least, unit, letter in (
        (resource.RLIMIT_NOFILE, LEAST_FILES, "open files", "n 256"),
        (resource.RLIMIT_FSIZE, LEAST_FILE_BYTES, "bytes in a file", "f unlimited"),
    ):
        soft, hard = resource.getrlimit(limit)
        if soft == resource.RLIM_INFINITY or soft >= least:
            continue
        if hard == resource.RLIM_INFINITY or hard >= least:
            resource.setrlimit(limit, (least, hard))
            continue
        raise Unavailable(
            f"this shell allows only {soft} {unit}",
            f"open another one, or raise the limit (ulimit -{letter})",
        )


def check(arguments: argparse.Namespace) -> int:
    """What is on this computer, as a table or as JSON; of a recording: whether it can be used."""
    from vmcompare import engines
    from vmcompare.measuring import host

    if arguments.recording:
        return max([_check_recording(path) for path in arguments.recording])
    found = engines.availability()
    bare = engines.runtime_availability()
    if arguments.json:
        listed = {
            name: {"platforms": [p.value for p in engines.ENGINES[name]], **_told(a)}
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
        said = f"ready {a.version}" if a.ok else f"not available: {a.what}"
        print(f"{name:11}{printable(said, _SENTENCE)}")
        if name in bare:
            print(f"{'':12}a container's bare mechanism: a series of its own, never Docker's")
        for key, value in a.details:
            print(f"{'':12}{printable(f'{key}: {value}', _SENTENCE)}")
        if not a.ok:
            print(f"{'':12}next step: {printable(a.next_step, _SENTENCE)}")
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
    from vmcompare.evidence.recording import read
    from vmcompare.measuring import contributed

    found, name = contributed.problems(path), printable(path.name)
    for sentence in found:
        print(f"{name}: {sentence}")
    if not found:
        recording = read(path)
        for sentence in contributed.doubts(recording):
            print(f"{name}: doubt (it may be used all the same): {sentence}")
        print(f"{name}: good. {contributed.summary(recording)}")
    return 1 if found else 0


def record(arguments: argparse.Namespace) -> int:
    """Measure one experiment, several, or all; one that fails does not stop the next."""
    from vmcompare import engines
    from vmcompare.measuring import turn
    from vmcompare.measuring.experiment import discover, load
    from vmcompare.measuring.run import run
    from vmcompare.paths import user_recordings_dir

    experiments = [load(name) for name in arguments.experiment or discover()]
    wanted = [engines.platform_named(name) for name in arguments.platform]
    out = arguments.out or user_recordings_dir()
    failed: list[str] = []
    with contextlib.ExitStack() as stack:
        if arguments.stop_on_eof:
            stack.enter_context(stop.stopped_by_end_of_input())
        tell = stack.enter_context(turn.taken())
        for experiment in experiments:
            rounds = arguments.rounds or experiment.rounds
            tell(experiment=experiment.name)
            try:
                with _events() if arguments.events else _bar(experiment.name) as (watch, opened):
                    begun = _telling(tell, experiment.name, opened)
                    path = run(experiment, wanted, rounds, out, watch, begun)
            except VmcompareError as error:
                if len(experiments) == 1:
                    raise
                failed.append(experiment.name)
                print(
                    f"vmcompare: {experiment.name} failed: {printable(str(error), _SENTENCE)}",
                    file=sys.stderr,
                )
                continue
            if not arguments.events:
                print(f"recorded {path}", flush=True)
                if why := _why_nothing(path):
                    failed.append(experiment.name)
                    _complain(f"nothing of {experiment.name} could be measured: {why}")
    if failed and len(experiments) > 1:
        done = len(experiments) - len(failed)
        said = f"{done} of {len(experiments)} experiments recorded; failed: {', '.join(failed)}"
        print(f"vmcompare: {said}", file=sys.stderr)
    return 1 if failed else 0


def _telling(tell: Callable[..., None], experiment: str, opened: Opened) -> Opened:
    """``opened``, and other processes of this user are told of the run that begins, too."""

    def begun(recorder: Recorder) -> None:
        tell(experiment=experiment, run_id=recorder.run_id)
        opened(recorder)

    return begun


def _why_nothing(path: Path) -> str:
    """The first error of a recording in which every row is one; empty of any other."""
    from vmcompare.evidence.recording import read

    rows = read(path).rows
    return (
        "" if any(row["status"] == "ok" for row in rows) else str(rows[0]["error"] if rows else "")
    )


def clean(arguments: argparse.Namespace) -> int:
    """End and remove whatever earlier runs left behind."""
    from vmcompare.engines import cleanup

    swept = cleanup.sweep()
    for item in swept:
        print(f"removed {item.kind} {printable(item.name)}")
    for sentence in swept.refused:
        print(printable(sentence, _SENTENCE))
    if not swept:
        print("nothing of vmcompare was left behind")
    if arguments.engine:
        from vmcompare.engines import setup

        setup.stop()
    return 0


def handout(arguments: argparse.Namespace) -> int:
    """Run lessons and write each as one self-contained HTML file; several get an index page."""
    from vmcompare import engines
    from vmcompare.handout import HandoutError, export, export_all, files, index

    if arguments.mode:
        os.environ["VMCOMPARE_MODE"] = arguments.mode
    if arguments.rounds:
        os.environ["VMCOMPARE_ROUNDS"] = str(arguments.rounds)
    if arguments.platform:
        names = [engines.platform_named(name).value for name in arguments.platform]
        os.environ["VMCOMPARE_PLATFORMS"] = ",".join(names)
    if len(arguments.notebook) > 1 and arguments.out.suffix == ".html":
        raise VmcompareError("several handouts need a directory: give --out DIR")
    failures: list[HandoutError] = []

    def finished(made: Path | HandoutError) -> None:
        _say("")
        if isinstance(made, HandoutError):
            failures.append(made)
            print(f"vmcompare: {printable(str(made), _SENTENCE)}", file=sys.stderr)
        else:
            print(f"wrote {made}", flush=True)

    if len(arguments.notebook) == 1:
        finished(export(arguments.notebook[0], arguments.out, progress=_say))
        return 0
    export_all(
        *(arguments.notebook, arguments.out), at_once=_at_once(), index=files.INDEX,
        finished=finished, progress=_say,
    )  # fmt: skip
    print(f"wrote {index.write(arguments.out)}")
    return 1 if failures else 0


def _at_once() -> int:
    """How many handouts are made side by side: one as soon as anything may be measured."""
    from vmcompare import engines
    from vmcompare.measuring.mode import Mode, mode

    probed = [] if mode() is Mode.REPLAY else [*engines.availability().items()]
    measuring = any(found.ok for name, found in probed if name != "process")
    return 1 if measuring else os.cpu_count() or 1


def lab(arguments: argparse.Namespace) -> int:
    """Make the engines ready, then open JupyterLab on this computer only, with a token."""
    from jupyterlab.labapp import LabApp

    from vmcompare.engines import setup
    from vmcompare.engines.child_python import refuse
    from vmcompare.measuring.mode import drawing_folder
    from vmcompare.paths import lessons_dir

    try:
        refuse(lessons_dir())
    except VmcompareError as error:
        _complain(str(error))
    setup.ensure()
    token = secrets.token_hex(24)
    identity = "jupyter_server.auth.identity.PasswordIdentityProvider"
    options = [
        f"--ServerApp.identity_provider_class={identity}",
        "--IdentityProvider.token=" + token,
    ]
    options += [f"--PasswordIdentityProvider.{x}" for x in (f"token={token}", "hashed_password=")]
    options += ["--PasswordIdentityProvider.password_required=False"]
    for application in (
        "ServerApp",
        "LabApp",
        "NotebookApp",
    ):  # each passes its own on to the first
        options += [f"--{application}.{name}={value}" for name, value in LAB_SERVER.items()]
    options += [f"--ServerApp.root_dir={lessons_dir()}", "--LabApp.extension_manager=readonly"]
    options += ["--allow-root"] if getattr(os, "geteuid", lambda: 1)() == 0 else []
    options += ["--no-browser"] if arguments.no_browser else []
    # In this process: anybody may read the arguments of another one, and so the token.
    server = LabApp.initialize_server(options)
    open_to = [name for name, value in LAB_SERVER.items() if getattr(server, name) != value]
    if open_to or server.identity_provider.token != token:
        raise Unavailable(
            f"the configuration of Jupyter would open the lab to others ({', '.join(open_to)})",
            "look through what `jupyter --paths` lists under config",
        )
    server.identity_provider.token_generated = True  # by us: so it is shown in the address
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        # JupyterLab ends its kernels in order on SIGTERM only. (Ignored: nohup.)
        signal.signal(signal.SIGHUP, lambda *_: signal.raise_signal(signal.SIGTERM))
    with drawing_folder():
        server.start()
    return 0


def _say(text: str) -> None:
    """Progress: on a terminal one line that changes, elsewhere a line each."""
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)
    elif text:
        print(text, file=sys.stderr)


@contextlib.contextmanager
def _bar(name: str) -> Iterator[tuple[Watch, Opened]]:
    """Progress for people: a bar on standard error, once there is progress; its line is ended."""
    from tqdm import tqdm

    from vmcompare.measuring.estimate import BAR, to_go

    bars: list[tqdm[NoReturn]] = []

    def watch(progress: Progress) -> None:
        if progress.step == "estimate":
            print(f"{name}: {progress.what}", file=sys.stderr)
            return
        if not bars:
            bars.append(tqdm(desc=name, file=sys.stderr, dynamic_ncols=True, bar_format=BAR))
        bar = bars[0]
        if progress.step == "image":
            bar.set_postfix_str(f"preparing {progress.what}" if not progress.done else "")
        elif progress.step == "trial":
            bar.total, bar.n = progress.planned, progress.done
            bar.set_postfix_str(f"{progress.what}{to_go(progress.left_s)}")
            if progress.done == progress.planned:
                bar.close()

    def opened(recorder: Recorder) -> None:
        print(f"recording to {recorder.path}", file=sys.stderr)

    try:
        yield watch, opened
    finally:
        for bar in bars:
            bar.close()


@contextlib.contextmanager
def _events() -> Iterator[tuple[Watch, Opened]]:
    """Progress for programs: JSON lines on standard output, read by a ``Session``."""

    def tell(**message: object) -> None:
        try:
            print(json.dumps(message), flush=True)
        except OSError:  # whoever started the run has gone; not an error of what is measured
            stop.silence(sys.stdout.fileno())
            stop.request()

    def watch(progress: Progress) -> None:
        place = {"what": progress.what, "done": progress.done, "planned": progress.planned}
        if progress.event is None:
            tell(event=progress.step, left_s=progress.left_s, **place)
        else:
            tell(event="phase", phase=progress.event.phase.value, **place)

    def opened(recorder: Recorder) -> None:
        tell(event="run", run_id=recorder.run_id, path=str(recorder.path))

    yield watch, opened


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="vmcompare")
    parser.add_argument("--version", action="version", version=f"vmcompare {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(
        name: str, function: Callable[[argparse.Namespace], int]
    ) -> argparse.ArgumentParser:
        words = WORDS[name]  # not its docstring, which python -OO leaves out
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
