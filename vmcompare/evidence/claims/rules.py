"""The registered claims, as ``data/claims.csv`` has them, and the language of what they estimate.

The table has one line a part, written before it was measured (those of T1a to T1e, T1g and T1h
when runs were known). Its columns are ``id, part,
kind, rule, estimand, bound, lesson, says, quote, caveats, others``. What the rules mean is told in
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
:class:`vmcompare.evidence.claims.Undecided`.

A fact is a row with metric ``fact``, its name in ``phase`` and 1 or 0 as its value;
``data/facts.csv`` has the words for it. A fact that the same table says is *counted* has no row of
its own: two counts of the recording are set against each other (``metric: side / side``). It holds
where they are equal and not where the first is 0.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cache

from vmcompare.evidence.published import Figure, cited, table
from vmcompare.evidence.units import METRICS, NAMES
from vmcompare.sandbox import Machine, Platform, Start

ARTICLE = (
    "“Docker vs Virtual Machine (VM): Understanding the Differences”, Geekflare "
    "(author and date not known to us)"
)
"""The article under test, as it is named wherever its sentences are quoted."""

COLUMNS = (
    "id", "part", "kind", "rule", "estimand", "bound", "lesson", "says", "quote", "caveats",
    "others",
)  # fmt: skip

LAYERS = ("product", "mechanism")  # what may follow a "+" besides the name of a runtime

RAMP = "ramp"  # the phase of rows whose value is what N instances cost together ("rep" is N)
ONE_ALONE = "one alone"  # what a side says instead of a phase for the rows of a ramp with N = 1
RAMPS_WANTED = 3  # ramps of each series without which a slope is at best supported with caveats

EXACT = "image_bytes"  # exact byte counts do not vary from run to run, so one is enough


class ClaimKind(StrEnum):
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


# ---- the language of the estimands --------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Side:
    """One series of a recording; ``None`` leaves a column open (see the module's text).

    ``how`` is a layer, or the name of a runtime on the layer ``mechanism``.
    """

    platform: Platform
    machine: str | None = None
    how: str | None = None
    warmth: str | None = None
    phase: str | None = None

    def __str__(self) -> str:
        phase = None if self.phase == RAMP else self.phase
        if phase and phase.isdigit():
            phase = "one" if phase == "1" else f"{phase} at once"
        limits = ", ".join(filter(None, (self.machine, self.how, self.warmth, phase)))
        return f"{self.platform} ({limits})" if limits else str(self.platform)


@dataclass(frozen=True, slots=True)
class Quantity:
    """What a ratio, slope or bound rule estimates: a series, or one ``above`` another ``below``.

    ``at_least``: whether the claim is that it reaches the bound (else: stays under it).
    """

    metric: str
    above: Side
    below: Side | None
    at_least: bool = False

    @property
    def sides(self) -> tuple[Side, ...]:
        return (self.above, self.below) if self.below else (self.above,)

    @property
    def unit(self) -> str:
        """``"ratio"`` of two sides, else the metric's unit (a name ends in its unit)."""
        ending = self.metric.rpartition("_")[2]
        return "ratio" if self.below else METRICS.get(self.metric, ending)

    @property
    def name(self) -> str:
        """The metric in words, where there are any."""
        return NAMES.get(self.metric, self.metric)

    def __str__(self) -> str:
        one_more = " for one more" if self.above.phase == RAMP else ""
        return f"{self.name}{one_more}, {' ÷ '.join(map(str, self.sides))}"


@dataclass(frozen=True, slots=True)
class Observations:
    """Named observations; ``terms`` are ``(name, wanted)``, ``mode`` is all, graded or split."""

    mode: str
    terms: tuple[tuple[str, bool], ...]


@dataclass(frozen=True, slots=True)
class Estimand:
    """A parsed estimand: what must hold for the measurement to count, and what is measured."""

    control: Observations | None
    body: Quantity | Observations

    @property
    def fact_names(self) -> list[str]:
        facts = [part for part in (self.control, self.body) if isinstance(part, Observations)]
        return [name for part in facts for name, _ in part.terms]

    @property
    def quantities(self) -> list[Quantity]:
        """What it estimates, and the counts that its facts are made of."""
        of_facts = [counts for name in self.fact_names if (counts := counted(name))]
        return of_facts if isinstance(self.body, Observations) else [self.body, *of_facts]


def parse(text: str) -> Estimand:
    """Read an estimand.

    Raises ``ValueError``: ``text`` is not in the language above; the message says which piece.
    """
    control: Observations | None = None
    body = text.strip()
    if body.startswith("control:"):
        first, _, body = body.partition(";")
        control = Observations("all", _terms(first.removeprefix("control:")))
    body = body.strip()
    mode, _, rest = body.partition(":")
    if mode in ("all", "graded", "split"):
        return Estimand(control, Observations(mode, _terms(rest)))
    return Estimand(control, quantity(body))


def quantity(text: str) -> Quantity:
    """Read the body of a ratio, slope or bound rule. Raises ``ValueError`` like :func:`parse`."""
    at_least = text.startswith("at least:")
    head, colon, sides = text.removeprefix("at least:").strip().partition(":")
    metric = head.strip()
    above, slash, below = sides.partition("/")
    if not colon or not re.fullmatch("[a-z0-9_]+", metric):
        raise ValueError(f"no 'metric: side' in {text!r}")
    return Quantity(metric, _side(above), _side(below) if slash else None, at_least)


_SIDE = re.compile(
    r"(?P<platform>[a-z-]+)(?:@(?P<machine>[a-z0-9]+))?(?:\+(?P<how>[a-z]+))?"
    r"(?:~(?P<warmth>[a-z-]+))?(?:\((?P<phase>[^)]+)\))?"
)


def _side(text: str) -> Side:
    found = _SIDE.fullmatch(text.strip())
    if not found or found["platform"] not in set(Platform):
        raise ValueError(f"{text.strip()!r} is not a platform[@machine][+how][~warmth][(phase)]")
    if found["machine"] is not None and found["machine"] not in set(Machine):
        raise ValueError(f"{found['machine']!r} is not a machine")
    if found["warmth"] is not None and found["warmth"] not in set(Start):
        raise ValueError(f"{found['warmth']!r} is not a warmth")
    return Side(Platform(found["platform"]), *found.group("machine", "how", "warmth", "phase"))


def _terms(text: str) -> tuple[tuple[str, bool], ...]:
    names = [name.strip() for name in text.split("&")]
    for name in names:
        if not re.fullmatch("!?[a-z0-9_]+", name):
            raise ValueError(f"{name!r} is not the name of a fact")
    return tuple((name.lstrip("!"), not name.startswith("!")) for name in names)


# ---- the table ----------------------------------------------------------------------------------


class CaveatKind(StrEnum):
    """What an entry of the caveats column is; see :mod:`vmcompare.evidence.claims`."""

    ARM = "arm"
    FACT = "fact"
    ALWAYS = "always"
    TEXT = "text"
    BESIDE = "beside"


@dataclass(frozen=True, slots=True)
class Caveat:
    """One entry of the caveats column.

    ``text`` is of ``always`` and ``text`` what is said, of ``fact`` its name, else as written;
    ``quantity`` is of ``arm`` and ``beside``; ``bound`` of an ``arm`` that has one of its own.
    """

    kind: CaveatKind
    text: str
    quantity: Quantity | None = None
    bound: float | None = None


def caveat(entry: str) -> Caveat:
    """Read an entry of the caveats column. Raises ``ValueError`` like :func:`parse`."""
    word, _, rest = (piece.strip() for piece in entry.partition(":"))
    if word in (CaveatKind.FACT, CaveatKind.ALWAYS, CaveatKind.TEXT):
        return Caveat(CaveatKind(word), rest)
    if word == "published":
        return Caveat(CaveatKind.TEXT, str(cited(rest)))
    if word == CaveatKind.BESIDE:
        return Caveat(CaveatKind.BESIDE, rest, quantity(rest))
    if own := re.fullmatch(r"below (\d+): (.+)", entry):
        return Caveat(CaveatKind.ARM, entry, quantity(own[2]), float(own[1]))
    return Caveat(CaveatKind.ARM, entry, quantity(entry))


@dataclass(frozen=True, slots=True)
class Claim:
    """One part of one claim: a line of ``data/claims.csv``.

    Attributes:
        id: the row of the course's final table (``"F2"``); parts of one claim share it.
        estimand: what is estimated; ``None`` for a judgement beside which nothing is measured.
        bound: θ, in the estimand's unit; ``None`` for facts and judgements.
        lessons: numbers of the lessons that measure it (``"04"``, ``"05a"``).
        says: what they claim, in plain words; of several parts each says after a colon which it is.
        quote: the article's own sentences.
        others: what others measured with hardware virtualisation.
    """

    id: str
    part: str
    kind: ClaimKind
    rule: Rule
    estimand: Estimand | None
    bound: float | None
    lessons: tuple[str, ...]
    says: str
    quote: str
    caveats: tuple[Caveat, ...]
    others: tuple[Figure, ...] = ()

    @property
    def name(self) -> str:
        """Its id and part: ``"F2 start"``."""
        return f"{self.id} {self.part}"

    @property
    def quantity(self) -> Quantity | None:
        """What is estimated; ``None`` for facts and for plain judgements."""
        body = self.estimand.body if self.estimand else None
        return body if isinstance(body, Quantity) else None

    @property
    def against_a_process(self) -> bool:
        """Whether something is compared with a plain process, which the article never does."""
        below = self.quantity.below if self.quantity else None
        return below is not None and below.platform is Platform.PROCESS


def quoted(text: str) -> bool:
    """Whether a sentence of the article stands in a text, however its lines are broken."""
    words = " ".join(text.split())
    return any(" ".join(claim.quote.split()) in words for claim in load())


@cache
def load() -> tuple[Claim, ...]:
    """The registered claims, in the order of ``data/claims.csv``.

    Raises ``RecordingError``: it is missing, or a line of it cannot be read (which, and why).
    """
    return table("claims.csv", COLUMNS, _claim)


def _claim(row: Mapping[str, str]) -> Claim:
    def several(column: str) -> list[str]:
        return [entry.strip() for entry in row[column].split(";") if entry.strip()]

    return Claim(
        id=row["id"],
        part=row["part"],
        kind=ClaimKind(row["kind"]),
        rule=Rule(row["rule"]),
        estimand=parse(row["estimand"]) if row["estimand"] else None,
        bound=float(row["bound"]) if row["bound"] else None,
        lessons=tuple(row["lesson"].split()),
        says=row["says"],
        quote=row["quote"],
        caveats=tuple(map(caveat, several("caveats"))),
        others=tuple(map(cited, several("others"))),
    )


@cache
def _facts() -> Mapping[str, tuple[str, Quantity | None]]:
    def fact(row: Mapping[str, str]) -> tuple[str, tuple[str, Quantity | None]]:
        return row["name"], (row["words"], quantity(row["counted"]) if row["counted"] else None)

    return dict(table("facts.csv", ("name", "words", "counted"), fact))


def words_of_fact(name: str) -> str:
    """A fact in words, as ``data/facts.csv`` has it; else its name with spaces."""
    return _facts()[name][0] if name in _facts() else name.replace("_", " ")


def counted(name: str) -> Quantity | None:
    """The two counts that a fact is made of; ``None`` where it is a row of its own."""
    return _facts()[name][1] if name in _facts() else None
