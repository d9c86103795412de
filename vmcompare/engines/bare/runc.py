"""Containers as runc starts them: the mechanism below Docker, without the daemon and its shim.

``runc run --detach`` on a bundle of our own: what Docker asks for
(:mod:`vmcompare.engines.images.oci`), an empty network namespace (Docker's ``none``), the shared
Alpine userland read-only and a tmpfs on /tmp. Detached: what is left running is the container.

What Docker has and this lacks: a seccomp filter (the profile is Docker's own), a writable layer, an
init process (the first program is PID 1), a network. Root only.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from vmcompare.engines import bare, cleanup
from vmcompare.engines.commands import end_child, query
from vmcompare.engines.docker.container import PIDS_LIMIT
from vmcompare.engines.images import userland
from vmcompare.engines.images.oci import CAPABILITIES, CPU_PERIOD_US, cgroup_version, configuration
from vmcompare.errors import AbnormalShutdown, LaunchFailure, Unavailable, VmcompareError
from vmcompare.sandbox import (
    Availability,
    Confinement,
    Launcher,
    Migration,
    Platform,
    Spec,
)

_CRIU_S = 60.0  # for CRIU to save or continue a container; 0.5 s is usual
COMMAND_TIMEOUT_S = 20.0  # for one request to runc; 0.01 to 0.05 s is usual
_NOT_FOUND = b"executable file not found"

_numbers = itertools.count(1)


class RuncLauncher(bare.BareLauncher):
    """Starts containers with ``runc run --detach``. Commands get in by ``runc exec``."""

    runtime = "runc"

    @contextmanager
    def container(self, spec: Spec) -> Iterator[bare.Container]:
        program = _program()
        root = userland.directory()
        with cleanup.folder() as directory:
            container = _Container(program, directory)
            text = json.dumps(config(root, spec, container.name))
            (container.bundle / "config.json").write_text(text, encoding="utf-8")
            yield container


@dataclass(slots=True)
class _Sandbox(bare.BareSandbox):
    """One that CRIU can save and continue, if its programs have no file of the host open: standard
    error, too, has to go elsewhere. See :class:`vmcompare.sandbox.Migrates`."""

    migrate: Callable[[], AbstractContextManager[Migration]] = field(kw_only=True)


class _Container:
    def __init__(self, program: str, directory: Path) -> None:
        # The clean-up finds its cgroup by this name.
        self.name = f"vmcompare-{cleanup.session_id()}-{next(_numbers)}"
        self.bundle = directory / "bundle"
        self.bundle.mkdir(mode=0o700)
        self._pid_file = directory / "pid"
        self._runc = (program, "--root", str(directory / "state"))
        self.command: Sequence[str] = (
            *self._runc, "run", "--detach", "--bundle", str(self.bundle),
            "--pid-file", str(self._pid_file), self.name,
        )  # fmt: skip
        self.environment: Mapping[str, str] | None = cleanup.marked()
        self._first: bare.PidHandle | None = None

    def watch(self, child: subprocess.Popen[bytes], printed: IO[bytes]) -> bare.BareSandbox:
        """Wait until runc has done its part; hold the container's PID 1."""
        try:
            if code := child.wait(COMMAND_TIMEOUT_S):
                what = f"runc ended with {code} after the first byte"
                raise AbnormalShutdown(what, bare.console(printed))
            self._first = bare.PidHandle(int(self._pid_file.read_text(encoding="ascii")))
        except (subprocess.TimeoutExpired, ValueError, OSError) as error:
            what = "the container ended by itself"
            raise AbnormalShutdown(what, bare.console(printed)) from error
        return self._sandbox(self._first, printed)

    def _sandbox(self, first: bare.PidHandle, printed: IO[bytes]) -> bare.BareSandbox:
        return _Sandbox(
            (*self._runc, "exec", self.name),
            first,
            lambda: (first.pid, *bare.children(first.pid)),
            printed,
            environment=os.environ,
            cannot=_NOT_FOUND,
            migrate=lambda: self._continued(printed),
        )

    @contextmanager
    def _continued(self, printed: IO[bytes]) -> Iterator[Migration]:
        """Saved to files by CRIU, which ends it; continued from them, in the same bundle."""
        criu = shutil.which("criu")
        if criu is None:
            raise Unavailable("there is no criu on PATH", "install CRIU, or replay a recording")
        images, pid_file = self.bundle.with_name("images"), self.bundle.with_name("pid-after")
        images.mkdir()
        kept = ("--image-path", str(images), "--work-path", str(images))
        runc = (*self._runc, "--criu", criu)
        save = (*runc, "checkpoint", *kept, self.name)
        go_on = (
            *runc, "restore", "--detach", *kept, "--bundle", str(self.bundle),
            "--pid-file", str(pid_file), self.name,
        )  # fmt: skip
        with contextlib.ExitStack() as undo:
            try:
                by = query([criu, "--version"], COMMAND_TIMEOUT_S).stdout.split()[1]
                began = time.perf_counter()
                saved = query(save, _CRIU_S, cleanup.marked())
                if saved.returncode:
                    complaint = bare.cleaned(saved.stderr)
                    raise LaunchFailure("CRIU did not save the container", save, complaint)
                child, _ = bare.started("runc", go_on, printed, self.environment)
                undo.callback(end_child, child, bare.GRACE_S)
                undo.callback(bare.close_pipes, child)
                if child.wait(_CRIU_S):
                    what = "CRIU did not continue the container"
                    raise LaunchFailure(what, go_on, bare.console(printed))
                pause_s = time.perf_counter() - began
                first = bare.PidHandle(int(pid_file.read_text(encoding="ascii")))
            except (subprocess.TimeoutExpired, LookupError, ValueError, OSError) as error:
                what = "the container was lost with CRIU"
                raise AbnormalShutdown(what, bare.console(printed)) from error
            undo.callback(first.close)
            undo.callback(first.end, bare.GRACE_S)
            undo.callback(bare.close_pipes, child)  # first: it ends by that
            yield Migration(self._sandbox(first, printed), pause_s, f"CRIU {by}")

    def end(self, child: subprocess.Popen[bytes], *, strict: bool) -> tuple[int, int]:
        try:
            end_child(child, bare.GRACE_S)
            if self._first is not None:
                self._first.end(bare.GRACE_S)
            exit_ns = time.perf_counter_ns()
            complaint = self._delete()
            removed_ns = time.perf_counter_ns()
        finally:
            if self._first is not None:
                self._first.close()
        if complaint and strict:
            raise AbnormalShutdown(f"runc did not remove {self.name}", complaint)
        return exit_ns, removed_ns

    def _delete(self) -> str:
        """Remove the container, its state and its cgroup; what runc complained of."""
        # Forced: one that was never started well goes too. Unknown ones are no error then.
        command = (*self._runc, "delete", "--force", self.name)
        try:
            done = query(command, COMMAND_TIMEOUT_S, cleanup.marked())
        except (OSError, subprocess.TimeoutExpired) as error:
            return bare.cleaned(str(error))
        return bare.cleaned(done.stderr) if done.returncode else ""


def _program() -> str:
    bare.refuse_other_systems("runc")
    if os.geteuid() != 0:
        raise Unavailable(
            "runc needs root here, and this is an ordinary user",
            "run vmcompare as root, or look at bubblewrap, which needs no rights",
        )
    if found := shutil.which("runc"):
        return found
    step = "install Docker (on Debian and Ubuntu: docker.io brings runc)"
    raise Unavailable("runc is not on PATH", step)


def probe() -> Availability:
    """Starts a container and removes it: available where its first byte came."""
    try:
        told = query([_program(), "--version"], COMMAND_TIMEOUT_S)
        with cleanup.guard(), RuncLauncher().open(Spec(), lambda _: None):
            pass
    except Unavailable as error:
        return Availability(False, what=error.what, next_step=error.next_step)
    except (VmcompareError, OSError, ValueError, subprocess.TimeoutExpired) as error:
        why = "it hangs" if isinstance(error, subprocess.TimeoutExpired) else error
        what = f"runc does not work here ({why})"
        return Availability(False, what=what, next_step="replay a recording, or start with Docker")
    words = told.stdout.split()
    version = words[2] if words[:2] == ["runc", "version"] else ""
    return Availability(True, version=version)


def launchers() -> Mapping[Platform, Launcher]:
    return {Platform.CONTAINER: RuncLauncher()}


_SWAP = Path("/sys/fs/cgroup/memory/memory.memsw.limit_in_bytes")
"""Exists on cgroup v1 where the kernel accounts swap; without it runc refuses a limit of both."""


def config(root: Path, spec: Spec, name: str) -> dict[str, Any]:
    """The content of ``config.json`` for a container ``name``, with the limits Docker is given."""
    memory: dict[str, int] = {"limit": spec.memory_bytes}
    if _SWAP.exists() or not _SWAP.parent.exists():
        memory["swap"] = spec.memory_bytes  # of memory and swap together
    limits = {
        "memory": memory,
        "cpu": {"period": CPU_PERIOD_US, "quota": spec.vcpus * CPU_PERIOD_US},
        "pids": {"limit": PIDS_LIMIT},
    }
    return configuration(
        *(str(root), spec.command, name, limits),
        capabilities=[] if spec.confinement is Confinement.NO_CAPABILITIES else CAPABILITIES,
        own_cgroups=cgroup_version() == 2,  # as Docker does: private on v2, the host's on v1
        read_only=True,
    )
