"""What-ifs: careless words on a line, how soon a fall is noticed, how much it takes along."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import combinations
from math import comb
from statistics import mean

from vmcompare.errors import Unavailable
from vmcompare.evidence.units import seconds
from vmcompare.evidence.view import View
from vmcompare.experiments.isolation.hearts import BEATS_PER_S
from vmcompare.experiments.isolation.hearts_figure import FALL, FAULTY, Beats, beats
from vmcompare.experiments.isolation.rows import NEXT, Arm, flips, misconfigured, of_host
from vmcompare.plots import style
from vmcompare.plots.groups import EMULATION
from vmcompare.plots.model import MODELLED, Bar, bars
from vmcompare.plots.picture import Picture, WhatIf
from vmcompare.plots.style import Series
from vmcompare.sandbox import Platform


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
    words = {one.confinement: _opens(base, one) for one in others if weakens(one.confinement)}
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


def _opens(base: Arm, one: Arm) -> frozenset[str]:
    turned = flips(base, one) & frozenset(of_host(base.answers))
    return frozenset(name for name in turned if one.answers[name].got_through)


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


WATCHED = ("host", "sibling VM", "container A")
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
    late = "At the latest, the alarm comes after"
    wrong = "False alarms an hour"
    limits = {late: (0.04, 4.0), wrong: (0.3, 7200.0)}
    heard = min(len(watch.gaps_s) for watch in known.values())
    looks = {
        "host": Series(Platform.PROCESS),
        "sibling VM": Series(Platform.VM_DIRECT),
        "container A": Series(Platform.CONTAINER),
    }

    def draw(k: float) -> Picture:
        first = next(iter(known.values()))
        rates = {heart: watch.false_per_hour(int(k)) for heart, watch in known.items()}
        after = first.after_s(int(k))
        picture = bars(
            {
                late: [Bar(Series(Platform.PROCESS), "every heart", after, seconds(after))],
                wrong: [
                    Bar(
                        looks[heart],
                        heart + (f" · {EMULATION}" if heart != "host" and found.emulated else ""),
                        max(rate, 0.5),
                        f"{rate:,.0f}" if rate else "none seen",
                    )
                    for heart, rate in rates.items()
                ],
            },
            limits,
        )
        few = (
            f"{MODELLED} From {heard} quiet seconds. None seen in them still allows up to "
            f"{3600 * _THREE / heard:.0f} an hour (rule of three, 95 %). An emulated guest "
            "may stutter more than one with hardware behind it."
        )
        return replace(picture, alt=f"k = {k:g}. {picture.alt}", caption=few)

    return WhatIf(
        label="beats that may be missing, k",
        values=tuple(float(k) for k in _K),
        start=_K.index(19),
        unit="beats",
        draw=draw,
        formula=(
            r"t_{\mathrm{alarm}} \le (k + 1)\,T \qquad "
            r"F = \frac{3600\,\mathrm{s}}{S} \cdot n_{k}"
        ),
        source=(
            f"T = 1/{BEATS_PER_S} s; nₖ, of the S seconds before the first fall those whose "
            f"longest gap is over (k + 1) · T; {view.caption()}"
        ),
    )


def shares(found: Beats) -> tuple[float, float]:
    """Of the instances on a kernel that panicked, and of those beside it, how many fell silent.

    Raises:
        Unavailable: one of the two falls did not happen in this run.
    """
    fall, faulty = found.event(FALL), found.event(FAULTY)
    if fall is None or faulty is None:
        raise Unavailable("the two falls have not been made in one run", NEXT)
    on = [found.misses(heart, fall.second) for heart in ("container A", "container B")]
    beside = [found.misses("sibling VM", faulty.second)]
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
    under = seen if found.emulated else ""
    once, often = "Instances that stop in one accident", "Accidents a year"
    year = "Stops of an instance in a year, all together"
    limits = {once: (0.7, 150.0), often: (0.7, 150.0), year: (0.7, 150.0)}
    container, machine = Series(Platform.CONTAINER), Series(Platform.VM_DIRECT)

    def draw(n: float) -> Picture:
        lost = {"containers on one kernel": n * on, "a VM each": 1 + (n - 1) * beside}
        kernels = {"containers on one kernel": 1.0, "a VM each": n}
        series = {"containers on one kernel": container, "a VM each": machine}

        def panel(values: Mapping[str, float]) -> list[Bar]:
            return [
                Bar(series[name], name, max(value, 0.7), f"{value:,.3g}")
                for name, value in values.items()
            ]

        picture = bars(
            {
                once: panel(lost),
                often: panel(kernels),
                year: panel({name: lost[name] * kernels[name] for name in lost}),
            },
            limits,
        )
        words = (
            f"{MODELLED} It takes for granted that every kernel panics once a year, whoever runs "
            "on it. A panic of the host’s own kernel, under machines as under containers, is not "
            f"in it.{under}"
        )
        return replace(picture, alt=f"{n:g} instances. {picture.alt}", caption=words)

    return WhatIf(
        label="instances",
        values=tuple(float(n) for n in values),
        start=values.index(20),
        unit="instances",
        draw=draw,
        formula=(
            r"L_{1} = s_{\mathrm{on}} \cdot n \qquad L_{n} = 1 + s_{\mathrm{beside}} \cdot (n - 1)"
        ),
        source=(
            "L, instances that stop in one panic: with one kernel for all, or with n. Shares "
            f"that fell silent in this run: on the kernel that panicked {on:g}, beside it "
            f"{beside:g}; {view.caption()}"
        ),
    )
