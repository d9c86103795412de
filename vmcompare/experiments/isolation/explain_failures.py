"""Lesson 05b, explained: kernel panics, noisy neighbours, and published weaknesses.

Every function of a view raises ``Unavailable`` where its rows are not there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import mean, median
from typing import TYPE_CHECKING, Any

from vmcompare.evidence.published import Weakness, load_weaknesses
from vmcompare.evidence.units import ratio, seconds, size, written
from vmcompare.evidence.view import Column, View, absent
from vmcompare.experiments.explanation import Row
from vmcompare.experiments.isolation import heartbeats, kernel_panic
from vmcompare.experiments.isolation.guest_containers import RUNTIME
from vmcompare.experiments.isolation.heartbeats import BEATS_PER_S
from vmcompare.experiments.isolation.kernel_panic import EVENT, FAULTY_PANICS, PRIVILEGED_ASKS
from vmcompare.experiments.isolation.noisy_neighbour import BECAME, QUIET, STRETCHES, WITH, WITHOUT
from vmcompare.plots import marks, style
from vmcompare.plots.dots import Dot, Panels, sliding_dots
from vmcompare.plots.picture import Picture, WhatIf
from vmcompare.sandbox import EMULATION, SOFTWARE, Platform, Series

if TYPE_CHECKING:
    from matplotlib.axes import Axes

HEARTBEATS: Mapping[str, Platform] = {
    phase: source.platform for phase, source in kernel_panic.SOURCES.items()
}
"""Whose heartbeat → whose colour, from top to bottom."""


def _said(source: str) -> str:
    return "the VM of A and B" if source == kernel_panic.THEIRS else source


# ---- heartbeats ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class PanicEvent:
    """What happened: in which second of the axis, which phase, in words; or why it could not."""

    second: int
    phase: str
    text: str
    failed: bool = False

    @property
    def name(self) -> str:
        """What was done."""
        return self.phase.removeprefix(EVENT)


@dataclass(frozen=True, slots=True)
class Beats:
    """All heartbeats of one run.

    Attributes:
        gaps: whose → second → longest gap that ended in it, or time since the last beat (s).
        events: what happened, in order.
        noticed: whose → the row of when its end was noticed (``detection_s``).
        emulated: whether software emulation had a part in it.
    """

    gaps: Mapping[str, Mapping[int, float]]
    events: Sequence[PanicEvent]
    noticed: Mapping[str, Column]
    emulated: bool

    def event(self, phase: str) -> PanicEvent | None:
        """The event of that phase, if it happened."""
        return next((e for e in self.events if e.phase == phase and not e.failed), None)

    def before_s(self, source: str, second: int) -> float:
        """Longest gap of the 30 s before a second; NaN where nothing was heard."""
        try:
            return heartbeats.longest_before_s(self.gaps.get(source, {}), second)
        except ValueError:
            return float("nan")

    def silent(self, source: str) -> list[int]:
        """Seconds in which it was silent: see :func:`.heartbeats.silent_seconds`."""
        events = [event.second for event in self.events]
        return sorted(heartbeats.silent_seconds(self.gaps.get(source, {}), events))

    def misses(self, source: str, second: int) -> bool | None:
        """Whether it missed a beat from a second on; ``None`` where nothing was listened to."""
        try:
            return heartbeats.misses(self.gaps.get(source, {}), second)
        except ValueError:
            return None


def beats(view: View) -> Beats:
    """The heartbeats of the first run that holds those of VMs; else of any run.

    Raises:
        Unavailable: none was listened to.
    """
    heard = view.need("gap_s", "heartbeat")
    of_vms = [
        *view.columns("gap_s", phase=kernel_panic.SIBLING),
        *view.columns("gap_s", phase=kernel_panic.THEIRS),
    ]
    run = (of_vms or heard)[0].run_id
    gaps, noticed = {}, {}
    for source in HEARTBEATS:
        for column in view.columns("gap_s", phase=source, run_id=run):
            gaps[source] = column.medians("rep")
        for column in view.columns("detection_s", phase=source, run_id=run):
            noticed[source] = column
    frame = view.frame
    told = frame[(frame["run_id"] == run) & frame["phase"].astype(str).str.startswith(EVENT)]
    events = [
        PanicEvent(
            int(row["rep"]),
            str(row["phase"]),
            str(row["text"] or row["error"]),
            failed=row["status"] != "ok",
        )
        for row in told.to_dict("records")
    ]
    emulated = any(column.emulated for column in heard if column.run_id == run)
    return Beats(gaps, sorted(events, key=lambda event: event.second), noticed, emulated)


_LOW_S, _HIGH_S = 0.03, 3.0
_WORD = 0.055  # half the width of "silent", as a share of the axis


@style.own()
def heartbeats_figure(view: View) -> Picture:
    """The longest gap in every second, for each heartbeat; where it stopped, a hatched silence."""
    found = beats(view)
    last = max(second for gaps in found.gaps.values() for second in gaps)
    rows = len(found.gaps)
    key_in = 0.2 * (len(found.events) + 2)
    figure = style.figure(0.58 * rows + 0.45 + key_in)
    grid = figure.subplots(rows + 1, 1, height_ratios=[0.58] * rows + [key_in], squeeze=False)[:, 0]
    told = ["Heartbeats on one time axis, the longest gap in every second."]
    told += [f"Second {event.second}: {event.name}, {event.text}." for event in found.events]
    for axes, source in zip(grid, found.gaps, strict=False):
        told.append(_strip(axes, found, source, last))
        if axes is not grid[rows - 1]:
            axes.tick_params(axis="x", labelbottom=False, length=0)
    grid[rows - 1].set_xlabel("seconds on the host’s clock", fontsize=style.SMALL_PT)
    for number, event in enumerate(found.events, start=1):
        for axes in grid[:rows]:
            axes.axvline(event.second, color="black", linewidth=1, linestyle="--")
        grid[0].text(
            event.second, 1.04, str(number), transform=grid[0].get_xaxis_transform(),
            ha="center", va="bottom", fontsize=style.SMALL_PT, fontweight="bold",
        )  # fmt: skip
    _events_key(grid[rows], found)
    failed = "; ".join(f"{e.name} ({e.text})" for e in found.events if e.failed)
    return Picture(
        figure,
        " ".join(told),
        placeholders={"source": view.caption(), "emulated": found.emulated, "failed": failed},
    )


def _strip(axes: Axes, found: Beats, source: str, last: int) -> str:
    """Draw one heartbeat, and say it in words."""
    colour = style.look(Series(HEARTBEATS[source])).colour
    silent = found.silent(source)
    alive = {second: gap for second, gap in found.gaps[source].items() if second not in silent}
    axes.set_yscale("log")
    axes.set_ylim(_LOW_S, _HIGH_S)
    axes.vlines([s + 0.5 for s in alive], _LOW_S, list(alive.values()), color=colour, linewidth=2)
    ends = [s for s in silent if s + 1 not in silent]
    stretches = list(zip([s for s in silent if s - 1 not in silent], ends, strict=True))
    for begin, end in stretches:
        axes.axvspan(begin, end + 1, facecolor=style.SOFT, edgecolor="#8A8A8A", hatch="xxx", lw=0)
        axes.text(
            min((begin + end + 1) / 2, last + 1 - _WORD * (last + 1)), 0.3, "silent",
            ha="center", va="center",
            fontsize=style.SMALL_PT, fontweight="bold", bbox=style.PLATE,
        )  # fmt: skip
    axes.set_xlim(0, last + 1)
    axes.set_yticks([0.05, 1.0], ["50 ms", "1 s"])
    axes.minorticks_off()
    axes.axhline(1.0, color=style.RULE, linewidth=0.6, zorder=0)
    axes.text(
        0.005, 0.93, _said(source), transform=axes.transAxes, va="top",
        fontsize=style.SMALL_PT, fontweight="bold", bbox=style.PLATE,
    )  # fmt: skip
    style.plain(axes)
    axes.tick_params(axis="y", labelsize=style.LEAST_PT)
    words = f"gaps up to {seconds(max(alive.values()))}" if alive else "never heard"
    words += "".join(f", silent from second {begin} on" for begin, _ in stretches[:1])
    return f"{_said(source)}: {words}."


def _events_key(axes: Axes, found: Beats) -> None:
    lines = ["bar: longest gap between two beats that ended in this second"]
    for number, event in enumerate(found.events, start=1):
        said = f"{number}  {event.name}: {event.text}"
        lines.append(said if len(said) < 72 else said[:70] + "…")
    axes.axis("off")
    axes.set_xlim(0, 1)
    axes.set_ylim(-len(lines) + 0.4, 0.6)
    for number, said in enumerate(lines):
        axes.text(
            0, -number, said, va="center", fontsize=style.LEAST_PT, in_layout=False
        )  # fmt: skip


def falls_table(view: View) -> Iterator[Row]:
    """Each heartbeat: its longest gaps before and after each fall, and when its end was noticed."""
    found = beats(view)
    if not found.events:
        raise absent("fall", ", nothing has fallen yet in this run")
    seconds_of = [event.second for event in found.events]
    for source, gaps in found.gaps.items():
        under = f" ({EMULATION})" if found.emulated and source != kernel_panic.HOST else ""
        row = {
            "heart": _said(source) + under,
            "longest gap before": seconds(found.before_s(source, seconds_of[0])),
        }
        silent = found.silent(source)
        for event in found.events:
            end = min((s for s in seconds_of if s > event.second), default=max(gaps) + 1)
            after = {s: gap for s, gap in gaps.items() if event.second <= s < end}
            words = ", silent" if any(s in silent for s in after) else ""
            row[f"after: {event.name}"] = f"{seconds(max(after.values()))}{words}" if after else "–"
        row["end noticed after"] = "–"
        if source in found.noticed:
            noticed = found.noticed[source]
            how = noticed.texts()[source]
            row["end noticed after"] = seconds(noticed.values[0]) + (f" ({how})" if how else "")
        yield row


def sibling_gap_s(found: Beats) -> float | None:
    """The sibling VM's longest gap from the privileged container's panic on."""
    fall = found.event(PRIVILEGED_ASKS)
    gaps = found.gaps.get(kernel_panic.SIBLING, {})
    return max((g for s, g in gaps.items() if s >= fall.second), default=None) if fall else None


def detection_s(found: Beats) -> float | None:
    """When the end of the VM of A and B was noticed."""
    noticed = found.noticed.get(kernel_panic.THEIRS)
    return noticed.values[0] if noticed else None


def silent(found: Beats) -> float | None:
    """How many heartbeats fell silent with the privileged container's panic."""
    fall = found.event(PRIVILEGED_ASKS)
    if fall is None:
        return None
    told = [
        found.misses(source, fall.second) for source in HEARTBEATS if source != kernel_panic.FAULTY
    ]
    return None if None in told else float(sum(bool(missed) for missed in told))


# ---- models --------------------------------------------------------------------------------------

_MISSING_BEATS = (*range(12), 13, 15, 17, 19, 23, 27, 31, 35, 39)

_THREE = 3
"""None of n trials: the true share is under 3/n with 95 % confidence (Hanley and Lippman-Hand,
JAMA 249, 1983). A second is a trial here."""


def detection(view: View) -> WhatIf:
    """A watchdog that waits for k missing beats: soon, or seldom wrong."""
    found = beats(view)
    first = min((event.second for event in found.events), default=None)
    quiet = {}
    for source in (kernel_panic.HOST, kernel_panic.SIBLING, kernel_panic.A):
        gaps = found.gaps.get(source, {}).items()
        if before := [gap for second, gap in gaps if first is None or second < first]:
            quiet[source] = before
    if not quiet:
        raise absent("heartbeat that was listened to before something fell")
    heard = min(map(len, quiet.values()))

    def panels(k: float) -> Panels:
        after_s = (k + 1) / BEATS_PER_S
        wrong = []
        for source, gaps in quiet.items():
            under = f" · {EMULATION}" if source != kernel_panic.HOST and found.emulated else ""
            per_hour = 3600 * sum(gap > after_s for gap in gaps) / len(gaps)
            text = f"{per_hour:,.0f}" if per_hour else "none seen"
            wrong.append(Dot(Series(HEARTBEATS[source]), f"{source}{under}", per_hour, text))
        every = Dot(Series(Platform.PROCESS), "every heart", after_s, seconds(after_s))
        return {"At the latest, the alarm comes after": [every], "False alarms an hour": wrong}

    return sliding_dots(
        panels,
        _MISSING_BEATS,
        start=19,
        said="k = {:g}.",
        placeholders={
            "heard": heard,
            "allowed": f"{3600 * _THREE / heard:.0f}",
            "source": view.caption(),
        },
    )


_INSTANCES = (1, 2, 3, 4, 5, 6, 8, 10, 12, 15, 20, 25, 30, 40, 50, 60, 70, 80, 90, 100)


def blast(view: View) -> WhatIf:
    """n instances on one kernel, or each on its own: how many one panic takes along."""
    found = beats(view)
    on = _share(found, PRIVILEGED_ASKS, kernel_panic.A, kernel_panic.B)
    beside = _share(found, FAULTY_PANICS, kernel_panic.SIBLING)

    def panels(n: float) -> Panels:
        shared, own = n * on, 1 + (n - 1) * beside

        def panel(of_shared: float, of_own: float) -> list[Dot]:
            return [
                Dot(Series(platform), name, value, f"{value:,.3g}")
                for platform, name, value in (
                    (Platform.CONTAINER, "containers on one kernel", of_shared),
                    (Platform.VM_DIRECT, "a VM each", of_own),
                )
            ]

        return {
            "Instances that stop in one accident": panel(shared, own),
            "Accidents a year": panel(1, n),
            "Stops of an instance in a year, all together": panel(shared, own * n),
        }

    return sliding_dots(
        panels,
        _INSTANCES,
        start=20,
        said="{:g} instances.",
        placeholders={
            "emulated": found.emulated,
            "on": float(on),
            "beside": float(beside),
            "source": view.caption(),
        },
    )


def _share(found: Beats, fall: str, *sources: str) -> float:
    """Of these instances, how many fell silent in one fall."""
    event = found.event(fall)
    if event is None:
        raise absent("run with both falls")
    told = [x for source in sources if (x := found.misses(source, event.second)) is not None]
    if not told:
        raise absent("heartbeat that was listened to in these falls")
    return mean(told)


# ---- a noisy neighbour ---------------------------------------------------------------------------

HARDLY = 1.2
"""Up to this much over quiet, a neighbour is said to have hardly felt it: a fifth, a choice."""


@dataclass(frozen=True, slots=True)
class Felt:
    """What a neighbour's heartbeat shows of one stretch.

    Attributes:
        arm: who held the greedy one, in words.
        stretch: what the greedy one did.
        p50, p99: percentiles of the gaps (s), one row a round.
        quiet: the 99th percentile of the arm's quiet stretch (s), if there was one.
        got: what the greedy one got in this stretch, in words; empty where nothing was counted.
    """

    arm: str
    stretch: str
    p50: Column
    p99: Column
    quiet: float | None
    got: str

    @property
    def p50_s(self) -> float:
        """Median of the rounds."""
        return median(self.p50.values)

    @property
    def p99_s(self) -> float:
        """Median of the rounds."""
        return median(self.p99.values)

    @property
    def worse(self) -> float | None:
        """99th percentile as a multiple of the quiet one."""
        return self.p99_s / self.quiet if self.quiet else None


def felt(view: View) -> list[Felt]:
    """All arms and stretches in order.

    Raises:
        Unavailable: nobody was greedy yet.
    """
    found = []
    for platform, held, runtime in (
        (Platform.CONTAINER, WITHOUT, RUNTIME),
        (Platform.CONTAINER, WITH, RUNTIME),
        (Platform.CONTAINER, WITH, ""),
        (Platform.VM_DIRECT, "", ""),
    ):
        gaps = view.columns("gap_p50_s", platform=str(platform), confinement=held)
        middle = next((column for column in gaps if column.series.runtime == runtime), None)
        longest = middle.same_in(view.columns("gap_p99_s", confinement=held)) if middle else None
        if middle is None or longest is None:
            continue
        arm = f"container, {held}" if held else "VM beside VM"
        arm += " (in a guest)" if runtime else ""
        arm += f" · {EMULATION}" if longest.emulated and not runtime else ""
        quiet = longest.medians().get(QUIET)
        for stretch in STRETCHES:
            p50, p99 = middle.where(phase=stretch), longest.where(phase=stretch)
            if p50.n and p99.n:
                got = _got(view, longest, stretch, held)
                found.append(Felt(arm, stretch, p50, p99, quiet, got))
    if not found:
        raise absent("neighbour that was disturbed")
    return found


_FORMS: Mapping[str, Callable[[float], str]] = {
    "cgroup_bytes": size,
    "guest_ram_to_limit_ratio": "{:.2f} of its -m".format,
    "item_count": "{:.0f} processes".format,
}


def _got(view: View, felt: Column, stretch: str, held: str) -> str:
    """What a greedy one got, the median of the rounds."""
    found = (
        (form, felt.same_in(view.columns(metric, phase=stretch, confinement=held)))
        for metric, form in _FORMS.items()
    )
    return ", ".join(form(median(column.values)) for form, column in found if column)


@style.own()
def noisy_neighbour_figure(view: View) -> Picture:
    """One panel an arm, one row a stretch: from the median gap to the 99th percentile, of which
    every round is a mark."""
    found = felt(view)
    arms = {one.arm: [other for other in found if other.arm == one.arm] for one in found}
    figure = style.figure(marks.TALL_IN * len(found) + 0.3 * len(arms) + 0.5)
    heights = [len(some) + 0.3 for some in arms.values()]
    grid = figure.subplots(len(arms), 1, height_ratios=heights, squeeze=False)[:, 0]
    everything = [value for one in found for value in (*one.p50.values, *one.p99.values)]
    for axes, (arm, some) in zip(grid, arms.items(), strict=True):
        rows = [
            marks.Row(
                one.stretch,
                f"got {one.got}" if one.got else "",
                style.look(one.p99.series),
                points=one.p99.values,
                span=(one.p50_s, one.p99_s),
                value=None,
            )
            for one in some
        ]
        marks.draw(axes, rows)
        axes.set_title(arm, fontsize=style.SMALL_PT, loc="left", fontweight="bold")
        style.log_seconds(axes, everything)
        axes.tick_params(axis="x", labelbottom=axes is grid[-1], length=0)
    grid[-1].set_xlabel("the neighbour’s gaps, from median to 99 %", fontsize=style.SMALL_PT)
    alt = "; ".join(
        f"{one.arm}, {one.stretch}: median {seconds(one.p50_s)}, 99 % within {seconds(one.p99_s)}"
        + (f", the greedy one got {one.got}" if one.got else "")
        for one in found
    )
    times = {one.worse: one for one in found if one.worse is not None and one.stretch != QUIET}
    worst = max(times, default=0.0)
    return Picture(
        figure,
        f"What the neighbour felt. {alt}.",
        placeholders={
            "source": view.caption(),
            "hardly": 0 < worst < HARDLY,
            "worst": ratio(worst) if times else "",
            "where": f"{times[worst].arm}, {times[worst].stretch}" if times else "",
            "emulated": view.emulated(),
        },
    )


def noisy_neighbour_table(view: View) -> Iterator[Row]:
    """Each arm and stretch, and how much worse than quiet it was."""
    for one in felt(view):
        yield {
            "held by": one.arm,
            "the other one is": one.stretch,
            "median gap": seconds(one.p50_s),
            "99 % within": seconds(one.p99_s),
            "× quiet": ratio(one.worse) if one.worse else "–",
        }


_GOT = {
    "guest_ram_to_limit_ratio": "guest RAM in use ÷ what -m allows",
    "host_cpu_to_vcpu_ratio": "host CPU seconds ÷ (processors × wall)",
    "cgroup_bytes": "peak memory of its control group",
    "item_count": "processes reached",
}


def limits_table(view: View) -> Iterator[Row]:
    """Whether the limits held: what the greedy ones got, and what became of them."""
    frame = view.frame
    phases = frame["phase"].astype(str)
    became = (frame["metric"] == "observation") & phases.str.startswith(BECAME)
    wanted = frame["metric"].isin(_GOT) & ~phases.str.startswith("system")
    found: dict[tuple[str, str], dict[str, list[str]]] = {}
    for row in frame[wanted | became].to_dict("records"):
        who = ", ".join(filter(None, [row["platform"], row["confinement"]]))
        who += " (in a guest)" if row["runtime"] == RUNTIME else ""
        who += f", {EMULATION}" if row["accel"] == SOFTWARE else ""
        what = _GOT.get(row["metric"], row["phase"])
        what = what[:1].upper() + what[1:]
        found.setdefault((who, row["shown"]), {}).setdefault(what, []).append(_cell(row))
    if not found:
        raise absent("program that asked for more than its limit")
    for (who, shown), answers in found.items():
        once = (f"{what}: {'; '.join(dict.fromkeys(some))}." for what, some in answers.items())
        yield {"who": who, "what was found": " ".join(once), "shown": shown}


def _cell(row: Mapping[Any, Any]) -> str:
    if row["status"] != "ok":
        return f"failed: {row['error']}"
    value = float(row["value"])
    known = {
        "observation": str(row["text"]),
        "cgroup_bytes": size(value),
        "item_count": written(value, "processes"),
    }
    return known.get(row["metric"], ratio(value))


# ---- weaknesses made public ----------------------------------------------------------------------

WEAK = {
    "container": ("container tools", Series(Platform.CONTAINER)),
    "kernel": ("the kernel that containers share", Series(Platform.PROCESS)),
    "vm": ("hypervisors, and what a guest reaches", Series(Platform.VM)),
}
"""Kind → in words, and whose look."""


def weaknesses() -> list[Weakness]:
    """The lines that were checked, by kind and date."""
    checked = [weakness for weakness in load_weaknesses() if weakness.checked]
    return sorted(checked, key=lambda one: (list(WEAK).index(one.kind), one.published))


@style.own()
def weaknesses_figure(_view: View) -> Picture:
    """Every checked weakness on one time line, by the kind of what was weak."""
    known = weaknesses()
    kinds = [kind for kind in WEAK if any(one.kind == kind for one in known)]
    y = rows = len(known) + 1.3 * len(kinds)
    figure = style.figure(0.19 * rows + 0.5)
    axes = figure.subplots()
    years = [int(one.published[:4]) for one in known]
    first, last = min(years), max(years)
    for kind in kinds:
        words, series = WEAK[kind]
        look = style.look(series)
        y -= 1.3
        axes.text(first - 0.4, y + 0.15, words, fontsize=style.SMALL_PT, fontweight="bold")
        for one in known:
            if one.kind != kind:
                continue
            y -= 1
            when = _year(one.published)
            axes.plot(
                [first - 0.4, when], [y + 0.35] * 2, color=style.RULE, linewidth=0.7, zorder=0
            )
            axes.plot(when, y + 0.35, look.marker, color=look.colour, markersize=5.5)
            left = when < (first + last) / 2
            axes.text(
                when + (0.25 if left else -0.25), y + 0.35, one.name,
                ha="left" if left else "right", va="center", fontsize=style.LEAST_PT,
                bbox=style.PLATE,
            )  # fmt: skip
    axes.set_xlim(first - 0.4, last + 1)
    axes.set_ylim(-0.4, rows - 0.2)
    axes.set_yticks([])
    ticks = range(first, last + 1, 2 if last - first > 8 else 1)
    axes.set_xticks(list(ticks), [str(year) for year in ticks])
    axes.grid(axis="x", color=style.RULE, linewidth=0.6)
    axes.set_axisbelow(True)
    style.plain(axes)
    told = "; ".join(f"{one.published[:4]} {one.component}" for one in known)
    unchecked = len(load_weaknesses()) - len(known)
    return Picture(
        figure,
        f"Weaknesses made public, by date: {told}.",
        placeholders={"unchecked": unchecked},
    )


def _year(date: str) -> float:
    year, month, day = (int(part) for part in date.split("-"))
    return year + (month - 1) / 12 + (day - 1) / 365


def weaknesses_table(_view: View) -> Iterator[Row]:
    """Every checked weakness with its record, its score as written there, and a sentence."""
    for one in weaknesses():
        yield {
            "weakness": f"[{one.cve}]({one.url})",
            "what, and in a sentence": f"{one.component}: {one.summary}",
            "where": WEAK[one.kind][0],
            "score (CVSS version)": one.cvss or "none",
        }
