"""A Docker daemon of our own: started, and ended only if it is the one that was started."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from vmcompare import paths
from vmcompare.engines import cleanup, docker
from vmcompare.engines.setup.decisions import REMEDIES, remedy
from vmcompare.engines.setup.system import DAEMON, SOCKET, daemons_here

READY_S = 30.0
"""Seconds a new daemon has to answer; 0.3–2 s is usual."""

STOP_S = 20.0
"""Seconds our daemon has to end in order; it gives each container up to 10 s."""

_CONTAINERD_PID = Path("/var/run/docker/containerd/containerd.pid")
"""Where a daemon started without systemd keeps its containerd's pid (its default exec-root)."""

Say = Callable[[str], None]


def start_own(say: Say) -> None:
    """Start a daemon; should it die at once, again with what its last words suggest."""
    options: tuple[str, ...] = ()
    log = engine_dir() / "dockerd.log"
    for _ in range(1 + len(REMEDIES)):
        if _somebody_listens() or daemons_here():
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
    with log.open("wb") as out:
        daemon = subprocess.Popen(
            [DAEMON, "--host", f"unix://{SOCKET}", "--pidfile", str(own_pid_file), *options],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            cwd="/",
            env=cleanup.spared(),
            start_new_session=True,  # Ctrl-C in set-up's terminal is not meant for it
        )
    entry = {
        "pid": daemon.pid,
        "started": cleanup.started(daemon.pid) or "",
        "boot": cleanup.boot(),
        "options": list(options),
    }
    _pid_file().write_text(json.dumps(entry), encoding="utf-8")
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


def stop(say: Say = print, name: str = DAEMON) -> None:
    """End the daemon that ``ensure`` started, and its helpers; leave any other alone.

    ``name`` is the program the daemon must be.
    """
    path = _pid_file()
    try:
        with cleanup.private(path) as stream:
            entry = json.load(stream)
        pid, start, boot = int(entry["pid"]), str(entry["started"]), str(entry["boot"])
    except FileNotFoundError:
        say("No Docker of ours is running")
        return
    except cleanup.Damaged as error:
        say(f"No Docker of ours is known: {path} was left alone: {error}. Next step: remove it")
        return
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        path.unlink(missing_ok=True)
        say("No Docker of ours is running (its pid file was damaged and is removed)")
        return
    ours = boot == cleanup.boot() and cleanup.is_same_process(pid, start) and _name(pid) == name
    if not ours:
        say("No Docker of ours is running (ours had ended; its pid file is removed)")
    elif _end(pid, start):
        say(f"Stopped the Docker that set-up had started (pid {pid})")
    else:
        say(
            f"The Docker that set-up had started (pid {pid}) does not end. Next step: kill -9 {pid}"
        )
        return
    path.unlink(missing_ok=True)


def _name(pid: int) -> str:
    try:
        return psutil.Process(pid).name()
    except psutil.Error:
        return ""


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
    """The folder for what set-up writes down, made if need be."""
    path = paths.state_dir() / "engine"
    path.mkdir(parents=True, exist_ok=True)
    return path


def _pid_file() -> Path:
    return paths.state_dir() / "engine" / "daemon.json"


def _last_words(log: Path) -> str:
    """The end of a log, where the cause is."""
    try:
        return log.read_text(encoding="utf-8", errors="replace")[-2000:]
    except OSError:
        return ""


def last_line(log: Path) -> str:
    """The last line of a log."""
    lines = _last_words(log).strip().splitlines()
    return lines[-1].strip() if lines else "it said nothing"
