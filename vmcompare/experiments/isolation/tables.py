"""Tables of the lesson: every probe with its answer, what was read, what fell; all cells text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from vmcompare.errors import Unavailable
from vmcompare.evidence.units import seconds
from vmcompare.evidence.view import View
from vmcompare.experiments.isolation.capabilities import NAMES, decoded, ordered
from vmcompare.experiments.isolation.hearts_figure import SAID, Beats, beats
from vmcompare.experiments.isolation.probes import FLIPS, PROBES
from vmcompare.experiments.isolation.rows import (
    NEXT,
    Arm,
    flips,
    label,
    misconfigured,
    mixed,
    neighbours,
    of_neighbour,
    of_walls,
    walls,
)
from vmcompare.experiments.isolation.sentence import ARTICLE, KINDS, sentences
from vmcompare.plots.groups import EMULATION
from vmcompare.sandbox import Platform

if TYPE_CHECKING:
    import pandas as pd


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
        row = {"what was tried": _tried(name)}
        for one in arms:
            if one not in others:
                row[_column(one, star=star)] = _text(one, name)
            if one is inside and others:
                row["held otherwise"] = _otherwise(inside, others, name)
        rows.append(row)
    return pd.DataFrame(rows)


def _otherwise(inside: Arm, others: Sequence[Arm], name: str) -> str:
    """Where another container gives another answer than the default one, and which."""
    said = {
        label(one, mixed=False).replace("container, ", ""): _text(one, name)
        for one in others
        if name in one.answers and _text(one, name) != _text(inside, name)
    }
    return "; ".join(f"{held}: {text}" for held, text in said.items()) or "the same"


def neighbours_table(view: View) -> pd.DataFrame:
    """The same from one instance against the one beside it."""
    import pandas as pd

    arms = neighbours(view)
    star = mixed(arms)
    return pd.DataFrame(
        [
            {"what was tried": _tried(name)}
            | {_column(one, star=star): _text(one, name) for one in arms}
            for name in of_neighbour([n for one in arms for n in one.answers])
        ]
    )


def _tried(name: str) -> str:
    return f"{name} · {PROBES[name].says}"


def _text(one: Arm, name: str) -> str:
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
                "turned": _turned(base, one) if one.made() else "could not be tried",
                "probes at the host that get through": f"{len(one.through())}",
                "as registered": _as_registered(base, one, FLIPS.get(one.confinement)),
            }
            for one in others
        ]
    )


def _turned(base: Arm, one: Arm) -> str:
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
                    decoded(one.read["capabilities"])
                ),
            }
            for one in arms
        ]
    )


def _bits(held: frozenset[str]) -> str:
    """How many bits are 1, with their names; where that is nearly all, those that are 0."""
    lacking = [name for name in NAMES if name not in held]
    if not held or not lacking:
        return f"all {len(NAMES)}" if held else "none"
    if len(lacking) < len(NAMES) // 4:
        return f"{len(held)}: all but {_numbered(lacking)}"
    return f"{len(held)}: {_numbered(ordered(held))}"


def _numbered(names: Sequence[str]) -> str:
    return ", ".join(f"{NAMES.index(n)} {n}" if n in NAMES else n for n in names)


_READ = (
    "kernel release", "boot id", *(f"{kind} namespace" for kind in KINDS), "seccomp",
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
        for what in _READ
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
            + (f" ({EMULATION})" if found.emulated and heart != "host" else ""),
            "longest gap before": seconds(found.before_s(heart, first)),
        }
        for event in found.events:
            row[f"after: {event.name}"] = _after(found, heart, event.second)
        row["end noticed after"] = _noticed(view, found, heart)
        rows.append(row)
    return pd.DataFrame(rows)


def events_table(view: View) -> pd.DataFrame:
    """What was done in which second, and what came of it."""
    import pandas as pd

    found = beats(view)
    if not found.events:
        raise Unavailable("nothing has been done to a kernel yet in this run", NEXT)
    return pd.DataFrame(
        [
            {"second": str(e.second), "what was done": e.name, "what came of it": e.text}
            for e in found.events
        ]
    )


def _after(found: Beats, heart: str, second: int) -> str:
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
