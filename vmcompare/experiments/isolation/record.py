"""The public record of both sides on one time line, and what its length cannot say."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vmcompare.evidence import cves
from vmcompare.evidence.literature import CHECKED
from vmcompare.plots import style
from vmcompare.plots.picture import Picture
from vmcompare.sandbox import Platform

if TYPE_CHECKING:
    import pandas as pd

    from vmcompare.evidence.view import View

KINDS = {
    "container": ("container tools", style.Series(Platform.CONTAINER)),
    "kernel": ("the kernel that containers share", style.Series(Platform.PROCESS)),
    "vm": ("hypervisors, and what a guest reaches", style.Series(Platform.VM)),
}
"""Kind → in words, and whose look."""

CANNOT_SAY = (
    "Examples, not a census: how many lines a side has says nothing about its risk. What is used "
    "more is looked at more; one computer runs one of these hypervisors but always a kernel; and "
    "who may reach a weakness differs from line to line. Scores of different CVSS versions are "
    "not compared."
)


def known() -> pd.DataFrame:
    """The lines that were checked, by kind and date."""
    table = cves.load()
    table = table[table["checked"] == CHECKED]
    order = table["kind"].map(list(KINDS).index)
    return table.assign(order=order).sort_values(["order", "published"]).drop(columns="order")


@style.own()
def timeline(_view: View) -> Picture:
    """Every checked weakness on one time line, by the kind of what was weak."""
    table = known()
    kinds = [kind for kind in KINDS if (table["kind"] == kind).any()]
    rows = len(table) + 1.3 * len(kinds)
    figure = style.figure(0.185 * rows + 0.55)
    axes = figure.subplots()
    first, last = (int(end) for end in (table["year"].min(), table["year"].max()))
    y = rows
    told = []
    for kind in kinds:
        words, series = KINDS[kind]
        y -= 1.3
        axes.text(first - 0.4, y + 0.15, words, fontsize=style.SMALL_PT, fontweight="bold")
        some = table[table["kind"] == kind]
        for row in some.to_dict("records"):
            y -= 1
            when = _year(row["published"])
            axes.plot([first - 0.4, when], [y + 0.35] * 2, color="#DDDDDD", linewidth=0.7, zorder=0)
            axes.plot(when, y + 0.35, series.look.marker, color=series.look.colour, markersize=5.5)
            left = when < (first + last) / 2
            axes.text(
                when + (0.25 if left else -0.25), y + 0.35, _name(row["component"]),
                ha="left" if left else "right", va="center", fontsize=8, bbox=style.PLATE,
            )  # fmt: skip
            told.append(f"{row['published'][:4]} {row['component']}")
    axes.set_xlim(first - 0.4, last + 1)
    axes.set_ylim(-0.4, rows - 0.2)
    axes.set_yticks([])
    years = range(first, last + 1, 2 if last - first > 8 else 1)
    axes.set_xticks(list(years), [str(year) for year in years])
    axes.grid(axis="x", color="#E6E6E6", linewidth=0.6)
    axes.set_axisbelow(True)
    style.plain(axes)
    unchecked = len(cves.load()) - len(table)
    caption = (
        f"Literature: the public record (NVD and makers’ advisories). {CANNOT_SAY} {unchecked} "
        "known lines are left out because their record was not read."
    )
    return Picture(figure, f"Weaknesses made public, by date: {'; '.join(told)}.", caption)


def cves_table(_view: View) -> pd.DataFrame:
    """Every checked weakness with its record, its score as written there, and a sentence."""
    import pandas as pd

    table = pd.DataFrame(
        [
            {
                "weakness": f"[{row['cve']}]({row['url']})",
                "what, and in a sentence": f"{row['component']}: {row['summary']}",
                "where": KINDS[row["kind"]][0],
                "score (CVSS version)": row["cvss"] or "none",
            }
            for row in known().to_dict("records")
        ]
    )
    table.attrs["caption"] = (
        "Literature: the public record (NVD and makers’ advisories); examples, not a census. "
        "CISA KEV: an official list of weaknesses that have been used in attacks."
    )
    return table


def _year(date: str) -> float:
    year, month, day = (int(part) for part in date.split("-"))
    return year + (month - 1) / 12 + (day - 1) / 365


def _name(component: str) -> str:
    """A component without its versions."""
    return component.split(" <")[0].split(" 0.")[0].split(" 1.")[0].split(" 34.")[0].split(",")[0]
