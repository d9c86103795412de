"""The figures: grids of probes, system calls, heartbeats, a noisy neighbour, known weaknesses.

Who got through is told in words and hatching as well as in colour; silence is drawn as silence.
Every function raises ``Unavailable`` where its rows are not there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

from vmcompare.errors import Unavailable
from vmcompare.evidence.published import Figure, Weakness, load_figures, load_weaknesses
from vmcompare.evidence.units import ratio, seconds, size
from vmcompare.evidence.view import MEASURED, NEXT, View, emulated
from vmcompare.experiments.isolation.boundaries import ANSWERED, BRIDGE, LET_THROUGH, OWN_NETWORKS
from vmcompare.experiments.isolation.guest_containers import RUNTIME
from vmcompare.experiments.isolation.heartbeats import BEATS_PER_S
from vmcompare.experiments.isolation.noisy_neighbour import QUIET, STRETCHES, WITH, WITHOUT
from vmcompare.experiments.isolation.probes import FLIPS, ITSELF, PROBES
from vmcompare.experiments.isolation.rows import (
    HEARTS,
    SAID,
    Answer,
    Arm,
    Beats,
    beats,
    count,
    label,
    misconfigured,
    mixed,
    neighbours,
    of_host,
    of_itself,
    of_neighbour,
    of_walls,
    walls,
)
from vmcompare.plots import marks, style
from vmcompare.plots.picture import Picture
from vmcompare.sandbox import EMULATION, Platform, Series

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes


_PROMISE = (
    f"The machines run under {EMULATION}. Which call is refused does not depend on it, but QEMU "
    "promises no security under emulation."
)


USERNS = "--userns stands for what a rootless engine does; docker run has no such word for it."
NO_NETWORK = "They have no network card: that they reach nobody by a network is no wall of theirs."


def walls_figure(view: View) -> Picture:
    """Probe by probe, held in different ways, on this computer."""
    arms = walls(view)
    sorts = by_wall([name for one in arms for name in one.answers])
    return answers_grid(
        arms,
        [_heading(one, mixed=mixed(arms)) for one in arms],
        sorts,
        what="Who gets through to what.",
        caption=_caption(view, arms),
    )


def misconfigurations_figure(view: View) -> Picture:
    """One word of a command line that differs, in the disposable VM; expected and found."""
    base, *others = misconfigured(view)
    odd = [
        f"{word}, {name} ({'turned' if turned else 'did not turn'})"
        for word, name, turned in deviations(base, others, FLIPS)
    ]
    told = f"Not as registered: {'; '.join(odd)}." if odd else "All turned as registered."
    where = (
        "Containers by runc in a disposable virtual machine, whose root is their host; the call "
        f"filter is a short one of ours. {told_emulated(base)}{USERNS}"
    )
    return words_grid(
        base,
        others,
        FLIPS,
        what="What one word turns.",
        caption=f"{view.caption()}. {where} {told}",
    )


def told_emulated(one: Arm) -> str:
    """That the words were tried under emulation, if they were."""
    under = f"It ran under {EMULATION}, on which this does not depend. "
    return under if one.emulated else ""


def neighbours_figure(view: View) -> Picture:
    """From one instance against the one beside it."""
    arms = neighbours(view)
    star = mixed(arms)
    said = {
        Platform.PROCESS: "two\nprocesses",
        Platform.VM_DIRECT: "two\nVMs",
        BRIDGE: "containers,\none bridge",
        OWN_NETWORKS: "containers,\nown nets",
    }
    headings = [
        said[one.confinement or one.platform] + (" *" if star and one.shown != MEASURED else "")
        for one in arms
    ]
    names = of_neighbour([name for one in arms for name in one.answers])
    return answers_grid(
        arms, headings, {"": names}, what="What one can do to its neighbour.",
        caption=_caption(view, arms),
    )  # fmt: skip


def _heading(one: Arm, *, mixed: bool) -> str:
    first, _, held = label(one, mixed=mixed).partition(", ")
    if held:
        return f"{first},\n{held.replace('no capabilities', 'no capab.')}"
    return first.replace("host process", "host\nprocess").replace(" in a", "\nin a")


def _caption(view: View, arms: Sequence[Arm]) -> str:
    words = [f"{view.caption()}."]
    if any(one.emulated for one in arms):
        words.append(_PROMISE)
    if any(one.platform is Platform.VM_DIRECT for one in arms):
        words.append(NO_NETWORK)
    if any(one.nested for one in arms):
        words.append(
            "There is no container of Docker’s here: one by runc in a disposable virtual machine "
            "stands in, and that machine is the host it was tried on."
        )
    if mixed(arms):
        words.append("* Recorded in another run, perhaps on another computer.")
    failed = sorted({n for one in arms for n, a in one.answers.items() if a.got_through is None})
    if failed:
        words.append(f"Could not be made everywhere: {', '.join(failed)}.")
    return " ".join(words)


# ---- grids of probes -----------------------------------------------------------------------------

_ROW_IN, _NAMES_IN, _KEY_IN = 0.178, 1.5, 0.22
_WORDS_PT = 7.6

THROUGH, DENIED, OWN, NOT_TRIED = "through", "refused", "its own", "–"


@dataclass(frozen=True, slots=True)
class _Look:
    fill: str
    hatch: str
    ink: str
    said: str


_LOOKS: Mapping[str, _Look] = {
    THROUGH: _Look(style.BLUE, "", "white", "got through"),
    DENIED: _Look("#EDEDED", "", "black", "refused, with the answer"),
    OWN: _Look("white", "////", "black", "granted by the VM’s own kernel"),
    NOT_TRIED: _Look("white", "", style.GREY, "not tried"),
}


def answer_kind(answer: Answer | None) -> str:
    """Which of the four looks an answer has."""
    if answer is None or answer.got_through is None:
        return NOT_TRIED
    if answer.by_own_kernel:
        return OWN
    return THROUGH if answer.got_through else DENIED


def by_wall(names: Sequence[str]) -> Mapping[str, Sequence[str]]:
    """Probes of the walls: those at the host under the wall that is asked, then those that an
    instance needs for itself."""
    sorts: dict[str, list[str]] = {}
    for name in of_host(names):
        sorts.setdefault(PROBES[name].boundary, []).append(name)
    if own := of_itself(names):
        sorts["what it needs for itself"] = own
    return sorts


def answer_word(name: str, answer: Answer | None) -> str:
    """The answer to a probe in a word that fits a cell."""
    found = answer_kind(answer)
    if found == THROUGH and PROBES[name].aim == ITSELF:
        return "works"
    if answer is None or found != DENIED:
        return found
    if "too long" in answer.text:
        return "time-out"
    first = answer.text.replace(",", " ").replace(":", " ").split(" ")[0]
    if first.isupper():  # the name of an error
        return first if len(first) <= 9 else f"{first[:8]}…"
    return answer.text if len(answer.text) <= 9 else DENIED


@style.own()
def answers_grid(
    arms: Sequence[Arm],
    headings: Sequence[str],
    sorts: Mapping[str, Sequence[str]],
    *,
    what: str,
    caption: str,
) -> Picture:
    """Probes from top to bottom, arms from left to right, the answer in every cell.

    Args:
        arms: the columns.
        headings: of the columns, one or two lines each.
        sorts: heading → probes below it.
        what: what is shown, for the text alternative.
        caption: provenance and warnings.
    """
    head = 0.36 if any("\n" in heading for heading in headings) else 0.2
    names = [name for some in sorts.values() for name in some]
    places, rows = _places(sorts)
    used = [
        k for k in _LOOKS if any(answer_kind(a.answers.get(n)) == k for a in arms for n in names)
    ]
    lines = (len(used) + 1) // 2
    figure = style.figure(head + _ROW_IN * rows + _KEY_IN * lines + 0.1)
    axes = _canvas(figure.subplots(), head, _ROW_IN * rows + _KEY_IN * lines)
    _names(axes, places)
    width = (style.WIDTH_IN - 0.1 - _NAMES_IN) / len(arms)
    for place, heading in enumerate(headings):
        axes.text(
            _NAMES_IN + (place + 0.48) * width, 0.05, heading, fontsize=_WORDS_PT + 0.4,
            ha="center", va="bottom", linespacing=1.05,
        )  # fmt: skip
    for name in names:
        for place, arm in enumerate(arms):
            answer = arm.answers.get(name)
            left = _NAMES_IN + place * width
            _cell(
                axes,
                left,
                places[name],
                width,
                _LOOKS[answer_kind(answer)],
                answer_word(name, answer),
            )
    for place, key in enumerate(used):
        x = (place % 2) * style.WIDTH_IN * 0.46
        y = -_ROW_IN * rows - _KEY_IN * (place // 2 + 0.62)
        _cell(axes, x, y, 0.3, _LOOKS[key], "")
        axes.text(x + 0.38, y, _LOOKS[key].said, fontsize=_WORDS_PT + 0.6, va="center")
    return Picture(figure, f"{what} {_told_answers(arms, headings, names)}", caption)


@style.own()
def words_grid(
    base: Arm,
    others: Sequence[Arm],
    expected: Mapping[str, frozenset[str]],
    *,
    what: str,
    caption: str,
) -> Picture:
    """One word that differs a column; a dot where the probe got through, a frame where the word was
    expected to turn it.

    Args:
        base: the default container.
        others: the same with one word.
        expected: word → probes that it was registered to turn.
        what, caption: as in :func:`answers_grid`.
    """
    arms = [base, *others]
    places, rows = _places(by_wall(of_walls(base.answers)))
    shown = [short_word(arm.confinement) or "as it is" for arm in arms]
    head = 0.1 + max(len(name) for name in shown) * 0.062
    below = 4 * _KEY_IN
    figure = style.figure(head + _ROW_IN * rows + below)
    axes = _canvas(figure.subplots(), head, _ROW_IN * rows + below)
    _names(axes, places)
    width = (style.WIDTH_IN - 0.45 - _NAMES_IN) / len(arms)
    for place, (arm, name) in enumerate(zip(arms, shown, strict=True)):
        x = _NAMES_IN + place * width
        axes.text(
            x + width * 0.35, 0.05, name, fontsize=_WORDS_PT + 0.2, rotation=68, ha="left",
            va="bottom", rotation_mode="anchor",
        )  # fmt: skip
        for probe, y in places.items():
            if probe not in base.answers:
                continue
            turned = arm is not base and answer_kind(arm.answers.get(probe)) != answer_kind(
                base.answers.get(probe)
            )
            framed = probe in expected.get(arm.confinement, frozenset())
            _mark(axes, x, y, width, arm.answers.get(probe), turned=turned, framed=framed)
    _words_key(axes, -_ROW_IN * rows, width)
    return Picture(figure, f"{what} {_told_turned(base, others, expected)}", caption)


def short_word(confinement: str) -> str:
    """A word of a ``docker run`` line as a heading."""
    return confinement.removeprefix("--security-opt=").removeprefix("--device-").replace("'", "")


def deviations(
    base: Arm, others: Sequence[Arm], expected: Mapping[str, frozenset[str]]
) -> list[tuple[str, str, bool]]:
    """(word, probe, whether it turned) wherever that is not as registered."""
    found = []
    for arm in others:
        if arm.confinement not in expected:
            continue
        for name in of_walls(base.answers):
            before, after = base.answers[name], arm.answers.get(name)
            if after is None or None in (before.got_through, after.got_through):
                continue
            turned = before.got_through != after.got_through
            if turned != (name in expected[arm.confinement]):
                found.append((arm.confinement, name, turned))
    return found


def _places(sorts: Mapping[str, Sequence[str]]) -> tuple[Mapping[str, float], int]:
    """Where each heading and each probe stands (inches below the top), and how many rows it is."""
    lines = [
        line for heading, some in sorts.items() for line in ([heading] if heading else []) + [*some]
    ]
    return {line: -(number + 0.5) * _ROW_IN for number, line in enumerate(lines)}, len(lines)


def _names(axes: Axes, places: Mapping[str, float]) -> None:
    for line, y in places.items():
        bold = "normal" if line in PROBES else "bold"
        axes.text(0, y, line, fontsize=_WORDS_PT + 0.6, va="center", fontweight=bold)


def _canvas(axes: Axes, head: float, depth: float) -> Axes:
    axes.set_xlim(0, style.WIDTH_IN - 0.1)
    axes.set_ylim(-depth, head)
    axes.axis("off")
    return axes


def _cell(axes: Axes, left: float, y: float, width: float, look: _Look, text: str) -> None:
    axes.bar(
        left, _ROW_IN * 0.86, width * 0.95, y - _ROW_IN * 0.43, align="edge", color=look.fill,
        hatch=look.hatch, edgecolor="#8A8A8A", linewidth=0.5,
    )  # fmt: skip
    fits = 7.4 if text[:1].isupper() else 8.6  # letters: those of errors are wide
    small = _WORDS_PT * min(1, fits / max(len(text), 1))
    axes.text(
        left + width * 0.475, y, text, fontsize=small, ha="center", va="center_baseline",
        color=look.ink, fontweight="bold" if look.ink == "white" else "normal",
        bbox=style.PLATE | {"pad": 0} if look.hatch and text else None,
    )  # fmt: skip


def _mark(
    axes: Axes,
    left: float,
    y: float,
    width: float,
    answer: Answer | None,
    *,
    turned: bool,
    framed: bool,
) -> None:
    found = answer_kind(answer)
    fill = style.BLUE if turned else "#EDEDED" if found != NOT_TRIED else "white"
    axes.bar(
        left, _ROW_IN * 0.84, width * 0.88, y - _ROW_IN * 0.42, align="edge", color=fill,
        edgecolor="black" if framed else "#B8B8B8", linewidth=1.5 if framed else 0.4,
    )  # fmt: skip
    ink = "white" if turned else "black"
    if found == THROUGH:
        axes.plot(left + width * 0.44, y, "o", color=ink, markersize=3.6)
    elif found == NOT_TRIED:
        axes.text(left + width * 0.44, y, "–", ha="center", va="center_baseline", fontsize=7)
    elif turned:
        axes.plot(left + width * 0.44, y, "x", color=ink, markersize=3.6, markeredgewidth=1.2)


def _words_key(axes: Axes, top: float, width: float) -> None:
    through, stopped = Answer(True, "ok"), Answer(False, "")
    lines = (
        ((through, False, False), (stopped, False, False), "got through · refused, as by default"),
        ((through, True, True), (stopped, True, True), "turned by this word, as registered before"),
        ((through, True, False), (stopped, True, False), "turned, not expected"),
        ((stopped, False, True), (None, False, False), "expected, did not turn · not tried"),
    )
    for number, (first, second, said) in enumerate(lines):
        y = top - _KEY_IN * (number + 0.62)
        for place, (answer, turned, framed) in enumerate((first, second)):
            _mark(axes, place * 0.26, y, max(width, 0.2), answer, turned=turned, framed=framed)
        axes.text(0.6, y, said, fontsize=_WORDS_PT + 0.6, va="center")


def _told_answers(arms: Sequence[Arm], headings: Sequence[str], names: Sequence[str]) -> str:
    parts = []
    for arm, heading in zip(arms, headings, strict=True):
        sorts: dict[str, list[str]] = {}
        for name in names:
            found = answer_kind(arm.answers.get(name))
            sorts.setdefault(_LOOKS[found].said.split(",")[0], []).append(name)
        said = "; ".join(f"{sort}: {', '.join(some)}" for sort, some in sorts.items())
        parts.append(f"{heading.replace(chr(10), ' ')}: {said}.")
    return " ".join(parts)


def _told_turned(base: Arm, others: Sequence[Arm], expected: Mapping[str, frozenset[str]]) -> str:
    parts = [f"The default container lets through: {', '.join(base.through()) or 'nothing'}."]
    for arm in others:
        both = [n for n in base.made() if n in arm.made()]
        changed = [n for n in both if base.answers[n].got_through != arm.answers[n].got_through]
        parts.append(f"{arm.confinement} turns {', '.join(changed) or 'nothing'}.")
    odd = deviations(base, others, expected)
    parts.append(f"Not as registered: {len(odd)}.")
    return " ".join(parts)


# ---- heartbeats ----------------------------------------------------------------------------------

_LOW_S, _HIGH_S = 0.03, 3.0
_WORD = 0.055  # half the width of "silent", as a share of the axis


@style.own()
def heartbeats_figure(view: View) -> Picture:
    """The longest gap in every second, for each heart; where it stopped, a hatched silence."""
    found = beats(view)
    last = max(second for gaps in found.gaps.values() for second in gaps)
    rows = len(found.gaps)
    key_in = 0.2 * (len(found.events) + 2)
    figure = style.figure(0.58 * rows + 0.45 + key_in)
    grid = figure.subplots(rows + 1, 1, height_ratios=[0.58] * rows + [key_in], squeeze=False)[:, 0]
    for axes, (heart, gaps) in zip(grid, found.gaps.items(), strict=False):
        _strip(axes, found, heart, gaps, last)
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
    return Picture(figure, _beats_alt(found), _beats_caption(view, found))


def _strip(axes: Axes, found: Beats, heart: str, gaps: Mapping[int, float], last: int) -> None:
    colour = style.look(Series(HEARTS[heart])).colour
    alive = {second: gap for second, gap in gaps.items() if not found.silent(heart, second)}
    axes.set_yscale("log")
    axes.set_ylim(_LOW_S, _HIGH_S)
    axes.vlines([s + 0.5 for s in alive], _LOW_S, list(alive.values()), color=colour, linewidth=2)
    for begin, end in _stretches([s for s in gaps if s not in alive]):
        axes.axvspan(begin, end + 1, facecolor="#F0F0F0", edgecolor="#8A8A8A", hatch="xxx", lw=0)
        axes.text(
            min((begin + end + 1) / 2, last + 1 - _WORD * (last + 1)), 0.3, "silent",
            ha="center", va="center",
            fontsize=style.SMALL_PT, fontweight="bold", bbox=style.PLATE,
        )  # fmt: skip
    axes.set_xlim(0, last + 1)
    axes.set_yticks([0.05, 1.0], ["50 ms", "1 s"])
    axes.minorticks_off()
    axes.axhline(1.0, color="#D0D0D0", linewidth=0.6, zorder=0)
    axes.text(
        0.005, 0.93, SAID.get(heart, heart), transform=axes.transAxes, va="top",
        fontsize=style.SMALL_PT, fontweight="bold", bbox=style.PLATE,
    )  # fmt: skip
    style.plain(axes)
    axes.tick_params(axis="y", labelsize=7.5)


def _stretches(some: Sequence[int]) -> list[tuple[int, int]]:
    """First and last second of each stretch of seconds in a row."""
    found: list[tuple[int, int]] = []
    for second in sorted(some):
        if found and found[-1][1] == second - 1:
            found[-1] = (found[-1][0], second)
        else:
            found.append((second, second))
    return found


def _events_key(axes: Axes, found: Beats) -> None:
    axes.axis("off")
    lines = len(found.events) + 1
    axes.set_xlim(0, 1)
    axes.set_ylim(-lines + 0.4, 0.6)
    height = "bar: longest gap between two beats that ended in this second"
    axes.text(0, 0, height, fontsize=style.SMALL_PT - 0.5, va="center", in_layout=False)
    for number, event in enumerate(found.events, start=1):
        said = f"{number}  {event.name}: {event.text}"
        axes.text(
            0, -number, said if len(said) < 72 else said[:70] + "…", va="center",
            fontsize=style.SMALL_PT - 0.5, in_layout=False,
        )  # fmt: skip


def _beats_alt(found: Beats) -> str:
    parts = ["Heartbeats on one time axis, the longest gap in every second."]
    for event in found.events:
        parts.append(f"Second {event.second}: {event.name}, {event.text}.")
    for heart, gaps in found.gaps.items():
        alive = [g for s, g in gaps.items() if not found.silent(heart, s)]
        silent = _stretches([s for s in gaps if found.silent(heart, s)])
        words = f"{SAID.get(heart, heart)}: "
        words += f"gaps up to {seconds(max(alive))}" if alive else "never heard"
        words += "".join(f", silent from second {begin} on" for begin, _ in silent[:1])
        parts.append(words + ".")
    return " ".join(parts)


def _beats_caption(view: View, found: Beats) -> str:
    words = [f"{view.caption()}."]
    if found.emulated:
        words.append(
            f"The machines run under {EMULATION}; who falls silent does not depend on it, how "
            "even a heart beats does."
        )
    words.append(
        f"{BEATS_PER_S} beats a second are expected. Silent: a gap over 1 s and over twice the "
        "longest of the 30 s before, as registered."
    )
    words += [f"Not done: {e.name} ({e.text})." for e in found.events if e.failed]
    return " ".join(words)


# ---- a noisy neighbour ---------------------------------------------------------------------------

HARDLY = 1.2
"""Up to this much over quiet, a neighbour is said to have hardly felt it: a fifth, a choice."""


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
    series: Series
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
    for (arm, series), some in _noisy_arms(rows):
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


def _noisy_arms(rows: pd.DataFrame) -> list[tuple[tuple[str, Series], pd.DataFrame]]:
    """Rows of one run by arm, in the course's order."""
    found = []
    keys = [
        (Platform.CONTAINER, WITHOUT, RUNTIME),
        (Platform.CONTAINER, WITH, RUNTIME),
        (Platform.CONTAINER, WITH, ""),
        (Platform.VM_DIRECT, "", ""),
    ]
    for platform, held, runtime in keys:
        nested = rows["runtime"] == RUNTIME
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
        if emulated(some) and not runtime:
            name += f" · {EMULATION}"
        found.append(((name, Series(platform)), some))
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
def noisy_neighbour_figure(view: View) -> Picture:
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
            look = style.look(one.series)
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
    caption = f"{view.caption()}. One mark a round. {_worse(found)} " + (
        f"Guests ran under {EMULATION}: compare a stretch with the quiet one of its own arm, not "
        "arms with each other."
        if view.emulated()
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


# ---- system calls that reach a shared kernel -----------------------------------------------------

NO_COUNT_FOUND = (
    "Kata: its guests run on one of several VMMs, and no count with a source was found. "
    "Rootless Docker: the same filter, so the same width; what changes is whose rights a caller "
    "has. A full VM on QEMU: no filter unless it is started with one."
)


@dataclass(frozen=True, slots=True)
class Width:
    """One line of the axis.

    Attributes:
        what: whose calls.
        calls: how many different ones reach the host's kernel.
        fewest: where a range is published, its other end; else the same.
        series: gives its look; ``None`` for a published figure.
        source: where it is from, in words.
        at_most: whether ``calls`` is an upper bound: a call that lacks a capability is refused with
            and without the filter, so counting cannot tell whether the filter would let it through.
    """

    what: str
    calls: float
    fewest: float
    series: Series | None
    source: str
    at_most: bool = False


def widths(view: View) -> list[Width]:
    """Measured lines first, then the published ones whose source was read, widest first.

    Raises:
        Unavailable: nothing was counted here.
    """
    found = []
    for what, phase, platform in (
        ("no filter at all", ANSWERED, Platform.PROCESS),
        ("a container as Docker starts it", LET_THROUGH, Platform.CONTAINER),
    ):
        calls = count(view, phase)
        if calls is not None:
            shown = str(view.values(metric="item_count", phase=phase)["shown"].iloc[0])
            series, said = Series(platform), f"{shown}, counted"
            at_most = phase == LET_THROUGH
            found.append(Width(what, calls, calls, series, said, at_most=at_most))
    if not found:
        raise Unavailable("no system calls have been counted yet", NEXT)
    return found + published()


def published() -> list[Width]:
    """What others counted or stated, only where the source was read; widest first."""
    counted = [figure for figure in load_figures() if figure.checked and figure.most]
    return sorted(map(_published, counted), key=lambda width: -width.calls)


def _published(figure: Figure) -> Width:
    source = f"literature, {figure.year}"
    return Width(figure.system, float(figure.most), float(figure.least), None, source)


@style.own()
def interface_figure(view: View) -> Picture:
    """One axis from no call to all: filled where it was measured, hollow where it was published."""
    found = widths(view)
    figure = style.figure(marks.HEIGHT_IN * len(found) + 0.7)
    axes = figure.subplots()
    rows = [
        marks.Row(
            width.what,
            f"{number_of_calls(width)} · {width.source}",
            style.look(width.series),
            width.calls,
            hollow=width.series is None,
            span=(width.fewest, width.calls),
            strong="figure" if width.series else "none",
        )
        for width in found
    ]
    marks.draw(axes, rows, guide=True)
    most = max(width.calls for width in found)
    axes.set_xlim(-most * 0.02, most * 1.06)
    axes.set_xlabel("different system calls that reach the host’s kernel", fontsize=style.SMALL_PT)
    alt = "; ".join(f"{width.what} {number_of_calls(width)} ({width.source})" for width in found)
    caption = (
        f"{view.caption()}. Filled: measured by asking for every call; hollow: literature, counted "
        "or stated by others on other kernels. A narrower interface is less to attack, not no "
        f"risk. Left out: {NO_COUNT_FOUND}"
    )
    return Picture(figure, f"How many calls reach the host’s kernel: {alt}.", caption)


def number_of_calls(width: Width) -> str:
    if width.fewest < width.calls:
        return f"{width.fewest:.0f} to {width.calls:.0f}"
    return f"at most {width.calls:.0f}" if width.at_most else f"{width.calls:.0f}"


# ---- weaknesses made public ----------------------------------------------------------------------

WEAK = {
    "container": ("container tools", Series(Platform.CONTAINER)),
    "kernel": ("the kernel that containers share", Series(Platform.PROCESS)),
    "vm": ("hypervisors, and what a guest reaches", Series(Platform.VM)),
}
"""Kind → in words, and whose look."""

CANNOT_SAY = (
    "Examples, not a census: how many lines a side has says nothing about its risk. What is used "
    "more is looked at more; one computer runs one of these hypervisors but always a kernel; and "
    "who may reach a weakness differs from line to line. Scores of different CVSS versions are "
    "not compared."
)


def weaknesses() -> list[Weakness]:
    """The lines that were checked, by kind and date."""
    checked = [weakness for weakness in load_weaknesses() if weakness.checked]
    return sorted(checked, key=lambda one: (list(WEAK).index(one.kind), one.published))


@style.own()
def weaknesses_figure(_view: View) -> Picture:
    """Every checked weakness on one time line, by the kind of what was weak."""
    known = weaknesses()
    kinds = [kind for kind in WEAK if any(one.kind == kind for one in known)]
    rows = len(known) + 1.3 * len(kinds)
    figure = style.figure(0.185 * rows + 0.55)
    axes = figure.subplots()
    dates = sorted(one.published for one in known)
    first, last = int(dates[0][:4]), int(dates[-1][:4])
    y = rows
    told = []
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
            axes.plot([first - 0.4, when], [y + 0.35] * 2, color="#DDDDDD", linewidth=0.7, zorder=0)
            axes.plot(when, y + 0.35, look.marker, color=look.colour, markersize=5.5)
            left = when < (first + last) / 2
            axes.text(
                when + (0.25 if left else -0.25), y + 0.35, one.name,
                ha="left" if left else "right", va="center", fontsize=8, bbox=style.PLATE,
            )  # fmt: skip
            told.append(f"{one.published[:4]} {one.component}")
    axes.set_xlim(first - 0.4, last + 1)
    axes.set_ylim(-0.4, rows - 0.2)
    axes.set_yticks([])
    years = range(first, last + 1, 2 if last - first > 8 else 1)
    axes.set_xticks(list(years), [str(year) for year in years])
    axes.grid(axis="x", color="#E6E6E6", linewidth=0.6)
    axes.set_axisbelow(True)
    style.plain(axes)
    unchecked = len(load_weaknesses()) - len(known)
    caption = (
        f"Literature: the public record (NVD and makers’ advisories). {CANNOT_SAY} {unchecked} "
        "known lines are left out because their record was not read."
    )
    return Picture(figure, f"Weaknesses made public, by date: {'; '.join(told)}.", caption)


def _year(date: str) -> float:
    year, month, day = (int(part) for part in date.split("-"))
    return year + (month - 1) / 12 + (day - 1) / 365
