"""What an experiment is, and how its starts are arranged: seeded, shuffled blocks with warm-ups.

An experiment is a folder ``experiments/<name>/``, or an installed package that offers itself in the
entry-point group :data:`GROUP`. Its ``measure.py`` exports ``EXPERIMENT``; :func:`discover` finds
both kinds. What they explain is declared in :mod:`vmcompare.experiments.explanation`.
"""

from __future__ import annotations

import importlib
import pkgutil
import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from vmcompare.errors import AbnormalShutdown, LaunchFailure, Unavailable, UnknownName, WaitTimeout
from vmcompare.evidence.recording import Measurement
from vmcompare.evidence.view import View
from vmcompare.measuring.host import Standstills, now
from vmcompare.paths import data_dir
from vmcompare.sandbox import Event, Launcher, Platform, Series, Spec

GROUP = "vmcompare.experiments"
"""Entry-point group by which an installed package offers an experiment; see ``examples/``."""

DEFAULT_ROUNDS = 10
DEFAULT_SEED = 1

T = TypeVar("T")

FAILURES = (LaunchFailure, WaitTimeout, AbnormalShutdown, Unavailable)
"""What may go wrong with one instance: it becomes a row with its error, and the run goes on."""


@dataclass(frozen=True, slots=True)
class Starts:
    """A series of a plan: its starts in each block, and whether a flagged one comes before."""

    series: Series
    repeats: int = 1
    warm_up: bool = True


@dataclass(frozen=True, slots=True)
class Trial:
    """One start in its place. Warm-ups belong to block 0 and come before it."""

    series: Series
    block: int
    rep: int
    order_in_block: int
    is_warmup: bool = False

    @property
    def place(self) -> dict[str, int]:
        """The columns of its rows that say which it is."""
        names = ("block", "rep", "order_in_block", "is_warmup")
        return {name: getattr(self, name) for name in names}


@dataclass(frozen=True, slots=True)
class RunProgress:
    """What a watcher is told.

    Attributes:
        step: ``"estimate"`` (before the first trial), ``"trial"`` (one begins), ``"event"`` (a
            phase ended) or ``"image"`` (one begins to be made, or has been made).
        what: the series; what is being made; of an estimate, the sentence to show.
        done, planned: trials finished and planned; for an image, per mille.
        left_s: seconds to go for the run, or for making an image; ``None`` where not known.
    """

    step: str
    what: str
    done: int
    planned: int
    event: Event | None = None
    left_s: float | None = None


Watch = Callable[[RunProgress], None]


@dataclass(slots=True)
class Context:
    """What ``measure`` is handed.

    ``launchers`` are the platforms to be measured; others are left alone. ``runtimes`` are bare
    mechanisms of containers, which never stand in for ``launchers[Platform.CONTAINER]``. ``watch``
    hears of every trial and phase.
    """

    launchers: Mapping[Platform, Launcher]
    rounds: int = DEFAULT_ROUNDS
    seed: int = DEFAULT_SEED
    watch: Watch = lambda _: None
    runtimes: Mapping[str, Launcher] = field(default_factory=dict)
    standstills: Standstills | None = None
    _place: tuple[str, int, int] = field(default=("", 0, 0), init=False)
    _began: float = field(default_factory=now, init=False)

    def trials(self, wanted: Sequence[Starts]) -> Iterator[Trial]:
        """The trials of all available series in their order; the watcher is told of each."""
        here = [starts for starts in wanted if self.launcher(starts.series) is not None]
        plan = arrange(here, self.rounds, self.seed)
        return self.steps([(trial.series.label, trial) for trial in plan])

    def launcher(self, series: Series) -> Launcher | None:
        if series.runtime:
            return self.runtimes.get(series.runtime)
        return self.launchers.get(series.platform)

    def steps(self, plan: Sequence[tuple[str, T]]) -> Iterator[T]:
        """The things of a plan, one after the other; the watcher is told of each by its words."""
        for done, (what, thing) in enumerate(plan):
            self._place, self._began = (what, done, len(plan)), now()
            self.watch(RunProgress("trial", *self._place))
            yield thing
        self.watch(RunProgress("trial", "", len(plan), len(plan)))

    def checked(self, row: Measurement) -> Measurement:
        """``row``, or a failed one where the run stood still since the present step began."""
        still_s = self.standstills.since(self._began) if self.standstills else 0.0
        if not still_s:
            return row
        why = f"interrupted: the computer or this run stood still for {still_s:.0f} s"
        return failed(row, f"{row.error}; {why}" if row.error else why)

    def on_event(self, event: Event) -> None:
        self.watch(RunProgress("event", *self._place, event=event))


@dataclass(frozen=True, slots=True)
class Experiment:
    """One question (a sentence), measured.

    Attributes:
        measure: yields rows as they are made; raises only what must end the whole run.
        rounds: blocks (or ramps) that a verdict needs: the default of ``vmcompare record``.
        measured_in_handouts: whether ``make handouts`` measures it without ``MODE=live``, too.
        anchors: see :func:`vmcompare.evidence.view.compose`.
        runtimes: bare container mechanisms it asks too, where they work and containers are wanted.
    """

    name: str
    question: str
    platforms: tuple[Platform, ...]
    measure: Callable[[Context], Iterator[Measurement]]
    rounds: int = DEFAULT_ROUNDS
    measured_in_handouts: bool = False
    anchors: tuple[Platform, ...] = ()
    runtimes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Demo:
    """Something small that a lesson does on the spot, outside any recording.

    Attributes:
        platforms: all of these are needed; elsewhere it is replayed.
        run: launchers and the call's options → something to display, or rows of a table. May raise
            what launchers raise; takes seconds, and leaves nothing.
        replay: the same from recorded rows.
        optional: platforms that are used as well where they can be had.
        preview: what the call's options make without running anything; shown above a replay.
    """

    platforms: tuple[Platform, ...]
    run: Callable[[Mapping[Platform, Launcher], Mapping[str, Any]], Any]
    replay: Callable[[View], Any]
    optional: tuple[Platform, ...] = ()
    preview: Callable[[Mapping[str, Any]], Any] | None = None


def blank(
    launcher: Launcher, platform: Platform, spec: Spec, metric: str, **columns: Any
) -> Measurement:
    """A row with everything that is known before anything is measured; as it stands, a failed one.

    ``columns`` hold what else is known, or something else. Fill it with :func:`filled`.
    """
    traits = launcher.traits(spec)
    try:
        digest = launcher.image(spec).digest
    except FAILURES:
        digest = ""  # the start itself will say why
    known: dict[str, Any] = {
        "layer": traits.layer, "runtime": traits.runtime, "vmm": traits.vmm, "accel": traits.accel,
        "warmth": spec.start, "machine": spec.machine, "vcpus": spec.vcpus,
        "mem_limit_mib": spec.memory_mib, "network": spec.network, "image_digest": digest,
        "status": "error", "error": "not started",
    }  # fmt: skip
    return Measurement(**{"platform": platform, "metric": metric, "value": None} | known | columns)


def filled(row: Measurement, value: float, **columns: Any) -> Measurement:
    return replace(row, value=value, status="ok", error="", **columns)


def failed(row: Measurement, why: str, **columns: Any) -> Measurement:
    return replace(row, value=None, status="error", error=why, **columns)


def or_failed(rows: Iterable[Measurement], *expected: Measurement) -> Iterator[Measurement]:
    """``rows`` as they are made; after one of :data:`FAILURES` ``expected`` as failed ones."""
    try:
        yield from rows
    except FAILURES as problem:
        yield from (failed(row, str(problem)) for row in expected)


def arrange(wanted: Sequence[Starts], rounds: int, seed: int) -> tuple[Trial, ...]:
    """A flagged warm-up of each series that has one, then ``rounds`` blocks shuffled by ``seed``.

    Every block holds the same trials, so a ratio can be paired within it and a slow drift of the
    computer falls on all series alike.
    """
    chance = random.Random(seed)
    warming = [starts.series for starts in wanted if starts.warm_up]
    plan = [Trial(series, 0, 0, i, is_warmup=True) for i, series in enumerate(warming)]
    for block in range(rounds):
        places = [(starts.series, rep) for starts in wanted for rep in range(starts.repeats)]
        chance.shuffle(places)
        plan += [Trial(series, block, rep, at) for at, (series, rep) in enumerate(places)]
    return tuple(plan)


def discover() -> tuple[str, ...]:
    """Names of all experiments, sorted: the course's own, and those of installed packages."""
    return tuple(sorted({*_folders(), *_offered()}))


def recordings_dir(name: str) -> Path:
    """The folder that holds ``<name>/*.jsonl``: the project's, or of the package that offers it."""
    return (package_dir(name) or data_dir()) / "recordings"


def package_dir(name: str) -> Path | None:
    """The folder of the package that offers an experiment; ``None`` of one of the course's own."""
    return None if name in _folders() else Path(str(module(name).__file__)).parent


def load(name: str) -> Experiment:
    """The experiment called ``name``. Raises ``UnknownName``."""
    found: Experiment = module(name, "measure").EXPERIMENT
    return found


def module(name: str, part: str = "") -> ModuleType:
    """The package of the experiment called ``name``, or its module ``part``.

    Raises ``UnknownName``, or ``Unavailable`` where it is another package's and cannot be imported.
    """
    inside = f".{part}" if part else ""
    if name in _folders():  # comes first: no package can replace an experiment of the course
        return importlib.import_module(f"vmcompare.experiments.{name}{inside}")
    offered = _offered()
    if name not in offered:
        raise UnknownName("experiment", name, discover())
    try:
        return importlib.import_module(offered[name] + inside)
    except Exception as error:  # whatever another's module does, a lesson says it in a sentence
        raise Unavailable(
            f"the experiment {name} of the package {offered[name]} cannot be loaded "
            f"({type(error).__name__}: {error})",
            "mend that package or uninstall it",
        ) from error


def _folders() -> tuple[str, ...]:
    package = importlib.import_module("vmcompare.experiments")
    return tuple(m.name for m in pkgutil.iter_modules(package.__path__) if m.ispkg)


def _offered() -> dict[str, str]:
    return {point.name: point.value for point in metadata.entry_points(group=GROUP)}
