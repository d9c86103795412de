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
from typing import IO

from vmcompare import paths
from vmcompare.engines import cleanup
from vmcompare.engines.bare import GRACE_S, BareLauncher
from vmcompare.engines.commands import end_child, followed, one_at_a_time, run_to_end
from vmcompare.engines.images import alpine
from vmcompare.engines.programs import first_byte
from vmcompare.errors import AbnormalShutdown, LaunchFailure, Unavailable, WaitTimeout
from vmcompare.sandbox import (
    FIRST_BYTE_PROGRAM,
    Availability,
    Completed,
    Followed,
    Launcher,
    OnOutput,
    Platform,
    Spec,
    Start,
    refuse_what_only_vms_have,
)

_OURS = ("/lib/ld-musl-x86_64.so.1", "/bin/busybox")


@dataclass(slots=True)
class ProcessSandbox:
    """A first-byte program and a private directory that ``put`` writes to."""

    root: Path
    command: Sequence[str]
    environment: Mapping[str, str] | None = None
    child: subprocess.Popen[bytes] = field(init=False)
    placed: dict[str, str] = field(default_factory=dict)
    following: threading.Lock = field(default_factory=threading.Lock)
    used: bool = False
    followed_pid: int = 0

    def watch(self, child: subprocess.Popen[bytes], printed: IO[bytes]) -> ProcessSandbox:  # noqa: ARG002
        self.child = child
        return self

    def end(self, child: subprocess.Popen[bytes], *, strict: bool) -> tuple[int, int]:  # noqa: ARG002
        """End it, with what its commands have left running; it is not removed from anywhere."""
        end_child(child, GRACE_S)
        exit_ns = time.perf_counter_ns()
        if self.used:
            cleanup.end_session_processes(cleanup.session_id(), self._name())
        return exit_ns, 0

    def run(self, argv: Sequence[str], *, timeout_s: float = 60.0) -> Completed:
        command = self._command(argv)
        self.used = True
        try:
            output, code = run_to_end(
                command, timeout_s=timeout_s, environment=self._environment(), shown=argv
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
            command, environment = self._command(argv), self._environment()
            with followed(command, on_output, environment=environment) as heard:
                self.followed_pid = heard.host_pid
                try:
                    yield heard
                finally:
                    self.followed_pid = 0

    def _environment(self) -> dict[str, str]:
        """Of commands: it names the instance, so that what they leave running ends with it."""
        return {**os.environ, **self._name()}

    def _name(self) -> dict[str, str]:
        return {"VMCOMPARE_INSTANCE": self.root.name}

    def _command(self, argv: Sequence[str]) -> list[str]:
        if self.child.poll() is not None:
            raise AbnormalShutdown("the process has ended by itself")
        words = argv if argv[0] in self.placed else (*_OURS, *argv)
        placed = {path: f"{self.root}{path}" for path in _OURS} | self.placed
        return [placed.get(word, word) for word in words]

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


class ProcessLauncher(BareLauncher):
    """Starts the first-byte program with one fork and exec.

    A vCPU or memory limit of the spec is not enforced: an ordinary process has none.
    """

    runtime = "fork+exec"

    def refuse(self, spec: Spec) -> None:
        refuse_what_only_vms_have(spec)
        if spec.start is not Start.COLD:
            what = f"an ordinary process has no {spec.start.value} start"
            raise Unavailable(what, "choose a cold start")
        if spec.own_network:
            what = "an ordinary process has no network of its own"
            raise Unavailable(what, "choose a start without one")

    @contextmanager
    def container(self, spec: Spec) -> Iterator[ProcessSandbox]:
        with cleanup.folder() as root:
            _unpack(root)
            program, *words = spec.command
            yield ProcessSandbox(root, [str(root / program.lstrip("/")), *words])


def _unpack(root: Path) -> None:
    with tarfile.open(alpine.rootfs_tar()) as tar:
        for path in _OURS:
            source = tar.extractfile(path[1:])
            assert source is not None
            _place(root / path[1:], source.read())
    _place(root / FIRST_BYTE_PROGRAM.lstrip("/"), first_byte.elf(platform.machine()))


def _place(path: Path, content: bytes) -> None:
    with paths.as_storage_error(path, paths.TEMPORARY):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        path.chmod(0o755)


def probe() -> Availability:
    """Available on Linux where one start works.

    Only a start tells whether a folder for temporary files is full, or mounted ``noexec``.
    """
    if platform.system() != "Linux":
        step = "replay the recordings, or run vmcompare inside WSL2 or a Linux VM"
        return Availability(False, what="the process baseline needs Linux", next_step=step)
    try:
        with ProcessLauncher().open(Spec(), lambda _: None):
            pass
    except Unavailable as error:
        return Availability(False, what=error.what, next_step=error.next_step)
    except (LaunchFailure, WaitTimeout, AbnormalShutdown) as error:
        cause = error.__cause__
        why = cause.strerror if isinstance(cause, OSError) else error
        what = f"a program of ours does not run from {paths.temporary()} ({why})"
        step = "name a folder in TMPDIR from which programs may be run (not noexec)"
        return Availability(False, what=what, next_step=step)
    return Availability(True, version=platform.release())


def launchers() -> Mapping[Platform, Launcher]:
    return {Platform.PROCESS: ProcessLauncher()}
