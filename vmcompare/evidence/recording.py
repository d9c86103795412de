"""Recordings: one file a run, one JSON line a row, on disk the moment it was made.

The first line of a file is the run (schema, run id, experiment, facts of the host), then come the
rows, and a run that ended in order closes with an end line. A crash loses at most the line that was
being written. Files are only ever appended to, so a recording can be followed while it grows.

A file is untrusted: :func:`read` takes only an ordinary file of some size, and
:mod:`vmcompare.evidence.schema` says what a line may hold, read or written.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from functools import lru_cache
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from vmcompare import paths
from vmcompare.errors import RecordingError, StorageError, Unavailable, printable
from vmcompare.evidence import schema
from vmcompare.evidence.units import METRICS
from vmcompare.sandbox import SOFTWARE, Machine, Platform, Series, Start

if TYPE_CHECKING:
    import pandas as pd

CACHED_BYTES = 2**21  # largest file whose rows are kept in memory: well above all real ones

CONTRIBUTED = (
    "contributed"  # the folder, beside an experiment's recordings, of those that others made
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """One tidy row, as an experiment makes it.

    ``value`` is in the unit that :data:`vmcompare.evidence.units.METRICS` gives for ``metric``. A
    run that failed is a row too: ``status="error"``, ``error`` says why, ``value`` is ``None``,
    never zero. What each field means is told in :mod:`vmcompare.evidence.schema`. No text holds the
    name of a person or of the host, or the path of a home directory; it is made printable and cut.
    What else does not fit (an unknown metric, a value that cannot be) the ``Recorder`` refuses.
    """

    platform: Platform
    metric: str
    value: float | None
    layer: str = ""
    warmth: Start = Start.COLD
    runtime: str = ""
    vmm: str = ""
    machine: Machine = Machine.NONE
    accel: str = ""
    image_digest: str = ""
    guest_kernel: str = ""
    vcpus: int = 1
    mem_limit_mib: int = 0
    network: bool = False
    confinement: str = ""
    phase: str = ""
    block: int = 0
    rep: int = 0
    order_in_block: int = 0
    is_warmup: bool = False
    text: str = ""
    status: str = "ok"
    error: str = ""

    @property
    def series(self) -> Series:
        return Series.of(self.platform, self.machine, self.runtime, self.layer)

    @property
    def emulated(self) -> bool:
        return self.accel == SOFTWARE

    def __post_init__(self) -> None:
        for name in _TEXTS:
            limit = schema.TEXT_CHARS.get(name, schema.WORDS_CHARS)
            object.__setattr__(self, name, printable(getattr(self, name), limit))


_COUNTS = ("vcpus", "mem_limit_mib", "block", "rep", "order_in_block")
_TEXTS = ("runtime", "vmm", "guest_kernel", "confinement", "phase", "text", "error")

COLUMNS: tuple[str, ...] = (
    "run_id", "ts_utc", "host_id", "experiment",
    *(f.name for f in fields(Measurement) if f.name not in ("value", "status", "error")),
    "value", "unit", "status", "error", "provenance",
)  # fmt: skip
"""The columns of the tidy frame, in order."""

_COLUMNS_OF = attrgetter(*COLUMNS)

_FIELDS = tuple(f.name for f in fields(Measurement))


@dataclass(frozen=True, slots=True, eq=False)
class Recording:
    """A run that was read back. Nobody changes one, so what was made of it can be kept.

    ``host`` are the facts that :func:`vmcompare.measuring.host.facts` wrote; ``rounds`` were
    planned; it ``ended`` as ``"complete"``, ``"stopped"``, ``"failed"``, or ``""`` when it was cut
    off; each of its ``rows`` has every name of :data:`COLUMNS`.
    """

    path: Path
    run_id: str
    experiment: str
    host_id: str
    host: Mapping[str, Any]
    started_utc: str
    rounds: int
    ended: str
    rows: Sequence[Mapping[str, Any]] = field(repr=False)

    def frame(self) -> pd.DataFrame:
        """All rows, tidy (columns: :data:`COLUMNS`); ``value`` is NaN where a run failed."""
        return tidy(self.rows, dtype=object).copy()  # copied, its texts lie together: taken sooner


def tidy(rows: Iterable[Mapping[str, Any]], dtype: type | None = None) -> pd.DataFrame:
    """Rows as a frame; texts are of ``dtype``, by default what pandas has for them."""
    import pandas as pd

    frame = pd.DataFrame(list(rows), columns=list(COLUMNS), dtype=dtype)
    return frame.astype(_NO_TEXTS)


_NO_TEXTS = (
    {"value": float} | dict.fromkeys(_COUNTS, int) | dict.fromkeys(("is_warmup", "network"), bool)
)


class Recorder:
    """Appends rows to ``directory/<experiment>/<run_id>.jsonl``; use as a context manager.

    ``host`` are the facts of this machine, ``rounds`` the blocks that are planned.

    Raises:
        StorageError: the place cannot be written to.
        RecordingError: the facts or the rounds are none that could be read again.
    """

    def __init__(
        self, directory: Path, experiment: str, host: Mapping[str, Any], rounds: int
    ) -> None:
        now = datetime.now(UTC)
        self.run_id = f"{now:%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"
        self.path = directory / experiment / f"{self.run_id}.jsonl"
        facts = _printable_facts(host)
        self._named = schema.runtimes(facts)
        self._lines = self._bytes = 0
        self._file = -1
        line = {
            "kind": "run",
            "schema": schema.SCHEMA,
            "run_id": self.run_id,
            "experiment": experiment,
            "started_utc": f"{now:%Y-%m-%dT%H:%M:%SZ}",
            "rounds": rounds,
            "host": facts,
        }
        first = self._checked(line)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_EXCL | _BINARY
            self._file = os.open(self.path, flags, 0o644)
        except OSError as error:
            raise StorageError.of(self.path.parent, error, _ELSEWHERE) from error
        try:
            self._write(first)
            _sync_folder(self.path.parent)
        except BaseException:
            self._close()
            with contextlib.suppress(OSError):
                self.path.unlink()  # it holds no row, and half a run line is no recording
            raise

    def append(self, row: Measurement) -> None:
        """Write one measured row; it is on disk when this returns.

        Raises:
            StorageError: it cannot be written; the rows so far can be read, and no more are taken.
            RecordingError: the row is none that could be read again, or the file is closed.
            Unavailable: a recording holds no more rows.
        """
        if self._file < 0:
            raise RecordingError(self.path, self._lines + 1, "it is closed")
        full = self._bytes > schema.MAX_BYTES - 2 * schema.MAX_LINE_BYTES
        if full or self._lines > schema.MAX_ROWS:
            at_most = f"{schema.MAX_ROWS:,} rows and {schema.MAX_BYTES // 2**20} MiB"
            raise Unavailable(f"a run has at most {at_most}", "record fewer rounds at a time")
        line = {
            "kind": "row",
            "ts_utc": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%f}"[:-3] + "Z",
            **{name: getattr(row, name) for name in _FIELDS},
            "unit": METRICS.get(row.metric, ""),
            "provenance": "measured",
        }
        self._write(self._checked(line))

    def end(self, status: str) -> None:
        """Close the file with how the run ended: ``complete``, ``stopped`` or ``failed``.

        A second call, and one after a row that could not be written, does nothing. Raises
        ``StorageError``.
        """
        if self._file >= 0:
            self._write(self._checked({"kind": "end", "status": status}))
            self._close()

    def _checked(self, line: Mapping[str, Any]) -> bytes:
        """The bytes of a line, which :func:`read` takes."""
        try:
            words = json.dumps(line, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
            raw = words.encode() + b"\n"
            schema.parse(raw, self._named)
        except ValueError as error:
            raise RecordingError(self.path, self._lines + 1, str(error)) from error
        return raw

    def _write(self, raw: bytes) -> None:
        try:
            self._drop_torn()
            left = memoryview(raw)
            while left:
                left = left[os.write(self._file, left) :]
            _sync(self._file)
        except OSError as error:
            # Whatever part of the line is there stays its torn last one: never tried again.
            self._close()
            raise StorageError.of(self.path, error, _ELSEWHERE) from error
        self._bytes += len(raw)
        self._lines += 1

    def _drop_torn(self) -> None:
        """Cut off a line in whose middle a stop request came, so that the next one stands alone."""
        size = os.fstat(self._file).st_size
        if size == self._bytes:
            return
        os.lseek(self._file, -1, os.SEEK_END)
        if os.read(self._file, 1) != b"\n":
            os.ftruncate(self._file, self._bytes)
        self._bytes = os.fstat(self._file).st_size

    def _close(self) -> None:
        if self._file >= 0:
            file, self._file = self._file, -1
            with contextlib.suppress(OSError):  # what was written is on disk already
                os.close(file)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.end("complete")
            return
        # The error that is on its way says more than a second one of the same disk.
        with contextlib.suppress(StorageError):
            self.end("stopped" if issubclass(kind, KeyboardInterrupt) else "failed")


_ELSEWHERE = "free some room or mend its permissions, or choose another place with --out"
_BINARY = getattr(os, "O_BINARY", 0)  # Windows
_NO_SYNC = frozenset({errno.EINVAL, errno.ENOSYS, errno.ENOTSUP})
"""What a file system says that has no ``fsync`` (some of FUSE, 9p, or a folder on another system):
the row is with the kernel then, so it survives this program, if not the computer."""


def _sync(file: int) -> None:
    try:
        os.fsync(file)
    except OSError as error:
        if error.errno not in _NO_SYNC:
            raise


def _sync_folder(folder: Path) -> None:
    """Make a new file's name last. Best effort: not every system opens a folder."""
    with contextlib.suppress(OSError):
        opened = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)


def _printable_facts(found: Any) -> Any:
    if isinstance(found, Mapping):
        names = [printable(str(name), schema.WORDS_CHARS) for name in found]
        return dict(zip(names, map(_printable_facts, found.values()), strict=True))
    return printable(found, schema.FACT_CHARS) if isinstance(found, str) else found


def read(path: Path) -> Recording:
    """Read one recording; an unfinished last line (the run was cut off there) is left out.

    A file is one run: its run line, its rows, and at most one end line, after which nothing comes.
    Raises ``RecordingError``.
    """
    try:
        now = path.stat()
    except (OSError, ValueError) as error:
        raise RecordingError(path, 0, _why(error)) from error
    known = _read if now.st_size <= CACHED_BYTES else _read.__wrapped__
    return known(path, now.st_size, now.st_mtime_ns, now.st_ctime_ns, now.st_ino)


@lru_cache(maxsize=16)
def _read(path: Path, *state: int) -> Recording:  # noqa: ARG001
    """Once for each state of a file, as a page asks for the same ones often."""
    import msgspec

    *lines, torn = _lines(path)
    head = _run_line(path, lines[0] if lines else b"")
    host = msgspec.to_builtins(head.host)
    named = schema.runtimes(host)
    common = {"run_id": head.run_id, "host_id": host["host_id"], "experiment": head.experiment}
    rows: list[dict[str, Any]] = []
    ended = ""
    for number, raw in enumerate(lines[1:], start=2):
        try:
            line = schema.parse(raw, named)
        except ValueError as error:
            raise RecordingError(path, number, str(error)) from None
        if ended:
            raise RecordingError(path, number, "something follows the end line")
        if line.kind == "end":
            ended = line.status
        elif line.kind == "run":
            raise RecordingError(path, number, "a second run begins here: one file is one run")
        elif (line.platform == schema.BROWSER_VM) != (head.experiment == schema.BROWSER_LAB):
            why = f"a run of {head.experiment} has no row of {line.platform}"
            raise RecordingError(path, number, f"{why}: browsers and hosts are never mixed")
        else:
            rows.append(_row(path, number, line, common))
    if ended and torn:
        raise RecordingError(path, len(lines) + 1, "something follows the end line")
    schema.rename_old_metrics(head.experiment, rows)
    more = {"started_utc": head.started_utc, "rounds": head.rounds, "ended": ended}
    return Recording(path=path, host=host, rows=tuple(rows), **common, **more)


def _lines(path: Path) -> list[bytes]:
    """The lines of a file without their ends; the last one is what is torn, as a rule nothing.

    A file system may leave zeroes where a crash came before the data: they are part of no line.
    """
    try:
        data = paths.read(path, schema.MAX_BYTES).rstrip(b"\0")
    except (OSError, ValueError) as error:
        raise RecordingError(path, 0, _why(error)) from error
    if data.startswith((b"\xff\xfe", b"\xfe\xff", b"\xef\xbb\xbf")):
        raise RecordingError(path, 1, "it begins with a byte order mark: save it as plain UTF-8")
    if data.startswith(b"\x1f\x8b"):
        raise RecordingError(path, 1, "it is compressed: unpack it first")
    if data.count(b"\n") > schema.MAX_ROWS + 2:
        raise RecordingError(path, 0, f"it has more than {schema.MAX_ROWS:,} rows")
    return data.split(b"\n")


def _why(error: Exception) -> str:
    """What the system said, without the path: it may hold a name."""
    return (error.strerror if isinstance(error, OSError) else "") or str(error)


def _run_line(path: Path, raw: bytes) -> Any:
    try:
        line = schema.parse(raw) if raw else None
    except ValueError as error:
        raise RecordingError(path, 1, str(error)) from None
    if line is None or line.kind != "run":
        raise RecordingError(path, 1, "it does not begin with a run line")
    return line


def _row(path: Path, number: int, line: Any, common: Mapping[str, str]) -> dict[str, Any]:
    row = dict(zip(COLUMNS, _COLUMNS_OF(line), strict=True))
    for name, right in common.items():
        if isinstance(row[name], str) and row[name] != right:  # as a rule it is left out
            why = f"rows of two runs or two hosts are mixed ({name} differs)"
            raise RecordingError(path, number, why)
    row.update(common)
    return row


def recordings(directory: Path, experiment: str) -> Iterator[Path]:
    """Files of one experiment below ``directory``, newest first (a run id sorts by time).

    What others contributed is not among them, so it never takes the place of the project's own.
    """
    found: list[Path] = []
    with contextlib.suppress(OSError):  # a folder that cannot be read holds nothing for us
        found += (directory / experiment).glob("*.jsonl")
    yield from sorted(found, key=lambda p: p.name, reverse=True)


def readable(paths: Iterable[Path], experiment: str, problems: list[str]) -> Iterator[Recording]:
    """The recordings of one experiment among ``paths``, in their order.

    One that cannot be read does not end a page: a sentence on it is added to ``problems``.
    """
    for path in paths:
        try:
            found = read(path)
            if found.experiment != experiment:
                said = f"it is a run of {found.experiment}, not of {experiment}"
                raise RecordingError(path, 1, said)
        except RecordingError as error:
            text = str(error)
            said = f"{text[:1].upper()}{text[1:]}. It is left out."
            if said not in problems:
                problems.append(said)
        else:
            yield found


def contributed(directory: Path, experiment: str) -> Iterator[Path]:
    """Files that others contributed to one experiment, newest first: shown only when named."""
    yield from recordings(directory / experiment, CONTRIBUTED)
