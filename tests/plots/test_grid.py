"""Grids of letters: equal values look equal, changes stand out, and both are said in words."""

from __future__ import annotations

from vmcompare.plots.grid import NOTHING, GridRow, changes, sharing


def test_letters_follow_the_values_from_left_to_right() -> None:
    assert GridRow("kernel", ("6.1", "6.1", "6.2", None, "6.1")).letters() == (
        "a", "a", "b", NOTHING, "a",
    )  # fmt: skip


def test_equal_words_of_two_kernels_are_two_things_where_the_keys_say_so() -> None:
    row = GridRow("pid namespace", ("…836", "…836"), (("host", "…836"), ("guest", "…836")))
    assert row.letters() == ("a", "b")


def test_sharing_is_said_in_words_with_the_values() -> None:
    picture = sharing(
        ["host", "cont.\nA", "vm-\ndirect"],
        [
            GridRow("boot id", ("1111", "1111", "2222")),
            GridRow("userland", ("Debian", None, "Alpine")),
        ],
        caption="recorded", what="Who shares what.",
    )  # fmt: skip
    assert "boot id, 2 different: host, cont. A: 1111; vm-direct: 2222." in picture.alt
    assert "cont. A: not known" in picture.alt
    assert picture.svg().startswith("<svg")


ROWS = [
    GridRow("files", ("outside", "box", "box")),
    GridRow("processes", ("58", "58", "1")),
    GridRow("boot id", ("11", "11", "11")),
]


def test_a_change_is_told_from_the_step_before() -> None:
    picture = changes(["start", "chroot", "pid"], ROWS, caption="", what="By hand.")
    assert "chroot changed files from outside to box" in picture.alt
    assert "pid changed processes from 58 to 1" in picture.alt
    assert picture.alt.endswith("Never changed: boot id.")


def test_what_is_not_known_is_no_change() -> None:
    picture = changes(["start", "chroot"], [GridRow("files", ("out", None))], caption="", what="")
    assert "chroot changed nothing" in picture.alt
