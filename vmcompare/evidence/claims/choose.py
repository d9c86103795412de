"""Which recording settles each part of each claim: the course's final table, as data.

A part is judged (:func:`vmcompare.evidence.claims.judge`) on **one** recording at a time, never on
rows of several. Which one, is fixed before any finding is looked at:

1. Of every experiment the newest readable recording of this session or of this learner (one that
   has ended: it may be in the making), and the newest of the project's. Own ones come first; among
   them, the experiments of the lessons that the claim names, in that order, then the others by
   name.
2. The first of them that holds the rows the part takes is its recording, whatever it says: a
   finding of "not measured here" because of emulation or failures stands.
3. But of an estimate, an own run of fewer than :data:`ENOUGH` blocks stands back for the next that
   holds that many, and the part says so. What counts is how many blocks were tried.
4. Where none holds all of them, the first of a lesson that the claim names and that holds some of
   them says what is missing. Failing that, the part says whether a recording is missing or no
   lesson measures it yet.

So the choice never depends on which way a finding comes out. Parts of one claim may come from
different recordings; :func:`vmcompare.evidence.claims.combine` makes the claim's finding of them.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from vmcompare.errors import StorageError
from vmcompare.evidence.claims.findings import Finding, Verdict, combine, concerned, judge
from vmcompare.evidence.claims.rules import Claim, Estimand, Facts, Quantity, Rule, load, parse
from vmcompare.evidence.recording import COLUMNS, Recording, readable, recordings
from vmcompare.evidence.view import MEASURED, RECORDED, Source, View
from vmcompare.paths import data_dir, lessons_dir, user_recordings_dir
from vmcompare.sandbox import SOFTWARE

if TYPE_CHECKING:
    import pandas as pd

ENOUGH = 3
"""Blocks that an own run takes before its estimate displaces another: those *Run* proposes. One
gives no interval, and two say little of what differs between them."""

_DECLARED = re.compile(r'Lesson\(\\?"(\w+)\\?",\s*\\?"(\d\d[a-z]?)\\?"')
_NUMBERED = re.compile(r"(\d\d[a-z]?)-.+\.ipynb")


class Whose(StrEnum):
    """Whose run a recording is, as the table says it."""

    SESSION = "measured"
    LEARNER = "recorded, your own run"
    PROJECT = "recorded"


@dataclass(frozen=True, slots=True)
class Lesson:
    """A lesson that exists: its number, notebook, and experiment (empty where it measures none)."""

    number: str
    notebook: Path
    experiment: str


@dataclass(slots=True, eq=False)
class Run:
    """A readable recording, with what it says of each claim once that was asked.

    Attributes:
        recording: as read.
        whose: this session's, the learner's of an earlier one, or the project's.
    """

    recording: Recording
    whose: Whose
    _frame: pd.DataFrame | None = None
    _held: frozenset[str] | None = None
    _findings: dict[Claim, Finding] = field(default_factory=dict)

    @property
    def frame(self) -> pd.DataFrame:
        """Its rows, tidy."""
        if self._frame is None:
            self._frame = self.recording.frame()
        return self._frame

    def may_hold(self, wanted: Estimand) -> bool:
        """Whether any row could be one that ``wanted`` looks at; cheap, to pass over most runs."""
        if self._held is None:
            named = self.frame["metric"].where(self.frame["metric"] != "fact", self.frame["phase"])
            self._held = frozenset(map(str, named.unique()))
        asked = [f for f in (wanted.control, wanted.body) if isinstance(f, Facts)]
        names = {name for facts in asked for name, _ in facts.terms}
        if isinstance(wanted.body, Quantity):
            names.add(wanted.body.metric)
        return not names.isdisjoint(self._held)

    def finding(self, claim: Claim) -> Finding:
        """What it alone says of a part of a claim."""
        if claim not in self._findings:
            self._findings[claim] = judge(claim, self.frame)
        return self._findings[claim]

    def rows(self, claim: Claim) -> pd.DataFrame:
        """The rows in earnest that a part looks at; none for a judgement without an estimand."""
        wanted = estimand(claim)
        return self.frame.iloc[:0] if wanted is None else concerned(wanted, self.frame)

    def blocks(self, claim: Claim) -> int:
        """In how many blocks it tried what a part looks at, whatever came of it."""
        return int(self.rows(claim)["block"].nunique())


@dataclass(frozen=True, slots=True)
class Evidence:
    """All recordings there are to judge by.

    Attributes:
        runs: per experiment at most one own run and one of the project's; own ones first.
        problems: experiment → what is wrong with each file that could not be read, as sentences.
        lessons: the lessons that exist, by number.
        hidden: experiments left out on purpose.
    """

    runs: tuple[Run, ...]
    problems: Mapping[str, tuple[str, ...]]
    lessons: Mapping[str, Lesson]
    hidden: frozenset[str] = frozenset()

    def without(self, experiment: str) -> Evidence:
        """The same as if there were no recording of ``experiment``."""
        return replace(
            self,
            runs=tuple(run for run in self.runs if run.recording.experiment != experiment),
            hidden=self.hidden | {experiment},
        )

    def of(self, experiment: str) -> tuple[Run, ...]:
        """The runs of one experiment."""
        return tuple(run for run in self.runs if run.recording.experiment == experiment)

    def lesson(self, experiment: str, claim: Claim | None = None) -> Lesson | None:
        """The lesson on an experiment: of several the one that ``claim`` names, else the first."""
        found = [lesson for lesson in self.lessons.values() if lesson.experiment == experiment]
        named = [lesson for lesson in found if claim and lesson.number in claim.lessons]
        return next(iter([*named, *found]), None)

    def view(self) -> View:
        """All rows side by side; every estimate still takes those of one run."""
        import pandas as pd

        if not self.runs:
            return View(pd.DataFrame(columns=[*COLUMNS, "shown"]), ())
        shown = [MEASURED if run.whose is Whose.SESSION else RECORDED for run in self.runs]
        return View(
            pd.concat(
                [run.frame.assign(shown=s) for run, s in zip(self.runs, shown, strict=True)],
                ignore_index=True,
            ),
            tuple(_source(run, s) for run, s in zip(self.runs, shown, strict=True)),
        )


@dataclass(frozen=True, slots=True)
class Part:
    """One line of the table: a part of a claim with its finding.

    Attributes:
        claim: the registered line.
        finding: what the recording says; where there is none, the reason says why.
        run: the recording; ``None`` where none holds any row of it.
        lesson: where it is measured, or is to be looked up; ``None`` where no lesson has it yet.
        accelerators: of the rows that were looked at (``"tcg"`` is software emulation).
        stood_back: the own run that was too short to settle it; ``None`` where there was none.
    """

    claim: Claim
    finding: Finding
    run: Run | None
    lesson: Lesson | None
    accelerators: frozenset[str]
    stood_back: Run | None = None

    @property
    def emulated(self) -> bool:
        """Whether rows of a VM under software emulation went in."""
        return SOFTWARE in self.accelerators

    @property
    def aside(self) -> str:
        """That an own run was too short, as a sentence; empty where none was."""
        if self.stood_back is None:
            return ""
        count = self.stood_back.blocks(self.claim)
        return (
            f"Your own run {self.stood_back.recording.run_id} is too short to settle this: it has "
            f"{count} round{'s' if count > 1 else ''} of it, and {ENOUGH} are needed."
        )

    @property
    def quantity(self) -> Quantity | None:
        """What is estimated; ``None`` for facts and plain judgements."""
        wanted = estimand(self.claim)
        return wanted.body if wanted and isinstance(wanted.body, Quantity) else None


@dataclass(frozen=True, slots=True)
class Row:
    """One claim of the table: its parts in their order, and the finding they make."""

    id: str
    parts: tuple[Part, ...]
    finding: Finding


def estimand(claim: Claim) -> Estimand | None:
    """What a part estimates; ``None`` for a judgement beside which nothing is measured."""
    return parse(claim.estimand) if claim.estimand else None


def lessons(directory: Path | None = None) -> dict[str, Lesson]:
    """The lessons there are, by number: notebooks ``NN-….ipynb``, or ``NNa-…`` and ``NNb-…``.

    A notebook names its own experiment and number (``Lesson("boot_speed", "04")``); there is no
    list to keep.
    """
    found = {}
    for path in sorted((directory or lessons_dir()).glob("[0-9][0-9]*.ipynb")):
        if numbered := _NUMBERED.fullmatch(path.name):
            declared = _DECLARED.search(path.read_text(encoding="utf-8", errors="replace"))
            found[numbered[1]] = Lesson(numbered[1], path, declared[1] if declared else "")
    return found


def gather(
    session: Iterable[Recording] = (),
    *,
    own: bool = True,
    project_dir: Path | None = None,
    own_dir: Path | None = None,
    notebooks_dir: Path | None = None,
) -> Evidence:
    """Read the newest recordings of every experiment.

    Args:
        session: recordings of this session; each takes the place of the learner's older ones.
        own: whether the learner's recordings count, beside the project's.
        project_dir, own_dir, notebooks_dir: by default the project's and the learner's.
    """
    project_dir = project_dir or data_dir() / "recordings"
    if own and own_dir is None:
        with contextlib.suppress(StorageError):  # no home: no recordings of one's own
            own_dir = user_recordings_dir()
    own_dir = own_dir if own else None
    problems: dict[str, tuple[str, ...]] = {}
    fresh = {recording.experiment: recording for recording in session}
    own_runs = [Run(recording, Whose.SESSION) for recording in fresh.values()]
    project_runs = []
    for experiment in _experiments(project_dir, *([own_dir] if own_dir else [])):
        if own_dir and experiment not in fresh:
            own_runs += _newest(own_dir, experiment, Whose.LEARNER, problems)
        project_runs += _newest(project_dir, experiment, Whose.PROJECT, problems)
    return Evidence((*own_runs, *project_runs), problems, lessons(notebooks_dir))


def settle(evidence: Evidence, table: Iterable[Claim] | None = None) -> tuple[Row, ...]:
    """Every claim of the table (by default ``data/claims.csv``), in its order."""
    parts: dict[str, list[Part]] = {}
    for claim in load() if table is None else table:
        parts.setdefault(claim.id, []).append(part(claim, evidence))
    return tuple(
        Row(id_, tuple(found), combine([p.finding for p in found])) for id_, found in parts.items()
    )


def part(claim: Claim, evidence: Evidence) -> Part:
    """One part, by the recording that the module's rule gives it."""
    partly: Run | None = None
    short: Run | None = None
    wanted = estimand(claim)
    for run in _in_order(claim, evidence):
        if wanted is None or not run.may_hold(wanted):
            continue
        if not run.finding(claim).lacking:
            enough = not isinstance(wanted.body, Quantity) or run.blocks(claim) >= ENOUGH
            if short is not None and enough:
                return replace(_settled(claim, run, evidence), stood_back=short)
            if enough or run.whose is Whose.PROJECT:
                return _settled(claim, short or run, evidence)
            short = short or run
            continue
        lesson = evidence.lesson(run.recording.experiment, claim)
        named = lesson is not None and lesson.number in claim.lessons
        if partly is None and named and len(run.rows(claim)):
            partly = run
    if short is not None:
        return _settled(claim, short, evidence)
    if partly is not None:
        return _settled(claim, partly, evidence)
    where = next((evidence.lessons[n] for n in claim.lessons if n in evidence.lessons), None)
    if claim.rule is Rule.JUDGEMENT:
        alone = judge(replace(claim, estimand=""), _no_rows())
        return Part(claim, alone, None, where, frozenset())
    waiting = [
        lesson
        for n in claim.lessons
        if (lesson := evidence.lessons.get(n)) and lesson.experiment
        if not evidence.of(lesson.experiment)
    ]
    if not waiting:
        why = "No lesson measures this yet."
        return Part(
            claim, Finding(Verdict.NOT_MEASURED, why, lacking=True), None, None, frozenset()
        )
    why = missing(waiting[0], evidence)
    return Part(
        claim, Finding(Verdict.NOT_MEASURED, why, lacking=True), None, waiting[0], frozenset()
    )


def missing(lesson: Lesson, evidence: Evidence) -> str:
    """Why there is no recording of a lesson, in one sentence."""
    if lesson.experiment in evidence.hidden:
        return f"The recording of lesson {lesson.number} is hidden."
    said = evidence.problems.get(lesson.experiment)
    return said[0] if said else f"There is no recording of lesson {lesson.number} here."


def _settled(claim: Claim, run: Run, evidence: Evidence) -> Part:
    used = frozenset(str(a) for a in set(run.rows(claim)["accel"].dropna()) if a)
    lesson = evidence.lesson(run.recording.experiment, claim)
    return Part(claim, run.finding(claim), run, lesson, used)


def _in_order(claim: Claim, evidence: Evidence) -> list[Run]:
    def place(run: Run) -> tuple[bool, int, str]:
        lesson = evidence.lesson(run.recording.experiment, claim)
        named = lesson is not None and lesson.number in claim.lessons
        where = claim.lessons.index(lesson.number) if lesson and named else len(claim.lessons)
        return run.whose is Whose.PROJECT, where, run.recording.experiment

    return sorted(evidence.runs, key=place)


def _experiments(*directories: Path) -> list[str]:
    """Names of the experiments that left a recording in one of ``directories``."""
    left: set[str] = set()
    for where in directories:
        with contextlib.suppress(OSError):  # a folder that cannot be read holds nothing for us
            left |= {path.parent.name for path in where.glob("*/*.jsonl")}
    return sorted(left)


def _newest(
    directory: Path, experiment: str, whose: Whose, problems: dict[str, tuple[str, ...]]
) -> list[Run]:
    said: list[str] = []
    found = readable(recordings(directory, experiment), experiment, said)
    newest = next((run for run in found if run.ended or whose is not Whose.LEARNER), None)
    if said:
        problems[experiment] = (*problems.get(experiment, ()), *said)
    return [] if newest is None else [Run(newest, whose)]


def _no_rows() -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame(columns=list(COLUMNS)).astype({"is_warmup": bool, "value": float})


def _source(run: Run, shown: str) -> Source:
    recording = run.recording
    lesson = recording.experiment.replace("_", " ")
    return Source(
        shown, recording.run_id, recording.started_utc, recording.host, recording.rounds, (lesson,)
    )
