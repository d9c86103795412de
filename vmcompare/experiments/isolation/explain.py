"""Isolation, explained: tables, what-ifs and outcomes, and all that a lesson may ask for by name.

All cells of a table are text. Every function raises ``Unavailable`` where its rows are not there;
an outcome is then ``None``.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import combinations
from math import comb
from operator import mul
from statistics import mean, median
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from vmcompare.errors import Unavailable
from vmcompare.evidence.units import ratio, seconds, size, written
from vmcompare.evidence.view import NEXT, Grid, Outcome, View
from vmcompare.experiments.explanation import Explanation
from vmcompare.experiments.isolation import kernel_panic
from vmcompare.experiments.isolation.boundaries import BRIDGE, OWN_NETWORKS
from vmcompare.experiments.isolation.figures import (
    NO_NETWORK,
    USERNS,
    WEAK,
    felt,
    heartbeats_figure,
    interface_figure,
    misconfigurations_figure,
    neighbours_figure,
    noisy_neighbour_figure,
    told_emulated,
    walls_figure,
    weaknesses,
    weaknesses_figure,
)
from vmcompare.experiments.isolation.guest_containers import NO_CONTAINER, RUNTIME
from vmcompare.experiments.isolation.heartbeats import BEATS_PER_S
from vmcompare.experiments.isolation.kernel_panic import FAULTY_PANICS, PRIVILEGED_ASKS
from vmcompare.experiments.isolation.noisy_neighbour import BECAME, QUIET
from vmcompare.experiments.isolation.probes import (
    CAPABILITY_NAMES,
    FLIPS,
    NAMESPACES,
    NEIGHBOUR,
    PROBES,
    decoded_capabilities,
    ordered_capabilities,
)
from vmcompare.experiments.isolation.rows import (
    HEARTS,
    SAID,
    Arm,
    Beats,
    arm,
    beats,
    default_container,
    flips,
    label,
    listed,
    misconfigured,
    mixed,
    neighbours,
    of_host,
    of_neighbour,
    of_walls,
    opens,
    walls,
)
from vmcompare.plots import style
from vmcompare.plots.dots import Dot, Panels, sliding_dots
from vmcompare.plots.picture import MODELLED, Picture, WhatIf
from vmcompare.sandbox import EMULATION, SOFTWARE, Platform, Series

if TYPE_CHECKING:
    import pandas as pd


# ---- tables --------------------------------------------------------------------------------------


def walls_table(view: View) -> pd.DataFrame:
    """One row a probe: what was tried, the answer of each platform as it is by default, and, in one
    column, those of containers that are held otherwise where they differ from the default's."""
    import pandas as pd

    arms = walls(view)
    star = mixed(arms)
    inside = next((one for one in arms if one.platform is Platform.CONTAINER), None)
    others = [one for one in arms if one.confinement and one is not inside]
    rows = []
    for name in of_walls([n for one in arms for n in one.answers]):
        row = {"what was tried": _what_was_tried(name)}
        for one in arms:
            if one not in others:
                row[_column(one, star=star)] = _answer_text(one, name)
            if one is inside and others:
                row["held otherwise"] = _otherwise(inside, others, name)
        rows.append(row)
    return pd.DataFrame(rows)


def _otherwise(inside: Arm, others: Sequence[Arm], name: str) -> str:
    """Where another container gives another answer than the default one, and which."""
    said = {
        label(one, mixed=False).replace("container, ", ""): _answer_text(one, name)
        for one in others
        if name in one.answers and _answer_text(one, name) != _answer_text(inside, name)
    }
    return "; ".join(f"{held}: {text}" for held, text in said.items()) or "the same"


def neighbours_table(view: View) -> pd.DataFrame:
    """The same from one instance against the one beside it."""
    import pandas as pd

    arms = neighbours(view)
    star = mixed(arms)
    return pd.DataFrame(
        [
            {"what was tried": _what_was_tried(name)}
            | {_column(one, star=star): _answer_text(one, name) for one in arms}
            for name in of_neighbour([n for one in arms for n in one.answers])
        ]
    )


def _what_was_tried(name: str) -> str:
    return f"{name} · {PROBES[name].says}"


def _answer_text(one: Arm, name: str) -> str:
    return one.answers[name].text if name in one.answers else "–"


def _column(one: Arm, *, star: bool) -> str:
    """A short heading; with the emulation, where there was one."""
    words = label(one, mixed=star).replace("container, ", "")
    return f"{words} ({EMULATION})" if one.emulated else words


def words_table(view: View) -> pd.DataFrame:
    """One row a word: which probes it turned, and whether those were the registered ones."""
    import pandas as pd

    base, *others = misconfigured(view)
    return pd.DataFrame(
        [
            {
                "word": one.confinement,
                "turned": _turned_by(base, one) if one.made() else "could not be tried",
                "probes at the host that get through": f"{len(one.through())}",
                "as registered": _as_registered(base, one, FLIPS.get(one.confinement)),
            }
            for one in others
        ]
    )


def _turned_by(base: Arm, one: Arm) -> str:
    """What a word turned: probes that get through now, and those that are refused now."""
    turned = flips(base, one)
    opened = [n for n in of_walls(turned) if one.answers[n].got_through]
    closed = [f"{n} ({one.answers[n].text})" for n in of_walls(turned) if n not in opened]
    still = [n for n in base.denied() if n not in opened and n in one.made()]
    said = []
    if len(opened) > len(still):
        said.append(f"gets through: all that is refused by default, but {', '.join(still) or '–'}")
    elif opened:
        said.append(f"gets through: {', '.join(opened)}")
    if closed:
        said.append(f"is refused: {', '.join(closed)}")
    return "; ".join(said) or "nothing"


def _as_registered(base: Arm, one: Arm, expected: frozenset[str] | None) -> str:
    if expected is None:
        return "–"
    both = frozenset(base.made()) & frozenset(one.made())
    if not both:
        return "not tried"
    return "yes" if flips(base, one) == expected & both else "no"


def capabilities_table(view: View) -> pd.DataFrame:
    """``CapEff`` decoded bit by bit, for the host, the default container and the one with none.

    Raises:
        Unavailable: nobody's capabilities were read.
    """
    import pandas as pd

    wanted = (Platform.PROCESS, Platform.CONTAINER)
    arms = [
        one
        for one in walls(view)
        if one.read.get("capabilities")
        and one.platform in wanted
        and one.confinement != "no-seccomp"
    ]
    if not arms:
        raise Unavailable("nobody’s capabilities have been read yet", NEXT)
    return pd.DataFrame(
        [
            {
                "who": label(one, mixed=mixed(arms)),
                "CapEff": one.read["capabilities"],
                "bits that are 1, and what they are called": _bits(
                    decoded_capabilities(one.read["capabilities"])
                ),
            }
            for one in arms
        ]
    )


def _bits(held: frozenset[str]) -> str:
    """How many bits are 1, with their names; where that is nearly all, those that are 0."""
    lacking = [name for name in CAPABILITY_NAMES if name not in held]
    if not held or not lacking:
        return f"all {len(CAPABILITY_NAMES)}" if held else "none"
    if len(lacking) < len(CAPABILITY_NAMES) // 4:
        return f"{len(held)}: all but {_numbered(lacking)}"
    return f"{len(held)}: {_numbered(ordered_capabilities(held))}"


def _numbered(names: Sequence[str]) -> str:
    return ", ".join(
        f"{CAPABILITY_NAMES.index(n)} {n}" if n in CAPABILITY_NAMES else n for n in names
    )


_THINGS_READ = (
    "kernel release", "boot id", *(f"{kind} namespace" for kind in NAMESPACES), "seccomp",
    "no new privileges", "user map", "root mount", "vm.swappiness", "disks seen",
    "PCI devices seen", "processes seen",
)  # fmt: skip


def held_by_table(view: View) -> pd.DataFrame:
    """What was read of each way of holding a program: namespaces, filter, mounts, what is seen."""
    import pandas as pd

    arms = walls(view)
    star = mixed(arms)
    rows = [
        {"read": what} | {_column(one, star=star): _as_read(one, what, arms[0]) for one in arms}
        for what in _THINGS_READ
        if any(what in one.read for one in arms)
    ]
    if not rows:
        raise Unavailable("nothing has been read beside the probes yet", NEXT)
    return pd.DataFrame(rows)


def _as_read(one: Arm, what: str, first: Arm) -> str:
    """What was read; a namespace of another kernel is told as that: the first ones of every kernel
    have the same numbers."""
    text = one.read.get(what, "–")
    if what.startswith("PCI"):
        text = text.partition(":")[0]  # how many; which ones would fill the page
    other = one.read.get("boot id") != first.read.get("boot id")
    return f"{text} (of another kernel)" if other and what.endswith(" namespace") else text


def sentence_table(view: View) -> pd.DataFrame:
    """The article's sentence on namespaces, what is true in it, what is not, and a better one."""
    import pandas as pd

    found = sentences(view)
    return pd.DataFrame(
        [
            {"about it": "the article", "sentence": ARTICLE},
            {"about it": "true in it", "sentence": found.true},
            {"about it": "not true", "sentence": found.untrue},
            {"about it": "better", "sentence": found.better},
        ]
    )


def falls_table(view: View) -> pd.DataFrame:
    """Each heart: its longest gaps before and after each fall, and when its end was noticed."""
    import pandas as pd

    found = beats(view)
    if not found.events:
        raise Unavailable("nothing has fallen yet in this run", "wait, or let the run go on")
    first = found.events[0].second
    rows = []
    for heart in found.gaps:
        row = {
            "heart": SAID.get(heart, heart)
            + (f" ({EMULATION})" if found.emulated and heart != kernel_panic.HOST else ""),
            "longest gap before": seconds(found.before_s(heart, first)),
        }
        for event in found.events:
            row[f"after: {event.name}"] = _gap_after(found, heart, event.second)
        row["end noticed after"] = _noticed(view, found, heart)
        rows.append(row)
    return pd.DataFrame(rows)


def _gap_after(found: Beats, heart: str, second: int) -> str:
    later = [e.second for e in found.events if e.second > second]
    end = min(later, default=None)
    gaps = [g for s, g in found.gaps[heart].items() if s >= second and (end is None or s < end)]
    if not gaps:
        return "–"
    silent = any(found.silent(heart, s) for s in found.gaps[heart] if second <= s < (end or 10**9))
    return f"{seconds(max(gaps))}{', silent' if silent else ''}"


def _noticed(view: View, found: Beats, heart: str) -> str:
    frame = view.frame
    rows = frame[
        (frame["run_id"] == found.run_id)
        & (frame["metric"] == "detection_s")
        & (frame["phase"] == heart)
        & (frame["status"] == "ok")
    ]
    if rows.empty:
        return "–"
    how = f" ({rows['text'].iloc[0]})" if rows["text"].iloc[0] else ""
    return f"{seconds(float(rows['value'].iloc[0]))}{how}"


# ---- tables of the noisy neighbour ---------------------------------------------------------------


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
        nested = " (in a guest)" if row["runtime"] == RUNTIME else ""
        held = f", {row['confinement']}" if row["confinement"] else ""
        under = f", {EMULATION}" if row["accel"] == SOFTWARE else ""
        who = f"{row['platform']}{held}{nested}{under}"
        what = _ASKED.get(str(row["metric"]), str(row["phase"]))
        found = rows.setdefault((who, str(row["shown"])), {})
        found.setdefault(what, []).append(_got_cell(row))
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


def _got_cell(row: Mapping[Hashable, Any]) -> str:
    if row["status"] != "ok":
        return f"failed: {row['error']}"
    if row["metric"] == "observation":
        return str(row["text"])
    value = float(row["value"])
    if row["metric"] == "cgroup_bytes":
        return size(value)
    return written(value, "processes") if row["metric"] == "item_count" else ratio(value)


def cves_table(_view: View) -> pd.DataFrame:
    """Every checked weakness with its record, its score as written there, and a sentence."""
    import pandas as pd

    table = pd.DataFrame(
        [
            {
                "weakness": f"[{one.cve}]({one.url})",
                "what, and in a sentence": f"{one.component}: {one.summary}",
                "where": WEAK[one.kind][0],
                "score (CVSS version)": one.cvss or "none",
            }
            for one in weaknesses()
        ]
    )
    table.attrs["caption"] = (
        "Literature: the public record (NVD and makers’ advisories); examples, not a census. "
        "CISA KEV: an official list of weaknesses that have been used in attacks."
    )
    return table


# ---- the article's sentence ----------------------------------------------------------------------

ARTICLE = (
    "Also, since docker resources are shared and not namespaced, an attacker can exploit all the "
    "containers in a cluster if he/she gets access to even one container."
)

_KIND_IN_WORDS = {
    "mnt": "mounts", "uts": "host name", "ipc": "shared memory", "pid": "processes",
    "net": "network", "cgroup": "control groups", "user": "users", "time": "clocks",
}  # fmt: skip
"""What a kind of namespace is about."""


@dataclass(frozen=True, slots=True)
class Sentences:
    """What can be said of the sentence.

    Attributes:
        own, shared: kinds of namespace that a default container has for itself, or shares.
        true, untrue: what the rows say for the sentence and against it.
        better: one to put in its place.
    """

    own: tuple[str, ...]
    shared: tuple[str, ...]
    true: str
    untrue: str
    better: str


def sentences(view: View) -> Sentences:
    """Composed of the rows: other rows, other sentences.

    Raises:
        Unavailable: no default container's namespaces were read beside the host's, or no container
            tried its neighbour.
    """
    own, shared, kernel = _namespaces(view)
    tried = arm(view, Platform.CONTAINER, BRIDGE, aim=NEIGHBOUR) or arm(
        view, Platform.CONTAINER, OWN_NETWORKS, aim=NEIGHBOUR
    )
    if tried is None:
        raise Unavailable("no container has tried its neighbour yet", NEXT)
    reached = [n for n in of_neighbour(tried.answers) if tried.answers[n].got_through]
    stopped = [n for n in of_neighbour(tried.answers) if tried.answers[n].got_through is False]
    true, untrue = [], []
    if kernel:
        true.append("the kernel is shared: both read the same boot id")
    if shared:
        true.append(f"the host’s own are the namespaces of {_kinds_in_words(shared)}")
    if reached:
        true.append(f"from one container its neighbour could be reached by: {_verbs(reached)}")
    if own:
        untrue.append(f"namespaced are {_kinds_in_words(own)}")
    if stopped:
        untrue.append(
            f"from one container its neighbour could not be reached by: {_verbs(stopped)}"
        )
    return Sentences(
        own, shared, _sentence(true), _sentence(untrue), _better(view, own, shared, reached, kernel)
    )


def _better(
    view: View, own: Sequence[str], shared: Sequence[str], reached: Sequence[str], kernel: bool
) -> str:
    words = [
        "Docker containers on one host share its kernel"
        if kernel
        else "Docker containers do not share this host’s kernel (a hidden VM has its own)"
    ]
    words.append(
        f"have {_kinds_in_words(own)} each for themselves" if own else "have nothing for themselves"
    )
    if shared:
        words.append(f"and share the namespaces of {_kinds_in_words(shared)} with it")
    said = [", ".join(words) + "."]
    if any(verb in " ".join(reached) for verb in ("list", "read", "kill")):
        said.append(f"Whoever is in one container reaches its neighbour by {_verbs(reached)}.")
    elif reached:
        said.append(
            f"Whoever is in one container reaches its neighbour by {_verbs(reached)} only, unless "
            "a wall is taken away or the shared kernel has a hole."
        )
    else:
        said.append(
            "Whoever is in one container does not reach its neighbour, unless a wall is taken "
            "away or the shared kernel has a hole."
        )
    if widest := _widest(view):
        said.append(widest)
    said.append("This was tried on one host; a cluster was not.")
    return " ".join(said)


def _widest(view: View) -> str:
    """Which word of a command line takes away most."""
    try:
        base, *others = misconfigured(view)
    except Unavailable:
        return ""
    opened: Mapping[str, int] = {
        one.confinement: len(opens(base, one)) for one in others if one.confinement.startswith("-")
    }
    most = max(opened, key=lambda word: opened[word], default="")
    if not most or not opened[most]:
        return ""
    return (
        f"Of the words tried, {most} opens most: {opened[most]} of the "
        f"{len(base.denied())} probes at the host that a default container is refused."
    )


def _namespaces(view: View) -> tuple[tuple[str, ...], tuple[str, ...], bool]:
    """Kinds that a default container has of its own, kinds it shares, whether the kernel is one."""
    inside = default_container(view)
    outside = None
    if inside is not None and inside.nested:
        outside = arm(view, Platform.CONTAINER, NO_CONTAINER, nested=True, run_id=inside.run_id)
    elif inside is not None:
        outside = arm(view, Platform.PROCESS, "", run_id=inside.run_id)
    if inside is None or outside is None or not _kinds(inside) or not _kinds(outside):
        raise Unavailable("no container’s namespaces have been read beside its host’s", NEXT)
    both = [k for k in NAMESPACES if k in _kinds(inside) and k in _kinds(outside)]
    same = tuple(k for k in both if _kinds(inside)[k] == _kinds(outside)[k])
    kernel = inside.read.get("boot id") == outside.read.get("boot id")
    own = tuple(k for k in both if k not in same)
    return (own, same, True) if kernel else ((*own, *same), (), False)


def _kinds(one: Arm) -> dict[str, str]:
    return {
        kind: one.read[f"{kind} namespace"]
        for kind in NAMESPACES
        if f"{kind} namespace" in one.read
    }


def _kinds_in_words(kinds: Sequence[str]) -> str:
    return listed([_KIND_IN_WORDS[kind] for kind in kinds])


def _verbs(names: Sequence[str]) -> str:
    return listed([name.partition(": ")[2] or name for name in names])


def _sentence(parts: Sequence[str]) -> str:
    text = "; ".join(parts)
    return text[:1].upper() + text[1:] + "." if text else "Nothing that was tried."


# ---- what-ifs ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Opened:
    """What each weakening word opens.

    Attributes:
        by_word: word → probes at the host that get through with it and are refused without.
        already: probes that get through by default.
        refused: probes that are refused by default.
    """

    by_word: Mapping[str, frozenset[str]]
    already: int
    refused: int

    def expected(self, k: int) -> float:
        """Probes that get through with k of the words, drawn at random; flips add up."""
        m = len(self.by_word)
        total = Fraction(self.already)  # exact: a set has no order, and rounding would show one
        for probe in frozenset().union(*self.by_word.values()):
            turning = sum(probe in opened for opened in self.by_word.values())
            total += 1 - Fraction(comb(m - turning, k), comb(m, k))
        return float(total)

    def extremes(self, k: int) -> tuple[int, int]:
        """Fewest and most over all choices of k words."""
        sizes = [len(frozenset().union(*some)) for some in combinations(self.by_word.values(), k)]
        return self.already + min(sizes), self.already + max(sizes)


def opened(view: View) -> Opened:
    """From the grid of words: those that were registered to weaken.

    Raises:
        Unavailable: fewer than two words were tried.
    """
    base, *others = misconfigured(view)
    words = {one.confinement: opens(base, one) for one in others if weakens(one.confinement)}
    if len(words) < 2:
        raise Unavailable("fewer than two words of a command line have been tried", NEXT)
    return Opened(words, len(base.through()), len(base.denied()))


HARDENINGS = frozenset(
    {"--cap-drop=ALL", "--user=65534", "--read-only", "--security-opt=no-new-privileges",
     "--userns"}
)  # fmt: skip
"""Words that are meant to take something away."""


def weakens(word: str) -> bool:
    """Whether a word of the grid is meant to give something."""
    return word.startswith("-") and word not in HARDENINGS


def careless(view: View) -> WhatIf:
    """How many probes get through when k of the words stand on one line."""
    found = opened(view)
    values = tuple(range(len(found.by_word) + 1))
    mean_, ends = [found.expected(k) for k in values], [found.extremes(k) for k in values]
    most = found.already + found.refused
    emulated = misconfigured(view)[0].emulated
    under = f" under {EMULATION}, on which these counts do not depend" if emulated else ""

    @style.own()
    def draw(k: float) -> Picture:
        at = values.index(int(k))
        figure = style.figure(2.9)
        axes = figure.subplots()
        axes.fill_between(
            values, [low for low, _ in ends], [high for _, high in ends], color="#D6E6F2", lw=0
        )
        axes.plot(values, mean_, "-", color=style.BLUE, linewidth=1.6)
        axes.axvline(k, color="black", linewidth=0.8, zorder=0)
        axes.plot(k, mean_[at], "s", color=style.BLUE, markersize=8, markeredgecolor="white")
        low, high = ends[at]
        axes.text(
            0.02, 0.97, f"{k:g} words: {mean_[at]:.1f} on average, {low} to {high}",
            transform=axes.transAxes, va="top", fontsize=style.SMALL_PT, fontweight="bold",
            bbox=style.PLATE,
        )  # fmt: skip
        axes.set_xlim(-0.2, values[-1] + 0.2)
        axes.set_ylim(0, most * 1.15)
        axes.set_xticks(list(values))
        axes.set_xlabel("words on one line", fontsize=style.SMALL_PT)
        axes.set_ylabel("probes that get through", fontsize=style.SMALL_PT)
        style.plain(axes)
        alt = (
            f"{k:g} of {values[-1]} words on one line: {mean_[at]:.1f} of {most} probes get "
            f"through on average, between {low} and {high}. {MODELLED}"
        )
        caption = (
            f"{MODELLED} Line: average over all choices of k of the {values[-1]} weakening words; "
            "band: the most careful and the most careless choice. It takes for granted that what "
            "two words open adds up; only single words were tried, in a disposable virtual "
            f"machine{under}."
        )
        return Picture(figure, alt, caption)

    return WhatIf(
        label="words on one line",
        values=tuple(float(k) for k in values),
        start=min(2, len(values) - 1),
        unit="words",
        draw=draw,
        formula=(r"E_k = n_0 + \sum_{p} \left(1 - \binom{m - m_p}{k} \Big/ \binom{m}{k}\right)"),
        source=(
            f"n₀ = {found.already} get through by default, m = {values[-1]} words, m_p of them "
            f"open probe p; {view.caption()}"
        ),
    )


@dataclass(frozen=True, slots=True)
class Watch:
    """What a watchdog has to go by.

    Attributes:
        gaps_s: longest gap of every second in which the heart was alive.
        period_s: expected time between two beats.
    """

    gaps_s: Sequence[float]
    period_s: float

    def after_s(self, k: int) -> float:
        """When the alarm comes at the latest, counted from the fall: (k + 1) · T."""
        return (k + 1) * self.period_s

    def false_per_hour(self, k: int) -> float:
        """False alarms: seconds with a gap over (k + 1) · T, an hour's worth."""
        wrong = sum(gap > self.after_s(k) for gap in self.gaps_s)
        return 3600 * wrong / len(self.gaps_s)


WATCHED = (kernel_panic.HOST, kernel_panic.SIBLING, kernel_panic.A)
"""Hearts that the watchdog model looks at, while they are alive."""

_K = (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 15, 17, 19, 23, 27, 31, 35, 39)


_THREE = 3
"""None of n trials: the true share is under 3/n with 95 % confidence (Hanley and Lippman-Hand,
JAMA 249, 1983). A second is a trial here."""


def watches(found: Beats) -> dict[str, Watch]:
    """The watched hearts with the seconds before anything fell."""
    first = min((e.second for e in found.events), default=None)
    return {
        heart: Watch(gaps, 1 / BEATS_PER_S)
        for heart in WATCHED
        if (
            gaps := [
                gap
                for second, gap in found.gaps.get(heart, {}).items()
                if first is None or second < first
            ]
        )
    }


def detection(view: View) -> WhatIf:
    """A watchdog that waits for k missing beats: soon, or seldom wrong."""
    found = beats(view)
    known = watches(found)
    if not known:
        raise Unavailable("no heart was listened to before something fell", NEXT)
    heard = min(len(watch.gaps_s) for watch in known.values())

    def panels(k: float) -> Panels:
        after = next(iter(known.values())).after_s(int(k))
        wrong = []
        for heart, watch in known.items():
            under = f" · {EMULATION}" if heart != kernel_panic.HOST and found.emulated else ""
            rate = watch.false_per_hour(int(k))
            text = f"{rate:,.0f}" if rate else "none seen"
            wrong.append(Dot(Series(HEARTS[heart]), f"{heart}{under}", rate, text))
        return {
            "At the latest, the alarm comes after": [
                Dot(Series(Platform.PROCESS), "every heart", after, seconds(after))
            ],
            "False alarms an hour": wrong,
        }

    return sliding_dots(
        panels,
        _K,
        label="beats that may be missing, k",
        unit="beats",
        start=19,
        said="k = {:g}.",
        caption=(
            f"From {heard} quiet seconds. None seen in them still allows up to "
            f"{3600 * _THREE / heard:.0f} an hour (rule of three, 95 %). An emulated guest "
            "may stutter more than one with hardware behind it."
        ),
        formula=(
            r"t_{\mathrm{alarm}} \le (k + 1)\,T \qquad "
            r"F = \frac{3600\,\mathrm{s}}{S} \cdot n_{k}"
        ),
        source=(
            f"T = 1/{BEATS_PER_S} s; nₖ, of the S seconds before the first fall those whose "
            f"longest gap is over (k + 1) · T; {view.caption()}"
        ),
        limits={
            "At the latest, the alarm comes after": (0.04, 4.0),
            "False alarms an hour": (0.3, 7200.0),
        },
    )


def shares(found: Beats) -> tuple[float, float]:
    """Of the instances on a kernel that panicked, and of those beside it, how many fell silent.

    Raises:
        Unavailable: one of the two falls did not happen in this run.
    """
    fall, faulty = found.event(PRIVILEGED_ASKS), found.event(FAULTY_PANICS)
    if fall is None or faulty is None:
        raise Unavailable("the two falls have not been made in one run", NEXT)
    on = [found.misses(heart, fall.second) for heart in (kernel_panic.A, kernel_panic.B)]
    beside = [found.misses(kernel_panic.SIBLING, faulty.second)]
    heard_on, heard_beside = ([x for x in some if x is not None] for some in (on, beside))
    if not heard_on or not heard_beside:
        raise Unavailable("not all hearts were listened to in these falls", NEXT)
    return mean(heard_on), mean(heard_beside)


def blast(view: View) -> WhatIf:
    """n instances on one kernel, or each on its own: how many one panic takes along."""
    found = beats(view)
    on, beside = shares(found)
    values = (1, 2, 3, 4, 5, 6, 8, 10, 12, 15, 20, 25, 30, 40, 50, 60, 70, 80, 90, 100)
    seen = f" Who fell silent was seen under {EMULATION}, on which it does not depend."

    def panels(n: float) -> Panels:
        kinds = (
            ("containers on one kernel", Series(Platform.CONTAINER), n * on, 1.0),
            ("a VM each", Series(Platform.VM_DIRECT), 1 + (n - 1) * beside, n),
        )

        def panel(value: Callable[[float, float], float]) -> list[Dot]:
            return [
                Dot(series, name, value(lost, kernels), f"{value(lost, kernels):,.3g}")
                for name, series, lost, kernels in kinds
            ]

        return {
            "Instances that stop in one accident": panel(lambda lost, _: lost),
            "Accidents a year": panel(lambda _, kernels: kernels),
            "Stops of an instance in a year, all together": panel(mul),
        }

    return sliding_dots(
        panels,
        values,
        label="instances",
        unit="instances",
        start=20,
        said="{:g} instances.",
        caption=(
            "It takes for granted that every kernel panics once a year, whoever runs on it. A "
            "panic of the host’s own kernel, under machines as under containers, is not in it."
            f"{seen if found.emulated else ''}"
        ),
        formula=(
            r"L_{1} = s_{\mathrm{on}} \cdot n \qquad L_{n} = 1 + s_{\mathrm{beside}} \cdot (n - 1)"
        ),
        source=(
            "L, instances that stop in one panic: with one kernel for all, or with n. Shares "
            f"that fell silent in this run: on the kernel that panicked {on:g}, beside it "
            f"{beside:g}; {view.caption()}"
        ),
        limits=dict.fromkeys(panels(values[0]), (0.7, 150.0)),
    )


# ---- outcomes and registries ---------------------------------------------------------------------


def _of_words(view: View) -> str:
    """What is said beside the table of words."""
    base, *_ = misconfigured(view)
    return f"Tried in a disposable virtual machine. {told_emulated(base)}{USERNS}"


def _through(view: View) -> float | None:
    inside = default_container(view)
    return None if inside is None or not inside.made() else float(len(inside.through()))


def _privileged(view: View) -> float | None:
    try:
        base, *_ = misconfigured(view)
    except Unavailable:
        return None
    one = arm(view, Platform.CONTAINER, "--privileged", nested=True, run_id=base.run_id)
    if one is None or not one.made():
        return None
    return float(len(flips(base, one) & set(of_host(base.answers))))


def _beats_or_none(view: View) -> Beats | None:
    try:
        return beats(view)
    except Unavailable:
        return None


def _sibling_gap_s(view: View) -> float | None:
    found = _beats_or_none(view)
    fall = found.event(PRIVILEGED_ASKS) if found else None
    return found.after_s(kernel_panic.SIBLING, fall.second) if found and fall else None


def _detection_s(view: View) -> float | None:
    found = _beats_or_none(view)
    if found is None:
        return None
    rows = view.values(metric="detection_s", phase=kernel_panic.THEIRS, run_id=found.run_id)
    return float(rows["value"].iloc[0]) if len(rows) else None


def _silent(view: View) -> float | None:
    found = _beats_or_none(view)
    fall = found.event(PRIVILEGED_ASKS) if found else None
    if found is None or fall is None:
        return None
    told = [found.misses(heart, fall.second) for heart in HEARTS if heart != kernel_panic.FAULTY]
    return None if None in told else float(sum(bool(missed) for missed in told))


def _turned_in_grid(view: View) -> Mapping[str, Mapping[str, bool]]:
    base, *others = misconfigured(view)
    found: dict[str, Mapping[str, bool]] = {}
    for one in others:
        both = set(base.made()) & set(one.made())
        if one.confinement in GRID_WORDS and both:
            turned = flips(base, one)
            found[one.confinement] = {name: name in turned for name in GRID_ROWS if name in both}
    if not found:
        raise Unavailable("none of these words has been tried yet", NEXT)
    return found


GRID_WORDS = ("--pid=host", "--network=host", "--privileged")

GRID_ROWS = (
    "namespace: pid", "process: signal", "network: connect", "sysrq: write", "disk: read",
    "host file: read",
)  # fmt: skip

_REASONS: Mapping[tuple[str, str], str] = MappingProxyType(
    {
        ("--pid=host", "namespace: pid"): "This word leaves out the namespace of processes.",
        ("--pid=host", "process: signal"): (
            "Only what is in the list can be named. Root may then end it: user 0 is user 0."
        ),
        ("--network=host", "network: connect"): (
            "The loopback address is the host’s own then, with all that listens on it."
        ),
        ("--privileged", "sysrq: write"): "No path below `/proc` is read-only any more.",
        ("--privileged", "disk: read"): (
            "All devices are allowed, and the right to make a node for them was there before."
        ),
    }
)
"""Why a word should be expected to turn a probe. ``--privileged`` shares no namespace, and mounts
nothing of the host's: what it lacks in this list is not forgotten."""

FIGURES: Mapping[str, Callable[[View], Picture]] = MappingProxyType(
    {
        "walls": walls_figure,
        "misconfigurations": misconfigurations_figure,
        "neighbours": neighbours_figure,
        "interface": interface_figure,
        "heartbeats": heartbeats_figure,
        "greed": noisy_neighbour_figure,
        "cves": weaknesses_figure,
    }
)
"""Name → figure of a view."""


def _captioned(
    table: Callable[[View], pd.DataFrame], words: str | Callable[[View], str] = ""
) -> Callable[[View], pd.DataFrame]:
    """``table`` with where its rows come from, and ``words``, as its caption."""

    def made(view: View) -> pd.DataFrame:
        frame = table(view)
        said = words if isinstance(words, str) else words(view)
        frame.attrs["caption"] = f"{view.caption()}. {said}".strip()
        return frame

    return made


_NUMBERS = (
    "The number of a namespace is the inode of its file in /proc/self/ns: under one kernel, equal "
    "numbers are one namespace. A boot id belongs to one start of one kernel. seccomp: 0 is no "
    "filter, 2 a filter. User map: first number inside, first outside, how many."
)
_OVER = (
    "Where a machine is emulated, the emulator takes processor time of its own: what is over 1.00 "
    "is not the guest’s."
)
_ENDS = (
    "sysrq: a file by which root gives a kernel orders, here to panic. These machines end when "
    "their kernel panics, so their output ends; one that hung would only be noticed by missing "
    "beats."
)

TABLES: Mapping[str, Callable[[View], pd.DataFrame]] = MappingProxyType(
    {
        "walls": _captioned(walls_table),
        "misconfigurations": _captioned(words_table, _of_words),
        "neighbours": _captioned(neighbours_table, NO_NETWORK.replace("They", "Our VMs")),
        "capabilities": _captioned(capabilities_table, "CapEff is hexadecimal; bit 0 is its last."),
        "held": _captioned(held_by_table, _NUMBERS),
        "sentence": _captioned(sentence_table),
        "falls": _captioned(falls_table, _ENDS),
        "greed": _captioned(limits_table),
        "limits": _captioned(held_table, _OVER),
        "cves": cves_table,
    }
)
"""Name → table of a view; every cell is text, and ``attrs["caption"]`` says where it is from."""

WHATIFS: Mapping[str, Callable[[View], WhatIf]] = MappingProxyType(
    {"careless": careless, "detection": detection, "blast": blast}
)
"""Name → modelled figure with one slider."""

OUTCOMES: Mapping[str, Outcome] = MappingProxyType(
    {
        "through": Outcome((), _through),
        "flips_privileged": Outcome((), _privileged),
        "sibling_gap_s": Outcome((Platform.VM_DIRECT,), _sibling_gap_s),
        "detection_s": Outcome((Platform.VM_DIRECT,), _detection_s),
        "silent": Outcome((), _silent),
    }
)
"""Name → what a prediction is set beside; ``None`` where it was not measured in one run."""

GRIDS: Mapping[str, Grid] = MappingProxyType(
    {
        "flips": Grid(
            columns=GRID_WORDS,
            rows={name: PROBES[name].says for name in GRID_ROWS},
            find=_turned_in_grid,
            reasons=_REASONS,
            yes="turns",
            no="stays",
            called="probe",
        )
    }
)
"""Name → a grid that is ticked before it is measured."""

explained = Explanation[View](
    figures=dict(FIGURES),
    tables=dict(TABLES),
    whatifs=dict(WHATIFS),
    outcomes=dict(OUTCOMES),
    grids=dict(GRIDS),
)
