"""What a lesson shows: this session's run where there is one, recorded rows for what it lacks.

Live and recorded rows stand side by side, each marked; they are never pooled into one estimate,
because every estimate pairs rows of one run only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vmcompare.evidence.recording import Recording
from vmcompare.sandbox import Platform

if TYPE_CHECKING:
    import pandas as pd

MEASURED = "measured"
RECORDED = "recorded"


@dataclass(frozen=True, slots=True)
class Source:
    """Where the rows of some platforms come from.

    Attributes:
        shown: ``"measured"`` (this session's own run) or ``"recorded"``.
        run_id: the run.
        started_utc: when it began, ISO 8601.
        host: facts of the machine it ran on.
        rounds: blocks that were planned.
        platforms: whose rows it gives, as in ``"container"`` or ``"container (runc)"``: a bare
            mechanism is told apart from the product.
    """

    shown: str
    run_id: str
    started_utc: str
    host: Mapping[str, Any]
    rounds: int
    platforms: tuple[str, ...]

    def sentence(self) -> str:
        """One line for a caption: provenance, run, date, machine, versions."""
        host = self.host
        versions = ", ".join(f"{k} {v}" for k, v in host.get("versions", {}).items() if v)
        return (
            f"{self.shown} · run {self.run_id} · {self.started_utc[:10]} · "
            f"{host.get('cpu') or host.get('arch', '?')}, {host.get('cores', '?')} cores, "
            f"{host.get('os', '?')}" + (f" · {versions}" if versions else "")
        )


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """Rows to look at. Nobody changes them, so what was found out about a view can be kept.

    Attributes:
        frame: tidy rows (``recording.COLUMNS``) plus ``shown``; may be empty.
        sources: one entry a run that gives rows.
    """

    frame: pd.DataFrame
    sources: tuple[Source, ...]

    def values(self, **columns: str) -> pd.DataFrame:
        """Valid, measured-in-earnest rows (no warm-ups, no failures) with these column values."""
        frame = self.frame
        keep = (frame["status"] == "ok") & ~frame["is_warmup"]
        for name, wanted in columns.items():
            keep &= frame[name] == wanted
        return frame[keep]

    def emulated(self, platforms: Sequence[Platform] = tuple(Platform)) -> bool:
        """Whether any row of ``platforms`` ran under software emulation (QEMU TCG)."""
        frame = self.frame
        return bool(((frame["accel"] == "tcg") & frame["platform"].isin(platforms)).any())

    def caption(self) -> str:
        """Where every figure of this view comes from, one clause a source."""
        many = len(self.sources) > 1
        return " — ".join(
            (f"{', '.join(s.platforms)}: " if many else "") + s.sentence() for s in self.sources
        )


@dataclass(frozen=True, slots=True)
class Computer:
    """A computer as its facts tell, measured on or not.

    Attributes:
        name: what a page calls it ("this computer").
        facts: as :func:`vmcompare.measuring.host.facts` gives them.
        missing: engine → why it cannot be used here, with the next step, as a sentence.
    """

    name: str
    facts: Mapping[str, Any]
    missing: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Outcome:
    """One number that a lesson asks for before it is measured.

    Attributes:
        platforms: whose rows it comes from (emulation of any of them is said beside it).
        find: view → the number, or ``None`` where it was not measured within one run.
    """

    platforms: tuple[Platform, ...]
    find: Callable[[View], float | None]

    def __call__(self, view: View) -> float | None:
        """The number this view gives."""
        return self.find(view)


@dataclass(frozen=True, slots=True)
class Grid:
    """A grid of yes and no that is ticked before it is measured.

    Attributes:
        columns: words that stand as they are written in code (``"--pid=host"``).
        rows: name → what it is, one clause.
        find: view → column → row → yes or no, without what was not measured; raises
            ``Unavailable`` where nothing was.
        reasons: (column, row) → why it is as one should expect, one sentence.
        yes, no: what a tick means, and what none means, one or two words.
        called: what a row is, one word ("probe").
    """

    columns: tuple[str, ...]
    rows: Mapping[str, str]
    find: Callable[[View], Mapping[str, Mapping[str, bool]]]
    reasons: Mapping[tuple[str, str], str]
    yes: str
    no: str
    called: str


def compose(
    live: Recording | None, recorded: Recording | None, anchors: Sequence[Platform] = ()
) -> View:
    """Rows of ``live`` for each platform it has a valid value of, ``recorded`` rows for the rest.

    A platform that failed throughout in the live run keeps its error rows beside the recorded ones.
    A container's bare mechanism (runc, bubblewrap) counts as a platform of its own here.

    Rows of the ``anchors`` mean something only beside those of the same run (a host, and what runs
    on it): where other rows of ``recorded`` are shown, theirs are too.
    """
    import pandas as pd

    from vmcompare.evidence.recording import COLUMNS

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
            platforms = tuple(sorted(valid, key=lambda w: (order.index(w.split(" ")[0]), w)))
            sources.append(
                Source(shown, run.run_id, run.started_utc, run.host, run.rounds, platforms)
            )
    if not frames:
        return View(pd.DataFrame(columns=[*COLUMNS, "shown"]), ())
    return View(pd.concat(frames, ignore_index=True), tuple(sources))


def _whose(frame: pd.DataFrame) -> pd.Series[str]:
    """The platform of each row, with the runtime of a container that is a bare mechanism."""
    bare = (frame["platform"] == str(Platform.CONTAINER)) & (frame["layer"] == "mechanism")
    return frame["platform"].where(~bare, frame["platform"] + " (" + frame["runtime"] + ")")
