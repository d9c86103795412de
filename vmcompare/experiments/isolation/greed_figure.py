"""Greed: what the neighbour of a memory hog and of a fork loop feels, arm by arm."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Any

from vmcompare.errors import Unavailable
from vmcompare.evidence.units import ratio, seconds, size, written
from vmcompare.evidence.view import View
from vmcompare.experiments.isolation.rows import NESTED, NEXT
from vmcompare.plots import style
from vmcompare.plots.groups import EMULATION
from vmcompare.plots.picture import Picture
from vmcompare.sandbox import Platform

if TYPE_CHECKING:
    import pandas as pd

HARDLY = 1.2
"""Up to this much over quiet, a neighbour is said to have hardly felt it: a fifth, a choice."""

QUIET, STRETCHES = "quiet", ("quiet", "memory hog", "fork loop")


@dataclass(frozen=True, slots=True)
class Felt:
    """What a neighbour's heart felt in one stretch.

    Attributes:
        arm: who held the greedy one, in words.
        series: gives its look.
        stretch: what the greedy one did.
        p50_s, p99_s: percentiles of the gaps, one a round.
        got: what the greedy one got in this stretch, in words; empty where nothing was counted.
    """

    arm: str
    series: style.Series
    stretch: str
    p50_s: tuple[float, ...]
    p99_s: tuple[float, ...]
    got: str


def felt(view: View) -> list[Felt]:
    """All arms and stretches in order.

    Raises:
        Unavailable: nobody was greedy yet.
    """
    frame = view.frame
    wanted = ["gap_p50_s", "gap_p99_s", "cgroup_bytes", "item_count", "guest_ram_to_limit_ratio"]
    rows = frame[frame["metric"].isin(wanted) & (frame["status"] == "ok")]
    rows = rows[rows["phase"].isin(STRETCHES)]
    found = []
    for (arm, series), some in _arms(rows):
        for stretch in STRETCHES:
            those = some[some["phase"] == stretch]
            p50, p99 = (
                tuple(those[those["metric"] == name]["value"])
                for name in ("gap_p50_s", "gap_p99_s")
            )
            if p50 and p99:
                found.append(Felt(arm, series, stretch, p50, p99, _got(those)))
    if not found:
        raise Unavailable("no neighbour has been disturbed yet", NEXT)
    return found


def _arms(rows: pd.DataFrame) -> list[tuple[tuple[str, style.Series], pd.DataFrame]]:
    """Rows of one run by arm, in the course's order."""
    found = []
    keys = [
        (Platform.CONTAINER, "without limits", NESTED),
        (Platform.CONTAINER, "with limits", NESTED),
        (Platform.CONTAINER, "with limits", ""),
        (Platform.VM_DIRECT, "", ""),
    ]
    for platform, held, runtime in keys:
        nested = rows["runtime"] == NESTED
        some = rows[
            (rows["platform"] == str(platform))
            & (rows["confinement"] == held)
            & (nested if runtime else ~nested)
        ]
        if some.empty:
            continue
        some = some[some["run_id"] == some["run_id"].iloc[0]]
        where = " (in a guest)" if runtime else ""
        name = f"container, {held}{where}" if platform is Platform.CONTAINER else "VM beside VM"
        if (some["accel"] == "tcg").any() and not runtime:
            name += f" · {EMULATION}"
        found.append(((name, style.Series(platform)), some))
    return found


def _got(rows: pd.DataFrame) -> str:
    """What a greedy one got, the median of the rounds."""
    forms: Mapping[str, Callable[[float], str]] = {
        "cgroup_bytes": size,
        "guest_ram_to_limit_ratio": lambda value: f"{value:.2f} of its -m",
        "item_count": lambda value: f"{value:.0f} processes",
    }
    return ", ".join(
        form(median(values))
        for metric, form in forms.items()
        if len(values := rows[rows["metric"] == metric]["value"])
    )


@style.own()
def greed(view: View) -> Picture:
    """For each arm and stretch the median gap and the 99th percentile, every round a mark."""
    found = felt(view)
    arms = list(dict.fromkeys(one.arm for one in found))
    rows = len(found) + len(arms)
    figure = style.figure(0.22 * rows + 0.85)
    axes = figure.subplots()
    y = float(rows)
    ticks = {}
    for arm in arms:
        y -= 1
        axes.text(
            0.01, y, arm, transform=axes.get_yaxis_transform(), va="center",
            fontsize=style.SMALL_PT, fontweight="bold", bbox=style.PLATE,
        )  # fmt: skip
        for one in (f for f in found if f.arm == arm):
            y -= 1
            ticks[y] = one.stretch
            axes.text(
                1, y, one.got, transform=axes.get_yaxis_transform(), ha="right", va="center",
                fontsize=style.SMALL_PT - 0.5, bbox=style.PLATE,
            )  # fmt: skip
            look = one.series.look
            low, high = median(one.p50_s), median(one.p99_s)
            axes.plot([low, high], [y, y], color=look.colour, linewidth=1.6)
            axes.plot(one.p50_s, [y] * len(one.p50_s), "|", color=look.colour, markersize=8)
            axes.plot(
                one.p99_s, [y] * len(one.p99_s), look.marker, color=look.colour, markersize=5.5,
                markeredgecolor="white", markeredgewidth=0.5,
            )  # fmt: skip
    everything = [value for one in found for value in (*one.p50_s, *one.p99_s)]
    style.log_seconds(axes, [*everything, max(everything) * 4])  # room for words
    axes.set_yticks(list(ticks), list(ticks.values()))
    axes.set_ylim(-0.7, rows + 0.6)
    axes.text(
        1, rows, "the greedy one got", transform=axes.get_yaxis_transform(), ha="right",
        va="center", fontsize=style.SMALL_PT - 0.5, color=style.GREY,
    )  # fmt: skip
    axes.set_xlabel("the neighbour’s gaps: | median, marker 99 %", fontsize=style.SMALL_PT)
    style.plain(axes)
    alt = "; ".join(
        f"{one.arm}, {one.stretch}: median {seconds(median(one.p50_s))}, 99 % within "
        f"{seconds(median(one.p99_s))}" + (f", the greedy one got {one.got}" if one.got else "")
        for one in found
    )
    emulated = (view.frame["accel"] == "tcg").any()
    caption = f"{view.caption()}. One mark a round. {_worse(found)} " + (
        f"Guests ran under {EMULATION}: compare a stretch with the quiet one of its own arm, not "
        "arms with each other."
        if emulated
        else ""
    )
    return Picture(figure, f"What the neighbour felt. {alt}.", caption.strip())


def _worse(found: list[Felt]) -> str:
    """How much worse than quiet it was for the neighbour, at the most."""
    quiet = {one.arm: median(one.p99_s) for one in found if one.stretch == QUIET}
    times = {
        one: median(one.p99_s) / quiet[one.arm]
        for one in found
        if one.stretch != QUIET and one.arm in quiet
    }
    if not times:
        return ""
    worst = max(times, key=lambda one: times[one])
    felt_it = "The neighbour hardly felt it: at" if times[worst] < HARDLY else "At"
    return (
        f"{felt_it} the most, the neighbour’s 99 % was {ratio(times[worst])} that of its quiet "
        f"stretch ({worst.arm}, {worst.stretch}). Whether a limit held shows in what the greedy "
        "one got, on the right. A heart needs little memory and no new process; others may feel "
        "more."
    )


def limits_table(view: View) -> pd.DataFrame:
    """Each arm and stretch, how much worse than quiet, and what became of the greedy one."""
    import pandas as pd

    found = felt(view)
    quiet = {one.arm: median(one.p99_s) for one in found if one.stretch == QUIET}
    rows = [
        {
            "held by": one.arm,
            "the other one is": one.stretch,
            "median gap": seconds(median(one.p50_s)),
            "99 % within": seconds(median(one.p99_s)),
            "× quiet": ratio(median(one.p99_s) / quiet[one.arm]) if one.arm in quiet else "–",
        }
        for one in found
    ]
    return pd.DataFrame(rows)


BECAME = "what became of the "

_ASKED = {
    "guest_ram_to_limit_ratio": "guest RAM in use ÷ what -m allows",
    "host_cpu_to_vcpu_ratio": "host CPU seconds ÷ (processors × wall)",
    "cgroup_bytes": "peak memory of its control group",
    "item_count": "processes reached",
}


def held_table(view: View) -> pd.DataFrame:
    """Whether the limits held: what the greedy ones got, and what became of them.

    Raises:
        Unavailable: nothing of it was measured.
    """
    import pandas as pd

    frame = view.frame
    wanted = frame["metric"].isin(_ASKED) & ~frame["phase"].astype(str).str.startswith("system")
    became = (frame["metric"] == "observation") & frame["phase"].astype(str).str.startswith(BECAME)
    rows: dict[tuple[str, str], dict[str, list[str]]] = {}
    for row in frame[wanted | became].to_dict("records"):
        nested = " (in a guest)" if row["runtime"] == NESTED else ""
        held = f", {row['confinement']}" if row["confinement"] else ""
        under = f", {EMULATION}" if row["accel"] == "tcg" else ""
        who = f"{row['platform']}{held}{nested}{under}"
        what = _ASKED.get(str(row["metric"]), str(row["phase"]))
        found = rows.setdefault((who, str(row["shown"])), {})
        found.setdefault(what, []).append(_cell(row))
    if not rows:
        raise Unavailable("nobody has asked for more than a limit yet", NEXT)
    return pd.DataFrame(
        [
            {"who": who, "what was found": _joined(found), "shown": shown}
            for (who, shown), found in rows.items()
        ]
    )


def _joined(found: Mapping[str, Sequence[str]]) -> str:
    """``"what: a; b. what else: c."``, each answer once."""
    return " ".join(
        f"{what[:1].upper()}{what[1:]}: {'; '.join(dict.fromkeys(some))}."
        for what, some in found.items()
    )


def _cell(row: Mapping[Hashable, Any]) -> str:
    if row["status"] != "ok":
        return f"failed: {row['error']}"
    if row["metric"] == "observation":
        return str(row["text"])
    value = float(row["value"])
    if row["metric"] == "cgroup_bytes":
        return size(value)
    return written(value, "processes") if row["metric"] == "item_count" else ratio(value)
