"""Which recording each part of each claim is judged on: the course's final table, as data.

A part is judged (:func:`vmcompare.evidence.claims.judge`) on **one** recording at a time, never on
rows of several. Which one is decided before any finding is looked at:

1. The candidates are, for every experiment, the newest readable recording of this session or of
   this learner (one that has ended), and the newest of the project's. Own ones come first; among
   them, the experiments of the lessons that the claim names, in that order, then the others by
   name.
2. The first candidate that holds the rows the part needs is chosen, whatever it says: "not measured
   here" because of emulation or failures is a finding like any other.
3. One exception: an own run with fewer than :data:`ENOUGH` blocks of an estimate gives way to the
   next candidate that has that many, and the part says so. Blocks count whether they failed or not.
4. Where no candidate holds all the rows, the first of a lesson that the claim names and that holds
   some of them says what is missing. Where there is none either, the part says whether a recording
   is missing or no lesson measures it yet.

So the choice never depends on which way a finding comes out. Parts of one claim may come from
different recordings; :func:`vmcompare.evidence.claims.combine` makes the claim's finding of them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from vmcompare.errors import StorageError
from vmcompare.evidence.claims.judging import (
    Conclusion,
    Finding,
    combine,
    concerned,
    judge,
    with_others,
)
from vmcompare.evidence.claims.rules import EXACT, Claim, Rule, load
from vmcompare.evidence.recording import Recording, readable, recordings, tidy
from vmcompare.evidence.view import MEASURED, RECORDED
from vmcompare.paths import data_dir, user_recordings_dir
from vmcompare.paths.lessons import LessonFile, lesson_files
from vmcompare.sandbox import EMULATION, SOFTWARE

if TYPE_CHECKING:
    import pandas as pd

ENOUGH = 3
"""Blocks that an own run needs before its estimate is preferred: as many as *Run* proposes. One
block gives no interval, and two say little about the spread between blocks."""

NO_RECORDING = "No recording is here to judge by."


class Whose(StrEnum):
    """Whose run a recording is, as the table says it."""

    SESSION = MEASURED
    LEARNER = f"{RECORDED} on the computer that ran this lesson"
    PROJECT = RECORDED


@dataclass(eq=False)
class RunFindings:
    """A readable recording, with what it says of each claim once that was asked."""

    recording: Recording
    whose: Whose
    _findings: dict[Claim, Finding] = field(default_factory=dict)

    def __str__(self) -> str:
        recording = self.recording
        return f"{self.whose}, run {recording.run_id}, {recording.started_utc[:10]}"

    @cached_property
    def frame(self) -> pd.DataFrame:
        return self.recording.frame()

    @cached_property
    def _names(self) -> frozenset[str]:
        facts = self.frame["metric"] == "fact"
        return frozenset(map(str, self.frame["metric"].where(~facts, self.frame["phase"]).unique()))

    def may_hold(self, claim: Claim) -> bool:
        """Whether any row could be one that ``claim`` looks at; cheap, to pass over most runs."""
        if claim.estimand is None:
            return False
        wanted = {one.metric for one in claim.estimand.quantities}
        return not self._names.isdisjoint(wanted.union(claim.estimand.fact_names))

    def finding(self, claim: Claim) -> Finding:
        """What it alone says of a part of a claim."""
        if claim not in self._findings:
            self._findings[claim] = judge(claim, self.frame)
        return self._findings[claim]

    def rows(self, claim: Claim) -> pd.DataFrame:
        """The rows that a part looks at, failed ones too; none for a plain judgement."""
        return concerned(claim.estimand, self.frame) if claim.estimand else self.frame.iloc[:0]

    def blocks(self, claim: Claim) -> int:
        """In how many blocks it tried what a part looks at, whatever came of it."""
        return int(self.rows(claim)["block"].nunique())

    def is_long_enough(self, claim: Claim) -> bool:
        """Whether an estimate rests on :data:`ENOUGH` blocks; facts take one."""
        return claim.quantity is None or self.blocks(claim) >= ENOUGH


@dataclass(frozen=True, slots=True)
class Part:
    """One line of the table: a part of a claim with its finding.

    Attributes:
        run: the recording; ``None`` where none holds any row of it.
        lesson: where it is measured, or is to be looked up; ``None`` where no lesson has it yet.
        accelerators: of the rows that were looked at (``"tcg"`` is software emulation).
        too_short: the own run that was too short to settle it; ``None`` where there was none.
    """

    claim: Claim
    finding: Finding
    run: RunFindings | None = None
    lesson: LessonFile | None = None
    accelerators: frozenset[str] = frozenset()
    too_short: RunFindings | None = None

    @property
    def emulated(self) -> bool:
        """Whether rows of a VM under software emulation went in."""
        return SOFTWARE in self.accelerators

    @property
    def note(self) -> str:
        """That an own run was too short, as a sentence; empty where none was."""
        if self.too_short is None:
            return ""
        count = self.too_short.blocks(self.claim)
        rounds = f"{count} round{'s' if count > 1 else ''}"
        return (
            f"Run {self.too_short.recording.run_id}, of the computer that ran this lesson, is too "
            f"short to settle this: it has {rounds} of it, and {ENOUGH} are needed."
        )


@dataclass(frozen=True, slots=True)
class JudgedClaim:
    """One claim of the table: its parts in their order, and the finding they make."""

    id: str
    parts: tuple[Part, ...]
    finding: Finding


@dataclass(frozen=True)
class Evidence:
    """All recordings there are to judge by, and the claims as they are settled by them.

    Attributes:
        runs: per experiment at most one own run and one of the project's; own ones first.
        problems: experiment → what is wrong with each file that could not be read, as sentences.
        lessons: the lessons that exist, by number.
    """

    runs: tuple[RunFindings, ...]
    problems: Mapping[str, tuple[str, ...]]
    lessons: Mapping[str, LessonFile]

    @cached_property
    def claims(self) -> tuple[JudgedClaim, ...]:
        return settle(self)

    @property
    def parts(self) -> tuple[Part, ...]:
        return tuple(part for claim in self.claims for part in claim.parts)

    def part(self, claim_id: str, name: str) -> Part | None:
        """One part of a claim, by its name; the others are not judged for it."""
        wanted = (c for c in load() if (c.id, c.part) == (claim_id, name))
        return next((part(claim, self) for claim in wanted), None)

    def brief(self, parts: Sequence[Part] | None = None) -> str:
        """What kind of figures these are, and from when: ``"Recorded on 2026-11-25."``."""
        used = self.parts if parts is None else parts
        days = sorted({p.run.recording.started_utc[:10] for p in used if p.run})
        if not days:
            return NO_RECORDING
        when = f"on {days[0]}" if len(days) == 1 else f"from {days[0]} to {days[-1]}"
        under = f"; VMs under {EMULATION}" if any(p.emulated for p in used) else ""
        return f"{RECORDED.capitalize()} {when}{under}."

    def caption(self, parts: Sequence[Part] | None = None) -> str:
        """Which runs the table, or these of its parts, are made from, in one sentence."""
        used = dict.fromkeys(p.run for p in (self.parts if parts is None else parts) if p.run)
        if not used:
            return NO_RECORDING
        runs = (f"{run.recording.experiment.replace('_', ' ')} ({run})" for run in used)
        return f"From {'; '.join(runs)}. Every part is judged on one run."

    def of(self, experiment: str) -> tuple[RunFindings, ...]:
        return tuple(run for run in self.runs if run.recording.experiment == experiment)

    def lesson(self, experiment: str, claim: Claim | None = None) -> LessonFile | None:
        """The lesson on an experiment: of several the one that ``claim`` names, else the first."""
        found = [lesson for lesson in self.lessons.values() if experiment in lesson.experiments]
        named = [lesson for lesson in found if claim and lesson.number in claim.lessons]
        return next(iter([*named, *found]), None)

    def missing(self, lesson: LessonFile) -> str:
        """Why there is no recording of a lesson, in one sentence."""
        lacking = (name for name in lesson.experiments if not self.of(name))
        said = self.problems.get(next(lacking, ""))
        return said[0] if said else f"There is no recording of lesson {lesson.number} here."


def gather(
    session: Iterable[Recording] = (),
    *,
    own: bool = True,
    project_dir: Path | None = None,
    own_dir: Path | None = None,
    notebooks_dir: Path | None = None,
) -> Evidence:
    """Read the newest recordings of every experiment.

    Those of this ``session`` take the place of the learner's older ones; without ``own`` only the
    project's count. Folders are by default the project's and the learner's.
    """
    project_dir = project_dir or data_dir() / "recordings"
    if own and own_dir is None:
        with contextlib.suppress(StorageError):  # no home: no recordings of one's own
            own_dir = user_recordings_dir()
    own_dir = own_dir if own else None
    problems: dict[str, tuple[str, ...]] = {}
    fresh = {recording.experiment: recording for recording in session}
    own_runs = [_findings_of(recording, Whose.SESSION) for recording in fresh.values()]
    project_runs = []
    for experiment in _experiments(project_dir, *([own_dir] if own_dir else [])):
        if own_dir and experiment not in fresh:
            own_runs += _newest(own_dir, experiment, Whose.LEARNER, problems)
        project_runs += _newest(project_dir, experiment, Whose.PROJECT, problems)
    return Evidence((*own_runs, *project_runs), problems, lesson_files(notebooks_dir))


def settle(evidence: Evidence, table: Iterable[Claim] | None = None) -> tuple[JudgedClaim, ...]:
    """Every claim of the table (by default ``data/claims.csv``), in its order."""
    parts: dict[str, list[Part]] = {}
    for claim in load() if table is None else table:
        parts.setdefault(claim.id, []).append(part(claim, evidence))
    return tuple(
        JudgedClaim(id_, tuple(found), combine([p.finding for p in found]))
        for id_, found in parts.items()
    )


def part(claim: Claim, evidence: Evidence) -> Part:
    """One part, by the recording that the module's rule gives it."""
    runs = [run for run in _in_order(claim, evidence) if run.may_hold(claim)]
    whole = [run for run in runs if not run.finding(claim).lacking]
    if whole:
        first = chosen = whole[0]
        if first.whose is not Whose.PROJECT:
            chosen = next((run for run in whole if run.is_long_enough(claim)), first)
        return _settled(claim, chosen, evidence, None if chosen is first else first)
    for run in runs:
        if _place(claim, run, evidence) < len(claim.lessons) and len(run.rows(claim)):
            return _settled(claim, run, evidence)
    known = [evidence.lessons[n] for n in claim.lessons if n in evidence.lessons]
    if claim.rule is Rule.JUDGEMENT:
        alone = judge(replace(claim, estimand=None), tidy([]))
        return Part(claim, alone, lesson=next(iter(known), None))
    waiting = [one for one in known if not all(map(evidence.of, one.experiments))]
    lesson = next(iter(waiting), None)
    why = evidence.missing(lesson) if lesson else "No lesson measures this yet."
    open_still = Finding(Conclusion.NOT_MEASURED, why, lacking=True)
    return Part(claim, with_others(claim, open_still), lesson=lesson)


def _settled(
    claim: Claim, run: RunFindings, evidence: Evidence, too_short: RunFindings | None = None
) -> Part:
    rows = run.rows(claim)
    # How large a file is depends on no accelerator.
    executed = rows["accel"][rows["metric"] != EXACT]
    used = frozenset(str(a) for a in set(executed.dropna()) if a)
    lesson = evidence.lesson(run.recording.experiment, claim)
    return Part(claim, run.finding(claim), run, lesson, used, too_short)


def _place(claim: Claim, run: RunFindings, evidence: Evidence) -> int:
    """The place of the run's lesson among those that the claim names, or behind them."""
    lesson, named = evidence.lesson(run.recording.experiment, claim), claim.lessons
    return named.index(lesson.number) if lesson and lesson.number in named else len(named)


def _in_order(claim: Claim, evidence: Evidence) -> list[RunFindings]:
    def order(run: RunFindings) -> tuple[bool, int, str]:
        by_lesson = _place(claim, run, evidence)
        return run.whose is Whose.PROJECT, by_lesson, run.recording.experiment

    return sorted(evidence.runs, key=order)


def _experiments(*directories: Path) -> list[str]:
    """Names of the experiments that left a recording in one of ``directories``."""
    left: set[str] = set()
    for where in directories:
        with contextlib.suppress(OSError):  # a folder that cannot be read holds nothing for us
            left |= {path.parent.name for path in where.glob("*/*.jsonl")}
    return sorted(left)


def _newest(
    directory: Path, experiment: str, whose: Whose, problems: dict[str, tuple[str, ...]]
) -> list[RunFindings]:
    said: list[str] = []
    found = readable(recordings(directory, experiment), experiment, said)
    newest = next((run for run in found if run.ended or whose is not Whose.LEARNER), None)
    if said:
        problems[experiment] = (*problems.get(experiment, ()), *said)
    return [] if newest is None else [_findings_of(newest, whose)]


@lru_cache(maxsize=32)
def _findings_of(recording: Recording, whose: Whose) -> RunFindings:
    """The same recording is judged once, however often the page gathers what there is."""
    return RunFindings(recording, whose)
