"""Engines for the course: ``python -m vmcompare.engines.setup ensure`` (or ``stop``).

``ensure`` makes Docker and QEMU usable where that needs nobody's decision (root on Debian or
Ubuntu, as in a cloud classroom), and otherwise prints the one next step for each that is missing.
It never disturbs a Docker that runs already, and never fails: the course also works on recordings.
``ENGINES=skip`` in the environment leaves the system alone. ``stop`` ends only a daemon that
``ensure`` itself started.

:func:`plan` decides what to do from the :class:`SystemFacts` alone, without looking at anything.
"""

from __future__ import annotations

import contextlib
import os
import platform
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import msgspec
import psutil

from vmcompare import paths
from vmcompare.engines import cleanup, docker
from vmcompare.engines import log as engine_log
from vmcompare.engines.commands import query
from vmcompare.engines.docker.launcher import PROBE_TIMEOUT_S
from vmcompare.engines.docker_connection import EngineUnavailable, Trouble, connect, endpoint
from vmcompare.errors import Unavailable

QEMU = {
    "x86_64": ("qemu-system-x86_64", "qemu-system-x86"),
    "amd64": ("qemu-system-x86_64", "qemu-system-x86"),
    "aarch64": ("qemu-system-aarch64", "qemu-system-arm"),
    "arm64": ("qemu-system-aarch64", "qemu-system-arm"),
}
"""Processor → QEMU's program and its Debian package."""

REMEDIES = (
    (("iptables", "nf_tables", "netfilter", "ip_tables"), ("--iptables=false",)),
    (("bridge", "docker0", "network controller"), ("--iptables=false", "--bridge=none")),
    (("overlay", "graphdriver", "storage driver", "snapshotter"), ("--storage-driver=vfs",)),
)
"""Words in the daemon's last words → the options that help. vfs is slow and large: last resort."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SystemFacts:
    """What decides.

    Attributes:
        docker_version: of the engine that answers, or empty.
        trouble, docker_what, docker_next: why none answers, and the next step.
        elsewhere: the user named an engine (``DOCKER_HOST`` or a context) other than the default.
        other_daemon: another daemon runs in this network namespace.
        dockerd, qemu: the program is installed.
        root, debian, apt: who we are, on Debian or a child of it, with ``apt-get``.
        machine: the processor, as ``platform.machine()`` calls it.
        missing: Debian packages Docker needs here that are not there.
    """

    docker_version: str = ""
    trouble: Trouble = Trouble.ABSENT
    docker_what: str = "Docker is not installed"
    docker_next: str = "install it: https://docs.docker.com/engine/install/"
    elsewhere: bool = False
    other_daemon: bool = False
    dockerd: bool = False
    qemu: bool = False
    root: bool = False
    debian: bool = False
    apt: bool = False
    systemd: bool = False
    linux: bool = True
    machine: str = "x86_64"
    missing: tuple[str, ...] = ("docker.io", "iptables", "ca-certificates")


@dataclass(frozen=True, slots=True)
class Plan:
    """Lines to print, Debian packages to install, and whether to start Docker."""

    lines: tuple[str, ...]
    packages: tuple[str, ...] = ()
    start: bool = False


def plan(facts: SystemFacts) -> Plan:
    lines: list[str] = []
    packages: tuple[str, ...] = ()
    start = False
    may_install = facts.linux and facts.root and facts.debian and facts.apt
    startable = facts.trouble in (Trouble.ABSENT, Trouble.NOT_RUNNING, Trouble.REFUSED)
    if facts.docker_version:
        lines.append(f"Docker {facts.docker_version} is ready")
    elif facts.other_daemon and not facts.elsewhere:
        lines.append(
            "A Docker daemon runs, but not where it is looked for. Next step: put its client "
            "docker on PATH, or name its address in DOCKER_HOST"
        )
    elif facts.elsewhere or not startable or not (facts.dockerd or may_install) or not facts.root:
        lines.append(f"{facts.docker_what}. Next step: {facts.docker_next}")
    else:
        start = True
        if may_install:
            packages += facts.missing
    program, package = QEMU.get(facts.machine.lower(), ("", ""))
    if facts.qemu:
        lines.append(f"QEMU is ready ({program})")
    elif may_install and package:
        packages += (package,)
    else:
        lines.append(f"QEMU is not installed. Next step: {_qemu_next(facts, package)}")
    return Plan(tuple(lines), packages, start)


def _qemu_next(facts: SystemFacts, package: str) -> str:
    if facts.linux and facts.debian and package:
        return f"run: sudo apt-get install {package}"
    if platform.system() == "Darwin":
        return "run: brew install qemu"
    return "install it: https://www.qemu.org/download/"


def remedy(last_words: str, tried: Sequence[str], other_daemon: bool) -> tuple[str, ...]:
    """Options to try after the daemon died saying ``last_words``; empty if nothing is known.

    Never ``--bridge=none`` beside another daemon: it deletes that one's bridge.
    """
    for words, options in REMEDIES:
        fresh = tuple(option for option in options if option not in tried)
        if other_daemon:
            fresh = tuple(option for option in fresh if option != "--bridge=none")
        if fresh and any(word in last_words.lower() for word in words):
            return fresh
    return ()


SOCKET = Path("/var/run/docker.sock")  # where every Docker client looks first
DAEMON = "dockerd"


def facts() -> SystemFacts:
    found = docker.probe()
    trouble = Trouble.OTHER
    if not found.ok:
        try:
            connect(PROBE_TIMEOUT_S)
        except EngineUnavailable as missing:
            trouble = missing.trouble
    if trouble is Trouble.NOT_RUNNING and not shutil.which(DAEMON):
        trouble = Trouble.ABSENT
    program, _ = QEMU.get(platform.machine().lower(), ("", ""))
    return SystemFacts(
        docker_version=found.version if found.ok else "",
        trouble=trouble,
        docker_what=found.what,
        docker_next=found.next_step,
        elsewhere=endpoint() not in ("", f"unix://{SOCKET}", "unix:///run/docker.sock")
        and not endpoint().endswith(str(SOCKET)),
        other_daemon=bool(daemons_here()),
        dockerd=shutil.which(DAEMON) is not None,
        qemu=bool(program) and shutil.which(program) is not None,
        root=hasattr(os, "geteuid") and os.geteuid() == 0,
        debian=_is_debian(),
        apt=shutil.which("apt-get") is not None,
        systemd=Path("/run/systemd/system").is_dir(),
        linux=sys.platform == "linux",
        machine=platform.machine(),
        missing=_missing_packages(),
    )


def _is_debian() -> bool:
    try:
        release = platform.freedesktop_os_release()
    except OSError:
        return False
    return "debian" in f"{release.get('ID', '')} {release.get('ID_LIKE', '')}".split()


def _missing_packages() -> tuple[str, ...]:
    packages = []
    if not shutil.which(DAEMON):
        packages.append("docker.io")
    if _docker_cli_is_apart():
        packages.append("docker-cli")
    if not shutil.which("iptables"):
        packages.append("iptables")
    if not Path("/etc/ssl/certs/ca-certificates.crt").exists():
        packages.append("ca-certificates")
    return tuple(packages)


def _docker_cli_is_apart() -> bool:
    """Whether ``docker`` is missing and a package of its own, as from Debian 13 on."""
    if shutil.which("docker") or not shutil.which("apt-cache"):
        return False
    try:
        shown = query(["apt-cache", "show", "docker-cli"], 60)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return shown.returncode == 0 and bool(shown.stdout.strip())


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


APT = ("apt-get", "-o", "DPkg::Lock::Timeout=600", "-o", "Acquire::Retries=5")
"""A new computer often updates itself in its first minutes, and mirrors fail now and then."""

APT_S = 1800  # for one apt-get; 16 s were measured, a slow classroom line takes minutes
APT_TRIES, APT_AGAIN_S = 2, 20.0  # `update` does not wait for another apt-get's lock


def ensure(say: Say = print) -> None:
    """Make the engines usable, as far as that needs nobody's decision; says what it does."""
    if os.environ.get("ENGINES") == "skip":
        say("ENGINES=skip: nothing is installed or started")
        return
    found = facts()
    wanted = plan(found)
    for line in wanted.lines:
        say(line)
    if wanted.packages:
        _install(wanted.packages, say)
    if wanted.start:
        _start_docker(found.systemd, say)


def _install(packages: tuple[str, ...], say: Say) -> None:
    say(f"Installing {', '.join(packages)} (apt-get) …")
    log = engine_dir() / "install.log"
    with log.open("wb") as out:
        for number in range(APT_TRIES):
            if number:
                time.sleep(APT_AGAIN_S)
            # A failed update is no reason to stop: the lists on this computer may do.
            _apt(out, "update")
            if "docker.io" in packages and "docker-cli" not in packages and _docker_cli_is_apart():
                packages += ("docker-cli",)  # the lists of a new computer are empty until now
            if _apt(out, "install", "-y", "--no-install-recommends", *packages):
                say(f"Installed {', '.join(packages)}")
                return
    say(f"Not installed: {last_line(log)}. Next step: apt-get install {' '.join(packages)}")


def _apt(out: BinaryIO, *words: str) -> bool:
    """Whether ``apt-get`` does it."""
    engine_log.command([*APT, *words])
    try:
        ended = subprocess.run(
            [*APT, *words],
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


def _start_docker(systemd: bool, say: Say) -> None:
    """Start the engine unless installing it did so already, and wait until it answers."""
    if daemons_here() and wait_until_it_answers():
        say(f"Docker {docker.probe().version} is ready")
        return
    if not shutil.which(DAEMON):
        say("Docker is not there. Next step: install it: https://docs.docker.com/engine/install/")
        return
    if systemd:
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):  # whether it answers, counts
            query(["systemctl", "start", "docker"], 120)
        if wait_until_it_answers():
            say(f"Docker {docker.probe().version} is ready")
        else:
            say("Docker did not start. Next step: see: journalctl -u docker")
        return
    start_own(say)


READY_S = 120.0  # for a new daemon to answer; 0.3–2 s is usual, on a new disk 20 s
STOP_S = 20.0  # for our daemon to end in order; it gives each container up to 10 s
_CONTAINERD_PID = Path("/var/run/docker/containerd/containerd.pid")
"""Where a daemon started without systemd keeps its containerd's pid (its default exec-root)."""

Say = Callable[[str], None]


class _Daemon(msgspec.Struct):
    pid: int
    started: str
    boot: str


def start_own(say: Say) -> None:
    """Start a daemon; should it die at once, again with what its last words suggest."""
    options: tuple[str, ...] = ()
    log = engine_dir() / "dockerd.log"
    for _ in range(1 + len(REMEDIES)):
        if _somebody_listens() or daemons_here():
            if wait_until_it_answers():
                say(f"Docker {docker.probe().version} is ready")
            else:
                say("Another Docker is starting: left alone. Next step: try again in a minute")
            return
        daemon = _spawn(options, log)
        if wait_until_it_answers(daemon):
            limits = " (containers have no network)" if "--bridge=none" in options else ""
            say(f"Docker {docker.probe().version} is ready: started by us{limits}")
            return
        _end(daemon.pid, cleanup.started(daemon.pid) or "")
        daemon.wait()
        _pid_file().unlink(missing_ok=True)
        last = _last_words(log)
        fresh = remedy(last, options, other_daemon=bool(daemons_here()))
        if not fresh:
            break
        say(f"Docker did not start: {last_line(log)}. Trying again with {' '.join(fresh)}")
        options += fresh
    say(f"Docker did not start: {last_line(log)}. Next step: go on with recordings, or see {log}")


def _spawn(options: tuple[str, ...], log: Path) -> subprocess.Popen[bytes]:
    """Start a daemon that outlives us, and write down who it is."""
    own_pid_file = engine_dir() / "dockerd.pid"
    # Left by a daemon that was killed; its number may be somebody else's by now.
    own_pid_file.unlink(missing_ok=True)
    _forget_dead_containerd()
    command = [DAEMON, "--host", f"unix://{SOCKET}", "--pidfile", str(own_pid_file), *options]
    engine_log.command(command)
    with log.open("wb") as out:
        daemon = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            cwd="/",
            env=cleanup.spared(),
            start_new_session=True,  # Ctrl-C in set-up's terminal is not meant for it
        )
    ours = _Daemon(daemon.pid, cleanup.started(daemon.pid) or "", cleanup.boot())
    _pid_file().write_bytes(msgspec.json.encode(ours))
    _pid_file().chmod(0o600)  # else it would not be obeyed
    return daemon


def _forget_dead_containerd() -> None:
    """Remove the pid file of a containerd that died with its daemon.

    A new daemon takes a pid that is still listed (a zombie no init has reaped) for a running
    containerd, and waits for it in vain.
    """
    with contextlib.suppress(OSError, ValueError):
        if cleanup.started(int(_CONTAINERD_PID.read_text(encoding="ascii"))) is None:
            _CONTAINERD_PID.unlink()


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


def stop(say: Say = print) -> None:
    """End the daemon that ``ensure`` started; leave any other alone."""
    path = _pid_file()
    try:
        with cleanup.private(path) as stream:
            known = paths.understood(stream.read(), _Daemon)
    except FileNotFoundError:
        say("No Docker of ours is running")
        return
    except cleanup.Damaged as error:
        say(f"No Docker of ours is known: {path} was left alone: {error}. Next step: remove it")
        return
    if known is None:
        path.unlink(missing_ok=True)
        say("No Docker of ours is running (its pid file was damaged and is removed)")
        return
    pid, start = known.pid, known.started
    if known.boot != cleanup.boot() or not cleanup.is_same_process(pid, start):
        say("No Docker of ours is running (ours had ended; its pid file is removed)")
    elif _end(pid, start):
        say(f"Stopped the Docker that set-up had started (pid {pid})")
    else:
        say(
            f"The Docker that set-up had started (pid {pid}) does not end. Next step: kill -9 {pid}"
        )
        return
    path.unlink(missing_ok=True)


def _end(pid: int, start: str) -> bool:
    """End a daemon softly, then hard with the containerd it started; whether it is gone."""
    try:
        daemon = psutil.Process(pid)
        if not cleanup.is_same_process(pid, start):
            return True
        # Only its direct children: a shim belongs to a container, whose end is the daemon's job.
        helpers = daemon.children()
        daemon.terminate()
        if _gone(pid, start, STOP_S):
            return True
        daemon.kill()
        for helper in helpers:
            with contextlib.suppress(psutil.NoSuchProcess):
                helper.kill()
    except psutil.NoSuchProcess:
        return True
    except psutil.Error:
        return False
    return _gone(pid, start, STOP_S)


def _gone(pid: int, start: str, timeout_s: float) -> bool:
    deadline = time.monotonic() + timeout_s
    while cleanup.is_same_process(pid, start):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def engine_dir() -> Path:
    path = paths.state_dir() / "engine"
    path.mkdir(parents=True, exist_ok=True)
    return path


def _pid_file() -> Path:
    return paths.state_dir() / "engine" / "daemon.json"


def _last_words(log: Path) -> str:
    try:
        return log.read_text(encoding="utf-8", errors="replace")[-2000:]
    except OSError:
        return ""


def last_line(log: Path) -> str:
    lines = _last_words(log).strip().splitlines()
    return lines[-1].strip() if lines else "it said nothing"


def main(argv: Sequence[str]) -> int:
    """``ensure`` or ``stop``; the exit code is 0 unless the command is unknown."""
    if list(argv) not in (["ensure"], ["stop"]):
        print("usage: python -m vmcompare.engines.setup ensure|stop", file=sys.stderr)
        return 2
    try:
        ensure() if argv[0] == "ensure" else stop()
    except Unavailable as missing:
        print(missing)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
