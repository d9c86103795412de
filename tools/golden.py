"""``python -m tools.golden``: everything the recordings say in the lessons, as JSON.

For every recording of the project: each table's cells, each figure's alternative text, caption and
axis data, each outcome, what-if position, exercise answer and finding. ``tests/golden/``
holds the result, and ``tests/test_golden.py`` compares it with what the code says now. Whoever
changes what is shown makes the files anew (``make golden``) and says in the commit which values
changed, and why.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from vmcompare.course import text as lesson_text
from vmcompare.course.exercises import Exercise, S, asked, tasks, works
from vmcompare.course.lesson import findings_rows
from vmcompare.course.text import Section
from vmcompare.course.verdict import claims_table
from vmcompare.course.verdict import explain as verdict_explain
from vmcompare.errors import VmcompareError
from vmcompare.evidence.claims import runs
from vmcompare.evidence.recording import read, recordings
from vmcompare.evidence.view import RECORDED, View, compose
from vmcompare.experiments.explanation import explanation, of_table
from vmcompare.measuring.experiment import discover
from vmcompare.paths import data_dir, lessons_dir
from vmcompare.paths.lessons import lesson_files
from vmcompare.plots import svg
from vmcompare.plots.picture import Picture, WhatIf

TARGET = Path(__file__).parent.parent / "tests" / "golden"

DIGITS = 6
"""Significant digits that are kept of a number: the last ones differ between processors."""

LISTED = 12
"""Points of a line that are written down one by one; of a longer one the ends and a digest."""

_TAG = re.compile(r"<[^>]+>")


def everything() -> dict[str, Callable[[], dict[str, Any]]]:
    """File name (without suffix) → what makes its content: one a recording, and the verdict."""
    made: dict[str, Callable[[], dict[str, Any]]] = {"verdict": of_verdict}
    for experiment in discover():
        for path in recordings(data_dir() / "recordings", experiment):
            made[f"{experiment}-{path.stem}"] = partial(of_recording, experiment, path)
    return made


def shown(experiment: str, view: View) -> dict[str, dict[str, Callable[[], Any]]]:
    """Kind → name → what makes it of a view, with its words: pictures, rows and caption, models."""
    explain = explanation(experiment)
    numbers = [n for n, on in lesson_files(lessons_dir()).items() if experiment in on.experiments]
    words = [found for n in numbers if (found := lesson_text.of_lesson(n))]

    def section(kind: str, name: str) -> Section | None:
        return next(filter(None, (one.find(kind, name) for one in words)), None)

    def rows_of(name: str) -> Any:
        rows = explain.tables[name](view)
        return lesson_text.table(
            rows, section("table", name), lambda: of_table(explain, name, view)
        )

    return {
        "tables": {n: partial(rows_of, n) for n in explain.tables},
        "figures": {
            n: lambda n=n, f=f: lesson_text.caption(f(view), section("figure", n))
            for n, f in explain.figures.items()
        },
        "whatifs": {
            n: lambda n=n, w=w: lesson_text.whatif(w(view), section("what-if", n))
            for n, w in explain.whatifs.items()
        },
        "replays": {n: partial(d.replay, view) for n, d in explain.demos.items()},
    }


def of_recording(experiment: str, path: Path) -> dict[str, Any]:
    """What the lessons on one experiment show of one recording."""
    recording = read(path)
    view = compose(None, recording)
    lessons = lesson_files(lessons_dir())
    numbers = [n for n, on in lessons.items() if experiment in on.experiments]
    outcomes = explanation(experiment).outcomes.items()
    forms: dict[str, Callable[[Any], Any]] = {
        "tables": lambda made: table(*made),
        "figures": figure,
        "whatifs": whatif,
        "replays": words_of,
    }
    made = {
        kind: {n: _or_error(lambda m=m, form=forms[kind]: form(m())) for n, m in makes.items()}
        for kind, makes in shown(experiment, view).items()
    }
    replays = made.pop("replays")
    found: dict[str, Any] = {
        "outcomes": {n: _or_error(lambda o=o: number(o(view))) for n, o in outcomes},
        **made,
        "grids": {},
        "replays": replays,
        "exercises": {},
        "questions": {},
    }
    for lesson in numbers:
        exercises, questions = asked(experiment, lesson)
        found["exercises"] |= {n: exercise(e, view) for n, e in exercises.items()}
        found["questions"] |= {
            q.name: {"right": [c.text for c in q.choices if c.right]} for q in questions
        }
        found[f"asked in lesson {lesson}"] = [*exercises, *(q.name for q in questions)]
    gathered = runs.gather(own=False)
    for lesson in lesson_files(lessons_dir()).values():
        if lesson.experiment == experiment:
            rows = findings_rows(lesson.number, [(RECORDED, recording)], lambda: gathered)
            found[f"findings of lesson {lesson.number}"] = [
                {
                    **{name: text(str(cell)) for name, cell in row.items()},
                    "told": [f"{name}: {'; '.join(said)}" for name, said in row["told"]],
                }
                for row in rows
            ]
    return found


def of_verdict() -> dict[str, Any]:
    """What lesson 09 says by the project's recordings."""
    shown = runs.gather(own=False)
    explained, words = verdict_explain.explained, lesson_text.of_lesson("09")
    assert words
    exercises, questions = tasks(words, explained)
    return {
        "claims": {
            p.claim.name: {
                "finding": plain(asdict(p.finding)),
                "run": p.run.recording.run_id if p.run else None,
                "lesson": p.lesson.number if p.lesson else None,
                "accelerators": sorted(p.accelerators),
            }
            for p in shown.parts
        },
        "rows": {c.id: str(c.finding.verdict) for c in shown.claims},
        "caption": shown.caption(),
        "table": words_of(claims_table(shown.claims)),
        "figures": {n: figure(f(shown)) for n, f in explained.figures.items()},
        "tables": {n: table(list(t(shown)), "") for n, t in explained.tables.items()},
        "works": {
            work.name: {choice.text: choice.feedback for choice in work.choices}
            for work in works(words, verdict_explain.choices(shown))
        },
        "outcomes": {n: verdict_explain.count(shown, n) for n in verdict_explain.COUNTED},
        "exercises": {n: exercise(e, shown) for n, e in exercises.items()},
        "questions": {q.name: {"right": [c.text for c in q.choices if c.right]} for q in questions},
    }


# ---- one thing each ----------------------------------------------------------------------------


def table(rows: list[dict[str, str]], caption: str) -> dict[str, Any]:
    """The cells of a table, row by row, and its caption."""
    return {
        "columns": list(rows[0]) if rows else [],
        "rows": [[text(str(cell)) for cell in row.values()] for row in rows],
        "caption": caption,
    }


def figure(picture: Picture) -> dict[str, Any]:
    """Alternative text, caption, and of each pair of axes what is drawn where."""
    axes = [
        {
            "x": [ax.get_xscale(), *map(number, ax.get_xlim()), ax.get_xlabel()],
            "y": [ax.get_yscale(), *map(number, ax.get_ylim()), ax.get_ylabel()],
            "title": [ax.get_title(loc=where) for where in ("left", "center", "right")],
            "lines": [points(line.get_xydata()) for line in ax.lines],
            "marks": [points(marks.get_offsets()) for marks in ax.collections],
            "areas": [points(area.get_extents().get_points()) for area in _in_data(ax)],
            "words": sorted(words.get_text() for words in ax.texts if words.get_text()),
        }
        for ax in picture.figure.axes
    ]
    return {"alt": picture.alt, "caption": picture.words, "axes": axes}


def whatif(model: WhatIf) -> dict[str, Any]:
    """Every position of the slider with the words of its picture."""
    drawn = [model.draw(value) for value in model.values]
    sizes = {tuple(picture.figure.get_size_inches()) for picture in drawn}
    assert len(sizes) == 1, "positions of a slider differ in size: the page would jump"
    return {
        "label": model.label,
        "start": model.start,
        "formula": model.formula,
        "source": model.source,
        "positions": {
            f"{place}: {model.text(value)}": {"alt": picture.alt, "caption": picture.words}
            for place, (value, picture) in enumerate(zip(model.values, drawn, strict=True))
        },
    }


def exercise(asked: Exercise[S], shown: S) -> dict[str, Any]:
    """The model answer, and what is said to each choice, or to a number that is far off."""
    answers: Iterable[float | str] = () if asked.in_words else asked.choices or (-1.0,)

    def said(answer: float | str) -> dict[str, Any]:
        reply = asked.check(shown, answer)
        return {"right": reply.right, "text": reply.text}

    return {
        "solution": _or_error(lambda: asked.solution(shown)),
        "answers": {str(answer): _or_error(partial(said, answer)) for answer in answers},
    }


# ---- values ------------------------------------------------------------------------------------


def number(value: Any) -> Any:
    """A number to :data:`DIGITS` significant digits; text where JSON has no word for it."""
    if value is None or isinstance(value, bool | str):
        return value
    value = float(value)
    return float(f"{value:.{DIGITS}g}") if math.isfinite(value) else str(value)


def points(pairs: Any) -> Any:
    """Points as pairs; many of them by their ends and a digest."""
    found = [[number(x) for x in pair] for pair in pairs]
    if len(found) <= LISTED:
        return found
    digest = hashlib.sha256(json.dumps(found).encode()).hexdigest()[:16]
    return {"n": len(found), "first": found[0], "last": found[-1], "digest": digest}


def text(markup: str) -> str:
    """HTML as the words in it."""
    return " ".join(_TAG.sub(" ", markup).split())


def words_of(shown: Any) -> str:
    """The words of whatever is displayed."""
    markup = shown._repr_html_() if hasattr(shown, "_repr_html_") else str(shown)
    return text(svg.as_images(str(markup)))


def plain(value: Any) -> Any:
    """A value as JSON has it, its numbers rounded."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    return number(value)


def _in_data(ax: Any) -> list[Any]:
    """The outlines of the patches of ``ax``, in its data coordinates."""
    back = ax.transData.inverted()
    return [patch.get_path().transformed(patch.get_patch_transform() + patch.get_data_transform()
            + back) for patch in ax.patches]  # fmt: skip


def _or_error(made: Callable[[], Any]) -> Any:
    try:
        return made()
    except VmcompareError as error:
        return {"error": str(error)}


def main() -> None:
    """Write all files, and remove those of recordings that are gone."""
    TARGET.mkdir(parents=True, exist_ok=True)
    made = everything()
    for old in TARGET.glob("*.json"):
        if old.stem not in made:
            old.unlink()
    for name, make in made.items():
        content = json.dumps(make(), indent=1, ensure_ascii=False)
        (TARGET / f"{name}.json").write_text(f"{content}\n", encoding="utf-8")
    print(f"wrote {len(made)} files to tests/{TARGET.name}/")


if __name__ == "__main__":
    main()
