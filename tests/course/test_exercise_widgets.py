"""Widgets and paper: the same tasks, asked with a kernel and without one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from bs4 import BeautifulSoup
from planted import planted, starts
from test_exercises import NUMBER, PICK, QUESTION, toy

from vmcompare.course import exercise_widgets, exercises
from vmcompare.course.exercises import Tasks
from vmcompare.evidence.view import compose


@pytest.fixture
def tasks(private_places: Path, tmp_path: Path) -> Tasks:
    return toy(compose(planted(tmp_path / "rows", starts(rounds=3)), None), called="boot")


def soup(markup: str) -> BeautifulSoup:
    return BeautifulSoup(markup, "html.parser")


class TestAForm:
    def form(self, tasks: Tasks, exercise: Any = NUMBER) -> exercise_widgets.ExerciseForm:
        return exercise_widgets.ExerciseForm(tasks, exercise)

    def test_asks_with_heading_task_code_and_the_unit_in_words(self, tasks: Tasks) -> None:
        form = self.form(tasks)
        asked, answer, *_ = form.box.children
        words = soup(asked.value)
        assert words.h3.text == "A toy number"
        assert words.select_one(".vmc-kind").text == (
            'Fill in · 8 minutes · in class · or in a cell: boot.answer("number", …)'
        )
        assert words.strong.text == "long"
        assert words.pre.text == "boot.view.values()\nvmcompare.lesson.x"
        assert answer.children[1].value == "seconds"
        assert form.said.value == ""

    def test_says_hints_one_by_one_and_offers_the_solution_last(self, tasks: Tasks) -> None:
        form = self.form(tasks)
        form.field.value = 9
        form.button.click()
        assert "Hint 1." in form.said.value
        assert "Hint 2." not in form.said.value
        assert form.offer.layout.display == "none"
        form.button.click()
        assert soup(form.said.value).select("p")[2].text == "Hint 2. Look at two."
        assert form.offer.layout.display == ""
        form.offer.click()
        assert "<strong>0.100 s</strong>" in form.solution.value
        form.field.value = 0.1
        form.button.click()
        assert "Toy reason." in form.said.value
        assert "Hint" not in form.said.value

    def test_a_value_that_arrives_just_after_its_click_is_judged_in_place_of_the_old_one(
        self, tasks: Tasks, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        now = [100.0]
        monkeypatch.setattr("vmcompare.course.page.time.monotonic", lambda: now[0])
        form = self.form(tasks)
        form.button.click()  # overtakes the value: 0 was never meant
        assert "Hint 1." in form.said.value
        now[0] += 0.3
        form.field.value = 9
        assert "Hint 1." in form.said.value
        assert "Hint 2." not in form.said.value
        now[0] += 0.3
        form.field.value = 0.1
        assert "Toy reason." in form.said.value
        now[0] += 5
        form.field.value = 8  # typed, and not yet checked
        assert "Toy reason." in form.said.value
        form.button.click()
        assert "Hint 1." in form.said.value
        assert "Hint 2." not in form.said.value

    def test_is_as_it_was_left_when_it_is_opened_again(self, tasks: Tasks) -> None:
        first = self.form(tasks)
        first.field.value = 9
        first.button.click()
        again = self.form(toy(tasks.view()))
        assert again.field.value == 9
        assert "Your answer: 9.00 s" in again.said.value
        assert "Hint 1." in again.said.value
        assert 'role="alert"' in first.said.value
        assert 'role="alert"' not in again.said.value  # nobody has just answered

    def test_of_choices_has_them_as_words_and_none_chosen(self, tasks: Tasks) -> None:
        form = self.form(tasks, PICK)
        assert [label for label, _ in form.field.options] == ["The clock", "The unit"]
        assert form.field.value is None
        form.button.click()
        assert "Please give one of the choices" in form.said.value
        form.field.value = "The `clock`"
        form.button.click()
        assert "It is sound." in form.said.value
        assert self.form(toy(tasks.view()), PICK).field.value == "The `clock`"


def test_a_quiz_answers_every_choice_and_remembers_the_last(tasks: Tasks) -> None:
    radio, said = exercise_widgets.questions(tasks).children[1].children[1:]
    for choice, sign in zip(QUESTION.choices, "✗✓", strict=True):
        radio.value = choice.text
        assert sign in said.value
        assert choice.feedback in said.value
    radio, said = exercise_widgets.questions(toy(tasks.view())).children[1].children[1:]
    assert radio.value == "That"
    assert "Kept earlier." in said.value


class TestOnPaper:
    def test_an_exercise_has_a_line_to_write_on_closed_hints_and_its_answer(
        self, tasks: Tasks
    ) -> None:
        first, second = soup(exercises.exercises_html(tasks)).select("section")
        assert first.h3.text == "A toy number"
        assert "Your answer: ___" in first.select_one(".vmc-predict").text
        assert first.select_one(".vmc-predict").text.endswith("seconds")
        closed = first.select("details.vmc-answer")
        assert not any(details.has_attr("open") for details in closed)
        assert [d.summary.text for d in closed] == ["Hint 1", "Hint 2", "Model answer"]
        assert "It is 0.100 s." in closed[-1].text
        assert len(second.select("input[type=radio]")) == 2

    def test_the_same_without_rows_is_a_sentence(self, private_places: Path) -> None:
        markup = exercises.exercises_html(toy(compose(None, None)))
        assert "There is no container start. Next step: replay a recording." in markup

    def test_a_quiz_has_native_radio_buttons_each_with_its_words(self, tasks: Tasks) -> None:
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
