"""Lines ``a + b·N`` through the ramps of a view, and what follows from them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from vmcompare.evidence.claims import RAMPS_WANTED
from vmcompare.evidence.statistics import Interval, fitted_ramps, median_interval
from vmcompare.evidence.units import size
from vmcompare.evidence.view import Column, View, absent, failures
from vmcompare.experiments.guest_os.weigh import CODE_CACHE, DAEMONS
from vmcompare.sandbox import EMULATION, Platform, Series


@dataclass(frozen=True, slots=True)
class Fit:
    """The ramps of one series of one run.

    Attributes:
        column: the series and its rows.
        fixed: a, in bytes: median over the ramps.
        each: b, bytes for each instance: median over the ramps, with its interval.
        ramps: how many could be fitted.
    """

    column: Column
    fixed: float
    each: Interval
    ramps: int

    def at(self, n: float) -> float:
        """What ``n`` instances cost together by this line, in bytes."""
        return self.fixed + self.each.estimate * n

    def same_in(self, others: Sequence[Fit]) -> Fit | None:
        """The fit among ``others`` of the same series and run."""
        return next((other for other in others if other.column.key == self.column.key), None)


@lru_cache(maxsize=64)
def fits(view: View, metric: str, phase: str = "ramp") -> Sequence[Fit]:
    """A fit of each series that has a ramp with two different N; may be empty."""
    found = []
    for column in view.columns(metric, phase=phase):
        lines = fitted_ramps(column.rows).values()
        if lines:
            fixed = median_interval([line.intercept for line in lines]).estimate
            each = median_interval([line.slope for line in lines])
            found.append(Fit(column, fixed, each, len(lines)))
    return tuple(found)


def need_fits(view: View, metric: str) -> Sequence[Fit]:
    """:func:`fits`, at least one. Raises ``Unavailable``."""
    found = fits(view, metric)
    if not found:
        raise absent("ramp of instances")
    return found


def with_code_cache(view: View, fit: Fit) -> float:
    """b with the translator's code cache, in bytes: what this host really pays for each."""
    cache = fit.same_in(fits(view, "part_bytes", CODE_CACHE))
    return fit.each.estimate + (cache.each.estimate if cache else 0.0)


def daemons_bytes(view: View, run_id: str, n: int = 0) -> float | None:
    """PSS of the engine's daemons beside ``n`` containers, in one run: median over its ramps."""
    found = view.columns("part_bytes", phase=DAEMONS, rep=n, run_id=run_id)
    return found[0].median.estimate if found else None


def crossover(daemons: float, container: Fit, vm: Fit) -> float:
    """N* at which daemons and containers cost what the VMs cost; infinite where they never do."""
    dearer = vm.each.estimate - container.each.estimate
    return (daemons + container.fixed - vm.fixed) / dearer if dearer > 0 else math.inf


def star_words(star: float) -> str:
    """N* in words, to stand behind "paid back": below one instance it has no meaning as a count."""
    if math.isinf(star):
        return "never"
    return "from the first" if star <= 1 else f"from N* = {star:.1f}"


def product(found: Sequence[Fit]) -> Fit | None:
    """The fit of Docker's containers, or ``None``."""
    return next((f for f in found if f.column.series == Series(Platform.CONTAINER)), None)


def vms(found: Sequence[Fit], run_id: str) -> list[Fit]:
    """The VMs of one run."""
    return [f for f in found if f.column.series.platform.is_vm and f.column.run_id == run_id]


def span(interval: Interval) -> str:
    """The 95 % interval in brackets; nothing where one ramp gives none."""
    return f" [{interval.ends(size)}]" if interval.known else ""


def size_or_dash(each: Interval | None) -> str:
    """The estimate as a size; a dash where there is none."""
    return "–" if each is None else size(each.estimate)


def against_noise(each: Interval | None) -> str:
    """A figure that noise may have made, with what there is to tell: no instance costs less than
    nothing, so an interval that goes below zero shows noise."""
    if each is None:
        return "–"
    words = f"{size(each.estimate)}{span(each)}".replace("-", "−")
    if not each.known:
        return f"{words} (one ramp: noise not known)"
    return f"{words}: not told from noise" if each.low <= 0 else words


def caption(view: View, found: Sequence[Column], *extra: str) -> str:
    """Provenance, what was emulated and what that means for a size, failures, few ramps."""
    there = [column for column in found if column.n]
    said = [f"{view.caption()}."] if view.sources else []
    emulated = list(dict.fromkeys(g.series.label for g in there if g.emulated))
    if emulated:
        said.append(
            f"Under {EMULATION}: {', '.join(emulated)}; the emulator then also holds tables of its "
            "translator, so these sizes are upper bounds."
        )
    said += [sentence for sentence in extra if sentence]
    if failed := failures(found):
        said.append(f"Failed, counted but not drawn: {failed}.")
    few = {
        g.series.label: g.rows["block"].nunique()
        for g in there
        if g.rows["block"].nunique() < RAMPS_WANTED
    }
    if few:
        counts = ", ".join(f"{name} {count}" for name, count in few.items())
        said.append(f"Fewer than the {RAMPS_WANTED} rounds a verdict takes: {counts}.")
    return " ".join(said)
