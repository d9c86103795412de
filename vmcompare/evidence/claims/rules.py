"""The registered claims, as ``data/claims.csv`` has them, and the language of what they estimate.

The table has one line a part, written before anything was measured. Its columns are ``id, part,
kind, rule, estimand, bound, lesson, says, quote, caveats``. What the rules mean is told in
:mod:`vmcompare.evidence.claims`. An estimand says what is estimated, and which rows of a recording
it takes::

    estimand := [ "control: " facts ";" ] body
    body     := [ "at least: " ] metric ": " side [ " / " side ]       (ratio, slope, bound)
              | ( "all" | "graded" | "split" ) ": " facts              (facts)
    side     := platform [ "@" machine ] [ "+" how ] [ "~" warmth ] [ "(" phase ")" ]
    how      := "product" | "mechanism" | runtime
    facts    := [ "!" ] name { " & " [ "!" ] name }

``start_to_first_byte_s: vm / container`` is the ratio of two series, ``start_to_first_byte_s:
container`` one series, ``host_bytes: vm(freed) / vm(peak)`` one series at two moments. A side
without a machine is every machine but ``microvm``, one without a warmth is every warmth but
``clone``, one without a phase is every phase but ``ramp``, whose values are sums over N instances
(those are series of their own); ``vm(one alone)`` is the first step of the ramps, the instance that
is there alone (N = 1); ``container`` by itself is the product (``docker run``),
``container+runc`` and ``container+bubblewrap`` are that bare mechanism, and
``container+mechanism`` is whichever one a recording holds. Rows that do not belong to one series
are never pooled, and a ratio's sides both have a network or neither: see
:class:`vmcompare.evidence.claims.Unsettled`.

A fact is a row with metric ``fact``, its name in ``phase`` and 1 or 0 as its value.
"""

from __future__ import annotations

import csv
import math
import re
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from vmcompare.errors import RecordingError
from vmcompare.evidence.units import METRICS
from vmcompare.paths import data_dir
from vmcompare.sandbox import Machine, Platform, Start

COLUMNS = (
    "id", "part", "kind", "rule", "estimand", "bound", "lesson", "says", "quote", "caveats",
)  # fmt: skip

LAYERS = ("product", "mechanism")
"""What may follow a ``+`` besides the name of a runtime."""

RAMP = "ramp"
"""The phase of rows whose value is what N instances cost together (``rep`` is N)."""

ONE_ALONE = "one alone"
"""What a side says instead of a phase for the rows of a ramp with N = 1."""

EXACT = "image_bytes"
"""The metric of exact byte counts: they do not vary from run to run, so one is enough."""


class Kind(StrEnum):
    """What a claim is about, which decides what emulation does to it."""

    FACT = "fact"
    SIZE = "size"
    TIME = "time"
    JUDGEMENT = "judgement"


class Rule(StrEnum):
    """How a claim is settled; see :mod:`vmcompare.evidence.claims`."""

    RATIO = "ratio"
    SLOPE = "slope"
    BOUND = "bound"
    FACTS = "facts"
    JUDGEMENT = "judgement"


@dataclass(frozen=True, slots=True)
class Claim:
    """One part of one claim: a line of ``data/claims.csv``.

    Attributes:
        id: the row of the course's final table (``"F2"``); parts of one claim share it.
        part: what this part looks at, one word or two.
        kind, rule: see the enums.
        estimand: what is estimated, in the language above.
        bound: θ, in the estimand's unit; ``None`` for facts and judgements.
        lessons: numbers of the lessons that measure it (``"04"``, ``"05a"``).
        says: the article's claim in our words.
        quote: the article's own sentences.
        caveats: the entries of the caveats column.
    """

    id: str
    part: str
    kind: Kind
    rule: Rule
    estimand: str
    bound: float | None
    lessons: tuple[str, ...]
    says: str
    quote: str
    caveats: tuple[str, ...]


def load(path: Path | None = None) -> tuple[Claim, ...]:
    """The registered claims, in the table's order.

    Args:
        path: another table; by default ``data/claims.csv``.

    Raises:
        RecordingError: the table is missing, or a line of it cannot be read (which, and why).
    """
    path = path or data_dir() / "claims.csv"
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            if tuple(reader.fieldnames or ()) != COLUMNS:
                raise RecordingError(path, 1, f"the columns are not {', '.join(COLUMNS)}")
            claims = []
            for row in reader:
                try:
                    claims.append(_claim(row))
                except (ValueError, AttributeError, TypeError) as error:
                    raise RecordingError(path, reader.line_num, str(error)) from error
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise RecordingError(path, 0, str(error)) from error
    names = [(claim.id, claim.part) for claim in claims]
    twice = sorted({f"{i} {p}" for i, p in names if names.count((i, p)) > 1})
    if twice:
        raise RecordingError(path, 0, f"more than one line for {', '.join(twice)}")
    return tuple(claims)


def _claim(row: dict[str, str]) -> Claim:
    if None in row or None in row.values():
        raise ValueError(f"the line does not have {len(COLUMNS)} fields")
    claim = Claim(
        id=row["id"],
        part=row["part"],
        kind=Kind(row["kind"]),
        rule=Rule(row["rule"]),
        estimand=row["estimand"],
        bound=float(row["bound"]) if row["bound"] else None,
        lessons=tuple(row["lesson"].split()),
        says=row["says"],
        quote=row["quote"],
        caveats=tuple(c.strip() for c in row["caveats"].split(";") if c.strip()),
    )
    if not (claim.id and claim.says and claim.quote and claim.lessons):
        raise ValueError("id, lesson, says and quote must not be empty")
    if (claim.kind is Kind.JUDGEMENT) != (claim.rule is Rule.JUDGEMENT):
        raise ValueError("kind and rule are both judgement, or neither is")
    if claim.rule is Rule.JUDGEMENT:
        if claim.estimand:
            quantity(claim.estimand)
    else:
        body = parse(claim.estimand).body
        if isinstance(body, Facts) != (claim.rule is Rule.FACTS):
            raise ValueError(f"the estimand {claim.estimand!r} does not fit the rule {claim.rule}")
        if (claim.bound is None) != (claim.rule is Rule.FACTS):
            raise ValueError("facts have no bound; every other rule has one")
        if claim.rule is Rule.RATIO and isinstance(body, Quantity) and body.below is None:
            raise ValueError("a ratio has two sides")
        if claim.bound is not None and not math.isfinite(claim.bound):
            raise ValueError("the bound is not a finite number")
    for caveat in claim.caveats:
        word, _, rest = caveat.partition(":")
        if word not in ("fact", "always", "text"):
            quantity(rest.strip() if word == "beside" else caveat)
    return claim


# ---- the language of the estimands --------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Side:
    """One series of a recording; ``None`` leaves a column open (see the module's text).

    Attributes:
        how: a layer, or the name of a runtime on the layer ``mechanism``.
    """

    platform: Platform
    machine: str | None = None
    how: str | None = None
    warmth: str | None = None
    phase: str | None = None

    def __str__(self) -> str:
        return (
            self.platform
            + (f" ({self.machine})" if self.machine else "")
            + (f" ({self.how})" if self.how else "")
            + (f" ({self.warmth})" if self.warmth else "")
            + (f" ({self.phase})" if self.phase else "")
        )


@dataclass(frozen=True, slots=True)
class Quantity:
    """What a ratio, slope or bound rule estimates.

    Attributes:
        metric: name of the metric (of ``units.METRICS`` once a lesson measures it).
        above: the series, or the numerator.
        below: the denominator; ``None`` where there is none.
        at_least: whether the claim is that the quantity reaches the bound (else: stays under it).
    """

    metric: str
    above: Side
    below: Side | None
    at_least: bool = False

    @property
    def unit(self) -> str:
        """``"ratio"`` of two sides, else the metric's unit (a name ends in its unit)."""
        return (
            "ratio"
            if self.below
            else METRICS.get(self.metric, self.metric.rpartition("_")[2] or self.metric)
        )

    @property
    def name(self) -> str:
        """The metric in words, where there are any."""
        return _NAMES.get(self.metric, self.metric)

    def __str__(self) -> str:
        return f"{self.name}, {self.above}" + (f" ÷ {self.below}" if self.below else "")


@dataclass(frozen=True, slots=True)
class Facts:
    """Named observations; ``terms`` are ``(name, wanted)``, ``mode`` is all, graded or split."""

    mode: str
    terms: tuple[tuple[str, bool], ...]


@dataclass(frozen=True, slots=True)
class Estimand:
    """A parsed estimand: what must hold for the measurement to count, and what is measured."""

    control: Facts | None
    body: Quantity | Facts


def parse(text: str) -> Estimand:
    """Read an estimand.

    Raises:
        ValueError: ``text`` is not in the language above; the message says which piece.
    """
    control: Facts | None = None
    body = text.strip()
    if body.startswith("control:"):
        first, _, body = body.partition(";")
        control = Facts("all", _terms(first.removeprefix("control:")))
    body = body.strip()
    head, _, rest = body.partition(":")
    if head in ("all", "graded", "split"):
        return Estimand(control, Facts(head, _terms(rest)))
    return Estimand(control, quantity(body))


def quantity(text: str) -> Quantity:
    """Read the body of a ratio, slope or bound rule. Raises ``ValueError`` like :func:`parse`."""
    at_least = text.startswith("at least:")
    head, colon, sides = text.removeprefix("at least:").strip().partition(":")
    metric = head.strip()
    above, slash, below = sides.partition("/")
    if not colon or not _METRIC.fullmatch(metric):
        raise ValueError(f"no 'metric: side' in {text!r}")
    return Quantity(metric, _side(above), _side(below) if slash else None, at_least)


def _side(text: str) -> Side:
    found = _SIDE.fullmatch(text.strip())
    if not found or found["platform"] not in set(Platform):
        raise ValueError(f"{text.strip()!r} is not a platform[@machine][+how][~warmth][(phase)]")
    if found["machine"] is not None and found["machine"] not in set(Machine):
        raise ValueError(f"{found['machine']!r} is not a machine")
    if found["warmth"] is not None and found["warmth"] not in set(Start):
        raise ValueError(f"{found['warmth']!r} is not a warmth")
    return Side(
        Platform(found["platform"]),
        found["machine"],
        found["how"],
        found["warmth"],
        found["phase"],
    )


def _terms(text: str) -> tuple[tuple[str, bool], ...]:
    names = [name.strip() for name in text.split("&")]
    for name in names:
        if not _FACT.fullmatch(name):
            raise ValueError(f"{name!r} is not the name of a fact")
    return tuple((name.lstrip("!"), not name.startswith("!")) for name in names)


_METRIC = re.compile(r"[a-z0-9_]+")
_SIDE = re.compile(
    r"(?P<platform>[a-z-]+)(?:@(?P<machine>[a-z0-9]+))?(?:\+(?P<how>[a-z]+))?"
    r"(?:~(?P<warmth>[a-z-]+))?(?:\((?P<phase>[^)]+)\))?"
)
_FACT = re.compile(r"!?[a-z0-9_]+")

_NAMES = {
    "start_to_first_byte_s": "time to the first byte",
    "pss_bytes": "memory (PSS)",
    "pss_with_code_cache_bytes": "memory (PSS with the translator’s code cache)",
    "overhead_bytes": "memory of what manages it",
    "image_bytes": "image size",
    "gzip_s": "time of gzip",
    "syscall_s": "time of a system call",
    "fork_s": "time of fork and exec",
    "guest_ram_to_limit_ratio": "guest RAM in use ÷ its limit",
    "host_cpu_to_vcpu_ratio": "host processor time ÷ (vCPUs × wall)",
}
