"""Engines for the course: ``python -m vmcompare.engines.setup``.

:func:`ensure` makes Docker and QEMU usable where that needs nobody's decision (root on Debian or
Ubuntu, as in a cloud classroom), and otherwise prints the one next step for each that is missing.
It never disturbs a Docker that runs already, and never fails: the course also works on recordings.
``ENGINES=skip`` in the environment leaves the system alone. :func:`stop` ends only a daemon that
``ensure`` itself started.
"""

from __future__ import annotations

import contextlib
import os
import platform
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import psutil

from vmcompare import paths
from vmcompare.engines import cleanup, docker
from vmcompare.engines import log as engine_log
from vmcompare.engines.cleanup import ledger
from vmcompare.engines.commands import query
from vmcompare.engines.docker.launcher import PROBE_TIMEOUT_S
from vmcompare.engines.docker_connection import (
    INSTALL_URL,
    EngineUnavailable,
    Trouble,
    connect,
    endpoint,
    engine_info,
)
from vmcompare.errors import Unavailable

Say = Callable[[str], None]

_X86 = ("qemu-system-x86_64", "qemu-system-x86")
_ARM = ("qemu-system-aarch64", "qemu-system-arm")
QEMU = {"x86_64": _X86, "amd64": _X86, "aarch64": _ARM, "arm64": _ARM}
"""Processor → QEMU's program and its Debian package."""

DOCKER_PACKAGES = ("docker.io", "iptables", "ca-certificates")

REMEDIES = (
    (("iptables", "nf_tables", "netfilter", "ip_tables"), ("--iptables=false",)),
    (("bridge", "docker0", "network controller"), ("--iptables=false", "--bridge=none")),
    (("overlay", "graphdriver", "storage driver", "snapshotter"), ("--storage-driver=vfs",)),
)
"""Words in the daemon's last words → the options that help. vfs is slow and large: last resort.
``--bridge=none`` would delete another daemon's bridge: none is started beside another one."""

SOCKET = Path("/var/run/docker.sock")  # where every Docker client looks first
DAEMON = "dockerd"

APT = ("apt-get", "-o", "DPkg::Lock::Timeout=600", "-o", "Acquire::Retries=5")
"""A new computer often updates itself in its first minutes, and mirrors fail now and then."""

APT_S = 1800  # for one apt-get; 16 s were measured, a slow classroom line takes minutes
APT_TRIES, APT_AGAIN_S = 2, 20.0  # `update` does not wait for another apt-get's lock
READY_S = 120.0  # for a new daemon to answer; 0.3–2 s is usual, on a new disk 20 s
STOP_S = 20.0  # for our daemon to end in order; it gives each container up to 10 s
_CONTAINERD_PID = Path("/var/run/docker/containerd/containerd.pid")
"""Where a daemon started without systemd keeps its containerd's pid (its default exec-root)."""


def ensure(say: Say = print) -> None:
    """Make the engines usable, as far as that needs nobody's decision; says what it does."""
    if os.environ.get("ENGINES") == "skip":
        say("ENGINES=skip: nothing is installed or started")
        return
    packages: list[str] = []
    state, start = docker_state()
    if start and shutil.which(DAEMON) is None:
        start = may_install()
        packages += DOCKER_PACKAGES if start else ()
    if not start:
        say(state)
    program, package = QEMU.get(platform.machine().lower(), ("", ""))
    if program and shutil.which(program):
        say(f"QEMU is ready ({program})")
    elif package and may_install():
        packages.append(package)
    else:
        step = "install it: https://www.qemu.org/download/"
        if package and _is_debian():
            step = f"run: sudo apt-get install {package}"
        elif platform.system() == "Darwin":
            step = "run: brew install qemu"
        say(f"QEMU is not installed. Next step: {step}")
    if packages:
        _install(packages, say)
    if start:
        _start_docker(say)


def docker_state() -> tuple[str, bool]:
    """What to say of Docker, and whether starting one here would disturb nobody."""
    try:
        info = engine_info(connect(PROBE_TIMEOUT_S))
    except EngineUnavailable as missing:
        state, trouble = f"{missing.what}. Next step: {missing.next_step}", missing.trouble
    else:
        return f"Docker {info['ServerVersion']} is ready", False
    if (named := endpoint()) and not named.endswith("/run/docker.sock"):
        return state, False
    if daemons_here():
        step = "put its client docker on PATH, or name its address in DOCKER_HOST"
        return f"A Docker daemon runs, but not where it is looked for. Next step: {step}", False
    is_startable = trouble in (Trouble.ABSENT, Trouble.NOT_RUNNING, Trouble.REFUSED)
    return state, is_startable and _is_root()


def may_install() -> bool:
    """Whether we are root on Debian or a child of it."""
    return _is_root() and _is_debian() and shutil.which("apt-get") is not None


def _is_root() -> bool:
    return hasattr(os, "geteuid") and os.geteuid() == 0


def _is_debian() -> bool:
    try:
        release = platform.freedesktop_os_release()
    except OSError:
        return False
    return "debian" in f"{release.get('ID', '')} {release.get('ID_LIKE', '')}".split()


def daemons_here() -> list[psutil.Process]:
    """Docker daemons in this network namespace, ours included."""
    found = []
    for process in psutil.process_iter(["name"]):
        if process.info["name"] == DAEMON:
            with contextlib.suppress(OSError):
                here = Path("/proc/self/ns/net").stat().st_ino
                if Path(f"/proc/{process.pid}/ns/net").stat().st_ino == here:
                    found.append(process)
    return found


def _install(packages: Sequence[str], say: Say) -> None:
    say(f"Installing {', '.join(packages)} (apt-get) …")
    log = engine_dir() / "install.log"
    log.unlink(missing_ok=True)
    install = ("install", "-y", "--no-install-recommends")
    for number in range(APT_TRIES):
        if number:
            time.sleep(APT_AGAIN_S)
        # A failed update is no reason to stop: the lists on this computer may do.
        _apt(log, "update")
        if _apt(log, *install, *packages):
            if shutil.which(DAEMON) and not shutil.which("docker"):  # from Debian 13 on
                _apt(log, *install, "docker-cli")
            say(f"Installed {', '.join(packages)}")
            return
    say(f"Not installed: {last_line(log)}. Next step: apt-get install {' '.join(packages)}")


def _apt(log: Path, *words: str) -> bool:
    """Whether ``apt-get`` does it; what it says is added to ``log``."""
    command = [*APT, *words]
    engine_log.command(command)
    try:
        with log.open("ab") as out:  # no pipe: a service that apt-get starts would keep it open
            ended = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
                timeout=APT_S,
                check=False,
            )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return ended.returncode == 0


def _start_docker(say: Say) -> None:
    """Start the engine unless installing it did so already, and wait until it answers."""
    if daemons_here():
        say(_ready() if wait_until_it_answers() else _BUSY)
    elif not shutil.which(DAEMON):
        say(f"Docker is not there. Next step: install it: {INSTALL_URL}")
    elif Path("/run/systemd/system").is_dir():
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):  # whether it answers, counts
            query(["systemctl", "start", "docker"], 120)
        failed = "Docker did not start. Next step: see: journalctl -u docker"
        say(_ready() if wait_until_it_answers() else failed)
    else:
        start_own(say)


_BUSY = "Another Docker is starting: left alone. Next step: try again in a minute"


def _ready() -> str:
    return f"Docker {docker.probe().version} is ready"


class _Daemon(msgspec.Struct):
    """One that set-up started, as it is written down."""

    pid: int
    started: str
    boot: str

    def runs(self) -> bool:
        return ledger.is_same_process(self.pid, self.started)

    def end(self) -> bool:
        """End it softly, then hard with the containerd it started; whether it is gone."""
        with contextlib.suppress(psutil.Error):  # it is gone, or not ours to end
            process = psutil.Process(self.pid)
            # Only direct children: a shim belongs to a container, whose end is the daemon's job.
            helpers = process.children()
            if self.runs():
                process.terminate()
            if not self._is_gone():
                for each in (process, *helpers):
                    with contextlib.suppress(psutil.NoSuchProcess):
                        each.kill()
        return self._is_gone()

    def _is_gone(self) -> bool:
        """Whether it is within ``STOP_S``."""
        deadline = time.monotonic() + STOP_S
        while self.runs() and time.monotonic() < deadline:
            time.sleep(0.05)
        return not self.runs()


def start_own(say: Say) -> None:
    """Start a daemon; should it die at once, again with what its last words suggest."""
    options: tuple[str, ...] = ()
    log = engine_dir() / "dockerd.log"
    while True:
        if daemons_here() or _somebody_listens():  # perhaps one that is not seen from here
            say(_ready() if wait_until_it_answers() else _BUSY)
            return
        child, daemon = _spawn(options, log)
        if wait_until_it_answers(child):
            limits = " (containers have no network)" if "--bridge=none" in options else ""
            say(f"{_ready()}: started by us{limits}")
            return
        daemon.end()
        child.wait()
        _pid_file().unlink(missing_ok=True)
        fresh = remedy(_said(log), options)
        if not fresh:
            break
        say(f"Docker did not start: {last_line(log)}. Trying again with {' '.join(fresh)}")
        options += fresh
    say(f"Docker did not start: {last_line(log)}. Next step: go on with recordings, or see {log}")


def _somebody_listens() -> bool:
    """Whether anything accepts connections at Docker's default address."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(2)
        try:
            client.connect(str(SOCKET))
        except TimeoutError:
            return True  # a full queue is somebody's queue
        except OSError:
            return False
    return True


def remedy(last_words: str, tried: Sequence[str]) -> tuple[str, ...]:
    """Options to try after the daemon died saying ``last_words``; empty if nothing is known."""
    for words, options in REMEDIES:
        fresh = tuple(option for option in options if option not in tried)
        if fresh and any(word in last_words.lower() for word in words):
            return fresh
    return ()


def _spawn(options: tuple[str, ...], log: Path) -> tuple[subprocess.Popen[bytes], _Daemon]:
    """Start a daemon that outlives us, and write down who it is."""
    own_pid_file = engine_dir() / "dockerd.pid"
    own_pid_file.unlink(missing_ok=True)  # of one that was killed: the number may be another's now
    with contextlib.suppress(OSError, ValueError):
        # A new daemon takes one that is still listed (a zombie no init has reaped) for running, and
        # waits for it in vain.
        if cleanup.started(int(_CONTAINERD_PID.read_text(encoding="ascii"))) is None:
            _CONTAINERD_PID.unlink()
    command = [DAEMON, "--host", f"unix://{SOCKET}", "--pidfile", str(own_pid_file), *options]
    engine_log.command(command)
    with log.open("wb") as out:
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            cwd="/",
            env=cleanup.spared(),
            start_new_session=True,  # Ctrl-C in set-up's terminal is not meant for it
        )
    daemon = _Daemon(child.pid, cleanup.started(child.pid) or "", cleanup.boot())
    _pid_file().write_bytes(msgspec.json.encode(daemon))
    _pid_file().chmod(0o600)  # else it would not be obeyed
    return child, daemon


def wait_until_it_answers(daemon: subprocess.Popen[bytes] | None = None) -> bool:
    """Whether Docker answers within ``READY_S``; no if ``daemon`` ends before that."""
    deadline = time.monotonic() + READY_S
    while time.monotonic() < deadline:
        if docker.probe(timeout_s=5).ok:
            return True
        if daemon is not None and daemon.poll() is not None:
            return False
        time.sleep(0.1)
    return False


def stop(say: Say = print) -> None:
    """End the daemon that ``ensure`` started; leave any other alone."""
    path = _pid_file()
    try:
        known = paths.understood(ledger.private(path), _Daemon)
    except FileNotFoundError:
        say("No Docker of ours is running")
        return
    except ledger.Damaged as error:
        say(f"No Docker of ours is known: {path} was left alone: {error}. Next step: remove it")
        return
    if known is None or known.boot != cleanup.boot() or not known.runs():
        say("No Docker of ours is running (its pid file is removed)")
    elif known.end():
        say(f"Stopped the Docker that set-up had started (pid {known.pid})")
    else:
        say(f"The Docker that set-up had started does not end. Next step: kill -9 {known.pid}")
        return
    path.unlink(missing_ok=True)


def engine_dir() -> Path:
    path = paths.state_dir() / "engine"
    path.mkdir(parents=True, exist_ok=True)
    return path


def _pid_file() -> Path:
    return paths.state_dir() / "engine" / "daemon.json"


def _said(log: Path) -> str:
    try:
        return log.read_text(encoding="utf-8", errors="replace")[-2000:].strip()
    except OSError:
        return ""


def last_line(log: Path) -> str:
    return (_said(log) or "it said nothing").splitlines()[-1].strip()


if __name__ == "__main__":
    try:
        ensure()
    except Unavailable as missing:
        print(missing)
