"""What an experiment is, and how its starts are arranged: seeded, shuffled blocks with warm-ups.

An experiment is a folder ``experiments/<name>/`` whose ``measure.py`` exports ``EXPERIMENT`` and
whose ``explain.py`` exports its figures, tables and what-ifs. :func:`discover` finds them: there is
no list to edit.
"""

from __future__ import annotations

import importlib
import pkgutil
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import ModuleType

from .errors import UnknownName
from .recording import Measurement
from .sandbox import Event, Launcher, Machine, Platform

DEFAULT_ROUNDS = 10
DEFAULT_SEED = 1


@dataclass(frozen=True, slots=True)
class Series:
    """One kind of start.

    Attributes:
        platform, machine: what starts.
        repeats: how often it comes in each block.
        warm_up: whether one flagged start comes before the first block.
    """

    platform: Platform
    machine: Machine = Machine.NONE
    repeats: int = 1
    warm_up: bool = True

    @property
    def key(self) -> str:
        """A name for progress lines: ``"vm-direct (pc)"`` where the machine makes a difference."""
        direct = self.platform is Platform.VM_DIRECT
        return f"{self.platform} ({self.machine})" if direct else str(self.platform)


@dataclass(frozen=True, slots=True)
class Trial:
    """One start in its place. Warm-ups belong to block 0 and come before it."""

    series: Series
    block: int
    rep: int
    order_in_block: int
    is_warmup: bool = False


@dataclass(frozen=True, slots=True)
class Progress:
    """What a watcher is told.

    Attributes:
        step: ``"trial"`` (one begins), ``"event"`` (a phase ended) or ``"image"`` (one is made).
        what: the series, or what is being made.
        done, planned: trials finished and planned; for an image, per mille.
        event: the phase event, only with ``"event"``.
    """

    step: str
    what: str
    done: int
    planned: int
    event: Event | None = None


Watch = Callable[[Progress], None]


def _ignore(progress: Progress) -> None:
    """Nobody watches."""


@dataclass(slots=True)
class Context:
    """What ``measure`` is handed.

    Attributes:
        launchers: the platforms to be measured; others are left alone.
        rounds: number of blocks.
        seed: of the shuffling.
        watch: hears of every trial and phase.
    """

    launchers: Mapping[Platform, Launcher]
    rounds: int = DEFAULT_ROUNDS
    seed: int = DEFAULT_SEED
    watch: Watch = _ignore
    _place: tuple[str, int, int] = field(default=("", 0, 0), init=False)

    def trials(self, series: Sequence[Series]) -> Iterator[Trial]:
        """The trials of all available series in their order; the watcher is told of each."""
        wanted = [s for s in series if s.platform in self.launchers]
        plan = arrange(wanted, self.rounds, self.seed)
        for done, trial in enumerate(plan):
            self._place = (trial.series.key, done, len(plan))
            self.watch(Progress("trial", *self._place))
            yield trial
        self.watch(Progress("trial", "", len(plan), len(plan)))

    def on_event(self, event: Event) -> None:
        """Pass a phase event on to the watcher."""
        self.watch(Progress("event", *self._place, event=event))


@dataclass(frozen=True, slots=True)
class Experiment:
    """One question, measured.

    Attributes:
        name: of its folder.
        question: what it asks, one sentence.
        platforms: whom it asks.
        measure: yields rows as they are made; raises only what must end the whole run.
    """

    name: str
    question: str
    platforms: tuple[Platform, ...]
    measure: Callable[[Context], Iterator[Measurement]]


def arrange(series: Sequence[Series], rounds: int, seed: int) -> tuple[Trial, ...]:
    """A flagged warm-up of each series that has one, then ``rounds`` blocks shuffled by ``seed``.

    Every block holds the same trials, so a ratio can be paired within it and a slow drift of the
    machine falls on all series alike.
    """
    chance = random.Random(seed)
    warming = [s for s in series if s.warm_up]
    plan = [Trial(s, 0, 0, i, is_warmup=True) for i, s in enumerate(warming)]
    for block in range(rounds):
        starts = [(s, rep) for s in series for rep in range(s.repeats)]
        chance.shuffle(starts)
        plan += [Trial(s, block, rep, order) for order, (s, rep) in enumerate(starts)]
    return tuple(plan)


def discover() -> tuple[str, ...]:
    """Names of all experiments, sorted: the folders of ``vmcompare.experiments``."""
    package = importlib.import_module("vmcompare.experiments")
    return tuple(sorted(m.name for m in pkgutil.iter_modules(package.__path__) if m.ispkg))


def load(name: str) -> Experiment:
    """The experiment called ``name``.

    Raises:
        UnknownName: there is none of that name.
    """
    found: Experiment = _module(name, "measure").EXPERIMENT
    return found


def explanation(name: str) -> ModuleType:
    """The experiment's ``explain`` module: ``FIGURES``, ``TABLES``, ``WHATIFS`` and ``OUTCOMES``.

    Raises:
        UnknownName: there is no experiment of that name.
    """
    return _module(name, "explain")


def _module(name: str, part: str) -> ModuleType:
    if name not in discover():
        raise UnknownName("experiment", name, discover())
    return importlib.import_module(f"vmcompare.experiments.{name}.{part}")
