"""How long a run takes: foretold from the project's recording, corrected while rows come.

The first block is foretold as the recording's first one (warm-ups, and what is measured once a run,
belong to it), every later block as the median of its later ones. The seconds that a run has taken
so far, divided by those foretold for the same rows, correct the rest, for each series by itself.
Where the recording lacks something that is going to be measured, there is no estimate.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from statistics import median

from vmcompare import engines
from vmcompare.evidence.recording import Measurement, Recording, readable, recordings
from vmcompare.measuring.experiment import Experiment, RunProgress, recordings_dir
from vmcompare.sandbox import Machine, Platform, Series

ENOUGH_S = 1.0
"""Seconds that must be foretold for rows before their measured time may correct the rest."""

BAR = "{l_bar}{bar}| {n_fmt}/{total_fmt} [{elapsed}{postfix}]"
"""How a bar of tqdm shows a run: without its own guess, to which all steps take equally long."""

Curve = Sequence[float]
"""Seconds that a series has been at work in a block, after each of its rows there."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How long one series is at work, in the first block of a recording and in every later one."""

    first: Curve
    later: Curve

    def whole_s(self, rounds: int) -> float:
        return self.until_s(rounds - 1, len(self.first if rounds == 1 else self.later))

    def until_s(self, block: int, rows: int) -> float:
        """Seconds until so many ``rows`` of ``block`` are written."""
        curve = self.later if block else self.first
        before = (_end(self.first) + (block - 1) * _end(self.later)) if block else 0.0
        return before + _end(curve[:rows])


@dataclass(frozen=True, slots=True)
class Forecast:
    """What is known of a run's time before it begins.

    ``paces`` are of each series that the recording has and this run is going to measure;
    ``unknown``, in words, is what the recording does not have; ``images``, with their seconds, is
    what has to be made first.
    """

    rounds: int
    paces: Mapping[Series, Pace]
    unknown: Sequence[str] = ()
    images: Sequence[tuple[str, float]] = ()

    @property
    def total_s(self) -> float | None:
        """Seconds of measuring, without images; ``None`` where they cannot be foretold."""
        if self.unknown or not self.paces:
            return None
        return sum(pace.whole_s(self.rounds) for pace in self.paces.values())

    def sentence(self) -> str:
        """For a learner, before the run."""
        if self.total_s is None:
            lacking = ", ".join(self.unknown) or "this experiment"
            said = f"There is no estimate of the time: no recording has {lacking}"
        else:
            rounds = f"{self.rounds} round{'s' if self.rounds > 1 else ''}"
            said = f"{about(self.total_s).capitalize()} for {rounds} on the computer that recorded"
        if self.images:
            names = " and ".join(words for words, _ in self.images)
            took_s = sum(took_s for _, took_s in self.images)
            said += f"; preparing {names} first, once, {about(took_s)}"
        return f"{said}."


def forecast(
    experiment: Experiment, rounds: int, platforms: Collection[Platform], runtimes: Collection[str]
) -> Forecast:
    """Foretell a run of what can be launched here by the experiment's newest recording."""
    found = recordings(recordings_dir(experiment.name), experiment.name)
    recorded = next(readable(found, experiment.name, []), None)
    paces = _paces(recorded, experiment) if recorded else {}
    paces = {s: pace for s, pace in paces.items() if _takes_part(s, platforms, runtimes)}
    known = {(series.platform, series.runtime) for series in paces}
    wanted = [(platform, "") for platform in Platform if platform in platforms]
    wanted += [(Platform.CONTAINER, runtime) for runtime in runtimes]
    lacking = [Series(p, runtime=r).label for p, r in wanted if (p, r) not in known]
    return Forecast(rounds, paces, lacking, engines.lacking_images(platforms))


def _takes_part(series: Series, platforms: Collection[Platform], runtimes: Collection[str]) -> bool:
    if series.platform is Platform.CONTAINER and series.machine is not Machine.NONE:
        return Platform.VM_DIRECT in platforms  # a container in that guest
    return series.runtime in runtimes if series.runtime else series.platform in platforms


def _paces(recorded: Recording, experiment: Experiment) -> dict[Series, Pace]:
    spent: dict[Series, dict[int, list[float]]] = {}
    before = datetime.fromisoformat(recorded.started_utc)
    for row in recorded.rows:
        at = datetime.fromisoformat(row["ts_utc"])
        series = Series.of(row["platform"], row["machine"], row["runtime"], row["layer"])
        curve = spent.setdefault(series, {}).setdefault(row["block"], [])
        curve.append(_end(curve) + max(0.0, (at - before).total_seconds()))
        before = at
    paces = {}
    for series, blocks in spent.items():
        first = blocks.pop(0, [])
        # One round tells nothing about a second one, unless one is all that this experiment needs.
        again = [first] if recorded.rounds == 1 < experiment.rounds else [*blocks.values()]
        paces[series] = Pace(first, _median(again))
    return paces


def _median(curves: Sequence[Curve]) -> Curve:
    """Row by row; where some have more rows, of those that have."""
    longest = max(map(len, curves), default=0)
    return [median(c[row] for c in curves if len(c) > row) for row in range(longest)]


def _end(curve: Curve) -> float:
    return curve[-1] if curve else 0.0


class Clock:
    """The time to go in a run, corrected with every row; made when the run begins."""

    def __init__(self, foretold: Forecast) -> None:
        self._foretold = foretold
        self._images = dict(foretold.images)
        self._making: list[str] = []
        self._since = self._began = time.monotonic()
        self._place: dict[Series, tuple[int, int]] = {}  # block, and rows in it
        self._took: dict[Series, float] = {}

    def image(self, what: str, part: float) -> RunProgress | None:
        """An image begins (``part`` 0) or ends (1); what to tell of it.

        What is made for the sake of another image is not told: one is named at a time.
        """
        if part < 1:
            self._making.append(what)
            if len(self._making) > 1:
                return None
            self._began = time.monotonic()
            return RunProgress("image", what, 0, 1000, left_s=self._images.get(what))
        if what not in self._making:
            return None
        self._making.remove(what)
        self._images.pop(what, None)
        if self._making:
            return None
        self._since += time.monotonic() - self._began  # it is no part of measuring
        return RunProgress("image", what, 1000, 1000)

    def row(self, row: Measurement) -> None:
        now = time.monotonic()
        block, rows = self._place.get(row.series, (0, 0))
        self._place[row.series] = (row.block, rows + 1 if row.block == block else 1)
        self._took[row.series] = self._took.get(row.series, 0.0) + now - self._since
        self._since = now

    def left_s(self) -> float | None:
        """Seconds to go from the last row on; ``None`` where they cannot be foretold."""
        if self._foretold.total_s is None:
            return None
        rounds, left = self._foretold.rounds, sum(self._images.values())
        paces = self._foretold.paces
        done = {s: paces[s].until_s(*at) for s, at in self._place.items() if s in paces}

        def slower(measured_s: float, foretold_s: float, otherwise: float) -> float:
            return measured_s / foretold_s if foretold_s >= ENOUGH_S else otherwise

        overall = slower(sum(self._took[s] for s in done), sum(done.values()), 1.0)
        for series, pace in paces.items():
            before = done.get(series, 0.0)
            own = slower(self._took.get(series, 0.0), before, overall)
            left += own * (pace.whole_s(rounds) - before)
        return left


def about(time_s: float) -> str:
    """A time as roughly as it is known: ``"about 40 s"``, ``"about 2.5 min"``."""
    if time_s < 10:
        return "less than 10 s"
    if time_s < 87.5:  # which is 90 s in steps of 5
        return f"about {5 * round(time_s / 5)} s"
    step = 2 if time_s < 300 else 1
    return f"about {round(time_s / 60 * step) / step:g} min"


def to_go(left_s: float | None) -> str:
    """``" · about 40 s to go"``; empty where that is not known."""
    return f" · {about(left_s)} to go" if left_s else ""
