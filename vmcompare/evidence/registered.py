"""The claims as ``data/claims.csv`` registers them: one line a part, before anything is measured.

Columns: ``id, part, kind, rule, estimand, bound, lesson, says, quote, caveats``. What the rules
mean is told in :mod:`vmcompare.evidence.claims`, the estimand's language in
:mod:`vmcompare.evidence.estimand`.
"""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from vmcompare.errors import RecordingError
from vmcompare.evidence.estimand import Facts, Quantity, parse, quantity
from vmcompare.paths import data_dir

COLUMNS = (
    "id", "part", "kind", "rule", "estimand", "bound", "lesson", "says", "quote", "caveats",
)  # fmt: skip


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
        estimand: what is estimated (:mod:`vmcompare.evidence.estimand`).
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
