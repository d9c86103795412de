"""Rows of two tables of a lesson: what can be measured here, and its claims as they are judged."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

from markupsafe import Markup

from vmcompare import engines
from vmcompare.course import page
from vmcompare.course.templates import render
from vmcompare.evidence import claims
from vmcompare.evidence.claims import Claim, concerned
from vmcompare.evidence.claims.choose import Evidence, Part, part
from vmcompare.evidence.recording import Recording
from vmcompare.plots.verdicts import SIGNS
from vmcompare.sandbox import EMULATION, SOFTWARE, Availability, Platform


def availability(
    platforms: Sequence[Platform],
    found: Mapping[str, Availability],
    chosen: Collection[Platform],
) -> list[dict[str, str]]:
    """One row a platform: whether it is measured here or replayed, why, and the next step.

    Args:
        platforms: those of the experiment.
        found: what each engine's probe said.
        chosen: those that this session measures where it can; the others it replays by choice.
    """
    rows = []
    for platform in platforms:
        engine = found[engines.engine_of(platform)]
        here = engine.ok and platform in chosen
        rows.append(
            {
                "platform": platform.value,
                "here": "live" if here else "recorded",
                "because": _because(engine) if here or not engine.ok else "replay was chosen",
                "next step": "" if engine.ok else engine.next_step,
            }
        )
    return rows


def findings(
    lesson: str,
    runs: Sequence[tuple[str, Recording | None]],
    evidence: Callable[[], Evidence],
) -> Iterator[Mapping[str, str]]:
    """One row for each of the lesson's claims and each run: the finding that its rule gives.

    Where none of the runs holds the rows that a claim takes, the finding is that of the lesson that
    does, and a link leads there.

    Args:
        lesson: its number.
        runs: each run with how it is shown (``"measured"`` or ``"recorded"``).
        evidence: gathers the recordings of all lessons; asked only where it is needed.
    """
    everything = claims.load()
    parts = Counter(claim.id for claim in everything)
    judged = [(shown, run, run.frame()) for shown, run in runs if run is not None]
    gathered: Evidence | None = None
    for claim in (c for c in everything if lesson in c.lessons and judged):
        name = f"{claim.id} {claim.part}" if parts[claim.id] > 1 else claim.id
        found = [(shown, run, claims.judge(claim, frame)) for shown, run, frame in judged]
        if all(finding.lacking for _, _, finding in found):
            gathered = gathered or evidence()
            elsewhere = part(claim, gathered)
            if elsewhere.run is not None and not elsewhere.finding.lacking:
                yield _judged(name, claim.quote, elsewhere.finding, _borrowed(elsewhere))
                continue
        for shown, run, finding in found:
            yield _judged(name, claim.quote, finding, _source(shown, run, claim))


def _source(shown: str, run: Recording, claim: Claim) -> str:
    """Which run a finding is from, and whether its VMs were emulated; nothing for a judgement."""
    if claim.estimand is None:
        return ""
    used = set(concerned(claim.estimand, run.frame())["accel"].dropna())
    return f"{shown}, run {run.run_id}" + (f", {EMULATION}" if SOFTWARE in used else "")


def _judged(name: str, quote: str, finding: claims.Finding, source: str) -> Mapping[str, str]:
    """One line: the claim with its finding; the article's words, the reason, and the run."""
    sign, verdict = SIGNS[finding.verdict], finding.verdict
    return {
        "claim and finding": render("claim", name=name, sign=sign, verdict=verdict),
        "what the article says, and what was found": render(
            "finding", quote=quote, why=_why(finding), source=source
        ),
    }


def _borrowed(elsewhere: Part) -> str:
    """Where the finding of another lesson comes from, with a link to it."""
    assert elsewhere.run is not None
    recording = elsewhere.run.recording
    words = f"{elsewhere.run.whose}, run {recording.run_id}"
    words += f", {EMULATION}" if elsewhere.emulated else ""
    if elsewhere.lesson is None:
        return f"{recording.experiment.replace('_', ' ')}: {words}"
    link = page.lesson_link(elsewhere.lesson.notebook, f"from lesson {elsewhere.lesson.number}")
    return Markup("{}: {}").format(link, words)


def _why(finding: claims.Finding) -> str:
    """The reason, what limits it, and what stands beside it and changes nothing."""
    said = [finding.reason]
    if finding.caveats:
        said.append(f"Caveats: {'; '.join(finding.caveats)}.")
    if finding.listed:
        said.append(f"Beside it: {'; '.join(finding.listed)}.")
    return " ".join(said)


def _because(engine: Availability) -> str:
    if not engine.ok:
        return engine.what
    details = dict(engine.details)
    if details.get("accelerator") == SOFTWARE:
        return f"QEMU {engine.version}, software emulation"
    return f"ready ({engine.version})" if engine.version else "ready"
