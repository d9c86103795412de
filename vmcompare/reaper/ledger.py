"""What one session has started, on disk before it exists, and crossed out once it is gone."""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import platform
import secrets
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from vmcompare import data
from vmcompare.errors import Unavailable
from vmcompare.reaper.identity import boot, is_same_process, started

LABEL = "vmcompare"
"""Label of every container we make; its value is the session. The owner is in the three below."""

LABEL_PID, LABEL_BOOT, LABEL_STARTED = f"{LABEL}.pid", f"{LABEL}.boot", f"{LABEL}.started"


@dataclass(slots=True)
class Ledger:
    """One session on disk: a line that names the owner, then one line per change.

    Lines are only ever appended, each by one ``write``: a crash can tear nothing but the last.
    """

    path: Path
    owner: Mapping[str, str | int]
    watched: dict[str, dict[str, str | int]] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> Ledger | None:
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
        self.ledger = Ledger(
            sessions_dir() / f"{self.id}.jsonl",
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


def sessions_dir() -> Path:
    """The folder of all sessions' ledgers."""
    return data.state_dir() / "sessions"


def _current() -> _Session:
    """This process's session; a forked child gets one of its own."""
    global _session
    with _lock:
        if _session is None or _session.pid != os.getpid():
            _session = _Session()
            atexit.register(_session.close)
        return _session


def own_path() -> Path | None:
    """Where this process's own ledger is; ``None`` while it has none."""
    return _session.ledger.path if _session is not None else None


def open_own() -> Path:
    """Where this process's own ledger is, which is begun if need be."""
    return _current().ledger.path


def abandon_own() -> None:
    """Forget this process's own session: its ledger was cleared by somebody else."""
    global _session
    with _lock:
        _session = None


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
