"""What must hold for a recording before it joins the project: checks that need no trust.

A recording is a text file that anybody can edit, so this proves no honesty. It finds what an honest
contributor overlooks: a run that was cut short, an accelerator that nobody proved, a name or a home
directory that slipped into a row.
"""

from __future__ import annotations

import getpass
import json
import re
import socket
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from vmcompare.errors import RecordingError, UnknownName, printable
from vmcompare.evidence import statistics
from vmcompare.evidence.recording import Recording, read
from vmcompare.evidence.schema import BROWSER_LAB
from vmcompare.measuring.experiment import load

_HOME = re.compile(r"(?:/(?:home|Users|root)/|\b[A-Za-z]:\\+Users\\+)[^\s\"/\\]*")
_NEEDED = ("os", "kernel", "arch", "cpu", "cores", "memory_bytes")
"""Facts of the computer without which, and without versions, no figure can be judged."""
_DIFFERENCES = ("host_delta_bytes", "returned_ratio")  # metrics that may be below zero
_NOBODY = ("root", "user", "admin", "debian", "ubuntu", "fedora", "alpine", "linux", "localhost")
"""Names that every other computer has too: they tell nothing about a person."""


def problems(path: Path) -> tuple[str, ...]:
    """What keeps the recording in ``path`` from being used, one sentence each.

    The names of this computer and of its user are looked for, too: call it where it was recorded.
    """
    try:
        recording = read(path)
    except RecordingError as error:
        return (error.unnamed,)
    checks = (_whole, _question, _identity, _once, _accelerator, _negative, _names)
    return tuple(sentence for check in checks for sentence in check(recording))


def doubts(recording: Recording) -> tuple[str, ...]:
    """Where its times doubt themselves (a wide interval, a drift), one sentence a series.

    They do not keep it out: they are what the computer did, and its figures say the same.
    """
    frame = recording.frame()
    timed = (frame["unit"] == "s") & (frame["phase"] == "") & (frame["status"] == "ok")
    frame = frame[timed & ~frame["is_warmup"]]
    said = []
    for key, rows in frame.groupby(["platform", "machine", "runtime", "metric"], sort=False):
        found = statistics.doubts(rows["value"].to_numpy())
        if found:
            said.append(f"{' '.join(filter(None, map(str, key)))}: {'; '.join(found)}.")
    return tuple(said)


def report(path: Path) -> dict[str, Any]:
    """What there is to say of a file, as ``vmcompare check --json FILE`` prints it."""
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
    if recording.experiment == BROWSER_LAB:  # that it is of one kind is a matter of reading it
        if not recording.rows:
            yield "It holds no row."
        if not _user_agent(recording):
            yield "It does not say which browser it was measured in."
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
        made = f"{recording.rounds} were planned and {len(blocks)} have valid rows"
        yield f"A verdict takes {experiment.rounds} rounds: {made}."


def _identity(recording: Recording) -> Iterator[str]:
    if not recording.run_id.startswith(f"{re.sub('[-:]', '', recording.started_utc)}-"):
        yield "The run id does not belong to the time at which the run began."
    if recording.path.stem != recording.run_id:
        yield f"The file must be called {recording.run_id}.jsonl, after its run."
    if not re.fullmatch(r"[0-9a-f]{12}", recording.host_id):
        yield "The host id is not the 12 hexadecimal digits that vmcompare writes."
    # A browser tells a page no more of its computer.
    needed = ("os", "cores", "details") if recording.experiment == BROWSER_LAB else _NEEDED
    lacking = {name for name in (*needed, "versions") if recording.host.get(name) in (None, "")}
    if lacking:
        yield f"The run line lacks facts of the computer: {', '.join(sorted(lacking))}."


def _once(recording: Recording) -> Iterator[str]:
    """Every row is of this run, and stands in it once."""
    [(_, times)] = Counter(tuple(row.items()) for row in recording.rows).most_common(1) or [((), 0)]
    if times > 1:
        yield f"The same row stands there {times} times."
    moments = [recording.started_utc[:-1], *(row["ts_utc"] for row in recording.rows)]
    if moments != sorted(moments):
        yield "Its rows are not in the order of their times: rows of two runs may be mixed."


def _accelerator(recording: Recording) -> Iterator[str]:
    machines = [row for row in recording.rows if str(row["platform"]).startswith("vm")]
    timed = [row for row in machines if row["status"] == "ok" and row["unit"] == "s"]
    if any(not row["accel"] for row in timed):
        yield "A virtual machine was timed, but the row does not state its accelerator."
    stated = {row["accel"] for row in machines if row["accel"]}
    proved = _proved(recording)
    if stated and not proved:
        yield "The facts of the computer do not say which accelerator was proved to work."
    elif stated - {proved}:
        rows = f"Rows state {', '.join(sorted(stated))}"
        yield f"{rows}, but the accelerator proved on this computer is {proved}."


def _negative(recording: Recording) -> Iterator[str]:
    for row in recording.rows:
        if (row["value"] or 0) < 0 and row["metric"] not in _DIFFERENCES:
            yield f"A value of {row['value']} {row['unit']} for {row['metric']} cannot be."
            return


def _names(recording: Recording) -> Iterator[str]:
    text = json.dumps([recording.host, *recording.rows], ensure_ascii=False)
    home = _HOME.search(text)
    if home:
        yield f"It holds what looks like the path of a home directory: {printable(home[0])}."
    for what, name in _own_names().items():
        if re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", text):
            yield f"It holds the {what}, {name}."


def _own_names() -> Mapping[str, str]:
    """Names of this computer and its user that should be in no recording."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = ""
    names = {"name of this user": user, "name of this computer": socket.gethostname()}
    return {w: n for w, n in names.items() if len(n) > 2 and n.lower() not in _NOBODY}


def _user_agent(recording: Recording) -> str:
    """What the browser calls itself; empty where none was at work."""
    return str(recording.host.get("details", {}).get("browser", {}).get("user_agent", ""))


def _proved(recording: Recording) -> str:
    details = recording.host.get("details", {})
    proving = details.get("v86" if recording.experiment == BROWSER_LAB else "qemu", {})
    return str(proving.get("accelerator", ""))
