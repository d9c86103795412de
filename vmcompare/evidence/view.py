"""What a lesson shows: this session's run where there is one, recorded rows for what it lacks.

Live and recorded rows stand side by side, each marked; they are never pooled into one estimate,
because every estimate pairs rows of one run only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from vmcompare.errors import Unavailable
from vmcompare.evidence import statistics
from vmcompare.evidence.recording import COLUMNS, Recording
from vmcompare.evidence.statistics import Interval, by_block, median_interval, paired_ratio
from vmcompare.sandbox import EMULATION, SOFTWARE, Platform, Series

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

NEXT = "run the measurement, or load a recording of it"
"""The next step where rows are missing, whatever they are."""

MEASURED = "measured"
RECORDED = "recorded"


@dataclass(frozen=True, slots=True)
class Source:
    """Where the rows of some platforms come from.

    ``shown`` is ``"measured"`` (this session's own run) or ``"recorded"``. ``platforms`` are whose
    rows it gives: ``"container"``, or ``"container (runc)"`` of a bare mechanism.
    """

    shown: str
    run_id: str
    started_utc: str
    host: Mapping[str, Any]
    platforms: tuple[str, ...]

    def brief(self) -> str:
        return f"{self.shown.capitalize()} on {self.started_utc[:10]}"

    def sentence(self) -> str:
        """One line for a caption: provenance, run, date, computer, versions."""
        versions = ", ".join(f"{k} {v}" for k, v in self.host.get("versions", {}).items() if v)
        where = [self.shown, f"run {self.run_id}", self.started_utc[:10], computer(self.host)]
        return " · ".join([*where, *([versions] if versions else [])])


def computer(host: Mapping[str, Any]) -> str:
    """A recording's host in words: ``"AMD EPYC, 2 cores, Debian GNU/Linux 12, itself a VM"``."""
    cpu, cores = host.get("cpu") or host.get("arch", "?"), host.get("cores", "?")
    within = ", itself a VM" if host.get("virtualised") else ""
    return f"{cpu}, {cores} cores, {host.get('os', '?')}{within}"


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """Rows to look at. Nobody changes them, so what was found out about a view can be kept.

    ``frame`` is tidy (``recording.COLUMNS``) plus ``shown``, and may be empty.
    """

    frame: pd.DataFrame
    sources: tuple[Source, ...]

    def columns(
        self, metric: str, *, failed_too: bool = False, **where: str | int
    ) -> Sequence[Column]:
        """Every series that has valid rows of ``metric``, in the course's order, run by run.

        Own runs come before recorded ones; warm-ups are left out. With ``failed_too`` come series
        of which every row failed, too. ``where``: what further columns must hold (``rep=0``).
        """
        found = _columns(self, metric, tuple(where.items()))
        return [column for column in found if column.n or (failed_too and column.failed)]

    def with_warm_ups(self, metric: str, **where: str | int) -> Sequence[Column]:
        """:meth:`columns`, failed ones too, and those that have nothing but warm-ups so far.

        The latter are left out where another run's valid rows of the series are shown.
        """
        found = _columns(self, metric, tuple(where.items()))
        full = {column.series for column in found if column.n}
        return [c for c in found if c.n or c.failed or c.series not in full]

    def need(
        self, metric: str, what: str, *, failed_too: bool = False, **where: str | int
    ) -> Sequence[Column]:
        """The same, at least one of them with a valid value.

        Raises ``Unavailable`` otherwise; ``what`` names what is missing ("start").
        """
        found = self.columns(metric, failed_too=True, **where)
        if not any(column.n for column in found):
            failed = sum(column.failed for column in found)
            raise absent(what, f" (all {failed} runs failed)" if failed else "")
        return found if failed_too else [column for column in found if column.n]

    def values(self, **columns: str) -> pd.DataFrame:
        """Valid, measured-in-earnest rows (no warm-ups, no failures) with these column values."""
        valid = (self.frame["status"] == "ok") & ~self.frame["is_warmup"]
        return self.frame[valid & _holding(self.frame, columns.items())]

    def emulated(self, platforms: Sequence[Platform] = tuple(Platform)) -> bool:
        """Whether any row of ``platforms`` ran under software emulation (QEMU TCG)."""
        return emulated(self.frame[self.frame["platform"].isin(platforms)])

    def of(self, *platforms: Platform) -> View:
        """The rows of these alone, from the same sources."""
        return View(self.frame[self.frame["platform"].isin(platforms)], self.sources)

    def brief(self) -> str:
        """What kind of figures these are, and from when, in a few words.

        ``"Recorded on 2026-11-25; VMs under software emulation."``
        """
        many = len(self.sources) > 1
        said = [
            f"{s.brief()}: {', '.join(s.platforms)}" if many else s.brief() for s in self.sources
        ]
        vms = self.emulated([platform for platform in Platform if platform.is_vm])
        return ". ".join(said) + (f"; VMs under {EMULATION}." if vms else "." if said else "")

    def sourced(self) -> dict[str, str]:
        """Placeholders of a table's caption: ``brief``, kind and date; ``source``, all of it."""
        return {"brief": self.brief(), "source": self.caption()}

    def caption(self) -> str:
        """Where every figure of this view comes from, one clause a source."""
        many = len(self.sources) > 1
        return " — ".join(
            (f"{', '.join(s.platforms)}: " if many else "") + s.sentence() for s in self.sources
        )


@dataclass(frozen=True, slots=True, eq=False)
class Column:
    """The rows of one metric that one series has in one run: what is drawn, counted and compared.

    Attributes:
        rows: its valid rows (all columns of the view), in the order measured; may be empty.
        errors: why the other rows failed, one a row.
        warm_ups: valid ones, which may be shown and are never counted.
        kind: what tells it from others of its series in one figure (``"clone"``); mostly nothing.
    """

    series: Series
    run_id: str
    shown: str
    emulated: bool
    rows: pd.DataFrame
    errors: tuple[str, ...]
    warm_ups: pd.DataFrame
    kind: str = ""

    @property
    def name(self) -> str:
        """``"vm-direct (pc) clone"``: without a comma, for lists."""
        return f"{self.series.label} {self.kind}".strip()

    @property
    def key(self) -> tuple[Series, str]:
        """Series and run: equal for columns of two metrics that belong together."""
        return self.series, self.run_id

    @property
    def n(self) -> int:
        return len(self.rows)

    @property
    def failed(self) -> int:
        return len(self.errors)

    @property
    def values(self) -> list[float]:
        return [float(value) for value in self.rows["value"]]

    @property
    def warm_up_values(self) -> list[float]:
        return [float(value) for value in self.warm_ups["value"]]

    @property
    def median(self) -> Interval:
        """Median with its interval. Raises ``ValueError`` when every run failed."""
        return median_interval(self.values)

    @property
    def provenance(self) -> str:
        """``"recorded, software emulation"``: for a cell of a table."""
        return f"{self.shown}, {EMULATION}" if self.emulated else self.shown

    def label(self, *, mixed: bool) -> str:
        """Series, kind, emulation and (where a figure mixes them) provenance."""
        name = f"{self.series.label}, {self.kind}" if self.kind else self.series.label
        more = [EMULATION] * self.emulated + [self.shown] * mixed
        return " · ".join([name, *more])

    def count(self) -> str:
        failed = f", {self.failed} failed" if self.failed else ""
        return f"n = {self.n}{failed}"

    def where(self, **columns: str | int) -> Column:
        """The same with only those valid rows that hold these values."""
        both = (self.rows, self.warm_ups)
        rows, warm_ups = (some[_holding(some, columns.items())] for some in both)
        return replace(self, rows=rows, errors=(), warm_ups=warm_ups)

    def medians(self, by: str = "phase") -> dict[Any, float]:
        """Value of the column ``by`` → median of the rows that have it."""
        return {key: float(value) for key, value in self.rows.groupby(by)["value"].median().items()}

    def texts(self) -> dict[str, str]:
        """Phase → what was read, of observations and probes."""
        phases, texts = self.rows["phase"].map(str), self.rows["text"].map(str)
        return dict(zip(phases, texts, strict=True))

    def blocks(self) -> dict[int, list[float]]:
        return by_block(self.rows)

    def over(self, below: Column) -> Interval | None:
        """Ratio paired by block (:func:`.statistics.paired_ratio`); ``None`` unless of one run."""
        if self.run_id != below.run_id:
            return None
        above, under = self.blocks(), below.blocks()
        both = sorted(above.keys() & under.keys())
        return paired_ratio([(above[b], under[b]) for b in both]) if both else None

    def same_in(self, others: Sequence[Column]) -> Column | None:
        """The column among ``others`` that has valid rows of this series and run."""
        return next((other for other in others if other.key == self.key and other.n), None)


def of_series(found: Sequence[Column], *wanted: Series) -> Column | None:
    """The first column of one of the ``wanted`` series that has valid rows."""
    return next((column for column in found if column.series in wanted and column.n), None)


def container(found: Sequence[Column]) -> Column | None:
    """The container series everything is set against: the product (``docker run``), or ``None``."""
    return of_series(found, Series(Platform.CONTAINER))


def mixed(found: Sequence[Column]) -> bool:
    """Whether this session's own rows and recorded ones stand side by side."""
    return len({column.shown for column in found}) > 1


def emulated(rows: pd.DataFrame) -> bool:
    """Whether any row is of an emulated VM; how large a file is depends on no accelerator."""
    return bool(((rows["accel"] == SOFTWARE) & (rows["metric"] != "image_bytes")).any())


def bare_runtimes(rows: pd.DataFrame) -> pd.Series[str]:
    """Of each row the runtime, where it is a container's bare mechanism; empty elsewhere."""
    bare = (rows["platform"] == Platform.CONTAINER) & (rows["layer"] == "mechanism")
    return rows["runtime"].where(bare, "").fillna("")


def absent(what: str, why: str = "") -> Unavailable:
    """That there is no ``what`` in the rows at hand, with the next step."""
    return Unavailable(f"there is no {what} to show{why}", NEXT)


@lru_cache(maxsize=256)
def _columns(view: View, metric: str, where: tuple[tuple[str, str | int], ...]) -> Sequence[Column]:
    tried, by_series = _by_series(view, metric)
    wanted = _holding(tried, where)
    warm, valid = tried["is_warmup"].to_numpy(bool), (tried["status"] == "ok").to_numpy()
    found = []
    for places in by_series:
        places = places[wanted[places] & (valid | ~warm)[places]]
        if not places.size:
            continue  # nothing but failed warm-ups
        measured = places[~warm[places]]
        rows, warm_ups = tried.iloc[measured[valid[measured]]], tried.iloc[places[warm[places]]]
        failed = tried["error"].iloc[measured[~valid[measured]]]
        first = tried.iloc[measured[0] if measured.size else places[0]]
        names = (first[name] for name in ("platform", "machine", "runtime", "layer"))
        found.append(
            Column(
                series=Series.of(*(name if isinstance(name, str) else "" for name in names)),
                run_id=str(first["run_id"]),
                shown=str(first["shown"]),
                emulated=emulated(tried.iloc[places]),
                rows=rows,
                errors=tuple(map(str, failed)),
                warm_ups=warm_ups,
            )
        )
    return tuple(sorted(found, key=lambda column: (column.series.order, column.shown == RECORDED)))


@lru_cache(maxsize=128)
def _by_series(view: View, metric: str) -> tuple[pd.DataFrame, Sequence[NDArray[np.intp]]]:
    """The rows of a metric, and the places of those of each series in each run among them."""
    import numpy as np

    tried = view.frame[view.frame["metric"] == metric]
    keys = [tried["platform"], tried["machine"].fillna(""), bare_runtimes(tried), tried["run_id"]]
    return tried, [np.asarray(places) for places in tried.groupby(keys).indices.values()]


def _holding(rows: pd.DataFrame, where: Iterable[tuple[str, str | int]]) -> NDArray[np.bool_]:
    """Which rows hold these values."""
    import numpy as np

    found = np.ones(len(rows), dtype=bool)
    for name, wanted in where:
        found &= (rows[name] == wanted).to_numpy()
    return found


def caption(view: View, found: Sequence[Column], *extra: str) -> str:
    """Provenance, then :func:`warnings`: what stands under a figure of measured values."""
    where = f"{view.caption()}. " if view.sources else ""
    return (where + warnings(found, *extra)).strip()


def warnings(found: Sequence[Column], *extra: str) -> str:
    """What is emulated, failed runs, ``extra`` and doubts, one sentence each; may be empty."""
    there = [column for column in found if column.n]
    sentences = []
    slow = dict.fromkeys(column.name for column in there if column.emulated)
    if slow:
        sentences.append(
            f"Under {EMULATION}: {', '.join(slow)}; such times tell how slow the emulator is, "
            "not how slow a VM is."
        )
    if failed := failures(found):
        sentences.append(f"Failed runs, counted but not drawn: {failed}.")
    sentences += [sentence for sentence in extra if sentence]
    few: dict[str, list[str]] = {}
    doubted: dict[str, list[str]] = {}
    for column in there:
        wanted = statistics.runs_wanted(column.series.platform)
        if column.n < wanted:
            few.setdefault(f"{column.n} where {wanted} are needed", []).append(column.name)
        for why in statistics.doubts(column.values):
            doubted.setdefault(why, []).append(column.name)

    def whose(those: Mapping[str, list[str]]) -> list[str]:
        return [f"{what}: {', '.join(dict.fromkeys(names))}" for what, names in those.items()]

    if few:
        sentences.append(f"Few runs, which limit a verdict ({'; '.join(whose(few))}).")
    sentences += [
        f"In doubt, because {why}: the median of {', '.join(dict.fromkeys(names))}."
        for why, names in sorted(doubted.items())
    ]
    return " ".join(sentences)


def failures(found: Sequence[Column]) -> str:
    """``"vm 2, vm-tuned 1"``: which series failed how often; empty where none did."""
    return ", ".join(f"{column.name} {column.failed}" for column in found if column.failed)


@dataclass(frozen=True, slots=True)
class Outcome:
    """One number that a lesson asks for before it is measured, from rows of ``platforms``.

    ``find`` gives ``None`` where no single run has it. ``of_files``: no emulation changes it.
    """

    platforms: tuple[Platform, ...]
    find: Callable[[View], float | None]
    of_files: bool = False

    def __call__(self, view: View) -> float | None:
        return self.find(view)


@lru_cache(maxsize=16)
def compose(
    live: Recording | None, recorded: Recording | None, anchors: tuple[Platform, ...] = ()
) -> View:
    """Rows of ``live`` for each platform it has a valid value of, ``recorded`` rows for the rest.

    A platform that failed throughout in the live run keeps its error rows beside the recorded ones.
    A container's bare mechanism (runc, bubblewrap) counts as a platform of its own here. Rows of
    the ``anchors`` mean something only beside those of the same run (a host, and what runs on it):
    where other rows of ``recorded`` are shown, theirs are too. The same recordings give the same
    view, so that what is found out about it is found out once.
    """
    import pandas as pd

    frames: list[pd.DataFrame] = []
    sources: list[Source] = []
    covered: set[str] = set()
    for run, shown in ((live, MEASURED), (recorded, RECORDED)):
        if run is None:
            continue
        frame = run.frame().assign(shown=shown)
        whose = _whose(frame)
        kept = ~whose.isin(covered)
        if (kept & (frame["status"] == "ok")).any():
            kept |= whose.isin([str(anchor) for anchor in anchors])
        frame, whose = frame[kept], whose[kept]
        valid = set(whose[(frame["status"] == "ok") & ~frame["is_warmup"]])
        covered |= valid
        frames.append(frame)
        if valid:
            order = [p.value for p in Platform]
            own = tuple(sorted(valid, key=lambda w: (order.index(w.split(" ")[0]), w)))
            sources.append(Source(shown, run.run_id, run.started_utc, run.host, own))
    if not frames:
        return View(pd.DataFrame(columns=[*COLUMNS, "shown"]), ())
    return View(pd.concat(frames, ignore_index=True), tuple(sources))


def _whose(frame: pd.DataFrame) -> pd.Series[str]:
    """The platform of each row, with the runtime of a container that is a bare mechanism."""
    runtime = bare_runtimes(frame)
    return frame["platform"].where(runtime == "", frame["platform"] + " (" + runtime + ")")
