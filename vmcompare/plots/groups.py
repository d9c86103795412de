"""Rows of a view, series by series, and the words that go with them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from vmcompare.errors import Unavailable
from vmcompare.evidence.claims import EMULATION
from vmcompare.evidence.statistics import Interval, doubts, median_interval, paired_ratio
from vmcompare.evidence.view import RECORDED, View
from vmcompare.plots.style import Series
from vmcompare.sandbox import Platform

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True)
class Group:
    """One series of one run.

    Attributes:
        series: which one.
        rows: its valid rows of one metric, in the order measured; may be empty.
        failed: how many runs failed.
        emulated: whether it ran under software emulation.
        shown: ``"measured"`` or ``"recorded"``.
        run_id: the run; groups are paired only within one.
    """

    series: Series
    rows: pd.DataFrame
    failed: int
    emulated: bool
    shown: str
    run_id: str

    @property
    def values(self) -> list[float]:
        """Its valid values, in the order measured."""
        return [float(value) for value in self.rows["value"]]

    @property
    def median(self) -> Interval:
        """Median with its interval. Raises ``ValueError`` when every run failed."""
        return median_interval(self.values)

    def label(self, *, mixed: bool) -> str:
        """Series, emulation and (where a figure mixes them) provenance."""
        words = [self.series.label]
        if self.emulated:
            words.append(EMULATION)
        if mixed:
            words.append(self.shown)
        return " · ".join(words)

    @property
    def provenance(self) -> str:
        """Measured or recorded, and whether emulated: for a row of a table."""
        return self.shown + (f", {EMULATION}" if self.emulated else "")

    def count(self) -> str:
        """``"n = 9, 1 failed"``."""
        failed = f", {self.failed} failed" if self.failed else ""
        return f"n = {len(self.rows)}{failed}"


@lru_cache(maxsize=64)
def groups(view: View, metric: str) -> Sequence[Group]:
    """The series of a view that tried ``metric``, in the course's order; warm-ups are left out."""
    frame = view.frame
    if frame.empty:
        return ()
    tried = frame[(frame["metric"] == metric) & ~frame["is_warmup"].astype(bool)]
    # Only a container's bare mechanism is told apart by its runtime (the product's is a detail).
    bare = (tried["platform"] == str(Platform.CONTAINER)) & (tried["layer"] == "mechanism")
    runtime = tried["runtime"].where(bare, "").fillna("")
    found = []
    keys = [tried["platform"], tried["machine"].fillna(""), runtime, tried["run_id"]]
    for key, rows in tried.groupby(keys, sort=False):
        platform, machine, name, run_id = map(str, key)
        valid = rows[rows["status"] == "ok"]
        found.append(
            Group(
                Series(Platform(platform), machine, name),
                valid,
                len(rows) - len(valid),
                bool((rows["accel"] == "tcg").any()),
                str(rows["shown"].iloc[0]),
                run_id,
            )
        )
    return tuple(sorted(found, key=lambda group: (group.series.order, group.shown == RECORDED)))


def need(view: View, metric: str, what: str) -> Sequence[Group]:
    """:func:`groups` of ``metric``, at least one of them with a valid value.

    Raises:
        Unavailable: there is none; ``what`` names what is missing ("a start").
    """
    found = groups(view, metric)
    if not any(len(group.rows) for group in found):
        failed = sum(group.failed for group in found)
        tail = f" (all {failed} runs failed)" if failed else ""
        raise Unavailable(
            f"there is no {what} to show{tail}", "run the measurement, or load a recording of it"
        )
    return found


def mixed(found: Sequence[Group]) -> bool:
    """Whether this session's own rows and recorded ones stand side by side."""
    return len({group.shown for group in found}) > 1


def ratio(above: Group, below: Group) -> Interval | None:
    """Paired ratio of two series (:func:`stats.paired_ratio`); ``None`` unless of one run."""
    if above.run_id != below.run_id:
        return None
    sides = [
        {int(str(block)): rows["value"].tolist() for block, rows in group.rows.groupby("block")}
        for group in (above, below)
    ]
    both = sorted(set(sides[0]) & set(sides[1]))
    return paired_ratio([(sides[0][b], sides[1][b]) for b in both]) if both else None


def container(found: Sequence[Group]) -> Group | None:
    """The container series everything is set against: the product (``docker run``), or ``None``."""
    for group in found:
        if group.series == Series(Platform.CONTAINER) and len(group.rows):
            return group
    return None


def caption(view: View, found: Sequence[Group], *extra: str) -> str:
    """Provenance, then :func:`warnings`: what stands under a figure of measured values."""
    where = f"{view.caption()}. " if view.sources else ""
    return (where + warnings(found, *extra)).strip()


def warnings(found: Sequence[Group], *extra: str) -> str:
    """What is emulated, failed runs, ``extra`` and doubts, one sentence each; may be empty."""
    there = [group for group in found if len(group.rows)]
    sentences = []
    emulated = [group.series.label for group in there if group.emulated]
    if emulated:
        sentences.append(
            f"Under {EMULATION}: {', '.join(emulated)}; such times tell how slow the emulator is, "
            "not how slow a VM is."
        )
    failed = [f"{group.series.label} {group.failed}" for group in found if group.failed]
    if failed:
        sentences.append(f"Failed runs, counted but not drawn: {', '.join(failed)}.")
    sentences += [sentence for sentence in extra if sentence]
    few: dict[str, list[str]] = {}
    doubted: dict[str, list[str]] = {}
    for group in there:
        wanted = 10 if group.series.platform.is_vm else 30
        if len(group.rows) < wanted:
            few.setdefault(f"{len(group.rows)} of {wanted}", []).append(group.series.label)
        for why in doubts(group.values, wanted=0):
            doubted.setdefault(why, []).append(group.series.label)
    if few:
        counts = "; ".join(f"{count}: {', '.join(names)}" for count, names in few.items())
        sentences.append(f"Too few runs for a verdict ({counts}).")
    sentences += [f"In doubt, {why}: {', '.join(names)}." for why, names in sorted(doubted.items())]
    return " ".join(sentences)
