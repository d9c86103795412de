"""What must hold for a recording before it joins the project: checks that need no trust.

A recording is a text file that anybody can edit, so this proves no honesty. It finds what an honest
contributor overlooks: a run that was cut short, an accelerator that nobody proved, a name or a home
directory that slipped into a row.
"""

from __future__ import annotations

import getpass
import re
import socket
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

from vmcompare.errors import RecordingError, UnknownName, printable
from vmcompare.evidence import statistics
from vmcompare.evidence.recording import Recording, read
from vmcompare.evidence.schema import BROWSER_LAB
from vmcompare.measuring.experiment import load

Check = Callable[[Recording], Iterator[str]]

_HOME = re.compile(r"(?:/(?:home|Users|root)/|\b[A-Za-z]:\\+Users\\+)[^\s\"/\\]*")
_NEEDED = ("os", "kernel", "arch", "cpu", "cores", "memory_bytes", "versions")
"""Facts of the machine without which no figure can be judged."""
_NEEDED_OF_A_BROWSER = ("os", "cores", "versions", "details")
"""The same of a run in a browser, which tells a page no more of its computer."""
_DIFFERENCES = ("host_delta_bytes", "returned_ratio")  # metrics that may be below zero
_SERIES = (
    *("platform", "machine", "layer", "runtime", "warmth", "confinement"),
    *("metric", "phase"),
)
"""Columns that tell one series from another."""
_SIZED = "size"
"""The phase in which the memory of the instances is varied."""
_SIZE = {"vcpus": "number of processors", "mem_limit_mib": "memory", "network": "network"}
"""Columns that are the same in all rows of a series → what they are."""
_INSIDE = {
    "image_digest": "image",
    "vmm": "version of the virtual machine monitor",
    "accel": "accelerator",
    "guest_kernel": "kernel inside",
}
"""The same within one repetition of a series, which may have an image of its own."""
_PLACE = (
    *_SERIES,
    *("rep", *_SIZE, *_INSIDE, "block", "order_in_block", "is_warmup", "status", "error"),
)
"""Columns that no two rows have in common."""
_NEXT_REP = 600  # how far the next repetition of a platform may be: some count tenths of a second
_NOBODY = ("root", "user", "admin", "debian", "ubuntu", "fedora", "alpine", "linux", "localhost")
"""Names that every other machine has too: they tell nothing about a person."""


def problems(path: Path) -> tuple[str, ...]:
    """What keeps the recording in ``path`` from being used, one sentence each; empty when nothing.

    The names of this machine and of its user are looked for as well, so it is best called where the
    recording was made.
    """
    try:
        recording = read(path)
    except RecordingError as error:
        return (error.unnamed,)
    checks: tuple[Check, ...] = (
        _whole,
        _question,
        _identity,
        _once,
        _counted,
        _alike,
        _accelerator,
        _values,
        _names,
    )
    return tuple(sentence for check in checks for sentence in check(recording))


def doubts(recording: Recording) -> tuple[str, ...]:
    """Where its times doubt themselves (a wide interval, a drift), one sentence a series.

    They do not keep it out: they are what the machine did, and its figures say the same.
    """
    frame = recording.frame()
    timed = (frame["unit"] == "s") & (frame["phase"] == "") & (frame["status"] == "ok")
    frame = frame[timed & ~frame["is_warmup"]]
    said = []
    for key, rows in frame.groupby(["platform", "machine", "runtime", "metric"], sort=False):
        found = statistics.doubts(rows["value"].to_numpy())
        if found:
            said.append(f"{' '.join(filter(None, map(str, key)))}: {', '.join(found)}.")
    return tuple(said)


def report(path: Path) -> dict[str, Any]:
    """What there is to say of a file, as ``vmcompare check --json FILE`` prints it.

    JSON-ready: the ``file``, whether it is ``usable``, its :func:`problems` and :func:`doubts`, and
    where it is usable its ``run_id``, ``experiment`` and :func:`summary` (else empty).
    """
    found = problems(path)
    recording = None if found else read(path)
    return {
        "file": str(path),
        "usable": recording is not None,
        "run_id": recording.run_id if recording else "",
        "experiment": recording.experiment if recording else "",
        "summary": summary(recording) if recording else "",
        "problems": [*found],
        "doubts": [*doubts(recording)] if recording else [],
    }


def summary(recording: Recording) -> str:
    """One line on a recording: question, rounds, platforms, accelerator, machine."""
    platforms = dict.fromkeys(str(row["platform"]) for row in recording.rows)
    where = recording.host.get("cpu") or _user_agent(recording) or "?"
    return (
        f"{recording.experiment}, {recording.rounds} rounds, {', '.join(platforms)}, "
        f"accelerator {_proved(recording) or 'none'}, {where}"
    )


def _whole(recording: Recording) -> Iterator[str]:
    if recording.ended != "complete":
        how = f"ended as {recording.ended!r}" if recording.ended else "has no end line"
        yield f"The run is not complete: it {how}."


def _question(recording: Recording) -> Iterator[str]:
    if recording.experiment == BROWSER_LAB:
        yield from _of_a_browser(recording)
        return
    try:
        experiment = load(recording.experiment)
    except UnknownName as error:
        said = str(error)
        yield f"{said[:1].upper()}{said[1:]}."
        return
    strange = {row["platform"] for row in recording.rows} - set(experiment.platforms)
    if strange:
        yield f"The experiment does not measure {', '.join(sorted(map(str, strange)))}."
    if recording.ended != "complete":
        return  # that is said already, and what is missing follows from it
    valid = [row for row in recording.rows if row["status"] == "ok" and not row["is_warmup"]]
    missing = [p for p in experiment.platforms if not any(row["platform"] == p for row in valid)]
    if missing:
        names = ", ".join(map(str, missing))
        yield f"There is no valid row of {names}, so nothing can be compared with it."
    blocks = {row["block"] for row in valid}
    if min(recording.rounds, len(blocks)) < experiment.rounds:
        yield (
            f"A verdict takes {experiment.rounds} rounds: {recording.rounds} were planned and "
            f"{len(blocks)} have valid rows."
        )


def _of_a_browser(recording: Recording) -> Iterator[str]:
    """What the browser lab's page saves; that it is of one kind is a matter of reading it."""
    if not recording.rows:
        yield "It holds no row."
    if not _user_agent(recording):
        yield "It does not say which browser it was measured in."


def _identity(recording: Recording) -> Iterator[str]:
    if not recording.run_id.startswith(f"{re.sub('[-:]', '', recording.started_utc)}-"):
        yield "The run id does not belong to the time at which the run began."
    if recording.path.stem != recording.run_id:
        yield f"The file must be called {recording.run_id}.jsonl, after its run."
    if not re.fullmatch(r"[0-9a-f]{12}", recording.host_id):
        yield "The host id is not the 12 hexadecimal digits that vmcompare writes."
    needed = _NEEDED_OF_A_BROWSER if recording.experiment == BROWSER_LAB else _NEEDED
    lacking = {name for name in needed if recording.host.get(name) in (None, "")}
    if lacking:
        yield f"The run line lacks facts of the machine: {', '.join(sorted(lacking))}."


def _once(recording: Recording) -> Iterator[str]:
    """Every row is of this run, and stands in it once."""
    places = Counter(tuple(row[name] for name in _PLACE) for row in recording.rows)
    place, times = next(iter(places.most_common(1)), ((), 0))
    if times > 1:
        row = dict(zip(_PLACE, place, strict=True))
        again = sum(places.values()) - len(places)
        yield (
            f"The same row stands there {times} times ({_called(row)}, block {row['block']}, "
            f"repetition {row['rep']}); {again} rows are repeated in all."
        )
    moments = [recording.started_utc[:-1], *(row["ts_utc"] for row in recording.rows)]
    if moments != sorted(moments):
        yield "Its rows are not in the order of their times: rows of two runs may be mixed."


def _counted(recording: Recording) -> Iterator[str]:
    """Blocks and repetitions count on from 0; nothing stands far from the rest."""
    last = max((row["block"] for row in recording.rows), default=0)
    if last >= max(recording.rounds, 1):
        yield f"A row is of block {last}, but {recording.rounds} rounds count from 0."
    reps: dict[str, set[int]] = {}
    for row in recording.rows:
        reps.setdefault(str(row["platform"]), set()).add(row["rep"])
    for platform, numbers in reps.items():
        for before, after in pairwise(sorted({0, *numbers})):
            if after - before > _NEXT_REP:
                yield f"A row of {platform} is of repetition {after}; the one before is {before}."
                break


def _alike(recording: Recording) -> Iterator[str]:
    """One series is one image on one machine, from its first row to its last."""
    for columns, key in ((_SIZE, _SERIES), (_INSIDE, (*_SERIES, "rep", *_SIZE))):
        for column, what in columns.items():
            seen: dict[tuple[object, ...], object] = {}
            for row in recording.rows:
                if row[column] == "" or (column == "mem_limit_mib" and row["phase"] == _SIZED):
                    continue  # it was not known before a start failed, or it is varied
                series = tuple(row[name] for name in key)
                if seen.setdefault(series, row[column]) != row[column]:
                    yield f"The {what} changes within one series ({_called(row)})."
                    break


def _called(row: Mapping[str, Any]) -> str:
    named = (row[name] for name in ("platform", "machine", "runtime", "metric", "phase"))
    return " ".join(filter(None, map(str, named)))


def _accelerator(recording: Recording) -> Iterator[str]:
    machines = [row for row in recording.rows if str(row["platform"]).startswith("vm")]
    timed = [row for row in machines if row["status"] == "ok" and row["unit"] == "s"]
    if any(not row["accel"] for row in timed):
        yield "A virtual machine was timed, but the row does not state its accelerator."
    stated = {row["accel"] for row in machines if row["accel"]}
    proved = _proved(recording)
    if stated and not proved:
        yield "The facts of the machine do not say which accelerator was proved to work."
    elif stated - {proved}:
        yield (
            f"Rows state {', '.join(sorted(stated))}, but the accelerator proved on this machine "
            f"is {proved}."
        )


def _values(recording: Recording) -> Iterator[str]:
    for row in recording.rows:
        metric, unit, value = row["metric"], row["unit"], row["value"]
        if value is not None and value < 0 and metric not in _DIFFERENCES:
            yield f"A value of {value} {unit} for {metric} cannot be."
            return


def _names(recording: Recording) -> Iterator[str]:
    held = {text for row in (recording.host, *recording.rows) for text in _texts(row)}
    text = "\n".join(sorted(held))
    home = _HOME.search(text)
    if home:
        yield f"It holds what looks like the path of a home directory: {printable(home[0])}."
    for what, name in _own_names().items():
        if re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", text):
            yield f"It holds the {what}, {name}."


def _own_names() -> Mapping[str, str]:
    """Names of this machine and its user that should be in no recording."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = ""
    names = {"name of this user": user, "name of this machine": socket.gethostname()}
    return {w: n for w, n in names.items() if len(n) > 2 and n.lower() not in _NOBODY}


def _user_agent(recording: Recording) -> str:
    """What the browser calls itself; empty where none was at work."""
    return str(recording.host.get("details", {}).get("browser", {}).get("user_agent", ""))


def _proved(recording: Recording) -> str:
    details = recording.host.get("details", {})
    proving = details.get("v86" if recording.experiment == BROWSER_LAB else "qemu", {})
    return str(proving.get("accelerator", ""))


def _texts(held: object) -> Iterator[str]:
    """All texts in a value of a recording, names of facts included."""
    if isinstance(held, str):
        yield held
    elif isinstance(held, Mapping):
        for name, value in held.items():
            yield name
            yield from _texts(value)
