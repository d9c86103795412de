"""Nothing left behind, even after ``kill -9``: a ledger on disk, a guardian process, a sweep.

Whoever starts something that outlives a crash writes it down first (:func:`watch_process`,
:func:`watch_path`, :func:`watch_containers`) and crosses it out once it is gone. Three things read
that ledger: the *guardian* (:func:`guard`), a child whose standard input ends when its owner dies;
:func:`sweep`, for ledgers whose owner and guardian are both dead; and nobody, when all went well.

Identity is never a bare pid. A process is its pid, the moment it was started and the boot it
belongs to, so that a pid used again by somebody else is spared. The moment is the kernel's tick
count where there is one (Linux): ``create_time()`` comes from the wall clock and moves with it.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import platform
import secrets
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from vmcompare import data
from vmcompare.errors import Unavailable

if TYPE_CHECKING:
    from docker import APIClient

LABEL = "vmcompare"
"""Label of every container we make; its value is the session. The owner is in the three below."""

LABEL_PID, LABEL_BOOT, LABEL_STARTED = f"{LABEL}.pid", f"{LABEL}.boot", f"{LABEL}.started"

SOFT_END_S = 2.0
"""Seconds a process has to end in order before it is killed; QEMU takes about 0.1 s."""

GUARDIAN_END_S = 20.0
"""Seconds the owner waits for its guardian at an orderly end; 0.05 s when nothing is left."""

ENGINE_TIMEOUT_S = 10
"""Seconds Docker has to answer one request of the clean-up before it counts as not there."""

FOREIGN_AGE_S = 600.0
"""Age in seconds from which a *stopped* container of another boot counts as abandoned."""

CGROUP_ROOT = Path("/sys/fs/cgroup")


@dataclass(frozen=True, slots=True)
class Ended:
    """One thing a clean-up ended: ``kind`` is process, container, path, cgroup or ledger."""

    kind: str
    name: str


@dataclass(slots=True)
class Swept:
    """What a clean-up ended, in order."""

    ended: list[Ended] = field(default_factory=list)

    def add(self, kind: str, name: str) -> None:
        """Note that the ``kind`` called ``name`` was ended."""
        self.ended.append(Ended(kind, name))

    def __iter__(self) -> Iterator[Ended]:
        return iter(self.ended)

    def __len__(self) -> int:
        return len(self.ended)


# --- who is who -----------------------------------------------------------------------------


def boot() -> str:
    """This boot and process-id namespace: pids can be compared only where this is equal.

    Source: ``/proc/sys/kernel/random/boot_id`` and ``/proc/self/ns/pid`` on Linux, the boot time
    in minutes elsewhere (seconds jitter there by one).
    """
    try:
        boot_id = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot_id}.{Path('/proc/self/ns/pid').stat().st_ino}"
    except OSError:
        return f"{platform.node()}.{round(psutil.boot_time() / 60)}"


def started(pid: int) -> str | None:
    """When ``pid`` was started, in a form to compare for equality; ``None`` if it is not alive."""
    try:
        if sys.platform == "linux":
            stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
            state, *rest = stat.rpartition(")")[2].split()
            return None if state in "ZX" else rest[18]  # field 22 of proc(5): starttime
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else repr(process.create_time())
    except (OSError, psutil.Error):
        return None


def is_same_process(pid: int, start: str) -> bool:
    """Whether ``pid`` is alive and still the process that was ``started`` at ``start``."""
    return start != "" and started(pid) == start


def end_process(pid: int, start: str) -> bool:
    """End the process softly, then hard; ``False`` if it was already gone or is another one."""
    try:
        process = psutil.Process(pid)  # remembers who it is: its signals spare a reused pid
        if not is_same_process(pid, start):
            return False
        process.terminate()
        deadline = time.monotonic() + SOFT_END_S
        while is_same_process(pid, start):
            if time.monotonic() > deadline:
                process.kill()
                deadline += SOFT_END_S
            time.sleep(0.01)
    except psutil.Error:
        return False
    return True


# --- the ledger -----------------------------------------------------------------------------


@dataclass(slots=True)
class _Ledger:
    """One session on disk: a line that names the owner, then one line per change.

    Lines are only ever appended, each by one ``write``: a crash can tear nothing but the last.
    """

    path: Path
    owner: Mapping[str, str | int]
    watched: dict[str, dict[str, str | int]] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> _Ledger | None:
        """The ledger in ``path``; ``None`` if there is none or its first line is damaged."""
        entries = []
        with contextlib.suppress(OSError):
            for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
                with contextlib.suppress(ValueError):
                    entry = json.loads(line)
                    if isinstance(entry, dict):
                        entries.append(entry)
        if not entries or "session" not in entries[0]:
            return None
        ledger = cls(path, entries[0])
        for entry in entries[1:]:
            if "forget" in entry:
                ledger.watched.pop(str(entry["forget"]), None)
            elif "watch" in entry:
                ledger.watched[str(entry["watch"])] = entry
        return ledger

    def append(self, entry: Mapping[str, str | int]) -> None:
        """Write one line, and first of all the owner's.

        Raises:
            Unavailable: the folder cannot be written; then nothing must be started either.
        """
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
        try:
            if not self.path.exists():  # new, or somebody emptied the folder: say all again
                self.path.parent.mkdir(parents=True, exist_ok=True)
                lines = [self.owner, *self.watched.values()]
            else:
                lines = [entry]
            descriptor = os.open(self.path, flags, 0o600)
            try:
                os.write(descriptor, "".join(json.dumps(dict(x)) + "\n" for x in lines).encode())
            finally:
                os.close(descriptor)
        except OSError as error:
            raise Unavailable(
                f"the list of what is running cannot be written ({error})",
                f"make {self.path.parent} writable, or name another place in XDG_STATE_HOME",
            ) from error

    def owner_lives(self) -> bool:
        """Whether the owner is alive; also yes where that cannot be known from here."""
        if self.owner.get("boot") == boot():
            return is_same_process(int(self.owner.get("pid", 0)), str(self.owner.get("started")))
        # A home directory may be shared: another computer's ledger is not ours to judge.
        return self.owner.get("host") != platform.node()


class _Session:
    """This process's own ledger."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.id = f"{self.pid}-{secrets.token_hex(4)}"
        self.counts: dict[str, int] = {}
        self.ledger = _Ledger(
            _sessions_dir() / f"{self.id}.jsonl",
            {
                "session": self.id,
                "pid": self.pid,
                "started": started(self.pid) or "",
                "boot": boot(),
                "host": platform.node(),
            },
        )
        self.ledger.append(self.ledger.owner)

    def close(self) -> None:
        """Remove the ledger if nothing is watched any more."""
        if self.pid == os.getpid() and not self.ledger.watched:
            self.ledger.path.unlink(missing_ok=True)


_lock = threading.RLock()
_session: _Session | None = None
_guards = 0


def _sessions_dir() -> Path:
    return data.state_dir() / "sessions"


def _current() -> _Session:
    """This process's session; a forked child gets one of its own."""
    global _session
    with _lock:
        if _session is None or _session.pid != os.getpid():
            _session = _Session()
            atexit.register(_session.close)
        return _session


def session_id() -> str:
    """The name of this process's session, created when first asked for."""
    return _current().id


def labels() -> dict[str, str]:
    """The labels that mark a container as this session's."""
    owner = _current().ledger.owner
    return {
        LABEL: str(owner["session"]),
        LABEL_PID: str(owner["pid"]),
        LABEL_BOOT: str(owner["boot"]),
        LABEL_STARTED: str(owner["started"]),
    }


def _watch(key: str, **entry: str | int) -> None:
    with _lock:
        session = _current()
        session.counts[key] = session.counts.get(key, 0) + 1
        if session.counts[key] == 1:  # written down before it exists
            session.ledger.watched[key] = {"watch": key, **entry}
            session.ledger.append(session.ledger.watched[key])


def _forget(key: str) -> None:
    with _lock:
        session = _current()
        left = session.counts.get(key, 0) - 1
        if left > 0:
            session.counts[key] = left
        elif session.counts.pop(key, 0):
            session.ledger.watched.pop(key, None)
            session.ledger.append({"forget": key})


def watch_process(pid: int) -> None:
    """Write down that ``pid`` must not outlive this process. One that has ended is ignored."""
    start = started(pid)
    if start is not None:
        _watch(f"process {pid}", pid=pid, started=start)


def forget_process(pid: int) -> None:
    """Cross out ``pid``: it has ended. Unknown ones are ignored."""
    _forget(f"process {pid}")


def watch_path(path: Path | str) -> None:
    """Write down that the file or folder ``path`` must not outlive this process."""
    absolute = Path(path).absolute()
    _watch(f"path {absolute}", path=str(absolute))


def forget_path(path: Path | str) -> None:
    """Cross out ``path``: it is gone. Unknown ones are ignored."""
    _forget(f"path {Path(path).absolute()}")


def watch_containers() -> None:
    """Write down that containers with this session's labels may exist. Calls are counted."""
    _watch("containers")


def forget_containers() -> None:
    """Take back one :func:`watch_containers`: the container it announced is gone."""
    _forget("containers")


# --- the guardian ---------------------------------------------------------------------------


@contextlib.contextmanager
def guard() -> Iterator[None]:
    """While inside, a small child process ends what this process watches, should it die.

    The child's standard input is a pipe from us; it ends with us, however we end. Leaving ends
    what is still watched and closes the session. Guards may be nested: the outermost counts.
    """
    global _guards, _session
    with _lock:
        _guards += 1
        outermost = _guards == 1
        guardian = _start_guardian(_current().ledger.path) if outermost else None
    try:
        yield
    finally:
        with _lock:
            _guards -= 1
        if guardian is not None:
            _dismiss(guardian)
            with _lock:
                _session = None  # the guardian removed its ledger


def _start_guardian(ledger: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "vmcompare.reaper", str(ledger)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C in the owner's terminal is not meant for the guardian
    )


def _dismiss(guardian: subprocess.Popen[bytes]) -> None:
    assert guardian.stdin is not None
    with contextlib.suppress(OSError):
        guardian.stdin.close()
    with contextlib.suppress(subprocess.TimeoutExpired):
        guardian.wait(GUARDIAN_END_S)


def main(argv: list[str]) -> int:
    """The guardian: wait until standard input ends, then clear the ledger named in ``argv``."""
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    while sys.stdin.buffer.read(4096):
        pass
    ledger = _Ledger.read(Path(argv[0]))
    if ledger is not None:
        _clear(ledger, Swept())
    return 0


# --- ending things --------------------------------------------------------------------------


def sweep(all_sessions: bool = False) -> Swept:
    """End whatever dead sessions left: processes, containers, paths, cgroups, ledgers.

    Never touches what is not ours or whose owner lives. With ``all_sessions`` this process's own
    session is cleared as well.
    """
    swept = Swept()
    own = _session.ledger.path if _session is not None else None
    living = set()
    for path in sorted(_sessions_dir().glob("*.jsonl")):
        ledger = _Ledger.read(path)
        if ledger is None:
            continue
        if ledger.owner_lives() and not (all_sessions and path == own):
            living.add(str(ledger.owner["session"]))
        else:
            _clear(ledger, swept)
    _remove_containers(swept, session=None)
    _remove_cgroups(swept, living)
    return swept


def _clear(ledger: _Ledger, swept: Swept) -> None:
    """End everything ``ledger`` still watches, then remove it."""
    session = str(ledger.owner["session"])
    same_boot = ledger.owner.get("boot") == boot()
    for key, entry in ledger.watched.items():
        if key.startswith("process ") and same_boot:
            pid = int(entry["pid"])
            if end_process(pid, str(entry["started"])):
                swept.add("process", str(pid))
    if "containers" in ledger.watched:
        _remove_containers(swept, session=session)
    for key, entry in ledger.watched.items():
        if key.startswith("path ") and _remove_path(Path(str(entry["path"]))):
            swept.add("path", str(entry["path"]))
    ledger.path.unlink(missing_ok=True)


def _remove_path(path: Path) -> bool:
    """Remove a file or a folder; never one that holds the home, working or root directory."""
    holds = (Path.home(), Path.cwd(), data.state_dir(), data.cache_dir())
    if not path.is_absolute() or any(place.is_relative_to(path) for place in holds):
        return False
    try:
        if path.is_dir() and not path.is_symlink():
            if path.is_relative_to(CGROUP_ROOT):
                path.rmdir()
            else:
                shutil.rmtree(path)
        else:
            path.unlink()
    except OSError:
        return False
    return True


def _remove_cgroups(swept: Swept, living: set[str]) -> None:
    """Remove empty cgroups called ``vmcompare-SESSION`` whose session is not among ``living``.

    A cgroup that still holds a process refuses to go; that is left to it. One whose session's pid
    is in use waits: another user's ledger is not seen from here.
    """
    for pattern in ("vmcompare-*", "*/vmcompare-*"):
        for path in CGROUP_ROOT.glob(pattern):
            session = path.name.removeprefix("vmcompare-")
            pid = session.partition("-")[0]
            if session not in living and pid.isdigit() and not psutil.pid_exists(int(pid)):
                with contextlib.suppress(OSError):
                    path.rmdir()
                    swept.add("cgroup", str(path.relative_to(CGROUP_ROOT)))


def docker_is_named() -> bool:
    """Whether this computer says it has Docker: a ``docker`` on PATH, or ``DOCKER_HOST``.

    The engine's socket is not looked for by itself: taking ``docker`` off PATH is how a learner,
    a test or a room without Docker hides it. Who uses ``DOCKER_HOST`` or ``docker context`` says
    so in one of these two ways.
    """
    return bool(os.environ.get("DOCKER_HOST")) or shutil.which("docker") is not None


def _remove_containers(swept: Swept, session: str | None) -> None:
    """Remove the containers of ``session``, or with ``None`` those of every dead owner."""
    if not docker_is_named():
        return
    import docker.errors
    import requests

    unreachable = (docker.errors.DockerException, requests.RequestException, OSError)
    with contextlib.suppress(*unreachable):
        api = docker.from_env(timeout=ENGINE_TIMEOUT_S).api
        wanted = LABEL if session is None else f"{LABEL}={session}"
        for found in api.containers(all=True, filters={"label": [wanted, LABEL_PID]}):
            if session is None and not _is_abandoned(found):
                continue
            if _remove_container(api, str(found["Id"])):
                swept.add("container", str((found.get("Names") or [found["Id"]])[0]).lstrip("/"))


def _remove_container(api: APIClient, container: str) -> bool:
    import docker.errors

    try:
        api.remove_container(container, force=True, v=True)
    except docker.errors.APIError as error:
        if error.status_code in (404, 409):  # gone, or on its way
            return False
        raise
    return True


def _is_abandoned(found: Mapping[str, object]) -> bool:
    """Whether the owner named in a container's labels is dead for certain."""
    marks = found.get("Labels")
    if not isinstance(marks, dict) or not str(marks.get(LABEL_PID, "")).isdigit():
        return False
    if marks.get(LABEL_BOOT) == boot():
        return not is_same_process(int(marks[LABEL_PID]), str(marks.get(LABEL_STARTED)))
    # Before our last restart, or another computer's on a shared engine? A running one has an
    # owner: its standard input is held open. One that never ran or has ended long ago has none.
    created = found.get("Created")
    age_s = time.time() - created if isinstance(created, int | float) else 0.0
    return found.get("State") in ("created", "exited", "dead") and age_s > FOREIGN_AGE_S


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
