"""Curves of a model, and the letters of their marks."""

from __future__ import annotations

import pytest

from vmcompare.plots.model import Curve, curves
from vmcompare.plots.style import Series
from vmcompare.sandbox import Platform

X = tuple(float(step) for step in range(1, 21))
LINES = [Curve(Series(Platform.VM), "vm", tuple(10 / x for x in X))]


@pytest.mark.parametrize(
    ("places", "letters"),
    [
        ((2.0, 4.0, 8.0), ["a", "b", "c"]),
        ((4.16, 2.42, 2.47), ["b c", "a"]),
        ((3.0, 25.0, 3.1), ["a c"]),
    ],
)
def test_letters_of_marks_that_lie_close_stand_side_by_side(
    places: tuple[float, ...], letters: list[str]
) -> None:
    marks = {f"work {number}": place for number, place in enumerate(places)}
    picture = curves(X, LINES, marks, 0, x_label="slow-down")
    assert [text.get_text() for text in picture.figure.axes[1].texts] == letters
