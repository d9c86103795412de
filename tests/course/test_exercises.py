"""What is said to an answer: reasons, hints in order, judged by the data shown, kept, reopened."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from planted import planted, starts

from vmcompare.course import answers
from vmcompare.course.answers import Kind as Answered
from vmcompare.course.exercises import Exercise, Tasks, near, source
from vmcompare.course.text import Choice, Section
from vmcompare.errors import Unavailable, UnknownName
from vmcompare.evidence.view import View, compose
from vmcompare.experiments.explanation import Number
from vmcompare.paths import answers_path

ROOT = Path(__file__).parent.parent.parent


def median_s(view: View) -> float:
    rows = view.values(metric="start_to_first_byte_s", platform="container")
    if rows.empty:
        raise Unavailable("there is no container start", "replay a recording")
    return float(rows["value"].median())


def section(kind: str, name: str, *choices: Choice, prose: str = "", **more: Any) -> Section:
    hints, parts = more.pop("hints", ()), more
    return Section(Path("99-toy.md"), 1, kind, name, {}, prose, hints, choices, parts)


NUMBER = Exercise(
    section(
        "exercise",
        "number",
        hints=("Look at `one`.", "Look at *two*."),
        **{"Right": "Toy reason.", "Model answer": "It is **{median} s**."},
    ),
    Number(median_s, "s", 0.1),
    lambda view: {"median": f"{median_s(view):.3f}"},
)
PICK = Exercise(
    section(
        "exercise",
        "pick",
        Choice("The `clock`", "It is sound."),
        Choice("The unit", "It was ms.", right=True),
        hints=("Read it again.",),
        **{"Model answer": "The unit."},
    )
)
QUESTION = section(
    "question",
    "belief",
    Choice("This", "No, for the figure shows …"),
    Choice("That", "So it is.", right=True),
    prose="What is so?",
)


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> View:
    return compose(planted(tmp_path_factory.mktemp("rows"), starts(rounds=3)), None)


@pytest.fixture
def tasks(private_places: Path, shown: View) -> Tasks[View]:
    return toy(shown)


def toy(view: View, called: str = "lesson") -> Tasks[View]:
    return Tasks("99", {"pick": PICK, "number": NUMBER}, (QUESTION,), lambda: view, called)


class TestAnswering:
    def test_every_further_wrong_answer_brings_the_next_hint_and_after_the_last_an_offer(
        self, tasks: Tasks[View]
    ) -> None:
        first, second, third = (tasks.check("number", 9) for _ in range(3))
        assert [r.right for r in (first, second, third)] == [False] * 3
        assert first.text == "Not yet: that is more than the data shown give."
        assert [len(r.hints) for r in (first, second, third)] == [1, 2, 2]
        assert second.hints == NUMBER.section.hints
        assert [bool(r.solve) for r in (first, second, third)] == [False, True, True]

    def test_a_right_answer_says_what_the_data_give_and_why(self, tasks: Tasks) -> None:
        reply = tasks.check("number", 0.1)
        assert reply.right
        assert reply.text == "Yes: the data shown give 100 ms. Toy reason."
        assert reply.hints == ()
        assert reply.solve == 'lesson.solution("number")'
        assert "measured, run " in reply.checked_on

    def test_a_choice_that_is_no_matter_of_data_does_not_claim_to_be_checked_on_any(
        self, tasks: Tasks[View]
    ) -> None:
        name = next(n for n, e in tasks.exercises.items() if not e.on_rows)
        assert tasks.check(name, tasks.exercises[name].choices[0]).checked_on == ""

    def test_many_runs_are_counted_and_not_listed(self, shown: View) -> None:
        assert source(replace(shown, sources=shown.sources * 7)) == "7 runs"

    def test_an_answer_is_judged_by_the_rows_shown_at_that_moment(
        self, private_places: Path, shown: View
    ) -> None:
        now = [shown]
        tasks = Tasks("99", {"number": NUMBER}, (), lambda: now[0])
        assert tasks.check("number", 0.1).right
        now[0] = replace(shown, frame=shown.frame.assign(value=shown.frame["value"] * 3))
        again = tasks.again("number")
        assert again is not None
        assert again.right is False
        assert again.hints == ()  # looking again is no further try
        assert tasks.check("number", 0.3).right
        assert "**0.300 s**" in tasks.solution("number")

    def test_what_the_rows_lack_is_a_sentence_with_the_next_step_and_no_wrong_answer(
        self, private_places: Path
    ) -> None:
        tasks = toy(compose(None, None))
        reply = tasks.check("number", 1)
        assert reply.right is None
        assert reply.text == "There is no container start. Next step: replay a recording."
        assert reply.hints == ()
        assert tasks.solution("number") == reply.text
        assert answers.kept("99", Answered.EXERCISE)["number"] == {"answer": 1, "wrong": 0}

    def test_three_dots_are_no_answer_and_say_how_to_give_one(
        self, tasks: Tasks[View], shown: View
    ) -> None:
        reply = tasks.answer("number", ...)
        assert (reply.right, reply.hints) == (None, ())
        assert reply.text.startswith("Not answered yet. Put a number, in seconds, in place of the")
        tasks.check("number", 7)
        again = toy(shown).answer("number", ...)
        assert again.right is False
        assert again.note == "Your kept answer: 7.00 s."
        assert again.hints == NUMBER.section.hints[:1]  # looking again is no further try

    @pytest.mark.parametrize("answer", ["", "much", None, True, float("nan"), [1]])
    def test_what_is_no_number_is_asked_for_again_and_not_counted(
        self, tasks: Tasks[View], answer: object
    ) -> None:
        reply = tasks.check("number", answer)
        assert (reply.right, reply.text) == (None, "Please give a number, in seconds.")
        assert tasks.kept("number") is None

    def test_a_choice_is_meant_by_its_text_its_words_or_its_number(self, tasks: Tasks) -> None:
        for answer in ("The `clock`", "The clock", 1, "1"):
            assert tasks.check("pick", answer).text == "It is sound."
        for answer in ("the clocks", 0, 3, None, 1.5):
            reply = tasks.check("pick", answer)
            assert reply.right is None
            assert "2: The unit" in reply.text

    def test_one_call_answers_exercises_and_questions_and_knows_no_others(
        self, tasks: Tasks[View]
    ) -> None:
        assert tasks.answer("number", "0.1").right
        assert tasks.answer("belief", 2).text == "So it is."
        assert tasks.answer("belief", "This").right is False
        assert tasks.answer("belief", "Neither").right is None
        with pytest.raises(UnknownName, match="pick, number, belief"):
            tasks.answer("beleif", 1)
        with pytest.raises(UnknownName):
            tasks.solution("belief")


class TestKeeping:
    def test_answers_and_hints_are_there_when_the_notebook_is_opened_again(
        self, tasks: Tasks[View], shown: View
    ) -> None:
        tasks.check("number", 7)
        tasks.check("pick", 2)
        tasks.choose(QUESTION, "That")
        again = toy(shown)
        assert again.kept("number") == 7
        reply = again.again("number")
        assert reply is not None
        assert reply.hints == NUMBER.section.hints[:1]
        assert again.kept("pick") == "The unit"
        assert again.chosen(QUESTION) == QUESTION.choices[1]
        assert again.check("number", 7).hints == NUMBER.section.hints

    def test_predictions_exercises_and_questions_of_one_name_are_kept_apart(
        self, private_places: Path
    ) -> None:
        answers.keep("99", "x", 1.5)
        answers.keep("99", "x", {"answer": "a", "wrong": 1}, Answered.EXERCISE)
        answers.keep("99", "x", "b", Answered.QUESTION)
        assert answers.kept("99") == {"x": 1.5}
        assert answers.kept("99", Answered.EXERCISE) == {"x": {"answer": "a", "wrong": 1}}
        assert answers.kept("99", Answered.QUESTION) == {"x": "b"}

    def test_a_file_from_before_there_were_exercises_still_loads(
        self, private_places: Path, shown: View
    ) -> None:
        answers_path().parent.mkdir(parents=True)
        old = {"99": {"container_s": {"value": 0.5, "kept_utc": "2026-01-01T00:00:00Z"}}}
        answers_path().write_text(json.dumps(old))
        assert answers.kept("99") == {"container_s": 0.5}
        toy(shown).check("number", 7)
        assert answers.kept("99") == {"container_s": 0.5}

    @pytest.mark.parametrize("entry", [{"answer": "gone", "wrong": "many"}, {}, 3, None])
    def test_a_kept_answer_that_fits_no_more_is_dropped(
        self, private_places: Path, shown: View, entry: Any
    ) -> None:
        answers.keep("99", "pick", entry, Answered.EXERCISE)
        answers.keep("99", "belief", "a choice of an older version", Answered.QUESTION)
        tasks = toy(shown)
        assert tasks.kept("pick") is None
        assert tasks.again("pick") is None
        assert tasks.chosen(QUESTION) is None

    @pytest.mark.parametrize("content", ["{half", "[1, 2]", '{"99": 3}'])
    def test_a_file_that_is_none_costs_no_answer(
        self, private_places: Path, shown: View, content: str
    ) -> None:
        answers_path().parent.mkdir(parents=True)
        answers_path().write_text(content)
        assert toy(shown).check("number", 0.1).note.startswith("Kept.")
        assert toy(shown).kept("number") == 0.1

    def test_where_nothing_can_be_kept_the_answer_is_still_judged(
        self, tasks: Tasks[View], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def full(*_: object) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("vmcompare.paths.write", full)
        reply = tasks.check("number", 9)
        assert reply.note.startswith("Kept for this session only: ")
        assert "No space left on device" in reply.note
        assert "XDG_DATA_HOME" in reply.note
        assert (reply.right, len(reply.hints)) == (False, 1)
        assert len(tasks.check("number", 9).hints) == 2

    def test_a_page_for_others_neither_shows_nor_keeps_ones_own_answers(
        self, tasks: Tasks[View], shown: View, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        tasks.check("number", 7)
        monkeypatch.setenv("VMCOMPARE_HANDOUT", "1")
        others = toy(shown)
        assert others.kept("number") is None
        others.check("number", 8)
        others.choose(QUESTION, 1)
        monkeypatch.delenv("VMCOMPARE_HANDOUT")
        assert toy(shown).kept("number") == 7
        assert toy(shown).chosen(QUESTION) is None


@pytest.mark.parametrize(
    ("unit", "answer", "said"),
    [
        ("s", 2000.0, "a thousand times too large: seconds or milliseconds?"),
        ("s", 0.002, "a thousand times too small: seconds or milliseconds?"),
        ("s", 200.0, "more than the data shown give"),
        ("bytes", 2.0**-19, "about a million times too small: bytes or MiB?"),
        ("per cent", 0.02, "a hundred times too small: a ratio or per cent?"),
        ("ratio", 0.5, "the ratio the other way round"),
        ("ratio", 3.0, "more than the data shown give"),
        ("layers", 1.0, "less than the data shown give"),
    ],
)
def test_a_wrong_number_is_told_where_it_may_come_from_and_not_the_right_one(
    unit: str, answer: float, said: str
) -> None:
    feedback = near(answer, 2.0, unit)
    assert not feedback.right
    assert said in feedback.text
    assert "2" not in feedback.text
