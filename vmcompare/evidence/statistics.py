"""Medians with intervals, paired ratios, and doubts about a result."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from statistics import LinearRegression

    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    from vmcompare.sandbox import Platform

CONFIDENCE = 0.95
RESAMPLES = 9_999
SEED = 20_26  # seed of every bootstrap: the same recording always gives the same interval

INTERVAL_FROM = 6
"""Fewer values have no 95 % interval: n independent values all lie on the same side of the true
median with a probability of 2 · 2^(−n), whatever their distribution. So even their whole range
holds it in 94 % of cases for n = 5 and in 97 % for n = 6. The bootstrap gives that range anyway."""


def runs_wanted(platform: Platform) -> int:
    """Runs without which an estimate is at best supported with caveats: 10 of a VM, else 30."""
    return 10 if platform.is_vm else 30


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate with its 95 % interval, or below six values their range, in its own unit.

    ``low`` and ``high`` are infinite (no information) of one value alone.
    """

    estimate: float
    low: float
    high: float
    n: int

    @property
    def known(self) -> bool:
        """Whether there were values enough for an interval."""
        return math.isfinite(self.low) and math.isfinite(self.high)

    @property
    def kind(self) -> str:
        """``"95 % interval"``, or ``"range of 3"`` where there were too few values for one."""
        return f"range of {self.n}" if self.n < INTERVAL_FROM else "95 % interval"

    def ends(self, written: Callable[[float], str], between: str = " – ") -> str:
        """``"1.20 s – 1.40 s"``; empty where there is no interval.

        ``written`` writes a value with its unit: one of :mod:`vmcompare.evidence.units`.
        """
        return f"{written(self.low)}{between}{written(self.high)}" if self.known else ""

    def words(self, written: Callable[[float], str], one: str = "") -> str:
        """``"95 % interval: 1.20 s to 1.40 s"``, ``"range of 3: …"``, or ``"no interval"``.

        ``one`` says what one alone gives no interval ("run", "block").
        """
        if not self.known:
            return f"no interval from one {one}" if one else "no interval"
        return f"{self.kind}: {self.ends(written, ' to ')}"


def median_interval(values: Sequence[float] | NDArray[np.float64]) -> Interval:
    """Median of ``values`` (shape ``(n,)``) with a seeded percentile bootstrap interval.

    Raises ``ValueError`` where there is none, or something that is not finite.
    """
    return _median_interval(tuple(map(float, values)))


@lru_cache(maxsize=1024)
def _median_interval(values: tuple[float, ...]) -> Interval:
    """Cached: figure, alternative text, table and finding ask for the same values."""
    import numpy as np

    data = np.asarray(values, dtype=float)
    if data.size == 0 or not np.isfinite(data).all():
        raise ValueError("a median needs at least one value, all of them finite")
    middle = float(np.median(data))
    if data.size < 2:
        return Interval(middle, -np.inf, np.inf, 1)
    if np.ptp(data) == 0:
        return Interval(middle, middle, middle, int(data.size))
    # As scipy.stats.bootstrap(…, method="percentile") does it, number for number.
    chosen = np.random.default_rng(SEED).integers(0, data.size, (RESAMPLES, data.size))
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(np.median(data[chosen], axis=-1), [tail, 1 - tail])
    return Interval(middle, float(low), float(high), int(data.size))


def paired_ratio(blocks: Sequence[tuple[Sequence[float], Sequence[float]]]) -> Interval:
    """Ratio of paired blocks: per block median(numerators) ÷ median(denominators), then the median.

    ``blocks`` has one ``(numerators, denominators)`` a block; a block where either is empty (a
    failed start) is left out, and not counted in ``n``. Raises ``ValueError`` if none is left.
    """
    import numpy as np

    ratios = [
        float(np.median(above)) / float(np.median(below))
        for above, below in blocks
        if len(above) and len(below)
    ]
    if not ratios:
        raise ValueError("no block has a value on both sides")
    return median_interval(ratios)


def by_block(rows: pd.DataFrame) -> dict[int, list[float]]:
    """Block → the values of its rows, in their order."""
    found: dict[int, list[float]] = {}
    for block, value in zip(rows["block"].tolist(), rows["value"].tolist(), strict=True):
        found.setdefault(int(block), []).append(value)
    return found


def fitted_ramps(rows: pd.DataFrame) -> dict[int, LinearRegression]:
    """Block (one ramp) → the least-squares line through its rows, where it has two different N.

    ``rows`` have the columns ``block``, ``rep`` (N, a number of instances) and ``value``; the line
    has an ``intercept`` and a ``slope``, in the unit of the values.
    """
    from statistics import linear_regression

    values, counts = by_block(rows), by_block(rows.assign(value=rows["rep"].astype(float)))
    return {
        block: linear_regression(counts[block], values[block])
        for block in sorted(values)
        if len(set(counts[block])) >= 2
    }


def doubts(values: Sequence[float] | NDArray[np.float64]) -> tuple[str, ...]:
    """Why the median of a series (shape ``(n,)``, in the order measured) is in doubt, as clauses.

    A wide interval: more than a quarter of the median to either side. A drift: a trend in time with
    p < 0.01, and the last third at least 10 % away from the first.
    """
    import numpy as np

    data = np.asarray(values, dtype=float)
    found: list[str] = []
    if data.size >= 3:
        interval = median_interval(data)
        middle = interval.estimate
        if max(interval.high - middle, middle - interval.low) > abs(middle) / 4:
            found.append("the interval is wide")
    if data.size >= 9:
        third = data.size // 3
        first, last = float(np.median(data[:third])), float(np.median(data[-third:]))
        if abs(last - first) > abs(first) / 10 and trend(data) < 0.01:
            found.append("the values rose or fell steadily during the run")
    return tuple(found)


def trend(data: NDArray[np.float64]) -> float:
    """p of the Mann-Kendall test: how likely chance alone orders values as closely in time.

    Two-sided, by the normal distribution, with corrections for ties and for continuity.
    """
    import numpy as np

    n = data.size
    later = np.sign(data[None, :] - data[:, None])[np.triu_indices(n, 1)].sum()
    ties = np.unique(data, return_counts=True)[1]
    tied = (ties * (ties - 1) * (2 * ties + 5)).sum()
    spread = math.sqrt((n * (n - 1) * (2 * n + 5) - tied) / 18)
    return math.erfc(max(abs(later) - 1, 0) / spread / math.sqrt(2)) if spread else 1.0
