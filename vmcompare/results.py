"""A lesson in tables: what can be measured, predictions beside what was found, claims judged.

Plain rows for :func:`vmcompare.page.table`; nothing here draws.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from . import assembly, claims
from .recording import Recording
from .sandbox import Availability, Platform
from .units import written
from .view import Outcome, View


@dataclass(frozen=True, slots=True)
class Prediction:
    """A question that is answered before measuring."""

    name: str
    question: str
    unit: str


def availability(
    platforms: Sequence[Platform],
    found: Mapping[str, Availability],
    *,
    live: Collection[Platform],
) -> list[dict[str, str]]:
    """One row a platform: whether it is measured here or replayed, why, and the next step.

    Args:
        platforms: those of the experiment.
        found: what each engine's probe said.
        live: those that the session may measure; it replays the others, whatever could be had.
    """
    rows = []
    for platform in platforms:
        engine = found[assembly.engine_of(platform)]
        here = engine.ok and platform in live
        rows.append(
            {
                "platform": platform.value,
                "here": "live" if here else "recorded",
                "because": _because(engine) if here or not engine.ok else "replay was chosen",
                "next step": "" if engine.ok else engine.next_step,
            }
        )
    return rows


def comparison(
    asked: Sequence[Prediction],
    guesses: Mapping[str, float],
    outcomes: Mapping[str, Outcome],
    view: View,
) -> Iterator[Mapping[str, str]]:
    """One row a prediction: the guess, what the view gives, and how far they are apart."""
    for prediction in asked:
        outcome = outcomes[prediction.name]
        found, guess = outcome(view), guesses.get(prediction.name)
        under = " (software emulation)" if view.emulated(outcome.platforms) else ""
        yield {
            "question": prediction.question,
            "you predicted": written(guess, prediction.unit) if guess else "–",
            "found": "not measured here"
            if found is None
            else written(found, prediction.unit) + under,
            "found ÷ predicted": f"{found / guess:.2g}×" if found and guess else "–",
        }


def findings(
    lesson: str, runs: Sequence[tuple[str, Recording | None]]
) -> Iterator[Mapping[str, str]]:
    """One row for each of the lesson's claims and each run: the finding that its rule gives.

    Args:
        lesson: its number.
        runs: each run with how it is shown (``"measured"`` or ``"recorded"``).
    """
    everything = claims.load()
    parts = Counter(claim.id for claim in everything)
    for claim in (c for c in everything if lesson in c.lessons):
        for shown, run in runs:
            if run is None:
                continue
            finding = claims.judge(claim, run.frame())
            yield {
                "claim": f"{claim.id} {claim.part}" if parts[claim.id] > 1 else claim.id,
                "the article says": f"“{claim.quote}”",
                "finding": str(finding.verdict),
                "why": _why(finding),
                "from": f"{shown}, run {run.run_id}",
            }


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
    if details.get("accelerator") == "tcg":
        return f"QEMU {engine.version}, software emulation"
    return f"ready ({engine.version})" if engine.version else "ready"
