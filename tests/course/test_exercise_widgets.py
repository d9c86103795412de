"""Widgets and paper: the same tasks, asked with a kernel and without one."""

from __future__ import annotations

from pathlib import Path

import pytest
from bs4 import BeautifulSoup
from planted import planted, starts
from test_exercises import NUMBER, PICK, QUESTION, toy

from vmcompare.course import exercises
from vmcompare.course.exercises import Tasks
from vmcompare.evidence.view import View, compose


@pytest.fixture
def tasks(private_places: Path, tmp_path: Path) -> Tasks[View]:
    return toy(compose(planted(tmp_path / "rows", starts(rounds=3)), None), called="boot")


def soup(markup: str) -> BeautifulSoup:
    return BeautifulSoup(markup, "html.parser")


class TestChoices:
    def test_are_words_and_none_is_chosen(self, tasks: Tasks[View]) -> None:
        box, _ = exercises.exercise_widget(tasks, PICK)
        _, radio, said = box.children
        assert [label for label, _ in radio.options] == ["The clock", "The unit"]
        assert radio.value is None
        assert said.value == ""

    def test_each_gets_its_words_and_a_wrong_one_a_hint(self, tasks: Tasks[View]) -> None:
        _, radio, said = exercises.exercise_widget(tasks, PICK)[0].children
        radio.value = "The `clock`"
        assert "It is sound." in said.value
        assert "Hint 1." in said.value
        assert 'boot.solution("pick")' in soup(said.value).text
        assert soup(said.value).style
        assert 'role="alert"' in said.value
        radio.value = "The unit"
        assert "It was ms." in said.value
        assert "Hint" not in said.value

    def test_are_as_they_were_left_when_the_notebook_is_opened_again(
        self, tasks: Tasks[View]
    ) -> None:
        exercises.exercise_widget(tasks, PICK)[0].children[1].value = "The `clock`"
        box, refresh = exercises.exercise_widget(toy(tasks.shown()), PICK)
        _, radio, said = box.children
        assert radio.value == "The `clock`"
        refresh()
        assert soup(said.value).select("p")[1].text == "Hint 1. Read it again."
        assert "Your kept answer: The clock." in said.value
        assert 'role="alert"' not in said.value  # nobody has just answered


def test_a_quiz_answers_every_choice_and_remembers_the_last(tasks: Tasks[View]) -> None:
    radio, said = exercises.quiz_widget(tasks).children[1].children[1:]
    for choice, sign in zip(QUESTION.choices, "✗✓", strict=True):
        radio.value = choice.text
        assert sign in said.value
        assert choice.feedback in said.value
    radio, said = exercises.quiz_widget(toy(tasks.shown())).children[1].children[1:]
    assert radio.value == "That"
    assert "Kept earlier." in said.value


class TestOnPaper:
    def test_an_exercise_has_a_line_to_write_on_closed_hints_and_its_answer(
        self, tasks: Tasks[View]
    ) -> None:
        first, second = (soup(exercises.exercise_html(tasks, e)) for e in (NUMBER, PICK))
        assert "Your answer: ___" in " ".join(first.select_one(".vmc-predict").text.split())
        assert first.select_one(".vmc-predict").text.endswith("seconds")
        closed = first.select("details.vmc-answer")
        assert not any(details.has_attr("open") for details in closed)
        assert [d.summary.text for d in closed] == ["Hint 1", "Hint 2", "Model answer"]
        assert "It is 0.100 s." in closed[-1].text
        assert len(second.select("input[type=radio]")) == 2

    def test_the_same_without_rows_is_a_sentence(self, private_places: Path) -> None:
        markup = exercises.exercise_html(toy(compose(None, None)), NUMBER)
        assert "There is no container start. Next step: replay a recording." in markup

    def test_a_quiz_has_native_radio_buttons_each_with_its_words(self, tasks: Tasks[View]) -> None:
        quiz = soup(exercises.questions_html(tasks))
        [group] = quiz.select("fieldset")
        assert group.legend.text == "1. What is so?"
        radios = group.select("input[type=radio]")
        assert len({radio["name"] for radio in radios}) == 1
        for radio, choice in zip(radios, QUESTION.choices, strict=True):
            assert group.select_one(f"label[for={radio['id']}]").text == choice.text
            said = radio.find_next("p")
            assert said.text.endswith(choice.feedback)
            sign = said.select_one("[role=img]")
            assert sign["aria-label"] == ("Right:" if choice.right else "Not right:")
        ids = [tag["id"] for tag in quiz.select("[id]")]
        assert len(ids) == len(set(ids))
        assert "That" in quiz.select_one("details.vmc-answer").text
        assert not quiz.select("form, script, button")
