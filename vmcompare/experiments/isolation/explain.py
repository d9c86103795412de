"""Lesson 05a, explained: the boundaries around a program. All of 05b is in ``explain_failures``.

Every function raises ``Unavailable`` where its rows are not there; an outcome is then ``None``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from statistics import mean
from typing import TYPE_CHECKING

from vmcompare.errors import Unavailable
from vmcompare.evidence.view import View, absent
from vmcompare.experiments.explanation import Row, Values
from vmcompare.experiments.isolation.boundaries import BRIDGE, OWN_NETWORKS
from vmcompare.experiments.isolation.explain_failures import explained
from vmcompare.experiments.isolation.probe_grids import (
    Arm,
    aimed,
    answers_grid,
    arm,
    default_container,
    deviations,
    misconfigured,
    mixed,
    neighbours,
    of_lesson,
    opens,
    probed,
    tried,
)
from vmcompare.experiments.isolation.probes import (
    CAPABILITY_NAMES,
    HOST,
    ITSELF,
    NEIGHBOUR,
    PROBES,
    decoded_capabilities,
)
from vmcompare.plots import marks, style
from vmcompare.plots.picture import MODELLED, Picture, WhatIf
from vmcompare.sandbox import EMULATION, Platform, Series

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def _answers(name: str, arms: list[Arm]) -> Row:
    """The answers to one probe, a column an arm; with the emulation, where there was one."""
    row = {"what is tried": PROBES[name].says}
    for one in arms:
        heading = one.label(mixed=mixed(arms)).replace("container, no ", "no ")
        row[f"{heading} ({EMULATION})" if one.emulated else heading] = one.text(name)
    return row


# ---- probes --------------------------------------------------------------------------------------


@explained.figure("boundaries")
def boundaries_figure(view: View) -> Picture:
    """The probes of the lesson, held in up to four ways on this computer."""
    arms = [one for one in probed(view) if one.confinement != "no-capabilities"]
    headings = [one.label(mixed=mixed(arms)).removeprefix("container, ") for one in arms]
    failed = {n for one in arms for n, a in one.answers.items() if a.got_through is None}
    values: Values = {
        "source": view.caption(),
        "emulated": any(one.emulated for one in arms),
        "vm": any(one.platform is Platform.VM_DIRECT for one in arms),
        "nested": any(one.nested for one in arms),
        "mixed": mixed(arms),
        "failed": ", ".join(sorted(failed)),
        "refused": "; ".join(
            PROBES[name].says for one in arms if one.platform is Platform.PROCESS
            for name in of_lesson(one.denied())
        ),
    }  # fmt: skip
    return replace(answers_grid(arms, headings), placeholders=values)


@explained.table("answers")
def answers_table(view: View) -> Iterator[Row]:
    """What stops each probe in a default container, and which flag alone lets it through; the
    probes of the lesson first, one for each boundary, then all others at the host."""
    inside = default_container(view)
    if inside is None or not inside.made():
        raise absent("answer to a probe in a container")
    try:
        base, *others = misconfigured(view)
    except Unavailable:
        opened = None
    else:
        opened = {one.confinement: opens(base, one) for one in others}
    outside = arm(view, Platform.PROCESS)
    first = of_lesson(inside.answers)
    for name in [*first, *(n for n in aimed(inside.answers, HOST) if n not in first)]:
        gets, flags = inside.text(name), _flags_for(name, opened)
        there = outside.text(name) if outside and name in outside.denied() else ""
        so_does = "so does the host process" if there == gets else f"the host process {there}"
        yield {
            "what is tried": PROBES[name].says,
            "in the figure": _short(name),
            # None shows where the host process gets the same error, and no flag changes it.
            "boundary": PROBES[name].boundary if flags or there != gets else "none shown here",
            "a default container gets": f"{gets}; {so_does}" if there else gets,
            "one flag that lets it through": "not needed"
            if inside.answers[name].got_through
            else flags or _filter_here(name, view),
        }


def _filter_here(name: str, view: View) -> str:
    """Words for a probe that no flag opens in the disposable VM, where its kernel may lack it."""
    here = arm(view, Platform.CONTAINER, "no-seccomp")
    if here is not None and name in here.through():
        return "--security-opt=seccomp=unconfined (on this computer, not in that VM)"
    return "none of those tried"


def _flags_for(name: str, opened: Mapping[str, frozenset[str]] | None) -> str:
    """The flags that let a probe through, perhaps none; ``--privileged`` only where it is the only
    one."""
    if opened is None:
        return "not tried"
    found = [flag for flag, names in opened.items() if name in names]
    narrow = [flag for flag in found if flag != "--privileged"]
    return " or ".join(narrow or found)


@explained.table("probes")
def probes_table(view: View) -> Iterator[Row]:
    """The answer to every probe in every arm on this computer."""
    arms = probed(view)
    for name in aimed(tried(arms), HOST, ITSELF):
        yield _answers(name, arms)


@explained.values("probes", "table")
def _probes_values(view: View) -> Values:
    """How many of the probes aim at the host, and how many do not."""
    names = tried(probed(view))
    return {aim: len(aimed(names, aim)) for aim in (HOST, ITSELF)}


# ---- one flag of a command line ------------------------------------------------------------------


@style.own()
def _counted(rows: Sequence[marks.Row], most: int) -> Figure:
    """Rows of marks over one axis: how many probes get through, of ``most``."""
    figure = style.figure(marks.HEIGHT_IN * len(rows) + 0.7)
    axes = figure.subplots()
    marks.draw(axes, rows, guide=True)
    axes.set_xlim(0, most * 1.02)
    axes.set_xlabel(f"probes that get through, of {most}", fontsize=style.SMALL_PT)
    return figure


@explained.figure("flags")
def flags_figure(view: View) -> Picture:
    """How many probes at the host get through with one flag more, fewest first."""
    base, *flags = misconfigured(view)
    if not flags:
        raise absent("container with one flag more")
    of = len(base.through()) + len(base.denied())
    rows = [
        marks.Row(
            one.confinement.removeprefix("--security-opt=") or "default", f"{len(one.through())}",
            style.look(Series(Platform.CONTAINER)), len(one.through()),
            beside=_names(
                one.through() if one is base else opens(base, one), len(one.through()) / of
            ),
        )
        for one in sorted([base, *flags], key=lambda one: len(one.through()))
    ]  # fmt: skip
    said = [f"The default container lets through {len(base.through())} of {of} probes"]
    for one in flags:
        more = ", ".join(map(_short, aimed(opens(base, one), HOST))) or "none"
        said.append(f"{one.confinement} lets through {len(one.through())} and opens {more}")
    odd = deviations(base, flags)
    return Picture(
        _counted(rows, of),
        f"{'. '.join(said)}.",
        placeholders={
            "source": view.caption(),
            "emulated": base.emulated,
            "odd": "; ".join(f"{f}, {n} ({'changed' if c else 'not changed'})" for f, n, c in odd),
        },
    )


def _short(name: str) -> str:
    """A probe in a word or two: ``"write core pattern"``."""
    return " ".join(reversed(name.split(": ")))


_LETTERS = 72
"""How many fit on the whole axis."""


def _names(probes: Iterable[str], place: float) -> str:
    """Short names of probes, as many as fit to the right of a place on the axis (0 to 1)."""
    names = [_short(name) for name in aimed(probes, HOST)]
    for shown in range(len(names), -1, -1):
        more = [f"{len(names) - shown} more"] if shown < len(names) else []
        said = ", ".join([*names[:shown], *more])
        if len(said) <= _LETTERS * (1 - place):
            return said
    return ""


@explained.whatif("several_flags")
def several_flags(view: View) -> WhatIf:
    """How many probes get through with k of the weakening flags on one line; flips add up."""
    base, *flags = misconfigured(view)
    opened = [opens(base, one) for one in flags]
    if len(opened) < 2:
        raise absent("pair of flags that weaken a container")
    already, most = len(base.through()), len(base.through()) + len(base.denied())
    sizes = [
        [already + len(frozenset().union(*some)) for some in combinations(opened, k)]
        for k in range(len(opened) + 1)
    ]

    def draw(k: float) -> Picture:
        rows = [
            marks.Row(
                f"{n} flag{'s' * (n != 1)}", f"{mean(some):.1f}",
                style.look(Series(Platform.CONTAINER)), mean(some), hollow=n != k,
                span=(min(some), max(some)), strong="both" if n == k else "none",
            )
            for n, some in enumerate(sizes)
        ]  # fmt: skip
        some = sizes[int(k)]
        return Picture(
            _counted(rows, most),
            f"{k:g} of {len(opened)} flags on one line: {mean(some):.1f} of {most} probes get "
            f"through on average, between {min(some)} and {max(some)}. {MODELLED}",
        )

    return WhatIf(
        values=tuple(map(float, range(len(sizes)))),
        start=2,
        draw=draw,
        placeholders={
            "already": already,
            "flags": len(opened),
            "emulated": base.emulated,
            "source": view.caption(),
        },
    )


# ---- the neighbour, and root's capabilities ------------------------------------------------------


@explained.table("neighbours")
def neighbours_table(view: View) -> Iterator[Row]:
    """What one instance can do to the one beside it."""
    arms = neighbours(view)
    for name in aimed(tried(arms), NEIGHBOUR):
        yield _answers(name, arms)


@explained.values("neighbours", "table")
def only_connects(view: View) -> Values:
    """Whether a container got nothing but a connection to its neighbour, on one network."""
    got = {
        one.confinement: [n for n in one.made(NEIGHBOUR) if one.answers[n].got_through]
        for one in neighbours(view)
        if one.platform is Platform.CONTAINER
    }
    only = got == {BRIDGE: ["neighbour: connect"], OWN_NETWORKS: []}
    return {"only_connects": only}


_AS_ROOT = ("raw socket", "root files: write")
"""A probe that user 0 passes with a capability, and one that it passes without any."""


@explained.table("capabilities")
def capabilities_table(view: View) -> Iterator[Row]:
    """``CapEff``, what user 0 may do with it and without, and the names of its bits that are 1."""
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
        held = decoded_capabilities(one.read["capabilities"])
        lacking = [name for name in CAPABILITY_NAMES if name not in held]
        names = f"all but {', '.join(lacking)}" if 0 < len(lacking) < len(held) else ", ".join(held)
        yield {
            "who": one.label(mixed=mixed(arms)),
            "CapEff": one.read["capabilities"],
            **{PROBES[name].says: one.text(name) for name in _AS_ROOT},
            "capabilities": f"{len(held)}: {names}" if names else "none",
        }


# ---- outcomes ------------------------------------------------------------------------------------


def _through(one: Arm | None) -> float | None:
    return float(len(one.through())) if one and one.made() else None


explained.outcome("through")(lambda view: _through(default_container(view)))
explained.outcome("through_privileged")(
    lambda view: _through(arm(view, Platform.CONTAINER, "--privileged", nested=True))
)
