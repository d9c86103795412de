"""Lines ``fixed + each · N`` through the ramps of a view, and what follows from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import fmean

from vmcompare.evidence.statistics import Interval, fitted_ramps, median_interval
from vmcompare.evidence.view import Column, View, absent
from vmcompare.experiments.guest_os.measure import CODE_CACHE, DAEMONS, PARTS
from vmcompare.sandbox import Platform, Series


@dataclass(frozen=True, slots=True)
class Fit:
    """The ramps of one series of one run.

    Attributes:
        column: the series and its rows.
        fixed: what is there once, in bytes: median over the ramps, with its interval.
        each: bytes of one more instance: median over the ramps, with its interval.
    """

    column: Column
    fixed: Interval
    each: Interval

    @property
    def series(self) -> Series:
        return self.column.series

    @property
    def is_docker(self) -> bool:
        """Whether daemons serve them: containers, but not those of bare runtimes."""
        return self.series == Series(Platform.CONTAINER)

    def at(self, n: float) -> float:
        """What ``n`` instances cost together by this line, in bytes."""
        return self.fixed.estimate + self.each.estimate * n


@lru_cache(maxsize=64)
def fits(view: View, metric: str, phase: str = "ramp") -> Sequence[Fit]:
    """A fit of each series that has a ramp with two different N; may be empty."""
    found = []
    for column in view.columns(metric, phase=phase):
        lines = fitted_ramps(column.rows).values()
        if lines:
            fixed = median_interval([line.intercept for line in lines])
            each = median_interval([line.slope for line in lines])
            found.append(Fit(column, fixed, each))
    return tuple(found)


def need_fits(view: View, metric: str) -> Sequence[Fit]:
    """:func:`fits`, at least one. Raises ``Unavailable``."""
    found = fits(view, metric)
    if not found:
        raise absent("ramp of instances")
    return found


def of_column(found: Sequence[Fit], column: Column) -> Fit | None:
    """The fit of the same series and run as ``column``."""
    return next((fit for fit in found if fit.column.key == column.key), None)


def container(found: Sequence[Fit]) -> Fit | None:
    """The fit of Docker's containers, or ``None``."""
    return next((fit for fit in found if fit.is_docker), None)


def vms(found: Sequence[Fit], run_id: str) -> Sequence[Fit]:
    """The VMs of one run."""
    return [fit for fit in found if fit.series.platform.is_vm and fit.column.run_id == run_id]


def parts(view: View, fit: Fit) -> Mapping[str, float]:
    """Part → bytes of it in one more instance; together they are ``fit.each``. May be empty.

    They are the slopes of the ramp that gives the median (the mean of two, where two give it):
    medians of their own would not add up.
    """
    totals = {block: line.slope for block, line in fitted_ramps(fit.column.rows).items()}
    rising = sorted(totals, key=totals.__getitem__)
    middle = rising[(len(rising) - 1) // 2 : len(rising) // 2 + 1]
    found = {}
    for part in PARTS:
        column = fit.column.same_in(view.columns("part_bytes", phase=part))
        ramps = fitted_ramps(column.rows) if column and part != CODE_CACHE else {}
        if ramps.keys() >= set(middle):
            found[part] = fmean(ramps[block].slope for block in middle)
    return found


def daemons_bytes(view: View, run_id: str) -> Mapping[int, float]:
    """N → PSS of the engine's daemons beside N containers in one run: median over its ramps."""
    found = view.columns("part_bytes", phase=DAEMONS, run_id=run_id)
    return found[0].medians("rep") if found else {}
