"""What one session may leave behind, on disk before it exists, and crossed out once it is gone.

A ledger is input: it may be damaged or forged, and is obeyed only as far as it can do no harm. It
names folders of its own session and whether there may be containers. Processes carry the session's
name in their environment (:func:`marked`): it is there from the first instant, and children inherit
it, where a number written down after a start would come too late for a ``kill -9`` in between.
"""

from __future__ import annotations

import atexit
import contextlib
import errno
import os
import platform
import secrets
import shutil
import stat
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated

import msgspec

from vmcompare import paths
from vmcompare.errors import StorageError

LABEL = "vmcompare"  # of every container of ours; its value is the session, the owner is in these:
LABEL_PID, LABEL_BOOT, LABEL_STARTED = f"{LABEL}.pid", f"{LABEL}.boot", f"{LABEL}.started"

SESSION = r"[0-9]{1,10}-[0-9a-f]{8}"  # a session's name: its process and eight random digits
LEDGER_BYTES = 8 << 20  # at most, of a ledger; each start takes about 200 bytes
CONTAINERS = "containers"  # all of this session's, known by their labels

MARK = "VMCOMPARE_SESSION"  # the name of the variable
SPARED = "none"  # its value in what must outlive a session: its guardian, everybody's Docker daemon

_Short = Annotated[str, msgspec.Meta(max_length=256)]
_Session = Annotated[str, msgspec.Meta(pattern=rf"\A{SESSION}\Z")]
_Pid = Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)]


def boot() -> str:
    """This boot and process-id namespace: pids can be compared only where this is equal.

    Elsewhere than on Linux the boot time in minutes (seconds jitter by one).
    """
    try:
        boot_id = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot_id}.{Path('/proc/self/ns/pid').stat().st_ino}"
    except OSError:
        import psutil

        return f"{platform.node()}.{round(psutil.boot_time() / 60)}"


def started(pid: int) -> str | None:
    """When ``pid`` was started, in a form to compare for equality; ``None`` if it is not alive.

    The kernel's tick count where there is one (Linux): ``create_time()`` comes from the wall clock
    and moves with it.
    """
    import psutil

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


class Owner(msgspec.Struct, frozen=True):
    """A ledger's first line: whose it is. A process is its number, its start and its boot."""

    session: _Session
    pid: _Pid
    started: _Short
    boot: _Short
    host: _Short

    def lives(self) -> bool:
        """Whether the owner is alive; also yes where that cannot be known from here."""
        if self.boot == boot():
            return is_same_process(self.pid, self.started)
        # A home directory may be shared: another computer's ledger is not ours to judge.
        return self.host != platform.node()


class LedgerEntry(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """Every other line: ``containers``, or the absolute path of a folder, watched or forgotten."""

    watch: str = ""
    forget: str = ""


class Damaged(Exception):
    """A ledger that is not obeyed at all; the text says why, as a clause."""


class Ledger:
    """One session on disk: a line that names the owner, then one line per change.

    Attributes:
        watched: how often what is not crossed out was announced: folders' paths, ``containers``.
        skipped: the numbers of lines that say nothing that can be understood.
    """

    def __init__(self, path: Path, owner: Owner) -> None:
        self.path, self.owner = path, owner
        self.watched: dict[str, int] = {}
        self.skipped: list[int] = []
        self._torn = False

    @classmethod
    def begin(cls) -> Ledger:
        """One for this process. Raises ``StorageError``."""
        pid = os.getpid()
        session = f"{pid}-{secrets.token_hex(4)}"
        owner = Owner(session, pid, started(pid) or "", boot(), platform.node()[:256])
        ledger = cls(sessions_dir() / f"{session}.jsonl", owner)
        try:
            ledger.append()
        except StorageError:
            ledger.remove()
            raise
        return ledger

    @classmethod
    def read(cls, path: Path) -> Ledger:
        """The ledger in ``path``. A torn last line is what a crash leaves: it is no flaw.

        Raises ``Damaged``, ``FileNotFoundError``.
        """
        first, *lines = private(path).split(b"\n")
        owner = paths.understood(first, Owner)
        if owner is None or path.name != f"{owner.session}.jsonl":
            raise Damaged("its first line does not say whose it is")
        ledger = cls(path, owner)
        for number, line in enumerate(lines, start=2):
            entry = paths.understood(line, LedgerEntry)
            if entry is not None and bool(entry.watch) != bool(entry.forget):
                ledger.watched.pop(entry.forget, None)
                if entry.watch:
                    ledger.watched[entry.watch] = 1
            elif line.strip() and number <= len(lines):  # behind the last newline: torn
                ledger.skipped.append(number)
        return ledger

    def append(self, *entries: LedgerEntry) -> None:
        """Write lines, and first of all the owner's. A crash can tear nothing but the last.

        Raises ``StorageError`` if the folder cannot be written; then nothing must be started
        either.
        """
        try:
            new = not self.path.exists()  # or somebody emptied the folder: say all again
            if new:
                _make_private(self.path.parent)
                entries = tuple(LedgerEntry(watch=key) for key in self.watched)
            lines = [msgspec.json.encode(entry) for entry in ((self.owner,) if new else ())]
            lines += [msgspec.json.encode(entry) for entry in entries]
            text = (b"\n" if self._torn else b"") + b"".join(line + b"\n" for line in lines)
            descriptor = os.open(self.path, _APPEND, 0o600)
            try:
                self._torn = True
                if os.write(descriptor, text) != len(text):
                    raise OSError(errno.ENOSPC, "No space left on device")
                self._torn = False
            finally:
                os.close(descriptor)
        except OSError as error:
            raise StorageError.of(self.path.parent, error, _NEXT_STEP) from error

    def remove(self) -> None:
        with contextlib.suppress(OSError):
            self.path.unlink(missing_ok=True)

    def close(self) -> None:
        """At an orderly end; what is still watched, stays written down."""
        if self.owner.pid == os.getpid() and not self.watched:
            self.remove()


_NEXT_STEP = (
    "make room there and have it be yours alone (chmod 700), or name another place in "
    "XDG_STATE_HOME: what is running is written down there, so that nothing is left behind"
)
_NO_LINK = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)
_APPEND = os.O_WRONLY | os.O_APPEND | os.O_CREAT | _NO_LINK


def private(path: Path) -> bytes:
    """The content of a file that only we can have written.

    Raises ``Damaged`` (somebody else's, no file, too large) or ``FileNotFoundError``.
    """
    try:
        with os.fdopen(os.open(path, os.O_RDONLY | _NO_LINK), "rb") as file:
            status = os.fstat(file.fileno())  # of what is read: the name may change its meaning
            if reason := not_private(status) if stat.S_ISREG(status.st_mode) else "it is no file":
                raise Damaged(reason)
            content = file.read(LEDGER_BYTES + 1)
    except FileNotFoundError:
        raise
    except (OSError, ValueError) as error:
        raise Damaged("it cannot be read") from error
    if len(content) > LEDGER_BYTES:
        raise Damaged("it is too large")
    return content


def user() -> int:
    return os.geteuid() if hasattr(os, "geteuid") else 0


def not_private(status: os.stat_result) -> str:
    """Why a file or folder is not ours alone, as a clause; empty when it is."""
    if os.name != "posix":
        return ""
    if status.st_uid != user():
        return "it belongs to another user"
    return "others can write to it" if status.st_mode & 0o022 else ""


def _make_private(folder: Path) -> None:
    """Make the folder of ledgers; one of our own that others could write to is closed to them."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    status = folder.stat(follow_symlinks=False)
    if stat.S_ISLNK(status.st_mode) or (os.name == "posix" and status.st_uid != user()):
        raise OSError(1, "it belongs to another user, or is a link")
    if not_private(status):
        folder.chmod(0o700)


def sessions_dir() -> Path:
    return paths.state_dir() / "sessions"


_lock = threading.RLock()
_session: Ledger | None = None


def own() -> Ledger:
    """This process's own, begun when first asked for; a forked child gets one of its own.

    Raises ``StorageError``.
    """
    global _session
    with _lock:
        if _session is None or _session.owner.pid != os.getpid():
            _session = Ledger.begin()
            atexit.register(_session.close)
        return _session


def abandon_own() -> None:
    """Forget this process's own session: its ledger was cleared by somebody else."""
    global _session
    with _lock:
        _session = None


def session_id() -> str:
    """The name of this process's session. Raises ``StorageError``."""
    return own().owner.session


def marked(environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """An environment (our own by default) for a child that must not outlive this session.

    Raises ``StorageError`` if the session cannot be written down; then nothing must be started.
    """
    return {**(os.environ if environment is None else environment), MARK: session_id()}


def spared(environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """An environment for a child that must outlive every session."""
    return {**(os.environ if environment is None else environment), MARK: SPARED}


def labels() -> dict[str, str]:
    owner = own().owner
    return {
        LABEL: owner.session,
        LABEL_PID: str(owner.pid),
        LABEL_BOOT: owner.boot,
        LABEL_STARTED: owner.started,
    }


def watch(key: str) -> None:
    """Write down that a folder (its path), or :data:`CONTAINERS`, must not outlive us.

    Calls are counted: each wants one of :func:`forget`, once it is gone.
    """
    with _lock:
        ledger = own()
        ledger.watched[key] = ledger.watched.get(key, 0) + 1
        if ledger.watched[key] == 1:  # written down before it exists
            ledger.append(LedgerEntry(watch=key))


def forget(key: str) -> None:
    with _lock:
        ledger = own()
        left = ledger.watched.pop(key, 0) - 1
        if left > 0:
            ledger.watched[key] = left
        elif left == 0:
            ledger.append(LedgerEntry(forget=key))


@contextlib.contextmanager
def folder(within: Path | None = None) -> Iterator[Path]:
    """A new folder of our own, mode 700, written down before it exists; leaving removes it.

    ``tempfile.TemporaryDirectory`` tells a folder's name only once it has made it: a ``kill -9``
    then would leave one that no ledger knows. ``within`` is one of ``ending.roots``. Raises
    ``StorageError``.
    """
    place = paths.temporary() if within is None else within.absolute()
    path = place / f"vmcompare-{session_id()}-{secrets.token_hex(4)}"
    watch(str(path))
    try:
        with paths.as_storage_error(path, paths.TEMPORARY):
            path.mkdir(mode=0o700)
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
        if not path.exists():  # else it stays written down, for whoever cleans up after us
            forget(str(path))
