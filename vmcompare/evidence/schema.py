"""What a line of a recording may hold: the one schema that reading, checking and writing share.

A recording may come from anybody, so every field has a type and a range, vocabularies are closed,
texts are short and printable, and a field that is not listed is refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from functools import cache
from typing import Annotated, Any, Literal

from vmcompare.errors import UNPRINTABLE, printable
from vmcompare.evidence.units import METRICS
from vmcompare.sandbox import RUNC_IN_A_GUEST, Machine, Platform, Start

SCHEMA = 1

MAX_BYTES = 8 * 2**20
"""Largest file. The largest of the project's (``isolation``) has 780 kB: ten times as much."""

MAX_ROWS = 15_000
"""Most rows of a run; the largest of the project's has 1,398 in 3 rounds, ``boot_speed`` 1,377 in
10. So there is room for 30 rounds of the one and for 100 of the other, which take hours."""

MAX_LINE_BYTES = 64 * 2**10
"""Longest line; the longest so far has 1.5 kB. A row whose texts are all as long as they may be
stays below it."""

LARGEST = 10**18
"""Largest magnitude of a value: an exabyte, or 30 thousand million years."""

MAX_COUNT = 10**9
"""Largest number of a block, a repetition or a round, of processors and of MiB."""

TEXT_CHARS: Mapping[str, int] = {"text": 4000, "error": 4000}
"""Field → most characters, where it is not :data:`WORDS_CHARS`. The longest text so far: 1,024."""

WORDS_CHARS = 100
"""Most characters of a phase, a version, a kernel release; the longest so far has 45."""

FACT_CHARS = 300
"""Most characters of a fact of the machine."""

ACCELERATORS = ("", "tcg", "kvm", "hvf", "whpx")
"""QEMU's names; empty where nothing is emulated."""

RUNTIMES = frozenset(
    {"", "fork+exec", "bubblewrap", "runc", RUNC_IN_A_GUEST}
    | {"crun", "youki", "runsc", "kata", "kata-runtime", "nvidia", "sysbox-runc"}
    | {"io.containerd.runc.v2", "io.containerd.kata.v2", "io.containerd.runsc.v1"}
)
"""What makes an instance. An engine's default runtime may have any name, and is taken as well where
the facts of the machine name it."""

_MOMENT = r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}"

_FORMS: Mapping[str, str] = {
    "printable": rf"\A[^{UNPRINTABLE}]*\Z",
    "a time in UTC as in 2026-01-31T12:00:00Z": rf"\A{_MOMENT}Z\Z",
    "a time in UTC as in 2026-01-31T12:00:00.123Z": rf"\A{_MOMENT}\.[0-9]{{3}}Z\Z",
    "a run id as in 20260131T120000Z-0123ab": r"\A[0-9]{8}T[0-9]{6}Z-[0-9a-f]{6}\Z",
    "the name of an experiment": r"\A[A-Za-z_][A-Za-z0-9_]{0,63}\Z",
    "letters, digits and hyphens": r"\A[A-Za-z0-9-]{1,64}\Z",
    "a SHA-256 digest": r"\A(sha256:[0-9a-f]{1,64})?\Z",
}
"""What a text must be, in words → the regular expression."""
_PRINTABLE, _SECOND, _MILLISECOND, _RUN_ID, _EXPERIMENT, _HOST_ID, _DIGEST = _FORMS

_TYPES: Mapping[str, str] = {
    "int": "a whole number", "float": "a number", "str": "a text", "bool": "true or false",
    "null": "null", "object": "an object", "array": "a list",
}  # fmt: skip


def parse(raw: bytes, named: frozenset[str] = frozenset()) -> Any:
    """One line: a ``Run``, a ``Row`` or an ``End`` (told apart by its attribute ``kind``).

    Args:
        raw: the line, UTF-8, with or without its end.
        named: runtimes that the facts of the machine name, see :func:`runtimes`.

    Raises:
        ValueError: what is wrong with it, naming the field.
    """
    import msgspec

    if len(raw) > MAX_LINE_BYTES:
        raise ValueError(f"it is longer than {MAX_LINE_BYTES:,} bytes")
    try:
        line = _decoder()(raw)
    except msgspec.ValidationError as error:
        raise ValueError(_in_words(str(error))) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"not JSON ({_of_json(error, raw)})") from None
    if line.kind == "row":
        _coherent(line, named)
    elif line.kind == "run":
        _date("started_utc", line.started_utc)
    return line


def schema_of(raw: bytes) -> Any:
    """The schema a run line names, whatever else it holds; ``None`` where that is no run line."""
    import msgspec

    try:
        seen = msgspec.json.decode(raw[:MAX_LINE_BYTES], type=_peek())
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    return seen.schema if seen.kind == "run" else None


def runtimes(host: Mapping[str, Any]) -> frozenset[str]:
    """The runtimes that facts of a machine name beside :data:`RUNTIMES`."""
    details: Mapping[str, Mapping[str, str]] = host.get("details", {})
    return frozenset(d["default_runtime"] for d in details.values() if "default_runtime" in d)


def _coherent(row: Any, named: frozenset[str]) -> None:
    """What a type cannot say of a row."""
    _date("ts_utc", row.ts_utc)
    if (row.status == "ok") != (row.value is not None):
        raise ValueError(f"value {row.value!r} does not fit status {row.status!r}")
    if row.metric not in METRICS:
        raise ValueError(f"unknown metric {row.metric!r}")
    if row.unit != METRICS[row.metric]:
        right = METRICS[row.metric]
        raise ValueError(f"unit: {row.metric} is given in {row.unit!r} instead of {right}")
    if row.runtime not in RUNTIMES and row.runtime not in named:
        raise ValueError(f"unknown runtime {row.runtime!r}")


def _date(name: str, text: str) -> None:
    try:
        datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{name} is no date that exists: {text}") from None


@cache
def _decoder() -> Callable[[bytes], Any]:
    """Made at the first use: to import msgspec takes longer than to import this package."""
    import msgspec

    def text(limit: int, form: str = _PRINTABLE) -> Any:
        return Annotated[str, msgspec.Meta(max_length=limit, pattern=_FORMS[form])]

    def one_of(words: Iterable[str]) -> Any:
        return Literal[tuple(str(word) for word in words)]

    def struct(kind: str, fields: list[tuple[str, Any] | tuple[str, Any, Any]]) -> Any:
        named = [(name, type_, *default) for name, type_, *default in fields]
        options: dict[str, Any] = {"tag_field": "kind", "tag": kind} if kind else {}
        made: Any = msgspec.defstruct(
            kind or "Host", named, kw_only=True, forbid_unknown_fields=True, gc=False, **options
        )
        made.kind = kind
        return made

    count = Annotated[int, msgspec.Meta(ge=0, le=MAX_COUNT)]
    whole = Annotated[int, msgspec.Meta(ge=-LARGEST, le=LARGEST)]
    broken = Annotated[float, msgspec.Meta(ge=-LARGEST, le=LARGEST)]
    words, fact = text(WORDS_CHARS), text(FACT_CHARS)
    few = msgspec.Meta(max_length=32)
    facts: Any = Annotated[dict[words, fact], few]  # type: ignore[valid-type]
    absent = msgspec.UNSET
    host = struct(
        "",
        [
            ("host_id", text(64, _HOST_ID)),
            *(
                (name, type_ | msgspec.UnsetType, absent)
                for name, type_ in {
                    "os": fact,
                    "kernel": fact,
                    "arch": fact,
                    "cpu": fact,
                    "cores": count,
                    "memory_bytes": Annotated[int, msgspec.Meta(ge=0, le=LARGEST)],
                    "virtualisation_flag": one_of(("", "vmx", "svm")) | None,
                    "virtualised": bool | None,
                    "cgroup_version": Literal[0, 1, 2],
                    "ksm": bool,
                    "governor": fact,
                    "load_1min": Annotated[float, msgspec.Meta(ge=0, le=MAX_COUNT)],
                    "on_battery": bool | None,
                    "python": fact,
                    "versions": facts,
                    "details": Annotated[dict[words, facts], few],  # type: ignore[valid-type]
                }.items()
            ),
        ],
    )
    run = struct(
        "run",
        [
            ("schema", Literal[SCHEMA]),
            ("run_id", text(64, _RUN_ID)),
            ("experiment", text(64, _EXPERIMENT)),
            ("started_utc", text(64, _SECOND)),
            ("rounds", count),
            ("host", host),
        ],
    )
    row = struct(
        "row",
        [
            ("ts_utc", text(64, _MILLISECOND)),
            ("platform", one_of(Platform)),
            ("metric", words),
            ("value", whole | broken | None),
            ("unit", words),
            ("status", Literal["ok", "error"]),
            ("provenance", Literal["measured"]),
            ("block", count),
            ("rep", count),
            ("is_warmup", bool),
            # Older recordings lack a column that was added since; a line never lacks the others.
            ("layer", Literal["", "mechanism", "product"], ""),
            ("warmth", one_of(Start), str(Start.COLD)),
            ("runtime", words, ""),
            ("vmm", words, ""),
            ("machine", one_of(Machine), ""),
            ("accel", one_of(ACCELERATORS), ""),
            ("image_digest", text(71, _DIGEST), ""),
            ("guest_kernel", words, ""),
            ("vcpus", count, 1),
            ("mem_limit_mib", count, 0),
            ("network", bool, False),
            ("confinement", words, ""),
            ("phase", words, ""),  # an experiment names its own
            ("order_in_block", count, 0),
            ("text", text(TEXT_CHARS["text"]), ""),
            ("error", text(TEXT_CHARS["error"]), ""),
            # Nothing writes these into a row; where they stand, they must be those of the run.
            ("run_id", text(64, _RUN_ID) | msgspec.UnsetType, absent),
            ("host_id", text(64, _HOST_ID) | msgspec.UnsetType, absent),
            ("experiment", text(64, _EXPERIMENT) | msgspec.UnsetType, absent),
        ],
    )
    end = struct("end", [("status", Literal["complete", "stopped", "failed"])])
    return msgspec.json.Decoder(run | row | end).decode


@cache
def _peek() -> Any:
    import msgspec

    return msgspec.defstruct("Peek", [("kind", str), ("schema", int)])


def _in_words(told: str) -> str:
    """msgspec's complaint as a clause about the field, without its jargon."""
    where = re.search(r" - at (`key` in )?`\$\.?([^`]*)`\Z", told)
    field = "" if where is None else ("a name in " if where[1] else "") + printable(where[2], 60)
    what = told if where is None else told[: where.start()]
    if found := re.fullmatch(r"Object missing required field `(.*)`", what, re.DOTALL):
        return f"{field or 'it'} lacks {found[1]}"
    if found := re.fullmatch(r"Object contains unknown field `(.*)`", what, re.DOTALL):
        strange = printable(found[1], 60)
        return f"{field or 'it'} has a field that vmcompare does not write: {strange}"
    if found := re.fullmatch(r"Invalid (?:enum )?value (.*)", what, re.DOTALL):
        return f"unknown {field or 'kind'} {printable(found[1], 60)}"
    form = next((words for words, regex in _FORMS.items() if repr(regex) in what), "")
    if form == _PRINTABLE:
        return f"{field} has control characters"
    if form:
        return f"{field} is not {form}"
    types = re.fullmatch(r"Expected `(.*)`, got `(.*)`", what)
    if types:
        wanted = " or ".join(_TYPES.get(t, t) for t in types[1].split(" | "))
        return f"{field or 'it'} must be {wanted}, not {_TYPES.get(types[2], types[2])}"
    if found := re.fullmatch(r"Expected `(\w+)` (?:of length )?([<>]=) (\S+)", what):
        sense = {"<=": "at most", ">=": "at least"}[found[2]]
        of = {"str": " characters", "object": " entries"}.get(found[1], "")
        return f"{field} must be {sense} {float(found[3]):,.0f}{of}"
    return f"{field}: {what}" if field else what


def _of_json(error: Exception, raw: bytes) -> str:
    """What is wrong with the notation, with the text about the place where it is."""
    if isinstance(error, RecursionError):
        return "nested too deeply"
    if isinstance(error, UnicodeDecodeError):
        return "not UTF-8"
    what, _, place = str(error).removeprefix("JSON is malformed: ").partition(" (byte ")
    if not place:
        return what[:1].lower() + what[1:]
    at = int(place.rstrip(")"))
    near = raw[max(0, at - 20) : at + 10].decode(errors="replace").strip()
    return f"{what} at byte {at + 1}: {printable(near, 60)}"
