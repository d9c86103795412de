"""Sizes as dots on one log axis."""

from __future__ import annotations

import re

from vmcompare.plots.dots import Dot, dots
from vmcompare.plots.style import Series
from vmcompare.sandbox import Platform

MIB = float(2**20)
PANELS = {
    "Sent": [
        Dot(Series(Platform.CONTAINER), "container", 10 * MIB),
        Dot(Series(Platform.VM), "vm", 60 * MIB),
        Dot(Series(Platform.VM), "vm, on a backing file", 0.6 * MIB, hollow=True),
    ],
    "On disk": [Dot(Series(Platform.CONTAINER), "container", 25 * MIB)],
}


def test_the_text_alternative_says_every_panel_and_value() -> None:
    alt = dots(PANELS, what="Sizes", caption="").alt
    assert alt == (
        "Sizes, on a logarithmic axis. Sent: container 10.0 MiB; vm 60.0 MiB; "
        "vm, on a backing file 614 KiB. On disk: container 25.0 MiB."
    )


def test_all_panels_share_one_axis_and_only_the_last_is_labelled() -> None:
    axes = dots(PANELS, what="Sizes", caption="").figure.axes
    assert len({one.get_xlim() for one in axes}) == 1
    svg = dots(PANELS, what="Sizes", caption="").svg()
    assert len(re.findall(r">10 MiB<", svg)) == 1


def test_a_shared_base_is_drawn_hollow() -> None:
    axes = dots(PANELS, what="Sizes", caption="").figure.axes[0]
    fills = [line.get_markerfacecolor() for line in axes.lines if line.get_marker() != "None"]
    assert fills.count("white") == 1
    assert len(fills) == 3
