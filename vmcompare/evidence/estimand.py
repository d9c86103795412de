"""The language of ``data/claims.csv``: what is estimated, and which rows of a recording it takes.

::

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
(those are series of their own); ``container`` by itself is the product (``docker run``),
``container+runc`` and ``container+bubblewrap`` are that bare mechanism, and
``container+mechanism`` is whichever one a recording holds. Rows that do not belong to one series
are never pooled, and a ratio's sides both have a network or neither: see :class:`Unsettled`.

A fact is a row with metric ``fact``, its name in ``phase`` and 1 or 0 as its value.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vmcompare.evidence.statistics import Interval, median_interval, paired_ratio
from vmcompare.evidence.units import METRICS
from vmcompare.sandbox import Machine, Platform, Start

if TYPE_CHECKING:
    import pandas as pd

_METRIC = re.compile(r"[a-z0-9_]+")
_SIDE = re.compile(
    r"(?P<platform>[a-z-]+)(?:@(?P<machine>[a-z0-9]+))?(?:\+(?P<how>[a-z]+))?"
    r"(?:~(?P<warmth>[a-z-]+))?(?:\((?P<phase>[^)]+)\))?"
)
_FACT = re.compile(r"!?[a-z0-9_]+")

# What makes two rows of one platform unlike: their values must not meet in one median.
_ONE_SERIES = (
    "machine", "layer", "runtime", "accel", "warmth", "network", "vcpus", "mem_limit_mib",
)  # fmt: skip


_NAMES = {
    "start_to_first_byte_s": "time to the first byte",
    "pss_bytes": "memory (PSS)",
    "overhead_bytes": "memory of what manages it",
    "image_bytes": "image size",
    "gzip_s": "time of gzip",
    "syscall_s": "time of a system call",
    "fork_s": "time of fork and exec",
    "guest_ram_to_limit_ratio": "guest RAM in use ÷ its limit",
    "host_cpu_to_vcpu_ratio": "host processor time ÷ (vCPUs × wall)",
}

LAYERS = ("product", "mechanism")
"""What may follow a ``+`` besides the name of a runtime."""

RAMP = "ramp"
"""The phase of rows whose value is what N instances cost together (``rep`` is N)."""

EXACT = "image_bytes"
"""The metric of exact byte counts: they do not vary from run to run, so one is enough."""


class Unsettled(ValueError):
    """There are rows, but no honest number can be made of them; the text says why."""


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


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number with what limits it.

    Attributes:
        interval: estimate and 95 % interval; ``interval.n`` counts runs, paired blocks or ramps.
        emulated: whether any row that went in ran under software emulation.
        runs: words for what went in ("10 blocks: 10 vm runs, 30 container runs").
        few: what there was too little of, or empty.
    """

    interval: Interval
    emulated: bool
    runs: str
    few: str


@dataclass(frozen=True, slots=True)
class Missing:
    """Why a quantity or a fact is not in a recording, as a clause.

    Attributes:
        why: the clause.
        lacking: whether rows of it are not there at all (else: they are, but failed or do not fit).
    """

    why: str
    lacking: bool = False


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


def _tried(frame: pd.DataFrame, wanted: Quantity, side: Side) -> pd.DataFrame:
    """Every row of one side in earnest (no warm-ups), failed ones too."""
    # First the two columns that leave few rows: this is asked hundreds of times of one recording.
    frame = frame[frame["metric"] == wanted.metric]
    frame = frame[frame["platform"] == str(side.platform)]
    keep = ~frame["is_warmup"].astype(bool)
    if side.machine is None:
        keep &= frame["machine"] != str(Machine.MICROVM)
    else:
        keep &= frame["machine"] == side.machine
    if side.how in LAYERS:
        keep &= frame["layer"] == side.how
    elif side.how is not None:
        keep &= (frame["layer"] == "mechanism") & (frame["runtime"] == side.how)
    elif side.platform is Platform.CONTAINER:
        keep &= frame["layer"] != "mechanism"
    if side.warmth is None:
        keep &= frame["warmth"] != str(Start.CLONE)
    else:
        keep &= frame["warmth"] == side.warmth
    if side.phase is None:
        keep &= frame["phase"] != RAMP
    else:
        keep &= frame["phase"] == side.phase
    return frame[keep]


def _valid(frame: pd.DataFrame, wanted: Quantity, side: Side) -> pd.DataFrame | Missing:
    tried = _tried(frame, wanted, side)
    valid = tried[tried["status"] == "ok"]
    if len(valid):
        for column in _ONE_SERIES:
            kinds = sorted(set(valid[column].fillna("").astype(str)))
            if len(kinds) > 1:
                raise Unsettled(
                    f"the rows of {side} differ in {column} ({', '.join(kinds)}), and unlike "
                    "series are never pooled"
                )
        return valid
    if len(tried):
        errors = tried["error"].value_counts()
        times = f"{len(tried)} of {len(tried)} runs of {side} failed"
        return Missing(f"{times}; most often: {errors.index[0] or 'no reason given'}")
    if not (frame["metric"] == wanted.metric).any():
        return Missing(f"this recording holds no {wanted.name}", lacking=True)
    missing = f"this recording holds no {wanted.name} of {side}"
    if (frame["platform"] == str(side.platform)).any():
        return Missing(missing, lacking=True)
    return Missing(f"{missing}: its engine is missing in this run", lacking=True)


def estimate(wanted: Quantity, frame: pd.DataFrame, *, slope: bool = False) -> Estimate | Missing:
    """Estimate ``wanted`` from the rows of one recording (columns: ``recording.COLUMNS``).

    One side: the median of its valid runs. Two sides: per block the median of the one ÷ the median
    of the other, then the median over the blocks that have both (:func:`stats.paired_ratio`).
    ``slope=True``: per block (one *ramp*) a least-squares line ``a + b·N`` through each side, where
    the row's ``rep`` is N, the number of instances, and its value what they cost together; ``b``,
    the marginal cost, takes the place of the medians. A ramp needs two different N.

    Raises:
        Unsettled: a side's rows do not belong to one series, only one side has a network, or the
            denominator of a slope does not grow with N.
    """
    sides = (wanted.above, *((wanted.below,) if wanted.below else ()))
    found: list[pd.DataFrame] = []
    for side in sides:
        rows = _valid(frame, wanted, side)
        if isinstance(rows, Missing):
            return rows
        found.append(rows)
    networks = {str(rows["network"].iloc[0]) for rows in found}
    if len(networks) > 1:
        raise Unsettled("one side has a network and the other has none")
    emulated = any(bool((rows["accel"] == "tcg").any()) for rows in found)
    if slope:
        return _slope(wanted, sides, found, emulated)
    blocks = [
        {int(str(b)): g["value"].tolist() for b, g in rows.groupby("block")} for rows in found
    ]
    if wanted.below is None:
        interval = median_interval(found[0]["value"].to_numpy())
        used = set(blocks[0])
    else:
        used = set(blocks[0]) & set(blocks[1])
        if not used:
            return Missing(f"no block has a valid run of both {sides[0]} and {sides[1]}")
        interval = paired_ratio([(blocks[0][b], blocks[1][b]) for b in sorted(used)])
    counts = [sum(len(values[b]) for b in used) for values in blocks]
    short = [
        f"{count} {side} runs of {10 if side.platform.is_vm else 30}"
        for side, count in zip(sides, counts, strict=True)
        if count < (10 if side.platform.is_vm else 30)
    ]
    few = "" if wanted.metric == EXACT else " and ".join(short)
    if wanted.metric == EXACT and interval.n == 1:
        interval = Interval(interval.estimate, interval.estimate, interval.estimate, 1)
    runs = ", ".join(f"{count} {side} runs" for side, count in zip(sides, counts, strict=True))
    if wanted.below is not None:
        runs = f"{interval.n} blocks: {runs}"
    return Estimate(interval, emulated, runs, few)


def _slope(
    wanted: Quantity, sides: tuple[Side, ...], found: list[pd.DataFrame], emulated: bool
) -> Estimate | Missing:
    slopes = [_slopes(rows) for rows in found]
    used = sorted(set.intersection(*(set(s) for s in slopes)))
    if not used:
        return Missing(f"no ramp can be fitted for {' and '.join(map(str, sides))}")
    if wanted.below is None:
        interval = median_interval([slopes[0][b] for b in used])
    else:
        # Leaving such a ramp out would favour the ramps that fit; it settles nothing instead.
        if flat := [str(b) for b in used if slopes[1][b] <= 0]:
            raise Unsettled(
                f"the cost of {sides[1]} does not grow with N in ramp {', '.join(flat)}"
            )
        interval = paired_ratio([([slopes[0][b]], [slopes[1][b]]) for b in used])
    count = f"{len(used)} ramp{'' if len(used) == 1 else 's'}"
    few = f"{count} of 3" if len(used) < 3 else ""
    return Estimate(interval, emulated, count, few)


def _slopes(rows: pd.DataFrame) -> dict[int, float]:
    """Block (ramp) → b of the fitted ``a + b·N``, for each ramp with two different N."""
    from scipy.stats import linregress

    fitted: dict[int, float] = {}
    for block, ramp in rows.groupby("block"):
        if ramp["rep"].nunique() >= 2:
            line = linregress(ramp["rep"].to_numpy(float), ramp["value"].to_numpy(float))
            fitted[int(str(block))] = float(line.slope)
    return fitted


def observed(name: str, frame: pd.DataFrame) -> bool | Missing | None:
    """A fact of one recording: whether it held, ``None`` when its observations disagree."""
    tried = _probed((name,), frame)
    values = set(tried.loc[tried["status"] == "ok", "value"])
    if not values:
        if len(tried):
            return Missing(f"{len(tried)} of {len(tried)} probes of {name} failed")
        return Missing(f"this recording holds no observation of {name}", lacking=True)
    return bool(values.pop()) if len(values) == 1 else None


def concerned(wanted: Estimand, frame: pd.DataFrame) -> pd.DataFrame:
    """Every row in earnest that ``wanted`` looks at, failed ones and the control's too."""
    import pandas as pd

    body, found = wanted.body, []
    facts = [f for f in (wanted.control, body) if isinstance(f, Facts)]
    found.append(_probed([name for f in facts for name, _ in f.terms], frame))
    if isinstance(body, Quantity):
        found += [_tried(frame, body, side) for side in (body.above, body.below) if side]
    return pd.concat(found)


def _probed(names: Sequence[str], frame: pd.DataFrame) -> pd.DataFrame:
    """Every row in earnest of the named facts, failed ones too."""
    facts = frame[frame["metric"] == "fact"]
    return facts[~facts["is_warmup"].astype(bool) & facts["phase"].isin(names)]
