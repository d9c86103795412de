"""Lines: every point drawn, marks where they lie on the axis, words for everything."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from vmcompare.evidence.units import MIB
from vmcompare.plots.lines import NO_MARKS, Line, lines
from vmcompare.plots.picture import Picture
from vmcompare.sandbox import Machine, Platform, Series

CONTAINER = Series(Platform.CONTAINER)
VM = Series(Platform.VM, Machine.Q35)
POINTS = tuple((float(n), n * 3.0 * MIB) for n in (1, 2, 4, 4, 6))


LINES = [
    Line(CONTAINER, "container", POINTS, ((1, 3 * MIB), (6, 18 * MIB)), "3 MiB each"),
    Line(VM, "vm, aged", ((2, 40 * MIB),), hollow=True),
    Line(None, "paid = given", drawn=((0, 0), (6, 6 * MIB)), dashed=True),
]


def drawn(shown: Sequence[Line] = LINES, marks: Mapping[str, float] = NO_MARKS) -> Picture:
    return lines(
        "All together", shown, marks, x_label="instances, N", x_ticks=(0, 2, 4, 6), what="Memory",
        caption="recorded",
    )  # fmt: skip


def test_every_point_is_drawn_in_mib() -> None:
    axes = drawn().figure.axes[1]
    [points] = [line for line in axes.lines if line.get_marker() == "s"]
    assert list(points.get_xdata()) == [1, 2, 4, 4, 6]
    assert list(points.get_ydata()) == [3, 6, 12, 12, 18]
    assert axes.get_ylim()[0] == 0


def test_two_lines_of_one_series_can_be_told_apart() -> None:
    axes = drawn().figure.axes[1]
    [aged] = [line for line in axes.lines if line.get_marker() == "h"]
    assert aged.get_markerfacecolor() == "white"


def test_a_mark_is_drawn_where_it_lies_on_the_axis_and_named_wherever_it_lies() -> None:
    picture = drawn(marks={"paid back": 3.5, "far": 70.0, "at once": 0.4})
    axes = picture.figure.axes[1]
    marks = [line for line in axes.lines if line.get_linestyle() == ":"]
    assert [line.get_xdata()[0] for line in marks] == [3.5]
    assert [text.get_text() for text in axes.texts] == ["a"]
    for words in ("paid back", "far", "at once"):
        assert words in picture.alt


def test_the_key_names_every_line() -> None:
    words = [text.get_text() for text in drawn().figure.axes[0].texts]
    assert {"All together", "container", "3 MiB each", "vm, aged", "paid = given"} <= set(words)


def test_the_alt_text_says_how_many_points_there_are_and_how_far_they_reach() -> None:
    alt = drawn().alt
    assert "container 3 MiB each, 5 points from x = 1 to 6, 3.00 MiB to 18.0 MiB" in alt
    assert "nan" not in alt


def test_where_nothing_is_drawn_the_axis_has_a_height_all_the_same() -> None:
    assert drawn([]).figure.axes[1].get_ylim()[1] > 0


def test_the_same_lines_always_give_the_same_bytes() -> None:
    assert drawn().svg() == drawn().svg()
