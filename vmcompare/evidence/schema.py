"""What a line of a recording may hold: the one schema that reading, checking and writing share.

A recording may come from anybody, so every field has a type and a range, vocabularies are closed,
texts are short and printable, and a field that is not listed is refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from functools import cache
from typing import Annotated, Any, Literal

from vmcompare.errors import UNPRINTABLE, printable
from vmcompare.evidence.units import METRICS
from vmcompare.sandbox import RUNC_IN_A_GUEST, Machine, Platform, Start

SCHEMA = 1

MAX_BYTES = 8 * 2**20  # largest file: ten times as much as the largest of the project's
MAX_ROWS = 15_000  # most rows of a run: ten times as many as the project's have
MAX_LINE_BYTES = 64 * 2**10  # longest line; a row whose texts are all as long as may be is shorter

LARGEST = 10**18  # largest magnitude of a value: an exabyte, or 30 thousand million years

RANGES: Mapping[str, tuple[float, float]] = {
    "s": (0, 10**9), "bytes": (-(10**15), 10**15), "ratio": (-(10**6), 10**6), "count": (0, 10**9),
    "bool": (0, 1), "instructions": (0, 10**15),
}  # fmt: skip
"""Unit → smallest and largest value that a computer can give: 30 years, a petabyte."""

WHOLE_S = (
    *("start_to_first_byte_s", "ready_s", "load_and_start_s"),
    *("scale_wall_s", "scale_each_s"),
    *("gzip_s", "syscall_s", "fork_s"),
)
SHORTEST_S = 1e-10
"""Times of something whole, and less than any of them takes; a phase may be over at once."""

MAX_COUNT = 10**9  # largest number of a block, a repetition or a round, of processors and of MiB

TEXT_CHARS: Mapping[str, int] = {"text": 4000, "error": 4000}
"""Field → most characters, where it is not :data:`WORDS_CHARS`. The longest text so far: 1,024."""

WORDS_CHARS = 100  # most characters of a phase, a version, a kernel release; so far 45
FACT_CHARS = 300  # most characters of a fact of the computer

BROWSER_LAB, BROWSER_VM, V86 = "browser_lab", "browser-vm", "v86"
"""Experiment, platform and accelerator of what the browser lab's page saves. That platform is no
``Platform``: nothing that ran in a browser is ever set beside what runs on a host."""

ACCELERATORS = ("", "tcg", "kvm", "hvf", "whpx")  # QEMU's names; empty where nothing is emulated

RUNTIMES = frozenset(
    {"", "fork+exec", "unshare", "bubblewrap", "runc", RUNC_IN_A_GUEST}
    | {"crun", "youki", "runsc", "kata", "kata-runtime", "nvidia", "sysbox-runc"}
    | {"io.containerd.runc.v2", "io.containerd.kata.v2", "io.containerd.runsc.v1"}
)
"""What makes an instance. An engine's default runtime is taken, too, where the facts of the host
name it."""

_MOMENT = r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}"

FORMS: Mapping[str, str] = {
    "printable": rf"\A[^{UNPRINTABLE}]*\Z",
    "a time in UTC as in 2026-01-31T12:00:00Z": rf"\A{_MOMENT}Z\Z",
    "a time in UTC as in 2026-01-31T12:00:00.123Z": rf"\A{_MOMENT}\.[0-9]{{3}}Z\Z",
    "a run id as in 20260131T120000Z-0123ab": r"\A[0-9]{8}T[0-9]{6}Z-[0-9a-f]{6}\Z",
    "the name of an experiment": r"\A[A-Za-z_][A-Za-z0-9_]{0,63}\Z",
    "letters, digits and hyphens": r"\A[A-Za-z0-9-]{1,64}\Z",
    "a SHA-256 digest": r"\A(sha256:[0-9a-f]{1,64})?\Z",
}
"""What a text must be, in words → the regular expression."""
_PRINTABLE, _SECOND, _MILLISECOND, _RUN_ID, _EXPERIMENT, _HOST_ID, _DIGEST = FORMS

_TYPES: Mapping[str, str] = {
    "int": "a whole number", "float": "a number", "str": "a text", "bool": "true or false",
    "null": "null", "object": "an object", "array": "a list",
}  # fmt: skip


def parse(raw: bytes, named: frozenset[str] = frozenset()) -> Any:
    """One line (UTF-8): a ``Run``, a ``Row`` or an ``End``, told apart by its attribute ``kind``.

    ``named`` are runtimes that the facts of the computer name, see :func:`runtimes`. Raises
    ``ValueError``, which names the field and what is wrong with it.
    """
    import msgspec

    if len(raw) > MAX_LINE_BYTES:
        raise ValueError(f"it is longer than {MAX_LINE_BYTES:,} bytes")
    try:
        line = _decoder()(raw)
    except msgspec.ValidationError as error:
        raise ValueError(_in_words(str(error))) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"not JSON ({printable(str(error))})") from None
    if line.kind == "row":
        _coherent(line, named)
    elif line.kind == "run":
        _date("started_utc", line.started_utc)
    return line


def runtimes(host: Mapping[str, Any]) -> frozenset[str]:
    """The runtimes that facts of a computer name beside :data:`RUNTIMES`."""
    details: Mapping[str, Mapping[str, str]] = host.get("details", {})
    return frozenset(d["default_runtime"] for d in details.values() if "default_runtime" in d)


def rename_old_metrics(experiment: str, rows: Sequence[dict[str, Any]]) -> None:
    """Rows of older recordings are given the metric that they hold by today's definitions when they
    are read; no file is changed.

    There is one such rule. ``pss_bytes`` leaves the translator's code cache out;
    ``pss_with_code_cache_bytes`` counts it in. ``boot_speed`` used to count it in and to call the
    sum ``pss_bytes``; now it writes two rows for an emulated VM, the sum first. So in a recording
    of ``boot_speed`` that has no row ``pss_with_code_cache_bytes``, the ``pss_bytes`` of an
    emulated VM (``accel`` is ``tcg``) are ``pss_with_code_cache_bytes``. Whatever has no translator
    has no such cache either: there both are the same, and are recorded as ``pss_bytes``.
    """
    if experiment != "boot_speed":
        return
    if any(row["metric"] == "pss_with_code_cache_bytes" for row in rows):
        return
    for row in rows:
        if row["metric"] == "pss_bytes" and row["accel"] == "tcg":
            row["metric"] = "pss_with_code_cache_bytes"


def _coherent(row: Any, named: frozenset[str]) -> None:
    """Raise ``ValueError`` for what a type cannot say of a row.

    It has a value exactly when its status is ``"ok"``, and one that a computer can give.
    """
    _date("ts_utc", row.ts_utc)
    metric, value = row.metric, row.value
    if (row.status == "ok") != (value is not None):
        raise ValueError(f"value {value!r} does not fit status {row.status!r}")
    if metric not in METRICS:
        raise ValueError(f"unknown metric {metric!r}")
    low, high = RANGES[METRICS[metric]]
    low = SHORTEST_S if metric in WHOLE_S else low
    if value is not None and not low <= value <= high:
        raise ValueError(f"a value of {value!r:.40} {METRICS[metric]} for {metric} cannot be")
    if row.unit != METRICS[metric]:
        raise ValueError(f"unit: {metric} is given in {row.unit!r} instead of {METRICS[metric]}")
    if (row.platform == BROWSER_VM) != (row.accel == V86):
        raise ValueError(f"platform {row.platform!r} does not fit accelerator {row.accel!r}")
    if row.runtime not in RUNTIMES and row.runtime not in named:
        raise ValueError(f"unknown runtime {row.runtime!r}")


def _date(name: str, text: str) -> None:
    try:
        datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{name} is no date that exists: {text}") from None


@cache
def _decoder() -> Callable[[bytes], Any]:
    """Made at the first use, as msgspec takes long to import."""
    import msgspec

    run, row, end = kinds()
    return msgspec.json.Decoder(run | row | end).decode


@cache
def kinds() -> tuple[Any, Any, Any]:
    """The three kinds of lines as msgspec structs: run, row and end.

    ``docs/data-dictionary.md`` is made of what each field carries: its meaning in Markdown, its
    ``unit``, and its vocabulary (``words``, and ``or_else`` what cannot be listed).
    """
    import msgspec

    def text(limit: int, form: str = _PRINTABLE) -> Any:
        return Annotated[str, msgspec.Meta(max_length=limit, pattern=FORMS[form])]

    def one_of(words: Iterable[str]) -> Any:
        return Literal[tuple(str(word) for word in words)]

    def says(name: str, type_: Any, meaning: str, default: Any = ..., **more: Any) -> Any:
        """A field: its name, type and default, if it has one."""
        described = Annotated[type_, msgspec.Meta(description=meaning, extra_json_schema=more)]
        if default is absent:
            return (name, described | msgspec.UnsetType, absent)
        return (name, described) if default is ... else (name, described, default)

    def struct(kind: str, *fields: Any) -> Any:
        options: dict[str, Any] = {"tag_field": "kind", "tag": kind} if kind else {}
        made: Any = msgspec.defstruct(
            kind or "host", fields, kw_only=True, forbid_unknown_fields=True, gc=False, **options
        )
        made.kind = kind
        return made

    count = Annotated[int, msgspec.Meta(ge=0, le=MAX_COUNT)]
    whole = Annotated[int, msgspec.Meta(ge=-LARGEST, le=LARGEST)]
    broken = Annotated[float, msgspec.Meta(ge=-LARGEST, le=LARGEST)]
    size = Annotated[int, msgspec.Meta(ge=0, le=LARGEST)]
    load = Annotated[float, msgspec.Meta(ge=0, le=MAX_COUNT)]
    words, fact = text(WORDS_CHARS), text(FACT_CHARS)
    few = msgspec.Meta(max_length=32)
    facts: Any = Annotated[dict[words, fact], few]  # type: ignore[valid-type]
    details: Any = Annotated[dict[words, facts], few]  # type: ignore[valid-type]
    absent = msgspec.UNSET
    flag = one_of(("", "vmx", "svm"))
    accelerators, layers = one_of((*ACCELERATORS, V86)), Literal["", "mechanism", "product"]
    host = struct(
        "",
        says("host_id", text(64, _HOST_ID), "a name that tells nothing: 12 digits of a hash"),
        says("os", fact, "operating system and version", absent),
        says("kernel", fact, "release of the kernel", absent),
        says("arch", fact, "architecture, such as `x86_64`", absent),
        says("cpu", fact, "model of the processor", absent),
        says("cores", count, "logical processors", absent),
        says("memory_bytes", size, "memory of the computer", absent, unit="bytes"),
        says("virtualisation_flag", flag | None,
             "by which the processor offers to run VMs; null: not known", absent),
        says("virtualised", bool | None, "whether this system itself runs in a VM; null: not known",
             absent),
        says("cgroup_version", Literal[0, 1, 2],
             "version of the control groups; 0: none, or not known", absent),
        says("ksm", bool, "whether the kernel merges equal pages (KSM)", absent),
        says("governor", fact, "how the processor's frequency is chosen", absent),
        says("load_1min", load, "load average over a minute when the run began", absent),
        says("on_battery", bool | None, "whether it ran on battery; null: not known", absent),
        says("python", fact, "version of Python", absent),
        says("versions", facts, "engine, and vmcompare itself → version", absent),
        says("details", details, "engine → what its probe found, by name", absent),
    )  # fmt: skip
    run = struct(
        "run",
        says("schema", Literal[SCHEMA], "version of this format"),
        says("run_id", text(64, _RUN_ID), "names the run: time of its start, and chance"),
        says("experiment", text(64, _EXPERIMENT), "the experiment that made the rows"),
        says("started_utc", text(64, _SECOND), "start of the run"),
        says("rounds", count, "blocks that were planned"),
        says("host", host, "facts of the host, see below"),
    )
    row = struct(
        "row",
        says("ts_utc", text(64, _MILLISECOND), "when the row was written"),
        says("platform", one_of((*Platform, BROWSER_VM)),
             "what is compared; `browser-vm` never is"),
        says("metric", words, "what was measured, see below", or_else=["a metric"]),
        says("value", whole | broken | None, "the value; null where it failed",
             unit="as `unit` says"),
        says("unit", words, "the metric's unit", words=sorted({*METRICS.values()})),
        says("status", Literal["ok", "error"], "whether it was measured or failed"),
        says("provenance", Literal["measured"], "how the value came about"),
        says("block", count, "round, from 0: what is in one block is compared first"),
        says("rep", count, "repetition in its block, from 0; in phase `ramp` N instances"),
        says("is_warmup", bool, "whether it only warms up: kept, and never counted"),
        # Older recordings lack a column that was added since; a line never lacks the others.
        says("layer", layers, "a bare mechanism (`runc`, QEMU), or a product around it (Docker)",
             ""),
        says("warmth", one_of(Start), "how warm the instance was", str(Start.COLD)),
        says("runtime", words, "what makes the instance", "", words=sorted(RUNTIMES),
             or_else=["an engine's default runtime that `details` names"]),
        says("vmm", words, "virtual machine monitor and its version", ""),
        says("machine", one_of(Machine), "the computer that a VM pretends to be", ""),
        says("accel", accelerators,
             "what runs a VM's processor; `tcg` and `v86` are software emulation", ""),
        says("image_digest", text(71, _DIGEST), "digest of the image that was started", ""),
        says("guest_kernel", words, "release of the kernel that answers inside", ""),
        says("vcpus", count, "processors that the instance may use", 1),
        says("mem_limit_mib", count, "memory that the instance was given, or may use; 0: not told",
             0, unit="MiB"),
        says("network", bool, "whether the instance has a network", False),
        says("confinement", words, "how it is held or laid out, where that is not the ordinary way",
             ""),
        says("phase", words, "what of the metric this is; an experiment names its own", ""),
        says("order_in_block", count, "place in the shuffled block, from 0", 0),
        says("text", text(TEXT_CHARS["text"]), "what an observation or a probe read", ""),
        says("error", text(TEXT_CHARS["error"]), "why it failed", ""),
        # Nothing writes these into a row; where they stand, they must be those of the run.
        says("run_id", text(64, _RUN_ID), "as in the run", absent),
        says("host_id", text(64, _HOST_ID), "as in the host", absent),
        says("experiment", text(64, _EXPERIMENT), "as in the run", absent),
    )  # fmt: skip
    status = says("status", Literal["complete", "stopped", "failed"], "how the run ended")
    return run, row, struct("end", status)


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
        made = " (another version of vmcompare made it)" if field == "schema" else ""
        return f"unknown {field or 'kind'} {printable(found[1], 60)}{made}"
    form = next((words for words, regex in FORMS.items() if repr(regex) in what), "")
    if form:
        return f"{field} " + ("has control characters" if form == _PRINTABLE else f"is not {form}")
    if types := re.fullmatch(r"Expected `(.*)`, got `(.*)`", what):
        wanted = " or ".join(_TYPES.get(t, t) for t in types[1].split(" | "))
        return f"{field or 'it'} must be {wanted}, not {_TYPES.get(types[2], types[2])}"
    if found := re.fullmatch(r"Expected `(\w+)` (?:of length )?([<>]=) (\S+)", what):
        sense = {"<=": "at most", ">=": "at least"}[found[2]]
        of = {"str": " characters", "object": " entries"}.get(found[1], "")
        return f"{field} must be {sense} {float(found[3]):,.0f}{of}"
    return f"{field}: {what}" if field else what
