"""Recordings: one file a run, one JSON line a row, on disk the moment it was made.

The first line of a file is the run (schema, run id, experiment, facts of the host), then come the
rows, and a run that ended in order closes with an end line. A crash loses at most the line that was
being written. Files are only ever appended to, so a recording can be followed while it grows.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from .errors import RecordingError
from .sandbox import Machine, Platform, Start
from .units import METRICS

if TYPE_CHECKING:
    import pandas as pd

SCHEMA = 1

CONTRIBUTED = "contributed"
"""The folder, beside an experiment's recordings, of those that others made."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """One tidy row, as an experiment makes it.

    ``value`` is in the unit that :data:`vmcompare.units.METRICS` gives for ``metric``. A run that
    failed is a row too: ``status="error"``, ``error`` says why, ``value`` is ``None``, never zero.
    ``block`` and ``rep`` count from 0; ``order_in_block`` is the place in the shuffled block.
    ``confinement`` is how an instance is held or laid out where its platform alone does not tell
    (``"no-capabilities"``, ``"--pid=host"``); empty for the ordinary way.
    ``text`` is what an ``observation`` read, or the error it met: no name of a person or of the
    host, and no path of a home directory.
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

    def __post_init__(self) -> None:
        if self.metric not in METRICS:
            raise ValueError(f"{self.metric!r} is not a metric of units.METRICS")
        if (self.value is None) != (self.status != "ok"):
            raise ValueError("a row has a value exactly when its status is 'ok'")
        if self.value is not None and not math.isfinite(self.value):
            raise ValueError(f"{self.metric} must be a finite number, not {self.value}")


COLUMNS: tuple[str, ...] = (
    "run_id", "ts_utc", "host_id", "experiment",
    *(f.name for f in fields(Measurement) if f.name not in ("value", "status", "error")),
    "value", "unit", "status", "error", "provenance",
)  # fmt: skip
"""The columns of the tidy frame, in order."""

_FIELDS = tuple(f.name for f in fields(Measurement))

_REQUIRED = ("ts_utc", "platform", "metric", "value", "status", "block", "rep", "is_warmup")


@dataclass(frozen=True, slots=True)
class Recording:
    """A run that was read back.

    Attributes:
        path: the file it came from.
        run_id, experiment, host_id: as written by the run.
        host: facts of the machine, as :func:`vmcompare.host.facts` wrote them.
        started_utc: ISO 8601, to the second.
        rounds: blocks that were planned.
        ended: ``"complete"``, ``"stopped"``, ``"failed"``, or ``""`` when the run was cut off.
        rows: one mapping a row, with every name of :data:`COLUMNS`.
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
        import pandas as pd

        frame = pd.DataFrame(list(self.rows), columns=list(COLUMNS))
        return frame.astype({"value": float, "is_warmup": bool, "block": int, "rep": int})


class Recorder:
    """Appends rows to one file; use as a context manager.

    Args:
        directory: the file becomes ``directory/<experiment>/<run_id>.jsonl``.
        experiment: name of the experiment.
        host: facts of this machine; ``host["host_id"]`` names it.
        rounds: blocks that are planned.

    Raises:
        RecordingError: the place cannot be written to.
    """

    def __init__(
        self, directory: Path, experiment: str, host: Mapping[str, Any], rounds: int
    ) -> None:
        now = datetime.now(UTC)
        self.run_id = f"{now:%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"
        self.path = directory / experiment / f"{self.run_id}.jsonl"
        self._experiment, self._host_id = experiment, str(host["host_id"])
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self.path.open("x", encoding="utf-8")
        except OSError as error:
            why = error.strerror or str(error)
            raise RecordingError(
                self.path, 0, f"{why} (choose another place with --out)"
            ) from error
        self._write(
            {
                "kind": "run",
                "schema": SCHEMA,
                "run_id": self.run_id,
                "experiment": experiment,
                "started_utc": f"{now:%Y-%m-%dT%H:%M:%SZ}",
                "rounds": rounds,
                "host": dict(host),
            }
        )

    def append(self, row: Measurement) -> None:
        """Write one measured row; it is on disk when this returns."""
        self._write(
            {
                "kind": "row",
                "ts_utc": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%f}"[:-3] + "Z",
                **{name: getattr(row, name) for name in _FIELDS},
                "unit": METRICS[row.metric],
                "provenance": "measured",
            }
        )

    def end(self, status: str) -> None:
        """Close the file with how the run ended: ``complete``, ``stopped`` or ``failed``."""
        if not self._file.closed:
            self._write({"kind": "end", "status": status})
            self._file.close()

    def _write(self, line: Mapping[str, Any]) -> None:
        self._file.write(json.dumps(line, ensure_ascii=False, separators=(",", ":")) + "\n")
        self._file.flush()
        os.fsync(self._file.fileno())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self.end("complete")
        else:
            self.end("stopped" if issubclass(kind, KeyboardInterrupt) else "failed")


def read(path: Path) -> Recording:
    """Read one recording; an unfinished last line (the run was cut off there) is left out.

    Raises:
        RecordingError: the file is missing, is not a recording, or has a damaged line.
    """
    try:
        now = path.stat()
    except OSError as error:
        raise RecordingError(path, 0, str(error)) from error
    return _read(path, now.st_size, now.st_mtime_ns)


@lru_cache(maxsize=32)
def _read(path: Path, size: int, changed_ns: int) -> Recording:  # noqa: ARG001
    """:func:`read`, once for each state of a file: a page asks for the same ones often."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RecordingError(path, 0, str(error)) from error
    whole = text if text.endswith("\n") else text[: text.rfind("\n") + 1]
    lines = [_parse(path, n, line) for n, line in enumerate(whole.splitlines(), start=1)]
    if not lines or lines[0].get("kind") != "run":
        raise RecordingError(path, 1, "it does not begin with a run line")
    head = lines[0]
    if head.get("schema") != SCHEMA:
        raise RecordingError(path, 1, f"schema {head.get('schema')!r} is not {SCHEMA}")
    try:
        common = {
            "run_id": head["run_id"],
            "host_id": head["host"]["host_id"],
            "experiment": head["experiment"],
        }
        started, rounds, host = head["started_utc"], int(head["rounds"]), head["host"]
    except (KeyError, TypeError, ValueError) as error:
        raise RecordingError(path, 1, f"the run line lacks {error}") from error
    rows: list[dict[str, Any]] = []
    ended = ""
    for number, line in enumerate(lines[1:], start=2):
        if line.get("kind") == "row":
            rows.append(common | _row(path, number, line))
        elif line.get("kind") == "end":
            ended = str(line.get("status", ""))
        else:
            raise RecordingError(path, number, f"unknown kind {line.get('kind')!r}")
    return Recording(
        path=path,
        host=host,
        started_utc=started,
        rounds=rounds,
        ended=ended,
        rows=tuple(rows),
        **common,
    )


def recordings(directory: Path, experiment: str) -> Iterator[Path]:
    """Files of one experiment below ``directory``, newest first (a run id sorts by time).

    What others contributed is not among them, so it never takes the place of the project's own.
    """
    found: list[Path] = []
    with contextlib.suppress(OSError):  # a folder that cannot be read holds nothing for us
        found += (directory / experiment).glob("*.jsonl")
    yield from sorted(found, key=lambda p: p.name, reverse=True)


def contributed(directory: Path, experiment: str) -> Iterator[Path]:
    """Files that others contributed to one experiment, newest first: shown only when named."""
    yield from recordings(directory / experiment, CONTRIBUTED)


def _parse(path: Path, number: int, line: str) -> dict[str, Any]:
    try:
        parsed = json.loads(line)
    except json.JSONDecodeError as error:
        raise RecordingError(path, number, f"not JSON ({error.msg})") from error
    if not isinstance(parsed, dict):
        raise RecordingError(path, number, "not a JSON object")
    return parsed


def _row(path: Path, number: int, line: dict[str, Any]) -> dict[str, Any]:
    missing = [name for name in _REQUIRED if name not in line]
    if missing:
        raise RecordingError(path, number, f"the row lacks {', '.join(missing)}")
    value, status = line["value"], line["status"]
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if line["platform"] not in set(Platform):
        raise RecordingError(path, number, f"unknown platform {line['platform']!r}")
    if line["metric"] not in METRICS:
        raise RecordingError(path, number, f"unknown metric {line['metric']!r}")
    if (status == "ok") != is_number or (is_number and not math.isfinite(value)):
        raise RecordingError(path, number, f"value {value!r} does not fit status {status!r}")
    if not all(isinstance(line[name], int) for name in ("block", "rep")):
        raise RecordingError(path, number, "block and rep must be whole numbers")
    return {
        name: line.get(name, "")
        for name in COLUMNS
        if name not in ("run_id", "host_id", "experiment")
    }
