"""Sizes as dots on one log axis."""

from __future__ import annotations

import re

from vmcompare.plots.marks import Dot, Panels, amounts, sliding_dots
from vmcompare.sandbox import Platform, Series

MIB = float(2**20)
PANELS: Panels = {
    "Sent": [
        Dot(Series(Platform.CONTAINER), "container", 10 * MIB, "10.0 MiB"),
        Dot(Series(Platform.VM), "vm", 60 * MIB, "60.0 MiB"),
        Dot(Series(Platform.VM), "vm, on a backing file", 0.6 * MIB, "614 KiB", hollow=True),
    ],
    "On disk": [Dot(Series(Platform.CONTAINER), "container", 25 * MIB, "25.0 MiB")],
}


def test_the_text_alternative_says_every_panel_and_value() -> None:
    alt = amounts(PANELS, what="Sizes", caption="").alt
    assert alt == (
        "Sizes, on a logarithmic axis. Sent: container 10.0 MiB; vm 60.0 MiB; "
        "vm, on a backing file 614 KiB. On disk: container 25.0 MiB."
    )


def test_all_panels_share_one_axis_and_only_the_last_is_labelled() -> None:
    axes = amounts(PANELS, what="Sizes", caption="").figure.axes
    assert len({one.get_xlim() for one in axes}) == 1
    svg = amounts(PANELS, what="Sizes", caption="").svg()
    assert len(re.findall(r">10 MiB<", svg)) == 1


def test_a_shared_base_is_drawn_hollow() -> None:
    axes = amounts(PANELS, what="Sizes", caption="").figure.axes[0]
    fills = [line.get_markerfacecolor() for line in axes.lines if line.get_marker() != "None"]
    assert fills.count("white") == 1
    assert len(fills) == 3


def doubling(n: float) -> Panels:
    return {
        "Cost": [
            Dot(Series(Platform.CONTAINER), "container", 2 * n, f"{2 * n:g}"),
            Dot(Series(Platform.VM), "vm", 0, "none"),
        ]
    }


MODEL = sliding_dots(
    doubling,
    (1, 10, 100),
    start=9,
    said="{:g} instances.",
    placeholders={"source": "a run"},
)


def test_a_model_starts_at_the_nearest_position_and_says_that_it_is_one() -> None:
    assert MODEL.start == 1
    picture = MODEL.draw(10)
    assert picture.alt == ("10 instances. Cost: container 20; vm none. Modelled, not measured.")


def test_dots_slide_on_an_axis_that_stays_and_keep_off_its_ends() -> None:
    ends = {MODEL.draw(n).figure.axes[0].get_xlim() for n in MODEL.values}
    assert ends == {(1, 400)}
    drawn = [line.get_xdata()[0] for line in MODEL.draw(1).figure.axes[0].lines]
    assert min(x for x in drawn if x) > 1
