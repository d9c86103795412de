"""Lines: every point drawn, marks where they lie on the axis, words for everything."""

from __future__ import annotations

import pytest

from vmcompare.evidence.units import MIB
from vmcompare.plots.lines import Curve, Line, LinePanel, curves, lines
from vmcompare.plots.picture import Picture
from vmcompare.sandbox import Machine, Platform, Series

CONTAINER = Series(Platform.CONTAINER)
VM = Series(Platform.VM, Machine.Q35)
POINTS = tuple((float(n), n * 3.0 * MIB) for n in (1, 2, 4, 4, 6))
FACTORS = tuple(float(step) for step in range(1, 21))
CURVES = [Curve(Series(Platform.VM), "vm", tuple(10 / x for x in FACTORS))]


def drawn(*panels: LinePanel) -> Picture:
    return lines(
        panels, x_label="instances, N", x_ticks=(0, 2, 4, 6), what="Memory", caption="recorded"
    )


def panel(**more: object) -> LinePanel:
    all_lines = [
        Line(CONTAINER, "container", POINTS, ((1, 3 * MIB), (6, 18 * MIB)), "3 MiB each"),
        Line(VM, "vm, aged", ((2, 40 * MIB),), hollow=True),
        Line(None, "paid = given", drawn=((0, 0), (6, 6 * MIB)), dashed=True),
    ]
    return LinePanel("All together", all_lines, **more)  # type: ignore[arg-type]


def test_every_point_is_drawn_in_mib() -> None:
    axes = drawn(panel()).figure.axes[1]
    [points] = [line for line in axes.lines if line.get_marker() == "s"]
    assert list(points.get_xdata()) == [1, 2, 4, 4, 6]
    assert list(points.get_ydata()) == [3, 6, 12, 12, 18]
    assert axes.get_ylim()[0] == 0


def test_two_lines_of_one_series_can_be_told_apart() -> None:
    axes = drawn(panel()).figure.axes[1]
    [aged] = [line for line in axes.lines if line.get_marker() == "h"]
    assert aged.get_markerfacecolor() == "white"


def test_a_mark_is_drawn_where_it_lies_on_the_axis_and_named_wherever_it_lies() -> None:
    picture = drawn(panel(marks={"paid back": 3.5, "far": 70.0, "at once": 0.4}))
    axes = picture.figure.axes[1]
    marks = [line for line in axes.lines if line.get_linestyle() == ":"]
    assert [line.get_xdata()[0] for line in marks] == [3.5]
    assert [text.get_text() for text in axes.texts] == ["a"]
    for words in ("paid back", "far", "at once"):
        assert words in picture.alt


def test_the_key_names_every_line_and_a_repeating_panel_has_none() -> None:
    picture = drawn(panel(), panel(key=False))
    words = [[text.get_text() for text in axes.texts] for axes in picture.figure.axes]
    assert {"container", "3 MiB each", "vm, aged", "paid = given"} <= set(words[0])
    assert words[2] == ["All together"]


def test_the_alt_text_says_how_many_points_there_are_and_how_far_they_reach() -> None:
    alt = drawn(panel()).alt
    assert "container 3 MiB each, 5 points from x = 1 to 6, 3 to 18 MiB" in alt
    assert "nan" not in alt


def test_a_fixed_top_keeps_the_axis_where_the_data_move() -> None:
    assert drawn(panel(top=100 * MIB)).figure.axes[1].get_ylim() == (0, 100)
    assert drawn(LinePanel("nothing", [])).figure.axes[1].get_ylim()[1] > 0


def test_the_same_lines_always_give_the_same_bytes() -> None:
    assert drawn(panel()).svg() == drawn(panel()).svg()


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
    picture = curves(FACTORS, CURVES, 0, x_label="slow-down", marks=marks)
    assert [text.get_text() for text in picture.figure.axes[1].texts] == letters
