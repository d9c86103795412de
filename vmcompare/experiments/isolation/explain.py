"""Lesson 05a, explained: the boundaries around a program; declares all that 05a and 05b show.

Every function raises ``Unavailable`` where its rows are not there; an outcome is then ``None``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from statistics import mean

from vmcompare.errors import Unavailable
from vmcompare.evidence.published import load_figures
from vmcompare.evidence.view import MEASURED, View, absent
from vmcompare.experiments.explanation import Explanation, Row, Values
from vmcompare.experiments.isolation import explain_failures
from vmcompare.experiments.isolation.boundaries import ANSWERED, BRIDGE, LET_THROUGH, OWN_NETWORKS
from vmcompare.experiments.isolation.guest_containers import NO_CONTAINER
from vmcompare.experiments.isolation.probe_grids import (
    Arm,
    answers_grid,
    arm,
    by_boundary,
    default_container,
    deviations,
    flags_grid,
    flips,
    listed,
    misconfigured,
    mixed,
    neighbours,
    of_boundaries,
    of_host,
    of_neighbour,
    opens,
    probed,
    tried,
)
from vmcompare.experiments.isolation.probes import (
    CAPABILITY_NAMES,
    FLIPS,
    NAMESPACES,
    NEIGHBOUR,
    PROBES,
    decoded_capabilities,
    ordered_capabilities,
)
from vmcompare.plots import marks, style
from vmcompare.plots.picture import MODELLED, Picture, WhatIf
from vmcompare.sandbox import EMULATION, Platform, Series

explained = Explanation[View]()


# ---- probes --------------------------------------------------------------------------------------


@explained.figure("walls")
def boundaries_figure(view: View) -> Picture:
    """Probe by probe, held in different ways, on this computer."""
    arms = probed(view)
    headings = [_heading(one.label(mixed=mixed(arms))) for one in arms]
    picture = answers_grid(arms, headings, by_boundary(tried(arms)), "Who gets through to what.")
    nested = any(one.nested for one in arms)
    return replace(picture, placeholders=_values(view, arms) | {"nested": nested})


@explained.table("walls")
def boundaries_table(view: View) -> Iterator[Row]:
    """The answer of each platform as it is by default; in one column, the answers of containers
    that are held otherwise, where they differ."""
    arms = probed(view)
    inside = next((one for one in arms if one.platform is Platform.CONTAINER), None)
    others = [one for one in arms if one.confinement and one is not inside]
    for name in of_boundaries(tried(arms)):
        row = {"what was tried": _what_was_tried(name)}
        for one in arms:
            if one not in others:
                row[_column(one, mixed=mixed(arms))] = one.text(name)
            if one is inside and others:
                row["held otherwise"] = _otherwise(one, others, name)
        yield row


def _otherwise(inside: Arm, others: Sequence[Arm], name: str) -> str:
    said = {
        one.label(mixed=False).replace("container, ", ""): one.text(name)
        for one in others
        if name in one.answers and one.text(name) != inside.text(name)
    }
    return "; ".join(f"{held}: {text}" for held, text in said.items()) or "the same"


def _heading(label: str) -> str:
    """A label on two lines."""
    first, _, held = label.partition(", ")
    if held:
        return f"{first},\n{held.replace('no capabilities', 'no capab.')}"
    return first.replace("host process", "host\nprocess").replace(" in a", "\nin a")


def _column(one: Arm, *, mixed: bool) -> str:
    """A short heading; with the emulation, where there was one."""
    words = one.label(mixed=mixed).replace("container, ", "")
    return f"{words} ({EMULATION})" if one.emulated else words


def _what_was_tried(name: str) -> str:
    return f"{name} · {PROBES[name].says}"


def _values(view: View, arms: Sequence[Arm]) -> dict[str, str | bool | int | float]:
    """Placeholders of a caption below answers."""
    failed = {n for one in arms for n, a in one.answers.items() if a.got_through is None}
    return {
        "source": view.caption(),
        "emulated": any(one.emulated for one in arms),
        "vm": any(one.platform is Platform.VM_DIRECT for one in arms),
        "mixed": mixed(arms),
        "failed": ", ".join(sorted(failed)),
    }


# ---- one flag of a command line ------------------------------------------------------------------


@explained.figure("misconfigurations")
def misconfigurations_figure(view: View) -> Picture:
    """One flag of a command line that differs, in the disposable VM; expected and found."""
    base, *others = misconfigured(view)
    odd = "; ".join(
        f"{flag}, {name} ({'turned' if turned else 'did not turn'})"
        for flag, name, turned in deviations(base, others)
    )
    return replace(flags_grid(base, others), placeholders=_flags_values(view) | {"odd": odd})


@explained.table("misconfigurations")
def flags_table(view: View) -> Iterator[Row]:
    """One row a flag: which probes it turned, and whether those were the registered ones."""
    base, *others = misconfigured(view)
    for one in others:
        yield {
            "word": one.confinement,
            "turned": _turned_by(base, one) if one.made() else "could not be tried",
            "probes at the host that get through": f"{len(one.through())}",
            "as registered": _as_registered(base, one),
        }


def _turned_by(base: Arm, one: Arm) -> str:
    turned = of_boundaries(flips(base, one))
    opened = [n for n in turned if one.answers[n].got_through]
    closed = [f"{n} ({one.text(n)})" for n in turned if n not in opened]
    still = [n for n in base.denied() if n not in opened and n in one.made()]
    said = []
    if len(opened) > len(still):
        said.append(f"gets through: all that is refused by default, but {', '.join(still) or '–'}")
    elif opened:
        said.append(f"gets through: {', '.join(opened)}")
    if closed:
        said.append(f"is refused: {', '.join(closed)}")
    return "; ".join(said) or "nothing"


def _as_registered(base: Arm, one: Arm) -> str:
    if one.confinement not in FLIPS:
        return "–"
    if not set(base.made()) & set(one.made()):
        return "not tried"
    return "no" if deviations(base, [one]) else "yes"


@explained.values("misconfigurations", "table")
def _flags_values(view: View) -> dict[str, str | bool | int | float]:
    base, *others = misconfigured(view)
    rootless = any(one.confinement == "--userns" for one in others)
    return {"source": view.caption(), "emulated": base.emulated, "rootless": rootless}


_TICKED = ("--pid=host", "--network=host", "--privileged")


@explained.grid("flips", *_TICKED)
def _turned(view: View) -> Mapping[str, Mapping[str, bool]]:
    base, *others = misconfigured(view)
    found = {}
    for one in others:
        both = set(base.made()) & set(one.made())
        if one.confinement in _TICKED and both:
            turned = flips(base, one)
            found[one.confinement] = {name: name in turned for name in of_boundaries(both)}
    if not found:
        raise absent("answer to a probe with one of these flags")
    return found


HARDENINGS = frozenset(
    {"--cap-drop=ALL", "--user=65534", "--read-only", "--security-opt=no-new-privileges",
     "--userns"}
)  # fmt: skip
"""Flags that are meant to take something away."""


@explained.whatif("careless")
def careless(view: View) -> WhatIf:
    """How many probes get through with k of the weakening flags on one line; flips add up."""
    base, *others = misconfigured(view)
    opened = [
        opens(base, one)
        for one in others
        if one.confinement.startswith("-") and one.confinement not in HARDENINGS
    ]
    if len(opened) < 2:
        raise absent("pair of flags that weaken a container")
    already, most = len(base.through()), len(base.through()) + len(base.denied())
    places = range(len(opened) + 1)
    sizes = [
        [already + len(frozenset().union(*some)) for some in combinations(opened, k)]
        for k in places
    ]
    average, low, high = ([of(some) for some in sizes] for of in (mean, min, max))

    @style.own()
    def draw(k: float) -> Picture:
        at = int(k)
        figure = style.figure(2.9)
        axes = figure.subplots()
        axes.fill_between(places, low, high, color=style.TINT_BLUE, lw=0)
        axes.plot(places, average, "-", color=style.BLUE, linewidth=1.6)
        axes.axvline(k, color="black", linewidth=0.8, zorder=0)
        axes.plot(k, average[at], "s", color=style.BLUE, markersize=8, markeredgecolor="white")
        axes.text(
            0.02, 0.97, f"{k:g} words: {average[at]:.1f} on average, {low[at]} to {high[at]}",
            transform=axes.transAxes, va="top", fontsize=style.SMALL_PT, fontweight="bold",
            bbox=style.PLATE,
        )  # fmt: skip
        axes.set_xlim(-0.2, places[-1] + 0.2)
        axes.set_ylim(0, most * 1.15)
        axes.set_xticks(list(places))
        axes.set_xlabel("words on one line", fontsize=style.SMALL_PT)
        axes.set_ylabel("probes that get through", fontsize=style.SMALL_PT)
        style.plain(axes)
        return Picture(
            figure,
            f"{k:g} of {places[-1]} words on one line: {average[at]:.1f} of {most} probes get "
            f"through on average, between {low[at]} and {high[at]}. {MODELLED}",
        )

    return WhatIf(
        values=tuple(map(float, places)),
        start=2,
        draw=draw,
        placeholders={
            "already": already,
            "words": len(opened),
            "emulated": base.emulated,
            "source": view.caption(),
        },
    )


# ---- the neighbour -------------------------------------------------------------------------------


@explained.figure("neighbours")
def neighbours_figure(view: View) -> Picture:
    """From one instance against the one beside it."""
    arms = neighbours(view)
    said = {
        Platform.PROCESS: "two\nprocesses",
        Platform.VM_DIRECT: "two\nVMs",
        BRIDGE: "containers,\none bridge",
        OWN_NETWORKS: "containers,\nown nets",
    }
    headings = [
        said[one.confinement or one.platform]
        + (" *" if mixed(arms) and one.shown != MEASURED else "")
        for one in arms
    ]
    sorts = {"": of_neighbour(tried(arms))}
    picture = answers_grid(arms, headings, sorts, "What one can do to its neighbour.")
    return replace(picture, placeholders=_values(view, arms))


@explained.table("neighbours")
def neighbours_table(view: View) -> Iterator[Row]:
    """The same from one instance against the one beside it."""
    arms = neighbours(view)
    for name in of_neighbour(tried(arms)):
        row = {"what was tried": _what_was_tried(name)}
        yield row | {_column(one, mixed=mixed(arms)): one.text(name) for one in arms}


# ---- what was read -------------------------------------------------------------------------------


@explained.table("capabilities")
def capabilities_table(view: View) -> Iterator[Row]:
    """``CapEff`` decoded bit by bit, for the host, the default container and the one with none."""
    arms = [
        one
        for one in probed(view)
        if one.read.get("capabilities")
        and one.platform in (Platform.PROCESS, Platform.CONTAINER)
        and one.confinement != "no-seccomp"
    ]
    if not arms:
        raise absent("reading of capabilities")
    for one in arms:
        yield {
            "who": one.label(mixed=mixed(arms)),
            "CapEff": one.read["capabilities"],
            "bits that are 1, and what they are called": _bits(
                decoded_capabilities(one.read["capabilities"])
            ),
        }


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


@explained.table("held")
def held_by_table(view: View) -> Iterator[Row]:
    """What was read of each way of holding a program: namespaces, filter, mounts, what is seen."""
    arms = probed(view)
    there = [what for what in _THINGS_READ if any(what in one.read for one in arms)]
    if not there:
        raise absent("reading beside the probes")
    for what in there:
        columns = {_column(one, mixed=mixed(arms)): _as_read(one, what, arms[0]) for one in arms}
        yield {"read": what, **columns}


def _as_read(one: Arm, what: str, first: Arm) -> str:
    """What was read; a namespace of another kernel is told as that: the first ones of every kernel
    have the same numbers."""
    text = one.read.get(what, "–")
    if what.startswith("PCI"):
        text = text.partition(":")[0]  # how many; which ones would fill the page
    other = one.read.get("boot id") != first.read.get("boot id")
    return f"{text} (of another kernel)" if other and what.endswith(" namespace") else text


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


@explained.table("sentence")
def sentence_table(view: View) -> Iterator[Row]:
    """The article's sentence on namespaces, what the rows say for it and against it, and one to
    put in its place."""
    own, shared, kernel = _namespaces(view)
    found = arm(view, Platform.CONTAINER, BRIDGE, aim=NEIGHBOUR) or arm(
        view, Platform.CONTAINER, OWN_NETWORKS, aim=NEIGHBOUR
    )
    if found is None:
        raise absent("container that tried its neighbour")
    of = of_neighbour(found.answers)
    reached = _verbs([n for n in of if found.answers[n].got_through])
    stopped = _verbs([n for n in of if found.answers[n].got_through is False])
    true = {
        "the kernel is shared: both read the same boot id": kernel,
        f"the host’s own are the namespaces of {shared}": shared,
        f"from one container its neighbour could be reached by: {reached}": reached,
    }
    untrue = {
        f"namespaced are {own}": own,
        f"from one container its neighbour could not be reached by: {stopped}": stopped,
    }
    yield {"about it": "the article", "sentence": ARTICLE}
    for about, words in (("true in it", true), ("not true", untrue)):
        text = "; ".join(part for part, holds in words.items() if holds)
        text = f"{text[:1].upper()}{text[1:]}." if text else "Nothing that was tried."
        yield {"about it": about, "sentence": text}
    yield {"about it": "better", "sentence": _better(view, own, shared, reached, kernel=kernel)}


def _better(view: View, own: str, shared: str, reached: str, *, kernel: bool) -> str:
    if kernel:
        said = "Docker containers on one host share its kernel"
    else:
        said = "Docker containers do not share this host’s kernel (a hidden VM has its own)"
    said += f", have {own} each for themselves" if own else ", have nothing for themselves"
    said += f", and share the namespaces of {shared} with it" if shared else ""
    said += ". Whoever is in one container "
    if any(verb in reached for verb in ("list", "read", "kill")):
        said += f"reaches its neighbour by {reached}."
    else:
        said += f"reaches its neighbour by {reached} only" if reached else (
            "does not reach its neighbour"
        )  # fmt: skip
        said += ", unless a wall is taken away or the shared kernel has a hole."
    return f"{said} {_widest(view)}This was tried on one host; a cluster was not."


def _widest(view: View) -> str:
    """Which flag opens most."""
    try:
        base, *others = misconfigured(view)
    except Unavailable:
        return ""
    opened = {
        one.confinement: len(opens(base, one)) for one in others if one.confinement[:1] == "-"
    }
    most = max(opened, key=lambda flag: opened[flag], default="")
    if not most or not opened[most]:
        return ""
    return (
        f"Of the words tried, {most} opens most: {opened[most]} of the {len(base.denied())} probes "
        "at the host that a default container is refused. "
    )


def _namespaces(view: View) -> tuple[str, str, bool]:
    """What a default container has of its own, what it shares, and whether the kernel is one."""
    inside = default_container(view)
    outside = None
    if inside is not None and inside.nested:
        outside = arm(view, Platform.CONTAINER, NO_CONTAINER, nested=True, run_id=inside.run_id)
    elif inside is not None:
        outside = arm(view, Platform.PROCESS, "", run_id=inside.run_id)
    if inside is None or outside is None:
        raise absent("container whose namespaces were read beside its host’s")
    both = [
        kind
        for kind in NAMESPACES
        if f"{kind} namespace" in inside.read and f"{kind} namespace" in outside.read
    ]
    if not both:
        raise absent("container whose namespaces were read beside its host’s")
    kernel = inside.read.get("boot id") == outside.read.get("boot id")
    own: list[str] = []
    shared: list[str] = []
    for kind in both:
        same = kernel and inside.read[f"{kind} namespace"] == outside.read[f"{kind} namespace"]
        (shared if same else own).append(_KIND_IN_WORDS[kind])
    return listed(own), listed(shared), kernel


def _verbs(names: Sequence[str]) -> str:
    return listed([name.partition(": ")[2] or name for name in names])


# ---- system calls that reach a shared kernel -----------------------------------------------------


@dataclass(frozen=True, slots=True)
class Width:
    """How many different system calls reach the host's kernel.

    Attributes:
        what: whose calls.
        number: how many, in words.
        fewest, most: how many; equal but where a range is published.
        series: gives its look; ``None`` for a published figure.
        source: where it is from, in words.
    """

    what: str
    number: str
    fewest: float
    most: float
    series: Series | None
    source: str


def widths(view: View) -> list[Width]:
    """Measured ones first, then the published ones whose source was read, widest first.

    What a filter lets through is an upper bound: a call that lacks a capability is refused with and
    without the filter, so counting cannot tell whether the filter would let it through.
    """
    found = []
    for what, phase, platform, number in (
        ("no filter at all", ANSWERED, Platform.PROCESS, "{:.0f}"),
        ("a container as Docker starts it", LET_THROUGH, Platform.CONTAINER, "at most {:.0f}"),
    ):
        for column in view.columns("item_count", phase=phase)[:1]:
            calls, source = column.median.estimate, f"{column.shown}, counted"
            found.append(Width(what, number.format(calls), calls, calls, Series(platform), source))
    if not found:
        raise absent("count of system calls")
    published = []
    for figure in load_figures():
        if figure.checked and figure.most:
            least, most = float(figure.least), float(figure.most)
            number = f"{least:.0f} to {most:.0f}" if least < most else f"{most:.0f}"
            source = f"literature, {figure.year}"
            published.append(Width(figure.system, number, least, most, None, source))
    return found + sorted(published, key=lambda width: -width.most)


@explained.figure("interface")
@style.own()
def interface_figure(view: View) -> Picture:
    """One axis from no call to all: filled where it was measured, hollow where it was published."""
    found = widths(view)
    figure = style.figure(marks.HEIGHT_IN * len(found) + 0.7)
    axes = figure.subplots()
    rows = [
        marks.Row(
            width.what,
            f"{width.number} · {width.source}",
            style.look(width.series),
            width.most,
            hollow=width.series is None,
            span=(width.fewest, width.most),
            strong="figure" if width.series else "none",
        )
        for width in found
    ]
    marks.draw(axes, rows, guide=True)
    most = max(width.most for width in found)
    axes.set_xlim(-most * 0.02, most * 1.06)
    axes.set_xlabel("different system calls that reach the host’s kernel", fontsize=style.SMALL_PT)
    alt = "; ".join(f"{width.what} {width.number} ({width.source})" for width in found)
    return Picture(
        figure,
        f"How many calls reach the host’s kernel: {alt}.",
        placeholders={"source": view.caption()},
    )


# ---- outcomes, and what lesson 05b shows ---------------------------------------------------------


@explained.outcome("through")
def _through(view: View) -> float | None:
    inside = default_container(view)
    return None if inside is None or not inside.made() else float(len(inside.through()))


@explained.outcome("flips_privileged")
def _flips_privileged(view: View) -> float | None:
    try:
        base, *others = misconfigured(view)
    except Unavailable:
        return None
    tried_with = (one for one in others if one.confinement == "--privileged" and one.made())
    return next((float(len(of_host(flips(base, one)))) for one in tried_with), None)


explained.outcome("sibling_gap_s", Platform.VM_DIRECT)(explain_failures.sibling_gap_s)
explained.outcome("silent")(explain_failures.silent)

explained.figure("heartbeats")(explain_failures.heartbeats_figure)
explained.figure("noisy")(explain_failures.noisy_neighbour_figure)
explained.table("falls")(explain_failures.falls_table)
explained.table("limits")(explain_failures.limits_table)
explained.table("cves")(explain_failures.weaknesses_table)
explained.table("all_cves")(explain_failures.all_weaknesses_table)
explained.values("all_cves", "table")(explain_failures.weaknesses_left_out)
explained.whatif("blast")(explain_failures.blast)


def _source(view: View) -> Values:
    return {"source": view.caption(), "brief": view.brief()}


for _name in (
    "walls",
    "neighbours",
    "capabilities",
    "held",
    "sentence",
    "falls",
    "limits",
):
    explained.values(_name, "table")(_source)
