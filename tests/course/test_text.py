"""The words of a lesson: read from Markdown, filled with values, and each with its Python."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from vmcompare.course import text
from vmcompare.course.exercises import Tasked, tasks
from vmcompare.course.verdict import explain as verdict_explain
from vmcompare.errors import TextError, Unavailable
from vmcompare.evidence.claims import runs
from vmcompare.evidence.recording import read, recordings
from vmcompare.evidence.view import View, compose
from vmcompare.experiments.explanation import Explanation, explanation
from vmcompare.paths import data_dir, lessons_dir
from vmcompare.paths.lessons import lesson_files
from vmcompare.plots.picture import Picture, WhatIf

WHOLE = """# Words of a toy lesson

Notes for whoever translates it.

## exercise: share
- Hint: Look at `{parts}`,
  and again.
- Hint: Divide.

### Right
That is {why}.

### Model answer
The share is **{share} %**,
as measured.
{if emulated} It ran under emulation.
{if not emulated} It ran on hardware.

Of $a_{share}$:

- one {share}
- two

```python
print(f"{share}")

x = 1
```

## exercise: pick
- [ ] This `one`
  : No, for
  two lines.
- [x] That
  : Yes, {why}.

- Hint: Think.

### Model answer
That.

## question: belief
What is
so?
- [x] This
  : Yes.
- [ ] That
  : No.

## what-if: often
Label: starts
Unit:
Formula: W = \\tilde{t}
Inputs: medians;
  {source}

{if many} Too many at {rate}.
"""

VALUES = {"share": "66", "emulated": True, "why": "so", "whole": 1.5}


def written(place: Path, content: str) -> text.Text:
    path = place / "99-toy.md"
    path.write_text(content, encoding="utf-8")
    return text.read(path)


@pytest.fixture
def whole(tmp_path: Path) -> text.Text:
    return written(tmp_path, WHOLE)


def found(words: text.Text, kind: str, name: str) -> text.Section:
    section = words.find(kind, name)
    assert section
    return section


class TestReading:
    def test_a_section_has_its_hints_choices_parts_and_fields(self, whole: text.Text) -> None:
        assert found(whole, "exercise", "share").hints == (
            "Look at `{parts}`, and again.",
            "Divide.",
        )
        pick = found(whole, "exercise", "pick")
        assert [(c.text, c.feedback, c.right) for c in pick.choices] == [
            ("This `one`", "No, for two lines.", False),
            ("That", "Yes, {why}.", True),
        ]
        assert pick.hints == ("Think.",)
        assert found(whole, "question", "belief").prose == "What is so?"
        often = found(whole, "what-if", "often")
        assert often.fields["Formula"] == r"W = \tilde{t}"
        assert often.fields["Inputs"] == "medians; {source}"
        assert whole.find("figure", "often") is None

    @pytest.mark.parametrize(
        ("content", "line", "said"),
        [
            ("## exercises: x\n", 1, "kind: name"),
            ("## question: x\n\n- [x] a\n  : b\n", 1, "asks nothing"),
            ("## question: x\nWhat?\n- [ ] a\n  : b\n", 1, "exactly one choice is right, not 0"),
            ("## question: x\nWhat?\n- [x] a\n- [ ] b\n  : c\n", 1, "its feedback"),
            ("## question: x\nWhat?\n- [x] a\nb\n", 4, "two spaces"),
            ("## exercise: x\n- Hint: a\n", 1, "Model answer"),
            ("## exercise: x\n- Hint: a\n### Answer\nb\n", 3, "Model answer"),
            ("## exercise: x\n\nWhat?\n", 1, "what is this line for? “What?”"),
            ("## what-if: x\nLabel: a\n", 1, "“Unit: …” is missing"),
            ("## figure: x\na\n\n## figure: x\nb\n", 4, "two of that name"),
        ],
    )
    def test_what_cannot_be_read_is_named_with_its_file_line_and_section(
        self, tmp_path: Path, content: str, line: int, said: str
    ) -> None:
        with pytest.raises(TextError, match=r"99-toy\.md, line") as caught:
            written(tmp_path, content)
        assert (caught.value.line, said in str(caught.value)) == (line, True)

    @pytest.mark.parametrize("content", [b"\xff", None])
    def test_a_file_that_is_no_text_is_one_sentence(
        self, tmp_path: Path, content: bytes | None
    ) -> None:
        path = tmp_path / "99-toy.md"
        path.write_bytes(content) if content else path.mkdir()
        with pytest.raises(TextError, match=r"the text 99-toy\.md cannot be read"):
            text.read(path)


class TestFilling:
    def test_values_stand_for_placeholders_but_not_in_code_or_formulas(
        self, whole: text.Text
    ) -> None:
        section = found(whole, "exercise", "share")
        answer = section.parts["Model answer"]
        assert section.fill(answer, VALUES) == (
            "The share is **66 %**, as measured. It ran under emulation.\n\n"
            "Of $a_{share}$:\n\n- one 66\n- two\n\n"
            '```python\nprint(f"{share}")\n\nx = 1\n```'
        )
        assert "on hardware" in section.fill(answer, VALUES | {"emulated": False})
        assert text.placeholders(answer) == {"share", "emulated"}

    def test_a_paragraph_that_does_not_apply_is_left_out(self, whole: text.Text) -> None:
        often = found(whole, "what-if", "often")
        assert often.fill(often.prose, {"many": False}) == ""
        assert often.fill(often.prose, {"many": True, "rate": 2.50}) == "Too many at 2.5."

    def test_a_placeholder_without_a_value_is_named_with_its_section(
        self, whole: text.Text
    ) -> None:
        section = found(whole, "exercise", "share")
        with pytest.raises(TextError, match=r"exercise: share.*no value for \{why\}.*: share"):
            section.fill(section.parts["Right"], {"share": 1})


class TestMeetingPython:
    def tasks(self, whole: text.Text) -> Tasked[View]:
        explained = Explanation[View]()
        explained.check("share", unit="per cent", within=0.01)(lambda _: 66.0)
        explained.values("share")(lambda _: VALUES)
        explained.values("pick")(lambda _: VALUES)

        return tasks(whole, explained)

    def test_a_number_is_compared_and_the_text_says_why(self, whole: text.Text) -> None:
        exercises, questions = self.tasks(whole)
        share, nothing = exercises["share"], compose(None, None)
        assert (
            share.check(nothing, 66.1).text == "Yes: the data shown give 66 per cent. That is so."
        )
        assert share.check(nothing, 60).text == "Not yet: that is less than the data shown give."
        assert share.unit == "per cent"
        assert [q.name for q in questions] == ["belief"]

    def test_what_is_said_to_a_choice_may_hold_values(self, whole: text.Text) -> None:
        pick = self.tasks(whole)[0]["pick"]
        assert pick.check(compose(None, None), "That").text == "Yes, so."
        assert not pick.check(compose(None, None), "This `one`").right

    def test_a_model_gets_its_words_and_each_position_its_own(self, whole: text.Text) -> None:
        def draw(rate: float) -> Picture:
            return Picture(Any, "alt", "Recorded.", {"many": rate > 1, "rate": rate})

        model = WhatIf((1, 2), 0, draw, placeholders={"source": "run x"})
        worded = text.whatif(model, whole.find("what-if", "often"))
        assert (worded.label, worded.unit, worded.source) == ("starts", "", "medians; run x")
        assert worded.draw(1).words == "Recorded."
        assert worded.draw(2).words == "Too many at 2. Recorded."
        assert text.whatif(model, None) is model


# ---- every lesson's text ------------------------------------------------------------------------

FILES = sorted((lessons_dir() / "text").glob("[0-9]*.md"))
every_text = pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)


def experiment_of(path: Path) -> str:
    """The experiment of a text's lesson; empty for the verdict."""
    lesson = lesson_files()[path.stem.split("-")[0]]
    assert lesson.notebook.stem == path.stem
    return str(lesson.experiment)


def all_explained(path: Path) -> Mapping[str, Explanation[Any]]:
    """Experiment → what it explains, the lesson's first one first; ``""`` of the verdict."""
    named = lesson_files()[path.stem.split("-")[0]].experiments
    return {name: explanation(name) for name in named} or {"": verdict_explain.explained}


def explained_of(path: Path) -> Explanation[Any]:
    return next(iter(all_explained(path).values()))


@cache
def shown_of(path: Path, experiment: str | None = None) -> Any:
    """What is explained: a view of the project's recording, or all recordings for the verdict."""
    if not (experiment := experiment_of(path) if experiment is None else experiment):
        return runs.gather(own=False)
    found = next(iter(recordings(data_dir() / "recordings", experiment)), None)
    return compose(None, read(found) if found else None)


def cells(path: Path) -> list[str]:
    notebook = lessons_dir() / f"{path.stem}.ipynb"
    return ["".join(c["source"]) for c in json.loads(notebook.read_text(encoding="utf-8"))["cells"]]


@every_text
def test_a_lesson_asks_one_exercise_in_class_and_three_to_five_questions(path: Path) -> None:
    words, asked = text.read(path), cells(path)
    said, above = "\n".join(asked), ""
    for exercise in words.all("exercise"):
        [place] = [n for n, cell in enumerate(asked) if f'check_answer("{exercise.name}"' in cell]
        assert "minutes · " in asked[place - 1], "above an exercise stand kind, minutes and where"
        above += asked[place - 1]
    assert above.count(" minutes · in class*") == 1
    assert said.count("check_answer(") == len(words.all("exercise"))
    assert said.count(" minutes · homework*") == len(words.all("exercise")) - 1
    assert 3 <= len(words.all("question")) <= 5


def declared(explained: Explanation[Any]) -> Mapping[str, set[str]]:
    """Kind of section → names that Python declares and that need (or may have) words."""
    return {
        "what-if": set(explained.whatifs),
        "exercise": set(explained.numbers),
        "figure": set(explained.figures),
        "table": set(explained.tables),
        "demo": set(explained.demos),
    }


def texts_of(explained: Explanation[Any]) -> list[text.Text]:
    """The texts of the lessons on what is explained: two, where two lessons share it."""
    return [text.read(path) for path in FILES if explained in all_explained(path).values()]


@every_text
def test_every_section_has_its_python_and_what_needs_words_has_them(path: Path) -> None:
    explained = all_explained(path).values()
    texts = [words for one in explained for words in texts_of(one)]
    known = {kind: set() for kind in declared(explained_of(path))}
    for one in explained:
        for kind, declares in declared(one).items():
            known[kind] |= declares
    names = {kind: {s.name for t in texts for s in t.all(kind)} for kind in text.KINDS}
    static = {
        s.name for t in texts for s in t.all("exercise") if s.choices or text.OWN_WORDS in s.parts
    }
    for kind, python in known.items():
        assert names[kind] - (static if kind == "exercise" else set()) <= python, kind
    for kind in ("what-if", "exercise"):
        assert known[kind] <= names[kind], kind
    for kind, name in (place for one in explained for place in one.placeholders):
        assert name in names[kind], f"values of {kind} {name} are never used"


def given(section: text.Section, explained: Explanation[Any], view: Any) -> Iterator[Any]:
    """Words of a section with the values that Python gives for them."""
    values = explained.placeholders.get((section.kind, section.name), lambda _: {})
    if section.kind == "exercise":
        yield (
            "\n\n".join([*section.parts.values(), *(c.feedback for c in section.choices)]),
            values(view),
        )
    elif section.kind == "what-if":
        model = explained.whatifs[section.name](view)
        drawn = model.draw(model.values[model.start])
        fields = [section.fields[name] for name in ("Label", "Unit", "Inputs")]
        yield "\n\n".join([*fields, section.prose]), {**model.placeholders, **drawn.placeholders}
    elif section.kind == "figure":
        yield section.prose, explained.figures[section.name](view).placeholders
    elif section.kind == "table":
        source = {"brief": "", "source": ""}  # every table may name them
        yield section.prose + "{brief}{source}", source | dict(values(view))


@every_text
@pytest.mark.parametrize(
    "kinds",
    [("exercise", "table"), ("figure", "what-if")],
    ids=("computed", "drawn"),
)
def test_every_placeholder_has_its_value_and_every_value_its_placeholder(
    path: Path, kinds: tuple[str, ...]
) -> None:
    for section in (s for kind in kinds for s in text.read(path).all(kind)):
        whose = all_explained(path).items()
        explains = {n: one for n, one in whose if section.name in declared(one)[section.kind]}
        name, explained = next(iter((explains or dict(whose)).items()))
        view = shown_of(path, name)
        try:
            for words, values in given(section, explained, view):
                assert text.placeholders(words) == set(values), f"{section.kind}: {section.name}"
        except Unavailable:
            continue  # the project has no recording of this


@every_text
def test_choices_are_answered_each_in_its_own_words(path: Path) -> None:
    shown = shown_of(path)
    exercises, questions = tasks(text.read(path), explained_of(path))
    for exercise in exercises.values():
        if exercise.choices:
            said = [exercise.check(shown, choice) for choice in exercise.choices]
            assert sum(feedback.right for feedback in said) == 1
            assert len({feedback.text for feedback in said}) == len(said)
        assert exercise.solution(shown)
    names = [*exercises, *(question.name for question in questions)]
    assert len(set(names)) == len(names)
