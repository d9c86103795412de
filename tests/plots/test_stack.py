"""What a whole is made of, as stacked bars."""

from __future__ import annotations

from vmcompare.plots.stack import Whole, stack

WHOLES = [
    Whole("container", {"programs": 3.0, "firmware": 0.0, "modules": 0.0, "kernel": 0.0}),
    Whole("vm-direct", {"programs": 3.0, "firmware": 0.0, "modules": 0.0, "kernel": 2.0}),
    Whole("vm", {"programs": 3.0, "firmware": 0.0, "modules": 4.0, "kernel": 2.0}),
]


def test_a_part_has_the_same_number_in_every_bar() -> None:
    picture = stack(WHOLES, what="Bytes", caption="")
    drawn = " ".join(text.get_text() for text in picture.figure.axes[0].texts)
    drawn = drawn.replace("\u00a0", " ")
    assert drawn.count("3 kernel") == 2  # of the direct-boot VM too, which has no modules
    assert "2 kernel" not in drawn
    assert "2 modules" in drawn


def test_a_part_that_no_bar_has_takes_no_number() -> None:
    picture = stack(WHOLES, what="Bytes", caption="")
    assert "firmware" not in "".join(text.get_text() for text in picture.figure.axes[0].texts)
    assert "firmware" not in picture.alt


def test_first_parts_that_are_equal_in_two_bars_are_listed_once() -> None:
    same = {"application": 1.0, "libraries": 2.0, "programs": 3.0}
    wholes = [Whole("container", {**same, "kernel": 0.0}), Whole("vm", {**same, "kernel": 4.0})]
    picture = stack(wholes, what="Bytes", caption="")
    drawn = " ".join(text.get_text() for text in picture.figure.axes[0].texts)
    drawn = drawn.replace("\u00a0", " ")
    assert drawn.count("2 libraries") == 1
    assert "1–3 as above · 4 kernel" in drawn
    assert picture.alt.count("libraries") == 2


def test_two_pictures_number_a_part_alike_though_one_leaves_out_another() -> None:
    moved = [Whole("container", {"save": 1.0, "load": 2.0})]
    picture = stack(moved, what="Seconds", caption="", order=["save", "transfer", "load"])
    drawn = " ".join(text.get_text() for text in picture.figure.axes[0].texts)
    assert "3 load" in drawn.replace("\u00a0", " ")
    assert "transfer" not in drawn
