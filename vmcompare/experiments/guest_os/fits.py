"""Lines ``a + b·N`` through the ramps of a view, and what follows from them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from vmcompare.errors import Unavailable
from vmcompare.evidence.claims import EMULATION, RAMPS_WANTED
from vmcompare.evidence.statistics import Interval, fitted_ramps, median_interval
from vmcompare.evidence.units import size
from vmcompare.evidence.view import View
from vmcompare.experiments.guest_os.weigh import CODE_CACHE, DAEMONS
from vmcompare.plots.groups import Group, groups
from vmcompare.plots.style import Series
from vmcompare.sandbox import Platform


@dataclass(frozen=True, slots=True)
class Fit:
    """The ramps of one series of one run.

    Attributes:
        group: the series and its rows.
        fixed: a, in bytes: median over the ramps.
        each: b, bytes for each instance: median over the ramps, with its interval.
        ramps: how many could be fitted.
    """

    group: Group
    fixed: float
    each: Interval
    ramps: int

    def at(self, n: float) -> float:
        """What ``n`` instances cost together by this line, in bytes."""
        return self.fixed + self.each.estimate * n


@lru_cache(maxsize=64)
def of_phase(view: View, phase: str) -> View:
    """The rows of one phase only."""
    frame = view.frame
    return replace(view, frame=frame[frame["phase"] == phase]) if len(frame) else view


@lru_cache(maxsize=64)
def fits(view: View, metric: str, phase: str = "ramp") -> Sequence[Fit]:
    """A fit of each series that has a ramp with two different N; may be empty."""
    found = []
    for group in groups(of_phase(view, phase), metric):
        lines = fitted_ramps(group.rows).values()
        if lines:
            fixed = median_interval([line.intercept for line in lines]).estimate
            each = median_interval([line.slope for line in lines])
            found.append(Fit(group, fixed, each, len(lines)))
    return tuple(found)


def need_fits(view: View, metric: str) -> Sequence[Fit]:
    """:func:`fits`, at least one. Raises ``Unavailable``."""
    found = fits(view, metric)
    if not found:
        raise Unavailable(
            "there is no ramp of instances to show",
            "run the measurement, or load a recording of it",
        )
    return found


def with_code_cache(view: View, fit: Fit) -> float:
    """b with the translator's code cache, in bytes: what this host really pays for each."""
    same = [f for f in fits(view, "part_bytes", CODE_CACHE) if is_same(f.group, fit.group)]
    return fit.each.estimate + (same[0].each.estimate if same else 0.0)


def daemons_bytes(view: View, run_id: str, n: int = 0) -> float | None:
    """PSS of the engine's daemons beside ``n`` containers, in one run: median over its ramps."""
    for group in groups(of_phase(view, DAEMONS), "part_bytes"):
        rows = group.rows[group.rows["rep"] == n]
        if group.run_id == run_id and len(rows):
            return median_interval([float(v) for v in rows["value"]]).estimate
    return None


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
    return next((f for f in found if f.group.series == Series(Platform.CONTAINER)), None)


def vms(found: Sequence[Fit], run_id: str) -> list[Fit]:
    """The VMs of one run."""
    return [f for f in found if f.group.series.platform.is_vm and f.group.run_id == run_id]


def is_same(one: Group, other: Group) -> bool:
    """Whether two groups are one series of one run."""
    return (one.series, one.run_id) == (other.series, other.run_id)


def span(interval: Interval) -> str:
    """The 95 % interval in brackets; nothing where one ramp gives none."""
    if not math.isfinite(interval.low):
        return ""
    return f" [{size(interval.low)} – {size(interval.high)}]"


def size_or_dash(each: Interval | None) -> str:
    """The estimate as a size; a dash where there is none."""
    return "–" if each is None else size(each.estimate)


def against_noise(each: Interval | None) -> str:
    """A figure that noise may have made, with what there is to tell: no instance costs less than
    nothing, so an interval that goes below zero shows noise."""
    if each is None:
        return "–"
    words = f"{size(each.estimate)}{span(each)}".replace("-", "−")
    if not math.isfinite(each.low):
        return f"{words} (one ramp: noise not known)"
    return f"{words}: not told from noise" if each.low <= 0 else words


def caption(view: View, found: Sequence[Group], *extra: str) -> str:
    """Provenance, what was emulated and what that means for a size, failures, few ramps."""
    there = [group for group in found if len(group.rows)]
    said = [f"{view.caption()}."] if view.sources else []
    emulated = list(dict.fromkeys(g.series.label for g in there if g.emulated))
    if emulated:
        said.append(
            f"Under {EMULATION}: {', '.join(emulated)}; the emulator then also holds tables of its "
            "translator, so these sizes are upper bounds."
        )
    said += [sentence for sentence in extra if sentence]
    failed = [f"{g.series.label} {g.failed}" for g in found if g.failed]
    if failed:
        said.append(f"Failed, counted but not drawn: {', '.join(failed)}.")
    few = {
        g.series.label: g.rows["block"].nunique()
        for g in there
        if g.rows["block"].nunique() < RAMPS_WANTED
    }
    if few:
        counts = ", ".join(f"{name} {count}" for name, count in few.items())
        said.append(f"Fewer than the {RAMPS_WANTED} rounds a verdict takes: {counts}.")
    return " ".join(said)
